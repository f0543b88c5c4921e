r"""batch-size: what an update costs, how noisy its gradient is, and what is learned in the end.

A batch of B examples drawn at random has the gradient $g_B = g + \epsilon$, where the noise has the covariance
$\Sigma / B$ for one example's $\Sigma$: its size $E \lVert g_B - g \rVert^2 = \mathrm{tr}\,\Sigma / B$ falls as 1/B
(McCandlish et al., "An Empirical Model of Large-Batch Training", 2018). An update costs less than B times as much,
since the examples of a batch are computed side by side; and an epoch has fewer of them, so that at the same rate and
after equal epochs less has been learned (Masters & Luschi 2018). The test losses are shown, and decide nothing.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg.core.randomness import generator
from thalweg.core.source import Splits
from thalweg.nn import mlp
from thalweg.study.arms import Progress, loss, train_arms, train_loss
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, PIXELS, digits
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
RATE = 0.1
DRAWS = 48
"""Batches whose gradients are compared with the whole set's, for each size."""
ROUNDS = 15
"""Interleaved rounds of timing; the median counts."""
SLOPE = (-1.1, -0.9)
"""Where the slope of log noise against log B has to lie for the law 1/B."""
CLOCK = ("time per update [us]", "time per epoch [ms]", "time per epoch, smallest / largest batch")


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    sizes: tuple[int, ...] = (8, 32, 128, 512),
    epochs: int = 10,
    train: int = 1024,
) -> Study:
    """Noise and time at the point that one epoch reaches; then a training with each batch size."""
    early = train_arms({"one epoch": [_recipe(64, seed, 1, train) for seed in seeds]}, progress, (0.0, 0.1))
    noise = np.array([[_noise(run, size) for size in sizes] for run in early["one epoch"]])
    progress(0.2, "noise of the gradient")
    times = np.array([_seconds(run, sizes) for run in early["one epoch"]])
    progress(0.3, "time per update")
    arms = train_arms(
        {f"batch {size}": [_recipe(size, s, epochs, train) for s in seeds] for size in sizes}, progress, (0.3, 1.0)
    )
    ends = np.array([[(train_loss(run), _test_loss(run, train)) for run in runs] for runs in arms.values()])
    per_epoch = times * np.ceil(train / np.array(sizes))
    figure, axes = panels(3)
    draw_noise(sizes, noise, axes[0])
    draw_times(sizes, times, per_epoch, axes[1])
    draw_losses(sizes, ends, axes[2])
    return Study(
        name="batch-size",
        claim=STUDIES["batch-size"],
        question="What does the size of the batch change: time, noise of the gradient, final losses?",
        method=f"A network 64-64-64-10 on {train} digits, {epochs} epochs of SGD at {RATE}; noise over {DRAWS} batches "
        f"after one epoch; times are medians of {ROUNDS} interleaved rounds on one device.",
        seeds=tuple(seeds),
        columns=("batch", *CLOCK[:2], "noise of the gradient", "noise x batch", "updates", "train loss", "test loss"),
        rows=tuple(
            (
                size,
                float(np.median(times[:, i])) * 1e6,
                float(np.median(per_epoch[:, i])) * 1e3,
                float(noise[:, i].mean()),
                float(noise[:, i].mean()) * size,
                epochs * -(-train // size),
                *ends[i].mean(axis=0).tolist(),
            )
            for i, size in enumerate(sizes)
        ),
        checks=decide(sizes, noise, per_epoch, ends[:, :, 0]),
        settings={"sizes": sizes, "epochs": epochs, "train": train, "rate": RATE, "draws": DRAWS, "rounds": ROUNDS},
        figure=figure,
        clock=CLOCK,
    )


def decide(
    sizes: Sequence[int],
    noise: Float[np.ndarray, "seed size"],
    per_epoch: Float[np.ndarray, "seed size"],
    losses: Float[np.ndarray, "size seed"],
) -> tuple[Check, ...]:
    """Noise falls with slope -1; an epoch of the largest batch is cheaper than of the smallest, and teaches less."""
    slopes = np.polyfit(np.log(sizes), np.log(noise).T, 1)[0]
    return (
        over_seeds("slope of log noise against log batch", slopes, above=SLOPE[0], below=SLOPE[1]),
        over_seeds("log10(train loss, largest / smallest batch)", np.log10(losses[-1] / losses[0]), above=0.0),
        over_seeds(CLOCK[2], per_epoch[:, 0] / per_epoch[:, -1], above=1.0),
    )


def draw_noise(sizes: Sequence[int], noise: Float[np.ndarray, "seed size"], ax: Axes) -> Axes:
    """The noise by batch size, a point for each seed, and the law 1/B through the first mean."""
    law = noise[:, 0].mean() * sizes[0] / np.array(sizes)
    ax.plot(sizes, law, "--", color="0.6", linewidth=1, label="1/B")
    lines = ax.plot(sizes, noise.T, "o", color=COLORS[0], markersize=4)
    lines[0].set_label("a seed")
    ax.set_title("noise of the gradient", fontsize=10)
    ax.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="E |g_B - g|²")
    _ticks(sizes, ax)
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_times(sizes: Sequence[int], times: np.ndarray, per_epoch: np.ndarray, ax: Axes) -> Axes:
    """Milliseconds of an update and of an epoch by batch size."""
    ax.plot(sizes, np.median(times, axis=0) * 1e3, marker="o", markersize=4, color=COLORS[2], label="an update")
    ax.plot(sizes, np.median(per_epoch, axis=0) * 1e3, marker="o", markersize=4, color=COLORS[1], label="an epoch")
    ax.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="milliseconds")
    ax.set_title("time, the median", fontsize=10)
    _ticks(sizes, ax)
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_losses(sizes: Sequence[int], ends: np.ndarray, ax: Axes) -> Axes:
    """Train and test loss at the end by batch size, the mean over seeds and their range."""
    for part, (name, color) in enumerate((("train", COLORS[0]), ("test", COLORS[1]))):
        losses = ends[:, :, part]
        ax.plot(sizes, losses.mean(1), marker="o", markersize=4, color=color, label=name)
        ax.fill_between(sizes, losses.min(1), losses.max(1), color=color, alpha=0.18, linewidth=0)
    ax.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="loss after equal epochs")
    ax.set_title("final loss, mean and range of seeds", fontsize=10)
    _ticks(sizes, ax)
    ax.legend(frameon=False, fontsize=8)
    return ax


def gradient(model: nn.Module, x: Float[Tensor, "batch pixel"], y: Int[Tensor, " batch"]) -> Float[Tensor, " weight"]:
    """The gradient of the mean loss over a batch, as one vector."""
    parts = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def _noise(run: Run, size: int) -> float:
    """E |g_B - g|^2 over random batches, drawn with replacement as the law 1/B supposes."""
    assert run.recipe is not None
    x, y = run.recipe.data.train
    whole = gradient(run.last, x, y)
    random = generator(run.recipe.seed, "noise of batches", size)
    squares = []
    for _ in range(DRAWS):
        ids = torch.randint(len(y), (size,), generator=random)
        squares.append(float((gradient(run.last, x[ids], y[ids]) - whole).square().sum()))
    return float(np.mean(squares))


def _seconds(run: Run, sizes: Sequence[int]) -> list[float]:
    """The median time of a gradient and a step for each batch size, the sizes taking turns."""
    assert run.recipe is not None
    x, y = run.recipe.data.train
    model = run.recipe.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    taken = np.array([list(_round(model, optimizer, x, y, sizes)) for _ in range(ROUNDS)])
    return [float(seconds) for seconds in np.median(taken, axis=0)]


def _round(model: nn.Module, optimizer: torch.optim.SGD, x: Tensor, y: Tensor, sizes: Sequence[int]) -> Iterator[float]:
    for size in sizes:
        started = perf_counter()
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(x[:size]), y[:size]).backward()
        optimizer.step()
        yield perf_counter() - started


def _test_loss(run: Run, train: int) -> float:
    assert run.recipe is not None
    return loss(run.last, digits(run.recipe.seed, train=train).test)


def _recipe(size: int, seed: int, epochs: int, train: int) -> Recipe:
    return Recipe(
        data=Splits(train=digits(seed, train=train).train),
        model=partial(mlp, PIXELS, CLASSES, width=64, depth=2),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.SGD, lr=RATE),
        batch_size=size,
        epochs=epochs,
        seed=seed,
    )


def _ticks(sizes: Sequence[int], ax: Axes) -> None:
    ax.set_xticks(list(sizes), [str(size) for size in sizes])
    ax.minorticks_off()
