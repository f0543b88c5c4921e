"""Test data of another kind than those of training, in a way that costs."""

from typing import Any

import numpy as np

from diagnosis_cases import sequences, tables
from diagnosis_cases.case import planted
from diagnosis_cases.setups import (
    bars_cnn,
    cancer_batch_norm,
    digits_cnn,
    digits_mlp,
    digits_rows_attention,
    digits_rows_gru,
    friedman_mlp,
    groups_mlp,
    last_gru,
    majority_lstm,
    moons_mlp,
    spots_cnn,
    waves_cnn,
    wine_mlp,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

MISMATCH = Cause.MISMATCH


def other_test(parts: Any, change: Any) -> Any:
    """The splits with the test part changed."""
    return tables.as_splits(*tables.changed(parts, "test", change))


@planted(MISMATCH, digits_mlp, on="test")
def test_digits_inverted() -> Recipe:
    """Test images are black on white."""
    return digits_mlp().but(data=other_test(tables.digits(), lambda x, y: (1 - x, y)))


@planted(MISMATCH, digits_cnn, on="test")
def test_digits_turned() -> Recipe:
    """Test images are turned by 90 degrees."""
    turned = lambda x, y: (np.rot90(x, axes=(2, 3)), y)  # noqa: E731
    return digits_cnn().but(data=other_test(tables.digits(image=True), turned))


@planted(MISMATCH, digits_rows_gru, on="test")
def test_digits_shifted() -> Recipe:
    """Test images are shifted by two pixels to the side."""
    parts: Any = tuple((x.reshape(-1, 8, 8), y) for x, y in tables.digits())
    return digits_rows_gru().but(data=other_test(parts, lambda x, y: (np.roll(x, 2, axis=2), y)))


@planted(MISMATCH, digits_rows_attention, on="test")
def test_digits_upside_down() -> Recipe:
    """Test images stand on their heads."""
    parts: Any = tuple((x.reshape(-1, 8, 8), y) for x, y in tables.digits())
    return digits_rows_attention().but(data=other_test(parts, lambda x, y: (x[:, ::-1], y)))


@planted(MISMATCH, bars_cnn, on="test")
def a_noisier_camera_in_the_test() -> Recipe:
    """Test images have three times the noise."""
    noisier = lambda x, y: (x + np.random.default_rng(1).normal(size=x.shape).astype("float32"), y)  # noqa: E731
    return bars_cnn().but(data=other_test(sequences.bars(), noisier))


@planted(MISMATCH, spots_cnn, on="test")
def a_darker_camera_in_the_test() -> Recipe:
    """Test images are a third as bright, on a grey ground."""
    return spots_cnn().but(data=other_test(sequences.spots(), lambda x, y: (0.3 * x + 0.3, y)))


@planted(MISMATCH, waves_cnn, on="test")
def test_signals_of_another_rate() -> Recipe:
    """Test signals were sampled at half the rate."""
    return waves_cnn().but(data=other_test(sequences.waves(), lambda x, y: (np.repeat(x[:, :, :16], 2, axis=2), y)))


@planted(MISMATCH, groups_mlp, on="test")
def another_group_in_the_test() -> Recipe:
    """The test rows come from another laboratory, whose instruments add an offset of their own to each column."""
    offset = np.random.default_rng(3).normal(size=20)
    return groups_mlp().but(data=other_test(tables.scaled(*tables.groups()), lambda x, y: (x + offset, y)))


@planted(MISMATCH, friedman_mlp, on="test")
def beyond_what_was_trained() -> Recipe:
    """Training and validation rows have the first three inputs below a half, test rows all: extrapolation."""
    low = lambda x, y: tuple(each[(x[:, :3] < 0.6).all(1)] for each in (x, y))  # noqa: E731
    parts = tables.changed(tables.friedman(4000), "train validation", low)
    parts = tables.changed(parts, "test", lambda x, y: tuple(each[:300] for each in (x, y)))
    return friedman_mlp().but(data=tables.as_splits(*parts))


@planted(MISMATCH, moons_mlp, on="test", repaired=lambda: overlapping(False))
def other_shares_of_classes_in_the_test() -> Recipe:
    """One class in ten in training is nearly all of the test, and the classes overlap."""
    return overlapping(True)


def overlapping(shifted: bool) -> Recipe:
    """Two overlapping classes, the second rare; in a shifted test it is frequent."""
    draw = np.random.default_rng(0)
    y = (draw.random(2500) < 0.12).astype(int)
    x = draw.normal(size=(2500, 2)) + 1.6 * y[:, None]
    (train, validation, (tx, ty)) = tables.three(x, y)
    if shifted:
        ty = (draw.random(len(ty)) < 0.9).astype(int)
        tx = draw.normal(size=(len(ty), 2)) + 1.6 * ty[:, None]
    return moons_mlp().but(data=tables.as_splits(train, validation, (tx, ty)))


@planted(MISMATCH, majority_lstm, on="test")
def test_sequences_with_a_drift() -> Recipe:
    """The sensor of the test sequences has drifted: half a step is added everywhere."""
    return majority_lstm().but(data=other_test(sequences.majority(), lambda x, y: (x + np.float32(0.8), y)))


@planted(MISMATCH, last_gru, on="test")
def test_sequences_read_backwards() -> Recipe:
    """The test sequences are written from right to left."""
    return last_gru().but(data=other_test(sequences.last_of_two(), lambda x, y: (x[:, ::-1], y)))


@planted(MISMATCH, wine_mlp, on="test")
def test_rows_as_measured() -> Recipe:
    """The test rows were not scaled as the others were."""
    (train, validation, _), (_, _, raw) = tables.scaled(*tables.wine()), tables.wine()
    return wine_mlp().but(data=tables.as_splits(train, validation, raw))


@planted(MISMATCH, cancer_batch_norm, on="test")
def test_rows_in_another_unit() -> Recipe:
    """The lengths of the test rows are in centimetres, in training in millimetres."""
    return cancer_batch_norm().but(data=other_test(tables.cancer(), lambda x, y: (x / 10, y)))
