"""Metrics against scikit-learn, naive loops and torchmetrics; calibration on generated logits and on real digits."""

import math
import warnings

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from sklearn.datasets import load_digits
from torch import nn
from torchmetrics.functional.classification import multiclass_calibration_error

from thalweg.core.errors import RecipeError
from thalweg.loss import Categorical
from thalweg.measure import (
    METRICS,
    accuracy,
    advised_temperature,
    auc,
    balanced_accuracy,
    expected_calibration_error,
    f1,
    gradient_norm,
    mae,
    r2,
    reliability,
    rmse,
    temperature,
)
from thalweg.nn import Temperature, mlp

CLASSIFICATION = [accuracy, balanced_accuracy, f1, auc, expected_calibration_error]
REGRESSION = [mae, rmse, r2]


def draw(seed: int, n: int = 31, classes: int = 5, present: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits on a coarse grid, so that there are ties, and class numbers below `present`."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-4, 5, (n, classes), generator=generator) / 2
    return logits, torch.randint(present, (n,), generator=generator)


SEEDS = st.integers(0, 2**16)


# Classes


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, present=st.integers(1, 5))
def test_metrics_of_classes_are_scikit_learns_absent_classes_or_not(seed, present):
    logits, y = draw(seed, present=present)
    guess = logits.argmax(1)
    assert accuracy(logits, y).mean().item() == pytest.approx(sklearn_metrics.accuracy_score(y, guess))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        balanced = sklearn_metrics.balanced_accuracy_score(y, guess)
    assert balanced_accuracy(logits, y).item() == pytest.approx(balanced, abs=1e-6)
    assert f1(logits, y).item() == pytest.approx(sklearn_metrics.f1_score(y, guess, average="macro"), abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, present=st.integers(2, 5))
def test_auc_is_the_share_of_pairs_in_order(seed, present):
    logits, y = draw(seed, present=present)
    p = logits.double().log_softmax(1)
    areas = [naive.pairs_in_order(p[:, k].tolist(), (y == k).tolist()) for k in y.unique().tolist()]
    assert auc(logits, y).item() == pytest.approx(np.mean(areas), abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS)
def test_auc_of_yes_and_no_is_scikit_learns(seed):
    logits, y = draw(seed, classes=2, present=2)
    z = logits[:, 1] - logits[:, 0]
    expected = sklearn_metrics.roc_auc_score(y, z)
    for output in (z, z[:, None], logits):
        assert auc(output, y).item() == pytest.approx(expected, abs=1e-6)


def test_regression_far_from_zero_is_exact_in_double_precision():
    y = 1.7e9 + torch.linspace(-100, 100, 31, dtype=torch.float64)
    off = torch.linspace(-20, 30, 31, dtype=torch.float64)
    assert mae(y + off, y).mean().item() == pytest.approx(off.abs().mean().item(), rel=1e-6)
    assert r2(y + off, y).item() == pytest.approx(sklearn_metrics.r2_score(y, y + off), rel=1e-6)


def test_no_temperature_is_advised_that_makes_confidence_worse():
    generator = torch.Generator().manual_seed(0)
    kept = 0
    for _ in range(60):
        logits = torch.randn(23, 3, generator=generator) * 2
        y = (logits + torch.randn(23, 3, generator=generator) * 2).argmax(1)
        heat = advised_temperature(logits, y)
        assert heat in (1.0, temperature(logits, y))
        before, after = (expected_calibration_error(logits / t, y) for t in (1.0, heat))
        assert after <= before
        kept += heat == 1.0
    assert 0 < kept < 60


def test_auc_tells_large_logits_apart():
    """A sigmoid is 1 for all of these: after it, as torchmetrics has it, the area is 0.5."""
    assert auc(torch.tensor([18.0, 19.0, 20.0, 25.0, 30.0]), torch.tensor([0, 0, 1, 1, 1])) == 1


def test_the_logit_of_yes_has_two_classes():
    z, y = torch.tensor([2.0, -1.0, 0.5, -3.0, 1.0]), torch.tensor([1, 0, 0, 1, 1])
    two = torch.stack([torch.zeros(5), z], 1)
    for metric in CLASSIFICATION:
        for output, target in (
            (z, y),
            (z[:, None], y),
            (z[:, None], y[:, None].float()),
            (z, y.bool()),
            (two, y[:, None]),
        ):
            torch.testing.assert_close(metric(output, target), metric(two, y))
    assert f1(z, y).item() == pytest.approx(sklearn_metrics.f1_score(y, z > 0, average="macro"))


def test_soft_targets_count_as_their_likeliest_class():
    logits, y = draw(0)
    soft = nn.functional.one_hot(y, 5) * 0.6 + 0.08
    for metric in CLASSIFICATION:
        torch.testing.assert_close(metric(logits, soft), metric(logits, y))


def test_a_single_class_has_no_auc_and_all_else():
    logits, _ = draw(0)
    y = torch.full((31,), 2)
    assert auc(logits, y).isnan()
    for metric in (accuracy, balanced_accuracy, f1, expected_calibration_error):
        assert metric(logits, y).isfinite().all()


def test_an_output_of_nan_has_no_metric():
    logits, y = draw(0)
    logits[3, 1] = torch.nan
    for metric in (balanced_accuracy, f1, auc, expected_calibration_error):
        assert metric(logits, y).isnan()
    assert accuracy(logits, y).isnan().nonzero().tolist() == [[3]]
    assert math.isnan(temperature(logits, y))


@pytest.mark.parametrize(
    ("output", "target", "said"),
    [
        (
            torch.zeros(3, 5),
            torch.tensor([0, 5, 1]),
            r"from 0 to 5, but an output \(3, 5\) knows classes 0 to 4. Number .* 6",
        ),
        (
            torch.zeros(3),
            torch.tensor([0, 2, 1]),
            r"from 0 to 2, but an output \(3,\) knows classes 0 to 1. .* 3 outputs",
        ),
        (torch.zeros(3, 5), torch.tensor([0, -1, 1]), "run from -1 to 1"),
        (
            torch.zeros(3, 5),
            torch.zeros(3),
            r"holds float32 .* Say target.long\(\), or measure a regression by mae, rmse or",
        ),
        (
            torch.zeros(3, 5),
            torch.zeros(3, 2),
            r"an output \(3, 5\) and a target \(3, 2\), but they need .* flatten its",
        ),
        (torch.zeros(3, 5, 7), torch.zeros(3, 7), r"output.flatten\(0, 1\), target.flatten\(\)."),
        (torch.zeros(0, 5), torch.zeros(0).long(), "at least one example"),
    ],
)
def test_classes_that_do_not_fit_are_errors(output, target, said):
    for metric in CLASSIFICATION:
        with pytest.raises(RecipeError, match=said):
            metric(output, target)


# Numbers


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, columns=st.sampled_from([None, 1, 3]), offset=st.sampled_from([0.0, 1e5]))
def test_metrics_of_numbers_are_scikit_learns_far_from_0_too(seed, columns, offset):
    generator = torch.Generator().manual_seed(seed)
    shape = (31,) if columns is None else (31, columns)
    y = torch.randn(shape, generator=generator) * 10 + offset
    output = y + torch.randn(shape, generator=generator) * 3
    numbers = y.double().numpy(), output.double().numpy()
    assert mae(output, y).mean().item() == pytest.approx(sklearn_metrics.mean_absolute_error(*numbers), rel=1e-5)
    assert mae(output, y).shape == (31,)
    assert rmse(output, y).item() == pytest.approx(math.sqrt(sklearn_metrics.mean_squared_error(*numbers)), rel=1e-5)
    assert r2(output, y).item() == pytest.approx(sklearn_metrics.r2_score(*numbers), rel=1e-5)
    assert r2(output * 1e-6, y * 1e-6).item() == pytest.approx(r2(output, y).item(), abs=0.01 if offset else 1e-5)


def test_a_constant_has_no_r2_and_takes_no_part_in_the_mean():
    y = torch.stack([torch.arange(5.0), torch.full((5,), 0.1)], 1)
    output = y + 0.5
    assert r2(output[:, 1], y[:, 1]).isnan()
    torch.testing.assert_close(r2(output, y), r2(output[:, 0], y[:, 0]))


def test_means_of_a_learned_variance_are_measured():
    y = torch.randn(7, 3)
    output = torch.cat([y + 1, torch.full((7, 3), 9.0)], 1)
    for metric in REGRESSION:
        torch.testing.assert_close(metric(output, y), metric(output[:, :3], y))
        torch.testing.assert_close(metric(output[:, [0, 3]], y[:, 0]), metric(output[:, 0], y[:, 0]))


def test_whole_numbers_are_a_target_too():
    y = torch.arange(7)
    torch.testing.assert_close(mae(torch.zeros(7), y), y.float())


def test_shapes_that_would_broadcast_in_silence_are_errors():
    said = r"an output \(5, 1\) and a target \(5,\), but they need the same shape, .* target.unsqueeze\(1\), or measure"
    for metric in REGRESSION:
        with pytest.raises(RecipeError, match=said):
            metric(torch.zeros(5, 1), torch.zeros(5))


@pytest.mark.parametrize("name", METRICS)
def test_no_metric_keeps_a_gradient_or_changes_its_arguments(name):
    output = torch.randn(7, requires_grad=True)
    y = (torch.arange(7) % 2).float()
    before = output.detach().clone(), y.clone()
    assert not METRICS[name](output, y).requires_grad
    assert torch.equal(output, before[0])
    assert torch.equal(y, before[1])


# Calibration


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, bins=st.sampled_from([1, 7, 15]))
def test_calibration_error_is_the_naive_one_and_torchmetrics(seed, bins):
    logits = torch.randn(97, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    _, y = draw(seed, n=97)
    ours = expected_calibration_error(logits, y, bins).item()
    assert ours == pytest.approx(naive.calibration_error(logits.tolist(), y.tolist(), bins), abs=1e-9)
    theirs = multiclass_calibration_error(logits.softmax(1), y, 5, n_bins=bins, validate_args=False)
    assert ours == pytest.approx(theirs.item(), abs=1e-6)


def test_reliability_counts_every_example_once_even_at_confidence_1():
    logits, y = draw(0)
    logits[:7] = torch.tensor([200.0, 0, 0, 0, 0])
    table = reliability(logits, y, bins=11)
    assert table.count.sum() == 31
    assert table.count[-1] >= 7
    assert torch.equal(table.confidence.isnan(), table.count == 0)
    edges = torch.linspace(0, 1, 12)
    seen = table.count > 0
    assert (table.confidence[seen] >= edges[:-1][seen]).all()
    assert (table.confidence[seen] <= edges[1:][seen]).all()
    with pytest.raises(
        RecipeError, match=r"bins is 0, but confidences go into at least one bin. Give for instance bins=15"
    ):
        reliability(logits, y, bins=0)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("binary", [False, True])
def test_the_temperature_of_generated_labels_is_found(true, binary):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(20_011, 2 if binary else 7, generator=generator) * 2
    y = torch.multinomial((logits / true).softmax(1), 1, generator=generator)[:, 0]
    output = logits[:, 1] - logits[:, 0] if binary else logits
    assert temperature(output, y) == pytest.approx(true, rel=0.05)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, scale=st.floats(0.05, 20))
def test_no_other_temperature_is_likelier(seed, scale):
    logits, y = draw(seed)
    logits = logits.double() * scale
    best = temperature(logits, y)
    assert 0.01 <= best <= 100.001
    loss = Categorical()
    for other in (best * 1.02, best / 1.02):
        if 0.01 <= other <= 100:
            assert loss(logits / best, y) <= loss(logits / other, y) + 1e-9


def test_a_model_that_is_always_right_or_wrong_has_a_temperature_at_the_border():
    logits = torch.eye(5) * 3
    assert temperature(logits, torch.arange(5)) == pytest.approx(0.01)
    assert temperature(-logits, torch.arange(5)) == pytest.approx(100)
    assert temperature(torch.zeros(5, 3), torch.tensor([0, 1, 2, 0, 1])) == 1


def test_scaling_calibrates_an_overconfident_model_on_digits():
    x, y = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    x = (x / 16).float()
    torch.manual_seed(0)
    train, validation, test = torch.randperm(len(y)).split([97, 800, 900])
    model = mlp(64, 10, width=97, depth=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        Categorical()(model(x[train]), y[train]).backward()
        optimizer.step()
    t = temperature(model(x[validation]), y[validation])
    before, after = model(x[test]), Temperature(model, t)(x[test])
    assert t > 1.2
    assert expected_calibration_error(after, y[test]) < 0.75 * expected_calibration_error(before, y[test])
    assert Categorical()(after, y[test]) < Categorical()(before, y[test])
    assert torch.equal(accuracy(after, y[test]), accuracy(before, y[test]))


# Gradients


def test_the_gradient_norm_is_that_of_all_gradients_as_one_vector():
    parameters = [torch.randn(3, 5, requires_grad=True), torch.randn(7, requires_grad=True), torch.ones(2)]
    assert gradient_norm(parameters) is None
    (parameters[0].square().sum() + parameters[1].exp().sum()).backward()
    expected = torch.cat([2 * parameters[0].detach().flatten(), parameters[1].detach().exp()]).norm()
    torch.testing.assert_close(gradient_norm(parameters), expected)
    torch.testing.assert_close(gradient_norm(iter(parameters)), expected)


def test_the_gradient_norm_of_half_precision_and_of_sparse_gradients():
    half = torch.zeros(5, requires_grad=True, dtype=torch.float16)
    half.grad = torch.full((5,), 4e4, dtype=torch.float16)
    assert gradient_norm([half]).item() == pytest.approx(math.sqrt(5) * 4e4, rel=1e-3)
    words = nn.Embedding(7, 3, sparse=True)
    words(torch.tensor([1, 1, 5])).sum().backward()
    assert gradient_norm(words.parameters()).item() == pytest.approx(math.sqrt(3 * (4 + 1)))
