"""Whether some optimizer brings the loss of one batch down at all."""

from functools import partial
from math import inf, isfinite

import torch

from thalweg.core.nest import map_tensors
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined
from thalweg.diagnosis.checks.moves import taken, trainee
from thalweg.diagnosis.checks.reach import perturbed, standardized
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism

RATES = (1e-3, 1e-2, 1e-1)
STEPS, FEWEST = 60, 20
LEAST = 1e-4
"""A loss that falls by less than this share of its size does not fall."""


def falling_flaws(e: Examined) -> list[Flaw]:
    """A loss of one batch that falls by no optimizer, neither from the model's own start nor from one beside it.

    A network whose units are dead, or that is too small, comes down to what a constant reaches, and is none of these.
    """
    if e.whole or e.recipe.loop is not None or (e.tensors and not e.distinct):
        return []
    count = e.steps_within(STEPS, 6)
    if count < FEWEST:
        return []
    start = inf
    for optimizer in (e.recipe.optimizer, *(partial(torch.optim.Adam, lr=rate) for rate in RATES)):
        for number in range(3 if e.plain else 2):
            model = e.fresh() if number == 0 else perturbed(e.fresh(), e.generator("falls"), 0.3)
            batch = (map_tensors(standardized, e.x), e.y) if number == 2 else e.batch  # their scale may saturate it
            training = trainee(e, [batch], count, model, optimizer=optimizer, clip_norm=None, penalty=None)
            first, *later = taken(training, falls=LEAST) or [inf]
            start = first if number == 0 else start
            if not isfinite(first) or min(later, default=inf) < first - LEAST * (1 + abs(first)):
                return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.THE_LOSS_OF_ONE_BATCH_DOES_NOT_FALL,
            f"The loss of one batch begins at {start:.4g} and falls by none of {len(RATES) + 1} optimizers in {count} "
            "steps, from two starts and with standardized inputs",
            start,
            "a loss of one batch that falls",
            "Follow one example, and its gradient, through the model and the loss by hand",
            "an optimizer by which it falls",
            Sure.MEASURED,
        )
    ]
