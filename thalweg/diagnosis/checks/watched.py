"""What a watched loop shows that is not as it should be: the signs that are read from its record."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import fmean, median
from typing import Any

import torch

from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.watched_record import Record, Sample
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.measure.propagation import LayerSignal, plain

SOME, OFTEN = 5, 0.5
"""A fault of the loop is one that was seen so many times, in so large a share of the steps."""
LATE = 3
"""What the layers show must be there in so many looks in a row, the last ones."""
DEAD, FLAT, VANISHED, GROWN, FAST = 0.9, 0.5, 1e-3, 100.0, 0.3
COURSE = 50
"""Losses of fewer steps show no course."""
GONE = 1e-3


@dataclass(frozen=True)
class Sign(Flaw):
    """A flaw that was seen by watching alone: no experiment has proved it.

    >>> seen = Sign(Cause.WIRING, Mechanism.NO_STEP, "It never steps", 0.0, "steps", "Call step()", "a step")
    >>> seen.to_json()["proved"]
    False
    """

    proved: bool = False


def signs(record: Record) -> tuple[Sign, ...]:
    """What a record shows, the faults of the loop first."""
    found = [*_loop(record), *_weights(record), *_broken(record)]
    if record.broken is None:
        found += [*_exploding(record), *_layers(record), *_course(record)]
    return tuple(found)


def _sign(
    cause: Cause, mechanism: Mechanism, says: str, number: float, healthy: str, mend: str, refuted_by: str, sure: Sure
) -> Sign:
    return Sign(cause, mechanism, says, number, healthy, mend, refuted_by, sure, Raises.TRAIN)


def _loop(record: Record) -> Iterator[Sign]:
    """Faults of the loop itself."""
    steps = max(record.steps, 1)
    if record.steps == 0 and max(record.backwards, record.forwards) >= SOME and record.backwards:
        yield _sign(
            Cause.WIRING, Mechanism.NO_STEP,
            f"{counted(record.backwards, 'backward pass')} and no step of the optimizer",
            float(record.backwards), "a step after one or a few backward passes",
            "Call optimizer.step() after loss.backward()", "the optimizer that steps is another one", Sure.CERTAIN,
        )  # fmt: skip
    if record.uncleared >= SOME and record.uncleared > OFTEN * record.looked:
        yield _sign(
            Cause.WIRING, Mechanism.MISSING_ZERO_GRAD,
            f"In {record.uncleared} of {record.looked} steps that were looked at the gradient of the step before was "
            "still there, and the new one was added to it", float(record.uncleared),
            "gradients that are cleared after each step",
            "Call optimizer.zero_grad() before loss.backward()", "gradients that are cleared between two steps",
            Sure.CERTAIN,
        )  # fmt: skip
    if record.stale >= SOME and record.stale > 0.2 * steps:
        yield _sign(
            Cause.WIRING, Mechanism.STEP_WITHOUT_A_NEW_GRADIENT,
            f"{record.stale} of {counted(steps, 'step')} were taken though no gradient had come since the step before",
            float(record.stale), "a backward pass before each step", "Call loss.backward() before optimizer.step(), "
            "and step() once", "the parameters that are looked at take no part in these steps", Sure.MEASURED,
        )  # fmt: skip
    if record.differs and record.evaluating >= SOME and record.evaluating > 0.9 * steps:
        yield _sign(
            Cause.WIRING, Mechanism.TRAINED_IN_EVALUATION_MODE,
            f"The model was in evaluation mode in {record.evaluating} of {counted(steps, 'step')}: its dropout drops "
            "nothing, its batch norm uses and keeps old statistics", float(record.evaluating), "model.training",
            "Call model.train() when an epoch begins", "it is meant, as where a pretrained network is tuned",
            Sure.CERTAIN,
        )  # fmt: skip


def _weights(record: Record) -> Iterator[Sign]:
    """Weights that are not trained."""
    if record.steps < SOME:
        return
    for names, mechanism, why, mend in (
        (record.left_out, Mechanism.PARAMETERS_OUTSIDE_OF_THE_OPTIMIZER, "require a gradient, are in no optimizer and "
         "have not moved", "Give all of model.parameters() to the optimizer, after the model is complete; or "
         "watch(model, [first, second]) where there are several, or requires_grad_(False) where they are frozen"),
        (record.unreached, Mechanism.NO_GRADIENT, "are executed and get no gradient",
         "Look for .detach(), .item(), argmax or torch.no_grad() between them and the loss"),
        (record.stuck if any(record.rates) else [], Mechanism.WEIGHTS_THAT_DO_NOT_MOVE,
         "have a gradient and have not moved",
         "Raise the learning rate of their group, or keep them in float32: an update may be lost in rounding"),
    ):  # fmt: skip
        if names:
            shown = ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
            yield _sign(
                Cause.WIRING, mechanism, f"{len(names)} of {counted(record.weights, 'parameter')} ({shown}) {why}",
                float(len(names)), "none", mend, "they are meant to stay as they are", Sure.MEASURED,
            )  # fmt: skip
    if not any(record.rates):
        yield _sign(
            Cause.OPTIMIZATION, Mechanism.LEARNING_RATE_OF_0, f"The learning rate was 0 in all {record.steps} steps",
            0.0, "a rate above 0", "Look at what the scheduler multiplies by", "a group with another rate",
            Sure.CERTAIN,
        )  # fmt: skip


def _broken(record: Record) -> Iterator[Sign]:
    losses = record.read_losses()
    place = next((k for k, loss in enumerate(losses, 1) if not isfinite(loss)), None)
    if record.broken is None and place is None:
        return
    step, layer = record.broken or (place or 0, "")
    nowhere = "and no layer gives a number that is not: it comes from the loss itself"
    first = f", first in {layer}" if layer else f", {nowhere}" if record.broken else ""
    yield _sign(
        Cause.OPTIMIZATION, Mechanism.LOSS_NOT_FINITE,
        f"At step {step} the gradient or the loss is not finite{first}",
        float(step), "finite numbers", "Lower the learning rate, clip the gradient, and look at that layer for a "
        "logarithm, a division or a root of what may be 0 or negative", "the same at a tenth of the rate: then it is "
        "the data or the layer", Sure.CERTAIN,
    )  # fmt: skip


def _exploding(record: Record) -> Iterator[Sign]:
    """Whether numbers grew from layer to layer in the first step."""
    first = record.samples[0].layers if record.samples else ()
    top = max(first, key=lambda layer: layer.deviation, default=None)
    if top is not None and len(first) > 1 and 0 < first[0].input * GROWN <= top.deviation:
        yield _sign(
            Cause.OPTIMIZATION, Mechanism.EXPLODING_SIGNAL,
            f"'{top.name}' gave out {top.deviation / first[0].input:.3g} times the size of the inputs at first",
            top.deviation / first[0].input, "less than 10", "Initialize by fan-in, or normalize",
            "initialized by fan-in it comes to the same loss", Sure.MEASURED,
        )  # fmt: skip


def _layers(record: Record) -> Iterator[Sign]:
    """What the layers show in the last few looks."""
    looks = [sample for sample in record.samples if sample.layers][-LATE:]
    if len(looks) < LATE or _learnt(record):
        return
    for name, limit, mechanism, means, mend in (
        ("dead", DEAD, Mechanism.DEAD_UNITS, "get no gradient from any example", "Lower the learning rate, initialize "
         "biases at 0, or take a leaky activation (LeakyReLU, GELU)"),
        ("saturated", FLAT, Mechanism.SATURATED_UNITS, "are saturated for most examples", "Standardize the inputs, "
         "initialize with smaller weights, or normalize before the activation"),
        ("symmetric", FLAT, Mechanism.SYMMETRIC_UNITS, "have the weights and the gradient of another one",
         "Initialize the weights at random"),
    ):  # fmt: skip
        lasting = _lasting(looks, name)
        worst = max(lasting, key=lasting.__getitem__, default=None)
        if worst is not None and lasting[worst] >= limit:
            yield _sign(
                Cause.OPTIMIZATION, mechanism, f"{lasting[worst]:.0%} of the units of '{worst}' {means}",
                lasting[worst], f"less than {limit:.0%}", mend, "another layer in its place changes nothing",
                Sure.MEASURED,
            )  # fmt: skip
    shares = [_share(sample.layers) for sample in looks]
    if shares and max(shares) < VANISHED and max(_lasting(looks, "dead").values(), default=0.0) < DEAD:
        yield _sign(
            Cause.OPTIMIZATION, Mechanism.VANISHING_GRADIENT,
            f"The gradient that reaches '{looks[-1].layers[0].name}' is {max(shares):.2g} of the largest", max(shares),
            "above 0.01", "Normalize the layers, add residual connections, or initialize for the activation",
            "with normalized layers nothing changes", Sure.MEASURED,
        )  # fmt: skip
    fast = [min((m for m in sample.moves.values() if isfinite(m)), default=0.0) for sample in looks]
    if fast and min(fast) > FAST:
        yield _sign(
            Cause.OPTIMIZATION, Mechanism.LEARNING_RATE_TOO_HIGH,
            f"Each step moves every layer by {min(fast):.0%} of its weights or more", min(fast), "about 0.1 %",
            "Lower the learning rate tenfold", "at a tenth of it the loss is no lower", Sure.MEASURED,
        )  # fmt: skip


def _lasting(looks: list[Sample], name: str) -> dict[str, float]:
    """The smallest value of a number of each layer in several looks."""
    values: dict[str, list[float]] = {}
    for sample in looks:
        for layer in sample.layers:
            if layer.units >= 4 and isfinite(getattr(layer, name)):
                values.setdefault(layer.name, []).append(getattr(layer, name))
    return {layer: min(seen) for layer, seen in values.items() if len(seen) == len(looks)}


def _share(layers: tuple[LayerSignal, ...]) -> float:
    reached = [layer for layer in layers if isfinite(layer.gradient) and layer.signal > 0]
    if len(reached) < 3:
        return 1.0
    by_weights = reached[0].gradient / max(max(layer.gradient for layer in reached), 1e-300)
    return max(reached[0].signal / max(layer.signal for layer in reached), by_weights)


def _learnt(record: Record) -> bool:
    losses = [loss for loss in record.read_losses() if isfinite(loss)]
    return len(losses) >= COURSE and 0 < fmean(losses[-10:]) < 0.1 * losses[0]


def _course(record: Record) -> Iterator[Sign]:
    """The course of the loss, where it was given."""
    losses = record.read_losses()
    if len(losses) < COURSE or _learnt(record):
        return
    part = max(len(losses) // 10, 5)
    parts = [fmean(losses[k : k + part]) for k in range(0, len(losses) - part + 1, part)]
    spread = [median(losses[k : k + part]) for k in range(0, len(losses) - part + 1, part)]
    scale = max(abs(parts[0]), max(parts) - min(parts), 1e-30)
    begin = fmean(losses[:3])
    rise, fall = (min(spread[-2:]) - min(spread)) / scale, (max(begin, spread[0]) - min(spread)) / scale
    leap = max(map(fmean, zip(losses[:40], losses[1:40], losses[2:40], strict=False)))
    rates = record.rates
    dead = (
        sum(rate < GONE * max(rates) for rate in rates) / len(rates) if rates and rates[-1] < GONE * max(rates) else 0
    )
    if rise > 0.3 and min(spread[-2:]) > 1.5 * abs(min(spread)):
        name, says, number = Mechanism.DIVERGENCE, f"The loss rose from {min(spread):.3g} to {spread[-1]:.3g}", rise
        mend = "Lower the learning rate, warm it up, or clip the gradient"
    elif _swings(record, losses, scale):
        name, says, number = (
            Mechanism.OSCILLATION,
            "The loss goes up and down from step to step, and so do the gradients",
            -1.0,
        )
        mend = "Lower the learning rate"
    elif leap > losses[0] + abs(losses[0]) and fmean(losses[-10:]) > OFTEN * losses[0]:
        name, says, number = (
            Mechanism.LEARNING_RATE_TOO_HIGH,
            f"The loss leaps from {losses[0]:.3g} to {leap:.3g} at first",
            leap,
        )
        mend = "Lower the learning rate tenfold"
    elif dead > OFTEN and len(rates) >= 2 * COURSE and fall < OFTEN:
        name, says, number = (
            Mechanism.LEARNING_RATE_DIES_TOO_EARLY,
            f"It was below a thousandth of its highest for {dead:.0%} of the steps",
            dead,
        )
        mend = "Let the rate fall over the whole run; a scheduler made for epochs is not stepped each batch"
    elif fall < 0.02 and len(losses) >= 4 * COURSE:
        name, says, number = (
            Mechanism.PLATEAU,
            f"The loss has fallen by {max(fall, 0.0):.1%} in {len(losses)} steps",
            fall,
        )
        mend = "Try other learning rates, and look whether the targets can be told from the inputs"
    else:
        return
    yield _sign(
        Cause.OPTIMIZATION, name, says, float(number), "a loss that falls and ends at its lowest", mend,
        "at another learning rate it is the same", Sure.LIKELY,
    )  # fmt: skip


def _swings(record: Record, losses: list[float], scale: float) -> bool:
    """Whether losses and gradients turn around at each step."""
    late = torch.tensor(losses[len(losses) // 2 :], dtype=torch.float64)
    late = late - late.mean()
    turn = float(torch.stack([turn.cpu() for turn in record.turns]).mean()) if record.turns else 0.0
    if turn < -0.8 or float(late.std()) < 0.05 * scale:
        return turn < -0.8
    return float((late[1:] * late[:-1]).mean() / late.square().mean()) < -0.5 and turn < -0.3


def plainly(sample: Sample) -> dict[str, Any]:
    """A look as plain values."""
    return {"step": sample.step, "layers": [layer.to_json() for layer in sample.layers]} | {
        "moves": {name: plain(move) for name, move in asdict(sample)["moves"].items()}
    }
