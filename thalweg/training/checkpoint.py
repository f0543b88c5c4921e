"""Checkpoints on disk: weights, the trainer's state, and a manifest written last, so that it never names half a file.

checkpoints/epoch-0004-batch-000012.safetensors   the weights, a standard file
checkpoints/epoch-0004-batch-000012.state         the trainer's state: magic number, length, SHA-256, torch's own format
checkpoints/epoch-0004-batch-000012.json          the manifest: the files that belong together, with their SHA-256
checkpoints/best-0003.safetensors                 the weights of the best epoch until then

Each file is written under a temporary name, flushed and renamed. Two checkpoints are kept; one whose files are not what
its manifest says is passed over for the one before it. Nothing is ever unpickled: states are read by `weights_only`.
"""

import hashlib
import io
import json
import os
import re
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from thalweg.core.errors import RunError
from thalweg.core.files import TEMPORARY, read_own, write_own
from thalweg.core.notices import notice

MAGIC = b"thalweg1"
HEADER = struct.Struct("<8sQ32s")
KEPT = 2
MANIFEST = re.compile(r"epoch-(\d+)-batch-(\d+)\.json")
OURS = re.compile(r"epoch-\d+-batch-\d+\.(json|state|safetensors)|best-\d+\.safetensors")
Place = tuple[int, int]
"""The epoch, and how many batches of it are done: what checkpoints go by."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole: weights as the bytes of safetensors files, and the state."""

    place: Place
    weights: bytes
    best: bytes | None
    state: Mapping[str, Any]
    best_lost: str = ""
    """Why the weights of the best epoch cannot be read; the others are enough to go on."""


def framed(payload: bytes) -> bytes:
    """A payload behind a magic number, its length and its SHA-256.

    >>> unframed(framed(b"whole"), "a.state")
    b'whole'
    """
    return HEADER.pack(MAGIC, len(payload), hashlib.sha256(payload).digest()) + payload


def unframed(data: bytes, name: str) -> bytes:
    """The payload of `framed`.

    >>> unframed(framed(b"whole")[:-1], "a.state")
    Traceback (most recent call last):
    thalweg.core.errors.RunError: a.state is damaged: it holds 4 of 5 bytes.

    Raises `RunError` for a file that is cut short, altered, or none of ours.
    """
    if len(data) < HEADER.size:
        raise RunError(f"{name} is damaged: it holds {len(data)} bytes, fewer than its header.")
    magic, length, digest = HEADER.unpack(data[: HEADER.size])
    payload = data[HEADER.size :]
    if magic != MAGIC:
        raise RunError(f"{name} is damaged: it does not begin as a trainer's state does.")
    if len(payload) != length:
        raise RunError(f"{name} is damaged: it holds {len(payload)} of {length} bytes.")
    if hashlib.sha256(payload).digest() != digest:
        raise RunError(f"{name} is damaged: its SHA-256 is not the one written before it.")
    return payload


def packed(state: Mapping[str, Any]) -> bytes:
    """A state in torch's own format."""
    stream = io.BytesIO()
    torch.save(dict(state), stream)
    return stream.getvalue()


def unpacked(payload: bytes) -> Mapping[str, Any]:
    """The state of `packed`, read without running any code of the file."""
    found: Mapping[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return found


@dataclass
class Checkpoints:
    """The checkpoints of a run in their folder."""

    folder: Path
    known: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of files that this process has written or read whole, so that they need not be read again."""

    def write(self, place: Place, weights: bytes, best: tuple[int, Callable[[], bytes]] | None, state: bytes) -> None:
        """Write a checkpoint, its manifest last; then take away what no kept manifest names.

        Raises `WriteError` where the disk is full; what was there before stays whole.
        """
        name = name_of(place)
        self._put(f"{name}.safetensors", weights)
        self._put(f"{name}.state", framed(state))
        named = [f"{name}.safetensors", f"{name}.state"]
        if best is not None:
            named.append(f"best-{best[0]:04}.safetensors")
            if named[-1] not in self.known or not (self.folder / named[-1]).exists():
                self._put(named[-1], best[1]())
        files = {file: self.known[file] for file in named}
        write_own(self.folder / f"{name}.json", (json.dumps({"files": files}, indent=2) + "\n").encode())
        self.tidy()

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None where there is none yet. Newer ones, which are not, are said.

        Raises `RunError` where there are some and each is damaged.
        """
        faults = []
        for place in self.places():
            try:
                found = self._read(place)
            except RunError as error:
                faults.append(str(error))
                continue
            for fault in faults:
                notice(f"{fault} The checkpoint before it is used.")
            return found
        if faults:
            raise RunError(
                f"No checkpoint in {self.folder} can be read: {' '.join(faults)} Put back a copy of the folder, or "
                "train again."
            )
        return None

    def places(self) -> list[Place]:
        """Where the manifests stand, newest first."""
        if not self.folder.is_dir():
            return []
        found = (MANIFEST.fullmatch(item.name) for item in self.folder.iterdir())
        return sorted(((int(match[1]), int(match[2])) for match in found if match), reverse=True)

    def forget_after(self, place: Place) -> None:
        """Take away the checkpoints behind a place, which could not be read."""
        for later in self.places():
            if later > place:
                (self.folder / f"{name_of(later)}.json").unlink(missing_ok=True)

    def tidy(self, kept: int = KEPT) -> None:
        """Take away all but the newest checkpoints, and what an interrupted write has left."""
        if not self.folder.is_dir():
            return
        places = self.places()
        named: set[str] = set()
        for place in places[:kept]:
            name = name_of(place)
            named |= {f"{name}{ending}" for ending in (".json", ".state", ".safetensors")}
            with suppress(RunError):
                named |= set(self._manifest(place))
        for place in places[kept:]:  # manifests first: none may name a file that is gone
            if _is_file(manifest := self.folder / f"{name_of(place)}.json"):
                manifest.unlink(missing_ok=True)
        for item in self.folder.iterdir():
            left = (OURS.fullmatch(item.name) and item.name not in named) or TEMPORARY.fullmatch(item.name)
            if left and _is_file(item):
                item.unlink(missing_ok=True)

    def _whole(self, file: str, digest: str, name: str) -> bytes:
        """The content of a file that is what its manifest says."""
        data = read_own(self.folder / file)
        if hashlib.sha256(data).hexdigest() != digest:
            raise RunError(f"{file} is damaged: its SHA-256 is not the one in {name}.json.")
        self.known[file] = digest
        return data

    def _put(self, file: str, data: bytes) -> None:
        write_own(self.folder / file, data)
        self.known[file] = hashlib.sha256(data).hexdigest()

    def _manifest(self, place: Place) -> dict[str, str]:
        name = f"{name_of(place)}.json"
        data = read_own(self.folder / name)
        try:
            files = json.loads(data)["files"]
            if not all(OURS.fullmatch(file) for file in files):
                raise ValueError
            return {str(file): str(digest) for file, digest in files.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(f"{name} is damaged: it is no manifest.") from error

    def _read(self, place: Place) -> Checkpoint:
        name, held, lost = name_of(place), dict[str, bytes](), ""
        for file, digest in self._manifest(place).items():
            try:
                held[file] = self._whole(file, digest, name)
            except RunError as error:
                if not file.startswith("best-"):
                    raise
                lost = str(error)
        if f"{name}.safetensors" not in held or f"{name}.state" not in held:
            raise RunError(f"{name}.json is damaged: it does not name weights and state.")
        best = next((data for file, data in held.items() if file.startswith("best-")), None)
        payload = unframed(held[f"{name}.state"], f"{name}.state")
        try:
            return Checkpoint(place, held[f"{name}.safetensors"], best, unpacked(payload), lost)
        except Exception as error:  # whatever torch makes of what is not its own
            raise RunError(f"{name}.state cannot be read: {error}.") from error


def _is_file(item: Path) -> bool:
    """Whether it can be taken away: a folder at one of our names is somebody else's."""
    return item.is_symlink() or not item.is_dir()


def name_of(place: Place) -> str:
    """What the files of a checkpoint are called.

    >>> name_of((4, 12))
    'epoch-0004-batch-000012'
    """
    return f"epoch-{place[0]:04}-batch-{place[1]:06}"


def room_for(folder: Path, size: int) -> None:
    """Refuse to begin where the disk has no room for the checkpoints that will be kept.

    Raises `RunError` with what is there and what is needed.
    """
    if not hasattr(os, "statvfs"):
        return
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < size:
        raise RunError(
            f"The disk of {folder} has {free / 1e6:.3g} MB left, but the checkpoints of this run take up to "
            f"{size / 1e6:.3g} MB. Free some space, or name another place: --out FOLDER."
        )
