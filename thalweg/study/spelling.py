"""What the studies of pairs share: a small recurrent network with attention, trained on pairs, and what it puts out.

The names of the world are tested whole: five folds, so that every name is judged once, by a network that has not seen
it. What is counted is edits (`thalweg.measure.texts`); how sure a rate or a difference of rates is follows from
resampling the sources (Koehn, "Statistical Significance Tests for Machine Translation Evaluation", 2004).
"""

from collections.abc import Sequence
from functools import partial
from math import inf

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from thalweg.core.folds import folds
from thalweg.core.source import Splits
from thalweg.data import PairSchema, PairSource, names_frame
from thalweg.loss import Tagging
from thalweg.measure.texts import Edits, edits
from thalweg.nn import rnn_seq2seq
from thalweg.optim import Cosine, WarmUp
from thalweg.recipes.decoded import Decoding, Output, decoded
from thalweg.study.verdict import Check
from thalweg.training import Recipe
from thalweg.training.interval import ratio_interval

COPYING, GENERATING = "copying", "generating"
DROPOUT, SMOOTHING, WARM_UP, CLIP = 0.1, 0.1, 0.1, 1.0
TOKENS = 512
CATEGORIES = "territories,languages,scripts"
"""The positions of a batch, and the names that are read: those that are short."""


def name_folds(
    locale: str, copying: bool, count: int, seed: int, categories: str | None = CATEGORIES
) -> list[tuple[PairSource, PairSource]]:
    """The names of a locale in `count` folds: what is trained on, and the rest, in the vocabularies of training.

    >>> (train, test), *others = name_folds("ru", False, 3, 0, "scripts")
    >>> len(others), len(train) + len(test), set(train.sources) & set(test.sources)
    (2, 165, set())
    """
    frame = names_frame(locale, categories)
    whole = PairSource.unfitted(frame, PairSchema(("en", locale), copying=copying), tokens=TOKENS)
    dealt = []
    for train, test in folds(whole, count, seed):
        fitted = whole.fit(train)
        dealt.append((fitted.take(train), fitted.take(test)))
    return dealt


def pair_recipe(train: PairSource, *, width: int, epochs: int, rate: float, seed: int) -> Recipe:
    """A recurrent encoder and decoder of one layer, which copies where the pairs say so, and how it is trained."""
    encoding = train.encoding
    return Recipe(
        data=Splits(train=train),
        model=partial(
            rnn_seq2seq, encoding.outputs, vocabulary=len(encoding.source), width=width, dropout=DROPOUT,
            copying=encoding.schema.copying,
        ),
        objective=Tagging(label_smoothing=SMOOTHING),
        optimizer=partial(torch.optim.AdamW, lr=rate),
        schedule=WarmUp(WARM_UP, then=Cosine()),
        clip_norm=CLIP,
        epochs=epochs,
        seed=seed,
    )  # fmt: skip


def outputs(model: nn.Module, source: PairSource, beam: int = 1, length_penalty: float = 1.0) -> list[Output]:
    """The best output for each source."""
    return [several[0] for several in decoded(model, source, Decoding(beam=beam, length_penalty=length_penalty))]


def mistakes(texts: Sequence[str], source: PairSource, unit: str = "characters") -> Edits:
    """The edits between each output and the target of its source."""
    return edits([source.encoding.formed(text) for text in texts], source.formed_references(), unit)


def over_sources(
    quantity: str,
    distance: Int[np.ndarray, " source"] | Float[np.ndarray, " source"],
    length: Int[np.ndarray, " source"],
    *,
    above: float = -inf,
    below: float = inf,
) -> Check:
    r"""A check of $\sum_i d_i / \sum_i n_i$, an edit rate or a difference of two, by resampling the sources.

    >>> check = over_sources("edit rate", np.array([1, 0, 2, 1]), np.array([4, 4, 4, 4]), above=0.0)
    >>> check.value, check.low < 0.25 < check.high, check.n
    (0.25, True, 4)
    """
    return Check(quantity, *ratio_interval(distance, length), len(distance), above, below)
