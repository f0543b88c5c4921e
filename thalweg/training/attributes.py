"""What modules keep as attributes of their own, beside weights and buffers: taken as plain values, and put back."""

import hashlib
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.fingerprint import fingerprint
from thalweg.training.plain import NotPlain, as_plain, equal, put_in

OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module: its parameters, buffers and hooks."""
OF_EVERY_OPTIMIZER = frozenset(vars(torch.optim.SGD([torch.zeros(1)], lr=1.0)))
"""What torch itself keeps in an optimizer: its groups, states and hooks."""
GOES_ON = "goes on"
"""The mark of an iterator, which remembers where it is and does not say it."""


ABSENT = object()
"""What there is no value of: equal to none."""


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
    """Those attributes that can be stored, as plain values: counters, running values, queues, random streams.

    >>> net = nn.Linear(1, 1)
    >>> net.seen = deque([1, 2], maxlen=2)
    >>> own_values(net)["seen"]["data"]
    [2, [1, 2]]
    """
    return parted(attributes(module))[0]


def parted(values: Iterable[tuple[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of some named values that can be stored, as plain ones, and the others as they are."""
    plain, others = {}, {}
    for name, value in values:
        try:
            plain[name] = as_plain(value)
        except (NotPlain, RecursionError):
            others[name] = value
    return plain, others


def marks(others: Mapping[str, Any]) -> dict[str, str]:
    """Marks of values that cannot be stored, by which it is seen whether training has changed them."""
    return {name: GOES_ON if isinstance(value, Iterator) else mark(value) for name, value in others.items()}


def restore(holder: Any, attribute: str, kept: Any, now: Any, device: torch.device, alone: bool = True) -> None:
    """Put a stored value back as an attribute; one that `now` says to be equal stays what it is, and whose it is."""
    if equal(now, kept):
        return
    with suppress(NotPlain):  # the state of an object that is not there
        setattr(holder, attribute, put_in(getattr(holder, attribute, None), kept, device, alone))


def of_weights(value: Any, weights: set[int]) -> bool:
    """Whether a value is weights of the model, which are kept as such; `weights` are their ids."""
    if isinstance(value, nn.Parameter):
        return id(value) in weights
    if isinstance(value, list | tuple):
        return bool(value) and all(of_weights(item, weights) for item in value)
    if isinstance(value, dict):
        return bool(value) and all(of_weights(item, weights) for item in value.values())
    return False


def attributes_of(piece: Any, weights: set[int]) -> Iterator[tuple[str, Any]]:
    """What an optimizer keeps beside torch's own attributes and the weights."""
    for name, value in vars(piece).items() if hasattr(piece, "__dict__") else ():
        if name not in OF_EVERY_OPTIMIZER and not of_weights(value, weights):
            yield name, value


def memory_of(value: Any) -> set[int]:
    """Where the tensors and arrays of a value lie, by which it is seen who shares memory with whom."""
    if isinstance(value, Tensor):
        return {value.untyped_storage().data_ptr()} if value.layout == torch.strided and value.numel() else set()
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
        return {value.__array_interface__["data"][0]} if value.size else set()
    if isinstance(value, list | tuple | deque):
        return {place for item in value for place in memory_of(item)}
    if isinstance(value, dict):
        return {place for item in value.values() for place in memory_of(item)}
    return set()


def sharing(module: nn.Module) -> dict[str, list[str]]:
    """For each attribute the names of the others, weights and buffers among them, with which it shares memory.

    >>> net = nn.Linear(2, 1)
    >>> net.seen = net.weight.data
    >>> sharing(net)
    {'seen': ['weight']}
    """
    places = {name: memory_of(value) for name, value in attributes(module)}
    state = {name: memory_of(value) for name, value in (*module.named_parameters(), *module.named_buffers())}
    everyone = places | state
    return {
        name: sorted(other for other, theirs in everyone.items() if other != name and own & theirs)
        for name, own in places.items()
        if own
    }


def mark(value: Any) -> str:
    """A short hash of what a value holds; `UNKNOWN` where it cannot be read, as an iterator that goes on.

    >>> class Queue:
    ...     def __init__(self, *items):
    ...         self.items = items
    >>> mark(deque(maxlen=3)) == mark(deque(maxlen=3)) != mark(deque(maxlen=2))
    True
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hashlib.sha256(cloudpickle.dumps(value)).hexdigest()[:16]
    except Exception:
        return fingerprint(value)
