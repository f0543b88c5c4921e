r"""truncate: attention in windows, what it cannot see, and what it saves.

A position that looks W positions back, in each of L layers, depends on $L W$ positions behind it and on nothing before
these, whatever is learned: layers hand on what they found, as stacked convolutions do (Beltagy, Peters & Cohan,
"Longformer", 2020, section 3.1). In the copy task each token asks for the symbol that stood k positions back, so that
the accuracy of a network is known for each k before any training: 1 where $k \le L W$ may be learned, and that of a
guess beyond. What a window saves is known as well: n positions compare $n (n + 1) / 2$ pairs in full, of the order of
$n W$ in windows. What is held for the backward pass is *not* less: the fused kernel of full attention keeps no scores.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg.core.randomness import untouched
from thalweg.core.source import Splits
from thalweg.core.storage import kept_for_backward
from thalweg.core.tokens import NO_TARGET
from thalweg.loss import Tagging
from thalweg.nn import Encoder, encoder
from thalweg.optim import Cosine
from thalweg.study.arms import Progress, logits, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.operations import multiply_adds
from thalweg.study.picture import panels
from thalweg.study.sequence_tasks import FIRST, copy, distances
from thalweg.study.truncate_picture import draw_costs, draw_distances
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
SYMBOLS, FURTHEST, LENGTH, TEST = 4, 6, 18, 400
WIDTH, HEADS, RATE, BATCH = 32, 2, 5e-3, 32
SHORT, REACHING, DEEPER, FULL = "2 x 2", "2 x 3", "3 x 2", "full"
ARMS: dict[str, dict[str, Any]] = {
    "2 x 1": {"depth": 2, "window": 1},
    SHORT: {"depth": 2, "window": 2},
    REACHING: {"depth": 2, "window": 3},
    DEEPER: {"depth": 3, "window": 2},
    FULL: {"depth": 2, "window": None},
}
"""Layers x window."""
GAINS = ((SHORT, "2 x 1"), (REACHING, SHORT), (DEEPER, SHORT))
LEARNED, GUESSED, GAIN, MORE, CHEAPER = 0.9, (0.15, 0.35), 0.15, 0.05, 2.0
ROUNDS = 5
CLOCK = ("time per step [ms]",)


class Cost(NamedTuple):
    """What a training step on one long sequence takes, for a window."""

    multiply_adds: int
    kept: int
    """Bytes that are held for the backward pass."""
    seconds: float


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    epochs: int = 8,
    train: int = 2048,
    long: int = 1024,
    windows: tuple[int, ...] = (8, 32, 128),
) -> Study:
    """What each network can see is said first, then they are trained; the cost is that of one long sequence."""
    recipes = {name: [_recipe(arm, seed, epochs, train) for seed in seeds] for name, arm in ARMS.items()}
    trained = train_arms(recipes, progress, (0.0, 0.95))
    scores = {name: np.array([by_distance(run) for run in runs]) for name, runs in trained.items()}
    costs = costs_of((*windows, None), long, seeds[0])
    progress(1.0, "cost by window")
    figure, axes = panels(3)
    draw_distances({name: reach(name) for name in scores}, scores, 1 / SYMBOLS, axes[0])
    draw_costs(long, costs, axes[1], axes[2])
    return Study(
        name="truncate",
        claim=STUDIES["truncate"],
        question="What does attention in windows lose, and what does it save?",
        method=f"Causal encoders of width {WIDTH} with rotary positions; each of {LENGTH} tokens asks for the one of "
        f"{SYMBOLS} symbols that stood 1 to {FURTHEST} positions back; {train} sequences, {epochs} epochs of Adam at "
        f"{RATE:g}, falling as a cosine. Costs are those of 2 layers on one sequence of {long}: counted multiply-adds "
        f"forward, bytes held for the backward pass, and the least processor time of {ROUNDS} interleaved steps.",
        seeds=tuple(seeds),
        columns=("layers x window", "sees", *(f"{k} back" for k in range(1, FURTHEST + 1)),
                 "multiply-adds [million]", "kept [MiB]", *CLOCK),
        rows=tuple(_rows(scores, costs)),
        checks=decide(scores, costs),
        settings={"epochs": epochs, "train": train, "long": long, "windows": windows, "width": WIDTH, "rate": RATE},
        figure=figure,
        clock=CLOCK,
    )  # fmt: skip


def decide(scores: dict[str, Float[np.ndarray, "seed distance"]], costs: dict[int | None, Cost]) -> tuple[Check, ...]:
    """From accuracies by distance, paired by seed, and counted costs: within reach, beyond it, and what it costs."""
    seeds = len(next(iter(scores.values())))
    within = np.min([values[:, : reach(name)].mean(1) for name, values in scores.items()], axis=0)
    short = [values[:, reach(name) :].mean(1) for name, values in scores.items() if reach(name) < FURTHEST]
    beyond = np.max(short, axis=0) if short else np.full(seeds, np.nan)
    mean = {name: values.mean(1) for name, values in scores.items()}
    counted = [cost.multiply_adds for cost in costs.values()]
    steps = [after / before for before, after in pairwise(counted)]
    low, high = GUESSED
    return (
        over_seeds("accuracy within layers x window, the worst network", within, above=LEARNED),
        over_seeds("accuracy beyond it, the best network", beyond, above=low, below=high),
        *(over_seeds(f"accuracy, {more} - {less}", mean[more] - mean[less], above=GAIN) for more, less in GAINS),
        over_seeds(f"accuracy, {FULL} - {REACHING}", mean[FULL] - mean[REACHING], below=MORE),
        over_seeds("multiply-adds, full / smallest window", [counted[-1] / counted[0]] * seeds, above=CHEAPER),
        over_seeds("multiply-adds, a window / the next smaller, the least", [min(steps)] * seeds, above=1.0),
    )


def reach(name: str) -> int:
    """How many of the distances a network can see: layers x window, at most all.

    >>> reach("2 x 2"), reach("3 x 2"), reach("full")
    (4, 6, 6)
    """
    arm = ARMS[name]
    return FURTHEST if arm["window"] is None else min(FURTHEST, arm["depth"] * arm["window"])


def by_distance(run: Run) -> list[float]:
    """The accuracy on test sequences at positions that ask 1, 2, ... back."""
    assert run.recipe is not None
    tokens, target = run.recipe.data.test
    right, asked = logits(run.last, tokens).argmax(2) == target, distances(tokens, SYMBOLS)
    counted = target != NO_TARGET
    return [float(right[counted & (asked == k)].double().mean()) for k in range(1, FURTHEST + 1)]


def costs_of(windows: Sequence[int | None], length: int, seed: int) -> dict[int | None, Cost]:
    """What a step on one sequence of that length costs with each window; None is full attention."""
    tokens, target = copy(1, length, SYMBOLS, FURTHEST, seed)
    with untouched():
        torch.manual_seed(seed)
        nets = {window: _net(depth=2, window=window) for window in windows}
    seconds = dict.fromkeys(windows, np.inf)
    for _ in range(ROUNDS):
        for window, net in nets.items():
            started = process_time()
            _loss(net, tokens, target).backward()
            seconds[window] = min(seconds[window], process_time() - started)
    return {
        window: Cost(multiply_adds(net, tokens), kept(net, tokens, target), float(seconds[window]))
        for window, net in nets.items()
    }


def kept(net: nn.Module, tokens: Tensor, target: Tensor) -> int:
    """The bytes that a forward pass holds for the backward one."""
    return kept_for_backward(lambda: _loss(net, tokens, target), net.parameters())


def _loss(net: nn.Module, tokens: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(net.train()(tokens).flatten(0, 1), target.flatten())


def _rows(scores: dict[str, np.ndarray], costs: dict[int | None, Cost]) -> list[tuple[Any, ...]]:
    """A row for each network that was trained and each that was measured; what was not done for one is left empty."""
    measured = {FULL if window is None else f"2 x {window}": cost for window, cost in costs.items()}
    rows: list[tuple[Any, ...]] = []
    for name in sorted({**scores, **measured}, key=lambda name: name == FULL):
        found: list[float | None] = [None] * (1 + FURTHEST)
        if name in scores:
            found = [reach(name), *scores[name].mean(0).tolist()]
        price: list[float | None] = [None] * 3
        if name in measured:
            count, size, seconds = measured[name]
            price = [count / 1e6, size / 2**20, seconds * 1e3]
        rows.append((name, *found, *price))
    return rows


def _net(depth: int, window: int | None) -> Encoder:
    return encoder(
        SYMBOLS, vocabulary=FIRST + SYMBOLS * FURTHEST, width=WIDTH, depth=depth, heads=HEADS, head="position",
        causal=True, window=window, positions="rotary",
    )  # fmt: skip


def _recipe(arm: dict[str, Any], seed: int, epochs: int, train: int) -> Recipe:
    return Recipe(
        data=Splits(
            train=copy(train, LENGTH, SYMBOLS, FURTHEST, seed * 10 + 1),
            test=copy(TEST, LENGTH, SYMBOLS, FURTHEST, seed * 10 + 2),
        ),
        model=partial(_net, **arm),
        objective=Tagging(),
        optimizer=partial(torch.optim.Adam, lr=RATE),
        schedule=Cosine(floor=0.01),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
    )
