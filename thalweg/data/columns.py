"""Columns: what each feature column of a table holds, and why a column is left out.

A column is numbers when nearly all its cells are; the few that are not are then named as mistakes. Otherwise its texts
are categories, if they are few enough to be. A column that cannot help any model (one value throughout, the number of
the row, free text) is left out, with the reason.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from thalweg.core.errors import DataError
from thalweg.core.wording import counted
from thalweg.data.cells import Cells, Numbers, are_codes, as_cells, as_numbers, distinct, missing_cells
from thalweg.data.notation import MOSTLY, PLAIN, Notation, notations
from thalweg.data.places import where
from thalweg.data.schema import Column, Kind

MOST_CATEGORIES = 50
NEARLY_UNIQUE = 0.9
MOSTLY_DIFFERENT = 0.5
FEW_WORDS = 2.5
"""Words of a text, by the median, below which its characters tell more: names, codes, scripts without blanks."""
SAMPLE = 1000
EXACT_INTEGERS = 2**53
IDENTIFIER = re.compile(r"(?i:(^|[\W_])(id|index|idx|row|rownames?|uuid|guid)$)|[a-z](Id|ID)$|^Unnamed: \d+$")
LONG = re.compile(r"[+-]?\d{16,}", re.ASCII)
DATE = re.compile(r"(\d{4}[-/]\d\d?[-/]\d\d?|\d{1,2}[/.]\d{1,2}[/.]\d{4})(?!\d)", re.ASCII)


@dataclass(frozen=True)
class Parsed:
    """A column with the notation in which it is read; `texts` forces it to be categories."""

    name: str
    cells: Cells
    notation: Notation = PLAIN
    texts: bool = False

    @cached_property
    def numbers(self) -> Numbers:
        """The column as numbers."""
        return as_numbers(self.cells, self.notation)

    @cached_property
    def numeric(self) -> bool:
        """Whether the column holds numbers, but for a few cells at most."""
        numbers = self.numbers
        text, number = int(numbers.text.sum()), int((~numbers.text & ~numbers.missing).sum())
        few = text <= (1 - MOSTLY) * (text + number) or (text == 1 and text + number >= 5)
        return number > 0 and few and not self.texts and not are_codes(self.cells, numbers)

    @cached_property
    def certainly_comma(self) -> bool:
        """Whether the column can only be read with a decimal comma."""
        return self.notation.decimal == "," and {way.decimal for way in notations(distinct(self.cells))} == {","}

    @cached_property
    def missing(self) -> Bool[np.ndarray, " row"]:
        """Which cells are missing: the empty ones, and among numbers also NA, null, None."""
        return self.numbers.missing if self.numeric else missing_cells(self.cells)


def parse(frame: pd.DataFrame, names: list[str]) -> dict[str, Parsed]:
    """The named columns of a frame, each in the notation that fits it.

    Where some column can only be read with a decimal comma, columns that could be read either way are too.

    >>> parsed = parse(pd.DataFrame({"a": ["1,5", "2"], "b": ["1,250", "3,500"]}), ["a", "b"])
    >>> parsed["b"].numbers.value
    array([1.25, 3.5 ])
    """
    parsed = {name: _parsed(name, frame[name]) for name in names}
    if not any(column.certainly_comma for column in parsed.values()):
        return parsed
    return {name: _with_comma(column) for name, column in parsed.items()}


def check_numbers(index: pd.Index, parsed: Mapping[str, Parsed]) -> None:
    """Refuse text among numbers, and numbers that are not finite, with lines and values."""
    for column in parsed.values():
        if not column.numeric:
            _check_mixed(index, column)
            continue
        if column.numbers.text.any():
            raise text_among_numbers(index, column)
        if (infinite := np.isinf(column.numbers.value)).any():
            raise DataError(
                f"Column '{column.name}' is infinite, or too large for a number, in {where(index, infinite)}. Every "
                "feature and target must be finite: correct these cells, or empty them and choose what happens to "
                "missing ones (--missing)."
            )


def text_among_numbers(index: pd.Index, column: Parsed) -> DataError:
    """The error for a column of numbers with texts in it."""
    mask = column.numbers.text
    texts = list(dict.fromkeys(column.cells[i] for i in np.flatnonzero(mask)))
    shown = ", ".join(repr(text) for text in texts[:4]) + (f" and {len(texts) - 4} more" if len(texts) > 4 else "")
    have = "has" if mask.sum() == 1 else "have"
    return DataError(
        f"Column '{column.name}' holds numbers, but {where(index, mask)} {have} the text {shown}. Write a number "
        "there, or empty the cell if its value is missing. Where numbers name categories, put a letter before them."
    )


def as_feature(column: Parsed, wanted: bool = False) -> Column | str:
    """What a column is as a feature, or the reason why it is left out; `wanted` ones stay whatever they count.

    >>> as_feature(Parsed("sex", ["m", "f", "m"]))
    Column(name='sex', kind=<Kind.CATEGORY: 'category'>, ... categories=('f', 'm'), gaps=False)
    >>> as_feature(Parsed("planet", ["Earth", "Earth"]))
    "the same value 'Earth' in every row"
    """
    gaps = bool(column.missing.any())
    if column.missing.all():
        return "no values"
    if column.numeric:
        value = column.numbers.value[~column.missing]
        if value.min() == value.max() and not gaps:
            return f"the same value {value[0]:g} in every row"
        if not wanted and not gaps and (reason := _identifier(column, value)):
            return reason
        return Column(column.name, Kind.NUMBER, column.notation, gaps=gaps)
    texts = [str(value) for value in distinct(column.cells)]
    if len(texts) == 1 and not gaps:
        return f"the same value {texts[0]!r} in every row"
    if reason := _free_text(texts, int((~column.missing).sum())):
        return f"{reason} with leading zeros" if are_codes(column.cells, column.numbers) else reason
    return Column(column.name, Kind.CATEGORY, categories=tuple(sorted(texts)), gaps=gaps)


def _check_mixed(index: pd.Index, column: Parsed) -> None:
    """Refuse a column that is all numbers but written in several ways, or numbers and a word for what is missing."""
    if column.texts or isinstance(column.cells, np.ndarray) or are_codes(column.cells, column.numbers):
        return
    texts = distinct(column.cells)
    plain = [text for text in texts if PLAIN.number(text) is not None]
    other = [text for text in texts if PLAIN.number(text) is None and notations([text])]
    words = column.numbers.text
    if len(plain) > 10 and len(texts) - len(plain) <= 3 and words.mean() <= 0.5:
        raise text_among_numbers(index, column)
    if plain and other and len(plain) + len(other) >= MOSTLY * len(texts):
        raise DataError(
            f"Column '{column.name}' writes its numbers in several ways, such as {plain[0]!r} and {other[0]!r}, so "
            "that some would be misread. Write all of them in one way, best with a decimal point and no other sign."
        )


def _parsed(name: str, series: "pd.Series[Any]") -> Parsed:
    cells = as_cells(series)
    if isinstance(series.dtype, pd.CategoricalDtype) or isinstance(cells, np.ndarray):
        return Parsed(name, cells, texts=isinstance(series.dtype, pd.CategoricalDtype))
    plain = Parsed(name, cells)
    if plain.numeric and not plain.numbers.text.any():
        return plain
    ways = notations(distinct(cells))
    return replace(plain, notation=ways[0]) if ways else plain


def _with_comma(column: Parsed) -> Parsed:
    if not column.numeric or isinstance(column.cells, np.ndarray):
        return column
    ways = [way for way in notations(distinct(column.cells)) if way.decimal == ","]
    return replace(column, notation=ways[0]) if ways else column


def is_text(column: Parsed) -> bool:
    """Whether a column holds mostly different texts, and neither dates nor identifiers of one word."""
    if column.numeric or column.missing.all() or not isinstance(column.cells, list):
        return False
    texts = distinct(column.cells)
    dates = sum(DATE.match(text) is not None for text in texts[:SAMPLE]) > len(texts[:SAMPLE]) / 2
    one_word = IDENTIFIER.search(column.name) is not None and words_of(column) < FEW_WORDS
    return not dates and not one_word and len(texts) > MOSTLY_DIFFERENT * int((~column.missing).sum())


def usual_words(texts: Sequence[str]) -> float:
    """How many words a text has, between blanks, by the median: a few long ones tip nothing.

    >>> usual_words(["Rome", "Oslo", "the town of which much is told here"])
    1.0
    """
    return float(np.median([len(text.split()) for text in texts]))


def words_of(column: Parsed) -> float:
    """The same of the different texts of a column."""
    return usual_words(distinct(column.cells)[:SAMPLE])


def _identifier(column: Parsed, value: np.ndarray) -> str | None:
    """Why a column of whole numbers only tells rows apart."""
    if not (value == np.floor(value)).all():
        return None
    if len(value) >= 10 and value[0] in (0, 1) and np.array_equal(value, value[0] + np.arange(len(value))):
        return f"a count of the rows ({value[0]:g}, {value[1]:g}, {value[2]:g}, ...)"
    named = IDENTIFIER.search(column.name) is not None
    if (named or _inexact(column.cells, value)) and len(value) >= 3 and len(distinct(column.cells)) == len(value):
        return "an identifier, a different whole number in every row"
    return None


def _inexact(cells: Cells, value: np.ndarray) -> bool:
    """Whether whole numbers are written with more digits than a floating-point number keeps."""
    if np.abs(value).max() <= EXACT_INTEGERS:
        return False
    return cells.dtype.kind in "iu" if isinstance(cells, np.ndarray) else any(LONG.fullmatch(str(c)) for c in cells)


def _free_text(texts: list[str], count: int) -> str | None:
    """Why texts are no categories."""
    many = f"{counted(len(texts), 'different text')} in {counted(count, 'row')}, such as {texts[0][:40]!r}"
    if sum(DATE.match(text) is not None for text in texts) > MOSTLY * len(texts):
        return (
            f"{many}: dates, which networks cannot read; add columns of numbers (month, weekday, days since), or split "
            "by it (--time)"
        )
    if len(texts) > MOST_CATEGORIES or (len(texts) > 2 and len(texts) > NEARLY_UNIQUE * count):
        return f"{many}: too many to be categories"
    return None
