"""Kinds: what an argument may be, read from its annotation: as words, as a check, as an example."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from torch import Tensor

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.objective import name_of
from thalweg.core.signature import argument_names, named_parameters, takes_any_name


@dataclass(frozen=True)
class Kind:
    """One kind of values: `a whole number`, `whole numbers`, which values are of it, and an example for messages."""

    one: str
    many: str
    holds: Callable[[Any], bool]
    example: Any = None


def _number(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


ANYTHING = Kind("anything", "values", lambda value: True)
TENSOR = Kind("a tensor", "tensors", lambda value: isinstance(value, Tensor))
WHOLE = Kind("a whole number", "whole numbers", _number(Integral), 1)
NUMBER = Kind("a number", "numbers", _number(Real), 0.1)
PLAIN = {
    int: WHOLE,
    float: NUMBER,
    str: Kind("text", "texts", lambda value: isinstance(value, str), "name"),
    bool: Kind("true or false", "truth values", lambda value: isinstance(value, bool)),
    NoneType: Kind("none", "nones", lambda value: value is None),
    Tensor: TENSOR,
    Any: ANYTHING,
    inspect.Parameter.empty: ANYTHING,
}


def kind_of(annotation: Any) -> Kind:
    """The kind that an annotation stands for; one that says nothing here stands for anything.

    >>> kind_of(int | None).one, kind_of(tuple[float, float]).one, kind_of(Mapping[str, float]).one
    ('a whole number or none', 'a list of 2 numbers', 'a table of numbers')
    >>> kind_of(float).holds(3), kind_of(int).holds(True)
    (True, False)
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _any_of(*map(kind_of, inner))
    if origin is Literal:
        return Kind(" or ".join(map(repr, inner)), "values", lambda value: value in inner, inner[0])
    if origin is tuple and Ellipsis not in inner:
        return _list_of(kind_of(inner[0]), len(inner))
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return _list_of(kind_of(inner[0]))
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return _table_of(kind_of(inner[1]))
    if origin is Callable:
        return Kind("a function", "functions", callable)
    if getattr(annotation, "array_type", None) is Tensor:  # jaxtyping
        return TENSOR
    return PLAIN.get(annotation) or _class(annotation)


def _any_of(*kinds: Kind) -> Kind:
    """One kind out of several; the words leave out a tensor, and a whole number beside a number."""
    shown = [kind for kind in kinds if kind is not TENSOR and not (kind is WHOLE and NUMBER in kinds)] or list(kinds)
    one, many = (_listed(*(getattr(kind, words) for kind in shown)) for words in ("one", "many"))
    return Kind(one, many, lambda value: any(kind.holds(value) for kind in kinds), shown[0].example)


def _listed(*words: str) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def _list_of(item: Kind, count: int | None = None) -> Kind:
    def holds(value: Any) -> bool:
        fits = isinstance(value, Sequence) and not isinstance(value, str) and count in (None, len(value))
        return fits and all(map(item.holds, value))

    words = item.many if count is None else f"{count} {item.many}"
    return Kind(f"a list of {words}", f"lists of {words}", holds, [item.example] * (count or 2))


def _table_of(item: Kind) -> Kind:
    def holds(value: Any) -> bool:
        return isinstance(value, Mapping) and all(map(item.holds, value.values()))

    return Kind(f"a table of {item.many}", f"tables of {item.many}", holds, {"name": item.example})


def _class(annotation: Any) -> Kind:
    def holds(value: Any) -> bool:
        try:
            return isinstance(value, annotation)
        except TypeError:  # a protocol, whose members say nothing at run time
            return True

    if not inspect.isclass(annotation):
        return ANYTHING
    name = annotation.__name__
    return Kind(f"{'an' if name[0] in 'AEIOU' else 'a'} {name}", f"{name}s", holds)


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse an argument that is not of the kind that its annotation says, and the lack of one that has no default.

    What has no annotation may be anything; a default may always be given again.

    >>> def net(width: int = 64): ...
    >>> check_arguments(net, {"width": "wide"})
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: net: width is 'wide', but it must be a whole number. Give for instance width=64.
    """
    check_kinds(name_of(function), named_parameters(function), arguments)


def check_kinds(owner: str, parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> None:
    """The same for parameters that were read before; `owner` begins the message."""
    for name, parameter in parameters.items():
        default, kind = parameter.default, kind_of(parameter.annotation)
        value = arguments.get(name, default)
        if value is not default and not kind.holds(value):
            raise RecipeError(f"{owner}: {name} is {value!r}, but it must be {kind.one}.{_mend(name, parameter)}")
        if value is parameter.empty:
            raise RecipeError(f"{owner} needs {name}, {kind.one}.{_mend(name, parameter)}")


def check_name(
    function: Callable[..., Any], name: str, owner: str, withheld: Collection[str] = (), beside: Collection[str] = ()
) -> None:
    """Refuse the name of an argument that `function` does not have; `owner` begins the message.

    What may be said `beside` its arguments is named where it may have been meant, and not listed.

    >>> check_name(lambda width: None, "widht", "The model 'net'")
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: The model 'net' has no argument 'widht'. Did you mean 'width'?
    """
    known = [option for option in argument_names(function) if option not in withheld]
    if name not in known and not takes_any_name(function):
        near = did_you_mean(name, [*known, *beside])
        told = near if near.startswith(" Did") else did_you_mean(name, known)
        raise RecipeError(f"{owner} has no argument '{name}'.{told}")


def check_fields(instance: Any) -> None:
    """Refuse a dataclass one of whose fields is of another kind than it says; to be called in `__post_init__`."""
    check_arguments(type(instance), {field.name: getattr(instance, field.name) for field in fields(instance)})


def at_fault(
    function: Callable[..., Any], arguments: Mapping[str, Any], said: str, chosen: Collection[str] = ()
) -> str | None:
    """Which argument an error is about: one that the message names, else the one without which there is no error.

    Of several that are named it is the first in the message that the user has `chosen`, else the first.

    >>> at_fault(int, {"base": 99}, "int() base must be >= 2 and <= 36, or 0")
    'base'
    """
    found = {name: re.search(rf"'{re.escape(name)}'|\b{re.escape(name)}( is|=)", said) for name in arguments}
    named = sorted((name not in chosen, place.start(), name) for name, place in found.items() if place)
    spared = (name for name in arguments if _works(function, {key: arguments[key] for key in arguments if key != name}))
    return named[0][2] if named else next(spared, None)


def _works(function: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    try:
        function(**arguments)
    except Exception:
        return False
    return True


def _mend(name: str, parameter: inspect.Parameter) -> str:
    kind, default = kind_of(parameter.annotation), parameter.default
    given = default not in (None, parameter.empty) and kind.holds(default)
    example = kind.example if not given else list(default) if isinstance(default, tuple) else default
    return "" if example is None or isinstance(example, bool) else f" Give for instance {name}={example!r}."
