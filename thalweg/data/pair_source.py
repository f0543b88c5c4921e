"""Pairs of texts as a source of batches, by both of their lengths.

A batch is `(x, y)`: x has `source` (batch, length) and `lengths` (batch,), `prefix` (batch, target length + 1), which
is `START` and the target, and with copying `copies` like `source`; `y` (batch, target length + 1) is the target and
`END`. Padding is 0, and -100 in `y`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.errors import DataError, RecipeError, Unsupported
from thalweg.core.nest import Nest
from thalweg.core.tokens import MARKS, NO_TARGET
from thalweg.core.wording import counted
from thalweg.data.length_batches import by_length, count_by_length, padded_share
from thalweg.data.pair_encoding import EncodedPairs, Inputs, PairEncoding, inputs_of
from thalweg.data.pair_schema import PairSchema
from thalweg.data.text_table import texts_of
from thalweg.data.vocabulary import Vocabulary
from thalweg.data.word_splitting import normalized


@dataclass(frozen=True, repr=False, eq=False)
class PairSource:
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

    def __post_init__(self) -> None:
        if self.tokens is not None and (type(self.tokens) is not int or self.tokens < 1):
            raise RecipeError(
                f"tokens={self.tokens!r}, but it is how many positions of source and target a batch may have, padding "
                "and all: a whole number of at least 1. Give for instance 4096, or None to go by batch_size."
            )

    @classmethod
    def of(cls, frame: pd.DataFrame, encoding: PairEncoding, **batching: Any) -> "PairSource":
        """All pairs of a frame in a given encoding."""
        return cls(frame, encoding, np.arange(len(frame)), **batching)

    @classmethod
    def unfitted(cls, frame: pd.DataFrame, schema: PairSchema, **batching: Any) -> "PairSource":
        """All pairs, before any is trained on: to be dealt into splits, then `fit`."""
        return cls.of(frame, PairEncoding.unfitted(schema), **batching)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        of = counted(len(self), "pair" if self.labelled else "source")
        copying = ", copying" if self.schema.copying else ""
        return f"PairSource({of}, {self.encoding.source.size} -> {self.encoding.target.size}{copying})"

    @property
    def schema(self) -> PairSchema:
        """What the pairs are."""
        return self.encoding.schema

    @property
    def labelled(self) -> bool:
        """Whether the sources have targets."""
        return self.schema.names[1] in self.frame.columns

    @property
    def rows(self) -> pd.DataFrame:
        """The pairs as they were read, with all that stood beside them."""
        return self.frame.iloc[self.ids]

    @property
    def sources(self) -> list[str]:
        """The text of each source."""
        return [self.read[0][i] for i in self.ids]

    @property
    def targets(self) -> list[str]:
        """The text of each target."""
        self._check_labelled()
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

    @property
    def lengths(self) -> Int[np.ndarray, "example side"]:
        """The lengths of each source and target, the target's with its `END`."""
        source, _, y, _ = self.encoded
        sides = [source.lengths, np.zeros_like(source.lengths) if y is None else y.lengths]
        return np.stack(sides, axis=1)[self.ids]

    @property
    def padding_share(self) -> float:
        """The share of the positions of an epoch of training that are padding."""
        return padded_share(self.lengths, self.ordered(1, torch.Generator().manual_seed(0)))

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        self._check_labelled()
        _, prefix, y, _ = self.encoded
        assert prefix is not None
        assert y is not None
        for chunk in self.ordered(epoch, generator)[start:]:
            places = self._places(chunk)
            x = inputs_of(self.encoded, places)
            yield x | {"prefix": prefix.padded(places)}, y.padded(places, NO_TARGET)

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The pairs of each batch of an epoch, by their place in this source."""
        return by_length(self.lengths, self.batch_size, self.tokens, generator, self.merge_single)

    def inputs(self, places: Int[Tensor, " some"]) -> Inputs:
        """Some of the sources as a model reads them to be decoded: without `prefix`, padded to the longest of them."""
        return inputs_of(self.encoded, self._places(places))

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

    def formed_references(self) -> list[list[str]]:
        """All targets that the source of each pair has, in the form that outputs have."""
        return [[self.encoding.formed(text) for text in own] for own in self.references(range(len(self)))]

    def batched(self, size: int | None, merge_single: bool = False) -> Self:
        return self._alike(batch_size=size, merge_single=merge_single)

    def budgeted(self, tokens: int | None) -> Self:
        """The same pairs in batches of at most so many positions, count times (longest source + longest target)."""
        return self._alike(tokens=tokens)

    def count_batches(self) -> int:
        """The batches of an epoch of training, the same in every epoch."""
        return count_by_length(self.lengths, self.batch_size, self.tokens, self.merge_single)

    def take(self, ids: Any) -> Self:
        return self._alike(ids=self.ids[np.asarray(ids, dtype=np.int64)])

    def fit(self, train_ids: Any) -> Self:
        """The same pairs, encoded with the vocabularies of `train_ids` alone.

        Vocabularies that were fitted before keep their sizes, for a model is made for these, and with copying every
        number behind them is a unit of the source: a fold meets fewer units, and leaves some tokens unused.
        """
        self._check_labelled()
        train = self.take(train_ids)
        if not len(train):
            raise DataError("There is no pair to fit vocabularies to. Give at least one to train on.")
        sizes = (_fitted_size(self.encoding.source), _fitted_size(self.encoding.target))
        source = self._alike(encoding=PairEncoding.fit(train.sources, train.targets, self.schema, sizes))
        source.__dict__.pop("encoded", None)
        return source

    def dealt(self, held: Iterable[Int[np.ndarray, " _some"]]) -> "list[PairSource | None]":
        """The splits of these pairs, fitted to the first, which is train; None for one without pairs."""
        parts = list(held)
        fitted = self.fit(parts[0])
        fitted.encoded  # noqa: B018 - once for all splits
        return [fitted.take(ids) if len(ids) else None for ids in parts]

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

    def _places(self, chunk: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
        return torch.from_numpy(self.ids)[chunk]

    def _check_labelled(self) -> None:
        if not self.labelled:
            raise Unsupported(
                "These sources have no targets, so that they can be decoded, inputs(places), and neither trained on "
                f"nor judged. Give the column '{self.schema.names[1]}' too."
            )

    def _alike(self, **changes: Any) -> Self:
        """The same pairs otherwise chosen or batched, encoded once for all runs."""
        source = replace(self, **changes)
        for name in ("read", "encoded", "groups"):
            if name in self.__dict__:
                source.__dict__[name] = self.__dict__[name]
        return source


def _fitted_size(vocabulary: Vocabulary) -> int | None:
    return len(vocabulary) if len(vocabulary) > len(MARKS) else None


def group_of(source: str) -> int:
    """The number of a source, the same in every file for texts that differ in case and blanks alone.

    >>> group_of("The  House") == group_of("the house") != group_of("the mouse")
    True
    """
    key = " ".join(normalized(source).casefold().split())
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
