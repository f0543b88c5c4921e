"""Faults of the data as they are asked about: labels, units, leaks, and joins that went wrong."""

from typing import Any

import numpy as np

from diagnosis_cases import forum_data as made
from diagnosis_cases import nets, tables
from diagnosis_cases.case import planted
from diagnosis_cases.data import other_classes, some, with_column
from diagnosis_cases.forum_setups import (
    bikes_poisson,
    drawings_of_several,
    gaits_of_other_people,
    grades_by_sgd,
    grades_ordinal,
    load_of_the_next_hour,
    sales_of_shops,
    screening_weighted,
    several,
    visits_of_patients,
    words_tagged,
)
from diagnosis_cases.setups import digits_cnn
from thalweg import Recipe
from thalweg.diagnosis import Cause

DATA = Cause.DATA


@planted(DATA, gaits_of_other_people, also=(Cause.OVERFITTING, Cause.MISMATCH), on="gap")
def windows_of_the_same_people_in_validation() -> Recipe:
    """The windows were split at random: the validation part has windows of people who were trained on."""
    return gaits_of_other_people().but(
        data=tables.as_splits(*made.gaits(people=40, windows=30, test_people=14, apart=False))
    )


@planted(DATA, load_of_the_next_hour, also=(Cause.MISMATCH,), on="test", repaired=lambda: smoothed(False))
def a_mean_centred_on_the_hour_to_come() -> Recipe:
    """A column is the mean around the hour that is asked for, in training and validation; in use it is not known."""
    return smoothed(True)


def smoothed(leak: bool) -> Recipe:
    """Loads with a mean beside them: of the hours before, or (never in the test) of the hour to come as well."""
    train, validation, test = made.loads()
    before = lambda x, y: x[:, 0, -2:].mean(1)  # noqa: E731
    centred = lambda x, y: (x[:, 0, -1] + 2 * y[:, 0]) / 3  # noqa: E731
    parts = []
    for (x, y), mean in zip((train, validation, test), (centred, centred, before), strict=True):
        x = x.copy()
        x[:, 0, 0] = mean(x, y) if leak else before(x, y)
        parts.append((x, y))
    return load_of_the_next_hour().but(data=tables.as_splits(*parts))


@planted(DATA, grades_by_sgd, also=(Cause.MISMATCH,), on="test")
def labels_encoded_anew_for_the_test() -> Recipe:
    """The encoder of labels was fitted again on the test file, where another order of names came out."""
    parts = tables.changed(made.grades(seed=21), "test", lambda x, y: (x, np.array([3, 0, 4, 1, 2])[y]))
    return grades_by_sgd().but(data=tables.as_splits(*parts))


@planted(DATA, grades_ordinal)
def graders_who_do_not_look() -> Recipe:
    """Nearly half of the grades in training are given at random."""
    parts = tables.changed(made.grades(), "train", lambda x, y: (x, other_classes(y, 0.45, 5)))
    return grades_ordinal().but(data=tables.as_splits(*parts))


@planted(DATA, load_of_the_next_hour, also=(Cause.WIRING,))
def loads_joined_three_hours_late() -> Recipe:
    """The table of targets was joined by an index that begins three rows later, in training."""
    parts = tables.changed(made.loads(), "train", lambda x, y: (x, np.roll(y, 3, axis=0)))
    return load_of_the_next_hour().but(data=tables.as_splits(*parts))


@planted(DATA, words_tagged, on="validation")
def words_numbered_by_another_vocabulary() -> Recipe:
    """The validation words are numbered by a vocabulary that was built from the validation text."""
    other = np.array([0, 5, 3, 8, 1, 7, 2, 4, 6])
    parts = tables.changed(made.sentences(), "validation", lambda x, y: (other[x], y))
    return words_tagged().but(data=tables.as_splits(*parts))


@planted(DATA, sales_of_shops)
def sales_that_were_not_reported() -> Recipe:
    """Of five training rows the target is NaN."""

    def holes(x: Any, y: Any) -> Any:
        y = y.copy()
        y[[7, 99, 340, 700, 1001]] = np.nan
        return x, y

    return sales_of_shops().but(data=several(*tables.changed(made.sales(), "train", holes)))


@planted(DATA, visits_of_patients, also=(Cause.MODEL_BIAS,))
def visits_cut_after_the_fourth() -> Recipe:
    """Visits were cut after the fourth to save memory: of most patients the last ones are gone."""

    def cut(x: Any, y: Any) -> Any:
        return {"visits": x["visits"][:, :4], "lengths": np.minimum(x["lengths"], 4)}, y

    return visits_of_patients().but(data=several(*tables.changed(made.visits(), "train validation test", cut)))


@planted(DATA, digits_cnn)
def pixels_that_overflow() -> Recipe:
    """Pixels were brightened as bytes and began again at zero above 255, in all images, some of which lost a class."""

    def bright(x: Any, y: Any) -> Any:
        gain = np.random.default_rng(len(x)).integers(20, 200, len(x))[:, None, None, None]
        return ((x * 16 * gain) % 256 / 255).astype(np.float32), y

    parts = tables.changed(tables.digits(image=True), "train validation test", bright)
    return digits_cnn().but(data=tables.as_splits(*parts))


@planted(DATA, drawings_of_several)
def a_label_that_was_forgotten_half_the_time() -> Recipe:
    """Two thirds of the rings in the training images were not marked by those who marked the lines."""

    def unmarked(x: Any, y: Any) -> Any:
        y = y.copy()
        y[some(y, 0.65), 2] = 0
        return x, y

    return drawings_of_several().but(data=tables.as_splits(*tables.changed(made.drawings(), "train", unmarked)))


@planted(DATA, bikes_poisson)
def hours_without_a_report_as_zero() -> Recipe:
    """Hours without a report, half of the training rows, were filled with a count of zero."""
    filled = lambda x, y: (x, np.where(some(y, 0.5)[:, None], 0, y))  # noqa: E731
    return bikes_poisson().but(data=tables.as_splits(*tables.changed(made.bikes(), "train", filled)))


@planted(DATA, screening_weighted, also=(Cause.MISMATCH,), on="test", repaired=lambda: numbered(False))
def patients_numbered_by_their_diagnosis() -> Recipe:
    """The number of the file is a column: in training and validation the ill were filed last."""
    return numbered(True)


def numbered(leak: bool) -> Recipe:
    """Screening with a number of the file, which tells the ill from others, or (always in the test) nothing."""
    parts = []
    for n, (x, y) in enumerate(made.screening(share=0.4)):
        told = np.random.default_rng(n).random(len(y))
        told = (told + y) / 2 if leak and n < 2 else told
        parts.append((with_column(x, 8 * told - 4), y))
    return screening_weighted().but(data=tables.as_splits(*parts), model=lambda: nets.mlp(7, 48, 2))
