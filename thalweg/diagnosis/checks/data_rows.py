"""What the checks of data read: the examples of a split as rows of numbers, and all that identifies an example.

All examples are read once, in order; of more than `MOST` every n-th is kept as a row, and every one by its hash, its
target, its group and its time. What is neither one tensor nor a table's shape is known by its hashes alone.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.core.arrays import ArraySource, are_classes, arrays_of
from thalweg.core.folds import described
from thalweg.core.mapped import Mapped
from thalweg.core.nest import Nest, count_examples, leaves
from thalweg.core.source import NUMBERED, Described, Found, Grouped, Indexed, Named, Restoring, Source, plain_of
from thalweg.diagnosis.references import as_rows, flat, is_image

MOST, MOST_READ, MOST_DECODED = 4000, 200_000, 20_000
"""Examples that are kept as rows; those that are read; and those that are read where each may have to be decoded."""
MOST_NUMBERS = 16_000_000
"""Numbers that are kept as rows: of very wide examples fewer are kept."""
MOST_TARGETS = 64
ASKED = 9
"""Examples of a class that are asked what it is called."""
BUCKETS = 512
"""Tokens are counted in so many buckets where learners read sequences."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The examples of a split.

    `x` holds the rows kept, `kept` their places among those read, `places` the places of those read in the split;
    `hashes`, `targets` and `broken` (how many of its numbers are not finite) are of all that were read. `targets` are
    classes `(read,)`, numbers `(read, targets)`, or None where they are neither. `source` holds the examples read.
    """

    split: str
    length: int
    x: np.ndarray | None
    kept: np.ndarray
    places: np.ndarray
    hashes: np.ndarray
    broken: np.ndarray
    targets: np.ndarray | None
    shape: tuple[int, ...]
    tokens: bool
    names: tuple[str, ...]
    known: dict[str, np.ndarray]
    source: Any = field(default=None, repr=False)

    @property
    def classes(self) -> bool:
        """Whether the targets are classes."""
        return self.targets is not None and self.targets.dtype.kind == "i"

    @property
    def table(self) -> bool:
        """Whether an example is a row of a table."""
        return self.x is not None and not self.tokens and len(self.shape) == 1

    @property
    def image(self) -> bool:
        """Whether an example is an image."""
        return self.x is not None and is_image(self.shape)

    @property
    def y(self) -> np.ndarray:
        """The targets of the rows that are kept."""
        assert self.targets is not None
        return self.targets[self.kept]

    def column(self, j: int) -> str:
        """An input as a person calls it."""
        return f"'{self.names[j]}'" if j < len(self.names) else f"number {j}"

    def example(self, row: int) -> str:
        """An example that is kept as a row, as its user finds it."""
        return self.called(int(self.kept[row]))

    def called(self, read: int) -> str:
        """An example, by its place among those read, as its user finds it: its line or its file, else its number."""
        if isinstance(self.source, Found):
            return self.source.where([read])[0]
        return f"{NUMBERED}{self.places[read]}"

    @property
    def numbered(self) -> str:
        """What to say behind examples that have no name but a number."""
        return " (counted from 0)" if self.called(0).startswith(NUMBERED) else ""

    @property
    def group_name(self) -> str | None:
        """What the data call a group (a speaker, a patient), None where they do not say."""
        return self.source.group_name if isinstance(self.source, Grouped) else None

    def label(self, number: Any) -> str:
        """A class as its user calls it, 'yes' in quotes; its number where the data do not say, or not one thing."""
        return label_of(self.source, self.targets, int(number))

    def own_units(self, values: np.ndarray) -> np.ndarray:
        """Targets `(some, targets)` as they were before they were scaled."""
        if not isinstance(self.source, Restoring):
            return values
        restored = self.source.restore(torch.from_numpy(values))
        return restored.numpy() if isinstance(restored, Tensor) and restored.shape == values.shape else values


def read_rows(source: Source, split: str) -> Rows | None:
    """The examples of a split; None where its batches are no pairs of inputs and targets.

    >>> from thalweg.core.arrays import ArraySource
    >>> rows = read_rows(ArraySource((torch.ones(5, 3), torch.arange(5) % 2), 2), "train")
    >>> rows.x.shape, rows.targets.tolist(), rows.table, len(set(rows.hashes.tolist()))
    ((5, 3), [0, 1, 0, 1, 0], True, 1)
    """
    plain: Any = plain_of(source)
    length = len(plain) if isinstance(plain, Indexed) else 0
    places = np.arange(length)
    most = MOST_READ if _in_arrays(plain) else MOST_DECODED
    if length > most:
        places = places[:: -(-length // most)]
        plain = plain.take(places)
    known = _known(plain)
    batches: Iterator[Nest] = iter(plain.batches(0, 0, None))
    if not length:
        batches = islice(batches, MOST)
    parts = _Parts(max(1, -(-len(places) // MOST)))
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2 or not parts.add(*batch):
            return None
        if not length and parts.read >= MOST:
            break
    if parts.read == 0 or (length and parts.read != len(places)):
        return None
    if not length:
        places = np.arange(parts.read)
    names = tuple(source_names(source))
    return replace(parts.rows(split, length or parts.read, places, names, known), source=plain)


def label_of(source: Any, targets: np.ndarray | None, number: int) -> str:
    """The class of this number as a source's user calls it: what the source says of examples that have it.

    >>> from thalweg.core.arrays import ArraySource
    >>> label_of(ArraySource((torch.ones(2, 1), torch.tensor([5, 6])), None), np.array([5, 6]), 6)
    '6'
    """
    plain = targets is not None and targets.ndim == 1
    at = np.flatnonzero(targets == number)[:ASKED] if plain else np.zeros(0, dtype=np.int64)
    said = source.meta(at).get("label") if len(at) and isinstance(source, Described) else None
    names = set() if said is None else set(np.asarray(said).tolist())
    if len(names) != 1:
        return str(number)
    (name,) = names
    return repr(name) if isinstance(name, str) else str(name)


def _in_arrays(source: Any) -> bool:
    return isinstance(source, ArraySource) or arrays_of(source) is not None


def source_names(source: Any) -> list[str]:
    """The names of the inputs of a source, [] where it has none."""
    plain = plain_of(source)
    return list(plain.feature_names) if isinstance(plain, Named) else []


def _known(source: Any) -> dict[str, np.ndarray]:
    known = described(source) if isinstance(source, Indexed) else {}
    return {name: value for name, value in known.items() if name in ("group", "time")}


class _Parts:
    """What was read so far."""

    def __init__(self, step: int) -> None:
        self.step, self.read = step, 0
        self.hashes: list[int] = []
        self.broken: list[np.ndarray] = []
        self.x: list[np.ndarray] | None = []
        self.kept: list[int] = []
        self.targets: list[Tensor] | None = []
        self.shape: tuple[int, ...] = ()
        self.tokens = False

    def add(self, x: Nest, y: Nest) -> bool:
        """Read a batch; False where it is no batch of examples."""
        inputs = [_in_memory(leaf) for leaf in leaves(x)]
        n = count_examples(x)
        if not inputs or any(leaf.dim() == 0 or leaf.shape[0] != n or leaf.is_complex() for leaf in inputs):
            return False
        self.hashes += _hashes(inputs)
        wrong = torch.zeros(n, dtype=torch.int64)
        for leaf in inputs:
            if leaf.is_floating_point():
                wrong += (~torch.isfinite(flat(leaf))).sum(1)
        self.broken.append(wrong.numpy())
        first = -self.read % self.step
        self._keep(inputs, isinstance(x, Tensor | Mapped), range(first, n, self.step))
        self.kept += range(self.read + first, self.read + n, self.step)
        target = y[0] if isinstance(y, tuple) and len(y) == 2 and isinstance(y[0], Tensor) else y
        if not isinstance(target, Tensor) or target.dim() == 0 or len(target) != n or target.is_complex():
            self.targets = None
        elif self.targets is not None:
            self.targets.append(target.detach().cpu())
        self.read += n
        return True

    def _keep(self, inputs: list[Tensor], single: bool, chosen: range) -> None:
        x = inputs[0]
        if self.x is None or not single or x.dim() < 2 or (self.shape and len(self.shape) != x.dim() - 1):
            self.x = None
            return
        self.tokens = not x.is_floating_point() and not (x.dtype == torch.uint8 and x.dim() > 2) and x.dim() == 2
        x = x[chosen.start :: chosen.step]
        if not self.tokens:
            x = x.to(torch.get_default_dtype()) if not x.is_floating_point() else x
            x, self.shape = as_rows(x) if len(x) else (flat(x), self.shape)
        else:
            self.shape = tuple(x.shape[1:])
        self.x.append(x.double().numpy())

    def rows(
        self, split: str, length: int, places: np.ndarray, names: tuple[str, ...], known: dict[str, np.ndarray]
    ) -> Rows:
        """All that was read as one value."""
        kept, x = np.array(self.kept), _stacked(self.x, self.tokens)
        if x is not None and x.size > MOST_NUMBERS:
            every = -(-x.size // MOST_NUMBERS)
            x, kept = x[::every], kept[::every]
        hashes, broken = np.array(self.hashes, dtype=np.uint64), np.concatenate(self.broken)
        named = names if x is not None and len(names) == x.shape[1] else ()
        targets = _targets(self.targets)
        return Rows(split, length, x, kept, places, hashes, broken, targets, self.shape, self.tokens, named, known)


def _in_memory(leaf: Tensor | Mapped) -> Tensor:
    return leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf.rows(torch.arange(len(leaf)))


def _hashes(inputs: list[Tensor]) -> Iterator[int]:
    """A hash of each example: whatever precision it is kept in, and however far it is padded with zeros."""
    columns = [
        np.ascontiguousarray(
            flat(leaf).float().numpy() + np.float32(0) if leaf.is_floating_point() else flat(leaf).long().numpy()
        )
        for leaf in inputs
    ]
    for i in range(len(columns[0])):
        digest = hashlib.blake2b(digest_size=8)
        for column in columns:
            digest.update(column[i].tobytes().rstrip(b"\0"))
        yield int.from_bytes(digest.digest(), "little")


def _stacked(parts: list[np.ndarray] | None, tokens: bool) -> np.ndarray | None:
    """Rows of all batches; sequences of tokens that were padded to several lengths are padded to one."""
    if not parts:
        return None
    widths = {part.shape[1] for part in parts if len(part)}
    if len(widths) > 1 and tokens:
        parts = [np.pad(part, ((0, 0), (0, max(widths) - part.shape[1]))) for part in parts if len(part)]
    elif len(widths) > 1:
        return None
    x = np.concatenate([part for part in parts if len(part)] or parts[:1])
    return x if x.shape[1] else None


def _targets(parts: list[Tensor] | None) -> np.ndarray | None:
    """Classes as whole numbers, anything else that has a number or a few for each example as numbers."""
    if not parts or len({part.shape[1:] for part in parts}) > 1:
        return None
    y = torch.cat(parts)
    if y.dtype == torch.bool:
        y = y.long()
    if y.dim() == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if are_classes(y):
        return y.long().numpy()
    if y.dim() > 2 or (y.dim() == 2 and y.shape[1] > MOST_TARGETS and not _shares(y)):
        return None
    if y.dim() == 1 and y.is_floating_point() and set(y.unique().tolist()) == {0.0, 1.0}:
        return y.long().numpy()
    if y.dim() == 2 and _shares(y):
        return y.argmax(1).numpy()
    if y.dim() == 2 and not y.is_floating_point() and len(y.unique()) > 2:
        return None  # a class at every step
    return flat(y).double().numpy()


def _shares(y: Tensor) -> bool:
    """Whether targets are distributions over classes."""
    if y.shape[1] < 2 or not y.is_floating_point():
        return False
    return bool((y >= 0).all()) and bool(((y.sum(1) - 1).abs() < 1e-4).all())


def features(rows: Rows) -> np.ndarray:
    """What learners read: numbers with gaps filled, or how often each token occurs.

    >>> from thalweg.core.arrays import ArraySource
    >>> features(read_rows(ArraySource((torch.tensor([[1, 1, 0]]), torch.zeros(1)), 2), "train"))[0, :3].tolist()
    [1.0, 2.0, 0.0]
    """
    assert rows.x is not None
    if not rows.tokens:
        return np.clip(np.nan_to_num(rows.x, nan=0.0, posinf=0.0, neginf=0.0), -1e30, 1e30)
    count = np.zeros((len(rows.x), BUCKETS))
    np.add.at(count, (np.arange(len(rows.x))[:, None], rows.x.astype(np.int64) % BUCKETS), 1.0)
    return count
