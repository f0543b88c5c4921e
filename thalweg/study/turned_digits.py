"""Digits as images with room around them, and how accurate a network is when they are turned or made larger."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.warp import affine, warp
from thalweg.study.arms import accuracy
from thalweg.study.digits import Split
from thalweg.study.picture import BAND

Images = Float[Tensor, "batch 1 height width"]
MARGIN, SIDE = 2, 16


def as_images(split: Split) -> Split:
    """Rows of 8 x 8 pixels as images of 16 x 16: a margin of two black pixels on each side, then 12 pixels become 16.

    The margin keeps a digit inside when it is turned, or half as large again; more pixels, so that turning blurs less.
    """
    x, y = split
    ink = x.view(-1, 1, 8, 8) - x.min()
    return warp(F.pad(ink, [MARGIN] * 4), affine(batch=len(x)), size=(SIDE, SIDE)), y


def turned(x: Images, angle: float | int) -> Images:
    """The images, each turned against the clock by so many degrees."""
    return warp(x, affine(angle=angle, batch=len(x), dtype=x.dtype))


def scaled(x: Images, scale: float | int) -> Images:
    """The images, each so many times as large."""
    return warp(x, affine(scale=scale, batch=len(x), dtype=x.dtype))


def by_angle(model: nn.Module, split: Split, angles: Sequence[float | int]) -> list[float]:
    """The accuracy at each angle, of digits turned both ways."""
    x, y = split
    return [float(np.mean([accuracy(model, (turned(x, way * angle), y)) for way in _ways(angle)])) for angle in angles]


def by_scale(model: nn.Module, split: Split, scales: Sequence[float | int]) -> list[float]:
    """The accuracy at each scale."""
    x, y = split
    return [accuracy(model, (scaled(x, scale), y)) for scale in scales]


def turned_evenly(split: Split, widest: float | int) -> Split:
    """The digits turned by angles that lie evenly between -widest and widest, one each."""
    x, y = split
    return warp(x, affine(angle=torch.linspace(-widest, widest, len(x)))), y


def draw_accuracies(
    places: Sequence[float | int],
    accuracies: dict[str, Float[np.ndarray, "seed place"]],
    colors: Sequence[str],
    ax: Axes,
) -> Axes:
    """The mean over seeds of each network's accuracy, and a band from the lowest seed to the highest."""
    for color, (name, values) in zip(colors, accuracies.items(), strict=False):
        ax.fill_between(places, values.min(0), values.max(0), color=color, alpha=BAND, linewidth=0)
        ax.plot(places, values.mean(0), "o-", color=color, markersize=4, label=name)
    ax.set_ylim(0, 1.02)
    return ax


def _ways(angle: float | int) -> tuple[int, ...]:
    return (1, -1) if angle else (1,)
