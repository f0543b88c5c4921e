"""Fingerprints: what a piece of a recipe is, so that two recipes can be compared.

A callable of a library is known by its qualified name and bound arguments. A user's own, and a lambda or a nested
function, whose name says nothing, is known by its bytecode, by what it closes over and reads from its module, and by
the user's own functions, classes and objects among that. Tensors and arrays are known by a hash of their bytes.
"""

import argparse
import dataclasses
import hashlib
import logging
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.mapped import CHUNK, Pages, file_behind

UNKNOWN = "not compared"
RECIPE_MODULE = "thalweg_recipe_"
"""What the modules of recipe files are called: names say nothing of what such a file holds, its code does."""
INSTALLED = ("site-packages", "dist-packages")
LIBRARIES = ("thalweg", "torch", "numpy")
"""Known by their names even where they are developed."""


@dataclasses.dataclass
class _Reading:
    """What one fingerprint has met, for functions call one another; and whether something of it cannot be read."""

    met: dict[int, Any] = dataclasses.field(default_factory=dict)
    opaque: bool = False

    def again(self, value: Any) -> bool:
        """Whether a value was met before; it is held, so that no other takes its place in memory."""
        known = id(value) in self.met
        self.met[id(value)] = value
        return known


_reading: ContextVar[_Reading] = ContextVar("thalweg_fingerprint")


def fingerprint(value: Any, whole: bool = False) -> str:
    """A short hash of what `value` is; `UNKNOWN` for what cannot be hashed (an open file, a foreign object).

    A function that reads a foreign object from around it is known without that; `UNKNOWN` where the `whole` is asked.

    >>> fingerprint(partial(torch.optim.Adam, lr=1e-3)) == fingerprint(partial(torch.optim.Adam, lr=1e-3))
    True
    >>> fingerprint(lambda: 1) == fingerprint(lambda: 2)
    False
    """
    reading = _Reading()
    token = _reading.set(reading)
    try:
        told = hashlib.sha256(repr(_essence(value)).encode()).hexdigest()[:16]
    except _Opaque:
        return UNKNOWN
    finally:
        _reading.reset(token)
    return UNKNOWN if whole and reading.opaque else told


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
    """A class of a library by its name; one of the user's own by its bases, attributes and methods too."""
    if not _own(value.__module__) and "<locals>" not in value.__qualname__:
        return ("name", value.__module__, value.__qualname__)
    if _reading.get().again(value):
        return ("again", value.__qualname__)
    bases = (_class(base) for base in value.__bases__)
    return ("class", value.__qualname__, *bases, *((key, _essence_or_name(item)) for key, item in _members(value)))


def _members(value: type) -> Iterator[tuple[str, Any]]:
    """The methods and attributes of a class, by name; what Python keeps there for itself left out."""
    for key, item in sorted(vars(value).items()):
        inner = (getattr(item, name, None) for name in ("fget", "__func__", "func", "__wrapped__"))
        method = next((each for each in inner if isinstance(each, types.FunctionType)), item)
        kept = isinstance(item, types.MemberDescriptorType) or key.startswith("__") or key == "_abc_impl"
        if isinstance(method, types.FunctionType) or not kept:
            yield key, method


def _own(name: str | None) -> bool:
    """Whether a module is one that the user writes: its names say nothing of what it will hold at another time."""
    if not name or name == "__main__" or name.startswith(RECIPE_MODULE):
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and name.split(".")[0] not in LIBRARIES and not _installed(file)


@cache
def _installed(file: str) -> bool:
    path = Path(file)
    ours = any(part in INSTALLED for part in path.parts)
    return ours or any(path.is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


def _object(value: Any) -> Any:
    name = (type(value).__module__, type(value).__qualname__)
    if isinstance(value, nn.Module):
        own = {key: item for key, item in vars(value).items() if not key.startswith("_") and key != "training"}
        return (*name, _class(type(value)), repr(value), _essence(dict(value.state_dict())), _essence(own))
    if isinstance(value, torch.utils.data.TensorDataset):
        return (*name, _essence(value.tensors))
    if hasattr(value, "fingerprint") and not isinstance(value, type):
        return (*name, _known(value.fingerprint()))
    if dataclasses.is_dataclass(value):
        return (
            *name,
            _class(type(value)),
            *(
                (field.name, _essence(getattr(value, field.name)))
                for field in dataclasses.fields(value)
                if field.compare
            ),
        )
    if isinstance(value, types.ModuleType):
        return (*name, value.__name__)
    if isinstance(value, set | frozenset):
        return (*name, *sorted(map(repr, value)))
    if isinstance(value, torch.dtype | torch.device):
        return (*name, str(value))
    if isinstance(value, types.UnionType | types.GenericAlias | np.ufunc | logging.Logger) or name[0] == "typing":
        return (*name, repr(value))
    raise _Opaque


def _known(told: str) -> str:
    if told == UNKNOWN:
        raise _Opaque
    return told


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
    if "<" not in function.__qualname__ and not _own(function.__module__):
        return ("name", function.__module__, function.__qualname__)
    if _reading.get().again(function):
        return ("again", function.__qualname__)
    closed = tuple(map(_content, function.__closure__ or ()))
    return (
        "code",
        _code(function.__code__),
        _essence(function.__defaults__),
        _essence(function.__kwdefaults__),
        tuple(_essence_or_name(item) for item in closed),
        tuple(_read(function.__globals__, _names(function.__code__))),
    )


def _names(code: types.CodeType) -> Iterator[str]:
    """The names that code reads, and the functions within it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _names(inner)


def _read(known: Mapping[str, Any], names: Iterator[str]) -> Iterator[Any]:
    """What names stand for in a module, and in those of the user's own modules that are among it."""
    asked = list(dict.fromkeys(names))
    for name in asked:
        value = known.get(name)
        yield name, _essence_or_name(value)
        if isinstance(value, types.ModuleType) and _own(value.__name__):
            yield from ((name, key, _essence_or_name(vars(value)[key])) for key in asked if key in vars(value))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return None


def _essence_or_name(value: Any) -> Any:
    reading = _reading.get()
    met = dict(reading.met)
    try:
        return _essence(value)
    except (_Opaque, RecursionError):
        reading.met = met
        return _held(value)


def _held(value: Any) -> Any:
    """What a function reads of an object that is no value: its items or attributes where it is the user's, or plain."""
    own = isinstance(value, types.SimpleNamespace | argparse.Namespace) or _own(type(value).__module__)
    items = vars(value) if own and hasattr(value, "__dict__") else value
    if not isinstance(items, Mapping | list | tuple):
        _reading.get().opaque = True
        return ("opaque", type(value).__qualname__)
    if _reading.get().again(value):
        return ("again", type(value).__qualname__)
    pairs = items.items() if isinstance(items, Mapping) else enumerate(items)
    return ("held", _class(type(value)), *((str(key), _essence_or_name(item)) for key, item in pairs))


def _code(code: types.CodeType) -> Any:
    constants = tuple(map(_constant, code.co_consts))
    return (code.co_code.hex(), constants, code.co_names, code.co_varnames)


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
