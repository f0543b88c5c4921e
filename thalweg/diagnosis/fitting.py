"""The train loss: where it is too large, whether the model or its training is to blame.

Asked only where the loss on the training data lies above what reference learners reach on the same examples unseen.
Arms of the same size are trained better (another learning rate, another optimizer, longer), then bigger ones with the
rate that was found. Compared is the share of the way from the train loss to the floor that the best of each goes:

    share = (T - T_arm) / (T - F).

A run without a finite loss begins where the best constant prediction stands. Arms are screened on the recipe's seed,
and only those that lower the validation loss as well count; each that closes the gap is trained beside the recipe on
fresh seeds, until one holds there.

Same size goes it: OPTIMIZATION. Only bigger goes it: MODEL_BIAS. Neither, or no clear winner: UNDECIDED.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import isfinite

from thalweg.core.wording import counted
from thalweg.diagnosis.arms import at_rate, better_trained
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.compare import lower_by
from thalweg.diagnosis.exchanges import EXCHANGES, LOOP, ask_loss, differences_of, exchanged, of_loop
from thalweg.diagnosis.finding import Arm, Experiment, Ranked, Score
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.further_arms import SHALLOWER
from thalweg.diagnosis.growth import WIDE, bigger_siblings, unrestrained
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch
from thalweg.diagnosis.repairs import repaired
from thalweg.training import Recipe

CLOSES = 0.75
"""An arm that goes so much of the way to the floor closes the gap."""
CLEAR = 0.25
"""By so much of the way the bigger arms must be ahead of the same-size ones to be their own cause.

So far, too, an arm must come from a run without a finite loss, which is no training at all.
"""
FEWEST_TRIED, FEWEST_GROWN = 5, 3
"""Arms of the same size, and bigger ones, before it is said that neither helps."""
TRIFLE = 0.2
"""A validation loss that is lower by less than this share of what is material is not lower."""
FRESH = 2
"""The seeds, none of the screening's, on which the best arm is confirmed beside the recipe as it is."""
ON_FRESH = ", on fresh seeds"
SMALLER_RATE = "learning rate x 0.316"
SAME = "Does a model of the same size, trained better, come down to the floor?"
BIGGER = "Does a bigger model, trained equally well, come down to the floor?"

Grow = Callable[[Recipe], Recipe]


@dataclass(frozen=True)
class Fitting:
    """What the experiments on the train loss say."""

    ranked: tuple[Ranked, ...]
    experiments: tuple[Experiment, ...]
    would_decide: str | None = None
    mend: str | None = None


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


def explain_train_loss(lab: Laboratory, floor: Floor, grow: Grow | None) -> Fitting:
    """Same-size arms, then bigger ones, until one goes the way to the floor or the budget is spent."""
    lab.asks(SAME, BIGGER)
    control = lab.arm(CONTROL, lab.recipe, [lab.recipe.seed], lab.train)
    flaws = lab.known_so_far.flaws
    parts = chain(exchanged(lab.recipe, flaws), repaired(lab.recipe, lab.train, flaws))
    mends = {name: (recipe, flaw) for name, recipe, flaw in parts}
    mended = ((name, recipe) for name, (recipe, _) in mends.items())
    same = _screened(lab, floor, control, SAME, chain(mended, better_trained(lab, control)), frozenset(EXCHANGES))
    if same.experiment.answer == "yes":
        says = f"{same.name} goes {percent(same.share)} of the way from the train loss to the floor ({floor.by})"
        if same.name == SHALLOWER:
            says += "; the deeper network could compute the same, so it is trained badly"
        if same.name in mends:
            flaw = of_loop(differences_of(lab)) if same.name == LOOP else mends[same.name][1]
            by_flaw = Ranked(flaw.cause, min(1.0, same.share), f"{says}: {flaw.says}")
            return Fitting((by_flaw,), (same.experiment,), mend=f"{flaw.mend}.")
        return Fitting((Ranked(Cause.OPTIMIZATION, min(1.0, same.share), says),), (same.experiment,))
    if (asked := ask_loss(lab, floor)) is not None and asked[0].answer == "yes":
        return Fitting((asked[1],), (same.experiment, asked[0]), mend=asked[2])
    lab.asks(BIGGER)
    bigger = _screened(lab, floor, control, BIGGER, bigger_arms(lab, same.tuned, grow))
    ahead = bigger.share - max(same.share, 0.0)
    ranked = (
        Ranked(Cause.MODEL_BIAS, max(ahead, 0.0), f"bigger models: {bigger.reach}"),
        Ranked(Cause.OPTIMIZATION, max(same.share, 0.0), f"models of the same size: {same.reach}"),
    )
    experiments = tuple(asked.experiment for asked in (same, bigger) if asked.experiment.arms)
    if _eliminated(floor, same, bigger):
        small = "" if bigger.tried else ", or too small: no larger one could be made, give diagnose(grow=...)"
        says = (
            f"learners of another kind reach {floor.high:.3g} with the same inputs ({floor.by}); of this network "
            f"{same.reach} where it is trained better, {bigger.reach} where it is bigger: what it computes is of too "
            f"simple a kind{small}"
        )
        return Fitting((Ranked(Cause.MODEL_BIAS, None, says), ranked[1]), experiments)
    if bigger.experiment.answer == "yes" and ahead >= CLEAR:
        says = f"{bigger.name} goes {percent(bigger.share)} of the way from the train loss to the floor ({floor.by}), "
        says += f"models of the same size {percent(same.share)}"
        return Fitting((Ranked(Cause.MODEL_BIAS, min(1.0, ahead), says), ranked[1]), experiments)
    first = sorted(ranked, key=lambda cause: -(cause.share or 0.0))
    return Fitting(tuple(first), experiments, _would_decide(lab, same, bigger))


def _eliminated(floor: Floor, same: "Screened", bigger: "Screened") -> bool:
    """Whether nothing that was tried goes any way to what other learners reach, so that the kind of network is left.

    Better training has to have been tried in full; of bigger ones some, or there are none.
    """
    tried = same.tried >= FEWEST_TRIED and not same.lacking and (bigger.tried >= FEWEST_GROWN or not bigger.lacking)
    return not floor.siblings and tried and max(asked.fitted for asked in (same, bigger)) < CLEAR


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


def _screened(
    lab: Laboratory,
    floor: Floor,
    control: Arm,
    question: str,
    recipes: Iterator[tuple[str, Recipe]],
    exchanges: frozenset[str] = frozenset(),
) -> Screened:
    """Screen arms on the recipe's seed; one that closes the gap ends it if it holds on fresh seeds, else the next.

    A sweep goes on while it may come all of the way; an exchange is one change alone, and ends it where it closes.
    """
    way, seed = Way.of(control, floor), [lab.recipe.seed]
    tried, lacking, reached = list[Arm](), 0, dict[str, Reached]()
    for name, recipe in recipes:
        if not lab.affords(recipe, seed, name):
            lacking += 1
            continue
        tried.append(arm := lab.arm(name, recipe, seed, lab.train))
        if helpful(arm, control, floor):
            reached[name] = Reached(arm, control, way.share(arm))
            if reached[name].share >= (closing(control) if name in exchanges else 1):
                reached[name] = _confirmed(lab, floor, arm)
                if reached[name].closes:
                    break
    best = _farthest(reached)
    if best is not None and not best.confirmed and best.share >= closing(control):
        best = reached[best.arm.name] = _confirmed(lab, floor, best.arm)
    best = best if best is not None and best.closes else _farthest(reached)
    answer = "yes" if best is not None and best.closes else "no"
    fresh = {arm.name: arm for one in reached.values() if one.arm.seeds != tuple(seed) for arm in _told_apart(one)}
    says, effect = _says(best, min(tried, key=lambda arm: arm.score.value, default=None), control, floor), None
    if best is not None:
        effect = _effect(lab, best.control, best.arm)
    experiment = Experiment(question, "train loss", control, (*tried, *fresh.values()), answer, says, effect)
    fitted = max(fitted_by(tried, control, way), 0.0 if best is None else best.share)
    tuned = best_trained(lab, control, tried)
    return Screened(experiment, best, tuned, len(tried), lacking, fitted)


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


def bigger_arms(lab: Laboratory, tuned: Recipe, grow: Grow | None) -> Iterator[tuple[str, Recipe]]:
    """Bigger siblings, each at the rate of the best-trained recipe and at a smaller one; first without restraint."""
    if (free := unrestrained(tuned)) is not None:
        yield free
    given = None if grow is None else iter([("grown by the given rule", grow(tuned))])
    siblings = bigger_siblings(tuned, first_batch(lab.train), lab.affords_once, lambda: width_helps(lab))
    for name, bigger in given or siblings:
        yield name, bigger
        yield f"{name}, {SMALLER_RATE}", at_rate(bigger, 0.316)


def width_helps(lab: Laboratory) -> bool:
    """Whether the wider sibling, where it was trained, took a good part of the train loss: more width is next then."""
    arms = {name: arm for asked in lab.evidence.values() for name, arm in asked.items()}
    if CONTROL not in arms or WIDE not in arms:
        return False
    before, after = (arms[name].score.value for name in (CONTROL, WIDE))
    return before - after > CLEAR * abs(before)


def _confirmed(lab: Laboratory, floor: Floor, best: Arm) -> Reached:
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


def _would_decide(lab: Laboratory, same: Screened, bigger: Screened) -> str:
    if same.tried and not bigger.tried and not bigger.lacking:
        return "A bigger sibling, of which none could be made: give diagnose(grow=...)."
    if not same.tried or bigger.lacking:
        lacking = (
            f"{counted(bigger.lacking, 'bigger sibling')} could not" if same.tried else "no better-trained arm could"
        )
        return f"A larger budget than {lab.budget}: {lacking} be afforded."
    if bigger.share <= 0 and same.share <= 0:
        return "More data, or other inputs: nothing that fits the training data better lowers the validation loss."
    return "Wider sweeps of rate and size, or a longer training: neither size nor rate alone came down to the floor."
