"""Occlusion: how much the answer loses where a part of the image is covered."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.measure.inside.scores import as_targets, outputs_of
from thalweg.measure.looking import as_images, as_module, looking

AT_ONCE = 2**22
"""Numbers of covered images that go through the model in one batch."""


@no_type_check
def occlusion(
    model: nn.Module,
    images: Any,
    target: Any = None,
    *,
    size: int | None = None,
    stride: int | None = None,
    fill: float | None = None,
) -> Float[Tensor, "batch height width"]:
    r"""How much the target's output falls where a square covers the image: above 0 where the model needs what is there.

    $$ D_p = \frac{1}{|S_p|} \sum_{s \in S_p} \big( z_t(x) - z_t(x \text{ covered by } s) \big) $$

    over the squares S_p that cover pixel p (Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks",
    2014, section 4.2, who show the class's probability). `size` is the square's side (None: about a quarter of the
    image's smaller one), `stride` how far squares lie apart (None: half a side); the last square of a row ends at the
    image's edge. `fill` is what covers (None: the mean of each channel of the image). `target` and images as in
    `saliency`.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 0.0, -3.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    >>> occlusion(net, torch.ones(1, 2, 2), target=0, size=1, fill=0.0)
    tensor([[[ 1.,  0.],
             [-3.,  0.]]])

    Raises `RecipeError` for a side, a stride or a target that cannot be, `DataError` for images that cannot be read.
    """
    x = as_images(as_module(model), images)
    height, width = x.shape[2:]
    side = max(1, round(min(height, width) / 4)) if size is None else size
    step = max(1, side // 2) if stride is None else stride
    _check(side, step, fill, (height, width))
    corners = [(i, j) for i in _starts(height, side, step) for j in _starts(width, side, step)]
    with looking(model), torch.no_grad():
        cover = x.mean((2, 3), keepdim=True) if fill is None else torch.full_like(x[:, :, :1, :1], fill)
        falls = torch.zeros(len(x), len(corners))
        outputs = outputs_of(model, x)
        targets = as_targets(outputs, target)
        whole = outputs.gather(1, targets[:, None])
        many = max(1, AT_ONCE // x.numel())
        for first in range(0, len(corners), many):
            part = corners[first : first + many]
            covered = torch.cat([_covered(x, cover, corner, side) for corner in part])
            left = outputs_of(model, covered).gather(1, targets.repeat(len(part))[:, None])
            falls[:, first : first + many] = (whole - left.view(len(part), len(x)).T).cpu()
        return _averaged(falls, corners, side, (height, width))


def _check(side: Any, step: Any, fill: Any, shape: tuple[int, int]) -> None:
    for name, value in (("size", side), ("stride", step)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RecipeError(f"occlusion: {name}={value!r}, but it is a number of pixels, at least 1. Give {name}=2.")
    if side > min(shape):
        raise RecipeError(
            f"occlusion: a square of size={side} is larger than the images of {shape[0]} x {shape[1]}. Give at most "
            f"size={min(shape)}."
        )
    if step > side:
        raise RecipeError(
            f"occlusion: stride={step} leaves pixels between squares of size={side} that are never covered. Give at "
            f"most stride={side}."
        )
    if fill is not None and not (isinstance(fill, int | float) and abs(fill) < float("inf")):
        raise RecipeError(f"occlusion: fill={fill!r}, but it is a number in the images' scale. Give for instance 0.0.")


def _starts(length: int, side: int, step: int) -> list[int]:
    return [*range(0, length - side, step), length - side]


def _covered(x: Tensor, cover: Tensor, corner: tuple[int, int], side: int) -> Tensor:
    i, j = corner
    part = x.clone()
    part[:, :, i : i + side, j : j + side] = cover
    return part


def _averaged(
    falls: Float[Tensor, "batch square"], corners: list[tuple[int, int]], side: int, shape: tuple[int, int]
) -> Float[Tensor, "batch height width"]:
    total, count = torch.zeros(len(falls), *shape), torch.zeros(shape)
    for place, (i, j) in enumerate(corners):
        total[:, i : i + side, j : j + side] += falls[:, place, None, None]
        count[i : i + side, j : j + side] += 1
    return total / count
