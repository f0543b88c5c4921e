"""Learning curves and thresholds, against curves of known numbers and against every threshold there is."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from thalweg import DataError
from thalweg.measure import Curve, best_threshold, learning_curve

SIZES = np.array([100, 200, 400, 800])


@pytest.mark.parametrize(
    ("floor", "scale", "exponent"), [(0.0, 3.0, 0.3), (0.5, 10.0, 1.0), (-2.0, 4.0, 0.5), (0.02, 1.0, 0.1)]
)
def test_a_curve_without_noise_is_found_again(floor: float, scale: float, exponent: float) -> None:
    curve = learning_curve(SIZES, floor + scale * SIZES**-exponent)
    assert curve.predicts(6400) == pytest.approx(floor + scale * 6400**-exponent, rel=2e-3, abs=2e-3)
    assert curve.exponent == pytest.approx(exponent, rel=0.05)
    assert curve.error < 1e-4
    aim = floor + scale * 1600**-exponent
    assert curve.needed(aim) == pytest.approx(1600, rel=0.05)


def test_a_noisy_curve_tells_what_twice_the_data_bring() -> None:
    noise = 0.005 * np.random.default_rng(0).normal(size=12)
    sizes = np.tile(SIZES, 3)
    curve = learning_curve(sizes, 0.2 + 3 * sizes**-0.5 + noise)
    assert curve.predicts(1600) == pytest.approx(0.2 + 3 / 40, abs=0.02)
    assert 0.001 < curve.error < 0.01
    assert "twice as many would bring it to 0.27" in curve.sentence


def test_what_does_not_fall_is_flat() -> None:
    curve = learning_curve(SIZES, [0.3, 0.31, 0.33, 0.34])
    assert curve.scale == 0
    assert curve.predicts(10**6) == pytest.approx(0.32)
    assert curve.needed(0.1) is None
    assert curve.needed(0.5) == 1


def test_what_no_data_bring() -> None:
    curve = Curve(floor=0.1, scale=1.0, exponent=0.02, error=0.0, largest=100)
    assert curve.needed(0.1) is None
    assert curve.needed(0.1 + 1e-12) is None or curve.needed(0.1 + 1e-12) > 10**100


@pytest.mark.parametrize(
    ("sizes", "losses", "says"),
    [
        ([1, 2], [1.0, 2.0, 3.0], "2 sizes and 3 losses"),
        ([100, 200, 400], [1.0, float("nan"), 2.0], "Leave diverged trainings out"),
        ([0, 200, 400], [1.0, 1.0, 2.0], "1 example or more"),
        ([100, 100, 400], [1.0, 1.0, 2.0], "are of 2 sizes, but"),
        ([], [], "are of 0 sizes"),
        (["a", "b", "c"], [1, 2, 3], "fitted to numbers"),
    ],
)
def test_what_is_no_curve_is_refused(sizes: list[float], losses: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        learning_curve(sizes, losses)


@pytest.mark.parametrize(
    ("by", "measured"),
    [("balanced_accuracy", balanced_accuracy_score), ("f1", f1_score), ("accuracy", accuracy_score)],
)
def test_no_threshold_is_better(by: str, measured: object) -> None:
    draw = np.random.default_rng(1)
    labels = (draw.random(200) < 0.15).astype(int)
    scores = np.round(np.clip(0.25 * labels + 0.2 * draw.random(200), 0, 1), 2)  # with ties
    found = best_threshold(scores, labels, by)
    assert callable(measured)
    every = [measured(labels, scores > at) for at in np.linspace(-0.5, 1.5, 401)]
    assert found.value == pytest.approx(max(every))
    assert measured(labels, scores > found.at) == pytest.approx(found.value)
    assert measured(labels, scores > 0.5) == pytest.approx(found.plain)
    assert found.gain >= 0


def test_a_threshold_that_is_good_stays() -> None:
    found = best_threshold(torch.tensor([[-1.0], [2.0]]), torch.tensor([0, 1]), usual=0.0)
    assert (found.at, found.gain) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("scores", "labels", "by", "says"),
    [
        ([0.1, 0.2], [0, 1, 1], "f1", "one finite score and one label"),
        ([[0.1, 0.9], [0.2, 0.8]], [0, 1], "f1", "probability of the second class alone"),
        ([0.1, float("inf")], [0, 1], "f1", "finite"),
        ([0.1, 0.2], [1, 1], "f1", "both 0 and 1"),
        ([0.1, 0.2], [1, 2], "f1", "both 0 and 1"),
        ([0.1, 0.2], [0, 1], "auc", "chosen by one of"),
    ],
)
def test_what_has_no_threshold_is_refused(scores: object, labels: object, by: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        best_threshold(scores, labels, by)
