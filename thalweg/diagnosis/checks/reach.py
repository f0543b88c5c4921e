r"""What a model's outputs can be, and the lowest loss that such outputs reach, whatever the inputs.

The range is found by behaviour: copies of the model with larger and larger weights of random signs are asked for many
outputs. A head that is bounded shows the same ends each time, any other one grows. The lowest loss of outputs that
are free is found by descent on the outputs themselves,

$$ L_{free} = \min_z L(z, t), \qquad L_{head} = \min_z L(h(z), t), \qquad L_{const} = \min_c L(h(c), t), $$

with h the head's own form: the identity, a range, or a softmax. What a head costs is $L_{head} - L_{free}$.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from math import inf, isfinite

import torch
from torch import Tensor, nn

from thalweg.core.nest import Nest, map_tensors
from thalweg.diagnosis.checks.examined import Examined, Unasked

Form = Callable[[Tensor], Tensor]
SCALES = (3.0, 9.0, 27.0)
"""By so much the weights of the copies are larger."""
COPIES = 4
"""Copies for each scale: the outputs of one may all be far on one side."""
SURE = 30.0
"""A logit that leaves no doubt."""
STEPS = 120
MOST_NUMBERS = 16384
"""Numbers of the outputs that are descended on; fewer examples where each has many."""


@dataclass(frozen=True)
class Range:
    """The least and the largest number that the outputs come to; infinite where they grow with the weights."""

    low: float
    high: float

    @property
    def bounded(self) -> bool:
        return isfinite(self.low) or isfinite(self.high)


@dataclass
class Reach:
    """The head of a model, and the losses that free outputs, those of the head, and a constant reach."""

    examined: Examined

    @cached_property
    def outputs(self) -> list[Tensor]:
        """Outputs of copies with larger and larger weights, as far as they are finite."""
        found = []
        for scale in SCALES:
            kept = [output for number in range(COPIES) for output in self._asked(scale, number)]
            if kept:
                found.append(torch.cat(kept))
        return found

    def _asked(self, scale: float, number: int) -> Iterator[Tensor]:
        """Outputs of one such copy for the batch, and for noisy inputs where it takes them."""
        e = self.examined
        draw = e.generator(f"range {scale} {number}")
        model = wild(e.fresh(), scale, draw)
        for x in (e.x, map_tensors(partial(noisy, draw=draw), e.x)):
            try:
                output = e.judged(model, x)
            except Unasked:
                continue
            if isinstance(output, Tensor) and bool(output.isfinite().all()):
                yield output

    @cached_property
    def range(self) -> Range:
        """Where the outputs can lie; an end is one of the range where it stays while the weights grow threefold."""
        if len(self.outputs) < 2:
            return Range(-inf, inf)
        (low, high), (low2, high2) = ((float(o.min()), float(o.max())) for o in self.outputs[-2:])
        if isfinite(low) and max(abs(v) for v in (low, high, low2, high2)) == 0:
            return Range(-inf, inf)
        closed = abs(low - low2) <= 0.02 * max(abs(low), 0.05), abs(high - high2) <= 0.02 * max(abs(high), 0.05)
        if closed[0] and closed[1]:
            return Range(min(low, low2), max(high, high2))
        grows = high2 - low2 > 1.5 * (high - low)
        return Range(min(low, low2) if closed[0] and grows else -inf, max(high, high2) if closed[1] and grows else inf)

    @cached_property
    def softmax_axis(self) -> int | None:
        """The axis along which all outputs are positive and sum to 1; None where there is none."""
        outputs = [self.examined.output, *self.outputs]
        for axis in range(1, outputs[0].dim()):
            if all(_sums_to_one(o, axis) for o in outputs) and outputs[0].shape[axis] > 1:
                return axis
        return None

    @property
    def logarithms(self) -> bool:
        """Whether outputs are the logarithms of probabilities along axis 1."""
        outputs = [self.examined.output, *self.outputs]
        return all(o.dim() > 1 and _sums_to_one(o.exp(), 1) for o in outputs)

    @cached_property
    def rows(self) -> Tensor:
        """The examples that are descended on."""
        e = self.examined
        count = max(2, min(e.n, MOST_NUMBERS // max(e.output[0].numel(), 1)))
        return torch.arange(e.n, device=e.device)[:count]

    @cached_property
    def target(self) -> Tensor:
        """Their targets."""
        return self.examined.y[self.rows]

    @property
    def head(self) -> Form:
        """The head's form."""
        axis = self.softmax_axis
        if axis is not None:
            return lambda z: z.softmax(axis)
        if self.logarithms:
            return lambda z: z.log_softmax(1)
        return (lambda z: z) if self.range.bounded else free

    @property
    def _clamped(self) -> bool:
        """Whether the head is a range, and no softmax."""
        return self.softmax_axis is None and not self.logarithms

    @cached_property
    def bottomless(self) -> bool:
        """Whether the loss has no lower bound where outputs may be any numbers."""
        return any(self._value(free, 1e3 * sign * z, False) < -100.0 for z in self._far() for sign in (1.0, -1.0))

    def _far(self) -> list[Tensor]:
        output = self.examined.output[self.rows].float()
        right = self._guesses(free)
        return [output, *right, *(z.roll(1, 0) for z in right)]

    @cached_property
    def free(self) -> float:
        """The lowest loss of free outputs; minus infinity where it has no lower bound."""
        return -inf if self.bottomless else self.lowest(free)

    @cached_property
    def bare(self) -> bool:
        """Whether the outputs can be any numbers."""
        return self.softmax_axis is None and not self.logarithms and not self.range.bounded

    @cached_property
    def quick(self) -> tuple[float, float]:
        """The losses of a constant and of right outputs, by the best of some guesses: no less than the lowest."""
        e, y = self.examined, self.target
        if e.classes:
            flat = torch.nn.functional.one_hot(y.long(), e.output.shape[1]).reshape(-1, e.output.shape[1])
            prior = flat.float().mean(0).clamp_min(1e-6).log()
            constants = [prior.reshape(1, -1, *[1] * (e.output.dim() - 2)).expand(e.output[:1].shape)]
        elif e.numbers:
            y = y.reshape(e.output[self.rows].shape).float()
            mean = y.mean(0, keepdim=True)
            share = mean.clamp(1e-4, 1 - 1e-4)
            constants = [mean, y.median(0, keepdim=True).values, share.logit()]
        else:
            return inf, inf
        constants = [self.head(z) for z in constants]
        constant = min((self._value(free, z, True) for z in constants), default=inf)
        return constant, min((self._value(self.head, z, False) for z in self._guesses(self.head)), default=inf)

    @cached_property
    def reached(self) -> float:
        """The lowest loss of outputs of the head's form."""
        return self.lowest(self.head)

    @cached_property
    def constant(self) -> float:
        """The lowest loss of one output for all examples, of the head's form."""
        return self.lowest(self.head, same=True)

    def lowest(self, form: Form, same: bool = False) -> float:
        """The lowest loss that descent on the outputs finds, from the model's own outputs and from the targets'.

        A range is kept by putting each step back into it: at its ends a clamp has no gradient to come back by.
        """
        best = inf
        output = self.examined.output[self.rows]
        for start in [output, *self._guesses(form)]:
            z = start.float()
            z = z.mean(0, keepdim=True) if same else z
            for scale in self._scales(z):
                best = min(best, self._descended(z, form, same, scale))
        return best

    def _guesses(self, form: Form) -> list[Tensor]:
        """Outputs that are right in the forms that losses read: the targets, their logits."""
        e, y = self.examined, self.target
        if e.classes:
            hot = torch.nn.functional.one_hot(y.long(), e.output.shape[1]).movedim(-1, 1).float()
            return [SURE * hot]
        if e.numbers:
            y = y.reshape(e.output[self.rows].shape).float()
            zero_one = bool(((y >= 0) & (y <= 1)).all())
            return [y, *([SURE * (2 * y - 1)] if zero_one and form is free else [])]
        return []

    def _scales(self, z: Tensor) -> list[float]:
        """How far steps go: by the spread of the outputs, and by that of the targets where they are numbers."""
        y = self.target
        own = max(float(z.std()) if z.numel() > 1 else 0.0, 0.1)
        theirs = float(y.float().std()) if y.is_floating_point() and y.numel() > 1 else 1.0
        return [own] if 0.3 < theirs / own < 3.0 else [own, max(theirs, 1e-3)]

    def _descended(self, z: Tensor, form: Form, same: bool, scale: float) -> float:
        """Adam on the outputs, its rate falling to 0; the lowest loss on the way."""
        low, high = (self.range.low, self.range.high) if form is not free and self._clamped else (-inf, inf)
        scale = min(scale, high - low)
        z = z.clamp(low, high)
        z = z.clone().requires_grad_()
        m, v = torch.zeros_like(z), torch.zeros_like(z)
        best = inf
        for step in range(STEPS):
            try:
                loss = self._loss(form, z, same)
            except Unasked:  # outputs that the loss refuses, such as no probabilities
                break
            if not loss.requires_grad:
                break
            best = min(best, float(loss))
            (gradient,) = torch.autograd.grad(loss, z, allow_unused=True)
            if gradient is None or not bool(gradient.isfinite().all()):
                break
            m = 0.8 * m + 0.2 * gradient
            v = 0.95 * v + 0.05 * gradient.square()
            with torch.no_grad():
                corrected = (v / (1 - 0.95 ** (step + 1))).sqrt() + 1e-12
                z -= 0.3 * scale * (1 - step / STEPS) * m / (1 - 0.8 ** (step + 1)) / corrected
                z.clamp_(low, high)
        return best

    def _loss(self, form: Form, z: Tensor, same: bool) -> Tensor:
        with torch.enable_grad():
            output = form(z.expand(len(self.target), *z.shape[1:]) if same else z)
            return self.examined.loss(output.to(self.examined.output.dtype), self.target)

    def _value(self, form: Form, z: Tensor, same: bool) -> float:
        try:
            value = float(self._loss(form, z, same))
        except Unasked:
            return inf
        return value if value == value else inf


def free(z: Tensor) -> Tensor:
    """Outputs that may be any number."""
    return z


def wild(model: nn.Module, scale: float, draw: torch.Generator) -> nn.Module:
    """The model with larger weights of random signs, and none of them zero."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.is_floating_point() and weight.numel():
                noise = torch.randn(weight.shape, generator=draw).to(weight)
                size = max(float(weight.float().std()) if weight.numel() > 1 else float(weight.abs().max()), 0.1)
                weight.copy_(scale * (weight.abs() * noise.sign() + 0.3 * size * noise))
    return model


def perturbed(model: nn.Module, draw: torch.Generator, share: float = 0.5) -> nn.Module:
    """The model with noise on its weights, so that none is zero: a head that begins at 0 is no flaw."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.is_floating_point() and weight.numel():
                size = float(weight.float().std()) if weight.numel() > 1 else float(weight.abs().max())
                noise = torch.randn(weight.shape, generator=draw).to(weight)
                weight.add_(share * max(size, 0.05) * noise)
    return model


def noisy(leaf: Tensor, draw: torch.Generator) -> Tensor:
    """Inputs with noise of ten times their spread; whole numbers stay."""
    if not leaf.is_floating_point():
        return leaf.clone()
    noise = torch.randn(leaf.shape, generator=draw).to(leaf)
    return leaf + 10 * (leaf.float().std() if leaf.numel() > 1 else 1.0) * noise


def _sums_to_one(output: Tensor, axis: int) -> bool:
    sums = output.float().sum(axis)
    return bool((output >= -1e-6).all() and (sums - 1).abs().max() < 1e-3)


def batch_axis_sums(output: Tensor) -> bool:
    """Whether outputs are positive and sum to 1 over the examples, as a softmax over the wrong axis gives them."""
    return output.dim() > 1 and len(output) > 1 and _sums_to_one(output, 0)


def shifted(nest: Nest) -> Nest:
    """The same rows, each one place further: every example has the inputs of another."""
    return map_tensors(lambda leaf: leaf.roll(1, 0), nest)


def standardized(leaf: Tensor) -> Tensor:
    """Inputs of mean 0 and spread 1, each by its own over the examples; whole numbers stay."""
    if not leaf.is_floating_point() or len(leaf) < 2:
        return leaf
    spread = leaf.std(0)
    return (leaf - leaf.mean(0)) / torch.where(spread > 1e-6, spread, 1.0)
