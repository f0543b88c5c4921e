"""Exchanges: one part of a program in another's place, so that what it costs is measured and not guessed at.

Whatever is wrong inside of a part, and whether a check knows it or not, the program comes down to the floor with the
usual part in its place, and does not with its own. These parts can be exchanged from outside: the training loop, by the
library's own; the loss, by the usual one for such targets, whose gradient is made as long, so that its direction alone
is another; and the places where a model keeps gradients from passing, which let them through. What a model's own
modules do in training alone can be left out (see `own_training`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from thalweg.core.arrays import are_classes
from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest, to_device
from thalweg.core.objective import PlainLoss, apply, as_objective, pair
from thalweg.core.randomness import seed_everything, untouched
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.compare import lower_by
from thalweg.diagnosis.finding import Arm, Experiment, Ranked, Score
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.generalizing import SEEDS, ask
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch
from thalweg.diagnosis.loop_steps import Difference, loop_differences
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.natural import are_shares, as_losses, recalibrated_errors
from thalweg.diagnosis.own_training import AS_EVALUATED, as_evaluated
from thalweg.training import Recipe
from thalweg.training.values import each_alone

NO_GRADIENT = Mechanism.NO_GRADIENT
LETS, LOOP, LOSS = (
    "gradients let through",
    "the library's loop in place of its own",
    "the usual loss in place of its own",
)
EXCHANGES = (LETS, LOOP, AS_EVALUATED)
ASKS = "Does the usual loss for such targets, in place of the recipe's, bring the errors down?"
ASKS_LOOP = "Does the library's loop, in place of the recipe's own, lower the validation loss?"
LEVEL = 0.99
CLOSES = 0.5
"""The share of the way down to the references' errors that the usual loss has to go."""
MEND_LOSS = "Train with the usual loss; in your own look for a wrong axis, shape, weight or sign."
MEND_LOOP = "Compare your loop with zero_grad, forward, backward, step for each batch: what it does beside these costs."
BESIDE, EVENLY = (-2.0, -0.5, 0.5, 2.0), 3.0
"""Deviations beside the targets at which a loss is asked, and by which factor some examples may count for more."""
ALIKE = 0.99
"""The cosine of two gradients of a batch from which on two losses are the same."""


class Through(TorchFunctionMode):
    """A block in which gradients are kept where `torch.no_grad`, `detach` and `.data` would not keep them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.detach or getattr(func, "__self__", None) is torch.Tensor.data:
            return args[0]
        if func is torch._C._set_grad_enabled:
            args = (True,)
        return func(*args, **(kwargs or {}))


class LettingThrough(nn.Module):
    """A model in whose forward pass, in training, no gradient is kept from passing."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any, **named: Any) -> Any:
        if not (self.training and torch.is_grad_enabled()):
            return self.model(*inputs, **named)
        with Through():
            return self.model(*inputs, **named)


@dataclass(frozen=True, repr=False)
class LetThrough:
    """A model factory whose models let all gradients through.

    >>> from functools import partial
    >>> class Cut(nn.Linear):
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         with torch.no_grad():
    ...             return super().forward(x)
    >>> LetThrough(lambda: Cut(3, 2))()(torch.ones(5, 3)).requires_grad
    True
    """

    factory: Callable[[], nn.Module]

    def __call__(self) -> nn.Module:
        return LettingThrough(self.factory())

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} with its {LETS}"


def exchanged(recipe: Recipe, batch: Nest, flaws: tuple[Flaw, ...]) -> Iterator[tuple[str, Recipe, Flaw]]:
    """A name, a recipe with a part exchanged, and the flaw that this part has if it trains better then."""
    cut = next((flaw for flaw in flaws if flaw.mechanism == NO_GRADIENT), None)
    if cut is not None:
        yield LETS, recipe.but(model=LetThrough(recipe.model)), cut
    if recipe.loop is not None:
        yield LOOP, recipe.but(loop=None), of_loop()
    if (plain := as_evaluated(recipe, batch)) is not None:
        yield plain


def of_loop(seen: tuple[Difference, ...] = ()) -> Flaw:
    """The flaw of a loop that trains worse than the library's; `seen` is what it does otherwise."""
    return Flaw(
        Cause.WIRING,
        Mechanism.OWN_LOOP,
        "the same model, loss, optimizer and batches train well in the library's loop, so that the recipe's own is at "
        f"fault{_told(seen)}",
        1.0,
        "the same losses in either loop",
        mend_of_loop(seen).rstrip("."),
        "a training in the library's loop that is no better",
        Sure.MEASURED,
    )


def _told(seen: tuple[Difference, ...]) -> str:
    return ": " + "; ".join(difference.says for difference in seen) if seen else ""


def mend_of_loop(seen: tuple[Difference, ...]) -> str:
    """What to change in a loop that does these things otherwise; where none was seen, where to look.

    >>> mend_of_loop((Difference("gradients are clipped to length 1e-4", "Clip less"),))
    'Clip less.'
    """
    return f"{'; '.join(difference.mend for difference in seen)}." if seen else MEND_LOOP


def differences_of(lab: Laboratory) -> tuple[Difference, ...]:
    """What the recipe's own loop does otherwise than the library's; it costs about an epoch, which is counted."""
    lab.price += min(1.0, 2 / max(lab.recipe.epochs, 1))
    return loop_differences(lab.recipe, lab.device, lab.kept.get((CONTROL, lab.recipe.seed)))


@dataclass(frozen=True, eq=False)
class Usual:
    """The usual loss for these outputs and targets, times a factor: cross-entropy, or the mean squared error."""

    kind: Callable[[Any, Any], Tensor]
    factor: float = 1.0

    def __call__(self, output: Any, target: Any) -> Tensor:
        return self.factor * self.kind(output, target)

    def __repr__(self) -> str:
        return f"{describe_piece(self.kind)} x {self.factor:.3g}"


def usual_loss(output: Any, y: Any) -> Callable[[Any, Any], Tensor] | None:
    """The usual loss for such outputs and targets; None where they are neither classes nor numbers.

    >>> usual_loss(torch.zeros(5, 3), torch.tensor([0, 1, 2, 1, 0]))(torch.zeros(5, 3), torch.tensor([0, 1, 2, 1, 0]))
    tensor(1.0986)
    """
    if not isinstance(output, Tensor) or not isinstance(y, Tensor) or not output.is_floating_point():
        return None
    if are_classes(y):
        many = output.dim() == 2 and output.shape[1] > int(y.max())
        if many and output.shape[1] > 1:
            return _of_probabilities if are_shares(output) else nn.functional.cross_entropy
        return _of_answers if output.numel() == y.numel() and int(y.max()) <= 1 else None
    if not y.is_floating_point() or output.numel() != y.numel():
        return None
    return _of_answers if set(y.unique().tolist()) == {0.0, 1.0} else _squared


def _of_probabilities(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.nll_loss(output.clamp_min(1e-7).log(), y)


def _of_answers(output: Tensor, y: Tensor) -> Tensor:
    output, y = output.reshape(-1), y.reshape(-1).to(output.dtype)
    if bool(((output >= 0) & (output <= 1)).all()):
        return nn.functional.binary_cross_entropy(output.clamp(1e-7, 1 - 1e-7), y)
    return nn.functional.binary_cross_entropy_with_logits(output, y)


def _squared(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.mse_loss(output.reshape(y.shape), y)


def with_usual_loss(lab: Laboratory) -> Recipe | None:
    """The recipe with the usual loss, its gradient by the outputs as long as that of its own; None where its own has
    the same direction or is sound, or there is none.
    """
    form = as_objective(lab.recipe.objective)
    if not isinstance(form, PlainLoss):
        return None
    try:
        x, y = pair(first_batch(lab.train))
        with untouched(), torch.no_grad():
            seed_everything(lab.recipe.seed, "model")
            model = lab.recipe.model().to(lab.device).eval()
            output = apply(model, to_device(x, lab.device))
        y = to_device(y, lab.device)
        kind = usual_loss(output, y)
        if kind is None or (kind is _squared and is_sound(form, output, y)):
            return None
        own, theirs = (_slope(loss, output, y) for loss in (form.scalar, kind))
    except Exception:  # a user's own code
        return None
    lengths = float(own.norm()), float(theirs.norm())
    if not min(lengths) > 0 or float((own * theirs).sum()) > ALIKE * lengths[0] * lengths[1]:
        return None
    return lab.recipe.but(objective=Usual(kind, lengths[0] / lengths[1]), judge=None)


def is_sound(form: PlainLoss, output: Tensor, y: Tensor) -> bool:
    """Whether a loss of numbers wants each target and counts all alike, however it weighs too much against too little.

    Absolute errors, a quantile, Huber's loss are meant so: that squared errors are larger than they could be is no
    fault. Asked are outputs some deviations beside the targets, each example alone, whose mean or sum is the loss.

    >>> y = torch.tensor([[1.0], [2.0], [4.0]])
    >>> is_sound(PlainLoss(nn.L1Loss()), y, y), is_sound(PlainLoss(lambda z, t: (z - t.T).square().mean()), y, y)
    (True, False)
    """
    target = y.reshape(output.shape).to(output.dtype)
    deviation = float(target.std(correction=0))
    least = each_alone(form.loss, target, y)
    if least is None:
        return False
    for beside in BESIDE:
        moved = target + beside * deviation
        values = each_alone(form.loss, moved, y)
        if values is None:
            return False
        scalar = form.scalar(moved, y)
        if not any(torch.isclose(own.to(scalar), scalar, rtol=1e-3) for own in (values.mean(), values.sum())):
            return False
        higher = values - least
        if not (float(higher.min()) > 0 and float(higher.max()) < EVENLY * float(higher.min())):
            return False
    return True


def _slope(loss: Callable[[Any, Any], Tensor], output: Tensor, y: Any) -> Tensor:
    z = output.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(z, y), z)
    return slope.double()


def ask_loss(lab: Laboratory, floor: Floor) -> tuple[Experiment, Ranked, str] | None:
    """Whether the usual loss brings down the errors on train and on validation, however outputs are calibrated.

    A loss may want another quantile, or weigh classes, on purpose: errors are those after the best line, or the best
    shift of each class, so that this is no fault. None where it cannot be asked, or the budget does not hold the run.
    """
    if floor.natural is None or (recipe := with_usual_loss(lab)) is None or not lab.affords(recipe, [0], LOSS):
        return None
    lab.question = ASKS
    seeds = [lab.recipe.seed]
    splits = (lab.train, lab.validation)
    (before,) = lab.run(CONTROL, lab.recipe, seeds)
    ran = lab.run(LOSS, recipe, seeds)
    if not ran or not ran[0].status.good:
        return None
    errors = [[recalibrated_errors(run, split, lab.device) for split in splits] for run in (before, ran[0])]
    if any(own is None for each in errors for own in each):
        return None
    here, there = ([as_losses(own) for own in each if own is not None] for each in errors)
    effects = [lower_by([first], [second]) for first, second in zip(here, there, strict=True)]
    reference = [float(np.mean(known.losses)) for known in floor.natural.errors]
    shares = [_share(own, effect, known) for own, effect, known in zip(here, effects, reference, strict=True)]
    yes = all(effect.low > 0 for effect in effects) and max(shares) >= CLOSES
    control, arm = (
        Arm(name, (), Score(*each[1].mean()), tuple(seeds), run.seconds, each[1].mean()[0], own)
        for name, each, run, own in ((CONTROL, here, before, lab.recipe), (LOSS, there, ran[0], recipe))
    )
    says = (
        f"With {recipe.objective.kind.__name__.strip('_').replace('_', ' ')} in place of the recipe's loss the errors "
        f"on validation are {'' if effects[1].value > 0 else 'not '}lower, by {effects[1]}, from {control.score}."
    )
    experiment = Experiment(ASKS, "natural error", control, (arm,), "yes" if yes else "no", says, effects[1])
    share = max(0.0, min(1.0, max(shares)))
    return experiment, Ranked(Cause.WIRING, share, f"the loss is at fault: {says.rstrip('.')}"), MEND_LOSS


def _share(own: Any, effect: Score, reference: float) -> float:
    way = own.mean()[0] - reference
    return effect.value / way if way > 0 else 0.0


def ask_loop(lab: Laboratory, floor: Floor) -> tuple[Experiment, Ranked, str] | None:
    """Whether the library's loop, in place of the recipe's own, lowers the validation loss; on two seeds. And a mend.

    None where the recipe has no loop of its own, or the budget does not hold the runs.
    """
    if lab.recipe.loop is None:
        return None
    recipe, seeds = lab.recipe.but(loop=None), [lab.recipe.seed + i for i in range(SEEDS)]
    if not lab.affords_both(lab.recipe, recipe, seeds):
        return None
    lab.question = ASKS_LOOP
    experiment = ask(lab, floor, ASKS_LOOP, [(LOOP, recipe)], lab.validation, LEVEL)
    if (effect := experiment.effect) is None:
        return None
    says = f"In the library's loop the validation loss is {'' if effect.value > 0 else 'not '}lower, by {effect}."
    experiment = replace(experiment, says=says)
    seen = differences_of(lab) if experiment.answer == "yes" else ()
    ranked = Ranked(Cause.WIRING, None, f"the recipe's own loop is at fault: {says.rstrip('.')}{_told(seen)}")
    return experiment, ranked, mend_of_loop(seen)
