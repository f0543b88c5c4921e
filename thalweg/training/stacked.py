"""Many runs as one program: their weights stacked, one forward and backward pass, one update for all of them.

For runs k = 1..K the sum of their losses is minimized; no loss depends on another run's weights, so

    d(sum_k L_k) / d(theta_k) = dL_k / d(theta_k),

and each run goes its own way: its own initial weights, order of examples, dropout and learning rate.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.arrays import arrays_of
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.objective import PlainLoss, counted_targets
from thalweg.core.randomness import generator
from thalweg.training.build import Training
from thalweg.training.chain import Chain, signature
from thalweg.training.rate import Multiplied, Rate
from thalweg.training.update import Update, settings_of
from thalweg.training.values import mean_of_each, unreduced_of

MOST_WORK = {"cpu": 2**22, "cuda": 2**32}
"""Multiplications of a step of one run (batch x weights) from which on stacking gains nothing: docs/log.md."""
AT_ONCE = 2**18
"""Numbers of the data that are put into the order of the epoch at once: many small gathers take longer than one."""


def kind_of(training: Training) -> tuple[Any, ...] | None:
    """What two runs must share to be one program; None for a run that cannot be stacked."""
    recipe, source = training.recipe, arrays_of(training.source)
    chain, settings = signature(training.model), settings_of(training.optimizer, list(training.model.parameters()))
    loss = training.step.objective
    plain = recipe.loop is None and recipe.penalty is None and training.device.type in ("cpu", "cuda")
    plain &= training.clip is None and training.average is None and recipe.accumulate == 1
    plain &= training.choices["precision"] == "float32"
    if not plain or source is None or chain is None or settings is None or not isinstance(loss, PlainLoss):
        return None
    if type(training.rate) not in (Rate, Multiplied) and getattr(training.rate, "per_step", True):
        return None
    mark = fingerprint(loss.inner)
    if mark == UNKNOWN or unreduced_of(loss.loss) is None:
        return None
    x, y = source.data
    work = (source.batch_size or len(source)) * _weights(training)
    if x.shape[1:].numel() == 0 or work > MOST_WORK[training.device.type] or _draws_otherwise(training):
        return None
    shapes = (x.shape[1:], x.dtype, y.shape[1:], y.dtype)
    return (chain, settings, mark, shapes, source.batch_size, source.count_batches(), recipe.epochs, training.device)


def _draws_otherwise(training: Training) -> bool:
    """Whether masks cannot be drawn as the run alone would draw them: dropout on a GPU has a kernel of its own."""
    drops = any(isinstance(module, nn.Dropout) and module.p for module in training.model.modules())
    return drops and training.device.type != "cpu"


def _weights(training: Training) -> int:
    return sum(weight.numel() for weight in training.model.parameters())


@dataclass(frozen=True)
class Batches:
    """The batches of one step of all runs, `(K, batch, ...)`.

    `real` is 1 where a row is an example and 0 where it fills up, `share` what each row counts in the mean of its run.
    """

    x: Tensor
    y: Tensor
    sizes: Tensor
    real: Tensor
    share: Tensor


class Stack:
    """K runs of one kind, trained an epoch at a time; those that have ended leave it."""

    def __init__(self, trainings: list[Training]) -> None:
        self.trainings = trainings
        self.device = trainings[0].device
        self.chain = Chain([training.model for training in trainings])
        self.update = Update(self.chain, [training.optimizer for training in trainings])
        objective = trainings[0].step.objective
        assert isinstance(objective, PlainLoss)
        self.loss = objective.loss
        unreduced = unreduced_of(self.loss)
        assert unreduced is not None
        self.unreduced = unreduced
        self.counted = any(map(self._counts, trainings))
        arrays = [arrays_of(training.source) for training in trainings]
        self.data = _on(self.device, [each.data for each in arrays if each is not None])
        """The inputs and targets of each run, where the stack is."""
        self.takes_positions: bool | None = None
        """Whether the loss takes scores `(K, classes, batch)`, as torch's do; None before it is tried."""

    def epoch(self, number: int, after_step: Callable[[Tensor], None]) -> list[float]:
        """One epoch of every run; gives the seconds that are each one's share. `after_step` is given the K losses."""
        started = perf_counter()
        draws = [generator(training.recipe.seed, "noise", number) for training in self.trainings]
        totals, weights = torch.zeros(2, len(self.trainings), dtype=torch.float64, device=self.device)
        for training in self.trainings:
            training.step.train()
            training.reach(number)
            training.rate.before_step(training.moment.step, training.moment.steps)
        scheduled = [training for training in self.trainings if type(training.rate) is not Rate]
        for batches in self._drawn(number):
            for training in scheduled:
                training.rate.before_step(training.moment.step, training.moment.steps)
            values, share = self._values(self.chain(batches.x, draws), batches)
            self.update.step(torch.autograd.grad(values, self.chain.weights, share))
            seen = (values.detach() * share).sum(1).double()
            totals.addcmul_(seen, batches.sizes)
            weights.add_(batches.sizes)
            for training in scheduled:
                training.rate.after_step()
            for training in self.trainings:
                training.moment.step += 1
                training.position.batch += 1
            after_step(seen)
        self.chain.share_gradients()
        for training, total, weight in zip(self.trainings, totals, weights.tolist(), strict=True):
            training.position.mean.total.copy_(total)
            training.position.mean.weight = weight
        return [(perf_counter() - started) / len(self.trainings)] * len(self.trainings)

    def without(self, gone: set[int]) -> "Stack | None":
        """The stack of the runs that go on, in the state that they have reached; None where there are none."""
        kept = [k for k in range(len(self.trainings)) if k not in gone]
        for k in gone:
            self.release(k)
        if not kept:
            return None
        stack = copy.copy(self)
        stack.trainings, stack.data = [self.trainings[k] for k in kept], [self.data[k] for k in kept]
        stack.chain = Chain([training.model for training in stack.trainings])
        stack.update = self.update.of(kept, stack.chain)
        return stack

    def release(self, k: int) -> None:
        """Give a run tensors of its own, which no later step of the others writes to."""
        for weight in self.trainings[k].model.parameters():
            weight.data, gradient = weight.data.clone(memory_format=torch.contiguous_format), weight.grad
            weight.grad = None if gradient is None else gradient.clone()
        for module in self.trainings[k].model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.clone())

    def _drawn(self, number: int) -> Iterator[Batches]:
        """The batches of an epoch, each run's in its own order; short ones are filled up."""
        sources: list[Any] = [training.source for training in self.trainings]
        orders = [
            source.ordered(number, generator(training.recipe.seed, "order", number))
            for source, training in zip(sources, self.trainings, strict=True)
        ]
        data = self.data
        for sizes, alike in groupby(zip(*orders, strict=True), key=lambda chunks: tuple(map(len, chunks))):
            largest, steps = max(sizes), list(alike)
            counts = torch.tensor(sizes).to(self.device, non_blocking=True)
            real = (torch.arange(largest, device=self.device) < counts[:, None]).to(data[0][0].dtype)
            share = real / real.sum(1, keepdim=True)
            block = max(1, AT_ONCE // (len(sizes) * largest * data[0][0].shape[1:].numel()))
            for first in range(0, len(steps), block):
                some = steps[first : first + block]
                for x, y in zip(*_gathered(data, some, largest), strict=True):
                    yield Batches(x, y, counts.double(), real, share)

    def _values(self, output: Tensor, batches: Batches) -> tuple[Tensor, Tensor]:
        """The loss of each example, `(K, batch)`, and its share in the mean that is its run's loss."""
        target = batches.y.flatten(0, 1)
        shape = batches.y.shape[:2]
        if self.takes_positions is None:
            self.takes_positions = self._tried(output, batches.y)
        if self.takes_positions:
            values = self.unreduced(output.mT, batches.y)
        else:
            values = mean_of_each(self.unreduced(output.flatten(0, 1), target)).unflatten(0, shape)
        if not self.counted:
            return values, batches.share.to(values.dtype)
        counts = counted_targets(self.loss, target)
        assert counts is not None
        real = batches.real.to(values.dtype)
        total = (mean_of_each(counts).to(values).unflatten(0, shape) * real).sum(1, keepdim=True)
        return values, real / torch.where(total != 0, total, 1)

    @torch.no_grad()
    def _tried(self, output: Tensor, y: Tensor) -> bool:
        """Whether scores `(K, classes, batch)` and classes `(K, batch)` give what they give one by one."""
        if output.dim() != 3 or y.dim() != 2 or y.is_floating_point():
            return False
        one_by_one = mean_of_each(self.unreduced(output.flatten(0, 1), y.flatten())).unflatten(0, y.shape)
        try:
            values = self.unreduced(output.mT, y)
        except Exception:  # a loss that reads scores in one form alone
            return False
        return values.shape == y.shape and torch.allclose(values, one_by_one, rtol=1e-4, atol=1e-6)

    def _counts(self, training: Training) -> bool:
        """Whether the loss's mean is over what the targets count (class weights, labels left out), not over rows."""
        arrays = arrays_of(training.source)
        counts = None if arrays is None else counted_targets(self.loss, arrays.data[1])
        return counts is not None and not bool((counts == 1).all())


def _gathered(
    data: list[tuple[Tensor, Tensor]], steps: list[tuple[Tensor, ...]], size: int
) -> tuple[tuple[Tensor, ...], ...]:
    """Inputs and targets of some steps, `(K, size, ...)` each, all gathered at once."""
    device = data[0][0].device
    rows = [
        torch.cat([_filled(chunk, size) for chunk in chunks]).to(device, non_blocking=True)
        for chunks in zip(*steps, strict=True)
    ]
    wholes = (
        torch.stack([pair[part].index_select(0, row) for pair, row in zip(data, rows, strict=True)]) for part in (0, 1)
    )
    return tuple(whole.split(size, dim=1) for whole in wholes)


def _on(device: torch.device, pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Pairs of tensors on a device, where those that share their memory share it again."""
    there: dict[Any, Tensor] = {}

    def moved(tensor: Tensor) -> Tensor:
        form = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        return there.setdefault(form, tensor if tensor.device == device else tensor.to(device))

    return [(moved(x), moved(y)) for x, y in pairs]


def _filled(chunk: Tensor, size: int) -> Tensor:
    return chunk if len(chunk) == size else torch.cat([chunk, chunk[:1].expand(size - len(chunk))])
