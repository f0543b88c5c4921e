"""Faults of the data from the field, in images, signals and texts: files, labels, cuts, scales, augmentation."""

from typing import Any

import numpy as np
import torch

from diagnosis_cases import field_data as made
from diagnosis_cases import tables
from diagnosis_cases.case import planted
from diagnosis_cases.data import Turned, some
from diagnosis_cases.field_setups import (
    batteries_by_lstm,
    beats_of_hearts,
    digits_by_residual_filters,
    letters_b_d_p_q,
    orders_in_a_shop,
    points_of_faces,
    signs_in_colour,
    strips_marked,
    topics_of_mail,
)
from thalweg import Recipe, Splits
from thalweg.diagnosis import Cause

DATA = Cause.DATA
ALL = "train validation test"


def splits(parts: made.Parts, at: str, change: Any) -> Splits:
    """The three parts as tensors, those named changed."""
    return tables.as_splits(*tables.changed(parts, at, change))


def draws(x: Any) -> np.random.Generator:
    """Chance that differs between parts of different length, and is the same each time."""
    return np.random.default_rng(len(x))


# --- images -----------------------------------------------------------------------------------------------------------


@planted(DATA, signs_in_colour)
def half_of_the_images_in_blue_green_red() -> Recipe:
    """Half of the training images were read by a library that gives blue first, the others by one that gives red."""
    turned = lambda x, y: (np.where(some(y, 0.5)[:, None, None, None], x[:, ::-1], x), y)  # noqa: E731
    return signs_in_colour().but(data=splits(made.signs(), "train", turned))


@planted(DATA, signs_in_colour)
def signs_made_grey() -> Recipe:
    """All images were made grey and written with three equal channels, though the colour is half of the class."""
    grey = lambda x, y: (np.repeat(x.mean(1, keepdims=True), 3, axis=1), y)  # noqa: E731
    return signs_in_colour().but(data=splits(made.signs(), ALL, grey))


@planted(DATA, signs_in_colour)
def files_that_came_out_black() -> Recipe:
    """A third of the files, in all parts, were not found and came out as black images."""
    black = lambda x, y: (np.where(draws(x).random(len(y))[:, None, None, None] < 0.35, 0, x), y)  # noqa: E731
    return signs_in_colour().but(data=splits(made.signs(), ALL, black))


@planted(DATA, signs_in_colour)
def labels_one_late_after_a_broken_file() -> Recipe:
    """A broken file was skipped but its label was not: from a tenth of the training list on, labels are one late."""

    def late(x: Any, y: Any) -> Any:
        broken = len(y) // 10
        return np.delete(x, broken, axis=0), y[:-1]

    return signs_in_colour().but(data=splits(made.signs(), "train", late))


class MirroredOnly(Turned):
    """Images mirrored left to right half of the time; what is asked for stays as it was."""

    def __getitem__(self, index: int) -> Any:
        x, flip = self.x[index], bool(torch.rand(()) < 0.5)
        return (x.flip(-1) if flip else x), self.y[index]


def mirrored(parts: made.Parts) -> Splits:
    """The training part mirrored half of the time."""
    train, validation, test = (tables.tensors(*part) for part in parts)
    return Splits(train=MirroredOnly(*train), validation=validation, test=test)


@planted(DATA, points_of_faces)
def mirror_images_that_keep_their_points() -> Recipe:
    """The augmentation mirrors the training images and leaves the points where they were."""
    return points_of_faces().but(data=mirrored(made.faces()))


@planted(DATA, points_of_faces)
def an_annotator_who_writes_rows_first() -> Recipe:
    """One of two annotators of the training images wrote row and column, the other x and y."""
    turned = lambda x, y: (x, np.where(some(y, 0.45)[:, None], y[:, [1, 0, 3, 2]], y))  # noqa: E731
    return points_of_faces().but(data=splits(made.faces(), "train", turned))


@planted(DATA, points_of_faces)
def hidden_points_at_the_origin() -> Recipe:
    """Points that an annotator did not mark, a quarter of the training set, were exported as the upper left corner."""

    def corner(x: Any, y: Any) -> Any:
        left = np.random.default_rng(4).random((len(y), 2)) < 0.25
        return x, np.where(np.repeat(left, 2, axis=1), -1, y).astype(np.float32)

    return points_of_faces().but(data=splits(made.faces(), "train", corner))


@planted(DATA, letters_b_d_p_q)
def letters_mirrored_to_have_more() -> Recipe:
    """Mirroring was taken over from photographs: it makes a d of a b, under the label b."""
    return letters_b_d_p_q().but(data=mirrored(made.letters()))


@planted(DATA, letters_b_d_p_q)
def letters_shrunk_to_thumbnails() -> Recipe:
    """All images were shrunk to 3 x 3 pixels and blown up again: little is left of the letters."""

    def shrunk(x: Any, y: Any) -> Any:
        small = x[:, :, :9, :9].reshape(-1, 1, 3, 3, 3, 3).mean((3, 5))
        return np.pad(small.repeat(3, axis=2).repeat(3, axis=3), ((0, 0), (0, 0), (0, 1), (0, 1))), y

    return letters_b_d_p_q().but(data=splits(made.letters(), ALL, shrunk))


@planted(DATA, letters_b_d_p_q)
def crops_that_miss_the_letter() -> Recipe:
    """A detector set all crops five rows too low, so that many letters lose their upper part."""
    low = lambda x, y: (np.pad(x[:, :, 5:], ((0, 0), (0, 0), (0, 5), (0, 0))), y)  # noqa: E731
    return letters_b_d_p_q().but(data=splits(made.letters(), ALL, low))


@planted(DATA, digits_by_residual_filters)
def files_that_count_from_zero_and_from_one() -> Recipe:
    """Half of the training labels come from a file that counts the classes from 1 (modulo ten), half from 0."""
    mixed = lambda x, y: (x, np.where(some(y, 0.5), (y + 1) % 10, y))  # noqa: E731
    return digits_by_residual_filters().but(data=splits(tables.digits(image=True), "train", mixed))


@planted(DATA, digits_by_residual_filters)
def sheets_scanned_in_any_direction() -> Recipe:
    """Sheets went into the scanner in any of four directions, in all parts, and nobody wrote down which."""

    def turned(x: Any, y: Any) -> Any:
        turns = draws(x).integers(0, 4, len(x))
        return np.stack([np.rot90(image, n, (1, 2)) for image, n in zip(x, turns, strict=True)]), y

    return digits_by_residual_filters().but(data=splits(tables.digits(image=True), ALL, turned))


@planted(DATA, digits_by_residual_filters)
def a_sticker_over_the_upper_half() -> Recipe:
    """A sticker hides the upper half of every digit, in all parts."""
    hidden = lambda x, y: (np.where(np.arange(8)[:, None] < 4, 0, x), y)  # noqa: E731
    return digits_by_residual_filters().but(data=splits(tables.digits(image=True), ALL, hidden))


# --- signals ----------------------------------------------------------------------------------------------------------


@planted(DATA, beats_of_hearts)
def every_beat_scaled_to_one() -> Recipe:
    """Every beat was divided by its own largest value, on each lead, though one kind is known by its height."""
    scaled = lambda x, y: (x / np.abs(x).max(2, keepdims=True), y)  # noqa: E731
    return beats_of_hearts().but(data=splits(made.beats(), ALL, scaled))


@planted(DATA, beats_of_hearts)
def an_amplifier_that_saturates() -> Recipe:
    """The amplifier cuts everything above 0.2 and below 0: spikes of any height and inverted waves look alike."""
    cut = lambda x, y: (np.clip(x, 0, 0.2), y)  # noqa: E731
    return beats_of_hearts().but(data=splits(made.beats(), ALL, cut))


@planted(DATA, beats_of_hearts)
def windows_that_end_before_the_last_wave() -> Recipe:
    """The windows were cut by a fixed time that is too short: the last wave of every beat is outside."""
    short = lambda x, y: (np.where(np.arange(40) < 22, x, 0), y)  # noqa: E731
    return beats_of_hearts().but(data=splits(made.beats(), ALL, short))


@planted(DATA, beats_of_hearts)
def readers_who_overlook_low_beats() -> Recipe:
    """Three in four of the training beats that are low were read as healthy."""
    overlooked = lambda x, y: (x, np.where((y == 2) & some(y, 0.75), 0, y))  # noqa: E731
    return beats_of_hearts().but(data=splits(made.beats(), "train", overlooked))


@planted(DATA, strips_marked)
def marks_of_the_first_places_only() -> Recipe:
    """The tool showed those who marked the training strips only the first ten places: beyond them nothing is marked."""
    first = lambda x, y: (x, np.where(np.arange(24) < 10, y, 0).astype(np.float32))  # noqa: E731
    return strips_marked().but(data=splits(made.strips(), "train", first))


@planted(DATA, strips_marked, also=(Cause.WIRING,))
def marks_made_on_a_longer_strip() -> Recipe:
    """The marks were made before five places were cut off the front: in all training strips they lie five behind."""
    late = lambda x, y: (x, np.roll(y, 5, axis=1))  # noqa: E731
    return strips_marked().but(data=splits(made.strips(), "train", late))


@planted(DATA, batteries_by_lstm)
def flows_logged_without_their_sign() -> Recipe:
    """The logger wrote currents as numbers without a sign: in and out look the same, in all parts."""
    unsigned = lambda x, y: (np.abs(x), y)  # noqa: E731
    return batteries_by_lstm().but(data=splits(made.batteries(), ALL, unsigned))


@planted(DATA, batteries_by_lstm)
def percents_among_fractions() -> Recipe:
    """An eighth of the training targets are in percent, the others are fractions."""
    percent = lambda x, y: (x, np.where(some(y, 0.12)[:, None], 100 * y, y))  # noqa: E731
    return batteries_by_lstm().but(data=splits(made.batteries(), "train", percent))


@planted(DATA, batteries_by_lstm)
def flows_lost_on_the_way() -> Recipe:
    """A third of all readings were lost on the way and stand as zero, as if nothing had flowed."""
    lost = lambda x, y: (np.where(draws(x).random(x.shape) < 0.35, 0, x), y)  # noqa: E731
    return batteries_by_lstm().but(data=splits(made.batteries(), ALL, lost))


# --- texts ------------------------------------------------------------------------------------------------------------


@planted(DATA, topics_of_mail)
def a_vocabulary_of_the_commonest_words() -> Recipe:
    """Only the 112 commonest words were kept, all others became one: what tells the topic is rare."""
    kept = lambda x, y: (np.where((x < made.COMMON) | (x % made.OWN < 3), x, 179), y)  # noqa: E731
    return topics_of_mail().but(data=splits(made.mail(), ALL, kept))


@planted(DATA, topics_of_mail)
def a_letterhead_that_fills_the_window() -> Recipe:
    """More than half of all letters begin with a letterhead so long that nothing else is within the first words."""
    head = np.random.default_rng(6).integers(0, made.COMMON, 16)
    covered = lambda x, y: (np.where(draws(x).random(len(y))[:, None] < 0.55, head, x), y)  # noqa: E731
    return topics_of_mail().but(data=splits(made.mail(), ALL, covered))


@planted(DATA, topics_of_mail)
def labels_by_a_list_of_keywords() -> Recipe:
    """Training labels were made by five keywords for each topic; letters with none of them were filed under the first.

    The words of a topic are numbered from COMMON on, twenty for each.
    """

    def by_list(x: Any, y: Any) -> Any:
        listed = (x >= made.COMMON) & (x % made.OWN < 5)
        return x, np.where(listed.any(1), y, 0)

    return topics_of_mail().but(data=splits(made.mail(), "train", by_list))


@planted(DATA, topics_of_mail)
def pages_of_two_letters_glued() -> Recipe:
    """The second half of every letter is that of the next letter in the pile, in all parts."""
    glued = lambda x, y: (np.concatenate([x[:, :8], np.roll(x, 1, axis=0)[:, 8:]], 1), y)  # noqa: E731
    return topics_of_mail().but(data=splits(made.mail(), ALL, glued))


@planted(DATA, orders_in_a_shop)
def events_sorted_by_their_name() -> Recipe:
    """The events of every customer were sorted by name on the way out of the database: their order is lost."""
    return orders_in_a_shop().but(data=splits(made.orders(), ALL, lambda x, y: (np.sort(x, axis=1), y)))


@planted(DATA, orders_in_a_shop)
def histories_cut_after_the_fifth_event() -> Recipe:
    """Only the first five events of every customer were exported; the rest is filler (8)."""
    cut = lambda x, y: (np.where(np.arange(9) < 5, x, 8), y)  # noqa: E731
    return orders_in_a_shop().but(data=splits(made.orders(), ALL, cut))


@planted(DATA, orders_in_a_shop)
def customers_under_one_number() -> Recipe:
    """In six of ten training histories the later events are those of another customer."""

    def mixed(x: Any, y: Any) -> Any:
        other = np.concatenate([x[:, :4], np.roll(x, 1, axis=0)[:, 4:]], 1)
        return np.where(some(y, 0.6)[:, None], other, x), y

    return orders_in_a_shop().but(data=splits(made.orders(), "train", mixed))
