"""What modules keep as attributes of their own, beside weights and buffers: taken as plain values, and put back."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.generators import GENERATORS

PLAIN = (bool, int, float, str, bytes, type(None))
OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module: its parameters, buffers and hooks."""
KIND = "thalweg.kind"
"""The key by which a dict stands for a value of another type."""
NUMBERS = "biufc"
"""The kinds of NumPy's types that are numbers."""
DEEP = 4
"""Objects within objects are looked into so far."""


class NotPlain(Exception):
    """A value that cannot be read back without running code."""


def attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The attributes that are a module's own, by dotted name.

    >>> net = nn.Sequential(nn.Linear(2, 1))
    >>> net[0].calls = 3
    >>> dict(attributes(net))["0.calls"]
    3
    """
    for name, each in module.named_modules():
        for attribute, value in vars(each).items():
            if attribute not in OF_EVERY_MODULE:
                yield f"{name}.{attribute}" if name else attribute, value


def own_values(module: nn.Module) -> dict[str, Any]:
    """Those attributes that can be stored, as plain values: counters, running values, queues.

    >>> net = nn.Linear(1, 1)
    >>> net.seen = deque([1, 2], maxlen=2)
    >>> plain_again(own_values(net)["seen"])
    deque([1, 2], maxlen=2)
    """
    found = {}
    for name, value in attributes(module):
        try:
            found[name] = as_plain(value)
        except NotPlain:
            continue
    return found


def marks_of_others(module: nn.Module) -> dict[str, str]:
    """Marks of the attributes that cannot be stored, by which it is seen whether training has changed them."""
    marks = {}
    for name, value in attributes(module):
        try:
            as_plain(value)
        except NotPlain:
            if not isinstance(value, GENERATORS):
                marks[name] = mark(value)
    return marks


def as_plain(value: Any) -> Any:
    """A value in lists, dicts, numbers, text and tensors alone.

    >>> as_plain({"a": (1, np.ones(1))})["a"][1]["data"]
    tensor([1.], dtype=torch.float64)

    Raises `NotPlain` for what cannot be said so.
    """
    if isinstance(value, nn.Parameter):
        raise NotPlain
    if (isinstance(value, PLAIN) and type(value) in PLAIN) or isinstance(value, Tensor):
        return value
    if type(value) in (list, tuple):
        return type(value)(map(as_plain, value))
    if type(value) is dict and all(type(key) in (str, int) and key != KIND for key in value):
        return {key: as_plain(item) for key, item in value.items()}
    if type(value) is deque:
        return {KIND: "deque", "data": [as_plain(item) for item in value], "maxlen": value.maxlen}
    if type(value) in (set, frozenset):
        return {KIND: type(value).__name__, "data": [as_plain(item) for item in sorted(value, key=repr)]}
    if isinstance(value, np.ndarray) and type(value) is np.ndarray and value.dtype.kind in NUMBERS:
        try:
            return {KIND: "array", "data": torch.from_numpy(np.ascontiguousarray(value).copy().reshape(value.shape))}
        except TypeError as error:  # uint32 and the like
            raise NotPlain from error
    if isinstance(value, np.generic) and value.dtype.kind in NUMBERS:
        return {KIND: "scalar", "data": value.item(), "type": value.dtype.str}
    raise NotPlain


def plain_again(value: Any) -> Any:
    """The value that `as_plain` was given."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain_again, value))
    if not isinstance(value, dict):
        return value
    data = value.get("data")
    match value.get(KIND):
        case None:
            return {key: plain_again(item) for key, item in value.items()}
        case "deque":
            return deque(map(plain_again, data or ()), value["maxlen"])
        case "set":
            return set(map(plain_again, data or ()))
        case "frozenset":
            return frozenset(map(plain_again, data or ()))
        case "array":
            assert isinstance(data, Tensor)
            return data.numpy()
        case _:
            return np.dtype(value["type"]).type(data)


def mark(value: Any, depth: int = DEEP) -> str:
    """A short hash of what a value holds, objects by their attributes; `UNKNOWN` where it cannot be read.

    >>> class Queue:
    ...     def __init__(self, *items):
    ...         self.items = items
    >>> mark(Queue(1)) == mark(Queue(1)) != mark(Queue(2))
    True
    """
    found = fingerprint(value)
    if found != UNKNOWN or depth == 0 or not hasattr(value, "__dict__"):
        return found
    inner = {name: mark(item, depth - 1) for name, item in vars(value).items()}
    return UNKNOWN if all(each == UNKNOWN for each in inner.values()) else fingerprint((type(value).__name__, inner))


def equal(own: Any, kept: Any) -> bool:
    """Whether two plain values have the same content, to the bit."""
    if isinstance(own, Tensor) and isinstance(kept, Tensor):
        same = own.shape == kept.shape and own.dtype == kept.dtype
        return same and torch.equal(own.detach().cpu(), kept.detach().cpu())
    if type(own) is not type(kept):
        return False
    if isinstance(own, list | tuple):
        return len(own) == len(kept) and all(map(equal, own, kept))
    if isinstance(own, dict):
        return list(own) == list(kept) and all(equal(own[name], kept[name]) for name in own)
    return bool(own == kept)


def moved(value: Any, device: torch.device) -> Any:
    """A plain value with its tensors on a device, arrays on the CPU."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(moved(item, device) for item in value)
    if isinstance(value, dict):
        return value if value.get(KIND) == "array" else {key: moved(item, device) for key, item in value.items()}
    return value
