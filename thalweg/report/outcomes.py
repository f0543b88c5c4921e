"""What was predicted on the rows that were held out, read from the run's CSV: hits, misses, confidences, residuals."""

import csv
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from thalweg.report.evidence import damaged, mappings, texts
from thalweg.report.wording import number

BINS = 15
"""Bins of confidence, as many as the calibration error in evaluation.json has."""


@dataclass(frozen=True)
class Guess:
    """One row: its place in the file, its true class, the predicted one, the probability of that."""

    row: int
    truth: str
    predicted: str
    probability: float

    @property
    def right(self) -> bool:
        """Whether the two classes are the same."""
        return self.truth == self.predicted


@dataclass(frozen=True)
class Residual:
    """One row: its place in the file, the true number and the predicted one."""

    row: int
    truth: float
    predicted: float

    @property
    def size(self) -> float:
        """Truth minus prediction."""
        return self.truth - self.predicted


def read_guesses(file: Path, target: dict[str, Any]) -> list[Guess]:
    r"""The predicted classes of a file; rows without a true class, or without a predicted one, are left out.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "test.csv"
    >>> _ = file.write_text("size,kind,prediction,probability\n3,a,b,0.75\n")
    >>> read_guesses(file, {"names": ["kind"]})
    [Guess(row=0, truth='a', predicted='b', probability=0.75)]
    """
    name = (texts(target.get("names")) or [""])[0]
    with _table(file) as (head, rows):
        truth, guess, share = (_column(file, head, of) for of in (re.escape(name), _GUESS, r"probability(_\d+)?"))
        return [
            Guess(place, _canonical(row[truth]), _canonical(row[guess]), decimal(row[share]))
            for place, row in enumerate(rows)
            if row[truth].strip() and row[guess].strip()
        ]


def read_soft_guesses(file: Path, target: dict[str, Any]) -> list[Guess]:
    r"""The same where a row has a share of every class: the class with the largest one is taken for the true one.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "test.csv"
    >>> _ = file.write_text("cat,dog,prediction,probability\n0.25,0.75,cat,0.5\n")
    >>> read_soft_guesses(file, {"names": ["cat", "dog"]})
    [Guess(row=0, truth='dog', predicted='cat', probability=0.5)]
    """
    names, notations = texts(target.get("names")), mappings(target.get("notations"))
    signs = [notations[i] if i < len(notations) else {} for i in range(len(names))]
    labels = [_canonical(text) for text in texts(target.get("labels")) or names]
    with _table(file) as (head, rows):
        guess, share = (_column(file, head, of) for of in (_GUESS, r"probability(_\d+)?"))
        truths = [_column(file, head, re.escape(name)) for name in names]
        found = []
        for place, row in enumerate(rows):
            shares = [decimal(row[i], notation) for i, notation in zip(truths, signs, strict=True)]
            if shares and all(map(math.isfinite, shares)):
                truth = labels[shares.index(max(shares))]
                found.append(Guess(place, truth, _canonical(row[guess]), decimal(row[share])))
        return found


def read_residuals(file: Path, target: dict[str, Any]) -> dict[str, list[Residual]]:
    """The predicted numbers of a file by the name of the target; rows without a true number are left out."""
    names, notations = texts(target.get("names")), mappings(target.get("notations"))
    found: dict[str, list[Residual]] = {}
    for i, name in enumerate(names):
        notation = notations[i] if i < len(notations) else {}
        guessed = _GUESS if len(names) == 1 else rf"prediction_{re.escape(name)}(_\d+)?"
        with _table(file) as (head, rows):
            truth, guess = _column(file, head, re.escape(name)), _column(file, head, guessed)
            read = [Residual(p, decimal(row[truth], notation), decimal(row[guess])) for p, row in enumerate(rows)]
        found[name] = [residual for residual in read if math.isfinite(residual.size)]
    return found


def read_rows(file: Path, places: list[int]) -> tuple[list[str], dict[int, list[str]]]:
    """The names of the columns, and the rows at these places of the file."""
    wanted = set(places)
    with _table(file) as (head, rows):
        return head, {
            place: row for place, row in enumerate(islice(rows, max(wanted, default=-1) + 1)) if place in wanted
        }


def class_names(target: dict[str, Any], guesses: list[Guess]) -> list[str]:
    """The classes in the order of the target's labels, then any that the file has beside them."""
    labels = [_canonical(text) for text in texts(target.get("labels"))]
    seen = {name for guess in guesses for name in (guess.truth, guess.predicted)}
    return list(dict.fromkeys([*labels, *sorted(seen)]))


def counts(guesses: list[Guess], names: list[str]) -> list[list[int]]:
    """How often each class (row) was taken for each (column).

    >>> counts([Guess(0, "a", "b", 0.9), Guess(1, "b", "b", 0.8)], ["a", "b"])
    [[0, 1], [0, 1]]
    """
    pairs = Counter((guess.truth, guess.predicted) for guess in guesses)
    return [[pairs[truth, predicted] for predicted in names] for truth in names]


def confidence_bins(guesses: list[Guess], bins: int = BINS) -> list[tuple[float, float, int]]:
    """Mean confidence, share of hits and number of rows in each bin of confidence that holds any.

    >>> confidence_bins([Guess(0, "a", "a", 0.75), Guess(1, "a", "b", 0.75)], bins=2)
    [(0.75, 0.5, 2)]
    """
    held: list[list[Guess]] = [[] for _ in range(bins)]
    for guess in guesses:
        if 0 <= guess.probability <= 1:
            held[min(bins - 1, int(guess.probability * bins))].append(guess)
    return [
        (
            sum(guess.probability for guess in inside) / len(inside),
            sum(g.right for g in inside) / len(inside),
            len(inside),
        )
        for inside in held
        if inside
    ]


_GUESS = r"prediction(_\d+)?"


@contextmanager
def _table(file: Path) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """The header and the rows of a CSV file, cells of any length; `RunError` where it is damaged."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as stream:
            reader = csv.reader(stream)
            head = next(reader, [])
            yield head, _whole_rows(file, head, reader)
    except (OSError, csv.Error) as error:
        raise damaged(file, error) from error
    finally:
        csv.field_size_limit(before)


def _whole_rows(file: Path, head: list[str], rows: Any) -> Iterator[list[str]]:
    for row in rows:
        if len(row) != len(head):
            raise damaged(file, f"line {rows.line_num} has {len(row)} cells, the header {len(head)}")
        yield row


def _column(file: Path, head: list[str], pattern: str) -> int:
    """The last column of that name: what was predicted stands behind the table's own columns."""
    found = [i for i, name in enumerate(head) if re.fullmatch(pattern, name)]
    if not found:
        raise damaged(file, f"it has no column {pattern.removesuffix('(_[0-9]+)?')}")
    return found[-1]


def _canonical(text: str) -> str:
    """A class as it is compared: 1.0 and 1 are the same."""
    bare = text.strip()
    value = decimal(bare)
    return f"{value:g}" if value == value and abs(value) < 1e6 and value == round(value) else bare


def decimal(text: str, notation: dict[str, Any] | None = None) -> float:
    """A cell as a number, NaN where it is none; `notation` says how the table writes numbers."""
    signs = notation or {}
    bare = text.strip()
    for unwanted in (signs.get("thousands"), signs.get("sign")):
        bare = bare.replace(str(unwanted), "") if unwanted else bare
    if (decimal := signs.get("decimal")) not in (None, "", "."):
        bare = bare.replace(str(decimal), ".")
    try:
        return number(float(bare))
    except ValueError:
        return math.nan
