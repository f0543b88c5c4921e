"""The loss of a network before its first step: what it reaches that has learned nothing."""

from math import isfinite

import torch

from thalweg.core.randomness import seed_everything, untouched
from thalweg.core.source import Source
from thalweg.diagnosis.laboratory import Laboratory
from thalweg.training.evaluate import example_losses


def untrained(lab: Laboratory, split: Source, otherwise: float) -> float:
    """The mean loss on a split of the network as training begins with it; `otherwise` where that is not finite."""
    with untouched(), torch.no_grad():
        seed_everything(lab.recipe.seed, "model")
        try:
            value = example_losses(lab.recipe.model(), lab.recipe, split, lab.device).mean()[0]
        except (RuntimeError, ValueError):
            return otherwise
    return value if isfinite(value) else otherwise
