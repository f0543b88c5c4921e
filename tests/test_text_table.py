"""Tables with a text: which column it is, what is read of it, and what the splits hold."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import collecting
from thalweg.core.tokens import UNKNOWN
from thalweg.data import load_table, prediction_frame
from thalweg.data.text_table import LONGEST, judged_texts, text_column, text_splits

N = 40
FRAME = pd.DataFrame(
    {
        "mail": [f"{'free money' if i % 2 else 'see you'} at number {i}" for i in range(N)],
        "spam": [i % 2 for i in range(N)],
    }
)


def csv(frame: pd.DataFrame, **how: Any) -> io.StringIO:
    return io.StringIO(frame.to_csv(index=False, **how))


def test_a_file_and_a_frame_give_the_same() -> None:
    whole, tabs = text_splits(csv(FRAME), target="spam"), text_splits(csv(FRAME, sep="\t"), target=-1)
    frame = text_splits(FRAME, target="spam")
    assert whole.train.fingerprint() == tabs.train.fingerprint() == frame.train.fingerprint()
    assert [len(split) for split in (whole.train, whole.validation, whole.test)] == [24, 8, 8]


def test_parquet(tmp_path: Any) -> None:
    FRAME.to_parquet(tmp_path / "mails.parquet")
    assert text_splits(tmp_path / "mails.parquet", target="spam").train.fingerprint() == (
        text_splits(FRAME, target="spam").train.fingerprint()
    )


def test_the_vocabulary_is_of_the_training_texts_alone() -> None:
    splits = text_splits(FRAME, target="spam", fewest=1)
    known = {word for text in splits.train.rows["mail"] for word in text.split()}
    assert set(splits.train.encoding.vocabulary.tokens[4:]) == known
    for split in (splits.validation, splits.test):
        assert split.encoding is splits.train.encoding
        assert (split.sequences.values == UNKNOWN).sum() == len(split)


def test_splits_are_those_of_the_table() -> None:
    table = load_table(FRAME.assign(size=np.arange(N) * 1.5), target="spam", seed=3)
    splits = text_splits(FRAME, target="spam", seed=3)
    for name in ("train", "validation", "test"):
        assert (
            getattr(splits, name).meta(range(8))["row"].tolist() == getattr(table, name).meta(range(8))["row"].tolist()
        )


def test_what_was_decided_is_said() -> None:
    with collecting() as said:
        text_splits(FRAME.assign(size=1.5), target="spam")
    text = " ".join(said)
    assert "The text is column 'mail' (--text names another)." in text
    assert "Column left out: 'size': only the text is read." in text
    assert "The target 'spam' has 2 different whole numbers" in text
    assert "'mail' has 5 words a text, by the median: read as words" in text
    assert "Split: train 24 rows; validation 8 rows; test 8 rows." in text
    assert "Unknown: 20.00% of the 120 tokens of the train split." in text


def test_names_are_read_by_their_characters() -> None:
    names = pd.DataFrame(
        {"name": [f"{'Ivan' if i % 2 else 'Piet'}{chr(97 + i // 2)}" for i in range(N)], "from": ["nl", "ru"] * 20}
    )
    assert text_splits(names, target="from").train.encoding.vocabulary.unit == "characters"


@pytest.mark.parametrize("unit", ["words", "characters", "subwords"])
def test_each_unit(unit: str) -> None:
    splits = text_splits(FRAME, target="spam", unit=unit, size=300, tokens=200)
    assert splits.train.encoding.vocabulary.unit == unit
    for (values, lengths), y in splits.train.batches(1, 0, torch.Generator().manual_seed(0)):
        assert values.numel() <= 200
        assert len(lengths) == len(y)


def test_numbers_are_predicted_too() -> None:
    frame = FRAME.assign(spam=np.arange(N) * 1.25)
    train = text_splits(frame, target="spam").train
    y = next(train.batches(1, 0, None))[1]
    assert train.encoding.task == "regression"
    np.testing.assert_allclose(train.restore(y)[:, 0], train.rows["spam"], atol=1e-4)


def test_groups_and_times_are_kept_apart() -> None:
    groups = text_splits(FRAME.assign(sender=[f"s{i // 4}" for i in range(N)]), target="spam", group="sender")
    assert not set(groups.train.meta(range(len(groups.train)))["group"]) & set(groups.test.rows["sender"])
    times = text_splits(FRAME.assign(day=np.arange(N)), target="spam", time="day")
    assert times.train.rows["day"].max() < times.validation.rows["day"].min() < times.test.rows["day"].min()


def test_a_test_file() -> None:
    splits = text_splits(csv(FRAME), target="spam", test_path=csv(FRAME[:5]))
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [32, 8, 5]
    assert splits.test.encoding is splits.train.encoding


def test_booleans_stay_booleans() -> None:
    assert text_splits(FRAME.assign(spam=FRAME["spam"] == 1), target="spam").train.encoding.labels == (False, True)


HOLES = FRAME.assign(mail=[None, " ", *FRAME["mail"][2:]])


def test_missing_texts() -> None:
    with pytest.raises(
        DataError, match="The text 'mail' is missing in lines 2 and 3. .* --missing drop .* --missing impute"
    ):
        text_splits(csv(HOLES), target="spam")
    with collecting() as said:
        assert sum(map(len, vars(text_splits(HOLES, target="spam", missing="drop")).values())) == N - 2
    assert "2 of 40 rows lack their text and are left out (rows 0 and 1)." in said
    imputed = text_splits(HOLES, target="spam", missing="impute", validation_share=0, test_share=0).train
    assert [imputed.sequences[i].tolist() for i in (0, 1)] == [[UNKNOWN], [UNKNOWN]]


def test_predicting_needs_no_target() -> None:
    encoding = text_splits(FRAME, target="spam").train.encoding
    new = pd.DataFrame({"mail": ["free money", None, "never seen words"]})
    with collecting() as said:
        source = judged_texts(new, encoding, labelled=False)
    assert "1 empty text of 'mail' is read as one unknown token (row 1)." in said
    values, lengths = source.inputs(torch.arange(3))
    assert lengths.tolist() == [2, 1, 3]
    assert torch.equal(values, encoding.inputs(["free money", "", "never seen words"])[0])
    told = prediction_frame(source.rows, encoding, torch.tensor([[0.0, 9.0], [9.0, 0.0], [9.0, 0.0]]))
    assert told["prediction"].tolist() == [1, 0, 0]


def test_judging_another_file() -> None:
    splits = text_splits(FRAME, target="spam", missing="drop")
    assert len(judged_texts(csv(FRAME), splits.train.encoding)) == N
    assert len(judged_texts(HOLES, splits.train.encoding)) == N - 2
    with pytest.raises(DataError, match="lacks column 'mail'"):
        judged_texts(FRAME.rename(columns={"mail": "text"}), splits.train.encoding)
    with pytest.raises(DataError, match="which is no class that the model was trained for"):
        judged_texts(FRAME.assign(spam=7), splits.train.encoding)


def test_which_column_is_the_text() -> None:
    wide = FRAME.assign(id=[f"A-{i}" for i in range(N)], code=[f"x{i}" for i in range(N)])
    assert text_column(wide, "spam") == "mail"
    assert text_column(wide.assign(kind=["a", "b"] * 20), "spam") is None
    assert text_column(FRAME.assign(day=[f"2024-01-{i % 28 + 1:02d}" for i in range(N)]), "spam") == "mail"
    assert text_column(FRAME.assign(reply=FRAME["mail"] + "!"), "spam") is None
    assert text_splits(wide, target="spam", text="code", fewest=1).train.schema.text == "code"


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            {"reply": FRAME["mail"] + "!"},
            {},
            "Of the columns 'mail', 'reply' 'mail', 'reply' all are mostly different texts",
        ),
        ({"mail": ["a", "b"] * 20}, {}, "Of the columns 'mail' none is mostly different texts"),
        ({}, {"text": "mial"}, "There is no column 'mial' for --text. Did you mean 'mail'?"),
        ({}, {"text": "spam"}, "Column 'spam' cannot be the text and a target"),
        ({"mail": None}, {"text": "mail"}, "Column 'mail' has no texts: every cell is empty"),
        ({"spam": None}, {}, "The target 'spam' has no values"),
        ({"spam": 1}, {}, "has only one class"),
    ],
)
def test_data_that_cannot_be_used(change: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        text_splits(FRAME.assign(**change), **{"target": "spam", **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"unit": "word"}, "Did you mean 'words'"), ({"tokens": 0}, "tokens=0"), ({"longest": 0}, "longest=0, but it is")],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        text_splits(FRAME, target="spam", **arguments)


def test_an_endless_text_is_cut_off_and_that_is_said() -> None:
    frame = FRAME.assign(mail=[*FRAME["mail"][:-1], "word " * 100_000])
    with collecting() as said:
        splits = text_splits(frame, target="spam")
        judged = judged_texts(frame, splits.train.encoding)
    assert max(split.lengths.max() for split in (splits.train, splits.validation, splits.test)) == LONGEST
    assert judged.lengths.max() == LONGEST
    assert sum(f"cut off after {LONGEST:,} positions (data.longest)" in each for each in said) == 2
    whole = text_splits(frame, target="spam", longest=None)
    assert max(split.lengths.max() for split in (whole.train, whole.validation, whole.test)) == 100_000
