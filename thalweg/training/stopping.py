"""Early stopping: a rule over the history that says when to stop."""

from dataclasses import dataclass
from typing import Any

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.kinds import check_fields


@no_type_check
@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation loss has not fallen by more than `min_delta` for `patience` epochs.

    The weights of the best epoch are kept by every run, with a stopping rule or without: `run.model`.

    >>> rule = EarlyStopping(patience=2)
    >>> rule([{"validation_loss": loss} for loss in (3.0, 2.0, 2.5)])
    False
    >>> rule([{"validation_loss": loss} for loss in (3.0, 2.0, 2.5, 2.1)])
    True

    Source: Prechelt (1998), "Early stopping - but when?", the UP criterion on the best value.
    Raises `RecipeError` for a patience below 1 or a negative `min_delta`, and when asked about a history without
    validation losses.
    """

    patience: int = 5
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.patience < 1:
            raise RecipeError(f"patience={self.patience}, but the rule waits for at least 1 epoch without progress.")
        if not self.min_delta >= 0:
            raise RecipeError(f"min_delta={self.min_delta}, but progress is a fall of the loss, at least 0. Give 0.0.")

    def __call__(self, history: list[dict[str, Any]]) -> bool:
        losses = [row["validation_loss"] for row in history]
        if None in losses:
            raise RecipeError(
                "Early stopping watches the validation loss, but there is no validation split. Give one: "
                "Splits(train=..., validation=...)."
            )
        best, since = float("inf"), 0
        for loss in losses:
            best, since = (loss, 0) if loss < best - self.min_delta else (best, since + 1)
        return since >= self.patience
