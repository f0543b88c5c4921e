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
from thalweg.training.build import Training, prepare
from thalweg.training.folder import RunFolder
from thalweg.training.loop import Progress, epochs
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run

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
    run = trained(recipe, out, device, progress)
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
    said = (recipe.origin or {}).get("notices", ())
    with untouched(), collecting(said) as notices, nullcontext() if folder is None else folder.ending(notices):
        training = prepare(recipe, resolve_device(device))
        run = replace(_finished(training, folder, progress), notices=tuple(notices))
        if folder is not None:
            folder.close(run.status, run.history, run.notices, run.error, run.best_epoch)
    return run


def _finished(training: Training, folder: RunFolder | None, progress: Progress | None) -> Run:
    preprocessing = getattr(training.source, "encoding", None)
    if folder is not None and preprocessing is not None:
        folder.keep_preprocessing(preprocessing)
    keeper = Keeper(training, folder)
    status = Outcome.FINISHED
    stopped: BaseException | None = None
    try:
        for row in epochs(training, progress):
            keeper.keep(row)
            if keeper.diverged(row):
                status = Outcome.DIVERGED
                break
            if training.recipe.stopping is not None and training.recipe.stopping(keeper.history):
                status = Outcome.STOPPED_EARLY
                break
    except KeyboardInterrupt as interrupt:
        status, stopped = Outcome.INTERRUPTED, interrupt
    except Exception as error:
        status, stopped = Outcome.FAILED, error
    best, last = keeper.models(moved=stopped is not None)
    if folder is not None and keeper.history:
        folder.keep_weights(best, last)
    path = None if folder is None else folder.path
    return Run(
        training.recipe,
        keeper.history,
        status,
        best,
        last,
        keeper.best_epoch,
        stopped,
        path=path,
        preprocessing=preprocessing,
    )


class Keeper:
    """Keeps the history and the weights of the best epoch while a run goes on."""

    def __init__(self, training: Training, folder: RunFolder | None) -> None:
        self.training = training
        self.folder = folder
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_state: State | None = None

    def keep(self, row: dict[str, Any]) -> None:
        """Add an epoch's row; a lower validation loss makes its weights the best."""
        self.history.append(row)
        loss = row["validation_loss"]
        if loss is None:
            self.best_epoch = row["epoch"]
        elif loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, row["epoch"]
            self.best_state = snapshot(self.training.model)
        elif not math.isfinite(loss):
            notice(f"The validation loss is not finite in epoch {row['epoch']}; such an epoch is never the best.")
        if self.folder is not None:
            self.folder.keep_history(self.history)

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
