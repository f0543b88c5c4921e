"""Lines, planes, smoothness and the course over error surfaces whose shape is known."""

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from surfaces import NO_DATA, Place, classes, diagonal, function, regression, rosenbrock
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg.core.errors import DataError, RecipeError
from thalweg.measure import (
    along,
    critical_points,
    escape,
    extreme_eigenvalues,
    filter_normalized,
    hessian,
    plane,
    smoothness,
)
from thalweg.measure.landscape.filters import flat, random_directions
from thalweg.measure.landscape.plane import principal
from thalweg.measure.landscape.statistics import far_surface

CROSS = nn.CrossEntropyLoss()
SPREAD = torch.tensor([-2.0, 0.5, 3.0, 7.0], dtype=torch.float64)


def net(norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(7), nn.Tanh()] if norm else [nn.Tanh()]
    return nn.Sequential(nn.Linear(5, 7), *middle, nn.Linear(7, 3))


def trained(model: nn.Module, x: Tensor, y: Tensor, epochs: int = 5, lr: float = 0.1) -> list[dict[str, Tensor]]:
    """The weights of each epoch of plain gradient descent, the first ones too."""
    optimizer, path = torch.optim.SGD(model.parameters(), lr=lr), [copy.deepcopy(model.state_dict())]
    for _ in range(epochs):
        for start in range(0, len(y), 16):
            optimizer.zero_grad()
            cross_entropy(model.train()(x[start : start + 16]), y[start : start + 16]).backward()
            optimizer.step()
        path.append(copy.deepcopy(model.state_dict()))
    return path


# --- lines ------------------------------------------------------------------------------------------------------------


def test_a_bowl_is_its_own_quadratic_along_its_eigenvectors() -> None:
    model, objective = diagonal(SPREAD)
    found = along(model, objective, NO_DATA, reach=2.0, points=9)
    assert found.names == ("largest eigenvalue", "most negative eigenvalue")
    assert found.curvatures == pytest.approx((7.0, -2.0))
    assert found.steps[0].tolist() == np.linspace(-2, 2, 9).tolist()
    np.testing.assert_allclose(found.losses, found.predicted, atol=1e-9)
    np.testing.assert_allclose(found.losses[0], 3.5 * found.steps[0] ** 2, rtol=1e-6)
    np.testing.assert_allclose(found.directions.abs(), [[0, 0, 0, 1], [1, 0, 0, 0]], atol=1e-4)


def test_the_prediction_has_the_slope_and_the_loss_leaves_it_where_it_is_no_quadratic() -> None:
    model, objective = Place(1.0), function(lambda a: a**3)
    (losses,), (predicted,) = (
        getattr(along(model, objective, NO_DATA, torch.ones(1), reach=1.0, points=5), name)
        for name in ("losses", "predicted")
    )
    assert losses.tolist() == pytest.approx([0.0, 0.125, 1.0, 3.375, 8.0])
    assert predicted.tolist() == pytest.approx([1 + 3 * t + 3 * t * t for t in (-1.0, -0.5, 0.0, 0.5, 1.0)])


def test_the_eigenvectors_of_a_network_are_those_of_its_hessian() -> None:
    (x, y), model = classes(), net()
    found, ends = along(model, CROSS, (x, y)), extreme_eigenvalues(model, CROSS, (x, y))
    assert found.curvatures == pytest.approx((ends.largest, ends.smallest), rel=1e-4)
    matrix = hessian(model, CROSS, (x, y)).float()
    for curvature, direction in zip(found.curvatures, found.directions, strict=True):
        assert float(direction @ matrix @ direction) == pytest.approx(curvature, rel=1e-3, abs=1e-5)
    vector = nn.utils.parameters_to_vector(model.parameters()).detach()
    twin = copy.deepcopy(model)
    for number in (0, 13, 40):
        there = vector + float(found.steps[0, number]) * found.directions[0]
        nn.utils.vector_to_parameters(there, twin.parameters())
        assert float(cross_entropy(twin(x), y).detach()) == pytest.approx(found.losses[0, number], rel=1e-5)


@pytest.mark.parametrize("steep", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_a_line_goes_to_where_the_loss_can_be_seen_to_rise(steep: float, floor: float) -> None:
    model = Place(3.0, 4.0)
    found = along(model, function(lambda a, b: steep * (a - 3) ** 2 + 10 * steep * (b - 4) ** 2 + floor), NO_DATA)
    assert np.isfinite(found.losses).all()
    high, far = found.losses[0].max() - floor, 5.0  # |theta|
    assert found.steps.max() <= far * (1 + 1e-9)
    if floor and steep > 1e-3:
        told = max(4.0, 1e-5 * 10 * steep * far**2)
        assert 0.99 * told <= high <= 4.01 * told
    elif floor:
        assert found.steps[0, -1] == pytest.approx(far)  # too flat to rise before
    else:
        assert high > 0


def test_a_line_stops_before_the_loss_is_not_finite() -> None:
    found = along(Place(2.0), function(lambda a: 1 / (2.5 - a).clamp(min=0)), NO_DATA, torch.ones(1))
    assert np.isfinite(found.losses).all()
    wide = along(Place(2.0), function(lambda a: 1 / (2.5 - a).clamp(min=0)), NO_DATA, torch.ones(1), reach=1.0)
    assert not np.isfinite(wide.losses).all()
    assert None in json.loads(json.dumps(wide.to_json(), allow_nan=False))["lines"][0]["losses"]


def test_directions_are_given_in_many_ways_and_lengths_count() -> None:
    (x, y), model = regression(), nn.Linear(3, 1)
    vector = torch.tensor([2.0, 0.0, 0.0, 0.0])
    named = {"weight": torch.tensor([[2.0, 0.0, 0.0]]), "bias": torch.zeros(1)}
    found = [
        along(model, nn.MSELoss(), (x, y), d, reach=1.0, points=5)
        for d in (vector, [vector], named, [named, vector], {"steep": vector}, vector.double())
    ]
    assert [len(each.names) for each in found] == [1, 1, 1, 2, 1, 1]
    assert found[4].names == ("steep",)
    for each in found:
        np.testing.assert_allclose(each.losses[-1], found[0].losses[0], rtol=1e-6)
        assert each.curvatures[0] == pytest.approx(4 * float(2 * (x[:, 0] ** 2).mean()), rel=1e-4)


def test_penalty_and_decay_bend_the_lines() -> None:
    (x, y), model = regression(), nn.Linear(3, 1, bias=False)
    bare = along(model, nn.MSELoss(), (x, y))
    bent = along(model, nn.MSELoss(), (x, y), weight_decay=1.5, penalty=lambda m: m.weight.square().sum())
    assert bent.curvatures == pytest.approx([value + 3.5 for value in bare.curvatures], rel=1e-4)
    np.testing.assert_allclose(bent.losses, bent.predicted, rtol=1e-4, atol=1e-4)


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.out = nn.LSTM(5, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.cell(x)[0][:, -1])
        return found


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)
    )


@pytest.mark.parametrize(("make", "shape"), [(convolutional, (1, 5, 6)), (Sequence, (7, 5)), (net, (5,))])
def test_models_of_other_kinds_are_left_as_they_were(make: Any, shape: tuple[int, ...]) -> None:
    model, (x, y) = make().train(), (torch.randn(29, *shape), torch.randint(0, 3, (29,)))
    before = copy.deepcopy(model.state_dict())
    path = [
        copy.deepcopy(make().state_dict()) | {k: v + 0.1 * n for k, v in before.items() if v.is_floating_point()}
        for n in (3, 1)
    ]
    random = torch.get_rng_state()
    lines = along(model, CROSS, (x, y), points=5)
    planes = [
        plane(model, CROSS, (x, y), points=3),
        plane(model, CROSS, [(x[:20], y[:20]), (x[20:], y[20:])], path=path, points=3, statistics="running"),
    ]
    smooth = smoothness(model, CROSS, (x, y), steps=(0.1, 0.2))
    course = critical_points(model, CROSS, (x, y), path, exact=False)
    for found in (lines, *planes, smooth, course):
        json.dumps(found.to_json(), allow_nan=False)
        assert str(found)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert lines.losses[0, 2] == pytest.approx(lines.objective, rel=1e-6)
    assert planes[0].losses[1, 1] == pytest.approx(planes[0].objective, rel=1e-6)


# --- filters ----------------------------------------------------------------------------------------------------------


def test_each_filter_of_a_direction_is_as_long_as_that_of_the_weights() -> None:
    model = convolutional()
    for direction in random_directions(model, seed=3):
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                assert not direction[name].any()
            else:
                torch.testing.assert_close(direction[name].flatten(1).norm(dim=1), parameter.flatten(1).norm(dim=1))
    first, second = random_directions(model, seed=3)
    assert torch.equal(first["0.weight"], random_directions(model, seed=3)[0]["0.weight"])
    assert not torch.equal(first["0.weight"], random_directions(model, seed=4)[0]["0.weight"])
    assert float(flat(first, first) @ flat(second, second)) == pytest.approx(0, abs=1e-5)


def test_vectors_count_when_asked_for_and_filters_of_zeros_stay() -> None:
    weights = {"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "bias": torch.tensor([0.0, 2.0])}
    ones = {name: torch.ones_like(tensor) for name, tensor in weights.items()}
    found = filter_normalized(ones, weights, vectors=True)
    torch.testing.assert_close(found["weight"], torch.tensor([[0.5**0.5 * 5] * 2, [0.0, 0.0]]))
    torch.testing.assert_close(found["bias"], torch.tensor([2**0.5] * 2))
    nothing = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    assert not any(bool(t.isnan().any() or t.any()) for t in filter_normalized(nothing, weights).values())


def test_filters_make_the_plane_blind_to_scale() -> None:
    x, y = classes()
    model = nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 3, bias=False))
    scaled = copy.deepcopy(model)
    scaled[0].weight.data *= 10
    scaled[2].weight.data /= 10
    one, other = (plane(each, CROSS, (x, y), points=5, seed=2) for each in (model, scaled))
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)


# --- planes -----------------------------------------------------------------------------------------------------------


def test_the_plane_of_a_bowl_is_exact() -> None:
    model = nn.Linear(4, 1, bias=False)
    found = plane(
        model,
        lambda output, y: model.weight.square().sum() + 0 * output.sum(),
        (torch.ones(2, 4),) * 2,
        points=5,
        reach=2.0,
    )
    square = float(model.weight.detach().square().sum())
    inner = found.directions.double() @ model.weight.detach().double().view(4)
    expected = [
        [square + 2 * (a * inner[0] + b * inner[1]) + (a * a + b * b) * square for a in found.x] for b in found.y
    ]
    np.testing.assert_allclose(found.losses, np.array(expected, dtype=float), rtol=1e-4, atol=1e-6)


def test_the_plane_of_two_parameters_holds_its_path() -> None:
    model = Place(0.0, 0.0)
    states = {
        epoch: {"theta": torch.tensor(at, dtype=torch.float64)}
        for epoch, at in ((0, (-1.0, 1.5)), (3, (0.0, 0.3)), (5, (0.5, 0.2)), (9, (0.9, 0.8)))
    }
    found = plane(model, rosenbrock, NO_DATA, path=states, points=7)
    assert [passage.epoch for passage in found.path] == [0, 3, 5, 9]
    assert sum(found.shares) == pytest.approx(1)
    last = states[9]["theta"]
    for passage, state in zip(found.path, states.values(), strict=True):
        a, b = state["theta"].tolist()
        assert passage.objective == pytest.approx((1 - a) ** 2 + 100 * (b - a * a) ** 2)
        assert passage.projected == pytest.approx(passage.objective)
        assert passage.away == pytest.approx(0, abs=1e-9)
        there = last + torch.tensor([passage.x, passage.y], dtype=torch.float64) @ found.directions
        torch.testing.assert_close(there, state["theta"])
        assert found.x[0] < passage.x < found.x[-1]
        assert found.y[0] < passage.y < found.y[-1]
    assert found.x[-1] - found.x[0] == pytest.approx(found.y[-1] - found.y[0])
    a, b = (last + torch.tensor([found.x[2], found.y[5]], dtype=torch.float64) @ found.directions).tolist()
    assert found.losses[5, 2] == pytest.approx((1 - a) ** 2 + 100 * (b - a * a) ** 2)
    assert (found.path[-1].x, found.path[-1].y) == pytest.approx((0, 0))


def test_the_principal_directions_are_those_of_the_singular_values() -> None:
    torch.manual_seed(0)
    points = torch.randn(6, 11)
    directions, shares = principal(points)
    _, singular, rows = torch.linalg.svd(points - points[-1], full_matrices=False)
    expected = singular[:2] ** 2 / (singular**2).sum()
    assert shares == pytest.approx(expected.tolist(), rel=1e-4)
    torch.testing.assert_close((directions @ rows[:2].T).abs(), torch.eye(2), atol=1e-4, rtol=0)


def test_a_straight_path_has_a_random_second_direction() -> None:
    model, (x, y) = net(), classes()
    states = [{name: tensor * scale for name, tensor in model.state_dict().items()} for scale in (3.0, 2.0, 1.0)]
    found = plane(model, CROSS, (x, y), path=states, points=3)
    assert found.names == ("principal direction 1", "random direction")
    assert found.shares == pytest.approx((1.0, 0.0))
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(2), atol=1e-5, rtol=0)


def test_on_the_path_and_in_the_plane_the_losses_differ_and_by_how_much_is_said() -> None:
    (x, y), model = classes(), net()
    path = trained(model, x, y, epochs=6, lr=1.0)
    found = plane(model, CROSS, (x, y), path=path, points=3)
    for passage, state in zip(found.path, path, strict=True):
        twin = net()
        twin.load_state_dict(state)
        assert passage.objective == pytest.approx(float(cross_entropy(twin(x), y).detach()), rel=1e-5)
    assert found.furthest is not None
    assert abs(found.furthest.gap) == max(abs(passage.gap) for passage in found.path) > 0
    assert f"at epoch {found.furthest.epoch}" in str(found)


def test_batch_norm_takes_the_statistics_that_are_named() -> None:
    (x, y), model = classes(examples=48), net(norm=True)
    path = trained(model, x, y, epochs=3)
    batches = [(x[:16], y[:16]), (x[16:], y[16:])]
    model.load_state_dict(path[0])  # the plane stands at the path's last weights, not at the model's
    twin = net(norm=True)
    twin.load_state_dict(path[-1])
    with torch.no_grad():
        expected = {"running": float(cross_entropy(twin.eval()(x), y))}
        twin.train()
        expected["batch"] = sum(len(b) * float(cross_entropy(twin(a), b)) for a, b in batches) / len(y)
    for statistics, value in expected.items():
        found = plane(model, CROSS, batches, path=path, points=3, statistics=statistics)
        assert found.objective == pytest.approx(value, rel=1e-5)
        assert ("each batch" in found.mode) == (statistics == "batch")
        twin.load_state_dict(path[1])
        with torch.no_grad():
            there = (
                float(cross_entropy(twin.eval()(x), y))
                if statistics == "running"
                else sum(len(b) * float(cross_entropy(twin.train()(a), b)) for a, b in batches) / len(y)
            )
        assert found.path[1].objective == pytest.approx(there, rel=1e-5)


def test_the_statistics_of_batches_are_those_of_training_mode() -> None:
    (x, y), model = classes(examples=48), net(norm=True)
    with far_surface(model, CROSS, (x, y), "batch") as at:
        value, gradient = at.value(), at.gradient()
    with far_surface(model, CROSS, (x, y), "running", training=True) as at:
        assert at.value() == value
        torch.testing.assert_close(at.gradient(), gradient)
    with far_surface(model, CROSS, (x, y), "running") as at:
        assert at.value() != value
    assert model[1].running_mean is not None


def test_a_plane_keeps_what_is_not_finite() -> None:
    model = Place(1.0, 1.0)
    states = [{"theta": torch.tensor(at, dtype=torch.float64)} for at in ((2.0, 1.0), (1.0, 1.5), (1.0, 1.0))]
    found = plane(model, function(lambda a, b: a.log() + b), NO_DATA, path=states, reach=3.0, points=5)
    assert np.isnan(found.losses).any()
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert None in [value for row in plain["losses"] for value in row]
    assert "from" in str(found)


# --- smoothness -------------------------------------------------------------------------------------------------------


def test_a_quadratic_is_as_smooth_as_its_curvature() -> None:
    model, objective = diagonal(SPREAD)
    model.theta.data = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)  # the gradient is the last eigenvector
    found = smoothness(model, objective, NO_DATA, steps=(0.05, 0.1, 0.2))
    assert found.effective == pytest.approx(7.0)
    assert found.ratios == pytest.approx((7.0,) * 3)
    places = [1 - 7 * step for step in (0.05, 0.1, 0.2)]
    assert found.losses == pytest.approx([3.5 * place**2 for place in places])
    assert found.changes == pytest.approx([7 * 7 * step for step in (0.05, 0.1, 0.2)])
    assert (found.gradient_norm, found.objective) == pytest.approx((7.0, 3.5))
    model.theta.data = torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    mixed = smoothness(model, objective, NO_DATA, steps=(0.1,))
    assert mixed.effective == pytest.approx(float((SPREAD**2).norm() / SPREAD.norm()))


def test_at_a_critical_point_there_is_no_step() -> None:
    model, objective = diagonal(SPREAD)
    found = smoothness(model, objective, NO_DATA, steps=(0.1,))
    assert np.isnan(found.effective)
    assert found.to_json()["ratios"] == [None]


def test_batch_norm_does_not_feel_the_scale_of_the_weights() -> None:
    """With batch norm behind it, a weight times c has gradients over c and curvatures over c squared."""
    x, y = classes(examples=48)
    model = nn.Sequential(nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7, eps=1e-12), nn.Tanh(), nn.Linear(7, 3))
    for parameter in (*model[1].parameters(), *model[3].parameters()):
        parameter.requires_grad_(False)
    one = smoothness(model, CROSS, (x, y), steps=(1e-3,))
    model[0].weight.data *= 4
    other = smoothness(model, CROSS, (x, y), steps=(16e-3,))
    assert other.gradient_norm == pytest.approx(one.gradient_norm / 4, rel=1e-4)
    assert other.effective == pytest.approx(one.effective / 16, rel=1e-2)


# --- the course -------------------------------------------------------------------------------------------------------


def test_the_course_says_of_each_epoch_what_critical_point_says() -> None:
    (x, y), model = classes(), net(norm=True)
    path = trained(model, x, y, epochs=2)
    found = critical_points(model, CROSS, (x, y), path, weight_decay=0.1)
    twin = net(norm=True)
    for epoch, point in zip(found.epochs, found.points, strict=True):
        twin.load_state_dict(path[epoch])
        alone = thalweg.critical_point(twin, CROSS, (x, y), weight_decay=0.1)
        assert (point.objective, point.gradient_norm) == pytest.approx((alone.objective, alone.gradient_norm))
        assert point.minima_ratio == pytest.approx(alone.minima_ratio)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [point["epoch"] for point in plain["points"]] == [0, 1, 2]
    assert plain["said"] == "All 3 weights of the path."


def test_of_a_long_course_some_epochs_are_looked_at() -> None:
    model, objective = diagonal(SPREAD)
    states = {10 * epoch: {"theta": torch.full((4,), float(epoch))} for epoch in range(50)}
    found = critical_points(model, objective, NO_DATA, states, most=5)
    assert found.epochs == (0, 20, 60, 180, 490)
    assert found.said == "5 of 50 weights of the path, evenly spaced in the logarithm of their number."
    assert critical_points(model, objective, NO_DATA, states, most=3, spacing="even").epochs == (0, 240, 490)
    assert "5 of 50" in str(found)


# --- what is refused --------------------------------------------------------------------------------------------------

X, Y = classes()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: along(m, CROSS, (X, Y), torch.ones(3)), r"direction 1 is \(3,\) float32, but the model has 66"),
        (lambda m: along(m, CROSS, (X, Y), {"steep": torch.ones(66, 1)}), "steep is"),
        (lambda m: along(m, CROSS, (X, Y), torch.zeros(66)), "has no length"),
        (lambda m: along(m, CROSS, (X, Y), torch.full((66,), torch.nan)), "not finite"),
        (lambda m: along(m, CROSS, (X, Y), {"0.weight": torch.ones(7, 5)}), "has nothing for the parameter '0.bias'"),
        (lambda m: along(m, CROSS, (X, Y), []), "There is no direction to go along"),
        (lambda m: along(m, CROSS, (X, Y), "up"), "The directions are a str"),
        (lambda m: along(m, CROSS, (X, Y), reach=0.0), r"reach is 0.0, but it is a length, positive"),
        (lambda m: along(m, CROSS, (X, Y), points=1), "points is 1, but it is an odd number of at least 3"),
        (lambda m: plane(m, CROSS, (X, Y), points=-5), "plane: points is -5"),
        (lambda m: plane(m, CROSS, (X, Y), points=24), "an odd number"),
        (lambda m: plane(m, CROSS, (X, Y), reach=float("nan")), "plane: reach is nan"),
        (lambda m: plane(m, CROSS, (X, Y), statistics="last"), "statistics is 'last'"),
        (lambda m: plane(m, CROSS, (X, Y), path=[]), "The path is empty"),
        (lambda m: plane(m, CROSS, (X, Y), path=[m.state_dict()]), "The path has one point"),
        (lambda m: plane(m, CROSS, (X, Y), path=[m, m]), "2 points that are all the same"),
        (lambda m: plane(m, CROSS, (X, Y), path=m.state_dict()), "The path is one OrderedDict"),
        (lambda m: plane(m, CROSS, (X, Y), path=[m.state_dict(), 7]), "Epoch 1 of the path is a int"),
        (lambda m: plane(m, CROSS, (X, Y), path=[m, nn.Linear(5, 3)]), "of another model: '0.weight' is not there"),
        (lambda m: plane(m, CROSS, (X, Y), path=[m, net_of(8)]), r"'0.weight' has the shape \(8, 5\)"),
        (lambda m: plane(nn.Linear(1, 1, bias=False), nn.MSELoss(), (X[:, :1],) * 2), "spans no plane"),
        (lambda m: plane(zeros(), CROSS, (X, Y)), "The weights are all zero"),
        (lambda m: plane(Place(1.0, 2.0).requires_grad_(False), rosenbrock, NO_DATA), "no parameter that is trained"),
        (lambda m: smoothness(m, CROSS, (X, Y), steps=()), r"steps is \(\), but they are multiples"),
        (lambda m: smoothness(m, CROSS, (X, Y), steps=(0.1, -0.1)), "positive and finite"),
        (lambda m: smoothness(m, CROSS, (X, Y), steps=0.1), "steps is 0.1"),
        (lambda m: critical_points(m, CROSS, (X, Y), []), "The path is empty"),
        (lambda m: critical_points(m, CROSS, (X, Y), [m], most=0), "most is 0"),
        (lambda m: critical_points(m, CROSS, (X, Y), [m], spacing="wide"), "spacing is 'wide'"),
        (lambda m: filter_normalized({"0.weight": torch.ones(7, 4)}, m), r"has \(7, 4\) float32 for the parameter"),
        (lambda m: filter_normalized(torch.ones(3), m), r"A direction is \(3,\) float32"),
        (lambda m: plane(net(norm=True), CROSS, (X[:1], Y[:1])), "cannot be computed over this evaluation set"),
        (lambda m: plane(nn.Linear, CROSS, (X, Y)), "call it first"),
    ],
)
def test_what_cannot_be_done_is_said(call: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        call(net())


def net_of(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3))


def zeros() -> nn.Module:
    model = net()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def test_numbers_that_are_not_finite_are_refused() -> None:
    model = net()
    bad = {name: torch.full_like(tensor, torch.nan) for name, tensor in model.state_dict().items()}
    with pytest.raises(DataError, match="Epoch 1 of the path holds weights that are not finite, in '0.weight'"):
        plane(model, CROSS, (X, Y), path=[model.state_dict(), bad])
    spoiled = net()
    spoiled[0].weight.data.fill_(torch.nan)
    with pytest.raises(DataError, match=r"The model's weights are not finite, in '0.weight'. Take weights from before"):
        plane(spoiled, CROSS, (X, Y))
    for call in (along, plane):
        with pytest.raises(DataError, match="not all finite"):
            call(model, CROSS, (X * torch.nan, Y))
        with pytest.raises(DataError, match="holds no batch"):
            call(model, CROSS, [])
    with pytest.raises(DataError, match="not all finite"):
        smoothness(model, CROSS, (X * torch.nan, Y), steps=(0.1,))


@pytest.mark.parametrize("call", [critical_points, plane, along, smoothness, escape])
def test_a_loader_that_shuffles_draws_nothing_from_the_random_streams(call: Any) -> None:
    model = net()
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True)
    more: dict[Any, Any] = {critical_points: {"path": [model.state_dict()]}, smoothness: {"steps": (0.1,)}}
    before = torch.get_rng_state()
    call(model, CROSS, loader, **more.get(call, {} if call is escape else {"points": 3}))
    assert torch.equal(torch.get_rng_state(), before)
