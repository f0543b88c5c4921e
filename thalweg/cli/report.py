"""thalweg report: the page of a run, written again from its files."""

import json
from pathlib import Path

from thalweg.cli.options import Json


def report(run: str, /, *, out: Path = Path("runs"), json_: Json = False) -> int:
    """Write a run's report.html from the files of its folder, and print its path.

    Parameters
    ----------
    run
        A run's id or the beginning of it, its name, its folder, or `last`.
    out
        The folder that holds the run folders.
    json_
        One JSON document on stdout instead of the path alone.
    """
    from thalweg.cli.find import find_run
    from thalweg.report import write_report

    page = write_report(find_run(run, out))
    print(json.dumps({"run": page.parent.name, "path": str(page.parent), "report": str(page)}) if json_ else page)
    return 0
