"""Bad tables: every message says what happened, what was expected and how to mend it, with the place and the value."""

import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from thalweg.core.errors import DataError, RecipeError, ThalwegError
from thalweg.core.notices import collecting
from thalweg.data import TableSource, bundled, load_table, prediction_frame, read_table


def rows(line: Callable[[int], str], header: str = "a,b,y", count: int = 41) -> str:
    return "\n".join([header, *map(line, range(count))]) + "\n"


def plain(i: int) -> str:
    return f"{i * 0.5},{i % 7},{'yn'[i % 2]}"


def but(line: int, text: str) -> Callable[[int], str]:
    """The plain rows, but for one line of the file."""
    return lambda i: text if i + 2 == line else plain(i)


def message(error: type[ThalwegError], call: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught, collecting():
        call()
    return str(caught.value)


def holds(said: str, *parts: str) -> None:
    missing = [part for part in parts if part not in said]
    assert not missing, f"{missing} not in: {said}"


BYTES = {
    "empty": (b"", "is empty", "a line of column names", "a line for each example"),
    "blank": (b" \n \n", "is empty", "a line of column names"),
    "only a mark": (b"\xef\xbb\xbf\n", "no names and no values", "a line for each example"),
    "header only": (b"a,b,y\n", "header ('a', 'b', 'y') but no rows", "needs a line for each example"),
    "no value": (b"a,b\n,\n,\n", "2 rows, but no cell holds a value", "needs a line for each example"),
    "latin": (b"a,b\n1,2\nM\xfcller,3\n", "not UTF-8: line 3", "0xfc", "Müller", "iconv -f WINDOWS-1252"),
    "NUL": (b"a,b\n1,2\n1,\x002\n", "NUL byte in line 3", "text in UTF-8", "tr -d"),
    "utf-16 cut": (b"\xff\xfea\x00b", "UTF-16", "damaged", "save it anew"),
    "gzip cut": (gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "gzip", "cut short", "download it again"),
    "excel": (b"PK\x03\x04....", "Excel workbook", "CSV or TSV", "CSV UTF-8"),
    "page": (b"<!DOCTYPE html><html>", "web page", "CSV or TSV", "Download the raw file"),
    "json": (b'[{"a": 1}]', "JSON", "CSV or TSV", "read_json"),
    "parquet": (b"PAR1 nonsense PAR1", "Parquet", "save it as CSV", ""),
    "duplicate names": (b"a,b,a\nx,2,3\n", "one name: 'a'", "column 1 and 3", "its own name", "--no-header"),
    "numbers for names": (b"1.5,2,x\n2.5,3,y\n", "line of numbers ('1.5', '2')", "names of the columns", "--no-header"),
    "ragged": (
        b"a,b\n1,2\n1,2,3\n",
        "line 3, has 3 cells",
        "header has 2 cells",
        "'1,2,3'",
        "put quotes around a cell",
    ),
    "short": (b"a;b;c\n1;2;3\n1;2\n1;2;3\n", "line 3, has 2 cells", "header has 3", "';'", "write empty cells too"),
    "title": (b"Sales 2020\na,b\n1,2\n", "line 2, has 2 cells", "header has 1 cell", "take away what is above"),
    "no names": (b"a\n1,2\n3,4\n", "line 2, has 2 cells", "header has 1 cell", "give every column a name"),
    "open quote": (b'a,b\n1,2\n1,"2\n3,4\n', "line 3: the quotes do not match", "ends with a quote", "written twice"),
    "bad quote": (b'a,b\n1,"x"y\n', "line 2: the quotes do not match", "next delimiter", "written twice"),
}


@pytest.mark.parametrize("case", BYTES)
def test_files_that_are_no_table(case: str, tmp_path: Path) -> None:
    data, *parts = BYTES[case]
    if case == "parquet" and "pyarrow" in sys.modules:
        parts[1] = "damaged"
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    said = message(DataError, lambda: read_table(path))
    holds(said, "table.csv", *parts)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text("a,b\n1,2\n")
    (tmp_path / "notes.md").write_text("no table")
    holds(message(DataError, lambda: read_table(tmp_path / "huoses.csv")), "no file", "Did you mean 'houses.csv'?")
    holds(message(DataError, lambda: read_table(tmp_path / "xyz")), "no file", "Known: houses.csv.")
    holds(
        message(DataError, lambda: read_table(tmp_path / "sub" / "a.csv")),
        "folder",
        "does not exist",
        "paths count from",
    )
    holds(message(DataError, lambda: read_table(tmp_path)), "is a folder", "one file", "houses.csv")
    (tmp_path / "sub").mkdir()
    holds(message(DataError, lambda: read_table(tmp_path / "sub")), "is a folder", "one file", "holds no table")
    for i in range(11):
        (tmp_path / f"t{i:02}.csv").touch()
    holds(message(DataError, lambda: read_table(tmp_path)), "is a folder", "'t06.csv' and 4 more.")
    holds(message(DataError, lambda: read_table(tmp_path / "sub" / "a.csv")), "no file", "holds no table")


def test_a_header_that_was_denied() -> None:
    said = message(DataError, lambda: read_table(io.StringIO(rows(plain)), header=False))
    holds(said, "line of names ('a', 'b', 'y')", "without a header", "Leave off --no-header")


TABLES: dict[str, tuple[Any, ...]] = {
    "no target": (rows(plain), {"target": None}, "Which column", "'a', 'b', 'y'", "--target y"),
    "unknown target": (rows(plain, "a,b,price"), {"target": "prise"}, "no column 'prise'", "Did you mean 'price'?"),
    "target out of range": (rows(plain), {"target": "-4"}, "-4 is no column", "there are 3", "-1 for the last"),
    "target twice": (rows(plain), {"target": "y,-1"}, "'y' twice", "once"),
    "unknown group": (rows(plain), {"group": "B"}, "no column 'B' for --group", "Did you mean 'b'?"),
    "two roles": (rows(plain), {"time": "y"}, "'y' cannot be the target and --time", "another column"),
    "unknown feature": (rows(plain), {"features": ["aa"]}, "no column 'aa'", "Did you mean 'a'?"),
    "feature is group": (rows(plain), {"features": ["a"], "group": "a"}, "'a' is a target, group", "Leave it off"),
    "one column": ("y\nu\nv\n", {}, "no column beside 'y'", "what separates the cells", "tr -s"),
    "text among numbers": (
        rows(but(9, "oops,3,n")),
        {},
        "Column 'a' holds numbers",
        "line 9 has the text 'oops'",
        "Write a number",
        "empty the cell",
    ),
    "infinite": (rows(but(5, "inf,3,n")), {}, "Column 'a' is infinite", "line 5", "must be finite", "(--missing)"),
    "too large": (rows(but(5, "1e999,3,n")), {}, "Column 'a' is infinite, or too large", "line 5", "must be finite"),
    "infinite target": (
        rows(lambda i: f"{i}.5,{i % 3},{i}.5" if i else "1.5,2,-inf"),
        {},
        "Column 'y' is infinite",
        "line 2",
    ),
    "mixed notations": (
        rows(lambda i: f"{i}{'.,'[i % 2]}5;{i % 7};{'yn'[i % 2]}", "a;b;y"),
        {},
        "Column 'a' writes its numbers in several ways",
        "'0.5' and '1,5'",
        "in one way",
    ),
    "missing": (
        rows(but(9, ",NA,n")),
        {},
        "2 cells are missing",
        "'a' 1 (line 9), 'b' 1 (line 9)",
        "--missing drop leaves out 1 of 41",
        "--missing impute",
        "--missing error",
    ),
    "NaN": (rows(but(9, "NaN,3,n")), {}, "1 cell is missing", "'a' 1 (line 9)", "--missing drop", "--missing impute"),
    "missing target alone": (rows(but(9, "1,3,")), {}, "none can be imputed", "'y' 1 (line 9)", "--missing drop"),
    "missing target": (
        rows(but(9, "1,3,")),
        {"missing": "impute"},
        "none can be imputed",
        "'y' 1 (line 9)",
        "--missing drop",
    ),
    "all dropped": (
        rows(lambda i: f"{i},," if i % 2 else f",{i},y", "a,b,y"),
        {"missing": "drop"},
        "Every row lacks",
        "leaves nothing",
        "--missing impute",
    ),
    "one class": (
        rows(lambda i: f"{i}.5,{i % 7},x"),
        {},
        "'y' has only one class: 'x' in all 41 rows",
        "nothing to learn",
        "another --target",
    ),
    "one number": (
        rows(lambda i: f"{i}.5,{i % 7},2.5"),
        {},
        "'y' has only one number: 2.5",
        "nothing to learn",
        "another --target",
    ),
    "free text target": (
        rows(lambda i: f"{i}.5,{i % 7},t{i}"),
        {},
        "41 different values in 41 rows",
        "several examples",
        "another --target",
    ),
    "text to regress": (
        rows(plain),
        {"task": "regression"},
        "'y' holds text, such as",
        "predicts numbers",
        "Leave off --task",
    ),
    "numbers as classes": (
        rows(lambda i: f"{i}.5,{i % 7},{i}.25"),
        {"task": "classification"},
        "41 different values",
        "several examples",
        "--task regression",
    ),
    "void target": (rows(lambda i: f"{i}.5,{i % 7},"), {}, "'y' has no values", "Fill it in"),
    "multi-label": (
        rows(lambda i: f"{i}.5,{i % 2},{int(i % 3 == 0)}"),
        {"target": "b,y"},
        "do not exclude one another",
        "lines 4, 5",
        "does not train yet",
        "--target NAME",
        "--task regression",
    ),
    "text targets": (rows(plain), {"target": "b,y"}, "'y' holds text", "must be numbers", "a single --target"),
    "targets as classes": (
        rows(lambda i: f"{i}.5,{i % 7},{i}"),
        {"target": "b,y", "task": "classification"},
        "are not classes",
        "sum to 1",
        "Leave off --task",
    ),
    "only free text": (
        rows(lambda i: f"some text {i},{i},{'yn'[i % 2]}"),
        {},
        "No column is left",
        "'a': 41 different texts",
        "'b': a count of the rows",
        "--text COLUMN",
        "another --target",
    ),
    "negative weights": (
        rows(but(9, "1,-3,n")),
        {"weights": "b"},
        "weights 'b' hold '-3' in line 9",
        "0 or larger",
        "leave off --weights",
    ),
    "no weights": (
        rows(lambda i: f"{i}.5,0,{'yn'[i % 2]}"),
        {"weights": "b"},
        "0 in every row",
        "leave off --weights".capitalize(),
    ),
    "dates of no order": (
        rows(lambda i: f"{i}.5,{i % 12 + 1}/{i % 28 + 1}/2024,{'yn'[i % 2]}"),
        {"time": "b"},
        "time 'b' holds '1/1/2024'",
        "2024-01-31",
        "Write it",
    ),
    "not an image": (
        rows(plain),
        {"layout": (1, 8, 8)},
        "1 x 8 x 8 has 64 values",
        "has 2 feature columns",
        "Give the layout that fits",
    ),
    "an image of text": (
        rows(lambda i: f"t{i % 3},{i % 7},{'yn'[i % 2]}"),
        {"layout": (1, 1, 2)},
        "'a' holds text",
        "numbers only",
        "Leave off",
    ),
}

RECIPES: dict[str, tuple[Any, ...]] = {
    "task": ({"task": "clasification"}, "task='clasification' is not known", "Did you mean 'classification'?"),
    "missing": ({"missing": "imput"}, "missing='imput' is not known", "Did you mean 'impute'?"),
    "layout": ({"layout": "image"}, "layout='image' is not known", "(channels, height, width)"),
    "flat layout": ({"layout": (8, 8)}, "layout=(8, 8) is no image", "(1, 8, 8)"),
    "fractions": (
        {"validation_share": 0.5, "test_share": 0.5},
        "validation_share=0.5 and test_share=0.5",
        "together they are less than 1",
        "0.2",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_cannot_be_learned_from(case: str) -> None:
    text, options, *parts = TABLES[case]
    holds(message(DataError, lambda: load_table(io.StringIO(text), **{"target": "y"} | options)), *parts)


@pytest.mark.parametrize("case", RECIPES)
def test_arguments_that_are_unknown(case: str) -> None:
    options, *parts = RECIPES[case]
    holds(message(RecipeError, lambda: load_table(io.StringIO(rows(plain)), **{"target": "y"} | options)), *parts)


def test_a_word_that_stands_for_missing() -> None:
    text = rows(lambda i: f"{'?' if i % 3 == 0 else i * 0.5},{i % 7},{'yn'[i % 2]}")
    said = message(DataError, lambda: load_table(io.StringIO(text), target="y"))
    holds(said, "'a' holds numbers", "lines 2, 5, 8, 11, 14 and 9 more", "'?'", "empty the cell")


def test_frames_that_cannot_be_used() -> None:
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    holds(message(DataError, lambda: load_table(twice, target="a")), "one name: 'a'", "its own name")
    holds(message(DataError, lambda: load_table(pd.DataFrame({"a": []}), target="a")), "0 rows", "needs examples")
    frame = pd.DataFrame({"a": [0.5, float("inf"), 2.0, 3.0], "y": list("uvuv")})
    holds(message(DataError, lambda: load_table(frame, target="y")), "'a' is infinite", "row 1")


def test_unknown_bundled_data() -> None:
    holds(message(DataError, lambda: bundled("digit")), "no bundled data 'digit'", "Did you mean 'digits'?")


def test_a_class_only_in_the_test_file() -> None:
    train, test = io.StringIO(rows(plain)), io.StringIO(rows(but(7, "1,2,unseen")))
    said = message(DataError, lambda: load_table(train, target="y", test_path=test))
    holds(said, "'y' holds 'unseen' in line 7", "('n', 'y')", "only in the test data", "leave them out")


def test_a_test_file_of_other_columns() -> None:
    train, test = io.StringIO(rows(plain)), io.StringIO(rows(plain, "a,bb,y"))
    said = message(DataError, lambda: load_table(train, target="y", test_path=test))
    holds(said, "lacks column 'b'", "it has 'a', 'bb', 'y'", "Rename", "Did you mean 'bb'?")


@pytest.fixture
def train() -> TableSource:
    text = rows(lambda i: f"{i * 0.5},{'uvw'[i % 3]},{'yn'[i % 2]}")
    with collecting():
        return load_table(io.StringIO(text), target="y").train


def test_rows_to_predict_that_do_not_fit(train: TableSource) -> None:
    frame, encoding = train.rows.head(3), train.encoding
    cases: dict[str, tuple[pd.DataFrame, tuple[str, ...]]] = {
        "text": (
            frame.assign(a=["1", "x", "2"]),
            ("'a' holds numbers", f"line {frame.index[1]} has the text 'x'", "Write a number"),
        ),
        "infinite": (frame.assign(a="inf"), ("'a' is infinite", "lines", "Correct these cells")),
        "missing": (frame.assign(b=None), ("3 cells are missing", "'b' 3", "--missing error", "--missing impute")),
        "column": (frame.drop(columns="a"), ("lacks column 'a'", "'b', 'y'", "Rename or add")),
        "no rows": (frame.head(0), ("frame is empty: 0 rows, 3 columns", "needs examples")),
        "one name": (pd.concat([frame, frame[["a"]]], axis=1), ("several columns of one name: 'a'", "its own name")),
        "far": (frame.assign(a="1e300"), ("'a' holds 1e+300", "too far", "logarithmic")),
    }
    for rows_, parts in cases.values():
        holds(message(DataError, lambda rows_=rows_: encoding.inputs(rows_)), *parts)
    said = message(DataError, lambda: encoding.targets(frame.assign(y=["y", "n", ""])))
    holds(said, "target 'y' is missing", f"line {frame.index[2]}", "never imputed", "leave out")


def test_outputs_that_do_not_fit(train: TableSource) -> None:
    frame, encoding = train.rows.head(3), train.encoding
    said = message(RecipeError, lambda: prediction_frame(frame, encoding, torch.zeros(3, 5)))
    holds(said, "gives (5,)", "target y needs 2", "outputs=2")
    said = message(DataError, lambda: prediction_frame(frame, encoding, torch.zeros(2, 2)))
    holds(said, "2 outputs for 3 rows", "one output for each row")
