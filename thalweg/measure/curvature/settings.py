"""The settings under which second derivatives exist and hold still; all of them are put back."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from thalweg.core.errors import RecipeError

DROPOUTS = (nn.modules.dropout._DropoutNd,)
NORMS = (nn.modules.batchnorm._BatchNorm,)
SPARSE = (nn.Embedding, nn.EmbeddingBag)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a point is made of, by name: those with `requires_grad`, each once.

    Raises `RecipeError` where there is none, and for complex or whole numbers.

    >>> list(trainable(nn.Linear(3, 2)))
    ['weight', 'bias']
    """
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            kind = str(parameter.dtype).removeprefix("torch.")
            raise RecipeError(
                f"The parameter {name!r} holds {kind} numbers, but curvature is that of a function of real numbers. "
                "Keep real and imaginary parts as two real parameters, and whole numbers as a buffer."
            )
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise RecipeError(f"The parameter {name!r} has no shape yet. Run the model once: model(x).")
    found = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not found:
        raise RecipeError(
            "The model has no parameter that is trained, so its error surface is a single point. Set "
            "requires_grad_(True) on those that are."
        )
    return found


def mode_of(model: nn.Module, training: bool) -> str:
    """The mode in words, with what depends on it."""
    kinds = [module for module in model.modules() if isinstance(module, DROPOUTS) and module.p > 0]
    norms = any(isinstance(module, NORMS) for module in model.modules())
    mode = "training mode" if training else "evaluation mode"
    said = (["dropout on" if training else "dropout off"] if kinds else []) + (
        [f"batch norm by {'each batch' if training else 'running statistics'}"] if norms else []
    )
    return f"{mode} ({', '.join(said)})" if said else mode


@contextmanager
def differentiable(model: nn.Module, training: bool) -> Iterator[None]:
    """Attention by its formula, recurrent layers without cuDNN, dense gradients of embeddings, nothing compiled.

    In training mode batch norm uses each batch's statistics and keeps none: to write them between two passes would
    spoil the graph of the first.
    """
    changed: list[tuple[nn.Module, str, bool]] = []

    def change(kinds: tuple[type, ...], name: str) -> None:
        for module in model.modules():
            if isinstance(module, kinds) and getattr(module, name, False):
                changed.append((module, name, True))
                setattr(module, name, False)

    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and to load it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            change(SPARSE, "sparse")
            if training:
                model.train()
                change(NORMS, "track_running_stats")
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for module, name, value in changed:
                setattr(module, name, value)


@contextmanager
def in_format(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """The model's floating numbers in one format, gradients laid aside; afterwards all are the tensors they were."""
    parameters = [(parameter, parameter.data, parameter.grad) for parameter in model.parameters()]
    buffers = [(module, name, b) for module in model.modules() for name, b in module._buffers.items() if b is not None]
    try:
        for parameter, data, _ in parameters:
            parameter.grad = None
            parameter.data = data.to(dtype)
        for module, name, buffer in buffers:
            module._buffers[name] = buffer.to(dtype) if buffer.is_floating_point() else buffer
        yield
    finally:
        for parameter, data, gradient in parameters:
            parameter.grad = None
            parameter.data = data
            parameter.grad = gradient
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
