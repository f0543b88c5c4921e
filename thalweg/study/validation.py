r"""validation: how far a single split, k-fold and a test set are from the truth, and what peeking costs.

A few digits are there to choose by; all others stand for the truth. A single split judges on a fifth of the few, 5-fold
cross-validation on all of them in turn, so that its error is smaller (Kohavi, "A Study of Cross-Validation", 1995).
Choosing the best of many models by a score picks those that were lucky in it: the score of the chosen one is too high
by what luck gave, $E[\max_i s_i] \ge \max_i E[s_i]$ (Cawley & Talbot, "On Over-fitting in Model Selection", 2010), and
the more so, the more were tried. That holds for a test set that is used to choose just as for a validation set.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor, nn

from thalweg.core.arrays import ArraySource
from thalweg.core.folds import folds as fold_ids
from thalweg.core.source import Splits
from thalweg.measure import accuracy as share_right
from thalweg.nn import mlp
from thalweg.study.arms import Progress, accuracy, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, PIXELS, Split, digits
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, cross_validate

SEEDS = 24
FOLDS = 5
WIDTHS = (16, 24, 32, 48)
"""Of the networks that are chosen from."""
ESTIMATES = ("single split", f"{FOLDS}-fold", "test set")


def study(seeds: Sequence[int], progress: Progress, *, models: int = 12, epochs: int = 30, few: int = 200) -> Study:
    """For each seed: the three estimates of one recipe's accuracy, then the best of many models by a single split."""
    scores, truths = [], []
    for number, seed in enumerate(seeds, 1):
        scores.append(_estimates(seed, epochs, few))
        truths.append(_candidates(seed, models, epochs, few))
        progress(number / len(seeds), f"seed {seed}")
    errors = np.array(scores)
    validation, truth = np.moveaxis(np.array(truths), -1, 0)
    figure, axes = panels(2)
    draw_errors(errors, axes[0])
    draw_peeking(validation, truth, axes[1])
    return Study(
        name="validation",
        claim=STUDIES["validation"],
        question="How far is each estimate of the accuracy from the truth, and how far is the best score of many?",
        method=f"{few} digits to train and to choose by: {few // FOLDS} of them in a single split or a fold; a test "
        f"set of as many; the truth is the accuracy on all other digits. The best of {models} networks of widths "
        f"{WIDTHS}.",
        seeds=tuple(seeds),
        columns=("estimate", "mean error", "mean distance from the truth", "largest distance"),
        rows=(
            *((name, *_summary(errors[:, i])) for i, name in enumerate(ESTIMATES)),
            (f"best of {models} by a single split", *_summary(chosen(validation, truth))),
            (f"all {models} by a single split", *_summary((validation - truth).mean(1))),
        ),
        checks=decide(errors, validation, truth),
        settings={"models": models, "epochs": epochs, "few": few, "folds": FOLDS, "optimizer": "Adam(lr=0.01)"},
        figure=figure,
    )  # fmt: skip


def decide(
    errors: Float[np.ndarray, "seed estimate"],
    validation: Float[np.ndarray, "seed model"],
    truth: Float[np.ndarray, "seed model"],
) -> tuple[Check, ...]:
    """A single split is farther off than k-fold; and the chosen model's score is more too high than the others' are."""
    farther = np.abs(errors[:, 0]) - np.abs(errors[:, 1])
    luck = chosen(validation, truth) - (validation - truth).mean(axis=1)
    return (
        over_seeds("distance from the truth, single split - k-fold", farther, above=0.0),
        over_seeds("score - truth, of the best by a single split - of all", luck, above=0.0),
    )


def chosen(
    validation: Float[np.ndarray, "seed model"], truth: Float[np.ndarray, "seed model"]
) -> Float[np.ndarray, " seed"]:
    """By how much the score of the model that it chose is too high; of equal ones the first is chosen."""
    best = validation.argmax(axis=1)[:, None]
    return (np.take_along_axis(validation, best, 1) - np.take_along_axis(truth, best, 1))[:, 0]


def draw_errors(errors: Float[np.ndarray, "seed estimate"], ax: Axes) -> Axes:
    """The error of each estimate, a point for each seed, and their standard deviation."""
    for place, color in enumerate(COLORS[: len(ESTIMATES)]):
        spread = np.linspace(-0.18, 0.18, len(errors))
        ax.plot(place + spread, errors[:, place], "o", color=color, markersize=4, alpha=0.7)
        mean, deviation = errors[:, place].mean(), errors[:, place].std()
        ax.errorbar(place + 0.3, mean, deviation, fmt="_", color="0.2", capsize=4)
    ax.axhline(0, color="0.6", linewidth=0.8, linestyle="--")
    ax.set_xticks(range(len(ESTIMATES)), ESTIMATES)
    ax.set(ylabel="estimated - true accuracy")
    ax.set_title("a dot a seed; bars: mean and standard deviation", fontsize=10)
    return ax


def draw_peeking(validation: Float[np.ndarray, "seed model"], truth: Float[np.ndarray, "seed model"], ax: Axes) -> Axes:
    """The score of the best and its true accuracy, by the number of models it was chosen from; means over seeds."""
    counts = np.arange(1, validation.shape[1] + 1)
    best = [validation[:, :count].argmax(axis=1) for count in counts]
    rows = np.arange(len(validation))
    for values, color, label in (
        (validation, COLORS[1], "its score on the data that chose it"),
        (truth, COLORS[0], "its true accuracy"),
    ):
        means = [values[rows, pick].mean() for pick in best]
        ax.plot(counts, means, marker="o", markersize=4, color=color, label=label)
    ax.set(xlabel="models tried", ylabel="accuracy of the best")
    ax.set_title("the price of peeking", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _estimates(seed: int, epochs: int, few: int) -> list[float]:
    """Single split, k-fold and a test set of the same size as a fold, each minus the truth."""
    whole = digits(seed, train=few, validation=few // FOLDS)
    train, held_out = _single_split(seed, few)
    arms = {"all": [_recipe(whole.train, seed, epochs)], "part": [_recipe(train, seed, epochs)]}
    runs = train_arms(arms, lambda share, what: None)
    crossed = cross_validate(_recipe(whole.train, seed, epochs), folds=FOLDS, device="cpu")
    truth = accuracy(runs["all"][0].last, whole.test)
    estimates = (
        accuracy(runs["part"][0].last, held_out),
        float(np.mean([fold["accuracy"] for fold in crossed.folds])),
        accuracy(runs["all"][0].last, whole.validation),
    )
    return [estimate - truth for estimate in estimates]


def _candidates(seed: int, models: int, epochs: int, few: int) -> list[tuple[float, float]]:
    """The validation score and the true accuracy of each of many networks trained on the same part."""
    train, held_out = _single_split(seed, few)
    widths = [WIDTHS[number % len(WIDTHS)] for number in range(models)]
    recipes = [_recipe(train, seed + 50_000 * (number + 1), epochs, width) for number, width in enumerate(widths)]
    runs = train_arms({"candidates": recipes}, lambda share, what: None)["candidates"]
    others = digits(seed, train=few).test
    return [(accuracy(run.last, held_out), accuracy(run.last, others)) for run in runs]


def _single_split(seed: int, few: int) -> tuple[Split, Split]:
    """A fold of a partition that is not the cross-validation's: a split that is drawn for itself."""
    x, y = digits(seed, train=few).train
    train, held_out = fold_ids(ArraySource((x, y), None), FOLDS, seed + 500)[0]
    return (x[train], y[train]), (x[held_out], y[held_out])


def _recipe(train: tuple[Tensor, Tensor], seed: int, epochs: int, width: int = 32) -> Recipe:
    return Recipe(
        data=Splits(train=train),
        model=partial(mlp, PIXELS, CLASSES, width=width, depth=1),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        batch_size=None,
        epochs=epochs,
        seed=seed,
        metrics={"accuracy": share_right},
    )


def _summary(errors: Float[np.ndarray, " seed"]) -> tuple[float, float, float]:
    return float(errors.mean()), float(np.abs(errors).mean()), float(np.abs(errors).max())
