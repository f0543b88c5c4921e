r"""What a training minimized, as the doors of curvature take it: objective, batches, penalty and weight decay.

$$ L(\theta) + \mathrm{penalty}(\theta) + \tfrac{1}{2} \sum_i \lambda_i \theta_i^2 $$

A weight decay that the optimizer adds to the gradient is the gradient of the last term, and a decoupled one pulls
towards the same points where nothing else moves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from thalweg.core.convert import Batching, as_source
from thalweg.core.nest import Nest, count_examples
from thalweg.core.randomness import stream_seed, untouched
from thalweg.core.source import Indexed, Source, plain_of
from thalweg.training.factories import build_optimizer
from thalweg.training.recipe import Recipe

MOST_EXAMPLES = 2048
"""So many examples tell a surface as well as all do, up to the noise that the verdict counts."""


@dataclass(frozen=True)
class Minimized:
    """The surface that a training went down, over `examples` of the `of` that it was trained on (None: unknown)."""

    objective: Any
    batches: list[Nest]
    penalty: Callable[[nn.Module], Any] | None
    weight_decay: dict[str, float]
    examples: int
    of: int | None

    @property
    def restraints(self) -> dict[str, Any]:
        """What is added to the loss, as keywords of the doors of curvature."""
        return {"penalty": self.penalty, "weight_decay": self.weight_decay}


def minimized(recipe: Recipe, model: nn.Module, most: int = MOST_EXAMPLES) -> Minimized:
    """What was minimized by the weights of a model: on `most` train examples, drawn by the seed, without augmentation.

    A stream gives its first batches. The random streams are left as they were.

    >>> import torch
    >>> from thalweg.core.source import Splits
    >>> data = Splits(train=(torch.zeros(9, 3), torch.zeros(9, 1)))
    >>> adam = lambda p: torch.optim.Adam(p, weight_decay=0.1)
    >>> recipe = Recipe(data=data, model=lambda: nn.Linear(3, 1), objective=nn.MSELoss(), optimizer=adam)
    >>> found = minimized(recipe, recipe.model(), most=5)
    >>> found.examples, found.of, found.weight_decay
    (5, 9, {'weight': 0.1, 'bias': 0.1})
    """
    source = plain_of(as_source(recipe.data.train, "train", Batching(recipe.batch_size, recipe.collate)))
    size = len(source) if isinstance(source, Indexed) else None
    if isinstance(source, Indexed) and len(source) > most:
        ids = np.random.default_rng(stream_seed(recipe.seed, "surface")).permutation(len(source))[:most]
        source = source.take(np.sort(ids))
    with untouched():
        batches = _first(source, most)
        decay = decay_of(recipe, model)
    return Minimized(recipe.objective, batches, recipe.penalty, decay, sum(map(count_examples, batches)), size)


def _first(source: Source, most: int) -> list[Nest]:
    batches: list[Nest] = []
    for batch in source.batches(0, 0, None):
        batches.append(batch)
        if sum(map(count_examples, batches)) >= most:
            break
    return batches


def decay_of(recipe: Recipe, model: nn.Module) -> dict[str, float]:
    """The weight decay of each trained parameter, by name, as the recipe's optimizer is built; 0 where it has none."""
    groups = build_optimizer(recipe.optimizer, model, recipe.loop).param_groups
    decays = {id(weight): float(group.get("weight_decay") or 0.0) for group in groups for weight in group["params"]}
    trained = ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
    return {name: decays.get(id(weight), 0.0) for name, weight in trained}
