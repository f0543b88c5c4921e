"""Exit codes, and the condition that `--fail-if` states."""

import operator
import re
from collections.abc import Callable, Mapping
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


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as an interrupt that exits with 143."""


def check_conditions(conditions: tuple[str, ...]) -> None:
    """Refuse what is no comparison before anything is trained.

    >>> check_conditions(("test.accuracy<0.9",))
    """
    for condition in conditions:
        _parts(condition)


def _parts(condition: str) -> tuple[str, str, str]:
    parts = re.fullmatch(r"\s*([\w.]+)\s*(<=|>=|!=|==|<|>|=)\s*(\S+)\s*", condition)
    if parts is None:
        raise RecipeError(f"--fail-if '{condition}' is no comparison. Write it as 'test.accuracy<0.9'.")
    return parts[1], parts[2], parts[3]


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
        raise RecipeError(f"--fail-if '{condition}': there is no '{name}' in the results.{did_you_mean(name, values)}")
    value = values[name]
    if isinstance(value, str):
        return COMPARISONS[sign](value, text)
    if value is None or value != value:
        return True  # a number that is not there must not pass a gate
    try:
        return COMPARISONS[sign](value, float(text))
    except ValueError as error:
        raise RecipeError(f"--fail-if '{condition}': '{name}' is a number, '{text}' is none.") from error
