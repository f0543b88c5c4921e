r"""The affine warp: a batch of images rotated, scaled, sheared, flipped and shifted by one bilinear sampling.

A matrix $(A \mid t)$ says where each pixel of the output is read. With $p$ the place of a pixel, counted in pixels from
the middle of its image, $x$ to the right and $y$ downwards,

$$ \mathrm{output}(p) = \mathrm{image}(A p + t) . $$

Places are pixels, not shares of a side: a rotation of an image that is no square stays a rotation. The sampling is that
of a spatial transformer (Jaderberg et al., "Spatial Transformer Networks", 2015, equation 5): differentiable in the
image and in the matrix. Augmentation is the same operation with random matrices.
"""

from contextlib import nullcontext
from math import cos, radians, sin
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.nest import describe, sent

PADDINGS = ("zeros", "border", "reflection")
"""What lies around an image: black, its outermost pixels, or its mirror image."""
MODES = ("bilinear", "nearest")
Places = Float[Tensor, " batch"]
Matrices = Float[Tensor, "batch 2 3"]


@no_type_check
def affine(
    angle: Places | float = 0.0,
    scale: Places | float = 1.0,
    shift_x: Places | float = 0.0,
    shift_y: Places | float = 0.0,
    flip_x: Places | float = 0.0,
    flip_y: Places | float = 0.0,
    shear: Places | float = 0.0,
    *,
    batch: int = 1,
    dtype: torch.dtype | None = None,
) -> Matrices:
    r"""The matrices `(batch, 2, 3)` with which `warp` does this to images; each argument is a number, or one per image.

    What happens to an image, in this order: it is flipped (where `flip_x` is 1, left and right change places, where
    `flip_y` is 1, top and bottom), scaled (`scale` 2 makes things twice as large), sheared along x by `shear` degrees,
    rotated by `angle` degrees against the clock, and moved by `shift_x` pixels to the right and `shift_y` pixels down.
    With $F$, $s$, $H$, $R$ and $d$ for these, a pixel goes to $R H s F p + d$; the matrix is the inverse of that,

    $$ A = F H^{-1} R^{-1} / s, \qquad t = -A d . $$

    Gradients reach every argument that is a tensor. Raises `RecipeError` for arguments of several shapes.

    >>> affine(angle=90.0)[0].round().long().tolist()
    [[0, -1, 0], [1, 0, 0]]
    >>> image = torch.arange(6.0).reshape(1, 1, 2, 3)
    >>> torch.equal(warp(image, affine(flip_x=1.0)), image.flip(3))
    True
    """
    given = (angle, scale, shift_x, shift_y, flip_x, flip_y, shear)
    tensors = [each for each in given if isinstance(each, Tensor)]
    shapes = {tuple(each.shape) for each in tensors}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise RecipeError(f"affine was given tensors of shapes {sorted(shapes)}. Give each one number per image.")
    count = len(tensors[0]) if tensors else batch
    kind = dtype or next((each.dtype for each in tensors), torch.get_default_dtype())
    device = next((each.device for each in tensors), torch.device("cpu"))
    exact = torch.float32 if device.type == "mps" else torch.float64  # in which 90 degrees are 90 degrees
    turn, size, right, down, across, upside, slant = (
        each.to(exact) if isinstance(each, Tensor) else each for each in given
    )
    cosine, sine = _over(_cosine(turn), size), _over(_sine(turn), size)
    mirror_x, mirror_y, skew = 1 - 2 * across, 1 - 2 * upside, _over(_sine(slant), _cosine(slant))
    a = _times(mirror_x, cosine - _times(skew, sine))
    b = _times(mirror_x, -sine - _times(skew, cosine))
    c, d = _times(mirror_y, sine), _times(mirror_y, cosine)
    t, u = -_times(right, a) - _times(down, b), -_times(right, c) - _times(down, d)
    filled = [
        each if isinstance(each, Tensor) else torch.full((count,), each, dtype=exact, device=device)
        for each in (a, b, t, c, d, u)
    ]
    return torch.stack(filled, dim=1).view(count, 2, 3).to(kind)


def _times(one: Any, other: Any) -> Any:
    """A product that costs nothing where a factor is the number 0 or 1: most matrices do little of what they could."""
    for factor, rest in ((one, other), (other, one)):
        if isinstance(factor, int | float) and factor in (0, 1):
            return rest if factor else 0.0
    return one * other


def _over(one: Any, other: Any) -> Any:
    return one if isinstance(other, int | float) and other == 1 else one / other


def _cosine(degrees: Any) -> Any:
    return torch.deg2rad(degrees).cos() if isinstance(degrees, Tensor) else cos(radians(degrees))


def _sine(degrees: Any) -> Any:
    return torch.deg2rad(degrees).sin() if isinstance(degrees, Tensor) else sin(radians(degrees))


@no_type_check
def warp(
    images: Any,
    matrices: Matrices,
    size: tuple[int, int] | None = None,
    padding: str = "zeros",
    mode: str = "bilinear",
) -> Float[Tensor, "batch channel height width"]:
    """Images `(batch, channel, height, width)` read at the places that matrices `(batch, 2, 3)` give: one sampling.

    `size` is (height, width) of what comes out, which shows the same field in other pixels: with the identity the image
    is resized. `padding` is what lies around the image ("zeros", "border", "reflection"), `mode` "bilinear" or
    "nearest". The identity gives the image back to the bit, a flip and a shift by whole pixels its pixels.

    For an image of 28 pixels a side, the grid is laid over 32: places are then exact in binary, and so is the identity.

    Raises `DataError` for what is no batch of floating images, `RecipeError` for the rest.

    >>> image = torch.arange(12.0).reshape(1, 1, 3, 4)
    >>> torch.equal(warp(image, affine()), image)
    True
    >>> warp(image, affine(shift_x=1.0))[0, 0, 0].tolist()
    [0.0, 0.0, 1.0, 2.0]
    """
    _check(images, matrices, size, padding, mode)
    height, width = images.shape[2:]
    rows, columns = size or (height, width)
    whole = (_power_of_two(height), _power_of_two(width))
    kind = torch.float32 if images.dtype in (torch.float16, torch.bfloat16) else images.dtype
    grid = _grid(matrices.to(kind), (height, width), (rows, columns), whole)
    padded = images.to(kind)
    if whole != (height, width):
        if padding != "zeros":
            grid = _inside(grid, (height, width), whole, padding)
            padding = "zeros"
        padded = F.pad(padded, (0, whole[1] - width, 0, whole[0] - height))
    return F.grid_sample(padded, grid, mode, padding, align_corners=False).to(images.dtype)


def _grid(
    matrices: Matrices, field: tuple[int, int], size: tuple[int, int], whole: tuple[int, int]
) -> Float[Tensor, "batch rows columns 2"]:
    r"""Where each pixel is read, as `grid_sample` counts: from -1 to 1 over `whole`, of which the image is the corner.

    One product of all matrices with all places, in a twentieth of the time of `affine_grid`. It stays in its own type
    where layers multiply in bfloat16, in which places would be half a pixel off.
    """
    kind: dict[str, Any] = {"dtype": matrices.dtype, "device": matrices.device}
    places = torch.ones(3, *size, **kind)
    places[0] = _steps(field[1], size[1], kind)
    places[1] = _steps(field[0], size[0], kind)[:, None]
    factor = sent([[2 / whole[1]], [2 / whole[0]]], matrices)
    middle = sent([[0, 0, field[1] / whole[1] - 1], [0, 0, field[0] / whole[0] - 1]], matrices)
    scaled, device = torch.addcmul(middle, matrices, factor).view(-1, 3), matrices.device.type
    with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
        rows = scaled @ places.view(3, -1)
    return rows.view(-1, 2, *size).permute(0, 2, 3, 1)


def _steps(side: int, count: int, kind: dict[str, Any]) -> Float[Tensor, " place"]:
    """The middles of `count` equal parts of a side, from the middle of the side."""
    step = side / count
    return torch.arange(count, **kind).sub_((count - 1) / 2).mul_(step)


def _inside(
    grid: Float[Tensor, "batch rows columns 2"], field: tuple[int, int], whole: tuple[int, int], padding: str
) -> Float[Tensor, "batch rows columns 2"]:
    """Places beyond the image brought back into it: to its border, or mirrored at its edges."""
    ends, sides = (sent(each[::-1], grid) for each in (whole, field))
    if padding == "reflection":
        span = 2 * sides / ends
        folded = torch.remainder(grid + 1, 2 * span)
        outside = (grid < -1) | (grid > span - 1)  # what is inside keeps its bits
        grid = torch.where(outside, torch.minimum(folded, 2 * span - folded) - 1, grid)
    return torch.maximum(torch.minimum(grid, (2 * sides - 1) / ends - 1), 1 / ends - 1)


def _power_of_two(side: int) -> int:
    return 1 << (side - 1).bit_length()


def _check(images: Any, matrices: Tensor, size: Any, padding: str, mode: str) -> None:
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
        mend = " Make them floating: images.float() / 255." if isinstance(images, Tensor) and images.dim() == 4 else ""
        raise DataError(
            f"warp was given {describe(images)}, but it takes floating images (batch, channel, height, width).{mend}"
        )
    if 0 in images.shape[1:]:
        raise DataError(f"warp was given images of {tuple(images.shape)}, which have no pixel. Leave empty images out.")
    if matrices.shape != (len(images), 2, 3):
        raise RecipeError(
            f"warp was given {len(images)} images and matrices of {tuple(matrices.shape)}. Give a matrix of (2, 3) for "
            "each image, as affine makes them."
        )
    for name, value, options in (("padding", padding, PADDINGS), ("mode", mode, MODES)):
        if value not in options:
            raise RecipeError(f"warp: {name}={value!r} is none of {', '.join(options)}.{did_you_mean(value, options)}")
    if size is not None and not all(isinstance(side, int) and side > 0 for side in size):
        raise RecipeError(f"warp: size={size!r}, but it is (height, width) in pixels, such as (28, 28).")
