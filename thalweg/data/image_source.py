"""A source of images: float tensors `(channel, height, width)`, standardized as the images of training were."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.examples import ExampleSource
from thalweg.core.nest import Nest
from thalweg.core.wording import counted
from thalweg.data.columns import parse
from thalweg.data.encoding import statistics
from thalweg.data.image_decoding import ImageStore, cores
from thalweg.data.image_encoding import ImageEncoding, ImageSchema
from thalweg.data.image_listing import PATH, path_column
from thalweg.data.places import each_place
from thalweg.data.schema import TargetKind
from thalweg.data.targets import TargetValues

MOST_FLOATS = 2**29
"""Bytes of a split as floating numbers up to which it is kept as such; a larger one stays bytes until its batch."""
MOST_WORKERS, FEW = 4, 512
"""Processes that decode images which are not kept in memory; of so few images none does, for it takes long to start."""


@dataclass(frozen=True, repr=False)
class ImageSource:
    """Images as batches `(x, y)`.

    `ids` are rows of `frame` and `target`, the same images as in `store`. It keeps core's protocols `Source`,
    `Indexed`, `Ordered`, `Batched`, `Described`, `Grouped`, `Fitted` and `Restoring`.
    """

    store: ImageStore
    frame: pd.DataFrame
    target: TargetValues
    encoding: ImageEncoding
    ids: Int[np.ndarray, " example"]
    batch_size: int | None = 32
    merge_single: bool = False

    @classmethod
    def fitted(cls, store: ImageStore, frame: pd.DataFrame, target: TargetValues, schema: ImageSchema) -> "ImageSource":
        """All images, in the encoding that is fitted to all of them."""
        ids = np.arange(len(store))
        return cls(store, frame, target, fit_image_encoding(store, target, schema, ids), ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.encoding.input_shape))
        return f"ImageSource({counted(len(self), 'image')}, {shape}, {self.encoding.task})"

    @property
    def rows(self) -> pd.DataFrame:
        """What is known of each image, as it was listed."""
        return self.frame.iloc[self.ids]

    @property
    def targets(self) -> Shaped[Tensor, "example ..."]:
        """The targets of all examples."""
        return self.encoding.encode_target(self.target[self.ids])

    @cached_property
    def arrays(self) -> ArraySource | None:
        """The images as floating numbers in memory, where they are few enough for that."""
        if self.store.pixels is None or 4 * len(self) * self.encoding.width > MOST_FLOATS:
            return None
        return ArraySource((self.inputs(self.ids), self.targets), self.batch_size, self.merge_single)

    def inputs(self, places: Int[np.ndarray, " some"]) -> Float[Tensor, "some channel height width"]:
        """The inputs of some of the images, by their place in the store."""
        return self.encoding.encode(self.store.images(places))

    def images(self, ids: Any) -> Float[Tensor, "some channel height width"]:
        """Some of these examples as they look, in [0, 1]."""
        shown = self.store.images(self.ids[np.asarray(ids, dtype=np.int64)])
        return shown.float() / self.store.full

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        if self.arrays is not None:
            yield from self.arrays.batches(epoch, start, generator)
        elif self.store.pixels is None:
            yield from self._examples().batches(epoch, start, generator)
        else:
            targets = self.targets
            for chunk in self.ordered(epoch, generator)[start:]:
                yield self.inputs(self.ids[chunk.numpy()]), targets[chunk]

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of an epoch, by their place in this source."""
        return self._order().ordered(epoch, generator)

    def batched(self, size: int | None, merge_single: bool = False) -> Self:
        source = replace(self, batch_size=size, merge_single=merge_single)
        if self.arrays is not None:
            source.__dict__["arrays"] = self.arrays.batched(size, merge_single)  # encoded once for all runs
        return source

    def count_batches(self) -> int:
        """The batches of an epoch of training."""
        return self._order().count_batches()

    def take(self, ids: Any) -> Self:
        return replace(self, ids=self.ids[np.asarray(ids, dtype=np.int64)])

    def fit(self, train_ids: Any) -> Self:
        """The same images, encoded with the means and deviations of `train_ids` alone."""
        places = self.ids[np.asarray(train_ids, dtype=np.int64)]
        return replace(self, encoding=fit_image_encoding(self.store, self.target, self.encoding.schema, places))

    def meta(self, ids: Any) -> dict[str, Any]:
        """Of each of these images the "label" (classes only), "group" and "time" where given, and "row", its place."""
        places = self.ids[np.asarray(ids, dtype=np.int64)]
        schema, known = self.encoding.schema, {"row": self.frame.index.to_numpy()[places]}
        if schema.target.kind is not TargetKind.NUMBERS:
            classes = self.target[places] if self.target.ndim == 1 else self.target[places].argmax(1)
            known["label"] = np.asarray(schema.target.labels)[classes]
        if schema.group is not None:
            known["group"] = self.frame[schema.group].to_numpy()[places].astype(str)
        if schema.time is not None:
            known["time"] = _times(self.frame, schema.time)[places]
        return known

    def where(self, ids: Any) -> list[str]:
        """The file of each of these images, or the row that tells of it."""
        rows = self.rows.iloc[np.asarray(ids, dtype=np.int64)]
        column = PATH if PATH in rows else path_column(rows)
        return each_place(rows.index) if column is None else [str(path) for path in rows[column]]

    @property
    def group_name(self) -> str | None:
        """The column of groups."""
        return self.encoding.schema.group

    def restore(self, values: Nest) -> Nest:
        """Outputs or targets in the target's own units."""
        return self.encoding.restore(values)

    def fingerprint(self) -> str:
        """A hash of the encoding, of the files and of their targets."""
        digest = hashlib.sha256(json.dumps(self.encoding.to_json()).encode())
        digest.update(self.store.digests[self.ids].tobytes())
        digest.update(np.ascontiguousarray(self.target[self.ids]).tobytes())
        return digest.hexdigest()

    def _order(self) -> ArraySource:
        return ArraySource((torch.arange(len(self)),), self.batch_size, self.merge_single)

    def _examples(self) -> ExampleSource:
        workers = 0 if len(self) <= FEW else min(MOST_WORKERS, cores() - 1)
        loading = {"num_workers": workers} if workers > 0 else {}
        examples = OnDemand(self)
        return ExampleSource(examples, self.batch_size, merge_single=self.merge_single, loading=loading)


class OnDemand(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """The examples of a source one by one, each decoded when it is asked for."""

    def __init__(self, source: ImageSource) -> None:
        self.source, self.targets = source, source.targets

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "channel height width"], Shaped[Tensor, "..."]]:
        return self.source.inputs(self.source.ids[[index]])[0], self.targets[index]


def fit_image_encoding(
    store: ImageStore, target: TargetValues, schema: ImageSchema, places: Int[np.ndarray, " some"]
) -> ImageEncoding:
    """The encoding with the statistics of these images alone."""
    means, scales = store.statistics(places)
    if schema.target.kind is not TargetKind.NUMBERS:
        return ImageEncoding(schema, means, scales)
    target_means, target_scales = statistics(list(target[places].T))
    return ImageEncoding(schema, means, scales, target_means, tuple(scale or 1.0 for scale in target_scales))


def _times(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column of numbers as numbers, any other as its texts (2024-05-01 is in order as it is)."""
    column = parse(frame, [name])[name]
    return column.numbers.value if column.numeric else frame[name].to_numpy().astype(str)
