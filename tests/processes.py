"""Work in processes of their own, which share nothing but the files."""

import os
import warnings
from collections.abc import Callable
from typing import Any


def in_child(work: Callable[[], Any]) -> int:
    """Run something in a process of its own that shares nothing but the files; its pid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, for a process with threads
        pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int) -> int:
    """How a process ended, once it has."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
