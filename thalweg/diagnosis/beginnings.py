r"""Other beginnings of the same network: weights for its depth and its activations, and batch norm in between.

torch draws the weights of a layer with $n$ inputs with deviation $1 / \sqrt{3 n}$, so that behind a ReLU the signal
shrinks by $\sqrt{6}$ from layer to layer. He et al. (2015, Delving Deep into Rectifiers) keep it as large by deviation
$\sqrt{2 / n}$; Glorot and Bengio (2010) by $g \sqrt{2 / (n + m)}$, with $g = 5/3$ before a tanh and 4 before a sigmoid,
the slope of which is at most 1/4.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.randomness import untouched
from thalweg.core.step import Step
from thalweg.diagnosis.tracing import forward, graph_back, traced
from thalweg.training import Recipe

Factory = Callable[[], nn.Module]
DEEP = 6
"""Matrices and filters from which on a network is deep enough for its beginning to matter."""
RECTIFIERS = ("Relu", "Gelu", "Silu", "Elu", "Hardtanh", "Softplus", "Mish")
GAINS = {"Tanh": 5 / 3, "Sigmoid": 4.0}
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
FILTERS: dict[Any, Any] = {
    nn.Linear: nn.BatchNorm1d, nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d,
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Initialized:
    """A model factory whose layers begin as `activation` asks, the `last` ones with gain 1, all biases at 0."""

    factory: Factory
    layers: tuple[str, ...]
    last: tuple[str, ...]
    activation: str

    def __call__(self) -> nn.Module:
        model = self.factory()
        for name in self.layers:
            layer: Any = model.get_submodule(name)
            if name not in self.last and self.activation not in GAINS:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_normal_(layer.weight, 1.0 if name in self.last else GAINS[self.activation])
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, initialized for its {self.activation}"


@dataclass(frozen=True, repr=False)
class Normed:
    """A model factory with batch norm behind its hidden layers."""

    factory: Factory
    layers: tuple[str, ...]

    def __call__(self) -> nn.Module:
        model = self.factory()
        for name in self.layers:
            layer: Any = model.get_submodule(name)
            norm = FILTERS[type(layer)](len(layer.weight), dtype=layer.weight.dtype)
            model.set_submodule(name, nn.Sequential(layer, norm))
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, with batch norm"


def is_deep(recipe: Recipe) -> bool:
    """Whether a model has so many matrices and filters that how it begins decides how it ends.

    >>> from thalweg.core.source import Splits
    >>> import torch
    >>> data = Splits(train=(torch.ones(5, 3), torch.ones(5, 3)))
    >>> net = lambda: nn.Sequential(*(nn.Linear(3, 3) for _ in range(6)))
    >>> is_deep(Recipe(data=data, model=net, objective=nn.MSELoss()))
    True
    """
    with untouched():
        model = recipe.model()
    return sum(own.dim() > 1 and own.requires_grad for own in model.parameters()) >= DEEP


def initialized(recipe: Recipe, batch: Nest) -> Recipe | None:
    """The recipe with weights drawn for its activations; None for a network with norms, or of nothing to draw."""
    with untouched():
        model = recipe.model()
        trace = None if _normed(model) else traced(recipe, model, batch)
        if trace is None:
            return None
        names = tuple(layer.name for layer in trace.mixing if type(model.get_submodule(layer.name)) in FILTERS)
        activation = _activation(forward(Step(model, recipe.objective), batch, training=True))
    if not names or activation is None:
        return None
    last = tuple(layer.name for layer in trace.mixing if layer.last)
    return recipe.but(model=Initialized(recipe.model, names, last, activation))


def batch_normed(recipe: Recipe, batch: Nest) -> Recipe | None:
    """The recipe with batch norm behind each hidden layer; None where there is a norm, or where it does not run."""
    with untouched():
        model = recipe.model()
        trace = None if _normed(model) else traced(recipe, model, batch)
        if trace is None:
            return None
        hidden = (layer.name for layer in trace.mixing if not layer.last)
        names = tuple(name for name in hidden if name and type(model.get_submodule(name)) in FILTERS)
        changed = recipe.but(model=Normed(recipe.model, names))
        ran = traced(recipe, changed.model(), batch) if names else None
    return changed if ran is not None and ran.output == trace.output else None


def _normed(model: nn.Module) -> bool:
    return any(isinstance(module, NORMS) for module in model.modules())


def _activation(minimized: Tensor | None) -> str | None:
    """The activation that stands most often in the graph of gradients: ReLU for all its kin."""
    counts = Counter[str]()
    for node in () if minimized is None else graph_back(minimized):
        name = type(node).__name__
        counts.update(["ReLU"] * any(name.startswith(kind) or kind in name for kind in RECTIFIERS))
        counts.update(kind for kind in GAINS if name.startswith(kind))
    return counts.most_common(1)[0][0] if counts else None
