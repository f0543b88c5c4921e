"""Loading: a table from the file to splits that can be trained on, in the order in which one would do it by hand.

Read the cells, give the columns their roles, settle what happens to missing cells, infer the schema, read every row by
it, hold rows out, and fit the encoding to the rows that are left to train on.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from thalweg.core.errors import RecipeError
from thalweg.core.source import Splits
from thalweg.data.decisions import announce_columns, announce_rows
from thalweg.data.holdout import hold_out
from thalweg.data.inference import infer_roles, infer_schema
from thalweg.data.reading import read_table
from thalweg.data.table import named
from thalweg.data.table_source import TableSource


def load_table(
    data: Any,
    *,
    target: str | int | Sequence[str | int] | None = None,
    task: str | None = None,
    missing: str = "error",
    header: bool = True,
    group: str | None = None,
    time: str | None = None,
    weights: str | None = None,
    features: Sequence[str] | None = None,
    layout: Sequence[int] | str | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    test_path: Any = None,
    seed: int = 0,
) -> Splits:
    """The splits of a table: a path, "-", an open file, or a frame. One argument for each key of a recipe's `[data]`.

    `features` names the only columns to use (a row counter among them then stays). `layout` is (channels, height,
    width) where the columns are the pixels of an image. With `test_path` that file is the test split, and
    `test_share` is not used. Each split is a `TableSource`; a split of share 0 is None.

    >>> from thalweg.data.bundled import bundled
    >>> iris = bundled("iris")
    >>> splits = load_table(iris.frame, target=iris.target, task=iris.task)
    >>> splits.train, splits.train.encoding.labels
    (TableSource(90 rows, inputs 4, classification, outputs 3), ('setosa', 'versicolor', 'virginica'))

    Raises `DataError` for data that cannot be used, `RecipeError` for arguments that cannot be; both say the mend.
    """
    frame = _frame(data, header)
    roles = infer_roles(list(frame.columns), target, group=group, time=time, weights=weights, features=features)
    frame, schema = infer_schema(frame, roles, task=task, missing=missing, layout=_layout(layout))
    schema = replace(schema, header=header)
    announce_columns(schema, frame, task)
    source = TableSource.fitted(frame, schema)
    share = test_share if test_path is None else 0.0
    held = hold_out(source, validation_share=validation_share, test_share=share, seed=seed)
    fitted = source.fit(held.train)
    fitted.encoding.announce_unseen(fitted.frame, fitted.table)
    splits = [fitted.take(ids) if len(ids) else None for ids in held]
    if test_path is not None:
        splits[2] = TableSource.of(_frame(test_path, header), fitted.encoding)
    announce_rows(fitted, splits)
    return Splits(*splits)


def _frame(data: Any, header: bool) -> pd.DataFrame:
    if not isinstance(data, pd.DataFrame):
        return read_table(data, header=header)
    return named(data)


def _layout(layout: Sequence[int] | str | None) -> Sequence[int] | None:
    if layout in (None, "columns"):
        return None
    if isinstance(layout, str) or not all(isinstance(size, int) for size in layout):
        raise RecipeError(f"layout={layout!r} is not known. Give 'columns', or (channels, height, width) of an image.")
    return layout
