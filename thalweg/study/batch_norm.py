r"""batch-norm: the error surface along a step, the rates that still train, and what small batches cost.

At a point $\theta$ with the gradient g of one batch, the loss is followed to $\theta - \eta g$ for $\eta$ from half to
four times a learning rate (Santurkar et al., "How Does Batch Normalization Help Optimization?", 2018, figure 4). Three
numbers say how smooth it is there: the range of the losses, the largest change of the gradient
$\lVert g(\theta - \eta g) - g \rVert$, and the effective smoothness, the largest such change over the way gone,
$\eta \lVert g \rVert$. Where they are small the gradient goes on being right, and a larger rate is safe.

The price is that an example's output depends on its batch in training, and on running statistics in evaluation: the
smaller the batch, the further the two are apart (Ioffe, "Batch Renormalization", 2017).
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import nn
from torch.nn.functional import cross_entropy

from thalweg.core.randomness import generator
from thalweg.core.source import Splits
from thalweg.measure import smoothness
from thalweg.study.arms import Progress, loss, train_arms, train_loss
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import digits
from thalweg.study.interval import over_seeds
from thalweg.study.nets import deep_net
from thalweg.study.picture import COLORS, panels
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
DEPTH, WIDTH, BATCH = 6, 64, 64
RATE = 0.03
"""At which the surfaces are looked at."""
ALONG = (0.5, 1.0, 2.0, 4.0)
"""How far along the gradient, in steps of that rate."""
DRAWS = 6
"""Batches at each point; their median counts."""
TRAINED = 0.5
"""A train loss below this at the end is a network that has trained."""
PLAIN, NORMED = ARMS = ("without", "with batch norm")
MEASURES = ("range of the loss", "change of the gradient", "effective smoothness")


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    epochs: int = 10,
    train: int = 512,
    points: tuple[int, ...] = (1, 2, 4),
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    sizes: tuple[int, ...] = (2, 8, 32, 128),
    norms: tuple[bool, bool] = (False, True),
) -> Study:
    """Surfaces after so many epochs (`points`), a run with every rate, and one network in batches of every size."""
    pairs = dict(zip(ARMS, norms, strict=True))
    recipe = partial(_recipe, epochs=epochs, train=train)
    early = train_arms(
        {f"{name}, epoch {end}": [recipe(norm, s, epochs=end) for s in seeds]
         for name, norm in pairs.items() for end in points},
        progress, (0.0, 0.2),
    )  # fmt: skip
    surfaces = {
        name: np.array([[along_steps(run) for run in early[f"{name}, epoch {end}"]] for end in points]) for name in ARMS
    }
    runs = train_arms(
        {f"{name}, rate {rate:g}": [recipe(norm, s, rate=rate) for s in seeds]
         for name, norm in pairs.items() for rate in rates},
        progress, (0.2, 0.9),
    )  # fmt: skip
    ends = {
        name: np.array([[train_loss(r) for r in runs[f"{name}, rate {rate:g}"]] for rate in rates]) for name in ARMS
    }
    whole = train_arms({"for small batches": [recipe(pairs[NORMED], s) for s in seeds]}, progress, (0.9, 1.0))
    gaps = np.array([[gap(run, size) for run in whole["for small batches"]] for size in sizes])
    figure, axes = panels(3)
    draw_surfaces(points, surfaces, axes[0])
    draw_rates(rates, ends, axes[1])
    draw_gaps(sizes, gaps, axes[2])
    return Study(
        name="batch-norm",
        claim=STUDIES["batch-norm"],
        question="What does batch norm change: the surface along a step, the rates that train, small batches?",
        method=f"Networks of {DEPTH} hidden layers of {WIDTH} units, He's weights, on {train} digits, SGD, batches of "
        f"{BATCH}; surfaces along {DRAWS} batches' gradients at rate {RATE} after {points} epochs; {epochs} epochs "
        f"with each rate; one network's loss in training mode in batches of several sizes.",
        seeds=tuple(seeds),
        columns=("what", *ARMS),
        rows=tuple(_rows(surfaces, rates, ends, sizes, gaps)),
        checks=decide(surfaces, rates, ends, gaps),
        settings={
            "epochs": epochs, "train": train, "points": points, "rates": rates, "sizes": sizes, "norms": norms,
            "rate": RATE, "along": ALONG, "draws": DRAWS, "trained": TRAINED,
        },
        figure=figure,
    )  # fmt: skip


def _rows(surfaces: Any, rates: Sequence[float], ends: Any, sizes: Sequence[int], gaps: Any) -> list[tuple[Any, ...]]:
    smooth = [
        (f"{measure}, geometric mean", *(float(np.exp(np.log(surfaces[name][..., i]).mean())) for name in ARMS))
        for i, measure in enumerate(MEASURES)
    ]
    trained = [
        (f"train loss at rate {rate:g}", *(float(np.median(np.nan_to_num(ends[name][i], nan=np.inf))) for name in ARMS))
        for i, rate in enumerate(rates)
    ]
    apart = [
        (f"loss in training - in evaluation, batches of {size}", None, float(gaps[i].mean()))
        for i, size in enumerate(sizes)
    ]
    return [*smooth, *trained, *apart]


def decide(
    surfaces: dict[str, Float[np.ndarray, "point seed measure"]],
    rates: Sequence[float],
    ends: dict[str, Float[np.ndarray, "rate seed"]],
    gaps: Float[np.ndarray, "size seed"],
) -> tuple[Check, ...]:
    """Each measure of the surface, the largest rate that trains, and the gap of the smallest batches, by seed."""
    ratios = (np.log10(surfaces[PLAIN]) - np.log10(surfaces[NORMED])).mean(axis=0)
    largest = {name: np.log10([largest_rate(rates, column) for column in ends[name].T]) for name in ARMS}
    return (
        *(
            over_seeds(f"log10({measure}, without / with)", ratios[:, i], above=0.0)
            for i, measure in enumerate(MEASURES)
        ),
        over_seeds("log10(largest rate that trains, with / without)", largest[NORMED] - largest[PLAIN], above=0.5),
        over_seeds("|loss in training - in evaluation|, smallest - largest batch", gaps[0] - gaps[-1], above=0.0),
    )


def largest_rate(rates: Sequence[float], losses: Float[np.ndarray, " rate"]) -> float:
    """The largest rate whose loss at the end says that it has trained; where none has, a step below the smallest.

    >>> largest_rate((0.1, 1.0, 10.0), np.array([0.3, 0.2, np.nan])), largest_rate((0.5, 1.0), np.array([2.3, np.inf]))
    (1.0, 0.25)
    """
    trained = [rate for rate, value in zip(rates, losses, strict=True) if value < TRAINED]
    return float(max(trained, default=rates[0] ** 2 / rates[1]))


def along_steps(run: Run) -> Float[np.ndarray, " measure"]:
    """The three measures along the gradient of a batch, by that batch's statistics; the median of some batches."""
    assert run.recipe is not None
    x, y = run.recipe.data.train
    random, rates, measured = generator(run.recipe.seed, "surfaces"), [far * RATE for far in ALONG], []
    for _ in range(DRAWS):
        ids = torch.randperm(len(y), generator=random)[:BATCH]
        found = smoothness(run.last, nn.CrossEntropyLoss(), (x[ids], y[ids]), steps=rates)
        measured.append((found.spread, found.change, found.effective))
    return np.median(measured, axis=0)


def gap(run: Run, size: int) -> float:
    """How far the train loss in training mode, in batches of that size, is from that in evaluation mode."""
    assert run.recipe is not None
    x, y = run.recipe.data.train
    model = copy.deepcopy(run.last)
    evaluated = loss(model, (x, y))
    model.train()
    with torch.no_grad():
        batches = [float(cross_entropy(model(x[i : i + size]), y[i : i + size])) for i in range(0, len(y), size)]
    return abs(float(np.mean(batches)) - evaluated)


def draw_surfaces(
    points: Sequence[int], surfaces: dict[str, Float[np.ndarray, "point seed measure"]], ax: Axes
) -> Axes:
    """The three measures by epoch, with and without, the mean over seeds of their logarithms."""
    for i, (measure, color) in enumerate(zip(MEASURES, COLORS, strict=False)):
        for name, style in zip(ARMS, ("--", "-"), strict=True):
            means = np.exp(np.log(surfaces[name][..., i]).mean(axis=1))
            ax.plot(points, means, style, marker="o", markersize=4, color=color, label=f"{measure}, {name}")
    ax.set(yscale="log", xlabel="epochs trained")
    ax.set_xticks(list(points), [str(point) for point in points])
    ax.set_ylim(top=ax.get_ylim()[1] * 100)
    ax.set_title("along the gradient: lower is smoother", fontsize=10)
    ax.legend(frameon=False, fontsize=7, ncols=1, loc="upper left", handlelength=4)
    return ax


def draw_rates(rates: Sequence[float], ends: dict[str, Float[np.ndarray, "rate seed"]], ax: Axes) -> Axes:
    """The train loss at the end by learning rate: each seed, and their median; what diverged stands at the top."""
    most = 10.0
    for color, (name, losses) in zip((COLORS[1], COLORS[0]), ends.items(), strict=True):
        shown = np.where(np.isfinite(losses), np.minimum(losses, most), most)
        ax.plot(rates, np.median(shown, axis=1), color=color, label=name)
        ax.plot(rates, shown, "o", color=color, markersize=3, alpha=0.6)
    ax.axhline(TRAINED, color="0.6", linewidth=0.8, linestyle="--")
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="train loss at the end")
    ax.set_title("below the dashes it has trained", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    return ax


def draw_gaps(sizes: Sequence[int], gaps: Float[np.ndarray, "size seed"], ax: Axes) -> Axes:
    """How far apart training and evaluation are by batch size; a dot a seed."""
    ax.plot(sizes, gaps.mean(axis=1), color=COLORS[0])
    ax.plot(sizes, gaps, "o", color=COLORS[0], markersize=4, alpha=0.7)
    ax.set(xscale="log", yscale="log", xlabel="batch size", ylabel="|loss in training - in evaluation|")
    ax.set_xticks(list(sizes), [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_title("one network with batch norm", fontsize=10)
    return ax


def _recipe(norm: bool, seed: int, epochs: int, train: int, rate: float = RATE) -> Recipe:
    return Recipe(
        data=Splits(train=digits(seed, train=train).train),
        model=partial(deep_net, DEPTH, WIDTH, norm=norm),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.SGD, lr=rate),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
    )
