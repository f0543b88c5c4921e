"""What the rows of a history show: losses that rise, swing, stand still or still fall, and the rates along the way."""

from collections.abc import Iterator
from math import isfinite
from statistics import fmean, median
from typing import Any

import numpy as np
from torch.optim.lr_scheduler import ReduceLROnPlateau

from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.dynamics_seen import Seen
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training import Outcome

ROWS = 5
"""Fewer epochs show no course."""
FALLS, MATTERS, MUCH = 0.1, 0.02, 0.04
"""A loss still falls that fell in the last fifth by so much of itself and so much of its scale, or by the third."""
FLAT = 0.02
"""A loss that fell by less of its scale has not moved."""
ROSE = 0.1
"""A train loss that ends so much of its scale above its lowest has risen again."""
GONE = 1e-3
"""A rate of less than so much of the highest moves nothing."""
FEW_STEPS = 200


def history_flaws(seen: Seen) -> Iterator[Flaw]:
    """What the history shows; nothing without a run, or of one that failed."""
    if seen.run is None or not seen.history or seen.run.status is Outcome.FAILED:
        return
    yield from _diverged(seen)
    if seen.run.status is Outcome.DIVERGED or len(seen.losses) < ROWS or len(seen.losses) < len(seen.history):
        return
    yield from _rates(seen)
    yield from _course(seen)
    yield from _overfitting(seen)


def _diverged(seen: Seen) -> Iterator[Flaw]:
    losses = seen.losses
    assert seen.run is not None
    ended = seen.run.status is Outcome.DIVERGED
    lowest = min(losses, default=float("nan"))
    rise = (fmean(losses[-2:]) - lowest) / seen.scale if len(losses) >= ROWS else 0.0
    rises = rise > ROSE and fmean(losses[-2:]) > 1.5 * abs(lowest)
    if not ended and not rises:
        return
    says = (
        f"The loss was no longer finite in epoch {seen.history[-1]['epoch']}"
        if ended
        else f"The train loss rose from {lowest:.3g} in epoch {losses.index(lowest) + 1} to {losses[-1]:.3g} at the end"
    )
    yield Flaw(
        Cause.OPTIMIZATION, Mechanism.DIVERGENCE, says, float("inf") if ended else rise,
        "a train loss that ends at its lowest",
        "Lower the learning rate, warm it up, or clip the gradient (clip_norm=1.0)",
        "at a tenth of the learning rate the loss diverges too", Sure.CERTAIN if ended else Sure.MEASURED,
    )  # fmt: skip


def _rates(seen: Seen) -> Iterator[Flaw]:
    """A rate that dies while the loss still falls, or a warm-up without an end."""
    rates = np.array([float(row["learning_rate"]) for row in seen.history])
    losses, top = seen.losses, float(rates.max())
    if not isfinite(top) or top <= 0 or seen.learnt:
        return
    gone = rates < GONE * top
    dead = int(gone.sum()) if gone[-1] else 0
    while dead and not gone[-dead:].all():
        dead -= 1
    made = getattr(seen.recipe.schedule, "func", seen.recipe.schedule)
    if dead >= 0.3 * len(rates) and made is not ReduceLROnPlateau:
        at = len(rates) - dead
        before = (seen.probe.first if at == 1 else losses[max(at - 2, 0)]) - losses[at - 1] if at else seen.scale
        if before > FLAT * seen.scale or at <= 0.2 * len(rates):
            yield Flaw(
                Cause.OPTIMIZATION, Mechanism.LEARNING_RATE_DIES_TOO_EARLY,
                f"The learning rate is below a thousandth of its highest for the last {counted(dead, 'epoch')} of "
                f"{len(rates)}, and the loss still fell when it came to that", dead / len(rates),
                "a rate that is near 0 for the last few percent of the steps alone",
                "Let the rate fall over the whole run (Cosine); a schedule made for epochs is not stepped each batch",
                "without the schedule the train loss is no lower", Sure.MEASURED,
            )  # fmt: skip
    rising = len(rates) > 2 and bool((np.diff(rates) > 0).all())
    if rising and rates[len(rates) // 2] < 0.75 * top:
        yield Flaw(
            Cause.OPTIMIZATION, Mechanism.WARM_UP_NEVER_ENDS,
            f"The learning rate rises to the last epoch, from {rates[0]:.3g} to {rates[-1]:.3g}",
            float(rates[len(rates) // 2] / top), "a warm-up of a tenth of the steps or less",
            "Shorten the warm-up: WarmUp(0.05)", "with the last rate from the beginning the train loss is no lower",
            Sure.MEASURED,
        )  # fmt: skip


def _course(seen: Seen) -> Iterator[Flaw]:
    """The course of the train loss: it stands still, swings, or still falls at the end."""
    losses = np.array(seen.losses)
    fallen = (seen.probe.before - losses.min()) / seen.scale
    if fallen < FLAT:
        norms = [float(row["gradient_norm"]) for row in seen.history if row["gradient_norm"] is not None]
        finite = [norm for norm in norms if isfinite(norm)]
        about = f" (the gradient's length is {median(finite):.3g})" if finite else ""
        yield Flaw(
            Cause.OPTIMIZATION, Mechanism.PLATEAU,
            f"The train loss has fallen by {max(fallen, 0.0):.1%} of what it was before the first step, over "
            f"{counted(len(losses), 'epoch')}{about}", float(fallen), "a train loss that falls by a tenth or more",
            "Try other learning rates (thalweg.find_learning_rate), and look whether the targets can be told from the "
            "inputs at all", "no reference learner does better: then there is nothing to learn", Sure.LIKELY,
        )  # fmt: skip
        return
    late = losses[len(losses) // 2 :]
    swings = np.diff(late)
    size = float(np.median(np.abs(swings))) / seen.scale if len(swings) else 0.0
    turns = float(np.mean(swings[1:] * swings[:-1] < 0)) if len(swings) > 2 else 0.0
    if size > 0.05 and turns >= 0.4 and not seen.learnt:
        yield Flaw(
            Cause.OPTIMIZATION, Mechanism.SWINGING_LOSS,
            f"The train loss of an epoch differs from the one before by {size:.0%} of its first value (median of the "
            "second half), up as well as down", size, "less than 2 %",
            "Lower the learning rate, or let it fall towards the end (Cosine)",
            "at a third of the learning rate the train loss is no lower", Sure.MEASURED,
        )  # fmt: skip
    elif not seen.learnt:
        yield from _spiked(seen, losses)
    yield from _unfinished(seen)


def _spiked(seen: Seen, losses: Any) -> Iterator[Flaw]:
    inner = [
        (losses[k] - max(losses[k - 1], losses[k + 1]), k)
        for k in range(1, len(losses) - 1)
        if losses[k] > 1.5 * max(losses[k - 1], losses[k + 1])
    ]
    height, place = max(inner, default=(0.0, 0))
    if height > ROSE * seen.scale:
        yield Flaw(
            Cause.OPTIMIZATION, Mechanism.LOSS_SPIKES,
            f"The train loss leaps to {losses[place]:.3g} in epoch {place + 1}, between {losses[place - 1]:.3g} and "
            f"{losses[place + 1]:.3g}", float(height / seen.scale), "no epoch far above both of its neighbours",
            "Clip the gradient (clip_norm=1.0), or lower the learning rate; look at the examples of that epoch",
            "with a clipped gradient the train loss at the end is no lower", Sure.MEASURED,
        )  # fmt: skip


def _unfinished(seen: Seen) -> Iterator[Flaw]:
    """Losses that still fall in the last fifth of the epochs, the validation loss too where there is one."""
    if seen.run is None or seen.run.status is not Outcome.FINISHED or len(seen.losses) < ROWS:
        return
    courses = [seen.losses]
    validation = [row["validation_loss"] for row in seen.history]
    if None not in validation:
        courses.append(validation)
    falls = [_late_fall(np.array(course, dtype=float)) for course in courses]
    for (fall, sure), course in zip(falls, courses, strict=True):
        material = fall > FALLS * abs(course[-1]) and fall > MATTERS * seen.scale
        if not (sure and (material or fall > MUCH * seen.scale)):
            return
    fall, last = falls[-1][0], courses[-1][-1]
    steps, few = seen.probe.total, False
    few = steps is not None and steps < FEW_STEPS
    what = "train loss" if len(courses) == 1 else "train loss and the validation loss"
    says = f"The {what} still fall{'s' if len(courses) == 1 else ''} in the last fifth of the epochs, the latter by "
    says = says if len(courses) > 1 else "The train loss still falls in the last fifth of the epochs, by "
    says += f"{fall:.3g} to {last:.3g}; as many epochs more would bring between {fall / 3:.2g} and {fall:.2g}"
    says += f". There are {counted(steps or 0, 'step')} in all" if few else ""
    yield Flaw(
        Cause.OPTIMIZATION, Mechanism.TOO_FEW_STEPS if few else Mechanism.TOO_FEW_EPOCHS, says, fall / seen.scale,
        "less than a tenth of the loss in the last fifth of the epochs",
        "Train longer (three times as many epochs), or take smaller batches: an epoch then has more steps"
        if few else "Train longer: three times as many epochs",
        "three times as many epochs do not lower the validation loss", Sure.MEASURED,
    )  # fmt: skip


def _late_fall(course: Any) -> tuple[float, bool]:
    """By how much a loss falls in its last fifth, by a line through its last two fifths, and whether beyond noise."""
    count = max(len(course) // 5, 1)
    tail = course[-max(2 * count, 3) :]
    x = np.arange(len(tail)) - (len(tail) - 1) / 2
    slope = float((x * (tail - tail.mean())).sum() / (x**2).sum())
    rest = tail - tail.mean() - slope * x
    error = float(np.sqrt((rest**2).sum() / max(len(tail) - 2, 1) / (x**2).sum()))
    return min(-slope * count, float(course[-count - 1] - course[-1])), bool(-slope > 2 * error)


def _overfitting(seen: Seen) -> Iterator[Flaw]:
    """A validation loss that fell and then rises, while the train loss goes on falling."""
    course = [row["validation_loss"] for row in seen.history]
    if None in course or not all(isfinite(loss) for loss in course):
        return
    values, losses = np.array(course, dtype=float), seen.losses
    best = int(values.argmin())
    late = float(np.median(values[-max(len(values) // 5, 2) :]))
    rise = late - float(values[best])
    noise = float(np.median(np.abs(np.diff(values[best:])))) if best < len(values) - 2 else float("inf")
    rises = rise > 0.2 * abs(values[best]) and rise > 0.05 * seen.scale and rise > 2 * noise
    if best < 0.75 * len(values) and rises and losses[-1] < losses[best]:
        yield Flaw(
            Cause.OVERFITTING, Mechanism.VALIDATION_LOSS_RISES,
            f"The validation loss was lowest in epoch {best + 1}, {values[best]:.3g}, and rose to {late:.3g}, while "
            f"the train loss fell from {losses[best]:.3g} to {losses[-1]:.3g}", rise / seen.scale,
            "a validation loss that ends near its lowest",
            "More data or augmentation, a penalty, weight decay or dropout; the weights of the best epoch are kept",
            "with half of the validation examples as training data the validation loss is no lower", Sure.MEASURED,
            Raises.VALIDATION,
        )  # fmt: skip
