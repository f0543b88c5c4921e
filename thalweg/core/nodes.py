"""A split that is one batch as a whole: a graph with a mask over its nodes, or anything read with `batch_size=None`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from thalweg.core.arrays import are_classes
from thalweg.core.nest import Nest, count_examples, leaves, map_tensors


@dataclass(frozen=True)
class WholeSource:
    """One batch an epoch, given as it is; its tensors need not share axis 0."""

    data: Nest

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        if start == 0:
            yield map_tensors(torch.clone, self.data)  # a model may write into its inputs

    def count_batches(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True)
class NodeSource:
    """A graph: one batch `((features, edges), (labels, mask))` whose examples are the nodes of nonzero mask.

    Subsets and folds act on the mask; every node stays in the batch, for its neighbours need it.

    >>> mask = torch.tensor([True, False, True])
    >>> nodes = NodeSource(torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), mask)
    >>> len(nodes), nodes.take([1]).mask
    (2, tensor([False, False,  True]))
    >>> nodes.take([1]).joined(nodes.take([0])).mask
    tensor([ True, False,  True])
    """

    inputs: Nest
    labels: Nest
    mask: Tensor

    def __len__(self) -> int:
        return int((self.mask != 0).sum())

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        if start == 0:
            yield map_tensors(torch.clone, (self.inputs, (self.labels, self.mask)))

    def count_batches(self) -> int:
        """One."""
        return 1

    def meta(self, ids: Any) -> dict[str, Any]:
        """The class of each of these nodes, where the labels are classes."""
        if not isinstance(self.labels, Tensor) or not are_classes(self.labels):
            return {}
        nodes = self.mask.nonzero().flatten()[torch.as_tensor(np.asarray(ids), dtype=torch.int64)]
        return {"label": self.labels[nodes].numpy(force=True)}

    def judged(self, outputs: list[Nest], targets: list[Nest]) -> tuple[Nest, Nest, None] | None:
        """The outputs and labels of this split's own nodes; None where the output does not go by nodes."""
        (output,) = outputs
        if any(not tensor.dim() or len(tensor) != len(self.mask) for tensor in leaves(output)):
            return None
        own = (self.mask != 0).cpu()
        return *map_tensors(lambda tensor: tensor.detach().cpu()[own], (output, self.labels)), None

    def joined(self, other: "NodeSource") -> Self:
        """The nodes of both, which are of one graph; raises `ValueError` where they are not."""
        labels, others = (list(leaves(source.labels)) for source in (self, other))
        if len(self.mask) != len(other.mask) or not all(map(torch.equal, labels, others)):
            raise ValueError("the nodes are of two graphs")
        return replace(self, mask=torch.where(self.mask != 0, self.mask, other.mask.to(self.mask.dtype)))

    def take(self, ids: Any) -> Self:
        nodes = self.mask.nonzero().flatten()[torch.as_tensor(np.asarray(ids), dtype=torch.int64)]
        kept = torch.zeros_like(self.mask)
        kept[nodes] = self.mask[nodes]
        return replace(self, mask=kept)


def is_masked_graph(data: Any) -> bool:
    """Whether `data` is `(inputs, (labels, mask))`: several inputs, and a mask of the labels' length.

    A floating mask is believed only where the inputs do not share axis 0 (features and edges): two targets look alike.
    """
    if not (isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], tuple) and len(data[1]) == 2):
        return False
    labels, mask = data[1]
    lengths = {leaf.shape[0] for leaf in leaves(data[0]) if leaf.dim()}
    return (
        not isinstance(data[0], Tensor)
        and isinstance(labels, Tensor)
        and isinstance(mask, Tensor)
        and mask.dim() == 1
        and (mask.dtype == torch.bool or len(lengths) > 1)
        and mask.shape[0] == count_examples(labels)
    )
