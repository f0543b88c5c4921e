"""load_run: a run folder -> Run, with weights, history, labels and preprocessing as they were."""

import json
from pathlib import Path
from typing import Any

from thalweg.core.errors import RunError
from thalweg.core.randomness import untouched
from thalweg.data import Encoding
from thalweg.recipes.build import Loaded, assemble
from thalweg.recipes.python_file import load_python
from thalweg.recipes.settings import Settings
from thalweg.training import Outcome, Recipe, Run
from thalweg.training.build import build_model
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
    about = _read_json(
        folder / "run.json", f"{folder} is no run folder: it has no run.json. Give one that train wrote."
    )
    if about["status"] == "RUNNING":
        raise RunError(f"The run {folder.name} has not ended: it is still going on, or was killed. Train it again.")
    encoding = _encoding(folder)
    recipe = recipe or _recipe(folder, encoding)
    with untouched():
        best, last = build_model(recipe.model), build_model(recipe.model)
    load_weights(best, folder / "checkpoints" / "best.safetensors")
    load_weights(last, folder / "checkpoints" / "last.safetensors")
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return Run(
        recipe,
        history,
        Outcome[about["status"]],
        best.eval(),
        last.eval(),
        about["best_epoch"],
        notices=tuple(about["notices"]),
        path=folder,
        preprocessing=encoding,
    )


def _recipe(folder: Path, encoding: Encoding | None) -> Recipe:
    written = _read_json(folder / "recipe.json", f"{folder} holds no recipe.json. Give load_run the recipe.")
    origin = written["origin"]
    if origin is None:
        raise RunError(
            f"The run {folder.name} was trained from Python objects, which are not kept in its folder. Give the recipe "
            "again: thalweg.load_run(path, recipe)."
        )
    if "python" in origin:
        given = folder / "recipe.py"  # as it was trained; the original may have changed since
        return load_python(given, origin["assignments"], Path(origin["python"]).parent).but(**written["counts"])
    if encoding is None:
        raise RunError(f"The run {folder.name} has lost its preprocessing.json. Train it again.")
    settings = Settings(origin["settings"])
    base = None if origin["folder"] is None else Path(origin["folder"])
    recipe = assemble(settings, origin["name"], Loaded(settings, base).deferred(), encoding, None, base)
    return recipe.but(**written["counts"])


def _encoding(folder: Path) -> Encoding | None:
    file = folder / "preprocessing.json"
    return Encoding.from_json(_read_json(file, "")) if file.exists() else None


def _read_json(file: Path, otherwise: str) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(otherwise) from error
    except ValueError as error:
        raise RunError(f"{file} is damaged ({error}). Train the run again.") from error
