r"""Attention of a recurrent decoder, one step at a time: a state asks a memory, and gets the mean of what fits.

$$ e_i = v^\top \tanh(W_q\, q + W_k\, m_i), \quad a = \mathrm{softmax}(e), \quad c = \sum_i a_i m_i $$

(Bahdanau, Cho & Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2015, appendix
A.1.2.) `DotAttention` has $e_i = (W_q\, q)^\top W_k\, m_i / \sqrt d$, one head of the Transformer's.

Another attention is a module with the same three methods: `read` makes of a memory what all steps need, `begin` gives
what is handed from step to step, where an attention depends on where it looked before, and
`attention(query, memory, state) -> (context, weights, state)` is a step.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from thalweg.nn.knobs import check_count
from thalweg.nn.masks import present

Queries = Float[Tensor, "row query"]
Found = tuple[Float[Tensor, "row features"], Float[Tensor, "row source"], Any]


class Read(NamedTuple):
    """A memory that was read: what is found there, what queries are compared with, and what is no padding."""

    values: Float[Tensor, "batch source features"]
    keys: Float[Tensor, "batch source width"]
    there: Bool[Tensor, "batch source"]

    @staticmethod
    def of(values: Tensor, keys: Tensor, lengths: Tensor | None) -> "Read":
        """Of memories of these lengths."""
        if lengths is None:
            return Read(values, keys, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))
        return Read(values, keys, present(lengths, values.shape[1]))


class AdditiveAttention(nn.Module):
    """Additive attention of rows `(row, query)` to memories `(batch, source, features)`; rows of one stand together.

    >>> attention = AdditiveAttention(query=4, features=6, width=5)
    >>> memory = attention.read(torch.randn(2, 7, 6), torch.tensor([7, 0]))
    >>> context, weights, state = attention(torch.randn(6, 4), memory, attention.begin(memory))  # 3 rows each
    >>> context.shape, weights.sum(1)
    (torch.Size([6, 6]), tensor([1.0000, 1.0000, 1.0000, 0.0000, 0.0000, 0.0000], grad_fn=...))

    A memory without positions gives zeros. Raises `RecipeError` for counts below 1.
    """

    def __init__(self, query: int, features: int, width: int) -> None:
        super().__init__()
        for knob, value in {"query": query, "features": features, "width": width}.items():
            check_count("AdditiveAttention", knob, value)
        self.query, self.key = nn.Linear(query, width), nn.Linear(features, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def read(self, memory: Float[Tensor, "batch source features"], lengths: Tensor | None) -> Read:
        """What all steps need of it."""
        return Read.of(memory, self.key(memory), lengths)

    def begin(self, memory: Read) -> Any:
        """Nothing is handed on: where it looked before is not asked."""
        return ()

    def forward(self, query: Queries, memory: Read, state: Any) -> Found:
        """What each row found, the weights that it has for each position, and the state."""
        asked = self.query(query).unflatten(0, (len(memory.keys), -1))
        scores: Tensor = self.score(torch.tanh(asked[:, :, None] + memory.keys[:, None]))[..., 0]
        return *mean_by(scores, memory), state


class DotAttention(nn.Module):
    """The same by products, which are quicker: of a query of `width` with keys made of the memory.

    >>> attention = DotAttention(query=4, features=6, width=4)
    >>> memory = attention.read(torch.randn(2, 7, 6), None)
    >>> attention(torch.randn(2, 4), memory, ())[1].shape
    torch.Size([2, 7])

    Raises `RecipeError` for counts below 1.
    """

    def __init__(self, query: int, features: int, width: int) -> None:
        super().__init__()
        for knob, value in {"query": query, "features": features, "width": width}.items():
            check_count("DotAttention", knob, value)
        self.query, self.key = nn.Linear(query, width), nn.Linear(features, width, bias=False)

    def read(self, memory: Float[Tensor, "batch source features"], lengths: Tensor | None) -> Read:
        """What all steps need of it."""
        return Read.of(memory, self.key(memory), lengths)

    def begin(self, memory: Read) -> Any:
        """Nothing is handed on."""
        return ()

    def forward(self, query: Queries, memory: Read, state: Any) -> Found:
        """What each row found, the weights that it has for each position, and the state."""
        asked = self.query(query).unflatten(0, (len(memory.keys), -1)) / math.sqrt(memory.keys.shape[2])
        return *mean_by(asked @ memory.keys.mT, memory), state


def mean_by(
    scores: Float[Tensor, "batch beam source"], memory: Read
) -> tuple[Float[Tensor, "row features"], Float[Tensor, "row source"]]:
    """The mean of a memory by the softmax of scores over what is there, and the weights; zeros where nothing is.

    >>> memory = Read.of(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.zeros(1, 3, 1), torch.tensor([2]))
    >>> mean_by(torch.zeros(1, 1, 3), memory)
    (tensor([[2.]]), tensor([[0.5000, 0.5000, 0.0000]]))
    """
    there = memory.there[:, None]
    lowest = torch.finfo(scores.dtype).min
    weights = scores.masked_fill(~there, lowest).softmax(2).masked_fill(~there, 0.0)
    return (weights @ memory.values).flatten(0, 1), weights.flatten(0, 1)
