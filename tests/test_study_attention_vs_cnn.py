"""The study attention-vs-cnn: its images are what it says, and it comes out false where the networks are alike."""

from typing import Any

import numpy as np
import pytest
import torch

from thalweg.core.errors import RecipeError
from thalweg.study import attention_vs_cnn as crossing
from thalweg.study import run_study
from thalweg.study.attention_vs_cnn import ATTENTION, BOTH, CNN, SHAPES, STRIPES

SMALL: dict[str, Any] = {"seeds": 2, "sizes": (8, 16), "steps": 2, "rates": (3e-3,)}


@pytest.mark.parametrize("arm", [ATTENTION, CNN])
def test_it_is_false_where_both_arms_are_one_network(arm: str) -> None:
    study = run_study("attention-vs-cnn", tasks=(BOTH,), arms={ATTENTION: arm, CNN: arm}, **SMALL)
    assert [check.value for check in study.checks] == [0.0, 0.0]
    assert [check.passed for check in study.checks] == [False, False]


@pytest.mark.battery
def test_attention_learns_the_shapes_from_few_images_and_a_cnn_does_not() -> None:
    study = run_study("attention-vs-cnn", seeds=2, tasks=(SHAPES,), sizes=(400,), steps=150, rates=(3e-3, 1e-2))
    accuracies = {arm: value for _, arm, value in study.rows}
    assert accuracies[ATTENTION] > 0.8
    assert accuracies[CNN] < 0.65


def test_it_decides_by_either_end_of_the_curves() -> None:
    random = np.random.default_rng(1)
    noise = {arm: random.normal(0.7, 0.02, size=(3, 6)) for arm in (ATTENTION, CNN)}
    crossed = noise | {CNN: noise[CNN] + np.array([[0.2], [0.0], [-0.2]])}
    ahead = noise | {CNN: noise[CNN] + 0.2}
    assert [[check.passed for check in crossing.decide("a", scores)] for scores in (noise, crossed, ahead)] == [
        [False, False],
        [True, True],
        [True, False],
    ]


def shapes_in(image: np.ndarray) -> list[int]:
    """Which shapes lie on an image: cells of large contrast, matched with what is drawn."""
    cells = image.reshape(4, 3, 4, 3).transpose(0, 2, 1, 3).reshape(16, 3, 3)
    misses = np.array([[np.abs(cell - (5 * drawn - 1) / 1.5).mean() for drawn in crossing.DRAWN] for cell in cells])
    return [int(misses[cell].argmin()) for cell in misses.min(1).argsort()[:2]]


def runs_falling(image: np.ndarray) -> bool:
    """Which way the stripes run: the larger of the two waves' amplitudes."""
    row, column = np.mgrid[:12, :12]
    waves = [abs((image * np.exp(2j * np.pi * (row + way * column) / 4)).sum()) for way in (-1, 1)]
    return bool(waves[1] > waves[0])


@pytest.mark.parametrize(
    ("task", "by_shapes", "by_stripes"), [(STRIPES, 0.5, 1.0), (SHAPES, 1.0, 0.5), (BOTH, 1.0, crossing.AGREE)]
)
def test_labels_are_those_of_the_shapes_or_of_the_stripes(task: str, by_shapes: float, by_stripes: float) -> None:
    x, y = crossing.pictures(600, 3, task)
    images, labels = x[:, 0].numpy(), y.numpy().astype(bool)
    alike = np.array([len(set(shapes_in(image))) == 1 for image in images])
    falling = np.array([runs_falling(image) for image in images])
    assert np.mean(alike == labels) == pytest.approx(by_shapes, abs=0.07)
    assert np.mean(falling == labels) == pytest.approx(by_stripes, abs=0.1)
    assert abs(labels.mean() - 0.5) < 0.07


def test_smaller_sets_are_parts_of_larger_ones_and_judged_alike() -> None:
    few, many = (crossing._recipe(BOTH, CNN, 1, 0.01, size=size, most=40, steps=8).data for size in (10, 40))
    assert torch.equal(few.train[0], many.train[0][:10])
    assert torch.equal(few.test[0], many.test[0])
    assert not torch.equal(few.test[0][:10], few.train[0])
    assert not torch.equal(crossing.pictures(10, 2, BOTH)[0], few.train[0])


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(RecipeError, match="knows no task 'shape'. Did you mean 'shapes'?"):
        run_study("attention-vs-cnn", tasks=("shape",))
    for settings in ({"tasks": ()}, {"sizes": ()}, {"sizes": (0, 50)}):
        with pytest.raises(RecipeError, match="the study needs a task and a number of images"):
            run_study("attention-vs-cnn", **settings)
    with pytest.raises(RecipeError, match="The study has no arm 'cnn'. Did you mean 'CNN'?"):
        run_study("attention-vs-cnn", arms={"cnn": ATTENTION})
