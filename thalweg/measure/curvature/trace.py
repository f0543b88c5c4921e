r"""The trace by Hutch++: exact on the space where most of it lies, sampled on the rest.

$$ \mathrm{tr} H \approx \mathrm{tr}(Q^\top H Q) + \tfrac{1}{k} \sum_i g_i^\top (I - QQ^\top) H (I - QQ^\top) g_i $$

with Q an orthonormal basis of HS for a random S (Meyer, Musco, Musco & Woodruff, "Hutch++: Optimal Stochastic Trace
Estimation", 2021, algorithm 1). The error falls as 1/products, that of sampling alone as its root.
"""

import math
from dataclasses import dataclass

import torch

from thalweg.core.errors import RecipeError
from thalweg.measure.curvature.lanczos import Product


@dataclass(frozen=True)
class Trace:
    """An estimate of the trace, the standard error that its samples leave (0 where it is exact), and the products.

    >>> Trace(6.0, 0.0, 9)
    Trace(value=6.0, error=0.0, products=9)
    """

    value: float
    error: float
    products: int


def hutch(product: Product, like: torch.Tensor, products: int, stream: torch.Generator) -> Trace:
    """The trace of an operator on vectors like `like`, from so many products: a third each for S, Q and the samples.

    >>> scale = torch.tensor([5.0, -2.0, 3.0])
    >>> hutch(lambda v: scale * v, scale, 9, torch.Generator().manual_seed(0))  # Q is the whole space
    Trace(value=6.0..., error=0.0, products=6)
    """
    if not isinstance(products, int) or products < 6:
        raise RecipeError(
            f"The trace of {products!r} products: it takes at least 6, a third each for the three parts. Give for "
            "instance products=60."
        )
    n, each = len(like), products // 3
    sketched = min(each, n)
    signs = _signs(n, sketched, like, stream)
    image = torch.stack([product(column) for column in signs.T], 1)
    q = torch.linalg.qr(image)[0]
    inside = sum(float(torch.dot(column.double(), product(column).double())) for column in q.T)
    if sketched == n:
        return Trace(inside, 0.0, 2 * n)
    samples = []
    for column in _signs(n, products - 2 * each, like, stream).T:
        rest = column - q @ (q.T @ column)
        rest = rest - q @ (q.T @ rest)
        samples.append(float(torch.dot(rest.double(), product(rest).double())))
    values = torch.tensor(samples, dtype=torch.float64)
    spread = float(values.std()) / math.sqrt(len(samples)) if len(samples) > 1 else math.nan
    return Trace(inside + float(values.mean()), spread, products)


def _signs(n: int, count: int, like: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
    return (torch.randint(0, 2, (n, count), generator=stream) * 2 - 1).to(like.device, like.dtype)
