"""The memory that a tensor's numbers are held in."""

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
