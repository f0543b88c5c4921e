"""Deeper and shallower siblings of anyone's network: blocks that repeat, recurrent layers, convolutions, a head.

A block is a group of layers that stands several times in a row in an `nn.Sequential` or an `nn.ModuleList`. Where it
gives outputs of the shape of its inputs, a network with fewer of them computes nothing that the whole one could not:
the others need only hand on what they get. A shallower network that fits better is thus a sign of bad training (He et
al. 2015, Deep Residual Learning, section 1: the degradation problem).
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.randomness import untouched
from thalweg.core.step import Step
from thalweg.diagnosis.resizing import kind_of
from thalweg.diagnosis.tracing import Trace, forward, traced
from thalweg.training import Recipe

Factory = Callable[[], nn.Module]
LEAST_UNITS = 64
"""A hidden layer that is put into a network has as many units as what it reads, and at least so many."""
LONGEST = 8
"""A block has at most so many modules in its row."""
COUNTS = ("num_layers", "n_layers", "n_layer", "layers", "depth")
"""Numbers of a network that are how many layers it has."""
ROWS = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True, repr=False)
class Deepened:
    """A model factory with one hidden layer more before the layer `last`, a linear one that gets `features` numbers."""

    factory: Factory
    last: str
    features: int

    def __call__(self) -> nn.Module:
        model = self.factory()
        head = cast(nn.Linear, model.get_submodule(self.last))
        units = max(LEAST_UNITS, self.features)
        deeper = nn.Sequential(
            nn.Linear(self.features, units), nn.ReLU(), nn.Linear(units, head.out_features, head.bias is not None)
        )
        return _put(model, self.last, deeper.to(head.weight.dtype))

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, one hidden layer more"


@dataclass(frozen=True, repr=False)
class Followed:
    """A model factory with a ReLU and filters of 3 places more after the convolution `after`, of as many channels."""

    factory: Factory
    after: str

    def __call__(self) -> nn.Module:
        model = self.factory()
        layer: Any = model.get_submodule(self.after)
        more = KINDS_OF_FILTERS[len(layer.kernel_size)](layer.out_channels, layer.out_channels, 3, padding=1)
        return _put(model, self.after, nn.Sequential(layer, nn.ReLU(), more.to(layer.weight.dtype)))

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, one convolution more"


@dataclass(frozen=True)
class Blocks:
    """A block that stands `count` times in a row: the module that holds it, its first place, and its length."""

    path: str
    start: int
    length: int
    count: int


@dataclass(frozen=True, repr=False)
class Restacked:
    """A model factory in which a block stands `wanted` times: the last ones are left out, or begun anew beside them."""

    factory: Factory
    blocks: Blocks
    wanted: int

    def __call__(self) -> nn.Module:
        model, blocks = self.factory(), self.blocks
        row = model.get_submodule(blocks.path)
        modules = list(row.children())
        end = blocks.start + blocks.length * blocks.count
        kept = modules[: blocks.start + blocks.length * min(self.wanted, blocks.count)]
        for _ in range(self.wanted - blocks.count):
            kept += map(_anew, modules[end - blocks.length : end])
        row._modules.clear()
        for place, module in enumerate([*kept, *modules[end:]]):
            row.add_module(str(place), module)
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, {self.wanted} of its {self.blocks.count} equal blocks"


@dataclass(frozen=True, repr=False)
class Relayered:
    """A model factory whose recurrent layer `name` has so many layers; with `numbers` its own count of them too."""

    factory: Factory
    name: str
    layers: int
    numbers: bool = False

    def __call__(self) -> nn.Module:
        model = self.factory()
        layer: Any = model.get_submodule(self.name)
        before, layer.num_layers = layer.num_layers, self.layers
        kind = kind_of(layer)
        assert kind is not None
        kind.begin(layer, kind.inner(layer), layer.hidden_size)
        for module in model.modules() if self.numbers else ():
            for key in COUNTS:
                if not isinstance(module, nn.RNNBase) and vars(module).get(key) == before:
                    setattr(module, key, self.layers)
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, {self.layers} recurrent layers"


def deepened(recipe: Recipe, batch: Nest) -> Iterator[tuple[str, Factory]]:
    """Names and factories of deeper models, the likeliest to matter first; whether they run is not known yet."""
    with untouched():
        model = recipe.model()
        trace = traced(recipe, model, batch)
    if trace is None:
        return
    for blocks in _repeated(model):
        if not _only_linear(model, blocks):
            yield "one block more", Restacked(recipe.model, blocks, blocks.count + 1)
    for name, layer in _recurrent(model, trace):
        for numbers in (False, True):
            yield "one recurrent layer more", Relayered(recipe.model, name, layer.num_layers + 1, numbers)
    filters = [layer.name for layer in trace.mixing if not layer.last and _has_filters(model, layer.name)]
    if filters:
        yield "one convolution more", Followed(recipe.model, filters[-1])
    heads = [layer for layer in trace.mixing if layer.last and type(model.get_submodule(layer.name)) is nn.Linear]
    if heads:
        yield HIDDEN, Deepened(recipe.model, heads[-1].name, heads[-1].inner[0])


def made_shallower(recipe: Recipe, batch: Nest) -> Iterator[Factory]:
    """Factories with half of the equal blocks, or of the recurrent layers: the whole can do without the others."""
    with untouched():
        model = recipe.model()
        found = [blocks for blocks in _repeated(model) if _hands_on(recipe, model, blocks, batch)]
        trace = traced(recipe, model, batch)
    for blocks in found:
        yield Restacked(recipe.model, blocks, blocks.count // 2)
    for name, layer in _recurrent(model, trace) if trace is not None else ():
        if layer.num_layers > 1:
            for numbers in (False, True):
                yield Relayered(recipe.model, name, layer.num_layers // 2, numbers)


HIDDEN = "one hidden layer more"
KINDS_OF_FILTERS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _put(model: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    if name == "":
        return layer
    model.set_submodule(name, layer)
    return model


def _recurrent(model: nn.Module, trace: Trace) -> list[tuple[str, Any]]:
    layers = [(layer.name, model.get_submodule(layer.name)) for layer in trace.layers]
    return [(name, layer) for name, layer in layers if isinstance(layer, nn.RNNBase)][-1:]


def _has_filters(model: nn.Module, name: str) -> bool:
    return isinstance(model.get_submodule(name), nn.Conv1d | nn.Conv2d | nn.Conv3d)


def _anew(module: nn.Module) -> nn.Module:
    """A copy, initialized anew where its layers know how."""
    made = copy.deepcopy(module)
    for layer in made.modules():
        begin = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
        if callable(begin):
            begin()
    return made


# --- blocks that repeat -----------------------------------------------------------------------------------------------


def _repeated(model: nn.Module) -> list[Blocks]:
    """The blocks of a model, those with the most modules in all first, of each row the longest stretch."""
    found = list[Blocks]()
    for path, row in model.named_modules():
        if isinstance(row, ROWS) and (blocks := _longest(path, [_signature(module) for module in row.children()])):
            found.append(blocks)
    held = {blocks: sum(1 for module in _modules(model, blocks) for _ in module.parameters()) for blocks in found}
    return sorted((blocks for blocks in found if held[blocks]), key=lambda blocks: -held[blocks] * blocks.count)


def _longest(path: str, row: list[str]) -> Blocks | None:
    """The stretch of equal blocks that is longest, of shortest blocks where several are as long.

    >>> _longest("body", ["in", "linear", "relu", "linear", "relu", "out"])
    Blocks(path='body', start=1, length=2, count=2)
    """
    best: Blocks | None = None
    for length in range(1, min(LONGEST, len(row) // 2) + 1):
        for start in range(len(row) - 2 * length + 1):
            block, count = row[start : start + length], 1
            while row[start + count * length : start + (count + 1) * length] == block:
                count += 1
            if count > 1 and (best is None or count * length > best.count * best.length):
                best = Blocks(path, start, length, count)
    return best


def _signature(module: nn.Module) -> str:
    shapes = [(name, tuple(own.shape)) for name, own in module.named_parameters() if not nn.parameter.is_lazy(own)]
    frozen = [name for name, own in module.named_parameters() if not own.requires_grad]
    return f"{module!r} {shapes} {frozen}"


def _modules(model: nn.Module, blocks: Blocks) -> list[nn.Module]:
    """The modules of the last block."""
    row = list(model.get_submodule(blocks.path).children())
    end = blocks.start + blocks.length * blocks.count
    return row[end - blocks.length : end]


def _only_linear(model: nn.Module, blocks: Blocks) -> bool:
    layers = [module for module in _modules(model, blocks) if any(True for _ in module.parameters())]
    return all(type(layer) is nn.Linear for layer in layers)


def _hands_on(recipe: Recipe, model: nn.Module, blocks: Blocks, batch: Nest) -> bool:
    """Whether the last block gives outputs of the shape of its inputs, learns in all its weights, and drops nothing."""
    modules, seen = _modules(model, blocks), dict[str, Any]()
    inside = [layer for module in modules for layer in module.modules()]
    if not all(own.requires_grad for module in modules for own in module.parameters()):
        return False
    if any(getattr(layer, "p", 0) or getattr(layer, "dropout", 0) for layer in inside if not _is_module(layer)):
        return False
    handles = [
        modules[0].register_forward_pre_hook(partial(_note_input, seen)),
        modules[-1].register_forward_hook(partial(_note_output, seen)),
    ]
    done = forward(Step(model, recipe.objective), batch, training=True)
    for handle in handles:
        handle.remove()
    return done is not None and "input" in seen and seen.get("input") == seen.get("output")


def _is_module(layer: nn.Module) -> bool:
    """Whether what it calls its dropout is a module, which is looked at by itself."""
    return isinstance(getattr(layer, "dropout", None), nn.Module)


def _note_input(seen: dict[str, Any], module: nn.Module, inputs: Any) -> None:
    seen["input"] = tuple(inputs[0].shape) if inputs and isinstance(inputs[0], Tensor) else None


def _note_output(seen: dict[str, Any], module: nn.Module, inputs: Any, output: Any) -> None:
    seen["output"] = tuple(output.shape) if isinstance(output, Tensor) else ()
