"""The train loss: where it is too large, whether the model or its training is to blame.

Asked only where the loss on the training data lies above what reference learners reach on the same examples unseen.
Arms of the same size are trained better (another learning rate, another optimizer, longer), then bigger ones with the
rate that was found. Compared is the share of the way from the train loss to the floor that the best of each goes:

    share = (T - T_arm) / (T - F).

A run without a finite loss begins where the best constant prediction stands. Arms are screened on the recipe's seed,
and only those that lower the validation loss as well count; the best is confirmed beside the recipe on fresh seeds.

Same size goes it: OPTIMIZATION. Only bigger goes it: MODEL_BIAS. Neither, or no clear winner: UNDECIDED.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite

from thalweg.diagnosis.arms import at_rate, better_trained
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.compare import lower_by
from thalweg.diagnosis.finding import Arm, Experiment, Ranked, Score
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.growth import bigger_siblings, unrestrained
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch
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
        return (self.start - arm.score.value) / (self.start - self.floor)


def explain_train_loss(lab: Laboratory, floor: Floor, grow: Grow | None) -> Fitting:
    """Same-size arms, then bigger ones, until one goes the way to the floor or the budget is spent."""
    lab.asks(SAME, BIGGER)
    control = lab.arm(CONTROL, lab.recipe, [lab.recipe.seed], lab.train)
    same = _screened(lab, floor, control, SAME, better_trained(lab, control))
    if same.experiment.answer == "yes":
        says = f"{same.name} goes {percent(same.share)} of the way from the train loss to the floor ({floor.by})"
        return Fitting((Ranked(Cause.OPTIMIZATION, min(1.0, same.share), says),), (same.experiment,))
    lab.asks(BIGGER)
    bigger = _screened(lab, floor, control, BIGGER, bigger_arms(lab, same.tuned, grow))
    ahead = bigger.share - max(same.share, 0.0)
    ranked = (
        Ranked(Cause.MODEL_BIAS, max(ahead, 0.0), f"bigger models: {bigger.reach}"),
        Ranked(Cause.OPTIMIZATION, max(same.share, 0.0), f"models of the same size: {same.reach}"),
    )
    experiments = tuple(asked.experiment for asked in (same, bigger) if asked.experiment.arms)
    if bigger.experiment.answer == "yes" and ahead >= CLEAR:
        says = f"{bigger.name} goes {percent(bigger.share)} of the way from the train loss to the floor ({floor.by}), "
        says += f"models of the same size {percent(same.share)}"
        return Fitting((Ranked(Cause.MODEL_BIAS, min(1.0, ahead), says), ranked[1]), experiments)
    first = sorted(ranked, key=lambda cause: -(cause.share or 0.0))
    return Fitting(tuple(first), experiments, _would_decide(lab, same, bigger))


@dataclass(frozen=True)
class Screened:
    """A question after its arms: the best one's share of the way, and the recipe of equal length that fits best."""

    experiment: Experiment
    name: str
    share: float
    tuned: Recipe
    tried: int

    @property
    def reach(self) -> str:
        """How far they go, in words."""
        if not self.tried:
            return "none could be tried"
        if self.share <= 0:
            return "none of them lowers train and validation loss"
        return f"the best goes {percent(self.share)} of the way to the floor"


def _screened(
    lab: Laboratory, floor: Floor, control: Arm, question: str, recipes: Iterator[tuple[str, Recipe]]
) -> Screened:
    """Screen arms on the recipe's seed until one closes the gap; confirm the best on fresh seeds."""
    way, seed, tried = Way.of(control, floor), [lab.recipe.seed], list[Arm]()
    tuned = control
    for name, recipe in recipes:
        if not lab.affords(recipe, seed):
            continue
        arm = lab.arm(name, recipe, seed, lab.train)
        tried.append(arm)
        if recipe.epochs == lab.recipe.epochs and arm.score.value < tuned.score.value and helpful(arm, control, floor):
            tuned = arm
        if way.share(arm) >= 1 and helpful(arm, control, floor):
            break
    useful = [arm for arm in tried if helpful(arm, control, floor)]
    best = min(useful, key=lambda arm: arm.score.value, default=None)
    carried = tuned.recipe or lab.recipe
    enough = CLOSES if isfinite(control.score.value) else CLEAR
    if best is None or way.share(best) < enough:
        says = _says(best or min(tried, key=lambda arm: arm.score.value, default=control), control, way, floor)
        share = 0.0 if best is None else way.share(best)
        experiment = Experiment(question, "train loss", control, tuple(tried), "no", says, _effect(lab, control, best))
        return Screened(experiment, "" if best is None else best.name, share, carried, len(tried))
    beside, confirmed = _confirmed(lab, best)
    share = way.share(best) if confirmed is best else Way.of(beside, floor).share(confirmed)
    answer = "yes" if share >= enough else "no"
    says = _says(confirmed, beside, Way.of(beside, floor), floor)
    arms = tuple(confirmed if arm is best else arm for arm in tried)
    experiment = Experiment(question, "train loss", control, arms, answer, says, _effect(lab, beside, confirmed))
    return Screened(experiment, best.name, share, carried, len(tried))


def helpful(arm: Arm, control: Arm, floor: Floor) -> bool:
    """Whether an arm lowers the validation loss too: a lower train loss that helps nowhere else cures nothing."""
    return control.validation - arm.validation > TRIFLE * floor.material(control.validation)


def bigger_arms(lab: Laboratory, tuned: Recipe, grow: Grow | None) -> Iterator[tuple[str, Recipe]]:
    """Bigger siblings, each at the rate of the best-trained recipe and at a smaller one; first without restraint."""
    if (free := unrestrained(tuned)) is not None:
        yield free
    given = None if grow is None else iter([("grown by the given rule", grow(tuned))])
    for name, bigger in given or bigger_siblings(tuned, first_batch(lab.train)):
        yield name, bigger
        yield f"{name}, {SMALLER_RATE}", at_rate(bigger, 0.316)


def _confirmed(lab: Laboratory, best: Arm) -> tuple[Arm, Arm]:
    """The recipe as it is and the arm on fresh seeds, as many as the budget holds; else as they were screened."""
    assert best.recipe is not None
    seeds = [lab.recipe.seed + i for i in range(1, FRESH + 1)]
    while seeds and not lab.affords_both(lab.recipe, best.recipe, seeds):
        seeds.pop()
    seeds = seeds or [lab.recipe.seed]
    control = lab.arm(CONTROL, lab.recipe, seeds, lab.train)
    return control, best if seeds == [lab.recipe.seed] else lab.arm(best.name, best.recipe, seeds, lab.train)


def _effect(lab: Laboratory, control: Arm, arm: Arm | None) -> Score | None:
    """How much lower the arm's train loss is, on the same examples."""
    if arm is None:
        return None
    before, after = (lab.losses_on(lab.known(one), lab.train) for one in (control, arm))
    return None if before is None or after is None else lower_by(before, after)


def _says(best: Arm, control: Arm, way: Way, floor: Floor) -> str:
    if best is control:
        return "No arm could be afforded."
    seeds = "" if len(best.seeds) == 1 else f", on {len(best.seeds)} fresh seeds"
    return (
        f"The best arm, {best.name}, goes from {Score(control.score.value)} to {Score(best.score.value)}{seeds}: "
        f"{percent(way.share(best))} of the way to the floor ({floor.high:.3g}, {floor.by})."
    )


def percent(share: float) -> str:
    """A share of the way in words.

    >>> percent(0.5), percent(3.2), percent(-1.0)
    ('50%', 'all', 'none')
    """
    return "all" if share >= 1 else "none" if share <= 0 else f"{share:.0%}"


def _would_decide(lab: Laboratory, same: Screened, bigger: Screened) -> str:
    if not same.tried or not bigger.tried:
        lacking = "no better-trained arm" if not same.tried else "no bigger sibling"
        if lab.budget.less(lab.cost).holds(1.0, None):
            return f"A bigger sibling, of which none could be made: give diagnose(grow=...); {lacking} was tried."
        return f"A larger budget than {lab.budget}: {lacking} could be afforded."
    if bigger.share <= 0 and same.share <= 0:
        return "More data, or other inputs: nothing that fits the training data better lowers the validation loss."
    return "Wider sweeps of rate and size, or a longer training: neither size nor rate alone came down to the floor."
