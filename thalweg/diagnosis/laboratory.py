"""The laboratory: the recipe under question, its splits laid out, and the one door to runs, which counts the price."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch

from thalweg.core.arrays import ArraySource
from thalweg.core.convert import Batching, as_source
from thalweg.core.errors import RunError, ThalwegError, Unsupported
from thalweg.core.nest import count_examples
from thalweg.core.notices import notice
from thalweg.core.source import Altering, Indexed, Joining, Source, Splits, plain_of
from thalweg.core.wording import counted
from thalweg.diagnosis.averaged import judge_of
from thalweg.diagnosis.budget import Budget, Cost
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.compare import loss_over_runs
from thalweg.diagnosis.deadline import check_time
from thalweg.diagnosis.finding import Arm, Finding, Score
from thalweg.diagnosis.halving import halves, splittable
from thalweg.diagnosis.pace import Pace
from thalweg.diagnosis.set_aside import hold_out
from thalweg.diagnosis.stage import Planned, Progress, Stage
from thalweg.diagnosis.work import examples_of, work
from thalweg.measure.curvature.evaluation import joined
from thalweg.training import Outcome, Recipe, Run, train_many
from thalweg.training.evaluate import ExampleLosses, example_losses
from thalweg.training.judging import Judge
from thalweg.training.kept_runs import seconds_kept

FEWEST = 10
"""So few test examples say nothing of the test data."""
RESERVOIR = 20_000
"""So many examples of a stream are held in memory."""
FAR = 4.0
"""A model whose price says that it takes so many times what is left of a time budget is not timed."""


@dataclass
class Laboratory:
    """A recipe whose train and validation splits are indexed sources, half of its test split, and the runs so far.

    `price` is counted by `work`, in multiples of one run of the recipe. `ahead` holds
    the arms that may still be asked for, `evidence` the arms of each question so far.
    """

    recipe: Recipe
    train: Indexed
    validation: Indexed
    probe: Source | None
    device: torch.device
    budget: Budget
    progress: Progress
    runs: int = 0
    price: float = 0.0
    started: float = field(default_factory=time.monotonic)
    kept: dict[tuple[str, int], Run] = field(default_factory=dict)
    ahead: list[Planned] = field(default_factory=list)
    question: str = ""
    evidence: dict[str, dict[str, Arm]] = field(default_factory=dict)
    judged: dict[tuple[int, int, bool], tuple[Run, Source, ExampleLosses | None]] = field(default_factory=dict)
    """What was judged, by the identities of run and split, which are held so that these stay theirs."""
    beside: float = 0.0
    """The seconds of reference learners and checks."""
    apart: bool = False
    """Whether the recipe brought its validation split, which may then be of another kind than train."""
    halved: bool = True
    """Whether what is read of the test data is a half of them; of a few it is all."""
    test: Any = None
    """The test split as it came in, by which a remedy for it may be found; no run is judged by it."""
    known_so_far: Finding = field(default_factory=lambda: Finding(Cause.UNDECIDED, ""))

    def __post_init__(self) -> None:
        self.pace = Pace(self.recipe, first_batch(self.train), examples_of(self.recipe), self.device)

    @property
    def judge(self) -> Judge:
        """What compares: the recipe's own judge."""
        return Judge.of(self.recipe)

    @property
    def cost(self) -> Cost:
        """What was spent so far."""
        return Cost(self.runs, time.monotonic() - self.started, self.price, self.beside)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Count the time of what is done in here as that of no training."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.beside += time.monotonic() - began

    @property
    def time_is_over(self) -> bool:
        """Whether a time budget is spent."""
        return self.budget.less(self.cost).seconds <= 0

    def affords(self, recipe: Recipe, seeds: Sequence[int], name: str = "") -> bool:
        """Whether the budget still holds the runs of a recipe; those of that name that were trained cost nothing."""
        runs = sum((name, seed) not in self.kept for seed in seeds)
        return self._holds([(recipe, runs)])

    def affords_once(self, recipe: Recipe) -> bool:
        """Whether the budget still holds one run of a recipe."""
        return self._holds([(recipe, 1)])

    def spares(self, recipe: Recipe, reserve: int) -> bool:
        """Whether the budget still holds one run of a recipe, and then so many of the recipe under question."""
        return self._holds([(recipe, 1), (self.recipe, reserve)])

    def affords_both(self, recipe: Recipe, other: Recipe, seeds: Sequence[int]) -> bool:
        """Whether the budget still holds the runs of two recipes."""
        return self._holds([(recipe, len(seeds)), (other, len(seeds))])

    def _holds(self, runs: list[tuple[Recipe, int]]) -> bool:
        """Whether the budget holds these runs; models are timed only for a time budget, and not if far too big."""
        left = self.budget.less(self.cost)
        times = sum(self.price_of(recipe) * count for recipe, count in runs)
        if not times:
            return True
        if times > left.times:
            return False
        if left.seconds == float("inf"):
            return True
        one = self.seconds_of(self.recipe)
        if one is not None and one * times > FAR * left.seconds:
            return False
        seconds = 0.0
        for recipe, count in runs:
            taken = self.seconds_of(recipe)
            if taken is None:
                return left.holds(times, None)
            seconds += taken * count
        return left.holds(times, seconds)

    def known(self, arm: Arm) -> list[Run]:
        """The runs of an arm that was trained."""
        return [self.kept[arm.name, seed] for seed in arm.seeds if (arm.name, seed) in self.kept]

    def asks(self, question: str, *others: str) -> None:
        """Turn to a question; of the arms ahead those stay that belong to it, or to others that may follow."""
        self.question = question
        self.ahead = [arm for arm in self.ahead if arm.question in (question, *others)]

    def price_of(self, recipe: Recipe) -> float:
        """One run of a recipe in multiples of one run of the recipe under question."""
        return work(recipe) / max(work(self.recipe), 1)

    def seconds_of(self, recipe: Recipe) -> float | None:
        """About what one run of a recipe takes; None where that cannot be told."""
        return self.pace.seconds(recipe, examples_of(recipe))

    def run(self, name: str, recipe: Recipe, seeds: Sequence[int]) -> list[Run]:
        """The runs of a recipe on these seeds; those that were trained before are not trained again."""
        missing = [seed for seed in seeds if (name, seed) not in self.kept]
        if missing:
            if self.runs:  # the first training is what everything else is measured by
                check_time()
            self.progress(self._stage(name, recipe, len(missing)))
            self.price += self.price_of(recipe) * len(missing)
            self.runs += len(missing)
            known = seconds_kept()
            trained = train_many([recipe.but(seed=seed) for seed in missing], device=self.device)
            self.started -= seconds_kept() - known  # what was trained before an interrupt has taken its time then
            for seed, run in zip(missing, trained, strict=True):
                if run.status is Outcome.INTERRUPTED:
                    raise run.error or KeyboardInterrupt
                if run.status is Outcome.FAILED and name == CONTROL:
                    raise RunError(f"The recipe itself cannot be trained: {_told(run.error)}") from run.error
                self.kept[name, seed] = run
                if recipe is self.recipe and run.status.good:
                    self.pace.learn(run.seconds)
        return [self.kept[name, seed] for seed in seeds if (name, seed) in self.kept]

    def losses(self, run: Run, split: Source, *, last: bool = False) -> ExampleLosses | None:
        """The loss on each example of a split, of a run's best or last weights; None where none is finite there."""
        if run.status in (Outcome.FAILED, Outcome.DIVERGED):
            return None
        key = id(run), id(split), last and run.best is not run.final
        if key not in self.judged:
            losses = example_losses(run.last if last else run.model, self.recipe, split, self.device)
            self.judged[key] = run, split, losses if np.isfinite(losses.values).all() else None
        return self.judged[key][2]

    def losses_on(self, runs: Sequence[Run], split: Source) -> list[ExampleLosses] | None:
        """The losses of several runs; None where one of them has no finite loss."""
        scored = [self.losses(run, split) for run in runs]
        return None if any(losses is None for losses in scored) else [losses for losses in scored if losses is not None]

    def arm(self, name: str, recipe: Recipe, seeds: Sequence[int], split: Source) -> Arm:
        """An arm of an experiment: the mean loss over its seeds, of three and more with its interval."""
        runs = self.run(name, recipe, seeds)
        scored = [self.losses(run, split) for run in runs]
        means = [mean_of(losses) for losses in scored]
        value = float(np.mean(means))
        if len(means) > 1 and np.isfinite(value):
            score = loss_over_runs(np.array(means))
        else:
            score = Score(value) if scored[0] is None or len(means) > 1 else Score(*scored[0].mean())
        change = tuple(self.recipe.difference(recipe)) if name != CONTROL else ()
        seconds, validation = sum(run.seconds for run in runs), self._validation(runs)
        arm = Arm(name, change, score, tuple(seeds), seconds, validation, recipe)
        self.evidence.setdefault(self.question, {})[name] = arm
        return arm

    def _stage(self, name: str, recipe: Recipe, runs: int) -> Stage:
        """What is told of runs that begin: their own time, and the most that they and all that may follow can take."""
        one = self.seconds_of(recipe)
        known = {name for name, _ in self.kept}
        told = f"{name}, on {runs} more {'seed' if runs == 1 else 'seeds'}" if name in known else name
        if one is None:
            return Stage(told)
        others = sum(arm.seconds or 0.0 for arm in self.ahead if arm.arm not in {*known, name})
        return Stage(told, one * runs, min(one * runs + others, self.budget.less(self.cost).seconds))

    def _validation(self, runs: Sequence[Run]) -> float:
        scored = [self.losses(run, self.validation) for run in runs]
        return float(np.mean([mean_of(losses) for losses in scored]))


CONTROL = "as it is"


def _told(error: BaseException | None) -> str:
    """An error in words: one of the user's own program may say nothing without its name."""
    return str(error) if isinstance(error, ThalwegError) else f"{type(error).__name__}: {error}"


def mean_of(losses: ExampleLosses | None) -> float:
    """The mean loss; infinite for a run that has none."""
    return float("inf") if losses is None else losses.mean()[0]


def lay_out(recipe: Recipe, device: torch.device, budget: Budget, progress: Progress, test: bool = True) -> Laboratory:
    """Splits as sources; a validation split is held out from train where there is none; the test split is halved.

    Raises `Unsupported` for a stream whose examples do not fit together, which has no subsets to experiment with, and
    `DataError` for a single example without a validation split.
    """
    train = open_indexed(recipe, recipe.data.train, "train")
    if recipe.data.validation is None:
        train, validation = hold_out(recipe, train)
    else:
        validation = open_indexed(recipe, recipe.data.validation, "validation")
    probe, halved = None, True
    if test and recipe.data.test is not None:
        probe = as_source(recipe.data.test, "test", Batching(recipe.batch_size, recipe.collate))
        halved = isinstance(probe, Indexed) and splittable(probe)
        probe = _telling(halves(probe)[0] if halved else probe) if isinstance(probe, Indexed) else probe
    judge = judge_of(recipe, first_batch(train))
    if (metric := getattr(recipe.objective, "chosen_by", None)) is not None:
        notice(
            f"The recipe is trained for its {metric}, and what is compared here is the loss of its judge: what raises "
            f"the one may cost the other. Diagnose the recipe that is trained by its likelihood, without {metric}."
        )
    laid = recipe.but(data=Splits(train=train, validation=validation), metrics={}, judge=judge)
    given = recipe.data.validation is not None
    whole = recipe.data.test if test else None
    return Laboratory(laid, train, validation, probe, device, budget, progress, apart=given, halved=halved, test=whole)


def _telling(probe: Indexed) -> Indexed | None:
    """What is read of the test data, None where it has too few examples to say anything of the test data."""
    if len(probe) >= FEWEST:
        return probe
    notice(f"The test split is {counted(len(probe), 'example')}: too few to say whether test data differ.")
    return None


def open_indexed(recipe: Recipe, split: Any, name: str) -> Indexed:
    """A split as a source with subsets, or an error that says why an experiment needs them."""
    source = as_source(split, name, Batching(recipe.batch_size, recipe.collate))
    if not isinstance(source, Indexed) and (held := _reservoir(source, recipe, name)) is not None:
        return held
    if not isinstance(source, Indexed):
        raise Unsupported(
            f"The {name} split is a {type(source).__name__} without subsets, and the diagnosis needs them. Read some "
            "thousand examples into memory, list(dataset), and diagnose on these."
        )
    return source


def _reservoir(source: Source, recipe: Recipe, name: str) -> ArraySource | None:
    """The first examples of a stream of tensors, which stand for it; None where they do not fit together."""
    batches = list[Any]()
    for batch in source.batches(0, 0, None):
        batches.append(batch)
        if sum(map(count_examples, batches)) >= RESERVOIR:
            break
    whole = joined(batches)
    if whole is None:
        return None
    notice(f"The {name} split has no subsets: its first {count_examples(whole):,} examples stand for it.")
    return ArraySource(whole, recipe.batch_size)


def merged(first: Indexed, second: Indexed) -> Indexed | None:
    """Two sources of tensors, of a graph's nodes, or of sequences that were read as one, joined; None for any other.

    What the first one changes stays changed.
    """
    own, other = (_joining(plain_of(source), source) for source in (first, second))
    if not isinstance(own, Joining) or not (isinstance(other, type(own)) or isinstance(own, type(other))):
        return None
    try:
        whole: Any = own.joined(other)
    except (RuntimeError, TypeError, ValueError):
        return None
    return cast(Indexed, first.around(whole)) if isinstance(first, Altering) else whole


def _joining(plain: Any, source: Any) -> Any:
    """What can be joined of a source: itself, or the tensors that it keeps."""
    return plain if isinstance(plain, Joining) else getattr(source, "arrays", source)


def first_batch(source: Source) -> Any:
    """The first batch of a source in its own order."""
    return next(iter(source.batches(0, 0, None)))
