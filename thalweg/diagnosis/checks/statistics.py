"""Running statistics of batch norm: whether they move, from how many values, and whether they are those of the data."""

import copy
from math import isfinite

import torch
from torch import Tensor, nn

from thalweg.core.objective import apply
from thalweg.core.source import Counted
from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, asking
from thalweg.diagnosis.checks.reach import Reach
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training import Outcome

LEFT = 0.5
"""A share of the initial statistics that is left at the end of training."""
USUAL = 0.1
"""torch's own momentum: what is not below it was not turned down."""
TINY = 3
"""Values for a statistic of a batch."""
COSTS = 0.2
"""What running statistics cost, as a share of the best constant's loss."""

Norm = nn.modules.batchnorm._BatchNorm


def statistic_flaws(e: Examined) -> list[Flaw]:
    """Statistics that do not come to those of the data within the run, and statistics of two or three values."""
    norms = {
        name: module
        for name, module in e.model.named_modules()
        if isinstance(module, Norm)
        and module.track_running_stats
        and module.training
        and module.running_mean is not None
    }
    if not norms or e.recipe.loop is not None:
        return []
    return [*_slow(e, norms), *_of_few(e, norms)]


def _slow(e: Examined, norms: dict[str, Norm]) -> list[Flaw]:
    batches = e.source.count_batches() if isinstance(e.source, Counted) else None
    if batches is None or not e.recipe.epochs:
        return []
    steps = batches * e.recipe.epochs
    left = {
        name: (1 - module.momentum) ** steps
        for name, module in norms.items()
        if module.momentum is not None and module.momentum < 0.5 * USUAL
    }
    slow = {name: share for name, share in left.items() if share > LEFT}
    if not slow:
        return []
    name, share = max(slow.items(), key=lambda item: item[1])
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.RUNNING_STATISTICS_STAY,
            f"After all {steps} steps {share:.0%} of the initial mean 0 and variance 1 are left in "
            f"{counted(len(slow), 'batch norm layer')} "
            f"({name}: momentum {norms[name].momentum:g}), so that evaluation normalizes by numbers that are not "
            "the data's",
            share,
            "less than 1 %",
            "Take momentum=0.1, or None for the mean over all batches; torch's momentum is the share of the new value",
            "running means near those of the batches at the end of training",
            Sure.CERTAIN,
            Raises.VALIDATION,
        )
    ]


def _of_few(e: Examined, norms: dict[str, Norm]) -> list[Flaw]:
    values: dict[str, int] = {}
    model = e.fresh().train()
    handles = [
        module.register_forward_pre_hook(
            lambda _, given, name=name: values.update({name: given[0].numel() // given[0].shape[1]})
        )
        for name, module in model.named_modules()
        if name in norms
    ]
    with asking(), torch.no_grad():
        if e.plain:
            apply(model, e.full[0])
    for handle in handles:
        handle.remove()
    few = {name: count for name, count in values.items() if count <= TINY}
    if not few:
        return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.BATCH_NORM_OVER_FEW_VALUES,
            f"{counted(len(few), 'batch norm layer')} ({next(iter(few))}) take their mean and variance from "
            f"{max(few.values())} "
            "values of a batch, which is mostly noise",
            float(max(few.values())),
            "at least 16 values",
            "Take larger batches, or group or layer norm",
            "a batch with more values for each statistic",
            Sure.LIKELY,
        )
    ]


def recalibrated_flaws(e: Examined, reach: Reach) -> list[Flaw]:
    """A trained model whose loss in evaluation mode falls when its statistics are taken anew from training batches."""
    if e.run is None or e.run.status is Outcome.FAILED or e.run.final is None or not e.tensors:
        return []
    with asking():
        model = copy.deepcopy(e.run.final).to(e.device)
    norms = [m for m in model.modules() if isinstance(m, Norm) and m.running_mean is not None]
    if not norms or 4 * e.work > 2e9:
        return []
    batches = [e.batch, e.other]
    before = _loss(e, model, batches)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    with asking(), torch.no_grad():
        for batch in (e.full, e.other):
            apply(model, batch[0])
    after = _loss(e, model, batches)
    scale = abs(reach.constant) if isfinite(reach.constant) else abs(after)
    if not isfinite(before - after) or before - after < COSTS * scale or before < 1.5 * after:
        return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.RUNNING_STATISTICS_ARE_NOT_THE_DATAS,
            f"The trained model has a loss of {before:.4g} on two training batches, and of {after:.4g} once its "
            "batch norm "
            "takes mean and variance from these batches",
            before - after,
            "about the same loss",
            "Check momentum, the number of steps, and that training and evaluation prepare the inputs alike",
            "the same loss with statistics taken anew",
            Sure.MEASURED,
            Raises.VALIDATION,
        )
    ]


def _loss(e: Examined, model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    return sum(float(e.loss(e.judged(model, x), y)) for x, y in batches) / len(batches)
