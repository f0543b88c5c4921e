r"""Random numbers without a state: the number of an example is a function of (key, example, draw) alone.

A generator gives numbers in turn, so that who comes second depends on who came first. Here each number is a hash of its
place, so that it is the same in any batch, in any order, in any process:

$$ h = m\big(m(m(\mathrm{key}) + g \, \mathrm{id}) + g (\mathrm{draw} + 1)\big), \quad g = 2^{64} / \varphi $$

with the mixing function $m$ of SplitMix64 (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators",
2014): for a given key and example, the draws are a stream of that generator. Numbers of 64 bits wrap around, as int64
do.
"""

from math import pi

import torch
from jaxtyping import Float, Int
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
FINE = 24
"""The bits of a uniform number: as many as float32 holds exactly."""


def hashed(key: int, ids: Int[Tensor, " example"], draws: int) -> Int[Tensor, "example draws"]:
    """The hash of 64 bits of each draw of each example.

    >>> hashed(0, torch.tensor([5]), 2).tolist() == hashed(0, torch.tensor([7, 5]), 3)[1:, :2].tolist()
    True
    """
    state = _mixed(ids.long() * _signed(GOLDEN) + _signed(_mixed_word(key)))
    steps = torch.arange(1, draws + 1, device=ids.device) * _signed(GOLDEN)
    return _mixed(state[:, None] + steps)


def uniform(key: int, ids: Int[Tensor, " example"], draws: int) -> Float[Tensor, "example draws"]:
    """Numbers in [0, 1), float32, uniform to 24 bits: the same bits on every device.

    >>> ids = torch.arange(5)
    >>> torch.equal(uniform(3, ids, 2).flip(0), uniform(3, ids.flip(0), 2))
    True
    """
    return _upper(hashed(key, ids, draws)).float().mul_(2.0**-FINE)


def normal(key: int, ids: Int[Tensor, " example"], draws: int) -> Float[Tensor, "example draws"]:
    r"""Numbers of the standard normal distribution, float32; equal on every device but for the last bits.

    Two for each hash (Box & Muller, 1958): $\sqrt{-2 \ln u} \, (\cos 2\pi v, \sin 2\pi v)$; none is beyond 5.8.

    >>> torch.equal(normal(3, torch.arange(5), 3)[2:], normal(3, torch.arange(2, 5), 4)[:, :3])
    True
    """
    hashes = hashed(key, ids, (draws + 1) // 2)
    radius = _upper(hashes).add_(1).float().mul_(2.0**-FINE).log_().mul_(-2).sqrt_()
    angle = hashes.bitwise_and_(2**FINE - 1).float().mul_(2 * pi * 2.0**-FINE)
    pairs = torch.stack((angle.cos().mul_(radius), angle.sin_().mul_(radius)), dim=2)
    return pairs.flatten(1)[:, :draws]


def _mixed(numbers: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    numbers = (numbers ^ _shifted(numbers, 30)).mul_(_signed(FIRST))
    numbers = (numbers ^ _shifted(numbers, 27)).mul_(_signed(SECOND))
    return numbers ^ _shifted(numbers, 31)


def _mixed_word(number: int) -> int:
    """The same of one whole number, of which the last 64 bits count."""
    for bits, factor in ((30, FIRST), (27, SECOND)):
        number %= 2**64
        number = (number ^ (number >> bits)) * factor
    number %= 2**64
    return number ^ (number >> 31)


def _shifted(numbers: Int[Tensor, "..."], bits: int) -> Int[Tensor, "..."]:
    """Shifted to the right with zeros from the left, where int64 would bring its sign."""
    return (numbers >> bits).bitwise_and_(2 ** (64 - bits) - 1)


def _upper(hashes: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    return _shifted(hashes, 64 - FINE)


def _signed(number: int) -> int:
    """A number of 64 bits as the int64 of the same bits."""
    return (number + 2**63) % 2**64 - 2**63
