"""Subjects: what the command line is pointed at, as a recipe.

A built-in name (`digits`), a data file (`houses.csv` with a target), a folder of images, a recipe in TOML
(`recipe.toml`) or in Python (`recipe.py`). What the subject leaves open is filled in by the kind of its target: a class
is trained by a categorical likelihood, a number by a Gaussian one; the model is a small MLP, of images a small CNN.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from thalweg.core.errors import RecipeError, did_you_mean, shortened
from thalweg.core.files import read_object
from thalweg.core.notices import collecting, notice
from thalweg.recipes.build import recipe_from
from thalweg.recipes.data_kinds import BUILT_IN, is_built_in
from thalweg.recipes.python_file import load_python
from thalweg.recipes.settings import Settings, read_settings
from thalweg.recipes.starting import check_encoding, started
from thalweg.training import Recipe

DATA_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz", ".conllu", ".conll")


def load(
    subject: str | Path | None = None,
    *,
    assignments: Iterable[str] = (),
    data: Mapping[str, Any] | None = None,
    seed: int | None = None,
    start: str | Path | None = None,
) -> Recipe:
    """The recipe of a subject: a built-in name, a data file, a folder of images, `recipe.toml` or `recipe.py`.

    `assignments` lie over it as `--set` does, `["epochs=5", "optimizer.lr=0.01"]`, and `data` over its keys of [data].
    `start` is the folder of a run with whose best weights the model begins, on its data and with its network; without a
    `subject` the data are those of that run.

    >>> import thalweg
    >>> recipe = thalweg.load("iris", assignments=["epochs=5", "model.width=16"])
    >>> recipe.epochs, thalweg.train(recipe).status.name
    (5, 'FINISHED')

    Raises `RecipeError` for a subject that is nowhere and for an unknown key (with file and line), `DataError` for data
    that cannot be used, `RunError` for a `start` without weights.
    """
    with collecting() as notices:
        begun = None if start is None else Path(start)
        changes = [*assignments, *([] if seed is None else [f"fit.seed={seed}"])]
        if subject is not None:
            recipe = _loaded(str(subject), Path(subject), changes, data, begun)
        elif begun is not None:
            recipe = _built(_over(Settings({}), data, changes), None, begun)
        else:
            raise RecipeError("load was given neither a subject nor a run to start from: load('digits').")
    return recipe.but(origin=dict(recipe.origin or {}) | {"notices": tuple(notices)})


def _loaded(
    text: str,
    path: Path,
    changes: list[str],
    data: Mapping[str, Any] | None,
    start: Path | None,
) -> Recipe:
    elsewhere = path.suffix and path.parent != Path() and path.parent.is_dir()  # whose own error names its neighbours
    if not is_built_in(text) and not path.exists() and not elsewhere:
        raise RecipeError(_nowhere(text))
    if path.suffix == ".py":
        _refuse_data(text, data)
        if start is not None:
            raise RecipeError(
                f"{text} builds its model itself, so --start cannot give it weights. In the file say "
                "model=thalweg.nn.pretrained(factory, 'RUN/checkpoints/best.safetensors')."
            )
        return load_python(path, changes)
    if not is_built_in(text) and path.suffix == ".toml":
        given = {"file": "recipe.toml", "text": _text(path)}
        return _built(_over(read_settings(path), data, changes), path.stem, start, given, path.parent)
    name = text.replace(":", "-") if is_built_in(text) else path.absolute().name.split(".")[0]
    return _built(_over(Settings({"data": {"source": text}}), data, changes), name, start)


def _built(
    settings: Settings,
    name: str | None,
    start: Path | None,
    given: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Recipe:
    """The recipe of settings, which may start from a run; without a name it is called as that is."""
    if start is None:
        return recipe_from(settings, str(name), given, folder)
    settings = started(settings, start, folder)
    if name is None:
        _check_at_hand(str(settings["data"]["source"]), start)
    recipe = recipe_from(settings, name or read_object(start / "run.json", name=str)["name"], given, folder)
    check_encoding(recipe, start)
    return recipe


def _check_at_hand(source: str, run: Path) -> None:
    """Refuse to start on the data of a run that are not where the run found them."""
    if not is_built_in(source) and not Path(source).exists():
        raise RecipeError(
            f"{run.name} was trained on {source}, but there is no such file or folder here, in {Path.cwd()}. Start "
            "from it where its data are."
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read as a recipe: {error.strerror}. Give a file in TOML that may be read."
        ) from error


def _over(settings: Settings, data: Mapping[str, Any] | None, changes: Iterable[str]) -> Settings:
    for key, value in (data or {}).items():
        settings = settings.with_value("data", key, value, f"--{key}")
    changed = settings.over(changes)
    for key, value in (data or {}).items():
        if changed["data"][key] != value:
            notice(f"--set data.{key}={changed['data'][key]} goes before --{key} {value}.")
    return changed


def _refuse_data(text: str, data: Mapping[str, Any] | None) -> None:
    if data:
        names = ", ".join(f"--{key}" for key in data)
        raise RecipeError(f"{text} brings its own data, so {names} cannot change how they are read. Leave it out.")


def _nowhere(text: str) -> str:
    endings = (".toml", ".py", *DATA_ENDINGS)
    here = [item.name for item in Path.cwd().iterdir() if item.name.endswith(endings)]
    near = did_you_mean(text, [*BUILT_IN, *here])
    if near.startswith(" Known:"):
        lists = {"The files here": here, "The built-in data": BUILT_IN}
        near = "".join(f" {what}: {shortened(names)}." for what, names in lists.items() if names)
    return f"There is no subject '{text}': no such file here, and no built-in data of that name.{near}"
