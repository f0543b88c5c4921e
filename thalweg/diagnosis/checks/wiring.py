"""Wiring checks: whether a program computes what was meant, each by one mechanism, in well under a second.

All of them work on copies of the model, of two small batches and of the loss; the caller's random streams are left as
they were. A check that the recipe's own code refuses says nothing.
"""

import warnings
from collections.abc import Callable, Iterator

import torch

from thalweg.core.door import no_type_check
from thalweg.core.errors import ThalwegError
from thalweg.core.notices import unsaid
from thalweg.core.randomness import untouched
from thalweg.diagnosis.checks.examined import Examined, Unasked
from thalweg.diagnosis.checks.fits import falling_flaws
from thalweg.diagnosis.checks.head import clipped_flaws, head_flaws
from thalweg.diagnosis.checks.independence import constant_flaws, history_flaws, mixing_flaws, repeat_flaws
from thalweg.diagnosis.checks.losses import (
    broadcast_flaws,
    dependence_flaws,
    sign_flaws,
    start_flaws,
    sum_flaws,
    unbounded_flaws,
)
from thalweg.diagnosis.checks.order import order_flaws
from thalweg.diagnosis.checks.own_loop import loop_flaws
from thalweg.diagnosis.checks.pairs import pairing_flaws
from thalweg.diagnosis.checks.parameters import gradient_flaws, mode_flaws, optimizer_flaws
from thalweg.diagnosis.checks.rate import clip_flaws, rate_flaws
from thalweg.diagnosis.checks.reach import Reach
from thalweg.diagnosis.checks.statistics import recalibrated_flaws, statistic_flaws
from thalweg.diagnosis.checks.unread import unread_flaws
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training import Recipe, Run

Check = Callable[[Examined, Reach], list[Flaw]]
CHECKS: tuple[Check, ...] = (
    lambda e, _: broadcast_flaws(e),
    lambda e, reach: sign_flaws(e, reach),
    lambda e, _: dependence_flaws(e),
    lambda e, reach: unbounded_flaws(e, reach),
    lambda e, reach: head_flaws(e, reach),
    lambda e, reach: clipped_flaws(e, reach),
    lambda e, _: constant_flaws(e),
    lambda e, _: mode_flaws(e),
    lambda e, _: repeat_flaws(e),
    lambda e, _: history_flaws(e),
    lambda e, _: mixing_flaws(e),
    lambda e, _: gradient_flaws(e),
    lambda e, _: optimizer_flaws(e),
    lambda e, _: loop_flaws(e),
    lambda e, _: order_flaws(e),
    lambda e, _: statistic_flaws(e),
    lambda e, reach: recalibrated_flaws(e, reach),
    lambda e, _: rate_flaws(e),
    lambda e, _: clip_flaws(e),
    lambda e, _: sum_flaws(e),
    lambda e, reach: start_flaws(e, reach),
    lambda e, _: pairing_flaws(e),
    lambda e, _: unread_flaws(e),
)
SYMPTOMS: tuple[Check, ...] = (lambda e, _: falling_flaws(e),)
"""What a flaw found before would show as well: asked only where none was found."""
RANGE = Mechanism.HEAD_WITHOUT_THE_TARGETS_IN_ITS_RANGE
SHADOWS = {
    Mechanism.FLIPPED_SIGN: (
        RANGE, Mechanism.SIGMOID_TWICE, Mechanism.SOFTMAX_TWICE, Mechanism.LABELS_OUTSIDE_OF_0_1,
        Mechanism.SOFTMAX_NEVER, Mechanism.PROBABILITIES_FOR_LOG_PROBABILITIES,
    ),
    Mechanism.BROADCAST_IN_THE_LOSS: (Mechanism.LOSS_WITHOUT_THE_TARGET,),
    Mechanism.LABELS_OUTSIDE_OF_0_1: (RANGE, Mechanism.SIGMOID_TWICE),
    Mechanism.CONSTANT_OUTPUT: (Mechanism.OUTPUT_WITHOUT_THE_INPUT, Mechanism.NO_GRADIENT),
    Mechanism.LOSS_WITHOUT_THE_OUTPUT: (Mechanism.LOSS_WITHOUT_THE_TARGET, RANGE, Mechanism.NO_GRADIENT),
    Mechanism.TRAINING_MODE_IN_EVALUATION: (Mechanism.EXAMPLES_MIX,),
    Mechanism.STATE_KEPT_BETWEEN_BATCHES: (Mechanism.EXAMPLES_MIX,),
    Mechanism.OUTPUT_WITHOUT_THE_INPUT: (Mechanism.NO_GRADIENT,),
    Mechanism.SOFTMAX_OVER_THE_BATCH_AXIS: (
        Mechanism.EXAMPLES_MIX, Mechanism.SOFTMAX_TWICE, Mechanism.SIGMOID_TWICE, RANGE,
    ),
}  # fmt: skip
"""Mechanisms that speak of what another one causes: beside it they say nothing."""


@no_type_check
def wiring_flaws(recipe: Recipe, run: Run | None = None, *, device: torch.device) -> tuple[Flaw, ...]:
    """The flaws in a recipe's wiring that can be seen without a training; with its run, those that show after one too.

    >>> from torch import nn
    >>> from thalweg.core.source import Splits
    >>> x = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    >>> recipe = Recipe(
    ...     data=Splits(train=(x, (x[:, 0] > 0).long())), objective=nn.CrossEntropyLoss(),
    ...     model=lambda: nn.Sequential(nn.Linear(5, 2), nn.Softmax(1)),
    ... )
    >>> [flaw.mechanism for flaw in wiring_flaws(recipe, device=torch.device("cpu"))]
    ['softmax twice']
    """
    with untouched(), unsaid(), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            e = Examined.of(recipe, run, torch.device(device))
        except (Unasked, ThalwegError):
            return ()  # training says what is wrong with it
        reach = Reach(e)
        found = list(_found(CHECKS, e, reach))
        if not any(flaw.raises is Raises.TRAIN and flaw.sure is not Sure.LIKELY for flaw in found):
            found += _found(SYMPTOMS, e, reach)
    shadowed = {name for flaw in found for name in SHADOWS.get(flaw.mechanism, ())}
    kept = {flaw.mechanism: flaw for flaw in reversed(found) if flaw.mechanism not in shadowed}
    return tuple(reversed(kept.values()))


def _found(checks: tuple[Check, ...], e: Examined, reach: Reach) -> Iterator[Flaw]:
    for check in checks:
        try:
            yield from check(e, reach)
        except (Unasked, ThalwegError):
            continue
