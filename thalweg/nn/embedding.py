"""What stands before attention: tokens, vectors and images as sequences of vectors of one width."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.tokens import PADDING
from thalweg.nn.knobs import check_count
from thalweg.nn.masks import described


class TokenEmbedding(nn.Module):
    """A learned vector for each token, `(batch, length) -> (batch, length, width)`; that of token 0, padding, is 0.

    The table's numbers begin with a deviation of 1 / `scale`, and the vectors are `scale` times them: with the root of
    the width the table can also be the last layer's weights (Vaswani et al. 2017, section 3.4).

    Raises `RecipeError` for input that is no tokens, `DataError` (on a CPU) for a token beyond the vocabulary.

    >>> TokenEmbedding(100, 16)(torch.tensor([[5, 7, 0]])).shape
    torch.Size([1, 3, 16])
    """

    def __init__(self, vocabulary: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        check_count("TokenEmbedding", "vocabulary", vocabulary, least=2)
        check_count("TokenEmbedding", "width", width)
        self.scale = scale
        self.table = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        with torch.no_grad():
            self.table.weight /= scale

    @no_type_check
    def forward(self, values: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length width"]:
        """The vectors of the tokens."""
        if not is_of(values, 2, whole=True):
            raise RecipeError(
                f"The network takes tokens, int64 of shape (batch, length), and was given {described(values)}. Give "
                "tokens of a vocabulary, or build it with inputs= the features of a position."
            )
        output = looked_up(self.table, values)
        return output if self.scale == 1 else output * self.scale


def looked_up(table: nn.Embedding, tokens: Int[Tensor, "..."], knob: str = "vocabulary") -> Float[Tensor, "... width"]:
    """The vectors of tokens; `knob` is what the number of those that are known is called.

    >>> looked_up(nn.Embedding(9, 16), torch.tensor([[8, 5]])).shape
    torch.Size([1, 2, 16])

    Raises `DataError` (on a CPU) for a token beyond the vocabulary.
    """
    try:
        output: Tensor = table(tokens)
    except IndexError:
        check_known(tokens, table.num_embeddings, knob)
        raise
    return output


def check_known(tokens: Int[Tensor, "..."], known: int, knob: str = "vocabulary") -> None:
    """Raise `DataError` where a token is not from 0 to `known` - 1.

    >>> check_known(torch.tensor([[8, 9]]), 9)
    Traceback (most recent call last):
    thalweg.core.errors.DataError: Tokens lie between 8 and 9, but the network knows 0 to 8. ...
    """
    if not tokens.numel() or 0 <= int(tokens.min()) <= int(tokens.max()) < known:
        return
    raise DataError(
        f"Tokens lie between {tokens.min()} and {tokens.max()}, but the network knows 0 to {known - 1}. Build it with "
        f"{knob}={max(known, int(tokens.max()) + 1)}, and give {PADDING} to padding and an id of its own to all that "
        "is not known."
    )


class VectorEmbedding(nn.Module):
    """A linear map of the features of each position, `(batch, length, inputs) -> (batch, length, width)`.

    Raises `RecipeError` for counts below 1 and for input of another shape.

    >>> VectorEmbedding(3, 16)(torch.zeros(5, 7, 3)).shape
    torch.Size([5, 7, 16])
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        check_count("VectorEmbedding", "inputs", inputs)
        check_count("VectorEmbedding", "width", width)
        self.linear = nn.Linear(inputs, width)

    @no_type_check
    def forward(self, values: Float[Tensor, "batch length inputs"]) -> Float[Tensor, "batch length width"]:
        """The vectors of the positions, of the weights' type even where they are computed in 16 bits."""
        inputs = self.linear.in_features
        if not is_of(values, 3) or values.shape[2] != inputs:
            raise RecipeError(
                f"The network takes real numbers of shape (batch, length, {inputs}), and was given "
                f"{described(values)}. Build it with inputs= the features of a position, or vocabulary= for tokens."
            )
        output: Tensor = self.linear(values)
        return output.to(self.linear.weight.dtype)


class PatchEmbedding(nn.Module):
    """Patches of images as positions: `(batch, channels, height, width) -> (batch, patches, width)`, row by row.

    Each patch, `patch` x `patch` pixels, goes through one linear map (Dosovitskiy et al., "An Image is Worth 16x16
    Words", 2021). Raises `RecipeError` for counts below 1, and for images of other channels or of sides that are no
    multiples of the patch.

    >>> PatchEmbedding(3, 16, patch=4)(torch.zeros(5, 3, 8, 12)).shape
    torch.Size([5, 6, 16])
    """

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        for knob, value in {"channels": channels, "width": width, "patch": patch}.items():
            check_count("PatchEmbedding", knob, value)
        self.patch = patch
        self.convolution = nn.Conv2d(channels, width, patch, patch)

    @no_type_check
    def forward(self, values: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch patch features"]:
        """The vectors of the patches."""
        channels, side = self.convolution.in_channels, self.patch
        if not is_of(values, 4) or values.shape[1] != channels or values.shape[2] % side or values.shape[3] % side:
            raise RecipeError(
                f"The network takes images of shape (batch, {channels}, height, width) with sides that are multiples "
                f"of its patch, {side}, and was given {described(values)}. Give another patch=, or scale the images."
            )
        output: Tensor = self.convolution(values)
        return output.flatten(2).mT.to(self.convolution.weight.dtype)


def is_of(values: Any, dims: int, whole: bool = False) -> bool:
    """Whether values are a tensor of so many axes, of real numbers or of `whole` ones.

    >>> is_of(torch.zeros(2, 3), 2), is_of(torch.zeros(2, 3), 2, whole=True)
    (True, False)
    """
    if not isinstance(values, Tensor) or values.dim() != dims:
        return False
    return values.dtype in (torch.int64, torch.int32) if whole else values.is_floating_point()
