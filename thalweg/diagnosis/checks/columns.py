"""Columns that are not what they seem: numbers that are none, placeholders, constants, copies, running numbers."""

from functools import partial

import numpy as np

from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.data_rows import Rows
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism

FEWEST, LEAST_SHARE, CONTINUOUS = 3, 0.002, 20
"""A placeholder stands in so many examples and such a share of them at least, beside so many other values."""
FAR = 3.0
"""So many times the range of all other values it lies away from the nearest."""
DENSE = 0.25
"""Running numbers fill at least such a share of the whole numbers between the first and the last."""
MOST_COMPARED, EQUAL = 512, 1e-10
"""Columns that are compared by pairs at most, and the correlation, less than 1, that makes two equal."""
LEAST_TOLD = 10
"""Examples in which a column must be other than usual before a copy of it is told from chance."""
MANY = 64
"""So many nameless columns are likely pixels or counts, some of which never change."""
SHOWN = 3


def not_finite(rows: Rows) -> list[Flaw]:
    """Inputs and targets that are NaN or infinite: number, the share of examples that hold one."""
    found = []
    broken = np.flatnonzero(rows.broken)
    if len(broken):
        share, where = len(broken) / len(rows.broken), _shown(rows, broken)
        found.append(
            _not_finite(
                Mechanism.INPUTS_NOT_FINITE, "inputs", rows, share, f"{int(rows.broken.sum()):,} numbers in {where}"
            )
        )
    if rows.targets is not None and rows.targets.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(rows.targets).all(1))
        if len(wrong):
            where = _shown(rows, wrong)
            found.append(
                _not_finite(
                    Mechanism.TARGETS_NOT_FINITE, "targets", rows, len(wrong) / len(rows.targets), f"those of {where}"
                )
            )
    return found


def _not_finite(mechanism: Mechanism, what: str, rows: Rows, share: float, where: str) -> Flaw:
    return Flaw(
        Cause.DATA,
        mechanism,
        f"{share:.1%} of the {rows.split} examples have {what} that are NaN or infinite: {where}",
        share,
        "0",
        "Leave these examples out, or fill the gaps with the column's mean and mark them in a column of their own",
        "a model that is made to read gaps, such as one that masks NaN itself",
        Sure.CERTAIN,
        raised_by(rows.split),
    )


def raised_by(split: str) -> Raises:
    """The loss that a fault of this split alone raises."""
    return {"train": Raises.TRAIN, "validation": Raises.VALIDATION}.get(split, Raises.TEST)


def placeholders(rows: Rows) -> list[Flaw]:
    """A number that stands for none (-999): one value, repeated, far away from all others of a continuous column.

    Number: how many ranges of the other values it lies away from the nearest of them. Scale and shift do not matter.
    """
    found, columns = [], []
    if rows.table:
        assert rows.x is not None
        columns = [("input", rows.column(j), rows.x[:, j]) for j in range(rows.x.shape[1])]
    if rows.targets is not None and rows.targets.dtype.kind == "f" and rows.targets.shape[1] == 1:
        columns.append(("target", "", rows.y[:, 0]))
    for kind, name, values in columns:
        seen = _placeholder(values)
        if seen is not None:
            value, count, away = seen
            found.append((away, kind, name, value, count, len(values)))
    if not found:
        return []
    worst = max(found)
    away, kind, name, value, count, n = worst
    others = f"; so do {counted(len(found) - 1, 'other column')}" if len(found) > 1 else ""
    read = ", as the network reads it," if rows.names else ""  # a table is encoded: its own value is another
    subject = f"Input {name}{read}" if kind == "input" else "The target"
    return [
        Flaw(
            Cause.DATA,
            Mechanism.PLACEHOLDER_AMONG_NUMBERS,
            f"{subject} is {value:g} in {count:,} of {n:,} {rows.split} examples, {away:.3g} times the range of all "
            f"its other values away from them{others}",
            away,
            f"below {FAR:g}",
            "Read the value as missing: leave these examples out, or impute and mark it in a column of its own",
            "a quantity that truly takes this one value so far away",
            Sure.LIKELY,
            raised_by(rows.split),
        )
    ]


def _placeholder(values: np.ndarray) -> tuple[float, int, float] | None:
    """The value, how often it occurs, and how far it lies away."""
    values = values[np.isfinite(values)]
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= CONTINUOUS:
        return None
    for at, gap, others in (
        (0, distinct[1] - distinct[0], distinct[-1] - distinct[1]),
        (-1, distinct[-1] - distinct[-2], distinct[-2] - distinct[0]),
    ):
        often = counts[at] >= max(FEWEST, LEAST_SHARE * len(values))
        if often and gap > FAR * others:
            return float(distinct[at]), int(counts[at]), float(gap / max(others, 1e-300))
    return None


def useless_columns(rows: Rows) -> list[Flaw]:
    """Columns of a table that are constant, and those that repeat another: number, how many there are."""
    if not rows.table or len(rows.kept) < 10:
        return []
    assert rows.x is not None
    x, found = np.nan_to_num(rows.x), []
    constant = np.ptp(x, axis=0) == 0
    if constant.any() and (rows.names or len(constant) < MANY):
        found.append(
            _note(
                Mechanism.CONSTANT_INPUTS,
                f"Of {len(constant)} inputs {int(constant.sum())} never changed in {len(x):,} train examples: "
                f"{_named(rows, np.flatnonzero(constant))}",
                float(constant.sum()),
                "Leave them out",
                "examples in use that differ there",
            )
        )
    varying = np.flatnonzero(~constant)
    copies = [pair for pair in _copies(x[:, varying], varying) if not all(map(partial(_marks_gaps, rows), pair))]
    if copies:
        pairs = ", ".join(f"{rows.column(j)} is {rows.column(i)}" for j, i in copies[:SHOWN])
        found.append(
            _note(
                Mechanism.INPUTS_TWICE,
                f"Of {len(constant)} inputs {len(copies)} repeated another in every train example, but for scale: "
                f"{pairs}",
                float(len(copies)),
                "Leave the copies out: a penalty counts them twice, and no model learns more from them",
                "examples in use where they differ",
            )
        )
    return found


def _marks_gaps(rows: Rows, j: int) -> bool:
    """Whether an input says that another is missing, as several do at once."""
    return bool(rows.names) and rows.names[j].endswith("(missing)")


def _copies(x: np.ndarray, names: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of columns, the later first, that are equal but for scale and shift."""
    if not 2 <= x.shape[1] <= MOST_COMPARED or len(x) < 3:
        return []
    scaled = x - x.mean(0)
    scaled /= np.sqrt((scaled**2).sum(0))
    few = np.array([len(np.unique(column)) <= 2 for column in x.T])
    told = (x != np.median(x, axis=0)).sum(0) >= LEAST_TOLD
    alike = np.where(told[:, None] & told, scaled.T @ scaled, 0.0)
    equal = np.where(few, alike > 1 - EQUAL, np.abs(alike) > 1 - EQUAL)  # yes and no of one question are no copies
    later, earlier = np.nonzero(np.tril(equal, -1))
    first = dict(zip(later[::-1].tolist(), earlier[::-1].tolist(), strict=True))
    return [(int(names[j]), int(names[i])) for j, i in sorted(first.items())]


def running_numbers(rows: Rows) -> list[Flaw]:
    """Columns that number the examples: all values differ, and they fill the whole numbers of their range.

    Number: the share of the range that is filled. Scale and shift do not matter.
    """
    if not rows.table or len(rows.kept) < 50:
        return []
    assert rows.x is not None
    seen = [(filled, j) for j in range(rows.x.shape[1]) if (filled := _filled(rows.x[:, j])) >= DENSE]
    if not seen:
        return []
    filled, j = max(seen)
    return [
        _note(
            Mechanism.A_RUNNING_NUMBER_AMONG_THE_INPUTS,
            f"Input {rows.column(j)} differs in all {len(rows.kept):,} train examples and fills {filled:.0%} of the "
            "whole numbers in its range, as an identifier or a place in the file does",
            filled,
            "Leave it out: it says nothing of new examples, or tells the order in which these were collected",
            "a time, or an order that new examples have too",
        )
    ]


def _filled(column: np.ndarray) -> float:
    values = np.unique(column)
    if len(values) < len(column) or not np.isfinite(values).all():
        return 0.0
    steps = np.diff(values)
    unit = steps.min()
    whole = np.abs(steps / unit - np.round(steps / unit)).max() < 0.02
    return float(len(values) / ((values[-1] - values[0]) / unit + 1)) if whole else 0.0


def _note(mechanism: Mechanism, says: str, number: float, mend: str, refuted_by: str) -> Flaw:
    return Flaw(Cause.DATA, mechanism, says, number, "0", mend, refuted_by, Sure.MEASURED, Raises.NONE_SEEN)


def _named(rows: Rows, columns: np.ndarray) -> str:
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return ", ".join(map(rows.column, columns[:SHOWN].tolist())) + more


def _shown(rows: Rows, read: np.ndarray) -> str:
    more = f" and {len(read) - SHOWN:,} more" if len(read) > SHOWN else ""
    return f"{', '.join(map(rows.called, read[:SHOWN].tolist()))}{more}{rows.numbered}"
