"""thalweg train: a subject is trained, judged on every split, and kept in a run folder."""

import json
import sys
from typing import TYPE_CHECKING, Any

from thalweg.cli.exits import FAILED, gate, interrupt_says, interrupted
from thalweg.cli.options import TrainingOptions

if TYPE_CHECKING:
    from thalweg.training import Run


def train(subject: str | None = None, /, *, start: str | None = None, options: TrainingOptions | None = None) -> int:
    """Train a subject, judge it on every split, and keep the run.

    Parameters
    ----------
    subject
        Built-in data (digits, karate, names:de), a data file, a file of pairs (with data.target=FILE where the targets
        have their own), a table of recordings and what they say, a folder of images, recordings or a graph, a recipe
        (recipe.toml, recipe.py), a case, or a run. With --start it can be left out.
    start
        A run with whose best weights the model begins, on the same data and with the same network.
    options
        How it is trained, and what is said of it.
    """
    from thalweg.cli.progress import Progress
    from thalweg.cli.subject import open_subject
    from thalweg.training import train as run_recipe

    own = options or TrainingOptions()
    recipe, folder = open_subject(subject, own, start=start)
    told = f"outside the epochs: see {folder.path / 'run.json'}."
    with interrupt_says(told), Progress(recipe.epochs, own.quiet) as progress:
        run = run_recipe(recipe, out=folder, device=own.device, progress=progress)
    return concluded(run, own)


def concluded(run: "Run", own: TrainingOptions) -> int:
    """Judge a run that has ended, show it, and give the exit code."""
    from thalweg.cli.show import show_run
    from thalweg.recipes import conclude
    from thalweg.report import write_report
    from thalweg.training import Outcome

    assert run.path is not None
    told = f"while the run was judged: its weights are kept. For its scores and its report: thalweg resume {run.path}"
    with interrupt_says(told if run.status.good else f"while its report was written: thalweg report {run.path}"):
        conclusion = conclude(run, own.device) if run.status.good else None
        results = summary(run, conclusion) | {"report": str(write_report(run.path))}
    print(json.dumps(results, indent=2)) if own.json_ else show_run(run, conclusion)
    code = FAILED
    if run.status is Outcome.INTERRUPTED:
        code = interrupted(run.error)
        print(f"go on with it: thalweg resume {run.path}", file=sys.stderr)
    elif conclusion is not None:
        code = gate(own.fail_if, conclusion.flat() | {"status": str(run.status)})
    print(results["report"], file=sys.stderr)
    return code


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
