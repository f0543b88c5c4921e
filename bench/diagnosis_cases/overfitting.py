"""Networks that learn their examples and not the rule: too few examples, too many inputs, nothing that restrains."""

from functools import partial
from typing import Any

import numpy as np
from torch import nn

from diagnosis_cases import nets, sequences, tables
from diagnosis_cases.case import planted
from diagnosis_cases.setups import (
    ADAM,
    adding_gru,
    bars_cnn,
    cancer_logit,
    digits_cnn,
    digits_mlp,
    digits_rows_attention,
    digits_rows_gru,
    friedman_mlp,
    groups_mlp,
    labels_mlp,
    last_gru,
    lookup_attention,
    moons_mlp,
    spots_cnn,
    tags_gru,
    waves_cnn,
    wine_mlp,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

OVERFITTING = Cause.OVERFITTING


def few(parts: Any, count: int) -> Any:
    """The first examples of the training part alone."""
    return tables.as_splits(*tables.changed(parts, "train", lambda x, y: (x[:count], y[:count])))


def noisy(parts: Any, columns: int) -> Any:
    """So many columns of noise more, in all parts."""

    def more(x: Any, y: Any) -> Any:
        return np.concatenate([x, np.random.default_rng(len(x)).normal(size=(len(x), columns))], 1), y

    return tables.as_splits(*tables.changed(parts, "train validation test", more))


@planted(OVERFITTING, digits_mlp)
def fifty_digits() -> Recipe:
    """Fifty training examples."""
    return digits_mlp().but(data=few(tables.digits(), 50), batch_size=10, epochs=80)


@planted(OVERFITTING, digits_cnn)
def forty_images() -> Recipe:
    """Forty training images."""
    return digits_cnn().but(data=few(tables.digits(image=True), 40), batch_size=10, epochs=80)


@planted(OVERFITTING, friedman_mlp)
def fifty_rows_and_a_huge_network() -> Recipe:
    """Fifty training rows for a network of 70,000 weights."""
    return friedman_mlp().but(
        data=few(tables.friedman(), 50),
        model=lambda: nets.mlp(10, 256, 256, 1),
        optimizer=partial(ADAM, lr=1e-3),
        epochs=150,
    )


@planted(OVERFITTING, groups_mlp)
def sixty_points() -> Recipe:
    """Sixty training points of four classes."""
    return groups_mlp().but(data=few(tables.scaled(*tables.groups()), 60), epochs=100, batch_size=16)


@planted(OVERFITTING, moons_mlp)
def twelve_points_of_moons() -> Recipe:
    """Twelve training points of two half moons."""
    return moons_mlp().but(data=few(tables.moons(), 12), batch_size=6, epochs=150)


@planted(OVERFITTING, labels_mlp)
def eighty_rows_of_labels() -> Recipe:
    """Eighty training rows with five labels each."""
    return labels_mlp().but(data=few(tables.labels(), 80), epochs=120)


@planted(OVERFITTING, waves_cnn)
def thirty_waves() -> Recipe:
    """Thirty training signals in strong noise."""
    return waves_cnn().but(
        data=few(sequences.waves(noise=1.0), 30),
        model=lambda: nn.Sequential(nn.Flatten(), *nets.mlp(32, 128, 3)),
        epochs=60,
    )


@planted(OVERFITTING, spots_cnn)
def twenty_spots() -> Recipe:
    """Twenty training images of spots."""
    return spots_cnn().but(data=few(sequences.spots(), 20), batch_size=10, epochs=150)


@planted(OVERFITTING, bars_cnn)
def lines_by_a_network_without_filters() -> Recipe:
    """Fifty training images of lines anywhere, by a large network that has to learn every place for itself."""
    net = lambda: nn.Sequential(nn.Flatten(), *nets.mlp(100, 256, 256, 3))  # noqa: E731
    return bars_cnn().but(data=few(sequences.bars(), 50), model=net, optimizer=partial(ADAM, lr=1e-3), epochs=60)


@planted(OVERFITTING, digits_rows_gru)
def sixty_digits_for_a_gru() -> Recipe:
    """Sixty training examples for a GRU."""
    parts: Any = tuple((x.reshape(-1, 8, 8), y) for x, y in tables.digits())
    return digits_rows_gru().but(data=few(parts, 60), epochs=80)


@planted(OVERFITTING, last_gru)
def fifty_sequences() -> Recipe:
    """Fifty training sequences."""
    return last_gru().but(data=few(sequences.last_of_two(), 50), epochs=80)


@planted(OVERFITTING, adding_gru)
def forty_sums() -> Recipe:
    """Forty training sequences for a regression."""
    return adding_gru().but(data=few(sequences.adding(), 40), epochs=120)


@planted(OVERFITTING, tags_gru)
def six_tagged_sequences() -> Recipe:
    """Six training sequences, tagged."""
    return tags_gru().but(data=few(sequences.tags(), 6), epochs=120)


@planted(OVERFITTING, digits_rows_attention)
def sixty_digits_for_attention() -> Recipe:
    """Sixty training examples for an encoder layer."""
    parts: Any = tuple((x.reshape(-1, 8, 8), y) for x, y in tables.digits())
    return digits_rows_attention().but(data=few(parts, 60), epochs=80)


@planted(OVERFITTING, lookup_attention)
def sixty_questions() -> Recipe:
    """Sixty training examples of key, value and question."""
    return lookup_attention().but(data=few(sequences.lookup(), 60), epochs=120)


@planted(OVERFITTING, cancer_logit)
def noise_for_inputs() -> Recipe:
    """Eighty tumours, and 400 columns of noise beside the thirty measures."""
    parts = tables.scaled(*((x, y[:, None].astype("float32")) for x, y in tables.cancer()))
    parts = tables.changed(parts, "train", lambda x, y: (x[:80], y[:80]))
    return cancer_logit().but(data=noisy(parts, 400), model=lambda: nets.mlp(430, 64, 1))


@planted(OVERFITTING, wine_mlp)
def noise_for_wines() -> Recipe:
    """Wines with 400 columns of noise beside the thirteen measures."""
    return wine_mlp().but(data=noisy(tables.scaled(*tables.wine()), 400), model=lambda: nets.mlp(413, 64, 3))


@planted(OVERFITTING, groups_mlp)
def noise_for_points() -> Recipe:
    """Three hundred columns of noise beside the twenty that matter."""
    net = lambda: nets.mlp(320, 256, 256, 4)  # noqa: E731
    return groups_mlp().but(
        data=noisy(tables.scaled(*tables.groups()), 300), model=net, optimizer=partial(ADAM, lr=1e-3)
    )
