"""thalweg diagnose: what holds a subject back, found by experiment."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from thalweg.cli.exits import CONDITION, FAILED, FINE, INTERRUPTED, TERMINATED, Terminated, check_conditions, holds
from thalweg.cli.options import Conditions, Json, Quiet, Set, TableOptions

if TYPE_CHECKING:
    from thalweg.diagnosis import Finding
    from thalweg.training import Recipe


def diagnose(
    subject: str,
    /,
    *,
    set_: Set = (),
    seed: int | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
    table: TableOptions | None = None,
    budget: float = 20.0,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    fail_if: Conditions = (),
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Say what holds a subject back: model, optimization, overfitting or mismatch, by experiment.

    Parameters
    ----------
    subject
        Built-in data (digits), a data file, a recipe (recipe.toml, recipe.py), a case (case:too-small), or a run.
    set_
        A setting over the recipe's, as in --set epochs=20 --set optimizer.lr=0.01.
    seed
        The seed of the diagnosed training.
    out
        The folder in which the run's own folder is made.
    device
        auto, cpu, cuda or mps.
    table
        How a data file is read.
    budget
        What the experiments may cost, in multiples of one training.
    dry_run
        List the experiments with their prices, and run none.
    fail_if
        Exit with code 3 where this holds, as in --fail-if 'cause!=NONE'.
    json_
        One JSON document on stdout instead of text.
    quiet
        No progress and no notices on stderr.
    """
    import logging

    from thalweg.cli.subject import open_subject
    from thalweg.recipes import conclude
    from thalweg.remedy import diagnose as find
    from thalweg.training import Outcome, train

    logging.getLogger("thalweg").setLevel(logging.ERROR if quiet else logging.WARNING)
    check_conditions(fail_if)
    recipe, folder = open_subject(subject, set_, (table or TableOptions()).settings(), seed, out)
    if dry_run:
        return _plan(recipe, folder.path, budget, json_)
    tell = _silent if quiet else _progress
    tell("training as it is")
    run = train(recipe, out=folder, device=device)
    if run.status is Outcome.INTERRUPTED:
        return TERMINATED if isinstance(run.error, Terminated) else INTERRUPTED
    finding = find(run, budget=budget, device=device, progress=tell)
    conclusion = conclude(run, device) if run.status.good else None
    results = keep_finding(folder.path, subject, finding)
    metrics = {} if conclusion is None else conclusion.to_json()["metrics"]
    document = {
        "run": folder.path.name,
        "path": str(folder.path),
        "status": str(run.status),
        "metrics": metrics,
        **results,
    }
    close(folder.path, document, json_, show_finding, finding)
    values = ({} if conclusion is None else conclusion.flat()) | {
        "cause": str(finding.cause),
        "status": str(run.status),
    }
    if sum(holds(condition, values) for condition in fail_if):
        return CONDITION
    return FINE if run.status is not Outcome.FAILED else FAILED


def keep_finding(path: Path, subject: str, finding: "Finding") -> dict[str, Any]:
    """The finding as JSON, with the next command, written into the run folder."""
    from thalweg.core.files import write_json

    following = f"thalweg improve {subject}" if finding.remedies else None
    results = finding.to_json() | {"next": following}
    write_json(path / "finding.json", results)
    return results


def close(path: Path, document: dict[str, Any], json_: bool, show: Any, value: Any) -> None:
    """Write the report, print the results, and the report's path as the last line of stderr."""
    from thalweg.core.files import plain
    from thalweg.report import write_report

    document["report"] = str(write_report(path))
    if json_:
        print(json.dumps(plain(document), indent=2))
    else:
        show(value)
    print(document["report"], file=sys.stderr)


def show_finding(finding: "Finding") -> None:
    """A finding as a person reads it."""
    from thalweg.cli.show import wide_console

    console = wide_console()
    console.print(f"[bold]{finding.cause}[/bold]  {finding.cause.sentence}", soft_wrap=True)
    console.print(f"{finding.mechanism[:1].upper()}{finding.mechanism[1:]}.", soft_wrap=True, markup=False)
    for name in ("floor", "train", "validation", "test"):
        if name in finding.losses:
            console.print(f"  {name:<11}{finding.losses[name]}", markup=False)
    for experiment in finding.experiments:
        console.print(f"{experiment.question} {experiment.answer}. {experiment.says}", soft_wrap=True, markup=False)
    if finding.would_decide:
        console.print(f"What would decide it: {finding.would_decide}", soft_wrap=True, markup=False)
    if finding.remedies:
        names = "; ".join(remedy.name for remedy in finding.remedies)
        console.print(f"Remedies to try: {names}", soft_wrap=True, markup=False)
    cost = finding.cost
    console.print(f"{cost.runs} runs, {cost.times:.1f} times the training, {cost.seconds:.1f} s", markup=False)


def _plan(recipe: "Recipe", path: Path, budget: float, json_: bool) -> int:
    import shutil

    from thalweg.diagnosis import plan

    shutil.rmtree(path)  # a dry run leaves nothing
    arms = plan(recipe)
    if json_:
        print(json.dumps([{"question": q, "arm": name, "times": price} for q, name, price in arms], indent=2))
        return FINE
    for question, name, price in arms:
        print(f"{price:6.1f} x  {name}  ({question})")
    print(f"Arms are asked one after another and stop when one answers; the budget is {budget:g} times the training.")
    return FINE


def _progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    """Nothing."""
