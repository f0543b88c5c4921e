"""Power normalization against plain loops over features, torch's own gradients, and the paper's formulas by hand."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import bits, broken_off, dense_saving, recipe
from torch import Tensor, nn

import thalweg
from thalweg.core.errors import RecipeError
from thalweg.nn import PowerNorm

Moves = tuple[list[list[float]], list[list[float]]]


class Naive:
    """Algorithm 2, feature by feature, example by example, in Python's numbers; no group scaling, no weights."""

    def __init__(self, features: int, alpha: float, warm_up: int, eps: float) -> None:
        self.square, self.nu, self.steps = [1.0] * features, [0.0] * features, 0
        self.alpha, self.warm_up, self.eps = alpha, warm_up, eps

    def step(self, x: list[list[float]], gradient: list[list[float]]) -> Moves:
        """The outputs and the gradients with respect to x, of a batch (examples of features)."""
        self.steps += 1
        count, rate = len(x), max(1 / self.steps, 1 - self.alpha)
        outputs = [[0.0] * len(self.square) for _ in x]
        backward = [[0.0] * len(self.square) for _ in x]
        for j in range(len(self.square)):
            batch = sum(row[j] ** 2 for row in x) / count
            psi = ((batch if self.steps <= self.warm_up else self.square[j]) + self.eps) ** 0.5
            hidden = [row[j] / psi for row in x]
            along = sum(g[j] * h for g, h in zip(gradient, hidden, strict=True)) / count
            length = sum(h * h for h in hidden) / count
            nu = along if self.steps <= self.warm_up else self.nu[j]
            for i, h in enumerate(hidden):
                outputs[i][j] = h
                backward[i][j] = (gradient[i][j] - nu * h) / psi
            self.square[j] += rate * (batch - self.square[j])
            self.nu[j] = self.nu[j] * (1 - rate * length) + rate * along
        return outputs, backward


@pytest.mark.parametrize("warm_up", [0, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_it_is_the_algorithm_written_out(warm_up: int, alpha: float):
    norm = PowerNorm(3, groups=None, alpha=alpha, warm_up=warm_up, eps=1e-5).double()
    naive = Naive(3, alpha, warm_up, 1e-5)
    for step in range(15):
        x = (torch.randn(5, 3, dtype=torch.float64) * (1 + step % 3) + 0.5).requires_grad_()
        gradient = torch.randn(5, 3, dtype=torch.float64)
        output = norm(x)
        output.backward(gradient)
        expected, backward = naive.step(x.tolist(), gradient.tolist())
        torch.testing.assert_close(output.tolist(), expected, rtol=1e-9, atol=1e-12)
        assert x.grad is not None
        torch.testing.assert_close(x.grad.tolist(), backward, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(norm.running_square.tolist(), naive.square, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(norm.running_gradient.tolist(), naive.nu, rtol=1e-9, atol=1e-12)
    evaluated = norm.eval()(x)
    torch.testing.assert_close(evaluated, x / (torch.tensor(naive.square).double() + 1e-5).sqrt())
    assert int(norm.steps) == 15  # evaluation counts for nothing


def plain(x: Tensor, weight: Tensor, bias: Tensor, groups: int | None, eps: float) -> Tensor:
    """PN-V behind group scaling, left to torch's own gradients; features last."""
    if groups is not None:
        parts = x.unflatten(-1, (groups, -1))
        x = (parts / (parts.square().mean(-1, keepdim=True) + eps).sqrt()).flatten(-2)
    return x / (x.square().flatten(0, -2).mean(0) + eps).sqrt() * weight + bias


@pytest.mark.parametrize("shape", [(5, 6), (5, 7, 6), (3, 6, 4, 5)])
@pytest.mark.parametrize("groups", [None, 1, 2])
def test_while_it_warms_up_its_gradient_is_the_exact_one(shape: tuple[int, ...], groups: int | None):
    axis = 1 if len(shape) == 4 else -1
    norm = PowerNorm(6, groups=groups, axis=axis, warm_up=1).double()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    own = norm(x)
    theirs = plain(x.movedim(axis, -1), norm.weight, norm.bias, groups, norm.eps).movedim(-1, axis)
    torch.testing.assert_close(own, theirs)
    direction = torch.randn(shape, dtype=torch.float64)
    leaves = [x, norm.weight, norm.bias]
    gradients = [torch.autograd.grad((output * direction).sum(), leaves) for output in (own, theirs)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_after_it_the_gradients_of_weights_stay_exact_and_inputs_get_the_approximate_one():
    norm = PowerNorm(4, groups=None, warm_up=0).double()
    norm.running_square.copy_(torch.tensor([1.0, 4.0, 9.0, 16.0]))
    norm.running_gradient.copy_(torch.tensor([0.5, -1.0, 0.0, 2.0]))
    norm.steps.fill_(1000)
    psi, nu = (norm.running_square + norm.eps).sqrt(), norm.running_gradient.clone()
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(6, 4, dtype=torch.float64)
    output = norm(x)
    output.backward(gradient)
    hidden = x.detach() / psi
    torch.testing.assert_close(x.grad, (gradient - nu * hidden) / psi)
    torch.testing.assert_close(norm.weight.grad, (gradient * hidden).sum(0))
    torch.testing.assert_close(norm.bias.grad, gradient.sum(0))
    length, along = hidden.square().mean(0), (gradient * hidden).mean(0)
    torch.testing.assert_close(norm.running_gradient, nu * (1 - 0.1 * length) + 0.1 * along)


def test_the_running_gradient_settles_where_the_exact_one_would_be():
    norm = PowerNorm(3, groups=None, warm_up=0).double()
    draw = torch.Generator().manual_seed(0)
    x, gradient = torch.randn(2, 9, 3, dtype=torch.float64, generator=draw)
    leaf = x.clone().requires_grad_()
    for _ in range(300):
        leaf.grad = None
        norm(leaf).backward(gradient)
    exact = x.clone().requires_grad_()
    plain(exact, torch.ones(3), torch.zeros(3), None, norm.eps).backward(gradient)
    torch.testing.assert_close(leaf.grad, exact.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("warm_up", [0, 2])
def test_padding_stays_out_of_everything(warm_up: int):
    norms = [PowerNorm(4, groups=2, warm_up=warm_up).double() for _ in range(2)]
    lengths = [3, 1, 5]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    for _ in range(5):
        tokens = torch.randn(sum(lengths), 4, dtype=torch.float64, requires_grad=True)
        gradient = torch.randn(3, 6, 4, dtype=torch.float64)
        padded = torch.full((3, 6, 4), float("nan"), dtype=torch.float64)
        padded[mask] = tokens.detach()
        padded.requires_grad_()
        output, alone = norms[0](padded, mask), norms[1](tokens)
        torch.testing.assert_close(output[mask], alone)
        assert (output[~mask] == 0).all()
        output.backward(gradient)
        alone.backward(gradient[mask])
        assert padded.grad is not None
        torch.testing.assert_close(padded.grad[mask], tokens.grad)
        assert (padded.grad[~mask] == 0).all()
        for (_, one), (_, other) in zip(norms[0].named_buffers(), norms[1].named_buffers(), strict=True):
            torch.testing.assert_close(one, other)
    torch.testing.assert_close(norms[0].weight.grad, norms[1].weight.grad)


def test_positions_of_images_and_of_sequences_count_as_examples():
    images, sequences, rows = PowerNorm(4, axis=1, warm_up=0), PowerNorm(4, warm_up=0), PowerNorm(4, warm_up=0)
    for _ in range(3):
        x = torch.randn(3, 5, 2, 4)
        outputs = (
            images(x.movedim(-1, 1)).movedim(1, -1).flatten(0, 2),
            sequences(x.flatten(1, 2)).flatten(0, 1),
            rows(x.flatten(0, 2)),
        )
        for output in outputs:
            torch.testing.assert_close(output, outputs[-1])
    torch.testing.assert_close(images.running_square, rows.running_square)


def test_group_scaling_bounds_an_outlier_that_would_throw_the_running_gradient_out():
    def after(groups: int | None) -> float:
        torch.manual_seed(0)
        norm = PowerNorm(8, groups=groups, warm_up=0)
        for step in range(40):
            x = (torch.randn(16, 8) * (100.0 if step % 4 == 3 else 1.0)).requires_grad_()
            norm(x).sum().backward()
        return float(norm.running_gradient.abs().max())

    assert after(None) > 100 * after(1)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_statistics_are_kept_in_the_type_of_the_weights(kind: torch.dtype):
    norm = PowerNorm(4)
    x = torch.randn(50, 4).to(kind).requires_grad_()
    output = norm(x)
    output.float().square().sum().backward()
    assert output.dtype == kind
    assert x.grad is not None
    assert x.grad.dtype == kind
    assert norm.running_square.dtype == torch.float32
    torch.testing.assert_close(output.float(), PowerNorm(4)(x.float()), rtol=0.02, atol=0.02)


def test_odd_batches():
    norm = PowerNorm(4)
    assert norm(torch.zeros(0, 4)).shape == (0, 4)
    assert norm(torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool)).abs().sum() == 0
    assert int(norm.steps) == 0  # a batch of nothing is none
    assert torch.equal(norm.running_square, torch.ones(4))
    assert norm(torch.randn(1, 4)).isfinite().all()
    x = torch.zeros(3, 4, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    strange = torch.randn(4, 6).t()[1:5].t()
    torch.testing.assert_close(PowerNorm(4)(strange), PowerNorm(4)(strange.contiguous()))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: PowerNorm(0), "PowerNorm: features is 0"),
        (lambda: PowerNorm(4, axis=0), "axis is 0, but features lie along the last axis, axis=-1, or along the second"),
        (lambda: PowerNorm(6, groups=4), "6 features do not divide into groups=4 of one size. Give a divisor of 6"),
        (lambda: PowerNorm(4, groups=0), "groups is 0, but it must be a whole number of at least 1"),
        (lambda: PowerNorm(4, alpha=1.0), "alpha is 1.0, but it must be at least 0 and below 1. Give for instance"),
        (lambda: PowerNorm(4, eps=-1.0), "eps is -1.0, but it must be at least 0"),
        (lambda: PowerNorm(4, warm_up=-1), "warm_up is -1, but it must be a whole number of at least 0"),
        (lambda: PowerNorm(4)(torch.zeros(3, 5)), r"float32 of shape \(3, 5\), but needs .* 4 features along axis -1"),
        (lambda: PowerNorm(4)(torch.zeros(4)), r"shape \(4,\), but"),
        (lambda: PowerNorm(4)(torch.zeros(3, 4, dtype=torch.uint8)), "given uint8 of shape"),
        (lambda: PowerNorm(4, axis=1)(torch.zeros(3, 5, 4, 4)), "along axis 1"),
        (
            lambda: PowerNorm(4)(torch.zeros(2, 3, 4), torch.ones(2, 4, dtype=torch.bool)),
            r"the mask is bool of shape \(2, 4\), but must be bool .* \(2, 3\): True where",
        ),
        (lambda: PowerNorm(4)(torch.zeros(2, 3, 4), torch.ones(2, 3)), "the mask is float32"),
    ],
)
def test_what_cannot_be_is_said(call: Any, said: str):
    with pytest.raises(RecipeError, match=said):
        call()


# --- in training ------------------------------------------------------------------------------------------------------


def net(warm_up: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), PowerNorm(8, warm_up=warm_up), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize("step", [3, 6, 14])
def test_a_run_that_is_broken_off_goes_on_to_the_same_bits(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before, in the middle of, and after the change from warming up to running values."""
    chosen = recipe(model=net)
    whole = thalweg.train(chosen)
    dense_saving(monkeypatch)
    assert bits(thalweg.resume(broken_off(chosen, tmp_path, step), chosen)) == bits(whole)
    state = whole.last.state_dict()
    assert {"1.running_square", "1.running_gradient", "1.steps"} <= set(state)
    assert int(state["1.steps"]) == 24
    assert state["1.running_gradient"].abs().sum() > 0


def test_many_runs_are_those_of_one_by_one():
    chosen = [recipe(model=net, seed=seed, epochs=2) for seed in range(2)]
    together = thalweg.train_many(chosen)
    assert [bits(run) for run in together] == [bits(thalweg.train(each)) for each in chosen]


def test_it_learns_with_running_values_alone():
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(2))
    y = (x[:, 0] > 0).long()
    splits = thalweg.Splits(train=(x, y))
    run = thalweg.train(
        recipe(data=splits, model=partial(net, 0), optimizer=partial(torch.optim.Adam, lr=0.02), epochs=20)
    )
    assert run.status is thalweg.Outcome.FINISHED
    assert run.history[-1]["train_loss"] < 0.5 * run.history[0]["train_loss"]


@pytest.mark.parametrize("groups", [1, None])
def test_a_gradient_of_its_gradient_is_refused(groups: int | None) -> None:
    norm = PowerNorm(4) if groups else PowerNorm(4, groups=None)
    x = torch.randn(6, 4, requires_grad=True)
    with pytest.raises(RecipeError, match="A gradient of PowerNorm's gradient was asked for"):
        torch.autograd.grad(norm(x).pow(3).sum(), x, create_graph=True)
