r"""Directions whose length means the same in every filter.

A network of ReLU layers computes the same with the weights of one filter doubled and those behind it halved, so that a
step of one length is small for large filters and large for small ones. A direction d is therefore scaled filter by
filter,

$$ d_{ij} \leftarrow \frac{d_{ij}}{\lVert d_{ij} \rVert} \lVert \theta_{ij} \rVert , $$

with the filters j of layer i, which are the rows of a weight: along axis 0, the outputs (Li et al., "Visualizing the
Loss Landscape of Neural Nets", 2018, section 4).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.nest import describe
from thalweg.core.randomness import generator
from thalweg.measure.curvature.settings import trainable
from thalweg.measure.looking import as_module


@no_type_check
def filter_normalized(
    direction: Mapping[str, Tensor], weights: Mapping[str, Tensor] | nn.Module, *, vectors: bool = False
) -> dict[str, Tensor]:
    """The direction with each filter as long as that filter of the weights.

    `weights` are a model, whose trained parameters count, or tensors by name. Biases and the parameters of batch norm,
    which are the tensors of one axis, are 0 in it, as in the authors' code; `vectors=True` scales each of them to its
    own length instead. A filter of zeros stays where it is. Raises `RecipeError` for a direction of another shape.

    >>> layer = nn.Linear(2, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> found = filter_normalized({"weight": torch.tensor([[0.0, 0.1]]), "bias": torch.ones(1)}, layer)
    >>> found["weight"].tolist(), found["bias"].tolist()
    ([[0.0, 5.0]], [0.0])
    """
    named = trainable(weights) if isinstance(weights, nn.Module) else dict(weights)
    check_direction(direction, named)
    return {
        name: _scaled(direction[name].detach(), tensor.detach().to(direction[name].device), vectors)
        for name, tensor in named.items()
    }


def random_directions(model: nn.Module, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two filter-normalized random directions, in each filter at right angles where it has more than one number.

    A model of vectors alone has each of them scaled as one filter. Raises `DataError` for weights that are not finite.

    >>> first, second = random_directions(nn.Linear(5, 3))
    >>> bool((first["weight"] * second["weight"]).sum(1).abs().max() < 1e-6)
    True
    """
    parameters = trainable(as_module(model))
    for name, parameter in parameters.items():
        if not bool(torch.isfinite(parameter).all()):
            raise DataError(
                f"The model's weights are not finite, in {name!r}. Take weights from before training diverged."
            )
    vectors = all(parameter.dim() <= 1 for parameter in parameters.values())
    drawn = [
        {name: _normal(parameter, stream) for name, parameter in parameters.items()}
        for stream in (generator(seed, "landscape", number) for number in range(2))
    ]
    first, second = (filter_normalized(direction, parameters, vectors=vectors) for direction in drawn)
    apart = {name: _apart(second[name], first[name]) for name in parameters}
    return first, filter_normalized(apart, parameters, vectors=vectors)


def flat(direction: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Tensor:
    """A direction by name as one vector, in the order of the parameters."""
    return torch.cat([direction[name].reshape(-1).to(parameters[name].device) for name in parameters])


def check_direction(direction: Any, weights: Mapping[str, Tensor]) -> None:
    """Refuse a direction that does not have a tensor of the right shape, of finite numbers, for each of the weights."""
    if not isinstance(direction, Mapping):
        raise RecipeError(
            f"A direction is {describe(direction)}, but it has a tensor for each parameter by name. Give for instance "
            "{name: torch.randn_like(p) for name, p in model.named_parameters()}."
        )
    for name, tensor in weights.items():
        given = direction.get(name)
        if not isinstance(given, Tensor) or given.shape != tensor.shape:
            said = "nothing" if given is None else describe(given)
            raise RecipeError(
                f"The direction has {said} for the parameter {name!r}, whose shape is {tuple(tensor.shape)}. Give one "
                "of the same model, with a tensor for each trained parameter."
            )
        if not bool(torch.isfinite(given).all()):
            raise RecipeError(f"The direction is not finite at {name!r}. Give one without NaN and infinities.")


def _scaled(direction: Tensor, tensor: Tensor, vectors: bool) -> Tensor:
    if tensor.dim() <= 1:
        if not vectors:
            return torch.zeros_like(direction)
        return direction / direction.norm().clamp(min=torch.finfo(direction.dtype).tiny) * tensor.norm()
    rows, filters = direction.reshape(len(direction), -1), tensor.reshape(len(tensor), -1)
    lengths = rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(direction.dtype).tiny)
    return (rows / lengths * filters.norm(dim=1, keepdim=True)).reshape(direction.shape)


def _apart(direction: Tensor, other: Tensor) -> Tensor:
    """What of each filter of the direction is at right angles to the other's; the filter itself where nothing is."""
    rows, others = (each.reshape(len(each) if each.dim() > 1 else 1, -1) for each in (direction, other))
    squares = others.square().sum(1, keepdim=True)
    along = (rows * others).sum(1, keepdim=True) / torch.where(squares > 0, squares, 1)
    rest = rows - along * others
    left = rest.norm(dim=1, keepdim=True) > 1e-3 * rows.norm(dim=1, keepdim=True)
    return torch.where(left, rest, rows).reshape(direction.shape)


def _normal(parameter: Tensor, stream: torch.Generator) -> Tensor:
    drawn = torch.randn(parameter.shape, generator=stream, dtype=torch.float64)
    return drawn.to(parameter.device, parameter.dtype)
