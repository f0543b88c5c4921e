"""The shelf: what recipes in worker processes share, and what goes to them beside it.

A recipe goes by cloudpickle, which takes lambdas and what a script or a notebook defines. Large tensors and arrays
stay behind: each memory is written to a file once, whatever number of recipes hold it, and a worker maps it, so that
its pages are shared and what a run writes into them stays its own. Nothing of that outlives the call.
"""

import io
import shutil
import sys
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch
from joblib.externals.loky.backend import resource_tracker
from torch import Tensor, nn

from thalweg.core.fingerprint import RECIPE_MODULE
from thalweg.training.recipe import Recipe

LARGE = 2**16
"""Bytes from which a tensor is mapped and not copied."""
ALIGNED = 64
"""Kernels may go by where a tensor lies within a cache line: it lies there in a worker too."""


class Unsendable(Exception):
    """What cannot go to another process, and why."""


@dataclass(frozen=True, eq=False)
class MappedBytes:
    """Bytes in a file, which are a mapping of it once they are unpickled."""

    path: str
    size: int
    start: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _mapped, (self.path, self.size)


def _mapped(path: str, size: int) -> Tensor:
    return torch.from_file(path, shared=False, size=size, dtype=torch.uint8)


class Shelf:
    """The folder of what workers map, in memory where that has room; while it is there, its workers train.

    Raises `OSError` where no folder can be made.

    >>> with Shelf() as shelf:
    ...     Path(shelf.path).exists()
    True
    >>> Path(shelf.path).exists()
    False
    """

    def __init__(self) -> None:
        self.path = _folder(tempfile.gettempdir())
        self.folders = [self.path]
        self._kept: dict[Any, tuple[MappedBytes, Any]] = {}
        with suppress(OSError):
            self.folders.insert(0, _folder("/dev/shm"))

    def keep(self, key: Any, memory: np.ndarray, owner: Any) -> MappedBytes:
        """A memory as a file, which is written when it is first asked for."""
        if key not in self._kept:
            start = memory.ctypes.data % ALIGNED
            for folder in self.folders:
                file = Path(folder, str(len(self._kept)))
                if folder != self.path and shutil.disk_usage(folder).free < 2 * memory.nbytes:
                    continue
                try:
                    with file.open("wb") as opened:
                        opened.write(bytes(start))
                        opened.write(memory.data)
                except OSError as error:
                    file.unlink(missing_ok=True)
                    if folder == self.path:
                        raise Unsendable(f"{memory.nbytes} bytes of data cannot be written: {error}") from error
                    continue
                self._kept[key] = MappedBytes(str(file), start + memory.nbytes, start), owner
                break
        return self._kept[key][0]

    def begun(self, place: int) -> str:
        """The file that says that a worker has begun with a recipe."""
        return str(Path(self.path, f"begun-{place}"))

    def remove(self) -> None:
        """Take it away: what is mapped stays so, and the workers end their runs."""
        for folder in self.folders:
            if Path(folder).exists():
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(Exception):
                    resource_tracker.unregister(folder, "folder")
        self._kept.clear()

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _folder(inside: str) -> str:
    """A new folder that loky's tracker removes where this process is killed."""
    path = tempfile.mkdtemp(prefix="thalweg-", dir=inside)
    resource_tracker.register(path, "folder")
    return path


class Packer(cloudpickle.CloudPickler):
    """A pickler that leaves large tensors and arrays on a shelf."""

    def __init__(self, file: io.BytesIO, shelf: Shelf) -> None:
        super().__init__(file)
        self.shelf = shelf

    def reducer_override(self, value: Any) -> Any:
        """How one value is pickled."""
        if isinstance(value, Tensor) and value.device.type != "cpu":
            raise Unsendable(f"it holds a tensor on {value.device}")
        if type(value) in (Tensor, nn.Parameter) and _plain(value):
            span = _span(value)
            at = value.data_ptr() - span.data_ptr()
            kept = self.shelf.keep(("tensor", span.data_ptr(), span.numel()), span.numpy(), span)
            form = (value.dtype, at + kept.start, tuple(value.shape), value.stride(), value.requires_grad)
            return _tensor_of, (kept, type(value) is nn.Parameter, *form)
        if type(value) is np.ndarray and value.nbytes >= LARGE and value.dtype.kind in "biufc" and _dense(value):
            flat = value.reshape(-1, order="A").view(np.uint8)
            kept = self.shelf.keep(("array", value.ctypes.data, value.nbytes), flat, value)
            writeable = bool(value.flags.writeable)
            return _array_of, (kept, value.shape, value.dtype, kept.start, value.strides, writeable)
        return super().reducer_override(value)


def _plain(value: Tensor) -> bool:
    """Whether a tensor is numbers in memory and nothing else."""
    return (
        value.layout is torch.strided
        and value.is_leaf
        and value.nbytes >= LARGE
        and not (value.is_quantized or value.is_conj() or value.is_neg() or vars(value) or value._backward_hooks)
    )


def _span(value: Tensor) -> Tensor:
    """The memory that is written for a tensor: its whole storage, or its own part of one that is far larger."""
    value, storage = value.detach(), value.untyped_storage()
    if value.is_contiguous() and 4 * value.nbytes < storage.nbytes():
        return value.view(-1).view(torch.uint8)
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _dense(value: np.ndarray) -> bool:
    return bool(value.flags.c_contiguous or value.flags.f_contiguous)


def _tensor_of(
    memory: Tensor, parameter: bool, dtype: torch.dtype, at: int, shape: Any, stride: Any, learns: bool
) -> Tensor:
    tensor = torch.empty(0, dtype=dtype)
    tensor.set_(memory.untyped_storage(), at // tensor.element_size(), shape, stride)
    return nn.Parameter(tensor, learns) if parameter else tensor.requires_grad_(learns)


def _array_of(memory: Tensor, shape: Any, dtype: Any, at: int, strides: Any, writeable: bool) -> np.ndarray:
    array: np.ndarray = np.ndarray(shape, dtype, memory.numpy().data, at, strides)
    array.flags.writeable = writeable
    return array


def pack(value: Any, shelf: Shelf) -> bytes:
    """A value as bytes, without what is large.

    Raises `Unsendable` with the reason where a part of it cannot be pickled.

    >>> with Shelf() as shelf:
    ...     packed = pack({"x": torch.ones(1000, 1000), "twice": lambda x: 2 * x}, shelf)
    ...     values = cloudpickle.loads(packed)
    >>> len(packed) < 5_000, values["twice"](values["x"]).mean()
    (True, tensor(2.))
    """
    for name in [name for name in sys.modules if name.startswith(RECIPE_MODULE)]:  # no worker could import them
        cloudpickle.register_pickle_by_value(sys.modules[name])
    file = io.BytesIO()
    try:
        Packer(file, shelf).dump(value)
    except Unsendable:
        raise
    except Exception as error:
        raise Unsendable(f"{type(error).__name__}: {error}") from error
    return file.getvalue()


class _Comparing(cloudpickle.CloudPickler):
    """A pickler that tells what a run changes; large tensors by their versions, modules whatever their mode."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.nbytes >= LARGE and not value.is_inference():
            return tuple, ((id(value), value._version),)
        if type(value) is np.ndarray and value.nbytes >= LARGE and value.dtype.kind in "biufc" and _dense(value):
            return tuple, ((id(value), zlib.crc32(value.reshape(-1, order="A").view(np.uint8).data)),)
        if isinstance(value, nn.Module):
            reduced: Any = value.__reduce_ex__(4)
            function, given, *state = reduced
            if state and isinstance(state[0], dict):
                return function, given, {**state[0], "training": None}, *state[1:]
        return super().reducer_override(value)


def held(recipe: Recipe) -> bytes | None:
    """What the pieces of a recipe hold, to be compared with the same later; None where that cannot be told.

    >>> from thalweg.core.source import Splits
    >>> seen = []
    >>> recipe = Recipe(data=Splits(train=([1.0], [1.0])), model=nn.Flatten,
    ...     objective=lambda output, target: seen.append(1))
    >>> before = held(recipe)
    >>> before == held(recipe), seen.append(1), before == held(recipe)
    (True, None, False)
    """
    file = io.BytesIO()
    try:
        _Comparing(file).dump(recipe)
    except Exception:
        return None
    return file.getvalue()
