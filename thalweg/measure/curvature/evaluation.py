"""The evaluation set: fixed batches that are read once, and how they are cut where a spread over examples is wanted."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from thalweg.core.errors import DataError
from thalweg.core.nest import Nest, as_tuples, count_examples, leaves, map_columns, map_tensors, to_device
from thalweg.core.randomness import untouched
from thalweg.core.source import Source


@dataclass(frozen=True, eq=False)
class Part:
    """A batch, and what it counts in the mean over all: its examples, or the sum of their weights.

    >>> Part((torch.zeros(5, 3), torch.zeros(5)), 5.0).weight
    5.0
    """

    batch: Nest
    weight: float


def read_batches(batches: Any) -> list[Nest]:
    """The batches of an evaluation set, each as it comes: a tuple, a dict or a tensor is one batch, a list is several.

    A `Source` gives every example once in its own order; a `DataLoader` and any other iterable is read once. The random
    streams are left as they were, though a loader shuffles. Raises `DataError` where there is none, and where one is
    endless or is no batch.

    >>> x, y = torch.zeros(5, 3), torch.zeros(5)
    >>> len(read_batches((x, y))), len(read_batches([(x, y), (x, y)]))
    (1, 2)
    """
    with untouched():
        found = _listed(batches)
    if not found or all(isinstance(batch, tuple | list) and not batch for batch in found):
        raise DataError(
            "The evaluation set holds no batch. Give at least one, such as (x, y); a generator is read once."
        )
    for number, batch in enumerate(found):
        if any(leaf.dim() and not len(leaf) for leaf in leaves(batch)):
            raise DataError(f"Batch {number} of the evaluation set holds no example. Leave it out.")
    return [map_columns(_as_tensor, batch) for batch in found]


def _listed(batches: Any) -> list[Any]:
    if isinstance(batches, tuple | Mapping | Tensor):
        return [batches]
    if isinstance(batches, Source):
        return list(batches.batches(1, 0, None))
    if isinstance(batches, DataLoader):
        return [as_tuples(batch) for batch in batches]
    if isinstance(batches, Iterable) and not isinstance(batches, str | bytes):
        return list(batches)
    raise DataError(
        f"The evaluation set is a {type(batches).__name__}, but it is batches: (x, y), a list of them, a DataLoader or "
        "a Source. Give for instance (x, y), or [(x1, y1), (x2, y2)]."
    )


def _as_tensor(column: Any) -> Any:
    return torch.as_tensor(column) if isinstance(column, np.ndarray) else column


def place(batch: Nest, device: torch.device, dtype: torch.dtype) -> Nest:
    """The batch on a device, its floating numbers in one format; tensors of inference mode are copied."""

    def moved(tensor: Tensor) -> Tensor:
        tensor = tensor.clone() if tensor.is_inference() else tensor
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return map_tensors(moved, to_device(batch, device))


def cut(batch: Nest, count: int) -> list[Nest] | None:
    """The batch in `count` runs of examples of nearly one length; None where its tensors do not share their axis 0.

    >>> [len(x) for x, _ in cut((torch.zeros(5, 3), torch.zeros(5)), 2)]
    [2, 3]
    """
    tensors = list(leaves(batch))
    examples = count_examples(batch)
    if not tensors or any(not tensor.dim() or len(tensor) != examples for tensor in tensors) or examples < 2:
        return None
    count = min(count, examples)
    edges = [examples * number // count for number in range(count + 1)]
    return [map_tensors(_run(start, end), batch) for start, end in pairwise(edges)]


def joined(batches: list[Nest]) -> Nest | None:
    """Batches as one, example after example; None where their tensors do not fit together.

    >>> x, y = joined([(torch.zeros(5, 3), torch.zeros(5)), (torch.ones(2, 3), torch.ones(2))])
    >>> x.shape, y.sum()
    (torch.Size([7, 3]), tensor(2.))
    """
    columns = [list(leaves(batch)) for batch in batches]
    if len({tuple((t.shape[1:], t.dtype, t.dim() > 0) for t in column) for column in columns}) != 1 or not columns[0]:
        return None
    if any(not t.dim() or len(t) != len(column[0]) for column in columns for t in column):
        return None
    together = iter([torch.cat(rows) for rows in zip(*columns, strict=True)])
    return map_tensors(lambda _: next(together), batches[0])


def _run(start: int, end: int) -> Any:
    return lambda tensor: tensor[start:end]


def shares(parts: list[Part]) -> Iterator[tuple[Part, float]]:
    """Each part with its share of the mean."""
    total = sum(part.weight for part in parts)
    for part in parts:
        yield part, part.weight / total
