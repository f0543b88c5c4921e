"""Augmentation: what may happen to an image without changing what it shows, as one frozen value.

All that moves pixels (flip, scale, shear, rotation, shift, crop) is one matrix for each image and one sampling of the
batch (`thalweg.core.warp`). What an image gets is a function of the key and of the example's own number, so that it is
the same in whatever batch, order or process the example comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.counter import uniform
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.kinds import check_fields, check_name
from thalweg.core.nest import Nest, describe, leaves
from thalweg.core.warp import PADDINGS, affine, warp
from thalweg.data.intensity import Range, brightened, cut_out, noisy
from thalweg.data.mixup import mixed

FLIPS = (True, False, "horizontal", "vertical", "both")
DRAWN = ("flip_x", "flip_y", "angle", "scale", "shift_x", "shift_y", "shear", "crop_x", "crop_y")
"""Of each example's uniform numbers the first nine; each has its own place, so that one knob moves no other's."""
OTHERS = len(DRAWN)
DRAWS = OTHERS + 6
LIMITS = {"rotate": 180.0, "shift": 1.0, "shear": 80.0, "contrast": 1.0, "cutout": 1.0}
UNITS = {
    "rotate": "the largest angle in degrees",
    "shift": "the largest shift as a share of the side",
    "shear": "the largest angle in degrees",
    "brightness": "the most that is added to an image in [0, 1]",
    "contrast": "the largest change of contrast as a share",
    "noise": "the noise's deviation for an image in [0, 1]",
    "cutout": "the share of each side that is cut out",
    "mixup": "the parameter of the Beta distribution",
}


@no_type_check
@dataclass(frozen=True, kw_only=True, repr=False)
class Augment:
    r"""Random changes of images `(batch, channel, height, width)`, or `(batch, height, width)`, drawn for each image.

    - `flip`: left and right change places for every other image (True or "horizontal"), top and bottom ("vertical"), or
      "both", each by itself. `rotate`: degrees, drawn from $[-r, r]$. `scale`: a range, or $s$ for $[1-s, 1+s]$.
      `shift`: as a share of each side. `shear`: degrees. `crop`: the image moves by whole pixels, at most so many, as a
      crop of the padded image does. `padding`: what comes in from outside, "border" (the outermost pixels), "zeros"
      (in standardized images their mean) or "reflection".
    - `brightness`: $x + b\,u$; `contrast`: $m + (x - m)(1 + c\,u)$ with the image's mean $m$ and $u \in [-1, 1]$;
      `noise`: $x + n\,\epsilon$. Images in [0, 1] stay in it. Of any other image (a standardized one) brightness and
      noise are counted in its own deviations, and nothing is cut off. All three, and `mixup`, do for any inputs; in
      rows `(batch, columns)` brightness and noise are counted in the columns' own unit.
    - `cutout`: a rectangle of this share of each side becomes 0, its middle anywhere (DeVries & Taylor, "Improved
      Regularization of Convolutional Neural Networks with Cutout", 2017).
    - `mixup`: $\lambda x_i + (1-\lambda) x_j$ and the same of targets, $\lambda \sim \mathrm{Beta}(\alpha, \alpha)$
      (Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, equation 1), with the next example of the batch
      in a drawn order. `classes` says how many there are: classes become probabilities.

    >>> augment = Augment(rotate=15, flip=True)
    >>> x, y = augment(torch.rand(5, 3, 8, 8), torch.zeros(5), key=0, ids=torch.arange(5))
    >>> augment, x.shape
    (Augment(flip=True, rotate=15), torch.Size([5, 3, 8, 8]))

    Raises `RecipeError` for a knob out of its range, and, when called, `DataError` for what is no batch of images.
    """

    flip: bool | str = False
    rotate: float = 0.0
    scale: float | tuple[float, float] = 0.0
    shift: float = 0.0
    shear: float = 0.0
    crop: int = 0
    padding: str = "border"
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0
    mixup: float = 0.0
    classes: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.scale, Sequence) and not isinstance(self.scale, str):
            object.__setattr__(self, "scale", tuple(self.scale))
        check_fields(self)
        _check_ranges(self)

    def __repr__(self) -> str:
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        changed = [f"{item.name}={own[item.name]!r}" for item in fields(self) if own[item.name] != item.default]
        return f"Augment({', '.join(changed)})"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Augment":
        """Of settings by their names, each of which must be known.

        >>> Augment.of({"rotat": 15})
        Traceback (most recent call last):
        thalweg.core.errors.RecipeError: Augment has no argument 'rotat'. Did you mean 'rotate'?
        """
        for name in settings:
            check_name(cls, name, "Augment")
        return cls(**settings)

    @property
    def moves(self) -> bool:
        """Whether pixels are moved, so that inputs have to be images."""
        spread = self.scale not in (0, (1, 1))
        return bool(self.flip or self.rotate or spread or self.shift or self.shear or self.crop)

    def __call__(
        self, x: Float[Tensor, "batch ..."], y: Nest, key: int, ids: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch ..."], Nest]:
        """The batch augmented: `key` is the seed, `ids` number the examples. Neither `x` nor `y` is written to."""
        _check_batch(self, x, y, ids)
        if not len(x):
            return x, y
        drawn = uniform(key, ids.to(x.device), DRAWS)
        range_ = Range.of(x) if self.brightness or self.contrast or self.noise else None
        if self.moves:
            x = self._moved(x, drawn)
        if range_ is not None and (self.brightness or self.contrast):
            x = brightened(x, range_, drawn[:, OTHERS : OTHERS + 2], self.brightness, self.contrast)
        if range_ is not None and self.noise:
            x = noisy(x, range_, key, ids, self.noise)
        if self.cutout:
            x = cut_out(x, drawn[:, OTHERS + 2 : OTHERS + 4], self.cutout)
        if self.mixup:
            x, y = mixed(x, y, drawn[:, OTHERS + 4 :], ids, self.mixup, self.classes)
        return x, y

    def _moved(self, x: Tensor, drawn: Tensor) -> Tensor:
        images = x if x.dim() == 4 else x.unsqueeze(1)
        matrices = self.matrices(drawn[:, :OTHERS], (images.shape[2], images.shape[3]))
        return warp(images, matrices, padding=self.padding).view(x.shape)

    def matrices(
        self, drawn: Float[Tensor, "batch knob"], size: tuple[int, int], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "batch 2 3"]:
        """The matrix of each image for nine uniform numbers each, `DRAWN`; pixels of images of `size` are its unit.

        >>> Augment(rotate=90).matrices(torch.ones(1, 9), (8, 8)).round().long().tolist()
        [[[0, -1, 0], [1, 0, 0]]]
        """
        low, high = self.scale if isinstance(self.scale, tuple) else (1 - self.scale, 1 + self.scale)
        across, upside = self.flip in (True, "horizontal", "both"), self.flip in ("vertical", "both")
        down, right = (self.shift * side for side in size)
        ends = {
            "flip_x": (0, 2 * across),
            "flip_y": (0, 2 * upside),
            "angle": (-self.rotate, self.rotate),
            "scale": (low, high),
            "shift_x": (-right, right),
            "shift_y": (-down, down),
            "shear": (-self.shear, self.shear),
            "crop_x": (-self.crop, self.crop + 1),
            "crop_y": (-self.crop, self.crop + 1),
        }
        exact = torch.float32 if drawn.device.type == "mps" else torch.float64
        lows, spans = (
            torch.tensor(each, dtype=exact, device=drawn.device)
            for each in ([ends[name][0] for name in DRAWN], [ends[name][1] - ends[name][0] for name in DRAWN])
        )
        columns = dict(zip(DRAWN, torch.addcmul(lows, drawn.to(exact), spans).unbind(1), strict=True))
        used: dict[str, Any] = {name: columns[name] for name in DRAWN[:7] if ends[name][0] != ends[name][1]}
        for name in ("flip_x", "flip_y"):
            if name in used:
                used[name] = used[name].floor_()
        if self.crop:
            for name, crop in (("shift_x", "crop_x"), ("shift_y", "crop_y")):
                used[name] = columns[crop].floor_() + used.get(name, 0.0)
        return affine(**({"scale": low} | used), batch=len(drawn), dtype=dtype)


def _check_ranges(augment: Augment) -> None:
    for name, meaning in UNITS.items():
        value, most = getattr(augment, name), LIMITS.get(name)
        if not 0 <= value <= (most or value) or not isfinite(value):
            range_ = "at least 0" if most is None else f"from 0 to {most:g}"
            raise RecipeError(f"Augment: {name} is {value!r}, but it is {meaning}, {range_}. Leave it out for none.")
    pair = augment.scale if isinstance(augment.scale, tuple) else (1 - augment.scale, 1 + augment.scale)
    if not 0 < pair[0] <= pair[1] < float("inf"):
        raise RecipeError(
            f"Augment: scale is {augment.scale!r}, but it is a range of factors above 0, such as (0.9, 1.1), or 0.1 "
            "for the same."
        )
    if augment.crop < 0:
        raise RecipeError(f"Augment: crop is {augment.crop!r}, but it is a number of pixels, at least 0.")
    if augment.classes is not None and augment.classes < 2:
        raise RecipeError(f"Augment: classes is {augment.classes!r}, but there are two at least.")
    for name, value, options in (("flip", augment.flip, FLIPS), ("padding", augment.padding, PADDINGS)):
        if value not in options:
            near = did_you_mean(str(value), [option for option in options if isinstance(option, str)])
            raise RecipeError(f"Augment: {name} is {value!r}, but it is one of {', '.join(map(str, options))}.{near}")


def _check_batch(augment: Augment, x: Any, y: Nest, ids: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        mend = " Make them floating: x.float() / 255." if isinstance(x, Tensor) and x.dtype == torch.uint8 else ""
        raise DataError(f"Inputs to augment are {describe(x)}, but they are one floating tensor.{mend}")
    image = x.dim() in (3, 4) and 0 not in x.shape[1:]
    if (augment.moves or augment.cutout) and not image:
        raise DataError(
            f"Inputs to augment are {describe(x)}, but {augment} is for images (batch, channel, height, width). Give "
            "x.view(-1, channels, height, width), and let the model flatten them."
        )
    if image and augment.crop > (side := min(x.shape[-2:])):
        raise DataError(
            f"crop={augment.crop} moves images of {x.shape[-2]} x {x.shape[-1]} out of sight. Give {side} at most."
        )
    if len(ids) != len(x):
        raise DataError(f"{len(x)} examples were to be augmented by {len(ids)} numbers of examples. Give one for each.")
    if augment.moves and any(leaf.dim() > 2 and leaf.shape[-2:] == x.shape[-2:] for leaf in leaves(y)):
        raise DataError(
            f"The targets, {describe(y)}, are as large as the images, so they would have to move with them, and "
            f"{augment} moves inputs alone. Leave out what moves pixels, or augment both in a data set of your own."
        )
