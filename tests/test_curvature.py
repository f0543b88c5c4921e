"""Products with the Hessian, its ends, trace and density, against closed forms and naive twins."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from surfaces import NO_DATA, Place, chain, classes, diagonal, function, naive_hessian, regression, rosenbrock
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg import DataError, RecipeError
from thalweg.measure import extreme_eigenvalues, hessian, hessian_trace, spectral_density
from thalweg.measure.curvature.density import Density, wasserstein
from thalweg.measure.curvature.lanczos import lanczos, random_start
from thalweg.measure.curvature.opening import surface
from thalweg.measure.curvature.trace import hutch

CROSS, MSE = nn.CrossEntropyLoss(), nn.MSELoss()


def net(norm: bool = False) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 7), *([nn.BatchNorm1d(7)] if norm else []), nn.Tanh(), nn.Linear(7, 3))


def test_linear_regression_has_2xx_over_n() -> None:
    x, y = regression()
    found = hessian(nn.Linear(3, 1, bias=False), MSE, (x, y))
    torch.testing.assert_close(found, 2 * x.T.double() @ x.double() / len(x))


def test_softmax_at_zero_and_its_exact_zeros() -> None:
    x, y = classes(kinds=3)
    linear = nn.Linear(5, 3, bias=False)
    nn.init.zeros_(linear.weight)
    centered = torch.eye(3).double() / 3 - torch.full((3, 3), 1 / 9).double()
    expected = torch.kron(centered, x.T.double() @ x.double() / len(x))
    found = hessian(linear, CROSS, (x, y))
    torch.testing.assert_close(found, expected)
    assert int((torch.linalg.eigvalsh(found).abs() < 1e-12).sum()) == 5


@pytest.mark.parametrize(("depth", "expected"), [(2, [-1.0, 1.0]), (3, [0.0] * 3), (4, [0.0] * 4)])
def test_a_deep_linear_chain_at_zero(depth: int, expected: list[float]) -> None:
    x = torch.tensor([[1.0], [-1.0]])
    found = hessian(chain(depth), lambda o, t: ((o - t) ** 2).mean() / 2, (x, x))
    assert torch.linalg.eigvalsh(found).tolist() == pytest.approx(expected)


def test_two_layers_at_zero_have_each_singular_value_twice_for_each_hidden_unit() -> None:
    x, y = torch.randn(23, 3), torch.randn(23, 2)
    model = nn.Sequential(nn.Linear(3, 5, bias=False), nn.Linear(5, 2, bias=False))
    for layer in model:
        nn.init.zeros_(layer.weight)
    singular = torch.linalg.svdvals(y.T.double() @ x.double() / len(x))
    found = torch.linalg.eigvalsh(hessian(model, lambda o, t: ((o - t) ** 2).sum(1).mean() / 2, (x, y)))
    expected = torch.cat([singular.repeat(5), -singular.repeat(5), torch.zeros(25 - 20)]).sort().values
    torch.testing.assert_close(found, expected)


def test_rosenbrock() -> None:
    found = torch.linalg.eigvalsh(hessian(Place(1.0, 1.0), rosenbrock, NO_DATA))
    assert found.tolist() == pytest.approx([0.39936, 1001.60064], abs=1e-5)


def test_a_network_against_the_naive_twin_in_uneven_batches() -> None:
    x, y = classes(examples=37)
    model = net()
    twin = copy.deepcopy(model).double()
    expected = naive_hessian(lambda: cross_entropy(twin(x.double()), y), list(twin.parameters()))
    for batches in ((x, y), [(x[:16], y[:16]), (x[16:32], y[16:32]), (x[32:], y[32:])]):
        torch.testing.assert_close(hessian(model, CROSS, batches), expected)
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    torch.testing.assert_close(hessian(model, CROSS, loader), expected)


def test_weights_of_a_marked_objective_count() -> None:
    x, y = classes()
    weight = torch.rand(len(x))

    @thalweg.objective
    def weighted(model: nn.Module, batch: Any) -> thalweg.Losses:
        return thalweg.Losses(cross_entropy(model(batch[0]), batch[1], reduction="none"), weight=batch[2])

    model = net()
    twin = copy.deepcopy(model).double()

    def loss() -> Tensor:
        values = cross_entropy(twin(x.double()), y, reduction="none")
        return (values * weight).sum() / weight.sum()

    parts = [(x[:30], y[:30], weight[:30]), (x[30:], y[30:], weight[30:])]
    torch.testing.assert_close(hessian(model, weighted, parts), naive_hessian(loss, list(twin.parameters())))


def test_penalty_and_decay_are_added() -> None:
    x, y = regression()
    plain = hessian(nn.Linear(3, 1), MSE, (x, y))
    penalty = lambda model: 0.25 * model.weight.square().sum()  # noqa: E731
    found = hessian(nn.Linear(3, 1), MSE, (x, y), penalty=penalty, weight_decay={"weight": 0.1, "bias": 0.3})
    torch.testing.assert_close(found, plain + torch.diag(torch.tensor([0.6, 0.6, 0.6, 0.3]).double()))
    assert thalweg.critical_point(nn.Linear(3, 1), MSE, (x, y), weight_decay=2.0).objective > 0


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches stay as they are given."""
    monkeypatch.setattr("thalweg.measure.curvature.opening.JOINED", 0)


def test_graphs_made_anew_and_graphs_kept_give_the_same(apart: None) -> None:
    x, y = classes()
    with surface(net(), CROSS, [(x[:20], y[:20]), (x[20:], y[20:])]) as at:
        v = torch.randn(at.size)
        kept = at.product(v)
        assert len(at.kept) == 2
        at.forget()
        at.budget = at.over(at.parts[:1]).budget = 1.0
        torch.testing.assert_close(at.product(v), kept)
        assert not at.kept


def test_uneven_batches_count_by_their_examples_joined_or_not(apart: None, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = classes()
    batches = [(x[:30], y[:30]), (x[30:], y[30:])]
    whole, uneven = hessian(net(), CROSS, (x, y)), hessian(net(), CROSS, batches)
    torch.testing.assert_close(uneven, whole)
    monkeypatch.setattr("thalweg.measure.curvature.opening.JOINED", 512)
    with surface(net(), CROSS, batches) as at:
        assert [part.weight for part in at.parts] == [37.0]
    spread = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 9.0]))  # a mean by class: joined, it is another loss
    with surface(net(), spread, batches) as at:
        assert [part.weight for part in at.parts] == [30.0, 7.0]


def test_a_batch_that_does_not_fit_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = classes(examples=501)
    whole = extreme_eigenvalues(net(), CROSS, (x, y))
    monkeypatch.setattr("thalweg.measure.curvature.opening._room", lambda device: 60_000.0)
    with surface(net(), CROSS, (x, y)) as at:
        assert len(at.parts) > 4
        assert at.bytes_kept <= 60_000
    assert extreme_eigenvalues(net(), CROSS, (x, y)).largest == pytest.approx(whole.largest, rel=1e-4)


class Unused(nn.Module):
    """Of its parameters the loss uses one, and one only as a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.linear, self.idle = nn.Linear(3, 1, bias=False), nn.Parameter(torch.ones(1)), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def test_parameters_that_the_loss_does_not_use_are_rows_of_zeros() -> None:
    x, y = regression()
    found = hessian(Unused(), MSE, (x, y))
    assert found.shape == (10, 10)
    assert int((found.abs().sum(0) == 0).sum()) == 7
    linear = function(lambda a, b: a + 2 * b)
    assert not hessian(Place(1.0, 1.0), linear, NO_DATA).any()
    assert extreme_eigenvalues(Unused(), MSE, (x, y)).smallest == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers(kind: Any) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = kind(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.inner(x)[0][:, -1])

    model, x, y = Last(), torch.randn(7, 5, 3), torch.randint(0, 2, (7,))
    twin = copy.deepcopy(model).double()
    expected = naive_hessian(lambda: cross_entropy(twin(x.double()), y), list(twin.parameters()))
    torch.testing.assert_close(hessian(model, CROSS, (x, y)), expected)


def test_attention() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 5, batch_first=True)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 2))
    x, y = torch.randn(11, 3, 4), torch.randint(0, 2, (11,))
    with surface(model, CROSS, (x, y), dtype=torch.float64) as at:
        v, theta, step = torch.randn(at.size).double(), at.theta, 1e-5
        found = at.product(v)
        slope = (at.gradient_at(theta + step * v) - at.gradient_at(theta - step * v)) / (2 * step)
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-6)
        assert at.mode == "evaluation mode (dropout off)"


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_in_both_modes_over_several_batches(training: bool) -> None:
    x, y = classes()
    model, parts = net(norm=True), [(x[:20], y[:20]), (x[20:], y[20:])]
    twin = copy.deepcopy(model).double().train(training)

    def loss() -> Tensor:
        return sum(len(b) * cross_entropy(twin(a.double()), b) for a, b in parts) / len(x)

    expected = naive_hessian(loss, list(twin.parameters()))
    torch.testing.assert_close(hessian(model, CROSS, parts, training=training), expected, atol=1e-6, rtol=1e-5)


def test_the_model_is_left_as_it_was_found() -> None:
    x, y = classes()
    model = nn.Sequential(net(norm=True), nn.Dropout(0.5)).train()
    model[0][1].eval()
    model(x).sum().backward()
    before = copy.deepcopy(model.state_dict())
    pointers = [p.data_ptr() for p in (*model.parameters(), *model.buffers())]
    gradients = [p.grad.clone() for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    streams = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    thalweg.critical_point(model, CROSS, loader)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.data_ptr() for p in (*model.parameters(), *model.buffers())] == pointers
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert random.getstate() == streams[1]
    assert np.random.get_state()[1].tobytes() == streams[2]  # noqa: NPY002


def test_the_model_is_left_as_it_was_found_after_an_error() -> None:
    model = net().train()
    kept = [p.data_ptr() for p in model.parameters()]
    with pytest.raises(RecipeError):
        hessian(model, MSE, (torch.zeros(4, 99), torch.zeros(4)))
    assert model.training
    assert [p.data_ptr() for p in model.parameters()] == kept
    assert model[0].weight.dtype == torch.float32


def test_sparse_embeddings_and_half_precision() -> None:
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 2)).bfloat16()
    ids, y = torch.randint(0, 5, (9, 2)), torch.randint(0, 2, (9,))
    found = hessian(model, CROSS, (ids, y))
    twin = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    twin.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    torch.testing.assert_close(found, naive_hessian(lambda: cross_entropy(twin(ids), y), list(twin.parameters())))
    assert model[0].sparse
    assert model[2].weight.dtype == torch.bfloat16


def test_float32_numbers_of_the_model_itself_do() -> None:
    class Scaled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x.float() @ torch.ones(3, 3) @ self.weight.T

    x, y = regression()
    assert hessian(Scaled(3, 1, bias=False), MSE, (x, y)).shape == (3, 3)


# --- Lanczos, trace, density ------------------------------------------------------------------------------------------


def test_the_largest_is_by_sign_and_not_by_magnitude() -> None:
    model, objective = diagonal(torch.tensor([-9.0, -2.0, 0.5, 3.0]).double())
    found = extreme_eigenvalues(model, objective, NO_DATA)
    assert (found.smallest, found.largest) == pytest.approx((-9.0, 3.0))
    assert found.smallest_vector.abs().tolist() == pytest.approx([1, 0, 0, 0], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_than_fifty_steps_without_ghosts(dtype: torch.dtype) -> None:
    values = torch.cat([torch.linspace(-1, 1, 397), torch.tensor([10.0, 20.0, 40.0])]).to(dtype)
    start = torch.randn(400, dtype=dtype, generator=torch.Generator().manual_seed(0))
    space = lanczos(lambda v: values * v, start, most=120, tolerance=None)
    assert space.steps == 120
    assert [int((abs(space.values - each) < 0.5).sum()) for each in (10, 20, 40)] == [1, 1, 1]
    overlap = space.basis @ space.basis.T - torch.eye(120, dtype=dtype)
    assert float(overlap.abs().max()) < 100 * torch.finfo(dtype).eps


def test_the_residuals_bound_the_error_and_stop_the_steps() -> None:
    stream = torch.Generator().manual_seed(1)
    values = torch.cat([torch.randn(997, generator=stream), torch.tensor([-5.0, 7.0, 8.0])]).double()
    start = torch.randn(1000, generator=stream).double()
    space = lanczos(lambda v: values * v, start)
    assert space.converged
    assert space.steps < 60
    for end, true in ((0, -5.0), (-1, 8.0)):
        assert abs(space.values[end] - true) <= space.residuals[end] <= 1e-3 * abs(true)
    hard = lanczos(lambda v: values * v, start, most=5)
    assert not hard.converged


@pytest.mark.parametrize("seed", range(3))
def test_an_end_near_zero_is_not_taken_for_zero(seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    values = torch.cat([1e-4 * torch.randn(2000, generator=stream), torch.tensor([-0.002, 0.7, 1.0])])
    space = lanczos(lambda v: values * v, torch.randn(2003, generator=stream))
    assert space.values[[0, -1]].tolist() == pytest.approx([-0.002, 1.0], abs=1e-5)


def test_few_different_eigenvalues_exhaust_the_space_and_it_goes_on() -> None:
    values = torch.tensor([2.0] * 7 + [-1.0] * 3).double()
    start = torch.zeros(10).double()
    start[0] = 1.0
    space = lanczos(lambda v: values * v, start)
    assert space.values[[0, -1]].tolist() == pytest.approx([-1.0, 2.0])


def test_a_trace_that_is_negative_and_its_error() -> None:
    stream = torch.Generator().manual_seed(0)
    values = -(torch.arange(1.0, 301.0).double() ** -1.5) * 100
    found = [hutch(lambda v: values * v, values, 60, torch.Generator().manual_seed(seed)) for seed in range(20)]
    true = float(values.sum())
    assert np.mean([abs(each.value - true) for each in found]) < 0.02 * abs(true)
    apart = [abs(each.value - true) / each.error for each in found]
    assert np.mean(np.array(apart) < 2) >= 0.75
    samples = [float(v @ (values * v)) for v in torch.randn(300, 60, generator=stream).double().T.sign()]
    assert true == pytest.approx(np.mean(samples), rel=1e-9)  # a diagonal: signs give it exactly


def test_the_trace_of_a_network() -> None:
    x, y = classes()
    true = float(hessian(net(), CROSS, (x, y)).trace())
    found = hessian_trace(net(), CROSS, (x, y), products=90)
    assert found.value == pytest.approx(true, rel=0.05)
    model, objective = diagonal(torch.tensor([-9.0, -2.0, 0.5]).double())
    assert hessian_trace(model, objective, NO_DATA).value == pytest.approx(-10.5)


def test_the_density_against_all_eigenvalues() -> None:
    x, y = classes(examples=101)
    exact = torch.linalg.eigvalsh(hessian(net(), CROSS, (x, y))).numpy()
    found = spectral_density(net(), CROSS, (x, y), probes=8, steps=40)
    true = Density.of_eigenvalues(exact)
    apart = wasserstein((found.nodes, found.weights), (true.nodes, true.weights))
    assert apart < 0.1 * (exact.max() - exact.min())
    assert apart < 3 * (found.probe_error + found.step_error)
    assert found.step_error < 0.05
    assert found.share(high=1e9) == pytest.approx(1)
    few = spectral_density(net(), CROSS, (x, y), probes=8, steps=6)
    assert few.step_error > found.step_error
    places = np.linspace(exact.min() - 1, exact.max() + 1, 2001)
    assert np.trapezoid(found.curve(places, 0.05), places) == pytest.approx(1, abs=1e-3)


def test_the_error_of_the_mean_is_that_over_random_directions() -> None:
    values = torch.linspace(-1, 4, 53, dtype=torch.float64)
    found = []
    for seed in range(60):
        start = random_start(53, values, torch.Generator().manual_seed(seed))
        density = Density.of_spaces([lanczos(lambda v: values * v, start, most=9, tolerance=None)])
        found.append((density.mean, density.mean_error(53)))
    means, errors = np.array(found).T
    assert means.std() == pytest.approx(errors.mean(), rel=0.3)
    assert Density.of_eigenvalues(values.numpy()).mean_error(53) == 0


def test_one_probe_says_nothing_of_other_directions() -> None:
    x, y = classes()
    assert np.isnan(spectral_density(net(), CROSS, (x, y), probes=1, steps=5).probe_error)


# --- errors -----------------------------------------------------------------------------------------------------------


def complex_model() -> nn.Module:
    model = nn.Linear(3, 1)
    model.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    return model


def integer_model() -> nn.Module:
    model = nn.Linear(3, 1)
    model.table = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    return model


X, Y = regression()


@pytest.mark.parametrize(
    ("model", "objective", "batches", "settings", "words"),
    [
        (complex_model(), MSE, (X, Y), {}, "'phase' holds complex64 numbers"),
        (integer_model(), MSE, (X, Y), {}, "'table' holds int64 numbers"),
        (nn.Flatten(), MSE, (X, Y), {}, "no parameter that is trained"),
        (nn.LazyLinear(1), MSE, (X, Y), {}, "has no shape yet"),
        (nn.Linear(3, 1).requires_grad_(False), MSE, (X, Y), {}, "no parameter that is trained"),
        (nn.Linear, MSE, (X, Y), {}, "is not a torch.nn.Module"),
        (nn.Linear(3, 1), MSE, "data.csv", {}, "is a str, but it is batches"),
        (nn.Linear(3, 1), MSE, [], {}, "holds no batch"),
        (nn.Linear(3, 1), MSE, (X[:0], Y[:0]), {}, "holds no example"),
        (nn.Linear(3, 1), MSE, (X, Y * float("nan")), {}, "not all finite"),
        (nn.Linear(3, 1), MSE, [X, Y], {}, "needs a pair"),
        (nn.Linear(3, 1), MSE, (X, Y), {"weight_decay": -1.0}, "at least 0 and finite"),
        (nn.Linear(3, 1), MSE, (X, Y), {"weight_decay": {"wait": 1.0}}, "'wait', which is no trained parameter"),
        (nn.Sequential(nn.Linear(3, 1), nn.Dropout()), MSE, (X, Y), {"training": True}, "dropout on"),
        (nn.Linear(2, 1), MSE, (X, Y), {}, "cannot be computed over this evaluation set"),
        (nn.Linear(3, 1), 5, (X, Y), {}, "The objective is 5"),
        (nn.Linear(3, 1), lambda o, t: (o > t).float().mean(), (X, Y), {}, "has no gradient"),
        (nn.Linear(3, 71), MSE, (X, Y.expand(-1, 71)), {"exact": True}, None),
        (nn.Linear(3, 1501), MSE, (X, Y.expand(-1, 1501)), {"exact": True}, "5,000 at most"),
        (nn.Linear(3, 1), MSE, (X, Y), {"tolerance": float("nan")}, "at least 0 and finite"),
    ],
)
def test_what_cannot_be_is_said(model: Any, objective: Any, batches: Any, settings: Any, words: str | None) -> None:
    if words is None:
        assert thalweg.critical_point(model, objective, batches, **settings).exact
        return
    with pytest.raises((RecipeError, DataError), match=words):
        thalweg.critical_point(model, objective, batches, **settings)


class Once(torch.autograd.Function):
    """A function whose gradient has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * 1


def test_a_gradient_without_a_gradient_is_said() -> None:
    class Model(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return Once.apply(super().forward(x))

    with pytest.raises(RecipeError, match="cannot be differentiated twice"):
        hessian(Model(3, 1), MSE, (X, Y))


def test_arrays_and_one_example_do() -> None:
    whole = hessian(nn.Linear(3, 1), MSE, (X, Y))
    torch.testing.assert_close(hessian(nn.Linear(3, 1), MSE, (X.numpy(), Y.numpy())), whole)
    assert thalweg.critical_point(nn.Linear(3, 1), MSE, (X[:1], Y[:1])).gradient_noise is None


def test_weights_that_are_all_zero_are_said() -> None:
    @thalweg.objective
    def padding(model: nn.Module, batch: Any) -> thalweg.Losses:
        return thalweg.Losses(model(batch[0])[:, 0], weight=torch.zeros(len(batch[0])))

    with pytest.raises(DataError, match="weights of all examples"):
        hessian(nn.Linear(3, 1), padding, (X, Y))


@pytest.mark.parametrize("settings", [{"probes": 0}, {"steps": 1}, {"probes": 2.5}])
def test_too_few_probes_are_said(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="at least one direction and two steps"):
        spectral_density(nn.Linear(3, 1), MSE, (X, Y), **settings)


def test_too_few_products_for_a_trace_are_said() -> None:
    with pytest.raises(RecipeError, match="at least 6"):
        hessian_trace(nn.Linear(3, 1), MSE, (X, Y), products=5)
