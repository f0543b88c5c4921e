"""prove: (Recipe, Remedy) -> Proof, by paired runs.

Each pair shares its seed, so that initial weights and order are as alike as the remedy leaves them. The one-sided
sign-flip test asks how often random signs would make the mean difference as large as it is: with n pairs that all agree
p = 2^-n, so that five pairs can reach .05. The seeds are none that a diagnosis or a race has used.

With `folds` each pair has a fold of the train split of its own, on which neither of its runs has trained: what is shown
then holds for other examples too, and the validation examples, by which remedies are chosen, take no part. Folds share
most of their training examples, so that their differences vary together: the interval is wider for it (Nadeau & Bengio
2003), and p, which takes pairs for independent, is a guide.

A proof is stopped early for futility alone: after the first pairs, where all that are still to come could not bring p
down to the level (`sign_flips.best_possible`, a bound that holds for any pairs). That can only lose a chance to be
proved which was not there, so that the level stays what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.core.wording import counted
from thalweg.diagnosis import Budget, Cause, Progress
from thalweg.diagnosis.laboratory import Laboratory, lay_out
from thalweg.diagnosis.stage import duration
from thalweg.remedy.bench import WITHOUT, Bench, Controls, settled_in
from thalweg.remedy.proof import Proof
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.repairing import judged_with
from thalweg.remedy.sign_flips import LEVEL, pairs_for
from thalweg.training import Recipe
from thalweg.training.interrupts import announcing

PAIRS = 5
STOPPING = "The proof stops after the step that runs, and says nothing: pairs are wanted."
FRESH = 1000
"""Proofs begin at this distance from the recipe's seed."""


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
    folds: int | None = None,
    random: bool = False,
    budget: float | str | Budget | None = None,
    device: str | torch.device = "auto",
    candidates: int = 1,
    raced: bool = False,
    first_seed: int | None = None,
    controls: Controls | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Train with and without a remedy on paired seeds, and say whether it helps.

    What is compared is the validation loss of the recipe's judge, for a mismatch the loss on the probe half of the test
    split. With several `candidates` (Holm's first step) the level is divided, so that more pairs are needed. `random`
    trains a random change beside it, on the same seeds and at the same cost. Of a remedy that `then` put together each
    part is left out in turn once the whole has helped: `proof.kept` is what is left of it. `budget`, in trainings of
    the recipe or a time, holds the whole price (`price_of_proof`) before anything is trained, with fewer pairs if these
    can still reach the level. `raced` says that a `race` has chosen the remedy: it is then judged by the half of these
    examples that no race has seen, where they are 200 or more. Seeds are counted from `first_seed` on. `folds=k` puts k
    pairs in the place of `pairs`, each on another fold of the train split: as many examples are trained on fewer times,
    the interval is that of Nadeau and Bengio. `controls` holds the runs without a remedy that an earlier proof of this
    recipe has trained on these seeds, and keeps those of this one.

    >>> import thalweg
    >>> from thalweg.cases import get
    >>> from thalweg.remedy import Remedy
    >>> recipe = get("rate-too-low").but(epochs=5)
    >>> from functools import partial
    >>> adam = partial(torch.optim.Adam, lr=1e-3)
    >>> proof = prove(recipe, Remedy("Adam at its usual rate", Cause.OPTIMIZATION, lambda r: r.but(optimizer=adam)))
    >>> proof.helped, proof.wins, proof.p
    (True, 5, 0.03125)

    Raises `RecipeError` for too few pairs to reach the level, for a budget that does not hold them, for a remedy that
    leaves the recipe as it is and for folds of one that is judged by test data, `Unsupported` for a split without
    subsets, `DataError` for more folds than can be dealt, and `RunError` where a run fails.
    """
    _check_pair(recipe, remedy)
    check_counts(pairs=pairs, candidates=candidates)
    _check_folds(folds, remedy)
    pairs = pairs if folds is None else folds
    if pairs < (needed := pairs_for(candidates)):
        raise RecipeError(
            f"{'pairs' if folds is None else 'folds'}={pairs} cannot show anything at p <= {LEVEL:g} with "
            f"{counted(candidates, 'candidate')}: give {needed}."
        )
    judged = judged_with(recipe, remedy)
    lab = laid_out(judged if folds is None else _unheld(judged), remedy, device, progress)
    shared = Controls() if controls is None or judged is not recipe or folds is not None else controls
    shared.lend(recipe, lab)
    seeds = list(range(start := recipe.seed + FRESH if first_seed is None else first_seed, start + pairs))
    if budget is not None:
        seeds = _affordable(lab, remedy, seeds, needed if folds is None else pairs, random, Budget.of(budget))
    bench = Bench(lab, remedy, seeds, candidates, raced, folds or 0)
    with announcing(STOPPING):
        proof = bench.paired()
        shared.keep(recipe, lab)
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
        return _price(laid_out(judged_with(recipe, remedy), remedy, device, None), remedy, range(pairs), random)


def laid_out(recipe: Recipe, remedy: Remedy, device: str | torch.device, progress: Progress | None) -> Laboratory:
    """The recipe's splits, with the probe half of test for a mismatch alone."""
    tell = progress or (lambda stage: None)
    return lay_out(recipe, resolve_device(device), Budget(), tell, remedy.cause is Cause.MISMATCH)


def _unheld(recipe: Recipe) -> Recipe:
    """The recipe for folds, of which nothing is to be held out besides: validation, which they leave out, is train."""
    data = recipe.data
    return recipe if data.validation is not None else recipe.but(data=replace(data, validation=data.train))


def _check_folds(folds: object, remedy: Remedy) -> None:
    """Refuse folds that are no count, and those of a remedy for the test data, which no fold of train can judge."""
    if folds is None:
        return
    check_counts(folds=folds)
    if remedy.cause is Cause.MISMATCH:
        raise RecipeError(
            f"folds={folds}, but '{remedy.name}' treats a mismatch, which test data judge, and folds are of the train "
            "split: leave folds out."
        )


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


def _price(lab: Laboratory, remedy: Remedy, seeds: Sequence[int], random: bool) -> Price:
    """The runs without, with, of a random change that costs the same, and of the remedy without each of its parts."""
    treated = settled_in(lab, remedy)(lab.recipe)
    untrained = sum((WITHOUT, seed) not in lab.kept for seed in seeds)
    trained = [(lab.recipe, untrained), (treated, len(seeds) * (2 if random else 1))]
    trained += [(settled_in(lab, remedy.without(step))(lab.recipe), len(seeds)) for step in remedy.steps]
    timed = [(lab.seconds_of(one), count) for one, count in trained]
    known = [each * count for each, count in timed if each is not None]
    told = sum(known) if len(known) == len(timed) else None
    return Price(sum(count for _, count in trained), sum(lab.price_of(one) * count for one, count in trained), told)


def _affordable(
    lab: Laboratory, remedy: Remedy, seeds: list[int], needed: int, random: bool, budget: Budget
) -> list[int]:
    """As many of the pairs as the budget holds, if they can still reach the level."""
    for count in range(len(seeds), needed - 1, -1):
        price = _price(lab, remedy, seeds[:count], random)
        if budget.holds(price.times, price.seconds):
            return seeds[:count]
    without = ", or leave the random change out (random=False)" if random else ""
    raise RecipeError(
        f"Proving '{remedy.name}' costs {price} ({needed} pairs, the fewest that can reach p <= {LEVEL:g}), and "
        f"budget={budget} does not hold them: give {price.times:.3g}{without}."
    )
