"""What the checks on the dynamics of a training read."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from thalweg.diagnosis.stretch import Probe
from thalweg.training import Recipe, Run

LEARNT = 0.9
"""A train loss that went so much of the way from its first value down to 0 is not held back by its training."""


@dataclass(frozen=True)
class Seen:
    """What the checks read: the recipe, the rows of the history (none without a run), the probe.

    `scale` is the size of a loss that means something: that of the untrained network, at least what the losses of the
    history span.
    """

    recipe: Recipe
    run: Run | None
    probe: Probe
    scale: float

    @property
    def history(self) -> list[dict[str, Any]]:
        return [] if self.run is None else self.run.history

    @property
    def losses(self) -> list[float]:
        """The train losses of the epochs, as far as they are finite."""
        given = [row["train_loss"] for row in self.history]
        return [float(loss) for loss in given if loss is not None and isfinite(loss)]

    @property
    def fell(self) -> float:
        """The share of the scale by which the loss has fallen at the end of what is known."""
        last = self.losses[-1] if self.losses else self.probe.last.trained
        fallen = (self.probe.before - last) / self.scale
        return fallen if isfinite(fallen) else 0.0

    @property
    def learnt(self) -> bool:
        """Whether the training has brought the loss down."""
        return self.fell >= LEARNT


def look(recipe: Recipe, run: Run | None, probe: Probe) -> Seen:
    """What the checks read."""
    seen = Seen(recipe, run, probe, 1.0)
    losses = [loss for loss in (probe.first, probe.before, *seen.losses) if isfinite(loss)]
    spread = max(losses) - min(losses) if losses else 0.0
    return Seen(recipe, run, probe, max(abs(probe.before) if isfinite(probe.before) else 0.0, spread) or 1.0)
