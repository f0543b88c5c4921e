"""The network with its nonlinearities taken out, so that no gradient dies and none cancels another.

Weights are positive, activations and norms pass on what they get (brought to at most 1, so that no depth overflows),
and a maximum becomes a mean of the same elements. What is left is what depends on what.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from thalweg.core.randomness import generator
from thalweg.measure.field.windows import of_axis

PASSED = {
    "relu",
    "relu_",
    "relu6",
    "leaky_relu",
    "leaky_relu_",
    "prelu",
    "elu",
    "elu_",
    "selu",
    "selu_",
    "celu",
    "celu_",
    "gelu",
    "silu",
    "mish",
    "hardtanh",
    "hardtanh_",
    "hardswish",
    "hardsigmoid",
    "tanh",
    "tanh_",
    "sigmoid",
    "sigmoid_",
    "softplus",
    "softsign",
    "logsigmoid",
    "tanhshrink",
    "softshrink",
    "hardshrink",
    "threshold",
    "threshold_",
    "rrelu",
    "rrelu_",
    "clamp",
    "clamp_",
    "clip",
    "clamp_min",
    "clamp_max",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "rms_norm",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "abs",
    "sqrt",
    "exp",
    "log",
}
POOLS = {f"max_pool{dims}d{ending}": dims for dims in (1, 2, 3) for ending in ("", "_with_indices")}
ADAPTIVE = {
    f"adaptive_max_pool{dims}d{ending}": getattr(functional, f"adaptive_avg_pool{dims}d")
    for dims in (1, 2, 3)
    for ending in ("", "_with_indices")
}
POOL_ARGUMENTS = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


class Linearized(TorchFunctionMode):
    """While it is active, functions of torch are their linear stand-ins.

    >>> with Linearized():
    ...     nn.MaxPool1d(2)(nn.ReLU()(torch.tensor([[[-1.0, -3.0]]])))
    tensor([[[-0.6667]]])
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the stand-in, or the function itself."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in PASSED and args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            return args[0] / args[0].detach().abs().amax().clamp_min(1e-300)
        if name in POOLS:
            return _mean_pool(func, dict(zip(POOL_ARGUMENTS, args, strict=False)) | kwargs, POOLS[name])
        if name in ADAPTIVE:
            out = func(*args, **kwargs)
            mean = ADAPTIVE[name](*args[:2])
            return (mean, out[1]) if isinstance(out, tuple) else mean
        if name in ("maximum", "minimum"):
            return (args[0] + args[1]) / 2
        if name in ("amax", "amin"):
            return torch.mean(*args, **kwargs)
        return func(*args, **kwargs)


def positive_weights(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Random positive parameters of the model's shapes, with sums near 1, and its buffers, in float64 on the CPU."""
    stream = generator(seed, "positive weights")
    found = {}
    for name, parameter in model.named_parameters():
        values = torch.rand(parameter.shape, generator=stream, dtype=torch.float64) + 0.5
        found[name] = values / max(1, parameter[0].numel()) if parameter.dim() > 1 and len(parameter) else values
    for name, buffer in model.named_buffers():
        found[name] = buffer.detach().cpu().double() if buffer.is_floating_point() else buffer.detach().cpu().clone()
    return found


def _mean_pool(func: Any, given: dict[str, Any], dims: int) -> Any:
    """The mean over the windows of a maximum pool, whatever their dilation and their overhang."""
    with torch.no_grad():
        out = func(**given)
    indexed = isinstance(out, tuple)
    counts = (out[0] if indexed else out).shape[-dims:]
    values = given["input"]
    for dim, count in enumerate(counts):
        side, padding = (
            of_axis(given.get(name, otherwise), dim) for name, otherwise in (("kernel_size", 1), ("padding", 0))
        )
        stride = of_axis(given["stride"], dim) if given.get("stride") else side
        gap = of_axis(given.get("dilation", 1), dim)
        axis = values.dim() - dims + dim
        span = (side - 1) * gap + 1
        after = (count - 1) * stride + span - values.shape[axis] - padding
        edges = [0, 0] * (values.dim() - 1 - axis) + [padding, after]
        values = functional.pad(values, edges).unfold(axis, span, stride)[..., ::gap].mean(-1)
    return (values, out[1]) if indexed else values
