"""Progress on stderr: a bar with the time left on a terminal, one line an epoch elsewhere."""

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

REFRESH_SECONDS = 0.1


class Progress:
    """What `train` reports to: called with the epoch and the step after each step, and the row after each epoch."""

    def __init__(self, epochs: int, quiet: bool) -> None:
        self.epochs = epochs
        self.quiet = quiet
        self.bar: Any = None
        self.task: Any = None
        self.steps_an_epoch: int | None = None
        self.shown = 0.0

    def __enter__(self) -> "Progress":
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[loss]}"),
            )
            self.bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("preparing", total=None, loss="")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, epoch: int, step: int, row: dict[str, Any] | None = None) -> None:
        if row is not None:
            self.steps_an_epoch = self.steps_an_epoch or step
            self._epoch_done(row)
        elif self.bar is not None and time.monotonic() - self.shown > REFRESH_SECONDS:
            self.shown = time.monotonic()
            steps = self.steps_an_epoch
            done = epoch - 1 if steps is None else step / steps
            self.bar.update(self.task, description=f"epoch {epoch}/{self.epochs}", total=self.epochs, completed=done)

    def _epoch_done(self, row: dict[str, Any]) -> None:
        line = epoch_line(row)
        if self.bar is not None:
            self.bar.update(self.task, total=self.epochs, completed=row["epoch"], loss=line)
        elif not self.quiet:
            with suppress(OSError):  # a reader of stderr that has gone is no reason to end the training
                print(
                    f"epoch {row['epoch']}/{self.epochs}  {line}  {row['seconds']:.2f} s", file=sys.stderr, flush=True
                )


def epoch_line(row: dict[str, Any]) -> str:
    """The losses and the first metric of an epoch in a line.

    >>> epoch_line({"train_loss": 0.5, "validation_loss": 0.25, "metrics": {"accuracy": 0.9}})
    'train 0.5  validation 0.25  accuracy 0.9'
    """
    parts = [f"train {row['train_loss']:.4g}"] if row["train_loss"] is not None else []
    if row["validation_loss"] is not None:
        parts.append(f"validation {row['validation_loss']:.4g}")
    parts += [f"{name} {value:.4g}" for name, value in list(row["metrics"].items())[:1]]
    return "  ".join(parts)
