"""prove: (Recipe, Remedy) -> Proof, by paired runs.

Each pair shares its seed, so that initial weights and order are as alike as the remedy leaves them. The one-sided
sign-flip test asks how often random signs would make the mean difference as large as it is: with n pairs that all agree
p = 2^-n, so that five pairs can reach .05. The seeds are none that a diagnosis or a race has used.

A proof is stopped early for futility alone: after the first pairs, where all that are still to come could not bring p
down to the level (`sign_flips.best_possible`, a bound that holds for any pairs). That can only lose a chance to be
proved which was not there, so that the level stays what it is.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, RunError
from thalweg.core.notices import collecting, unsaid
from thalweg.core.source import Source
from thalweg.core.wording import counted
from thalweg.diagnosis import Budget, Cause, Cost, Progress, Score
from thalweg.diagnosis.compare import student
from thalweg.diagnosis.laboratory import Laboratory, first_batch, halves, lay_out, mean_of
from thalweg.diagnosis.stage import duration
from thalweg.remedy.proof import Beside, Part, Proof, helps
from thalweg.remedy.random_change import random_change
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.repairing import judged_rightly
from thalweg.remedy.sign_flips import LEVEL, best_possible, paired_differences, pairs_for, sign_flip
from thalweg.training import Outcome, Recipe

PAIRS = 5
WITHOUT, WITH, RANDOM = "the runs without it", "the runs with it", "a random change at the same cost"
FRESH = 1000
"""Proofs begin at this distance from the recipe's seed."""
LOOK = 3
"""After so many pairs it is asked whether the rest could still help."""
APART = 200
"""Of so many validation examples a race judges by one half and a proof by the other; of fewer each by all."""


@dataclass(frozen=True)
class Price:
    """What a proof costs at most: runs, trainings of the recipe, and about how many seconds; None where unknown.

    >>> print(Price(15, 15.0, 100.0))
    15 trainings, about 1 min 40 s
    """

    runs: int
    times: float
    seconds: float | None

    def __str__(self) -> str:
        told = "" if self.seconds is None or self.seconds < 1 else f", about {duration(self.seconds)}"
        return f"{self.times:.3g} trainings{told}"


@no_type_check
def prove(
    recipe: Recipe,
    remedy: Remedy,
    *,
    pairs: int = PAIRS,
    random: bool = False,
    budget: float | str | Budget | None = None,
    device: str | torch.device = "auto",
    candidates: int = 1,
    raced: bool = False,
    first_seed: int | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Train with and without a remedy on paired seeds, and say whether it helps.

    What is compared is the validation loss of the recipe's judge, for a mismatch the loss on the probe half of the test
    split. With several `candidates` (Holm's first step) the level is divided, so that more pairs are needed. `random`
    trains a random change beside it, on the same seeds and at the same cost. Of a remedy that `then` put together each
    part is left out in turn once the whole has helped: `proof.kept` is what is left of it. `budget`, in trainings of
    the recipe or a time, holds the whole price (`price_of_proof`) before anything is trained, with fewer pairs if these
    can still reach the level. `raced` says that a `race` has chosen the remedy: it is then judged by the half of the
    validation examples that no race has seen. Seeds are counted from `first_seed` on.

    >>> import thalweg
    >>> from thalweg.cases import get
    >>> from thalweg.remedy import Remedy
    >>> recipe = get("rate-too-low").but(epochs=5)
    >>> from functools import partial
    >>> adam = partial(torch.optim.Adam, lr=1e-3)
    >>> proof = prove(recipe, Remedy("Adam at its usual rate", Cause.OPTIMIZATION, lambda r: r.but(optimizer=adam)))
    >>> proof.helped, proof.wins, proof.p
    (True, 5, 0.03125)

    Raises `RecipeError` for too few pairs to reach the level and for a budget that does not hold them, and `RunError`
    where a run fails.
    """
    _check_pair(recipe, remedy)
    check_counts(pairs=pairs, candidates=candidates)
    if pairs < (needed := pairs_for(candidates)):
        raise RecipeError(
            f"pairs={pairs} cannot show anything at p <= {LEVEL:g} with {counted(candidates, 'candidate')}: give "
            f"{needed}."
        )
    lab = laid_out(recipe, remedy, device, progress)
    if budget is not None:
        pairs = _affordable(lab, remedy, pairs, needed, random, Budget.of(budget))
    start = recipe.seed + FRESH if first_seed is None else first_seed
    bench = Bench(lab, remedy, list(range(start, start + pairs)), candidates, raced)
    proof = bench.paired()
    if proof.helped and remedy.steps:
        proof = bench.parted(proof)
    if random and not proof.stopped:
        proof = replace(proof, random=bench.beside())
    return replace(proof, cost=lab.cost)


@no_type_check
def price_of_proof(
    recipe: Recipe,
    remedy: Remedy,
    *,
    pairs: int = PAIRS,
    random: bool = False,
    device: str | torch.device = "auto",
) -> Price:
    """What a proof costs at most, before it is paid for: the pairs, the random change beside them, and each part.

    >>> import thalweg
    >>> longer = Remedy("longer", Cause.OPTIMIZATION, lambda recipe: recipe.but(epochs=60))
    >>> price_of_proof(thalweg.cases.get("healthy"), longer, random=True).times  # 5 x (1 + 2 + 2)
    25.0
    """
    _check_pair(recipe, remedy)
    with collecting():
        return _price(laid_out(recipe, remedy, device, None), remedy, pairs, random)


def laid_out(recipe: Recipe, remedy: Remedy, device: str | torch.device, progress: Progress | None) -> Laboratory:
    """The recipe's splits, with the probe half of test for a mismatch alone; a loss is judged as it is repaired."""
    tell = progress or (lambda stage: None)
    recipe = judged_rightly(recipe, remedy(recipe)) if remedy.cause is Cause.WIRING else recipe
    return lay_out(recipe, resolve_device(device), Budget(), tell, remedy.cause is Cause.MISMATCH)


def _check_pair(recipe: object, remedy: object) -> None:
    check_subject(recipe, "prove")
    if not isinstance(remedy, Remedy):
        raise RecipeError(
            f"prove was given {type(remedy).__name__} for a remedy: give Remedy(name, cause, change), where change "
            "makes a recipe of a recipe."
        )


def check_subject(recipe: object, door: str) -> None:
    """Refuse what is no recipe with `RecipeError`, which names the door that it was given to."""
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"{door} was given {type(recipe).__name__}, but it takes a thalweg.Recipe: thalweg.load reads one."
        )


def check_counts(**counts: object) -> None:
    """Refuse with `RecipeError` what is no count of at least 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise RecipeError(f"{name}={count!r}, but it counts: give a whole number, 1 or more.")


def _price(lab: Laboratory, remedy: Remedy, pairs: int, random: bool) -> Price:
    """The runs without, with, of a random change that costs the same, and of the remedy without each of its parts."""
    treated = remedy(lab.recipe)
    trained = [lab.recipe, treated, *([treated] if random else [])]
    trained += [remedy.without(step)(lab.recipe) for step in remedy.steps]
    seconds = [lab.seconds_of(one) for one in trained]
    known = [each for each in seconds if each is not None]
    told = pairs * sum(known) if len(known) == len(seconds) else None
    return Price(pairs * len(trained), pairs * sum(map(lab.price_of, trained)), told)


def _affordable(lab: Laboratory, remedy: Remedy, pairs: int, needed: int, random: bool, budget: Budget) -> int:
    """As many of the pairs as the budget holds, if they can still reach the level."""
    for count in range(pairs, needed - 1, -1):
        price = _price(lab, remedy, count, random)
        if budget.holds(price.times, price.seconds):
            return count
    without = ", or leave the random change out (random=False)" if random else ""
    raise RecipeError(
        f"Proving '{remedy.name}' costs {price} ({needed} pairs, the fewest that can reach p <= {LEVEL:g}), and "
        f"budget={budget} does not hold them: give {price.times:.3g}{without}."
    )


@dataclass
class Bench:
    """The runs of one proof, on seeds that they share, and what they are judged by."""

    lab: Laboratory
    remedy: Remedy
    seeds: list[int]
    candidates: int = 1
    raced: bool = False
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.on_test = self.remedy.cause is Cause.MISMATCH and self.lab.probe is not None
        self.split, self.measure = judging(self.lab, self.on_test, self.raced)

    def paired(self) -> Proof:
        """The pairs, the first few of them first, and the rest where they can still help."""
        treated = self.remedy(self.lab.recipe)
        for upto in (LOOK, len(self.seeds)):
            own = self.seeds[len(self.before) : upto]
            self.before += self.losses(WITHOUT, self.lab.recipe, own)
            self.after += self.losses(WITH, treated, own)
            differences = paired_differences(self.before, self.after)
            if self.candidates * best_possible(differences, len(self.seeds)) > LEVEL:
                break
        return Proof(
            self.remedy,
            self.measure,
            tuple(zip(self.seeds, self.before, self.after, strict=False)),
            effect_of(self.before, self.after),
            self.p(self.after),
            Cost(),
            tuple(self.lab.recipe.difference(treated)),
            self.price(treated) if self.on_test else 0.0,
            len(self.seeds),
        )

    def parted(self, proof: Proof) -> Proof:
        """Each part left out in turn, for good where the loss without it is no higher beyond noise, and still helps."""
        left, losses, parts = self.remedy, self.after, list[Part]()
        for step in self.remedy.steps:
            if not left.steps:  # all others have gone
                break
            less = left.without(step)
            without = self.losses(f"without {step.name}", less(self.lab.recipe), self.seeds)
            rise = paired_differences(without, losses)
            told = effect_of(without, losses)
            pays = bool(np.isinf(rise).any() or told.low > 0) or not self.helps(without)
            parts.append(Part(step.name, tuple(zip(self.seeds, without, losses, strict=True)), told, pays))
            if not pays:
                left, losses = less, without
        return replace(proof, parts=tuple(parts), smallest=left)

    def beside(self) -> Beside:
        """A random change that costs as much as the remedy, on the same seeds."""
        own = self.lab.recipe
        cost = self.lab.price_of(self.remedy(own))
        drawn = random_change(own, first_batch(self.lab.train), cost, self.remedy.name)
        changed = drawn(own)
        shift = changed.seed - own.seed
        with unsaid():  # what is drawn at random is nobody's mistake
            losses = self.losses(RANDOM, changed, [seed + shift for seed in self.seeds], required=False)
        return Beside(
            drawn.name,
            tuple(own.difference(changed)),
            tuple(zip(self.seeds, self.before, losses, strict=True)),
            effect_of(self.before, losses),
            self.p(losses),
            _lead(losses, self.after),
        )

    def p(self, losses: list[float]) -> float:
        """The sign-flip p-value of losses against those without, times the candidates."""
        return min(1.0, self.candidates * sign_flip(paired_differences(self.before, losses)))

    def helps(self, losses: list[float]) -> bool:
        """Whether losses are lower than those without, beyond chance."""
        return helps(self.p(losses), effect_of(self.before, losses))

    def losses(self, name: str, recipe: Recipe, seeds: list[int], required: bool = True) -> list[float]:
        """The mean losses of runs, infinite where there is no finite one.

        Raises `RunError` where a run fails that is required.
        """
        runs = self.lab.run(name, recipe, seeds)
        for run in runs:
            if run.status is Outcome.FAILED and required:
                raise RunError(
                    f"A run of the proof failed, one of {name} ({self.remedy.name}): {run.error}"
                ) from run.error
        return [mean_of(self.lab.losses(run, self.split)) for run in runs]

    def price(self, treated: Recipe) -> float:
        """How much higher the validation loss is with the remedy, on average over the pairs that were trained."""
        seeds = self.seeds[: len(self.before)]
        without, beside = (
            [mean_of(self.lab.losses(run, self.lab.validation)) for run in self.lab.run(name, one, seeds)]
            for name, one in ((WITHOUT, self.lab.recipe), (WITH, treated))
        )
        return float(np.mean(beside) - np.mean(without)) if np.isfinite(without).all() else 0.0


def judging(lab: Laboratory, on_test: bool, raced: bool, race: bool = False) -> tuple[Source, str]:
    """The examples by which a race or a proof judges, and what the loss on them is called.

    Where a race has chosen, it and the proof judge by halves of the validation examples, each by its own.
    """
    if on_test and lab.probe is not None:
        return lab.probe, "test loss (probe half)" if lab.halved else "test loss"
    if not (raced or race) or len(lab.validation) < APART:
        return lab.validation, "validation loss"
    return halves(lab.validation)[0 if race else 1], "validation loss (half of it)" if race else (
        "validation loss (half that no race has seen)"
    )


def effect_of(before: list[float], after: list[float]) -> Score:
    """How much lower the losses are after, over the pairs where both are finite, with Student's interval.

    >>> effect_of([1.0, float("inf")], [0.5, 0.5]).value
    0.5
    """
    finite = np.isfinite(before) & np.isfinite(after)
    return student(paired_differences(before, after)[finite])


def _lead(random: list[float], after: list[float]) -> Score:
    """How much lower the loss is with the remedy than with a random change; infinite where that has none."""
    if np.isinf(random).all() and np.isfinite(after).all():
        return Score(float("inf"))
    return effect_of(random, after)
