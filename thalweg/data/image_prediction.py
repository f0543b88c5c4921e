"""Images that a run is asked about: brought to what its training images were, and read with or without classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.errors import DataError
from thalweg.core.notices import notice
from thalweg.data.image_arrays import read_arrays
from thalweg.data.image_decoding import ImageStore
from thalweg.data.image_encoding import ImageEncoding
from thalweg.data.image_files import is_image
from thalweg.data.image_gathering import ImageOptions, arrays_in, decoded_listing, gather, of_arrays, table_listing
from thalweg.data.image_listing import Listing, list_bare, paths_of
from thalweg.data.image_loading import folder_targets, table_targets
from thalweg.data.image_source import ImageSource
from thalweg.data.places import listed
from thalweg.data.reading import read_table
from thalweg.data.schema import TargetKind

AT_ONCE = 256
"""Images in a batch of prediction."""


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Images to predict on, a row of `rows` for each; `places` are those that could be read."""

    store: ImageStore
    encoding: ImageEncoding
    rows: pd.DataFrame
    places: Int[np.ndarray, " image"]

    @property
    def frame(self) -> pd.DataFrame:
        """The rows of the images that could be read."""
        return self.rows.iloc[self.places]

    def batches(self) -> Iterator[Float[Tensor, "image channel height width"]]:
        """The inputs of the images that could be read."""
        for places in np.split(np.arange(len(self.store)), range(AT_ONCE, len(self.store), AT_ONCE)):
            yield self.encoding.encode(self.store.images(places))

    def with_gaps(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predictions among all rows, empty where an image could not be read."""
        if len(self.places) == len(self.rows):
            return frame
        new = frame.iloc[:, len(self.rows.columns) :].reset_index(drop=True)
        new.index = pd.Index(self.places)
        return pd.concat([self.rows.reset_index(drop=True), new.reindex(range(len(self.rows)))], axis=1)


def image_inputs(images: Any, encoding: ImageEncoding) -> ImageInputs:
    """The images of a folder, whatever folders they lie in, a single one, those of a table or of arrays, as inputs.

    `images` is a path, several of folders and images, `-` for a table on the standard input, or a frame with a column
    of paths. Those that cannot be read are said, and have no prediction.

    Raises `DataError` where there are no images, or none can be read.
    """
    if isinstance(images, str | Path) and arrays_in(Path(images)):
        found = of_arrays(
            read_arrays(Path(images), with_targets=False, alone=True), ImageOptions(), encoding.schema.layout
        )
        return ImageInputs(found.store, encoding, found.frame, np.arange(len(found.store)))
    listing = _listing(images, encoding.schema.header)
    rows = listing.frame.copy()
    listing = Listing(listing.paths, pd.DataFrame({"place": np.arange(len(rows))}))
    listing, store = decoded_listing(listing, _as_trained(encoding), encoding.schema.layout)
    return ImageInputs(store, encoding, rows, listing.frame["place"].to_numpy())


def judged_images(images: str | Path, encoding: ImageEncoding) -> ImageSource:
    """Images with their targets as a source to evaluate on; those that cannot be read are left out, and said.

    Of a folder or file with splits of its own those to test on are taken, and that is said.

    Raises `DataError` for classes that training did not have, and targets that are missing.
    """
    schema = encoding.schema
    labels = tuple(map(str, encoding.labels)) or None
    found = gather(Path(images), _as_trained(encoding), header=schema.header, labels=labels, layout=schema.layout)
    frame = found.frame.rename(columns=dict(zip(found.targets, schema.target.names, strict=False)))
    if found.labels and schema.target.kind is not TargetKind.CLASSES:
        raise DataError(
            f"{images} holds folders of classes, but {listed(list(schema.target.names))} was trained on as "
            f"{schema.target.kind}. Give a table of paths with that column."
        )
    values = folder_targets(frame, found.labels) if found.labels else table_targets(frame, schema.target)
    source = ImageSource(found.store, frame, values, encoding, np.arange(len(found.store)))
    if found.part is None or not (found.part == 2).any():
        return source
    notice(f"Of {images} the images to test on are taken: {(found.part == 2).sum():,} of {len(source):,}.")
    return source.take(np.flatnonzero(found.part == 2))


def _listing(images: Any, header: bool) -> Listing:
    if isinstance(images, pd.DataFrame):
        return table_listing(images, Path(), "The frame")
    path, *more = paths_of(images)
    if more:
        return list_bare(path, *more)
    if str(path) == "-":
        return table_listing(read_table("-", header=header), Path(), "The standard input")
    if path.is_file() and not is_image(path):
        return table_listing(read_table(path, header=header), path.parent, str(path))
    return list_bare(path)


def _as_trained(encoding: ImageEncoding) -> ImageOptions:
    return ImageOptions(damaged="skip", limit=encoding.schema.limit)
