"""Inputs told more of: products and waves of them, beside which the first layer becomes as wide as that asks for.

Both widen what a network of the same size can say of rows of few numbers: products where inputs act together, waves
(random Fourier features) where the function turns up and down over their range, which a network learns last (Rahaman et
al., "On the Spectral Bias of Neural Networks", 2019).
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations_with_replacement

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.randomness import stream_seed
from thalweg.diagnosis.repairs import Standardized
from thalweg.remedy.altered import Altered, Trace, has, set_module, traced
from thalweg.remedy.restraining import rows_of
from thalweg.training import Recipe

MOST_CROSSED = 12
"""Of so many columns all products are features; of more, up to `MOST_SQUARED`, the squares alone."""
MOST_SQUARED = 64
MOST_WAVED, FEWEST_ROWS, MOST_ROWS = 16, 20, 1000
"""Waves are drawn for so many columns at most, their lengths from the distances of so many train examples."""
WAVES = 64
"""So many directions, each with its cosine and its sine."""
PRODUCTS, FOURIER = "with products of its inputs", "with random Fourier features of its inputs"


class Featured(nn.Module):
    r"""A model that reads features of its inputs beside them: $x \to (x, \phi(x))$.

    >>> Featured(nn.Identity(), Products(2, crossed=True))(torch.tensor([[2.0, 3.0]]))
    tensor([[2., 3., 4., 6., 9.]])
    """

    def __init__(self, model: nn.Module, features: nn.Module) -> None:
        super().__init__()
        self.model, self.features = model, features

    def forward(self, x: Float[Tensor, "batch columns"]) -> Tensor:
        """The model's output for the longer rows."""
        output: Tensor = self.model(torch.cat([x, self.features(x)], dim=1))
        return output


class Products(nn.Module):
    r"""The products of the inputs, $(x_i) \to (x_i x_j)$ for $i \le j$; with `crossed=False` the squares alone.

    >>> Products(2, crossed=False)(torch.tensor([[2.0, 3.0]]))
    tensor([[4., 9.]])
    """

    pairs: Tensor

    def __init__(self, columns: int, crossed: bool) -> None:
        super().__init__()
        self.crossed = crossed
        self.register_buffer("pairs", torch.tensor(pairs_of(columns, crossed)), persistent=False)

    def forward(self, x: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch products"]:
        """The products alone, a row for each example."""
        return x[:, self.pairs[:, 0]] * x[:, self.pairs[:, 1]]


class Fourier(nn.Module):
    r"""Waves over the inputs, $x \to (\cos \omega_k^\top x, \sin \omega_k^\top x)$, their frequencies $\omega_k$ fixed.

    Random Fourier features (Rahimi & Recht, "Random Features for Large-Scale Kernel Machines", 2007, section 3; Tancik
    et al., "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains", 2020).

    >>> Fourier(torch.tensor([[torch.pi]]))(torch.tensor([[1.0]])).round()
    tensor([[-1., -0.]])
    """

    frequencies: Tensor

    def __init__(self, frequencies: Float[Tensor, "columns waves"]) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies.clone())

    def forward(self, x: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch features"]:
        """The cosines, then the sines."""
        phase = x @ self.frequencies.to(x.dtype)
        return torch.cat([phase.cos(), phase.sin()], dim=1)


def pairs_of(columns: int, crossed: bool) -> list[tuple[int, int]]:
    """The pairs of columns whose products are features."""
    return list(combinations_with_replacement(range(columns), 2)) if crossed else [(i, i) for i in range(columns)]


def featured(recipe: Recipe) -> Recipe:
    """The recipe whose model reads products of its inputs too, where these are rows of few numbers.

    The first layer becomes as wide as that asks for. Of more than `MOST_CROSSED` columns the squares alone are added.
    """

    def products(columns: int) -> nn.Module | None:
        return Products(columns, columns <= MOST_CROSSED) if 2 <= columns <= MOST_SQUARED else None

    return _told(recipe, products, PRODUCTS)


def waved(recipe: Recipe) -> Recipe:
    """The recipe whose model reads random Fourier features of its inputs too, where these are rows of few numbers.

    The frequencies are drawn once, the same for every seed: they are part of the recipe, not of a run.
    """

    def waves(columns: int) -> nn.Module | None:
        x = _inputs(recipe, columns)
        found = None if x is None or columns > MOST_WAVED else frequencies_of(x)
        return None if found is None else Fourier(found)

    return _told(recipe, waves, FOURIER)


def frequencies_of(x: Float[Tensor, "example columns"], waves: int = WAVES) -> Float[Tensor, "columns waves"] | None:
    r"""Frequencies for inputs, from the longest waves that their range shows to the shortest that examples resolve.

    $\omega_k = z_k / (\sigma \ell_k)$ with $z_k \sim N(0, I)$, $\sigma$ the deviation of each column, and lengths
    $\ell_k$ from the median distance of two examples down to that of nearest neighbours, evenly in their logarithm. In
    many columns the two are alike and these are the features of one Gaussian kernel; on a line they span octaves. None
    where examples are too few, or all alike.

    >>> found = frequencies_of(torch.linspace(0, 1, 200)[:, None])
    >>> found.shape, bool(found.abs().max() > 10 * found.abs().median())
    (torch.Size([1, 64]), True)
    """
    x = x[torch.isfinite(x).all(1)].double()
    x = x[:: max(1, len(x) // MOST_ROWS)][:MOST_ROWS].unique(dim=0)
    if len(x) < FEWEST_ROWS:
        return None
    deviation = x.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    apart = torch.cdist(x / deviation, x / deviation)
    nearest = apart.masked_fill(torch.eye(len(x), dtype=torch.bool), torch.inf).min(1).values
    far, near = float(apart[~torch.eye(len(x), dtype=torch.bool)].median()), float(nearest.median())
    if not 0 < near <= far:
        return None
    lengths = torch.logspace(math.log10(far), math.log10(near), waves, dtype=torch.float64)
    draw = torch.Generator().manual_seed(stream_seed(0, "Fourier features", x.shape[1]))
    drawn = torch.randn(x.shape[1], waves, generator=draw, dtype=torch.float64)
    return (drawn / (deviation[:, None] * lengths)).to(torch.get_default_dtype())


def _inputs(recipe: Recipe, columns: int) -> Tensor | None:
    """The rows that the network itself reads: in standard units where it stands within them."""
    rows = rows_of(recipe)
    if rows is None or not rows.table or rows.x is None or rows.x.shape[1] != columns:
        return None
    x = torch.from_numpy(rows.x).to(torch.get_default_dtype())
    known = recipe.model.inputs if isinstance(recipe.model, Standardized) else None
    return x if known is None else (x - known[0]) / known[1]


def _told(recipe: Recipe, features: Callable[[int], nn.Module | None], says: str) -> Recipe:
    """The recipe whose model reads features, made for so many columns; itself where there are none, or already."""
    outer = recipe.model if isinstance(recipe.model, Standardized) else None
    factory = recipe.model if outer is None else outer.factory
    seen = traced(recipe.but(model=factory))
    if seen is None or seen.columns is None or not reads_rows(seen) or has(recipe.model, says):
        return recipe
    made = features(seen.columns)
    if made is None:
        return recipe
    more = int(made(seen.x[:1]).shape[1])
    alter = partial(with_features, first=seen.layers[0].name, features=made, more=more)
    told = Altered(factory, alter, says)
    return recipe.but(model=told if outer is None else replace(outer, factory=told))


def reads_rows(seen: Trace) -> bool:
    """Whether the first layer is one that reads the inputs, a column each."""
    first = seen.layers[0].module if seen.layers else None
    return type(first) is nn.Linear and first.in_features == seen.columns


def with_features(model: nn.Module, first: str, features: nn.Module, more: int) -> nn.Module:
    """The model behind features, its first layer `more` inputs wider."""
    return Featured(widened(model, first, more), copy.deepcopy(features))


def widened(model: nn.Module, first: str, more: int) -> nn.Module:
    """The model with a first layer that reads so many inputs more.

    >>> widened(nn.Linear(3, 2), "", 4).in_features
    7
    """
    layer = model.get_submodule(first)
    assert isinstance(layer, nn.Linear)
    if isinstance(layer, nn.LazyLinear):  # it counts its inputs itself
        return model
    inputs, dtype = layer.in_features + more, layer.weight.dtype
    wide = nn.Linear(inputs, layer.out_features, bias=layer.bias is not None, dtype=dtype)
    return set_module(model, first, wide)
