"""Whether the steps are of the right size: too small, too large, lost in noise, or held back by what restrains."""

from collections.abc import Iterator
from math import inf, isfinite
from statistics import fmean, median
from typing import Any

from torch import nn

from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.dynamics_seen import Seen
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.stretch import Stretch

LONGER, MUCH = 10.0, 0.02
"""A move of the weights that is so many times longer and lowers the loss by so much of its scale is a better one."""
LITTLE = 0.15
"""The move as it is taken lowers the loss by less than this share of that."""
HARDLY = 0.01
"""A training whose steps together, all in one direction, move no layer by more than this share stands still."""
RISES = 0.02
"""A step after which the loss of other examples is higher by this share of the scale is too long."""
LEAPS = 1.0
"""The mean loss of three steps is so many times the scale above that of the untrained network."""
NOISY = 0.05
"""The loss at the mean of the last weights lies so far below those at them, as a share of the scale."""
TURNED = -0.2
"""The cosine between a gradient and the one before it where steps jump across a valley."""
HIGH = 0.4
"""A train loss, without noise, that is still so much of its scale is high."""
SHRUNK = 0.7
"""Layers that are so much shorter than when they were made have been pulled to 0."""
STRONG = 0.75
"""A rate of dropout at which a unit hardly ever sees what another says."""


def rate_flaws(seen: Seen) -> Iterator[Flaw]:
    """What the moves of the weights show; nothing where the probe's losses are not finite."""
    if not seen.probe.begin.finite or not seen.probe.last.finite or not seen.scale:
        return
    restrained = list(_restrained(seen))
    yield from restrained
    if not restrained:
        yield from _too_low(seen)
    yield from _too_high(seen)


def _too_low(seen: Seen) -> Iterator[Flaw]:
    """A longer move in the same direction is much better: when the training begins, and when it ends."""
    probe = seen.probe
    if seen.fell >= 0.5 or _rises_later(seen):
        return
    found = [_longer(stretch, seen.scale) for stretch in (probe.begin, probe.last)]
    moves = [stretch.move(k) for stretch in (probe.begin, probe.last) for k in range(len(probe.layers))]
    most = max((move for move in moves if isfinite(move)), default=float("nan"))
    still = probe.total is not None and most * probe.total < HARDLY
    factor = min((f for f in found if f is not None), default=None) if None not in found else None
    if factor is None and not still:
        return
    first = seen.probe.begin.steps[-1].learning_rate
    if factor is None:
        says = f"All {probe.total} steps together move no layer by more than {most * (probe.total or 0):.1%} of its "
        says += "weights, if they all went one way"
        number, name = most * (probe.total or 0), Mechanism.WEIGHTS_HARDLY_MOVE
    else:
        says = f"The loss of other examples falls {'much ' if factor > LONGER else ''}further along the way that the "
        says += f"first steps take if that is {factor:g} times as long (learning rate {first:.3g})"
        number, name = factor, Mechanism.LEARNING_RATE_TOO_LOW
    yield Flaw(
        Cause.OPTIMIZATION,
        name,
        says,
        number,
        "the steps themselves lower the loss about as far as the best multiple of them",
        "Raise the learning rate: thalweg.find_learning_rate(recipe).suggestion is one to try",
        "at 10 times the learning rate the train loss after as many epochs is no lower",
        Sure.MEASURED,
    )


def _longer(stretch: Stretch, scale: float) -> float | None:
    """The multiple of a stretch's move that is far better than the move; None where there is none."""
    if stretch.whole is None:
        return None
    factor, gain = stretch.whole.best(LONGER)
    far = gain >= MUCH * scale and stretch.whole.gain(1.0) <= LITTLE * gain
    return factor if far else None


def _rises_later(seen: Seen) -> bool:
    """Whether the rate of the first steps is not the one of the training: a warm-up."""
    if not seen.history:
        return seen.recipe.schedule is not None
    rates = [row["learning_rate"] for row in seen.history]
    used = seen.probe.begin.steps[-1].learning_rate
    return bool(max(rates) > 3 * used and rates[-1] < max(rates))


def _too_high(seen: Seen) -> Iterator[Flaw]:
    """Steps that raise the loss, or jump about a lower one."""
    if seen.learnt:
        return
    last = seen.probe.last
    rises = [along.losses[2] - along.losses[0] for along in last.single if isfinite(along.losses[0])]
    smaller = [along.losses[1] - along.losses[0] for along in last.single if isfinite(along.losses[0])]
    rise = median(rises) if rises else 0.0
    drop = (last.iterate - last.average) / seen.scale if seen.probe.end and isfinite(last.average) else 0.0
    first = [step.loss for step in seen.probe.begin.steps]
    highest = max(map(fmean, zip(first, first[1:], first[2:], strict=False)))
    turned = isfinite(last.turn) and last.turn < TURNED
    reached = 0.5 if seen.history else 0.05
    if rise > RISES * seen.scale and median(smaller) < rise / 2 and seen.fell < reached:
        says = (
            f"A step raises the loss of other examples by {rise:.3g} (median), a tenth of it by {median(smaller):.3g}"
        )
        name, number, healthy = Mechanism.LEARNING_RATE_TOO_HIGH, rise / seen.scale, "a step lowers it or leaves it"
    elif highest - seen.probe.first > LEAPS * seen.scale and seen.fell < 0.5:
        says = f"The loss leaps in the first steps, from {seen.probe.first:.3g} to {highest:.3g}"
        name, number, healthy = (
            Mechanism.LEARNING_RATE_TOO_HIGH,
            highest / seen.scale,
            "first steps that lower the loss",
        )
    elif drop > NOISY and turned:
        says = (
            f"Successive gradients point against one another (mean cosine {last.turn:.2f}), and the loss at the mean "
        )
        says += f"of the last weights is {last.average:.3g} where at the weights it is {last.iterate:.3g}"
        name, number, healthy = Mechanism.OSCILLATION, last.turn, "a cosine above 0, or little to gain from the mean"
    elif drop > NOISY:
        says = f"The loss at the mean of the last {counted(len(last.steps) // 2, 'weight')} is {last.average:.3g}, at "
        says += f"the weights themselves {last.iterate:.3g}: the steps' noise keeps it up"
        if isfinite(last.noise):
            says += f" (the variance of a batch's gradient is {last.noise:.3g} times the square of the mean)"
        name, number, healthy = Mechanism.NOISY_STEPS, drop, "little to gain from the mean of the last weights"
    else:
        return
    yield Flaw(
        Cause.OPTIMIZATION,
        name,
        says,
        number,
        healthy,
        "Lower the learning rate, let it fall towards the end (Cosine), or take larger batches",
        "at a third of the learning rate, or with one that falls to 0, the train loss is no lower",
        Sure.MEASURED,
    )


def _restrained(seen: Seen) -> Iterator[Flaw]:
    """Dropout, decay or a penalty that keeps the network from fitting what it is trained on.

    The cause is MODEL_BIAS, for a network without its restraint is a larger one: so the experiments count it too.
    """
    last = seen.probe.end
    first = seen.probe.before - seen.probe.penalty
    if last is None or not isfinite(last.judged) or first <= 0:
        return
    share = last.judged / first
    noise = (last.dropped - last.judged) / seen.scale
    before = sum(first**2 for first, _ in seen.probe.lengths) ** 0.5
    after = sum(length**2 for _, length in seen.probe.lengths) ** 0.5
    shrunk = after / before if before else 1.0
    if share < HIGH and noise < HIGH:
        return
    strong = max((float(m.p) for m in _dropouts(seen)), default=0.0)
    if strong > STRONG:
        says = f"A dropout layer drops {strong:.0%} of what goes through it, and the loss without dropout is still "
        says += f"{share:.0%} of what it was"
        name, number, mend = Mechanism.DROPOUT_TOO_STRONG, strong, "Lower the dropout rate, to 0.2 or to 0"
    elif noise > 0.15 and last.dropped > 1.3 * last.judged:
        says = f"In training mode the loss is {last.dropped:.3g}, in evaluation mode {last.judged:.3g}, "
        says += "and that is still high: what is dropped in training keeps the network from fitting"
        name, number, mend = Mechanism.DROPOUT_TOO_STRONG, noise, "Lower the dropout rate, to 0.2 or to 0"
    elif last.penalty > 0.5 * abs(last.judged) and shrunk < 1:
        says = f"The penalty is {last.penalty:.3g}, the loss itself {last.judged:.3g}: the training lowers the penalty"
        name, number, mend = (
            Mechanism.PENALTY_OUTWEIGHS_THE_LOSS,
            last.penalty / abs(last.judged) if last.judged else inf,
            "Lower the penalty tenfold",
        )
    elif shrunk < SHRUNK:
        says = f"The weights are {shrunk:.2f} times as long as when the training began, and the loss is still "
        says += f"{share:.0%} of what it was: they are pulled to 0 faster than they learn"
        name, number, mend = Mechanism.WEIGHTS_PULLED_TO_0, shrunk, "Lower the weight decay or the penalty tenfold"
    else:
        return
    yield Flaw(
        Cause.MODEL_BIAS,
        name,
        says,
        number,
        "a restraint costs little of the train loss",
        mend,
        "without it the train loss is no lower",
        Sure.LIKELY,
    )


def _dropouts(seen: Seen) -> list[Any]:
    """The dropout layers of the model."""
    model = None if seen.run is None else seen.run.final
    return [] if model is None else [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
