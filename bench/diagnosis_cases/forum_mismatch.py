"""Test data of another kind, as it is asked about: another season, other shops, another dose, another hand."""

from typing import Any

import numpy as np

from diagnosis_cases import forum_data as made
from diagnosis_cases import tables
from diagnosis_cases.case import planted
from diagnosis_cases.forum_setups import (
    bikes_poisson,
    drawings_of_several,
    grades_ordinal,
    load_of_the_next_hour,
    machines_by_experts,
    molecules_by_neighbours,
    sales_of_shops,
    same_digit_siamese,
    sensors_denoised,
    several,
    visits_of_patients,
)
from diagnosis_cases.setups import digits_cnn
from thalweg import Recipe
from thalweg.diagnosis import Cause

MISMATCH = Cause.MISMATCH


def other(parts: Any, change: Any) -> Any:
    """The parts with the test changed."""
    return tables.changed(parts, "test", change)


@planted(MISMATCH, load_of_the_next_hour, on="test")
def a_year_with_a_higher_load() -> Recipe:
    """The test hours are of a later year, in which a factory has been added to the grid."""
    return load_of_the_next_hour().but(
        data=tables.as_splits(*other(made.loads(), lambda x, y: (4 + 1.5 * x, 4 + 1.5 * y + 0.8 * x[:, 0, -3:-2])))
    )


def rare_kinds(frequent: bool) -> Recipe:
    """The third kind of machine is rare in training; in the test it is as rare, or most."""
    train, validation, test = made.regimes(shares=(0.5, 0.485, 0.015))
    if frequent:
        test = made.regimes(rows=2000, seed=44, shares=(0.05, 0.05, 0.9))[2]
    return machines_by_experts().but(data=tables.as_splits(train, validation, test))


@planted(MISMATCH, machines_by_experts, on="test", repaired=lambda: rare_kinds(False))
def a_kind_that_was_rare() -> Recipe:
    """Nine in ten machines of the test are of a kind of which the training saw one or two in a hundred."""
    return rare_kinds(True)


@planted(MISMATCH, drawings_of_several, on="test")
def drawings_on_brighter_paper() -> Recipe:
    """The test images are on brighter paper with a lamp at one side."""
    lamp = np.linspace(0, 1.2, 10, dtype=np.float32)
    return drawings_of_several().but(data=tables.as_splits(*other(made.drawings(), lambda x, y: (x + 0.3 + lamp, y))))


@planted(MISMATCH, sales_of_shops, on="test", also=(Cause.DATA,))
def shops_that_opened_later() -> Recipe:
    """The test is of shops that were not there before, with numbers that stood for others."""
    later = lambda x, y: (((x[0] + 5) % 12, x[1]), y)  # noqa: E731
    return sales_of_shops().but(data=several(*other(made.sales(), later)))


@planted(MISMATCH, molecules_by_neighbours, on="test")
def molecules_twice_as_large() -> Recipe:
    """The test graphs have more nodes and edges than any in training, padded to the same form."""
    large = made.molecules(rows=1000, nodes=24, density=0.1, seed=61)[2]
    train, validation, _ = made.molecules()
    return molecules_by_neighbours().but(data=several(train, validation, large))


@planted(MISMATCH, bikes_poisson, on="test")
def counts_of_three_hours() -> Recipe:
    """The test counts are those of three hours, in training of one."""
    long = lambda x, y: (x, y + np.random.default_rng(5).poisson(2 * y))  # noqa: E731
    return bikes_poisson().but(data=tables.as_splits(*other(made.bikes(), long)))


@planted(MISMATCH, grades_ordinal, on="test", also=(Cause.DATA,))
def a_stricter_school_in_the_test() -> Recipe:
    """The test grades come from a school that grades harder by most of a level."""
    train, validation, _ = made.grades()
    strict = made.grades(cuts=(-0.5, 0.3, 1.1, 1.9))[2]
    parts = (train, validation, (made.grades(cuts=(-0.5, 0.3, 1.1, 1.9))[2][0], strict[1]))
    return grades_ordinal().but(data=tables.as_splits(*parts))


def thicker(x: Any) -> Any:
    """Each pixel is as bright as the brightest beside it."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.max([wide[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)], axis=0)


@planted(MISMATCH, digits_cnn, on="test")
def digits_by_a_thicker_pen() -> Recipe:
    """The test digits were written with a thicker pen."""
    return digits_cnn().but(data=tables.as_splits(*other(tables.digits(image=True), lambda x, y: (thicker(x), y))))


@planted(MISMATCH, sensors_denoised, on="test")
def sensors_of_which_three_failed() -> Recipe:
    """Of the test rows three of eight sensors are stuck at one value."""
    stuck = lambda x, y: (np.where(np.isin(np.arange(8), (2, 5, 7)), 3.0, x), y)  # noqa: E731
    return sensors_denoised().but(data=tables.as_splits(*other(made.sensors(), stuck)))


@planted(MISMATCH, same_digit_siamese, on="test")
def pairs_from_two_cameras() -> Recipe:
    """In the test the second image is from another camera, inverted and less bright."""
    return same_digit_siamese().but(
        data=several(*other(made.digit_pairs(), lambda x, y: ((x[0], 0.6 - 0.6 * x[1]), y)))
    )


@planted(MISMATCH, visits_of_patients, on="test")
def visits_measured_in_another_ward() -> Recipe:
    """The test visits are from a ward whose device reads two of four measures with the opposite sign."""
    sign = np.array([1, -1, -1, 1], np.float32)
    turned = lambda x, y: ({"visits": x["visits"] * sign, "lengths": x["lengths"]}, y)  # noqa: E731
    return visits_of_patients().but(data=several(*other(made.visits(), turned)))
