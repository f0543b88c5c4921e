"""Gathering: the images of a folder, of a table of paths, or of arrays, in one size, with what is known of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from thalweg.core.device import available
from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.image_arrays import ImageArrays, read_arrays, with_tests
from thalweg.data.image_decoding import Decoded, Files, ImageStore, all_gray, decode, one_size, read_heads, resized
from thalweg.data.image_files import Head, is_image
from thalweg.data.image_listing import Listing, list_folder, list_table, path_column
from thalweg.data.image_sniffing import IDX, is_arrays, names_images
from thalweg.data.places import listed
from thalweg.data.reading import read_table

DAMAGED, CACHE = ("error", "skip"), ("auto", "memory", "off")
LISTED = 10
"""Damaged images that are named."""
MOST_OF_MEMORY = 0.5
"""The share of the memory that is left which decoded images may take."""
Layout = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True)
class ImageOptions:
    """How images are read: the keys of a recipe's `[data]` that are for images alone.

    `size` is the longer side in pixels, or (height, width); `channels` 1 or 3; `damaged` "error" or "skip"; `limit` the
    megapixels of an image that is still decoded; `cache` "memory", "off", or "auto" by what fits.

    >>> ImageOptions(size=32).damaged
    'error'

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


@dataclass(frozen=True, eq=False)
class Gathered:
    """Images and a row of `frame` for each; `part` is the split of each where that is given.

    `labels` are the classes where folders are, and `targets` the columns of targets where arrays have some, `whole`
    where these are whole numbers.
    """

    store: ImageStore
    frame: pd.DataFrame
    part: Int[np.ndarray, " image"] | None = None
    labels: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    whole: bool = False


def gather(
    path: Path,
    asked: ImageOptions,
    *,
    test: Path | None = None,
    header: bool = True,
    labels: Sequence[str] | None = None,
    layout: Layout | None = None,
) -> Gathered:
    """The images of a path, with those of another one of its kind to test on.

    `labels` and `layout` are those of training, for images that are judged; else they are found, and said.

    Raises `DataError` for whatever cannot be read.
    """
    if arrays_in(path):
        found = read_arrays(path, alone=test is not None or layout is not None)
        if test is not None:
            found = with_tests(found, read_arrays(test, alone=True), test)
        return of_arrays(found, asked, layout)
    listing = listing_of(path, labels, header)
    if test is not None:
        listing = with_test(listing, listing_of(test, listing.labels or None, header), test)
    listing, store = decoded_listing(listing, asked, layout)
    return Gathered(store, listing.frame, listing.part, listing.labels)


def arrays_in(path: Path) -> bool:
    """Whether a path is a file of arrays of images, or a folder of such files."""
    return is_arrays(path) or (path.is_dir() and any(IDX.search(item.name) for item in path.iterdir()))


def listing_of(path: Path, labels: Sequence[str] | None, header: bool = True) -> Listing:
    """The images of a folder with classes, or those that a table names.

    Raises `DataError` for a table without a column of paths.
    """
    if is_image(path) and path.is_file():
        raise DataError(f"{path} is a single image. Give the folder that holds a folder for each class.")
    if not path.is_file():
        try:
            return list_folder(path, labels)
        except DataError as error:
            tables = [item for item in path.iterdir() if item.is_file() and names_images(item)] if path.is_dir() else []
            if not tables:
                raise
            raise DataError(f"{error} Or give the table that names the images: {tables[0]} --target COLUMN.") from None
    return table_listing(read_table(path, header=header), path.parent, str(path))


def table_listing(frame: pd.DataFrame, folder: Path, name: str) -> Listing:
    """The images that a table names.

    Raises `DataError` where no column does.
    """
    column = path_column(frame)
    if column is None:
        raise DataError(
            f"{name} names no images: none of its columns {listed(list(map(str, frame.columns)))} holds paths such as "
            "photos/1.png throughout. Give a folder of images, or a table with such a column."
        )
    return list_table(frame, column, folder)


def with_test(listing: Listing, test: Listing, path: Path) -> Listing:
    """A listing with the images of another one as its test split.

    Raises `DataError` where the first has a test split of its own, or the other is of another kind.
    """
    part = np.zeros(len(listing), dtype=np.int64) if listing.part is None else listing.part
    if (part == 2).any():
        raise DataError(f"There are images to test on already, so {path} is one set too many. Leave --test out.")
    if bool(listing.labels) != bool(test.labels):
        raise DataError(f"{path} is not of the same kind: give two folders, or two tables of paths.")
    frame = test.frame.rename(columns={test.column: listing.column})
    return replace(
        listing,
        paths=[*listing.paths, *test.paths],
        frame=pd.concat([listing.frame, frame], ignore_index=True),
        part=np.concatenate([part, np.full(len(test), 2)]),
    )


def of_arrays(arrays: ImageArrays, asked: ImageOptions, layout: Layout | None = None) -> Gathered:
    """The images of arrays, brought to another layout where one is asked for."""
    images = arrays.images
    own = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    if layout is None:
        size = own[1:] if asked.size is None else one_size([Head(own[1], own[2], False, False)], asked.size)
        layout = (asked.channels or own[0], *size)
        say_layout(layout, {own[1:]}, asked)
    elif layout[0] != own[0]:
        say_channels(layout[0], own[0] == 1)
    if layout != own:
        images = np.stack([resized(image, layout) for image in images])
    return Gathered(ImageStore.of_pixels(images), arrays.frame, arrays.part, (), arrays.targets, arrays.whole)


def decoded_listing(listing: Listing, asked: ImageOptions, layout: Layout | None = None) -> tuple[Listing, ImageStore]:
    """The images of a listing, decoded, without those that cannot be read and are to be skipped.

    Raises `DataError` for images that cannot be read.
    """
    whole = listing
    heads, wrong = read_heads(whole.paths, asked.limit)
    known = [head for head in heads if head is not None]
    if not known:
        refuse_damaged(whole, wrong, asked)
    readable = [place for place, head in enumerate(heads) if head is not None]
    listing = whole.take(readable)
    if layout is None:
        layout = (channels_of(listing, known, asked.channels), *one_size(known, asked.size))
        say_layout(layout, {(head.height, head.width) for head in known}, asked)
    elif (layout[0] == 3) == all(head.gray for head in known):
        say_channels(layout[0], layout[0] == 3)
    files = Files(listing.paths, layout, deep=any(head.deep for head in known))
    found = decode(files, fits(files, asked.cache))
    refuse_damaged(whole, wrong | {readable[place]: why for place, why in found.wrong.items()}, asked)
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
    if cache == "off" or (cache == "auto" and size > MOST_OF_MEMORY * available()):
        said = "as asked for" if cache == "off" else f"{size / 2**30:.1f} GiB do not fit"
        notice(f"The images are not kept in memory ({said}): each is decoded anew whenever it is needed.")
        return False
    return True


def refuse_damaged(listing: Listing, wrong: Mapping[int, str], asked: ImageOptions) -> None:
    """Refuse images that cannot be read, or say that they are left out.

    Raises `DataError` with the first of them, and where none is left.
    """
    if not wrong:
        return
    few = "; ".join(f"{listing.paths[place]}: {why}" for place, why in sorted(wrong.items())[:LISTED])
    more = f"; and {len(wrong) - LISTED:,} more" if len(wrong) > LISTED else ""
    said = f"{len(wrong):,} of {counted(len(listing), 'image')} cannot be read ({few}{more})."
    larger = any("over the limit" in why for why in wrong.values())
    limit = f" The limit is {asked.limit:g} megapixels: --set data.limit=N changes it." if larger else ""
    if len(wrong) == len(listing):
        raise DataError(f"{said} Give images that can be.{limit}")
    if asked.damaged == "error":
        raise DataError(f"{said} Mend them, take them away, or leave them out: --set data.damaged=skip.{limit}")
    notice(f"Left out: {said}")


def channels_of(listing: Listing, heads: Sequence[Head], channels: int | None) -> int:
    """One channel where all images are gray, else three."""
    if channels is not None:
        return channels
    gray, sampled = all_gray(listing.paths, heads)
    if gray and sampled:
        notice(f"The images are gray, also the {sampled:,} that were sampled of those stored in color: 1 channel.")
    return 1 if gray else 3


def say_channels(channels: int, gray: bool) -> None:
    """Say that images do not have the channels of training."""
    had, become = ("gray", "red, green and blue alike") if gray else ("in color", "gray")
    trained = "in color" if channels == 3 else "gray"
    notice(f"The images are {had}, those of training were {trained}: they become {become}.")


def say_layout(layout: Layout, sizes: set[tuple[int, int]], asked: ImageOptions) -> None:
    """Say what the images are brought to."""
    channels, height, width = layout
    color = "gray" if channels == 1 else "in color"
    if sizes == {(height, width)}:
        notice(f"Images: {color}, {height} x {width} pixels (height x width).")
        return
    sides = np.array(sorted(sizes))
    one = f"{sides[0, 0]:,} x {sides[0, 1]:,}"
    had = one if len(sizes) == 1 else f"{len(sizes):,} sizes from {sides.min():,} to {sides.max():,} pixels a side"
    hint = "" if asked.size is not None else " --set data.size=N changes it."
    padded = (
        "" if len({round(tall * width - wide * height) for tall, wide in sizes} - {0}) == 0 else ", others are padded"
    )
    notice(f"Images: {color}, of {had}, scaled to {height} x {width} pixels (height x width){padded}.{hint}")
