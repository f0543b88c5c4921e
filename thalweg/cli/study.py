"""thalweg study: a well-known claim put to the test: a table, a figure, and whether it held."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from thalweg.cli.exits import FINE, gate, holds
from thalweg.cli.options import Conditions, Json, Quiet
from thalweg.core.errors import RecipeError
from thalweg.study.catalogue import STUDIES

HELD = ("false", "true")


def study(
    name: str | None = None,
    /,
    *,
    list_: Annotated[bool, Parameter(name="--list", negative="", show_default=False)] = False,
    seed: int = 0,
    out: Path = Path("studies"),
    fail_if: Conditions = (),
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Put a well-known claim to the test: a table, a figure, and whether the claim held.

    Parameters
    ----------
    name
        The study, such as learning-rate; without it the studies are listed.
    list_
        List the studies with their claims.
    seed
        Which seeds the study uses; another seed, other numbers.
    out
        The folder in which the study's own folder is made, or written again.
    fail_if
        A condition on the outcome that makes the exit code 3: 'held!=true'.
    json_
        One JSON document on stdout instead of a table.
    quiet
        No progress on stderr.
    """
    if list_ or name is None:
        print(json.dumps(STUDIES, indent=2)) if json_ else print(listing())
        return FINE
    from thalweg.study import run_study

    for condition in fail_if:
        check_held(condition)
    result = run_study(name, seed=seed, progress=None if quiet else Told())
    folder = result.save(out)
    print(json.dumps(result.to_json(), indent=2, ensure_ascii=False)) if json_ else show_study(result)
    code = gate(fail_if, {"held": HELD[result.held]})
    print(folder, file=sys.stderr)  # the last line, whatever a condition says
    return code


def check_held(condition: str) -> None:
    """Refuse a condition, before the study runs, that does not ask whether the claim held.

    >>> check_held("held=yes")
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: --fail-if 'held=yes': held is true or false. Write 'held!=true'.

    Raises `RecipeError`.
    """
    if len({holds(condition, {"held": text}) for text in HELD}) < 2:
        raise RecipeError(f"--fail-if '{condition}': held is true or false. Write 'held!=true'.")


def listing() -> str:
    """The studies, a line for each."""
    width = max(map(len, STUDIES))
    return "\n".join(f"{name:<{width}}  {claim}" for name, claim in STUDIES.items())


def show_study(result: Any) -> None:
    """The claim, the table, the checks with their intervals, and the verdict."""
    from rich.table import Table

    from thalweg.cli.show import wide_console

    console = wide_console()
    console.print(result.claim, soft_wrap=True, markup=False)
    console.print(result.method + "\n", soft_wrap=True, markup=False)
    rows = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(result.columns):
        rows.add_column(column.replace("[", r"\["), justify="left" if number == 0 else "right", no_wrap=True)
    for row in result.rows:
        rows.add_row(*map(cell, row))
    console.print(rows)
    console.print()
    checks = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("decides", "value", "95 % interval", "n", "rule", ""):
        checks.add_column(column, no_wrap=True)
    for check in result.checks:
        interval = rf"\[{cell(check.low)}, {cell(check.high)}]"
        verdict = "holds" if check.passed else "does not hold"
        checks.add_row(check.quantity, cell(check.value), interval, str(check.n), check.rule, verdict)
    console.print(checks)
    held = "The claim held" if result.held else "The claim did not hold"
    console.print(f"\n{held}, over {len(result.seeds)} seeds, in {result.seconds:.0f} s.")


def cell(value: Any) -> str:
    """A value as the table shows it.

    >>> cell(0.012345), cell(None), cell(20), cell("SGD")
    ('0.01235', '-', '20', 'SGD')
    """
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Told:
    """Progress on stderr, a line for each part that is done, with the time that is left."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, share: float, what: str) -> None:
        spent = time.monotonic() - self.started
        left = spent * (1 - share) / share if share > 0 else 0.0
        print(f"{share:4.0%}  {what}  about {left:.0f} s left", file=sys.stderr, flush=True)
