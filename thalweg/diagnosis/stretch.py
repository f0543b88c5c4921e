"""What a short stretch of a training shows, as values."""

from dataclasses import asdict, dataclass
from functools import cached_property
from math import isfinite, nan
from statistics import fmean, median
from typing import Any

from thalweg.measure.propagation import LayerSignal, plain


@dataclass(frozen=True)
class ProbedStep:
    """One step: the loss of its batch, the gradient, the rate, and by how much of its length each layer's weights move.

    `turn` is the cosine between this gradient and the one before; NaN where there is none. `gradients` and `moves` go
    by layer.
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    turn: float
    gradients: tuple[float, ...]
    moves: tuple[float, ...]


@dataclass(frozen=True)
class Along:
    """Losses of the same fresh batches along a move of the weights, at multiples of it; `losses[0]` is where it begins.

    >>> Along((0.0, 1.0, 10.0), (2.0, 1.9, 1.0)).gain(10.0)
    1.0
    """

    factors: tuple[float, ...]
    losses: tuple[float, ...]

    def gain(self, factor: float) -> float:
        """How much lower the loss is at a multiple; minus infinity where it is not finite."""
        loss = dict(zip(self.factors, self.losses, strict=True)).get(factor, nan)
        return self.losses[0] - loss if isfinite(loss) else -float("inf")

    def best(self, least: float = 0.0) -> tuple[float, float]:
        """The multiple, of at least `least`, with the lowest loss, and how much lower that is."""
        return max(((f, self.gain(f)) for f in self.factors if f >= least), key=lambda pair: pair[1])


@dataclass(frozen=True)
class Stretch:
    """Steps of a training in a row: what each shows, and the layers before and after them.

    `whole` goes along the move of all its steps, `single` along single ones. `iterate` and `average` are the mean loss
    at the last weights of the stretch and the loss at their average, `noise` is by how much the variance of a batch's
    gradient exceeds the square of their mean (the noise scale of McCandlish et al., "An Empirical Model of Large-Batch
    Training", 2018, in batches), NaN where it was not measured.
    """

    steps: tuple[ProbedStep, ...]
    before: tuple[LayerSignal, ...]
    after: tuple[LayerSignal, ...]
    whole: Along | None = None
    single: tuple[Along, ...] = ()
    iterate: float = nan
    average: float = nan
    noise: float = nan
    trained: float = nan
    """The loss of the fresh batches at the end, in training mode, and (`judged`) in evaluation mode without penalty."""
    judged: float = nan
    dropped: float = nan
    """What judges, but in training mode: beside `judged` it tells what dropout costs."""
    penalty: float = nan
    """What the penalty adds to the loss at the end."""

    @cached_property
    def turn(self) -> float:
        """The mean cosine between a gradient and the one before it; NaN for fewer than three."""
        turns = [step.turn for step in self.steps if isfinite(step.turn)]
        return fmean(turns) if len(turns) > 2 else nan

    def move(self, layer: int) -> float:
        """The median share of a layer's weights that a step moves."""
        moves = [step.moves[layer] for step in self.steps if step.moves and isfinite(step.moves[layer])]
        return median(moves) if moves else nan

    @property
    def finite(self) -> bool:
        """Whether all of its losses are finite."""
        return all(isfinite(step.loss) for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is None."""
        return _plainly(asdict(self))


@dataclass(frozen=True)
class Probe:
    """A short probe of a training: its first steps, and some more from the weights that a run ended with.

    `layers` names the layers with weights that are trained, `lengths` the lengths of their weights when the training
    begins and ends; `total` is the number of steps of a whole training, None where that cannot be told. `first` is the
    loss of fresh batches before the first step, `penalty` what of it is penalty, `untrained` the same of a model that
    begins anew where this one begins with trained weights; `cost` is what the probe took, in steps.
    """

    layers: tuple[str, ...]
    begin: Stretch
    end: Stretch | None
    first: float
    penalty: float
    total: int | None
    lengths: tuple[tuple[float, float], ...]
    cost: float
    seconds: float
    untrained: float | None = None

    @property
    def before(self) -> float:
        """The loss before anything was learned, with the penalty."""
        return self.first if self.untrained is None else self.untrained

    @property
    def last(self) -> Stretch:
        """The latest stretch that there is."""
        return self.begin if self.end is None else self.end

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is None."""
        return _plainly(asdict(self))


def _plainly(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plainly(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plainly(item) for item in value]
    return plain(value)
