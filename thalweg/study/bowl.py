r"""An elongated bowl, $L(x, y) = (x^2 + \kappa y^2) / 2$: flat along x, steep along y.

Gradient descent multiplies x by $1 - \eta$ and y by $1 - \kappa \eta$ in each step: y changes its sign for
$\eta > 1/\kappa$, and grows for $\eta > 2/\kappa$, two over the largest curvature (Goh, "Why Momentum Really Works",
2017).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from thalweg.study.walk import walk
from thalweg.training import Recipe

CURVATURE = 20.0
START_X, START_Y = (-9.5, -7.5), (1.5, 2.2)
SHOWN_X, SHOWN_Y = (-11.0, 6.0), 4.2


def height(place: Float[Tensor, "batch 2"], target: Tensor | None = None) -> Float[Tensor, ""]:
    """The height of the bowl at a place; the target is not asked.

    >>> float(height(torch.tensor([[2.0, 1.0]])))
    12.0
    """
    return (place.square() * torch.tensor([1.0, CURVATURE])).sum(1).mean() / 2


def descent(optimizer: Callable[..., Any], seed: int, steps: int) -> Recipe:
    """A walk on the bowl from a start on its left, far out and a little up."""
    random = np.random.default_rng([seed, 2])
    return walk(height, (random.uniform(*START_X), random.uniform(*START_Y)), optimizer, steps)


def heights(places: Float[np.ndarray, "step 2"]) -> Float[np.ndarray, " step"]:
    """The height of the bowl at each place of a path."""
    return (places[:, 0] ** 2 + CURVATURE * places[:, 1] ** 2) / 2


def draw_bowl(paths: dict[str, np.ndarray], colors: tuple[str, ...], ax: Axes) -> Axes:
    """Lines of equal height, and each path from its start up to where it leaves the picture."""
    grid_x, grid_y = np.meshgrid(np.linspace(*SHOWN_X, 50), np.linspace(-SHOWN_Y, SHOWN_Y, 36))
    surface = (grid_x**2 + CURVATURE * grid_y**2) / 2
    ax.contour(grid_x, grid_y, surface, levels=[1, 5, 15, 35, 65, 110], colors="0.85", linewidths=0.8)
    for color, (name, places) in zip(colors, paths.items(), strict=False):
        out = np.flatnonzero(np.abs(places[:, 1]) > SHOWN_Y)
        shown = places[: out[0] + 1] if len(out) else places
        ax.plot(*shown.T, color=color, marker=".", markersize=4, linewidth=1, label=name)
    ax.plot(0, 0, marker="+", color="black", markersize=9)
    ax.set(xlim=SHOWN_X, ylim=(-SHOWN_Y, SHOWN_Y), xlabel="x", ylabel="y")
    return ax
