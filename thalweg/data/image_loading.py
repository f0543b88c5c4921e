"""Loading: images to splits that can be trained on.

Gather the images in one size, find out what is predicted, hold some out, and fit the encoding to those that are left to
train on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells
from thalweg.data.columns import parse
from thalweg.data.decisions import say_target
from thalweg.data.holdout import PARTS, hold_out
from thalweg.data.image_encoding import ImageSchema
from thalweg.data.image_gathering import Gathered, ImageOptions, gather
from thalweg.data.image_listing import CLASS
from thalweg.data.image_source import ImageSource
from thalweg.data.places import listed, where
from thalweg.data.schema import Target, TargetKind
from thalweg.data.targets import TargetValues, as_target, read_target, target_names


def load_image_splits(
    path: str | Path,
    *,
    target: str | int | Sequence[str | int] | None = None,
    task: str | None = None,
    header: bool = True,
    group: str | None = None,
    time: str | None = None,
    test_path: str | Path | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
    **options: Any,
) -> Splits:
    """The splits of images: of a folder, of a table with a column of paths, or of arrays (`.npz`, idx).

    A folder holds a folder for each class, or for each split (train, val, test) and in it for each class. `target`,
    `task`, `header`, `group` and `time` are for tables of paths; `options` are the fields of `ImageOptions`. Each split
    is an `ImageSource`; a split of share 0 is None.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for i, color in enumerate(["red", "blue"] * 5):
    ...     (root / color).mkdir(exist_ok=True)
    ...     Image.new("RGB", (8, 8), color).save(root / color / f"{i}.png")
    >>> load_image_splits(root).train
    ImageSource(6 images, 3 x 8 x 8, classification)

    Raises `DataError` for images that cannot be used, `RecipeError` for arguments that cannot be; both say the mend.
    """
    asked = ImageOptions(**options)
    test = None if test_path is None else Path(test_path)
    found = gather(Path(path), asked, test=test, header=header)
    if found.labels:
        _refuse_columns(target=target, task=task, group=group, time=time)
    goal, values = _targets(found, target, task)
    for name in (group, time):
        if name is not None:
            check_column(found.frame, name)
    schema = ImageSchema(found.store.layout, goal, group, time, float(asked.limit), header)
    source = ImageSource.fitted(found.store, found.frame, values, schema)
    return _split(source, found.part, validation_share, test_share, seed)


def folder_targets(frame: pd.DataFrame, labels: Sequence[str]) -> TargetValues:
    """The class of each image by its folder."""
    place = {label: i for i, label in enumerate(labels)}
    return np.array([place[label] for label in frame[CLASS]], dtype=np.int64)


def table_targets(frame: pd.DataFrame, target: Target) -> TargetValues:
    """The target of each image by its row.

    Raises `DataError` for rows without one.
    """
    for name in target.names:
        check_column(frame, name)
    values = read_target(frame.index, {name: as_cells(frame[name]) for name in target.names}, target)
    missing = np.asarray(values < 0 if target.kind is TargetKind.CLASSES else np.isnan(values).any(1))
    if missing.any():
        raise DataError(
            f"The target {listed(list(target.names))} is missing in {where(frame.index, missing)}. Fill it in, or take "
            "these images away."
        )
    return values


def check_column(frame: pd.DataFrame, name: str) -> None:
    """Refuse a column that is not there, or has gaps.

    Raises `DataError`.
    """
    target_names(list(map(str, frame.columns)), [name])
    if (gaps := frame[name].isna().to_numpy()).any():
        raise DataError(f"Column '{name}' is empty in {where(frame.index, gaps)}. Fill it, or drop the rows.")


def _refuse_columns(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise RecipeError(
                f"{name}={value!r} is for tables, but of a folder of images the folders are the classes. Leave it out, "
                "or give a table with a column of paths."
            )


def _targets(found: Gathered, target: Any, task: str | None) -> tuple[Target, TargetValues]:
    if found.labels:
        values = folder_targets(found.frame, found.labels)
        present = set((values if found.part is None else values[found.part == 0]).tolist())
        if absent := [label for i, label in enumerate(found.labels) if i not in present]:
            raise DataError(f"No image of {listed(absent)} can be read. Mend some, or take the folder away.")
        return Target((CLASS,), TargetKind.CLASSES, found.labels), values
    names = found.targets or target_names(list(map(str, found.frame.columns)), target)
    train = found.frame if found.part is None else found.frame[found.part == 0]
    for name in names:
        check_column(train, name)
    goal = as_target(train.index, parse(train, list(names)), task or _task(found, train, names))
    return goal, table_targets(found.frame, goal)


def _task(found: Gathered, train: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Whole numbers beside arrays are classes if they count from 0 or 1 on, and each has several images."""
    if not found.whole:
        return None
    values = train[names[0]]
    counting = values.min() in (0, 1) and values.nunique() == values.max() - values.min() + 1
    return "classification" if counting and values.nunique() * 5 <= len(values) else None


def _split(
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
    say_target(target)
    said = [
        f"{name} {'none' if one is None else counted(len(one), 'image')}"
        for name, one in zip(PARTS, splits, strict=True)
    ]
    notice(f"Split: {'; '.join(said)}.")
    if target.kind is TargetKind.CLASSES:
        members = np.bincount(source.target, minlength=len(target.labels))
        if alone := [str(target.labels[i]) for i in np.flatnonzero(members == 1)]:
            notice(f"Of {listed(alone)} there is one image, which is trained on: nothing judges that class.")
