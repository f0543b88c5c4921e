"""thalweg train: a subject is trained, judged on every split, and kept in a run folder."""

import json
import sys
from pathlib import Path
from typing import Any

from thalweg.cli.exits import CONDITION, FAILED, FINE, INTERRUPTED, TERMINATED, Terminated, check_conditions, holds
from thalweg.cli.options import Conditions, Json, Quiet, Set, TableOptions


def train(
    subject: str,
    /,
    *,
    set_: Set = (),
    seed: int | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
    table: TableOptions | None = None,
    fail_if: Conditions = (),
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train a subject, judge it on every split, and keep the run.

    Parameters
    ----------
    subject
        Built-in data (digits), a data file (houses.csv), or a recipe (recipe.toml, recipe.py).
    set_
        A setting over the recipe's, as in --set epochs=20 --set optimizer.lr=0.01.
    seed
        The seed of the initial weights, the order of the examples, and dropout.
    out
        The folder in which the run's own folder is made.
    device
        auto, cpu, cuda or mps.
    table
        How a data file is read.
    fail_if
        Exit with code 3 where this holds of the results, as in --fail-if 'test.accuracy<0.9'.
    json_
        One JSON document on stdout instead of a table.
    quiet
        No progress and no notices on stderr.
    """
    import logging

    from thalweg.cli.progress import Progress
    from thalweg.cli.show import show_run
    from thalweg.cli.subject import open_subject
    from thalweg.recipes import conclude
    from thalweg.report import write_report
    from thalweg.training import Outcome
    from thalweg.training import train as run_recipe

    logging.getLogger("thalweg").setLevel(logging.ERROR if quiet else logging.WARNING)
    check_conditions(fail_if)
    recipe, folder = open_subject(subject, set_, (table or TableOptions()).settings(), seed, out)
    with Progress(recipe.epochs, quiet) as progress:
        run = run_recipe(recipe, out=folder, device=device, progress=progress)
    conclusion = conclude(run, device) if run.status.good else None
    assert run.path is not None
    results = summary(run, conclusion) | {"report": str(write_report(run.path))}
    print(json.dumps(results, indent=2)) if json_ else show_run(run, conclusion)
    print(results["report"], file=sys.stderr)
    if run.status is Outcome.INTERRUPTED:
        return TERMINATED if isinstance(run.error, Terminated) else INTERRUPTED
    if not run.status.good:
        return FAILED
    values = (conclusion.flat() if conclusion else {}) | {"status": str(run.status)}
    return CONDITION if sum(holds(condition, values) for condition in fail_if) else FINE


def summary(run: Any, conclusion: Any) -> dict[str, Any]:
    """A run as `--json` prints it; a cause and a report come with a diagnosis."""
    from thalweg.core.files import plain

    document = {
        "run": run.path.name,
        "path": str(run.path),
        "status": str(run.status),
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "cost": {"seconds": run.seconds},
        "metrics": conclusion.to_json()["metrics"] if conclusion else {},
        "calibration": conclusion.calibration if conclusion else None,
        "cause": None,
        "ranked": [],
        "report": None,
        "notices": list(run.notices),
    }
    return plain(document)
