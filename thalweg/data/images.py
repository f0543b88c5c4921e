"""A folder of images, one folder for each class, as a data set that decodes an image when it is asked for.

An example is a float tensor `(channels, height, width)` in [0, 1], whatever mode and format its image has.
"""

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.convert import as_source
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.examples import KnownExamples
from thalweg.core.source import Indexed, Splits
from thalweg.core.wording import counted
from thalweg.data.holdout import hold_out
from thalweg.data.image_files import faults, pillow, read_pixels, reason
from thalweg.data.image_listing import class_folders, images_in


class ImageFolder(KnownExamples):
    """The images of `root/CLASS/*.png` (or jpg, gif, tif and the like), each with the place of its class in `classes`.

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
        pillow()
        if channels not in (1, 3):
            raise RecipeError(f"channels={channels!r}, but images have 3 channels, or 1: gray. Give channels=3.")
        self.root, self.channels = Path(root), channels
        self.resized = size is not None
        folders = class_folders(self.root)
        images = {folder.name: images_in(folder) for folder in folders}
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

    def where(self, ids: Any) -> list[str]:
        """The file of each of these images, from the root."""
        places = np.asarray(ids, dtype=np.int64).tolist()
        return [self.paths[place].relative_to(self.root).as_posix() for place in places]

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


def _as_size(size: Any) -> tuple[int, ...]:
    pair = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in pair):
        raise RecipeError(f"size={size!r}, but it is a number of pixels, such as 64, or (height, width): (48, 64).")
    return pair


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


def _decoded(path: Path, channels: int, size: tuple[int, int] | None) -> Float[Tensor, "channel height width"]:
    """An image as numbers in [0, 1]; whatever Pillow says of a file that it cannot read is said with its name."""
    try:
        pixels = read_pixels(path, channels, size)
    except FileNotFoundError:
        raise DataError(f"{path} is gone since the folder was read. Put it back, or read the folder anew.") from None
    except faults() as error:
        raise DataError(
            f"{path} cannot be read as an image: {reason(path, error)}. Replace the file or take it away; "
            "ImageFolder(...).unreadable() reads all images and names every such file."
        ) from None
    pixels = pixels if pixels.dtype == np.float32 else pixels.astype(np.float32) / 255
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    whole = torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
    return whole.expand(channels, -1, -1).contiguous()
