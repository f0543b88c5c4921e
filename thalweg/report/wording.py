"""Numbers and foreign text as a page may show them: the digits that an interval bears, no character that acts."""

import math
import re
from typing import Any

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


def number(value: Any) -> float:
    """The value as a float; NaN for what is no number, and for null.

    >>> number(0.5), number(None), number("half"), number(10**400)
    (0.5, nan, nan, nan)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        found = float(value)
    except OverflowError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def digits(value: float, low: float = math.nan, high: float = math.nan) -> int:
    """Decimals that an interval bears: two figures of its width; three figures of the value where there is none.

    >>> digits(42.82, 36.93, 48.91), digits(0.972, 0.949, 0.985), digits(155.48)
    (0, 3, 0)
    """
    width = high - low
    if width > 0:
        return min(6, max(0, 1 - math.floor(math.log10(width))))
    if width == 0 or value == 0 or value != value:
        return 3
    return min(6, max(0, 2 - math.floor(math.log10(abs(value)))))


def quantity(value: Any, decimals: int | None = None, sign: bool = False) -> str:
    """A number as text, a dash where there is none.

    >>> quantity(0.12345), quantity(-1234.5), quantity(None), quantity(0.5, sign=True), quantity(3e-9)
    ('0.123', '−1,234', '–', '+0.500', '3e-09')
    """
    found = number(value)
    if found != found:
        return "–"
    places = digits(found) if decimals is None else decimals
    if abs(found) >= 1e7 or 0 < abs(found) < 1e-5:
        text = f"{found:+.3g}" if sign else f"{found:.3g}"
    else:
        text = f"{found:+,.{places}f}" if sign else f"{found:,.{places}f}"
    if not text.strip("-+0.,"):  # a small number that these decimals do not show has no sign
        return text.lstrip("-+")
    return text.replace("-", "−", 1) if found < 0 else text


def interval(score: dict[str, Any], sign: bool = False, decimals: int | None = None) -> str:
    """A value with its interval, or without where it has none.

    >>> interval({"value": 0.97222, "low": 0.94949, "high": 0.98480}), interval({"value": 2.5, "low": None})
    ('0.972 [0.949, 0.985]', '2.50')
    """
    value, low, high = (number(score.get(key)) for key in ("value", "low", "high"))
    places = digits(value, low, high) if decimals is None else decimals
    if low != low or high != high:
        return quantity(value, decimals, sign)
    shown = quantity(value, places, sign) if value == value else "?"
    return f"{shown} [{quantity(low, places, sign)}, {quantity(high, places, sign)}]"


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


def row_digits(scores: list[dict[str, Any]]) -> int:
    """Decimals for one quantity in several places: as the widest interval bears, and two figures of the smallest value.

    >>> row_digits([{"value": 0.0054, "low": 0.0045, "high": 0.0064}, {"value": 0.128, "low": 0.05, "high": 0.22}])
    4
    """
    triples = [tuple(number(score.get(key)) for key in ("value", "low", "high")) for score in scores]
    known = [triple for triple in triples if triple[0] == triple[0]]
    if not known:
        return 3
    bears = [digits(*triple) for triple in known if triple[2] > triple[1]] or [digits(*triple) for triple in known]
    smallest = min((abs(value) for value, _, _ in known if value), default=1.0)
    return min(6, max(min(4, *bears), 1 - math.floor(math.log10(smallest))))


ACRONYMS = {"auc": "AUC", "mae": "MAE", "mse": "MSE", "rmse": "RMSE", "r2": "R²", "f1": "F1"}


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
