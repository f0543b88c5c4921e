"""Interrupts that wait for the end of a step: Ctrl-C and SIGTERM never cut an update in half."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


@dataclass
class Announced:
    """A handler of Ctrl-C that says at once what it ends and what is kept, and then does what `handler` does."""

    handler: Callable[..., Any]
    says: str
    owner: int = field(default_factory=os.getpid)
    told: bool = False

    def announce(self) -> None:
        """Say it, once, in the process that was interrupted and not in its workers."""
        if not self.told and os.getpid() == self.owner:
            self.told = True
            with suppress(OSError):
                os.write(2, f"\n{self.says} Ctrl-C once more stops at once.\n".encode())

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.announce()
        self.handler(number, frame)


@contextmanager
def announcing(says: str) -> Iterator[None]:
    """Answer Ctrl-C at once within the block, before the step that runs has ended; the outermost such block speaks.

    >>> with announcing("Stopping after this step."):
    ...     signal.getsignal(signal.SIGINT).says
    'Stopping after this step.'
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(before) or isinstance(before, Announced):
        yield
        return
    own = Announced(before, says)
    signal.signal(signal.SIGINT, own)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is own:
            signal.signal(signal.SIGINT, before)


@dataclass
class Interrupts:
    """The signal that came while a step was taken, and what would have handled it.

    >>> Interrupts().pending
    False
    """

    owner: int = field(default_factory=os.getpid)
    _waiting: list[tuple[int, Callable[..., Any]]] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        """Whether one waits."""
        return bool(self._waiting)

    def deliver(self) -> None:
        """Do what the signal's own handler does: raise the interrupt."""
        if self._waiting:
            number, handler = self._waiting.pop(0)
            handler(number, None)

    def keep(self, error: BaseException) -> None:
        """Let an interrupt that was raised between two steps wait like one that came by a signal."""

        def again(number: int, frame: FrameType | None) -> None:
            raise error

        self._waiting.append((0, again))

    def _note(self, handler: Callable[..., Any], number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.owner:
            _in_a_worker(number)
            return
        if self.pending:  # a second one does not wait
            self._waiting.clear()
            handler(number, frame)
            return
        self._waiting.append((number, handler))
        if isinstance(handler, Announced):
            handler.announce()
        elif os.isatty(2):
            os.write(2, b"\nThe run ends after this step, with a checkpoint. Once more ends it at once.\n")


def _in_a_worker(number: int) -> None:
    """A worker that was forked leaves an interrupt to the process that trains, and ends at any other signal."""
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@contextmanager
def deferred() -> Iterator[Interrupts]:
    """Let interrupts wait until they are delivered; a second one does not wait. Elsewhere than in the main thread none.

    Signals that nobody handles (SIGTERM in a script) still end the process at once.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        handler = None if number is None else signal.getsignal(number)
        if number is not None and callable(handler):

            def note(number: int, frame: FrameType | None, own: Callable[..., Any] = handler) -> None:
                interrupts._note(own, number, frame)

            before[number] = signal.signal(number, note)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
