"""Data where it is computed with: tensors in memory go to a GPU once, and batches are cut out there.

Sent batch by batch they cost a copy and a wait each, which for a small network is more than its step.
"""

from dataclasses import replace
from math import inf

import torch
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.nest import leaves, map_tensors
from thalweg.core.source import Source

SHARE = 4
"""Data may take one part in so many of the memory that is free on the device; more is sent batch by batch."""


def resident(source: Source, device: torch.device) -> Source:
    """The source with its batches cut out on the device, where they can be and its tensors fit; else the source itself.

    >>> source = ArraySource((torch.ones(5, 2), torch.ones(5)), batch_size=2)
    >>> resident(source, torch.device("cpu")) is source
    True
    >>> [x.device.type for x, y in resident(source, torch.device("meta")).batches(1, 0, None)]
    ['meta', 'meta', 'meta']
    """
    arrays = source if isinstance(source, ArraySource) else getattr(source, "arrays", None)
    if device.type in ("cpu", "mps") or not isinstance(arrays, ArraySource):
        return source
    tensors = list(leaves(arrays.data))
    if not all(isinstance(tensor, Tensor) and tensor.layout == torch.strided for tensor in tensors):
        return source
    if sum(tensor.nbytes for tensor in tensors) * SHARE > _free(device):
        return source
    return replace(arrays, data=map_tensors(lambda tensor: tensor.to(device), arrays.data))


def _free(device: torch.device) -> float:
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else inf
