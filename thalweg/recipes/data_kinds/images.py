"""Images: a folder, a table of paths, or arrays."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from thalweg.core.source import Source, Splits
from thalweg.data import (
    ImageEncoding,
    ImageOptions,
    holds_images,
    image_inputs,
    judged_images,
    load_image_splits,
    prediction_frame,
)
from thalweg.recipes.data_kinds.epochs import batch_size, costly_epochs
from thalweg.recipes.data_kinds.kind import Outputs
from thalweg.recipes.data_kinds.pixels import Pixels
from thalweg.recipes.settings import Section, Settings

DEPTHS = ((48, 2), (96, 3), (192, 4))
"""How many blocks a network has where nothing is said, by the longer side of the images; beyond the last, 5."""


class Images(Pixels):
    """Images of one size, and a class or numbers for each."""

    name = "images"
    holds = "images"
    plural = "images"
    models = ("cnn", "mlp", "encoder")

    def loaders(self) -> Sequence[Callable[..., Any]]:
        return (load_image_splits, ImageOptions)

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        return holds_images(path, options.get("features") is not None, options.get("header", True))

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        return load_image_splits(source, **arguments)

    def reads(self, encoding: Any) -> bool:
        return isinstance(encoding, ImageEncoding)

    def from_json(self, plain: Mapping[str, Any]) -> Any:
        return ImageEncoding.from_json(dict(plain))

    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        model = {"kind": "cnn", "depth": depth_for(train.encoding.schema.size)}
        return {"model": model, "fit": {"epochs": costly_epochs(len(train), batch_size(settings))}}

    def weights(self, encoding: Any) -> str | None:
        return None

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        channels = encoding.schema.layout[0]
        return {"inputs": channels if model == "encoder" else encoding.width, "channels": channels}

    def opened(self, file: str, encoding: Any) -> Any:
        return Path(file)

    def opened_together(self, files: Sequence[str], encoding: Any) -> Any:
        return list(map(Path, files))

    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> Any:
        """Predictions on images; those that cannot be read have none."""
        found = image_inputs(data, encoding)
        return found.with_gaps(prediction_frame(found.frame, encoding, torch.cat(outputs(found.batches())), **shown))

    def judged(self, file: str, encoding: Any) -> Source:
        return judged_images(file, encoding)


def depth_for(size: tuple[int, ...]) -> int:
    """The blocks of a network for images of this size.

    >>> depth_for((28, 28)), depth_for((64, 48)), depth_for((224, 224))
    (2, 3, 5)
    """
    return next((depth for side, depth in DEPTHS if max(size) <= side), 5)
