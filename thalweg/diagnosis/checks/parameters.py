"""Whether every parameter that takes part in the output gets a gradient, stands in the optimizer, and moves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from thalweg.core.nest import leaves, map_tensors
from thalweg.core.objective import Moment
from thalweg.core.step import Step
from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, asking
from thalweg.diagnosis.checks.moves import taken, trainee
from thalweg.diagnosis.checks.reach import perturbed
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism

COPIES = 3
"""Sets of weights at which a gradient is asked for: one that is 0 at all of them is cut off, not by chance."""


class Read(TorchFunctionMode):
    """The parameters that functions of torch read in a block: while gradients are kept, and while they are not."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: dict[int, nn.Parameter] = {}
        self.unkept: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") not in ("__get__", "__set__"):
            self._look((args, kwargs))
        return func(*args, **(kwargs or {}))

    def _look(self, given: Any) -> None:
        if isinstance(given, nn.Parameter):
            if torch.is_grad_enabled():
                self.parameters[id(given)] = given
            else:
                self.unkept.add(id(given))
        elif isinstance(given, tuple | list):
            for part in given:
                self._look(part)
        elif isinstance(given, dict):
            self._look(tuple(given.values()))


@contextmanager
def reading(model: nn.Module) -> Iterator[Read]:
    """What the model's forward reads in a block, and nothing of what the loss does."""
    read, inside = Read(), []

    def enter(*_: Any) -> None:
        read.__enter__()
        inside.append(True)

    def leave(*_: Any) -> None:
        if inside:
            inside.pop()
            read.__exit__(None, None, None)

    handles = [model.register_forward_pre_hook(enter), model.register_forward_hook(leave)]
    try:
        yield read
    finally:
        for handle in handles:
            handle.remove()
        while inside:
            leave()


def gradient_flaws(e: Examined) -> list[Flaw]:
    """Parameters that are read and get no gradient; and parameters that are read and not the model's own."""
    if COPIES * 3 * e.work > 2e9:
        return []
    reached: dict[str, float] = {}
    used: set[str] = set()
    unkept: set[str] = set()
    strangers: dict[int, nn.Parameter] = {}
    for number in range(COPIES + 1):
        model = e.fresh() if number == 0 else perturbed(e.fresh(), e.generator(f"gradient {number}"))
        names = {id(weight): name for name, weight in model.named_parameters()}
        step = Step(model, e.form, None).to(e.device).train()
        with asking(), torch.enable_grad(), reading(model) as read:
            minimized, _ = step(e.batch, Moment(training=True, generator=torch.Generator(e.device).manual_seed(0)))
            if not minimized.requires_grad or not bool(minimized.isfinite()):
                return []
            minimized.backward()
        here = {id(weight): name for name, weight in model.named_parameters()}
        used |= {names[key] for key in read.parameters if key in names and key in here}
        unkept |= {names[key] for key in read.unkept if key in names and key in here}
        strangers |= {
            key: weight for key, weight in read.parameters.items() if key not in names and weight.requires_grad
        }
        for name, weight in model.named_parameters():
            size = 0.0 if weight.grad is None else float(weight.grad.abs().max())
            reached[name] = max(reached.get(name, 0.0), size)
    free = {name: weight for name, weight in e.model.named_parameters() if weight.requires_grad and weight.numel()}
    cut = [name for name in free if name in used and reached[name] == 0.0]
    if cut:
        finer = _double(e)
        cut = [name for name in cut if finer[name] == 0.0]  # too small for float32 is not cut off
        cut = cut if _moves_output(e, cut) else []
    flaws = list(_cut_off(free, cut, e.plain)) if cut else []
    aside = [name for name in free if name in unkept - used and reached[name] == 0.0]
    if aside and not cut:
        flaws.append(_set_aside(free, aside))
    if strangers and not _optimized(e, strangers):
        flaws.append(_unregistered(list(strangers.values()), COPIES + 1, free))
    return flaws


def _moves_output(e: Examined, cut: list[str]) -> bool:
    """Whether other values of these parameters give other outputs: those of dead units do not, and are not cut off."""
    model, other = e.fresh(), perturbed(e.fresh(), e.generator("moved"))
    drawn = dict(other.named_parameters())
    with torch.no_grad(), asking():
        before = _said(e, model)
        for name, weight in model.named_parameters():
            if name in cut:
                weight.copy_(drawn[name])
        after = _said(e, model)
    if [leaf.shape for leaf in before] != [leaf.shape for leaf in after]:
        return True
    return not all(
        torch.allclose(own, other, rtol=1e-4, atol=1e-6 * float(own.abs().max() + 1))
        for own, other in zip(before, after, strict=True)
        if own.is_floating_point() and own.numel()
    )


def _said(e: Examined, model: nn.Module) -> list[Tensor]:
    """All that the model gives for the batch; to an objective that asks the model itself, in evaluation mode."""
    if e.plain:
        return list(leaves(e.judged(model, e.x)))
    seen: list[Tensor] = []
    handle = model.eval().register_forward_hook(lambda module, given, output: seen.extend(leaves(output)))
    try:
        e.form(model, e.batch, Moment(steps=1, generator=torch.Generator(e.device).manual_seed(0)))
    finally:
        handle.remove()
    return seen


def _double(e: Examined) -> dict[str, float]:
    """The largest gradient of each parameter, computed in double precision."""
    model = perturbed(e.fresh(), e.generator("double")).double()
    batch = map_tensors(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf.clone(), e.batch)
    step = Step(model, e.form, None).double().train()
    with asking(), torch.enable_grad():
        minimized, _ = step(batch, Moment(training=True, generator=torch.Generator(e.device).manual_seed(0)))
        minimized.backward()
    named = model.named_parameters()
    return {name: 0.0 if weight.grad is None else float(weight.grad.abs().max()) for name, weight in named}


def _cut_off(free: dict[str, nn.Parameter], cut: list[str], plain: bool) -> Iterator[Flaw]:
    """Surely a flaw where the loss is given all outputs; an objective may leave some of them out on purpose."""
    share = sum(free[name].numel() for name in cut) / sum(weight.numel() for weight in free.values())
    yield Flaw(
        Cause.WIRING,
        Mechanism.NO_GRADIENT,
        f"{counted(len(cut), 'parameter tensor')} ({_named(cut)}), {share:.0%} of what is to be trained, take part "
        "in the "
        f"output and get no gradient at {COPIES + 1} sets of weights",
        share,
        "a gradient for every parameter that is read",
        "Look between them and the loss for detach, .data, .item(), no_grad, argmax, round or a product with 0; "
        "freeze on "
        "purpose by requires_grad_(False)",
        "weights at which their gradient is not 0",
        Sure.CERTAIN if plain else Sure.LIKELY,
    )


def _set_aside(free: dict[str, nn.Parameter], aside: list[str]) -> Flaw:
    """Parameters that are read under no_grad alone: on purpose, where they were trained elsewhere."""
    share = sum(free[name].numel() for name in aside) / sum(weight.numel() for weight in free.values())
    return Flaw(
        Cause.WIRING,
        Mechanism.NO_GRADIENT,
        f"{counted(len(aside), 'parameter tensor')} ({_named(aside)}), {share:.0%} of what is to be trained, are read "
        "under torch.no_grad alone, so that they stay as they were initialized",
        share,
        "a gradient for every parameter that is to be trained",
        "Take torch.no_grad out of forward; where these weights were trained elsewhere, freeze them by "
        "requires_grad_(False)",
        "weights that were trained elsewhere",
        Sure.LIKELY,
    )


def _unregistered(strangers: list[nn.Parameter], passes: int, free: dict[str, nn.Parameter]) -> Flaw:
    numbers = sum(weight.numel() for weight in strangers)
    return Flaw(
        Cause.WIRING,
        Mechanism.UNREGISTERED_PARAMETERS,
        f"The output is computed with {numbers:,} numbers in {counted(len(strangers), 'parameter tensor')} that "
        "model.parameters() does not give (its own are "
        f"{sum(weight.numel() for weight in free.values()):,}), so that they are not trained, moved or saved",
        float(numbers),
        "none",
        "Keep layers in nn.ModuleList or nn.ModuleDict and not in a list or dict, and make them in __init__ and "
        "not in forward",
        "these parameters in model.parameters()",
    )


def _optimized(e: Examined, strangers: dict[int, nn.Parameter]) -> bool:
    """Whether the optimizer is given parameters that are not the model's."""
    training = trainee(e, [e.batch])
    own = {id(weight) for weight in training.model.parameters()}
    held = {id(weight) for group in training.optimizer.param_groups for weight in group["params"]}
    return bool(held - own)


def optimizer_flaws(e: Examined) -> list[Flaw]:
    """Parameters to be trained that get a gradient and do not move: no group holds them, or their rate is 0."""
    if e.steps_within(3) < 2 or e.recipe.loop is not None:
        return []
    training = trainee(e, [e.batch, e.other])
    before = {name: weight.detach().clone() for name, weight in training.model.named_parameters()}
    gradients: dict[str, float] = {}
    handles = [
        weight.register_hook(lambda grad, name=name: _note(gradients, name, grad))
        for name, weight in training.model.named_parameters()
        if weight.requires_grad
    ]
    held = {id(weight) for group in training.optimizer.param_groups for weight in group["params"]}
    losses = taken(training)
    for handle in handles:
        handle.remove()
    if not losses or not all(map(_finite, losses)):
        return []
    free = {name: weight for name, weight in training.model.named_parameters() if weight.requires_grad}
    still = [
        name
        for name in free
        if gradients.get(name, 0.0) > 1e-12 and name in before and torch.equal(free[name], before[name])
    ]
    lacking = [name for name in still if id(free[name]) not in held]
    unmoved = [name for name in still if id(free[name]) in held and _rate(training.optimizer, free[name]) == 0]
    flaws = []
    for mechanism, names, why, mend in (
        (
            Mechanism.NOT_IN_THE_OPTIMIZER,
            lacking,
            "are in none of its groups",
            "Give the optimizer all that is to be trained",
        ),
        (Mechanism.LEARNING_RATE_0, unmoved, "have a learning rate of 0", "Give them a learning rate above 0"),
    ):
        if names:
            share = sum(free[name].numel() for name in names) / sum(weight.numel() for weight in free.values())
            flaws.append(
                Flaw(
                    Cause.WIRING,
                    mechanism,
                    f"{counted(len(names), 'parameter tensor')} ({_named(names)}), {share:.0%} of what requires a "
                    "gradient, do "
                    f"not move in the optimizer's steps: they {why}",
                    share,
                    "every parameter that requires a gradient moves",
                    f"{mend}; freeze on purpose by requires_grad_(False)",
                    "a step after which they have changed",
                )
            )
    return flaws


def _rate(optimizer: Any, weight: Tensor) -> float:
    return next(float(g["lr"]) for g in optimizer.param_groups if any(weight is own for own in g["params"]))


def _note(gradients: dict[str, float], name: str, gradient: Tensor) -> None:
    gradients[name] = max(gradients.get(name, 0.0), float(gradient.abs().max()))


def _finite(value: float) -> bool:
    return value - value == 0.0


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def mode_flaws(e: Examined) -> list[Flaw]:
    """Batch norm that stays in training mode when the model is set to evaluation."""
    model = e.fresh().eval()
    staying = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    if not staying:
        return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.TRAINING_MODE_IN_EVALUATION,
            f"{counted(len(staying), 'batch norm layer')} ({_named(staying)}) stay in training mode after "
            "model.eval(), so that "
            "what is judged depends on the batch it stands in",
            float(len(staying)),
            "0 layers in training mode",
            "Let train(mode) and eval() of the model call those of nn.Module",
            "module.training is False after model.eval()",
            Sure.CERTAIN,
            Raises.VALIDATION,
        )
    ]
