r"""local-optima: twenty starts, and where each of them ends.

Gradient descent goes down from where it stands, so that it finds *a* minimum: which one depends on the start. On
Himmelblau's surface, $(x^2 + y - 11)^2 + (x + y^2 - 7)^2$, the four minima are equally deep. Those of a network are
not, if it is narrow: some starts end much higher than others. In a wide one nearly all ends are about equally low
(Choromanska et al., "The Loss Surfaces of Multilayer Networks", 2015; Dauphin et al. 2014).

Whether the minimum depends on the start is asked of the answers to new examples: two wide networks of the same start
that saw the examples in another order must disagree less than two of different starts in the same order.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor, nn

from thalweg.core.randomness import stream_seed
from thalweg.core.source import Splits
from thalweg.nn import mlp
from thalweg.study.arms import Progress, logits, train_arms, train_loss
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, PIXELS, digits
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.verdict import LEVEL, Check, Study
from thalweg.study.walk import path, walk
from thalweg.training import Recipe, Run

SEEDS = 20
MINIMA = ((3.0, 2.0), (-2.805118, 3.131312), (-3.779310, -3.283186), (3.584428, -1.848126))
DRAWS = 1000
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def himmelblau(place: Float[Tensor, "batch 2"], target: Tensor | None = None) -> Float[Tensor, ""]:
    """The height of Himmelblau's surface; the target is not asked.

    >>> float(himmelblau(torch.tensor([[3.0, 2.0]])))
    0.0
    """
    x, y = place[:, 0], place[:, 1]
    return ((x.square() + y - 11).square() + (x + y.square() - 7).square()).mean()


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    widths: tuple[int, ...] = (4, 8, 32),
    epochs: int = 50,
    train: int = 256,
) -> Study:
    """Each seed is a start; every start is trained twice, on the same digits in two orders."""
    walks = train_arms({"surface": [_descent(seed) for seed in seeds]}, progress, (0.0, 0.05))["surface"]
    splits = digits(seeds[0], train=train)
    orders = (seeds[0] + 500, seeds[0] + 501)
    arms = train_arms(
        {
            f"width {width}, order {order}": [_recipe(splits, start, width, order, epochs) for start in seeds]
            for width in widths
            for order in orders
        },
        progress,
        (0.05, 1.0),
    )
    ends = {width: [arms[f"width {width}, order {order}"] for order in orders] for width in widths}
    losses = {width: np.array([train_loss(run) for run in first]) for width, (first, _) in ends.items()}
    guesses = {width: [_guesses(runs, splits.test[0]) for runs in both] for width, both in ends.items()}
    apart = {width: disagreements(*both) for width, both in guesses.items()}
    figure, axes = panels(3)
    draw_surface([path(run) for run in walks], axes[0])
    draw_losses(losses, axes[1])
    draw_disagreements(apart, axes[2])
    return Study(
        name="local-optima",
        claim=STUDIES["local-optima"],
        question="How far apart in loss do different starts end, and does the start decide which minimum is found?",
        method=f"{len(seeds)} starts on Himmelblau's surface; and of networks 64-width-10 on the same {train} digits, "
        f"{epochs} epochs of Adam, each start with two orders of the examples.",
        seeds=tuple(seeds),
        columns=(
            "where", "lowest loss", "median loss", "highest loss", "spread of log10(loss)",
            "disagree, same start", "disagree, other starts",
        ),
        rows=(
            ("Himmelblau", *_quantiles([run.history[-1]["validation_loss"] for run in walks]), None, None, None),
            *((f"width {width}", *_quantiles(losses[width]), *_apart(losses[width], apart[width])) for width in widths),
        ),
        checks=decide(losses, apart),
        settings={
            "widths": widths, "epochs": epochs, "train": train, "orders": orders, "optimizer": "Adam(lr=0.02)",
            "minima of the surface that were found": len({nearest(path(run)[-1]) for run in walks}),
        },
        figure=figure,
    )  # fmt: skip


def decide(
    losses: dict[int, Float[np.ndarray, " start"]], apart: dict[int, Float[np.ndarray, "start 2"]]
) -> tuple[Check, ...]:
    """The start sets wide networks further apart than the order does; the ends of narrow ones are spread more."""
    narrow, wide = min(losses), max(losses)
    return (
        over_seeds(f"disagreement, other starts - same start, width {wide}", np.diff(apart[wide]).ravel(), above=0.0),
        spread_ratio(losses[narrow], losses[wide], f"log10(spread, width {narrow} / width {wide})"),
    )


def spread_ratio(narrow: Float[np.ndarray, " start"], wide: Float[np.ndarray, " start"], quantity: str) -> Check:
    """The spread of log10(loss) over starts, narrow over wide; its interval resamples the starts (Efron 1979)."""
    logs = np.log10(np.stack([narrow, wide]))
    picks = np.random.default_rng(0).integers(len(narrow), size=(DRAWS, len(narrow)))
    with np.errstate(divide="ignore", invalid="ignore"):  # no spread at all has no ratio: NaN passes no check
        one, other = np.log10(logs.std(axis=1, ddof=1))
        ones, others = np.log10(logs[:, picks].std(axis=2, ddof=1))
        low, high = np.quantile(ones - others, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
        value = one - other
    return Check(quantity, float(value), float(low), float(high), len(narrow), above=0.0)


def disagreements(
    one: Float[np.ndarray, "start example"], other: Float[np.ndarray, "start example"]
) -> Float[np.ndarray, "start 2"]:
    """For each start: on what share of examples its two orders disagree, and it and the other starts of one order.

    >>> disagreements(np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[0.0, 0.5], [0.5, 0.5]]
    """
    same = (one != other).mean(axis=1)
    pairs = (one[:, None] != one[None]).mean(axis=2)
    others = pairs.sum(axis=1) / (len(one) - 1)
    return np.stack([same, others], axis=1)


def nearest(place: Float[np.ndarray, "2"]) -> int:
    """Which of the four minima is nearest."""
    return int(np.square(np.array(MINIMA) - place).sum(axis=1).argmin())


def draw_surface(paths: list[np.ndarray], ax: Axes) -> Axes:
    """Himmelblau's surface with the path from every start, coloured by the minimum that it ends in."""
    grid = np.linspace(-5.5, 5.5, 40)
    x, y = np.meshgrid(grid, grid)
    surface = (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2
    ax.contour(x, y, surface, levels=[10, 40, 100, 200], colors="0.85", linewidths=0.7)
    for places in paths:
        color = COLORS[nearest(places[-1])]
        ax.plot(*np.concatenate([places[:20], places[20::10], places[-1:]]).T, color=color, linewidth=0.9)
        ax.plot(*places[0], "o", color=color, markersize=4)
    ax.plot(*np.array(MINIMA).T, "+", color="black", markersize=9, linestyle="none")
    ax.set(xlabel="x", ylabel="y", xlim=(-5.5, 5.5), ylim=(-5.5, 5.5))
    ax.set_title("Himmelblau's surface", fontsize=10)
    return ax


def draw_losses(losses: dict[int, np.ndarray], ax: Axes) -> Axes:
    """The train loss at the end, a point for each start, by width."""
    for place, (color, values) in enumerate(zip(COLORS, losses.values(), strict=False)):
        ax.plot(place + np.linspace(-0.25, 0.25, len(values)), np.sort(values), "o", color=color, markersize=4)
    ax.set_xticks(range(len(losses)), [f"width {width}" for width in losses])
    ax.set(yscale="log", ylabel="train loss at the end, sorted")
    ax.set_title(f"{len(next(iter(losses.values())))} starts of a network", fontsize=10)
    return ax


def draw_disagreements(apart: dict[int, np.ndarray], ax: Axes) -> Axes:
    """On what share of new digits two networks disagree: same start or another."""
    places = np.arange(len(apart))
    for part, (label, color) in enumerate(
        (("same start, other order", COLORS[0]), ("other starts, same order", COLORS[1]))
    ):
        values = np.maximum([pair[:, part] for pair in apart.values()], SHARES[0])
        error = values.std(axis=1, ddof=1) / values.shape[1] ** 0.5
        ax.errorbar(
            places + 0.1 * part, values.mean(1), 2 * error, fmt="o", color=color, markersize=5, capsize=3, label=label
        )
    ax.set_xticks(list(places), [f"width {width}" for width in apart])
    ax.set(ylabel="share of test digits they disagree on", yscale="log")
    ax.set_yticks(SHARES, [f"{share:g}" for share in SHARES])
    ax.minorticks_off()
    ax.set_title("mean and two standard errors", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def started(start: int, width: int) -> nn.Sequential:
    """A network whose initial weights depend on `start` alone, whatever the seed of the order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(start, "start"))
        return mlp(PIXELS, CLASSES, width=width, depth=1)


def _recipe(splits: Splits, start: int, width: int, order: int, epochs: int) -> Recipe:
    return Recipe(
        data=Splits(train=splits.train),
        model=partial(started, start, width),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.02),
        batch_size=64,
        epochs=epochs,
        seed=order,
    )


def _descent(seed: int) -> Recipe:
    x, y = np.random.default_rng([seed, 4]).uniform(-5, 5, 2).tolist()
    return walk(himmelblau, (x, y), partial(torch.optim.SGD, lr=0.005), 80)


def _guesses(runs: list[Run], x: Tensor) -> Float[np.ndarray, "start example"]:
    return np.array([logits(run.last, x).argmax(1).numpy() for run in runs], dtype=float)


def _quantiles(losses: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    return float(np.min(losses)), float(np.median(losses)), float(np.max(losses))


def _apart(losses: Float[np.ndarray, " start"], apart: Float[np.ndarray, "start 2"]) -> tuple[float, float, float]:
    same, others = apart.mean(axis=0)
    return float(np.log10(losses).std(ddof=1)), float(same), float(others)
