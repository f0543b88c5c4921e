"""Descriptions: a piece of a recipe in a few words, and how two of them differ.

They say the same in every process: names instead of addresses in memory, a lambda as it is written.
"""

import ast
import dataclasses
import linecache
import re
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from thalweg.core.fingerprint import UNKNOWN, fingerprint

ADDRESS = r" at 0x[0-9a-fA-F]+"
LONGEST = 200
MOST_ITEMS = 8
ABSENT = object()


def describe_piece(value: Any) -> str:
    """A piece of a recipe in a few words: `Adam(lr=0.001)`, a lambda as its source, a tensor as its shape.

    >>> import torch
    >>> describe_piece(partial(torch.optim.Adam, lr=1e-3))
    'Adam(lr=0.001)'
    >>> describe_piece({"loss": torch.nn.functional.mse_loss, "x": torch.ones(2, 3)})
    "{'loss': mse_loss, 'x': Tensor(2, 3)}"
    """
    text = _described(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _described(value: Any) -> str:
    if isinstance(value, partial):
        return _called(_name(value.func), value.args, value.keywords)
    if isinstance(value, types.FunctionType) and "<lambda>" in value.__qualname__:
        return lambda_source(value)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return _name(value)
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__}{tuple(value.shape)}"
    if type(value) in (list, tuple):
        return _items(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_described(item)}' for key, item in value.items())}}}"
    text = repr(value)
    if dataclasses.is_dataclass(value) and "<" in text:  # something in it has no text of its own
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
        return _called(type(value).__qualname__, (), own)
    return " ".join(re.sub(ADDRESS, "", text).split())


def _items(value: list[Any] | tuple[Any, ...]) -> str:
    if len(value) > MOST_ITEMS:
        return f"{type(value).__name__} of {len(value)}"
    inner = ", ".join(map(_described, value))
    return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"


def _called(name: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    said = [*map(_described, arguments), *(f"{key}={_described(item)}" for key, item in named.items())]
    return f"{name}({', '.join(said)})"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__).split("<locals>.")[-1]


def lambda_source(function: types.FunctionType) -> str:
    """A lambda as it is written, on one line; `a lambda` where its file cannot be read as Python."""
    code = function.__code__
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except SyntaxError:
        return "a lambda"
    first = min((line, column) for line, _, column, _ in code.co_positions() if line and column)
    last = max((line, column) for _, line, _, column in code.co_positions() if line and column)
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno and _encloses(node.body, first, last)
    ]
    return ast.unparse(found[-1]) if found else "a lambda"


def _encloses(body: ast.expr, first: tuple[int, int], last: tuple[int, int]) -> bool:
    return (body.lineno, body.col_offset) <= first and last <= (body.end_lineno or 0, body.end_col_offset or 0)


def differences(name: str, first: Any, second: Any) -> list[str]:
    """How two pieces of recipes differ, a line each: `adam.lr 0.001 -> 0.01`; none where they are the same.

    >>> import torch
    >>> differences("optimizer", partial(torch.optim.Adam, lr=1e-3), partial(torch.optim.Adam, lr=1e-2))
    ['adam.lr 0.001 -> 0.01']
    >>> differences("epochs", 5, 7)
    ['epochs 5 -> 7']
    """
    before, after = fingerprint(first), fingerprint(second)
    if before == after and before != UNKNOWN:
        return []
    if UNKNOWN in (before, after):
        return [] if first is second else [f"{name} {UNKNOWN}"]
    both_bound = isinstance(first, partial) and isinstance(second, partial)
    if both_bound and first.func is second.func and first.args == second.args:
        return _bound(_name(first.func).lower(), first.keywords, second.keywords)
    if type(first) is type(second) and dataclasses.is_dataclass(first) and not isinstance(first, type):
        return _bound(type(first).__name__.lower(), vars(first), vars(second))
    alike = type(first) is type(second) and isinstance(first, nn.Module) and repr(first) == repr(second)
    if alike and (lines := _bound(type(first).__name__.lower(), _settings(first), _settings(second))):
        return lines
    return [f"{name} {_arrow(describe_piece(first), describe_piece(second))}"]


def _settings(module: nn.Module) -> dict[str, Any]:
    """What a module holds under a name of its own: a loss's smoothing, its class weights."""
    own = {**vars(module), **module._parameters, **module._buffers}
    return {name: value for name, value in own.items() if not name.startswith("_")}


def _bound(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for key in [*first, *(key for key in second if key not in first)]:
        one, other = first.get(key, ABSENT), second.get(key, ABSENT)
        if fingerprint(first.get(key)) == fingerprint(second.get(key)) and (key in first) == (key in second):
            continue
        own = one.differences(other) if type(one) is type(other) and hasattr(one, "differences") else []
        lines += own or [f"{name}.{key} {_arrow(_shown(one), _shown(other))}"]
    return lines


def _arrow(before: str, after: str) -> str:
    return f"{before} -> {after if before != after else 'the same in words, with other values'}"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor) and 0 < value.numel() <= MOST_ITEMS:
        return str(value.tolist())
    return "default" if value is ABSENT else describe_piece(value)
