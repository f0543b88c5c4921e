r"""vanishing: the length of the gradient, layer by layer, on its way back.

By the chain rule $\partial L / \partial h_{l-1} = W_l^T (\phi'(z_l) \odot \partial L / \partial h_l)$. The sigmoid's
slope is at most 1/4, so that every sigmoid layer shortens the gradient; twenty of them leave nothing of it (Hochreiter
1991; Bengio, Simard & Frasconi 1994). ReLU with He's initial weights (He et al. 2015b), batch norm (Ioffe & Szegedy
2015) and residual connections (He et al. 2015) keep its length.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import nn
from torch.nn.functional import cross_entropy

from thalweg.study.arms import Progress, train_arms, train_loss
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import digits
from thalweg.study.interval import over_seeds
from thalweg.study.nets import deep_net, layer_gradients
from thalweg.study.picture import COLORS, panels, whole_numbers
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
WIDTH = 64
ARMS: dict[str, dict[str, Any]] = {
    "sigmoid": {"activation": nn.Sigmoid, "initial": "xavier"},
    "ReLU, He's weights": {"activation": nn.ReLU, "initial": "he"},
    "sigmoid, batch norm": {"activation": nn.Sigmoid, "initial": "xavier", "norm": True},
    "sigmoid, residual": {"activation": nn.Sigmoid, "initial": "xavier", "residual": True},
    "ReLU, torch's weights": {"activation": nn.ReLU, "initial": "torch"},
}
PLAIN, REPAIRS = "sigmoid", ("ReLU, He's weights", "sigmoid, batch norm", "sigmoid, residual")
VANISHED, KEPT = -3.0, 2.0
"""In powers of ten: a gradient has vanished below 1e-3 of its length; it is kept if it changes less than 100-fold."""


def study(seeds: Sequence[int], progress: Progress, *, depth: int = 20, epochs: int = 10, train: int = 512) -> Study:
    """Gradients of the untrained networks by layer; then the same networks trained, to see what it means."""
    fresh = train_arms({name: _recipes(name, seeds, depth, 0, train) for name in ARMS}, progress, (0.0, 0.1))
    gradients = {name: np.array([_gradients(run) for run in runs]) for name, runs in fresh.items()}
    trained = train_arms({name: _recipes(name, seeds, depth, epochs, train) for name in ARMS}, progress, (0.1, 1.0))
    losses = {name: [train_loss(run) for run in runs] for name, runs in trained.items()}
    figure, axes = panels(2)
    draw_gradients(gradients, axes[0])
    draw_curves(trained, axes[1])
    return Study(
        name="vanishing",
        claim=STUDIES["vanishing"],
        question="How long is the gradient in each layer, before any training, and what becomes of the training?",
        method=f"{depth} hidden layers of {WIDTH} units on {train} digits; one full-batch gradient at the initial "
        f"weights, then {epochs} epochs of Adam.",
        seeds=tuple(seeds),
        columns=("network", "gradient, first layer", "gradient, last layer", "log10(first / last)", "train loss after"),
        rows=tuple(
            (name, *_medians(gradients[name]), float(np.mean(kept(gradients[name]))), float(np.mean(losses[name])))
            for name in ARMS
        ),
        checks=decide({name: kept(gradients[name]) for name in ARMS}),
        settings={"depth": depth, "width": WIDTH, "epochs": epochs, "train": train, "optimizer": "Adam(lr=0.001)"},
        figure=figure,
    )


def decide(kept: dict[str, np.ndarray]) -> tuple[Check, ...]:
    """From log10(first / last) of every arm and seed: vanished in the plain net, kept by each repair."""
    repairs = (over_seeds(f"log10(first / last), {name}", kept[name], above=-KEPT, below=KEPT) for name in REPAIRS)
    return (over_seeds(f"log10(first / last), {PLAIN}", kept[PLAIN], below=VANISHED), *repairs)


def kept(gradients: np.ndarray) -> np.ndarray:
    """How much of the last layer's gradient reaches the first, in powers of ten, for each seed."""
    ratios: np.ndarray = np.log10(gradients[:, 0] / gradients[:, -1])
    return ratios


def draw_gradients(gradients: dict[str, np.ndarray], ax: Axes) -> Axes:
    """The gradient of each layer, the median over seeds and their range."""
    for color, (name, lengths) in zip(COLORS, gradients.items(), strict=False):
        layers = np.arange(1, lengths.shape[1] + 1)
        ax.plot(layers, np.median(lengths, axis=0), color=color, label=name)
        ax.fill_between(layers, lengths.min(axis=0), lengths.max(axis=0), color=color, alpha=0.18, linewidth=0)
    ax.set(yscale="log", xlabel="hidden layer, from the input", ylabel="length of the gradient")
    ax.set_title("before training", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return ax


def draw_curves(trained: dict[str, list[Run]], ax: Axes) -> Axes:
    """The train loss by epoch, the median over seeds."""
    for color, (name, runs) in zip(COLORS, trained.items(), strict=False):
        losses = np.array([[row["train_loss"] for row in run.history] for run in runs])
        ax.plot(np.arange(1, losses.shape[1] + 1), np.median(losses, axis=0), color=color, label=name)
    ax.set(yscale="log", xlabel="epoch", ylabel="train loss in training")
    whole_numbers(ax)
    ax.set_title("training (colours as on the left)", fontsize=10)
    return ax


def _recipes(name: str, seeds: Sequence[int], depth: int, epochs: int, train: int) -> list[Recipe]:
    return [
        Recipe(
            data=digits(seed, train=train),
            model=partial(deep_net, depth, WIDTH, **ARMS[name]),
            objective=nn.CrossEntropyLoss(),
            optimizer=partial(torch.optim.Adam, lr=1e-3),
            epochs=epochs,
            seed=seed,
        )
        for seed in seeds
    ]


def _gradients(run: Run) -> list[float]:
    assert run.recipe is not None
    net = run.last.train()
    assert isinstance(net, nn.Sequential)
    x, y = run.recipe.data.train
    return layer_gradients(net, cross_entropy(net(x), y))


def _medians(gradients: np.ndarray) -> tuple[float, float]:
    first, *_, last = np.median(gradients, axis=0)
    return float(first), float(last)
