"""Decoding on stderr: a bar while images are read, on a terminal, for what takes long enough to be waited for."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thalweg.core.passing import listening

UNSEEN_SECONDS, REFRESH_SECONDS = 0.5, 0.1
"""How long nothing is shown, and how often the bar moves."""


@contextmanager
def decoding_shown(quiet: bool) -> Iterator[None]:
    """Show what passes in a block; elsewhere than on a terminal, and when quiet, nothing."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    bar = _Bar()
    try:
        with listening(bar):
            yield
    finally:
        bar.stop()


class _Bar:
    """A bar that appears once something takes long."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.shown = 0.0
        self.bar: Any = None
        self.task: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.started < UNSEEN_SECONDS or (now - self.shown < REFRESH_SECONDS and done < total):
            return
        self.shown = now
        if self.bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(what, total=total)
        self.bar.update(self.task, description=what, completed=done, total=total)

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
