"""Runs on disk: found by the beginning of their id, their name, their folder, or `last`; read without torch."""

import json
from pathlib import Path
from typing import Any

from thalweg.core.errors import RunError, did_you_mean


def all_runs(out: Path) -> list[dict[str, Any]]:
    """The `run.json` of every run under `out`, oldest first, each with its folder under "path"."""
    found = []
    for file in sorted(out.glob("*/run.json")):
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found.append(run | {"path": file.parent})
    return sorted(found, key=lambda run: (str(run.get("created")), str(run.get("run"))))


def find_run(text: str, out: Path) -> Path:
    """The folder of a run: a path, `last`, an id or the beginning of one, or a name (then the newest of that name).

    Raises `RunError` where nothing, or more than one run, is meant.
    """
    if (Path(text) / "run.json").is_file():
        return Path(text)
    runs = all_runs(out)
    if not runs:
        raise RunError(
            f"There are no runs in {out}, so '{text}' is none. Train one (thalweg train digits), or give --out."
        )
    if text == "last":
        return Path(runs[-1]["path"])
    begins = [run for run in runs if str(run["run"]).startswith(text)]
    if len(begins) > 1:
        shown = ", ".join(str(run["run"]) for run in begins[-5:])
        raise RunError(f"'{text}' begins {len(begins)} runs: {shown}. Write more of the one that you mean.")
    named = begins or [run for run in runs if run.get("name") == text]
    if not named:
        names = [str(run["run"]) for run in runs] + [str(run["name"]) for run in runs] + ["last"]
        raise RunError(f"There is no run '{text}' in {out}.{did_you_mean(text, names)}")
    return Path(named[-1]["path"])
