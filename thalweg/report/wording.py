"""Numbers and foreign text as a page may show them: the digits that an interval bears, no character that acts."""

import re
from typing import Any

from thalweg.core.numerals import digits as digits
from thalweg.core.numerals import interval as interval
from thalweg.core.numerals import number as number
from thalweg.core.numerals import quantity as quantity
from thalweg.core.numerals import row_digits as row_digits

LONGEST = 300
"""Text beyond this many characters is cut, and the cut is said."""

_ACTING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of what follows
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # no characters at all: UTF-8 and XML refuse them
)


def clean(value: Any, limit: int = LONGEST) -> str:
    r"""Any value as one line that can be shown: what would act (a control character, a turn of direction) is named.

    >>> clean("a\x00b\u202ec\n d"), clean("x" * 1_000_000, limit=8)
    ('a⟨U+0000⟩b⟨U+202E⟩c d', 'xxxxxxxx… (1,000,000 characters)')
    """
    text = str(value)
    cut = text if len(text) <= limit else text[:limit]
    shown = re.sub(r"\s+", " ", _ACTING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", cut))
    return shown if cut is text else f"{shown}… ({len(text):,} characters)"


def label(value: Any, limit: int = 22) -> str:
    """Text short enough to stand beside an axis.

    >>> label("a very long name of a class")
    'a very long name of a…'
    """
    text = clean(value, limit * 8)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def both_ends(value: Any, limit: int) -> str:
    """Short text that keeps the end too, where names often differ.

    >>> both_ends("class number 34", 9)
    'clas…r 34'
    """
    text = clean(value, limit * 8)
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def duration(seconds: Any) -> str:
    """Seconds as people say them.

    >>> duration(0.147), duration(75), duration(7300), duration(None)
    ('0.15 s', '1 min 15 s', '2 h 1 min', '–')
    """
    found = number(seconds)
    if found != found:
        return "–"
    if found < 60:
        return f"{quantity(found, 2 if found < 1 else 1)} s"
    minutes, rest = divmod(round(found), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


ACRONYMS = {"auc": "AUC", "mae": "MAE", "mse": "MSE", "rmse": "RMSE", "r2": "R²", "f1": "F1"}
ACRONYMS |= {"bleu": "BLEU", "chrf": "chrF"}


def spoken(name: Any) -> str:
    """A name of the program as words; a metric of one target keeps the target's name as it is.

    >>> spoken("MODEL_BIAS"), spoken("balanced_accuracy"), spoken("mae_house_price")
    ('Model bias', 'Balanced accuracy', 'MAE of house_price')
    """
    text = clean(name)
    metric, _, target = text.partition("_")
    if metric in ACRONYMS:
        return f"{ACRONYMS[metric]} of {target}" if target else ACRONYMS[metric]
    text = text.replace("_", " ").strip()
    return text[:1].upper() + (text[1:].lower() if text.isupper() else text[1:])


def sentences(text: str) -> list[str]:
    """A text in its sentences, each with a capital first letter and a mark at its end.

    >>> sentences("it fits, p = 0.03. The gap is 0.2 [0.1, 0.3]")
    ['It fits, p = 0.03.', 'The gap is 0.2 [0.1, 0.3].']
    """
    parts = [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip()) if part]
    return [part[:1].upper() + part[1:] + ("" if part.endswith((".", "!", "?", "…")) else ".") for part in parts]
