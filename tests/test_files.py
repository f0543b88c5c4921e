"""Files that a user names: written whole where they are regular, written into where they are not, refused in words."""

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from thalweg.core.errors import RunError, WriteError
from thalweg.core.files import check_writable, read_object, write_bytes


def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"through")
    reader.join()
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("before", [b"old", None], ids=["a file", "nothing"])
def test_a_link_stays_and_its_target_is_written(before: bytes | None, tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    if before is not None:
        target.write_bytes(before)
    link.symlink_to(target.name)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "private.csv"
    path.touch(mode=0o600)
    write_bytes(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def read_only(folder: Path) -> Path:
    path = folder / "kept.csv"
    path.write_text("kept")
    path.chmod(0o444)
    return path


REFUSED: list[tuple[Any, str]] = [
    (lambda folder: folder, "is a folder, but a file is to be written there. Name a file in it."),
    (read_only, r"kept.csv is read-only \(-r--r--r--\). Name another file, or allow writing: chmod u\+w .*kept.csv"),
    (lambda folder: read_only(folder) / "x" / "y.csv", "kept.csv is a file, not a folder. Name a file in a folder."),
]


@pytest.mark.parametrize(("make", "expected"), REFUSED, ids=["folder", "read-only", "below a file"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(make: Any, expected: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    for refused in (check_writable, lambda path: write_bytes(path, b"new")):
        with pytest.raises(RunError, match=expected):
            refused(path)
    assert all(file.read_text() == "kept" for file in tmp_path.iterdir())


def test_a_folder_that_allows_no_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.F_OK and Path(path).exists())
    with pytest.raises(RunError, match="you may not make files in .* Name a file in a folder of your own"):
        check_writable(tmp_path / "a.csv")


def test_a_full_disk_names_the_file_and_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match=r"a\.csv cannot be written: No space left on device\. Free some space there"):
        write_bytes(tmp_path / "a.csv", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is damaged: it is not JSON"),
        ("[]", "is damaged: it holds no JSON object"),
        ("{}", "is damaged: it has no 'status'. Put back a copy of it, or train the run again."),
        ('{"status": 3}', "is damaged: its 'status' is 3, not of type str"),
    ],
)
def test_a_damaged_object_says_what_is_wrong(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    with pytest.raises(RunError, match=expected):
        read_object(file, status=str)


def test_an_object_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read: Is a directory. Check that it is a file and may be read"):
        read_object(tmp_path)
