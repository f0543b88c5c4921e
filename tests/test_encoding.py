"""Rows to tensors and back: as scikit-learn would encode them, from training rows alone, and kept in JSON."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from test_tables import ROWS, columns_of, loaded, table, yes_no

from thalweg.core.folds import folds
from thalweg.core.notices import collecting
from thalweg.core.source import Batched, Described, Fitted, Indexed, Restoring, Source
from thalweg.data import (
    BUNDLED,
    Encoding,
    TableSource,
    bundled,
    load_table,
    prediction_frame,
    read_table,
)

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
        torch.tensor(frame[["y"]].astype(float).to_numpy()),
        rtol=1e-6,
        atol=1e-5,
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
