"""Randomness: one seeded stream for each purpose, so that no purpose disturbs another.

The seed of a stream is a hash of the recipe's seed and the purpose's name, (seed, "order", epoch) for instance. Reading
more numbers in one place never moves the numbers of another, and sample order is a pure function of (seed, epoch).
"""

import ctypes
import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


def stream_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: the first bytes of SHA-256 over the seed and the purpose.

    >>> stream_seed(0, "order", 1) == stream_seed(0, "order", 1) != stream_seed(0, "order", 2)
    True
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for one purpose.

    >>> torch.randperm(4, generator=generator(0, "order", 1)).shape
    torch.Size([4])
    """
    return torch.Generator(device).manual_seed(stream_seed(seed, *purpose))


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed the global streams of Python, NumPy and torch: what dropout, and the users' own code, draw from."""
    value = stream_seed(seed, *purpose)
    seed_cpu(value)
    if torch.accelerator.is_available():
        torch.manual_seed(value)  # which also seeds devices that are yet to be used


def seed_cpu(value: int) -> None:
    """Seed the global streams of the CPU, and leave those of other devices alone."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.default_generator.manual_seed(value)


@dataclass(frozen=True, eq=False)
class Streams:
    """The states of the global random streams: Python's, NumPy's, torch's, and those of the CUDA devices in use.

    >>> streams = Streams.now()
    >>> first = torch.rand(3)
    >>> streams.restore()
    >>> torch.equal(torch.rand(3), first)
    True
    """

    python: list[Any]
    numpy: list[Any]
    cpu: torch.Tensor
    cuda: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def now(cls) -> "Streams":
        """The streams as they are."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        version, numbers, gauss = random.getstate()
        kind, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
        return cls(
            [version, list(numbers), gauss],
            [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), place, has_gauss, cached],
            torch.get_rng_state(),
            cuda,
        )

    def restore(self) -> None:
        """Put the streams back to these states."""
        version, numbers, gauss = self.python
        random.setstate((version, tuple(numbers), gauss))
        kind, keys, place, has_gauss, cached = self.numpy
        np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, cached))
        torch.set_rng_state(self.cpu)
        for device, state in enumerate(self.cuda[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, device)


@contextmanager
def repeatable() -> Iterator[None]:
    """Let convolutions on a CUDA device give the same bits each time, which the fastest of cuDNN's kernels do not.

    >>> with repeatable():
    ...     torch.backends.cudnn.deterministic
    True
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def cpu_marks() -> tuple[Any, bytes, bytes]:
    """What changes when a number is drawn on the CPU: read in 15 us, where the states themselves take 100.

    >>> before = cpu_marks()
    >>> cpu_marks() == before, random.random() >= 0, cpu_marks() == before
    (True, True, False)
    """
    numbers = np.random.get_bit_generator()  # type: ignore[attr-defined]
    words = ctypes.string_at(numbers.ctypes.state_address, WORDS) if isinstance(numbers, np.random.MT19937) else b""
    return random.getstate(), words, torch.get_rng_state().numpy().tobytes()


def restore_marks(marks: tuple[Any, bytes, bytes]) -> None:
    """Put the streams of the CPU back to where `cpu_marks` saw them."""
    python, words, cpu = marks
    random.setstate(python)
    if words:
        numbers = np.frombuffer(words, dtype=np.uint32)
        np.random.set_state(("MT19937", numbers[:-1], int(numbers[-1]), 0, 0.0))
    torch.set_rng_state(torch.frombuffer(bytearray(cpu), dtype=torch.uint8))


WORDS = 4 * 625
"""The bytes of a Mersenne twister: 624 words, and the place of the next."""


@contextmanager
def untouched() -> Iterator[None]:
    """Give the global streams back as they were: training leaves no trace in the caller's random numbers.

    >>> before = torch.get_rng_state()
    >>> with untouched():
    ...     seed_everything(0)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    python, numpy = random.getstate(), np.random.get_state()
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cuda):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
