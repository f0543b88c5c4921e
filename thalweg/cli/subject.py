"""What a command is pointed at, as a recipe: a case, a run, or whatever `thalweg.load` knows."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.cli.find import all_runs, find_run
from thalweg.core.errors import RecipeError, RunError, ThalwegError

if TYPE_CHECKING:
    from thalweg.training import Recipe, RunFolder

CASE = "case:"


def open_subject(
    subject: str, assignments: tuple[str, ...], data: Mapping[str, Any], seed: int | None, out: Path
) -> "tuple[Recipe, RunFolder]":
    """The recipe of a subject and its run folder, which is made before the data are loaded.

    A folder whose data cannot be used stays, and says so; one that was made for a mistyped subject is taken away again.
    """
    from thalweg.training import Outcome, RunFolder

    run = find_run(subject, out) if _is_run(subject, out) else None  # before a newer `last` is made
    folder = RunFolder.make(out, _name(subject, run))
    try:
        recipe = _recipe(subject, assignments, data, seed, run)
    except (RecipeError, RunError):
        shutil.rmtree(folder.path)
        raise
    except ThalwegError as error:
        folder.close(Outcome.FAILED, [], (), error)
        raise
    folder.keep_recipe(recipe)
    return recipe, folder


def _recipe(
    subject: str, assignments: tuple[str, ...], data: Mapping[str, Any], seed: int | None, run: Path | None
) -> "Recipe":
    from thalweg.recipes import load, load_run
    from thalweg.recipes.python_file import assigned

    if not subject.startswith(CASE) and run is None:
        return load(subject, assignments=assignments, data=data, seed=seed)
    if data:
        raise RecipeError(
            f"'{subject}' brings its own data: {', '.join(f'--{name}' for name in data)} cannot change it."
        )
    if run is None:
        from thalweg.cases import get

        recipe = get(subject.removeprefix(CASE))
    else:
        restored = load_run(run).recipe
        assert restored is not None
        recipe = restored
    for assignment in assignments:
        recipe = assigned(recipe, assignment)
    return recipe if seed is None else recipe.but(seed=seed)


def _name(subject: str, run: Path | None) -> str:
    if run is not None:
        return str(json.loads((run / "run.json").read_text(encoding="utf-8"))["name"])
    return subject.removeprefix(CASE) if subject.startswith(CASE) else Path(subject).stem


def _is_run(subject: str, out: Path) -> bool:
    """Whether a subject means a run: `last`, a run folder, or the beginning of an id (never a file, never a name)."""
    if subject == "last" or (Path(subject) / "run.json").is_file():
        return True
    return not Path(subject).exists() and any(str(run["run"]).startswith(subject) for run in all_runs(out))
