"""What a command is pointed at, as a recipe: a case, a run, or whatever `thalweg.load` knows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.cli.decoding import decoding_shown
from thalweg.cli.exits import check_conditions, interrupt_says
from thalweg.cli.find import all_runs, find_run, folder_of
from thalweg.cli.options import TrainingOptions
from thalweg.core.errors import RecipeError
from thalweg.core.files import read_object
from thalweg.core.notices import collecting

if TYPE_CHECKING:
    from thalweg.training import Recipe, RunFolder

CASE = "case:"
OF_A_RUN = ("report.html", "run.json")
"""The files of a run folder that stand for the run where a subject is due."""


def open_subject(
    subject: str | None,
    options: TrainingOptions,
    words: tuple[str, ...] = ("status",),
    kind: str = "train",
    trial: "Callable[[Recipe], Recipe] | None" = None,
    start: str | None = None,
) -> "tuple[Recipe, RunFolder]":
    """The recipe of a subject and its run folder, which is made once the options and the data are understood.

    Without a subject the data are those of the run to `start` from.
    With `trial` it is seen beforehand too whether model and data meet, in the recipe that it makes of this one: gaps
    that a remedy may mend are no hindrance. A folder that is trained in next is taken away again by `train` where they
    do not meet. What is raised before leaves nothing behind; `understood` says what it is.
    """
    from thalweg.core.notices import unsaid
    from thalweg.core.randomness import untouched
    from thalweg.remedy.gaps import trainable
    from thalweg.training import RunFolder
    from thalweg.training.train import ready

    recipe, name = understood(subject, options, words, start)
    if trial is not None:
        with untouched(), unsaid():
            ready(trainable(trial(recipe)), options.device)
    folder = RunFolder.make(options.out, name, kind)
    with folder.ending():
        folder.keep_recipe(recipe)
        if kind == "improve":
            folder.begin([])
    return recipe, folder


def understood(
    subject: str | None, options: TrainingOptions, words: tuple[str, ...] = ("status",), start: str | None = None
) -> "tuple[Recipe, str]":
    """The recipe of a subject and the name that its run will have, all that is asked checked and nothing written.

    What takes long, the data, comes last. A `--fail-if` is refused where it names neither a score of the recipe nor one
    of `words`. Raises `RecipeError`, `DataError`, and `RunError` for a place in which no run folder can be made.
    """
    from thalweg.core.device import resolve_device
    from thalweg.recipes.conclusion import scored_names
    from thalweg.training import RunFolder

    options.set_notices()
    if subject is None and start is None:
        raise RecipeError(
            "There is no SUBJECT to train on. Name built-in data, a file, a folder, a recipe, a case or a run, as in "
            "thalweg train digits; or a run to go on from, on its data: thalweg train --start RUN."
        )
    check_conditions(options.fail_if)
    resolve_device(options.device)
    RunFolder.check_place(options.out)
    run = find_run(subject, options.out) if subject is not None and is_run(subject, options.out) else None
    begun = None if start is None else find_run(start, options.out)
    told = f"while {subject or 'the data'} was loaded: nothing was trained."
    with interrupt_says(told), collecting(), decoding_shown(options.quiet):
        recipe = _recipe(subject, options.assignments(), options.data(), options.seed, run, begun)
        check_conditions(options.fail_if, [*scored_names(recipe), *words])
    return recipe, _name(subject, begun if subject is None else run)


def read_subject(subject: str, options: TrainingOptions) -> "Recipe":
    """The recipe of a subject, without a folder."""
    run = find_run(subject, options.out) if is_run(subject, options.out) else None
    with collecting(), decoding_shown(options.quiet):
        return _recipe(subject, options.assignments(), options.data(), options.seed, run)


def _recipe(
    subject: str | None,
    assignments: tuple[str, ...],
    data: Mapping[str, Any],
    seed: int | None,
    run: Path | None,
    start: Path | None = None,
) -> "Recipe":
    from thalweg.recipes import load, load_run
    from thalweg.recipes.python_file import assigned
    from thalweg.recipes.resume import with_data_at_hand

    if subject is None or (not subject.startswith(CASE) and run is None):
        return load(subject, assignments=assignments, data=data, seed=seed, start=start)
    if start is not None:
        raise RecipeError(
            f"'{subject}' brings its own network, so --start {start.name} cannot give it weights. Give the data "
            "themselves, such as names:de or pairs.tsv, or a recipe.toml."
        )
    if data:
        raise RecipeError(
            f"'{subject}' brings its own data: {', '.join(f'--{name}' for name in data)} cannot change it."
        )
    if run is None:
        return case_recipe(subject.removeprefix(CASE), assignments, seed)
    recipe = load_run(run, recipe_of_case(run)).recipe
    assert recipe is not None
    recipe = with_data_at_hand(recipe)
    for assignment in assignments:
        recipe = assigned(recipe, assignment)
    return recipe if seed is None else recipe.but(seed=seed)


def case_recipe(name: str, assignments: tuple[str, ...] = (), seed: int | None = None) -> "Recipe":
    """The recipe of a case with assignments over it; its origin says how to make it again."""
    from thalweg.cases import get
    from thalweg.recipes.python_file import assigned

    recipe = get(name)
    for assignment in assignments:
        recipe = assigned(recipe, assignment)
    recipe = recipe if seed is None else recipe.but(seed=seed)
    return recipe.but(origin={"name": name, "case": name, "assignments": list(assignments)})


def recipe_of_case(run: Path) -> "Recipe | None":
    """The recipe of a run of a case; None for a run of anything else, which its folder describes."""
    file = run / "recipe.json"
    written = read_object(file) if file.exists() else {}
    origin, counts = written.get("origin"), written.get("counts")
    if not isinstance(origin, dict) or "case" not in origin or not isinstance(counts, dict):
        return None
    return case_recipe(str(origin["case"]), tuple(map(str, origin.get("assignments", ())))).but(**counts)


def _name(subject: str | None, run: Path | None) -> str:
    if run is not None:
        return str(read_object(run / "run.json", name=str)["name"])
    assert subject is not None
    return subject.removeprefix(CASE) if subject.startswith(CASE) else Path(subject).absolute().stem


def lasting(subject: str, out: Path) -> str:
    """A subject as it can be named later too: `last` by its id, for the next run is the last one then."""
    return find_run(subject, out).name if subject == "last" else subject


def is_run(subject: str, out: Path) -> bool:
    """Whether a subject means a run: `last`, a run folder or its report, or the beginning of an id (never a name)."""
    path = Path(subject)
    if path.is_dir() or path.name in OF_A_RUN:
        return folder_of(subject) is not None
    return subject == "last" or (not path.exists() and any(run["run"].startswith(subject) for run in all_runs(out)))
