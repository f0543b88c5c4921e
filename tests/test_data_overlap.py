"""Checks of splits: what stands in two of them, and groups and times that are in both."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from asked import digits, indexed, names, normal, split
from rows import rows_in, rows_of

from thalweg import cases
from thalweg.data import load_table
from thalweg.diagnosis.checks import scales, splits_overlap
from thalweg.diagnosis.checks.data import data_flaws
from thalweg.diagnosis.checks.data_rows import read_rows
from thalweg.diagnosis.flaw import Raises

# --- splits that overlap ----------------------------------------------------------------------------------------------


def test_equal_images_in_train_and_test_are_said() -> None:
    x, y = digits()
    ours, test = rows_of(x[:800], y[:800]), (x[800:1200].copy(), y[800:1200])
    assert splits_overlap.shared_inputs(ours, rows_of(*test, "test")) == []
    test[0][7:27] = x[100:120]
    (flaw,) = splits_overlap.shared_inputs(ours, rows_of(*test, "test"))
    assert flaw.number == 0.05
    assert "example 7 of test is example 100 of train" in flaw.says
    assert flaw.raises is Raises.NONE_SEEN


def test_few_values_repeat_by_chance() -> None:
    draw = np.random.default_rng(0)
    few = [draw.integers(0, 2, (300, 3)).astype(np.float32) for _ in range(2)]
    y = draw.integers(0, 2, 300)
    ours, other = rows_of(few[0], y), rows_of(few[1], y, "validation")
    assert splits_overlap.shared_inputs(ours, other) == splits_overlap.nearly_shared(ours, other) == []
    assert splits_overlap.contradictions(ours) == []


def test_copies_that_hardly_differ_are_found() -> None:
    x, y = digits()
    ours, other = rows_of(x[:800], y[:800]), x[800:1200].copy()
    assert splits_overlap.nearly_shared(ours, rows_of(other, y[800:1200], "validation")) == []
    other[:40] = x[:40] + 0.001 * normal(40, 64).reshape(40, 1, 8, 8)
    (flaw,) = splits_overlap.nearly_shared(ours, rows_of(other, y[800:1200], "validation"))
    assert flaw.number == 0.1
    assert "example 0 of validation is near example 0 of train" in flaw.says


def test_equal_inputs_with_other_labels() -> None:
    x, y = normal(200, 3), np.arange(200) % 2
    x[100:110] = x[:10]
    assert splits_overlap.contradictions(rows_of(x, y)) == []
    y[100:110] = 1 - y[:10]
    (flaw,) = splits_overlap.contradictions(rows_of(x, y))
    assert flaw.number == 0.05
    assert flaw.raises is Raises.TRAIN
    assert "class 0" in flaw.says


def test_heavy_tails_are_not_taken_for_another_standardization() -> None:
    x = np.random.default_rng(1001).standard_cauchy((700, 4))
    ours, validation, test = split(x, np.arange(700) % 2, seed=1)
    for name, judged in (("validation", validation), ("test", test)):
        assert scales.prepared_otherwise(rows_of(*ours), rows_of(*judged, name)) == []


@pytest.mark.parametrize(("name", "seen"), [("healthy", []), ("shifted-test", ["test of another kind than train"])])
def test_the_cases_have_no_other_flaw_in_their_data_than_their_own(name: str, seen: list[str]) -> None:
    recipe = cases.get(name)
    ours, validation, test = (indexed(getattr(recipe.data, split)) for split in ("train", "validation", "test"))
    assert names(data_flaws(recipe, ours, validation, test)) == seen


def test_groups_and_times_of_a_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": normal(300, 1)[:, 0], "y": np.arange(300) % 2, "who": np.arange(300) // 3})
    frame["when"] = np.random.default_rng(0).permutation(300)
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    for option, check, mechanism in (
        ("group", splits_overlap.shared_groups, "groups of train in validation"),
        ("time", splits_overlap.time_backwards, "train is later than validation"),
    ):
        features = ["size"]
        column = {"group": "who", "time": "when"}[option]
        held = load_table(path, target="y", features=features, **{option: column})
        ours, other = (read_rows(part, name) for part, name in ((held.train, "train"), (held.validation, "validation")))
        assert ours is not None
        assert other is not None
        assert option in ours.known
        assert check(ours, other) == []
        mixed = held.train
        ids = np.random.default_rng(0).permutation(len(mixed))
        ours, other = read_rows(mixed.take(ids[:120]), "train"), read_rows(mixed.take(ids[120:]), "validation")
        assert ours is not None
        assert other is not None
        assert names(check(ours, other)) == [mechanism]


def test_validation_of_known_groups_is_not_called_a_mistake_where_test_has_new_ones(tmp_path: Path) -> None:
    group = np.arange(300) // 100
    frame = pd.DataFrame({"size": normal(300, 1)[:, 0], "y": np.arange(300) % 2, "who": group, "who is it": group})
    frame.to_csv(tmp_path / "t.csv", index=False)
    shares = {"validation_share": 0, "test_share": 0}
    whole = load_table(tmp_path / "t.csv", target="y", features=["size"], group="who", **shares).train
    ids = np.random.default_rng(0).permutation(200)
    parts = {"train": ids[:150], "validation": ids[150:], "new": np.arange(200, 300), "mixed": np.arange(150, 300)}
    rows = {name: rows_in(whole.take(places), name) for name, places in parts.items()}
    (alone,) = splits_overlap.shared_groups(rows["train"], rows["validation"])
    (mixed,) = splits_overlap.shared_groups(rows["train"], rows["validation"], rows["mixed"])
    assert "Split by group" in alone.mend == mixed.mend
    (flaw,) = splits_overlap.shared_groups(rows["train"], rows["validation"], rows["new"])
    assert flaw.number == alone.number == 1
    assert "2 groups of 'who', such as '0', '1'), while every group of test is new: the validation loss is" in flaw.says
    assert flaw.mend.startswith(
        "Where new groups count, hold whole groups out for validation too (--set data.group=who)"
    )
    again = load_table(tmp_path / "t.csv", target="y", features=["size"], group="who is it", **shares).train
    train, validation, new = (rows_in(again.take(parts[name]), name) for name in ("train", "validation", "new"))
    (flaw,) = splits_overlap.shared_groups(train, validation, new)
    assert "(--set 'data.group=who is it')" in flaw.mend
