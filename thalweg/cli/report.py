"""thalweg report: the page of a run, written again from its files."""

from pathlib import Path


def report(run: str, /, *, out: Path = Path("runs")) -> int:
    """Write a run's report.html from the files of its folder, and print its path.

    Parameters
    ----------
    run
        A run's id or the beginning of it, its name, its folder, or `last`.
    out
        The folder that holds the run folders.
    """
    from thalweg.cli.find import find_run
    from thalweg.report import write_report

    print(write_report(find_run(run, out)))
    return 0
