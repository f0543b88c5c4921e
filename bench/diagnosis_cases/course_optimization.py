"""Faults of the optimization from courses and papers: depth, memory, saddles, plateaus, noise, schedules, defaults."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from diagnosis_cases import course_data as made
from diagnosis_cases import course_nets as own
from diagnosis_cases import nets
from diagnosis_cases.case import planted
from diagnosis_cases.course_setups import (
    digits_by_many_filters,
    first_mark_by_identity,
    last_by_four_layers,
    parity_after_a_plateau,
    ratings_factorized,
    reviews_by_words,
    rings_by_radial_units,
    symbols_delayed,
    tumours_by_squared_error,
    warmth_by_branches,
    yields_of_fields,
)
from diagnosis_cases.forum_setups import bikes_poisson, sensors_denoised
from diagnosis_cases.setups import ADAM, SGD, lookup_attention, recipe
from thalweg import Recipe
from thalweg.diagnosis import Cause

OPTIMIZATION = Cause.OPTIMIZATION


@planted(OPTIMIZATION, digits_by_many_filters)
def many_filters_without_norm() -> Recipe:
    """The same eight layers of filters, plain, as torch begins them: hardly any signal is left behind them."""
    return digits_by_many_filters().but(model=partial(own.filters_in_a_row, 7, False))


@planted(OPTIMIZATION, first_mark_by_identity)
def a_memory_that_fades() -> Recipe:
    """The recurrence begins as half the identity: of what came thirty steps ago a billionth is left."""
    return first_mark_by_identity().but(model=partial(own.Identity, 0.5, "tanh"))


@planted(OPTIMIZATION, first_mark_by_identity)
def a_recurrence_that_begins_chaotic() -> Recipe:
    """A random recurrence four times too large: the least noise of thirty steps ago makes another state."""
    return first_mark_by_identity().but(
        model=partial(own.Identity, 4.0, "tanh", mixed=True), optimizer=partial(SGD, lr=1e-2, momentum=0.9)
    )


@planted(OPTIMIZATION, last_by_four_layers)
def post_norm_without_warm_up() -> Recipe:
    """Encoder layers that normalize what they give, at a rate for those that normalize what they take, no warm-up."""
    return last_by_four_layers().but(schedule=None, optimizer=partial(ADAM, lr=1e-2))


@planted(OPTIMIZATION, yields_of_fields)
def a_rate_that_falls_as_one_over_the_step() -> Recipe:
    """SGD whose rate is divided by the number of the step, as a theorem has it, with too small a constant."""
    return yields_of_fields().but(
        optimizer=partial(SGD, lr=0.05, momentum=0.9), schedule=lambda step, steps: 1 / (1 + step)
    )


@planted(OPTIMIZATION, ratings_factorized)
def factors_that_begin_at_the_saddle() -> Recipe:
    """Both factors begin at a ten-thousandth, near the saddle at zero, under SGD."""
    return ratings_factorized().but(model=partial(own.Factors, 3, 1e-4), optimizer=partial(SGD, lr=0.1))


@planted(OPTIMIZATION, tumours_by_squared_error, also=(Cause.WIRING,))
def a_sigmoid_saturated_under_a_squared_error() -> Recipe:
    """The squared error of a sigmoid that begins at 0 or 1: where it is wrong, no gradient says so."""
    return tumours_by_squared_error().but(model=partial(own.Probability, 30, 20.0))


@planted(OPTIMIZATION, symbols_delayed)
def adadelta_at_the_rate_of_adam() -> Recipe:
    """Adadelta at 1e-3, whose steps are a thousand times as small as it means them to be."""
    return symbols_delayed().but(optimizer=partial(torch.optim.Adadelta, lr=1e-3))


@planted(OPTIMIZATION, yields_of_fields)
def a_first_step_that_kills_all_units() -> Recipe:
    """SGD at 3 with gradients clipped at one: the first steps drive units below zero, where they stay."""
    return yields_of_fields().but(optimizer=partial(SGD, lr=3.0, momentum=0.9), clip_norm=1.0)


@planted(OPTIMIZATION, warmth_by_branches)
def branches_that_double_what_they_get() -> Recipe:
    """Residual branches taken large, each of which more than doubles the variance, at the rate for small ones."""
    return warmth_by_branches().but(model=partial(own.branches, 1.5), clip_norm=1.0)


@planted(OPTIMIZATION, sensors_denoised)
def a_deep_code_of_sigmoids() -> Recipe:
    """An autoencoder of eight layers of sigmoids, which gives the mean of the data whatever it sees."""
    return sensors_denoised().but(model=lambda: nets.mlp(8, 48, 32, 16, 6, 16, 32, 48, 8, act=nn.Sigmoid))


def private_loop(spread: float) -> Callable[..., None]:
    """A loop that clips the gradient and adds noise to it, so that no example can be told from the weights."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for weight in model.parameters():
                weight.grad.add_(spread * torch.randn_like(weight))
            optimizer.step()

    return loop


@planted(OPTIMIZATION, reviews_by_words)
def gradients_under_the_noise_of_privacy() -> Recipe:
    """Clipped gradients with noise more than ten times as long, for privacy."""
    return reviews_by_words().but(loop=private_loop(0.3))


@planted(OPTIMIZATION, symbols_delayed)
def the_range_test_left_on() -> Recipe:
    """A rate that rises from 1e-6 to 3 in the course of a training by SGD: a range test that nobody took out."""
    return symbols_delayed().but(schedule=lambda step, steps: 3e6 ** (step / steps), optimizer=partial(SGD, lr=1e-6))


@planted(OPTIMIZATION, bikes_poisson)
def log_rates_that_begin_at_twelve() -> Recipe:
    """The bias of the last layer begins at 12, a rate of 160,000 bikes an hour, from which Adam walks down slowly."""

    def net() -> nn.Module:
        built = nets.mlp(6, 64, 64, 1)
        nn.init.constant_(built[4].bias, 12.0)
        return built

    return bikes_poisson().but(model=net, optimizer=partial(ADAM, lr=3e-4))


@planted(OPTIMIZATION, rings_by_radial_units)
def centres_far_from_all_points() -> Recipe:
    """The centres begin where there are no points, and no unit answers to any."""
    return rings_by_radial_units().but(model=partial(own.Radial, 9.0))


@planted(OPTIMIZATION, warmth_by_branches, also=(Cause.DATA,), repaired=lambda: plain_warmth(0.0))
def temperatures_in_kelvin() -> Recipe:
    """Inputs of 293 plus or minus 5, never centred, by SGD at a rate that is stable for them."""
    return plain_warmth(293.0)


def plain_warmth(kelvin: float) -> Recipe:
    """What a house needs by two hidden layers under SGD."""
    sgd = partial(SGD, lr=1e-6 if kelvin else 0.02, momentum=0.9)
    net = lambda: nets.mlp(6, 64, 64, 1)  # noqa: E731
    return recipe(made.warmth(kelvin=kelvin), net, nn.MSELoss(), optimizer=sgd, epochs=25)


@planted(OPTIMIZATION, lookup_attention)
def attention_that_begins_saturated() -> Recipe:
    """Queries and keys begin thirty times too large: all weight lies on one row and stays there, under SGD."""

    def net() -> nn.Module:
        built = nets.Lookup(8, 16, 4)
        for layer in (built.query, built.key):
            nn.init.normal_(layer.weight, std=10.0)
        return built

    return lookup_attention().but(model=net, optimizer=partial(SGD, lr=0.05, momentum=0.9))


@planted(OPTIMIZATION, parity_after_a_plateau)
def stopped_on_the_plateau() -> Recipe:
    """A training that is over before the loss leaves its plateau."""
    return parity_after_a_plateau().but(epochs=12, optimizer=partial(ADAM, lr=3e-4))
