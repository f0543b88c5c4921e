"""The kind of a point, the way off it and the way to one, at points whose kind is known."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from surfaces import NO_DATA, Place, chain, classes, diagonal, function, monkey_saddle, regression, rosenbrock
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg import RecipeError
from thalweg.measure import Certainty, Kind, escape, find_critical_point
from thalweg.measure.curvature import verdict
from thalweg.measure.curvature.lanczos import lanczos, random_start
from thalweg.measure.curvature.opening import surface
from thalweg.measure.curvature.spread import gradient_noise

CROSS, MSE = nn.CrossEntropyLoss(), nn.MSELoss()


def point_of(of: Callable[..., Tensor], *coordinates: float) -> Any:
    return thalweg.critical_point(Place(*coordinates), function(of), NO_DATA)


def train(net: nn.Module, x: Tensor, y: Tensor, steps: int = 100) -> None:
    """Near to where it stands still, with weight decay as a part of the loss."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        (CROSS(net(x), y) + 0.005 * sum(p.square().sum() for p in net.parameters())).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("of", "kind", "certainty"),
    [
        (lambda x, y: x**2 + 3 * y**2, Kind.LOCAL_MINIMUM, Certainty.EXACT),
        (lambda x, y: -(x**2) - 3 * y**2, Kind.LOCAL_MAXIMUM, Certainty.EXACT),
        (lambda x, y: x * y, Kind.SADDLE, Certainty.EXACT),
        (lambda x, y: x + y**2, Kind.NOT_STATIONARY, Certainty.MEASURED),
        (lambda x, y: x**4 + y**4, Kind.LOCAL_MINIMUM, Certainty.PROBED),
        (lambda x, y: 5 + x**2 + y**6, Kind.LOCAL_MINIMUM, Certainty.PROBED),
        (lambda x, y: x**2 - y**4, Kind.SADDLE, Certainty.PROBED),
        (lambda x, y: -(x**2) + y**4, Kind.SADDLE, Certainty.PROBED),
        (lambda x, y: x**3 - 3 * x * y**2, Kind.SADDLE, Certainty.PROBED),
        (lambda x, y: x**3 + y**2, Kind.SADDLE, Certainty.PROBED),
        (lambda x, y: -(x**4) - y**4, Kind.LOCAL_MAXIMUM, Certainty.PROBED),
        (lambda x, y: (y - x**2) * (y - 3 * x**2), Kind.SADDLE, Certainty.PROBED),  # Peano: up along every line
        (lambda x, y: (y - x**2) ** 2, Kind.DEGENERATE, Certainty.PROBED),  # a curved valley
        (lambda x, y: x**2 + 0 * y, Kind.DEGENERATE, Certainty.PROBED),
        (lambda x, y: 0 * x + 0 * y, Kind.DEGENERATE, Certainty.PROBED),
    ],
)
def test_kinds_that_are_known(of: Callable[..., Tensor], kind: Kind, certainty: Certainty) -> None:
    point = point_of(of, 0.0, 0.0)
    assert (point.kind, point.certainty) == (kind, certainty)
    assert (point.descent is not None) == (kind in (Kind.SADDLE, Kind.LOCAL_MAXIMUM, Kind.NOT_STATIONARY))


def test_rosenbrock_is_a_minimum_with_its_eigenvalues() -> None:
    point = thalweg.critical_point(Place(1.0, 1.0), rosenbrock, NO_DATA)
    assert point.kind is Kind.LOCAL_MINIMUM
    assert point.eigenvalues == pytest.approx((0.39936, 1001.60064), abs=1e-5)
    assert (point.minima_ratio, point.positive, point.trace) == pytest.approx((1, 1, 1002))
    assert thalweg.critical_point(Place(1.0, 0.9), rosenbrock, NO_DATA).kind is Kind.NOT_STATIONARY


def test_a_small_slope_is_not_a_critical_point_but_rounding_is() -> None:
    steep = point_of(lambda x, y: 1e-4 * x + x**2 + y**2, 0.0, 0.0)
    assert steep.kind is Kind.NOT_STATIONARY
    near = point_of(lambda x, y: 1e-15 * x + x**2 + y**2, 0.0, 0.0)
    assert near.kind is Kind.LOCAL_MINIMUM
    place, slope = Place(0.0, 0.0), function(lambda x, y: 1e-4 * x + x**2 + y**2)
    assert thalweg.critical_point(place, slope, NO_DATA, tolerance=1e-3).kind is Kind.LOCAL_MINIMUM


def test_gradient_flat_points_are_seen() -> None:
    point = point_of(lambda x, y: x + x**3 + y**2, 0.0, 0.0)
    assert point.hessian_gradient == pytest.approx(0)
    assert any("Gradient-flat" in note for note in point.notes)


@pytest.mark.parametrize(
    ("depth", "certainty", "ratio"),
    [(2, Certainty.HELD_OUT, 0.5), (3, Certainty.PROBED, None), (4, Certainty.PROBED, None)],
)
def test_a_deep_linear_chain_at_zero_is_a_saddle(depth: int, certainty: Certainty, ratio: float | None) -> None:
    x = torch.tensor([[1.0], [-1.0]]).repeat(9, 1)
    point = thalweg.critical_point(chain(depth), MSE, (x, x))
    assert (point.kind, point.certainty, point.minima_ratio) == (Kind.SADDLE, certainty, ratio)
    assert point.loss == pytest.approx(1.0)


def test_the_minima_ratio_counts_beyond_the_tolerance() -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 1e-12, 1.0, 2.0, 3.0]).double()
    point = thalweg.critical_point(*diagonal(values), NO_DATA)
    assert point.minima_ratio == pytest.approx(3 / 5)
    assert (point.positive, point.zero, point.negative) == pytest.approx((3 / 7, 2 / 7, 2 / 7))
    assert point.above_zero == pytest.approx(4 / 7)
    assert 0 < point.raised < 1
    assert (point.smallest, point.largest) == pytest.approx((-2.0, 3.0))


def test_a_larger_negative_than_positive_end_is_no_maximum() -> None:
    point = thalweg.critical_point(*diagonal(torch.tensor([-9.0, 1.0]).double()), NO_DATA)
    assert (point.kind, point.largest) == (Kind.SADDLE, 1.0)


def test_regression_at_its_solution_and_by_chance() -> None:
    x, y = regression(examples=83)
    linear = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    solved = thalweg.critical_point(linear, MSE, (x, y))
    assert solved.kind is Kind.LOCAL_MINIMUM
    assert solved.minima_ratio == 1
    other, answer = regression(examples=83, seed=0)[0], y
    moved = copy.deepcopy(linear)
    with torch.no_grad():
        moved.weight.add_(1e-3)
    near = thalweg.critical_point(moved, MSE, (other, answer))
    assert near.kind is Kind.LOCAL_MINIMUM
    assert any("no longer than by chance" in note for note in near.notes)
    with torch.no_grad():
        moved.weight.add_(3.0)
    assert thalweg.critical_point(moved, MSE, (x, y)).kind is Kind.NOT_STATIONARY


def test_the_noise_is_that_of_single_examples() -> None:
    x, y = regression(examples=4001)
    linear = nn.Linear(3, 1, bias=False)
    single = 2 * (linear(x) - y).detach() * x
    expected = float(single.var(0).sum() / len(x))
    with surface(linear, MSE, [(x[i::50], y[i::50]) for i in range(50)]) as at:
        assert len(at.parts) < 16
        at.parts = at.pieces()
        assert gradient_noise(at, at.parts) == pytest.approx(expected, rel=0.8)
    with surface(linear, MSE, [(x[i : i + 1], y[i : i + 1]) for i in range(64)]) as at:
        pieces = [type(at.parts[0])((x[i : i + 1], y[i : i + 1]), 1.0) for i in range(64)]
        assert gradient_noise(at, pieces) == pytest.approx(float(single[:64].var(0).sum()) / 64, rel=1e-4)


def test_a_way_down_by_luck_is_not_believed() -> None:
    """The curvature of each example is random, of mean 0 along all directions but one: half go down by luck."""
    stream = torch.Generator().manual_seed(1)
    examples = torch.randn(64, 150, generator=stream).double()
    examples[:, 0] = 5.0

    @thalweg.objective
    def quadratic(model: Place, batch: Tensor) -> Tensor:
        return (batch * model.theta**2).sum(1) / 2

    point = thalweg.critical_point(Place(*[0.0] * 150), quadratic, examples)
    assert point.smallest < -0.1
    assert (point.kind, point.certainty) == (Kind.DEGENERATE, Certainty.UNSURE)
    assert point.held_out[0] > -2 * point.held_out[1]
    examples[:, 1] = -3.0
    point = thalweg.critical_point(Place(*[0.0] * 150), quadratic, examples)
    assert (point.kind, point.certainty) == (Kind.SADDLE, Certainty.HELD_OUT)
    assert point.held_out == pytest.approx((-3.0, 0.0), abs=1e-6)


def test_lanczos_says_the_same_as_all_eigenvalues() -> None:
    x, y = classes(examples=97)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    train(net, x, y)
    whole = thalweg.critical_point(net, CROSS, (x, y), weight_decay=0.01)
    ends = thalweg.critical_point(net, CROSS, (x, y), weight_decay=0.01, exact=False)
    assert not ends.exact
    assert ends.kind is whole.kind
    assert (ends.smallest, ends.largest) == pytest.approx((whole.smallest, whole.largest), rel=1e-3, abs=1e-4)
    assert ends.positive == pytest.approx(whole.positive, abs=0.25)


def test_a_minimum_by_lanczos_takes_two_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.linspace(1, 2, 50).double()
    starts = []
    monkeypatch.setattr(verdict, "random_start", lambda *of: starts.append(of) or random_start(*of))
    monkeypatch.setattr(verdict.Judged, "raised", lambda self, theta, objective: 1.0)
    point = thalweg.critical_point(*diagonal(values), NO_DATA, exact=False)
    assert (point.kind, point.certainty) == (Kind.LOCAL_MINIMUM, Certainty.LIKELY)
    assert len(starts) == 2
    values[0] = -1.0
    starts.clear()
    assert thalweg.critical_point(*diagonal(values), NO_DATA, exact=False).kind is Kind.SADDLE
    assert len(starts) == 1


def test_flat_within_the_noise_is_not_decided() -> None:
    """Two inputs that are one: the sum of their weights is fitted, their difference is flat."""
    x, y = regression(examples=83)
    x[:, 1] = x[:, 0]
    linear = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.linalg.pinv(x).mm(y).T).add_(1e-3)
    point = thalweg.critical_point(linear, MSE, (x, y))
    assert (point.kind, point.certainty) == (Kind.DEGENERATE, Certainty.UNSURE)
    assert any("cannot be followed" in note for note in point.notes)
    assert find_critical_point(linear, MSE, (x, y)).converged
    point = thalweg.critical_point(linear, MSE, (x, y))
    assert (point.kind, point.certainty) == (Kind.DEGENERATE, Certainty.PROBED)


def test_an_orbit_of_minima_is_flat() -> None:
    """Turning the hidden units of a linear network changes nothing, not even with weight decay: a curved valley."""
    x, _ = regression(examples=50)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False)).double()
    true = torch.tensor([[1.0, 2.0, -1.0]]).double()
    data = (x.double(), x.double() @ true.T)
    with torch.no_grad():  # near to a fit
        net[0].weight[:1], net[1].weight[0, 0] = true / 1.5, 1.5
    assert find_critical_point(net, MSE, data, weight_decay=0.01).converged
    point = thalweg.critical_point(net, MSE, data, weight_decay=0.01)
    assert point.loss < 0.01
    assert sum(abs(value) < 1e-9 for value in point.eigenvalues) == 1
    assert (point.kind, point.certainty) == (Kind.DEGENERATE, Certainty.PROBED)


def test_the_smallest_eigenvalue_of_a_mini_batch_is_biased_down() -> None:
    """Why halves are needed: on few examples the smallest eigenvalue lies below that of all."""
    x, y = classes(examples=512, inputs=8)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 3))

    def smallest(rows: slice) -> float:
        with surface(net, CROSS, (x[rows], y[rows])) as at:
            start = random_start(at.size, at.theta, torch.Generator().manual_seed(0))
            return float(lanczos(at.product, start).values[0])

    assert all(smallest(slice(i, i + 32)) < smallest(slice(None)) for i in (0, 100, 300))


def test_uneven_batches_and_a_loader_say_what_one_batch_says() -> None:
    x, y = classes(examples=70)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    one = thalweg.critical_point(net, CROSS, (x, y))
    for batches in ([(x[:64], y[:64]), (x[64:], y[64:])], DataLoader(TensorDataset(x, y), batch_size=32)):
        other = thalweg.critical_point(net, CROSS, batches)
        assert other.eigenvalues == pytest.approx(one.eigenvalues, abs=1e-6)
        assert other.loss == pytest.approx(one.loss, rel=1e-6)
        assert other.examples == 70


def test_a_loss_that_is_no_mean_over_examples_is_not_cut() -> None:
    x, y = regression()

    def largest(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().max()

    point = thalweg.critical_point(nn.Linear(3, 1), largest, (x, y))
    assert point.gradient_noise is None
    assert any("not judged" in note for note in point.notes)


def test_penalty_decay_and_the_bare_loss_beside() -> None:
    place = Place(1.0, 1.0)
    penalty = lambda model: 2 * model.theta[0] ** 2  # noqa: E731
    point = thalweg.critical_point(place, rosenbrock, NO_DATA, penalty=penalty, weight_decay=3.0)
    assert (point.loss, point.objective) == pytest.approx((0.0, 2.0 + 3.0))
    assert point.gradient_norm == pytest.approx(((4 + 3) ** 2 + 3**2) ** 0.5)
    assert point.trace == pytest.approx(1002 + 4 + 2 * 3)


def test_the_point_is_readable_and_plain() -> None:
    x, y = classes()
    point = thalweg.critical_point(nn.Sequential(nn.Linear(5, 3), nn.Dropout()), CROSS, (x, y))
    words = str(point)
    for said in (point.kind.name, point.certainty.name, "minima ratio", "by chance", "dropout off", "18 parameters"):
        assert said in words
    plain = json.loads(json.dumps(point.to_json(), allow_nan=False))
    assert plain["kind"] == point.kind.name
    assert len(plain["eigenvalues"]) == 18
    with pytest.raises(AttributeError):
        point.kind = Kind.SADDLE


def test_the_same_seed_says_the_same() -> None:
    x, y = classes()
    net = nn.Linear(5, 3)
    assert thalweg.critical_point(net, CROSS, (x, y)).to_json() == thalweg.critical_point(net, CROSS, (x, y)).to_json()


# --- escape -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3])
def test_a_chain_walks_off_its_saddle(depth: int) -> None:
    x = torch.tensor([[1.0], [-1.0]]).repeat(9, 1)
    model = chain(depth, hidden=2)
    found = escape(model, MSE, (x, x))
    assert found.moved
    assert found.after < 0.7 * found.before
    assert MSE(model(x), x).item() == pytest.approx(found.after, abs=1e-6)
    assert json.dumps(found.to_json())


def test_the_quadratic_step_would_overshoot() -> None:
    """A narrow way down: the quadratic promises ever more, the loss rises again."""
    model, objective = Place(0.0, 0.0), function(lambda x, y: x**2 - y**2 + 4 * y**4)
    found = escape(model, objective, NO_DATA)
    assert found.moved
    assert found.after == pytest.approx(-1 / 16, rel=0.3)  # at y^2 = 1/8
    assert found.after > -(found.step**2)


def test_the_gradient_gives_the_sign() -> None:
    model, tilted = Place(0.0, 0.0), function(lambda x, y: x**2 - y**2 + 4 * y**4 + 1e-9 * y)
    point = thalweg.critical_point(model, tilted, NO_DATA, tolerance=1e-6)
    assert point.kind is Kind.SADDLE
    assert float(point.descent[1]) < 0
    assert escape(model, tilted, NO_DATA, point=point).moved
    assert model.theta[1].item() < 0


def test_degenerate_saddles_are_left_too() -> None:
    for objective in (monkey_saddle, function(lambda x, y: x**2 - y**4 + y**6)):
        found = escape(Place(0.0, 0.0), objective, NO_DATA)
        assert found.moved
        assert found.after < found.before


@pytest.mark.parametrize("of", [lambda x, y: x**2 + y**2, lambda x, y: (y - x**2) ** 2, lambda x, y: x + y**2])
def test_where_there_is_no_saddle_the_weights_stay(of: Callable[..., Tensor]) -> None:
    model = Place(0.0, 0.0)
    found = escape(model, function(of), NO_DATA)
    assert not found.moved
    assert "Not moved" in str(found)
    assert not model.theta.any()


def test_a_point_of_another_model_is_said() -> None:
    point = point_of(lambda x, y: x * y, 0.0, 0.0)
    with pytest.raises(RecipeError, match="another number"):
        escape(Place(0.0), function(lambda x: x**2), NO_DATA, point=point)


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "start", "kind"),
    [
        (rosenbrock, (0.8, 0.7), Kind.LOCAL_MINIMUM),
        (function(lambda x, y: x**2 - y**2 + x * y**2), (0.2, -0.1), Kind.SADDLE),
        (function(lambda x, y: (x**2 - 1) ** 2 + y**2), (0.2, 0.3), Kind.SADDLE),
    ],
)
def test_critical_points_of_each_kind_are_found(objective: Any, start: tuple[float, ...], kind: Kind) -> None:
    model = Place(*start)
    found = find_critical_point(model, objective, NO_DATA)
    assert found.converged
    assert found.after < 1e-8
    assert thalweg.critical_point(model, objective, NO_DATA).kind is kind


@pytest.mark.battery
def test_a_network_is_led_to_a_critical_point(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = classes(examples=40)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 2), nn.Tanh(), nn.Linear(2, 3))
    train(net, x, y)
    for most in (1500, 10):  # by eigenvectors, by MINRES
        monkeypatch.setattr("thalweg.measure.curvature.finding.MOST_DENSE", most)
        model = copy.deepcopy(net)
        found = find_critical_point(model, CROSS, (x, y), weight_decay=0.01, steps=30)
        assert found.after < 1e-5 * found.before
        assert found.converged
        assert "critical point" in str(found)
        point = thalweg.critical_point(model, CROSS, (x, y), weight_decay=0.01, tolerance=1e-5)
        assert point.kind is not Kind.NOT_STATIONARY
        assert json.dumps(found.to_json())


def test_a_gradient_flat_end_is_said() -> None:
    model = Place(0.1, 0.2)
    found = find_critical_point(model, function(lambda x, y: x + x**3 + y**2), NO_DATA)
    assert (found.converged, found.flat) == (False, True)
    assert found.after == pytest.approx(1, abs=1e-3)


def test_a_number_of_steps_below_zero_is_said() -> None:
    with pytest.raises(RecipeError, match="at least 0"):
        find_critical_point(Place(0.0), function(lambda x: x**2), NO_DATA, steps=-1)


def test_a_small_network_that_multiplies_much_is_asked_by_lanczos(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 36, 2))
    batches = [(torch.randn(8, 1, 8, 8), torch.randint(0, 2, (8,))) for _ in range(2)]
    parameters, passes = 30 + 218, 16 * (36 * 27 + 216)
    monkeypatch.setattr("thalweg.measure.curvature.spectrum.MOST_MULTIPLIED", parameters * passes - 1)
    assert not thalweg.critical_point(network, nn.CrossEntropyLoss(), batches).exact
    assert thalweg.critical_point(network, nn.CrossEntropyLoss(), batches, exact=True).exact
    monkeypatch.setattr("thalweg.measure.curvature.spectrum.MOST_MULTIPLIED", parameters * passes)
    assert thalweg.critical_point(network, nn.CrossEntropyLoss(), batches).exact
