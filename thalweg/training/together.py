"""Several runs of one kind trained together as a stack, each with its own history, best weights and end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor

from thalweg.core.notices import collecting, notice
from thalweg.core.threads import fitting_threads
from thalweg.training.build import Training
from thalweg.training.interrupts import Interrupts, deferred
from thalweg.training.keeper import Keeper
from thalweg.training.loop import close_epoch
from thalweg.training.outcome import Outcome
from thalweg.training.stacked import Stack
from thalweg.training.watch import ON_DEVICE, NotFinite, Watch


@dataclass
class Going:
    """A run that goes on: what it trains, what it keeps, what was said of it, and how it ended once it has."""

    training: Training
    keeper: Keeper
    notices: list[str]
    status: Outcome | None = None
    stopped: BaseException | None = None
    fault: NotFinite | None = field(default=None, repr=False)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """What is said in the block is said of this run."""
        with collecting(self.notices) as self.notices:
            yield


def train_together(goings: list[Going]) -> None:
    """Train runs of one kind to their ends, each of which is noted in them."""
    stack: Stack | None = Stack([going.training for going in goings])
    active = goings
    with deferred() as interrupts, fitting_threads(goings[0].training.work):
        try:
            for epoch in range(1, goings[0].training.recipe.epochs + 1):
                assert stack is not None
                gone = _epoch(stack, active, epoch, interrupts)
                interrupts.deliver()
                if gone:
                    stack = stack.without(gone)
                    active = [going for k, going in enumerate(active) if k not in gone]
                if stack is None:
                    break
        except KeyboardInterrupt as interrupt:
            for going in active:
                going.status, going.stopped = Outcome.INTERRUPTED, interrupt
    if stack is not None:
        stack.without(set(range(len(active))))
    for going in goings:
        going.status = going.status or Outcome.FINISHED


def _epoch(stack: Stack, active: list[Going], epoch: int, interrupts: Interrupts) -> set[int]:
    """One epoch of all active runs; the places of those that have ended with it."""
    unread: list[tuple[int, int, Tensor]] = []
    most = 1 if stack.device.type == "cpu" else ON_DEVICE

    def after_step(losses: Tensor) -> None:
        first = active[0].training
        unread.append((first.moment.step, first.position.batch, losses))
        if len(unread) >= most:
            _read(stack, active, unread, interrupts)
        interrupts.deliver()

    seconds = stack.epoch(epoch, after_step)
    _read(stack, active, unread, interrupts)
    gone = set()
    for k, (going, taken) in enumerate(zip(active, seconds, strict=True)):
        with going.heard():
            if _ended(going, taken):
                gone.add(k)
    return gone


def _read(stack: Stack, active: list[Going], unread: list[tuple[int, int, Tensor]], interrupts: Interrupts) -> None:
    """Look at the losses of some steps; a run with one that is not finite goes no further."""
    if len(unread) == 1 and isfinite(unread[0][2].sum().item()):  # the quicker question
        unread.clear()
        return
    values = torch.stack([losses for *_, losses in unread]).tolist() if unread else []
    for (step, batch, _), row in zip(unread, values, strict=True):
        for k, value in enumerate(row):
            if not isfinite(value) and active[k].fault is None:
                watch = Watch(active[k].training, interrupts, None)
                active[k].fault = watch.not_finite(step, batch, value)
                stack.release(k)
    unread.clear()


def _ended(going: Going, seconds: float) -> bool:
    """Judge a run after its epoch and keep what it gave; whether it has ended before its last one."""
    training, keeper = going.training, going.keeper
    training.position.seconds = seconds
    if going.fault is not None:
        notice(str(going.fault))
        keeper.keep_unfinished(going.fault.value)
        going.status = Outcome.DIVERGED
        return True
    row = close_epoch(training)
    keeper.keep(row)
    going.status = keeper.end_with(row)
    return going.status is not None
