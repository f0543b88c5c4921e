"""Listing: which files are the images, and what is known of each: its class by its folder, or the row of a table.

photos/cat/1.png                    a folder for each class
photos/train/cat/1.png              the same within a folder for each split: train, val or validation, test
photos.csv                          a column of paths, found from the table's own folder, beside a target
"""

import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from thalweg.core.errors import DataError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.image_files import ENDINGS, is_image
from thalweg.data.places import listed, where

SPLIT_FOLDERS = ("train", "validation", "test")
"""The parts of a set; a folder of one may be called otherwise, as `CALLED` says."""
CALLED = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
PATH, CLASS = "path", "class"
"""The columns that a folder of images has as a table."""


@dataclass(frozen=True)
class Listing:
    """The files of images and a row of `frame` for each, in which the column `column` names it.

    `part` is the split of each where folders say so: 0, 1 and 2 for train, validation and test. `labels` are the
    classes in their order where folders are the classes.
    """

    paths: list[Path]
    frame: pd.DataFrame
    column: str = PATH
    part: Int[np.ndarray, " image"] | None = None
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, kept: Any) -> "Listing":
        """Some of the images."""
        places = np.asarray(kept, dtype=np.int64)
        part = None if self.part is None else self.part[places]
        return replace(self, paths=[self.paths[i] for i in places], frame=self.frame.iloc[places], part=part)


def is_image_folder(root: Path) -> bool:
    """Whether some folder in `root`, or in a folder of `root`, holds an image."""
    return any(is_image(path) for depth in ("*/*", "*/*/*") for path in root.glob(depth))


def list_folder(root: Path, classes: Sequence[str] | None = None) -> Listing:
    """The images of a folder with a folder for each class, or of one with a folder for each split.

    `classes` are those of training, for a folder that is judged.

    Raises `DataError` for a folder without classes, one class alone, classes without images, images beside classes.
    """
    parts = split_folders(root)
    if parts is None:
        return _of_classes(root, classes)
    train = _of_classes(parts[0], classes, root)
    others = {place: _of_classes(path, train.labels, root) for place, path in parts.items() if place}
    for place, listing in others.items():
        if absent := [name for name in train.labels if name not in set(listing.frame[CLASS])]:
            which = "which have" if len(absent) > 1 else "which has"
            notice(f"No image of {listed(absent)} lies in {parts[place]}, {which} no say in these scores.")
    several = [train, *others.values()]
    notice(f"Split by folder: {'; '.join(f'{SPLIT_FOLDERS[i]} {parts[i].name}/' for i in sorted(parts))}.")
    return Listing(
        [path for one in several for path in one.paths],
        pd.concat([one.frame for one in several], ignore_index=True),
        part=np.repeat([0, *others], [len(one) for one in several]),
        labels=train.labels,
    )


def split_folders(root: Path) -> dict[int, Path] | None:
    """The folders of the splits by their place in `SPLIT_FOLDERS`; None where the folders of a root are its classes.

    Raises `DataError` for two folders of one split, and for folders of splits that hold no classes.
    """
    folders = _folders(root) if root.is_dir() else []
    if not any(CALLED.get(item.name.lower()) == 0 for item in folders):
        return None
    if len(folders) < 2 and not _folders(folders[0]):
        return None
    if others := [item.name for item in folders if item.name.lower() not in CALLED]:
        if any(_folders(item) for item in folders if item.name.lower() in CALLED):
            raise DataError(
                f"{root} holds folders of splits and beside them {listed(others, 3)}. Take these away, or put them "
                "into the split that they belong to."
            )
        return None
    found: dict[int, Path] = {}
    for item in folders:
        place = CALLED[item.name.lower()]
        if place in found:
            raise DataError(f"{root} holds {found[place].name}/ and {item.name}/, which are the same split. Keep one.")
        if not _folders(item):
            raise DataError(
                f"{item} is a split by its name, but holds no folders, one for each class. Make them: "
                f"{item}/cat/1.png. If it is a class of its own, give its folder another name."
            )
        found[place] = item
    return found


def paths_of(given: Any) -> list[Path]:
    """A path, or several, as a list.

    >>> [path.as_posix() for path in (*paths_of("a"), *paths_of(["b", Path("c")]))]
    ['a', 'b', 'c']

    Raises `DataError` for what is neither, or none.
    """
    paths = [given] if isinstance(given, str | Path) else given
    if not isinstance(paths, list | tuple) or not paths or not all(isinstance(each, str | Path) for each in paths):
        raise DataError(
            f"A file, a folder or a list of these is read, but {reprlib.repr(given)} ({type(given).__name__}) was "
            "given. Give one path at least, as in ['1.wav', 'folder']."
        )
    return list(map(Path, paths))


def path_of(given: Any) -> Path:
    """The one path that is judged.

    >>> path_of("a").as_posix()
    'a'

    Raises `DataError` for several, and as `paths_of` does.
    """
    path, *more = paths_of(given)
    if more:
        raise DataError(
            f"One file or folder is judged at a time, but {len(more) + 1} were given: "
            f"{listed(list(map(str, (path, *more))), 3)}. Judge each by itself, or put all into one."
        )
    return path


def together(listings: Iterable[Listing]) -> Listing:
    """Several listings as one, in which each file has the path that it was found by as its name.

    >>> one, two = (Listing([Path(name)], pd.DataFrame({PATH: [name]})) for name in ("a/1.wav", "b/1.wav"))
    >>> together([one, two]).frame[PATH].tolist()
    ['a/1.wav', 'b/1.wav']
    """
    paths = [path for listing in listings for path in listing.paths]
    return Listing(paths, pd.DataFrame({PATH: list(map(str, paths))}, dtype=object))


def list_bare(root: Path, *more: Path) -> Listing:
    """The images of folders, whatever folders they lie in, and single images: what is predicted needs no class.

    Raises `DataError` where there are none.
    """
    if more:
        return together(map(list_bare, (root, *more)))
    if not root.exists():
        raise DataError(f"There is no file or folder {root}.{did_you_mean(root.name, _beside(root))}")
    inside = sorted(root.rglob("*")) if root.is_dir() else [root]
    hidden = len(root.parts)
    paths = [path for path in inside if is_image(path) and not any(x.startswith(".") for x in path.parts[hidden:])]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise DataError(f"{root} holds no images ({', '.join(ENDINGS)}). Give a folder that does, or an image.")
    return Listing(paths, pd.DataFrame({PATH: list(map(str, paths))}))


def path_column(frame: pd.DataFrame) -> str | None:
    """The first column of a table whose texts are all called like images; None where there is none.

    >>> path_column(pd.DataFrame({"age": ["3", "4"], "photo": ["a.png", None]}))
    'photo'
    """
    for name in frame.columns:
        texts = [text for text in frame[name] if isinstance(text, str)]
        if texts and all(is_image(Path(text)) for text in texts):
            return str(name)
    return None


def list_table(frame: pd.DataFrame, column: str, folder: Path) -> Listing:
    """The images that the rows of a table name.

    Raises `DataError` for rows that name none, and files that are not there.
    """
    blank = frame[column].isna().to_numpy()
    if blank.any():
        raise DataError(f"Column '{column}' names no image in {where(frame.index, blank)}. Fill it, or drop the rows.")
    paths = [folder / text for text in frame[column]]
    gone = np.array([not path.is_file() for path in paths], dtype=bool)
    if gone.any():
        first = paths[int(np.flatnonzero(gone)[0])]
        raise DataError(
            f"{counted(int(gone.sum()), 'image')} of {len(paths):,} in column '{column}' cannot be found, such as "
            f"{first} ({where(frame.index, gone, 3)}). Paths count from the folder of the table, {folder.absolute()}: "
            "put the images there, correct the paths, or drop the rows."
        )
    return Listing(paths, frame, column)


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the order in which one counts: by the numbers in them.

    >>> in_order(["class 10", "class 9", "class 1"])
    ('class 1', 'class 9', 'class 10')
    """
    return tuple(sorted(names, key=_counting))


def _counting(name: str) -> list[tuple[int, str]]:
    """The texts and numbers of a name, texts before numbers."""
    runs = re.split(r"([0-9]+)", name)
    return [(int(run) if i % 2 else -1, run) for i, run in enumerate(runs)]


def _of_classes(root: Path, classes: Sequence[str] | None, whole: Path | None = None) -> Listing:
    folders = class_folders(root)
    beside = [item.name for item in sorted(root.iterdir()) if is_image(item) and not item.name.startswith(".")]
    if beside:
        raise DataError(
            f"{root} holds {counted(len(beside), 'image')} beside its folders of classes, such as {listed(beside, 2)}. "
            "Put each into the folder of its class, or take it away."
        )
    images = {folder.name: images_in(folder) for folder in folders}
    labels = check_classes(root, images, classes)
    order = [name for name in labels if name in images]
    paths = [path for name in order for path in images[name]]
    names = [path.relative_to(whole or root).as_posix() for path in paths]
    frame = pd.DataFrame({PATH: names, CLASS: np.repeat(order, [len(images[name]) for name in order]).astype(object)})
    return Listing(paths, frame, labels=labels)


def check_classes(root: Path, names: Any, given: Sequence[str] | None) -> tuple[str, ...]:
    """The classes in their order, or the given ones, which have to hold those of the folders.

    Raises `DataError` for one class alone, and for a folder that is none of the given classes.
    """
    if given is None:
        if len(names) == 1:
            raise DataError(
                f"{root} holds the folder '{next(iter(names))}' alone, but there is a folder for each class, and two "
                "at least. Give the folder that holds the classes' folders."
            )
        return in_order(list(names))
    for name in names:
        if name not in given:
            raise DataError(
                f"{root / name} is none of the classes that are trained on.{did_you_mean(name, given)} Rename the "
                "folder, or take it away."
            )
    return tuple(given)


def _folders(root: Path) -> list[Path]:
    return sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith((".", "__")))


def _beside(path: Path) -> list[str]:
    return [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []


def class_folders(root: Path) -> list[Path]:
    """The folders of a root, one for each class, in their order.

    Raises `DataError` for a root without any.
    """
    if not root.is_dir():
        what = "is a file, but images lie in a folder" if root.exists() else "is not there"
        raise DataError(f"{root} {what}. Give the folder that holds a folder for each class.")
    if folders := _folders(root):
        return folders
    images = sum(is_image(item) for item in root.iterdir())
    holds = f"{counted(images, 'image')}, but no folders" if images else "no folders"
    raise DataError(f"{root} holds {holds}. Put the images of each class into a folder of its name: {root}/cat/1.png.")


def _say_what_is_left_out(folder: Path, names: list[str]) -> None:
    """Files that are no images, and folders, whose images would be easily missed."""
    inner = [name for name in names if (folder / name).is_dir()]
    if files := [name for name in names if name not in set(inner)]:
        notice(f"Left out of {folder}, as no images ({', '.join(ENDINGS)}): {listed(files, 3)}.")
    if inner:
        lost = sum(is_image(file) for name in inner for file in (folder / name).rglob("*"))
        notice(
            f"Left out of {folder}: what lies in folders below it ({listed(inner, 3)}), {counted(lost, 'image')}. Put "
            "images into the folder of their class itself."
        )


def images_in(folder: Path) -> list[Path]:
    """The images of a class; what else lies there is said.

    Raises `DataError` for a folder without any.
    """
    files = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    images = [item for item in files if is_image(item) and not item.is_dir()]
    others = [item.name for item in files if item not in set(images)]
    if images:
        if others:
            _say_what_is_left_out(folder, others)
        return images
    inner = [item.name for item in files if item.is_dir()]
    if inner:
        raise DataError(
            f"{folder} holds no images, but folders: {listed(inner)}. If these are the classes, give {folder} itself."
        )
    holds = f"{listed(others, 3)} alone, no images" if others else "no images"
    raise DataError(f"{folder} holds {holds} ({', '.join(ENDINGS)}). Put images in, or take the folder away.")
