r"""copy-span: a text is cut down to its marked words, whatever these are.

Extractive compression in small: of each sentence the words behind a mark are to be put out, in their order. The
network knows the commonest words alone; all others are one token to it, "unknown". Where a network can only generate,
it has no way to say such a word. With the mixture $P = g P_\mathrm{vocabulary} + (1 - g) P_\mathrm{source}$ (See, Liu &
Manning, "Get To The Point", 2017, which is about summaries for this reason) it points at the place instead. The words
are those of the world's names, drawn by Zipf's law; a half of them is kept from training, and judged apart.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import nn

from thalweg.data import PairSchema, PairSource, names_frame
from thalweg.study.arms import Progress, standing_in, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels, seed_bar
from thalweg.study.spelling import COPYING, GENERATING, mistakes, outputs, pair_recipe
from thalweg.study.verdict import Check, Study

SEEDS = 5
SEEN, NEW = "seen words", "new words"
MARK = "*"
LENGTHS, MARKED = (4, 9), 0.3
"""The words of a sentence, from and to; the share that is marked."""
KNOWN, SURE, AS_SURE, NEVER = 150, 0.8, 0.1, 0.05
"""Words in the vocabulary; bounds of the shares of sentences that are put out right."""
JUDGED, BATCH_TOKENS = 300, 1024


class Words(NamedTuple):
    """What training draws from, by Zipf's law, and what it never sees."""

    seen: list[str]
    new: list[str]


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    train: int = 1500,
    epochs: int = 12,
    width: int = 48,
    rate: float = 8e-3,
    arms: Mapping[str, str] | None = None,
) -> Study:
    """Each seed draws its own words and sentences; both networks read the same ones."""
    standing = standing_in((COPYING, GENERATING), arms)
    recipes, tests = {}, {}
    for name, arm in standing.items():
        read = [_sources(seed, train, arm == COPYING) for seed in seeds]
        recipes[name] = [
            pair_recipe(splits[0], width=width, epochs=epochs, rate=rate, seed=seed)
            for splits, seed in zip(read, seeds, strict=True)
        ]
        tests[name] = [dict(zip((SEEN, NEW), splits[1:], strict=True)) for splits in read]
    runs = train_arms(recipes, progress, (0.0, 0.95))
    right = {
        name: {
            kind: np.array([_right(run.last, test[kind]) for run, test in zip(runs[name], tests[name], strict=True)])
            for kind in (SEEN, NEW)
        }
        for name in standing
    }
    progress(1.0, "judged")
    figure, axes = panels(1)
    draw(right, axes[0])
    return Study(
        name="copy-span",
        claim=STUDIES["copy-span"],
        question="Which marked words of a text are put out, those of training and those that it never saw?",
        method=f"Sentences of {LENGTHS[0]} to {LENGTHS[1] - 1} words, of which those behind a mark are the target; "
        f"{train} of them, a vocabulary of the {KNOWN} commonest words. A recurrent encoder and decoder with "
        f"attention, {width} units, {epochs} epochs of AdamW at {rate:g}, with and without a gate that copies; decoded "
        f"greedily, {JUDGED} sentences of words that were seen and as many of words that were not.",
        seeds=tuple(seeds),
        columns=("network", *(f"right, {kind}" for kind in (SEEN, NEW))),
        rows=tuple((name, *(float(values.mean()) for values in each.values())) for name, each in right.items()),
        checks=decide(right),
        settings={"train": train, "epochs": epochs, "width": width, "rate": rate, "known": KNOWN, "arms": standing},
        figure=figure,
    )


def decide(right: Mapping[str, Mapping[str, Float[np.ndarray, " seed"]]]) -> tuple[Check, ...]:
    """From the shares of sentences that are right, of both networks and both kinds of words, paired by seed."""
    copied, generated = right[COPYING], right[GENERATING]
    return (
        over_seeds("new words right, copying", copied[NEW], above=SURE),
        over_seeds("words right, seen - new, copying", copied[SEEN] - copied[NEW], below=AS_SURE),
        over_seeds("new words right, generating", generated[NEW], below=NEVER),
    )


def draw(right: Mapping[str, Mapping[str, Float[np.ndarray, " seed"]]], ax: Axes) -> Axes:
    """The share of sentences that are right by network and kind of words: the mean, and a dot a seed."""
    for offset, color, name in ((-0.2, COLORS[1], GENERATING), (0.2, COLORS[0], COPYING)):
        for place, values in enumerate(right[name].values()):
            seed_bar(ax, place + offset, values, 0.38, color=color, label=None if place else name)
    ax.set_xticks(range(2), list(right[COPYING]))
    ax.set(ylabel="sentences that are right", ylim=(0, 1.05))
    ax.legend(frameon=False, fontsize=8)
    return ax


def words_of(seed: int) -> Words:
    """The words of the English names, a half of them never seen, in an order of their own.

    >>> words = words_of(0)
    >>> len(words.seen) > 500, set(words.seen) & set(words.new)
    (True, set())
    """
    names = " ".join(names_frame("de")["en"].tolist()).split()
    plain = sorted({word for word in names if word.isalpha()})
    order = np.random.default_rng(seed).permutation(len(plain))
    return Words([plain[i] for i in order[::2]], [plain[i] for i in order[1::2]])


def sentences(count: int, words: Words, new: bool, seed: int) -> pd.DataFrame:
    """Sentences with marks, and their marked words, one at least; with `new` these are ones that training never sees.

    >>> sentences(2, Words(["a", "b"], ["new"]), True, 0)["target"].str.split().map(set).tolist()
    [{'new'}, {'new'}]
    """
    random = np.random.default_rng(seed)
    often = 1 / np.arange(1, len(words.seen) + 1)
    rows = []
    for _ in range(count):
        length = int(random.integers(*LENGTHS))
        chosen = random.choice(words.seen, length, p=often / often.sum()).tolist()
        marked = random.random(length) < MARKED
        marked[random.integers(length)] = True
        chosen = [
            str(random.choice(words.new)) if new and mark else word for word, mark in zip(chosen, marked, strict=True)
        ]
        source = " ".join(f"{MARK} {word}" if mark else word for word, mark in zip(chosen, marked, strict=True))
        rows.append((source, " ".join(word for word, mark in zip(chosen, marked, strict=True) if mark)))
    return pd.DataFrame(rows, columns=["source", "target"])


def _sources(seed: int, train: int, copying: bool) -> tuple[PairSource, PairSource, PairSource]:
    """What is trained on, and sentences of seen and of new words in its vocabularies."""
    words = words_of(seed)
    parts = [sentences(count, words, new, seed * 10 + at)
             for at, (count, new) in enumerate(((train, False), (JUDGED, False), (JUDGED, True)), 1)]  # fmt: skip
    ends = np.cumsum([0, *map(len, parts)]).tolist()
    schema = PairSchema(unit=("words", "words"), size=(KNOWN, KNOWN), copying=copying)
    whole = PairSource.unfitted(pd.concat(parts, ignore_index=True), schema, tokens=BATCH_TOKENS)
    fitted = whole.fit(np.arange(train))
    first, second, third = (fitted.take(np.arange(start, end)) for start, end in pairwise(ends))
    return first, second, third


def _right(model: nn.Module, test: PairSource) -> float:
    texts = [each.text for each in outputs(model, test)]
    return float((mistakes(texts, test, "words").distance == 0).mean())
