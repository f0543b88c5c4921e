r"""Tasks on sequences of tokens whose answer is known, and of which it is known what a network must see to give it.

- **order**: does token 3 come before token 2? Only the places of two tokens count, not which tokens there are.
- **recall**: which token came first, asked at the end? The answer lies `distance` positions back.
- **copy**: each token holds a symbol and a distance; which symbol stood so far back? The answer is known for each
  distance apart.

Tokens 0 to 3 are reserved, as they are everywhere; everything is drawn from a seed.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.tokens import NO_TARGET

FIRST, ASK = 4, 3
"""The first token that is a symbol, and the one that asks."""
FORMER, LATTER, OTHERS = 2, 3, 16
"""The two tokens of the order task, and the end of the others."""

Tokens = Int[Tensor, "example length"]


def order(count: int, length: int, seed: int) -> tuple[Tokens, Int[Tensor, " example"]]:
    """Sequences with tokens 2 and 3 once each among others at random, and whether 3 comes before 2.

    >>> tokens, target = order(100, 7, seed=0)
    >>> before = [row.index(3) < row.index(2) for row in tokens.tolist()]
    >>> before == target.bool().tolist()
    True
    """
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(FIRST, OTHERS, (count, length), generator=random)
    places = torch.rand(count, length, generator=random).argsort(1)[:, :2]
    tokens.scatter_(1, places, torch.tensor([FORMER, LATTER]).expand(count, -1))
    return tokens, (places[:, 0] > places[:, 1]).long()


def recall(count: int, distance: int, symbols: int, seed: int) -> tuple[Tokens, Int[Tensor, " example"]]:
    """`distance` symbols at random and a token that asks for the first of them, which is the target.

    >>> tokens, target = recall(5, 7, 4, seed=0)
    >>> tokens.shape, bool((tokens[:, 0] - FIRST == target).all()), bool((tokens[:, -1] == ASK).all())
    (torch.Size([5, 8]), True, True)
    """
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(FIRST, FIRST + symbols, (count, distance + 1), generator=random)
    tokens[:, -1] = ASK
    return tokens, tokens[:, 0] - FIRST


def copy(count: int, length: int, symbols: int, furthest: int, seed: int) -> tuple[Tokens, Tokens]:
    """Tokens that hold a symbol and a distance from 1 to `furthest` each, and for each the symbol so far back.

    Where that lies before the beginning there is no target (-100).

    >>> tokens, target = copy(1, 5, symbols=2, furthest=3, seed=0)
    >>> (tokens[0] % 2).tolist(), distances(tokens, 2)[0].tolist()
    ([0, 1, 1, 0, 1], [1, 2, 2, 2, 1])
    >>> target.tolist()
    [[-100, -100, 0, 1, 0]]
    """
    random = torch.Generator().manual_seed(seed)
    symbol = torch.randint(0, symbols, (count, length), generator=random)
    distance = torch.randint(1, furthest + 1, (count, length), generator=random)
    source = torch.arange(length) - distance
    target = symbol.gather(1, source.clamp(min=0)).masked_fill(source < 0, NO_TARGET)
    return FIRST + symbol + symbols * (distance - 1), target


def distances(tokens: Tokens, symbols: int) -> Tokens:
    """How far back each token of the copy task asks."""
    return (tokens - FIRST) // symbols + 1
