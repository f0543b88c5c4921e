"""Logits and class numbers out of what classifiers output and what data sets hold."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from thalweg.core.errors import RecipeError


def as_classes(
    output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "rows ..."]
) -> tuple[Float[Tensor, "batch classes"], Int[Tensor, " batch"]]:
    """Logits `(batch, classes)` and class numbers `(batch,)` of an output and a target.

    An output `(batch,)` or `(batch, 1)` is the logit z of "yes" and becomes (0, z), whose soft-max is the sigmoid. A
    soft target, of the logits' shape, becomes its likeliest class. Raises `RecipeError` for shapes and class numbers
    that do not fit, and for an empty batch.

    >>> as_classes(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0]))
    (tensor([[ 0.,  2.],
            [ 0., -1.]]), tensor([1, 0]))
    """
    output, target = output.detach(), target.detach()
    if output.dim() > 2 or len(output) == 0 or len(output) != len(target):
        raise _misfit(output, target)
    binary = output.numel() == len(output)
    logits = output.to(torch.promote_types(output.dtype, torch.float32))
    if binary:
        logits = torch.nn.functional.pad(logits.reshape(-1, 1), (1, 0))
    return logits, _class_numbers(output, target, logits.shape[1], binary)


def _class_numbers(output: Tensor, target: Tensor, classes: int, binary: bool) -> Tensor:
    if target.is_floating_point() and target.shape == output.shape and not binary:
        return target.argmax(dim=1)
    if target.numel() != len(output):
        raise _misfit(output, target)
    target = target.reshape(-1)
    if target.is_floating_point() and not binary:
        raise RecipeError(
            f"The target {tuple(target.shape)} holds {str(target.dtype).removeprefix('torch.')} for logits "
            f"{tuple(output.shape)}, but class numbers are whole. Say target.long(), or measure a regression by mae, "
            "rmse or r2."
        )
    low, high = (bound.item() for bound in torch.aminmax(target.to(torch.float64)))
    if low < 0 or high > classes - 1:
        raise RecipeError(
            f"The target's class numbers run from {low:g} to {high:g}, but an output {tuple(output.shape)} knows "
            f"classes 0 to {classes - 1}. Number the classes from 0, or give the model {max(int(high), 1) + 1} outputs."
        )
    return (target > 0.5).long() if binary else target.long()


def _misfit(output: Tensor, target: Tensor) -> RecipeError:
    return RecipeError(
        f"Metrics of classes got an output {tuple(output.shape)} and a target {tuple(target.shape)}, but they need at "
        "least one example and logits (batch, classes) with class numbers (batch,) or soft targets of the logits' "
        "shape, or logits (batch,) with zeros and ones. For a sequence, flatten its positions first: "
        "output.flatten(0, 1), target.flatten()."
    )
