"""Starting: a training that begins with the best weights of a run, on its data and with its network.

Whatever of [data] and [model] is not said is as it was in that run; data that are said otherwise are refused, for then
validation and test could hold what the run was trained on, or tokens could mean something else.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.core.convert import loaded
from thalweg.core.errors import RecipeError, RunError
from thalweg.core.files import read_object
from thalweg.core.notices import notice
from thalweg.core.source import plain_of
from thalweg.recipes.settings import Section, Settings
from thalweg.training import Recipe

FREE = ("tokens", "cache")
"""Keys of [data] that change no example and no number of one."""
TRAINING_ALONE = ("dropout", "word_dropout")
"""Keys of [model] that no weight and no output depends on."""
FILES = ("source", "target", "test", "validation")
"""Those that may name files, found from the recipe's own folder."""


def started(settings: Settings, run: Path, folder: Path | None = None) -> Settings:
    """The settings over those of [data] and [model] of a run, with whose best weights the model begins.

    Raises `RunError` for a folder without a run or without weights, and `RecipeError` for a run that no settings
    describe, for data or a network that are said otherwise.
    """
    about = _about(run)
    theirs = _settings_of(run)
    base = None if theirs["folder"] is None else Path(theirs["folder"])
    data, model = dict(theirs["settings"].get("data", {})), dict(theirs["settings"].get("model", {}))
    for key, value in settings["data"].items():
        if key not in FREE and _found(value, key, folder) != _found(data.get(key), key, base):
            was = f"with {data[key]!r}" if key in data else "without saying it"
            raise RecipeError(
                f"{settings.place('data', key)}data.{key} is {value!r}, but {run.name} was trained {was}. What starts "
                "from a run goes on with its data, or what is judged could be what was trained on, and tokens could "
                "mean something else. Leave it out, or train anew without --start."
            )
    kind = settings["model"].get("kind", model.get("kind"))
    if kind != model.get("kind"):
        raise RecipeError(
            f"{settings.place('model', 'kind')}model.kind is {kind!r}, but {run.name} has the weights of a "
            f"{model.get('kind')!r}. Leave it out, or train anew without --start."
        )
    for key, value in settings["model"].items():
        if key not in TRAINING_ALONE and key in model and value != model[key]:
            raise RecipeError(
                f"{settings.place('model', key)}model.{key} is {value!r}, but {run.name} has the weights of a network "
                f"with {model[key]!r}. Leave it out, or train anew without --start."
            )
    if "pretrained" in settings["model"]:
        raise RecipeError(
            f"{settings.place('model', 'pretrained')}a model begins with the weights of one file, but both --start "
            f"{run.name} and model.pretrained name one. Leave one of them out."
        )
    weights = (run / "checkpoints" / "best.safetensors").resolve()
    notice(f"Starts with the best weights of {run.name}, those of epoch {about['best_epoch']}{_worth(about)}.")
    absolute = {key: _found(value, key, base) for key, value in data.items()}
    sections = {
        **settings.sections,
        "data": absolute | settings["data"],
        "model": model | settings["model"] | {"pretrained": str(weights)},
    }
    return Settings(sections, settings.where)


def has_seen(settings: Settings, folder: Path | None = None) -> bool:
    """Whether the weights that a model begins with are those of a run on the same source of data, as by `started`.

    Such weights have seen train, or where it was split otherwise a part of it.
    """
    weights = Path(folder or "", str(settings["model"].get("pretrained")))
    written = weights.resolve().parent.parent / "recipe.json"
    if weights.parent.name != "checkpoints" or not written.is_file():
        return False
    origin = read_object(written).get("origin") or {}
    theirs = origin.get("settings", {}).get("data", {}).get("source")
    base = None if origin.get("folder") is None else Path(origin["folder"])
    own = settings["data"].get("source")
    return theirs is not None and _found(own, "source", folder) == _found(theirs, "source", base)


def check_encoding(recipe: Recipe, run: Path) -> None:
    """Refuse data that are encoded otherwise than those of the run that a training starts from.

    Raises `RecipeError` naming what differs.
    """
    encoding = plain_of(loaded(recipe.data.train)).encoding
    own, theirs = _plain(encoding), _read_again(read_object(run / "preprocessing.json"), type(encoding))
    if differing := sorted(key for key in own.keys() | theirs.keys() if own.get(key) != theirs.get(key)):
        raise RecipeError(
            f"The data are read otherwise than those of {run.name}, whose {' and '.join(differing)} "
            f"{'differ' if len(differing) > 1 else 'differs'}, so that its weights mean something else: they have "
            "changed since. Take the data that it was trained on, or train anew without --start."
        )


def _plain(encoding: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(encoding.to_json()))
    return plain


def _read_again(written: dict[str, Any], kind: Any) -> dict[str, Any]:
    """What a run wrote of its encoding, as it is written now: what there is since has the value that it had unsaid."""
    try:
        return _plain(kind.from_json(written))
    except (KeyError, TypeError, ValueError, AttributeError):  # of another kind, or damaged: it differs
        return written


def _about(run: Path) -> dict[str, Any]:
    if not (run / "run.json").exists():
        raise RunError(f"{run} is no run folder: it has no run.json. Give one that train wrote.")
    about = read_object(run / "run.json", status=str, best_epoch=int)
    if about["status"] == "RUNNING" or not (run / "checkpoints" / "best.safetensors").is_file():
        raise RunError(
            f"The run {run.name} ({about['status']}) has no weights to start from: it did not end, or no epoch of it "
            f"was done. Give another, or go on with it first: thalweg resume {run}."
        )
    return about


def _settings_of(run: Path) -> dict[str, Any]:
    file = run / "recipe.json"
    origin = (read_object(file) if file.exists() else {}).get("origin") or {}
    if not {"data", "model"} <= set(origin.get("settings", {})):
        raise RecipeError(
            f"The run {run.name} was trained from Python objects or a case, whose network no settings describe. Begin "
            "in Python: Recipe(model=thalweg.nn.pretrained(factory, 'RUN/checkpoints/best.safetensors', seen=True), "
            "...), where `seen` says that it was trained on these data."
        )
    return {"folder": None} | origin


def _found(value: Any, key: str, folder: Path | None) -> Any:
    """A value that may be a file as its whole path where it is one; any other as it is."""
    if key not in FILES or not isinstance(value, str):
        return value
    path = Path(value) if folder is None else folder / value
    return str(path.resolve()) if path.exists() else value


def _worth(about: Mapping[str, Any]) -> str:
    best: Section = about.get("best") or {}
    loss = best.get("validation_loss")
    return f" (validation loss {loss:.4g})" if isinstance(loss, float) else ""
