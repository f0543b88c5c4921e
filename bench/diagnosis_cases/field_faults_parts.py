"""Faults of the data from the field, in how values are coded and parts drawn: codes, casts, copies, shares."""

from typing import Any

import numpy as np

from diagnosis_cases import field_data as made
from diagnosis_cases import nets, tables
from diagnosis_cases.case import planted
from diagnosis_cases.data import some
from diagnosis_cases.field_faults import ALL, draws, splits
from diagnosis_cases.field_setups import (
    batteries_by_lstm,
    beats_of_hearts,
    letters_b_d_p_q,
    prices_of_houses,
    tags_of_songs,
    topics_of_mail,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

DATA = Cause.DATA


@planted(DATA, prices_of_houses, also=(Cause.MODEL_BIAS,))
def districts_as_one_number() -> Recipe:
    """The district goes in as its number, as if the twelfth were more than the first."""
    parts = tables.scaled(*made.houses())
    return prices_of_houses().but(data=tables.as_splits(*parts), model=lambda: nets.mlp(6, 64, 32, 1))


@planted(DATA, tags_of_songs)
def measures_cast_to_whole_numbers() -> Recipe:
    """All measures were scaled first and then stored as whole numbers: most are 0."""
    return tags_of_songs().but(data=splits(made.songs(), ALL, lambda x, y: (np.trunc(x), y)))


@planted(DATA, tags_of_songs, also=(Cause.MISMATCH,))
def guidelines_that_changed_on_the_way() -> Recipe:
    """The older 60 % of the training tags were given by guidelines that asked for far more of a song."""

    def older(x: Any, y: Any) -> Any:
        sums = [x[:, 0] + x[:, 1], x[:, 2] + np.abs(x[:, 3]), x[:, 4] - x[:, 5], x[:, 6] + x[:, 7] ** 2]
        strict = np.stack(sums, 1) > 2
        return x, np.where((np.arange(len(y)) < 0.6 * len(y))[:, None], strict, y).astype(np.float32)

    return tags_of_songs().but(data=splits(made.songs(), "train", older))


@planted(DATA, batteries_by_lstm)
def readings_that_arrive_in_any_order() -> Recipe:
    """The readings of a day were stored as they arrived, which is in any order, in all parts."""

    def mixed(x: Any, y: Any) -> Any:
        return draws(x).permuted(x, axis=1), y

    return batteries_by_lstm().but(data=splits(made.batteries(), ALL, mixed))


@planted(DATA, batteries_by_lstm)
def charges_shown_in_two_steps() -> Recipe:
    """The display of the training batteries knows only empty and full: a charge is 0 or 1."""
    steps = lambda x, y: (x, (y > 0.75).astype(np.float32))  # noqa: E731
    return batteries_by_lstm().but(data=splits(made.batteries(), "train", steps))


@planted(DATA, beats_of_hearts, also=(Cause.MISMATCH,))
def a_kind_that_a_filter_took_out() -> Recipe:
    """A filter for incomplete records took all beats without a first wave out of the training part."""
    filtered = lambda x, y: (x[y != 3], y[y != 3])  # noqa: E731
    return beats_of_hearts().but(data=splits(made.beats(), "train", filtered))


@planted(DATA, beats_of_hearts, also=(Cause.OVERFITTING, Cause.MISMATCH), on="gap")
def more_rows_by_copies_before_the_split() -> Recipe:
    """Forty beats were copied to have more, and split then: the same beats are in training and validation."""
    (x, y), _, test = made.beats()
    at = np.random.default_rng(9).integers(0, 40, 960)
    train, validation = (x[at[:720]], y[at[:720]]), (x[at[720:]], y[at[720:]])
    return beats_of_hearts().but(data=tables.as_splits(train, validation, test))


@planted(DATA, letters_b_d_p_q, also=(Cause.MISMATCH,))
def hardly_any_letter_but_b() -> Recipe:
    """Of the training letters nearly all are b: of the three others there are four each."""

    def rare(x: Any, y: Any) -> Any:
        kept = np.concatenate([np.flatnonzero(y == kind)[: None if kind == 0 else 4] for kind in range(4)])
        return x[kept], y[kept]

    return letters_b_d_p_q().but(data=splits(made.letters(), "train", rare))


@planted(DATA, topics_of_mail)
def answers_filed_under_what_came_before() -> Recipe:
    """More than half of the training letters have the topic of the letter before them in the box."""
    before = lambda x, y: (x, np.where(some(y, 0.55), np.roll(y, 1), y))  # noqa: E731
    return topics_of_mail().but(data=splits(made.mail(), "train", before))
