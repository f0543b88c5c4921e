r"""depth: deeper plain networks train worse.

A deeper network could copy a shallower one and let its other layers pass on what they get, so that its train loss could
be no higher. It is: the fault is in the optimization, not in the capacity, since more capacity cannot raise the *train*
loss (He et al., "Deep Residual Learning for Image Recognition", 2015, figure 1). All arms have batch norm, as there, so
that vanishing gradients are not what is seen.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import nn

from thalweg.study.arms import Progress, train_arms, train_loss, tuned_rate, tuning_seeds
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import digits
from thalweg.study.interval import over_seeds
from thalweg.study.nets import deep_net
from thalweg.study.picture import COLORS, panels, whole_numbers
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
WIDTH = 32
RATES = (3e-3, 1e-2, 3e-2, 1e-1)
SHALLOW, DEEP, RESIDUAL = "plain, shallow", "plain, deep", "residual, deep"
MARGIN = 0.3
"""In powers of ten: twice the loss."""


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    depths: tuple[int, int, int] = (4, 12, 24),
    epochs: int = 20,
    train: int = 512,
) -> Study:
    """Each arm's rate is tuned on a seed that is not judged; then all arms are trained under the same seeds."""
    shallow, middle, deep = depths
    arms: dict[str, dict[str, Any]] = {
        SHALLOW: {"depth": shallow},
        "plain, middle": {"depth": middle},
        DEEP: {"depth": deep},
        "residual, shallow": {"depth": shallow, "residual": True},
        RESIDUAL: {"depth": deep, "residual": True},
    }
    rates = {}
    (tuning,) = tuning_seeds(seeds, 1)
    for number, (name, net) in enumerate(arms.items()):

        def trial(rate: float, net: dict[str, Any] = net) -> list[Recipe]:
            return [_recipe(net, rate, tuning, epochs, train)]

        rates[name] = tuned_rate(name, RATES, trial, progress, (0.08 * number, 0.08 * (number + 1)))
    recipes = {name: [_recipe(net, rates[name], s, epochs, train) for s in seeds] for name, net in arms.items()}
    trained = train_arms(recipes, progress, (0.4, 1.0))
    losses = {name: np.array([train_loss(run) for run in runs]) for name, runs in trained.items()}
    figure, axes = panels(2)
    draw_curves(trained, axes[0])
    draw_losses({name: (arms[name]["depth"], losses[name]) for name in arms}, axes[1])
    return Study(
        name="depth",
        claim=STUDIES["depth"],
        question="Does a deeper network of the same family reach a lower train loss in the same number of epochs?",
        method=f"Networks of {depths} hidden layers of {WIDTH} units with batch norm on {train} digits, {epochs} "
        f"epochs of Adam, each at the best of the rates {RATES}, or beyond them, on a seed of its own.",
        seeds=tuple(seeds),
        columns=("network", "hidden layers", "tuned rate", "train loss", "lowest", "highest"),
        rows=tuple(
            (name, arms[name]["depth"], rates[name], float(values.mean()), float(values.min()), float(values.max()))
            for name, values in losses.items()
        ),
        checks=decide(losses),
        settings={"depths": depths, "width": WIDTH, "epochs": epochs, "train": train, "rates": RATES},
        figure=figure,
    )


def decide(losses: dict[str, np.ndarray]) -> tuple[Check, ...]:
    """From the train losses, paired by seed: deep is worse than shallow, and residual is better than plain, 2-fold."""
    logs = {name: np.log10(values) for name, values in losses.items()}
    return (
        over_seeds("log10(train loss, deep / shallow), plain", logs[DEEP] - logs[SHALLOW], above=MARGIN),
        over_seeds("log10(train loss, plain / residual), deep", logs[DEEP] - logs[RESIDUAL], above=MARGIN),
    )


def draw_curves(trained: dict[str, list[Run]], ax: Axes) -> Axes:
    """The train loss of each arm by epoch, the mean over seeds; residual arms are dashed."""
    for color, (name, runs) in zip(COLORS, trained.items(), strict=False):
        curves = np.array([[row["train_loss"] for row in run.history] for run in runs])
        style = "--" if name.startswith("residual") else "-"
        ax.plot(np.arange(1, curves.shape[1] + 1), curves.mean(0), style, color=color, label=name)
    ax.set(yscale="log", xlabel="epoch", ylabel="train loss in training", ylim=(None, 200))
    whole_numbers(ax)
    ax.set_title("mean of the seeds", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax


def draw_losses(arms: dict[str, tuple[int, np.ndarray]], ax: Axes) -> Axes:
    """The train loss at the end by depth: a point for each seed."""
    for color, (name, (depth, losses)) in zip(COLORS, arms.items(), strict=False):
        filled = color if name.startswith("plain") else "white"
        ax.plot([depth] * len(losses), losses, "o", color=color, markerfacecolor=filled, markersize=5)
    for family, style in (("plain", "-"), ("residual", "--")):
        means = [(depth, values.mean()) for name, (depth, values) in arms.items() if name.startswith(family)]
        ax.plot(*zip(*means, strict=True), style, color="0.6", linewidth=1, label=family, zorder=0)
    ax.set(yscale="log", xlabel="hidden layers", ylabel="train loss at the end")
    ax.set_title("a dot a seed, lines through the means", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _recipe(net: dict[str, Any], rate: float, seed: int, epochs: int, train: int) -> Recipe:
    return Recipe(
        data=digits(seed, train=train),
        model=partial(deep_net, width=WIDTH, norm=True, **net),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=rate),
        batch_size=64,
        epochs=epochs,
        seed=seed,
    )
