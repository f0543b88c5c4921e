"""The data of a recipe's settings: built-in data, a table in a file, or images."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.data import BUNDLED, ImageSchema, Schema, TargetKind, bundled, load_table
from thalweg.measure.resampling import Through, column, unweighted
from thalweg.recipes.image_data import image_splits, refuse_keys
from thalweg.recipes.settings import Settings

MOST_TOLD_APART = 10
"""So many numbers to predict have metrics of their own."""
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz")


def load_splits(settings: Settings, folder: Path | None = None) -> Splits:
    """Train, validation and test, encoded by what the training examples say."""
    options = settings["data"]
    source = str(options.pop("source"))
    if isinstance(options.get("features"), str):
        options["features"] = [name.strip() for name in options["features"].split(",")]
    names = {"test": "test_path", "split_seed": "seed"}
    arguments: dict[str, Any] = {names.get(key, key): value for key, value in options.items()}
    if arguments.get("test_path") is not None:
        arguments["test_path"] = found_from(folder, arguments["test_path"])
        _say_where_it_is_tested(arguments["test_path"], found_from(folder, source))
    if source in BUNDLED:
        refuse_keys(settings, source, images=False)
        data = bundled(source)
        arguments = {"target": data.target, "task": data.task} | arguments
        image = settings["model"].get("kind") == "cnn" or settings["augmentation"]
        if image:
            arguments = {"layout": data.layout} | arguments
        return load_table(data.frame, **arguments)
    path = found_from(folder, source)
    images = image_splits(settings, path, arguments)
    return load_table(path, **arguments) if images is None else images


def _say_where_it_is_tested(test: Path, source: Path) -> None:
    if test.exists() and source.exists() and test.samefile(source):
        notice(f"The test file {test} is the training file itself, so the test scores say nothing about new data.")


def metrics_of(metrics: Mapping[str, Any], schema: Schema | ImageSchema) -> dict[str, Any]:
    """The metrics on a table's targets; of a few numbers also of each, `mae_price`, for their mean mixes units.

    Every row counts alike, also where the loss has weights.
    """
    named, names = dict(metrics), schema.target.names
    if schema.target.kind is TargetKind.NUMBERS and 1 < len(names) <= MOST_TOLD_APART:
        for key, metric in metrics.items():
            named |= {
                f"{key}_{name}": Through(metric, partial(column, place=place)) for place, name in enumerate(names)
            }
    return {key: Through(metric, unweighted) for key, metric in named.items()} if schema.weights else named


def found_from(folder: Path | None, name: str) -> Path:
    """A file that a recipe names: relative to the recipe's own folder."""
    return Path(name) if folder is None else folder / name
