r"""Copying: what stands in the input can be put out as it is, even if it is in no vocabulary.

$$ P(w) = g\, P_\mathrm{vocabulary}(w) + (1 - g) \sum_{i : x_i = w} a_i $$

(See, Liu & Manning, "Get To The Point: Summarization with Pointer-Generator Networks", 2017, equation 9.) $a$ is a
distribution over the positions $i$ of the input, $x_i$ what is copied from there, and the gate $g$ says how much is
generated. The vocabulary of an example is extended by what only its input holds: `copies` has for each position the
output's token, or, where the vocabulary has none, the vocabulary's size plus the number of that unit among the unknown
ones of the example. A unit that stands in the input twice is copied with the sum of both weights.

All is in logarithms of 32 bits or more. Without an input there is nothing to copy, and $g = 1$. A batch has a place for
what any of its examples adds to the vocabulary. What only others add an example cannot have: its score is `NEVER` in
training, where scores are summed over, and minus infinity in decoding, so that it does not come out.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.tokens import NEVER, PADDING
from thalweg.nn.attend import weights_of
from thalweg.nn.masks import described


class Copies(NamedTuple):
    """What the positions of the input are in the output: made once for a batch by `copies_of`.

    `column` is the column of the scores that a position's weight belongs to, `width` where it does not count: padding,
    and all but the first place of a unit; `first` is where a unit stands first, and all its weights are summed. `never`
    is the score of what other examples alone can copy.
    """

    column: Int[Tensor, "batch source"]
    first: Int[Tensor, "batch source"]
    empty: Bool[Tensor, "batch 1"]
    vocabulary: int
    width: int
    never: float = NEVER

    def for_decoding(self) -> "Copies":
        """The same where what other examples alone can copy does not come out."""
        return self._replace(never=-math.inf)


@no_type_check
def copies_of(copies: Any, vocabulary: int, shape: tuple[int, ...]) -> Copies:
    """The columns of scores that positions of inputs of `shape` are copied to.

    >>> copies_of(torch.tensor([[7, 10, 7, 0]]), vocabulary=10, shape=(1, 4))[:2]
    (tensor([[ 7, 10, 11, 11]]), tensor([[0, 1, 0, 3]]))

    Raises `RecipeError` for copies of another shape or type.
    """
    if not (isinstance(copies, Tensor) and copies.dtype == torch.int64 and tuple(copies.shape) == shape):
        raise RecipeError(
            f"copies are {described(copies)}, but a model that copies takes for each position of the source, "
            f"{shape}, the token that it is in the output, int64. Give copies= with the source, or build the model "
            "with copying=False."
        )
    width = max(vocabulary, int(copies.max()) + 1) if copies.numel() else vocabulary
    first = (copies[:, :, None] == copies[:, None]).int().argmax(2)
    places = torch.arange(copies.shape[1], device=copies.device)
    counts = (copies != PADDING) & (first == places)
    column = torch.where(counts, copies, width)
    return Copies(column, first, (copies == PADDING).all(1, keepdim=True), vocabulary, width)


def mixture(
    scores: Float[Tensor, "batch length vocabulary"],
    gate: Float[Tensor, "batch length"],
    weights: Float[Tensor, "batch length source"],
    copies: Copies,
) -> Float[Tensor, "batch length tokens"]:
    r"""$\log P$ of all tokens of the extended vocabulary: its softmax is $P$ itself.

    `scores` are the logits of the vocabulary, `gate` is the logit of $g$, and `weights` are $a$, 0 at padding. A token
    that is extended for another example has `copies.never`.

    >>> copies = copies_of(torch.tensor([[2, 4, 2]]), vocabulary=4, shape=(1, 3))
    >>> mixture(torch.zeros(1, 1, 4), torch.zeros(1, 1), torch.tensor([[[0.5, 0.3, 0.2]]]), copies).exp()
    tensor([[[0.1250, 0.1250, 0.4750, 0.1250, 0.1500]]])
    """
    kind = torch.promote_types(torch.float32, scores.dtype)
    scores, gate, weights = scores.to(kind), gate.to(kind), weights.to(kind)
    generated = F.logsigmoid(gate).masked_fill(copies.empty, 0.0)
    shape = weights.shape
    summed = torch.zeros_like(weights).scatter_add(2, copies.first[:, None].expand(shape), weights)
    copied = F.logsigmoid(-gate)[..., None] + summed.clamp(min=torch.finfo(kind).tiny).log()
    extended = scores.new_full((*shape[:2], copies.width + 1 - copies.vocabulary), copies.never)
    known = scores.log_softmax(2) + generated[..., None]
    column = copies.column[:, None].expand(shape)
    before = known.gather(2, column.clamp(max=copies.vocabulary - 1)).masked_fill(column >= copies.vocabulary, NEVER)
    whole = torch.cat([known, extended], 2).scatter_(2, column, torch.logaddexp(before, copied))
    return whole[..., : copies.width]


class Gate(nn.Module):
    r"""The logit of $g$, a linear function of what was read, of the decoder's state and of its input (equation 8).

    >>> Gate(5, 3, 2)(torch.zeros(4, 7, 5), torch.zeros(4, 7, 3), torch.zeros(4, 7, 2)).shape
    torch.Size([4, 7])
    """

    def __init__(self, *features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(sum(features), 1)

    def forward(self, *parts: Float[Tensor, "batch length _"]) -> Float[Tensor, "batch length"]:
        """One number for each position."""
        logit: Tensor = self.linear(torch.cat(parts, 2))
        return logit[..., 0]


class Pointer(nn.Module):
    r"""Attention that says what is copied, and its gate: $a = \mathrm{softmax}(q^\top k_i / \sqrt d)$ over the input.

    For a decoder with several heads in several layers, of which none is made to point. `keys` is computed once for a
    memory `(batch, source, width)`; `mask` `(batch, 1, 1, source)` is True where there is an input.

    >>> pointer, memory = Pointer(8), torch.randn(3, 5, 8)
    >>> weights, gate = pointer(torch.randn(3, 7, 8), torch.randn(3, 7, 8), memory, pointer.keys(memory), None)
    >>> weights.shape, gate.shape
    (torch.Size([3, 7, 5]), torch.Size([3, 7]))
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.gate = nn.Linear(width, width), nn.Linear(width, width), Gate(width, width, width)

    def keys(self, memory: Float[Tensor, "batch source width"]) -> Float[Tensor, "batch source width"]:
        """What queries are compared with."""
        keys: Tensor = self.key(memory)
        return keys

    def forward(
        self,
        stream: Float[Tensor, "batch length width"],
        embedded: Float[Tensor, "batch length width"],
        memory: Float[Tensor, "batch source width"],
        keys: Float[Tensor, "batch source width"],
        mask: Bool[Tensor, "batch 1 1 source"] | None,
    ) -> tuple[Float[Tensor, "batch length source"], Float[Tensor, "batch length"]]:
        """The weights and the gate's logit, for the decoder's stream and what was embedded into it."""
        weights = weights_of(self.query(stream)[:, None], keys[:, None], mask=mask)[:, 0]
        gate: Tensor = self.gate(weights @ memory, stream, embedded)
        return weights, gate


def check_copies(copying: bool, copies: Any) -> None:
    """Refuse a source without copies where the model copies, and one with copies where it does not.

    >>> check_copies(False, torch.tensor([[4]]))
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: The batch says what can be copied, but the model copies nothing. ...

    Raises `RecipeError`.
    """
    if copying and copies is None:
        raise RecipeError(
            "The model copies from the source, but the batch does not say what can be copied. Give it copies=, the "
            "output's token at each position of the source, or build the model with copying=False."
        )
    if not copying and copies is not None:
        raise RecipeError(
            "The batch says what can be copied, but the model copies nothing. Build the model with copying=True, or "
            "leave copies out."
        )


def with_a_place(source: Tensor, copies: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Sources of no position at all with one of padding, their lengths and copies.

    >>> with_a_place(torch.zeros(2, 0, dtype=torch.int64), None)
    (tensor([[0],
            [0]]), tensor([0, 0]), None)
    """
    padded = source.new_zeros(len(source), 1, *source.shape[2:])
    lengths = torch.zeros(len(source), dtype=torch.int64, device=source.device)
    return padded, lengths, None if copies is None else copies.new_full((len(source), 1), PADDING)
