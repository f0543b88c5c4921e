"""Whether an example's output is its own: the same in every pass, and whatever the other examples are."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from thalweg.core.nest import Nest, leaves, map_tensors
from thalweg.core.objective import apply, pair
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, Unasked, asking
from thalweg.diagnosis.checks.reach import batch_axis_sums, noisy, perturbed, wild
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism

DROPPING = {
    torch.nn.functional.dropout, torch.nn.functional.dropout1d, torch.nn.functional.dropout2d,
    torch.nn.functional.dropout3d, torch.nn.functional.alpha_dropout, torch.nn.functional.feature_alpha_dropout,
    torch.dropout, torch.feature_dropout, torch.alpha_dropout, torch.bernoulli, torch.Tensor.bernoulli_,
    torch.Tensor.bernoulli,
}  # fmt: skip
ROUNDING = 1e-4
"""Of the outputs' spread: sums in another order differ by less, dropout by more."""
MUCH = 0.05
"""Of the outputs' spread: what moves them by less need not be what holds a network back."""
MIXES = "mixes_examples"
"""An attribute of a model, or a part of it, that says that its outputs depend on other examples on purpose."""


class Seen(TorchFunctionMode):
    """The functions of torch that a block calls."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.called.append(func)
        return func(*args, **(kwargs or {}))


def repeat_flaws(e: Examined) -> list[Flaw]:
    """Dropout that stays on in evaluation mode, found by two passes that differ; other random numbers may be meant."""
    if not e.plain:
        return []
    model = e.fresh()
    with Seen() as seen:  # both passes, since a watched layer may compute in another way
        first, second = (_flat(e.judged(model, e.x)) for _ in range(2))
    if first is None or second is None or first.shape != second.shape:
        return []
    dropping = sorted({func.__name__ for func in seen.called if func in DROPPING})
    spread = float((first - second).abs().mean() / first.std().clamp_min(1e-12))
    if not dropping or spread < ROUNDING:
        return []
    staying = [name for name, module in model.named_modules() if module.training and name]
    why = f"the part '{staying[0]}' stays in training mode after model.eval()" if staying else f"{dropping[0]} stays on"
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.DROPOUT_IN_EVALUATION,
            f"Two passes over the same batch in evaluation mode differ by {spread:.2g} of the outputs' spread: {why}",
            spread,
            "two passes that are equal up to rounding",
            "Take nn.Dropout, which model.eval() turns off, or F.dropout(x, p, training=self.training)",
            "two equal passes in evaluation mode",
            Sure.CERTAIN,
            Raises.VALIDATION,
        )
    ]


def history_flaws(e: Examined) -> list[Flaw]:
    """An output that depends on the batch that the model was asked before."""
    if not e.plain or e.whole or e.n < 2:
        return []
    other = pair(e.other)[0]
    count = min(e.n, next(len(leaf) for leaf in leaves(other)))
    x, other = e.rows(e.x, count), e.rows(other, count)
    alone, again, later = e.fresh(), e.fresh(), e.fresh()
    for model in (alone, again, later):
        e.judged(model, x)  # what the first batch of all settles, such as a scale, is no state
    e.judged(later, other)
    first, second, after = (_flat(e.judged(model, x)) for model in (alone, again, later))
    if first is None or second is None or after is None or not first.shape == second.shape == after.shape:
        return []
    if not torch.equal(first, second) or any(getattr(m, MIXES, False) for m in later.modules()):
        return []
    moved = float((after - first).abs().mean() / first.std().clamp_min(1e-12))
    if not moved >= ROUNDING:  # a single number has no spread
        return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.STATE_KEPT_BETWEEN_BATCHES,
            f"The output of a batch moves by {moved:.2g} of its spread with the batch that the model was given before",
            moved,
            "an output that is the same whatever came before",
            "Begin each batch anew: make the state in forward, and keep none on the module",
            "batches that continue each other, in their order",
            Sure.CERTAIN if moved >= MUCH else Sure.LIKELY,
        )
    ]


def mixing_flaws(e: Examined) -> list[Flaw]:
    """An output that changes with the inputs of another example, in evaluation mode."""
    if not e.plain or e.whole or e.n < 5:
        return []
    model = perturbed(e.fresh(), e.generator("mixing"), 0.2)
    if any(getattr(module, MIXES, False) for module in model.modules()):
        return []
    worst = min(_mixed(e, model, count) for count in (5, 4))
    if worst <= 1e-3:
        return []
    if min(_mixed(e, _without_batch_statistics(model), count) for count in (5, 4)) <= 1e-3:
        return []
    if batch_axis_sums_of(e, model):
        mechanism, mend = Mechanism.SOFTMAX_OVER_THE_BATCH_AXIS, "Take the softmax over the classes: dim=1"
        what = "the outputs sum to 1 over the examples, "
    else:
        mechanism, what = Mechanism.EXAMPLES_MIX, ""
        mend = (
            "Check each view, reshape and transpose, and batch_first=True of recurrent and attention layers; a model "
        )
        mend += f"that is meant to mix says so by an attribute, {MIXES} = True"
    return [
        Flaw(
            Cause.WIRING,
            mechanism,
            f"The output of an example moves with the inputs of another, {what}by {worst:.2g} of the outputs' spread",
            worst,
            "outputs that do not depend on the other examples of the batch",
            mend,
            "an output that stays as it is, whatever the other examples are",
        )
    ]


def batch_axis_sums_of(e: Examined, model: nn.Module) -> bool:
    """Whether outputs sum to 1 over the examples."""
    output = e.judged(model, e.x)
    return isinstance(output, Tensor) and batch_axis_sums(output)


def _mixed(e: Examined, model: nn.Module, count: int) -> float:
    """How far outputs move with the inputs of the first or the last example, which is not theirs, in their spread.

    0 where it cannot be told.
    """
    x = e.rows(e.x, count)
    before, again = e.judged(model, x), e.judged(model, x)
    if not _by_rows(before, count) or not all(map(torch.equal, leaves(before), leaves(again))):
        return 0.0
    moved = 0.0
    for place in (0, count - 1):
        own = torch.tensor([place], device=e.device)
        for row in (e.rows(e.x, torch.tensor([count % e.n], device=e.device)), map_tensors(_scrambled, e.rows(x, own))):
            try:
                after = e.judged(model, _replaced(x, place, row))
            except Unasked:
                continue
            moved = max(moved, _distance(before, after, torch.arange(count) != place))
    return moved


def _distance(before: Any, after: Any, others: Tensor) -> float:
    """The largest difference of the other examples' outputs, in their spread."""
    largest = 0.0
    for old, new in zip(leaves(before), leaves(after), strict=True):
        if old.is_floating_point() and old.shape == new.shape and bool(old.isfinite().all() & new.isfinite().all()):
            spread = float(old.float().std().clamp_min(1e-12))
            largest = max(largest, float((old - new)[others.to(old.device)].abs().max()) / spread)
    return largest


def _by_rows(output: Any, count: int) -> bool:
    parts = list(leaves(output))
    return bool(parts) and all(part.dim() and len(part) == count for part in parts)


def _replaced(x: Nest, place: int, row: Nest) -> Nest:
    """The inputs with those of one example replaced."""
    rows = iter(list(leaves(row)))
    return map_tensors(lambda leaf: torch.cat([leaf[:place], next(rows), leaf[place + 1 :]]), x)


def _scrambled(leaf: Tensor) -> Tensor:
    return leaf.flip(-1) * 2 + 1 if leaf.is_floating_point() else leaf.flip(-1)


def _without_batch_statistics(model: nn.Module) -> nn.Module:
    """The model without the normalizations that read the batch in evaluation mode too."""
    model = copy.deepcopy(model)

    def replace(parent: nn.Module) -> None:
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.running_mean is None:
                setattr(parent, name, nn.Identity())
            else:
                replace(child)

    replace(model)
    return model


def constant_flaws(e: Examined) -> list[Flaw]:
    """Outputs that are the same for all examples, at several sets of weights: the inputs do not reach them."""
    if not e.tensors or e.n < 3 or not _differ(e.x):
        return []
    largest = 0.0
    for number in range(6):
        draw = e.generator(f"constant {number}")
        model = perturbed(e.fresh(), draw) if number < 3 else wild(e.fresh(), float(number), draw)
        for x in (e.x, map_tensors(partial(noisy, draw=draw), e.x)):
            output = e.judged(model, x)
            if not isinstance(output, Tensor):
                return []
            size = max(float(output.abs().max()), 1e-12)
            largest = max(largest, float((output - output[:1]).abs().nan_to_num(1.0).max()) / size)
        if largest > 1e-6 or _has_derivative(e, model):
            return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.OUTPUT_WITHOUT_THE_INPUT,
            "All examples have the same output, whatever the weights: the inputs do not reach it",
            largest,
            "outputs that differ between examples",
            "Follow the input through forward: it is overwritten, multiplied by 0, or reduced to a constant",
            "weights for which two examples have different outputs",
        )
    ]


def _has_derivative(e: Examined, model: nn.Module) -> bool:
    """Whether an output moves with some floating input, however little."""
    x = map_tensors(lambda leaf: leaf.clone().requires_grad_(leaf.is_floating_point()), e.x)
    inputs = [leaf for leaf in leaves(x) if leaf.requires_grad]
    with asking(), torch.enable_grad():
        output = apply(model, map_tensors(lambda leaf: leaf * 1 if leaf.is_floating_point() else leaf, x))
        if not inputs or not output.requires_grad:
            return False
        gradients = torch.autograd.grad(output.float().square().sum() + output.sum(), inputs, allow_unused=True)
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)


def _differ(x: Nest) -> bool:
    return any(bool((leaf != leaf[:1]).any()) for leaf in leaves(x))


def _flat(output: Any) -> Tensor | None:
    parts = [part.float().flatten() for part in leaves(output) if part.is_floating_point()]
    return torch.cat(parts) if parts else None
