"""Checks of data: each finds the fault that is put in, and is silent on the repaired twin and on healthy data."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rows import rows_in, rows_of
from sklearn import datasets
from torch import nn
from torch.utils.data import TensorDataset

from thalweg import cases
from thalweg.core.convert import as_source
from thalweg.core.source import Splits
from thalweg.data import Augment, Augmented, load_table
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks import classes, columns, label_noise, scales, splits_overlap
from thalweg.diagnosis.checks.data import data_flaws
from thalweg.diagnosis.checks.data_rows import Rows, read_rows
from thalweg.diagnosis.checks.destroyed import destroyed_signal
from thalweg.diagnosis.checks.label_leak import label_leak
from thalweg.diagnosis.checks.opinions import Opinions, opinions
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.training import Outcome, Recipe, train

Pair = tuple[Any, Any]


def names(flaws: Any) -> list[str]:
    return [flaw.mechanism for flaw in flaws]


def recipe_of(data: Splits, inputs: int, outputs: int, loss: Any = None, **changes: Any) -> Recipe:
    model = changes.pop("model", lambda: nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.Linear(8, outputs)))
    return Recipe(data=data, model=model, objective=loss or nn.CrossEntropyLoss(), **changes)


def asked(train_split: Any, validation: Any, test: Any = None, **more: Any) -> tuple[Flaw, ...]:
    sources = [None if each is None else as_source(each, "train") for each in (train_split, validation, test)]
    x, y = next(iter(sources[0].batches(0, 0, None)))
    outputs = 10 if not y.is_floating_point() else 1
    loss = nn.CrossEntropyLoss() if not y.is_floating_point() else nn.MSELoss()
    data = Splits(train=train_split, validation=validation, test=test)
    recipe = recipe_of(data, int(np.prod(x.shape[1:])), outputs, more.pop("loss", loss), **more)
    return data_flaws(recipe, *sources)


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def split(x: np.ndarray, y: np.ndarray, seed: int = 0) -> tuple[Pair, Pair, Pair]:
    """Three fifths, one and one, standardized by the first."""
    order = np.random.default_rng(seed).permutation(len(y))
    a, b = int(0.6 * len(y)), int(0.8 * len(y))
    mean, scale = x[order[:a]].mean(0), x[order[:a]].std(0)
    x = ((x - mean) / np.where(scale > 0, scale, 1)).astype(np.float32)
    first, second, third = order[:a], order[a:b], order[b:]
    return (x[first], y[first]), (x[second], y[second]), (x[third], y[third])


# --- reading ----------------------------------------------------------------------------------------------------------


def test_rows_are_the_examples_in_their_order_however_they_come() -> None:
    x, y = normal(50, 3), np.arange(50) % 2
    plain = rows_of(x, y)
    dataset = read_rows(as_source(TensorDataset(torch.from_numpy(x).double(), torch.from_numpy(y))), "train")
    assert dataset is not None
    np.testing.assert_array_equal(plain.hashes, dataset.hashes)
    np.testing.assert_allclose(plain.x, x)
    assert plain.table
    assert plain.classes
    assert plain.example(7) == "example 7"


def test_many_examples_are_kept_in_part_and_hashed_whole() -> None:
    x, y = normal(9001, 2), np.arange(9001)[:, None].astype(np.float32)
    rows = rows_of(x, y)
    assert rows.x is not None
    assert len(rows.x) == 3001
    assert len(rows.hashes) == 9001
    np.testing.assert_allclose(rows.y[:, 0], y[rows.kept, 0])
    np.testing.assert_allclose(rows.x, x[rows.kept])


def test_of_examples_that_must_be_decoded_a_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.diagnosis.checks.data_rows.MOST_DECODED", 20)
    x, y = normal(50, 2), np.arange(50) % 2
    examples = [(torch.from_numpy(row), int(label)) for row, label in zip(x, y, strict=True)]
    rows = read_rows(as_source(examples), "train")
    assert rows is not None
    assert rows.length == 50
    assert [rows.example(i) for i in range(3)] == ["example 0", "example 3", "example 6"]
    np.testing.assert_allclose(rows.x, x[::3])


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (np.array([0.0, 1.0] * 20, dtype=np.float32), "i"),
        (np.array([[0.0], [1.0]] * 20, dtype=np.float32), "i"),
        (np.array([[0.0, 1.0], [1.0, 0.0]] * 20, dtype=np.float32), "i"),
        (np.array([True, False] * 20), "i"),
        (normal(40, 2), "f"),
        (np.arange(40), "f"),
    ],
)
def test_targets_are_classes_or_numbers(y: np.ndarray, kind: str) -> None:
    targets = rows_of(normal(40, 3), y).targets
    assert targets is not None
    assert targets.dtype.kind == kind


def test_padding_of_another_length_does_not_hide_equal_sequences() -> None:
    short, long = torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([[5, 6, 0, 0], [1, 1, 1, 1]])
    one, other = rows_of(short, torch.tensor([0, 1])), rows_of(long, torch.tensor([0, 1]))
    assert one.tokens
    assert np.isin(other.hashes, one.hashes).tolist() == [True, False]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((normal(30, 2), normal(30, 3)), np.arange(30) % 2),
        ({"a": normal(30, 2)}, normal(30, 1)),
        (normal(30, 2), np.zeros((30, 4, 4, 4), dtype=np.float32)),
        (normal(1, 2), np.zeros(1, dtype=np.int64)),
        (np.zeros((30, 2), dtype=np.complex64), np.arange(30) % 2),
        (np.full((30, 2), np.nan, dtype=np.float32), np.full(30, np.nan, dtype=np.float32)),
        (np.zeros((30, 3, 8, 8), dtype=np.uint8), np.arange(30) % 2),
        (np.full((30, 2), 3e38, dtype=np.float32), np.arange(30) % 2),
        (normal(60, 1)[::2], -np.ones(30, dtype=np.int64)),
    ],
)
def test_no_input_makes_a_check_fail(x: Any, y: Any, caplog: pytest.LogCaptureFixture) -> None:
    source = as_source((x, y))
    recipe = recipe_of(Splits(train=(x, y)), 2, 2)
    with caplog.at_level(logging.INFO, "thalweg"):
        data_flaws(recipe, source, source, source)  # type: ignore[arg-type]
    assert "could not be asked" not in caplog.text


def test_a_check_that_fails_is_said_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> nn.Module:
        raise ValueError("no such net")

    x, y = normal(60, 2), np.arange(60) % 2
    source, recipe = as_source((x, y)), recipe_of(Splits(train=(x, y)), 2, 2, model=broken)
    with caplog.at_level(logging.INFO, "thalweg"):
        flaws = data_flaws(recipe, source, source)  # type: ignore[arg-type]
    assert "train examples in validation" in names(flaws)
    assert "input_scale could not be asked: ValueError: no such net" in caplog.text


# --- columns ----------------------------------------------------------------------------------------------------------


def test_numbers_that_are_none_are_counted() -> None:
    x, y = normal(100, 3), normal(100, 1)
    assert columns.not_finite(rows_of(x, y)) == []
    x[[3, 8], 1], y[5] = np.nan, np.inf
    inputs, targets = columns.not_finite(rows_of(x, y))
    assert inputs.number == 0.02
    assert "example 3, example 8 (counted from 0)" in inputs.says
    assert targets.number == 0.01
    assert "example 5" in targets.says
    assert inputs.raises is Raises.TRAIN
    assert inputs.sure is Sure.CERTAIN
    (elsewhere,) = columns.not_finite(rows_of(x, normal(100, 1), "test"))
    assert elsewhere.raises is Raises.TEST


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_placeholder_is_found_whatever_the_scale(scale: float) -> None:
    x = normal(300, 3)
    assert columns.placeholders(rows_of(x, normal(300, 1))) == []
    x[::30, 2] = -999
    (flaw,) = columns.placeholders(rows_of(scale * x, normal(300, 1)))
    assert "Input number 2" in flaw.says
    assert "10 of 300" in flaw.says
    assert flaw.number > 100


def test_a_placeholder_among_targets() -> None:
    y = normal(300, 1)
    y[:4] = 9999
    (flaw,) = columns.placeholders(rows_of(normal(300, 3), y))
    assert flaw.says.startswith("The target is 9999 in 4 of 300")


@pytest.mark.parametrize(
    "column",
    [
        np.exp(2 * normal(2000, 1)),
        normal(2000, 1) ** 5,
        np.clip(normal(2000, 1), -1, 1),
        np.where(normal(2000, 1) > 0, np.abs(normal(2000, 1, 1)), 0),
        (np.arange(2000)[:, None] % 3 == 0) * 1000.0,
        np.random.default_rng(0).standard_cauchy((2000, 1)),
    ],
)
def test_tails_clipped_and_few_values_are_no_placeholders(column: np.ndarray) -> None:
    x = np.concatenate([column, normal(2000, 1)], 1).astype(np.float32)
    assert columns.placeholders(rows_of(x, normal(2000, 1))) == []


def test_constant_and_repeated_columns_are_noted() -> None:
    x = normal(100, 4)
    assert columns.useless_columns(rows_of(x, normal(100, 1))) == []
    x[:, 1], x[:, 3] = 7, 2 * x[:, 0] + 1
    constant, twice = columns.useless_columns(rows_of(x, normal(100, 1)))
    assert "number 1" in constant.says
    assert "number 3 is number 0" in twice.says
    assert constant.raises is twice.raises is Raises.NONE_SEEN
    images = np.zeros((100, 1, 8, 8), dtype=np.float32)
    assert columns.useless_columns(rows_of(images, normal(100, 1))) == []


def test_rare_values_that_coincide_and_marks_of_gaps_are_no_copies() -> None:
    x = normal(100, 3)
    x[:, 1:] = 0
    x[7, 1], x[7, 2] = 1, 5
    assert columns.useless_columns(rows_of(x, normal(100, 1))) == []


def test_a_running_number_is_noted() -> None:
    x = normal(200, 3)
    assert columns.running_numbers(rows_of(x, normal(200, 1))) == []
    x[:, 1] = np.random.default_rng(0).permutation(400)[:200] * 0.01 - 2
    (flaw,) = columns.running_numbers(rows_of(x, normal(200, 1)))
    assert "number 1" in flaw.says
    assert flaw.number == pytest.approx(0.5, abs=0.05)
    x[:, 1] = np.random.default_rng(0).integers(0, 400, 200)
    assert columns.running_numbers(rows_of(x, normal(200, 1))) == []


# --- scales -----------------------------------------------------------------------------------------------------------


def scale_flaws(x: np.ndarray, **changes: Any) -> list[Flaw]:
    y = np.arange(len(x)) % 2
    data = Splits(train=(x, y))
    source = as_source((x, y))
    return scales.input_scale(recipe_of(data, int(np.prod(x.shape[1:])), 2, **changes), source, rows_of(x, y))  # type: ignore[arg-type]


def test_inputs_far_from_unit_scale() -> None:
    x = normal(200, 3)
    assert scale_flaws(x) == []
    x[:, 1] *= 1e4
    (flaw,) = scale_flaws(x)
    assert "input number 1" in flaw.says
    assert 5e3 < flaw.number < 2e4
    assert flaw.raises is Raises.TRAIN
    (flaw,) = scale_flaws(1e-4 * normal(200, 3))
    assert flaw.number < 1e-3
    pixels = np.random.default_rng(0).uniform(0, 255, (200, 1, 8, 8)).astype(np.float32)
    (flaw,) = scale_flaws(pixels)
    assert flaw.number > 100
    assert scale_flaws(pixels / 255) == []


@pytest.mark.parametrize("first", [lambda: nn.BatchNorm1d(3), lambda: nn.LayerNorm(3), lambda: Divided()])
def test_a_model_that_scales_its_inputs_is_excused(first: Callable[[], nn.Module]) -> None:
    assert scale_flaws(1000 * normal(200, 3), model=lambda: nn.Sequential(first(), nn.Linear(3, 2))) == []


class Divided(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 1000


@pytest.mark.parametrize(("mean", "scale", "found"), [(0, 1, False), (20, 5, False), (1e5, 3e4, True), (0, 1e-4, True)])
def test_targets_far_from_unit_scale(mean: float, scale: float, found: bool) -> None:
    x, y = normal(200, 3), (mean + scale * normal(200, 1, 1)).astype(np.float32)
    recipe = recipe_of(Splits(train=(x, y)), 3, 1, nn.MSELoss())
    flaws = scales.target_scale(recipe, as_source((x, y)), rows_of(x, y))  # type: ignore[arg-type]
    assert names(flaws) == ["targets far from unit scale"] * found
    assert scales.target_scale(recipe.but(objective=nn.CrossEntropyLoss()), as_source((x, y)), rows_of(x, y)) == []  # type: ignore[arg-type]


def digits() -> Pair:
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return (x[order] / 16).reshape(-1, 1, 8, 8).astype(np.float32), y[order]


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (lambda x: x / 255, "factor"),
        (lambda x: 1 - x, "negatives"),
        (lambda x: 255 * x, "range"),
        (lambda x: 2 * x - 1, "range"),
        (lambda x: (x - x.mean()) / x.std(), "standardization"),
    ],
)
def test_images_prepared_otherwise(change: Callable[[np.ndarray], np.ndarray], step: str) -> None:
    x, y = digits()
    ours = rows_of(x[:800], y[:800])
    assert scales.prepared_otherwise(ours, rows_of(x[800:1200], y[800:1200], "test")) == []
    (flaw,) = scales.prepared_otherwise(ours, rows_of(change(x[800:1200]), y[800:1200], "test"))
    assert flaw.mechanism == f"test prepared otherwise than train ({step})"
    assert flaw.raises is Raises.TEST


@pytest.mark.parametrize("change", [lambda x: 0.45 * x + 0.4, lambda x: np.roll(x, 1, 3), lambda x: x**2])
def test_a_real_shift_of_images_is_left_to_the_mismatch(change: Callable[[np.ndarray], np.ndarray]) -> None:
    x, y = digits()
    assert scales.prepared_otherwise(rows_of(x[:800], y[:800]), rows_of(change(x[800:]), y[800:], "test")) == []


def test_tables_prepared_otherwise() -> None:
    x, y = datasets.load_wine(return_X_y=True)
    (ours, validation, _) = split(x, y)
    mean, scale = x.mean(0), x.std(0)
    train_rows = rows_of(*ours)
    assert scales.prepared_otherwise(train_rows, rows_of(*validation, "validation")) == []
    (flaw,) = scales.prepared_otherwise(train_rows, rows_of(validation[0] * scale + mean, validation[1], "validation"))
    assert flaw.mechanism.endswith("(standardization)")
    assert flaw.raises is Raises.VALIDATION
    (flaw,) = scales.prepared_otherwise(train_rows, rows_of(validation[0] / 100, validation[1], "validation"))
    assert flaw.mechanism.endswith("(factor)")
    assert flaw.number == pytest.approx(0.01, rel=0.3)
    again = (validation[0] - validation[0].mean(0)) / validation[0].std(0)
    (note,) = scales.prepared_otherwise(train_rows, rows_of(again, validation[1], "validation"))
    assert note.mechanism == "validation standardized by its own statistics"
    assert note.raises is Raises.NONE_SEEN


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
    sources = [as_source(getattr(recipe.data, split)) for split in ("train", "validation", "test")]
    assert names(data_flaws(recipe, *sources)) == seen  # type: ignore[arg-type]


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


# --- classes ----------------------------------------------------------------------------------------------------------


def test_classes_that_a_split_lacks() -> None:
    x, y = normal(300, 2), np.arange(300) % 3
    ours = rows_of(x[:200], y[:200])
    assert classes.absent_classes(ours, rows_of(x[200:], y[200:], "test")) == []
    (missing,) = classes.absent_classes(ours, rows_of(x[200:], np.minimum(y[200:], 1), "test"))
    assert missing.raises is Raises.NONE_SEEN
    assert missing.number == pytest.approx(0.33, abs=0.01)
    without = ours.targets != 2  # type: ignore[operator]
    (unseen,) = classes.absent_classes(rows_of(x[:200][without], y[:200][without]), rows_of(x[200:], y[200:], "test"))
    assert unseen.raises is Raises.TEST
    assert unseen.sure is Sure.CERTAIN


@pytest.mark.parametrize("y", [np.zeros(30, dtype=np.int64), np.ones((30, 1), dtype=np.float32)])
def test_one_target_for_all_is_seen_where_the_loss_compares_with_it(y: np.ndarray) -> None:
    x, other = normal(30, 2), y.copy()
    other[3] = 2
    recipe = recipe_of(Splits(train=(x, y)), 2, 3)
    (flaw,) = classes.one_target(recipe, rows_of(x, y))
    assert flaw.number == 30
    assert flaw.says.endswith("have the target " + ("0" if y.dtype.kind == "i" else "1"))
    assert classes.one_target(recipe, rows_of(x, other)) == []
    assert classes.one_target(recipe.but(objective=lambda output, target: output.mean()), rows_of(x, y)) == []
    assert classes.one_target(recipe.but(loop=lambda model, optimizer, batches, objective: None), rows_of(x, y)) == []


def test_few_examples_are_noted() -> None:
    y = np.array([0] * 150 + [1] * 140 + [2] * 10)
    assert classes.few_examples(rows_of(normal(300, 2), y)) == []
    y[290] = 0
    assert names(classes.few_examples(rows_of(normal(300, 2), y))) == ["a class of few examples"]
    assert names(classes.few_examples(rows_of(normal(20, 30), np.arange(20) % 2))) == ["more inputs than examples"]
    rare = np.array([0] * 2985 + [1] * 15)
    (flaw,) = classes.few_examples(rows_of(normal(3000, 2), rare))
    assert flaw.mechanism == "a rare class"
    assert "99.5%" in flaw.says


@pytest.fixture(scope="module")
def digits_known() -> tuple[Opinions, Rows, Pair]:
    x, y = digits()
    ours = rows_of(x[:800].reshape(800, 64), y[:800])
    known = opinions(ours)
    assert known is not None
    return known, ours, (x[800:1200].reshape(400, 64), y[800:1200])


@pytest.mark.parametrize("exchange", [lambda y: (y + 1) % 10, lambda y: np.where(y == 3, 8, np.where(y == 8, 3, y))])
def test_exchanged_labels(digits_known: Any, exchange: Callable[[np.ndarray], np.ndarray]) -> None:
    known, _, (x, y) = digits_known
    assert classes.exchanged_labels(known, rows_of(x, y, "validation")) == []
    (flaw,) = classes.exchanged_labels(known, rows_of(x, exchange(y), "validation"))
    assert flaw.raises is Raises.VALIDATION
    assert 0.1 < flaw.number <= 1


def test_noise_in_a_split_is_no_exchange(digits_known: Any) -> None:
    known, _, (x, y) = digits_known
    noisy = np.where(np.random.default_rng(0).random(400) < 0.4, np.random.default_rng(1).integers(0, 10, 400), y)
    assert classes.exchanged_labels(known, rows_of(x, noisy, "validation")) == []


def test_a_model_that_neglects_a_class() -> None:
    x = normal(600, 2)
    y = (x[:, 0] > 1.3).astype(np.int64)
    ours, other = (x[:400], y[:400]), (x[400:], y[400:])
    known = opinions(rows_of(*ours))
    assert known is not None
    recipe = recipe_of(Splits(train=ours, validation=other), 2, 2, optimizer=partial(torch.optim.Adam, lr=0.03))
    good = train(recipe.but(epochs=20))
    assert good.status is Outcome.FINISHED
    source, judged = as_source(other), rows_of(*other, "validation")
    assert classes.neglected_classes(good, known, source, judged) == []
    with torch.no_grad():
        good.model[-1].bias += torch.tensor([1000.0, 0.0])  # type: ignore[index,union-attr,operator]
    (flaw,) = classes.neglected_classes(good, known, source, judged)
    assert flaw.number == 0
    assert "Class 1" in flaw.says


# --- labels -----------------------------------------------------------------------------------------------------------


def flipped(y: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    count = int(y.max()) + 1
    return np.where(draw.random(len(y)) < share, (y + draw.integers(1, count, len(y))) % count, y)


def test_wrong_labels_are_counted(digits_known: Any) -> None:
    known, ours, _ = digits_known
    assert label_noise.wrong_labels(known, ours) == []
    x, y = digits()
    wrong = flipped(y, 0.2)
    noisy = rows_of(x[:1400].reshape(1400, 64), wrong[:1400])
    heard = opinions(noisy)
    assert heard is not None
    (flaw,) = label_noise.wrong_labels(heard, noisy)
    assert flaw.number == pytest.approx(0.2, abs=0.04)
    assert flaw.cause is Cause.DATA
    _, doubted, _ = label_noise.confident_joint(heard)
    places = np.array([noisy.places[noisy.kept[heard.rows[i]]] for i in doubted[:50]])
    assert (wrong[places] != y[places]).mean() > 0.9


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_classes_that_overlap_are_no_noise(distance: float) -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 600)
    x = draw.normal(size=(600, 3)) + distance * (2 * y[:, None] - 1) * [1, 0, 0]
    rows = rows_of(x.astype(np.float32), y)
    known = opinions(rows)
    assert known is not None
    assert label_noise.wrong_labels(known, rows) == []


def test_targets_far_out() -> None:
    x = normal(400, 3)
    y = x[:, 0] + 0.1 * normal(400, 1)[:, 0]
    assert label_noise.far_targets(rows_of(x, y)) == []
    wrong = y.copy()
    wrong[::50] = 100 * (wrong[::50] + 1)
    (flaw,) = label_noise.far_targets(rows_of(x, wrong))
    assert flaw.number == pytest.approx(0.02, abs=0.01)
    assert flaw.mechanism == "targets far out"


@pytest.mark.parametrize("noise", [lambda r: r.standard_t(2, 500), lambda r: np.exp(1.5 * r.normal(size=500))])
def test_heavy_tails_are_not_far_out(noise: Callable[[np.random.Generator], np.ndarray]) -> None:
    x = normal(500, 3)
    y = x[:, 0] + noise(np.random.default_rng(1))
    assert label_noise.far_targets(rows_of(x, y.astype(np.float32))) == []


def test_a_column_that_is_the_label(tmp_path: Path) -> None:
    x, y = normal(400, 4), (normal(400, 1, 1)[:, 0] > 0).astype(np.int64)
    assert label_leak(rows_of(x, y), None, None) == []
    leaking = np.concatenate([x, np.exp(y[:, None] + 0.01 * normal(400, 1, 2))], 1)
    (flaw,) = label_leak(rows_of(leaking[:300], y[:300]), rows_of(leaking[300:], y[300:], "validation"), None)
    assert "number 4" in flaw.says
    assert flaw.raises is Raises.NONE_SEEN
    assert flaw.number > 0.97
    gone = rows_of(np.concatenate([x, np.exp(normal(400, 1, 3))], 1), y, "test")
    (flaw,) = label_leak(rows_of(leaking, y), None, gone)
    assert flaw.raises is Raises.TEST
    assert flaw.sure is Sure.MEASURED


def test_a_leak_in_a_table_is_called_by_its_name(tmp_path: Path) -> None:
    frame = pd.DataFrame(normal(500, 2), columns=["size", "age"])
    frame["sold"] = np.where(np.arange(500) % 3, "no", "yes")
    frame["refund"] = np.where(frame["sold"] == "yes", np.where(frame["age"] > 0, "card", "cash"), "none")
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    rows = read_rows(load_table(path, target="sold").train, "train")
    assert rows is not None
    (flaw,) = label_leak(rows, None, None)
    assert "Input 'refund' alone" in flaw.says


# --- augmentation -----------------------------------------------------------------------------------------------------


def test_augmentation_that_destroys_the_signal() -> None:
    x, y = digits()
    rows = rows_of(x[:700], y[:700])
    mild = Augmented((x[:700], y[:700]), Augment(rotate=15, shift=0.1))
    assert destroyed_signal(mild, rows) == []
    (flaw,) = destroyed_signal(Augmented((x[:700], y[:700]), Augment(noise=20.0)), rows)
    assert flaw.number < 0.25
    assert destroyed_signal(as_source((x[:700], y[:700])), rows) == []  # type: ignore[arg-type]


# --- all of them ------------------------------------------------------------------------------------------------------


def healthy(name: str, seed: int) -> tuple[Pair, Pair, Pair]:
    draw = np.random.default_rng(seed)
    few = draw.integers(0, 2, (400, 3)).astype(float)
    x = draw.normal(size=(400, 5))
    skewed = np.exp(x)
    made = {
        "iris": lambda: datasets.load_iris(return_X_y=True),
        "wine": lambda: datasets.load_wine(return_X_y=True),
        "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
        "moons": lambda: datasets.make_moons(300, noise=0.25, random_state=seed),
        "few values": lambda: (few, (draw.random(400) < 0.2 + 0.2 * few.sum(1)).astype(int)),
        "positive": lambda: (skewed, (x[:, 0] + 0.5 * draw.normal(size=400) > 0).astype(int)),
        "heavy tails": lambda: (x, (x[:, 0] + draw.standard_t(2, 400)).astype(np.float32)),
        "imbalanced": lambda: (x, (x[:, 0] + 0.3 * draw.normal(size=400) > 1.5).astype(int)),
    }
    return split(*made[name]())


HEALTHY = ["iris", "wine", "breast cancer", "moons", "few values", "positive", "heavy tails", "imbalanced"]


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_but_notes_is_said_of_healthy_data(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "thalweg"):
        flaws = asked(*healthy(name, seed=1))
    assert "could not be asked" not in caplog.text
    assert [flaw.says for flaw in flaws if flaw.raises is not Raises.NONE_SEEN] == []


def test_several_faults_at_once_are_all_said() -> None:
    ours, validation, test = healthy("wine", seed=0)
    ours[0][:, 2] *= 1e4
    ours[0][5, 0] = np.nan
    found = names(
        asked(ours, (np.concatenate([validation[0], ours[0][:9]]), np.append(validation[1], ours[1][:9])), test)
    )
    assert {"inputs not finite", "train examples in validation"} <= set(found)
