r"""sharing: what receptive fields and shared weights are worth.

Three networks have layers of the same outputs. In the first each neuron sees everything, in the second its own small
region, and in the third all neurons of a channel look at their regions by the same weights. A digit stands anywhere in
the image here, so that what a filter has learned at one place is of use at every other. A network that shares weights
knows that; one that does not has to see each digit at each place (LeCun, "Generalization and Network Design
Strategies", 1989). Where all digits stand in the middle (`moved=False`), there is nothing to be shared.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import nn

from thalweg.core.source import Splits
from thalweg.nn import same_outputs
from thalweg.study.arms import Progress, error_on_test, train_arms, tuned_rate, tuning_seeds
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, digits, images
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe

SEEDS = 5
SIDE, KERNEL, WIDTH = 12, 5, 8
RATES = (1e-3, 3e-3, 1e-2)
BATCH = 32
ARMS = {"fully connected": "full", "local": "local", "convolution": "convolution"}
FULL, LOCAL, SHARED = ARMS


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    sizes: tuple[int, ...] = (100, 300, 1000),
    steps: int = 250,
    moved: bool = True,
) -> Study:
    """Each arm's rate is tuned at the middle size on a seed that is not judged; all are trained for equal steps."""
    (tuning,) = tuning_seeds(seeds, 1)
    rates, middle = {}, sizes[len(sizes) // 2]
    for number, (name, way) in enumerate(ARMS.items()):

        def trial(rate: float, way: str = way) -> list[Recipe]:
            return [_recipe(way, rate, tuning, middle, sizes, steps, moved)]

        rates[name] = tuned_rate(name, RATES, trial, progress, (0.06 * number, 0.06 * (number + 1)), error_on_test)
    recipes = {
        f"{name}, {size} digits": [_recipe(way, rates[name], seed, size, sizes, steps, moved) for seed in seeds]
        for name, way in ARMS.items()
        for size in sizes
    }
    runs = train_arms(recipes, progress, (0.18, 1.0))
    scores = {
        name: np.array([[1 - error_on_test(run) for run in runs[f"{name}, {size} digits"]] for size in sizes])
        for name in ARMS
    }
    parameters = {name: count_parameters(way) for name, way in ARMS.items()}
    figure, axes = panels(2)
    draw_accuracy(sizes, scores, axes[0])
    draw_gain(sizes, scores, axes[1])
    where = "at a random place" if moved else "in the middle"
    return Study(
        name="sharing",
        claim=STUDIES["sharing"],
        question="What do receptive fields and shared weights give a network whose layers have the same outputs?",
        method=f"Digits {where} of {SIDE} x {SIDE} pixels; two layers of {WIDTH} and {2 * WIDTH} channels, regions of "
        f"{KERNEL} x {KERNEL}, the largest value of each channel, a linear layer; {steps} steps of Adam, each arm at "
        "its own tuned rate; accuracy on the same other digits.",
        seeds=tuple(seeds),
        columns=("network", "parameters", "tuned rate", *(f"accuracy, {size} digits" for size in sizes)),
        rows=tuple(
            (name, parameters[name], rates[name], *scores[name].mean(axis=1).tolist()) for name in ARMS
        ),
        checks=decide(scores, parameters),
        settings={"sizes": sizes, "steps": steps, "moved": moved, "rates": RATES, "batch_size": BATCH},
        figure=figure,
    )  # fmt: skip


def decide(scores: dict[str, Float[np.ndarray, "size seed"]], parameters: dict[str, int]) -> tuple[Check, ...]:
    """From accuracies, paired by seed: sharing is smaller, better with the least data, and ahead by most with it."""
    shared, rest = scores[SHARED], np.maximum(scores[FULL], scores[LOCAL])
    ahead = shared - rest
    saved = min(parameters[FULL], parameters[LOCAL]) / parameters[SHARED]
    return (
        over_seeds("accuracy, convolution - the better of the others, least data", ahead[0], above=0.0),
        over_seeds("that lead, least data - most data", ahead[0] - ahead[-1], above=0.0),
        over_seeds("parameters, the smaller of the others / convolution", [saved] * shared.shape[1], above=1.0),
    )


def count_parameters(way: str) -> int:
    """The numbers that a network of that way has to learn."""
    return sum(weight.numel() for weight in _net(way)().parameters())


def draw_accuracy(sizes: Sequence[int], scores: dict[str, Float[np.ndarray, "size seed"]], ax: Axes) -> Axes:
    """Test accuracy by the number of training examples: mean and range over seeds."""
    for color, (name, values) in zip(COLORS, scores.items(), strict=False):
        ax.plot(sizes, values.mean(1), marker="o", markersize=4, color=color, label=name)
        ax.fill_between(sizes, values.min(1), values.max(1), color=color, alpha=0.18, linewidth=0)
    ax.set(xscale="log", xlabel="training digits", ylabel="test accuracy", ylim=(0, 1))
    ax.set_xticks(list(sizes), [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_title("mean and range of seeds", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return ax


def draw_gain(sizes: Sequence[int], scores: dict[str, Float[np.ndarray, "size seed"]], ax: Axes) -> Axes:
    """What a region adds to seeing everything, and what sharing adds to a region; a dot a seed."""
    steps = {"a region instead of everything": (LOCAL, FULL), "shared weights instead of own": (SHARED, LOCAL)}
    for color, (label, (more, less)) in zip((COLORS[1], COLORS[2]), steps.items(), strict=True):
        gains = scores[more] - scores[less]
        ax.plot(sizes, gains.mean(1), color=color, label=label)
        ax.plot(sizes, gains, "o", color=color, markersize=3, alpha=0.7)
    ax.axhline(0, color="0.6", linewidth=0.8, linestyle="--")
    ax.set(xscale="log", xlabel="training digits", ylabel="accuracy gained")
    ax.set_xticks(list(sizes), [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_title("what each assumption gives", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _net(way: str) -> partial[nn.Sequential]:
    return partial(
        same_outputs, 1, CLASSES, SIDE, connections=way, width=WIDTH, kernel=KERNEL, stride=1, padding=0, pool="max"
    )


def _recipe(
    way: str, rate: float, seed: int, size: int, sizes: tuple[int, ...], steps: int, moved: bool
) -> Recipe:  # fmt: skip
    """A smaller training set is a part of a larger one, and all are judged on the same other digits."""
    splits = digits(seed, train=max(sizes))
    x, y = images(splits.train, SIDE, seed=seed if moved else None)
    test = images(splits.test, SIDE, seed=seed + 1 if moved else None)
    return Recipe(
        data=Splits(train=(x[:size], y[:size]), test=test),
        model=_net(way),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=rate),
        batch_size=BATCH,
        epochs=max(1, round(steps / -(-size // BATCH))),
        seed=seed,
    )
