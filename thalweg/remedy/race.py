"""A race: every candidate trained once, on a seed that neither a diagnosis nor a proof uses, to see which to prove.

The order of the losses is all that is taken from it. A proof has seeds of its own, so that a lucky seed in the race
helps no remedy there. Both judge by the same validation examples; data that neither has read judge at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from time import monotonic

import torch

from thalweg.core.device import resolve_device
from thalweg.diagnosis import Budget, Cost, Progress
from thalweg.diagnosis.laboratory import lay_out, mean_of
from thalweg.diagnosis.work import work
from thalweg.remedy.remedy import Remedy
from thalweg.training import Outcome, Recipe, train_many

SEED = 500
"""The distance of a race's seed from the recipe's."""


@dataclass(frozen=True)
class Race:
    """The validation loss of the recipe as it is, and of each candidate that ended with one, the lowest first."""

    without: float
    losses: tuple[tuple[Remedy, float], ...]
    cost: Cost

    @property
    def ahead(self) -> list[Remedy]:
        """The candidates that did better than the recipe as it is, the best first."""
        return [remedy for remedy, loss in self.losses if not loss >= self.without]

    @property
    def sentence(self) -> str:
        """The losses in a line."""
        rest = ", ".join(f"{remedy.name} {loss:.3g}" for remedy, loss in self.losses)
        return f"validation loss as it is {self.without:.3g}; {rest or 'no candidate has a finite one'}"


def race(recipe: Recipe, candidates: Sequence[Remedy], device: str | torch.device, progress: Progress) -> Race:
    """Train a recipe with each of several remedies and without, once each, all at the same seed.

    Raises `KeyboardInterrupt` where it is interrupted.
    """
    started = monotonic()
    lab = lay_out(recipe, resolve_device(device), Budget(), progress, test=False)
    own = lab.recipe.but(seed=recipe.seed + SEED)
    recipes = [own, *(remedy(own) for remedy in candidates)]
    runs = train_many(recipes, device=lab.device)
    for run in runs:
        if run.status is Outcome.INTERRUPTED:
            raise run.error or KeyboardInterrupt
    without, *losses = (mean_of(lab.losses(run, lab.validation)) for run in runs)
    told = [(remedy, loss) for remedy, loss in zip(candidates, losses, strict=True) if isfinite(loss)]
    times = sum(map(work, recipes)) / max(work(own), 1.0)
    cost = Cost(len(runs), monotonic() - started, times)
    return Race(without, tuple(sorted(told, key=lambda pair: pair[1])), cost)
