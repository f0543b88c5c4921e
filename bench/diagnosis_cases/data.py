"""Faults of the data: labels, inputs, or how the splits were made."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from diagnosis_cases import nets, sequences, tables
from diagnosis_cases.case import planted
from diagnosis_cases.setups import (
    bars_cnn,
    cancer_logit,
    digits_cnn,
    digits_mlp,
    digits_sgd,
    echo_elman,
    first_gru,
    friedman_mlp,
    groups_mlp,
    last_gru,
    moons_mlp,
    recipe,
    waves_cnn,
    wine_mlp,
)
from thalweg import Recipe, Splits
from thalweg.diagnosis import Cause

DATA = Cause.DATA


def some(y: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Which of so many examples are drawn at this share."""
    return np.random.default_rng(seed).random(len(y)) < share


def other_classes(y: np.ndarray, share: float, classes: int) -> np.ndarray:
    """Labels of which a share is moved to another class at random."""
    moved = np.random.default_rng(1).integers(1, classes, len(y))
    return np.where(some(y, share), (y + moved) % classes, y)


@planted(DATA, digits_mlp)
def labels_wrong_in_forty_percent() -> Recipe:
    """40 % of the training labels are wrong at random."""
    parts = tables.changed(tables.digits(), "train", lambda x, y: (x, other_classes(y, 0.4, 10)))
    return digits_mlp().but(data=tables.as_splits(*parts))


@planted(DATA, digits_cnn)
def labels_of_images_wrong_everywhere() -> Recipe:
    """35 % of the labels are wrong at random, in training and validation; the test labels are right."""
    noisy = lambda x, y: (x, other_classes(y, 0.35, 10))  # noqa: E731
    return digits_cnn().but(
        data=tables.as_splits(*tables.changed(tables.digits(image=True), "train validation", noisy))
    )


@planted(DATA, moons_mlp)
def labels_wrong_on_one_side() -> Recipe:
    """55 % of the training examples of one class are labelled as the other."""
    one_sided = lambda x, y: (x, np.where((y == 1) & some(y, 0.55), 0, y))  # noqa: E731
    return moons_mlp().but(data=tables.as_splits(*tables.changed(tables.moons(), "train", one_sided)))


@planted(DATA, first_gru)
def labels_of_sequences_wrong() -> Recipe:
    """Half of the training labels of sequences of one class are those of another."""
    moved = lambda x, y: (x, np.where((y == 0) & some(y, 0.6), 1, y))  # noqa: E731
    parts = tables.changed(sequences.first_sign(), "train", moved)
    return first_gru().but(data=tables.as_splits(*parts))


@planted(DATA, friedman_mlp)
def targets_with_gross_errors() -> Recipe:
    """A tenth of the training targets are ten times too large, as by a slipped decimal point."""
    slipped = lambda x, y: (x, np.where(some(y, 0.1)[:, None], 10 * y, y))  # noqa: E731
    return friedman_mlp().but(data=tables.as_splits(*tables.changed(tables.friedman(), "train", slipped)))


@planted(DATA, friedman_mlp)
def targets_scrambled_in_a_part() -> Recipe:
    """The targets of 40 % of the training rows belong to other rows."""

    def scrambled(x: Any, y: Any) -> Any:
        y, at = y.copy(), np.flatnonzero(some(y, 0.4))
        y[at] = y[np.random.default_rng(2).permutation(at)]
        return x, y

    return friedman_mlp().but(data=tables.as_splits(*tables.changed(tables.friedman(), "train", scrambled)))


def with_column(x: Any, column: Any) -> Any:
    """A column more."""
    return np.concatenate([x, np.asarray(column, dtype=float)[:, None]], 1)


def leaking(leak: bool) -> Recipe:
    """Four classes with a column more, which tells the class in training and validation, or never."""
    train, validation, test = tables.scaled(*tables.groups())
    noise = [np.random.default_rng(n).integers(0, 4, len(part[1])) for n, part in enumerate((train, validation, test))]
    parts = [(with_column(x, 3.0 * known), y) for (x, y), known in zip((train, validation, test), noise, strict=True)]
    if leak:
        parts[:2] = [(with_column(x, 3.0 * y), y) for x, y in (train, validation)]
    return recipe(tuple(parts), lambda: nets.mlp(21, 128, 128, 4), lr=1e-3, epochs=30)


@planted(DATA, groups_mlp, also=(Cause.MISMATCH,), on="test", repaired=lambda: leaking(False))
def a_column_that_knows_the_class() -> Recipe:
    """A column tells the class in training and validation data, and nothing where the model is used."""
    return leaking(True)


@planted(DATA, bars_cnn, also=(Cause.MISMATCH,), on="test")
def a_pixel_that_knows_the_class() -> Recipe:
    """A corner of the image carries the class in training and validation images, as a watermark."""

    def marked(x: Any, y: Any) -> Any:
        x = x.copy()
        x[:, 0, :2, :2] = 3.0 * y[:, None, None]
        return x, y

    return bars_cnn().but(data=tables.as_splits(*tables.changed(sequences.bars(), "train validation", marked)))


@planted(DATA, digits_mlp, on="validation")
def validation_pixels_not_scaled() -> Recipe:
    """The validation images are inverted, which the training images are not."""
    parts = tables.changed(tables.digits(), "validation", lambda x, y: (1 - x, y))
    return digits_mlp().but(data=tables.as_splits(*parts))


@planted(DATA, wine_mlp, on="validation")
def validation_rows_as_measured() -> Recipe:
    """The validation rows were not scaled as the training rows were."""
    (_, raw, _), (train, _, test) = tables.wine(), tables.scaled(*tables.wine())
    return wine_mlp().but(data=tables.as_splits(train, raw, test))


@planted(DATA, waves_cnn, on="validation")
def validation_signals_of_another_rate() -> Recipe:
    """The validation signals were sampled at half the rate of the training signals."""
    slower = lambda x, y: (np.repeat(x[:, :, :16], 2, axis=2), y)  # noqa: E731
    return waves_cnn().but(data=tables.as_splits(*tables.changed(sequences.waves(), "validation", slower)))


@planted(DATA, digits_cnn, on="validation")
def classes_numbered_otherwise_in_validation() -> Recipe:
    """The validation labels count from 1 (modulo ten), the training labels from 0."""
    parts = tables.changed(tables.digits(image=True), "validation", lambda x, y: (x, (y + 1) % 10))
    return digits_cnn().but(data=tables.as_splits(*parts))


@planted(DATA, groups_mlp, on="validation")
def two_classes_exchanged_in_validation() -> Recipe:
    """Two classes have each other's number in the validation labels."""
    parts = tables.changed(tables.scaled(*tables.groups()), "validation", lambda x, y: (x, np.array([0, 2, 1, 3])[y]))
    return groups_mlp().but(data=tables.as_splits(*parts))


@planted(DATA, cancer_logit)
def a_few_values_missing() -> Recipe:
    """Three values of the training inputs are NaN."""

    def holes(x: Any, y: Any) -> Any:
        x = x.copy()
        x[[5, 90, 200], [3, 7, 20]] = np.nan
        return x, y

    parts = tuple((x, y[:, None].astype("float32")) for x, y in tables.cancer())
    return cancer_logit().but(data=tables.as_splits(*tables.changed(tables.scaled(*parts), "train", holes)))


@planted(DATA, groups_mlp)
def missing_values_as_a_number() -> Recipe:
    """A fifth of the values of all inputs are missing and stand as -999."""

    def holes(x: Any, y: Any) -> Any:
        return np.where(np.random.default_rng(len(x)).random(x.shape) < 0.2, -999.0, x), y

    parts = tables.changed(tables.scaled(*tables.groups()), "train validation test", holes)
    return groups_mlp().but(data=tables.as_splits(*parts))


@planted(DATA, friedman_mlp, also=(Cause.OPTIMIZATION,))
def a_column_in_another_unit() -> Recipe:
    """One of ten inputs is in a unit ten thousand times as small, so that its numbers are as large."""

    def larger(x: Any, y: Any) -> Any:
        return x * np.where(np.arange(10) == 7, 1e4, 1.0), y

    parts = tables.changed(tables.friedman(), "train validation test", larger)
    return friedman_mlp().but(data=tables.as_splits(*parts))


@planted(DATA, friedman_mlp, also=(Cause.OPTIMIZATION,))
def targets_in_a_small_unit() -> Recipe:
    """The targets are in a unit a hundred thousand times as small: their numbers are too large for the rate."""
    parts = tables.changed(tables.friedman(), "train validation test", lambda x, y: (x, 1e5 * (y + 3)))
    return friedman_mlp().but(data=tables.as_splits(*parts))


def few_with_copies(copies: bool) -> Recipe:
    """A hundred digits to learn from; the validation images are some of them once more, or others."""
    train, validation, test = tables.digits(train=100)
    again = tuple(np.concatenate([each] * 3)[:300] for each in train)
    return recipe((train, again if copies else validation, test), lambda: nets.mlp(64, 64, 10), lr=2e-3, epochs=60)


@planted(DATA, digits_mlp, also=(Cause.OVERFITTING, Cause.MISMATCH), on="gap", repaired=digits_mlp.make)
def validation_images_among_the_training_images() -> Recipe:
    """All validation images occur in training too, so that the validation loss does not see what is lost."""
    return few_with_copies(True)


@planted(DATA, wine_mlp, also=(Cause.MISMATCH,))
def split_in_the_order_of_the_file() -> Recipe:
    """The file is sorted by class and was cut without shuffling: one class is never trained."""
    rows = [tables.wine()[n] for n in range(3)]
    x, y = (np.concatenate([part[n] for part in rows]) for n in range(2))
    order = np.argsort(y, kind="stable")
    x, y = x[order], y[order]
    parts = tables.scaled((x[:106], y[:106]), (x[106:142], y[106:142]), (x[142:], y[142:]))
    return wine_mlp().but(data=tables.as_splits(*parts))


class Turned(Dataset[Any]):
    """Images turned by any multiple of 90 degrees and flipped, anew each time."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        turns, flip = torch.randint(4, ()), torch.rand(()) < 0.5
        image = torch.rot90(self.x[index], int(turns), (1, 2))
        return (image.flip(2) if flip else image), self.y[index]


@planted(DATA, digits_cnn)
def an_augmentation_that_turns_everything() -> Recipe:
    """Training digits are turned by any right angle and flipped, which the class does not survive."""
    train, validation, test = (tables.tensors(*part) for part in tables.digits(image=True))
    return digits_cnn().but(data=Splits(train=Turned(*train), validation=validation, test=test))


class Cropped(Turned):
    """A patch of three by three pixels anywhere, the rest black."""

    def __getitem__(self, index: int) -> Any:
        top, left = (int(n) for n in torch.randint(6, (2,)))
        image = torch.zeros_like(self.x[index])
        image[:, top : top + 3, left : left + 3] = self.x[index][:, top : top + 3, left : left + 3]
        return image, self.y[index]


@planted(DATA, digits_cnn)
def an_augmentation_that_leaves_nothing() -> Recipe:
    """Training digits are cropped to a patch too small to know them by."""
    train, validation, test = (tables.tensors(*part) for part in tables.digits(image=True))
    return digits_cnn().but(data=Splits(train=Cropped(*train), validation=validation, test=test))


@planted(DATA, echo_elman, also=(Cause.WIRING,))
def targets_late_by_one_step() -> Recipe:
    """The targets of sequences are one step early against the inputs: a third of each is yet to come."""
    earlier = lambda x, y: (x, np.roll(y, -1, axis=1))  # noqa: E731
    return echo_elman().but(data=tables.as_splits(*tables.changed(sequences.echo(), "train validation test", earlier)))


@planted(DATA, last_gru)
def rare_tokens_as_one() -> Recipe:
    """Both tokens that matter were mapped to the same number by a short vocabulary."""
    short = lambda x, y: (np.where(x == 1, 0, x), y)  # noqa: E731
    parts = tables.changed(sequences.last_of_two(), "train validation test", short)
    return last_gru().but(data=tables.as_splits(*parts))


@planted(DATA, digits_sgd)
def pixels_overexposed() -> Recipe:
    """The images are overexposed: everything above 1/16 of full brightness is white, in all splits."""
    bright = lambda x, y: ((x > 0).astype("float32"), y)  # noqa: E731
    parts = tables.changed(tables.digits(), "train validation test", bright)
    return digits_sgd().but(data=tables.as_splits(*parts), optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9))


@planted(DATA, groups_mlp)
def half_of_the_labels_default() -> Recipe:
    """Unlabelled training rows, half of all, were read as class 0."""
    parts = tables.changed(tables.scaled(*tables.groups()), "train", lambda x, y: (x, np.where(some(y, 0.5), 0, y)))
    return groups_mlp().but(data=tables.as_splits(*parts))
