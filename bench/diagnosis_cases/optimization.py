"""Faults of optimization: the network could fit, and training does not get there."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from diagnosis_cases import nets, tables
from diagnosis_cases.case import planted
from diagnosis_cases.setups import (
    ADAM,
    SGD,
    adding_gru,
    bars_cnn,
    digits_cnn,
    digits_mlp,
    digits_rows_attention,
    digits_sgd,
    digits_tanh,
    echo_elman,
    forecast_lstm,
    friedman_mlp,
    friedman_sgd,
    groups_mlp,
    last_attention,
    last_gru,
    moons_mlp,
    recipe,
    tags_gru,
    waves_cnn,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

OPTIMIZATION = Cause.OPTIMIZATION


def begun(net: nn.Module, begin: Callable[[nn.Linear], object]) -> nn.Module:
    """A network with its linear layers initialized so."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            begin(layer)
    return net


@planted(OPTIMIZATION, digits_mlp)
def a_rate_too_low() -> Recipe:
    """Adam at 1e-5."""
    return digits_mlp().but(optimizer=partial(ADAM, lr=1e-5))


@planted(OPTIMIZATION, adding_gru)
def a_rate_too_low_for_a_gru() -> Recipe:
    """A GRU under Adam at 3e-5."""
    return adding_gru().but(optimizer=partial(ADAM, lr=3e-5))


@planted(OPTIMIZATION, waves_cnn)
def a_rate_too_low_for_filters() -> Recipe:
    """Filters in time under Adam at 2e-5."""
    return waves_cnn().but(optimizer=partial(ADAM, lr=2e-5))


@planted(OPTIMIZATION, digits_cnn)
def a_rate_too_high_for_filters() -> Recipe:
    """Filters under Adam at 0.3."""
    return digits_cnn().but(optimizer=partial(ADAM, lr=0.3))


@planted(OPTIMIZATION, digits_rows_attention)
def a_rate_too_high_for_attention() -> Recipe:
    """An encoder layer under Adam at 0.1."""
    return digits_rows_attention().but(optimizer=partial(ADAM, lr=0.1))


@planted(OPTIMIZATION, forecast_lstm)
def a_rate_too_high_for_an_lstm() -> Recipe:
    """An LSTM under Adam at 0.5."""
    return forecast_lstm().but(optimizer=partial(ADAM, lr=0.5))


@planted(OPTIMIZATION, groups_mlp)
def a_rate_too_high() -> Recipe:
    """Two hidden layers under Adam at 1."""
    return groups_mlp().but(optimizer=partial(ADAM, lr=1.0))


@planted(OPTIMIZATION, friedman_sgd, also=(Cause.DATA,))
def inputs_of_very_different_scale() -> Recipe:
    """Inputs whose scales reach from 0.01 to 20, by SGD at the largest rate that is stable."""
    scales = np.geomspace(0.01, 20, 10)
    wide = lambda x, y: (x * scales, y)  # noqa: E731
    parts = tables.changed(tables.scaled(*tables.friedman(seed=4)), "train validation test", wide)
    return friedman_sgd().but(data=tables.as_splits(*parts), optimizer=partial(SGD, lr=0.001, momentum=0.9))


@planted(OPTIMIZATION, digits_mlp)
def all_weights_zero() -> Recipe:
    """All weights begin at zero, so that the units of the hidden layer stay the same."""

    def zeros(layer: nn.Linear) -> None:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)

    return digits_mlp().but(model=lambda: begun(nets.mlp(64, 64, 10), zeros))


@planted(OPTIMIZATION, friedman_mlp)
def all_weights_alike() -> Recipe:
    """All weights begin at 0.05: every layer is one unit many times."""
    alike = lambda layer: nn.init.constant_(layer.weight, 0.05)  # noqa: E731
    return friedman_mlp().but(
        model=lambda: begun(
            nn.Sequential(*nets.mlp(10, 64, 64, 1)), lambda layer: (alike(layer), nn.init.zeros_(layer.bias))
        )
    )


@planted(OPTIMIZATION, digits_tanh)
def weights_a_hundred_times_too_large() -> Recipe:
    """Weights of tanh layers begin a hundred times too large and saturate them."""
    return digits_tanh().but(
        model=lambda: begun(
            nets.mlp(64, 48, 48, 48, 10, act=nn.Tanh), lambda layer: nn.init.normal_(layer.weight, std=10.0)
        )
    )


@planted(OPTIMIZATION, digits_sgd)
def weights_a_hundred_times_too_small() -> Recipe:
    """Weights begin a hundred times too small in four hidden layers."""
    return digits_sgd().but(
        model=lambda: begun(nets.mlp(64, 64, 64, 64, 64, 10), lambda layer: nn.init.normal_(layer.weight, std=1e-3))
    )


@planted(OPTIMIZATION, digits_mlp)
def nine_layers_of_sigmoid() -> Recipe:
    """Nine hidden layers of sigmoids, through which hardly any gradient comes."""
    return digits_mlp().but(model=lambda: nets.mlp(64, *[32] * 9, 10, act=nn.Sigmoid))


@planted(OPTIMIZATION, friedman_mlp)
def eight_layers_of_sigmoid() -> Recipe:
    """Eight hidden layers of sigmoids for a regression."""
    return friedman_mlp().but(model=lambda: nets.mlp(10, *[24] * 8, 1, act=nn.Sigmoid))


@planted(OPTIMIZATION, digits_sgd)
def units_that_begin_dead() -> Recipe:
    """Biases of the ReLU layers begin at -5: their units never answer."""
    return digits_sgd().but(
        model=lambda: begun(nets.mlp(64, 64, 64, 10), lambda layer: nn.init.constant_(layer.bias, -5.0))
    )


@planted(OPTIMIZATION, last_gru)
def too_few_epochs() -> Recipe:
    """A GRU for two epochs at a modest rate."""
    return last_gru().but(epochs=2, optimizer=partial(ADAM, lr=5e-4))


@planted(OPTIMIZATION, friedman_mlp)
def too_few_epochs_for_a_curve() -> Recipe:
    """A regression for three epochs."""
    return friedman_mlp().but(epochs=3)


@planted(OPTIMIZATION, groups_mlp)
def a_large_batch_at_the_rate_of_a_small_one() -> Recipe:
    """SGD at a rate for batches of 32, with batches of 900 and as many epochs."""
    return groups_mlp().but(batch_size=900, optimizer=partial(SGD, lr=0.05))


@planted(OPTIMIZATION, bars_cnn)
def all_images_in_one_batch() -> Recipe:
    """All training images in one batch, at the same rate, for as many epochs."""
    return bars_cnn().but(batch_size=None, optimizer=partial(ADAM, lr=1e-3))


@planted(OPTIMIZATION, moons_mlp)
def adam_with_a_large_eps() -> Recipe:
    """Adam with eps=10, which divides every step by it."""
    return moons_mlp().but(optimizer=partial(ADAM, lr=5e-3, eps=10.0))


@planted(OPTIMIZATION, tags_gru)
def rmsprop_with_a_large_eps() -> Recipe:
    """RMSprop with eps=10."""
    return tags_gru().but(optimizer=partial(torch.optim.RMSprop, lr=1e-2, eps=10.0))


@planted(OPTIMIZATION, friedman_sgd)
def momentum_too_near_one() -> Recipe:
    """Momentum 0.999 at an unchanged rate."""
    return friedman_sgd().but(optimizer=partial(SGD, lr=0.02, momentum=0.999))


@planted(OPTIMIZATION, digits_sgd)
def adagrad_that_begins_full() -> Recipe:
    """Adagrad whose accumulator begins at 1000."""
    return digits_sgd().but(optimizer=partial(torch.optim.Adagrad, lr=0.02, initial_accumulator_value=1000.0))


@planted(OPTIMIZATION, last_attention)
def a_warm_up_longer_than_the_training() -> Recipe:
    """A linear warm-up meant for a training a thousand times as long."""
    return last_attention().but(schedule=lambda step, steps: step / (1000 * steps))


@planted(OPTIMIZATION, echo_elman)
def gradients_clipped_to_nothing() -> Recipe:
    """Gradients clipped to a length of 1e-4 under SGD."""
    return echo_elman().but(optimizer=partial(SGD, lr=0.05, momentum=0.9), clip_norm=1e-4)


@planted(OPTIMIZATION, digits_mlp, also=(Cause.MODEL_BIAS,))
def weight_decay_far_too_strong() -> Recipe:
    """Weight decay of 1 in SGD holds the weights near zero: the optimizer is told to stay away from the fit."""
    return digits_mlp().but(optimizer=partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1))


@planted(OPTIMIZATION, friedman_mlp, also=(Cause.MODEL_BIAS,))
def a_penalty_far_too_strong() -> Recipe:
    """A penalty on all weights that outweighs the loss."""
    heavy = lambda model: 0.1 * sum(weight.square().sum() for weight in model.parameters())  # noqa: E731
    return friedman_mlp().but(penalty=heavy)


@planted(OPTIMIZATION, digits_rows_attention, repaired=lambda: deep_rows(1e-3))
def deep_attention_by_a_low_rate_of_sgd() -> Recipe:
    """An encoder layer by plain SGD at a low rate."""
    return deep_rows(0.0)


def deep_rows(adam: float) -> Recipe:
    """The rows of a digit by an encoder layer, by Adam or by SGD."""
    parts = tuple((x.reshape(-1, 8, 8), y) for x, y in tables.digits())
    optimizer = partial(ADAM, lr=3 * adam) if adam else partial(SGD, lr=1e-3)
    return recipe(parts, nets.Rows, optimizer=optimizer, epochs=18)
