"""Image files: what their heads say, and their pixels as numbers, whatever mode they are in.

A palette, CMYK or bits become gray or red, green and blue; 16 bits keep their precision; what is transparent lies on
white; a photo is turned as its camera was held; of a moving picture the first frame is taken.
"""

import io
import math
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from thalweg.core.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SIXTEEN_BITS = 65535
GRAY_MODES = ("1", "L", "LA", "La", "I", "F")
ORIENTATION, A_QUARTER_TURNED = 0x0112, (5, 6, 7, 8)
"""The tag of EXIF that says how a camera was held, and its values at which height and width change places."""

Pixels = UInt8[np.ndarray, "height width *channel"] | Float[np.ndarray, "height width *channel"]
"""Bytes from 0 to 255, or numbers in [0, 1] where the image has more than 8 bits."""


class Head(NamedTuple):
    """What the first bytes of an image say: its size as it is seen, whether it is gray, whether it has over 8 bits."""

    height: int
    width: int
    gray: bool
    deep: bool


def pillow() -> Any:
    """The module that reads images.

    Raises `DataError` where it is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise DataError("Images need Pillow to be read: pip install pillow.") from None
    return Image


def is_image(path: Path) -> bool:
    """Whether a file is called like an image.

    >>> is_image(Path("cat/1.JPG")), is_image(Path("notes.txt"))
    (True, False)
    """
    return path.suffix.lower() in ENDINGS


def faults() -> tuple[type[Exception], ...]:
    """What Pillow raises for a file that it cannot read."""
    return (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, pillow().DecompressionBombError)


def reason(path: Path, error: Exception) -> str:
    """Why a file cannot be read, in a few words without its name.

    >>> reason(Path("1.png"), OSError("cannot identify image file '1.png'."))
    'cannot identify image file'
    """
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    said = re.sub(r" ?<_io.BytesIO object at 0x[0-9a-f]+>", "", str(error)).replace(f" {str(path)!r}", "")
    return said.rstrip(". ") or type(error).__name__


@contextmanager
def reading() -> Iterator[None]:
    """Within this block Pillow opens images of any size, for the limit is ours, and keeps what it finds odd to itself.

    It is opened once around many images: the warnings' filters belong to all threads.
    """
    image = pillow()
    before = image.MAX_IMAGE_PIXELS
    image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        image.MAX_IMAGE_PIXELS = before


def read_head(path: Path) -> Head:
    """The head of an image; nothing is decoded.

    Raises one of `faults` for a file that cannot be read.
    """
    with pillow().open(path) as file:
        width, height = file.size
        if _orientation(file) in A_QUARTER_TURNED:
            width, height = height, width
        deep = file.mode.startswith(("I", "F"))
        return Head(height, width, file.mode in GRAY_MODES or deep, deep)


def read_pixels(file: Path | bytes, channels: int, size: tuple[int, int] | None = None, pad: bool = False) -> Pixels:
    """An image as an array `(height, width)` of gray or `(height, width, 3)`, upright.

    `size`, (height, width), scales it until it covers that size and cuts out its middle; with `pad` until it lies
    within, and puts the color that it has on average around it. A JPEG is decoded at a fraction of its size where that
    will do.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = Path(tempfile.mkdtemp()) / "1.png"
    >>> Image.new("RGB", (7, 5), "red").save(path)
    >>> read_pixels(path, 3).shape, read_pixels(path, 1, (6, 6), pad=True).shape
    ((5, 7, 3), (6, 6))

    Raises one of `faults` for a file that cannot be read.
    """
    with pillow().open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        if size is not None:
            _draft(image, size)
        return fitted(_plain(image, channels), size, pad)


def _orientation(image: Any) -> int:
    """How the camera was held; of a PNG only what stands before the pixels, for the rest would decode them."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    return int(image.getexif().get(ORIENTATION, 1))


def _draft(image: Any, size: tuple[int, int]) -> None:
    """Let a JPEG be decoded at a half, a quarter or an eighth, as long as twice the wanted size is left."""
    if image.format == "JPEG":
        wanted = 2 * max(size) / min(image.size)
        image.draft(image.mode, tuple(max(1, math.ceil(side * wanted)) for side in image.size))


def _plain(image: Any, channels: int) -> Any:
    """The image in mode F (gray, in [0, 1], where it has more than 8 bits), L or RGB, upright, without transparency."""
    from PIL import Image, ImageOps

    image.load()
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        whole = image.mode.startswith("I")
        most = SIXTEEN_BITS if whole else 1
        if not (values.min() >= 0 and values.max() <= most):
            beyond = "beyond 16 bits" if whole else "and numbers with a point lie in [0, 1]"
            raise ValueError(f"its numbers go from {values.min():g} to {values.max():g}, {beyond}")
        return Image.fromarray(values.astype(np.float32) / most)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def fitted(image: Any, size: tuple[int, int] | None, pad: bool) -> Pixels:
    """The pixels, scaled to cover the size and cut, or scaled to lie within it and padded."""
    from PIL import Image, ImageOps

    if size is None or (image.height, image.width) == size:
        return np.asarray(image)
    if not pad:
        return np.asarray(ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR))
    height, width = size
    scale = min(height / image.height, width / image.width)
    within = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    inner = np.asarray(image.resize(within, Image.Resampling.BILINEAR, reducing_gap=3.0))
    mean = inner.mean((0, 1))
    outer = np.empty((height, width, *inner.shape[2:]), inner.dtype)
    outer[:] = mean if inner.dtype.kind == "f" else np.round(mean)
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    outer[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return outer
