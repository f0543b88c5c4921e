"""The stages of a diagnosis or an improvement on stderr: a line each, and on a terminal a clock with the time left."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from thalweg.diagnosis import Stage

REFRESHES_A_SECOND = 4


class Stages:
    """What `diagnose` and `improve` report to. Quiet, it tells nothing."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.started = self.since = time.monotonic()
        self.stage: Stage | None = None
        self.live: Any = None

    def __enter__(self) -> "Stages":
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self.live = Live(
                console=Console(stderr=True),
                get_renderable=self.clock,
                refresh_per_second=REFRESHES_A_SECOND,
                transient=True,
            )
            self.live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, stage: "Stage") -> None:
        self.stage, self.since = stage, time.monotonic()
        line = f"{self.since - self.started:6.1f} s  {stage}"
        if self.live is not None:
            self.live.console.print(Text(line), soft_wrap=True)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def clock(self) -> Text:
        """The stage that goes on: its name, how long it has gone on, and what is left of it and of everything."""
        from thalweg.diagnosis.stage import duration

        if self.stage is None:
            return Text("preparing")
        gone = time.monotonic() - self.since
        own, left = (None if told is None else max(told - gone, 0.0) for told in (self.stage.seconds, self.stage.left))
        parts = [duration(gone)]
        parts += [] if own is None else [f"about {duration(own)} left"]
        parts += [] if left is None else [f"everything at most {duration(left)}"]
        return Text(f"{self.stage.name}: {', '.join(parts)}")
