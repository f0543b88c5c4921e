"""Tables: the rows of a file, or built-in data."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar

from thalweg.core.source import Source, Splits
from thalweg.data import (
    BUNDLED,
    Encoding,
    TableSource,
    bundled,
    load_table,
    prediction_frame,
    read_table,
)
from thalweg.data.places import listed
from thalweg.recipes.data_kinds.epochs import batch_size, epochs_of
from thalweg.recipes.data_kinds.kind import Outputs
from thalweg.recipes.data_kinds.pixels import Pixels
from thalweg.recipes.settings import Section, Settings

ROWS_AT_ONCE = 4096
OF_IMAGES = ("flip", "rotate", "scale", "shift", "shear", "crop", "brightness", "contrast", "cutout")
"""What means nothing for the columns of a table; noise and mixtures do for any numbers."""


class Table(Pixels):
    """A table of numbers and categories; with a layout its columns are the pixels of an image."""

    name = "table"
    holds = "a table"
    plural = "tables"
    models = ("mlp", "cnn", "encoder")
    named: ClassVar[tuple[str, ...]] = tuple(BUNDLED)

    def loaders(self) -> Sequence[Callable[..., Any]]:
        return (load_table,)

    def changed(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        features = parameters["features"].replace(annotation=Sequence[str] | str | None)
        return super().changed(parameters) | {"features": features}

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        return True

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        if isinstance(source, Path):
            return load_table(source, **arguments)
        data = bundled(source)
        image = settings["model"].get("kind") in ("cnn", "encoder") or settings["augmentation"]
        layout = {"layout": data.layout} if image else {}
        return load_table(data.frame, **({"target": data.target, "task": data.task} | layout | arguments))

    def reads(self, encoding: Any) -> bool:
        return isinstance(encoding, Encoding)

    def from_json(self, plain: Mapping[str, Any]) -> Any:
        return Encoding.from_json(dict(plain))

    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        return {"fit": {"epochs": epochs_of(len(train), batch_size(settings))}}

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        layout = encoding.schema.layout
        if model == "encoder":
            return {"inputs": layout[0]} if layout else {}
        return {"inputs": encoding.width} | ({"channels": layout[0]} if layout else {})

    def opened(self, file: str, encoding: Any) -> Any:
        return read_columns(file, encoding.schema.header, [column.name for column in encoding.schema.columns])

    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> Any:
        import torch

        inputs = encoding.inputs(data)
        parts = outputs(inputs[i : i + ROWS_AT_ONCE] for i in range(0, len(inputs), ROWS_AT_ONCE))
        return prediction_frame(data, encoding, torch.cat(parts), **shown)

    def judged(self, file: str, encoding: Any) -> Source:
        return TableSource.of(self.opened(file, encoding), encoding)


def read_columns(file: str, header: bool, columns: Sequence[str]) -> Any:
    """The rows of a file, or of stdin for `-`, read as the run's own table was, with a header or without."""
    mend = (
        f"The run was trained on a table with a header: put the names of the columns into the first line "
        f"({listed(list(columns))})."
        if header
        else "The run was trained on a table without one: take this line away, and keep the order of the columns."
    )
    return read_table(file if file == "-" else Path(file), header=header, header_mend=mend)
