"""Inference: the schema of a frame, found out from all its rows.

First what each column has (a target, a group, a time, a weight, else a feature), then what each feature holds, then
what happens to missing cells.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote

import numpy as np
import pandas as pd
from jaxtyping import Bool

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells, as_numbers, missing_cells
from thalweg.data.columns import FEW_WORDS, Parsed, as_feature, check_numbers, is_text, parse, words_of
from thalweg.data.places import listed, where
from thalweg.data.schema import Column, Kind, Schema, TargetKind
from thalweg.data.targets import as_target, target_names

MISSING = ("error", "drop", "impute")


@dataclass(frozen=True)
class Roles:
    """The columns that are no features, and those that alone are, where the user named them."""

    target: tuple[str, ...]
    group: str | None = None
    time: str | None = None
    weights: str | None = None
    features: tuple[str, ...] | None = None

    @property
    def others(self) -> list[str]:
        """The columns of group, time and weights that are given."""
        return [name for name in (self.group, self.time, self.weights) if name is not None]

    def features_of(self, frame: pd.DataFrame) -> list[str]:
        """The columns of a frame to predict from."""
        taken = (*self.target, *self.others)
        names = [str(name) for name in frame.columns if name not in taken]
        return names if self.features is None else [name for name in names if name in self.features]


def infer_roles(
    columns: Sequence[str],
    target: str | int | Sequence[str | int] | None,
    *,
    group: str | None = None,
    time: str | None = None,
    weights: str | None = None,
    features: Sequence[str] | None = None,
) -> Roles:
    """The roles of a table's columns, every name checked.

    >>> infer_roles(["patient", "age", "ill"], "-1", group="patient").target
    ('ill',)

    Raises `DataError` for names that are no column (did you mean), or have two roles at once.
    """
    roles = Roles(target_names(columns, target), group, time, weights, None if features is None else tuple(features))
    for role, name in (("group", group), ("time", time), ("weights", weights)):
        if name is not None and name not in columns:
            raise DataError(f"There is no column '{name}' for --{role}.{did_you_mean(name, columns)}")
        if name in roles.target:
            raise DataError(f"Column '{name}' cannot be the target and --{role} at once. Name another column for one.")
    if repeated := [name for name, count in Counter(roles.features or ()).items() if count > 1]:
        raise DataError(f"--features names {listed(repeated)} more than once. Name each column once.")
    for name in roles.features or ():
        if name not in columns:
            raise DataError(f"There is no column '{name}' for features.{did_you_mean(name, columns)}")
        if name in (*roles.target, *roles.others):
            raise DataError(
                f"Column '{name}' is a target, group, time or weight: it cannot be a feature. Leave it off."
            )
    return roles


def infer_schema(
    frame: pd.DataFrame,
    roles: Roles,
    *,
    task: str | None = None,
    missing: str = "error",
    layout: Sequence[int] | None = None,
) -> tuple[pd.DataFrame, Schema]:
    """The rows that are used (fewer where `missing="drop"`) and their schema.

    >>> frame = pd.DataFrame({"size": ["1.5", "2.5", "0.5", None], "kind": list("abab")})
    >>> rows, schema = infer_schema(frame, infer_roles(list(frame), "kind"), missing="drop")
    >>> len(rows), schema.target.labels, schema.columns[0].kind
    (3, ('a', 'b'), <Kind.NUMBER: 'number'>)

    Raises `DataError` for whatever cannot be learned from: missing cells, text among numbers, no features, one class.
    """
    if missing not in MISSING:
        raise RecipeError(f"missing={missing!r} is not known.{did_you_mean(str(missing), MISSING)}")
    names = roles.features_of(frame)
    if not names:
        raise DataError(
            f"The table has no column beside {listed([*roles.target, *roles.others])} to predict from. If it should "
            "have more, check what separates the cells: a comma, a semicolon, a tab or '|' (spaces become commas by: "
            "tr -s ' ' ',' < FILE > new.csv)."
        )
    parsed = parse(frame, [*names, *roles.target])
    check_numbers(frame.index, parsed)
    if void := [name for name in roles.target if parsed[name].missing.all()]:
        raise DataError(f"The target {listed(void)} has no values. Fill it in, or name another --target.")
    rows = without_missing(frame, roles, parsed, missing)
    if len(rows) < len(frame):
        parsed = parse(rows, [*names, *roles.target])
    target = as_target(rows.index, {name: parsed[name] for name in roles.target}, task)
    if target.kind is TargetKind.CLASSES and pd.api.types.is_bool_dtype(frame[target.names[0]].dtype):
        target = replace(target, labels=(False, True))
    given = [parsed[name] for name in names]
    columns, left_out = _features(given, roles.features is not None) if layout is None else (_pixels(given, layout), [])
    shape = None if layout is None else (layout[0], layout[1], layout[2])
    schema = Schema(tuple(columns), target, missing, shape, roles.group, roles.time, roles.weights, tuple(left_out))
    return rows, schema


def without_missing(frame: pd.DataFrame, roles: Roles, parsed: Mapping[str, Parsed], missing: str) -> pd.DataFrame:
    """The rows that are used: all, or without those that lack a value where `missing="drop"`.

    Columns that are left out anyway do not count.

    Raises `DataError` for missing cells where `missing="error"`, and for missing targets where `missing="impute"`.
    """
    gaps = _gaps(frame, roles, parsed)
    fixed = {name: mask for name, mask in gaps.items() if name in (*roles.target, *roles.others)}
    gaps = fixed if missing == "impute" else gaps
    rows = np.any([*gaps.values(), np.zeros(len(frame), dtype=bool)], axis=0)
    if not rows.any():
        return frame
    if missing == "drop":
        if rows.all():
            raise DataError(
                f"Every row lacks some value, so that missing='drop' leaves nothing: {_counted(frame.index, gaps)}. "
                "Choose --missing impute, or take these columns out of the file."
            )
        lack = "lacks a value and is" if rows.sum() == 1 else "lack a value and are"
        notice(f"{rows.sum():,} of {counted(len(rows), 'row')} {lack} left out: {_counted(frame.index, gaps)}.")
        return frame.loc[~rows]
    if fixed:
        raise DataError(
            "Cells are missing where none can be imputed, in the target, group, time or weights: "
            f"{_counted(frame.index, fixed)}. Fill them in, or choose --missing drop, which leaves out "
            f"{rows.sum():,} of {len(rows):,} rows."
        )
    count = sum(int(mask.sum()) for mask in gaps.values())
    cells = f"{counted(count, 'cell')} {'is' if count == 1 else 'are'}"
    raise DataError(
        f"{cells} missing: {_counted(frame.index, gaps)}. Say what happens to them: --missing drop leaves out "
        f"{rows.sum():,} of {len(rows):,} rows; --missing impute takes the mean of the training rows for a number, and "
        "marks it, and makes 'missing' a category of its own; --missing error, the default, waits until you have "
        "filled them in. (In Python: missing='drop'.)"
    )


def _features(columns: list[Parsed], wanted: bool) -> tuple[list[Column], list[tuple[str, str]]]:
    found = {column.name: as_feature(column, wanted) for column in columns}
    kept = [feature for feature in found.values() if isinstance(feature, Column)]
    left_out = [(name, reason) for name, reason in found.items() if isinstance(reason, str)]
    if kept:
        prose = [
            one.name for one in columns if one.name in dict(left_out) and is_text(one) and words_of(one) >= FEW_WORDS
        ]
        told = {name: f"; --text {quote(name)} trains on them alone" for name in prose}
        return kept, [(name, reason + told.get(name, "")) for name, reason in left_out]
    said = "; ".join(f"'{name}': {reason}" for name, reason in left_out[:5])
    raise DataError(
        f"No column is left to predict from: {said}. A network needs numbers, or texts that repeat as categories, or "
        "one column of free texts, which --text COLUMN names. Add such columns, or name another --target."
    )


def _pixels(columns: list[Parsed], layout: Sequence[int]) -> list[Column]:
    if len(layout) != 3 or min(layout) < 1:
        raise RecipeError(f"layout={tuple(layout)} is no image. Give (channels, height, width), such as (1, 8, 8).")
    if (size := int(np.prod(layout))) != len(columns):
        raise DataError(
            f"An image of {layout[0]} x {layout[1]} x {layout[2]} has {size} values, but the table has {len(columns)} "
            f"feature columns. Give the layout that fits, or leave it off to take them as columns."
        )
    for column in columns:
        if not column.numeric:
            raise DataError(f"Column '{column.name}' holds text, but an image has numbers only. Leave off the layout.")
    return [Column(column.name, Kind.NUMBER, column.notation, gaps=bool(column.missing.any())) for column in columns]


def _gaps(frame: pd.DataFrame, roles: Roles, parsed: Mapping[str, Parsed]) -> dict[str, Bool[np.ndarray, " row"]]:
    """Which cells are missing, for each column that is used and lacks some."""
    gaps = {}
    for name, column in parsed.items():
        if column.missing.any() and (name in roles.target or isinstance(as_feature(column), Column)):
            gaps[name] = column.missing
    for name in roles.others:
        cells = as_cells(frame[name])
        mask = as_numbers(cells).missing if name == roles.weights else missing_cells(cells)
        if mask.any():
            gaps[name] = mask
    return gaps


def _counted(index: pd.Index, gaps: dict[str, Bool[np.ndarray, " row"]], limit: int = 5) -> str:
    told = [f"'{name}' {mask.sum():,} ({where(index, mask, 3)})" for name, mask in list(gaps.items())[:limit]]
    return ", ".join(told) + (f" and {counted(len(gaps) - limit, 'more column')}" if len(gaps) > limit else "")
