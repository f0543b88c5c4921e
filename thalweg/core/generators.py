"""Sources of random numbers that objects keep of their own, beside the global streams: found, read, set, seeded."""

import json
import random
import types
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
MOST_ITEMS, DEEP = 64, 5
"""Collections of more items, and objects within so many others, are not looked into."""


def own_generators(holder: Any) -> list[Any]:
    """The sources that an object keeps, and those of what it keeps: a data set's, its transforms', a closure's.

    >>> import types
    >>> augment = types.SimpleNamespace(rng=np.random.default_rng(0))
    >>> len(own_generators(types.SimpleNamespace(transforms=[augment, augment])))
    1
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()

    def look(value: Any, depth: int) -> None:
        if isinstance(value, GENERATORS):
            found[id(value)] = value
        elif depth < DEEP and id(value) not in seen:
            seen.add(id(value))
            for part in _parts(value):
                look(part, depth + 1)

    look(holder, 0)
    return list(found.values())


def _parts(value: Any) -> Iterator[Any]:
    """What a value holds; of the names that a function reads from its module, the sources alone."""
    if isinstance(value, torch.Tensor | np.ndarray | type | types.ModuleType):
        return
    if isinstance(value, list | tuple | set | frozenset):
        yield from value if len(value) <= MOST_ITEMS else ()
    elif isinstance(value, dict):
        yield from value.values() if len(value) <= MOST_ITEMS else ()
    elif isinstance(value, partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # a name that is not bound yet
                continue
        read = (value.__globals__.get(name) for name in value.__code__.co_names)
        yield from (each for each in read if isinstance(each, GENERATORS))
    elif hasattr(value, "__dict__"):
        yield from vars(value).values()
        yield from (getattr(type(value), name, None) for name in ("__getitem__", "__getitems__", "__call__"))


def generator_state(source: Any) -> Any:
    """The state of a source, as plain values.

    >>> source = np.random.default_rng(0)
    >>> state, first = generator_state(source), source.normal()
    >>> set_generator(source, state)
    >>> source.normal() == first
    True
    """
    if isinstance(source, torch.Generator):
        return source.get_state()
    if isinstance(source, random.Random):
        return json.dumps(source.getstate())
    state = source.get_state(legacy=False) if isinstance(source, np.random.RandomState) else source.bit_generator.state
    return json.dumps(state, default=np.ndarray.tolist)


def set_generator(source: Any, state: Any) -> None:
    """Put a source back to a state."""
    if isinstance(source, torch.Generator):
        source.set_state(state)
    elif isinstance(source, random.Random):
        version, numbers, gauss = json.loads(state)
        source.setstate((version, tuple(numbers), gauss))
    elif isinstance(source, np.random.RandomState):
        source.set_state(json.loads(state))
    else:
        source.bit_generator.state = json.loads(state)


def seed_generator(source: Any, value: int) -> None:
    """Let a source begin anew from a seed.

    >>> source = np.random.default_rng(0)
    >>> seed_generator(source, 7)
    >>> source.normal() == np.random.default_rng(7).normal()
    True
    """
    if isinstance(source, torch.Generator):
        source.manual_seed(value)
    elif isinstance(source, random.Random):
        source.seed(value)
    elif isinstance(source, np.random.RandomState):
        source.seed(value % 2**32)
    else:
        source.bit_generator.state = type(source.bit_generator)(value).state
