"""Randomness: one seeded stream for each purpose, so that no purpose disturbs another.

The seed of a stream is a hash of the recipe's seed and the purpose's name, (seed, "order", epoch) for instance. Reading
more numbers in one place never moves the numbers of another, and sample order is a pure function of (seed, epoch).
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

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
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


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
