"""What the targets of pairs are: texts, trees over the words of the source, or sets of labels.

A form says into which units a target is split, what text comes of the units of an output, whatever they are, and how
targets look when they are compared. Each is one object; `form_of` finds that of a schema.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from thalweg.core.errors import DataError
from thalweg.core.tokens import UNKNOWN
from thalweg.data.bracketed import CLOSE, LEAF, SHOWN, repaired, tree_flaw, tree_tokens, with_words
from thalweg.data.label_sets import in_order, labels_in, set_flaw
from thalweg.data.pair_schema import PairSchema
from thalweg.data.places import where
from thalweg.data.ragged import Ragged
from thalweg.data.text_table import texts_of
from thalweg.data.vocabulary import Text, Vocabulary


@dataclass(frozen=True)
class Form(ABC):
    """A form of target. `fewest` is how often a unit of one occurs at least by default, None: as of any text; `first`
    are units whose tokens are the first of all, in every fold.
    """

    schema: PairSchema
    fewest: ClassVar[int | None] = None
    first: ClassVar[tuple[str, ...]] = ()

    def read(self, source: str) -> Text:
        """A source as its vocabulary takes it."""
        return source

    @abstractmethod
    def wanted(self, target: str) -> Text:
        """A target as its vocabulary takes it."""

    @abstractmethod
    def said(self, units: Sequence[str], source: str | None, vocabulary: Vocabulary) -> str:
        """The text of the units of an output; `source` is what it belongs to."""

    @abstractmethod
    def compared(self, target: str, vocabulary: Vocabulary) -> str:
        """A target, or the text of an output, so that both are the same where they mean the same."""

    def ordered(self, tokens: Ragged) -> Ragged:
        """Targets as tokens in the order in which they are put out."""
        return tokens

    def per_word(self, sources: Sequence[str], targets: Sequence[str]) -> float | None:
        """The most tokens that a target has for each word of its source; None where that says nothing of outputs."""
        return None

    def whole(self, units: Sequence[str], source: str) -> bool:
        """Whether the units of an output are of this form as they are."""
        return True

    def flaw(self, source: str, target: str) -> str | None:
        """What is wrong with a target, in words of an error; None where nothing is."""
        return None


@dataclass(frozen=True)
class TextForm(Form):
    """A text of words, characters or subwords."""

    def wanted(self, target: str) -> Text:
        return target

    def said(self, units: Sequence[str], source: str | None, vocabulary: Vocabulary) -> str:
        return vocabulary.join(units)

    def compared(self, target: str, vocabulary: Vocabulary) -> str:
        return vocabulary.join(vocabulary.split(target))


@dataclass(frozen=True)
class TreeForm(Form):
    """A tree over the words of the source, which stand between blanks (`thalweg.data.bracketed`)."""

    fewest: ClassVar[int | None] = 1
    first: ClassVar[tuple[str, ...]] = (LEAF, CLOSE)

    def read(self, source: str) -> Text:
        return source.split() if self.schema.unit[0] == "words" else source

    def wanted(self, target: str) -> Text:
        return tree_tokens(target)

    def said(self, units: Sequence[str], source: str | None, vocabulary: Vocabulary) -> str:
        """Repaired, with the words of the source; without a source the units as they are."""
        words = None if source is None else source.split()
        return " ".join(units) if words is None else with_words(repaired(units, len(words)), words)

    def compared(self, target: str, vocabulary: Vocabulary) -> str:
        """Its tokens, blanks between them."""
        return " ".join(tree_tokens(target))

    def per_word(self, sources: Sequence[str], targets: Sequence[str]) -> float | None:
        pairs = zip(sources, targets, strict=True)
        return max((len(tree_tokens(target)) / max(1, len(source.split())) for source, target in pairs), default=None)

    def whole(self, units: Sequence[str], source: str) -> bool:
        return not source.split() if not units else tree_flaw(units, len(source.split())) is None

    def flaw(self, source: str, target: str) -> str | None:
        return tree_flaw(tree_tokens(target), len(source.split()))


@dataclass(frozen=True)
class SetForm(Form):
    """A set of labels (`thalweg.data.label_sets`), by default put out with the most frequent first."""

    fewest: ClassVar[int | None] = 1

    def wanted(self, target: str) -> Text:
        return labels_in(target, self.schema.separator)

    def said(self, units: Sequence[str], source: str | None, vocabulary: Vocabulary) -> str:
        """Each label once."""
        return self.schema.separator.join(dict.fromkeys(units))

    def compared(self, target: str, vocabulary: Vocabulary) -> str:
        """Each label a word, the most frequent first."""
        return " ".join("_".join(label.split()) for label in in_order(self.wanted(target), vocabulary.numbers))

    def whole(self, units: Sequence[str], source: str) -> bool:
        return len(set(units)) == len(units)

    def ordered(self, tokens: Ragged) -> Ragged:
        """By their numbers, which go by frequency; what is unknown comes last."""
        if self.schema.label_order == "given":
            return tokens
        rows = np.repeat(np.arange(len(tokens.lengths)), tokens.lengths)
        order = np.lexsort((tokens.values, tokens.values == UNKNOWN, rows))
        return Ragged.cut(tokens.values[order], tokens.lengths)

    def flaw(self, source: str, target: str) -> str | None:
        return set_flaw(target, self.schema.separator)


FORMS: dict[str, type[Form]] = {"text": TextForm, "tree": TreeForm, "set": SetForm}
MENDS = {
    "tree": "Write (LABEL parts ...), each part a word of the source or another bracket, in one bracket around all",
    "set": (
        "Name each label of a cell once, with one separator between two, and leave a cell without labels empty "
        "(missing=keep)"
    ),
}


def form_of(schema: PairSchema) -> Form:
    """The form of the targets of pairs.

    >>> words = Vocabulary.fit([["(S", "_", ")"]], fewest=1)
    >>> form_of(PairSchema(unit=("words", "words"), output="tree")).said(["(S", "_", ")"], "a b", words)
    '(S a b)'
    """
    return FORMS[schema.output](schema)


def check_targets(frame: pd.DataFrame, schema: PairSchema) -> None:
    """Refuse targets that are not of their form, with the lines that they stand in.

    >>> frame = pd.DataFrame({"source": ["a b"], "target": ["(S a b"]}, index=pd.Index([3], name="line"))
    >>> check_targets(frame, PairSchema(unit=("words", "words"), output="tree"))
    Traceback (most recent call last):
    thalweg.core.errors.DataError: The target of line 3 is no tree: '(S a b' leaves 1 bracket open. Write ...

    Raises `DataError`.
    """
    form = form_of(schema)
    sources, targets = (texts_of(frame, name) for name in schema.names)
    flaws: list[Any] = [form.flaw(source, target) for source, target in zip(sources, targets, strict=True)]
    wrong = np.array([flaw is not None for flaw in flaws], dtype=bool)
    if not wrong.any():
        return
    first = int(wrong.argmax())
    place, lines = where(frame.index[[first]], np.array([True])), where(frame.index, wrong, 3)
    others = "" if wrong.sum() == 1 else f" {wrong.sum():,} targets are none ({lines})."
    shown = targets[first] if len(targets[first]) <= SHOWN else f"{targets[first][:SHOWN]}..."
    named = wrong.sum() == 1 and first == 0 and schema.header is None
    names = f" If {place} names the columns: data.header=true (header=True)." if named else ""
    raise DataError(
        f"The target of {place} is no {schema.output}: '{shown}' {flaws[first]}.{others} {MENDS[schema.output]}; or "
        f"take such pairs out.{names}"
    )
