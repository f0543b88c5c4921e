"""Arrays of images in files: NumPy's `.npz`, and the idx format of MNIST and its like; a pickle is never loaded."""

import gzip
import math
import re
import zipfile
import zlib
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from thalweg.core.errors import DataError
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.image_files import SIXTEEN_BITS
from thalweg.data.image_listing import CALLED
from thalweg.data.image_sniffing import IDX
from thalweg.data.places import listed

IMAGE_NAMES = ("x", "images", "image", "data", "pixels", "imgs", "arr_0")
LABEL_NAMES = ("y", "labels", "label", "targets", "target", "arr_1")
"""What arrays are called, alone or with the name of a split before or behind: x_train, train_images."""
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
ROW = "row"
"""The column that numbers the images of an array."""


@dataclass(frozen=True)
class ImageArrays:
    """Images as bytes or numbers in [0, 1], targets as columns of `frame`, and the split of each if it is said."""

    images: Shaped[np.ndarray, "image channel height width"]
    frame: pd.DataFrame
    targets: tuple[str, ...] = ()
    part: Int[np.ndarray, " image"] | None = None
    whole: bool = False

    def __len__(self) -> int:
        return len(self.images)


def read_arrays(path: Path, with_targets: bool = True, alone: bool = False) -> ImageArrays:
    """The images of a file, their targets if there are any, `whole` where these are whole numbers.

    Beside `train-images-idx3-ubyte` its labels are found by their name, and unless it is to be read `alone` the test
    images too.

    Raises `DataError` for a file without images, targets that are missing, arrays of other shapes or of objects.
    """
    if path.is_dir():
        path = _idx_in(path)
    try:
        found = _npz(path, with_targets) if path.suffix.lower() == ".npz" else _idx_pair(path, with_targets, alone)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}. Give one that is there.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. Check that it may be read.") from None
    if not len(found):
        raise DataError(f"{path} holds no images: its array is empty. Give one that holds some.")
    return found


def with_tests(arrays: ImageArrays, test: ImageArrays, file: Path) -> ImageArrays:
    """The images of two files, the second as the test split.

    Raises `DataError` where they differ in shape, or there is a test split already.
    """
    part = np.zeros(len(arrays), dtype=np.int64) if arrays.part is None else arrays.part
    if (part == 2).any():
        raise DataError(f"There are images to test on already, so {file} is one set too many. Leave --test out.")
    if arrays.images.shape[1:] != test.images.shape[1:] or arrays.images.dtype != test.images.dtype:
        raise DataError(
            f"{file} holds images of {_shape(test.images)} as {test.images.dtype}, but those to train on are "
            f"{_shape(arrays.images)} as {arrays.images.dtype}. Give both in one form."
        )
    renamed = test.frame.rename(columns=dict(zip(test.targets, arrays.targets, strict=False)))
    return replace(
        arrays,
        images=np.concatenate([arrays.images, test.images]),
        frame=pd.concat([arrays.frame, renamed], ignore_index=True),
        part=np.concatenate([part, np.full(len(test), 2)]),
    )


def _npz(path: Path, with_targets: bool) -> ImageArrays:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        why = (
            "it holds Python objects, which would have to be unpickled" if "allow_pickle" in str(error) else str(error)
        )
        raise DataError(
            f"{path} cannot be read as arrays: {why}. Write it anew by np.savez(path, x=images, y=labels), with plain "
            "numbers or texts in the arrays."
        ) from None
    images, labels = _by_split(arrays, IMAGE_NAMES), _by_split(arrays, LABEL_NAMES)
    if not images:
        raise DataError(
            f"{path} holds {listed(sorted(arrays)) or 'nothing'}, but no images: an array of these is called "
            f"{listed(list(IMAGE_NAMES[:3]))}, or x_train and x_test. Write it by np.savez(path, x=images, y=labels)."
        )
    if with_targets and (bare := [images[split] for split in images if split not in labels]):
        raise DataError(
            f"{path} holds images {listed(bare)}, but no targets beside them: {listed(sorted(arrays))} is all. Call "
            f"them {listed(list(LABEL_NAMES[:3]))} in np.savez, or y_train beside x_train."
        )
    if None in images:
        images = {None: images[None]}
    parts = sorted(images, key=lambda split: split or 0)
    said = [f"'{images[split]}'" + (f" with '{labels[split]}'" if split in labels else "") for split in parts]
    notice(f"{path.name}: images {', '.join(said)}.")
    several = [
        _pair(path, images[one], arrays[images[one]], labels.get(one), arrays.get(labels.get(one, ""))) for one in parts
    ]
    first = several[0]
    if parts[0] not in (None, 0):
        raise DataError(f"{path} holds {listed(list(images.values()))}, but nothing to train on. Call that x_train.")
    for one, name in zip(several[1:], (images[split] for split in parts[1:]), strict=True):
        if one.images.shape[1:] != first.images.shape[1:]:
            raise DataError(
                f"{path}: '{name}' holds images of {_shape(one.images)}, but '{images[parts[0]]}' of "
                f"{_shape(first.images)}. Give all of them one shape."
            )
    deep = any(one.images.dtype == np.float32 for one in several)
    frames = [one.frame.rename(columns=dict(zip(one.targets, first.targets, strict=False))) for one in several]
    frame = pd.concat(frames, ignore_index=True)
    frame[ROW] = np.arange(len(frame))
    pixels = np.concatenate([_deep(one.images) if deep else one.images for one in several])
    part = None if parts == [None] else np.repeat([int(one or 0) for one in parts], [len(one) for one in several])
    return ImageArrays(pixels, frame, first.targets, part, first.whole)


def _by_split(arrays: Any, names: tuple[str, ...]) -> dict[int | None, str]:
    """The array of each split (None: of no split) whose name is one of these, the likeliest first."""
    found: dict[int | None, str] = {}
    for wanted, name in product(names, arrays):
        plain = name.lower()
        if plain == wanted:
            found.setdefault(None, name)
        for called, place in CALLED.items():
            if plain in (f"{wanted}_{called}", f"{called}_{wanted}", f"{wanted}{called}", f"{called}{wanted}"):
                found.setdefault(place, name)
    return found


def _idx_in(folder: Path) -> Path:
    """The file of images of a folder: that to train on, where there are several."""
    files = sorted(item for item in folder.iterdir() if IDX.search(item.name))
    if not files:
        raise DataError(
            f"{folder} is a folder without arrays of images (train-images-idx3-ubyte), but these were expected. Give a "
            "file of arrays, such as images.npz."
        )
    train = [item for item in files if "train" in item.name.lower()] or files
    if len(train) > 1:
        raise DataError(f"{folder} holds {listed([item.name for item in train])}. Name the one to train on.")
    return train[0]


def _idx_pair(path: Path, with_targets: bool, alone: bool) -> ImageArrays:
    images = _read_idx(path)
    file = _neighbour(path, r"images([-.])idx[34]", r"labels\1idx1")
    if file is None and with_targets:
        wanted = re.sub(r"images([-.])idx[34]", r"labels\1idx1", path.name)
        raise DataError(f"The labels of {path} are not beside it: there is no {wanted}. Put that file there too.")
    labels = None if file is None else _read_idx(file)
    pair = _pair(path, path.name, images, None if file is None else "label", labels)
    test = None if alone else next((at for to in ("t10k", "test") if (at := _neighbour(path, "train", to))), None)
    said = f"{path.name}: labels in {file.name}" if file else f"{path.name}: without labels"
    if test is None:
        notice(f"{said}.")
        return pair
    notice(f"{said}; test images in {test.name}, which lies beside it.")
    return with_tests(pair, _idx_pair(test, with_targets, True), test)


def _neighbour(path: Path, pattern: str, put: str) -> Path | None:
    """The file whose name differs in this, packed or not; None where there is none."""
    name = re.sub(pattern, put, path.name, flags=re.IGNORECASE)
    bare = name.removesuffix(".gz")
    near = [path.with_name(bare), path.with_name(f"{bare}.gz")]
    return next((file for file in near if name != path.name and file.is_file()), None)


def _read_idx(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is compressed by gzip but damaged or cut short ({error}). Copy it again.") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path} does not begin as a file of the idx format does. Download it again.")
    shape = [int(size) for size in np.frombuffer(data, ">u4", data[3], 4)]
    kind = np.dtype(IDX_TYPES[data[2]])
    start, count = 4 + 4 * data[3], int(np.prod(shape, dtype=np.int64))
    if len(data) - start != count * kind.itemsize:
        raise DataError(
            f"{path} says that it holds {' x '.join(map(str, shape))} numbers, but {len(data) - start:,} bytes follow, "
            f"not {count * kind.itemsize:,}: it is cut short or damaged. Download it again."
        )
    return np.frombuffer(data, kind, count, start).reshape(shape).astype(kind.newbyteorder("="))


def _pair(path: Path, name: str, images: np.ndarray, label: str | None, labels: np.ndarray | None) -> ImageArrays:
    pixels = as_images(images, f"'{name}' of {path}" if path.suffix == ".npz" else str(path))
    frame = pd.DataFrame({ROW: np.arange(len(pixels))})
    if labels is None or label is None:
        return ImageArrays(pixels, frame)
    columns = labels.reshape(len(labels), math.prod(labels.shape[1:])) if labels.ndim else labels.reshape(1, 1)
    if len(columns) != len(pixels):
        raise DataError(
            f"{path} has {counted(len(pixels), 'image')} and {counted(len(columns), 'target')} ('{label}'). Give one "
            "target for each image."
        )
    values = columns if columns.dtype.kind in "iufb" else columns.astype(str).astype(object)
    hot = values.shape[1] > 1 and values.dtype.kind in "iub" and bool((values.sum(1) == 1).all() and values.min() >= 0)
    values = values.argmax(1)[:, None] if hot else values
    base = re.sub(rf"^({'|'.join(CALLED)})_?|_?({'|'.join(CALLED)})$", "", label.lower()) or "y"
    names = [base] if values.shape[1] == 1 else [f"{base}_{i}" for i in range(values.shape[1])]
    for i, column in enumerate(names):
        frame[column] = values[:, i].astype(int) if values.dtype.kind == "b" else values[:, i]
    return ImageArrays(pixels, frame, tuple(names), whole=values.shape[1] == 1 and values.dtype.kind in "iub")


def as_images(array: np.ndarray, name: str) -> Shaped[np.ndarray, "image channel height width"]:
    """An array `(n, height, width)`, channels behind or in front, as bytes or numbers in [0, 1], channels in front.

    >>> as_images(np.zeros((5, 8, 9, 3), np.uint8), "x").shape, as_images(np.zeros((5, 8, 9), np.uint16), "x").dtype
    ((5, 3, 8, 9), dtype('float32'))

    Raises `DataError` for arrays of other shapes, and for what are no shades.
    """
    if array.dtype.kind not in "iufb":
        raise DataError(f"{name} holds {array.dtype}, but images are numbers. Save their pixels.")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3, 4) and not array.shape[1] < array.shape[3]:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3, 4) or 0 in array.shape[1:]:
        raise DataError(
            f"{name} is an array of {' x '.join(map(str, array.shape))}, but images are n x height x width, or with 1 "
            "or 3 channels behind or in front. Reshape it before it is saved, as by x.reshape(-1, 28, 28)."
        )
    shades = _shades(array, name)
    if shades.shape[1] == 4:
        color, opaque = shades[:, :3], _deep(shades[:, 3:])
        mixed = _deep(color) * opaque + (1 - opaque)
        shades = mixed if shades.dtype == np.float32 else np.round(mixed * 255).astype(np.uint8)
    return np.ascontiguousarray(shades)


def _shades(array: np.ndarray, name: str) -> np.ndarray:
    """Bytes as they are; whatever else as numbers in [0, 1]: 0 to 255, 0 to 65,535, or [0, 1] already."""
    if array.dtype == np.uint8 or array.size == 0:
        return array.astype(np.uint8)
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    low, high = float(array.min()), float(array.max())
    whole = array.dtype.kind in "iu"
    most = (
        255
        if whole and high <= 255 and array.dtype.itemsize != 2
        else SIXTEEN_BITS
        if whole
        else 1
        if high <= 1
        else 255
    )
    if not (low >= 0 and high <= most):
        raise DataError(
            f"{name} holds numbers from {low:g} to {high:g}, but shades are 0 to 255, 0 to 65,535, or numbers with a "
            "point in [0, 1]. Save the images as they are, before anything is subtracted from them."
        )
    return array.astype(np.uint8) if whole and most == 255 else array.astype(np.float32) / np.float32(most)


def _deep(images: np.ndarray) -> np.ndarray:
    """Images as numbers in [0, 1]."""
    return images if images.dtype == np.float32 else images.astype(np.float32) / 255


def _shape(images: np.ndarray) -> str:
    return " x ".join(map(str, images.shape[1:]))
