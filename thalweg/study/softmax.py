r"""softmax: what its temperature does, and whether its largest value is a confidence.

$p_i = e^{z_i / T} / \sum_j e^{z_j / T}$: the larger a logit, the more its share is pulled apart from the others, up to
argmax for $T \to 0$; for $T \to \infty$ all are equal. A *confidence* would be right as often as it says. A network
that goes on lowering its loss after every training example is right makes its logits ever longer, and claims too much
(Guo et al., "On Calibration of Modern Neural Networks", 2017); dividing them by one temperature, fitted on validation
data, mends much of it and changes no prediction.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import Tensor, nn

from thalweg.core.source import Splits
from thalweg.measure import expected_calibration_error, reliability, temperature
from thalweg.nn import mlp
from thalweg.study.arms import Progress, logits, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, PIXELS, digits
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 16
VALIDATION = 500
TEMPERATURES = tuple(float(t) for t in np.geomspace(0.03, 30, 25))
BINS = 10
SHOWN = (30.0, 5.0, 1.0, 0.1)
"""Temperatures at which one digit's probabilities are drawn."""


class Confidence(NamedTuple):
    """What a network claims and what it gets right on the test split."""

    confidence: float
    accuracy: float
    error: float
    """The expected calibration error."""

    @property
    def excess(self) -> float:
        """How much more it claims than it gets right."""
        return self.confidence - self.accuracy


def study(
    seeds: Sequence[int], progress: Progress, *, epochs: tuple[int, ...] = (15, 50, 150), train: int = 120
) -> Study:
    """Train on few digits for shorter and longer; judge claims on the test digits before and after one temperature."""
    arms = train_arms({f"{n} epochs": [_recipe(s, n, train) for s in seeds] for n in epochs}, progress)
    results = {name: [_judge(run, s, train) for run, s in zip(runs, seeds, strict=True)] for name, runs in arms.items()}
    longest = results[f"{epochs[-1]} epochs"]
    sharp = {t: np.array([float(_confidences(item["logits"], t).mean()) for item in longest]) for t in TEMPERATURES}
    agree = np.array([_distance_to_argmax(item["logits"], TEMPERATURES[0]) for item in longest])
    figure, axes = panels(3)
    draw_one(longest[0]["logits"], axes[0])
    draw_temperature(sharp, axes[1])
    draw_reliability(longest, axes[2])
    return Study(
        name="softmax",
        claim=STUDIES["softmax"],
        question="Is a network right as often as its softmax says?",
        method=f"A network 64-64-64-10 on {train} digits with Adam for {epochs} epochs; mean confidence against "
        f"accuracy on the test digits; the temperature is fitted on {VALIDATION} validation digits.",
        seeds=tuple(seeds),
        columns=("trained for", "temperature", "confidence", "accuracy", "claims too much", "calibration error"),
        rows=tuple(row for name, items in results.items() for row in _rows(name, items)),
        checks=decide([item["raw"] for item in longest], [item["scaled"] for item in longest], agree),
        settings={
            "epochs": epochs,
            "train": train,
            "validation": VALIDATION,
            "optimizer": "Adam(lr=0.003)",
        },
        figure=figure,
    )


def decide(raw: list[Confidence], scaled: list[Confidence], to_argmax: np.ndarray) -> tuple[Check, ...]:
    """From the test split of every seed: claims too much, one temperature mends much of it, cold is argmax."""
    mended = [before.error - after.error for before, after in zip(raw, scaled, strict=True)]
    return (
        over_seeds("confidence - accuracy", [item.excess for item in raw], above=0.01),
        over_seeds("calibration error, before - after one temperature", mended, above=0.01),
        over_seeds("distance of softmax at T = 0.03 to argmax", to_argmax, below=0.02),
    )


def draw_one(found: Float[Tensor, "batch class"], ax: Axes) -> Axes:
    """The probabilities of one test digit, the one whose largest is nearest to .6, at falling temperatures."""
    chosen = found[(_confidences(found, 1.0) - 0.6).abs().argmin()]
    for color, heat in zip(COLORS, SHOWN, strict=False):
        ax.plot(
            range(CLASSES), (chosen / heat).softmax(0).tolist(), "o-", color=color, markersize=4, label=f"T = {heat:g}"
        )
    ax.set(xlabel="class", ylabel="softmax of one digit", ylim=(0, 1.05))
    ax.set_xticks(range(CLASSES))
    ax.set_title("falling T: argmax", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_temperature(sharp: dict[float, np.ndarray], ax: Axes) -> Axes:
    """The mean of the largest softmax value by temperature, from 1/K (hot) to 1 (cold, argmax)."""
    values = np.array(list(sharp.values()))
    ax.plot(list(sharp), values.mean(1), color=COLORS[0])
    ax.fill_between(list(sharp), values.min(1), values.max(1), color=COLORS[0], alpha=0.18, linewidth=0)
    ax.axhline(1.0, color="0.6", linewidth=0.8, linestyle="--")
    ax.axhline(1 / CLASSES, color="0.6", linewidth=0.8, linestyle="--")
    ax.annotate("argmax", (TEMPERATURES[-1], 1.0), ha="right", va="top", fontsize=8, color="0.4")
    ax.annotate("all classes alike", (TEMPERATURES[0], 1 / CLASSES), ha="left", va="bottom", fontsize=8, color="0.4")
    ax.axvline(1.0, color="0.6", linewidth=0.8)
    ax.set(xscale="log", xlabel="temperature", ylabel="largest softmax value, mean", ylim=(0, 1.05))
    ax.set_title("mean and range of seeds", fontsize=10)
    return ax


def draw_reliability(items: list[dict[str, Any]], ax: Axes) -> Axes:
    """Accuracy by confidence over all seeds; a perfect confidence lies on the diagonal."""
    target = torch.cat([item["target"] for item in items])
    for key, color, label in (("logits", COLORS[1], "as trained"), ("cooled", COLORS[0], "with one temperature")):
        table = reliability(torch.cat([item[key] for item in items]), target, bins=BINS)
        seen = table.count >= 20
        ax.plot(table.confidence[seen], table.accuracy[seen], marker="o", markersize=4, color=color, label=label)
    ax.plot([0.2, 1], [0.2, 1], color="0.6", linewidth=0.8, linestyle="--", label="as sure as it is right")
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0.2, 1.01), ylim=(0, 1.02))
    ax.set_title("confidence against accuracy", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return ax


def _judge(run: Run, seed: int, train: int) -> dict[str, Any]:
    splits = digits(seed, train=train, validation=VALIDATION)
    x, target = splits.test
    heat = float(temperature(logits(run.last, splits.validation[0]), splits.validation[1]))
    found = logits(run.last, x)
    return {
        "temperature": heat,
        "target": target,
        "logits": found,
        "cooled": found / heat,
        "raw": _confidence(found, target),
        "scaled": _confidence(found / heat, target),
    }


def _confidence(found: Float[Tensor, "batch class"], target: Int[Tensor, " batch"]) -> Confidence:
    right = float((found.argmax(1) == target).float().mean())
    return Confidence(float(_confidences(found, 1.0).mean()), right, float(expected_calibration_error(found, target)))


def _confidences(found: Float[Tensor, "batch class"], heat: float) -> Float[Tensor, " batch"]:
    return (found / heat).softmax(1).amax(1)


def _distance_to_argmax(found: Float[Tensor, "batch class"], heat: float) -> float:
    """Half the sum of the differences between softmax and the one-hot vector of argmax, the mean over examples."""
    one_hot = nn.functional.one_hot(found.argmax(1), found.shape[1])
    return float(((found / heat).softmax(1) - one_hot).abs().sum(1).mean() / 2)


def _rows(name: str, items: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    rows = []
    for key, heat in (("raw", 1.0), ("scaled", float(np.mean([item["temperature"] for item in items])))):
        claims: list[Confidence] = [item[key] for item in items]
        means = np.array([(c.confidence, c.accuracy, c.excess, c.error) for c in claims]).mean(0)
        rows.append((name, heat, *means.tolist()))
    return rows


def _recipe(seed: int, epochs: int, train: int) -> Recipe:
    return Recipe(
        data=Splits(train=digits(seed, train=train, validation=VALIDATION).train),
        model=partial(mlp, PIXELS, CLASSES, width=64, depth=2),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        epochs=epochs,
        seed=seed,
    )
