"""Faults of the data from courses and workplaces: rows, joins, units, names, caps, stale values, torn frames."""

from typing import Any

import numpy as np

from diagnosis_cases import course_data as made
from diagnosis_cases import forum_data, tables
from diagnosis_cases.case import planted
from diagnosis_cases.course_setups import (
    games_of_two,
    reviews_by_words,
    symbols_delayed,
    tones_that_rise,
    yields_of_fields,
)
from diagnosis_cases.data import some
from diagnosis_cases.forum_setups import bags_by_attention, load_of_the_next_hour
from diagnosis_cases.setups import digits_cnn_batch_norm, digits_rows_gru, friedman_sgd
from thalweg import Recipe
from thalweg.diagnosis import Cause

DATA = Cause.DATA


@planted(DATA, yields_of_fields)
def half_of_the_columns_one_row_late() -> Recipe:
    """Two tables were put side by side, one of them a row late: half of the columns are those of another field."""
    late = lambda x, y: (np.where(np.arange(8) % 2, np.roll(x, 1, axis=0), x), y)  # noqa: E731
    return yields_of_fields().but(data=tables.as_splits(*tables.changed(made.products(), "train", late)))


@planted(DATA, friedman_sgd)
def inches_in_a_third_of_the_rows() -> Recipe:
    """A third of the training rows were measured in inches, the others in centimetres."""

    def inches(x: Any, y: Any) -> Any:
        return np.where(some(y, 0.35)[:, None], x / 2.54, x), y

    parts = tables.scaled(*tables.changed(tables.friedman(seed=4), "train", inches))
    return friedman_sgd().but(data=tables.as_splits(*parts))


@planted(DATA, digits_cnn_batch_norm)
def two_digits_under_one_name() -> Recipe:
    """In the training labels the eights were filed under three, and the sevens under one."""
    merged = lambda x, y: (x, np.where(y == 8, 3, np.where(y == 7, 1, y)))  # noqa: E731
    parts = tables.changed(tables.digits(image=True), "train", merged)
    return digits_cnn_batch_norm().but(data=tables.as_splits(*parts))


@planted(DATA, yields_of_fields)
def a_meter_that_stops_at_its_end() -> Recipe:
    """The meter of the training rows ends at 0.3: a larger yield is written down as 0.3."""
    capped = lambda x, y: (x, np.minimum(y, np.float32(0.3)))  # noqa: E731
    parts = tables.changed(made.products(), "train", capped)
    return yields_of_fields().but(data=tables.as_splits(*parts))


@planted(DATA, load_of_the_next_hour)
def readings_filled_forward() -> Recipe:
    """Of the training targets every fifth was read; the four hours after it were filled with the same number."""
    stale = lambda x, y: (x, y[np.arange(len(y)) // 5 * 5])  # noqa: E731
    return load_of_the_next_hour().but(data=tables.as_splits(*tables.changed(forum_data.loads(), "train", stale)))


@planted(DATA, bags_by_attention)
def the_sick_who_were_missed() -> Recipe:
    """Most of the sick bags none of whose cells has a second number above 1.6 were passed as healthy in training."""

    def missed(x: Any, y: Any) -> Any:
        return x, np.where((x[:, :, 1].max(1) < 1.6) & some(y, 0.9), 0, y)

    return bags_by_attention().but(data=tables.as_splits(*tables.changed(forum_data.bags(), "train", missed)))


@planted(DATA, reviews_by_words)
def two_files_with_two_vocabularies() -> Recipe:
    """Half of the training reviews are numbered by another vocabulary than all the others."""
    other = np.random.default_rng(3).permutation(120)
    mixed = lambda x, y: (np.where(some(y, 0.5)[:, None], other[x], x), y)  # noqa: E731
    return reviews_by_words().but(data=tables.as_splits(*tables.changed(made.reviews(), "train", mixed)))


@planted(DATA, digits_rows_gru)
def frames_with_torn_lines() -> Recipe:
    """In the training images every line begins at a column of its own, as a wrong stride leaves it."""

    def torn(x: Any, y: Any) -> Any:
        start = np.random.default_rng(5).integers(0, 8, (len(x), 8, 1))
        return np.take_along_axis(x, (np.arange(8) + start) % 8, 2), y

    parts: Any = tuple((x.reshape(-1, 8, 8), y) for x, y in tables.digits())
    return digits_rows_gru().but(data=tables.as_splits(*tables.changed(parts, "train", torn)))


@planted(DATA, games_of_two)
def half_of_the_games_the_other_way_round() -> Recipe:
    """In 45 % of the training games the players were written down the other way round."""
    turned = lambda x, y: (np.where(some(y, 0.45)[:, None], x[:, ::-1], x), y)  # noqa: E731
    return games_of_two().but(data=tables.as_splits(*tables.changed(made.games(), "train", turned)))


def loud(copies: bool) -> Recipe:
    """Tones in loud noise; of the training part forty, again and again, or all."""
    again = lambda x, y: (np.tile(x[:40], (15, 1, 1)), np.tile(y[:40], 15)) if copies else (x, y)  # noqa: E731
    return tones_that_rise().but(data=tables.as_splits(*tables.changed(made.sweeps(noise=0.8), "train", again)))


@planted(DATA, tones_that_rise, also=(Cause.OVERFITTING,), repaired=lambda: loud(False))
def one_recording_again_and_again() -> Recipe:
    """A copy loop wrote forty recordings fifteen times each instead of six hundred."""
    return loud(True)


@planted(DATA, symbols_delayed, also=(Cause.MODEL_BIAS,))
def symbols_recorded_in_chunks() -> Recipe:
    """The sequences were cut into chunks of four whose order was lost."""

    def chunks(x: Any, y: Any) -> Any:
        order = np.random.default_rng(len(x)).permuted(np.tile(np.arange(3), (len(x), 1)), axis=1)
        mixed = np.take_along_axis(x[:, :12].reshape(-1, 3, 4), order[:, :, None], 1).reshape(-1, 12)
        return np.concatenate([mixed, x[:, 12:]], 1), y

    parts = tables.changed(made.delays(), "train validation test", chunks)
    return symbols_delayed().but(data=tables.as_splits(*parts))
