"""load_run: a run folder -> Run, with weights, history, labels and preprocessing as they were."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from thalweg.core.errors import RecipeError, RunError
from thalweg.core.files import damaged, read_object
from thalweg.core.lock import is_locked
from thalweg.core.notices import notice
from thalweg.core.randomness import untouched
from thalweg.nn import Prepared, Pretrained
from thalweg.recipes.build import Loaded, assemble
from thalweg.recipes.data_kinds import encoding_from
from thalweg.recipes.python_file import load_python
from thalweg.recipes.settings import Settings
from thalweg.training import Outcome, Recipe, Run
from thalweg.training.factories import build_model
from thalweg.training.weights import load_weights


def load_run(path: str | Path, recipe: Recipe | None = None) -> Run:
    """The run of a folder: history, both sets of weights, the recipe, and what turns a table into tensors.

    Its data are loaded when they are first used. A run that was trained from Python objects needs its `recipe` again,
    for factories cannot be read back from a file.

    >>> import tempfile, thalweg
    >>> run = thalweg.train(thalweg.load("iris", assignments=["epochs=2"]), out=tempfile.mkdtemp())
    >>> again = thalweg.load_run(run.path)
    >>> [row["train_loss"] for row in again.history] == [row["train_loss"] for row in run.history]
    True

    Raises `RunError` for a folder that holds no run, weights that are missing or damaged, a recipe that does not fit.
    """
    folder = Path(path)
    if not (folder / "run.json").exists():
        raise RunError(f"{folder} is no run folder: it has no run.json. Give one that train wrote.")
    about = read_object(folder / "run.json", status=str, epochs=int, best_epoch=int, notices=list)
    status = _status(about, folder)
    encoding = kept_encoding(folder)
    recipe = recipe or kept_recipe(folder, encoding)
    with untouched():
        factory = unloaded(recipe.model)
        best, last = build_model(factory), build_model(factory)
    load_weights(best, folder / "checkpoints" / "best.safetensors")
    load_weights(last, folder / "checkpoints" / "last.safetensors")
    return Run(
        recipe,
        _history(folder / "metrics.jsonl"),
        status,
        best.eval(),
        last.eval(),
        about["best_epoch"],
        notices=tuple(about["notices"]),
        path=folder,
        preprocessing=encoding,
    )


def unloaded(factory: Any) -> Any:
    """A model factory without the file of weights that its models begin with: these are replaced, and it may be gone.

    >>> from torch import nn
    >>> unloaded(Pretrained(nn.Identity, "gone.safetensors"))
    <class 'torch.nn.modules.linear.Identity'>
    >>> noisy = Prepared(nn.Identity, input_noise=0.1)
    >>> unloaded(noisy) is noisy
    True
    """
    if isinstance(factory, Pretrained):
        return unloaded(factory.factory)
    if not isinstance(factory, Prepared):
        return factory
    inner = unloaded(factory.factory)
    return factory if inner is factory.factory else replace(factory, factory=inner)


def _status(about: dict[str, Any], folder: Path) -> Outcome:
    if about["status"] == "RUNNING":
        if is_locked(folder):
            raise RunError(f"The run {folder.name} is still going on. Wait for it.")
        raise RunError(f"The run {folder.name} was killed before it ended. Go on with it: thalweg resume {folder}.")
    if about["status"] not in Outcome.__members__:
        known = ", ".join(Outcome.__members__)
        raise damaged(folder / "run.json", f"its 'status' is {about['status'][:40]!r}, none of {known}")
    if not about["epochs"]:
        why = f" ({about['error']})" if about.get("error") else ""
        raise RunError(
            f"The run {folder.name} ended as {about['status']}{why} with no epoch done, so it has no weights. Train it "
            "again, for one epoch at least."
        )
    return Outcome[about["status"]]


def _history(file: Path) -> list[dict[str, Any]]:
    """The epochs that can be read; predicting needs none of them, so what is lost is said."""
    rows: list[dict[str, Any]] = []
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError(f"it holds {line[:40]!r}, no epoch")
            rows.append(row)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        notice(f"{file} cannot be read from line {len(rows) + 1} on ({why}): the history of the run ends there.")
    return rows


def kept_recipe(folder: Path, encoding: Any) -> Recipe:
    """The recipe that a run folder describes.

    Raises `RunError` where it does not, or the recipe was made of Python objects.
    """
    file = folder / "recipe.json"
    if not file.exists():
        raise RunError(f"{folder} holds no recipe.json. Give load_run the recipe.")
    written = read_object(file, counts=dict)
    try:
        return _rebuilt(folder, written["origin"], written["counts"], encoding)
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(file, f"what it says of the recipe is not whole ({type(error).__name__}: {error})") from error


def _rebuilt(folder: Path, origin: dict[str, Any] | None, counts: dict[str, Any], encoding: Any) -> Recipe:
    if origin is None or "case" in origin:
        raise RunError(
            f"The run {folder.name} was trained from Python objects, which are not kept in its folder. Give the recipe "
            "again: thalweg.load_run(path, recipe), or thalweg.resume(path, recipe)."
        )
    if "python" in origin:
        given = folder / "recipe.py"  # as it was trained; the original may have changed since
        return load_python(given, origin["assignments"], Path(origin["python"]).parent).but(**counts)
    if encoding is None:
        raise RunError(f"The run {folder.name} has lost its preprocessing.json. Train it again.")
    settings = Settings(origin["settings"])
    base = None if origin["folder"] is None else Path(origin["folder"])
    try:
        recipe = assemble(settings, origin["name"], Loaded(settings, base).deferred(), encoding, None, base)
        return recipe.but(**counts)
    except RecipeError as error:
        raise RecipeError(f"{folder / 'recipe.json'}: {error}") from error


def kept_encoding(folder: Path) -> Any:
    """What turns data into tensors, as a run folder keeps it; None where it keeps nothing."""
    file = folder / "preprocessing.json"
    if not file.exists():
        return None
    try:
        plain = read_object(file)
        return encoding_from(plain)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(file, f"what it says of the table is not whole ({type(error).__name__}: {error})") from error
