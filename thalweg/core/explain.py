"""Friendly shape checks: when a step fails, say which part of it refused what, and how to mend it.

Nothing is checked while all is well. After an error the parts are run one by one: the model on the inputs, the loss on
its output; the first that fails is named with the shapes it was given.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.errors import RecipeError, ThalwegError
from thalweg.core.nest import Nest, describe
from thalweg.core.objective import MarkedObjective, PlainLoss, apply, name_of, pair

EXPLAINED = (RuntimeError, ValueError, IndexError, TypeError, AttributeError)


def explain(error: Exception, model: nn.Module, objective: PlainLoss | MarkedObjective, batch: Nest) -> Exception:
    """The error that a user should read instead of `error`, or `error` itself where there is nothing to add."""
    if isinstance(error, ThalwegError) or type(error) not in EXPLAINED:  # a class of the user's own stays what it is
        return error
    if isinstance(objective, MarkedObjective):
        return RecipeError(
            f"The objective {name_of(objective.function)} failed on a batch {describe(batch)}: "
            f"{first_line(error)} It is called with (model, batch, moment); check how it reads the batch."
        )
    x, y = pair(batch)
    with torch.no_grad():
        try:
            output = apply(model, x)
        except EXPLAINED as refused:
            return RecipeError(_about_model(refused, model, x))
        try:
            objective.loss(output, y)
        except EXPLAINED as refused:
            return RecipeError(_about_loss(refused, objective.loss, output, y))
    return error


def _about_model(error: Exception, model: nn.Module, x: Nest) -> str:
    call = "model(*x)" if isinstance(x, tuple) else "model(**x)" if isinstance(x, dict) else "model(x)"
    message = f"The model {type(model).__name__} could not be applied to a batch, {call} with x = {describe(x)}: "
    message += first_line(error)
    if isinstance(x, Tensor) and x.dim() > 1 and re.search("shape|channels|size|batched", str(error)):
        message += _about_width(model, x)
    unlike = re.search("dtype|should be the same", str(error))
    if isinstance(x, Tensor) and not x.is_floating_point() and unlike:
        message += " The inputs are integers: convert them, x.float(), or start the model with an embedding."
    elif re.search("same dtype|should be the same", str(error)):
        own = next((parameter.dtype for parameter in model.parameters()), torch.float32)
        message += f" The model computes in {str(own).removeprefix('torch.')}: convert the inputs, x.to({own})."
    if isinstance(x, Tensor) and x.dim() == 1 and "shapes cannot be multiplied" in str(error):
        message += " An example is a single number here: give it an axis, x[:, None]."
    if "more than 1 value per channel" in str(error):
        message += " Batch norm cannot train on one example: take another batch size, or a loader with drop_last=True."
    return message


def _about_width(model: nn.Module, x: Tensor) -> str:
    """What the first layer with a width expects of the inputs, where they have something else."""
    layers = (nn.Embedding, nn.RNNBase, nn.Linear, nn.modules.conv._ConvNd)
    first = next((module for module in model.modules() if isinstance(module, layers)), None)
    if isinstance(first, nn.Linear) and x.shape[-1] != first.in_features:
        got, expected = x.shape[-1], first.in_features
        return f" Its first layer {first} expects {expected} features, the inputs have {got}: build it for {got}."
    if not isinstance(first, nn.modules.conv._ConvNd):
        return ""
    if x.dim() == len(first.kernel_size) + 1 and first.in_channels == 1:
        return " The inputs have no axis of channels: give them one, x[:, None]."
    if x.dim() == len(first.kernel_size) + 2 and x.shape[1] != first.in_channels:
        got, expected = x.shape[1], first.in_channels
        mend = f"build it for {got}"
        if x.shape[-1] == expected:
            mend = "move them to axis 1, x.movedim(-1, 1)"
        name = type(first).__name__
        return f" Its first layer {name} expects {expected} channels on axis 1, the inputs have {got} there: {mend}."
    return ""


def _about_loss(error: Exception, loss: Any, output: Any, y: Nest) -> str:
    message = f"The loss {name_of(loss)} refused the model's output {describe(output)} with the target {describe(y)}: "
    message += first_line(error)
    mend = _mend(error, loss, output, y) if isinstance(y, Tensor) else ""
    return message + (mend or " Make output and target fit each other: compare their shapes and types.")


def _mend(error: Exception, loss: Any, output: Any, y: Tensor) -> str:
    if re.search("positional argument|not callable", str(error)):
        return (
            " A plain loss is called with (output, target); one that takes the model and the batch is marked with "
            "@thalweg.objective."
        )
    if isinstance(output, tuple | list | Mapping) and len(output):
        part = repr(next(iter(output))) if isinstance(output, Mapping) else 0
        return f" Give the loss the part that it compares: lambda output, target: loss(output[{part}], target)."
    return _reshaped(error, loss, output, y) if isinstance(output, Tensor) else ""


def _reshaped(error: Exception, loss: Any, output: Tensor, y: Tensor) -> str:
    classes = output.shape[1] if output.dim() > 1 else None
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) or "ategorical" in name_of(loss):
        if y.shape != output.shape and (y.is_floating_point() or "dtype" in str(error)):
            return " Class targets are integers: convert them, y.long()."
        if y.dim() == output.dim() and y.shape[-1] == 1:
            return " Class targets have one axis fewer than the output: y.squeeze(1)."
        if classes and not y.is_floating_point() and y.numel() and not 0 <= int(y.min()) <= int(y.max()) < classes:
            return (
                f" The labels run from {int(y.min())} to {int(y.max())}, but the output has {classes} classes, so "
                f"labels from 0 to {classes - 1}: give the model {int(y.max()) + 1} outputs, or number labels from 0."
            )
    mend = ""
    if output.is_floating_point() and not y.is_floating_point():
        mend += " This loss compares numbers: convert the target, y.float()."
    if output.shape != y.shape and output.numel() == y.numel():
        to = f"(-1, {', '.join(map(str, output.shape[1:]))})" if output.dim() > 1 else "(-1)"
        mend += f" As many numbers in another shape: reshape the target, y.reshape{to}."
    return mend


def first_line(error: Exception) -> str:
    r"""What an error says in its first line: torch's go on for pages.

    >>> first_line(ValueError("no such thing\nregistered at ..."))
    'no such thing.'
    """
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return text if text.endswith((".", "!", "?")) else text + "."


SAID = ("not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, on whatever device.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError())
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in SAID)
