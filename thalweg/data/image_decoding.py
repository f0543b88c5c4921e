"""Decoding: all files of images once, by threads, for Pillow lets other threads run while it decodes.

With the pixels comes what later needs no pixels any more: a digest of each file, and of each channel of each image the
sum of its values and of their squares, from which the mean and the deviation of any part follow exactly.
"""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.passing import passed
from thalweg.data.image_files import Head, faults, fitted, pillow, read_head, read_pixels, reading, reason

LARGEST_SIDE = 64
"""Pixels of the longer side to which images are scaled where nothing is said."""
MOST_SAMPLED = 100
"""Images in color that are decoded to see whether they are gray after all."""
MOST_THREADS, AT_ONCE = 8, 16
"""Threads that decode, and images that each takes at a time."""
MEGAPIXEL = 1_000_000
LUMINANCE = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601), as Pillow has it."""

ByChannel = Shaped[np.ndarray, "channel height width"]


@dataclass(frozen=True)
class Files:
    """Files of images as arrays of one layout: bytes, or numbers in [0, 1] where some have more than 8 bits."""

    paths: list[Path]
    layout: tuple[int, int, int]
    deep: bool = False

    def decoded(self, place: int) -> tuple[ByChannel, bytes]:
        """An image and the digest of its file.

        Raises one of `faults` for a file that cannot be read.
        """
        data = self.paths[place].read_bytes()
        channels, *size = self.layout
        pixels = as_kind(read_pixels(data, channels, (size[0], size[1]), pad=True), self.deep)
        return by_channel(pixels, channels), hashlib.blake2b(data, digest_size=16).digest()


@dataclass
class Decoded:
    """What came of decoding: pixels where they are kept, digests and sums of all, and why some cannot be read."""

    pixels: Shaped[np.ndarray, "image channel height width"] | None
    digests: Shaped[np.ndarray, " image"]
    sums: Float[np.ndarray, "image channel moment"]
    wrong: dict[int, str] = field(default_factory=dict)


def as_kind(pixels: np.ndarray, deep: bool) -> np.ndarray:
    """Pixels as numbers in [0, 1] where they are `deep`, else as bytes.

    >>> as_kind(np.array([0.2], np.float32), False), as_kind(np.array([51], np.uint8), True)
    (array([51], dtype=uint8), array([0.2], dtype=float32))
    """
    if deep == (pixels.dtype == np.float32):
        return pixels
    return pixels.astype(np.float32) / 255 if deep else np.round(pixels * 255).astype(np.uint8)


def by_channel(pixels: Shaped[np.ndarray, "height width *channel"], channels: int) -> ByChannel:
    """Pixels with the channels in front; gray is repeated where more channels are wanted."""
    whole = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return np.broadcast_to(whole, (*whole.shape[:2], channels)).transpose(2, 0, 1)


def resized(image: ByChannel, layout: tuple[int, int, int]) -> Shaped[np.ndarray, "_channel _height _width"]:
    """An image in another size, padded, and with another number of channels.

    >>> resized(np.full((3, 4, 8), 51, np.uint8), (1, 8, 8))[0, :, 0]
    array([51, 51, 51, 51, 51, 51, 51, 51], dtype=uint8)
    """
    channels, *size = layout
    if len(image) != channels:
        gray = np.tensordot(LUMINANCE, image.astype(np.float64), 1)[None] if channels == 1 else image
        gray = np.round(gray) if image.dtype == np.uint8 else gray
        image = np.broadcast_to(gray.astype(image.dtype), (channels, *image.shape[1:]))
    if list(image.shape[1:]) == size:
        return np.ascontiguousarray(image)
    return np.stack([fitted(pillow().fromarray(np.ascontiguousarray(one)), (size[0], size[1]), True) for one in image])


def moments(images: Shaped[np.ndarray, "image channel height width"]) -> Float[np.ndarray, "image channel moment"]:
    """The sum of the values of each channel of each image, and of their squares; exact where the values are bytes."""
    wide = images.astype(np.float64 if images.dtype.kind == "f" else np.int64)
    return np.stack([wide.sum((2, 3)), (wide * wide).sum((2, 3))], axis=-1).astype(np.float64)


def read_heads(paths: Sequence[Path], limit: float | int) -> tuple[list[Head | None], dict[int, str]]:
    """The head of each file, and why some have none: they cannot be read, or have more megapixels than `limit`."""
    heads: list[Head | None] = []
    wrong: dict[int, str] = {}
    with reading():
        for place, path in enumerate(paths):
            try:
                head = read_head(path)
                if head.height * head.width > limit * MEGAPIXEL:
                    size = f"{head.height:,} x {head.width:,} pixels"
                    raise ValueError(f"{size}, {head.height * head.width / MEGAPIXEL:.1f} million, over the limit")
                heads.append(head)
            except faults() as error:
                heads.append(None)
                wrong[place] = reason(path, error)
            if place % 256 == 0:
                passed("reading the heads of images", place, len(paths))
    return heads, wrong


def one_size(heads: Sequence[Head], size: Any = None) -> tuple[int, int]:
    """The size that all images are brought to, (height, width): the median ones, the longer at most 64 or `size`.

    >>> one_size([Head(480, 640, False, False)]), one_size([Head(28, 28, True, False), Head(28, 30, True, False)])
    ((48, 64), (28, 29))
    >>> one_size([Head(480, 640, False, False)], 128), one_size([Head(480, 640, False, False)], [32, 32])
    ((96, 128), (32, 32))

    Raises `RecipeError` for a size that is none.
    """
    sides: Any = size if isinstance(size, list | tuple) else (size, size)
    whole = len(sides) == 2 and all(type(side) is int and 0 < side <= 4096 for side in sides)
    if size is not None and not whole:
        raise RecipeError(
            f"size={size!r}, but it is a number of pixels for the longer side, such as 64, or [height, width], such as "
            "[48, 64]."
        )
    if isinstance(size, list | tuple):
        return int(size[0]), int(size[1])
    height, width = median(head.height for head in heads), median(head.width for head in heads)
    longest = max(height, width)
    scale = min(1.0, LARGEST_SIDE / longest) if size is None else size / longest
    return max(1, round(height * scale)), max(1, round(width * scale))


def all_gray(paths: Sequence[Path], heads: Sequence[Head]) -> tuple[bool, int]:
    """Whether all images are gray, and how many of those that are stored in color were decoded to see it."""
    colored = [place for place, head in enumerate(heads) if not head.gray]
    sample = [colored[i] for i in np.linspace(0, len(colored) - 1, min(len(colored), MOST_SAMPLED)).astype(int)]
    for place in sample:
        try:
            with reading():
                pixels = read_pixels(paths[place], 3, (LARGEST_SIDE, LARGEST_SIDE))
        except faults():
            continue
        if bool((pixels != pixels[:, :, :1]).any()):
            return False, len(sample)
    return True, len(sample)


def decode(files: Files, keep: bool) -> Decoded:
    """Decode all files, and keep the pixels if asked for."""
    count, (channels, height, width) = len(files.paths), files.layout
    kind = np.float32 if files.deep else np.uint8
    pixels = np.empty((count, channels, height, width), kind) if keep else None
    result = Decoded(pixels, np.zeros(count, "S16"), np.zeros((count, channels, 2)))
    chunks = [range(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE)]
    with reading():
        for done, _ in enumerate(in_threads(partial(_decode_some, files, result), chunks), 1):
            passed("decoding images", min(done * AT_ONCE, count), count)
    return result


def in_threads(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Any:
    """What a function gives for each job, in their order; an interrupt does not wait for jobs that have not begun."""
    pool = ThreadPoolExecutor(min(MOST_THREADS, cores()))
    try:
        yield from pool.map(function, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode_some(files: Files, result: Decoded, places: range) -> None:
    kept, images = [], []
    for place in places:
        try:
            image, result.digests[place] = files.decoded(place)
        except faults() as error:
            result.wrong[place] = reason(files.paths[place], error)
            continue
        kept.append(place)
        images.append(image)
    if kept:
        result.sums[kept] = moments(np.stack(images))
        if result.pixels is not None:
            result.pixels[kept] = images


@dataclass(frozen=True, eq=False, repr=False)
class ImageStore:
    """Images of one layout: in memory as bytes (numbers in [0, 1] where they are deep), or files to decode.

    `rows` are the places of its images among the `files`.
    """

    layout: tuple[int, int, int]
    digests: Shaped[np.ndarray, " image"]
    sums: Float[np.ndarray, "image channel moment"]
    pixels: UInt8[Tensor, "image channel height width"] | Float[Tensor, "image channel height width"] | None = None
    files: Files | None = None
    rows: Int[np.ndarray, " image"] | None = None

    @classmethod
    def of_pixels(cls, pixels: Shaped[np.ndarray, "image channel height width"]) -> "ImageStore":
        """The store of an array in memory."""
        digests = np.array([hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels], "S16")
        sums = np.concatenate([moments(part) for part in np.array_split(pixels, math.ceil(len(pixels) / 1024))])
        layout = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
        return cls(layout, digests, sums, torch.from_numpy(np.ascontiguousarray(pixels)))

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def full(self) -> float:
        """The value that counts as 1."""
        deep = (
            self.files.deep
            if self.pixels is None and self.files
            else self.pixels is not None and (self.pixels.is_floating_point())
        )
        return 1.0 if deep else 255.0

    def images(self, places: Int[np.ndarray, " some"]) -> Shaped[Tensor, "some channel height width"]:
        """Some of the images.

        Raises `DataError` for a file that is no longer what it was when all of them were read first.
        """
        if self.pixels is not None:
            return torch.index_select(self.pixels, 0, torch.from_numpy(places))
        with reading():
            return torch.from_numpy(np.stack([self._decoded_anew(int(place)) for place in places]))

    def _decoded_anew(self, place: int) -> ByChannel:
        assert self.files is not None
        assert self.rows is not None
        file = int(self.rows[place])
        path = self.files.paths[file]
        try:
            image, digest = self.files.decoded(file)
        except faults() as error:
            why = reason(path, error)
        else:
            if np.array(digest, "S16") == self.digests[place]:
                return image
            why = "its content is another"
        raise DataError(
            f"{path} has changed since the run began: {why}. Images that are decoded anew for each batch have to stay "
            "as they are: put it back, or begin anew."
        )

    def statistics(self, places: Int[np.ndarray, " some"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The mean and the deviation of each channel over some of the images, of values brought to [0, 1]."""
        total = self.sums[places].sum(0)
        count = len(places) * self.layout[1] * self.layout[2]
        means = [value / count / self.full for value in total[:, 0]]
        spread = [
            max(0.0, square / count / self.full**2 - mean**2) for square, mean in zip(total[:, 1], means, strict=True)
        ]
        scales = [math.sqrt(value) if value > 1e-12 else 0.0 for value in spread]
        return tuple(map(float, means)), tuple(scales)
