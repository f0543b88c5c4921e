"""thalweg compare: two runs side by side."""

import json
from pathlib import Path
from typing import Any

from thalweg.cli.exits import check_conditions, gate
from thalweg.cli.options import Conditions, Json


def compare(
    first: str, second: str, /, *, out: Path = Path("runs"), fail_if: Conditions = (), json_: Json = False
) -> int:
    """Show in what two runs' recipes differ, what each scores on each split, and the difference.

    Parameters
    ----------
    first
        A run's id or the beginning of it, its name, its folder, or `last`.
    second
        The run to set beside it.
    out
        The folder that holds the run folders.
    fail_if
        A condition on a difference, second minus first, that makes the exit code 3: 'test.accuracy<-0.02'.
    json_
        One JSON document on stdout instead of tables.
    """
    from thalweg.cli.find import find_run
    from thalweg.core.files import plain
    from thalweg.report import compare_runs, read_evidence

    check_conditions(fail_if)
    found = compare_runs(*(read_evidence(find_run(text, out)) for text in (first, second)))
    differences = {
        f"{split}.{name}": both["difference"]
        for split, scores in found["metrics"].items()
        for name, both in scores.items()
    }
    check_conditions(fail_if, differences)
    if json_:
        print(json.dumps(plain(found), indent=2))
    else:
        _show(found)
    return gate(fail_if, differences)


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from thalweg.cli.show import wide_console
    from thalweg.report import clean, interval, quantity, row_digits

    console = wide_console()
    names = [clean(found[key]["run"] or found[key]["path"], 80) for key in ("first", "second")]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("recipe", *names):
        table.add_column(Text(name), overflow="fold")
    for row in found["recipe"]:
        table.add_row(
            *(Text(clean("–" if row[key] is None else row[key], 300)) for key in ("field", "first", "second"))
        )
    if not found["recipe"]:
        table.add_row("the same", "", "")
    console.print(table)
    scores = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", *names, "difference"):
        scores.add_column(Text(name), justify="left" if name == "" else "right", no_wrap=True)
    for split, quantities in found["metrics"].items():
        for name, both in quantities.items():
            known = [both[key] for key in ("first", "second") if both[key]]
            decimals = row_digits(known)
            shown = [interval(both[key] or {}, decimals=decimals) for key in ("first", "second")]
            cells = (f"{split} {name}", *shown, quantity(both["difference"], decimals, sign=True))
            scores.add_row(*(Text(clean(cell, 80)) for cell in cells))
    if found["metrics"]:
        console.print()
        console.print(scores)
    for note in found["notes"]:
        console.print(f"\n{note}", soft_wrap=True, markup=False)
