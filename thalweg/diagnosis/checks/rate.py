"""The learning rate along a run, and the gradient beside its clip: a training that has ended before it began."""

from math import isfinite

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from thalweg.core.source import Counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, asking
from thalweg.diagnosis.checks.moves import follows_scale
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training.rate import Multiplied, Scheduled, as_rate

SPENT = 0.01
"""A rate below this share of its largest trains no more."""
EARLY = 0.1
"""So much of a run is its beginning."""
LASTS = 1 / 3
"""A schedule that was meant for a run falls for at least so much of it."""
FEWEST, MOST = 10, 20_000
CLIPPED = 100.0
"""A gradient so many times longer than its clip, in every epoch."""


def rate_flaws(e: Examined) -> list[Flaw]:
    """A rate that is spent within a tenth of the run, or a multiplier that is never near 1."""
    rates, multiplied, unit = _rates(e)
    if len(rates) < FEWEST or not all(map(isfinite, rates)):
        return []
    largest = max(rates)
    start = max(1, int(EARLY * len(rates)))
    if multiplied and largest < 2 * SPENT:
        return [_never(largest, len(rates), unit)]
    if largest > 0 and max(rates[start:]) < SPENT * largest:
        return [_spent(rates, largest, unit, e.recipe.epochs)]
    return []


def _rates(e: Examined) -> tuple[list[float], bool, str]:
    """The rates of a run, whether they are multipliers, and of what each is one."""
    run, recipe = e.run, e.recipe
    if recipe.schedule is None or recipe.loop is not None:
        rows = [] if run is None else run.history
        return [float(row["learning_rate"]) for row in rows if row.get("learning_rate") is not None], False, "epochs"
    batches = e.source.count_batches() if isinstance(e.source, Counted) else None
    if batches is None or not recipe.epochs:
        return [], False, ""
    steps = max(1, -(-batches // recipe.accumulate)) * recipe.epochs
    with asking():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        rate = as_rate(recipe.schedule, optimizer)
        if isinstance(rate, Multiplied):
            places = range(0, steps, max(1, steps // MOST))
            return [float(rate.schedule(step, steps)) for step in places], True, "steps"
        if not isinstance(rate, Scheduled) or isinstance(rate.scheduler, ReduceLROnPlateau):
            return [], False, ""
        count, unit = (steps, "steps") if rate.per_step else (recipe.epochs, "epochs")
        found = []
        for _ in range(min(count, MOST)):
            found.append(rate.value)
            optimizer.step()
            rate.scheduler.step()
    return (found, False, unit) if count <= MOST else ([], False, "")


def _never(largest: float, count: int, unit: str) -> Flaw:
    return Flaw(
        Cause.WIRING,
        Mechanism.SCHEDULE_GIVES_NO_MULTIPLIER,
        f"The schedule multiplies the learning rate by at most {largest:.3g} in {count} {unit}",
        largest,
        "a multiplier that comes near 1",
        "A schedule (step, steps) gives what the optimizer's own rate is multiplied by, and not the rate itself",
        "a step whose multiplier is near 1",
        Sure.CERTAIN if largest == 0 else Sure.LIKELY,
    )


def _spent(rates: list[float], largest: float, unit: str, epochs: int) -> Flaw:
    """Taken for a mistake of the program where the schedule would last the run if each of its steps were an epoch."""
    first = next(i for i in range(len(rates)) if max(rates[i:]) < SPENT * largest)
    mistaken = unit == "steps" and LASTS * epochs <= first <= epochs
    causes = (Cause.WIRING, Cause.OPTIMIZATION) if mistaken else (Cause.OPTIMIZATION, Cause.WIRING)
    counts = f", within as many as there are epochs ({epochs}): what counts epochs is stepped at every batch"
    return Flaw(
        causes[0],
        Mechanism.LEARNING_RATE_SPENT_EARLY,
        f"The learning rate falls below 1 % of its largest after {first} of {len(rates)} {unit} and stays there"
        f"{counts if mistaken else ''}: {1 - first / len(rates):.0%} of the run trains next to nothing",
        first / len(rates),
        "a rate that falls over the whole run",
        "Step the schedule once an epoch where it counts epochs, or let it fall by a smaller factor for each step",
        "a rate above 1 % of the largest in the last nine tenths",
        also=causes[1],
    )


def clip_flaws(e: Examined) -> list[Flaw]:
    """A clip that shortens every gradient a hundredfold, where the step follows the gradient's length."""
    clip = e.recipe.clip_norm
    if clip is None or e.run is None:
        return []
    norms = [row["gradient_norm"] for row in e.run.history if row.get("gradient_norm") is not None]
    if len(norms) < 3 or min(norms) < CLIPPED * clip or not follows_scale(e):
        return []
    return [
        Flaw(
            Cause.OPTIMIZATION,
            Mechanism.CLIP_FAR_BELOW_THE_GRADIENT,
            f"The gradient is at least {min(norms):.3g} long in every epoch and clipped to {clip:g}, so that each "
            "step is "
            f"{min(norms) / clip:.0f} times shorter",
            min(norms) / clip,
            "a clip that shortens outliers alone",
            f"Take a clip_norm near the usual length, about {sorted(norms)[len(norms) // 2]:.3g}",
            "epochs whose gradient is shorter than the clip",
            Sure.LIKELY,
        )
    ]
