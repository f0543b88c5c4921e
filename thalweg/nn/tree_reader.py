r"""Where a tree that is being put out stands in its source: at its next word, and where its open bracket began.

Of a tree of brackets over the words of a source (`thalweg.data.bracketed`) what came so far says which word is next:
there were as many leaves. So a decoder need not search for it: with $n$ leaves so far and $b$ at the beginning of the
innermost bracket that is open it is given

$$ [m_n;\ m_b] $$

of the memory $m$, zeros behind the last word. That is the front of the buffer and the bottom of what lies on the stack
in shift-reduce parsing, which sequence-to-sequence parsers gain from (Liu & Zhang, "Encoder-Decoder Shift-Reduce
Syntactic Parsing", 2017; Fernández-González & Gómez-Rodríguez, "Enriched In-Order Linearization for Faster
Sequence-to-Sequence Constituent Parsing", 2020, section 3). Nothing in it is learned.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import END, MARKS, PADDING, START


class Standing(NamedTuple):
    """Where each row stands: how many leaves came, how many brackets are open, and where each of these began."""

    leaves: Int[Tensor, " row"]
    depth: Int[Tensor, " row"]
    begun: Int[Tensor, "row bracket"]


class TreeReader(nn.Module):
    """What a decoder is given of a memory: the next word, and the first of the innermost bracket that is open.

    `brackets` are two tokens, that of a leaf and the one that closes a bracket; all others but the marks open one, an
    unknown one too. Any sequence of tokens is followed: an end of nothing is passed over, and behind the last word
    there are zeros.

    >>> reader, memory = TreeReader([4, 5], features=1), torch.tensor([[[10.0], [20.0], [30.0]]])
    >>> reader.along(memory, torch.tensor([[2, 6, 4, 6, 4, 5, 4]]))[0].int().tolist()  # ( _ ( _ ) _
    [[10, 0], [10, 10], [20, 10], [20, 20], [30, 20], [30, 10], [0, 10]]

    Raises `RecipeError` for tokens that are not two, or that have another meaning.
    """

    def __init__(self, brackets: Sequence[int], features: int) -> None:
        super().__init__()
        known = list(brackets)
        if len(known) != 2 or known[0] == known[1] or min(known) < len(MARKS):
            raise RecipeError(
                f"brackets is {known}, but it is the tokens of a leaf and of the end of a bracket, which are not the "
                f"same and from {len(MARKS)} on, behind the marks. Leave it out where targets are no trees."
            )
        self.leaf, self.closing, self.features = known[0], known[1], 2 * features

    def begin(self, memory: Float[Tensor, "batch source features"]) -> Standing:
        """Before the first token, with a row for each example."""
        none = torch.zeros(len(memory), dtype=torch.int64, device=memory.device)
        return Standing(none, none, none[:, None])

    def after(self, standing: Standing, tokens: Int[Tensor, " row"]) -> Standing:
        """After one more token of each row."""
        leaves, depth, begun = standing
        leaf, closes = tokens == self.leaf, tokens == self.closing
        opens = ~(leaf | closes | (tokens == PADDING) | (tokens == START) | (tokens == END))
        begun = torch.cat([begun, torch.zeros_like(begun[:, :1])], 1)  # a step opens one bracket at most
        depth = depth + opens.long()
        at = depth[:, None]
        begun = begun.scatter(1, at, torch.where(opens[:, None], leaves[:, None], begun.gather(1, at)))
        return Standing(leaves + leaf.long(), (depth - closes.long()).clamp(min=0), begun)

    def read(
        self, memory: Float[Tensor, "batch source features"], standing: Standing
    ) -> Float[Tensor, "row twice_the_features"]:
        """What each row is given; rows of one example stand together."""
        return _taken(memory, _places(standing).unflatten(0, (len(memory), -1))).flatten(0, 1).flatten(1)

    def along(
        self, memory: Float[Tensor, "batch source features"], prefix: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length twice_the_features"]:
        """What is given after each token of a prefix."""
        standing, places = self.begin(memory), []
        for tokens in prefix.unbind(1):
            standing = self.after(standing, tokens)
            places.append(_places(standing))
        return _taken(memory, torch.stack(places, 1)).flatten(2)


def _places(standing: Standing) -> Int[Tensor, "row 2"]:
    """The next word, and the first of the innermost bracket that is open; -1 where none is."""
    depth = standing.depth[:, None]
    opened = torch.where(depth > 0, standing.begun.gather(1, depth), -1)
    return torch.cat([standing.leaves[:, None], opened], 1)


def _taken(memory: Tensor, places: Tensor) -> Tensor:
    """The positions of a memory at these places, `(batch, row, 2) -> (batch, row, 2, features)`; zeros at others."""
    length = memory.shape[1]
    there = (places >= 0) & (places < length)
    flat = places.clamp(0, length - 1).flatten(1)
    found = memory.gather(1, flat[..., None].expand(-1, -1, memory.shape[2])).unflatten(1, places.shape[1:])
    return found.masked_fill(~there[..., None], 0.0)
