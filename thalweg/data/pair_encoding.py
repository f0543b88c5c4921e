r"""The encoding of pairs: the vocabularies of both sides, and the ways to tensors and back to a text.

A target $y_1 \ldots y_n$ is trained on as the prefix `START` $y_1 \ldots y_n$ and what comes after each of its tokens,
$y_1 \ldots y_n$ `END`. A target that is cut off has no `END`, so that no model learns to stop there.

With copying, `copies` holds for each unit of a source its token among the *targets'*: so a model can put out what it
has read. The $k$-th distinct unit of a source, from 0, that the targets' vocabulary of $V$ tokens lacks has the token
$V + k$ for this source alone (the extended vocabulary of See, Liu and Manning, "Get To The Point: Summarization with
Pointer-Generator Networks", 2017, section 2.2); a target that holds the same unit has the same token.

With letters each position of a source is the word's token and, beside it, what its letters say, $1 + 8$ numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.errors import DataError
from thalweg.core.tokens import END, PADDING, START, UNKNOWN
from thalweg.data.pair_forms import Form, form_of
from thalweg.data.pair_schema import PairSchema
from thalweg.data.ragged import Ragged
from thalweg.data.vocabulary import Text, Vocabulary
from thalweg.data.word_hashing import hashed_once

Inputs = dict[str, Int[Tensor, "some ..."]]
"""`source` (some, length), with letters (some, length, 9); `lengths` (some,), with copying `copies` (some, length)."""


class EncodedPairs(NamedTuple):
    """Pairs as tokens; without targets there is no `prefix` and no `y`, and without copying there are no `copies`."""

    source: Ragged
    prefix: Ragged | None
    y: Ragged | None
    copies: Ragged | None


@dataclass(frozen=True)
class PairEncoding:
    """The vocabularies of sources and of targets: all that prediction needs. They are one object where they are shared.
    Where targets are over the words of their sources, `per_word` is the most tokens for each that one of training has.

    >>> words = Vocabulary.fit(["a cat", "a dog"], fewest=1, joiners=True)
    >>> encoding = PairEncoding(words, words, PairSchema(unit=("words", "words"), copying=True))
    >>> encoding.inputs(["a wise cat"])["copies"]
    tensor([[4, 7, 5]])
    >>> encoding.text([4, 7, 6, 3], source="a wise cat")
    'a wise dog'
    >>> PairEncoding.from_json(encoding.to_json()) == encoding
    True
    """

    source: Vocabulary
    target: Vocabulary
    schema: PairSchema = field(default_factory=PairSchema)
    per_word: float | None = None

    @classmethod
    def unfitted(cls, schema: PairSchema) -> "PairEncoding":
        """The encoding before any pair is trained on: all is unknown."""
        source, target = (
            Vocabulary(unit, lower=lower, joiners=_joins(schema, i))
            for i, (unit, lower) in enumerate(zip(schema.unit, schema.lower, strict=True))
        )
        return cls(source, source if schema.shared else target, schema)

    @classmethod
    def fit(
        cls,
        sources: Sequence[str],
        targets: Sequence[str],
        schema: PairSchema,
        sizes: tuple[int | None, int | None] = (None, None),
    ) -> "PairEncoding":
        """The vocabularies of these texts, which are those of training; `sizes` are theirs exactly, where given.

        >>> PairEncoding.fit(["ab"], ["b"], PairSchema()).outputs
        5

        Raises `DataError` for a side without any unit.
        """
        form = form_of(schema)
        read, wanted = [form.read(source) for source in sources], [form.wanted(target) for target in targets]
        texts: tuple[list[Text], ...] = ([*read, *wanted],) if schema.shared else (read, wanted)
        fitted = [
            Vocabulary.fit(
                side,
                schema.unit[i],
                size=sizes[i] or schema.size[i],
                fewest=schema.fewest[i] or (form.fewest if i else None),
                lower=schema.lower[i],
                joiners=_joins(schema, i),
            )
            for i, side in enumerate(texts)
        ]
        if form.first:
            fitted[-1] = fitted[-1].beginning_with(form.first)
        fitted = [one.widened(sizes[i] or 0) for i, one in enumerate(fitted)]
        return cls(fitted[0], fitted[-1], schema, form.per_word(sources, targets))

    @cached_property
    def form(self) -> Form:
        """What targets are."""
        return form_of(self.schema)

    @property
    def outputs(self) -> int:
        """How many tokens a model tells apart."""
        return len(self.target)

    def encode(self, sources: Sequence[str], targets: Sequence[str] | None = None) -> EncodedPairs:
        """The tokens of sources, and of their targets where there are some.

        >>> words = Vocabulary.fit(["a cat"], fewest=1)
        >>> encoded = PairEncoding(words, words).encode(["cat"], ["a cat"])
        >>> encoded.prefix[0].tolist(), encoded.y[0].tolist()
        ([2, 4, 5], [4, 5, 3])
        """
        read = _shortened(self._read(list(map(self.form.read, sources))), self.schema.longest[0])
        copies, extras = None, None
        if self.schema.copying:
            extras = [self.extras(source) for source in sources]
            copies = _shortened(self._extended(self.source, sources, extras), self.schema.longest[0])
        if targets is None:
            return EncodedPairs(read, None, None, copies)
        y = self._wanted(targets) if extras is None else self._extended(self.target, targets, extras)
        return EncodedPairs(read, *begun_and_ended(y, self.schema.longest[1]), copies)

    def split(self, text: str, side: int) -> list[str]:
        """The units of a source (side 0) or a target (1)."""
        return self.target.split(self.form.wanted(text)) if side else self.source.split(self.form.read(text))

    def inputs(self, sources: Sequence[str]) -> Inputs:
        """Sources as a model reads them to be decoded."""
        return inputs_of(self.encode(sources), torch.arange(len(sources)))

    def extras(self, source: str) -> list[str]:
        """The distinct units of a source, as far as it is read, that the targets' vocabulary lacks, as they come.

        >>> PairEncoding(Vocabulary("characters"), Vocabulary.fit(["a"], "characters")).extras("banana")
        ['b', 'n']
        """
        units = self.source.split(source)[: self.schema.longest[0]]
        return list(dict.fromkeys(unit for unit in units if unit not in self.target.numbers))

    def units(self, tokens: Iterable[Any], source: str | None = None) -> list[str]:
        """The units of an output up to its `END`, without `START` and padding; `source` tells what was copied.

        Raises `DataError` for a number that is no token of this vocabulary or of what this source adds to it.
        """
        known, extras = self.target.tokens, [] if source is None else self.extras(source)
        found: list[str] = []
        for token in map(int, tokens):
            if token == END:
                break
            if not 0 <= token < len(known) + len(extras):
                adds = " Give the source, which may add tokens (source=)." if source is None else ""
                raise DataError(
                    f"{token} is no token of a vocabulary of {len(known):,} with {len(extras)} of the source, which "
                    f"run from 0 to {len(known) + len(extras) - 1:,}.{adds} Decode with the encoding of the training."
                )
            if token not in (PADDING, START):
                found.append(known[token] if token < len(known) else extras[token - len(known)])
        return found

    def text(self, tokens: Iterable[Any], source: str | None = None) -> str:
        """The text of an output; with copying, and of trees, `source` is the text that it was made from.

        A tree is repaired, so that it is one over the words of its source; a set has each label once.
        """
        return self.form.said(self.units(tokens, source), source, self.target)

    def unit_text(self, token: int, source: str | None = None) -> str:
        """A single token of an output as it is read: a word, a bracket, a label."""
        return self.target.join(self.units([token], source))

    def whole(self, tokens: Iterable[Any], source: str) -> bool:
        """Whether an output is of the form that targets have before it is repaired: a tree, labels that differ."""
        return self.schema.output == "text" or self.form.whole(self.units(tokens), source)

    def formed(self, target: str) -> str:
        """A target in the form that outputs have: of its units, so that both can be compared.

        >>> words = Vocabulary("words", lower=True, joiners=True)
        >>> PairEncoding(words, words).formed("Don't,  they said")
        "don't, they said"
        """
        return self.form.compared(target, self.target)

    def to_json(self) -> dict[str, Any]:
        """The encoding in plain values."""
        source = None if self.source is self.target else self.source.to_json()
        plain = {"kind": "pairs", "schema": self.schema.to_json(), "source": source, "target": self.target.to_json()}
        return plain if self.per_word is None else plain | {"per_word": self.per_word}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "PairEncoding":
        """The encoding that `to_json` wrote, also after it went through a file.

        Raises `ValueError` for vocabularies or a schema that are none.
        """
        target = Vocabulary.from_json(plain["target"])
        source = target if plain["source"] is None else Vocabulary.from_json(plain["source"])
        return cls(source, target, PairSchema.from_json(plain["schema"]), plain.get("per_word"))

    def _read(self, sources: Sequence[Text]) -> Ragged:
        """Sources as tokens, with letters what these say beside each."""
        tokens = self.source.encode_all(sources)
        if not self.schema.letters:
            return tokens
        spelled = replace(self.source, lower=False)  # letters have their case
        letters = hashed_once([word for source in sources for word in spelled.split(source)])
        return replace(tokens, values=np.column_stack([tokens.values, letters]))

    def _wanted(self, targets: Sequence[str]) -> Ragged:
        """Targets as tokens, in the order in which they are put out."""
        return self.form.ordered(self.target.encode_all(list(map(self.form.wanted, targets))))

    def _extended(self, vocabulary: Vocabulary, texts: Sequence[str], extras: Sequence[list[str]]) -> Ragged:
        """The target's tokens of the units of texts, those of `extras` behind all that are known."""
        numbers, first = self.target.numbers, len(self.target)
        found = []
        for text, others in zip(texts, extras, strict=True):
            own = {unit: first + k for k, unit in enumerate(others)}
            found.append([numbers.get(unit) or own.get(unit, UNKNOWN) for unit in vocabulary.split(text)])
        return Ragged.of(found, np.int64)


def begun_and_ended(tokens: Ragged, longest: int | None) -> tuple[Ragged, Ragged]:
    """Targets as the prefix that is read, behind `START`, and as what comes next, with `END`; cut off, without it.

    >>> prefix, y = begun_and_ended(Ragged.of([[5, 6], [7]], np.int64), 2)
    >>> prefix[0].tolist(), y[0].tolist(), y[1].tolist()
    ([2, 5, 6], [5, 6, 3], [7, 3])
    """
    lengths = tokens.lengths + 1
    prefix = Ragged.cut(np.insert(tokens.values, tokens.offsets[:-1], START), lengths)
    ended = Ragged.cut(np.insert(tokens.values, tokens.offsets[1:], END), lengths)
    most = None if longest is None else longest + 1
    return _shortened(prefix, most), _shortened(ended, most)


def inputs_of(encoded: EncodedPairs, places: Int[Tensor, " some"]) -> Inputs:
    """What a model reads of some of the pairs, padded to the longest of their sources.

    >>> vocabulary = Vocabulary.fit(["ab"], "characters")
    >>> inputs_of(PairEncoding(vocabulary, vocabulary).encode(["ab", ""]), torch.arange(2))
    {'source': tensor([[4, 5],
            [0, 0]]), 'lengths': tensor([2, 0])}
    """
    source = encoded.source.padded(places)
    inputs = {"source": source, "lengths": torch.from_numpy(encoded.source.lengths)[places]}
    if encoded.copies is not None:
        inputs["copies"] = encoded.copies.padded(places)
    if source.shape[1]:
        return inputs
    return {
        name: value if name == "lengths" else value.new_zeros(len(places), 1, *value.shape[2:])
        for name, value in inputs.items()
    }


def _joins(schema: PairSchema, side: int) -> bool:
    """Whether the words of a side come back as they stood."""
    return schema.unit[side] == "words" and not (side and schema.output != "text")


def _shortened(tokens: Ragged, longest: int | None) -> Ragged:
    return tokens if longest is None else tokens.shortened(longest)
