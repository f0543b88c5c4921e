"""Trainings that look ill and are well."""

from functools import partial

import numpy as np
from torch import nn

from diagnosis_cases import course_nets as own
from diagnosis_cases import nets
from diagnosis_cases.case import planted
from diagnosis_cases.course_setups import (
    games_of_two,
    ratings_factorized,
    reviews_by_words,
    rings_by_radial_units,
    symbols_delayed,
    tones_that_rise,
    yields_of_fields,
)
from diagnosis_cases.setups import ADAM, SGD, digits_mlp
from thalweg import Recipe
from thalweg.diagnosis import Cause

NONE = Cause.NONE


@planted(NONE, digits_mlp)
def a_deep_stack_that_trains_all_the_same() -> Recipe:
    """Eight plain layers, without skips or norm, which He's initialization keeps alive."""

    def net() -> nn.Module:
        built = nets.mlp(64, *[64] * 8, 10)
        for layer in built:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return built

    return digits_mlp().but(model=net, optimizer=partial(ADAM, lr=1e-3))


@planted(NONE, ratings_factorized)
def factors_that_begin_near_zero_and_leave_it() -> Recipe:
    """Factors that begin at a thousandth: the loss stands still for a while, and Adam leaves the saddle."""
    return ratings_factorized().but(model=partial(own.Factors, 3, 1e-3))


@planted(NONE, symbols_delayed)
def a_long_warm_up() -> Recipe:
    """Half of the training is a warm-up."""
    return symbols_delayed().but(schedule=lambda step, steps: min(1.0, 2 * (step + 1) / steps))


@planted(NONE, yields_of_fields)
def a_loss_that_shakes_until_the_end() -> Recipe:
    """Batches of four at a lively rate, which falls at the very end."""
    return yields_of_fields().but(
        batch_size=4, epochs=8, optimizer=partial(ADAM, lr=3e-3),
        schedule=lambda step, steps: min(1.0, 3.0 * (1 - step / steps)),
    )  # fmt: skip


@planted(NONE, games_of_two)
def a_layer_of_sigmoids() -> Recipe:
    """Sigmoids in the hidden layer, which one layer survives."""
    net = lambda: nn.Sequential(nn.Embedding(12, 8), nn.Flatten(), *nets.mlp(16, 32, 2, act=nn.Sigmoid))  # noqa: E731
    return games_of_two().but(model=net, epochs=25)


@planted(NONE, rings_by_radial_units)
def a_rate_that_is_restarted() -> Recipe:
    """The rate falls to nothing and begins anew three times."""
    fall = lambda step, steps: 0.5 * (1 + np.cos(np.pi * (3 * step / steps % 1)))  # noqa: E731
    return rings_by_radial_units().but(schedule=fall, epochs=24)


@planted(NONE, reviews_by_words)
def a_rate_of_one_for_embeddings() -> Recipe:
    """Plain SGD at a rate that looks huge, as the gradients of averaged embeddings are small."""
    return reviews_by_words().but(optimizer=partial(SGD, lr=1.0, momentum=0.9), epochs=15)


@planted(NONE, tones_that_rise)
def only_a_few_filters() -> Recipe:
    """Four filters where there were sixteen, which are enough."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(1, 4, 9, stride=2), nn.ReLU(), nn.Conv1d(4, 4, 7), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14, 2)
        )

    return tones_that_rise().but(model=net)
