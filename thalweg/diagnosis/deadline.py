"""The end of a time budget, which what takes long asks for between its parts: folds of a learner, checks, trainings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_over: ContextVar[Callable[[], bool] | None] = ContextVar("thalweg_time_is_over", default=None)


class TimeSpent(BaseException):
    """The time budget is spent; what a check or a user's program may fail with is caught beside it, and not this."""


@contextmanager
def ending_when(is_over: Callable[[], bool]) -> Iterator[None]:
    """Let what is asked for within the block end where the time is over.

    >>> with ending_when(lambda: True):
    ...     check_time()
    Traceback (most recent call last):
    thalweg.diagnosis.deadline.TimeSpent
    """
    token = _is_over.set(is_over)
    try:
        yield
    finally:
        _is_over.reset(token)


def check_time() -> None:
    """Raise `TimeSpent` where the time is over; where none is set it never is."""
    is_over = _is_over.get()
    if is_over is not None and is_over():
        raise TimeSpent
