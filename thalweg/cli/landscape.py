"""thalweg landscape: where on the error surface a run has stopped, and whether there is a way down."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from thalweg.cli.options import Json, Quiet

if TYPE_CHECKING:
    from thalweg.recipes.landscape import Landscape


def landscape(
    run: str,
    /,
    *,
    escape: Annotated[bool, Parameter(negative="")] = False,
    examples: int = 2048,
    checkpoints: int = 9,
    out: Path = Path("runs"),
    device: str = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Say where on the error surface a run has stopped (a minimum, a saddle, on its way), and draw the surface.

    Parameters
    ----------
    run
        A run's id or the beginning of it, its name, its folder, or `last`.
    escape
        Move the weights off a saddle, where it is one: kept beside the others, as checkpoints/escaped.safetensors.
    examples
        The train examples on which the surface is computed, at most.
    checkpoints
        The points along the training that are judged too, at most.
    out
        The folder that holds the run folders.
    device
        auto, cpu, cuda or mps.
    json_
        One JSON document on stdout instead of text.
    quiet
        No progress on stderr.
    """
    from thalweg.cli.find import find_run
    from thalweg.cli.stages import Stages
    from thalweg.cli.subject import recipe_of_case
    from thalweg.core.files import plain
    from thalweg.diagnosis import Stage
    from thalweg.recipes import load_run
    from thalweg.recipes.landscape import landscape as look
    from thalweg.report import write_report

    path = find_run(run, out)
    loaded = load_run(path, recipe_of_case(path))
    with Stages(quiet) as stages:
        found = look(
            loaded,
            examples=examples,
            checkpoints=checkpoints,
            escaping=escape,
            device=device,
            progress=lambda what: stages(Stage(what)),
        )
    report = write_report(path)
    if json_:
        said = {"run": path.name, "path": str(path), **found.to_json(), "report": str(report)}
        print(json.dumps(plain(said), indent=2))
    else:
        show(found)
    print(report, file=sys.stderr)
    return 0


def show(found: "Landscape") -> None:
    """The verdict, the course of the training, and the way down that was taken."""
    from rich.table import Table

    from thalweg.cli.show import wide_console
    from thalweg.measure import Kind

    console = wide_console()
    console.print(str(found.point), soft_wrap=True, markup=False, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("epoch", "objective", "gradient", "minima ratio", "kind"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for epoch, point in zip(found.course.epochs, found.course.points, strict=True):
        ratio = "" if point.minima_ratio is None else f"{point.minima_ratio:.2f}"
        table.add_row(str(epoch), f"{point.objective:.4g}", f"{point.gradient_norm:.3g}", ratio, str(point.kind))
    console.print(table)
    if found.escaped is None and found.point.kind in (Kind.SADDLE, Kind.LOCAL_MAXIMUM):
        console.print("The way down: the same command with --escape.", highlight=False)
    if found.escaped is not None:
        console.print(str(found.escaped), soft_wrap=True, markup=False, highlight=False)
    if found.validation is not None:
        before, after = found.validation
        console.print(f"Validation loss before {before:.4g}, after {after:.4g}.", highlight=False)
