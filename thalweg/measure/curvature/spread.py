r"""The spread over examples: how much of a gradient or of a curvature is the luck of the evaluation set.

With pieces b of weight $w_b$ and $W = \sum_b w_b$, a mean $\bar q = \sum_b w_b q_b / W$ has the variance

$$ \frac{1}{W (B - 1)} \sum_b w_b \, | q_b - \bar q |^2 , $$

which for the gradient is $\mathrm{tr}(\mathrm{Cov}) / N$.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from thalweg.measure.curvature.evaluation import Part
from thalweg.measure.curvature.lanczos import lanczos, random_start
from thalweg.measure.curvature.surface import Surface


@dataclass(frozen=True)
class Curvature:
    """The curvature v'Hv along a direction of length 1, with its standard error over examples.

    >>> Curvature(-3.0, 1.0).below_zero, Curvature(-1.0, 1.0).below_zero
    (True, False)
    """

    value: float
    error: float

    @property
    def below_zero(self) -> bool:
        """Whether it is negative by more than two standard errors."""
        return self.value < -2 * self.error


def gradient_noise(at: Surface, pieces: list[Part]) -> float:
    """tr(Cov)/N: the squared length that the gradient would have by chance alone."""
    mean = at.data_gradient().double()
    pairs = list(at.over(pieces).of_parts(lambda alone: float((alone.data_gradient().double() - mean).square().sum())))
    total = sum(weight for weight, _ in pairs)
    return sum(weight * apart for weight, apart in pairs) / (total * (len(pairs) - 1))


def curvature_along(at: Surface, pieces: list[Part], v: Float[Tensor, " n"]) -> Curvature:
    """V'Hv over some pieces of the evaluation set."""
    pairs = list(at.over(pieces).of_parts(lambda alone: float(torch.dot(v.double(), alone.product(v).double()))))
    total = sum(weight for weight, _ in pairs)
    mean = sum(weight * value for weight, value in pairs) / total
    if len(pairs) < 2:
        return Curvature(mean, math.inf)
    spread = sum(weight * (value - mean) ** 2 for weight, value in pairs)
    return Curvature(mean, math.sqrt(spread / (total * (len(pairs) - 1))))


def held_out(at: Surface, pieces: list[Part], stream: torch.Generator, sign: int = 1) -> Curvature:
    """The curvature, on one half of the pieces, along the lowest direction of the other (`sign` -1: the highest).

    A direction that was chosen because it is low on some data is low there by luck as well: the smallest eigenvalue of
    a mini-batch is biased downwards.
    """
    half = at.over(pieces[::2])
    space = lanczos(lambda v: sign * half.product(v), random_start(at.size, at.theta, stream))
    at.products += half.products
    half.forget()
    found = curvature_along(at, pieces[1::2], space.vector(0))
    return Curvature(sign * found.value, found.error)
