"""The checker that the tests put on every function of thalweg (see conftest.py): jaxtyping's shapes by beartype, which
is told about `Self`.

A check costs more than most of what it checks, and in a loop the thousandth call says nothing that the first did not:
in every test the first calls of each function are checked, and then it runs as it is.
"""

import inspect
from collections import Counter
from functools import wraps
from typing import Any, Self

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype

MOST = 5
"""Calls of a function that are checked in one test."""
calls = Counter[Any]()
jaxtyped: Any = jaxtyping.jaxtyped


class Anything(type):
    """The type of types of which everything is an instance."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class SomeSelf(metaclass=Anything):
    """Stands for `Self`, which beartype only understands where it sees the whole class, jaxtyping shows it methods."""


checked = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: SomeSelf}), is_pep484_tower=True))


def begin_test() -> None:
    """From here on the next calls of every function are checked again."""
    calls.clear()


def install() -> None:
    """Whatever is imported from thalweg from here on is checked."""
    jaxtyping.jaxtyped = sparingly
    jaxtyping.install_import_hook("thalweg", "typechecking.checked")


def sparingly(made: Any = None, *, typechecker: Any) -> Any:
    """`jaxtyping.jaxtyped` for the first calls of a function; its checker is made when it is first called."""
    if made is None:
        return lambda made: sparingly(made, typechecker=typechecker)
    if not inspect.isfunction(made):
        return jaxtyped(made, typechecker=typechecker)
    code, guarded = made.__code__, []

    @wraps(made)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if calls[code] >= MOST:
            return made(*args, **kwargs)
        calls[code] += 1
        if not guarded:
            guarded.append(jaxtyped(made, typechecker=typechecker))
        return guarded[0](*args, **kwargs)

    return call
