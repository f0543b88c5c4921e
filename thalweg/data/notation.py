"""Notations: the ways in which numbers are written in tables, and which of them a column keeps.

`1234.5` is plain. `1.234,5` has a decimal comma, `1,234.5` a comma between thousands, `12 %` and `$12` a sign. A
column is read by one notation throughout; a cell that does not fit it is text, never a number by guess.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

MISSING_WORDS = frozenset({"na", "n/a", "<na>", "nan", "nat", "null", "none"})
"""What stands for an empty cell in a column of numbers (and is a value like any other in a column of text)."""

MOSTLY = 0.95
"""A column with at least this share of numbers is a column of numbers; its other cells are mistakes."""

INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
CODE = re.compile(r"^[+-]?0\d+$", re.ASCII | re.MULTILINE)
SPACES = "[ \u00a0\u202f]"
SIGNS = ("", "%", "$", "€", "£", "¥")
SEPARATORS = ((".", ""), (".", ","), (",", ""), (",", "."), (",", " "), (".", " "))


@dataclass(frozen=True)
class Notation:
    """How a column writes its numbers.

    >>> Notation(decimal=",", thousands=".").number("1.234,5")
    1234.5
    >>> Notation().number("1,5") is None
    True
    """

    decimal: str = "."
    thousands: str = ""
    sign: str = ""

    def number(self, text: str) -> float | None:
        """The number that `text` writes, or None where it writes none in this notation."""
        text = text.replace("−", "-")
        if not _pattern(self).fullmatch(text):
            return float(text) if INFINITE.fullmatch(text) else None
        if self.sign:
            text = text.replace(self.sign, "")
        if self.thousands:
            text = re.sub(SPACES if self.thousands == " " else re.escape(self.thousands), "", text)
        return float(re.sub(SPACES, "", text).replace(self.decimal, "."))


PLAIN = Notation()


def is_missing_word(text: str) -> bool:
    """Whether `text` stands for an empty cell among numbers.

    >>> is_missing_word("NA"), is_missing_word("?")
    (True, False)
    """
    return text.lower() in MISSING_WORDS


def notations(texts: Sequence[str]) -> list[Notation]:
    """The notations that fit nearly all of these texts, the likeliest first; none where they are no numbers.

    >>> [n.decimal for n in notations(["1,5", "2,25"])], [n.decimal for n in notations(["1,500", "2,250"])]
    ([','], ['.', ','])
    """
    written = [text for text in texts if not is_missing_word(text)]
    if not written:
        return []
    fits: dict[Notation, int] = {}
    for sign in SIGNS:
        if sum(sign in text for text in written) < MOSTLY * len(written):
            continue
        for decimal, thousands in SEPARATORS:
            notation = Notation(decimal, thousands, sign)
            fitting = [text for text in written if notation.number(text) is not None]
            used = not thousands or any(_has(thousands, text) for text in fitting)
            if used and len(fitting) >= MOSTLY * len(written):
                fits[notation] = len(fitting)
    return sorted(fits, key=lambda notation: -fits[notation])


def has_codes(text: str) -> bool:
    r"""Whether some line of `text` is an integer with leading zeros, such as a postal code: not a quantity.

    >>> has_codes("12\n007"), has_codes("0\n0.5")
    (True, False)
    """
    return CODE.search(text) is not None


def _has(thousands: str, text: str) -> bool:
    return re.search(SPACES, text) is not None if thousands == " " else thousands in text


@cache
def _pattern(notation: Notation) -> re.Pattern[str]:
    decimal = re.escape(notation.decimal)
    thousands = SPACES if notation.thousands == " " else re.escape(notation.thousands)
    whole = rf"(?:[1-9]\d{{0,2}}(?:{thousands}\d{{3}})+|\d+)" if notation.thousands else r"\d+"
    number = rf"(?:{whole}(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?"
    if not notation.sign:
        return re.compile(rf"[+-]?{number}", re.ASCII)
    sign = re.escape(notation.sign)
    return re.compile(rf"[+-]?(?:{sign}{SPACES}?[+-]?{number}|{number}{SPACES}?{sign})", re.ASCII)
