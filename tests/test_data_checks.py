"""Checks of inputs: each finds the fault that is put in, and is silent on the repaired twin and on healthy data."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from asked import digits, indexed, names, normal, recipe_of, split
from rows import rows_of
from sklearn import datasets
from torch import nn
from torch.utils.data import TensorDataset

from thalweg.core.convert import as_source
from thalweg.core.source import Splits
from thalweg.diagnosis.checks import columns, scales
from thalweg.diagnosis.checks.data import data_flaws
from thalweg.diagnosis.checks.data_rows import read_rows
from thalweg.diagnosis.flaw import Flaw, Raises, Sure

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
    source = indexed((x, y))
    recipe = recipe_of(Splits(train=(x, y)), 2, 2)
    with caplog.at_level(logging.INFO, "thalweg"):
        data_flaws(recipe, source, source, source)
    assert "could not be asked" not in caplog.text


def test_a_check_that_fails_is_said_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> nn.Module:
        raise ValueError("no such net")

    x, y = normal(60, 2), np.arange(60) % 2
    source, recipe = indexed((x, y)), recipe_of(Splits(train=(x, y)), 2, 2, model=broken)
    with caplog.at_level(logging.INFO, "thalweg"):
        flaws = data_flaws(recipe, source, source)
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
    recipe = recipe_of(data, int(np.prod(x.shape[1:])), 2, **changes)
    return scales.input_scale(recipe, indexed((x, y)), rows_of(x, y))


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
    source, rows = indexed((x, y)), rows_of(x, y)
    flaws = scales.target_scale(recipe, source, rows)
    assert names(flaws) == ["targets far from unit scale"] * found
    assert scales.target_scale(recipe.but(objective=nn.CrossEntropyLoss()), source, rows) == []


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
