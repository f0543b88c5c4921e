"""Files written whole: under a temporary name in the same folder, flushed to the disk, then renamed into place."""

import errno
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thalweg.core.errors import RunError, WriteError

TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.part")
"""What a file is called until it is whole."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either the old content or all of the new, whenever the power fails.

    A link stays, and what it points to is written; so does a pipe or a device, which is written into.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_bytes(folder / "a.txt", b"whole")
    >>> (folder / "a.txt").read_bytes(), len(list(folder.iterdir()))
    (b'whole', 1)

    Raises `RunError` where `check_writable` does, and `WriteError` where the writing fails.
    """
    check_writable(path)
    with _writing(path):
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _replace(Path(os.path.realpath(path)), data)


def write_own(path: Path, data: bytes) -> None:
    """Write a file of a folder that is ours: a link at its name is replaced, never followed.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "link").symlink_to(folder / "theirs")
    >>> write_own(folder / "link", b"ours")
    >>> (folder / "link").is_symlink(), (folder / "theirs").exists()
    (False, False)

    Raises `WriteError` where the writing fails; what was there before stays whole.
    """
    with _writing(path):
        _replace(path, data)


def own_folder(path: Path) -> Path:
    """A folder within one that is ours, made where there is none: a link at its name is replaced, never followed.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "link").symlink_to(folder)
    >>> own_folder(folder / "link").is_symlink()
    False

    Raises `WriteError` where it cannot be made.
    """
    with _writing(path):
        if path.is_symlink():
            path.unlink()
        path.mkdir(parents=True, exist_ok=True)
    return path


def read_own(path: Path) -> bytes:
    """Read a file of a folder that is ours; a link is no such file.

    Raises `RunError` for one that is missing, a link, or cannot be read.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            return file.read()
    except OSError as error:
        why = "it is a link" if path.is_symlink() else error.strerror
        raise RunError(f"{path.name} cannot be read: {why}.") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mend = "Free some space there, or write to another place."
        if isinstance(error, FileExistsError | NotADirectoryError):
            mend = "A file stands where a folder is due: move it away."
        if error.errno == errno.EFBIG:
            mend = "Allow larger files, as ulimit -f says, or write less."
        if isinstance(error, IsADirectoryError):
            mend = f"A folder stands at its name: move {path} away."
        raise WriteError(f"{path} cannot be written: {error.strerror or error}. {mend}") from error


def check_writable(path: Path) -> None:
    """Refuse a path at which no file can be written, before the work whose results are meant to go there.

    >>> check_writable(Path())
    Traceback (most recent call last):
    thalweg.core.errors.RunError: . is a folder, but a file is to be written there. Name a file in it.

    Raises `RunError` for a folder, a read-only file, and a place in which no file can be made. The mode counts even for
    the superuser, whom the system would let write.
    """
    if os.access(path, os.F_OK):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise RunError(f"{path} is a folder, but a file is to be written there. Name a file in it.")
        if not mode & 0o222 or not os.access(path, os.W_OK):
            raise RunError(
                f"{path} is read-only ({stat.filemode(mode)}). Name another file, or allow writing: chmod u+w {path}."
            )
        return
    folder = next(above for above in Path(os.path.realpath(path)).parents if os.access(above, os.F_OK))
    if not folder.is_dir():
        raise RunError(f"{path} cannot be written: {folder} is a file, not a folder. Name a file in a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RunError(
            f"{path} cannot be written: you may not make files in {folder}. Name a file in a folder of your own."
        )


def _replace(path: Path, data: bytes) -> None:
    """Write beside the file, then rename over it; its mode stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:99]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and not path.is_symlink():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """Write a value as JSON, as `write_own` does; what is not finite becomes null, which JSON can say.

    Without an indent it is one line: pictures would have a line for each number.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(plain(value), indent=indent, separators=separators, ensure_ascii=False, allow_nan=False)
    write_own(path, f"{text}\n".encode())


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write rows as JSON lines, as `write_own` does."""
    text = "".join(json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_own(path, text.encode())


def read_object(file: Path, **kinds: type) -> dict[str, Any]:
    """The JSON object of a file, in which each name of `kinds` is a value of that kind.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "run.json"
    >>> write_json(file, {"status": 3})
    >>> read_object(file, status=str)
    Traceback (most recent call last):
    thalweg.core.errors.RunError: ...run.json is damaged: its 'status' is 3, not of type str. Put back a copy of ...

    Raises `RunError` for a file that cannot be read, and for one that holds something else.
    """
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}. Check that it is a file and may be read.") from error
    except (ValueError, RecursionError) as error:
        raise damaged(file, f"it is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise damaged(file, "it holds no JSON object")
    for name, kind in kinds.items():
        if name not in found:
            raise damaged(file, f"it has no '{name}'")
        if not isinstance(found[name], kind):
            raise damaged(file, f"its '{name}' is {str(found[name])[:40]}, not of type {kind.__name__}")
    return found


def damaged(file: Path, why: str) -> RunError:
    """The error for a file of a run folder that does not hold what was written there.

    >>> damaged(Path("run.json"), "it is empty")
    RunError('run.json is damaged: it is empty. Put back a copy of it, or train the run again.')
    """
    return RunError(f"{file} is damaged: {why}. Put back a copy of it, or train the run again.")


def plain(value: Any) -> Any:
    """The value in JSON's own types.

    >>> plain({"loss": float("nan"), "path": Path("runs")})
    {'loss': None, 'path': 'runs'}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item") and getattr(value, "size", None) == 1:
        return plain(value.item())
    return str(value)
