"""Which pixels a unit depends on, and how much: the gradient of a linear stand-in, and of the network itself."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.randomness import generator
from thalweg.measure.field.linear import Linearized, positive_weights
from thalweg.measure.field.shape import as_input_shape
from thalweg.measure.looking import as_images, as_module, captured, forward, looking, named_layer

LUO = 1 - 0.9545
"""The share of the largest gradient below which a pixel is outside: two deviations (Luo et al. 2016, section 3)."""


@no_type_check
def gradient_support(
    model: nn.Module, input_shape: Sequence[int], layer: str = "", position: Sequence[int] | None = None
) -> Bool[Tensor, "*pixels"]:
    r"""Which pixels of an image have a nonzero gradient in a unit of a layer: `(height, width)`.

    $$ S = \{ p : \partial \textstyle\sum_c y_{c, u} / \partial x_p \ne 0 \} $$

    for the unit at `position` (row, column; None: the middle one) summed over channels. The gradient is that of the
    same network with random positive weights, without nonlinearities, in float64, so that nothing dies and nothing
    cancels. A layer without rows and columns counts as one unit. `layer` is a name of `named_modules`, "" the model's
    own output.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    >>> gradient_support(net, (1, 9, 9), "2", (0, 0))[0].long()
    tensor([1, 1, 1, 1, 1, 0, 0, 0, 0])

    Raises `RecipeError` for a layer, a shape or a position that the model does not have.
    """
    named_layer(model, layer)
    shape = as_input_shape(input_shape)
    with linearized(model, shape, [layer]) as (x, outputs):
        return support_of(x, outputs[layer], layer, position)


@contextmanager
def linearized(
    model: nn.Module, shape: tuple[int, ...], layers: Sequence[str]
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """An image and the outputs of layers in the network without nonlinearities."""
    x = torch.rand(1, *shape, generator=generator(0, "pixels"), dtype=torch.float64) + 0.5
    usual = torch.get_default_dtype()
    with looking(model), captured(model, layers) as outputs, Linearized():
        try:
            torch.set_default_dtype(torch.float64)  # for the tensors that the model makes of its own
            forward(_Stand(model), x.requires_grad_())
        finally:
            torch.set_default_dtype(usual)
        yield x, outputs


class _Stand(nn.Module):
    """The model with positive weights, which leaves its own alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.stand = (model, positive_weights(model))

    def forward(self, x: Tensor) -> Any:
        return functional_call(self.stand[0], self.stand[1], (x,))


def support_of(x: Tensor, output: Tensor | None, layer: str, position: Any) -> Bool[Tensor, "*pixels"]:
    """The pixels in which a unit of a layer's output has a gradient."""
    unit = unit_of(output, layer, position)
    if not unit.requires_grad:
        return torch.zeros(x.shape[2:], dtype=torch.bool)
    (slope,) = torch.autograd.grad(unit.sum(), x, retain_graph=True, allow_unused=True)
    return torch.zeros(x.shape[2:], dtype=torch.bool) if slope is None else (slope != 0).any(1)[0]


def unit_of(output: Tensor | None, layer: str, position: Any) -> Tensor:
    """The unit at a position of an output `(batch, channels, ...)`: `(batch, channels)`; a vector as it is."""
    if output is None:
        raise RecipeError(
            f"The layer '{layer}' was not called, or gives no tensor. Give a layer that the image passes."
        )
    places = output.shape[2:]
    if position is None:
        position = [count // 2 for count in places]
    ok = isinstance(position, list | tuple) and len(position) == len(places)
    if not ok or not all(isinstance(i, int) and 0 <= i < count for i, count in zip(position, places, strict=True)):
        raise RecipeError(
            f"position={position!r}, but the layer '{layer}' has {' x '.join(map(str, places)) or 'no'} units. Give "
            f"{'position=None' if not places else f'for instance position={tuple(c // 2 for c in places)}'}."
        )
    return output[(slice(None), slice(None), *position)] if output.dim() > 1 else output


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """How much a unit depends on each pixel, over images: `heat`, whose largest value is 1.

    `radius` is the heat's deviation from its centre along each axis, in pixels: twice that to either side holds
    95 % of a Gaussian. `side` is that of a square with as many pixels as have more than 4.55 % of the largest gradient.

    >>> EffectiveField(torch.tensor([[0.0, 1.0, 0.0]]), "conv", (0, 1), 5).radius
    (0.0, 0.0)
    """

    heat: Float[Tensor, "*pixels"]
    layer: str
    position: tuple[int, ...]
    images: int

    @property
    def radius(self) -> tuple[float, ...]:
        """The deviation along each axis, in pixels; NaN where there is no gradient at all."""
        found = []
        for axis in range(self.heat.dim()):
            others = [dim for dim in range(self.heat.dim()) if dim != axis]
            share = self.heat.double().sum(others) if others else self.heat.double()
            share, places = share / share.sum(), torch.arange(self.heat.shape[axis], dtype=torch.float64)
            centre = (share * places).sum()
            found.append(float((share * (places - centre).square()).sum().clamp(min=0).sqrt()))
        return tuple(found)

    @property
    def side(self) -> float:
        """The side of a square of as many pixels as matter."""
        return math.sqrt(int((self.heat > LUO).sum()))


@no_type_check
def effective_field(
    model: nn.Module, images: Tensor, layer: str = "", position: Sequence[int] | None = None
) -> EffectiveField:
    r"""The effective receptive field of a unit: the mean over images of $\sum_c |\partial u / \partial x_{c,p}|$.

    u is the unit at `position` (None: the middle one) of the layer, its channels with random signs, so that they cannot
    cancel the same everywhere. It is near Gaussian and takes up a part of the theoretical field, growing with the root
    of the depth (Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
    2016). Images are `(batch, channels, height, width)`; the model is left as it was.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    >>> field = effective_field(net, torch.rand(5, 1, 9, 9))
    >>> field.heat.shape, field.heat[4, 2] > 0, field.heat[4, 1]
    (torch.Size([9, 9]), tensor(True), tensor(0.))

    Raises `RecipeError` for a layer or position that is not there, `DataError` for images that cannot be read.
    """
    named_layer(model, layer)
    x = as_images(as_module(model), images)
    with looking(model), captured(model, [layer]) as outputs:
        x = x.clone().requires_grad_()
        forward(model, x)
        unit = unit_of(outputs.get(layer), layer, position)
        signs = torch.randint(0, 2, unit.shape, generator=generator(0, "signs")).to(unit) * 2 - 1
        slope = torch.autograd.grad((unit * signs).sum(), x, allow_unused=True)[0] if unit.requires_grad else None
        places = outputs[layer].shape[2:]
    heat = (torch.zeros_like(x) if slope is None else slope).detach().abs().sum(1).mean(0).cpu()
    top = heat.max()
    place = tuple(position) if position is not None else tuple(count // 2 for count in places)
    return EffectiveField(heat / top if top > 0 else heat, layer, place, len(x))
