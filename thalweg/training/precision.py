"""The precision of a step: float32, or bfloat16 where torch's autocast holds it to be safe."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from thalweg.core.device import computes_bfloat16
from thalweg.core.notices import notice

PRECISIONS = ("float32", "bfloat16", "auto")


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` is bfloat16 on a GPU that computes it, and float32 elsewhere; what a CPU cannot compute fast is said.

    >>> resolve_precision("auto", torch.device("cpu")), resolve_precision("bfloat16", torch.device("cpu"))
    ('float32', 'bfloat16')
    """
    if name == "bfloat16" and device.type == "cpu" and not computes_bfloat16(device):
        notice(
            "This processor has no instructions for bfloat16: torch takes its products number by number, which may be "
            "50 times slower than float32. Leave precision out."
        )
    if name != "auto":
        return name
    return "bfloat16" if device.type == "cuda" and computes_bfloat16(device) else "float32"


def autocast(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """The block in which a step of that precision computes; weights and their updates stay as they are.

    >>> with autocast("bfloat16", torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    return nullcontext() if name == "float32" else torch.autocast(device.type, torch.bfloat16)
