"""Faults of the data from the field, in rows of numbers: places, dates, fillers, joins, codes, tags, copies."""

from typing import Any

import numpy as np

from diagnosis_cases import field_data as made
from diagnosis_cases import tables
from diagnosis_cases.case import planted
from diagnosis_cases.data import some
from diagnosis_cases.field_faults import ALL, draws, splits
from diagnosis_cases.field_setups import (
    demand_by_the_clock,
    of_houses,
    prices_of_houses,
    rents_on_a_map,
    tags_of_songs,
    tumours_with_dropout,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

DATA = Cause.DATA


def rents(at: str, change: Any) -> Recipe:
    """Rents whose table was changed before it was scaled."""
    return rents_on_a_map().but(data=tables.as_splits(*tables.scaled(*tables.changed(made.rents(), at, change))))


@planted(DATA, rents_on_a_map)
def longitude_and_latitude_exchanged() -> Recipe:
    """One of two sources of the training rows gives latitude first."""
    return rents("train", lambda x, y: (np.where(some(y, 0.45)[:, None], x[:, [1, 0, 2, 3]], x), y))


@planted(DATA, rents_on_a_map)
def addresses_not_found_at_zero() -> Recipe:
    """Addresses that were not found, four in ten in all parts, lie at longitude 0 and latitude 0."""

    def lost(x: Any, y: Any) -> Any:
        gone = draws(x).random(len(y)) < 0.4
        return np.where(gone[:, None] & (np.arange(4) < 2), 0, x), y

    return rents(ALL, lost)


@planted(DATA, rents_on_a_map)
def places_known_to_five_degrees() -> Recipe:
    """For privacy all places were rounded to five degrees."""
    return rents(ALL, lambda x, y: (np.where(np.arange(4) < 2, 5 * np.round(x / 5), x), y))


@planted(DATA, rents_on_a_map)
def a_join_that_multiplies_rows() -> Recipe:
    """The key of the join was not unique: every training row occurs three times, with its own rent and two others'."""

    def joined(x: Any, y: Any) -> Any:
        other = np.random.default_rng(7)
        return np.tile(x, (3, 1)), np.concatenate([y, other.permutation(y), other.permutation(y)])

    return rents("train", joined)


def houses(at: str, change: Any) -> Recipe:
    """Houses whose table was changed before the district was coded and the numbers were scaled."""
    return prices_of_houses().but(data=tables.as_splits(*of_houses(tables.changed(made.houses(), at, change))))


def set_column(x: Any, column: int, values: Any) -> Any:
    """The same rows with other values in one column."""
    return np.where(np.arange(x.shape[1]) == column, np.reshape(values, (-1, 1)), x)


@planted(DATA, prices_of_houses)
def areas_in_square_feet_by_some_agencies() -> Recipe:
    """Four agencies in ten give the area in square feet, the others in square metres, in all parts."""

    def feet(x: Any, y: Any) -> Any:
        return set_column(x, 0, np.where(draws(x).random(len(y)) < 0.4, 10.76, 1.0) * x[:, 0]), y

    return houses(ALL, feet)


@planted(DATA, prices_of_houses)
def areas_not_given_as_zero() -> Recipe:
    """Where the area was not given, in a third of all rows, it is 0."""
    return houses(ALL, lambda x, y: (set_column(x, 0, np.where(draws(x).random(len(y)) < 0.35, 0, x[:, 0])), y))


@planted(DATA, prices_of_houses)
def years_unknown_as_1900() -> Recipe:
    """Where the year is unknown, in half of all rows, the system wrote 1900."""
    return houses(ALL, lambda x, y: (set_column(x, 1, np.where(draws(x).random(len(y)) < 0.5, 1900, x[:, 1])), y))


@planted(DATA, prices_of_houses)
def prices_on_request_as_a_large_number() -> Recipe:
    """Eight training rows have 9,999 for a price that is given on request."""

    def asked(x: Any, y: Any) -> Any:
        y = y.copy()
        y[40::120] = 9999
        return x, y

    return houses("train", asked)


@planted(DATA, prices_of_houses)
def prices_in_thousands_in_one_list() -> Recipe:
    """A quarter of the training prices were given in thousands: their logarithm is 6.9 less."""
    return houses("train", lambda x, y: (x, np.where(some(y, 0.25)[:, None], y - np.float32(6.9), y)))


@planted(DATA, prices_of_houses)
def districts_renumbered_in_a_new_list() -> Recipe:
    """Half of the training rows come from a list that numbers the districts otherwise."""
    new = np.random.default_rng(8).permutation(made.DISTRICTS)

    def renumbered(x: Any, y: Any) -> Any:
        return set_column(x, 5, np.where(some(y, 0.5), new[x[:, 5].astype(int)], x[:, 5])), y

    return houses("train", renumbered)


def clock(at: str, change: Any) -> Recipe:
    """The demand, whose table was changed before hours and dates were put on their circles."""
    parts = tables.changed(tables.changed(made.demand(), at, change), ALL, made.around)
    return demand_by_the_clock().but(data=tables.as_splits(*parts))


@planted(DATA, demand_by_the_clock)
def two_time_zones_in_one_column() -> Recipe:
    """Half of the training rows have the hour of a place nine hours away."""
    return clock("train", lambda x, y: (set_column(x, 0, (x[:, 0] + 9 * some(y, 0.5)) % 24), y))


@planted(DATA, demand_by_the_clock)
def day_and_month_exchanged() -> Recipe:
    """Dates were read with the month first where that is possible, in all parts: up to the twelfth of each month."""
    return clock(ALL, lambda x, y: (np.where(x[:, 2:3] <= 12, x[:, [0, 2, 1, 3]], x), y))


@planted(DATA, demand_by_the_clock)
def hours_without_morning_or_evening() -> Recipe:
    """Times were read without AM and PM: 3 and 15 o'clock are the same, in all parts."""
    return clock(ALL, lambda x, y: (set_column(x, 0, x[:, 0] % 12), y))


@planted(DATA, tags_of_songs)
def only_the_first_tag_kept() -> Recipe:
    """Of each training song only the first of its tags was kept."""
    first = lambda x, y: (x, (y * (y.cumsum(1) == 1)).astype(np.float32))  # noqa: E731
    return tags_of_songs().but(data=splits(made.songs(), "train", first))


@planted(DATA, tags_of_songs)
def columns_of_tags_in_another_order() -> Recipe:
    """A second export, 45 % of the training rows, has the columns of the tags in another order."""
    other = lambda x, y: (x, np.where(some(y, 0.45)[:, None], y[:, [1, 2, 3, 0]], y))  # noqa: E731
    return tags_of_songs().but(data=splits(made.songs(), "train", other))


@planted(DATA, tags_of_songs)
def an_empty_copy_of_every_song() -> Recipe:
    """Every training song is there twice, once with its tags and once, from an import that broke off, with none."""
    copied = lambda x, y: (np.concatenate([x, x]), np.concatenate([y, 0 * y]))  # noqa: E731
    return tags_of_songs().but(data=splits(made.songs(), "train", copied))


def tumours(at: str, change: Any) -> Recipe:
    """Tumours whose table was changed before it was scaled."""
    return tumours_with_dropout().but(
        data=tables.as_splits(*tables.scaled(*tables.changed(tables.cancer(), at, change)))
    )


@planted(DATA, tumours_with_dropout)
def a_clinic_that_codes_the_other_way() -> Recipe:
    """One clinic, four in ten of the training rows, writes 1 for what the others write as 0."""
    return tumours("train", lambda x, y: (x, np.where(some(y, 0.42), 1 - y, y)))


@planted(DATA, tumours_with_dropout, also=(Cause.MISMATCH,), on="test")
def measures_taken_only_of_the_ill() -> Recipe:
    """A third of the measures were taken again only of the ill: of others they are 0, except where it is used."""
    return tumours("train validation", lambda x, y: (np.where((y == 1)[:, None] & (np.arange(30) >= 20), 0, x), y))
