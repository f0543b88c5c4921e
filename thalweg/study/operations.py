r"""Multiply-adds, counted as a network runs: a cost that is the same on every machine, however busy it is.

A product of an $n \times k$ and a $k \times m$ matrix counts $n k m$, attention of $q$ queries on $k$ keys with $d$
features $2 q k d$ a head (scores and mean), or half of the square where the kernel skips what lies after the query, and
a layer of an LSTM or a GRU its weights at every position. What is masked and computed all the same counts.
"""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


@torch.no_grad()
def multiply_adds(model: nn.Module, tokens: Int[Tensor, "example length"]) -> int:
    """The multiply-adds of a forward pass for one of the examples; a training step takes about three times as many.

    >>> multiply_adds(nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 4)), torch.ones(2, 7).long()) == 7 * 3 * 4
    True
    """
    with _Counting() as count:
        model.eval()(tokens)
    return count.total // len(tokens)


class _Counting(TorchDispatchMode):
    """Adds up the products of all operations in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, inputs: Any = (), options: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self.total += inputs[0].numel() * inputs[1].shape[-1]
        elif name in ("addmm", "baddbmm"):
            self.total += inputs[1].numel() * inputs[2].shape[-1]
        elif name == "mkldnn_rnn_layer":
            self.total += inputs[0].shape[:2].numel() * (inputs[1].numel() + inputs[2].numel())
        elif name.startswith("_scaled_dot_product"):
            self.total += _of_attention(*inputs)
        return function(*inputs, **(options or {}))


def _of_attention(
    query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0, causal: bool = False, *_: Any
) -> int:
    queries, keys = query.shape[2], key.shape[2]
    pairs = queries * (queries + 1) // 2 if causal else queries * keys
    return query.shape[:2].numel() * pairs * (query.shape[3] + value.shape[3])
