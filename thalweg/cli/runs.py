"""thalweg runs: the runs of a folder in a table."""

import json
import sys
from pathlib import Path
from typing import Any

from thalweg.cli.find import all_runs
from thalweg.cli.options import Json
from thalweg.core.files import plain

COLUMNS = ("run", "status", "epochs", "best epoch", "train loss", "validation loss", "seconds")


def runs(*, out: Path = Path("runs"), json_: Json = False) -> int:
    """List the runs of a folder, oldest first, with the losses of the epoch whose weights they use.

    Parameters
    ----------
    out
        The folder that holds the run folders.
    json_
        One JSON document instead of a table.
    """
    found = all_runs(out)
    if json_:
        print(json.dumps(plain(found), indent=2))
    elif found:
        _show(found)
    else:
        print(f"no runs in {out}", file=sys.stderr)
    for run in found:
        if "damage" in run:
            print(run["damage"], file=sys.stderr)
    return 0


def _show(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from thalweg.cli.show import wide_console

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("run", "status") else "right", no_wrap=True)
    for run in found:
        used = run.get("best") or run.get("last")
        losses = (
            [used.get(name) for name in ("train_loss", "validation_loss")] if isinstance(used, dict) else [None] * 2
        )
        numbers = (run["epochs"], run.get("best_epoch") or None, *losses, run.get("seconds"))
        table.add_row(run["run"], run["status"], *map(_number, numbers))
    wide_console().print(table)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"
