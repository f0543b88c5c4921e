"""Pairs of texts as a source of batches, by both of their lengths.

A batch is `(x, y)`: x has `source` (batch, length) and `lengths` (batch,), `prefix` (batch, target length + 1), which
is `START` and the target, and with copying `copies` like `source`; `y` (batch, target length + 1) is the target and
`END`. Padding is 0, and -100 in `y`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Int
from torch import Tensor

from thalweg.core.errors import DataError, Unsupported
from thalweg.core.tokens import MARKS
from thalweg.core.wording import counted
from thalweg.data.pair_encoding import EncodedPairs, Inputs, PairEncoding, inputs_of
from thalweg.data.pair_schema import PairSchema
from thalweg.data.targeted import TargetedExamples
from thalweg.data.text_table import texts_of
from thalweg.data.vocabulary import Vocabulary
from thalweg.data.word_splitting import normalized


@dataclass(frozen=True, repr=False, eq=False)
class PairSource(TargetedExamples):
    """Pairs as batches `({"source", "lengths", "prefix", "copies"}, y)`; `copies` only where the schema says so.

    `frame` holds all pairs as they were read, with all that stood beside them; `ids` say which of them this source has.
    Training batches hold `batch_size` pairs of like lengths, or as many as keep count times (longest source + longest
    target, each with its `END`) within `tokens`. It keeps core's protocols `Source`, `Indexed`, `Batched`, `Counted`,
    `Ordered`, `Described` and `Fitted`: pairs of one source are a group, which no split and no fold divides.

    >>> frame = pd.DataFrame({"source": ["ab", "b"], "target": ["AB", "B"]})
    >>> source = PairSource.unfitted(frame, PairSchema()).fit([0, 1])
    >>> source
    PairSource(2 pairs, 2 characters -> 2 characters)
    >>> x, y = next(source.batches(1, 0, None))
    >>> x["source"].tolist(), x["prefix"].tolist(), y.tolist()
    ([[5, 4], [4, 0]], [[2, 5, 4], [2, 4, 0]], [[5, 4, 3], [4, 3, -100]])
    """

    frame: pd.DataFrame
    encoding: PairEncoding
    ids: Int[np.ndarray, " example"]
    batch_size: int | None = 32
    merge_single: bool = False
    tokens: int | None = None
    POSITIONS = ("positions of source and target", 4096)
    KEPT = ("read", "encoded", "groups")

    @classmethod
    def of(cls, frame: pd.DataFrame, encoding: PairEncoding, **batching: Any) -> "PairSource":
        """All pairs of a frame in a given encoding."""
        return cls(frame, encoding, np.arange(len(frame)), **batching)

    @classmethod
    def unfitted(cls, frame: pd.DataFrame, schema: PairSchema, **batching: Any) -> "PairSource":
        """All pairs, before any is trained on: to be dealt into splits, then `fit`."""
        return cls.of(frame, PairEncoding.unfitted(schema), **batching)

    def __repr__(self) -> str:
        of = counted(len(self), "pair" if self.labelled else "source")
        copying = ", copying" if self.schema.copying else ""
        return f"PairSource({of}, {self.encoding.source.size} -> {self.encoding.target.size}{copying})"

    @property
    def schema(self) -> PairSchema:
        """What the pairs are."""
        return self.encoding.schema

    @property
    def sources(self) -> list[str]:
        """The text of each source."""
        return [self.read[0][i] for i in self.ids]

    @property
    def targets(self) -> list[str]:
        """The text of each target."""
        self.check_labelled()
        return [self.read[1][i] for i in self.ids]

    @cached_property
    def read(self) -> tuple[list[str], list[str]]:
        """The texts of all sources and targets that were read; without targets none of these."""
        source, target = self.schema.names
        return texts_of(self.frame, source), texts_of(self.frame, target) if self.labelled else []

    @cached_property
    def encoded(self) -> EncodedPairs:
        """All pairs that were read, as tokens."""
        sources, targets = self.read
        return self.encoding.encode(sources, targets if self.labelled else None)

    @cached_property
    def groups(self) -> Int[np.ndarray, " read"]:
        """The group of every pair that was read: those whose sources differ in case and blanks alone have the same."""
        return np.array([group_of(text) for text in self.read[0]], dtype=np.int64)

    def inputs(self, places: Int[Tensor, " some"]) -> Inputs:
        """Some of the sources as a model reads them to be decoded: without `prefix`, padded to the longest of them."""
        return inputs_of(self.encoded, self.places(places))

    def text(self, tokens: Iterable[Any], place: int) -> str:
        """The text of an output for the source at this place, what was copied from it resolved."""
        return self.encoding.text(tokens, self.read[0][self.ids[place]])

    def whole(self, tokens: Iterable[Any], place: int) -> bool:
        """Whether an output for the source at this place is of the form that targets have before it is repaired."""
        return self.encoding.whole(tokens, self.read[0][self.ids[place]])

    def references(self, places: Sequence[int]) -> list[list[str]]:
        """For each of these places the distinct targets that its source has in this source, its own first.

        >>> frame = pd.DataFrame({"source": ["a", "a"], "target": ["AH0", "EY1"]})
        >>> PairSource.unfitted(frame, PairSchema()).references([1])
        [['EY1', 'AH0']]
        """
        targets, groups = self.targets, self.groups[self.ids]
        known: dict[int, list[str]] = {}
        for group, target in zip(groups.tolist(), targets, strict=True):
            known.setdefault(group, []).append(target)
        return [list(dict.fromkeys([targets[place], *known[int(groups[place])]])) for place in places]

    def fit(self, train_ids: Any) -> Self:
        """The same pairs, encoded with the vocabularies of `train_ids` alone.

        Vocabularies that were fitted before keep their sizes, for a model is made for these, and with copying every
        number behind them is a unit of the source: a fold meets fewer units, and leaves some tokens unused.
        """
        self.check_labelled()
        train = self.take(train_ids)
        if not len(train):
            raise DataError("There is no pair to fit vocabularies to. Give at least one to train on.")
        sizes = (_fitted_size(self.encoding.source), _fitted_size(self.encoding.target))
        return self.encoded_by(PairEncoding.fit(train.sources, train.targets, self.schema, sizes))

    def meta(self, ids: Any) -> dict[str, Any]:
        """Of each of these the "group", which is one number for all pairs of a source, and "row", its place."""
        places = self.ids[np.asarray(ids, dtype=np.int64)]
        return {"group": self.groups[places], "row": self.frame.index.to_numpy()[places]}

    def fingerprint(self) -> str:
        """A hash of the encoding, of the texts, and of how they are batched.

        Texts say more than their tokens do: what is unknown is copied, and outputs are judged, as it is written.
        """
        texts = [self.sources, self.targets if self.labelled else None]
        return hashlib.sha256(json.dumps([self.encoding.to_json(), self.tokens, texts]).encode()).hexdigest()

    def check_labelled(self) -> None:
        if not self.labelled:
            raise Unsupported(
                "These sources have no targets, so that they can be decoded, inputs(places), and neither trained on "
                f"nor judged. Give the column '{self.schema.names[1]}' too."
            )


def _fitted_size(vocabulary: Vocabulary) -> int | None:
    return len(vocabulary) if len(vocabulary) > len(MARKS) else None


def group_of(source: str) -> int:
    """The number of a source, the same in every file for texts that differ in case and blanks alone.

    >>> group_of("The  House") == group_of("the house") != group_of("the mouse")
    True
    """
    key = " ".join(normalized(source).casefold().split())
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
