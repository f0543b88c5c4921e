"""Saliency: which pixels would move the answer."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.randomness import generator
from thalweg.measure.inside.scores import as_targets, outputs_of
from thalweg.measure.looking import as_images, as_module, looking


@no_type_check
def saliency(
    model: nn.Module, images: Any, target: Any = None, *, samples: int = 0, noise: float = 0.15, seed: int = 0
) -> Float[Tensor, "batch height width"]:
    r"""How steeply the target's output rises or falls with each pixel, in the output's unit per unit of a pixel.

    $$ M_p = \max_c | \partial z_t / \partial x_{c,p} | $$

    (Simonyan, Vedaldi & Zisserman, "Deep Inside Convolutional Networks", 2014, section 3). With `samples`, the mean of
    M over that many images with Gaussian noise of deviation `noise` times the image's range, which is less speckled
    (Smilkov et al., "SmoothGrad", 2017, with the absolute gradient). `target` is an output's number, or one for each
    image; None is the largest output of each. Images are `(batch, channels, height, width)`, or one image.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 0.0, -3.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    >>> saliency(net, torch.ones(1, 2, 2), target=0)
    tensor([[[1., 0.],
             [3., 0.]]])

    Raises `RecipeError` for a target that is no output, `DataError` for images that cannot be read.
    """
    if not isinstance(samples, int) or samples < 0 or not 0 <= noise < float("inf"):
        raise RecipeError(
            f"saliency: samples={samples!r}, noise={noise!r}, but samples is a whole number and noise a share of the "
            "image's range, both at least 0. Give for instance samples=20, noise=0.15."
        )
    x = as_images(as_module(model), images)
    with looking(model):
        with torch.no_grad():
            targets = as_targets(outputs_of(model, x), target)
        if not samples:
            return _slopes(model, x, targets).cpu()
        stream = generator(seed, "smoothing")
        spread = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
        total = torch.zeros_like(x[:, 0])
        for _ in range(samples):
            total += _slopes(model, x + spread * torch.randn(x.shape, generator=stream).to(x), targets)
        return (total / samples).cpu()


def _slopes(model: nn.Module, x: Tensor, targets: Tensor) -> Float[Tensor, "batch height width"]:
    x = x.detach().clone().requires_grad_()
    chosen = outputs_of(model, x).gather(1, targets[:, None])
    if not chosen.requires_grad:
        return torch.zeros_like(x[:, 0])
    (slope,) = torch.autograd.grad(chosen.sum(), x, allow_unused=True)
    return (torch.zeros_like(x) if slope is None else slope).abs().amax(1).detach()
