"""train: Recipe -> Run."""

import copy
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting, notice
from thalweg.core.randomness import untouched
from thalweg.measure.gradient import gradient_norm
from thalweg.training.build import Training, prepare
from thalweg.training.folder import RunFolder
from thalweg.training.interrupts import deferred
from thalweg.training.loop import Progress, epochs
from thalweg.training.memory import told_size
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.saving import Saver
from thalweg.training.watch import NotFinite, Watch

State = dict[str, Any]


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


@no_type_check
def trained(
    recipe: Recipe,
    out: str | Path | RunFolder | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
) -> Run:
    """The same, but an error after the first epoch gives a run that FAILED, with its history and weights."""
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"train was given {type(recipe).__name__}, but it trains a thalweg.Recipe.")
    folder = RunFolder.create(Path(out), recipe) if isinstance(out, str | Path) else out
    return _ended(recipe, folder, device, progress)


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
    with untouched(), collecting(said) as notices, nullcontext() if folder is None else folder.ending(notices):
        training = prepare(recipe, resolve_device(device))
        keeper = Keeper(training, folder)
        saver = None if folder is None else Saver(training, keeper, folder.path, notices)
        if saver is not None and again and (found := saver.checkpoints.newest()) is not None:
            saver.load(found, force)
        preprocessing = getattr(training.source, "encoding", None)
        if folder is not None:
            folder.begin(keeper.history)
            if preprocessing is not None:
                folder.keep_preprocessing(preprocessing)
        status, stopped = _went(training, keeper, saver, progress)
        best, last = keeper.models(moved=stopped is not None)
        if folder is not None and keeper.history:
            folder.keep_weights(best, last)
        path, history = None if folder is None else folder.path, keeper.history
        run = Run(recipe, history, status, best, last, keeper.best_epoch, stopped, (), path, preprocessing)
        run = replace(run, notices=tuple(notices))
        if folder is not None:
            folder.close(run.status, run.history, run.notices, run.error, run.best_epoch)
        if saver is not None and status.good:
            saver.checkpoints.tidy(kept=0)
    return run


def _went(
    training: Training, keeper: "Keeper", saver: Saver | None, progress: Progress | None
) -> tuple[Outcome, BaseException | None]:
    """Go through the epochs; how they ended, and by which error."""
    rule = training.recipe.stopping
    with deferred() as interrupts:
        watch = Watch(training, interrupts, saver)
        try:
            for row in epochs(training, progress, watch.after_step):
                keeper.keep(row)
                watch.read()
                if keeper.diverged(row):
                    return Outcome.DIVERGED, None
                if rule is not None and rule(keeper.history):
                    return Outcome.STOPPED_EARLY, None
                watch.after_epoch()
        except NotFinite as fault:
            notice(str(fault))
            keeper.keep(_unfinished_row(training, fault.value), whole=False)
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


def _explained(training: Training, error: Exception) -> Exception:
    """The error, with what would fit where it is one of memory."""
    try:
        told = told_size(training, error)
    except Exception:  # what was tried out has failed in another way
        return error
    if told is not error:
        told.__cause__ = error
    return told


def _unfinished_row(training: Training, loss: float) -> dict[str, Any]:
    """The row of an epoch that was broken off, for its loss is not finite."""
    norm = gradient_norm(training.model.parameters())
    return {
        "epoch": training.position.epoch,
        "train_loss": loss,
        "validation_loss": None if training.validation is None else math.nan,
        "metrics": {},
        "gradient_norm": None if norm is None else float(norm),
        "learning_rate": training.rate.used,
        "seconds": training.position.seconds,
    }


class Keeper:
    """Keeps the history and the weights of the best epoch while a run goes on."""

    def __init__(self, training: Training, folder: RunFolder | None) -> None:
        self.training = training
        self.folder = folder
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_state: State | None = None

    def keep(self, row: dict[str, Any], whole: bool = True) -> None:
        """Add an epoch's row; a lower validation loss makes its weights the best, unless it was broken off."""
        self.history.append(row)
        loss = row["validation_loss"]
        if not whole:
            pass
        elif loss is None:
            self.best_epoch = row["epoch"]
        elif loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, row["epoch"]
            self.keep_best_state()
        elif not math.isfinite(loss):
            notice(f"The validation loss is not finite in epoch {row['epoch']}; such an epoch is never the best.")
        if self.folder is not None:
            self.folder.keep_history(self.history)

    def keep_best_state(self) -> None:
        """Keep the weights as they are for the best."""
        self.best_state = snapshot(self.training.model)

    def diverged(self, row: dict[str, Any]) -> bool:
        """Whether the loss, or a weight behind an infinite gradient, is no longer finite."""
        if row["train_loss"] is not None and not math.isfinite(row["train_loss"]):
            return True
        if row["gradient_norm"] is None or math.isfinite(row["gradient_norm"]):
            return False
        return not all(bool(torch.isfinite(weight).all()) for weight in self.training.model.parameters())

    def models(self, moved: bool) -> tuple[nn.Module, nn.Module]:
        """The best and the last model in evaluation mode; one module where their weights are the same.

        `moved` says that steps were taken since the last epoch that was kept.
        """
        last = self.training.model.eval()
        if self.best_state is None or (self.best_epoch == len(self.history) and not moved):
            return last, last
        try:
            best = copy.deepcopy(last)
        except Exception:  # a model that keeps activations or locks cannot be copied, but it can be built again
            best = self.training.recipe.model().to(self.training.device).eval()
        best.load_state_dict(self.best_state)
        return best, last


def snapshot(model: nn.Module) -> State:
    """A copy of the model's state."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in model.state_dict().items()
    }
