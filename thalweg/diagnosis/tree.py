"""The decision tree: the train loss first (model or optimization), then validation (overfitting), then test (mismatch).

Each branch is taken by an experiment, not by a threshold on a symptom. Where all three losses lie within what the data
are known to allow the finding is NONE, with the floor as an interval; where no experiment decides it is UNDECIDED, with
what would decide.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from thalweg.core.beginning import has_seen_train
from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, RunError
from thalweg.core.notices import collecting, notice
from thalweg.core.wording import lowered
from thalweg.diagnosis.broken_off import Interrupted, cut_short, so_far
from thalweg.diagnosis.budget import DEAR, LONG, USUAL, Budget
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checking import fitted, flaws_of_data, gaps_of, program_flaws, worth_asking
from thalweg.diagnosis.checks.data import data_flaws
from thalweg.diagnosis.compare import higher_on, lower_by
from thalweg.diagnosis.deadline import TimeSpent, check_time, ending_when
from thalweg.diagnosis.exchanges import ask_loop, ask_loss
from thalweg.diagnosis.finding import Experiment, Finding, Ranked, Score
from thalweg.diagnosis.fitting import explain_train_loss
from thalweg.diagnosis.flaw import Flaw, Raises
from thalweg.diagnosis.floor import SHARE_OF_WAY, Floor, reference_floor
from thalweg.diagnosis.generalizing import above_floor, ask_starved, explain_gap
from thalweg.diagnosis.held_out import ask_held_out
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, lay_out
from thalweg.diagnosis.mismatch import Mismatch, ask_mismatch, explained, mismatch_alone
from thalweg.diagnosis.nothing import all_right, at_chance, doubted, left_untold, nothing_before, too_few, unknown
from thalweg.diagnosis.odd_one import of_another_kind, unlike
from thalweg.diagnosis.other_way import ask_other_way
from thalweg.diagnosis.plan import FIRST, planned
from thalweg.diagnosis.ranking import Gaps, cause_of, decisive, is_material, ranked_of, suspected
from thalweg.diagnosis.references import CONSTANT
from thalweg.diagnosis.siblings import siblings_floor
from thalweg.diagnosis.stage import Progress, Stage
from thalweg.diagnosis.standstill import stopped_at
from thalweg.training import Recipe, Run
from thalweg.training.evaluate import ExampleLosses

SEEN = (
    "The model begins with weights that have seen all of train: what holds a part of it out, or trains on a part of "
    "it, is not asked. For that diagnose a recipe that begins anew."
)
SWINGS = 0.1
"""A train loss that is higher by more than this share after the last epoch than after the best was not fitted on."""


@no_type_check
def find_cause(
    recipe: Recipe | Run,
    *,
    budget: float | str | Budget | None = None,
    grow: Callable[[Recipe], Recipe] | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    test: bool = True,
    reference: Floor | None = None,
) -> Finding:
    """What holds a recipe back, with the experiments that show it.

    `budget` is in multiples of one training of the recipe (see `laboratory.work`), 20 where none is given and 6 where
    one takes more than half a minute, or a time ("10m"); `grow` makes a
    bigger model of a recipe where neither its factory nor its layers can be grown (see `growth`); `test=False` leaves
    the test split alone. `progress` is told of every stage, with the time that it takes.

    Raises `RecipeError` for what is neither recipe nor run, what `train` raises where the recipe cannot be trained, and
    `Interrupted` with the evidence so far where it is interrupted.
    """
    subject = recipe.recipe if isinstance(recipe, Run) else recipe
    if not isinstance(subject, Recipe):
        raise RecipeError(
            f"diagnose was given {type(recipe).__name__}, but it diagnoses a Recipe, or a Run with its recipe."
        )
    allowed = Budget.of(USUAL if budget is None else budget)
    with collecting() as notices:
        lab = lay_out(subject, resolve_device(device), allowed, progress or (lambda stage: None), test)
        if has_seen_train(subject.model):
            notice(SEEN)
        if isinstance(recipe, Run) and subject.data.validation is not None and recipe.status.good:
            lab.kept[CONTROL, subject.seed] = recipe
            lab.pace.learn(recipe.seconds)
        lab.ahead = planned(lab)
        try:
            with ending_when(lambda: lab.time_is_over):
                finding = _asked(lab, subject, grow, reference, DEAR if budget is None else None)
        except TimeSpent:
            finding = cut_short(lab)
        except KeyboardInterrupt as interrupt:
            finding = so_far(lab).but(cost=lab.cost, notices=tuple(notices))
            raise Interrupted(finding) from interrupt
    return finding.but(cost=lab.cost, notices=tuple(notices))


def _asked(
    lab: Laboratory,
    subject: Recipe,
    grow: Callable[[Recipe], Recipe] | None,
    reference: Floor | None,
    dear: float | None,
) -> Finding:
    """`dear` is the budget where one training takes long; None where the budget was given."""
    lab.question = FIRST
    try:
        (run,) = lab.run(CONTROL, lab.recipe, [lab.recipe.seed])
    except RunError as error:
        if isinstance(error.__cause__, DataError):
            return _refused(lab, error.__cause__)
        raise
    train, validation = lab.losses(run, lab.train), lab.losses(run, lab.validation)
    lab.known_so_far = Finding(Cause.UNDECIDED, "", losses=_losses(lab, run, None, train, validation))
    check_time()
    if dear is not None and run.seconds > LONG:
        lab.budget = Budget.of(dear)
    if reference is None:
        lab.progress(Stage("reference learners"))
    with lab.aside():
        floor = reference or reference_floor(lab.judge, [lab.train, lab.validation], lab.recipe.seed)
        of_data = flaws_of_data(lab, run) if reference is None else reference.flaws
        flaws = (*program_flaws(lab, subject, run), *of_data)
    lab.known_so_far = Finding(Cause.UNDECIDED, "", losses=_losses(lab, run, floor, train, validation), flaws=flaws)
    if floor is not None and floor.remote and not _lost(floor, train, validation):
        floor = None  # that the network does better than learners that read a part says nothing: ask its siblings
    if floor is None and (found := decisive(flaws, Gaps(None, None, mismatched=False))):
        return _flawed(lab.known_so_far, found)
    if floor is None and (right := all_right(lab, run)) is not None:
        return lab.known_so_far.but(cause=right.cause, mechanism=right.sentence, ranked=(right,))
    if floor is None and (alone := mismatch_alone(lab, run, (train, validation))) is not None:
        return _beyond_all(lab.known_so_far, alone)
    floor = siblings_floor(lab, grow) if floor is None else replace(floor, flaws=of_data)
    floor = floor if floor is None else floor.reached(None if validation is None else validation.mean()[0])
    losses = _losses(lab, run, floor, train, validation)
    finding = lab.known_so_far = lab.known_so_far.but(losses=losses, floor_by=_by(floor))
    if floor is None:
        return finding.but(
            mechanism="no run of this network or of a sibling has a finite validation loss",
            would_decide="A run with a finite loss: look at the inputs, the loss and the learning rate.",
        )
    finding = finding.but(reference=None if floor.siblings else floor)
    mismatch = ask_mismatch(lab, run, floor)
    train = fitted(lab, run, train)
    gaps = gaps_of(lab, run, floor, (train, validation), mismatch)
    if found := decisive(flaws, gaps):
        return explained(_flawed(finding, found), mismatch)
    asked = partial(_by_experiment, lab, run, losses=(train, validation), mismatch=mismatch, grow=grow, gaps=gaps)
    open_ = replace(gaps, train=None) if floor.siblings else gaps  # siblings are wired as the network is
    first = _beside(asked(finding, floor), open_)
    if not floor.counted or first.cause is not Cause.UNDECIDED or (own := siblings_floor(lab, grow)) is None:
        return first
    nearer = finding.but(losses=_losses(lab, run, own, train, validation), floor_by=_by(own), reference=None)
    again = _beside(asked(nearer, own), replace(gaps, train=None))
    further = f"{again.mechanism}; a learner that counts reaches {floor.high:.3g} ({floor.by}), so that more is open"
    return first if again.cause is Cause.UNDECIDED else again.but(mechanism=further)


def _beyond_all(finding: Finding, mismatch: Mismatch) -> Finding:
    """The finding of a mismatch that costs more than all that is lost before it, whose flaws have been asked."""
    gaps = Gaps(train=False, validation=False, mismatched=True)
    if found := decisive(finding.flaws, gaps):
        return explained(_flawed(finding, found), mismatch)
    return _beside(_mismatch(finding, mismatch), gaps)


def _lost(floor: Floor, train: ExampleLosses | None, validation: ExampleLosses | None) -> bool:
    """Whether the train or the validation loss lies above the floor."""
    pairs = zip((train, validation), floor.values, strict=True)
    return any(own is None or worth_asking(above_floor(own, floor, known), own, floor) for own, known in pairs)


def _by_experiment(
    lab: Laboratory,
    run: Run,
    finding: Finding,
    floor: Floor,
    losses: tuple[ExampleLosses | None, ExampleLosses | None],
    mismatch: Mismatch | None,
    grow: Callable[[Recipe], Recipe] | None,
    gaps: Gaps,
) -> Finding:
    """The largest term goes on to experiments; `losses` are those on train, of what fits best, and on validation."""
    train, validation = losses
    if train is None or validation is None:
        return _train_loss(lab, run, finding, floor, grow)
    on_train, on_validation = (
        above_floor(losses, floor, theirs) for losses, theirs in zip((train, validation), floor.values, strict=True)
    )
    if mismatch is not None and mismatch.costs_more_than(max(on_train.high, on_validation.high)):
        return _mismatch(finding, mismatch)  # what is lost on test is more than all that is lost before it
    if worth_asking(on_train, train, floor):
        harder = lab.apart and higher_on(train, validation).low > 0  # than what it was not trained on
        other = ask_other_way(lab, floor) if harder else None
        if other is not None and other.answer == "yes":
            return of_another_kind(finding, other, mismatch)
        return _train_loss(lab, run, finding, floor, grow)
    if is_material(gaps.natural[0], floor) and (bent := _exchanged(finding, ask_loss(lab, floor))):
        return bent  # a loss that judges itself well
    above = worth_asking(on_validation, validation, floor) or floor.siblings  # siblings say nothing of restraint
    if above and higher_on(validation, train).low > 0:
        return _validation_loss(lab, finding, floor, (on_validation, validation.mean()[0]), mismatch)
    between = above and not floor.siblings
    if (late := _overfits_late(lab, run, floor, validation)) is not None:
        if of_data := unlike(finding):
            return explained(_flawed(finding, of_data), mismatch)  # what train teaches is another thing
        kept = "the run keeps the weights of its best epoch"
        return finding.but(cause=Cause.OVERFITTING, mechanism=late.sentence, ranked=(late,), held_off=kept)
    open_ = unknown(on_train, on_validation, between) or too_few(on_validation, floor)
    if mismatch is not None and mismatch.harms:
        return _mismatch(finding, mismatch)
    if open_ is None and (starved := ask_starved(lab, floor, train, validation)) is not None:
        ranked, curve = starved
        return finding.but(cause=ranked.cause, mechanism=ranked.sentence, ranked=(ranked,), experiments=(curve,))
    return nothing_before(finding, mismatch, floor, open_, (on_validation, validation))


def _refused(lab: Laboratory, error: DataError) -> Finding:
    """Training refuses the data: that is the cause, with what the checks have seen of them."""
    says = str(error)
    flaws = data_flaws(lab.recipe, lab.train, lab.validation, lab.probe)
    ranked = (Ranked(Cause.DATA, None, says),)
    return Finding(Cause.DATA, says.rstrip("."), ranked=ranked, flaws=flaws, mend=says)


def _flawed(finding: Finding, found: list[Flaw]) -> Finding:
    """The cause is a flaw that was seen; experiments on a program or on data that are broken say little."""
    first = found[0]
    says = f"{first.mechanism}: {lowered(first.says)}"
    ranked = tuple(map(ranked_of, found))
    if first.also is not None:
        ranked = (ranked[0], Ranked(first.also, None, f"if it is meant: {says}"), *ranked[1:])
    return finding.but(cause=cause_of(first), mechanism=says, ranked=ranked, mend=f"{first.mend}.")


def _beside(finding: Finding, gaps: Gaps) -> Finding:
    """The finding of the experiments, and behind it the causes that flaws suggest; before it where it is undecided."""
    harmful = suspected(finding.flaws, gaps)
    known = {ranked.cause for ranked in finding.ranked}
    more = [ranked_of(flaw) for flaw in harmful if cause_of(flaw) not in known]
    if finding.cause is Cause.UNDECIDED and harmful:
        first = ranked_of(harmful[0])
        rest = [ranked for ranked in finding.ranked if ranked.cause is not first.cause]
        return finding.but(ranked=(first, *rest, *(ranked for ranked in more if ranked.cause is not first.cause)))
    if finding.cause is Cause.NONE:
        return doubted(finding.but(ranked=(*finding.ranked, *left_untold(gaps))))
    return finding.but(ranked=(*finding.ranked, *more))


def _train_loss(
    lab: Laboratory, run: Run, finding: Finding, floor: Floor, grow: Callable[[Recipe], Recipe] | None
) -> Finding:
    check_time()
    lab.progress(Stage("where it came to a standstill"))
    finding = lab.known_so_far = finding.but(stopped_at=stopped_at(lab, run))
    fitting = explain_train_loss(lab, floor, grow)
    finding = finding.but(ranked=fitting.ranked, experiments=fitting.experiments, mend=fitting.mend)
    if fitting.would_decide is not None:
        says = "; ".join(ranked.sentence for ranked in fitting.ranked)
        return finding.but(mechanism=says, would_decide=fitting.would_decide)
    return finding.but(cause=fitting.ranked[0].cause, mechanism=fitting.ranked[0].sentence)


def _validation_loss(
    lab: Laboratory, finding: Finding, floor: Floor, above: tuple[Score, float], mismatch: Mismatch | None
) -> Finding:
    """First whether validation is of another kind than train, then whether the model overfits.

    `above` is how far the validation loss lies above the floor, and the loss.
    """
    if (own := _exchanged(finding, ask_loop(lab, floor))) is not None:
        return own
    made = lab.apart and not floor.siblings
    apart = ask_held_out(lab, floor) if made else None
    if apart is not None and apart.answer == "yes":
        return of_another_kind(finding, apart, mismatch)
    asked = explain_gap(lab, floor, *above, alike=not unlike(finding))
    other = ask_other_way(lab, floor) if lab.apart else None  # last: the other arms are the likelier to find something
    if other is not None and other.answer == "yes":
        return of_another_kind(finding, other, mismatch)
    experiments = (*(each for each in (apart, other) if each is not None), *asked.experiments)
    finding = finding.but(ranked=(asked.ranked,), experiments=experiments, mechanism=asked.ranked.sentence)
    if asked.would_decide:
        return finding.but(ranked=(*at_chance(floor), asked.ranked), would_decide=asked.would_decide)
    return finding.but(cause=Cause.OVERFITTING)


def _exchanged(finding: Finding, asked: tuple[Experiment, Ranked, str] | None) -> Finding | None:
    """The part of the program that is at fault where the usual one in its place does better; None where it does not."""
    if asked is None or asked[0].answer != "yes":
        return None
    experiment, ranked, mend = asked
    return finding.but(
        cause=ranked.cause, mechanism=ranked.sentence, ranked=(ranked,), experiments=(experiment,), mend=mend
    )


def _mismatch(finding: Finding, mismatch: Mismatch) -> Finding:
    made = [f"{lowered(flaw.says)}; " for flaw in finding.flaws if flaw.raises is Raises.TEST]
    why = "".join([*made, mismatch.mechanism])
    sentence = f"the {mismatch.measure} on test is {mismatch.effect} higher than on validation; {why}"
    ranked = (Ranked(Cause.MISMATCH, None, sentence),)
    finding = finding.but(cause=Cause.MISMATCH, mechanism=sentence, ranked=ranked, shift=mismatch.shift)
    return finding.but(experiments=(mismatch.experiment,))


def _overfits_late(lab: Laboratory, run: Run, floor: Floor, best: ExampleLosses) -> Ranked | None:
    """Whether the last epoch's weights overfit where those of the best, which the run keeps, do not."""
    last = lab.losses(run, lab.validation, last=True)
    if last is None or run.best_epoch == len(run.history) or floor.by == CONSTANT:
        return None  # where nothing can be learned there is nothing to lose by learning too long
    here, there = lab.losses(run, lab.train), lab.losses(run, lab.train, last=True)
    if here is not None and there is not None and lower_by([there], [here]).low > SWINGS * here.mean()[0]:
        return None  # the train loss has risen too: it swings, and the best epoch was a lucky one
    above, lost = above_floor(last, floor, floor.values[1]), lower_by([last], [best])
    if not worth_asking(above, last, floor) or lost.low <= 0 or lost.value <= SHARE_OF_WAY * floor.way:
        return None  # what the run holds off by itself is worth a finding only where it is much
    level = last.mean()[0]
    return Ranked(
        Cause.OVERFITTING,
        min(1.0, above.value / level) if level > 0 else None,
        f"trained to its end the validation loss is {level:.3g}, {above} above the floor; stopped at epoch "
        f"{run.best_epoch} of {len(run.history)} it is lower by {lost}, and the run keeps these weights",
    )


def _losses(
    lab: Laboratory, run: Run, floor: Floor | None, train: ExampleLosses | None, validation: ExampleLosses | None
) -> dict[str, Score]:
    """Where the loss is lost: floor, train, validation, test, each with its interval."""
    measured: dict[str, Any] = {"train": train, "validation": validation}
    if lab.probe is not None:
        measured["test"] = lab.losses(run, lab.probe)
    losses = {name: Score(*scored.mean()) for name, scored in measured.items() if scored is not None}
    if floor is not None:
        losses["floor"] = Score(floor.high, floor.low, floor.high)
    return losses


def _by(floor: Floor | None) -> str:
    return "" if floor is None else floor.by
