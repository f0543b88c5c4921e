r"""pooling: what it saves, what it costs, and what it does not do.

Pooling over 2 x 2 pixels leaves a quarter of them to every later convolution, whose channels it lets double at the same
price: a convolution of $C$ to $D$ channels by kernels of $K \times K$ on $P$ pixels takes $P C D K^2$ multiplications.
A pixel more or less does not change what a picture shows, so that hardly any accuracy should be lost. It is often said
to make a network indifferent to small shifts too; that is shown for digits moved by one and by two pixels, and decides
nothing, since a step of two pixels also sees another set of pixels after a shift (Zhang, "Making Convolutional Networks
Shift-Invariant Again", 2019).
"""

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import nn
from torch.nn.functional import cross_entropy

from thalweg.core.source import Splits
from thalweg.core.threads import counting
from thalweg.nn import cnn
from thalweg.optim import schedule_by_name
from thalweg.study.arms import Progress, accuracy, error_on_test, train_arms, tuned_rate, tuning_seeds
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, digits, images
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
SIDE, WIDTH, BATCH = 12, 8, 32
RATES = (3e-3, 1e-2, 3e-2)
POOLED, PLAIN = "max pooling", "no pooling"
ARMS: dict[str, dict[str, Any]] = {
    POOLED: {"pool": "max"},
    "mean pooling": {"pool": "mean"},
    "stride 2 instead": {"pool": None, "stride": 2},
    PLAIN: {"pool": None},
}
SHIFTS = (0, 1, 2)
ROUNDS, TIMED = 24, 128
"""Interleaved rounds of timing, of which the fastest counts, since whatever else runs only slows; and their batch."""
LOST = -0.02
"""Hardly any accuracy: less than two points."""
CLOCK = ("time per update [ms]", "time per update, no pooling / max pooling")


def study(seeds: Sequence[int], progress: Progress, *, epochs: int = 10, train: int = 400, test: int = 800) -> Study:
    """Each arm's rate is tuned on a seed that is not judged; then all are trained and timed under the same seeds."""
    (tuning,) = tuning_seeds(seeds, 1)
    rates = {}
    for number, (name, net) in enumerate(ARMS.items()):

        def trial(rate: float, net: dict[str, Any] = net) -> list[Recipe]:
            return [_recipe(net, rate, tuning, epochs, train, test)]

        rates[name] = tuned_rate(name, RATES, trial, progress, (0.08 * number, 0.08 * (number + 1)), error_on_test)
    recipes = {name: [_recipe(net, rates[name], s, epochs, train, test) for s in seeds] for name, net in ARMS.items()}
    runs = train_arms(recipes, progress, (0.32, 0.95))
    scores = {name: np.array([[shifted(run, by) for run in arm] for by in SHIFTS]) for name, arm in runs.items()}
    times = np.array([_seconds(seed, train) for seed in seeds])
    progress(1.0, "time per update")
    products = {name: multiplications(cnn(1, CLASSES, width=WIDTH, **net)) for name, net in ARMS.items()}
    figure, axes = panels(3)
    draw_cost(products, times, axes[0])
    draw_accuracy(scores, axes[1])
    draw_shifts(scores, axes[2])
    return Study(
        name="pooling",
        claim=STUDIES["pooling"],
        question="What does pooling save, what does it cost in accuracy, and what does a shift do?",
        method=f"Networks of two blocks of two convolutions, {WIDTH} and {2 * WIDTH} channels, on {train} "
        f"digits in the middle of {SIDE} x {SIDE} pixels, {epochs} epochs of Adam, a cosine from a rate tuned for "
        f"each; times are the fastest of {ROUNDS} interleaved rounds of {TIMED} digits on one device.",
        seeds=tuple(seeds),
        columns=("network", "multiplications", CLOCK[0], "tuned rate", *(f"accuracy, moved by {by}" for by in SHIFTS)),
        rows=tuple(
            (name, products[name], float(np.median(times[:, i])) * 1e3, rates[name],
             *scores[name].mean(axis=1).tolist())
            for i, name in enumerate(ARMS)
        ),
        checks=decide(scores, products, times),
        settings={"epochs": epochs, "train": train, "test": test, "rates": RATES, "rounds": ROUNDS},
        figure=figure,
        clock=CLOCK,
    )  # fmt: skip


def decide(
    scores: dict[str, Float[np.ndarray, "shift seed"]],
    products: dict[str, int],
    times: Float[np.ndarray, "seed arm"],
) -> tuple[Check, ...]:
    """Max pooling against none: accuracy, paired by seed, multiplications, and time."""
    kept = scores[POOLED][0] - scores[PLAIN][0]
    pooled, plain = (times[:, list(ARMS).index(name)] for name in (POOLED, PLAIN))
    return (
        over_seeds("accuracy, max pooling - no pooling", kept, above=LOST),
        over_seeds(
            "multiplications, no pooling / max pooling", [products[PLAIN] / products[POOLED]] * len(kept), above=1.5
        ),
        over_seeds(CLOCK[1], plain / pooled, above=1.0),
    )


def multiplications(net: nn.Module) -> int:
    """The multiplications of a convolutional network for one image, counted as it runs.

    >>> multiplications(nn.Conv2d(1, 3, 5, padding=2)) == 12 * 12 * 3 * 25
    True
    """
    with torch.no_grad(), counting(net) as work:
        net.eval()(torch.zeros(1, 1, SIDE, SIDE))
    return work.total


def shifted(run: Run, by: int) -> float:
    """The test accuracy for digits moved by so many pixels, the mean of up, down, left and right."""
    assert run.recipe is not None
    x, y = run.recipe.data.test
    moves = {(by, 0), (-by, 0), (0, by), (0, -by)}
    return float(np.mean([accuracy(run.last, (x.roll(move, (2, 3)), y)) for move in sorted(moves)]))


def draw_cost(products: dict[str, int], times: Float[np.ndarray, "seed arm"], ax: Axes) -> Axes:
    """Multiplications and time of each network, both as a share of those without pooling."""
    place = np.arange(len(products))
    values = np.array(list(products.values()))
    plain = list(products).index(PLAIN)
    seconds = np.median(times, axis=0)
    ax.barh(place - 0.2, values / values[plain], 0.38, color=COLORS[0], label="multiplications")
    ax.barh(place + 0.2, seconds / seconds[plain], 0.38, color=COLORS[1], label="time per update")
    ax.set_yticks(place, list(products))
    ax.invert_yaxis()
    ax.set(xlabel="share of that without pooling", xlim=(0, 1.75))
    ax.set_xticks([0, 0.5, 1])
    ax.set_title("cost", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax


def draw_accuracy(scores: dict[str, Float[np.ndarray, "shift seed"]], ax: Axes) -> Axes:
    """Test accuracy of each network, a dot a seed."""
    for place, (color, values) in enumerate(zip(COLORS, scores.values(), strict=False)):
        ax.plot(values[0], [place] * values.shape[1], "o", color=color, markersize=5, alpha=0.7)
        ax.plot(values[0].mean(), place, "|", color="0.2", markersize=14)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.set_ylim(len(scores) - 0.5, -0.5)
    ax.set(xlabel="test accuracy")
    ax.set_title("a dot a seed, the bar their mean", fontsize=10)
    return ax


def draw_shifts(scores: dict[str, Float[np.ndarray, "shift seed"]], ax: Axes) -> Axes:
    """Test accuracy by the number of pixels that the digits are moved, the mean over seeds."""
    for color, (name, values) in zip(COLORS, scores.items(), strict=False):
        ax.plot(SHIFTS, values.mean(1), marker="o", markersize=4, color=color, label=name)
    ax.set_xticks(SHIFTS)
    ax.set(xlabel="pixels moved", ylabel="test accuracy", ylim=(0, 1.02))
    ax.set_title("trained in the middle, moved in the test", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    return ax


def _seconds(seed: int, train: int) -> list[float]:
    """The least time of a gradient and a step of each network, taking turns."""
    x, y = images(digits(seed, train=train).train, SIDE)
    nets = [cnn(1, CLASSES, width=WIDTH, **net) for net in ARMS.values()]
    optimizers = [torch.optim.Adam(net.parameters()) for net in nets]
    taken = np.zeros((ROUNDS, len(nets)))
    for number in range(ROUNDS):
        for place, (net, optimizer) in enumerate(zip(nets, optimizers, strict=True)):
            started = perf_counter()
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(net(x[:TIMED]), y[:TIMED]).backward()
            optimizer.step()
            taken[number, place] = perf_counter() - started
    return [float(seconds) for seconds in taken.min(axis=0)]


def _recipe(net: dict[str, Any], rate: float, seed: int, epochs: int, train: int, test: int) -> Recipe:
    splits = digits(seed, train=train)
    x, y = splits.test
    return Recipe(
        data=Splits(train=images(splits.train, SIDE), test=images((x[:test], y[:test]), SIDE)),
        model=partial(cnn, 1, CLASSES, width=WIDTH, **net),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=rate),
        batch_size=BATCH,
        schedule=schedule_by_name("cosine"),
        epochs=epochs,
        seed=seed,
    )
