"""The image that a filter likes best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.randomness import generator
from thalweg.measure.field.shape import as_input_shape
from thalweg.measure.inside.filters import output_of
from thalweg.measure.looking import as_module, captured, forward, looking, named_layer

EVERY = 4
"""Steps from one smoothing to the next."""


@dataclass(frozen=True, eq=False)
class Maximized:
    """An image for each channel, with the channel's mean activation at the random start and at the image.

    >>> Maximized(torch.zeros(1, 3, 8, 8), torch.tensor([0.1]), torch.tensor([2.0])).images.shape
    torch.Size([1, 3, 8, 8])
    """

    images: Float[Tensor, "filter channel height width"]
    start: Float[Tensor, " filter"]
    end: Float[Tensor, " filter"]


@no_type_check
def maximize(
    model: nn.Module,
    layer: str,
    channel: int | Sequence[int],
    input_shape: Sequence[int],
    *,
    steps: int = 64,
    rate: float = 0.05,
    bounds: tuple[float, float] = (0.0, 1.0),
    smoothness: float = 0.3,
    jitter: int = 1,
    seed: int = 0,
) -> Maximized:
    r"""Images that maximize the mean activation of channels of a layer, by gradient ascent from seeded noise.

    $$ x \leftarrow \mathrm{clamp}\big( x + \eta \, (b - a) \, g / \mathrm{rms}(g) \big), \qquad g = \nabla_x \,
    \mathrm{mean}_{i,j} \, h_{c,i,j}(x) $$

    (Erhan, Bengio, Courville & Vincent, "Visualizing Higher-Layer Features of a Deep Network", 2009). Without a prior
    that finds noise, so the image is moved by up to `jitter` pixels before every step (Mordvintsev et al.,
    "Inceptionism", 2015), mixed with its own 3 x 3 blur by a share of `smoothness` every fourth (Yosinski et al. 2015),
    and kept within `bounds` (a, b), the range of the data. `input_shape` is (channels, height, width); several channels
    make several images in one go. Convolutions are better than the ReLU after them, whose gradient may be 0 everywhere.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    >>> found = maximize(net, "0", [0, 1], (1, 8, 8))
    >>> found.images.shape, bool((found.end > found.start).all())
    (torch.Size([2, 1, 8, 8]), True)

    Raises `RecipeError` for a layer, channel, shape or setting that cannot be, `DataError` where the model cannot read
    such images.
    """
    named_layer(model, layer)
    shape = as_input_shape(input_shape)
    _check(steps, rate, bounds, smoothness, jitter)
    channels = [channel] if isinstance(channel, int) else list(channel)
    low, high = bounds
    stream = generator(seed, "maximizing")
    like = next((p for p in as_module(model).parameters() if p.is_floating_point()), torch.zeros(()))
    with looking(model), captured(model, [layer]) as outputs:
        noise = torch.randn(1, *shape, generator=stream).expand(len(channels), *shape)
        x = ((low + high) / 2 + (high - low) * 0.05 * noise).clamp(low, high).to(like)
        start = _activations(model, x, outputs, layer, channels).detach()
        best, highest = x, start
        for step in range(steps):
            moves = [int(move) for move in torch.randint(-jitter, jitter + 1, (2,), generator=stream)]
            moved = torch.roll(x, moves, (-2, -1)).requires_grad_()
            reached = _activations(model, moved, outputs, layer, channels)
            slope = torch.autograd.grad(reached.sum(), moved)[0] if reached.requires_grad else torch.zeros_like(x)
            slope = torch.roll(slope, [-move for move in moves], (-2, -1))
            x = _stepped(x, slope, rate * (high - low)).clamp(low, high)
            if smoothness and step % EVERY == EVERY - 1 and step + 1 < steps:
                x = (1 - smoothness) * x + smoothness * _blurred(x)
        end = _activations(model, x, outputs, layer, channels).detach()
        better = (end > highest).view(-1, 1, 1, 1)
        return Maximized(torch.where(better, x, best).detach().cpu(), start.cpu(), torch.maximum(end, highest).cpu())


def _activations(
    model: nn.Module, x: Tensor, outputs: dict[str, Tensor], layer: str, channels: list[Any]
) -> Float[Tensor, " filter"]:
    """The mean activation of image i in channel i."""
    forward(model, x)
    found = output_of(outputs, layer)
    count = found.shape[1] if found.dim() > 1 else 0
    for channel in channels:
        if not isinstance(channel, int) or isinstance(channel, bool) or not 0 <= channel < count:
            raise RecipeError(
                f"channel={channel!r}, but the layer '{layer}' has the channels 0 to {count - 1}. Give one of these, "
                "or a list of them."
            )
    if not channels:
        raise RecipeError(f"channel=[] names no channel of the layer '{layer}'. Give for instance channel=0.")
    return (
        found.flatten(2).mean(2)[range(len(channels)), channels] if found.dim() > 2 else found[range(len(x)), channels]
    )


def _stepped(x: Tensor, slope: Tensor, length: float) -> Tensor:
    scale = slope.square().mean((1, 2, 3), keepdim=True).sqrt()
    return (x + length * slope / scale.clamp_min(torch.finfo(x.dtype).tiny)).detach()


def _blurred(x: Tensor) -> Tensor:
    edge = torch.tensor([1.0, 2.0, 1.0]).to(x) / 4
    kernel = (edge[:, None] * edge).expand(x.shape[1], 1, 3, 3)
    return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])


def _check(steps: Any, rate: Any, bounds: Any, smoothness: Any, jitter: Any) -> None:
    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")

    counts = all(isinstance(count, int) and not isinstance(count, bool) for count in (steps, jitter))
    if not counts or steps < 1 or jitter < 0 or not number(rate) or rate <= 0 or not number(smoothness):
        raise RecipeError(
            f"maximize: steps={steps!r}, rate={rate!r}, jitter={jitter!r}, smoothness={smoothness!r}, but steps is at "
            "least 1, rate above 0, jitter a number of pixels and smoothness a share. Leave them out for the usual."
        )
    if not 0 <= smoothness <= 1:
        raise RecipeError(f"maximize: smoothness={smoothness!r}, but it is a share from 0 to 1. Give smoothness=0.3.")
    pair = isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(number, bounds))
    if not pair or bounds[0] >= bounds[1]:
        raise RecipeError(
            f"maximize: bounds={bounds!r}, but they are the lowest and highest pixel. Give bounds=(0, 1)."
        )
