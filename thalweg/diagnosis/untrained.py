"""The loss of a network before its first step: what it reaches that has learned nothing."""

from math import isfinite

import torch

from thalweg.core.beginning import without_weights
from thalweg.core.randomness import seed_everything, untouched
from thalweg.core.source import Source
from thalweg.diagnosis.laboratory import Laboratory
from thalweg.training.evaluate import example_losses


def untrained(lab: Laboratory, split: Source, otherwise: float) -> float:
    """The mean loss on a split of the network before it has learned anything; `otherwise` where that is not finite.

    Weights that were trained before are left out.
    """
    with untouched(), torch.no_grad():
        seed_everything(lab.recipe.seed, "model")
        try:
            value = example_losses(without_weights(lab.recipe.model)(), lab.recipe, split, lab.device).mean()[0]
        except (RuntimeError, ValueError):
            return otherwise
    return value if isfinite(value) else otherwise
