"""The filters that a network has learned, and the maps that they make of an image."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.measure.looking import as_images, as_module, captured, forward, looking, named_layer


@no_type_check
def first_layer_filters(model: nn.Module) -> Float[Tensor, "filter channel height width"]:
    """The weights of the first convolution over images, as a copy: they can be looked at, for they act on pixels.

    Edges and blobs of colour after good training, noise after little (Zeiler & Fergus, "Visualizing and Understanding
    Convolutional Networks", 2014, figure 6).

    >>> first_layer_filters(nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3))).shape
    torch.Size([8, 3, 5, 5])

    Raises `RecipeError` for a model without a convolution over images.
    """
    name = convolutions(model)[0]
    weight = named_layer(model, name).weight
    assert isinstance(weight, Tensor)
    return weight.detach().cpu().clone()


@no_type_check
def convolutions(model: nn.Module) -> list[str]:
    """The names of the convolutions over images, in the order of `named_modules`.

    >>> convolutions(nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3)))
    ['0', '2']

    Raises `RecipeError` where there are none.
    """
    found = [name for name, module in as_module(model).named_modules() if isinstance(module, nn.Conv2d)]
    if not found:
        raise RecipeError(
            "The model has no convolution over images (nn.Conv2d), so it has no filters to look at. Give a CNN, such "
            "as thalweg.nn.cnn(channels, outputs)."
        )
    return found


@no_type_check
def feature_maps(model: nn.Module, images: Any, layer: str) -> Tensor:
    """What a layer gives for images: `(batch, channels, height, width)` after a convolution; one image is a batch.

    `layer` is a name of `named_modules`; the output is that of its last call, before anything wrote into it.

    >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(inplace=True))
    >>> maps = feature_maps(net, torch.rand(5, 1, 9, 9), "0")
    >>> maps.shape, bool((maps < 0).any())
    (torch.Size([5, 8, 7, 7]), True)

    Raises `RecipeError` for a layer that is not there or gives no tensor, `DataError` for images that cannot be read.
    """
    named_layer(model, layer)
    x = as_images(model, images)
    with looking(model), captured(model, [layer]) as outputs, torch.no_grad():
        forward(model, x)
    return output_of(outputs, layer).cpu()


def output_of(outputs: dict[str, Tensor], layer: str) -> Tensor:
    """The output of a layer that was called and gave a tensor; `RecipeError` otherwise."""
    if layer not in outputs:
        raise RecipeError(
            f"The layer '{layer}' was not called, or gives no tensor. Give a layer that the images pass through."
        )
    return outputs[layer]
