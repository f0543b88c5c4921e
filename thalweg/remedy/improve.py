"""improve: diagnose, prove a remedy, adopt it, and again, until nothing stands out or the budget is spent.

The test split is halved once: one half shows a mismatch, the other is read once, at the end, for the recipe that came
in and the recipe that goes out.
"""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from thalweg.core.convert import Batching, as_source
from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, RunError, WriteError
from thalweg.core.files import read_own, write_own
from thalweg.core.notices import collecting, notice
from thalweg.core.numerals import score_lines
from thalweg.core.source import Indexed, Splits
from thalweg.core.wording import preformatted
from thalweg.diagnosis import Budget, Cause, Cost, Finding, Planned, Progress, Stage, plan
from thalweg.diagnosis.halving import halves
from thalweg.diagnosis.set_aside import hold_out
from thalweg.remedy.circle import DIAGNOSIS, Circle, Keep, always, opened_test
from thalweg.remedy.gaps import filled, judgeable, refused, trainable, with_targets, without_gaps
from thalweg.remedy.proof import Proof
from thalweg.remedy.prove import PAIRS, check_counts, check_subject
from thalweg.remedy.repairing import judged_rightly
from thalweg.remedy.round import Round
from thalweg.training import Outcome, Recipe, Run, RunFolder, evaluate, train, train_many
from thalweg.training.build import open_split
from thalweg.training.interrupts import announcing
from thalweg.training.kept_runs import keeping
from thalweg.training.train import good

Score = Callable[..., dict[str, tuple[float, float, float]]]
"""`(run, split, *, device) -> scores`, as `evaluate` gives them."""
UNREAD = "the half of the test data that nothing else has read"
LEFT = "; the gaps in its data are left, and the closing runs take them as they are"
STOPPING = "The improvement stops after the step that runs, and keeps the rounds so far."
ROUNDS = "rounds"
"""In this file of the folder of kept runs stands how many rounds have begun."""
CLOSING = 2
"""Runs at the end: the recipe that came in and the one that goes out."""


@dataclass(frozen=True)
class Improvement:
    """The recipe that came out, its run, and the diary: every round with what helped and what did not.

    `before` and `after` are the scores of the first and the last recipe; `judged_on` says on which data: the half of
    the test split that nothing else has read, else validation, which was also chosen by, else none.
    """

    recipe: Recipe
    run: Run
    diary: tuple[Round, ...]
    before: dict[str, tuple[float, float, float]]
    after: dict[str, tuple[float, float, float]]
    judged_on: str
    ended: str
    cost: Cost = field(default_factory=Cost)

    @property
    def finding(self) -> Finding:
        """The last finding."""
        return self.diary[-1].finding

    @property
    def validation_used(self) -> int:
        """How many runs were judged on the validation data to choose by: the more, the better it looks by chance."""
        return sum(turn.looks for turn in self.diary)

    @property
    def cured(self) -> tuple[Cause, ...]:
        """The causes of the remedies that were adopted, where the finding behind one decides, and for another cause."""
        pairs = zip(self.diary, self.diary[1:], strict=False)
        treated = [
            turn.adopted.kept.cause
            for turn, after in pairs
            if turn.adopted and after.finding.cause not in (turn.adopted.kept.cause, Cause.UNDECIDED)
        ]
        return tuple(dict.fromkeys(cause for cause in treated if cause is not self.finding.cause))

    @property
    def proofs(self) -> list[Proof]:
        """Every proof, adopted or not."""
        return [proof for turn in self.diary for proof in turn.proofs]

    def __str__(self) -> str:
        lines = [f"Round {number}: {turn}" for number, turn in enumerate(self.diary, 1)]
        used = f"{self.validation_used} runs were judged on validation to choose by"
        lines += [f"Ended: {self.ended}.", f"{used}. On {self.judged_on}:"]
        lines += score_lines({name: of for name, of in (("before", self.before), ("after", self.after)) if of})
        lines += [] if self.before or not self.after else ["As it came in, it diverged."]
        return "\n".join(lines)

    def __repr__(self) -> str:
        adopted = [turn.adopted.kept.name for turn in self.diary if turn.adopted is not None]
        causes = ", ".join(str(turn.finding.cause) for turn in self.diary)
        return f"Improvement({causes}; adopted {', '.join(adopted) or 'nothing'}; {self.ended})"

    def _repr_html_(self) -> str:
        return preformatted(str(self))


@no_type_check
def improve(
    recipe: Recipe,
    *,
    budget: float | str | Budget = 200.0,
    rounds: int = 6,
    out: RunFolder | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    keep: Keep | None = None,
    settle: Callable[[Recipe], Recipe] | None = None,
    allows: Callable[[Recipe], bool] = always,
    resume: str | Path | None = None,
    score: Score = evaluate,
) -> Improvement:
    """Diagnose a recipe, prove remedies on paired seeds, adopt what helps, and go round until nothing stands out.

    `budget` is in multiples of one training of the recipe that came in, diagnoses and proofs together, or a time
    ("10m"); the circle goes round at most `rounds` times. `progress` is told of every stage, with the time that it
    takes; `keep` is given the diary after every finding and proof, so that an interrupt loses nothing; `allows` says
    whether a changed recipe may be adopted, `settle` has the last word on the one that comes out, before its closing
    run; `score` gives the scores before and after, of a run on the data that judge at the end. `resume` is a folder in
    which every run is kept that has ended: where the circle was interrupted or killed, the same call goes on, trains
    none of them again, and ends as if nothing had happened.

    A recipe without a validation split is improved, and comes out, with a fifth of its train split held out as one.

    >>> import thalweg
    >>> slow = thalweg.load("iris", assignments=["epochs=15", "optimizer.lr=1e-5"])
    >>> result = thalweg.improve(slow, rounds=1)
    >>> [turn.finding.cause.name for turn in result.diary]
    ['OPTIMIZATION']
    >>> result.after["accuracy"][0] > result.before["accuracy"][0] + 0.3
    True

    Raises `DataError` for data that cannot be trained on, before anything is trained.
    """
    check_subject(recipe, "improve")
    check_counts(rounds=rounds)
    if not isinstance(resume, str | Path | None):
        raise RecipeError(f"resume={resume!r}, but it is the folder in which runs are kept: give its path.")
    allowed, tell, keeps = Budget.of(budget), progress or (lambda stage: None), keep or (lambda diary: None)
    rounds_of = None if resume is None else Path(resume) / ROUNDS
    known = _begun(rounds_of)

    def keep_both(diary: tuple[Round, ...]) -> None:
        if rounds_of is not None and len(diary) > known:
            with suppress(WriteError):  # what is kept for an interrupt must not be one
                write_own(rounds_of, str(len(diary)).encode())
        keeps(diary)

    stopping = STOPPING if resume is None else f"{STOPPING} Every run that has ended is kept."
    with collecting(), announcing(stopping), nullcontext() if resume is None else keeping(resume):
        recipe = begun_with(recipe)
        circle = Circle(recipe, recipe, allowed, device, tell, keep_both, allows=allows, begun=known)
        return _closed(circle, circle.turned(rounds), out, settle, score)


def _begun(file: Path | None) -> int:
    """How many rounds an earlier attempt has begun; 0 where there was none, or its note cannot be read."""
    try:
        return 0 if file is None or not file.is_file() else int(read_own(file))
    except (RunError, ValueError):
        return 0


def begun_with(recipe: Recipe) -> Recipe:
    """The recipe that everything begins with: its data can be trained on, and some of them are validation examples.

    Where it has no validation split a fifth of train is held out once, for all rounds and for the recipe that comes
    out: what is adopted is then trained, and its best epoch chosen, as it was proved. Raises `DataError` for numbers
    that are not finite where no remedy can fill them in.
    """
    data = recipe.data
    mendable = refused(recipe) and any(fill(recipe) is not recipe for fill in (filled, without_gaps, with_targets))
    for name, split in (("train", data.train), ("validation", data.validation)):
        if split is not None and not mendable:
            open_split(recipe, split, name)
    if data.validation is not None:
        return recipe
    source = as_source(data.train, "train", Batching(recipe.batch_size, recipe.collate))
    if not isinstance(source, Indexed):
        return recipe  # of a stream its first examples stand for it in the diagnosis, and all are trained on at the end
    train, validation = hold_out(recipe, source)
    notice("They stay held out from the recipe that comes out, so that it is trained as its remedies were proved.")
    return recipe.but(data=Splits(train, validation, data.test))


def _closed(
    circle: Circle, ended: str, out: RunFolder | None, settle: Callable[[Recipe], Recipe] | None, score: Score
) -> Improvement:
    """The closing runs, and the final half of the test split, read once.

    Where gaps are left in the data, because no remedy of them was adopted, the runs take them as they are.
    """
    start, recipe = circle.start, circle.recipe
    final, judged_on = _final(circle)
    if judged_on == UNREAD:
        recipe = recipe.but(data=Splits(recipe.data.train, recipe.data.validation, final))
    recipe = recipe if settle is None else settle(recipe)
    circle.progress(Stage("the closing runs: as it came in, and as it goes out"))
    start = judged_rightly(start, recipe) if refused(start) else start
    ended += LEFT if refused(recipe) else ""
    first = _to_its_end(good(train_many([trainable(start)], device=circle.device, stacked=False)[0]))
    if out is not None:
        out.keep_recipe(recipe)
    run = _to_its_end(train(trainable(recipe), out=out, device=circle.device))
    device = resolve_device(circle.device)
    if circle.rewired and first.recipe is not None:  # its own loss may be what was repaired
        first = replace(first, recipe=judged_rightly(first.recipe, recipe))
    before, after = (
        {} if final is None or not run.status.good else score(run, final, device=device) for run in (first, run)
    )
    cost = replace(circle.cost, runs=circle.cost.runs + CLOSING, seconds=circle.spent_seconds)
    return Improvement(recipe, run, tuple(circle.diary), before, after, judged_on, ended, cost)


def _final(circle: Circle) -> tuple[Any, str]:
    """The data for the scores at the end, and what they are; a stream of test data has no half to leave unread."""
    data = circle.start.data
    if data.test is not None:
        test = opened_test(circle.start)
        if isinstance(test, Indexed) and circle.halved:
            return judgeable(halves(test)[1]), UNREAD
        if isinstance(test, Indexed):
            times = {0: "once", 1: "twice"}.get(circle.read, f"{circle.read + 1} times")
            return judgeable(
                test
            ), f"all {len(test)} test examples, too few to halve and read {times}: here for the last time"
        notice("The test split is a stream, which the diagnosis reads whole: no half of it is left to judge by.")
    if data.validation is not None:
        held = as_source(data.validation, "validation", Batching(circle.start.batch_size, circle.start.collate))
        return judgeable(held), "the validation data, by which it was also chosen"
    return None, "no data: there is neither a test nor a validation split"


def plan_of_improvement(
    recipe: Recipe, device: str | torch.device = "auto", budget: float | str | Budget = DIAGNOSIS
) -> list[Planned]:
    """What a round of the circle may cost, the arms of a diagnosis and a proof, and the closing runs, which come once.

    >>> import thalweg
    >>> plan_of_improvement(thalweg.cases.get("healthy"))[-1].arm
    'the closing runs'
    """
    allowed = Budget.of(budget)
    arms = plan(recipe, device, replace(allowed, times=min(DIAGNOSIS, allowed.times)))
    each = f"{PAIRS} pairs of runs, and a random change beside them"
    proof = ("Does the remedy help, on paired seeds?", each, 3.0 * PAIRS)
    closing = ("What came of it, on data that nothing else has read?", "the closing runs", float(CLOSING))
    one = arms[0].seconds
    return arms + [Planned(*item, None if one is None else one * item[-1]) for item in (proof, closing)]


def _to_its_end(run: Run) -> Run:
    """The run, unless it was interrupted."""
    if run.status is Outcome.INTERRUPTED:
        raise run.error or KeyboardInterrupt
    return run
