"""Tables: what is read is what was written, what is encoded is what scikit-learn would encode, and nothing leaks."""

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
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from thalweg.core.folds import folds
from thalweg.core.notices import collecting
from thalweg.core.source import Batched, Described, Fitted, Indexed, Restoring, Source
from thalweg.data import (
    BUNDLED,
    Encoding,
    Kind,
    TableSource,
    TargetKind,
    bundled,
    load_table,
    prediction_frame,
    read_table,
)
from thalweg.data.notation import Notation

ROWS = 37


def table(*columns: str, rows: int = ROWS, **cells: Any) -> io.StringIO:
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


def test_rows_without_any_value_are_left_out_and_said() -> None:
    with collecting() as notices:
        assert len(read_table(io.StringIO("a,b\n1,2\n,\n3,4\n"))) == 2
    assert "line 3" in notices[0]


def test_no_header_names_the_columns() -> None:
    assert read_table(io.StringIO("1,2\n3,4\n"), header=False).columns.tolist() == ["c0", "c1"]


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
    assert columns_of(train) == {"size": number, "place": category, "zip": category, "flag": category, "day": category}
    assert train.schema.columns[1].categories == ("NA", "Oslo", "Rome")
    assert train.schema.columns[2].categories[0] == "00000"
    left_out = dict(train.schema.left_out)
    assert set(left_out) == {"patient_id", "same", "name", "void"}
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
    assert sum("writes its numbers otherwise" in said for said in notices) == 4


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


# --- encoding ---------------------------------------------------------------------------------------------------------


def example() -> tuple[TableSource, pd.DataFrame]:
    frame = read_table(
        table(
            size=lambda i: i * i * 0.5,
            kind=lambda i: "abcbc"[i % 5],
            big=lambda i: 1e6 + i % 11,
            y=lambda i: 100 - 3.5 * i,
        )
    )
    return loaded(frame)[0], frame


def test_the_encoding_is_that_of_scikit_learn() -> None:
    train, frame = example()
    rows = train.rows
    numbers = StandardScaler().fit(rows[["size", "big"]].astype(float)).transform(frame[["size", "big"]].astype(float))
    slots = OneHotEncoder(sparse_output=False).fit(frame[["kind"]]).transform(frame[["kind"]])
    expected = torch.tensor(np.hstack([numbers, slots]), dtype=torch.float32)
    torch.testing.assert_close(train.encoding.inputs(frame), expected, rtol=1e-6, atol=1e-6)
    assert train.encoding.feature_names == ["size", "big", "kind=a", "kind=b", "kind=c"]
    target = StandardScaler().fit(rows[["y"]].astype(float)).transform(frame[["y"]].astype(float))
    torch.testing.assert_close(train.encoding.targets(frame), torch.tensor(target, dtype=torch.float32))
    torch.testing.assert_close(
        train.restore(train.encoding.targets(frame)),
        torch.tensor(frame[["y"]].astype(float).to_numpy(), dtype=torch.float32),
    )


def test_a_source_keeps_every_protocol_of_core() -> None:
    train, _ = example()
    for protocol in (Source, Indexed, Batched, Described, Fitted, Restoring):
        assert isinstance(train, protocol), protocol


def test_statistics_come_from_training_rows_alone_in_every_fold() -> None:
    train, _ = example()
    for kept, judged in folds(train, 3, seed=0):
        fitted = train.fit(kept)
        values = train.rows["size"].astype(float).to_numpy()
        assert fitted.encoding.means[0] == pytest.approx(values[kept].mean())
        assert fitted.encoding.means[0] != pytest.approx(values.mean())
        (x, y), *_ = fitted.take(judged).batches(0, 0, None)
        torch.testing.assert_close(x, fitted.encoding.inputs(train.rows.iloc[judged]))
        assert (x.shape[1], y.shape) == (train.encoding.width, (len(judged), 1))


def test_subsets_of_subsets_are_the_same_rows() -> None:
    train, _ = example()
    part = train.take([5, 3, 11]).take([2, 0])
    assert part.rows.index.tolist() == train.rows.index[[11, 5]].tolist() == part.meta([0, 1])["row"].tolist()
    (x, _), *_ = part.batches(0, 0, None)
    (whole, _), *_ = train.batches(0, 0, None)
    assert torch.equal(x, whole[[11, 5]])
    assert torch.equal(part.batched(1).arrays.data[0], x)


def test_what_training_never_saw_encodes_as_zeros() -> None:
    frame = pd.DataFrame({"kind": ["a", "a", "b", "c"], "size": [2.0, 2.0, 5.0, 2.0], "y": [0.5, 1.5, 2.5, 3.0]})
    whole, _ = loaded(frame, validation_share=0, test_share=0)
    fitted = whole.fit([0, 1])
    (x, _), *_ = fitted.batches(0, 0, None)
    assert fitted.encoding.width == whole.encoding.width == 4
    assert x.tolist() == [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    with collecting() as notices:
        fitted.encoding.inputs(pd.DataFrame({"size": [2], "kind": ["zebra"]}))
    assert "'zebra' in row 0" in notices[0]


def test_numbers_near_the_limits_stay_finite() -> None:
    for power in (300, -310):
        train, _ = loaded(table(a=lambda i, power=power: f"{i}.5e{power}", b=lambda i: 1e9 + i * 1e-3, y=yes_no))
        (x, _), *_ = train.batches(0, 0, None)
        torch.testing.assert_close(x.std(0, correction=0), torch.ones(2), rtol=1e-3, atol=1e-3)


def test_missing_cells_are_dropped_or_imputed() -> None:
    def text() -> io.StringIO:
        return table(
            a=lambda i: "" if i == 4 else "NA" if i == 9 else i * 0.5,
            k=lambda i: "" if i == 9 else "uv"[i % 2],
            free=lambda i: "" if i == 11 else f"text {i}",
            y=yes_no,
        )

    dropped, notices = loaded(text(), missing="drop", validation_share=0, test_share=0)
    assert len(dropped) == ROWS - 2
    assert "2 of 37 rows" in notices[0]
    imputed, _ = loaded(text(), missing="impute", validation_share=0, test_share=0)
    assert imputed.encoding.feature_names == ["a", "a (missing)", "k=u", "k=v", "k (missing)"]
    (x, _), *_ = imputed.batches(0, 0, None)
    assert x[9].tolist() == [0, 1, 0, 0, 1]
    assert imputed.encoding.means[0] == pytest.approx(np.mean([i * 0.5 for i in range(ROWS) if i not in (4, 9)]))


def test_an_image_keeps_all_its_pixels_under_one_scale() -> None:
    digits = bundled("digits")
    train = load_table(digits.frame, target=digits.target, task=digits.task, layout=digits.layout).train
    x, y = train.arrays.data
    assert (tuple(x.shape[1:]), y.dtype, train.encoding.input_shape) == ((1, 8, 8), torch.int64, (1, 8, 8))
    assert (float(x.mean()), float(x.std())) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-3))
    pixels = train.rows.drop(columns="digit").to_numpy(float)
    assert torch.allclose(
        x.flatten(1), torch.tensor((pixels - pixels.mean()) / pixels.std(), dtype=torch.float32), atol=1e-5
    )


def test_weights_ride_beside_the_targets() -> None:
    train, _ = loaded(table(a=lambda i: i * 0.5, w=lambda i: i % 3, y=yes_no), weights="w")
    (x, (y, w)), *_ = train.batches(0, 0, None)
    assert (x.shape[1], y.dtype) == (1, torch.int64)
    assert w.tolist() == train.rows["w"].astype(float).tolist()


def test_meta_tells_label_group_and_time() -> None:
    grouped, _ = loaded(table(g=lambda i: f"p{i % 9}", a=lambda i: i * 0.5, y=yes_no), group="g")
    meta = grouped.meta(np.arange(3))
    assert set(meta) == {"label", "group", "row"}
    assert meta["group"].tolist() == grouped.rows["g"].head(3).tolist()
    assert list(columns_of(grouped)) == ["a"]
    timed, _ = loaded(table(t=lambda i: f"2024-03-{i % 30 + 1:02d}T12:00", a=lambda i: i * 0.5, y=yes_no), time="t")
    assert np.diff(np.sort(timed.meta(np.arange(len(timed)))["time"])).max() == 86400


def test_a_fingerprint_is_of_the_content() -> None:
    one, frame = example()
    two, _ = loaded(frame)
    assert one.fingerprint() == two.fingerprint() != one.take(range(5)).fingerprint()


def test_prediction_needs_only_json(tmp_path: Path) -> None:
    for name in BUNDLED:
        data = bundled(name)
        train = load_table(data.frame, target=data.target, task=data.task, seed=3).train
        (tmp_path / "encoding.json").write_text(json.dumps(train.encoding.to_json()))
        again = Encoding.from_json(json.loads((tmp_path / "encoding.json").read_text()))
        assert again == train.encoding
        shuffled = data.frame[list(reversed(data.frame.columns))].assign(extra="ignored")
        assert torch.equal(again.inputs(shuffled), train.encoding.inputs(data.frame))
        assert torch.equal(again.targets(shuffled), train.encoding.targets(data.frame))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=9, unique=True),
    st.lists(st.sampled_from(["a", "b c", "ü", "NA", "nan", "="]), min_size=9, max_size=9),
)
def test_encodings_survive_json_exactly(numbers: list[float], texts: list[str]) -> None:
    frame = pd.DataFrame({"n": numbers, "k": texts[: len(numbers)], "y": np.arange(len(numbers)) * 0.3})
    encoding = load_table(frame, target="y", validation_share=0, test_share=0, task="regression").train.encoding
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


def test_numbers_and_their_texts_encode_alike() -> None:
    frame = bundled("wine").frame
    text = read_table(io.StringIO(frame.to_csv(index=False)))
    one, two = (load_table(data, target="cultivar").train for data in (frame, text))
    assert one.encoding == two.encoding
    assert torch.equal(one.arrays.data[0], two.arrays.data[0])


# --- predictions ------------------------------------------------------------------------------------------------------


def test_predictions_keep_the_columns_and_the_labels_type() -> None:
    train, _ = loaded(table(a=lambda i: i * 0.5, id=lambda i: f"{i:03d}", y=lambda i: i % 3 + 5))
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    frame = train.rows.head(2)
    told = prediction_frame(frame, train.encoding, logits, all_probabilities=True, temperature=2.0)
    assert told.columns.tolist() == [
        "a",
        "id",
        "y",
        "prediction",
        "probability",
        "probability_5",
        "probability_6",
        "probability_7",
    ]
    assert told["prediction"].tolist() == [6, 5]
    assert told["probability"].iloc[0] == pytest.approx(float(torch.softmax(logits[0] / 2, 0)[1]))
    assert told.drop(columns=told.columns[3:]).equals(frame)


def test_predictions_of_numbers_are_in_their_own_units() -> None:
    train, frame = example()
    told = prediction_frame(frame, train.encoding, train.encoding.targets(frame))
    np.testing.assert_allclose(told["prediction"], frame["y"].astype(float), rtol=1e-5, atol=1e-4)
    pair, _ = loaded(table(a=lambda i: i * 0.1, p=lambda i: i * 3.0, q=lambda i: i * 7.0), "p,q")
    told = prediction_frame(pair.rows, pair.encoding, pair.arrays.data[1])
    assert told.columns.tolist()[-2:] == ["prediction_p", "prediction_q"]


def test_one_score_for_two_classes_is_a_sigmoid() -> None:
    train, _ = loaded(table(a=lambda i: i * 0.5, y=yes_no))
    told = prediction_frame(train.rows.head(2), train.encoding, torch.tensor([[2.0], [-1.0]]))
    assert told["prediction"].tolist() == ["yes", "no"]
    assert told["probability"].tolist() == pytest.approx([torch.sigmoid(torch.tensor(v)).item() for v in (2.0, 1.0)])


def test_a_column_named_prediction_is_kept() -> None:
    train, _ = loaded(table(a=lambda i: i * 0.5, prediction=lambda i: i % 4, y=yes_no))
    with collecting() as notices:
        told = prediction_frame(train.rows.head(2), train.encoding, torch.zeros(2, 2))
    assert told.columns.tolist()[-2:] == ["prediction_2", "probability_2"]
    assert "'prediction_2'" in notices[0]


# --- other tables -----------------------------------------------------------------------------------------------------


def test_a_test_file_is_encoded_by_the_training_file(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(table(a=lambda i: i * 0.25, y=yes_no, extra=lambda i: "x", rows=5).getvalue())
    splits = load_table(table(a=lambda i: i * 0.5, y=yes_no), target="y", test_path=tmp_path / "test.csv")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (30, 7, 5)
    assert splits.test.encoding == splits.train.encoding


def test_rows_that_lack_a_value_are_dropped_from_other_files_too() -> None:
    train, _ = loaded(table(a=lambda i: i * 0.5 if i else "", b=lambda i: i % 7, y=yes_no), missing="drop")
    other = read_table(table(a=lambda i: i * 0.5 if i != 2 else "", b=lambda i: i, y=yes_no, rows=5))
    assert TableSource.of(other, train.encoding).rows.index.tolist() == [2, 3, 5, 6]


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
