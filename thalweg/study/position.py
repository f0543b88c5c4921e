r"""position: attention does not see order unless it is told, and what it is told ends where training did.

With inputs as columns, a permutation $P$ of the positions gives $O(I P) = O(I) P$: queries, keys and values are
permuted, the scores with them on both sides, and each softmax is over the same numbers. So without positions a network
of attention is *equivariant*, and its mean over the positions *invariant*: no training can make it tell which of two
tokens comes first. Positions break this. What they mean beyond the lengths of training is another question: vectors
that are added to the inputs have then never been seen, while what depends on the distance of two positions alone has,
for short distances (Shaw et al. 2018; Press et al., "Train Short, Test Long", 2022).
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import Tensor, nn

from thalweg.core.source import Splits
from thalweg.nn import Encoder, encoder
from thalweg.optim import Cosine
from thalweg.study.arms import Progress, accuracy, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.sequence_tasks import OTHERS, order
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
WIDTH, DEPTH, HEADS, RATE, BATCH = 32, 2, 2, 3e-3, 64
NONE, ADDED, ATTENDED = "none", ("sinusoidal", "learned"), ("relative", "rotary")
ARMS: dict[str, str | None] = {NONE: None, **{name: name for name in (*ADDED, *ATTENDED)}}
TIMES = (1, 2, 4)
"""The lengths that are judged, in lengths of training."""
ROUNDING, SEEN, CHANCE, LEARNED, LOST = 1e-6, 0.01, (0.4, 0.6), 0.9, 0.05
JUDGED, PERMUTED = 500, 20


class Scores(NamedTuple):
    """What each seed's network does to permuted inputs, and its accuracy at each of `TIMES`."""

    moved: Float[np.ndarray, " seed"]
    accuracy: Float[np.ndarray, "seed times"]


def study(seeds: Sequence[int], progress: Progress, *, length: int = 16, epochs: int = 6, train: int = 4096) -> Study:
    """The same encoder with each kind of positions and with none, on the same sequences."""
    recipes = {
        name: [_recipe(positions, seed, length, epochs, train) for seed in seeds] for name, positions in ARMS.items()
    }
    trained = train_arms(recipes, progress)
    scores = {name: _scores(runs, length) for name, runs in trained.items()}
    figure, axes = panels(2)
    draw_moved(scores, axes[0])
    draw_lengths(length, scores, axes[1])
    lengths = [times * length for times in TIMES]
    return Study(
        name="position",
        claim=STUDIES["position"],
        question="What does attention know of order, without positions and with four kinds of them?",
        method=f"Encoders of depth {DEPTH} and width {WIDTH} that say which of two tokens comes first, by the mean of "
        f"their positions; {train} sequences of {length}, {epochs} epochs of Adam at {RATE:g}, falling as a cosine. "
        f"Learned positions are built for {lengths[-1]}. Moved by a permutation: the largest difference between the "
        f"vectors of a permuted sequence and the permuted vectors, over the largest number in them, in float64, over "
        f"{PERMUTED} sequences.",
        seeds=tuple(seeds),
        columns=("positions", "moved by a permutation", *(f"accuracy at {each}" for each in lengths)),
        rows=tuple((name, float(each.moved.mean()), *each.accuracy.mean(0).tolist()) for name, each in scores.items()),
        checks=decide(scores),
        settings={"length": length, "epochs": epochs, "train": train, "width": WIDTH, "depth": DEPTH, "rate": RATE},
        figure=figure,
    )


def decide(scores: dict[str, Scores]) -> tuple[Check, ...]:
    """Equivariance and chance without positions, order with each kind, and what is left of it at greater lengths."""
    told = [each for name, each in scores.items() if name != NONE]
    moved = np.min([each.moved for each in told], axis=0)
    learned = np.min([each.accuracy[:, 0] for each in told], axis=0)
    lost = np.min([each.accuracy[:, 0] - each.accuracy[:, -1] for each in told], axis=0)
    added, attended = (np.mean([scores[name].accuracy[:, 1] for name in kind], axis=0) for kind in (ADDED, ATTENDED))
    low, high = CHANCE
    return (
        over_seeds("moved by a permutation, no positions", scores[NONE].moved, below=ROUNDING),
        over_seeds("moved by a permutation, the least of four positions", moved, above=SEEN),
        over_seeds("accuracy, no positions", scores[NONE].accuracy[:, 0], above=low, below=high),
        over_seeds("accuracy at the trained length, the worst of four positions", learned, above=LEARNED),
        over_seeds(f"accuracy at {TIMES[1]} x the length, in the scores - added", attended - added, above=0.0),
        over_seeds(f"accuracy lost at {TIMES[-1]} x the length, the least of four positions", lost, above=LOST),
    )


@torch.no_grad()
def moved(model: Encoder, tokens: Int[Tensor, "example length"], seed: int) -> float:
    """The largest difference between vectors of permuted tokens and permuted vectors, over the largest of these.

    0 but for rounding means that the network is equivariant to permutations. In float64.
    """
    precise = copy.deepcopy(model).double().eval()
    random = torch.Generator().manual_seed(seed)
    places = torch.rand(tokens.shape, generator=random).argsort(1)
    vectors = precise.encode(tokens)
    expected = vectors.take_along_dim(places[..., None], 1)
    found = precise.encode(tokens.gather(1, places))
    return float((found - expected).abs().max() / expected.abs().max())


def draw_moved(scores: dict[str, Scores], ax: Axes) -> Axes:
    """How much the vectors of each seed's network differ from permuted ones, by the kind of positions."""
    for place, (color, (name, each)) in enumerate(zip(COLORS, scores.items(), strict=False)):
        ax.plot(
            [place] * len(each.moved), each.moved.clip(1e-17), "o", color=color, markersize=5, alpha=0.7, label=name
        )
    ax.axhline(np.finfo(float).eps, color="0.6", linewidth=1, zorder=0)
    ax.set_xticks(range(len(scores)), list(scores), fontsize=8)
    ax.set(yscale="log", ylabel="moved by a permutation", ylim=(1e-17, 10))
    ax.set_title("a dot a seed; grey: one rounding", fontsize=10)
    return ax


def draw_lengths(length: int, scores: dict[str, Scores], ax: Axes) -> Axes:
    """The accuracy by the length that is judged, for each kind of positions: mean of the seeds, and all of them."""
    lengths = [times * length for times in TIMES]
    for color, (name, each) in zip(COLORS, scores.items(), strict=False):
        ax.plot(lengths, each.accuracy.mean(0), "o-", color=color, markersize=4, label=name)
        ax.fill_between(lengths, each.accuracy.min(0), each.accuracy.max(0), color=color, alpha=0.12, linewidth=0)
    ax.axhline(0.5, color="0.6", linewidth=1, zorder=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [str(each) for each in lengths])
    ax.set(xlabel=f"length judged; {length} is the length of training", ylabel="accuracy", ylim=(0.4, 1.03))
    ax.set_title("which of two tokens is first?", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _scores(runs: list[Run], length: int) -> Scores:
    found, right = [], []
    for run in runs:
        assert run.recipe is not None
        judged = [order(JUDGED, times * length, run.recipe.seed * 10 + 2) for times in TIMES]
        assert isinstance(run.last, Encoder)
        found.append(moved(run.last, judged[0][0][:PERMUTED], run.recipe.seed))
        right.append([accuracy(run.last, split) for split in judged])
    return Scores(np.array(found), np.array(right))


def _recipe(positions: str | None, seed: int, length: int, epochs: int, train: int) -> Recipe:
    return Recipe(
        data=Splits(train=order(train, length, seed * 10 + 1)),
        model=partial(
            encoder, 2, vocabulary=OTHERS, width=WIDTH, depth=DEPTH, heads=HEADS, positions=positions,
            length=TIMES[-1] * length,
        ),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=RATE),
        schedule=Cosine(floor=0.01),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
    )  # fmt: skip
