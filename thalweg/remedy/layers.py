"""Layers put into a network, linked or initialized anew, so that gradients reach all of it.

All of it is found by one pass through a model (`traced`), and done anew to each that the factory builds.
"""

from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from thalweg.diagnosis.beginnings import NORMS
from thalweg.remedy.altered import ACTIVATIONS, Altered, Trace, by_knob, has, knob_of, set_module, traced
from thalweg.training import Recipe

FEWEST_IN_BATCH = 8
"""A batch of fewer examples says too little of a mean: then each example is normalized by itself."""
NORMED, LINKED, ANEW = "with norms between its layers", "with residual links", "initialized for its activations"
NORMABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Hidden layers behind which a norm is put."""
GAINS = {nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.Softsign: "tanh", nn.SELU: "selu"}
"""Activations that ask for Xavier's rule, with torch's name for the gain; all others for He's for ReLU."""


def normed(recipe: Recipe) -> Recipe:
    """The recipe with a norm between each hidden layer and its activation, where the model has none.

    Batch norm (Ioffe & Szegedy 2015), or layer norm (Ba et al. 2016) where batches are small, or what is behind a
    linear layer has more axes than `(batch, features)`.

    >>> import thalweg
    >>> recipe = thalweg.cases.get("at-a-saddle")
    >>> [type(layer).__name__ for layer in normed(recipe).model()[0]]
    ['Linear', 'BatchNorm1d']
    """
    seen = traced(recipe)
    if seen is None or seen.normed or len(seen.layers) < 2:
        return recipe
    large = recipe.batch_size is None or recipe.batch_size >= FEWEST_IN_BATCH
    if (knob := by_knob(recipe.model, "norm", "batch" if large else "layer")) is not None:
        return recipe.but(model=knob)
    hidden = [layer for layer in seen.layers[:-1] if isinstance(layer.module, NORMABLE)]
    if not hidden:
        return recipe
    followed = [layer for layer in hidden if seen.behind(layer) is not None]
    shapes = {layer.name: len(layer.shape) for layer in followed or hidden}
    flat = {name: axes == 2 and large for name, axes in shapes.items()}
    return recipe.but(model=Altered(recipe.model, partial(with_norms, batched=flat, large=large), NORMED))


def with_norms(model: nn.Module, batched: dict[str, bool], large: bool) -> nn.Module:
    """The model with a norm behind each of the named layers: over the batch or over the example."""
    for name, over_batch in batched.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, NORMABLE)
        norm: nn.Module
        if isinstance(layer, nn.Linear):
            norm = nn.BatchNorm1d(layer.out_features) if over_batch else nn.LayerNorm(layer.out_features)
        elif large:
            norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(layer.kernel_size) - 1](layer.out_channels)
        else:
            norm = nn.GroupNorm(1, layer.out_channels)
        model = set_module(model, name, nn.Sequential(layer, norm))
    return model


class Linked(nn.Module):
    """A block with a link around it: $x + f(x)$ (He et al., "Deep Residual Learning", 2016).

    >>> import torch
    >>> Linked(nn.Identity())(torch.ones(2))
    tensor([2., 2.])
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum of the block's input and its output."""
        output: Tensor = x + self.block(x)
        return output


def linked(recipe: Recipe) -> Recipe:
    """The recipe with a link around each layer that keeps its shape, where two and more are in a sequence."""
    if knob_of(recipe.model, "residual") is False and (knob := by_knob(recipe.model, "residual", True)) is not None:
        return recipe.but(model=knob)
    seen = traced(recipe)
    if seen is None or any("esidual" in type(m).__name__ or isinstance(m, Linked) for m in seen.model.modules()):
        return recipe
    chains = {
        name: blocks
        for name, module in seen.model.named_modules()
        if type(module) is nn.Sequential and len(blocks := _blocks(module)) > 1
    }
    return recipe.but(model=Altered(recipe.model, partial(with_links, chains=chains), LINKED)) if chains else recipe


def _blocks(sequence: nn.Sequential) -> tuple[tuple[int, int], ...]:
    """The beginnings and ends of the stretches that one layer begins and that keep their input's shape."""
    blocks, modules = list[tuple[int, int]](), list(sequence)
    for start, module in enumerate(modules):
        if not _keeps(module):
            continue
        end = start + 1
        while end < len(modules) and isinstance(modules[end], (*ACTIVATIONS, *NORMS, nn.modules.dropout._DropoutNd)):
            end += 1
        if any(isinstance(each, ACTIVATIONS) for each in modules[start:end]):
            blocks.append((start, end))
    return tuple(blocks)


def _keeps(module: nn.Module) -> bool:
    """Whether a layer gives out the shape that it reads."""
    if type(module) is nn.Linear:
        return module.in_features == module.out_features
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) or module.in_channels != module.out_channels:
        return False
    if isinstance(module.padding, str):
        return module.padding == "same"
    sides = zip(module.kernel_size, module.stride, module.padding, module.dilation, strict=True)
    return all(stride == 1 and 2 * padding == dilation * (side - 1) for side, stride, padding, dilation in sides)


def with_links(model: nn.Module, chains: dict[str, tuple[tuple[int, int], ...]]) -> nn.Module:
    """The model with a link around each stretch of the named sequences."""
    for name in sorted(chains, key=len, reverse=True):
        modules = list(model.get_submodule(name).children())
        for start, end in reversed(chains[name]):
            modules[start:end] = [Linked(nn.Sequential(*modules[start:end]))]
        model = set_module(model, name, nn.Sequential(*modules))
    return model


def initialized(recipe: Recipe) -> Recipe:
    """The recipe whose layers begin as their activations ask for: He's rule for ReLU (2015), Xavier's for tanh (2010).

    Biases begin at 0. Weights that come from elsewhere (a frozen or a pretrained net) are not seen as such.
    """
    seen = traced(recipe)
    if seen is None or not seen.layers or has(recipe.model, ANEW):
        return recipe
    gains = {layer.name: _gain(seen, index) for index, layer in enumerate(seen.layers)}
    return recipe.but(model=Altered(recipe.model, partial(with_weights, gains=gains), ANEW))


def _gain(seen: Trace, index: int) -> Any:
    """The rule for a layer, by what is called behind it: the last one is linear, and a hidden one without is ReLU's."""
    behind = seen.behind(seen.layers[index])
    if behind is None:
        return "linear" if index == len(seen.layers) - 1 else "relu"
    return next((name for kind, name in GAINS.items() if isinstance(behind, kind)), "relu")


def with_weights(model: nn.Module, gains: dict[str, Any]) -> nn.Module:
    """The model with the weights of the named layers drawn anew, each by the rule for its activation."""
    for name, rule in gains.items():
        layer = model.get_submodule(name)
        weight, bias = layer.weight, layer.bias
        if isinstance(weight, Tensor) and weight.dim() > 1 and not isinstance(weight, nn.UninitializedParameter):
            if rule == "relu":
                nn.init.kaiming_normal_(weight, nonlinearity="relu")
            else:
                nn.init.xavier_normal_(weight, gain=nn.init.calculate_gain(rule))
        if isinstance(bias, Tensor):
            nn.init.zeros_(bias)
    return model
