"""The device a run computes on, and the main memory that is left to it."""

import os
from contextlib import suppress
from pathlib import Path

import torch

from thalweg.core.errors import RecipeError, did_you_mean

CGROUP = Path("/sys/fs/cgroup")


def resolve_device(name: str | torch.device) -> torch.device:
    """The device of that name: "auto" (CUDA, else Apple's GPU, else the CPU), "cpu", "cuda", "cuda:1", "mps".

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    name = str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise RecipeError(f"There is no device '{name}'." + did_you_mean(name, ["auto", "cpu", "cuda", "mps"]))
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[kind] or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count()
        raise RecipeError(
            f"The device '{name}' is not here (CUDA devices: {count}). Use device='auto', or a torch built for it."
        )
    return torch.device(name)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether torch has fast routines for products of bfloat16 there; elsewhere it takes them number by number.

    >>> computes_bfloat16(torch.device("mps"))
    False
    """
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def available() -> int:
    """The bytes of main memory that are free, or can be freed at once, within the limits of a container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    with suppress(OSError, ValueError):
        most, used = (int((CGROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, most - used)
    return free
