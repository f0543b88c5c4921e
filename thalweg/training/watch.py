"""What is looked after between two steps: a finite loss, an interrupt that waits, a checkpoint that is due."""

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from thalweg.core.finite import all_finite
from thalweg.core.randomness import generator
from thalweg.core.source import Ordered
from thalweg.training.build import Training
from thalweg.training.interrupts import Interrupts
from thalweg.training.saving import Saver

ON_DEVICE = 32
"""Losses on a device are read so many at a time, for reading one waits for all that the device has to do."""
SHOWN = 16


class NotFinite(Exception):
    """A loss or a weight that is not finite; the message says of which step."""

    def __init__(self, message: str, value: float) -> None:
        super().__init__(message)
        self.value = value


class Watch:
    """Looks after one run; `saver` is None where nothing is written."""

    def __init__(self, training: Training, interrupts: Interrupts, saver: Saver | None) -> None:
        self.training, self.interrupts, self.saver = training, interrupts, saver
        self.unread: list[tuple[int, int, Tensor]] = []
        self.at_once = training.device.type == "cpu"

    def after_step(self, loss: Tensor | None) -> None:
        """Look after a step with this loss; None between the batches of a user's own loop.

        Raises `NotFinite`, and what a waiting interrupt raises once a checkpoint is written.
        """
        if loss is None:
            self.interrupts.deliver()
            return
        if self.at_once:
            if not isfinite(value := loss.item()):
                raise self.not_finite(self.training.moment.step, self.training.position.batch, value)
        else:
            self.unread.append((self.training.moment.step, self.training.position.batch, loss.detach()))
            if len(self.unread) >= ON_DEVICE or self.interrupts.pending:
                self.read()
        if self.saver is not None:
            if self.interrupts.pending:
                self.save(self.saver)
            elif self.saver.due:
                self.read()
                self.save(self.saver)
        self.interrupts.deliver()

    def after_epoch(self) -> None:
        """The same at the end of an epoch."""
        if self.saver is not None and (self.interrupts.pending or self.saver.due_after_epoch):
            self.save(self.saver)
        self.interrupts.deliver()

    def read(self) -> None:
        """Look at the losses that were left on the device."""
        unread, self.unread = self.unread, []
        if not unread:
            return
        values = torch.stack([loss.double() for *_, loss in unread]).tolist()
        for (step, batch, _), value in zip(unread, values, strict=True):
            if not isfinite(value):
                raise self.not_finite(step, batch, value)

    def save(self, saver: Saver) -> None:
        """Write a checkpoint, of finite weights alone."""
        if not all_finite(self.training.model.parameters()):
            batch = self.training.position.batch
            step, epoch = self.training.moment.step, self.training.moment.epoch
            raise NotFinite(
                f"A weight is not finite after step {step} (epoch {epoch}, batch {batch}). {kept(saver)}", float("nan")
            )
        saver.save()

    def not_finite(self, step: int, batch: int, value: float) -> NotFinite:
        """The end of a run whose loss is not finite, with its step and its examples."""
        epoch = self.training.position.epoch
        return NotFinite(
            f"The loss is {value} at step {step} (epoch {epoch}, batch {batch}{self._examples(epoch, batch)}). "
            f"{kept(self.saver)}",
            value,
        )

    def _examples(self, epoch: int, batch: int) -> str:
        """The examples of a step by their places in the train split, from 0, where its source can name them."""
        source: Any = self.training.source
        if not isinstance(source, Ordered):
            return ""
        order = generator(self.training.recipe.seed, "order", epoch)
        first = (batch - 1) // self.training.recipe.accumulate * self.training.recipe.accumulate
        ids = torch.cat(source.ordered(epoch, order)[first:batch]).tolist()
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        return f", train examples {', '.join(map(str, ids[:SHOWN]))}{more}"


def kept(saver: Saver | None) -> str:
    """What is left of a run that stopped so."""
    if saver is None or not saver.checkpoints.places():
        return "The training stops there."
    return "The training stops there, and the last checkpoint before it is kept."
