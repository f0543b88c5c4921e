"""Looking at a model and leaving it as it was: its modes, its buffers, its gradients, the global random numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.randomness import untouched


@contextmanager
def looking(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode with gradients enabled; whatever the block does, it is put back as it was.

    Raises `RecipeError` for a model that was made in inference mode.

    >>> model = nn.BatchNorm1d(3).train()
    >>> with looking(model):
    ...     mode = model.training
    ...     _ = model.running_mean.add_(1)
    >>> mode, model.training, model.running_mean
    (False, True, tensor([0., 0., 0.]))
    """
    if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
        raise RecipeError(
            "The model was made in torch.inference_mode(), where nothing has a gradient. Make it outside, or look at a "
            "copy made outside: copy.deepcopy(model)."
        )
    modes = [(module, module.training) for module in model.modules()]
    places = [(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items()]
    buffers = [(*place, None if place[2] is None else place[2].clone()) for place in places]
    with torch.inference_mode(False), torch.enable_grad(), untouched():
        try:
            model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for module, name, buffer, before in buffers:
                    module._buffers[name] = buffer
                    if buffer is not None and before is not None:
                        buffer.copy_(before)


@contextmanager
def captured(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of layers by name, of their last call, as they were before anything wrote into them."""
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None:
                found[name] = tensor * 1

        return keep

    handles = [named_layer(model, name).register_forward_hook(hook(name)) for name in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(output: Any) -> Tensor | None:
    """The output, or the first of several, None where it is no tensor."""
    if isinstance(output, list | tuple) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def named_layer(model: Any, layer: Any) -> nn.Module:
    """The layer of that name in `named_modules`; "" is the model itself. Raises `RecipeError` for another name.

    >>> named_layer(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), "1")
    Linear(in_features=3, out_features=2, bias=True)
    """
    layers = dict(as_module(model).named_modules())
    if not isinstance(layer, str) or layer not in layers:
        names = [name for name in layers if name]
        raise RecipeError(f"The model has no layer {layer!r}.{did_you_mean(str(layer), names)}")
    return layers[layer]


def as_module(model: Any) -> nn.Module:
    """The model, where it is one; `RecipeError` otherwise."""
    if not isinstance(model, nn.Module):
        said = "a class or function that makes one: call it first" if callable(model) else f"a {type(model).__name__}"
        raise RecipeError(f"The model is not a torch.nn.Module, but {said}. Give for instance run.model.")
    return model


def as_images(model: nn.Module, images: Any) -> Float[Tensor, "batch channel *pixels"]:
    """Images as the model reads them: on its device, in its number format; one image counts as a batch of one.

    Raises `DataError` for what holds no images, whole numbers, and numbers that are not finite.
    """
    x = torch.as_tensor(images)
    if x.dim() == 3:
        x = x[None]
    if x.dim() != 4 or not x.numel():
        raise DataError(
            f"Images have the shape (batch, channels, height, width), or one (channels, height, width), all at least "
            f"1; these have {tuple(x.shape)}. A gray image of (height, width) becomes one by image[None]."
        )
    if not x.is_floating_point():
        raise DataError(
            f"The images hold {str(x.dtype).removeprefix('torch.')} numbers, but a network reads floats of the scale "
            "that it was trained on. Give for instance images.float() / 255."
        )
    if not bool(x.isfinite().all()):
        raise DataError("The images hold numbers that are not finite (NaN or infinite). Take these images out.")
    like = next((p for p in model.parameters() if p.is_floating_point()), x)
    with torch.inference_mode(False):
        return x.detach().clone().to(like.device, like.dtype)


def forward(model: nn.Module, x: Tensor) -> Any:
    """What the model gives for a batch; `DataError` with the shapes where it cannot read it."""
    try:
        return model(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"The model cannot read images of shape {tuple(x.shape)}: {str(error).splitlines()[0][:200]} Give images "
            "with the channels and the size that it was built for."
        ) from error
