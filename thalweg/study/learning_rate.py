r"""learning-rate: four rates of gradient descent, on a bowl whose answer is known and on digits.

On a bowl the step $\theta := \theta - \eta g$ is stable up to $\eta = 2 / \lambda_{max}$ (`bowl.py`). A network's
curvature grows until it meets that bound, and from there on its loss rises and falls (Cohen et al., "Gradient Descent
on Neural Networks Typically Occurs at the Edge of Stability", 2021); far above it nothing is learned.
"""

from collections.abc import Sequence
from functools import partial
from math import log10

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import nn

from thalweg.nn import mlp
from thalweg.study.arms import Progress, train_arms
from thalweg.study.bowl import CURVATURE, descent, draw_bowl, heights
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, PIXELS, digits
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.verdict import Check, Study
from thalweg.study.walk import path
from thalweg.training import Recipe, Run

SEEDS = 8
LOW, GOOD, HIGH, FAR = "too low", "good", "too high", "far too high"
DIGITS_RATES = {LOW: 0.003, GOOD: 0.4, HIGH: 2.0, FAR: 10.0}
BOWL_RATES = {LOW: 0.05 / CURVATURE, GOOD: 1 / CURVATURE, HIGH: 1.98 / CURVATURE, FAR: 2.1 / CURVATURE}
SHOWN = 2
SHADES = (COLORS[0], COLORS[2], COLORS[1], COLORS[3])
LAST = 10
"""The loss at the end is the geometric mean of the last ten epochs, for a loss that swings."""
MOST = 6.0
"""A loss that is not finite counts as a million times the first."""


def study(seeds: Sequence[int], progress: Progress, *, epochs: int = 150, train: int = 512, steps: int = 30) -> Study:
    """Four rates on the bowl, from a start for each seed, and four on the digits, one full-batch step an epoch."""
    walks = train_arms(
        {
            name: [descent(partial(torch.optim.SGD, lr=rate), s, steps) for s in seeds]
            for name, rate in BOWL_RATES.items()
        },
        progress,
        (0.0, 0.2),
    )
    runs = train_arms(
        {name: [_recipe(rate, s, epochs, train) for s in seeds] for name, rate in DIGITS_RATES.items()},
        progress,
        (0.2, 1.0),
    )
    curves = {name: [[row["train_loss"] for row in run.history] for run in arm] for name, arm in runs.items()}
    figure, axes = panels(2)
    draw_bowl({f"{name}, {BOWL_RATES[name]:.3g}": path(arm[0]) for name, arm in walks.items()}, SHADES, axes[0])
    axes[0].legend(frameon=False, fontsize=7, loc="upper right")
    axes[0].set_title(f"a bowl, {steps} steps, stable below {2 / CURVATURE:g}", fontsize=10)
    draw_curves(curves, axes[1])
    return Study(
        name="learning-rate",
        claim=STUDIES["learning-rate"],
        question="What do four rates of plain gradient descent make of a bowl, and of a network?",
        method=f"A bowl of curvatures 1 and {CURVATURE:g}, stable below {2 / CURVATURE:g}, {steps} steps; a tanh "
        f"network 64-32-32-10 on {train} digits, {epochs} full-batch steps.",
        seeds=tuple(seeds),
        columns=(
            "rate is", "on the bowl", "bowl: end / start", "on digits", "digits: end loss", "steps that rise",
            "climbed / first loss",
        ),
        rows=tuple(
            (
                name,
                BOWL_RATES[name],
                _bowl_ratio(walks[name]),
                DIGITS_RATES[name],
                float(np.mean([end(curve) for curve in curves[name]])),
                float(np.mean([rising(curve) for curve in curves[name]])),
                float(np.mean([climbed(curve) for curve in curves[name]])),
            )
            for name in DIGITS_RATES
        ),
        checks=decide(curves),
        settings={
            "epochs": epochs, "train": train, "steps": steps, "digits_rates": DIGITS_RATES, "bowl_rates": BOWL_RATES,
        },
        figure=figure,
    )  # fmt: skip


def decide(curves: dict[str, list[list[float]]]) -> tuple[Check, ...]:
    """From the curves of every rate and seed: one check for each of the four words."""
    behind = [log10(end(low) / end(good)) for low, good in zip(curves[LOW], curves[GOOD], strict=True)]
    return (
        over_seeds("crawls: log10(end loss, too low / good)", behind, above=0.5),
        over_seeds("descends: share of steps that rise, good", [rising(c) for c in curves[GOOD]], below=0.05),
        over_seeds("oscillates: climbed in all / first loss, too high", [climbed(c) for c in curves[HIGH]], above=0.5),
        over_seeds("diverges: log10(end / first loss), far too high", [grown(c) for c in curves[FAR]], above=0.5),
    )


def end(curve: list[float]) -> float:
    """The loss at the end of a curve."""
    return float(np.exp(np.log(curve[-LAST:]).mean()))


def grown(curve: list[float]) -> float:
    """The end over the first loss, in powers of ten."""
    ratio = end(curve) / curve[0]
    return log10(ratio) if np.isfinite(ratio) and ratio < 10**MOST else MOST


def rising(curve: list[float]) -> float:
    """The share of steps after which the loss was higher."""
    return float(np.mean(np.diff(curve) > 0))


def climbed(curve: list[float]) -> float:
    """All rises of the loss together, over the first loss."""
    return float(np.maximum(np.diff(curve), 0).sum() / curve[0])


def draw_curves(curves: dict[str, list[list[float]]], ax: Axes) -> Axes:
    """Each rate's train loss on digits: the first seed as a line, another thin."""
    for color, (name, losses) in zip(SHADES, curves.items(), strict=False):
        for number, curve in enumerate(losses[:SHOWN]):
            ax.plot(
                range(1, len(curve) + 1), curve, color=color, linewidth=1.4 if number == 0 else 0.5,
                alpha=1.0 if number == 0 else 0.35, label=f"{name}, {DIGITS_RATES[name]:g}" if number == 0 else None,
            )  # fmt: skip
    ax.set(yscale="log", xlabel="epoch (one step)", ylabel="train loss")
    ax.set_title("digits (thin: another seed)", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _bowl_ratio(walks: list[Run]) -> float:
    ratios = [heights(places)[-1] / heights(places)[0] for places in map(path, walks)]
    return float(np.exp(np.log(ratios).mean()))


def _recipe(rate: float, seed: int, epochs: int, train: int) -> Recipe:
    return Recipe(
        data=digits(seed, train=train),
        model=partial(mlp, PIXELS, CLASSES, width=32, depth=2, activation="tanh"),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.SGD, lr=rate),
        batch_size=None,
        epochs=epochs,
        seed=seed,
    )
