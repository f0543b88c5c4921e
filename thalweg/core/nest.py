"""Nests: tensors inside tuples, lists and dicts, as batches come.

A batch is any nesting of tensors that share axis 0, the examples. These functions are all that the rest of the package
needs to know about nesting. In the data of a source a tensor's place may be taken by an array in a file.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from thalweg.core.mapped import Mapped

Nest = Any
"""A tensor, or a tuple, list or dict of nests."""
LEAVES: tuple[type[Any], ...] = (Tensor, Mapped)


def map_tensors(function: Callable[[Tensor], Any], nest: Nest) -> Nest:
    """The same nest with `function` applied to every tensor; anything that is no tensor stays.

    >>> map_tensors(lambda t: t + 1, {"a": torch.tensor(1), "b": "text"})
    {'a': tensor(2), 'b': 'text'}
    """
    if isinstance(nest, LEAVES):
        return function(nest)
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(map_tensors(function, item) for item in nest))
    if isinstance(nest, tuple | list):
        return type(nest)(map_tensors(function, item) for item in nest)
    if isinstance(nest, Mapping):
        return _like(nest, {key: map_tensors(function, item) for key, item in nest.items()})
    return nest


def map_columns(function: Callable[[Any], Any], columns: Any) -> Nest:
    """The same nest of tuples and dicts with `function` applied to whatever is neither: a tensor, an array, a list.

    >>> map_columns(len, ([1, 2], {"a": [3]}))
    (2, {'a': 1})
    """
    if isinstance(columns, tuple):
        mapped = (map_columns(function, item) for item in columns)
        return type(columns)(*mapped) if hasattr(columns, "_fields") else tuple(mapped)
    if isinstance(columns, dict):
        return {key: map_columns(function, item) for key, item in columns.items()}
    return function(columns)


def _like(nest: Mapping[Any, Any], items: dict[Any, Any]) -> Mapping[Any, Any]:
    """The items in a mapping of the same class, whose own attributes may be how it is read; a dict where that fails."""
    if type(nest) is dict:
        return items
    try:
        mapping: Any = copy.copy(nest)
        for key, item in items.items():
            mapping[key] = item
    except Exception:  # one that cannot be copied, or written to
        return items
    return mapping if isinstance(mapping, Mapping) else items


def as_tuples(batch: Nest) -> Nest:
    """What torch's own collate makes lists of, as the tuples they were: a list is one input, a tuple several.

    >>> as_tuples([["a", "b"], "y"])
    (('a', 'b'), 'y')
    """
    if isinstance(batch, tuple | list) and not hasattr(batch, "_fields"):
        return tuple(map(as_tuples, batch))
    return batch


def leaves(nest: Nest) -> Iterator[Tensor]:
    """Every tensor of the nest, first to last.

    >>> [leaf.item() for leaf in leaves((torch.tensor(1), {"a": torch.tensor(2)}))]
    [1, 2]
    """
    if isinstance(nest, LEAVES):
        yield nest
    elif isinstance(nest, tuple | list):
        for item in nest:
            yield from leaves(item)
    elif isinstance(nest, Mapping):
        for item in nest.values():
            yield from leaves(item)


def count_examples(nest: Nest) -> int:
    """The length of axis 0, read from the first tensor that has one; 1 where there is none.

    >>> count_examples(({"ids": torch.zeros(3, 5)}, torch.zeros(3)))
    3
    """
    return next((leaf.shape[0] for leaf in leaves(nest) if leaf.dim()), 1)


def to_device(nest: Nest, device: torch.device) -> Nest:
    """The nest with every tensor on `device`; a foreign batch that knows how to move (`.to`) moves itself.

    The way to a GPU is not waited for; the way from it is, for the CPU would read what is not there yet.
    """
    if isinstance(nest, Tensor):
        return nest.to(device, non_blocking=device.type != "cpu")
    if callable(getattr(nest, "to", None)):
        return nest.to(device)
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(to_device(item, device) for item in nest))
    if isinstance(nest, tuple | list):
        return type(nest)(to_device(item, device) for item in nest)
    return {key: to_device(item, device) for key, item in nest.items()} if isinstance(nest, Mapping) else nest


def sent(numbers: Any, like: Tensor) -> Tensor:
    """Numbers as a tensor of the type of another, where that is; a GPU is not waited for.

    >>> sent([1, 2], torch.zeros(1, dtype=torch.float64))
    tensor([1., 2.], dtype=torch.float64)
    """
    return to_device(torch.tensor(numbers, dtype=like.dtype), like.device)


def describe(nest: Nest) -> str:
    """Shapes and types of a nest in a line, for error messages.

    >>> describe((torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64)))
    '((3, 5) float32, (3,) int64)'
    """
    if isinstance(nest, LEAVES):
        return f"{tuple(nest.shape)} {str(nest.dtype).removeprefix('torch.')}"
    if isinstance(nest, tuple | list):
        inside = ", ".join(map(describe, nest))
        return f"({inside})" if isinstance(nest, tuple) else f"[{inside}]"
    if isinstance(nest, Mapping):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in nest.items()) + "}"
    return type(nest).__name__
