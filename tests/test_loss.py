"""Likelihoods against naive loops, scipy and torch; least squares and ridge regression derived from them; errors."""

import math

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn import functional as F

from thalweg.core.errors import RecipeError
from thalweg.loss import L1, L2, Bernoulli, Categorical, Gaussian
from thalweg.nn import Frozen

SEEDS = st.integers(0, 2**16)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(n: int, k: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(k, (n,), generator=torch.Generator().manual_seed(seed))


# Gaussian


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, variance=st.floats(0.05, 20))
def test_gaussian_is_the_naive_one_and_scipys(seed, variance):
    mean, y = normal(5, 3, seed=seed), normal(5, 3, seed=seed + 1)
    values = Gaussian(variance, reduction="none")(mean, y)
    twin = naive.gaussian_nll(mean.tolist(), [[variance] * 3] * 5, y.tolist())
    np.testing.assert_allclose(values, twin, rtol=1e-9)
    np.testing.assert_allclose(values, -stats.norm.logpdf(y, mean, math.sqrt(variance)).sum(1), rtol=1e-9)
    torch.testing.assert_close(Gaussian(variance)(mean, y), values.mean())


def test_gaussian_with_learned_variance_is_torchs_distribution():
    output, y = normal(5, 6), normal(5, 3, seed=1)
    mean, log_variance = output[:, :3], output[:, 3:]
    expected = -torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(y).sum(1)
    torch.testing.assert_close(Gaussian("learned", reduction="none")(output, y), expected)
    twin = naive.gaussian_nll(mean.tolist(), log_variance.exp().tolist(), y.tolist())
    np.testing.assert_allclose(Gaussian("learned", reduction="none")(output, y), twin, rtol=1e-9)


def test_learned_variance_takes_a_target_of_one_axis():
    output, y = normal(5, 2), normal(5, seed=1)
    torch.testing.assert_close(Gaussian("learned")(output, y), Gaussian("learned")(output, y[:, None]))


def test_least_squares_is_gaussian_with_variance_1():
    output, y = normal(7, 3).requires_grad_(), normal(7, 3, seed=1)
    loss = Gaussian()(output, y)
    torch.testing.assert_close(loss, 3 * (nn.MSELoss()(output, y) / 2 + math.log(2 * math.pi) / 2))
    (ours,) = torch.autograd.grad(loss, output)
    (theirs,) = torch.autograd.grad(nn.MSELoss()(output, y) * 3 / 2, output)
    torch.testing.assert_close(ours, theirs)


def test_the_most_likely_line_is_the_least_squares_line():
    x, y = torch.cat([normal(31, 2), torch.ones(31, 1)], 1), normal(31, seed=1)
    w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(Gaussian()(x @ w, y), w)
    hessian = torch.autograd.functional.hessian(lambda w: Gaussian()(x @ w, y), w)
    torch.testing.assert_close(w - torch.linalg.solve(hessian, gradient), torch.linalg.lstsq(x, y).solution)


def test_the_most_likely_variance_is_the_mean_square():
    y = normal(101) * 3 + 2
    log_variance = torch.log(((y - 2) ** 2).mean()).requires_grad_()
    output = torch.stack([torch.full_like(y, 2), log_variance.expand(101)], 1)
    (slope,) = torch.autograd.grad(Gaussian("learned")(output, y), log_variance)
    assert abs(slope) < 1e-12


def test_an_image_is_one_example_and_its_pixels_are_summed():
    output, y = normal(3, 2, 5, 7), normal(3, 2, 5, 7, seed=1)
    values = Gaussian(reduction="none")(output, y)
    torch.testing.assert_close(values, Gaussian(reduction="none")(output.flatten(1), y.flatten(1)))


# Bernoulli


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS)
def test_bernoulli_is_the_naive_one_for_soft_targets_too(seed):
    logits, y = normal(5, 3, seed=seed), torch.sigmoid(normal(5, 3, seed=seed + 1))
    values = Bernoulli(reduction="none")(logits, y)
    np.testing.assert_allclose(values, naive.bernoulli_nll(logits.tolist(), y.tolist()), rtol=1e-9)
    torch.testing.assert_close(Bernoulli()(logits, y), 3 * nn.BCEWithLogitsLoss()(logits, y))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_bernoulli_takes_yes_and_no_of_any_kind(dtype):
    logits, y = normal(5).float(), torch.tensor([0, 1, 1, 0, 1])
    expected = -torch.distributions.Bernoulli(logits=logits).log_prob(y.float()).mean()
    torch.testing.assert_close(Bernoulli()(logits, y.to(dtype)), expected)


def test_two_classes_are_a_coin():
    z, y = normal(7), classes(7, 2)
    torch.testing.assert_close(Bernoulli()(z, y), Categorical()(torch.stack([torch.zeros(7), z], 1), y))


# Categorical


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, smoothing=st.sampled_from([0.0, 0.1, 1.0]), weighted=st.booleans())
def test_categorical_is_the_naive_one_and_torchs(seed, smoothing, weighted):
    logits, y = normal(7, 5, seed=seed), classes(7, 5, seed)
    weights = torch.rand(5, generator=torch.Generator().manual_seed(seed)) + 0.1 if weighted else None
    loss = Categorical(smoothing, weights, reduction="none")
    twin = naive.categorical_nll(logits.tolist(), y.tolist(), smoothing, weights.tolist() if weighted else None)
    np.testing.assert_allclose(loss(logits, y), twin, rtol=1e-6)
    theirs = F.cross_entropy(logits, y, None if weights is None else weights.double(), label_smoothing=smoothing)
    torch.testing.assert_close(Categorical(smoothing, weights)(logits, y), theirs)


def test_categorical_trains_exactly_as_torchs_cross_entropy():
    logits, y = normal(7, 5).float(), classes(7, 5)
    assert torch.equal(Categorical(0.1)(logits, y), nn.CrossEntropyLoss(label_smoothing=0.1)(logits, y))
    assert torch.equal(Categorical()(logits, y.to(torch.uint8)), nn.CrossEntropyLoss()(logits, y))


def test_shares_of_the_classes_are_a_target_too():
    logits, y = normal(7, 5), classes(7, 5)
    shares = F.one_hot(y, 5).double()
    torch.testing.assert_close(Categorical()(logits, shares), Categorical()(logits, y))
    soft = normal(7, 5, seed=1).softmax(1)
    expected = -torch.distributions.Categorical(logits=logits).logits.mul(soft).sum(1)
    torch.testing.assert_close(Categorical(reduction="none")(logits, soft), expected)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_positions_of_an_example_are_summed(weights, smoothing):
    logits, y = normal(5, 3, 7), classes(35, 3).reshape(5, 7)
    loss = Categorical(smoothing, weights)
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    torch.testing.assert_close(loss(logits, y), 7 * F.cross_entropy(logits, y, tensor, label_smoothing=smoothing))
    values = Categorical(smoothing, weights, reduction="none")(logits, y)
    assert values.shape == (5,)
    if weights is None:
        torch.testing.assert_close(loss(logits, y), values.mean())


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_missing_label_counts_as_it_does_in_torch(weights, smoothing):
    logits, y = normal(5, 3), torch.tensor([0, 2, -100, 1, 2])
    known = y != -100
    loss = Categorical(smoothing, weights)
    torch.testing.assert_close(loss(logits, y), loss(logits[known], y[known]))


# Many models at once


@pytest.mark.parametrize(
    ("loss", "columns", "target"),
    [
        (Gaussian(), 3, normal(2, 5, 3, seed=1)),
        (Gaussian("learned"), 6, normal(2, 5, 3, seed=1)),
        (Bernoulli(), 3, torch.sigmoid(normal(2, 5, 3, seed=1))),
        (Categorical(0.1, [1.0, 2.0, 3.0]), 3, classes(10, 3).reshape(2, 5)),
    ],
    ids=lambda case: type(case).__name__,
)
def test_losses_can_be_stacked(loss, columns, target):
    output = normal(2, 5, columns)
    stacked = torch.func.vmap(loss)(output, target)
    torch.testing.assert_close(stacked, torch.stack([loss(o, t) for o, t in zip(output, target, strict=True)]))


def test_a_penalty_of_stacked_models_is_that_of_each():
    models = [nn.Sequential(Frozen(nn.Linear(3, 5)), nn.Linear(5, 2)) for _ in range(2)]
    parameters, _ = torch.func.stack_module_state([model[1] for model in models])

    class Penalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = models[0]

        def forward(self) -> torch.Tensor:
            return L2(0.1)(self.model)

    named = {f"model.1.{name}": tensor for name, tensor in parameters.items()}
    stacked = torch.func.vmap(lambda state: torch.func.functional_call(Penalized(), state, ()))(named)
    torch.testing.assert_close(stacked, torch.stack([L2(0.1)(model) for model in models]))


# Penalties


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 5), Frozen(nn.Linear(5, 7)))


def test_penalties_are_sums_over_trained_weights():
    model = network()
    weights = torch.cat([model[0].weight.flatten(), model[3].weight.flatten()])
    torch.testing.assert_close(L2(0.3)(model), 0.15 * weights.square().sum())
    torch.testing.assert_close(L1(0.3)(model), 0.3 * weights.abs().sum())
    everything = torch.cat([p.flatten() for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(L1(0.3, biases=True)(model), 0.3 * everything.abs().sum())


def test_penalties_add_up():
    model = network()
    total = L2(0.3) + L1(0.2) + L2(0.1)
    torch.testing.assert_close(total(model), L2(0.4)(model) + L1(0.2)(model))
    torch.testing.assert_close((L1(0.2) + (L2(0.3) + L1(0.1)))(model), L2(0.3)(model) + L1(0.3)(model))
    assert total == L2(0.3) + L1(0.2) + L2(0.1)


def test_a_model_without_weights_costs_nothing():
    assert L2(0.3)(nn.ReLU()) == 0


def test_l2_is_torchs_weight_decay():
    model = nn.Linear(3, 5).double()
    start = [p.detach().clone() for p in model.parameters()]
    L2(0.3, biases=True)(model).backward()
    for parameter, before in zip(model.parameters(), start, strict=True):
        torch.testing.assert_close(parameter.grad, 0.3 * before)


def test_l2_is_a_normal_prior_ridge_regression():
    """The most probable weights under a normal prior of variance 1 / (n lambda) are those of ridge regression."""
    n, strength = 31, 0.07
    x, y = normal(n, 3), normal(n, 1, seed=1)
    model = nn.Linear(3, 1, bias=False).double()
    ridge = torch.linalg.solve(x.mT @ x + n * strength * torch.eye(3).double(), x.mT @ y)
    with torch.no_grad():
        model.weight.copy_(ridge.mT)
    (Gaussian()(model(x), y) + L2(strength)(model)).backward()
    assert model.weight.grad.abs().max() < 1e-12
    prior = torch.distributions.Normal(torch.tensor(0.0), 1 / math.sqrt(n * strength))
    other = torch.ones(1, 3, dtype=torch.float64)
    difference = (prior.log_prob(other) - prior.log_prob(ridge.mT)).sum() / n
    penalty = L2(strength)(model)
    model.weight.data = other
    torch.testing.assert_close(penalty - L2(strength)(model), difference, rtol=1e-6, atol=0)


# Errors


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Gaussian(0.0), "variance is 0.0, but it must be a positive number or 'learned'. Give 1.0 for least"),
        (lambda: Gaussian("lerned"), "Gaussian: variance is 'lerned'"),
        (lambda: Gaussian(reduction="sum"), r"reduction is 'sum', .* For a sum, call .sum\(\) on those values."),
        (
            lambda: Categorical(1.1),
            "label_smoothing is 1.1, but it is the share .* between 0 and 1. Give for instance 0.1",
        ),
        (lambda: Categorical(class_weights=[1.0, -1.0]), r"class_weights is \[1.0, -1.0\], .* Give for instance"),
        (lambda: L2(-0.1), "L2: strength is -0.1, but it must be at least 0 and finite. Give for instance 1e-4"),
        (lambda: L1(math.nan), "L1: strength is nan"),
    ],
)
def test_arguments_out_of_range_say_what_and_how_to_mend(build, said):
    with pytest.raises(RecipeError, match=said):
        build()


@pytest.mark.parametrize(
    ("loss", "output", "target", "said"),
    [
        (Gaussian(), (5, 1), (5,), r"Gaussian: the output .* \(5, 1\) and the target \(5,\), .* target.unsqueeze\(1\)"),
        (Gaussian(), (5,), (5, 1), r"the output has shape \(5,\) and the target \(5, 1\), .* target.squeeze\(1\)"),
        (Gaussian(), (5, 3), (5, 2), "Give the model as many outputs as an example has target values."),
        (
            Gaussian("learned"),
            (5, 3),
            (5, 3),
            r"\(5, 3\) for a target \(5, 3\), .* needs 6 columns: .* Give the model 6 outp",
        ),
        (Gaussian("learned"), (5,), (5,), r"needs 2 columns: a mean and a log variance .* or say variance=1.0."),
        (Bernoulli(), (5, 1), (5,), r"Bernoulli: the output has shape \(5, 1\) and the target \(5,\)"),
    ],
)
def test_shapes_that_would_broadcast_in_silence_are_refused(loss, output, target, said):
    with pytest.raises(RecipeError, match=said):
        loss(torch.zeros(output), torch.zeros(target))


@pytest.mark.parametrize(
    ("loss", "shape", "target", "said"),
    [
        (Bernoulli(), (3,), [1, 2, 1], "targets lie between 1 and 2, .* labels 1 and 2 by target - 1"),
        (Bernoulli(), (2,), [-1, 1], r"between -1 and 1, .* Map labels -1 and 1 by \(target \+ 1\)"),
        (Categorical(), (2, 3), [1, 3], r"run from 1 to 3, .* \(2, 3\) has 3 .* Subtract 1 from the target."),
        (Categorical(), (2, 3), [0, 5], "from 0 to 5, but .* 0 to 2. Give the model 6 outputs."),
        (Categorical(), (2, 3), [0, -1], "from -1 to 0, .* Count classes from 0; -100 marks a missing label."),
        (Categorical(), (2, 3), [0.0, 1.0], r"holds float32, .* Say target.long\(\); shares of the classes have"),
        (Categorical(), (2, 3), [[0], [1]], r"\(2, 1\), .* here \(2,\). Drop .* target.squeeze\(1\)."),
        (Categorical(), (2,), [0, 1], r"logits have shape \(2,\) .* is for Bernoulli."),
        (Categorical(), (2, 3, 5), [0, 1], r"go with class numbers \(batch, ...\), here \(2, 5\)."),
        (Categorical(class_weights=[1.0, 2.0]), (2, 3), [0, 1], "2 class weights .* of 3 classes. Give one weight for"),
    ],
)
def test_targets_of_another_kind_are_refused(loss, shape, target, said):
    with pytest.raises(RecipeError, match=said):
        loss(torch.zeros(shape), torch.tensor(target))
