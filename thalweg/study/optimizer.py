r"""optimizer: five of them, then decay and warm-up, after equal epochs.

A comparison of optimizers is a comparison of their learning rates unless each has its own, tuned with equal effort
(Choi et al., "On Empirical Comparisons of Optimizers for Deep Learning", 2019). Momentum is Polyak's (1964), RMSProp
Tieleman and Hinton's (2012), Adam Kingma and Ba's (2015). Both schedules are judged at a rate three times too high:
decay (cosine; Loshchilov & Hutter 2017) makes the last steps small, warm-up the first. RMSProp needs the second most:
its average of g^2 starts at 0 without Adam's correction, so that its first step is $1/\sqrt{1-\alpha} = 10$ times the
rate.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import nn

from thalweg.nn import mlp
from thalweg.optim import Cosine, WarmUp, gradient_descent, momentum
from thalweg.study.arms import Progress, train_arms, train_loss, tuned_rate, tuning_seeds
from thalweg.study.bowl import descent, draw_bowl
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, PIXELS, digits
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels, whole_numbers
from thalweg.study.verdict import Check, Study
from thalweg.study.walk import path
from thalweg.training import Recipe, Run

SEEDS = 8
BATCH = 64
TOO_HIGH = 3.0
"""The schedules are judged at this many times the tuned rate."""
GRADIENT_DESCENT, SGD, MOMENTUM, RMSPROP, ADAM = "gradient descent", "SGD", "momentum", "RMSProp", "Adam"
OPTIMIZERS: dict[str, tuple[Callable[..., Any], int | None, tuple[float, ...]]] = {
    GRADIENT_DESCENT: (gradient_descent, None, (0.3, 1.0, 3.0, 10.0)),
    SGD: (torch.optim.SGD, BATCH, (0.03, 0.1, 0.3, 1.0)),
    MOMENTUM: (momentum, BATCH, (0.01, 0.03, 0.1, 0.3)),
    RMSPROP: (torch.optim.RMSprop, BATCH, (3e-4, 1e-3, 3e-3, 1e-2)),
    ADAM: (torch.optim.Adam, BATCH, (1e-3, 3e-3, 1e-2, 3e-2)),
}
SCHEDULES: dict[str, tuple[str, Any]] = {
    "momentum x3": (MOMENTUM, None),
    "momentum x3, decay": (MOMENTUM, Cosine()),
    "RMSProp x3": (RMSPROP, None),
    "RMSProp x3, warm-up": (RMSPROP, WarmUp(0.2)),
}
BOWL_RATES = {GRADIENT_DESCENT: 0.09, MOMENTUM: 0.03, RMSPROP: 0.3, ADAM: 0.5}


def study(seeds: Sequence[int], progress: Progress, *, epochs: int = 16, train: int = 512, steps: int = 30) -> Study:
    """Tune each optimizer's rate on seeds of their own, then train all arms under the judged seeds."""
    rates = _tune(seeds, progress, epochs, train)
    arms = {name: (name, rates[name], None) for name in OPTIMIZERS}
    arms |= {name: (base, TOO_HIGH * rates[base], schedule) for name, (base, schedule) in SCHEDULES.items()}
    recipes = {name: [_recipe(*arm, seed, epochs, train) for seed in seeds] for name, arm in arms.items()}
    trained = train_arms(recipes, progress, (0.35, 0.95))
    losses = {name: np.array([train_loss(run) for run in runs]) for name, runs in trained.items()}
    walks = train_arms(
        {name: [descent(_bowl_optimizer(name), seeds[0], steps)] for name in BOWL_RATES}, progress, (0.95, 1.0)
    )
    figure, axes = panels(3)
    draw_bowl(
        {f"{name}, {BOWL_RATES[name]:g}": path(runs[0]) for name, runs in walks.items()},
        (COLORS[0], *COLORS[2:5]),
        axes[0],
    )
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    axes[0].set_title(f"a bowl, {steps} steps", fontsize=10)
    draw_curves({name: trained[name] for name in OPTIMIZERS}, COLORS[:5], axes[1], ("-",) * 5)
    axes[1].set_title("digits, each at its tuned rate", fontsize=10)
    draw_curves(
        {name: trained[name] for name in SCHEDULES}, (COLORS[2],) * 2 + (COLORS[3],) * 2, axes[2], ("-", "--") * 2
    )
    axes[2].set_title("digits, at three times that rate", fontsize=10)
    return Study(
        name="optimizer",
        claim=STUDIES["optimizer"],
        question="Which optimizer has the lowest train loss after equal epochs, and what do schedules add?",
        method=f"A tanh network with 6 hidden layers of 32 units on {train} digits, {epochs} epochs of batches "
        f"of {BATCH}; each rate is the best of four on three seeds of its own, of more where it was at the edge; "
        "schedules at three times that rate.",
        seeds=tuple(seeds),
        columns=("optimizer", "rate", "updates", "train loss", "lowest", "highest"),
        rows=tuple(
            (name, arms[name][1], epochs * _steps(arms[name][0], train), *_spread(values))
            for name, values in losses.items()
        ),
        checks=decide(losses),
        settings={"epochs": epochs, "train": train, "grids": {name: grid for name, (_, _, grid) in OPTIMIZERS.items()}},
        figure=figure,
    )


def decide(losses: dict[str, np.ndarray]) -> tuple[Check, ...]:
    """From the train losses, paired by seed: how many powers of ten the second lies below the first."""
    pairs = [(GRADIENT_DESCENT, SGD), (SGD, MOMENTUM), (SGD, RMSPROP), (SGD, ADAM)]
    pairs += [("momentum x3", "momentum x3, decay"), ("RMSProp x3", "RMSProp x3, warm-up")]
    return tuple(
        over_seeds(f"log10(train loss, {one} / {other})", np.log10(losses[one] / losses[other]), above=0.0)
        for one, other in pairs
    )


def draw_curves(trained: dict[str, list[Run]], colors: tuple[str, ...], ax: Axes, styles: tuple[str, ...]) -> Axes:
    """The train loss of each arm by epoch, the median over seeds."""
    for color, style, (name, runs) in zip(colors, styles, trained.items(), strict=True):
        curves = np.array([[row["train_loss"] for row in run.history] for run in runs])
        ax.plot(np.arange(1, curves.shape[1] + 1), np.median(curves, axis=0), style, color=color, label=name)
    ax.set(yscale="log", xlabel="epoch", ylabel="train loss in training")
    whole_numbers(ax)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _tune(seeds: Sequence[int], progress: Progress, epochs: int, train: int) -> dict[str, float]:
    rates = {}
    for number, (name, (_, _, grid)) in enumerate(OPTIMIZERS.items()):

        def recipes(rate: float, name: str = name) -> list[Recipe]:
            return [_recipe(name, rate, None, seed, epochs, train) for seed in tuning_seeds(seeds, 3)]

        rates[name] = tuned_rate(name, grid, recipes, progress, (0.07 * number, 0.07 * (number + 1)))
    return rates


def _recipe(name: str, rate: float, schedule: Any, seed: int, epochs: int, train: int) -> Recipe:
    optimizer, batch, _ = OPTIMIZERS[name]
    return Recipe(
        data=digits(seed, train=train),
        model=partial(mlp, PIXELS, CLASSES, width=32, depth=6, activation="tanh"),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(optimizer, lr=rate),
        schedule=schedule,
        batch_size=batch,
        epochs=epochs,
        seed=seed,
    )


def _bowl_optimizer(name: str) -> Callable[..., Any]:
    return partial(OPTIMIZERS[name][0], lr=BOWL_RATES[name])


def _steps(name: str, train: int) -> int:
    batch = OPTIMIZERS[name][1]
    return 1 if batch is None else -(-train // batch)


def _spread(values: np.ndarray) -> tuple[float, float, float]:
    return float(values.mean()), float(values.min()), float(values.max())
