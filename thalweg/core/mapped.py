"""Arrays that lie in a file: rows are read and converted by the batch, and never as a whole.

The rows of a batch are read in the order in which they lie in the file, and put into the order of the batch. Where they
lie far apart, the system is told not to read ahead, which would read a hundred times as much; and pages that were read
are given back to it now and then, so that a process stays small however large its file is.
"""

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

CHUNK = 2**24
"""Bytes that are read at a time where the whole array is passed over."""
MOST_HELD = 2**26
"""Bytes of pages after which they are given back."""
AROUND = 2**20
"""Bytes that reading a row alone may bring into memory: the system maps the pages around it that it has already."""


class Pages:
    """The pages of a mapped file that this process holds; of none, for an array in memory, it does nothing."""

    def __init__(self, file: np.memmap | None) -> None:
        self.kept = file is None or file.nbytes <= MOST_HELD or file.mode == "c"  # whose changes are in its pages alone
        self.map = file.base if file is not None and isinstance(file.base, mmap.mmap) else None
        self.held = 0

    def scattered(self, far_apart: bool) -> None:
        """Say how rows will be read: far apart, or one behind the other."""
        self._advise("MADV_RANDOM" if far_apart else "MADV_NORMAL")

    def held_more(self, size: int) -> None:
        """Count what was read; once it is much, the system may have the pages back."""
        self.held += size
        if self.held >= MOST_HELD:
            self.give_back()

    def give_back(self) -> None:
        """Let the system have the pages, which it reads again where they are asked for."""
        self.held = 0
        if not self.kept:
            self._advise("MADV_DONTNEED")

    def _advise(self, advice: str) -> None:
        if self.map is not None and hasattr(mmap, advice):  # not every system has it
            self.map.madvise(getattr(mmap, advice))


@dataclass(frozen=True, eq=False, repr=False)
class Mapped:
    """Rows of an array in a file, which stand for the tensor of `dtype` that they become.

    `ids` are rows of `array`; None stands for all, in their own order.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as place:
    ...     file = np.memmap(place.name, np.float64, "w+", shape=(4, 2))
    >>> file[:] = [[0, 1], [2, 3], [4, 5], [6, 7]]
    >>> mapped = Mapped(file, np.dtype(np.float32), Pages(file))
    >>> mapped[torch.tensor([3, 0])], mapped[torch.tensor([3, 0])].rows(torch.tensor([0]))
    (Mapped((2, 2) float32), tensor([[6., 7.]]))
    """

    array: np.ndarray
    kept_as: np.dtype[Any]
    pages: Pages = field(repr=False)
    ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.array) if self.ids is None else len(self.ids)

    def __getitem__(self, index: Tensor) -> "Mapped":
        return replace(self, ids=index if self.ids is None else self.ids[index])

    def __repr__(self) -> str:
        return f"Mapped({tuple(self.shape)} {self.kept_as})"

    @property
    def shape(self) -> torch.Size:
        """The shape of the tensor."""
        return torch.Size((len(self), *self.array.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the tensor."""
        return torch.from_numpy(np.empty(0, self.kept_as)).dtype

    def dim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    def is_floating_point(self) -> bool:
        """Whether the tensor is one of floating numbers."""
        return self.kept_as.kind == "f"

    def clone(self) -> Tensor:
        """All rows, in memory."""
        return self.rows(torch.arange(len(self)))

    def rows(self, index: Tensor) -> Tensor:
        """Some rows as a tensor in memory, in the order of `index`."""
        places = (index if self.ids is None else self.ids[index]).numpy()
        rows = np.empty((len(places), *self.array.shape[1:]), self.kept_as)
        order, size = np.argsort(places, kind="stable"), self._row_bytes()
        far_apart = bool(len(order)) and int(np.ptp(places)) >= 2 * len(order)
        self.pages.scattered(far_apart)
        held = max(size, AROUND) if far_apart else size
        step = max(1, min(CHUNK // size, MOST_HELD // held))
        for start in range(0, len(order), step):
            near = order[start : start + step]
            rows[near] = self.array[places[near]]
            self.pages.held_more(len(near) * held)
        return torch.from_numpy(rows)

    def chunks(self) -> Iterator[Tensor]:
        """All rows, some at a time."""
        yield from map(self.rows, torch.arange(len(self)).split(max(1, CHUNK // self._row_bytes())))
        self.pages.give_back()

    def fingerprint(self) -> str:
        """A hash of the rows as a model sees them."""
        digest = hashlib.sha256(repr(self).encode())
        for chunk in self.chunks():
            digest.update(chunk.numpy().data)
        return digest.hexdigest()

    def _row_bytes(self) -> int:
        return max(1, prod(self.array.shape[1:]) * max(self.array.itemsize, self.kept_as.itemsize))


def file_behind(array: Any) -> np.memmap | None:
    """The mapped file that an array is a view of; None for one in memory.

    >>> file_behind(np.ones(3)) is None
    True
    """
    found = None
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            found = array
        array = array.base
    return found
