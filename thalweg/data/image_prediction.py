"""Images that a run is asked about: brought to what its training images were, and read with or without classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.data.image_decoding import ImageStore
from thalweg.data.image_encoding import ImageEncoding
from thalweg.data.image_listing import Listing, list_bare, list_folder
from thalweg.data.image_loading import ImageOptions, decoded_listing, folder_targets
from thalweg.data.image_source import ImageSource

AT_ONCE = 256
"""Images in a batch of prediction."""


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Images to predict on, a row of `frame` for each; `places` are those among all `rows` that could be read."""

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
        for start in range(0, len(self.store), AT_ONCE):
            yield self.encoding.encode(self.store.images(np.arange(start, min(start + AT_ONCE, len(self.store)))))

    def with_gaps(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predictions among all rows, empty where an image could not be read."""
        return frame if len(self.places) == len(self.rows) else frame.reindex(self.rows.index).fillna(self.rows)


def image_inputs(images: Any, encoding: ImageEncoding) -> ImageInputs:
    """The images of a folder, whatever folders they lie in, or a single one, as inputs of a run.

    Those that cannot be read are said, and have no prediction.

    Raises `DataError` where there are no images, or none can be read.
    """
    listing = list_bare(Path(images))
    rows = listing.frame
    listing, store = decoded_listing(listing, _as_trained(encoding), encoding.schema.layout)
    return ImageInputs(store, encoding, rows, rows.index.get_indexer(listing.frame.index))


def judged_images(images: str | Path, encoding: ImageEncoding) -> ImageSource:
    """The images of a folder with a folder for each class, as a source to evaluate on.

    Raises `DataError` for folders that are no class of training, and images that cannot be read are left out and said.
    """
    labels = tuple(map(str, encoding.labels))
    listing: Listing = list_folder(Path(images), labels)
    listing, store = decoded_listing(listing, _as_trained(encoding), encoding.schema.layout)
    values = folder_targets(listing)
    return ImageSource(store, listing.frame, values, encoding, np.arange(len(store)))


def _as_trained(encoding: ImageEncoding) -> ImageOptions:
    return ImageOptions(damaged="skip", limit=encoding.schema.limit)


