"""A race: which of several candidates to prove, by successive halving on a seed that nothing else uses.

All candidates, and the recipe as it is, are trained for a share of their epochs; the better half goes on to twice that
share, until as few are left as are to be proved (Jamieson & Talwalkar 2016, "Non-stochastic best arm identification
and hyperparameter optimization"). The order of the losses is all that is taken from it: a proof has seeds of its own,
and where there are enough validation examples each judges by its own half of them.

**Equal shares.** Each candidate is trained for the same share of its *own* epochs, in a run of that length: one that
trains three times as long has three times the epochs in each rung, and a schedule falls to its end within the rung.

**What is needed to tell.** A rung has some epochs and steps at least. What restrains a network shows only after it
overfits: where such a candidate runs, a rung is no shorter than twice the recipe's best epoch, which is found first. A
rung that would have to be longer than all epochs is one of all of them, and the last.

**One seed is enough to order, and not to send away.** Where no candidate is ahead in the end, the recipe as it is may
have had a lucky seed: it and those who would be proved run once more at another, and the means of both decide.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, isfinite, log2
from time import monotonic

import torch

from thalweg.core.device import resolve_device
from thalweg.core.errors import RecipeError
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.diagnosis import Budget, Cause, Cost, Progress, Stage
from thalweg.diagnosis.laboratory import Laboratory, lay_out, mean_of
from thalweg.diagnosis.work import examples_of
from thalweg.remedy.bench import judging, settled_in
from thalweg.remedy.gaps import refused
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.repairing import judged_with
from thalweg.training import Outcome, Recipe, Run, train_many
from thalweg.training.kept_runs import seconds_kept

SEED = 500
"""The distance of a race's seed from the recipe's."""
AGAIN = 50
"""The distance of its second seed from its first: no race of a later round has it."""
MOST = 8
"""So many candidates race at most."""
PROVED = 2
"""So many of those that are ahead in a race are put to proof: each more needs more pairs."""
LEAST_EPOCHS, LEAST_STEPS = 4, 100
"""A rung is no shorter, in epochs and in steps of the recipe as it is."""
AT_ONCE = (Cause.OPTIMIZATION, Cause.MODEL_BIAS, Cause.WIRING, Cause.DATA)
"""Causes whose remedies show from the first epochs on."""


Entry = tuple[float, int]
"""What one training of a recipe costs, and its epochs."""


@dataclass(frozen=True)
class Rung:
    """A share of the epochs, the loss of the recipe as it is, and of each candidate with a finite one, lowest first.

    Of several seeds they are the means.
    """

    share: float
    without: float
    losses: tuple[tuple[Remedy, float], ...]
    seeds: int = 1

    @property
    def sentence(self) -> str:
        """The losses in a line."""
        rest = ", ".join(f"{remedy.name} {loss:.3g}" for remedy, loss in self.losses)
        after = "" if self.share == 1 else f"after {self.share:.3g} of the epochs, "
        after += "" if self.seeds == 1 else f"on {self.seeds} seeds "
        return f"{after}as it is {self.without:.3g}; {rest or 'no candidate has a finite one'}"


@dataclass(frozen=True)
class Race:
    """The rungs of a race, each with the better half of the one before, and what they were judged by."""

    rungs: tuple[Rung, ...]
    cost: Cost
    measure: str = "validation loss"

    @property
    def without(self) -> float:
        """The loss of the recipe as it is, at the last rung."""
        return self.rungs[-1].without

    @property
    def losses(self) -> tuple[tuple[Remedy, float], ...]:
        """The candidates that came to the last rung with a finite loss, the best first."""
        return self.rungs[-1].losses

    @property
    def ahead(self) -> list[Remedy]:
        """The candidates that did better at the last rung than the recipe as it is, the best first."""
        return [remedy for remedy, loss in self.losses if not loss >= self.without]

    @property
    def sentence(self) -> str:
        """The losses in a line."""
        return f"{self.measure} " + "; then ".join(rung.sentence for rung in self.rungs)


@dataclass
class _Track:
    """Where the candidates run: the recipe as it is at the race's seed, and what judges."""

    lab: Laboratory
    candidates: Sequence[Remedy]
    own: Recipe
    runs: int = 0
    times: float = 0.0
    known: dict[float, Run] = field(default_factory=dict)
    changed: dict[str, Recipe] = field(default_factory=dict)

    def __post_init__(self) -> None:
        on_test = all(remedy.cause is Cause.MISMATCH for remedy in self.candidates)
        self.split, self.measure = judging(self.lab, on_test, raced=False, race=True)

    def rung(self, share: float, candidates: Sequence[Remedy]) -> Rung:
        """The losses of the candidates, and of the recipe as it is, after a share of their epochs."""
        known = self.known.get(share)
        recipes = [at_share(self.treated(remedy), share) for remedy in candidates]
        runs = self.trained(recipes if known is not None else [at_share(self.own, share), *recipes])
        without, *losses = self.judged(runs if known is None else [known, *runs])
        return rung_of(share, without, zip(candidates, losses, strict=True))

    def again(self, rung: Rung, keep: int) -> Rung:
        """The first of a rung, and the recipe as it is, at another seed too: the means over both."""
        first, seed = rung.losses[:keep], self.own.seed + AGAIN
        recipes = [self.own, *(self.treated(remedy) for remedy, _ in first)]
        without, *losses = self.judged(self.trained([at_share(one.but(seed=seed), rung.share) for one in recipes]))
        means = [(remedy, (before + loss) / 2) for (remedy, before), loss in zip(first, losses, strict=True)]
        return rung_of(rung.share, (rung.without + without) / 2, means, seeds=2)

    def judged(self, runs: list[Run]) -> list[float]:
        """The mean loss of each run where the race is judged."""
        return [mean_of(self.lab.losses(run, self.split)) for run in runs]

    def treated(self, remedy: Remedy) -> Recipe:
        """The recipe with a remedy, at the race's seed: what is drawn by a seed in it is what a proof would try."""
        if remedy.name not in self.changed:
            self.changed[remedy.name] = settled_in(self.lab, remedy)(self.lab.recipe).but(seed=self.own.seed)
        return self.changed[remedy.name]

    def trained(self, recipes: list[Recipe]) -> list[Run]:
        """The runs of recipes, counted."""
        runs = train_many(recipes, device=self.lab.device)
        for run in runs:
            if run.status is Outcome.INTERRUPTED:
                raise run.error or KeyboardInterrupt
        self.runs, self.times = self.runs + len(runs), self.times + sum(map(self.lab.price_of, recipes))
        return runs

    def shortest(self) -> float:
        """The shortest share from which something can be told; it may ask for the recipe as it is in full."""
        steps = self.own.epochs * ceil(examples_of(self.own) / (self.own.batch_size or examples_of(self.own)))
        least = max(LEAST_EPOCHS / max(self.own.epochs, 1), LEAST_STEPS / max(steps, 1))
        if least < 1 and any(remedy.cause not in AT_ONCE for remedy in self.candidates):
            (self.known[1.0],) = self.trained([self.own])
            least = max(least, 2 * self.known[1.0].best_epoch / self.own.epochs)
        return least


def race(
    recipe: Recipe,
    candidates: Sequence[Remedy],
    device: str | torch.device,
    progress: Progress,
    keep: int = PROVED,
    number: int = 0,
) -> Race:
    """Race candidates until `keep` are left; `number` counts the races of a recipe, each of which has its own seed.

    Raises `KeyboardInterrupt` where it is interrupted, and `RecipeError` for candidates that no one loss can judge.
    """
    started, known = monotonic(), seconds_kept()
    asks_test = any(remedy.cause is Cause.MISMATCH for remedy in candidates)
    judged = judged_as_one(recipe, candidates)
    if judged is None:
        raise RecipeError(
            "These candidates repair the loss in different ways, so that no loss can judge them all: prove each by "
            "itself."
        )
    lab = lay_out(judged, resolve_device(device), Budget(), progress, asks_test)
    track = _Track(lab, candidates, lab.recipe.but(seed=recipe.seed + SEED + number))
    rungs, left = list[Rung](), list(candidates)
    for share in shares(len(candidates), keep, track.shortest()):
        progress(Stage(f"{len(left)} candidates after {share:.3g} of their epochs"))
        rungs.append(track.rung(share, left))
        left = [remedy for remedy, _ in rungs[-1].losses][: max(keep, ceil(len(left) / 2))]
        if len(left) <= keep:
            break
    if rungs[-1].losses and not any(loss < rungs[-1].without for _, loss in rungs[-1].losses):
        progress(Stage("the first of them at another seed, for none is ahead"))
        rungs.append(track.again(rungs[-1], keep))
    seconds = monotonic() - started + seconds_kept() - known
    return Race(tuple(rungs), Cost(track.runs, seconds, track.times), track.measure)


def rung_of(share: float, without: float, losses: Iterable[tuple[Remedy, float]], seeds: int = 1) -> Rung:
    """The rung with the candidates whose loss is finite, the lowest first."""
    told = sorted(((remedy, loss) for remedy, loss in losses if isfinite(loss)), key=lambda pair: pair[1])
    return Rung(share, without, tuple(told), seeds)


def judged_as_one(recipe: Recipe, candidates: Sequence[Remedy]) -> Recipe | None:
    """The recipe, judged by the loss as candidates repair it; None where they repair it in different ways.

    A proof has one candidate, and so one repaired loss; a race compares all by one.

    >>> import thalweg
    >>> from torch import nn
    >>> def repair(loss): return Remedy(str(loss), Cause.WIRING, lambda recipe: recipe.but(objective=loss))
    >>> healthy, losses = thalweg.cases.get("healthy"), [nn.MSELoss(), nn.L1Loss()]
    >>> judged_as_one(healthy, [repair(loss) for loss in losses]) is None
    True
    >>> judged_as_one(healthy, [repair(nn.MSELoss()), repair(nn.MSELoss())]).judge
    MSELoss()
    """
    repaired = dict[tuple[str, int], Recipe]()
    for remedy in candidates:
        judged = judged_with(recipe, remedy)
        if judged is not recipe:
            mark = fingerprint(judged.judge, whole=True)
            own = mark == UNKNOWN or (judged.data is not recipe.data and not refused(recipe))  # another validation
            repaired[(mark, len(repaired) if own else 0)] = judged
    return None if len(repaired) > 1 else next(iter(repaired.values()), recipe)


def at_share(recipe: Recipe, share: float) -> Recipe:
    """The recipe with a share of its epochs, at least one where it has any.

    >>> import thalweg
    >>> at_share(thalweg.cases.get("healthy").but(epochs=10), 0.25).epochs
    3
    """
    epochs = ceil(share * recipe.epochs)
    return recipe if epochs == recipe.epochs else recipe.but(epochs=epochs)


def shares(candidates: int, keep: int, shortest: float = 0.0) -> list[float]:
    """The shares of the rungs: each twice the one before, so that as many are left after 1/2 as are to be kept.

    >>> shares(8, 2), shares(4, 2), shares(8, 2, shortest=0.3), shares(8, 2, shortest=0.6)
    ([0.25, 0.5], [0.5], [0.5, 1.0], [1.0])
    """
    rungs = max(1, ceil(log2(max(candidates, 1) / keep)))
    first = 0.5**rungs
    while first < min(shortest, 1.0):
        first *= 2
    return [first * 2**i for i in range(rungs) if first * 2**i <= 1]


def price_of_race(candidates: Sequence[Entry], own: Entry, keep: int = PROVED) -> float:
    """What a race costs at most, with the prices and the epochs of the candidates and of the recipe as it is.

    A share of the epochs is rounded up to whole ones, and so is its price. A second seed is in it.

    >>> price_of_race([(1.0, 100), (1.0, 100), (3.0, 300)], (1.0, 100))  # one rung, of all epochs: 6, and 5 again
    11.0
    >>> price_of_race([(1.0, 3)] * 3, (1.0, 3)), price_of_race([(1.0, 5)] * 8, (1.0, 5)) > 9 * 0.25 + 8 * 0.5
    (7.0, True)
    """
    rounds, dearest = len(shares(len(candidates), keep)), 0.0
    for first in range(rounds, -1, -1):
        rungs, left = shares(len(candidates), keep, 0.5**first), len(candidates)
        total = 0.0 if rungs[-1] == 1 else own[0]  # the recipe as it is, to see where it is best
        for share in rungs:
            prices = sorted((_price_at(one, share) for one in candidates), reverse=True)
            total += _price_at(own, share) + sum(prices[:left])
            again = _price_at(own, share) + sum(prices[:keep])
            left = max(keep, ceil(left / 2))
        dearest = max(dearest, total + again)
    return dearest


def _price_at(entry: Entry, share: float) -> float:
    """The price of a share of the epochs, which are whole."""
    price, epochs = entry
    return price * max(ceil(share * epochs), 1) / max(epochs, 1)
