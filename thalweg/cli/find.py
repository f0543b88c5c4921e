"""Runs on disk: found by the beginning of their id, their name, their folder, a file in it, or `last`.

Nothing here needs torch.
"""

import json
from pathlib import Path
from typing import Any

from thalweg.core.errors import RunError, did_you_mean
from thalweg.core.files import read_object
from thalweg.core.lock import is_locked

DAMAGED = "DAMAGED"
"""The status under which a run is listed whose run.json cannot be read; "damage" then says why."""
KILLED = "KILLED"
"""The status under which a run is listed that did not end, and in which no process trains: `resume` goes on with it."""


def all_runs(out: Path) -> list[dict[str, Any]]:
    """The `run.json` of every run under `out`, oldest first, each with its folder under "path"."""
    found = [_about(file) | {"path": file.parent} for file in sorted(out.glob("*/run.json"))]
    return sorted(found, key=lambda run: (str(run["created"]), run["run"]))


def _about(file: Path) -> dict[str, Any]:
    name = file.parent.name
    absent = {"name": name, "created": "", "epochs": None}
    try:
        about = absent | read_object(file, run=str, status=str)
    except RunError as error:
        return absent | {"run": name, "status": DAMAGED, "damage": str(error)}
    if about["status"] == "RUNNING" and not is_locked(file.parent):
        about["status"] = KILLED
    return about | _so_far(file.parent) if about["status"] in (KILLED, "RUNNING") else about


def _so_far(folder: Path) -> dict[str, Any]:
    """What the history tells of a run whose run.json is written at its end."""
    rows: list[dict[str, Any]] = []
    try:
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows.append({"seconds": 0.0} | row)
        return {"epochs": len(rows), "last": rows[-1], "seconds": sum(float(row["seconds"]) for row in rows)}
    except (OSError, ValueError, TypeError, IndexError, RecursionError):  # none yet, or damaged
        return {}


def folder_of(text: str) -> Path | None:
    """The run folder that a path means: itself, or the one that the file, such as its report, lies in."""
    path = Path(text)
    above = [path] if path.is_dir() else path.parents if path.exists() else []
    found = next((folder for folder in above if (folder / "run.json").is_file()), None)
    return found if found is None or found.name else found.absolute()


def find_run(text: str, out: Path) -> Path:
    """The folder of a run: a path, `last`, an id or the beginning of one, or a name (then the newest of that name).

    Raises `RunError` where nothing, or more than one run, is meant.
    """
    if folder := folder_of(text):
        return folder
    runs = all_runs(out)
    whole = [run for run in runs if run["status"] != DAMAGED]
    if not runs:
        raise RunError(
            f"There are no runs in {out}, so '{text}' is none. Train one (thalweg train digits), or give --out."
        )
    if text == "last":
        if not whole:
            raise RunError(f"No run in {out} can be read. {runs[-1]['damage']}")
        return Path(whole[-1]["path"])
    begins = [run for run in runs if run["run"].startswith(text)]
    if len(begins) > 1:
        shown = ", ".join(run["run"] for run in begins[-5:])
        raise RunError(f"'{text}' begins {len(begins)} runs: {shown}. Write more of the one that you mean.")
    named = begins or [run for run in whole if run["name"] == text]
    if not named:
        names = [name for run in runs for name in (run["run"], run["name"]) if name] + ["last"]
        raise RunError(f"There is no run '{text}' in {out}.{did_you_mean(text, names)}")
    return Path(named[-1]["path"])
