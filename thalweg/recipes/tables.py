"""The data of a recipe's settings: built-in data, or a table in a file."""

from pathlib import Path
from typing import Any

from thalweg.core.errors import RecipeError
from thalweg.core.source import Splits
from thalweg.data import BUNDLED, bundled, load_table
from thalweg.recipes.settings import Settings

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz")


def load_splits(settings: Settings, folder: Path | None = None) -> Splits:
    """Train, validation and test, encoded by what the training rows say."""
    options = settings["data"]
    source = str(options.pop("source"))
    names = {"test": "test_path", "split_seed": "seed"}
    arguments: dict[str, Any] = {names.get(key, key): value for key, value in options.items()}
    for share in ("validation_share", "test_share"):
        if not isinstance(arguments.get(share, 0.2), float | int):
            raise RecipeError(
                f"{settings.place('data', share)}{share} = {arguments[share]!r} is no number, such as 0.2."
            )
    if isinstance(arguments.get("features"), str):
        arguments["features"] = [name.strip() for name in arguments["features"].split(",")]
    if arguments.get("test_path") is not None:
        arguments["test_path"] = found_from(folder, arguments["test_path"])
    if source in BUNDLED:
        data = bundled(source)
        arguments = {"target": data.target, "task": data.task} | arguments
        image = settings["model"].get("kind") == "cnn"
        if image:
            arguments = {"layout": data.layout} | arguments
        return load_table(data.frame, **arguments)
    return load_table(found_from(folder, source), **arguments)


def found_from(folder: Path | None, name: str) -> Path:
    """A file that a recipe names: relative to the recipe's own folder."""
    return Path(name) if folder is None else folder / name
