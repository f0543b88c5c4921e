"""Screening: the arms of one question, one after the other, until one closes the gap on fresh seeds.

Compared is the share of the way from the train loss to the floor that an arm goes:

    share = (T - T_arm) / (T - F).

A run without a finite loss begins where the best constant prediction stands. Arms are screened on the recipe's seed,
and only those that lower the validation loss as well count; each that closes the gap is trained beside the recipe on
fresh seeds, until one holds there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import isfinite

from thalweg.diagnosis.compare import lower_by
from thalweg.diagnosis.finding import Arm, Experiment, Score
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.laboratory import CONTROL, Laboratory
from thalweg.training import Recipe

CLOSES = 0.75
"""An arm that goes so much of the way to the floor closes the gap."""
CLEAR = 0.25
"""By so much of the way the bigger arms must be ahead of the same-size ones to be their own cause.

So far, too, an arm must come from a run without a finite loss, which is no training at all.
"""
TRIFLE = 0.2
"""A validation loss that is lower by less than this share of what is material is not lower."""
FRESH = 2
"""The seeds, none of the screening's, on which the best arm is confirmed beside the recipe as it is."""
ON_FRESH = ", on fresh seeds"


@dataclass(frozen=True)
class Way:
    """The way from the train loss down to the floor.

    >>> Way(2.0, 0.5).share(Arm("wider", (), Score(1.25), (0,)))
    0.5
    """

    start: float
    floor: float

    @classmethod
    def of(cls, control: Arm, floor: Floor) -> "Way":
        """From the control's loss, where it is finite."""
        start = control.score.value if isfinite(control.score.value) else floor.null
        return cls(max(start, floor.high + floor.material(floor.high)), floor.high)

    def share(self, arm: Arm) -> float:
        """The share of it that an arm goes; negative where its loss is higher."""
        if self.start <= self.floor:
            return float(arm.score.value <= self.floor)
        return (self.start - arm.score.value) / (self.start - self.floor)


@dataclass(frozen=True)
class Reached:
    """How far an arm goes from the control on the same seeds; `confirmed` where these are not the screening's."""

    arm: Arm
    control: Arm
    share: float
    confirmed: bool = False

    @property
    def closes(self) -> bool:
        """Whether it goes far enough, on fresh seeds."""
        return self.confirmed and self.share >= closing(self.control)


@dataclass(frozen=True)
class Screened:
    """A question after its arms: the best one, and the recipe of equal length that fits best.

    `tried` counts the arms that were trained, `lacking` those that the budget did not hold; `fitted` is the largest
    share of the way that an arm goes which does not raise the validation loss, whether it lowers it or not.
    """

    experiment: Experiment
    best: Reached | None
    tuned: Recipe
    tried: int
    lacking: int
    fitted: float

    @property
    def share(self) -> float:
        """The share of the way that the best goes."""
        return 0.0 if self.best is None else self.best.share

    @property
    def name(self) -> str:
        """The name of the best."""
        return "" if self.best is None else self.best.arm.name

    @property
    def reach(self) -> str:
        """How far they go, in words."""
        if not self.tried:
            return "none could be tried"
        if self.share <= 0:
            return "none of them lowers train and validation loss"
        return f"the best goes {percent(self.share)} of the way to the floor"


def screened(
    lab: Laboratory,
    floor: Floor,
    control: Arm,
    question: str,
    recipes: Iterator[tuple[str, Recipe]],
    exchanges: frozenset[str] = frozenset(),
    reserve: int = 0,
) -> Screened:
    """Screen arms on the recipe's seed; one that closes the gap ends it if it holds on fresh seeds, else the next.

    A sweep goes on while it may come all of the way; an exchange is one change alone, and ends it where it closes.
    `reserve` trainings of the recipe are left in the budget.
    """
    way, seed = Way.of(control, floor), [lab.recipe.seed]
    tried, lacking, reached = list[Arm](), 0, dict[str, Reached]()
    for name, recipe in recipes:
        if not (lab.spares(recipe, reserve) if reserve else lab.affords(recipe, seed, name)):
            lacking += 1
            continue
        tried.append(arm := lab.arm(name, recipe, seed, lab.train))
        if helpful(arm, control, floor):
            reached[name] = Reached(arm, control, way.share(arm))
            if reached[name].share >= (closing(control) if name in exchanges else 1):
                reached[name] = confirmed(lab, floor, arm)
                if reached[name].closes:
                    break
    _confirm_in_turn(lab, floor, reached)
    best = next((one for one in reached.values() if one.closes), None) or _farthest(reached)
    answer = "yes" if best is not None and best.closes else "no" if tried else "undecided"
    fresh = {arm.name: arm for one in reached.values() if one.arm.seeds != tuple(seed) for arm in _told_apart(one)}
    says, effect = _says(best, min(tried, key=lambda arm: arm.score.value, default=None), control, floor), None
    if best is not None:
        effect = _effect(lab, best.control, best.arm)
    experiment = Experiment(question, "train loss", control, (*tried, *fresh.values()), answer, says, effect)
    fitted = max(fitted_by(tried, control, way), 0.0 if best is None else best.share)
    tuned = best_trained(lab, control, tried)
    return Screened(experiment, best, tuned, len(tried), lacking, fitted)


def _confirm_in_turn(lab: Laboratory, floor: Floor, reached: dict[str, Reached]) -> None:
    """Train those that close the gap on fresh seeds, the farthest first, until one holds there or nothing is left."""
    for one in sorted(reached.values(), key=lambda one: -one.share):
        if any(other.closes for other in reached.values()):
            return
        if one.confirmed or one.share < closing(one.control):
            continue
        again = any(other.confirmed for other in reached.values())
        if again and not lab.affords_both(one.arm.recipe or lab.recipe, lab.recipe, [lab.recipe.seed + 1]):
            return
        reached[one.arm.name] = confirmed(lab, floor, one.arm)


def fitted_by(arms: Iterable[Arm], control: Arm, way: Way) -> float:
    """The largest share of the way that an arm goes which does not raise the validation loss, as memorizing does."""
    return max([0.0, *(way.share(arm) for arm in arms if arm.validation <= control.validation)])


def _farthest(reached: dict[str, Reached]) -> Reached | None:
    return max(reached.values(), key=lambda one: one.share, default=None)


def _told_apart(one: Reached) -> Iterator[Arm]:
    """Control and arm on fresh seeds, named so that they are not taken for those of the screening."""
    for arm in (one.control, one.arm):
        yield replace(arm, name=f"{arm.name}{ON_FRESH}")


def closing(control: Arm) -> float:
    """The share of the way that an arm must go, from a control with or without a finite loss."""
    return CLOSES if isfinite(control.score.value) else CLEAR


def best_trained(lab: Laboratory, control: Arm, arms: Iterable[Arm]) -> Recipe:
    """The recipe of equal length with the lowest train loss, among those that do not raise the validation loss."""
    equal = [
        arm
        for arm in arms
        if arm.recipe is not None and arm.recipe.epochs == lab.recipe.epochs and arm.validation < control.validation
    ]
    best = min([control, *equal], key=lambda arm: arm.score.value)
    return best.recipe or lab.recipe


def helpful(arm: Arm, control: Arm, floor: Floor) -> bool:
    """Whether an arm lowers the validation loss too: a lower train loss that helps nowhere else cures nothing."""
    return control.validation - arm.validation > TRIFLE * floor.material(control.validation)


def confirmed(lab: Laboratory, floor: Floor, best: Arm) -> Reached:
    """Arm and recipe on fresh seeds, as many as the budget holds; with none, what the screening has shown."""
    assert best.recipe is not None
    seeds = [lab.recipe.seed + i for i in range(1, FRESH + 1)]
    while seeds and not lab.affords_both(lab.recipe, best.recipe, seeds):
        seeds.pop()
    seeds = seeds or [lab.recipe.seed]
    control = lab.arm(CONTROL, lab.recipe, seeds, lab.train)
    arm = lab.arm(best.name, best.recipe, seeds, lab.train)
    share = Way.of(control, floor).share(arm) if helpful(arm, control, floor) else 0.0
    return Reached(arm, control, share, confirmed=True)


def _effect(lab: Laboratory, control: Arm, arm: Arm) -> Score | None:
    """How much lower the arm's train loss is, on the same examples."""
    before, after = (lab.losses_on(lab.known(one), lab.train) for one in (control, arm))
    return None if before is None or after is None else lower_by(before, after)


def _says(best: Reached | None, lowest: Arm | None, control: Arm, floor: Floor) -> str:
    """What the farthest arm shows; where none helps, what the one of the lowest train loss does."""
    if lowest is None:
        return "No arm could be afforded."
    if best is None:
        return (
            f"No arm lowers train and validation loss; the lowest train loss, of {lowest.name}, is "
            f"{Score(lowest.score.value)}, after {Score(control.score.value)}."
        )
    seeds = "" if len(best.arm.seeds) == 1 else f", on {len(best.arm.seeds)} fresh seeds"
    helps = "" if best.share else "; the validation loss does not fall with it"
    return (
        f"The best arm, {best.arm.name}, goes from {Score(best.control.score.value)} to "
        f"{Score(best.arm.score.value)}{seeds}: {percent(best.share)} of the way to the floor ({floor.high:.3g}, "
        f"{floor.by}){helps}."
    )


def percent(share: float) -> str:
    """A share of the way in words.

    >>> percent(0.5), percent(3.2), percent(-1.0)
    ('50%', 'all', 'none')
    """
    return "all" if share >= 1 else "none" if share <= 0 else f"{share:.0%}"
