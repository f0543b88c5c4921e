"""The bench of a proof: the runs with and without a remedy, on seeds or folds that both share, and what judges them.

Several proofs of one recipe on the same seeds have the same runs without a remedy: `Controls` holds them, so that they
are trained once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from thalweg.core.errors import RecipeError, RunError
from thalweg.core.folds import folds
from thalweg.core.notices import unsaid
from thalweg.core.source import Indexed, Source
from thalweg.diagnosis import Cause, Cost, Score
from thalweg.diagnosis.compare import student
from thalweg.diagnosis.halving import halves
from thalweg.diagnosis.laboratory import Laboratory, first_batch, mean_of
from thalweg.remedy.proof import Beside, Part, Proof, helps, too_dear
from thalweg.remedy.random_change import random_change
from thalweg.remedy.remedy import Change, Remedy
from thalweg.remedy.resplit import trains_on
from thalweg.remedy.sign_flips import LEVEL, best_possible, paired_differences, sign_flip
from thalweg.training import Outcome, Recipe, Run
from thalweg.training.crossing import corrected_interval, fold_splits

WITHOUT, WITH, RANDOM = "the runs without it", "the runs with it", "a random change at the same cost"
LOOK = 3
"""After so many pairs it is asked whether the rest could still help."""
APART = 200
"""Of so many examples that judge a race goes by one half and a proof by the other; of fewer each by all."""


class Unchanged(RecipeError):
    """The remedy that is to be proved leaves the recipe as it is.

    >>> import thalweg
    >>> thalweg.prove(thalweg.cases.get("healthy"), Remedy("nothing", Cause.OPTIMIZATION, unchanged))
    Traceback (most recent call last):
    thalweg.remedy.bench.Unchanged: 'nothing' leaves the recipe as it is, so that there is nothing to prove: ...
    """


def unchanged(recipe: Recipe) -> Recipe:
    """The recipe as it is."""
    return recipe


@dataclass
class Controls:
    """The runs of one recipe as it is, by their seeds, which the proofs of several remedies share.

    >>> import thalweg
    >>> Controls().known(thalweg.cases.get("healthy"), range(5))  # nothing is trained yet
    0
    """

    recipe: Recipe | None = None
    runs: dict[int, Run] = field(default_factory=dict)

    def known(self, recipe: Recipe, seeds: Sequence[int]) -> int:
        """How many of the runs of a recipe on these seeds are there already."""
        return sum(seed in self.runs for seed in seeds) if recipe is self.recipe else 0

    def lend(self, recipe: Recipe, lab: Laboratory) -> None:
        """Put the runs of a recipe into a laboratory, which trains none of them again."""
        if recipe is self.recipe:
            lab.kept |= {(WITHOUT, seed): run for seed, run in self.runs.items()}

    def keep(self, recipe: Recipe, lab: Laboratory) -> None:
        """Keep the runs that a laboratory has trained; those of another recipe are given up."""
        if recipe is not self.recipe:
            self.recipe, self.runs = recipe, {}
        self.runs |= {seed: run for (name, seed), run in lab.kept.items() if name == WITHOUT}


@dataclass(frozen=True)
class Ground:
    """A recipe on the data of some pairs, the examples that judge them, and their seeds."""

    recipe: Recipe
    split: Source
    seeds: tuple[int, ...]


@dataclass
class Bench:
    """The runs of one proof, on seeds that they share, and what they are judged by; with `folds` each on a fold."""

    lab: Laboratory
    remedy: Remedy
    seeds: list[int]
    candidates: int = 1
    raced: bool = False
    folds: int = 0
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    changed: dict[tuple[str, int], Recipe] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.on_test = self.remedy.cause is Cause.MISMATCH and self.lab.probe is not None
        split, self.measure = judging(self.lab, self.on_test, self.raced)
        self.ratio = 0.0
        self.grounds = [Ground(self.lab.recipe, split, tuple(self.seeds))]
        if self.folds:
            self.grounds = list(self._folded())

    def _folded(self) -> list[Ground]:
        """Each fold of the train split with its seed; validation, by which remedies are chosen, is left out."""
        train, own = self.lab.train, self.lab.recipe
        pairs = folds(train, self.folds, own.seed)
        self.measure = f"loss on {self.folds} folds of train"
        self.ratio = float(np.mean([len(held) / len(kept) for kept, held in pairs]))
        return [
            Ground(own.but(data=split), split.validation, (seed,))
            for split, seed in zip(fold_splits(own, train, pairs), self.seeds, strict=True)
        ]

    def paired(self) -> Proof:
        """The pairs, the first few of them first, and the rest where they can still help.

        Raises `Unchanged` for a remedy that leaves the recipe as it is.
        """
        self._check_changed()
        for upto in (LOOK, len(self.seeds)):
            own = self.seeds[len(self.before) : upto]
            self.before += self.losses(WITHOUT, unchanged, own)
            self.after += self.losses(WITH, self.remedy, own)
            differences = paired_differences(self.before, self.after)
            if self.candidates * best_possible(differences, len(self.seeds)) > LEVEL:
                break
        return Proof(
            self.remedy,
            self.measure,
            tuple(zip(self.seeds, self.before, self.after, strict=False)),
            self.effect(self.before, self.after),
            self.p(self.after),
            Cost(),
            tuple(self.grounds[0].recipe.difference(self.treated(WITH, self.remedy, 0))),
            self.price() if self.on_test else 0.0,
            len(self.seeds),
            folds=self.folds,
        )

    def _check_changed(self) -> None:
        for place, ground in enumerate(self.grounds):
            if self.treated(WITH, self.remedy, place) is ground.recipe:
                where = f" on fold {place + 1} of {self.folds} of its train split" if self.folds else ""
                raise Unchanged(
                    f"'{self.remedy.name}' leaves the recipe as it is{where}, so that there is nothing to prove: give "
                    f"a remedy that changes it{', or leave folds out' if self.folds else ''}."
                )

    def parted(self, proof: Proof) -> Proof:
        """Each part left out in turn, for good where the loss without it is no higher beyond noise, and still helps.

        A part without which a remedy for the test data would cost too much on validation stays.
        """
        left, losses, parts = self.remedy, self.after, list[Part]()
        for step in self.remedy.steps:
            if not left.steps:  # all others have gone
                break
            less = left.without(step)
            without = self.losses(f"without {step.name}", less, self.seeds)
            rise = paired_differences(without, losses)
            told = self.effect(without, losses)
            price = self.price(f"without {step.name}", less) if self.on_test else 0.0
            dear = too_dear(price, self.effect(self.before, without))
            pays = bool(np.isinf(rise).any() or told.low > 0) or not self.helps(without) or dear
            parts.append(Part(step.name, tuple(zip(self.seeds, without, losses, strict=True)), told, pays, price))
            if not pays:
                left, losses = less, without
        return replace(proof, parts=tuple(parts), smallest=left)

    def beside(self) -> Beside:
        """A random change that costs as much as the remedy, on the same seeds."""
        own = self.grounds[0].recipe
        cost = self.lab.price_of(self.treated(WITH, self.remedy, 0)) / self.lab.price_of(own)
        drawn = random_change(own, first_batch(self.lab.train), cost, self.remedy.name)
        with unsaid():  # what is drawn at random is nobody's mistake
            losses = self.losses(RANDOM, drawn, self.seeds, required=False)
        return Beside(
            drawn.name,
            tuple(own.difference(drawn(own))),
            tuple(zip(self.seeds, self.before, losses, strict=True)),
            self.effect(self.before, losses),
            self.p(losses),
            self._lead(losses),
        )

    def _lead(self, random: list[float]) -> Score:
        """How much lower the loss is with the remedy than with a random change; infinite where that has none."""
        if np.isinf(random).all() and np.isfinite(self.after).all():
            return Score(float("inf"))
        return self.effect(random, self.after)

    def p(self, losses: list[float]) -> float:
        """The sign-flip p-value of losses against those without, times the candidates."""
        return min(1.0, self.candidates * sign_flip(paired_differences(self.before, losses)))

    def effect(self, before: list[float], after: list[float]) -> Score:
        """How much lower the losses are after, with Student's interval, or over folds that of Nadeau and Bengio."""
        return effect_of(before, after, self.ratio)

    def helps(self, losses: list[float]) -> bool:
        """Whether losses are lower than those without, beyond chance."""
        return helps(self.p(losses), self.effect(self.before, losses))

    def treated(self, name: str, change: Change, ground: int) -> Recipe:
        """The recipe of a ground with a change, made once: some look long at the data."""
        if (name, ground) not in self.changed:
            known = settled_in(self.lab, change) if isinstance(change, Remedy) else change
            self.changed[name, ground] = known(self.grounds[ground].recipe)
        return self.changed[name, ground]

    def losses(self, name: str, change: Change, seeds: list[int], required: bool = True) -> list[float]:
        """The mean losses of runs, infinite where there is no finite one.

        Raises `RunError` where a run fails that is required.
        """
        return [mean_of(self.lab.losses(run, split)) for run, split in self.runs(name, change, seeds, required)]

    def runs(self, name: str, change: Change, seeds: list[int], required: bool = True) -> list[tuple[Run, Source]]:
        """The runs of a change on these seeds, each with the examples that judge it."""
        given = list[tuple[Run, Source]]()
        for place, ground in enumerate(self.grounds):
            own = [seed for seed in ground.seeds if seed in seeds]
            if not own:
                continue
            recipe = self.treated(name, change, place)
            shift = recipe.seed - ground.recipe.seed  # a random change may be one of the seed
            runs = self.lab.run(name, recipe, [seed + shift for seed in own])
            for run in runs:
                if run.status is Outcome.FAILED and required:
                    raise RunError(
                        f"A run of the proof failed, one of {name} ({self.remedy.name}): {run.error}"
                    ) from run.error
            given += [(run, ground.split) for run in runs]
        return given

    def price(self, name: str = WITH, change: Change | None = None) -> float:
        """How much higher the validation loss is with the remedy, or a part of it, on average over the trained pairs.

        0 where the data are split anew: the model has then trained on a part of the old validation examples.
        """
        if trains_on(self.treated(name, change or self.remedy, 0), self.lab.validation):
            return 0.0
        seeds = self.seeds[: len(self.before)]
        without, beside = (
            [mean_of(self.lab.losses(run, self.lab.validation)) for run, _ in self.runs(told, done, seeds)]
            for told, done in ((WITHOUT, unchanged), (name, change or self.remedy))
        )
        return float(np.mean(beside) - np.mean(without)) if np.isfinite(without).all() else 0.0


def judging(lab: Laboratory, on_test: bool, raced: bool, race: bool = False) -> tuple[Source, str]:
    """The examples by which a race or a proof judges, and what the loss on them is called.

    Where a race has chosen, it and the proof judge by halves of these examples, each by its own, from 200 of them on.
    """
    judges: Source = lab.validation if not on_test or lab.probe is None else lab.probe
    of = [] if judges is lab.validation or not lab.halved else ["probe half"]
    if (raced or race) and isinstance(judges, Indexed) and len(judges) >= APART:
        judges = halves(judges, "race")[0 if race else 1]
        of.append("half of it" if race else "half that no race has seen")
    loss = "test loss" if on_test and lab.probe is not None else "validation loss"
    return judges, f"{loss} ({', '.join(of)})" if of else loss


def settled_in(lab: Laboratory, remedy: Remedy) -> Remedy:
    """A remedy for the test data as the recipe with them asks for it, which a laboratory holds without them."""
    if remedy.cause is not Cause.MISMATCH or lab.test is None:
        return remedy
    return remedy.settled(lab.recipe.but(data=replace(lab.recipe.data, test=lab.test)))


def effect_of(before: list[float], after: list[float], ratio: float = 0.0) -> Score:
    """How much lower the losses are after, over the pairs where both are finite, with Student's interval.

    Over folds `ratio` is n_test / n_train, and the interval Nadeau's and Bengio's (2003): variance s² (1/k + ratio).

    >>> effect_of([1.0, float("inf")], [0.5, 0.5]).value
    0.5
    >>> print(effect_of([1.0, 1.2, 1.4], [0.5, 0.6, 0.7]), effect_of([1.0, 1.2, 1.4], [0.5, 0.6, 0.7], ratio=0.5))
    0.6 [0.352, 0.848] 0.6 [0.207, 0.993]
    """
    finite = np.isfinite(before) & np.isfinite(after)
    differences = paired_differences(before, after)[finite]
    if ratio and len(differences) > 1:
        return Score(*corrected_interval(list(map(float, differences)), ratio))
    return student(differences)
