"""The train loss: where it is too large, whether the model or its training is to blame.

Asked only where the loss on the training data lies above what reference learners reach on the same examples unseen.
Arms of the same size are trained better (another learning rate, another optimizer, longer), then bigger ones with the
rate that was found. Compared is the share of the way from the train loss to the floor that the best of each goes (see
`screening`). Before a bigger one is believed, or nothing, several changes are made to one of the same size at once (see
`together`).

Same size goes it: OPTIMIZATION. Only bigger goes it: MODEL_BIAS. Where neither goes all of it, one that goes half of it
more than the other is the larger cause, and it is said that the rest is open. Else UNDECIDED.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from thalweg.core.wording import counted
from thalweg.diagnosis.arms import SHALLOWER, at_rate, better_trained
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.exchanges import EXCHANGES, LOOP, ask_loss, differences_of, exchanged, of_loop
from thalweg.diagnosis.finding import Arm, Experiment, Ranked
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.further_arms import RESERVE
from thalweg.diagnosis.growth import WIDE, bigger_siblings, unrestrained
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch
from thalweg.diagnosis.repairs import repaired
from thalweg.diagnosis.screening import CLEAR, Screened, confirmed, percent, screened
from thalweg.diagnosis.together import TOGETHER, together
from thalweg.training import Recipe

FEWEST_TRIED = 5
"""So many arms of the same size are trained, and a bigger one, before it is said that neither helps."""
MOST = 0.5
"""A cause that takes so much more of the way than the other is named, though the rest of the way is open."""
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


def explain_train_loss(lab: Laboratory, floor: Floor, grow: Grow | None) -> Fitting:
    """Same-size arms, then bigger ones, until one goes the way to the floor or the budget is spent."""
    lab.asks(SAME, BIGGER)
    control = lab.arm(CONTROL, lab.recipe, [lab.recipe.seed], lab.train)
    flaws = lab.known_so_far.flaws
    parts = chain(exchanged(lab.recipe, first_batch(lab.train), flaws), repaired(lab.recipe, lab.train, flaws))
    mends = {name: (recipe, flaw) for name, recipe, flaw in parts}
    mended = ((name, recipe) for name, (recipe, _) in mends.items())
    same = screened(lab, floor, control, SAME, chain(mended, better_trained(lab, control)), frozenset(EXCHANGES))
    if same.experiment.answer == "yes":
        says = f"{same.name} goes {percent(same.share)} of the way from the train loss to the floor ({floor.by})"
        if same.name.startswith(SHALLOWER):
            says += "; the deeper network could compute the same, so it is trained badly"
        if same.name in mends:
            flaw = of_loop(differences_of(lab)) if same.name == LOOP else mends[same.name][1]
            by_flaw = Ranked(flaw.cause, min(1.0, same.share), f"{says}: {flaw.says}")
            return Fitting((by_flaw,), (same.experiment,), mend=f"{flaw.mend}.")
        return Fitting((Ranked(Cause.OPTIMIZATION, min(1.0, same.share), says),), (same.experiment,))
    if (asked := ask_loss(lab, floor)) is not None and asked[0].answer == "yes":
        return Fitting((asked[1],), (same.experiment, asked[0]), mend=asked[2])
    lab.asks(TOGETHER, BIGGER)
    joint = _together(lab, floor, control, same, RESERVE)
    if joint.experiment.answer == "yes":
        return _joint(joint, floor, _asked(same, joint))
    lab.asks(BIGGER, TOGETHER)
    bigger = screened(lab, floor, control, BIGGER, bigger_arms(lab, same.tuned, grow))
    if joint.lacking:
        lab.asks(TOGETHER)
        joint = _together(lab, floor, control, same)
    experiments = _asked(same, joint, bigger)
    if joint.experiment.answer == "yes":
        return _joint(joint, floor, experiments)
    if _eliminated(floor, same, joint, bigger):
        return Fitting(_too_simple(floor, same, bigger), experiments)
    size, training = bigger.share, max(same, joint, key=lambda asked: asked.share)
    ahead = size - max(training.share, 0.0)
    ranked = (
        Ranked(Cause.MODEL_BIAS, max(ahead, 0.0), f"bigger models: {bigger.reach}"),
        Ranked(Cause.OPTIMIZATION, max(training.share, 0.0), f"models of the same size: {training.reach}"),
    )
    if bigger.experiment.answer == "yes" and ahead >= CLEAR:
        says = f"{bigger.name} goes {percent(size)} of the way from the train loss to the floor ({floor.by}), "
        says += f"models of the same size {percent(training.share)}"
        return Fitting((Ranked(Cause.MODEL_BIAS, min(1.0, ahead), says), ranked[1]), experiments)
    first = sorted(ranked, key=lambda cause: -(cause.share or 0.0))
    if (owed := _mostly(lab, floor, training, bigger)) is not None:
        return Fitting((owed, *(other for other in first if other.cause is not owed.cause)), experiments)
    return Fitting(tuple(first), experiments, _would_decide(lab, training, bigger))


def _mostly(lab: Laboratory, floor: Floor, training: Screened, bigger: Screened) -> Ranked | None:
    """The cause that takes half of the way more than the other, on fresh seeds, where the other was tried too."""
    causes = {Cause.OPTIMIZATION: training, Cause.MODEL_BIAS: bigger}
    cause, other = sorted(causes, key=lambda one: causes[one].share, reverse=True)
    best, behind = causes[cause].best, max(causes[other].share, 0.0)
    tried = causes[other].tried >= (1 if other is Cause.MODEL_BIAS else FEWEST_TRIED)
    if best is None or best.share - behind < MOST or not tried:
        return None
    best = best if best.confirmed else confirmed(lab, floor, best.arm)
    if best.share - behind < MOST:
        return None
    others = "models of the same size" if other is Cause.OPTIMIZATION else "bigger models"
    says = f"{best.arm.name} goes {percent(best.share)} of the way from the train loss to the floor ({floor.by}), "
    return Ranked(cause, best.share, f"{says}{others} {percent(behind)}; what the rest is owed to is open")


def _together(lab: Laboratory, floor: Floor, control: Arm, same: Screened, reserve: int = 0) -> Screened:
    """Several changes at once, while so many trainings are left; what was trained is not trained again."""
    return screened(lab, floor, control, TOGETHER, together(lab, control, same.experiment.arms), reserve=reserve)


def _joint(joint: Screened, floor: Floor, experiments: tuple[Experiment, ...]) -> Fitting:
    says = f"{joint.name} go together {percent(joint.share)} of the way from the train loss to the floor ({floor.by})"
    return Fitting((Ranked(Cause.OPTIMIZATION, min(1.0, joint.share), says),), experiments)


def _asked(*questions: Screened) -> tuple[Experiment, ...]:
    """The experiments of questions to which an arm was trained."""
    return tuple(asked.experiment for asked in questions if asked.experiment.arms)


def _too_simple(floor: Floor, same: Screened, bigger: Screened) -> tuple[Ranked, ...]:
    """What is left where neither training nor size goes any way: the kind of network."""
    small = "" if bigger.tried else ", or too small: no larger one could be made, give diagnose(grow=...)"
    says = (
        f"learners of another kind reach {floor.high:.3g} with the same inputs ({floor.by}); of this network "
        f"{same.reach} where it is trained better, {bigger.reach} where it is bigger: what it computes is of too "
        f"simple a kind{small}"
    )
    training = Ranked(Cause.OPTIMIZATION, max(same.share, 0.0), f"models of the same size: {same.reach}")
    return Ranked(Cause.MODEL_BIAS, None, says), training


def _eliminated(floor: Floor, same: Screened, joint: Screened, bigger: Screened) -> bool:
    """Whether nothing that was tried goes any way to what other learners reach, so that the kind of network is left.

    Better training has to have been tried in full; of bigger ones one, or there are none: if another one did fit, that
    would be the model too.
    """
    tried = same.tried >= FEWEST_TRIED and not same.lacking and bool(bigger.tried or not bigger.lacking)
    return not floor.siblings and tried and max(asked.fitted for asked in (same, joint, bigger)) < CLEAR


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
