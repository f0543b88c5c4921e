"""Tables: what is read is what was written, and what a column holds is decided as the docs say."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.notices import collecting
from thalweg.data import (
    Kind,
    TableSource,
    TargetKind,
    load_table,
    read_table,
)
from thalweg.data.notation import Notation

ROWS = 37


def table(*, rows: int = ROWS, **cells: Any) -> io.StringIO:
    """A CSV of `rows` rows; each column is a function of the row's number."""
    lines = [",".join(cells)]
    lines += [",".join(str(cell(i)) for cell in cells.values()) for i in range(rows)]
    return io.StringIO("\n".join(lines) + "\n")


def yes_no(i: int) -> str:
    return "yes" if i % 3 else "no"


def columns_of(source: TableSource) -> dict[str, Kind]:
    return {column.name: column.kind for column in source.schema.columns}


def loaded(data: Any, target: Any = "-1", **options: Any) -> tuple[TableSource, list[str]]:
    with collecting() as notices:
        return load_table(data, target=target, **options).train, notices


# --- reading ----------------------------------------------------------------------------------------------------------

cells = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufeff"), max_size=9).map(
    str.strip
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=7))
def test_every_cell_stays_as_it_is_written(rows: list[list[str]]) -> None:
    rows = [["kept", *row] for row in rows]
    text = pd.DataFrame(rows, columns=["first", "b", "c", "d"]).to_csv(index=False)
    read = read_table(io.StringIO(text))
    assert [["" if cell is None else cell for cell in row] for row in read.to_numpy().tolist()] == rows


@pytest.mark.parametrize("written", ["007", "1e5", "1,000", "NA", "9007199254740993", "True", "1.10", "-0", " x"])
def test_nothing_is_mangled(written: str) -> None:
    frame = read_table(io.StringIO(f'a,b\n"{written}",2\n'))
    assert frame["a"].iloc[0] == written


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_found_out(delimiter: str, end: str) -> None:
    lines = [f"size{delimiter}note{delimiter}y"] + [f'{i}.5{delimiter}"a, b; c|d"{delimiter}{i}' for i in range(5)]
    frame = read_table(io.BytesIO((end.join(lines) + end).encode()))
    assert frame.columns.tolist() == ["size", "note", "y"]
    assert frame["note"].tolist() == ["a, b; c|d"] * 5


def test_bytes_are_opened_however_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "größe,y\n1,2\n".encode()
    utf16 = "größe\ty\n1\t2\n".encode("utf-16")
    for name, content in {
        "a.csv": data,
        "b.csv.gz": gzip.compress(data),
        "c.txt": utf16,
        "d": b"\xef\xbb\xbf" + data,
    }.items():
        (tmp_path / name).write_bytes(content)
        assert read_table(tmp_path / name).to_dict("list") == {"größe": ["1"], "y": ["2"]}, name
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_table("-").shape == (1, 2)


def test_the_index_holds_the_lines_of_the_file() -> None:
    frame = read_table(io.StringIO('a,b\n\n"x\ny",1\nz,2\n'))
    assert frame.index.tolist() == [3, 5]


def test_trailing_commas_and_a_nameless_index_do_no_harm() -> None:
    assert read_table(io.StringIO("a,b\n1,2,\n3,4,\n")).shape == (2, 2)
    assert read_table(io.StringIO("a,b,,\n1,2,,\n")).columns.tolist() == ["a", "b"]
    train, notices = loaded(table(**{"": lambda i: i, "a": lambda i: i * 0.5, "y": yes_no}))
    assert columns_of(train) == {"a": Kind.NUMBER}
    assert "'Unnamed: 0'" in " ".join(notices)
    assert "count of the rows" in " ".join(notices)


def test_a_column_of_sentences_that_is_left_out_says_how_to_train_on_it() -> None:
    frame = pd.DataFrame({"size": [i + 0.5 for i in range(60)], "y": [0, 1] * 30})
    frame["note of it"] = [f"this is note {i} of them" for i in range(60)]
    frame["code"] = [f"x{i}y" for i in range(60)]
    with collecting() as notices:
        load_table(frame, target="y")
    said = {name: next(notice for notice in notices if f"'{name}'" in notice) for name in ("note of it", "code")}
    assert said["note of it"].endswith("too many to be categories; --text 'note of it' trains on them alone.")
    assert said["code"].endswith("too many to be categories.")


def test_rows_without_any_value_are_left_out_and_said() -> None:
    with collecting() as notices:
        assert len(read_table(io.StringIO("a,b\n1,2\n,\n3,4\n"))) == 2
    assert "line 3" in notices[0]


def test_no_header_names_the_columns() -> None:
    assert read_table(io.StringIO("1,2\n3,4\n"), header=False).columns.tolist() == ["c0", "c1"]


ODD = {
    "spaces around names and cells": (
        " a , k ,y\n",
        lambda i: f" {i}.5 , {'uv'[i % 2]} ,{yes_no(i)}",
        ["a", "k=u", "k=v"],
    ),
    "quotes and newlines in cells": (
        "a,k,y\n",
        lambda i: f'{i}.5,"say ""hi"",\n{i % 2}",{yes_no(i)}',
        ["a", 'k=say "hi",\n0', 'k=say "hi",\n1'],
    ),
    "other alphabets": (
        "größe,名前,y\n",
        lambda i: f"{i}.5,{'äß'[i % 2]},{['да', 'нет'][i % 2]}",
        ["größe", "名前=ß", "名前=ä"],
    ),
    "percent signs": ("a,b,y\n", lambda i: f"{i}.5%,{i % 7} %,{yes_no(i)}", ["a", "b"]),
    "feet and inches": ("a,k,y\n", lambda i: f"{i}.5,5'{i % 2}\",{yes_no(i)}", ["a", "k=5'0\"", "k=5'1\""]),
    "the same rows again": ("a,b,y\n", lambda i: ["1.5,2,no", "2.5,3,yes"][i % 2], ["a", "b"]),
    "a header of years": ("2019,2020,y\n", lambda i: f"{i}.5,{i % 7},{i}.25", ["2019", "2020"]),
    "a column without a value": ("a,b,y\n", lambda i: f"{i}.5,,{yes_no(i)}", ["a"]),
    "sep= of Excel": ("sep=;\na;b;y\n", lambda i: f"{i}.5;{i % 7};{yes_no(i)}", ["a", "b"]),
    "a comma's semicolons": ("a,k,y\n", lambda i: f"{i}.5,[1;2;{i % 2}],{yes_no(i)}", ["a", "k=[1;2;0]", "k=[1;2;1]"]),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_tables_that_are_fine(case: str) -> None:
    header, line, names = ODD[case]
    train, _ = loaded(io.StringIO(header + "\n".join(map(line, range(ROWS)))))
    assert train.encoding.feature_names == names


# --- kinds of columns -------------------------------------------------------------------------------------------------

PLACES = ["Rome", "NA", "Oslo"]


def test_kinds_of_columns() -> None:
    train, notices = loaded(
        table(
            size=lambda i: i * 0.7,
            place=lambda i: PLACES[i % 3],
            zip=lambda i: f"{i % 4:05d}",
            flag=lambda i: i % 5 == 0,
            patient_id=lambda i: 900 - 7 * i,
            same=lambda i: "x",
            name=lambda i: f"name {i}",
            day=lambda i: f"2024-01-{i % 28 + 1:02d}",
            void=lambda i: "",
            y=yes_no,
        )
    )
    number, category = Kind.NUMBER, Kind.CATEGORY
    assert columns_of(train) == {"size": number, "place": category, "zip": category, "flag": category}
    assert train.schema.columns[1].categories == ("NA", "Oslo", "Rome")
    assert train.schema.columns[2].categories[0] == "00000"
    left_out = dict(train.schema.left_out)
    assert set(left_out) == {"patient_id", "same", "name", "void", "day"}
    assert all(any(f"'{name}'" in said for said in notices) for name in left_out)


def test_features_names_the_columns_to_use() -> None:
    data = table(row=lambda i: i, a=lambda i: i * 0.3, b=lambda i: i % 7, y=yes_no)
    train, _ = loaded(data, features=["row", "b"])
    assert list(columns_of(train)) == ["row", "b"]


@pytest.mark.parametrize(
    ("text", "notation", "number"),
    [
        ("1.234,5", Notation(",", "."), 1234.5),
        ("1,234.5", Notation(".", ","), 1234.5),
        ("1 234,5", Notation(",", " "), 1234.5),
        ("12,5 %", Notation(",", "", "%"), 12.5),
        ("-$1,200", Notation(".", ",", "$"), -1200.0),
        ("−5", Notation(), -5.0),
        (".5e-3", Notation(), 0.0005),
        ("1,5", Notation(), None),
        ("1_000", Notation(), None),
        ("12,34", Notation(".", ","), None),
        ("٣", Notation(), None),
    ],
)
def test_notations_of_numbers(text: str, notation: Notation, number: float | None) -> None:
    assert notation.number(text) == number


def test_a_table_with_decimal_commas() -> None:
    lines = ["a;b;c;y"] + [f"{i},5;{i % 9 + 1},{100 + i};1.{i:03d};{i},25" for i in range(ROWS)]
    train, notices = loaded(io.StringIO("\n".join(lines)))
    numbers = train.table.numbers
    np.testing.assert_allclose(numbers[3], [3.5, 4.103, 1003.0])  # b alone could be thousands, c alone a plain number
    assert train.table.target is not None
    assert train.table.target[3, 0] == 3.25
    said = [text for text in notices if text.startswith("Numbers written otherwise in")]
    assert said[0].startswith("Numbers written otherwise in 'a', 'b', 'y': ")
    assert said[1] == "Numbers written otherwise in 'c': 1.000 is read as 1000."


# --- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "task", "kind", "labels"),
    [
        (lambda i: "ab"[i % 2], None, TargetKind.CLASSES, ("a", "b")),
        (lambda i: i % 5 + 3, None, TargetKind.CLASSES, (3, 4, 5, 6, 7)),
        (lambda i: f"{i % 3}.0", None, TargetKind.CLASSES, (0, 1, 2)),
        (lambda i: f"{i % 3:02d}", None, TargetKind.CLASSES, ("00", "01", "02")),
        (lambda i: 10**18 + i % 2, None, TargetKind.CLASSES, (10**18, 10**18 + 1)),
        (lambda i: i % 5, "regression", TargetKind.NUMBERS, ()),
        (lambda i: i % 23, None, TargetKind.NUMBERS, ()),
        (lambda i: i % 4 / 2, None, TargetKind.NUMBERS, ()),
        (lambda i: i % 4 / 2, "classification", TargetKind.CLASSES, (0, 0.5, 1, 1.5)),
    ],
)
def test_kinds_of_targets(cell: Any, task: str | None, kind: TargetKind, labels: tuple[Any, ...]) -> None:
    train, notices = loaded(table(a=lambda i: i * 0.1, y=cell), task=task)
    target = train.schema.target
    assert (target.kind, target.labels) == (kind, labels)
    assert [type(label) for label in target.labels] == [type(label) for label in labels]
    assert any("The target 'y'" in said for said in notices) == (task is None)


def test_integer_targets_stay_integers_and_booleans_booleans() -> None:
    frame = pd.DataFrame({"a": np.arange(ROWS) * 0.1, "y": np.arange(ROWS) % 2 == 0})
    assert loaded(frame)[0].encoding.labels == (False, True)
    frame["y"] = np.where(frame["y"], 3.0, 5.0)
    assert loaded(frame)[0].encoding.labels == (3, 5)


def test_several_columns_are_soft_classes_or_numbers() -> None:
    soft = table(
        a=lambda i: i * 0.1, p=lambda i: 0.33, q=lambda i: 0.33 if i % 2 else 0.6, r=lambda i: 0.33 if i % 2 else 0.06
    )
    train, _ = loaded(soft, "p, q, r")
    assert (train.schema.target.kind, train.encoding.labels) == (TargetKind.SOFT, ("p", "q", "r"))
    (_, y), *_ = train.batches(0, 0, None)
    torch.testing.assert_close(y.sum(1), torch.ones(len(y)))
    hot = pd.DataFrame({"a": np.arange(ROWS) * 0.1} | {f"k{j}": np.arange(ROWS) % 3 == j for j in range(3)})
    assert loaded(hot, ["k0", "k1", "k2"])[0].schema.target.kind is TargetKind.SOFT
    numbers, _ = loaded(table(a=lambda i: i * 0.1, p=lambda i: i * 3.0, q=lambda i: i * 7.0), "p,-1")
    (_, y), *_ = numbers.batches(0, 0, None)
    assert y.shape == (len(numbers), 2)


# --- tables from elsewhere --------------------------------------------------------------------------------------------


FRAMES = {
    "text type": ({"a": pd.array(["u", "v"] * 20, dtype="str")}, ["a=u", "a=v"]),
    "nullable": ({"a": pd.array([1, 2, 3, 7] * 10, dtype="Int64")}, ["a"]),
    "booleans": ({"a": pd.array([True, False] * 20, dtype="boolean")}, ["a=False", "a=True"]),
    "categories": ({"a": pd.Categorical([1, 2, 3, 7] * 10)}, ["a=1", "a=2", "a=3", "a=7"]),
    "small floats": ({"a": np.linspace(0, 1, 40, dtype=np.float16)}, ["a"]),
    "sparse": ({"a": pd.arrays.SparseArray([0, 0, 1.5, 0] * 10)}, ["a"]),
    "mixed": ({"a": [1, 2.5, "3", 7] * 10}, ["a"]),
    "lists": ({"a": [[1], [2]] * 20}, ["a=[1]", "a=[2]"]),
    "dates": ({"t": pd.date_range("2024-01-01", periods=40), "a": [1, 2] * 20}, ["a"]),
    "numbers for names": ({0: [1, 2] * 20, 1: [3.5, 4.5, 5.5, 7.5] * 10}, ["0", "1"]),
}


@pytest.mark.parametrize("case", FRAMES)
def test_frames_of_any_type(case: str) -> None:
    columns, names = FRAMES[case]
    frame = pd.DataFrame(columns | {"y": [0, 0, 1] * 13 + [0]}, index=[7] * 40)
    train, _ = loaded(frame, "y")
    assert train.encoding.feature_names == names
    assert len(train.encoding.inputs(frame)) == 40
    assert json.loads(json.dumps(train.encoding.to_json()))["schema"]["target"]["labels"] == [0, 1]


@pytest.mark.battery
def test_ten_thousand_columns() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(23, 9_999)).round(3), columns=[f"f{i}" for i in range(9_999)])
    frame["y"] = ["ab"[i % 2] for i in range(23)]
    train, _ = loaded(io.StringIO(frame.to_csv(index=False)), "y")
    assert train.encoding.width == 9_999


@pytest.mark.parametrize(
    ("name", "options", "rows", "width", "outputs"),
    [
        ("penguins", {"target": "species", "missing": "drop"}, 333, 9, 3),
        ("penguins", {"target": "species", "missing": "impute"}, 344, 14, 3),
        ("mpg", {"target": "mpg", "missing": "drop"}, 392, 9, 1),
        ("german", {"target": "-1", "header": False}, 1000, 61, 2),
        ("phoneme", {"target": "-1", "header": False}, 5404, 5, 2),
        ("abalone", {"target": "-1", "header": False}, 4177, 10, 1),
        ("winequality-white", {"target": "-1", "header": False}, 4898, 11, 7),
        ("winequality-white", {"target": "-1", "header": False, "task": "regression"}, 4898, 11, 1),
    ],
)
def test_real_tables(realdata: Path, name: str, options: dict[str, Any], rows: int, width: int, outputs: int) -> None:
    with collecting():
        splits = load_table(realdata / "tables" / f"{name}.csv", **options)
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == rows
    assert (splits.train.encoding.width, splits.train.encoding.outputs) == (width, outputs)
    (x, _), *_ = splits.train.batches(0, 0, None)
    assert torch.isfinite(x).all()
