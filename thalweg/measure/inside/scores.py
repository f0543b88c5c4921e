"""The one number of each image's output that is looked into: the logit of a class, or a predicted number."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.measure.looking import forward


def outputs_of(model: nn.Module, x: Tensor) -> Float[Tensor, "batch output"]:
    """The model's outputs, `(batch,)` as one column; `RecipeError` where they are no such table."""
    found: Any = forward(model, x)
    if isinstance(found, Tensor) and found.shape == x.shape[:1]:
        found = found[:, None]
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(x):
        said = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise RecipeError(
            f"The model gives {said} for {len(x)} images, but what is looked into is a row of outputs for each image: "
            "(batch, classes). Wrap it in a module that gives such rows."
        )
    return found


def as_targets(outputs: Float[Tensor, "batch output"], target: Any) -> Int[Tensor, " batch"]:
    """The output that is looked into for each image: the largest one for None, else those given, or the one given."""
    if target is None:
        return outputs.argmax(1)
    chosen = torch.as_tensor(target)
    count, width = outputs.shape
    whole = not chosen.is_floating_point() and chosen.dtype is not torch.bool and chosen.numel() > 0
    if not whole or chosen.shape not in ((), (count,)) or int(chosen.min()) < 0 or int(chosen.max()) >= width:
        said = str(target if chosen.numel() <= 8 else f"a tensor of {tuple(chosen.shape)}")
        raise RecipeError(
            f"target={said}, but it is the number of an output, from 0 to {width - 1}, or one for each of the {count} "
            "images. Give None for the largest output of each image."
        )
    return chosen.to(outputs.device).long().expand(count)
