"""thalweg runs: the runs of a folder in a table."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from thalweg.cli.find import all_runs
from thalweg.core.files import plain


def runs(*, out: Path = Path("runs"), json_: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """List the runs of a folder, oldest first.

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
        return 0
    if not found:
        print(f"no runs in {out}", file=sys.stderr)
        return 0
    from rich.table import Table

    from thalweg.cli.show import wide_console

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("run", "status", "epochs", "train loss", "validation loss", "seconds"):
        table.add_column(name, justify="left" if name in ("run", "status") else "right", no_wrap=True)
    for run in found:
        last = run.get("last") or {}
        losses = (_number(last.get("train_loss")), _number(last.get("validation_loss")))
        table.add_row(str(run["run"]), str(run["status"]), str(run["epochs"]), *losses, _number(run.get("seconds")))
    wide_console().print(table)
    return 0


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"
