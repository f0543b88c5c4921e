"""Loading: images from a folder, a table of paths or a file of arrays to splits that can be trained on.

List the images, read their heads, choose one size and one number of channels, decode all of them once, hold some out,
and fit the encoding to those that are left to train on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.device import available
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.wording import counted
from thalweg.data.columns import parse
from thalweg.data.holdout import PARTS, hold_out
from thalweg.data.image_decoding import Decoded, Files, ImageStore, all_gray, decode, one_size, read_heads
from thalweg.data.image_encoding import ImageSchema
from thalweg.data.image_listing import CLASS, Listing, list_folder
from thalweg.data.image_source import ImageSource
from thalweg.data.places import listed
from thalweg.data.schema import Target, TargetKind
from thalweg.data.targets import TargetValues, as_target, read_target, target_names

DAMAGED, CACHE = ("error", "skip"), ("auto", "memory", "none")
MOST_OF_MEMORY = 0.5
"""The share of the memory that is left which decoded images may take."""


@dataclass(frozen=True)
class ImageOptions:
    """How images are read: the keys of a recipe's `[data]` that are for images alone.

    `size` is the longer side in pixels, or (height, width); `channels` 1 or 3; `damaged` "error" or "skip"; `limit` the
    megapixels of an image that is still decoded; `cache` "memory", "none", or "auto" by what fits.

    Raises `RecipeError` for a value that is none of these.
    """

    size: int | Sequence[int] | None = None
    channels: int | None = None
    damaged: str = "error"
    limit: float | int = 50
    cache: str = "auto"

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise RecipeError(f"channels={self.channels!r}, but images have 3 channels, or 1: gray. Give 1 or 3.")
        for name, value, known in (("damaged", self.damaged, DAMAGED), ("cache", self.cache, CACHE)):
            if value not in known:
                raise RecipeError(f"{name}={value!r} is not known.{did_you_mean(str(value), known)}")
        if not self.limit > 0:
            raise RecipeError(f"limit={self.limit!r}, but it is a number of megapixels above 0. Give for instance 50.")


def load_image_splits(
    root: str | Path,
    *,
    target: Any = None,
    task: str | None = None,
    group: str | None = None,
    time: str | None = None,
    test_path: str | Path | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
    **options: Any,
) -> Splits:
    """The splits of a folder of images; each an `ImageSource`, a split of share 0 is None.

    Folders named train, val and test are the splits; else examples are held out by class. `options` are the fields of
    `ImageOptions`.

    Raises `DataError` for images that cannot be used, `RecipeError` for arguments that cannot be; both say the mend.
    """
    asked = ImageOptions(**options)
    listing = list_folder(Path(root))
    if test_path is not None:
        listing = with_test(listing, list_folder(Path(test_path), listing.labels))
    listing, store = decoded_listing(listing, asked)
    goal, values = _classes_by_folder(listing)
    schema = ImageSchema(store.layout, goal, group, time, float(asked.limit))
    source = ImageSource.fitted(store, listing.frame, values, schema)
    return split(source, listing.part, validation_share, test_share, seed)


def with_test(listing: Listing, test: Listing) -> Listing:
    """A listing with the images of another one as its test split.

    Raises `DataError` where the first has a test split of its own.
    """
    part = np.zeros(len(listing), dtype=np.int64) if listing.part is None else listing.part
    if (part == 2).any():
        raise DataError("There is a test folder beside the train folder already. Leave --test out, or give train alone.")
    return replace(
        listing,
        paths=[*listing.paths, *test.paths],
        frame=pd.concat([listing.frame, test.frame], ignore_index=True),
        part=np.concatenate([part, np.full(len(test), 2)]),
    )


def decoded_listing(
    listing: Listing, asked: ImageOptions, layout: tuple[int, int, int] | None = None
) -> tuple[Listing, ImageStore]:
    """The images of a listing, decoded, without those that cannot be read and are to be skipped.

    `layout`, (channels, height, width), is that of training for images that are judged; else it is found and said.

    Raises `DataError` for images that cannot be read.
    """
    heads, wrong = read_heads(listing.paths, asked.limit)
    refuse_damaged(listing, wrong, asked)
    known = [head for head in heads if head is not None]
    places = [place for place, head in enumerate(heads) if head is not None]
    listing = listing.take(places)
    if layout is None:
        layout = (channels_of(listing, known, asked.channels), *one_size(known, asked.size))
        say_layout(layout, {(head.height, head.width) for head in known}, asked)
    files = Files(listing.paths, layout, deep=any(head.deep for head in known))
    keep = fits(files, asked.cache)
    found = decode(files, keep)
    refuse_damaged(listing, found.wrong, asked)
    left = np.array([place for place in range(len(listing)) if place not in found.wrong], dtype=np.int64)
    return listing.take(left), stored(files, found, left)


def stored(files: Files, found: Decoded, left: Int[np.ndarray, " image"]) -> ImageStore:
    """What was decoded, without what could not be."""
    whole = len(left) == len(found.digests)
    digests, sums = found.digests[left], found.sums[left]
    if found.pixels is None:
        return ImageStore(files.layout, digests, sums, files=files, rows=left)
    return ImageStore(files.layout, digests, sums, torch.from_numpy(found.pixels if whole else found.pixels[left]))


def fits(files: Files, cache: str) -> bool:
    """Whether the decoded images are kept in memory; that they are not is said."""
    size = len(files.paths) * int(np.prod(files.layout)) * (4 if files.deep else 1)
    if cache == "none" or (cache == "auto" and size > MOST_OF_MEMORY * available()):
        said = "as asked for" if cache == "none" else f"{size / 2**30:.1f} GiB do not fit"
        notice(f"The images are not kept in memory ({said}): each is decoded anew whenever it is needed.")
        return False
    return True


def refuse_damaged(listing: Listing, wrong: Mapping[int, str], asked: ImageOptions) -> None:
    """Refuse images that cannot be read, or say that they are left out.

    Raises `DataError` with the first of them, and where none is left.
    """
    if not wrong:
        return
    few = "; ".join(f"{listing.paths[place]}: {why}" for place, why in sorted(wrong.items())[:3])
    more = f"; and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
    said = f"{len(wrong):,} of {counted(len(listing), 'image')} cannot be read ({few}{more})."
    if len(wrong) == len(listing):
        raise DataError(f"{said} Give images that can be.")
    if asked.damaged == "error":
        larger = any("over the limit" in why for why in wrong.values())
        limit = f" The limit is {asked.limit:g} megapixels: --set data.limit=N changes it." if larger else ""
        raise DataError(f"{said} Mend them, take them away, or leave them out: --set data.damaged=skip.{limit}")
    notice(f"Left out: {said}")


def channels_of(listing: Listing, heads: Sequence[Any], channels: int | None) -> int:
    """One channel where all images are gray, else three; said."""
    if channels is not None:
        return channels
    gray, sampled = all_gray(listing.paths, heads)
    if gray and sampled:
        notice(f"The images are gray, also the {sampled:,} that were sampled of those stored in color: 1 channel.")
    return 1 if gray else 3


def say_layout(layout: tuple[int, int, int], sizes: set[tuple[int, int]], asked: ImageOptions) -> None:
    """Say what the images are brought to."""
    channels, height, width = layout
    color = "gray" if channels == 1 else "in color"
    if sizes == {(height, width)}:
        notice(f"Images: {color}, {height} x {width} pixels (height x width).")
        return
    if len(sizes) == 1:
        ((tall, wide),) = sizes
        had = f"{tall:,} x {wide:,}"
    else:
        sides = np.array(sorted(sizes))
        had = f"{len(sizes):,} sizes from {sides.min():,} to {sides.max():,} pixels a side"
    hint = "" if asked.size is not None else " --set data.size=N changes it."
    notice(
        f"Images: {color}, of {had}, scaled to {height} x {width} pixels (height x width); what is not of that shape is "
        f"padded.{hint}"
    )


def folder_targets(listing: Listing) -> TargetValues:
    """The class of each image by its folder."""
    place = {label: i for i, label in enumerate(listing.labels)}
    return np.array([place[label] for label in listing.frame[CLASS]], dtype=np.int64)


def _classes_by_folder(listing: Listing) -> tuple[Target, TargetValues]:
    values = folder_targets(listing)
    present = set((values if listing.part is None else values[listing.part == 0]).tolist())
    if absent := [label for i, label in enumerate(listing.labels) if i not in present]:
        raise DataError(f"No image of {listed(absent)} can be read. Mend some, or take the folder away.")
    return Target((CLASS,), TargetKind.CLASSES, tuple(listing.labels)), values


def split(
    source: ImageSource,
    part: Int[np.ndarray, " image"] | None,
    validation_share: float | int,
    test_share: float | int,
    seed: int,
) -> Splits:
    """The splits of a source, by the part that is given for each image, else held out; fitted to what is trained on."""
    if part is None:
        held = list(hold_out(source, validation_share=validation_share, test_share=test_share, seed=seed))
    else:
        held = [np.flatnonzero(part == place) for place in range(len(PARTS))]
        if not len(held[1]):
            share = 0.0 if len(held[2]) else test_share
            inner = hold_out(source.take(held[0]), validation_share=validation_share, test_share=share, seed=seed)
            held = [held[0][inner.train], held[0][inner.validation], held[2] if len(held[2]) else held[0][inner.test]]
    fitted = source.fit(held[0])
    splits = [fitted.take(ids) if len(ids) else None for ids in held]
    _announce(fitted, splits)
    return Splits(*splits)


def _announce(source: ImageSource, splits: Sequence[ImageSource | None]) -> None:
    target = source.encoding.schema.target
    if target.kind is TargetKind.CLASSES:
        labels = ", ".join(map(str, target.labels[:5])) + (", ..." if len(target.labels) > 5 else "")
        notice(f"Target {listed(list(target.names))}: {len(target.labels)} classes ({labels}).")
    said = [f"{name} {'none' if one is None else counted(len(one), 'image')}" for name, one in zip(PARTS, splits)]
    notice(f"Split: {'; '.join(said)}.")
    if target.kind is TargetKind.CLASSES:
        members = np.bincount(source.target, minlength=len(target.labels))
        if alone := [str(target.labels[i]) for i in np.flatnonzero(members == 1)]:
            notice(f"Of {listed(alone)} there is one image, which is trained on: nothing judges that class.")
