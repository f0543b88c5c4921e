r"""Attention that only goes forward: soft and noisy in training, a walk along the source in evaluation.

$$ p_j = \sigma(e_j + \epsilon), \qquad e_j = g \frac{v^\top}{\lVert v \rVert} \tanh(W_q\, q + W_k\, m_j) + r $$

(Raffel et al. 2017.) In training weights are the expected alignment of `thalweg.nn.alignment`, and noise
$\epsilon \sim N(0, 1)$ before the sigmoid teaches $p$ to be near 0 or 1. In evaluation mode reading stops at the first
position with $e_j > 0$ from where it last stopped (section 2.2), whether a model decodes or reads a known target: what
is judged is what decodes. So scores of training mode are another function's, and in evaluation mode the energies of the
stops have no gradient. Two passes agree but where rounding brings an energy to the other side of 0.

The last position always stops, so that weights sum to 1 and nothing runs off the end (the preservation of mass of Ma et
al., "Monotonic Multihead Attention", 2020); the paper's own has then a context of zeros.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from thalweg.nn.additive_attention import Found, Queries, Read
from thalweg.nn.alignment import chunkwise_weights, expected_alignment
from thalweg.nn.knobs import check_count

OFFSET = -1.0
"""Of the energies at the beginning, r: below 0, so that reading gets forward (Raffel et al. 2017)."""


class StopEnergy(nn.Module):
    """The energies of stopping: `(row, query)` and keys `(batch, source, width)` -> `(batch, row of one, source)`.

    >>> energy = StopEnergy(query=4, features=6, width=5)
    >>> energy(torch.randn(6, 4), energy.key(torch.randn(2, 7, 6))).shape
    torch.Size([2, 3, 7])
    """

    def __init__(self, query: int, features: int, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(query, width), nn.Linear(features, width, bias=False)
        self.direction = nn.Parameter(torch.randn(width))
        self.gain, self.offset = nn.Parameter(torch.full((1,), width**-0.5)), nn.Parameter(torch.full((1,), OFFSET))

    def forward(self, query: Queries, keys: Float[Tensor, "batch source width"]) -> Float[Tensor, "batch beam source"]:
        """The energies of rows of each memory."""
        met = torch.tanh(self.query(query).unflatten(0, (len(keys), -1))[:, :, None] + keys[:, None])
        return met @ F.normalize(self.direction, dim=0) * self.gain + self.offset


class MonotonicAttention(nn.Module):
    """Monotonic attention, a step for rows `(row, query)` of memories `(batch, source, features)`.

    Its state is the alignment of the step before, at the beginning the first position.

    >>> attention = MonotonicAttention(query=4, features=6, width=5).eval()
    >>> memory = attention.read(torch.randn(2, 7, 6), torch.tensor([7, 0]))
    >>> context, weights, state = attention(torch.randn(4, 4), memory, attention.begin(memory).repeat_interleave(2, 0))
    >>> context.shape, weights.sum(1), weights.amax(1)  # it reads one position
    (torch.Size([4, 6]), tensor([1., 1., 0., 0.]), tensor([1., 1., 0., 0.]))

    A memory without positions gives zeros. Raises `RecipeError` for counts below 1.
    """

    def __init__(self, query: int, features: int, width: int) -> None:
        super().__init__()
        for knob, value in {"query": query, "features": features, "width": width}.items():
            check_count("MonotonicAttention", knob, value)
        self.stop = StopEnergy(query, features, width)

    def read(self, memory: Float[Tensor, "batch source features"], lengths: Tensor | None) -> Read:
        """What all steps need of it."""
        return Read.of(memory, self.stop.key(memory), lengths)

    def begin(self, memory: Read) -> Float[Tensor, "batch source"]:
        """It stands at the first position."""
        return at_the_first(memory)

    def forward(self, query: Queries, memory: Read, state: Any) -> Found:
        """What each row found, the weights that it has for each position, and where it stopped, the same."""
        stopping = stops(self.stop(query, memory.keys), memory.there, self.training)
        weights = expected_alignment(stopping, state.unflatten(0, stopping.shape[:2]))
        return *_found(weights, memory), weights.flatten(0, 1)


class ChunkwiseAttention(nn.Module):
    """The same, with soft attention over the `chunk` positions up to where it stops (MoChA: Chiu & Raffel 2018).

    Scores within a chunk are additive, with weights of their own. Chiu & Raffel take chunks of 2 for speech and of 8
    for summaries.

    >>> attention = ChunkwiseAttention(query=4, features=6, width=5, chunk=3).eval()
    >>> memory = attention.read(torch.randn(2, 7, 6), torch.tensor([7, 0]))
    >>> context, weights, state = attention(torch.randn(2, 4), memory, attention.begin(memory))
    >>> int((weights[0] > 0).sum()) <= 3, state.sum(1), bool(torch.allclose(weights.sum(1), state.sum(1)))
    (True, tensor([1., 0.]), True)

    A memory without positions gives zeros. Raises `RecipeError` for counts below 1.
    """

    def __init__(self, query: int, features: int, width: int, *, chunk: int = 4) -> None:
        super().__init__()
        for knob, value in {"query": query, "features": features, "width": width, "chunk": chunk}.items():
            check_count("ChunkwiseAttention", knob, value)
        self.chunk, self.stop = chunk, StopEnergy(query, features, width)
        self.query, self.key = nn.Linear(query, width), nn.Linear(features, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def read(self, memory: Float[Tensor, "batch source features"], lengths: Tensor | None) -> Read:
        """What all steps need of it."""
        return Read.of(memory, torch.cat([self.stop.key(memory), self.key(memory)], 2), lengths)

    def begin(self, memory: Read) -> Float[Tensor, "batch source"]:
        """It stands at the first position."""
        return at_the_first(memory)

    def forward(self, query: Queries, memory: Read, state: Any) -> Found:
        """What each row found, the weights that it has for each position, and where it stopped."""
        for_stops, within = memory.keys.chunk(2, 2)
        stopping = stops(self.stop(query, for_stops), memory.there, self.training)
        stopped = expected_alignment(stopping, state.unflatten(0, stopping.shape[:2]))
        asked = self.query(query).unflatten(0, stopping.shape[:2])
        scores = self.score(torch.tanh(asked[:, :, None] + within[:, None]))[..., 0]
        return *_found(chunkwise_weights(stopped, scores, self.chunk), memory), stopped.flatten(0, 1)

    def extra_repr(self) -> str:
        return f"chunk={self.chunk}"


def at_the_first(memory: Read) -> Float[Tensor, "batch source"]:
    """The alignment before the first step: 1 at the first position, where there is one.

    >>> at_the_first(Read.of(torch.zeros(2, 3, 1), torch.zeros(2, 3, 1), torch.tensor([2, 0])))
    tensor([[1., 0., 0.],
            [0., 0., 0.]])
    """
    place = torch.arange(memory.there.shape[1], device=memory.there.device)
    return ((place == 0) & memory.there).to(torch.promote_types(torch.float32, memory.keys.dtype))


def stops(
    energies: Float[Tensor, "batch beam source"], there: Bool[Tensor, "batch source"], training: bool
) -> Float[Tensor, "batch beam source"]:
    """The probabilities to stop, in training with noise, else 0 or 1; 1 at the last position and 0 at padding.

    >>> stops(torch.tensor([[[-3.0, 2.0, -1.0, 5.0]]]), torch.tensor([[True, True, True, False]]), training=False)
    tensor([[[0., 1., 1., 0.]]])
    """
    energies = energies.to(torch.promote_types(torch.float32, energies.dtype))
    found = (energies + torch.randn_like(energies)).sigmoid() if training else (energies > 0).to(energies.dtype)
    last = there & ~F.pad(there[:, 1:], (0, 1))
    return found.masked_fill(last[:, None], 1.0).masked_fill(~there[:, None], 0.0)


def _found(weights: Float[Tensor, "batch beam source"], memory: Read) -> tuple[Tensor, Tensor]:
    """What the weights find in a memory, and the weights, both a row for each."""
    return (weights.to(memory.values.dtype) @ memory.values).flatten(0, 1), weights.flatten(0, 1)
