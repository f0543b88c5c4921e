r"""Positions: attention alone does not see the order of its inputs, so it is told.

| name | what is done | source |
|---|---|---|
| `"sinusoidal"` | fixed waves are added to the inputs: $p_{i, 2j} = \sin(i\, \omega_j)$, $p_{i, 2j+1} = \cos(i\, \omega_j)$, $\omega_j = 10000^{-2j/d}$ | Vaswani et al. 2017, section 3.5 |
| `"learned"` | a learned vector for each position is added to the inputs | Gehring et al. 2017 |
| `"relative"` | a learned number for each head and distance is added to the scores, distances in buckets | Raffel et al. 2020 (T5) |
| `"rotary"` | queries and keys are turned, pair of features by pair, by the angle $i\, \omega_j$ | Su et al. 2021, equation 34 |

The first two go with the inputs, the last two with every attention. Only learned positions end somewhere.
"""  # noqa: E501

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.knobs import check_count

ADDED, ATTENDED = ("sinusoidal", "learned"), ("relative", "rotary")
"""Positions that are added to the inputs, and those that are part of attention."""
SLOWEST = 10000.0


def angles(length: int, width: int, like: Tensor, first: int = 0) -> Float[Tensor, "length half"]:
    r"""$i\, \omega_j$ with $\omega_j = 10000^{-2j/d}$, for each position i and each of d / 2 (rounded up) waves.

    In float32, or in float64 where `like` is; on its device. Positions count from `first`.

    >>> angles(3, 4, torch.zeros(()))
    tensor([[0.0000, 0.0000],
            [1.0000, 0.0100],
            [2.0000, 0.0200]])
    """
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    place = torch.arange(first, first + length, dtype=dtype, device=like.device)
    exponent = torch.arange(0, width, 2, dtype=dtype, device=like.device) / width
    return place[:, None] * torch.exp(-math.log(SLOWEST) * exponent)


def sinusoidal(length: int, width: int, like: Tensor, first: int = 0) -> Float[Tensor, "length width"]:
    r"""Sines in the even features and cosines in the odd ones, of the type and on the device of `like`.

    Positions count from `first`.

    The features of position $i + k$ are those of i turned by angles that depend on k alone, so that a linear map finds
    relative places (Vaswani et al. 2017, section 3.5).

    >>> sinusoidal(2, 4, torch.zeros(()))
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    angle = angles(length, width, like, first)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width].to(like.dtype)


class SinusoidalPositions(nn.Module):
    """Adds `sinusoidal` to inputs `(batch, length, width)`, of any length; nothing is learned.

    >>> SinusoidalPositions()(torch.zeros(5, 7, 16)).shape
    torch.Size([5, 7, 16])
    """

    def forward(self, x: Float[Tensor, "batch length width"], first: int = 0) -> Float[Tensor, "batch length width"]:
        """The inputs with their positions, which count from `first`."""
        return x + sinusoidal(x.shape[1], x.shape[2], x, first)


class LearnedPositions(nn.Module):
    """Adds a learned vector for each of `length` positions to inputs `(batch, length, width)`.

    They begin with deviation 0.02, as in BERT. Raises `RecipeError` for counts below 1 and for a longer sequence, whose
    positions nothing was learned for.

    >>> positions = LearnedPositions(7, 16)
    >>> positions(torch.zeros(5, 6, 16)).shape
    torch.Size([5, 6, 16])
    >>> positions(torch.zeros(5, 9, 16))
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: The sequences have 9 positions, but learned positions end at 7. ...
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        check_count("LearnedPositions", "length", length)
        check_count("LearnedPositions", "width", width)
        self.length = length
        self.weight = nn.Parameter(torch.randn(length, width) * 0.02)

    def extra_repr(self) -> str:
        return f"{self.length}, {self.weight.shape[1]}"

    def forward(self, x: Float[Tensor, "batch length width"], first: int = 0) -> Float[Tensor, "batch length width"]:
        """The inputs with their positions, which count from `first`."""
        end = first + x.shape[1]
        if end > self.length:
            raise RecipeError(
                f"The sequences have {end} positions, but learned positions end at {self.length}. Build the "
                f"network with length={end} or more, cut the sequences, or take positions that have no end: "
                "positions='sinusoidal', 'relative' or 'rotary'."
            )
        return x + self.weight[first:end]


def added(positions: str | None, length: int, width: int) -> nn.Module | None:
    """What adds positions of this name to the inputs, learned ones for at most `length` of them; None where none are.

    >>> added("sinusoidal", 512, 16), added("rotary", 512, 16)
    (SinusoidalPositions(), None)
    """
    if positions == "learned":
        return LearnedPositions(length, width)
    return SinusoidalPositions() if positions == "sinusoidal" else None


class RelativeBias(nn.Module):
    r"""A learned number for each head and distance from query to key, added to the scores of attention.

    Distances $j - i$ share `buckets` numbers (`bucket`): short ones have one each, longer ones, up to `furthest`, share
    them on a logarithmic scale, and all beyond share the last (Raffel et al. 2020, section 2.1). Each attention has its
    own (T5 shares one among all layers), and they begin as 0: no position is preferred.

    >>> RelativeBias(heads=4)(7, 5).shape
    torch.Size([1, 4, 7, 5])
    """

    def __init__(self, heads: int, *, buckets: int = 32, furthest: int = 128, causal: bool = False) -> None:
        super().__init__()
        check_count("RelativeBias", "heads", heads)
        check_count("RelativeBias", "buckets", buckets, least=4)
        check_count("RelativeBias", "furthest", furthest, least=buckets)
        self.buckets, self.furthest, self.causal = buckets, furthest, causal
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def extra_repr(self) -> str:
        return f"heads={self.weight.shape[1]}, buckets={self.buckets}, furthest={self.furthest}, causal={self.causal}"

    def forward(self, queries: int, keys: int, first: int = 0) -> Float[Tensor, "1 heads query key"]:
        """What is added to the scores of so many queries, of which the first is at position `first`, and keys."""
        device = self.weight.device
        distance = torch.arange(keys, device=device) - torch.arange(first, first + queries, device=device)[:, None]
        return self._at(distance).permute(2, 0, 1)[None]

    def near(self, window: int) -> Float[Tensor, "heads offset"]:
        """The same for keys from `window` back to as many ahead, or to the query itself if `causal`, by their offset.

        >>> RelativeBias(heads=4).near(3).shape
        torch.Size([4, 7])
        """
        return self._at(torch.arange(-window, 1 if self.causal else window + 1, device=self.weight.device)).T

    def _at(self, distance: Int[Tensor, "..."]) -> Float[Tensor, "... heads"]:
        return self.weight[bucket(distance, self.buckets, self.furthest, self.causal)]


@no_type_check
def bucket(
    distance: Int[Tensor, "..."], buckets: int = 32, furthest: int = 128, causal: bool = False
) -> Int[Tensor, "..."]:
    """Which of the `buckets` a distance (place of the key less that of the query) falls in, from 0.

    `causal` keys do not come after their query, and all buckets are for what lies back; else half of them are for what
    lies ahead. Half of a side's buckets hold one distance each.

    >>> bucket(torch.tensor([0, -1, -7, -8, -20, -200, 1, 200])).tolist()
    [0, 1, 7, 8, 10, 15, 17, 31]
    """
    side = buckets if causal else buckets // 2
    ahead = torch.zeros_like(distance) if causal else (distance > 0) * side
    far = (-distance).clamp(min=0) if causal else distance.abs()
    exact = side // 2
    steps = torch.log(far.clamp(min=1) / exact) / math.log(furthest / exact) * (side - exact)
    shared = (exact + steps.long()).clamp(max=side - 1)
    return ahead + torch.where(far < exact, far, shared)


def rotated(x: Float[Tensor, "batch heads length dim"]) -> Float[Tensor, "batch heads length dim"]:
    r"""Each pair of features $(x_{2j}, x_{2j+1})$ at position i turned by $i\, \omega_j$; `dim` is even.

    With queries and keys turned so, $q_i \cdot k_j$ depends on contents and on $j - i$ alone.

    >>> rotated(torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])).round(decimals=3).tolist()
    [[[[1.0, 0.0], [0.54..., 0.84...]]]]
    """
    return turned(x, angles(x.shape[-2], x.shape[-1], x))


def turned(
    x: Float[Tensor, "batch heads length dim"], angle: Float[Tensor, "#length half"]
) -> Float[Tensor, "batch heads length dim"]:
    r"""Each pair of features turned by the angle of its position, or all by the same; `half` is half of `dim`.

    >>> turned(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[math.pi / 2]])).round().abs().tolist()
    [[[[0.0, 1.0]]]]
    """
    cosine, sine = angle.cos(), angle.sin()
    even, odd = x[..., 0::2], x[..., 1::2]
    pairs = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
    return pairs.flatten(-2).to(x.dtype)
