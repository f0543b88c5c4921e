"""prove: (Recipe, Remedy) -> Proof, by paired runs.

Each pair shares its seed, so that initial weights and order are as alike as the remedy leaves them. The one-sided
sign-flip test asks how often random signs would make the mean difference as large as it is: with n pairs that all agree
p = 2^-n, so that five pairs can reach .05. The seeds are none that a diagnosis or a race has used.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import isinf, isnan
from time import monotonic
from typing import Any

import numpy as np
import torch

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, RunError
from thalweg.diagnosis import Budget, Cause, Cost, Progress, Score
from thalweg.diagnosis.compare import student
from thalweg.diagnosis.laboratory import Laboratory, lay_out, mean_of
from thalweg.remedy.remedy import Remedy
from thalweg.training import Outcome, Recipe

PAIRS = 5
WITHOUT, WITH = "the runs without it", "the runs with it"
FRESH = 1000
"""Proofs begin at this distance from the recipe's seed."""
LEVEL = 0.05
PRICE = 0.25
"""What a remedy for the test data may cost on validation, as a share of what it gains on test."""


@dataclass(frozen=True)
class Proof:
    """Paired runs with and without a remedy: how much lower the loss is with it, and whether that is beyond chance.

    `pairs` holds (seed, loss without, loss with), infinite for a run without a finite one; `effect` is the mean
    difference of the pairs where both are finite, positive where the remedy helps, with Student's interval. `price` is
    how much higher the validation loss is with a remedy that is measured on test.

    >>> remedy = Remedy("longer", Cause.OPTIMIZATION, lambda recipe: recipe.but(epochs=60))
    >>> pairs = tuple((seed, 1.0, 0.5 + seed / 100) for seed in range(5))
    >>> Proof(remedy, "validation loss", pairs, Score(0.48, 0.46, 0.5), 1 / 32, Cost()).wins
    5
    """

    remedy: Remedy
    measure: str
    pairs: tuple[tuple[int, float, float], ...]
    effect: Score
    p: float
    cost: Cost
    change: tuple[str, ...] = ()
    price: float = 0.0

    @property
    def wins(self) -> int:
        """In how many pairs the loss is lower with the remedy."""
        return sum(after < before for _, before, after in self.pairs)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the effect."""
        return self.effect.low, self.effect.high

    @property
    def helped(self) -> bool:
        """Whether the remedy lowers the loss beyond chance, by the signs and by the interval, at no price elsewhere."""
        return self.p <= LEVEL and not self.effect.low <= 0 and not self.price > PRICE * self.effect.value

    @property
    def sentence(self) -> str:
        """What the pairs show, in a line."""
        ends = [sum(isinf(loss) for loss in losses) for losses in list(zip(*self.pairs, strict=True))[1:]]
        lower = [] if isnan(self.effect.value) else [f"{self.measure} lower by {self.effect}"]
        dear = (
            [f"at the price of {self.price:.3g} on validation"]
            if self.price > max(0.0, PRICE * self.effect.value)
            else []
        )
        diverged = [f"runs without a finite loss: {ends[0]} without it, {ends[1]} with it"] if any(ends) else []
        return ", ".join([*lower, *dear, *diverged, f"{self.wins} of {len(self.pairs)} pairs", f"p = {self.p:.3g}"])

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a file of `proofs/` holds them."""
        return {
            "remedy": self.remedy.name,
            "cause": str(self.remedy.cause),
            "change": list(self.change),
            "measure": self.measure,
            "pairs": [{"seed": seed, "without": before, "with": after} for seed, before, after in self.pairs],
            "effect": asdict(self.effect),
            "sentence": self.sentence,
            "price": self.price,
            "wins": self.wins,
            "p": self.p,
            "helped": self.helped,
            "cost": asdict(self.cost),
        }


@no_type_check
def prove(
    recipe: Recipe,
    remedy: Remedy,
    *,
    pairs: int = PAIRS,
    device: str | torch.device = "auto",
    candidates: int = 1,
    progress: Progress | None = None,
) -> Proof:
    """Train with and without a remedy on paired seeds, and say whether it helps.

    What is compared is the validation loss of the recipe's judge, for a mismatch the loss on the probe half of the test
    split. With several `candidates` (Holm's first step) the level is divided, so that more pairs are needed.

    >>> import thalweg
    >>> from thalweg.cases import get
    >>> from thalweg.remedy import Remedy
    >>> recipe = get("rate-too-low").but(epochs=5)
    >>> from functools import partial
    >>> adam = partial(torch.optim.Adam, lr=1e-3)
    >>> proof = prove(recipe, Remedy("Adam at its usual rate", Cause.OPTIMIZATION, lambda r: r.but(optimizer=adam)))
    >>> proof.helped, proof.wins, proof.p
    (True, 5, 0.03125)

    Raises `RecipeError` for too few pairs to reach the level, and `RunError` where a run fails.
    """
    if pairs < (needed := pairs_for(candidates)):
        raise RecipeError(
            f"pairs={pairs} cannot show anything at p <= {LEVEL:g} with {candidates} candidates: give {needed}."
        )
    started = monotonic()
    tell = progress or (lambda stage: None)
    lab = lay_out(recipe, resolve_device(device), Budget(), tell, remedy.cause is Cause.MISMATCH)
    treated = remedy(lab.recipe)
    seeds = [recipe.seed + FRESH + i for i in range(pairs)]
    before = _judged(lab, WITHOUT, lab.recipe, seeds, remedy)
    after = _judged(lab, WITH, treated, seeds, remedy)
    differences = paired_differences(before, after)
    measure = "test loss (probe half)" if _on_test(lab, remedy) else "validation loss"
    return Proof(
        remedy,
        measure,
        tuple(zip(seeds, before, after, strict=True)),
        student(differences[np.isfinite(before) & np.isfinite(after)]),
        min(1.0, candidates * sign_flip(differences)),
        Cost(lab.runs, monotonic() - started, lab.price),
        tuple(lab.recipe.difference(treated)),
        _price(lab, lab.recipe, treated, seeds) if _on_test(lab, remedy) else 0.0,
    )


def pairs_for(candidates: int) -> int:
    """How many pairs can show, by their signs, that one of several candidates helps: n >= log2(m / level).

    >>> pairs_for(1), pairs_for(2), pairs_for(3), pairs_for(4)
    (5, 6, 6, 7)
    """
    return int(np.ceil(np.log2(max(candidates, 1) / LEVEL)))


def _on_test(lab: Laboratory, remedy: Remedy) -> bool:
    return remedy.cause is Cause.MISMATCH and lab.probe is not None


def _judged(lab: Laboratory, name: str, recipe: Recipe, seeds: list[int], remedy: Remedy) -> list[float]:
    split = lab.probe if _on_test(lab, remedy) and lab.probe is not None else lab.validation
    runs = lab.run(name, recipe, seeds)
    for run in runs:
        if run.status is Outcome.FAILED:
            raise RunError(f"A run of the proof failed, one of {name} ({remedy.name}): {run.error}") from run.error
    scored = [lab.losses(run, split) for run in runs]
    return [mean_of(losses) for losses in scored]


def _price(lab: Laboratory, recipe: Recipe, treated: Recipe, seeds: list[int]) -> float:
    """How much higher the validation loss is with the remedy, on average over the pairs that were trained."""
    without, beside = (
        [mean_of(lab.losses(run, lab.validation)) for run in lab.run(name, one, seeds)]
        for name, one in ((WITHOUT, recipe), (WITH, treated))
    )
    return float(np.mean(beside) - np.mean(without)) if np.isfinite(without).all() else 0.0


def paired_differences(before: Sequence[float], after: Sequence[float]) -> np.ndarray:
    """How much lower the loss is after, pair by pair: infinite where only the run before has none, 0 where neither has.

    >>> paired_differences([1.0, float("inf"), float("inf")], [0.5, 0.5, float("inf")])
    array([0.5, inf, 0. ])
    """
    pairs = zip(before, after, strict=True)
    return np.array([0.0 if first == second else first - second for first, second in pairs])


def sign_flip(differences: np.ndarray) -> float:
    """The one-sided exact sign-flip p-value of a positive mean; an infinite difference counts more than all others.

    >>> sign_flip(np.array([1.0, 2.0, 3.0])), sign_flip(np.array([np.inf, -1.0, 3.0]))
    (0.125, 0.25)
    """
    finite = differences[np.isfinite(differences)]
    largest = 1.0 + len(differences) * np.abs(finite).max(initial=0.0)
    differences = np.clip(differences, -largest, largest)
    signs = np.array(list(product((1, -1), repeat=len(differences))))
    means = signs @ differences
    return float(np.mean(means >= differences.sum() - 1e-12 * np.abs(differences).sum()))
