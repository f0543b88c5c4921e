"""The run: what training gave."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from thalweg.core.errors import RunError
from thalweg.core.wording import counted
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.trajectory import read_trajectory


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training: its recipe, the history with a row for each epoch, the weights, and how it ended.

    `model` carries the weights of the best validation loss, `last` those of the last epoch; without a validation split
    they are the same. A run that failed has no model and carries its `error`.

    >>> import thalweg, torch
    >>> data = thalweg.Splits(train=(torch.ones(5, 3), torch.ones(5, 1)))
    >>> run = thalweg.train(thalweg.Recipe(data=data, model=lambda: nn.Linear(3, 1), objective=nn.MSELoss(), epochs=2))
    >>> run.status, len(run.history), sorted(run.history[0])[:3]
    (<Outcome.FINISHED: 'All epochs were trained.'>, 2, ['epoch', 'gradient_norm', 'learning_rate'])
    """

    recipe: Recipe | None
    history: list[dict[str, Any]]
    status: Outcome
    best: nn.Module | None = field(default=None, repr=False)
    final: nn.Module | None = field(default=None, repr=False)
    best_epoch: int = 0
    error: BaseException | None = None
    notices: tuple[str, ...] = ()
    path: Path | None = None
    preprocessing: Any = field(default=None, repr=False)

    @property
    def model(self) -> nn.Module:
        """The model with the best validation weights, in evaluation mode."""
        return self._present(self.best)

    @property
    def last(self) -> nn.Module:
        """The model with the weights of the last epoch, in evaluation mode."""
        return self._present(self.final)

    @property
    def seconds(self) -> float:
        """The time the epochs took."""
        return float(sum(row["seconds"] for row in self.history))

    def trajectory(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The weights along the training, `(epoch, state)`, as the run folder keeps them; epoch 0 is before the start.

        Raises `RunError` for a run without a folder, and for one whose folder keeps none.
        """
        if self.path is None:
            raise RunError(
                "This run was not written, so it has no trajectory. Give it a folder: train(recipe, out=...)."
            )
        found = False
        for point in read_trajectory(self.path):
            found = True
            yield point
        if not found:
            raise RunError(
                f"The run {self.path.name} keeps no weights along its training: its model is too large for it, or they "
                "were taken away. Its best and last weights are run.model and run.last."
            )

    def _present(self, model: nn.Module | None) -> nn.Module:
        if model is None:
            raise RunError(f"This run has no model, it ended as {self.status}: {self.error or self.status.sentence}")
        return model

    def __repr__(self) -> str:
        row = self.history[-1] if self.history else {"train_loss": None, "validation_loss": None}
        losses = {name: row[f"{name}_loss"] for name in ("train", "validation") if row[f"{name}_loss"] is not None}
        shown = [f"{name} loss {loss:.4g}" for name, loss in losses.items()]
        if self.error is not None:
            shown.append(f"{type(self.error).__name__}: {self.error}" if str(self.error) else type(self.error).__name__)
        epochs = f"{counted(len(self.history), 'epoch')}, best epoch {self.best_epoch}"
        return f"Run({', '.join([str(self.status), epochs, *shown])})"
