"""The precision of a step: float32, or bfloat16 where torch's autocast holds it to be safe."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

PRECISIONS = ("float32", "bfloat16", "auto")


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` is bfloat16 on a GPU that computes it, and float32 elsewhere.

    >>> resolve_precision("auto", torch.device("cpu")), resolve_precision("bfloat16", torch.device("cpu"))
    ('float32', 'bfloat16')
    """
    if name != "auto":
        return name
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def autocast(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """The block in which a step of that precision computes; weights and their updates stay as they are.

    >>> with autocast("bfloat16", torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    return nullcontext() if name == "float32" else torch.autocast(device.type, torch.bfloat16)
