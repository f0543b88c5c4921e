"""The memory that a tensor's numbers are held in."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def storages(tensor: Tensor) -> dict[int, int]:
    """The bytes of each storage of a tensor, by its address; a sparse tensor has one for its places and for its values.

    >>> list(storages(torch.eye(5)[:2]).values()), sorted(storages(torch.eye(5).to_sparse()).values())
    ([100], [20, 80])
    """
    parts = [tensor]
    if tensor.layout is torch.sparse_coo:
        parts = [tensor._indices(), tensor._values()]
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        parts = [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in parts}


def kept_for_backward(forward: Callable[[], Any], weights: Iterable[Tensor]) -> int:
    """The bytes that a forward pass holds for the backward one, each piece of memory once, weights left out.

    >>> x, weight = torch.ones(5, 4), torch.ones(4, 3, requires_grad=True)
    >>> kept_for_backward(lambda: x @ weight, [weight])
    80
    """
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    pieces: dict[int, int] = {}
    alive = list[Tensor]()  # or an address would be given to another piece

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        pieces.update({address: size for address, size in storages(tensor).items() if address not in own})
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(pieces.values())
