"""Values of any kind as plain ones, which torch reads back without running code, and back again."""

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.generators import GENERATORS, generator_state, set_generator

PLAIN = (bool, int, float, str, bytes, type(None))
KIND = "thalweg.kind"
"""The key by which a dict stands for a value of another type."""
NUMBERS = "biufc"
"""The kinds of NumPy's types that are numbers."""


class NotPlain(Exception):
    """A value that cannot be read back without running code."""


def as_plain(value: Any) -> Any:
    """A value in lists, dicts, numbers, text and tensors alone.

    >>> as_plain({"a": (1, np.ones(1))})["a"][1]["data"]
    tensor([1.], dtype=torch.float64)

    Raises `NotPlain` for what cannot be said so.
    """
    if isinstance(value, nn.Parameter):
        raise NotPlain
    if type(value) in PLAIN or isinstance(value, Tensor):
        return value
    if type(value) in (list, tuple):
        return type(value)(map(as_plain, value))
    if type(value) is dict and all(type(key) in (str, int) and key != KIND for key in value):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, GENERATORS):
        return {KIND: "stream", "type": _stream_name(value), "data": generator_state(value)}
    if isinstance(value, np.ndarray | np.generic):
        return _plain_numbers(value)
    for kind, (type_, taken, _) in CONTAINERS.items():
        if type(value) is type_:
            return {KIND: kind, "data": as_plain(taken(value))}
    if type(value) is defaultdict and value.default_factory in FACTORIES.values():
        name = next(name for name, factory in FACTORIES.items() if factory is value.default_factory)
        return {KIND: "defaultdict", "factory": name, "data": as_plain(list(value.items()))}
    if not isinstance(value, nn.Module | type) and all(callable(getattr(value, verb, None)) for verb in STATEFUL):
        return {KIND: "state", "data": as_plain(value.state_dict())}
    raise NotPlain


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, np.generic) and value.dtype.kind in NUMBERS:
        return {KIND: "scalar", "data": value.item(), "type": value.dtype.str}
    if type(value) is not np.ndarray or value.dtype.kind not in NUMBERS:
        raise NotPlain
    try:
        return {KIND: "array", "data": torch.from_numpy(np.ascontiguousarray(value).copy().reshape(value.shape))}
    except TypeError as error:  # uint32 and the like
        raise NotPlain from error


def _stream_name(source: Any) -> str:
    if isinstance(source, np.random.Generator):
        return type(source.bit_generator).__name__
    return {torch.Generator: "torch", np.random.RandomState: "RandomState"}.get(type(source), "Random")


def _stream(name: str, state: Any) -> Any:
    """A new source of random numbers in a state."""
    source: Any
    if name == "torch":
        source = torch.Generator()
    elif name == "RandomState":
        source = np.random.RandomState()
    elif name == "Random":
        source = random.Random()
    else:
        source = np.random.Generator(getattr(np.random, name)())
    set_generator(source, state)
    return source


STATEFUL = ("state_dict", "load_state_dict")
FACTORIES: dict[str, Any] = {"int": int, "float": float, "list": list, "dict": dict, "set": set, "str": str}
CONTAINERS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "deque": (deque, lambda value: [value.maxlen, list(value)], lambda data: deque(data[1], data[0])),
    "set": (set, lambda value: sorted(value, key=repr), set),
    "frozenset": (frozenset, lambda value: sorted(value, key=repr), frozenset),
    "OrderedDict": (OrderedDict, lambda value: list(value.items()), OrderedDict),
    "Counter": (Counter, lambda value: list(value.items()), lambda data: Counter(dict(data))),
    "dict": (dict, lambda value: list(value.items()), dict),
    "complex": (complex, lambda value: [value.real, value.imag], lambda data: complex(*data)),
    "bytearray": (bytearray, bytes, bytearray),
}
"""Kinds of values that torch does not read back by itself: what is stored of each, and how it is made again."""


def plain_again(value: Any) -> Any:
    """The value that `as_plain` was given."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain_again, value))
    if not isinstance(value, dict):
        return value
    kind, data = value.get(KIND), value.get("data")
    if kind is None:
        return {key: plain_again(item) for key, item in value.items()}
    if kind == "stream":
        return _stream(value["type"], data)
    if kind == "array":
        assert isinstance(data, Tensor)
        return data.numpy()
    if kind == "scalar":
        return np.dtype(value["type"]).type(data)
    if kind == "defaultdict":
        return defaultdict(FACTORIES[value["factory"]], plain_again(data))
    return CONTAINERS[kind][2](plain_again(data))


def put_in(own: Any, kept: Any, device: torch.device, alone: bool) -> Any:
    """A stored value put into the one that is there where it can take it, else made anew.

    What others may hold too stays the same object: streams, lists, dicts, and tensors and arrays of the same shape,
    but these only where they share their memory with the same others as before, which `alone` says.
    """
    kind = kept.get(KIND) if isinstance(kept, dict) else None
    if kind == "state" and all(callable(getattr(own, verb, None)) for verb in STATEFUL):
        own.load_state_dict(plain_again(kept["data"]))
        return own
    if kind == "stream" and isinstance(own, GENERATORS) and _stream_name(own) == kept["type"]:
        set_generator(own, kept["data"])
        return own
    if isinstance(kept, Tensor) and isinstance(own, Tensor) and alone and _same_form(own, kept):
        with torch.no_grad():
            own.copy_(kept)
        return own
    if kind == "array" and isinstance(own, np.ndarray) and alone and own.flags.writeable:
        new = kept["data"].numpy()
        if own.shape == new.shape and own.dtype == new.dtype:
            own[...] = new
            return own
    if type(own) is list and isinstance(kept, list) and len(own) == len(kept):
        own[:] = [put_in(item, new, device, alone) for item, new in zip(own, kept, strict=True)]
        return own
    if type(own) is dict and isinstance(kept, dict) and kind is None and list(own) == list(kept):
        own.update({key: put_in(own[key], new, device, alone) for key, new in kept.items()})
        return own
    if kind == "state":
        raise NotPlain
    return _filled(own, plain_again(moved(kept, device)))


def _filled(own: Any, made: Any) -> Any:
    """A collection filled with what another of its type holds; the other where there is none."""
    if type(own) is type(made):
        if isinstance(own, dict | set):
            own.clear()
            own.update(made)
            return own
        if isinstance(own, list | bytearray):
            own[:] = made
            return own
        if isinstance(own, deque) and own.maxlen == made.maxlen:
            own.clear()
            own.extend(made)
            return own
    return made


def _same_form(own: Tensor, kept: Tensor) -> bool:
    plain = own.layout == kept.layout == torch.strided and not own.is_quantized
    return plain and own.shape == kept.shape and own.dtype == kept.dtype


def equal(own: Any, kept: Any) -> bool:
    """Whether two plain values have the same content, to the bit."""
    if isinstance(own, Tensor) and isinstance(kept, Tensor):
        try:
            same = own.shape == kept.shape and own.dtype == kept.dtype
            return same and torch.equal(own.detach().cpu(), kept.detach().cpu())
        except (RuntimeError, NotImplementedError):  # sparse ones
            return False
    if type(own) is not type(kept):
        return False
    if isinstance(own, list | tuple):
        return len(own) == len(kept) and all(map(equal, own, kept))
    if isinstance(own, dict):
        return list(own) == list(kept) and all(equal(own[name], kept[name]) for name in own)
    return bool(own == kept)


def moved(value: Any, device: torch.device) -> Any:
    """A plain value with its tensors on a device, arrays and streams on the CPU."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(moved(item, device) for item in value)
    if isinstance(value, dict):
        stays = value.get(KIND) in ("array", "stream")
        return value if stays else {key: moved(item, device) for key, item in value.items()}
    return value
