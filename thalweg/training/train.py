"""train: Recipe -> Run."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.keyed import is_of_a_worker, worker_died
from thalweg.core.notices import collecting, notice
from thalweg.core.randomness import repeatable, untouched
from thalweg.core.source import plain_of
from thalweg.core.threads import fitting_threads
from thalweg.core.wording import counted
from thalweg.training.build import Training, prepare
from thalweg.training.compiled import compile_if_asked
from thalweg.training.folder import RunFolder
from thalweg.training.interrupts import Interrupts, deferred
from thalweg.training.keeper import Keeper
from thalweg.training.layout import lay_out_if_asked
from thalweg.training.loop import Progress, epochs
from thalweg.training.memory import told_size
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.saving import Saver
from thalweg.training.watch import NotFinite, Watch


@no_type_check
def train(
    recipe: Recipe,
    *,
    out: str | Path | RunFolder | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
) -> Run:
    """Train a recipe and give the run; nothing is written without `out`, the folder that run folders are made in.

    The caller's random streams are left as they were. An interrupt (Ctrl-C) ends the run as INTERRUPTED with what it
    has; a loss that is not finite ends it as DIVERGED. `progress(epoch, step, row)` is called after each step, and
    after each epoch with its row of the history.

    >>> import thalweg
    >>> from torch import nn
    >>> x = torch.linspace(-1, 1, 20)[:, None]
    >>> recipe = thalweg.Recipe(
    ...     data=thalweg.Splits(train=(x, 2 * x)), model=lambda: nn.Linear(1, 1), objective=nn.MSELoss(), epochs=50,
    ...     optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5), batch_size=5,
    ... )
    >>> run = thalweg.train(recipe)
    >>> round(run.model.weight.item(), 3)
    2.0

    Raises `RecipeError` and `DataError` where the recipe cannot work, before the first step where that can be seen
    then, with the shapes that met and the mend; an error of the user's own is raised as it is. What was learned until
    then stays in the run folder.
    """
    return good(trained(recipe, out, device, progress))


def good(run: Run) -> Run:
    """The run, or the error with which it failed."""
    if run.status is Outcome.FAILED and run.error is not None:
        raise run.error
    return run


def check_recipe(recipe: Any) -> None:
    """Refuse what is no recipe.

    Raises `RecipeError` with what it is.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"train was given {type(recipe).__name__}, but it trains a thalweg.Recipe.")


@no_type_check
def trained(
    recipe: Recipe,
    out: str | Path | RunFolder | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
) -> Run:
    """The same, but an error after the first epoch gives a run that FAILED, with its history and weights."""
    check_recipe(recipe)
    folder = RunFolder.create(Path(out), recipe) if isinstance(out, str | Path) else out
    return _ended(recipe, folder, device, progress)


@no_type_check
def train_here(
    recipe: Recipe,
    device: str | torch.device,
    progress: Progress | None = None,
    out: str | Path | None = None,
) -> Run:
    """The run of a recipe in this process, FAILED by an error of any kind, whenever it comes.

    >>> from thalweg.core.source import Splits
    >>> recipe = Recipe(data=Splits(train=([1.0], [1.0])), model=torch.nn.Identity, objective=torch.nn.MSELoss())
    >>> train_here(recipe, "cpu").status.name
    'FAILED'
    """
    try:
        return trained(recipe, out, device, progress)
    except KeyboardInterrupt as interrupt:
        return Run(recipe, [], Outcome.INTERRUPTED, error=interrupt)
    except Exception as error:
        return Run(recipe, [], Outcome.FAILED, error=error)


@no_type_check
def resumed(
    recipe: Recipe,
    folder: RunFolder,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    force: bool = False,
) -> Run:
    """Go on with the run of a folder from its newest checkpoint that is whole, or from its beginning where none is."""
    return _ended(recipe, folder, device, progress, again=True, force=force)


def _ended(
    recipe: Recipe,
    folder: RunFolder | None,
    device: str | torch.device,
    progress: Progress | None,
    again: bool = False,
    force: bool = False,
) -> Run:
    """The run, and its folder closed; `again` where it goes on from what the folder holds."""
    said = (recipe.origin or {}).get("notices", ())
    with untouched(), collecting(said) as notices, ExitStack() as rest:
        if folder is not None:
            rest.enter_context(folder.ending(notices))
        training = ready(recipe, device)
        rest.enter_context(fitting_threads(training.work))
        keeper = Keeper(training, folder)
        saver = None if folder is None else Saver(training, keeper, folder.path, notices)
        if folder is not None and saver is not None and again:
            _go_on(folder, saver, force)
        preprocessing = getattr(plain_of(training.source), "encoding", None)
        if folder is not None:
            folder.begin(keeper.history)
            keeper.begin()
            if preprocessing is not None:
                folder.keep_preprocessing(preprocessing)
        status, stopped = went(training, keeper, saver, progress)
        run = run_of(training, keeper, status, stopped)
        if folder is not None and keeper.history:
            folder.keep_weights(run.model, run.last)
        run = replace(run, notices=tuple(notices), path=None if folder is None else folder.path)
        if folder is not None:
            folder.close(run.status, run.history, run.notices, run.error, run.best_epoch)
        if saver is not None and status.good:
            saver.checkpoints.tidy(kept=0)
    return run


def ready(recipe: Recipe, device: str | torch.device) -> Training:
    """A training that is ready to take steps, laid out and compiled as is asked for."""
    training = prepare(recipe, resolve_device(device))
    finish(training)
    return training


def finish(training: Training) -> None:
    """Lay out and compile what is prepared, as its recipe asks."""
    lay_out_if_asked(training)
    compile_if_asked(training)


def _go_on(folder: RunFolder, saver: Saver, force: bool) -> None:
    """Go on from the newest checkpoint that is whole; the folder then holds the recipe that it goes on with."""
    found = saver.checkpoints.newest()
    if found is not None:
        if saver.load(found, force):
            folder.keep_recipe(saver.training.recipe)
    elif done := folder.epochs_done():
        notice(
            f"There is no checkpoint to go on from, so the run begins anew: {counted(done, 'epoch')} of it are lost."
        )


def run_of(training: Training, keeper: Keeper, status: Outcome, stopped: BaseException | None) -> Run:
    """What came of a training that has ended."""
    if training.clip is not None:
        training.clip.say_often()
    best, last = keeper.models(moved=stopped is not None)
    encoding = getattr(plain_of(training.source), "encoding", None)
    return Run(training.recipe, keeper.history, status, best, last, keeper.best_epoch, stopped, preprocessing=encoding)


def went(
    training: Training, keeper: Keeper, saver: Saver | None = None, progress: Progress | None = None
) -> tuple[Outcome, BaseException | None]:
    """Go through the epochs; how they ended, and by which error."""
    with deferred() as interrupts, repeatable():
        watch = Watch(training, interrupts, saver)
        try:
            for row in epochs(training, heeded(progress, interrupts), watch.after_step, watch.read):
                keeper.keep(row)
                if (end := keeper.end_with(row)) is not None:
                    return end, None
                watch.after_epoch()
        except NotFinite as fault:
            notice(str(fault))
            keeper.keep_unfinished(fault.value)
            return Outcome.DIVERGED, None
        except KeyboardInterrupt as interrupt:
            return Outcome.INTERRUPTED, interrupt
        except Exception as error:
            try:
                interrupts.deliver()  # what failed may have failed by the same signal
            except KeyboardInterrupt as interrupt:
                return Outcome.INTERRUPTED, interrupt
            return Outcome.FAILED, _explained(training, error)
    return Outcome.FINISHED, None


def heeded(progress: Progress | None, interrupts: Interrupts) -> Progress | None:
    """The progress, whose interrupt ends the run as a signal does: with a checkpoint."""
    if progress is None:
        return None

    def told(epoch: int, step: int, row: dict[str, Any] | None) -> None:
        try:
            progress(epoch, step, row)
        except KeyboardInterrupt as interrupt:
            interrupts.keep(interrupt)

    return told


def _explained(training: Training, error: Exception) -> Exception:
    """The error, with a mend where it is one of memory, or a loader's worker has died."""
    try:
        told = worker_died(error) if is_of_a_worker(error) else told_size(training, error)
    except Exception:  # what was tried out has failed in another way
        return error
    if told is not error:
        told.__cause__ = error
    return told
