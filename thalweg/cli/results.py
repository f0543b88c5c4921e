"""What `diagnose` and `improve` print and keep alike: the plan, the finding, the next command, the closing page."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.cli.exits import FINE, gate
from thalweg.cli.options import TrainingOptions
from thalweg.core.files import plain, write_json

if TYPE_CHECKING:
    from thalweg.diagnosis import Finding, Planned


def command_line(command: str, subject: str, options: TrainingOptions, **more: Any) -> str:
    """A command on the same subject, trained in the same way; `more` are its own options that were given.

    >>> from thalweg.cli.options import TableOptions
    >>> table = TableOptions(target="price", header=False)
    >>> command_line("improve", "my data.csv", TrainingOptions(set_=("epochs=9",), seed=3, table=table))
    "thalweg improve 'my data.csv' --target price --no-header --set epochs=9 --seed 3"
    >>> command_line("improve", "digits", TrainingOptions(device="cpu"), budget="10m")
    'thalweg improve digits --device cpu --budget 10m'

    What only shapes the output (--json, --quiet) is left out: it makes the same run.
    """
    words = ["thalweg", command, subject]
    for name, value in options.data().items():
        words += ["--no-header"] if name == "header" else [f"--{name}", str(value)]
    for assignment in options.assignments():
        words += ["--set", assignment]
    device = None if options.device == TrainingOptions.device else options.device
    out = None if options.out == TrainingOptions.out else options.out
    for name, given in {"seed": options.seed, "device": device, "out": out, **more}.items():
        for value in given if isinstance(given, tuple) else (given,):
            words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def keep_finding(path: Path, finding: "Finding", following: str | None, command: str | None = None) -> dict[str, Any]:
    """The finding as JSON, with the command that made it and the next one, written into the run folder."""
    results = finding.to_json() | {"command": command, "next": following}
    write_json(path / "finding.json", results)
    return results


def close(
    path: Path,
    document: dict[str, Any],
    options: TrainingOptions,
    show: Callable[[], None],
    values: Mapping[str, Any] | None = None,
) -> int:
    """Write the report, print the results, ask the conditions of the values, and say the report's path last of all."""
    from thalweg.report import write_report

    document = {"run": path.name, "path": str(path), **document, "report": str(write_report(path))}
    if options.json_:
        print(json.dumps(plain(document), indent=2))
    else:
        show()
    code = FINE if values is None else gate(options.fail_if, values)
    print(document["report"], file=sys.stderr)
    return code


def show_plan(arms: "Sequence[Planned]", note: str, json_: bool) -> int:
    """The arms with their prices, in multiples of one training and about in time."""
    from thalweg.diagnosis.stage import duration

    if json_:
        print(json.dumps([arm._asdict() for arm in arms], indent=2))
        return FINE
    question = None
    for arm in arms:
        if arm.question != question:
            question = arm.question
            print(question)
        took = "" if arm.seconds is None else f"about {duration(arm.seconds)}" if arm.seconds >= 1 else "under 1 s"
        print(f"  {arm.times:6.1f} x  {took:>16}  {arm.arm}")
    print(note)
    return FINE
