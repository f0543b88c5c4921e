"""Models that know their examples by heart: too many factors, words, units or epochs for what there is."""

from functools import partial
from typing import Any

import torch
from torch import nn

from diagnosis_cases import course_data as made
from diagnosis_cases import course_nets as own
from diagnosis_cases import forum_data, nets, sequences
from diagnosis_cases.case import planted
from diagnosis_cases.course_faults import loud
from diagnosis_cases.course_setups import (
    blobs_counted,
    games_of_two,
    ratings_factorized,
    reviews_by_words,
    spots_by_patches,
    symbols_delayed,
    tones_that_rise,
    yields_of_which_half_is_chance,
)
from diagnosis_cases.forum_setups import load_of_the_next_hour
from diagnosis_cases.overfitting import few
from diagnosis_cases.setups import ADAM
from thalweg import Recipe
from thalweg.diagnosis import Cause

OVERFITTING = Cause.OVERFITTING


@planted(OVERFITTING, ratings_factorized)
def thirty_factors_for_few_ratings() -> Recipe:
    """Thirty factors for each user and item where a user has rated ten."""
    return ratings_factorized().but(data=few(made.ratings(), 400), model=partial(own.Factors, 30))


@planted(OVERFITTING, yields_of_which_half_is_chance)
def chance_learned_by_heart() -> Recipe:
    """Two wide layers, two hundred epochs and no decay for rows of which half of the variance is chance."""
    return yields_of_which_half_is_chance().but(
        data=few(made.noisy_yields(), 100), model=lambda: nets.mlp(8, 256, 256, 1),
        optimizer=partial(ADAM, lr=2e-3), epochs=80,
    )  # fmt: skip


@planted(OVERFITTING, reviews_by_words)
def ninety_reviews() -> Recipe:
    """Ninety reviews, in which many of the words occur once."""
    return reviews_by_words().but(data=few(made.reviews(), 90), epochs=50)


@planted(OVERFITTING, blobs_counted)
def sixty_images_by_a_network_of_units() -> Recipe:
    """Sixty images of blobs for a large network without filters."""
    net = lambda: nn.Sequential(nn.Flatten(), *nets.mlp(144, 256, 256, 5))  # noqa: E731
    return blobs_counted().but(data=few(made.blobs(), 60), model=net, optimizer=partial(ADAM, lr=1e-3), epochs=50)


@planted(OVERFITTING, load_of_the_next_hour)
def seventy_hours_for_a_wide_network() -> Recipe:
    """Seventy hours of a load for two wide layers."""
    return load_of_the_next_hour().but(
        data=few(forum_data.loads(), 70), model=lambda: nn.Sequential(nn.Flatten(), *nets.mlp(24, 256, 256, 1)),
        optimizer=partial(ADAM, lr=2e-3), epochs=80,
    )  # fmt: skip


@planted(OVERFITTING, tones_that_rise, repaired=lambda: loud(False))
def thirty_tones_in_noise() -> Recipe:
    """Thirty recordings in loud noise for a hidden layer without filters."""
    return tones_that_rise().but(
        data=few(made.sweeps(noise=0.8), 30), model=lambda: nn.Sequential(nn.Flatten(), *nets.mlp(48, 128, 2)),
        batch_size=10, epochs=60,
    )  # fmt: skip


@planted(OVERFITTING, spots_by_patches)
def thirty_spots_in_patches() -> Recipe:
    """Thirty images of spots for an encoder layer over patches."""
    parts: Any = tuple((made.patches(x), y) for x, y in sequences.spots(seed=3))
    return spots_by_patches().but(data=few(parts, 30), batch_size=10, epochs=70)


@planted(OVERFITTING, games_of_two)
def forty_games() -> Recipe:
    """Forty games among twelve players."""
    return games_of_two().but(data=few(made.games(), 40), optimizer=partial(torch.optim.Adam, lr=5e-3), epochs=100)


@planted(OVERFITTING, symbols_delayed)
def five_sequences_of_symbols() -> Recipe:
    """Five sequences to learn from."""
    return symbols_delayed().but(data=few(made.delays(), 5), epochs=100)
