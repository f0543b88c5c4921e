"""What is kept of a run while it goes on: its history, and the weights of its best epoch."""

import copy
import math
from typing import Any

from torch import Tensor, nn

from thalweg.core.finite import all_finite
from thalweg.core.notices import notice
from thalweg.training.build import Training
from thalweg.training.folder import RunFolder
from thalweg.training.outcome import Outcome
from thalweg.training.trajectory import Trajectory
from thalweg.training.weights import adopt_buffers

State = dict[str, Any]


class Keeper:
    """Keeps the history and the weights of the best epoch while a run goes on."""

    def __init__(self, training: Training, folder: RunFolder | None) -> None:
        self.training = training
        self.folder = folder
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_state: State | None = None
        self.trajectory = None if folder is None else Trajectory(folder.path, training.model)

    def begin(self) -> None:
        """Keep where the training begins."""
        if self.trajectory is not None and not self.history:
            self.trajectory.keep(0)

    def keep(self, row: dict[str, Any]) -> None:
        """Add an epoch's row; a lower loss of validation, or what is compared instead, makes its weights the best."""
        loss = self.training.compared(row)
        if loss is None:
            self.best_epoch = row["epoch"]
        elif loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, row["epoch"]
            self.keep_best_state()
        elif not math.isfinite(loss):
            notice(f"The validation loss is not finite in epoch {row['epoch']}; such an epoch is never the best.")
        self._add(row)
        if self.trajectory is not None:
            self.trajectory.keep(row["epoch"])

    def keep_unfinished(self, loss: float) -> None:
        """Add the row of an epoch that was broken off, for this loss of it is not finite."""
        training = self.training
        self._add(
            {
                "epoch": training.position.epoch,
                "train_loss": loss,
                "validation_loss": None if training.validation is None else math.nan,
                "metrics": {},
                "gradient_norm": training.gradient_norm(),
                "learning_rate": training.rate.used,
                "seconds": training.position.seconds,
            }
        )

    def _add(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        if self.folder is not None:
            self.folder.keep_history(self.history)

    def keep_best_state(self) -> None:
        """Keep the weights as they are for the best."""
        self.best_state = snapshot(self.training.judged)

    def end_with(self, row: dict[str, Any]) -> Outcome | None:
        """How the run ends with an epoch's row that was kept; None where it goes on."""
        if self._diverged(row):
            return Outcome.DIVERGED
        rule = self.training.recipe.stopping
        if rule is None:
            return None
        history = self.history
        if self.training.chosen_by is not None:
            history = [each | {"validation_loss": self.training.compared(each)} for each in history]
        return Outcome.STOPPED_EARLY if rule(history) else None

    def _diverged(self, row: dict[str, Any]) -> bool:
        """Whether the loss, or a weight behind an infinite gradient, is no longer finite."""
        if row["train_loss"] is not None and not math.isfinite(row["train_loss"]):
            return True
        if row["gradient_norm"] is None or math.isfinite(row["gradient_norm"]):
            return False
        return not all_finite(self.training.model.parameters())

    def models(self, moved: bool) -> tuple[nn.Module, nn.Module]:
        """The best and the last model in evaluation mode; one module where their weights are the same.

        `moved` says that steps were taken since the last epoch that was kept.
        """
        last = self.training.judged.eval()
        if self.best_state is None or (self.best_epoch == len(self.history) and not moved):
            return last, last
        try:
            best = copy.deepcopy(last)
        except Exception:  # a model that keeps activations or locks cannot be copied, but it can be built again
            best = self.training.recipe.model().to(self.training.device).eval()
        adopt_buffers(best, self.best_state)
        best.load_state_dict(self.best_state)
        return best, last


def snapshot(model: nn.Module) -> State:
    """A copy of the model's state."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in model.state_dict().items()
    }
