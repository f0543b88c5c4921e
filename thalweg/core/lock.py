"""The lock of a run folder: one process at a time trains in it, and one that died holds nothing."""

import os
import socket
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from thalweg.core.errors import RunError
from thalweg.core.notices import notice

NAME = ".lock"


def holder() -> dict[str, Any]:
    """Who holds a lock of this process, as run.json names it."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def locked(folder: Path, known: dict[str, Any]) -> FileLock | None:
    """The lock of a folder, held; None where its file system has no locks, which is said.

    `known` is what run.json says of the process that holds it.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> lock = locked(folder, holder())
    >>> locked(folder, {"pid": 42, "host": "here"})
    Traceback (most recent call last):
    thalweg.core.errors.RunError: The run ... is being trained by process 42 on here. Wait for it, or end that process.

    Raises `RunError` where another process, or another run of this one, holds it.
    """
    lock = FileLock(folder / NAME, is_singleton=False, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = f"process {known['pid']} on {known.get('host', '?')}" if "pid" in known else "another process"
        raise RunError(f"The run {folder.name} is being trained by {who}. Wait for it, or end that process.") from error
    except (NotImplementedError, OSError) as error:
        notice(f"The folder {folder} cannot be locked ({error}): see to it that only one process trains in it.")
        return None
    return lock


def is_locked(folder: Path) -> bool:
    """Whether some process trains in a folder.

    >>> import tempfile
    >>> is_locked(Path(tempfile.mkdtemp()))
    False
    """
    if not (folder / NAME).exists():
        return False
    try:
        with FileLock(folder / NAME, timeout=0, is_singleton=False):
            return False
    except Timeout:
        return True
    except (NotImplementedError, OSError):
        return False
