"""How much more data would help, as words: against curves that are known, and silent where nothing supports them."""

import re

import numpy as np
import pytest

from thalweg.diagnosis.more_data import more_data
from thalweg.training.evaluate import ExampleLosses

SIZES = (400, 200, 100)


def losses(means: list[float], noise: float, examples: int = 400, groups: int = 0) -> list[list[ExampleLosses]]:
    """Two seeds for each size; what is hard of an example is hard for all of them."""
    random = np.random.default_rng(0)
    units = np.arange(examples) % groups if groups else None
    hard = random.normal(size=groups)[units] if units is not None else random.normal(size=examples)
    return [
        [
            ExampleLosses(np.maximum(mean * (1 + noise * hard) + seed * 1e-4 * mean, 0.0), np.ones(examples), units)
            for seed in (-1, 1)
        ]
        for mean in means
    ]


def curve(floor: float, scale: float, exponent: float) -> list[float]:
    return [floor + scale * size**-exponent for size in SIZES]


def test_the_number_is_that_of_the_curve_and_within_its_interval() -> None:
    told = more_data(SIZES, losses(curve(0.1, 2, 0.5), 0.05), 0.14)
    assert told is not None
    about, low, high = (int(each.replace(",", "")) for each in re.findall(r"(\d[\d,]+)(?= training| to|\sat)", told))
    assert abs(about - 2500) <= 300
    assert low <= about <= high
    assert told.endswith("would bring it to 0.14")


def test_noise_widens_the_interval() -> None:
    def width(noise: float) -> float:
        told = more_data(SIZES, losses(curve(0.0, 2, 0.5), noise, examples=60), None)
        assert told is not None
        low, high = re.findall(r"\(([\d.]+) to ([\d.]+) at", told)[0]
        return float(high) - float(low)

    assert width(0.8) > 3 * width(0.1)


def test_examples_of_one_unit_are_resampled_together() -> None:
    told = [more_data(SIZES, losses(curve(0.0, 2, 0.5), 0.5, groups=groups), None) for groups in (0, 5)]
    widths = [np.diff([float(each) for each in re.findall(r"\(([\d.]+) to ([\d.]+) at", one or "")[0]]) for one in told]
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(("aim", "words"), [(0.1, "more than 3,200"), (0.101, "more than 3,200"), (0.15, "about 1,")])
def test_beyond_eight_times_the_data_no_number_is_told(aim: float, words: str) -> None:
    told = more_data(SIZES, losses(curve(0.1, 2, 0.5), 0.0), aim)
    assert told is not None
    assert words in told


@pytest.mark.parametrize(
    "means",
    [[0.3, 0.3, 0.3], [0.4, 0.3, 0.2], [0.3, float("nan"), 0.5], [0.30, 0.60, 0.40]],
    ids=["flat", "rising", "no number", "a bump"],
)
def test_what_does_not_fall_along_a_curve_is_not_told(means: list[float]) -> None:
    assert more_data(SIZES, losses(means, 0.0), 0.1) is None


def test_two_sizes_are_no_curve() -> None:
    assert more_data(SIZES[:2], losses([0.2, 0.3], 0.0), 0.1) is None


def test_an_aim_that_is_reached_is_none() -> None:
    scored = losses(curve(0.1, 2, 0.5), 0.05)
    assert more_data(SIZES, scored, 0.3) == more_data(SIZES, scored, None)


@pytest.mark.battery
def test_the_interval_holds_what_it_says_where_runs_and_parts_of_the_data_scatter() -> None:
    random, sizes, needed, held = np.random.default_rng(0), (400, 200, 100), 1200, 0
    for _ in range(10):
        hard = random.normal(size=200)
        means = [(0.1 + 2 * n**-0.5) * (1 + 0.03 * random.normal()) for n in sizes]
        runs = [[mean * (1 + 0.03 * random.normal()) * (1 + 0.5 * hard) for _ in range(2)] for mean in means]
        scored = [[ExampleLosses(np.maximum(values, 0), np.ones(200), None) for values in own] for own in runs]
        told = more_data(sizes, scored, 0.1 + 2 * needed**-0.5)
        assert told is not None
        low, *high = (float(each.replace(",", "")) for each in re.findall(r"(?:\(|to |than )(\d[\d,]+)", told))
        held += low <= needed and not (high and high[-1] < needed)
    assert held >= 8
