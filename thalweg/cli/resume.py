"""thalweg resume: a run that was interrupted or killed goes on, to the same bits as if nothing had happened."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thalweg.cli.exits import check_conditions, interrupt_says
from thalweg.cli.options import Conditions, Json, Quiet, TrainingOptions
from thalweg.core.errors import RunError


def resume(
    run: str,
    /,
    *,
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    out: Path = Path("runs"),
    device: str = "auto",
    fail_if: Conditions = (),
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Go on with a run that was interrupted or killed, from its newest checkpoint, or with an improvement.

    Parameters
    ----------
    run
        A run's id or the beginning of it, its name, its folder, or `last`.
    force
        Go on although the data or the recipe are no longer what it began with.
    out
        The folder that holds the run folders.
    device
        auto, cpu, cuda or mps.
    fail_if
        Exit with code 3 where this holds of the results, as in --fail-if 'test.accuracy<0.9'.
    json_
        One JSON document on stdout instead of text.
    quiet
        No progress and no notices on stderr, only the path of the report.
    """
    from thalweg.cli.begun import begun_in
    from thalweg.cli.find import find_run
    from thalweg.cli.improve import go_on as improve_on
    from thalweg.cli.progress import Progress
    from thalweg.cli.subject import recipe_of_case
    from thalweg.cli.train import concluded
    from thalweg.recipes import load_run
    from thalweg.recipes import resume as go_on

    own = TrainingOptions(out=out, device=device, fail_if=fail_if, json_=json_, quiet=quiet)
    own.set_notices()
    check_conditions(fail_if)
    folder = find_run(run, out)
    if begun_in(folder) is not None:
        return improve_on(folder, own)
    if _wants_scores_only(folder):
        return concluded(load_run(folder, recipe_of_case(folder)), own)
    told = f"outside the epochs: nothing is lost. Go on with it: thalweg resume {folder}"
    with interrupt_says(told), Progress(_epochs(folder), quiet) as progress:
        ended = go_on(folder, recipe_of_case(folder), force=force, device=device, progress=progress)
    return concluded(ended, own)


def _wants_scores_only(folder: Path) -> bool:
    """Whether a training has come to its end, and what was to follow, its scores and its report, has not."""
    from thalweg.core.files import read_object
    from thalweg.training import Outcome

    try:
        about = read_object(folder / "run.json")
    except RunError:  # going on will find out what is left
        return False
    status = Outcome.__members__.get(str(about.get("status")))
    trained = status is not None and status.good and about.get("kind", "train") == "train"
    return trained and not all((folder / file).exists() for file in ("evaluation.json", "report.html"))


def _epochs(folder: Path) -> int:
    """The epochs of a run, as its folder says; 0 where it does not, which going on will find out."""
    from thalweg.core.files import read_object

    counts = read_object(folder / "recipe.json").get("counts") if (folder / "recipe.json").exists() else None
    return counts["epochs"] if isinstance(counts, dict) and isinstance(counts.get("epochs"), int) else 0
