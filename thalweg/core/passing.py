"""How far something has come that takes a while before any training: whoever shows it to a person listens here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]
"""Called with what is done, how much of it is done, and how much there is to do."""

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("thalweg_passing", default=())


def passed(what: str, done: int, total: int) -> None:
    """Say how far something has come.

    >>> with listening(lambda *told: print(*told)):
    ...     passed("decoding images", 3, 7)
    decoding images 3 7
    """
    for listener in _listeners.get():
        listener(what, done, total)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a listener hear what passes in a block."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)
