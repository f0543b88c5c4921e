"""Exit codes, what an interrupt says, and the condition that `--fail-if` states."""

import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from thalweg.core.errors import RecipeError, did_you_mean

FINE, FAILED, USAGE, CONDITION, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
TEXTS = ("status", "cause")
"""The names whose values are words, which are equal or not; the values of all others are numbers."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, or a terminal that closed, handled as an interrupt that exits with 143."""


def interrupted(error: BaseException | None) -> int:
    """The exit code of an interrupt: by SIGTERM, or by hand.

    >>> interrupted(Terminated()), interrupted(KeyboardInterrupt())
    (143, 130)
    """
    return TERMINATED if isinstance(error, Terminated) else INTERRUPTED


@contextmanager
def interrupt_says(what: str) -> Iterator[None]:
    """An interrupt of the block carries a note on what it left, for the line that ends the command."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(what)
        raise


def check_conditions(conditions: Iterable[str], names: Iterable[str] | None = None) -> None:
    """Refuse what is no comparison before anything is trained, and once `names` are known what is not among them.

    >>> check_conditions(("test.accuracy<0.9",))
    >>> check_conditions(("test.acuracy<0.9",), ["test.accuracy", "status"])
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: --fail-if 'test.acuracy<0.9': there is no 'test.acuracy' in the results. Did ...

    Raises `RecipeError`, also where a number is compared to what is none, or the order of words is asked for.
    """
    known = None if names is None else list(names)
    for condition in conditions:
        name, sign, text = _parts(condition)
        if known is not None and name not in known:
            raise _unknown(condition, name, known)
        if name in TEXTS:
            _check_word(condition, name, sign, text)
        else:
            _number(condition, name, text)


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Whether `name<number`, or `name!=TEXT`, holds for the values by name.

    >>> holds("test.accuracy<0.9", {"test.accuracy": 0.8}), holds("status!=FINISHED", {"status": "FINISHED"})
    (True, False)

    A value that is NaN fails every condition, that is, each one holds.

    >>> holds("test.mae>1", {"test.mae": float("nan")})
    True

    Raises `RecipeError` for what is no comparison, and for unknown names.
    """
    name, sign, text = _parts(condition)
    if name not in values:
        raise _unknown(condition, name, values)
    value = values[name]
    if isinstance(value, str):
        return COMPARISONS[sign](value, text)
    if value is None or value != value:
        return True  # a number that is not there must not pass a gate
    return COMPARISONS[sign](value, _number(condition, name, text))


def gate(conditions: Iterable[str], values: Mapping[str, Any]) -> int:
    """The exit code that conditions give; each one that holds is said on stderr, with the value it met."""
    held = [condition for condition in conditions if holds(condition, values)]
    for condition in held:
        name = _parts(condition)[0]
        print(f"--fail-if '{condition}' holds: {name} is {values[name]}", file=sys.stderr)
    return CONDITION if held else FINE


def _parts(condition: str) -> tuple[str, str, str]:
    parts = re.fullmatch(r"\s*([^<>=!]*[^<>=!\s])\s*(<=|>=|!=|==|<|>|=)\s*([^<>=!\s]+)\s*", condition)
    if parts is None:
        raise RecipeError(f"--fail-if '{condition}' is no comparison. Write it as 'test.accuracy<0.9'.")
    return parts[1], parts[2], parts[3]


def _unknown(condition: str, name: str, known: Iterable[str]) -> RecipeError:
    return RecipeError(f"--fail-if '{condition}': there is no '{name}' in the results.{did_you_mean(name, known)}")


def _number(condition: str, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number != number:
        raise RecipeError(
            f"--fail-if '{condition}': '{name}' is a number, and '{text}' is none to compare it to. Write one, as in "
            f"'{name}<0.9'."
        )
    return number


def _check_word(condition: str, name: str, sign: str, text: str) -> None:
    from thalweg.diagnosis import Cause
    from thalweg.training import Outcome

    words = [str(word) for word in (Outcome if name == "status" else Cause)]
    if sign not in ("=", "==", "!="):
        raise RecipeError(
            f"--fail-if '{condition}': '{name}' is a word, which has no order. Write '{name}!={words[0]}'."
        )
    if text not in words:
        raise RecipeError(f"--fail-if '{condition}': '{name}' is never '{text}'.{did_you_mean(text, words)}")
