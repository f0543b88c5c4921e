r"""A lighter copy of a model, to predict with: its linear layers multiply numbers of 8 or 16 bits.

Decoding is mostly products of weights with a few vectors. In 8 bits each row of a weight is whole numbers and a scale,
$W_{ij} \approx s_i w_{ij}$ with $|w_{ij}| \le 127$, and vectors are rounded when they come, to 7 bits of the range that
they then have; sums are of 32 bits (torch's FBGEMM). That is for CPUs. In bfloat16 weights and vectors have 8 bits of
precision, which is quick where the processor multiplies them itself: GPUs, and CPUs with AVX-512 BF16 or AMX; on others
it is slower than float32. What it costs in quality has to be measured on the trained model.
"""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.nn.embedding import VectorEmbedding
from thalweg.nn.knobs import check_choice

Vectors = Float[Tensor, "*batch inputs"]
Outputs = Float[Tensor, "*batch outputs"]
Function = Callable[[Tensor], Tensor]
INT8_PRODUCT: Any = torch.ops.quantized.linear_dynamic.default
LARGE = 2**17
"""Weights of so many numbers, with more outputs than inputs, are worth a transposed copy."""


class Int8Linear(nn.Module):
    """A linear layer with weights of 8 bits, `(..., inputs) -> (..., outputs)`; it is not trained.

    >>> layer, x = nn.Linear(64, 32), torch.randn(5, 64)
    >>> bool((Int8Linear(layer)(x) - layer(x)).abs().max() < 0.1)
    True
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach().float()
        scale = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())
        self.packed: dict[tuple[int, int], Any] = {}

    def forward(self, x: Vectors) -> Outputs:
        return self.part(x, 0, self.out_features)

    def part(self, x: Vectors, start: int, end: int) -> Outputs:
        """The outputs `start` to `end` alone."""
        output: Tensor = INT8_PRODUCT(x, self.packed_part(start, end), True)
        return output

    def packed_part(self, start: int, end: int) -> Any:
        """The weights of the outputs `start` to `end` as the product's kernel wants them."""
        if (start, end) not in self.packed:
            self.packed[start, end] = self._pack(start, end)
        return self.packed[start, end]

    def _pack(self, start: int, end: int) -> Any:
        weight, scale, bias = self.weight[start:end], self.scale[start:end], self.bias
        zeros = torch.zeros_like(scale, dtype=torch.int64)
        with (
            warnings.catch_warnings()
        ):  # torch is to drop tensors of this kind, and has nothing as quick in their place
            warnings.filterwarnings("ignore", ".*quantized tensor creation functions")
            whole = torch._make_per_channel_quantized_tensor(weight.contiguous(), scale.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(whole, None if bias is None else bias[start:end].contiguous())

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


class BFloat16Linear(nn.Module):
    """A linear layer that multiplies in bfloat16, for inputs and outputs as they come; it is not trained.

    >>> layer, x = nn.Linear(64, 32), torch.randn(5, 64)
    >>> bool((BFloat16Linear(layer)(x) - layer(x)).abs().max() < 0.1)
    True
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.register_buffer("weight", layer.weight.detach().bfloat16())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().bfloat16())

    def forward(self, x: Vectors) -> Outputs:
        return self.part(x, 0, self.out_features)

    def part(self, x: Vectors, start: int, end: int) -> Outputs:
        """The outputs `start` to `end` alone."""
        bias = None if self.bias is None else self.bias[start:end]
        return F.linear(x.bfloat16(), self.weight[start:end], bias).to(x.dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


LIGHT: dict[str, Callable[[nn.Linear], nn.Module]] = {"int8": Int8Linear, "bfloat16": BFloat16Linear}


def lighter(model: nn.Module, numbers: str = "int8") -> nn.Module:
    """A copy of a model, in evaluation mode, whose linear layers multiply "int8" or "bfloat16" numbers.

    Embeddings, norms, attention and recurrent layers stay as they are; where a table is shared with the last layer, as
    in a tied Transformer, the copy has both. The copy cannot be trained. Raises `RecipeError` for other numbers, and
    for "int8" of a model that is not on a CPU.

    >>> lighter(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))[0]
    Int8Linear(in_features=3, out_features=4)
    """
    check_choice("lighter", "numbers", numbers, LIGHT)
    places = {str(parameter.device) for parameter in model.parameters()}
    if numbers == "int8" and places - {"cpu"}:
        raise RecipeError(
            f"lighter: the model is on {', '.join(sorted(places))}, but 8-bit products are the CPU's. Move it with "
            "model.cpu(), or take numbers='bfloat16'."
        )
    made = copy.deepcopy(model).eval().requires_grad_(False)
    if type(made) is nn.Linear:
        return LIGHT[numbers](made)
    for module in list(made.modules()):
        if isinstance(module, VectorEmbedding):
            continue
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, LIGHT[numbers](child))
    return made


def part(layer: nn.Module, x: Vectors, start: int, end: int) -> Outputs:
    """The outputs `start` to `end` of a linear layer alone.

    >>> layer, x = nn.Linear(3, 5), torch.randn(2, 3)
    >>> bool(torch.equal(part(layer, x, 1, 4), layer(x)[:, 1:4]))
    True
    """
    if isinstance(layer, nn.Linear):
        return F.linear(x, layer.weight[start:end], None if layer.bias is None else layer.bias[start:end])
    light: Any = layer
    output: Tensor = light.part(x, start, end)
    return output


def is_plain(module: nn.Module) -> bool:
    """Whether a call of the module is one of its `forward` alone: nothing is hooked to it.

    >>> is_plain(nn.Linear(3, 5))
    True
    """
    return not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def for_many_steps(layer: nn.Module, start: int = 0, end: int | None = None) -> Function:
    """The layer, or its outputs `start` to `end`, as a function of `(row, inputs)` that is called many times.

    Plain linear layers become the product itself, with the weights that the layer has now: a step of decoding makes few
    long products, and most of its time would go by on the way to them. A large matrix with more outputs than inputs is
    quicker transposed on a CPU: for one row that has to be fetched from main memory, in half the time and less.
    Anything else, such as a layer with hooks, stays what it is.

    >>> layer, x = nn.Linear(3, 5), torch.randn(7, 3)
    >>> with torch.no_grad():
    ...     bool(torch.allclose(for_many_steps(layer)(x), layer(x), atol=1e-6))
    True
    """
    if isinstance(layer, nn.ReLU) and is_plain(layer):
        return torch.relu
    if not is_plain(layer) or not isinstance(layer, nn.Linear | Int8Linear | BFloat16Linear):
        return layer if end is None else partial(part, layer, start=start, end=end)
    if isinstance(layer, Int8Linear):
        packed = layer.packed_part(start, layer.out_features if end is None else end)
        return lambda rows: INT8_PRODUCT(rows, packed, True)
    if type(layer) is not nn.Linear:
        return layer.forward if end is None else partial(part, layer, start=start, end=end)
    weight, bias = layer.weight[start:end], None if layer.bias is None else layer.bias[start:end]
    exact = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or weight.device.type != "cpu"
    if exact or bias is None or weight.numel() < LARGE or len(weight) <= weight.shape[1]:
        return partial(F.linear, weight=weight, bias=bias)
    turned = weight.t().contiguous()
    return lambda rows: torch.addmm(bias, rows, turned)
