"""A folder of images, one folder for each class, as a data set that decodes an image when it is asked for.

Whatever mode an image is in, its example is a float tensor `(channels, height, width)` in [0, 1]: a palette, CMYK or
bits become gray or red, green and blue; 16 bits keep their precision; what is transparent lies on white; a photo is
turned as its camera was held.
"""

import copy
import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.convert import as_source
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.examples import KnownExamples
from thalweg.core.notices import notice
from thalweg.core.source import Indexed, Splits
from thalweg.core.wording import counted
from thalweg.data.holdout import hold_out
from thalweg.data.places import listed

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SIXTEEN_BITS = 65535


class ImageFolder(KnownExamples):
    """The images of `root/CLASS/*.png` (or jpg, jpeg, bmp, webp), each with the place of its class in `classes`.

    `size`, a number or (height, width), scales every image until it covers that size, and cuts off what lies beyond its
    middle; None wants all images of one size. `channels` is 3, or 1 for gray. `classes` are the names of the folders in
    their order; those of another folder say how a test set counts.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name, color in (("cat", "red"), ("dog", "blue")):
    ...         (Path(root) / name).mkdir()
    ...         Image.new("RGB", (7, 5), color).save(Path(root) / name / "1.png")
    ...     images = ImageFolder(root)
    ...     x, y = images[1]
    >>> images, images.classes, x.shape, x[:, 0, 0], y
    (ImageFolder(2 images, 2 classes), ('cat', 'dog'), torch.Size([3, 5, 7]), tensor([0., 0., 1.]), 1)

    Raises `DataError` for a root that holds no classes, classes without images, and, when it is asked for, for an image
    that cannot be read or has another size than the first; `RecipeError` for arguments that cannot be.
    """

    @no_type_check
    def __init__(
        self,
        root: str | Path,
        *,
        size: int | Sequence[int] | None = None,
        channels: int = 3,
        classes: Sequence[str] | None = None,
    ) -> None:
        _pillow()
        if channels not in (1, 3):
            raise RecipeError(f"channels={channels!r}, but images have 3 channels, or 1: gray. Give channels=3.")
        self.root, self.channels = Path(root), channels
        self.resized = size is not None
        folders = _class_folders(self.root)
        images = {folder.name: _images(folder) for folder in folders}
        self.classes = _classes(self.root, list(images), classes)
        found = [(path, self.classes.index(name)) for name, paths in images.items() for path in paths]
        self.paths = [path for path, _ in found]
        self.labels: Int[np.ndarray, " example"] = np.array([label for _, label in found], dtype=np.int64)
        first = _as_size(size) if size is not None else _decoded(self.paths[0], channels, None).shape[1:]
        self.size = (int(first[0]), int(first[1]))

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"ImageFolder({counted(len(self), 'image')}, {counted(len(self.classes), 'class')})"

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "channel height width"], int]:
        path = self.paths[index]
        image = _decoded(path, self.channels, self.size if self.resized else None)
        if tuple(image.shape[1:]) != self.size:
            height, width = image.shape[1:]
            raise DataError(
                f"{path} has {height} x {width} pixels (height x width), but the first image has {self.size[0]} x "
                f"{self.size[1]}, and a batch needs one size. Say which: ImageFolder(root, size=64), or size=(48, 64)."
            )
        return image, int(self.labels[index])

    def take(self, ids: Any) -> "ImageFolder":
        """The images of these places alone, with the same classes."""
        part, places = copy.copy(self), np.asarray(ids, dtype=np.int64)
        part.paths, part.labels = [self.paths[place] for place in places], self.labels[places]
        return part

    def meta(self, ids: Any) -> dict[str, Any]:
        """The class of each of these images, by which folds and held-out parts are dealt."""
        return {"label": np.asarray(self.classes)[self.labels[np.asarray(ids, dtype=np.int64)]]}

    def fingerprint(self) -> str:
        """A hash of the names and lengths of the files; not of their bytes, which would all have to be read."""
        files = [(path.relative_to(self.root).as_posix(), path.stat().st_size) for path in self.paths]
        said = (files, self.labels.tolist(), self.classes, self.size, self.resized, self.channels)
        return hashlib.sha256(repr(said).encode()).hexdigest()

    def unreadable(self) -> list[str]:
        """What is wrong with each image that cannot be used, after reading them all."""
        wrong = []
        for place in range(len(self)):
            try:
                self[place]
            except DataError as error:
                wrong.append(str(error))
        return wrong


def load_images(
    root: str | Path,
    *,
    size: int | Sequence[int] | None = None,
    channels: int = 3,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
) -> Splits:
    """The splits of a folder of images, every class in each of them in its share; a split of share 0 is None.

    Each is an `ImageFolder`: `DataLoader(splits.train, num_workers=4, batch_size=32, shuffle=True)` decodes in workers.

    Raises what `ImageFolder` and `hold_out` raise.
    """
    images = ImageFolder(root, size=size, channels=channels)
    source = as_source(images)
    assert isinstance(source, Indexed)
    held = hold_out(source, validation_share=validation_share, test_share=test_share, seed=seed)
    return Splits(*(images.take(ids) if len(ids) else None for ids in held))


def is_image_folder(root: Path) -> bool:
    """Whether some folder in `root` holds an image."""
    return any(path.suffix.lower() in ENDINGS for path in root.glob("*/*"))


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise DataError("Images need Pillow to be read: pip install pillow.") from None
    return Image


def _as_size(size: Any) -> tuple[int, ...]:
    pair = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in pair):
        raise RecipeError(f"size={size!r}, but it is a number of pixels, such as 64, or (height, width): (48, 64).")
    return pair


def _class_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        what = "is a file, but images lie in a folder" if root.exists() else "is not there"
        raise DataError(f"{root} {what}. Give the folder that holds a folder for each class.")
    folders = sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith("."))
    if folders:
        return folders
    images = sum(item.suffix.lower() in ENDINGS for item in root.iterdir())
    holds = f"{counted(images, 'image')}, but no folders" if images else "no folders"
    raise DataError(f"{root} holds {holds}. Put the images of each class into a folder of its name: {root}/cat/1.png.")


def _classes(root: Path, names: list[str], given: Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        if len(names) == 1:
            raise DataError(
                f"{root} holds the folder '{names[0]}' alone, but there is a folder for each class, and two at least. "
                "A part of a set takes the classes of the whole: ImageFolder(root, classes=train.classes)."
            )
        return tuple(names)
    for name in names:
        if name not in given:
            raise DataError(
                f"{root / name} is none of the given classes.{did_you_mean(name, given)} Rename the folder, take it "
                "away, or name its class in classes=."
            )
    return tuple(given)


def _images(folder: Path) -> list[Path]:
    files = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    images = [item for item in files if item.suffix.lower() in ENDINGS and not item.is_dir()]
    others = [item.name for item in files if item not in set(images)]
    if images:
        if others:
            notice(f"Left out of {folder}: {listed(others, 3)}, which are no images ({', '.join(ENDINGS)}).")
        return images
    inner = [item.name for item in files if item.is_dir()]
    if inner:
        raise DataError(
            f"{folder} holds no images, but folders: {listed(inner)}. If these are the classes, give {folder} itself."
        )
    holds = f"{listed(others, 3)} alone, no images" if others else "no images"
    raise DataError(f"{folder} holds {holds} ({', '.join(ENDINGS)}). Put images in, or take the folder away.")


def _decoded(path: Path, channels: int, size: tuple[int, int] | None) -> Float[Tensor, "channel height width"]:
    """An image as numbers; whatever Pillow says of a file that it cannot read is said with its name."""
    image = _pillow()
    try:
        with image.open(path) as file:
            pixels = np.array(_fitted(_plain(file, channels), size), dtype=np.float32)
    except FileNotFoundError:
        raise DataError(f"{path} is gone since the folder was read. Put it back, or read the folder anew.") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, image.DecompressionBombError) as error:
        said = str(error).replace(f" {str(path)!r}", "")
        raise DataError(
            f"{path} cannot be read as an image: {said.rstrip('.')}. Replace the file or take it away; "
            "ImageFolder(...).unreadable() reads all images and names every such file."
        ) from None
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    whole = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return whole.expand(channels, -1, -1).contiguous()


def _plain(image: Any, channels: int) -> Any:
    """The image in mode F (gray, in [0, 1], where it has more than 8 bits), L or RGB, upright, without transparency."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > SIXTEEN_BITS:
            raise ValueError(f"its numbers go from {values.min()} to {values.max()}, beyond 16 bits")
        return Image.fromarray(values.astype(np.float32) / SIXTEEN_BITS)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if channels == 1 else "RGB")


def _fitted(image: Any, size: tuple[int, int] | None) -> Any:
    """The pixels in [0, 1], scaled until they cover the size, and the middle cut out."""
    from PIL import Image, ImageOps

    if size is not None and (image.height, image.width) != size:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels if pixels.dtype == np.float32 else pixels.astype(np.float32) / 255
