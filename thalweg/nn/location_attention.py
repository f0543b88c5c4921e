r"""Attention that knows where it looked: content, and filters over the weights of the step before.

$$ e_i = v^\top \tanh(W_q\, q + W_k\, m_i + U f_i), \qquad f = F * a' $$

(Chorowski, Bahdanau, Serdyuk, Cho & Bengio, "Attention-Based Models for Speech Recognition", 2015, equations 8 and 9.)
$a'$ are the weights of the step before, or, `cumulative`, the sum of those of all steps before, which also says what
was read long ago. So it can go on from where it was, where content alone would not tell two like places apart.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.nn.additive_attention import Found, Queries, Read, mean_by
from thalweg.nn.knobs import check_count


class LocationAttention(nn.Module):
    """Location-aware attention, a step for rows `(row, query)` of memories `(batch, source, features)`.

    `filters` of `kernel` weights each go over the weights; 32 of 31 are those of Shen et al., "Natural TTS Synthesis by
    Conditioning WaveNet on Mel Spectrogram Predictions" (2018), who take the cumulative weights. Before the first step
    they are 0.

    >>> attention = LocationAttention(query=4, features=6, width=5, cumulative=True)
    >>> memory = attention.read(torch.randn(2, 7, 6), torch.tensor([7, 3]))
    >>> _, first, state = attention(torch.randn(2, 4), memory, attention.begin(memory))
    >>> context, second, state = attention(torch.randn(2, 4), memory, state)
    >>> context.shape, bool(torch.equal(state, first + second))
    (torch.Size([2, 6]), True)

    A memory without positions gives zeros. Raises `RecipeError` for counts below 1 and a kernel that is even.
    """

    def __init__(
        self, query: int, features: int, width: int, *, cumulative: bool = False, filters: int = 32, kernel: int = 31
    ) -> None:
        super().__init__()
        counts = {"query": query, "features": features, "width": width, "filters": filters, "kernel": kernel}
        for knob, value in counts.items():
            check_count("LocationAttention", knob, value)
        if kernel % 2 == 0:
            raise RecipeError(
                f"LocationAttention: kernel is {kernel}, but a filter reaches as far to each side of its position, so "
                f"that it is odd. Give for instance kernel={kernel + 1}."
            )
        self.cumulative = cumulative
        self.query, self.key = nn.Linear(query, width), nn.Linear(features, width, bias=False)
        self.filters = nn.Conv1d(1, filters, kernel, padding=kernel // 2, bias=False)
        self.location, self.score = nn.Linear(filters, width, bias=False), nn.Linear(width, 1, bias=False)

    def read(self, memory: Float[Tensor, "batch source features"], lengths: Tensor | None) -> Read:
        """What all steps need of it."""
        return Read.of(memory, self.key(memory), lengths)

    def begin(self, memory: Read) -> Float[Tensor, "batch source"]:
        """It has looked nowhere."""
        return torch.zeros_like(memory.there, dtype=memory.keys.dtype)

    def forward(self, query: Queries, memory: Read, state: Any) -> Found:
        """What each row found, the weights that it has for each position, and the weights that the next step reads."""
        rows = (len(memory.keys), -1)
        asked = self.query(query).unflatten(0, rows)[:, :, None] + memory.keys[:, None]
        located = self.location(self.filters(state.to(query.dtype)[:, None]).mT).unflatten(0, rows)
        scores: Tensor = self.score(torch.tanh(asked + located))[..., 0]
        context, weights = mean_by(scores, memory)
        return context, weights, state + weights if self.cumulative else weights

    def extra_repr(self) -> str:
        return f"cumulative={self.cumulative}"
