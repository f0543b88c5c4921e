"""Notices: what was repaired or decided on the user's behalf is said, once, and kept with the run.

A notice is no error and no Python warning (a test suite that turns warnings into errors still trains): it is logged by
the logger "thalweg", and whoever collects, as `train` does, gets the text.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_collected: ContextVar[tuple[list[str], ...]] = ContextVar("thalweg_notices", default=())


def notice(message: str) -> None:
    """Say something that the user should know; the same message is logged once for each collector.

    >>> with collecting() as notices:
    ...     notice("batch_size=64 is larger than the data")
    >>> notices
    ['batch_size=64 is larger than the data']
    """
    collectors = _collected.get()
    if not any(message in collected for collected in collectors):
        logging.getLogger("thalweg").warning("%s", message)
    for collected in collectors:
        if message not in collected:
            collected.append(message)


@contextmanager
def collecting(known: Iterable[str] = ()) -> Iterator[list[str]]:
    """Collect the notices of a block after those that were said before it; blocks may nest.

    What is known, here or in an outer block, is not logged again.
    """
    notices = list(known)
    token = _collected.set((*_collected.get(), notices))
    try:
        yield notices
    finally:
        _collected.reset(token)


class _Known(list[str]):
    """A collector that knows every message already."""

    def __contains__(self, message: object) -> bool:
        return True


@contextmanager
def unsaid() -> Iterator[None]:
    """Let a block's notices go unsaid: another look at a recipe says nothing a second time.

    >>> with collecting() as notices, unsaid():
    ...     notice("batch_size=64 is larger than the data")
    >>> notices
    []
    """
    token = _collected.set((_Known(),))
    try:
        yield
    finally:
        _collected.reset(token)
