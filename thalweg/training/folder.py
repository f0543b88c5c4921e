"""The run folder: everything a run leaves behind, each file written whole, paths inside it relative.

recipe.toml | recipe.py   as given          recipe.json         as resolved: each field, its fingerprint
run.json                  how it ended      metrics.jsonl       the history, a line for each epoch
checkpoints/best.safetensors, last.safetensors                  the weights, and checkpoints while it trains
trajectory/epoch-*.safetensors                                  weights along the training
.lock                                                           held by the process that trains in it
preprocessing.json        what turns a table into tensors       evaluation.json, predictions
"""

import errno
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thalweg.core.errors import DataError, RecipeError, RunError
from thalweg.core.files import check_writable, read_object, write_json, write_lines, write_own
from thalweg.core.lock import holder, locked
from thalweg.core.notices import notice
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.weights import save_weights

KEEP_EVERY_SECONDS = 1.0
"""The history of fast epochs is written at most this often, and once more at the end."""


@dataclass
class RunFolder:
    """The folder of one run.

    `fresh` holds from its making until a training begins in it: what is refused before then leaves no folder.
    """

    path: Path
    name: str
    created: str
    kind: str = "train"
    written: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    fresh: bool = False
    lock: Any = None

    @classmethod
    def make(cls, out: Path, name: str, kind: str = "train") -> "RunFolder":
        """A new folder under `out`, named by the time, the subject and four random letters; `kind` is the command.

        Raises `RunError` where it cannot be made.
        """
        now = datetime.now(UTC)
        clean = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:40] or "recipe"
        path = out / f"{now:%Y%m%d-%H%M%S}-{clean}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise _no_place(path, error.strerror or str(error)) from error
        folder = cls(path, name, now.isoformat(timespec="seconds"), kind, fresh=True)
        folder.lock = locked(path, {})
        folder._write_run("RUNNING", [], (), None, 0)
        return folder

    @staticmethod
    def check_place(out: Path) -> None:
        """Refuse a place in which no run folder can be made, before the data are loaded, and make nothing.

        >>> RunFolder.check_place(Path(__file__))
        Traceback (most recent call last):
        thalweg.core.errors.RunError: The run folder ... cannot be made: Not a directory. Give a folder that can be ...

        Raises `RunError`.
        """
        above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
        if not above.is_dir():
            raise _no_place(out, os.strerror(errno.ENOTDIR))
        if not os.access(above, os.W_OK | os.X_OK):
            raise _no_place(out, os.strerror(errno.EACCES))

    @classmethod
    def reopen(cls, path: Path, kind: str = "train") -> "RunFolder":
        """The folder of a run that did not end, or of another `kind` of command, to go on with it.

        Raises `RunError` for a folder without a run, one in which another process trains, a run that has ended.
        """
        if not (path / "run.json").exists():
            raise RunError(f"{path} is no run folder: it has no run.json. Give one that train wrote.")
        check_writable(path / "run.json")
        lock = locked(path, _about(path).get("process") or {})
        try:
            return cls._going_on(path, _about(path), lock, kind)
        except RunError:
            if lock is not None:
                lock.release()
            raise

    @classmethod
    def _going_on(cls, path: Path, about: dict[str, Any], lock: Any, kind: str) -> "RunFolder":
        if about.get("kind", "train") != kind:
            raise RunError(
                f"The folder {path.name} is that of a {about['kind']}, which is not resumed. Give the command that "
                f"began it again: thalweg {about['kind']} {about['name']}, with the options that it had."
            )
        if about["status"] in Outcome.__members__ and Outcome[about["status"]].good:
            raise RunError(
                f"The run {path.name} has ended as {about['status']}: there is nothing to go on with. Begin anew: "
                f"thalweg {kind} {path}."
            )
        return cls(path, about["name"], about["created"], kind, closed=True, lock=lock)

    def epochs_done(self) -> int:
        """The epochs of which its history tells."""
        file = self.path / "metrics.jsonl"
        return len(file.read_bytes().splitlines()) if file.is_file() else 0

    def begin(self, history: list[dict[str, Any]]) -> None:
        """Say that the training begins, or goes on; until then a folder that was reopened is left as it was."""
        self.history = history
        self.fresh = False
        if self.closed:
            self.closed = False
            self._write_run("RUNNING", history, (), None, 0)

    @classmethod
    def create(cls, out: Path, recipe: Recipe) -> "RunFolder":
        """A new folder that holds the recipe already."""
        folder = cls.make(out, str((recipe.origin or {}).get("name", "recipe")))
        folder.keep_recipe(recipe)
        return folder

    def keep_recipe(self, recipe: Recipe) -> None:
        """Write the recipe as given, where it came from a file, and as resolved."""
        origin = dict(recipe.origin or {})
        origin.pop("notices", None)  # they stand in run.json
        if (given := origin.pop("given", None)) is not None:
            write_own(self.path / given["file"], given["text"].encode())
        write_json(
            self.path / "recipe.json",
            {
                "fields": recipe.describe(),
                "fingerprint": recipe.fingerprint(),
                "counts": {"seed": recipe.seed, "epochs": recipe.epochs, "batch_size": recipe.batch_size},
                "origin": origin or None,
            },
        )

    def keep_preprocessing(self, encoding: Any) -> None:
        """Write what turns a table into tensors."""
        write_json(self.path / "preprocessing.json", encoding.to_json())

    def keep_history(self, history: list[dict[str, Any]]) -> None:
        """Write the history, unless it was just written."""
        self.history = history
        if time.monotonic() - self.written >= KEEP_EVERY_SECONDS:
            write_lines(self.path / "metrics.jsonl", history)
            self.written = time.monotonic()

    def keep_weights(self, best: nn.Module, last: nn.Module) -> None:
        """Write the weights of the best and of the last epoch."""
        save_weights(last, self.path / "checkpoints" / "last.safetensors")
        save_weights(best, self.path / "checkpoints" / "best.safetensors")

    def close(
        self,
        status: Outcome,
        history: list[dict[str, Any]],
        notices: Iterable[str],
        error: BaseException | None,
        best_epoch: int = 0,
    ) -> None:
        """Write the whole history and how the run ended."""
        write_lines(self.path / "metrics.jsonl", history)
        self._write_run(str(status), history, notices, error, best_epoch)
        self.closed = True
        self.release()

    def release(self) -> None:
        """Let another process train in it."""
        if self.lock is not None:
            self.lock.release()

    @contextmanager
    def ending(self, notices: Iterable[str] = ()) -> Iterator[None]:
        """Close the folder where an error or an interrupt leaves the block before the run was closed.

        A recipe or data that are refused before a training has begun in it leave nothing: it is taken away again.
        """
        try:
            yield
        except BaseException as error:
            if self.fresh and isinstance(error, RecipeError | DataError):
                self.release()
                shutil.rmtree(self.path, ignore_errors=True)
            elif not self.closed:
                status = Outcome.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Outcome.FAILED
                with suppress(RunError):  # a disk that is full is the error already
                    self.close(status, self.history, notices, error)
            raise

    def _write_run(
        self,
        status: str,
        history: list[dict[str, Any]],
        notices: Iterable[str],
        error: BaseException | None,
        best_epoch: int,
    ) -> None:
        write_json(
            self.path / "run.json",
            {
                "run": self.path.name,
                "name": self.name,
                "kind": self.kind,
                "created": self.created,
                "status": status,
                "epochs": len(history),
                "best_epoch": best_epoch,
                "seconds": sum(row["seconds"] for row in history),
                "best": history[best_epoch - 1] if best_epoch else None,
                "last": history[-1] if history else None,
                "notices": list(notices),
                "error": None if error is None else f"{type(error).__name__}: {error}",
                "process": holder() if status == "RUNNING" else None,
                "versions": {"python": platform.python_version(), "torch": torch.__version__},
            },
        )


def _no_place(path: Path, why: str) -> RunError:
    return RunError(
        f"The run folder {path} cannot be made: {why}. Give a folder that can be written: --out FOLDER, or out= in "
        "Python."
    )


def _about(path: Path) -> dict[str, Any]:
    """What run.json says of a run; where it is damaged, and there are checkpoints, what else is known."""
    try:
        return read_object(path / "run.json", status=str, name=str, created=str)
    except RunError as error:
        if not any((path / "checkpoints").glob("epoch-*.json")):
            raise
        notice(f"{path / 'run.json'} is damaged and written anew: the run goes on from its checkpoints ({error}).")
        created = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return {"status": "RUNNING", "name": path.name, "created": created}
