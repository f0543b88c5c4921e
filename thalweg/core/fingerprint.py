"""Fingerprints: what a piece of a recipe is, so that two recipes can be compared.

A callable is known by its qualified name and bound arguments; a lambda or a nested function, whose name says nothing,
by its bytecode and what it closes over. Tensors and arrays are known by a hash of their bytes.
"""

import dataclasses
import hashlib
import types
from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.mapped import CHUNK, Pages, file_behind

UNKNOWN = "not compared"
RECIPE_MODULE = "thalweg_recipe_"
"""What the modules of recipe files are called: names say nothing of what such a file holds, its code does."""


def fingerprint(value: Any) -> str:
    """A short hash of what `value` is; `UNKNOWN` for what cannot be hashed (an open file, a foreign object).

    >>> fingerprint(partial(torch.optim.Adam, lr=1e-3)) == fingerprint(partial(torch.optim.Adam, lr=1e-3))
    True
    >>> fingerprint(lambda: 1) == fingerprint(lambda: 2)
    False
    """
    try:
        return hashlib.sha256(repr(_essence(value)).encode()).hexdigest()[:16]
    except _Opaque:
        return UNKNOWN


class _Opaque(Exception):
    """Something whose content cannot be read."""


def _essence(value: Any) -> Any:
    """A value made of names, numbers and hashes alone, equal for equal meanings."""
    if value is None or isinstance(value, bool | int | float | str | bytes | complex):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return ("path", str(value))
    if isinstance(value, Tensor | np.ndarray):
        return _array(value)
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_essence, value))
    if isinstance(value, Mapping):
        return ("dict", *((str(key), _essence(item)) for key, item in value.items()))
    if isinstance(value, partial):
        return ("partial", _essence(value.func), _essence(value.args), _essence(dict(sorted(value.keywords.items()))))
    if isinstance(value, type):
        return _class(value)
    if isinstance(value, types.BuiltinFunctionType):
        return ("name", value.__module__, value.__qualname__)
    if isinstance(value, types.MethodType):
        return ("method", _essence(value.__func__), _essence(value.__self__))
    if isinstance(value, types.FunctionType):
        return _function(value)
    return _object(value)


def _class(value: type) -> Any:
    """A class by its name; one that was written in a script or a notebook by the code of its methods too."""
    if (
        value.__module__ != "__main__"
        and not value.__module__.startswith(RECIPE_MODULE)
        and "<locals>" not in value.__qualname__
    ):
        return ("name", value.__module__, value.__qualname__)
    methods = {key: item for key, item in vars(value).items() if isinstance(item, types.FunctionType)}
    return ("class", value.__qualname__, *((key, _code(item.__code__)) for key, item in sorted(methods.items())))


def _object(value: Any) -> Any:
    name = (type(value).__module__, type(value).__qualname__)
    if isinstance(value, nn.Module):
        own = {key: item for key, item in vars(value).items() if not key.startswith("_") and key != "training"}
        return (*name, _class(type(value)), repr(value), _essence(dict(value.state_dict())), _essence(own))
    if isinstance(value, torch.utils.data.TensorDataset):
        return (*name, _essence(value.tensors))
    if hasattr(value, "fingerprint") and not isinstance(value, type):
        return (*name, value.fingerprint())
    if dataclasses.is_dataclass(value):
        return (*name, *((field.name, _essence(getattr(value, field.name))) for field in dataclasses.fields(value)))
    if isinstance(value, types.ModuleType):
        return (*name, value.__name__)
    if isinstance(value, set | frozenset):
        return (*name, *sorted(map(repr, value)))
    if isinstance(value, torch.dtype | torch.device):
        return (*name, str(value))
    raise _Opaque


def _array(value: Tensor | np.ndarray) -> Any:
    if isinstance(value, np.ndarray):
        return _numpy_array(value)
    array = value.detach().cpu()
    data = array.contiguous().view(-1).view(torch.uint8).numpy().data if array.numel() else b""
    return ("array", tuple(array.shape), str(array.dtype), hashlib.sha256(data).hexdigest())


def _numpy_array(value: np.ndarray) -> Any:
    """The same as of the tensor with these numbers, hashed by chunks: it may lie in a file larger than memory."""
    if value.dtype.kind not in "biufc":
        return ("array", value.shape, str(value.dtype), hashlib.sha256(repr(value.tolist()).encode()).hexdigest())
    rows = np.atleast_1d(value)
    pages, digest = Pages(file_behind(value)), hashlib.sha256()
    pages.scattered(False)
    step = max(1, CHUNK * len(rows) // max(1, rows.nbytes))
    for start in range(0, len(rows), step):
        chunk = np.ascontiguousarray(rows[start : start + step])
        digest.update(chunk.data)
        pages.held_more(chunk.nbytes)
    pages.give_back()
    return ("array", rows.shape, _dtype_name(value.dtype), digest.hexdigest())


def _dtype_name(dtype: np.dtype[Any]) -> str:
    """The name that torch has for a type of numbers; NumPy's own for what torch does not know."""
    try:
        return str(torch.from_numpy(np.empty(0, dtype)).dtype)
    except (TypeError, ValueError):
        return str(dtype)


def _function(function: types.FunctionType) -> Any:
    written_here = function.__module__ == "__main__" or function.__module__.startswith(RECIPE_MODULE)
    if "<" not in function.__qualname__ and not written_here:
        return ("name", function.__module__, function.__qualname__)
    closed = tuple(map(_content, function.__closure__ or ()))
    return (
        "code",
        _code(function.__code__),
        _essence(function.__defaults__),
        _essence(function.__kwdefaults__),
        tuple(_essence_or_name(item) for item in closed),
        tuple((name, _global(function.__globals__.get(name))) for name in function.__code__.co_names),
    )


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return None


def _global(value: Any) -> Any:
    """What a function reads from its module: other functions by name alone, for they may call one another."""
    if isinstance(value, types.FunctionType):
        return ("name", value.__module__, value.__qualname__)
    return _essence_or_name(value)


def _essence_or_name(value: Any) -> Any:
    try:
        return _essence(value)
    except (_Opaque, RecursionError):
        return ("opaque", type(value).__qualname__)


def _code(code: types.CodeType) -> Any:
    constants = tuple(map(_constant, code.co_consts))
    return (code.co_code.hex(), constants, code.co_names, code.co_varnames)


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
