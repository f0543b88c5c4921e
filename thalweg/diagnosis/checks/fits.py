"""Whether a model can fit a handful of examples at all, by its own steps or by others."""

from functools import partial
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.nest import Nest, leaves, map_tensors
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined
from thalweg.diagnosis.checks.moves import taken, trainee
from thalweg.diagnosis.checks.reach import Reach, perturbed, standardized
from thalweg.diagnosis.flaw import Flaw, Sure

HANDFUL = 8
FITS = 0.1
"""A model that goes so much of the way from the best constant down to the targets learns from its inputs."""
RATES = (1e-3, 1e-2, 1e-1)
STEPS = 150
FEWEST = 60
SEEDS = 3
"""Other starts from which a model that has fitted nothing is trained, on inputs of mean 0 and spread 1."""


def fitting_flaws(e: Examined, reach: Reach) -> list[Flaw]:
    """A handful of examples that a plain network fits, and the model by no optimizer better than a constant does."""
    if not e.tensors or not e.distinct or e.n < 4 or (reach.bottomless and reach.bare) or e.recipe.loop is not None:
        return []
    count = e.steps_within(STEPS)
    if count < FEWEST or not (e.classes or e.numbers):
        return []
    picked = _picked(e)
    if picked is None:
        return []
    apart = (e.y[picked].reshape(len(picked), -1) != e.y[picked[0]].reshape(-1)).any(1).nonzero()[:, 0]
    failed = [_unfitted(e, index, count) for index in (picked, picked[torch.stack([apart[0] * 0, apart[0]])])]
    if None in failed:
        return []
    best, constant, lowest = failed[0] or (inf, inf, inf)
    share = (constant - best) / (constant - lowest)
    return [
        Flaw(
            Cause.WIRING,
            "a few examples are not fitted",
            f"{len(picked)} examples are not learned by heart: after {count} steps of each of {len(RATES) + 1} "
            "optimizers the "
            f"lowest loss is {best:.4g}, the best constant's {constant:.4g}, and a plain network comes below the "
            "middle "
            f"between that and {lowest:.4g}",
            share,
            "a loss near the targets' own on a few examples",
            "Follow one example through the model and the loss by hand",
            "an optimizer by which the model's loss on these examples falls",
            Sure.MEASURED,
        )
    ]


def _unfitted(e: Examined, picked: Tensor, count: int) -> tuple[float, float, float] | None:
    """The loss that examples were brought to, a constant's and the lowest, where nothing fits them; None where one does.

    Two examples a network of two units can tell apart as well, if it can tell anything.
    """
    few = e.rows(e.batch, picked)
    inner = Reach(Examined(e.recipe, e.run, e.device, e.source, e.model, e.form, few, few, few, e.work))
    quick, right = inner.quick
    halfway = (quick + right) / 2 if isfinite(quick + right) and right < quick else -inf
    best = _after(e, few, count, e.recipe.optimizer, e.fresh(), halfway)
    if best < halfway:
        return None
    constant, lowest = inner.constant, inner.reached
    if not isfinite(constant + lowest) or constant - lowest < 1e-6 + 0.01 * abs(constant):
        return None
    enough = constant - FITS * (constant - lowest)
    for optimizer in (e.recipe.optimizer, *(partial(torch.optim.Adam, lr=rate) for rate in RATES)):
        for number in range(2):
            model = e.fresh() if number == 0 else perturbed(e.fresh(), e.generator("fits"), 0.3)
            best = min(best, _after(e, few, count, optimizer, model, enough))
            if best < enough:
                return None
    if best > constant + FITS / 2 * (constant - lowest):
        return None  # it has not come as far as a constant does: slow, and nothing is known of the rest
    for seed in range(SEEDS):
        for rate in RATES:
            others = (map_tensors(standardized, few[0]), few[1])
            optimizer = partial(torch.optim.Adam, lr=rate)
            best = min(best, _after(e, others, count, optimizer, e.rebuilt(seed), enough))
            if best < enough:
                return None  # the start, or the scale of the inputs: no matter of the wiring
    if _reference(e, inner, few) > constant - 0.5 * (constant - lowest):
        return None
    return best, constant, lowest


def _picked(e: Examined) -> Tensor | None:
    """A few examples, no two of the same inputs, not all of the same target."""
    rows = torch.cat([leaf.reshape(e.n, -1).double() for leaf in leaves(e.x)], 1)
    kept: list[int] = []
    for i in range(e.n):
        if all(bool((rows[i] != rows[j]).any()) for j in kept):
            kept.append(i)
    index = torch.tensor(kept[:HANDFUL], device=e.device)
    if len(index) < 4 or not bool((e.y[index] != e.y[index[:1]]).any()):
        return None
    return index


def _after(e: Examined, few: Nest, count: int, optimizer: Any, model: nn.Module, until: float) -> float:
    """The lowest loss in training or evaluation mode after some steps on a few examples."""
    training = trainee(e, [few], count, model, optimizer=optimizer, clip_norm=None, penalty=None)
    losses = taken(training, until)
    judged = float(e.loss(e.judged(training.model, few[0]), few[1]))
    finite = [loss for loss in (*losses, judged) if isfinite(loss)]
    return min(finite, default=inf)


def _reference(e: Examined, reach: Reach, few: Nest) -> float:
    """What a plain network of 64 hidden units comes to on the same examples, with a head of the model's form."""
    x = torch.cat([leaf.reshape(len(few[1]), -1).float() for leaf in leaves(map_tensors(torch.clone, few[0]))], 1)
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-6)
    shape, start = e.output.shape, e.generator("reference")
    first = torch.randn(x.shape[1], 64, generator=start).to(x) / x.shape[1] ** 0.5
    second = torch.randn(64, shape[1:].numel(), generator=start).to(x) / 8.0
    offset = torch.zeros(shape[1:].numel()).to(x)
    weights = [weight.requires_grad_() for weight in (first, second, offset)]
    scale = float(few[1].float().std()) if few[1].is_floating_point() else 1.0
    middle = float(few[1].float().mean()) if few[1].is_floating_point() else 0.0
    optimizer = torch.optim.Adam(weights, lr=0.03)
    best, head = inf, reach.head
    for _ in range(200):
        hidden = (x @ first).tanh()
        output = head((hidden @ second + offset).reshape(-1, *shape[1:]) * max(scale, 1e-6) + middle)
        with torch.enable_grad():
            loss = e.loss(output.to(e.output.dtype), few[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        best = min(best, float(loss))
    return best


def falling_flaws(e: Examined) -> list[Flaw]:
    """A marked objective, or an output of several parts, whose loss on one batch falls by no optimizer."""
    if e.tensors or e.whole or e.recipe.loop is not None:
        return []
    count = min(e.steps_within(60, 6), 60)
    if count < 20:
        return []
    start = inf
    for optimizer in (e.recipe.optimizer, *(partial(torch.optim.Adam, lr=rate) for rate in RATES)):
        for number in range(2):
            model = e.fresh() if number == 0 else perturbed(e.fresh(), e.generator("falls"), 0.3)
            losses = taken(trainee(e, [e.batch], count, model, optimizer=optimizer, clip_norm=None, penalty=None))
            if not losses or not isfinite(losses[0]):
                return []
            start = losses[0]
            if min(losses) < start - 1e-4 * (1 + abs(start)):
                return []
    return [
        Flaw(
            Cause.WIRING,
            "the loss of one batch does not fall",
            f"The loss of one batch begins at {start:.4g} and falls by no optimizer in {count} steps",
            start,
            "a loss of one batch that falls",
            "Follow one example through the model and the loss by hand",
            "an optimizer by which it falls",
            Sure.MEASURED,
        )
    ]
