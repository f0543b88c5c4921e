"""What a training costs, told from its recipe: examples, epochs, and what a step multiplies for each example."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.convert import Batching, as_source
from thalweg.core.nest import Nest, map_tensors
from thalweg.core.nodes import NodeSource
from thalweg.core.objective import apply
from thalweg.core.randomness import untouched
from thalweg.core.source import Counted, Indexed, Source
from thalweg.core.threads import counting
from thalweg.training import Recipe

OVERHEAD = 20_000
"""A step's own cost in multiplications for each example: a network of so many takes about twice the time of one of none
(docs/log.md)."""
SIZES: dict[int, tuple[Any, int]] = {}
"""Factories by their identity, each with the number of parameters of its models."""
MULTIPLIED: dict[tuple[int, int], tuple[Any, Any, int]] = {}
"""Factories and train splits by their identities, each pair with the multiplications for one example."""
MOST_KEPT = 64


def work(recipe: Recipe) -> float:
    """Examples times epochs times what each costs in a step.

    An example costs what is multiplied for it, at least the parameters: a filter is used at every place of an image, so
    that convolutions cost far more than their parameters say.
    """
    each = max(count_parameters(recipe), _multiplications(recipe))
    return float(examples_of(recipe) * max(recipe.epochs, 1) * (OVERHEAD + each))


def examples_of(recipe: Recipe) -> int:
    """The examples that an epoch of a recipe trains on, copies and what a sampler draws again included; 1 for a stream.

    Of a graph all nodes, whichever of them it is trained on: all go through the network.

    >>> from thalweg.core.source import Splits
    >>> splits = Splits(train=(torch.ones(33), torch.ones(33)))
    >>> examples_of(Recipe(data=splits, model=nn.Identity, objective=nn.MSELoss()))
    33
    """
    source = _train(recipe)
    if not isinstance(source, Indexed):
        return 1
    if isinstance(source, NodeSource):
        return len(source.mask)
    batches = source.count_batches() if isinstance(source, Counted) else None
    size = getattr(source, "batch_size", None) or recipe.batch_size
    if batches is None or size is None or 0 <= batches * size - len(source) < size:
        return len(source)
    return batches * size


def _train(recipe: Recipe) -> Source:
    train = recipe.data.train
    if isinstance(train, Indexed):
        return train
    return as_source(train, "train", Batching(recipe.batch_size, recipe.collate))


def count_parameters(recipe: Recipe) -> int:
    """The number of parameters that a recipe trains, counted without memory for them where its factory allows it."""
    known = SIZES.get(id(recipe.model))
    if known is None or known[0] is not recipe.model:
        known = _keep(SIZES, id(recipe.model), (recipe.model, _counted(recipe)))
    return known[1]


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> Any:
    while len(kept) >= MOST_KEPT:
        kept.pop(next(iter(kept)))
    kept[key] = value
    return value


def _counted(recipe: Recipe) -> int:
    model = _sketched(recipe)
    if model is None:
        with untouched():
            try:
                model = recipe.model()
            except Exception:  # a user's own code, which refuses a size
                return 1
    lazy = torch.nn.parameter.is_lazy
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad and not lazy(weight))


def _sketched(recipe: Recipe) -> nn.Module | None:
    """The model without memory for its weights; None where its factory reads its own, which there are none of here."""
    with untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights that a factory loads go nowhere
        try:
            with torch.device("meta"):
                return recipe.model()
        except Exception:
            return None


def _multiplications(recipe: Recipe) -> int:
    """What a forward pass multiplies for one example where the model convolves; 0 for others, and where it fails.

    Shapes alone go through the model: nothing is computed.
    """
    key, own = (id(recipe.model), id(recipe.data.train)), (recipe.model, recipe.data.train)
    known = MULTIPLIED.get(key)
    if known is None or known[0] is not own[0] or known[1] is not own[1]:
        known = _keep(MULTIPLIED, key, (*own, _counted_once(recipe)))
    return known[2]


def _counted_once(recipe: Recipe) -> int:
    model = _sketched(recipe)
    if model is None or not any(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules()):
        return 0
    try:
        return _passed(model, next(iter(_train(recipe).batches(0, 0, None)))[0])
    except Exception:  # a user's own code, which may ask for numbers where there are none
        return 0


def _passed(model: nn.Module, x: Nest) -> int:
    def sketch(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor[:2], device="meta")

    with torch.no_grad(), counting(model) as counted:
        apply(model.eval(), map_tensors(sketch, x))
    return counted.total // 2
