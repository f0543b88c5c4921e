r"""tree: the brackets of a tree are a sequence, and a network that puts out sequences puts out trees.

Vinyals et al., "Grammar as a Foreign Language" (2015), parse English so. Here the trees are those of expressions, whose
operators decide them (`thalweg.study.expressions`), so that a network can be right about all of them. Not every
sequence of brackets is a tree: what was put out can be repaired at its end, or the search can be held to trees at every
step, so that the probability of a beginning is not spent on what ends as none. The two are the same where outputs are
trees anyway; longer expressions than those of training show which is better.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import nn

from thalweg.data import PairSchema, PairSource
from thalweg.recipes.decoded import Decoding, decoded
from thalweg.recipes.output_forms import form_scores
from thalweg.study.arms import Progress, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.expressions import expressions
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels, seed_bar
from thalweg.study.spelling import TOKENS, pair_recipe
from thalweg.study.verdict import Check, Study

SEEDS = 5
HELD, REPAIRED = "held to trees", "repaired"
LENGTHS = {"2 to 5": (2, 6), "6 to 8": (6, 9), "9 to 12": (9, 13)}
"""Operators of an expression, from and to: as in training, and longer."""
TRAINED, LONGER = "2 to 5", "6 to 8"
BEAMS = (1, 5)
AHEAD, WHOLE, BETTER = 0.3, 0.9, 0.0
JUDGED = 200


class Scores(NamedTuple):
    """Of each seed: F1 of brackets with labels and without, exact matches, and outputs that are trees unrepaired."""

    labelled: Float[np.ndarray, " seed"]
    unlabelled: Float[np.ndarray, " seed"]
    exact: Float[np.ndarray, " seed"]
    whole: Float[np.ndarray, " seed"]
    branching: Float[np.ndarray, "seed side"]
    """The F1 of brackets without labels of trees that branch to the right, and to the left."""


Found = Mapping[tuple[str, int, str], Scores]
"""By what is done to outputs, the beam, and the operators of the expressions."""


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    train: int = 1500,
    epochs: int = 10,
    width: int = 48,
    rate: float = 6e-3,
    judged: int = JUDGED,
    determined: bool = True,
) -> Study:
    """Each seed draws its own expressions; `determined=False` gives them trees that their operators do not decide."""
    sources = [_source(expressions(train, LENGTHS[TRAINED], seed, determined=determined)) for seed in seeds]
    recipes = [
        pair_recipe(source, width=width, epochs=epochs, rate=rate, seed=seed)
        for source, seed in zip(sources, seeds, strict=True)
    ]
    runs = train_arms({"brackets": recipes}, progress, (0.0, 0.9))["brackets"]
    tests = {
        name: [
            PairSource.of(expressions(judged, operators, 500 + seed, determined=determined), source.encoding)
            for source, seed in zip(sources, seeds, strict=True)
        ]
        for name, operators in LENGTHS.items()
    }
    found = {
        (way, beam, name): _scores(
            [run.last for run in runs], own, Decoding(beam, length_penalty=1.0, constrained=way == HELD)
        )
        for way in (HELD, REPAIRED)
        for beam in BEAMS
        for name, own in tests.items()
    }
    progress(1.0, "judged")
    figure, axes = panels(2)
    draw_f1(found, axes[0])
    draw_whole(found, axes[1])
    return Study(
        name="tree",
        claim=STUDIES["tree"],
        question="Are the brackets that a network puts out trees, are they the right ones, and is it better to hold "
        "the search to trees than to repair what it found?",
        method=f"Expressions of names and + - * / ^, {train} of 2 to 5 operators to train on; a recurrent encoder and "
        f"decoder with attention, {width} units, {epochs} epochs of AdamW at {rate:g}; {judged} drawn anew each "
        "of as many operators and of more, decoded greedily and by a beam ranked by the mean over tokens, held to "
        "trees or repaired. F1 is that of brackets, over all expressions.",
        seeds=tuple(seeds),
        columns=("outputs", "beam", "operators", "F1", "F1 without labels", "right", "trees unrepaired",
                 "F1, right-branching", "F1, left-branching"),
        rows=tuple(
            (way, beam, name, *(float(values.mean()) for values in each[:4]), *map(float, each.branching.mean(0)))
            for (way, beam, name), each in found.items()
        ),
        checks=decide(found),
        settings={"train": train, "epochs": epochs, "width": width, "rate": rate, "judged": judged,
                  "determined": determined},
        figure=figure,
    )  # fmt: skip


def decide(found: Found) -> tuple[Check, ...]:
    """How far brackets are ahead of trees that branch to one side, how many are trees, and which way is better."""
    greedy, (held, mended) = found[REPAIRED, 1, TRAINED], (found[way, BEAMS[-1], LONGER] for way in (HELD, REPAIRED))
    best = greedy.branching.max(1)
    return (
        over_seeds("F1 without labels, network - the better branching tree", greedy.unlabelled - best, above=AHEAD),
        over_seeds("trees without repair", greedy.whole, above=WHOLE),
        over_seeds(
            "F1 of longer expressions by a beam, held - repaired", held.labelled - mended.labelled, above=BETTER
        ),
    )


def draw_f1(found: Found, ax: Axes) -> Axes:
    """The F1 of brackets without labels by the operators of expressions: both ways, and trees that branch to a side."""
    places = np.arange(len(LENGTHS))
    for color, way in zip(COLORS, (HELD, REPAIRED), strict=False):
        for style, beam in zip(("o:", "o-"), BEAMS, strict=True):
            checks = [over_seeds(way, found[way, beam, name].unlabelled) for name in LENGTHS]
            ax.plot(places, [check.value for check in checks], style, color=color, markersize=4,
                    label=f"{way}, {'greedily' if beam == 1 else f'beam of {beam}'}")  # fmt: skip
            ax.fill_between(places, [check.low for check in checks], [check.high for check in checks], color=color,
                            alpha=0.1, linewidth=0)  # fmt: skip
    for side, (color, name) in enumerate((("0.6", "right-branching"), ("0.3", "left-branching"))):
        values = [found[HELD, 1, length].branching[:, side].mean() for length in LENGTHS]
        ax.plot(places, values, "--", color=color, linewidth=1, label=name)
    ax.set_xticks(places, list(LENGTHS))
    ax.set(xlabel="operators (2 to 5 in training)", ylabel="F1 of brackets, without labels", ylim=(0, 1.4))
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")
    return ax


def draw_whole(found: Found, ax: Axes) -> Axes:
    """The share of outputs by a beam that are trees as they are, and those that are right, by the operators."""
    places, beam = np.arange(len(LENGTHS)), BEAMS[-1]
    bars = (
        ("trees before any repair", COLORS[2], [found[REPAIRED, beam, name].whole for name in LENGTHS]),
        ("right, repaired", COLORS[1], [found[REPAIRED, beam, name].exact for name in LENGTHS]),
        ("right, held to trees", COLORS[0], [found[HELD, beam, name].exact for name in LENGTHS]),
    )
    for number, (name, color, values) in enumerate(bars):
        for place, each in zip(places, values, strict=True):
            at = place + 0.27 * (number - 1)
            seed_bar(ax, at, each, 0.25, color=color, label=None if place else name)
    ax.set_xticks(places, list(LENGTHS))
    ax.set(xlabel="operators (2 to 5 in training)", ylabel="share of the outputs of a beam", ylim=(0, 1.05))
    ax.legend(frameon=False, fontsize=8)
    return ax


def _source(frame: pd.DataFrame) -> PairSource:
    """Pairs to train on, in their own vocabularies."""
    schema = PairSchema(unit=("words", "words"), output="tree")
    return PairSource.unfitted(frame, schema, tokens=TOKENS).fit(range(len(frame)))


def _scores(models: Sequence[nn.Module], tests: Sequence[PairSource], decoding: Decoding) -> Scores:
    rows = []
    for model, test in zip(models, tests, strict=True):
        best = [several[0] for several in decoded(model, test, decoding)]
        scores = form_scores([each.text for each in best], test, range(len(test)))
        names = ("bracket_f1", "unlabelled_f1", "exact_match")
        sides = ("right_branching_f1", "left_branching_f1")
        whole = float(np.mean([each.whole for each in best]))
        rows.append([*(scores[name][0] for name in names), whole, *(scores[name][0] for name in sides)])
    labelled, unlabelled, exact, whole_share, *sides_found = np.array(rows).T
    return Scores(labelled, unlabelled, exact, whole_share, np.stack(sides_found, 1))
