"""Faults of the optimization as they are asked about: rates, decay, depth, scales, averages, early stops."""

import copy
from functools import partial
from typing import Any

import torch
from torch import nn

import thalweg
from diagnosis_cases import forum_data as made
from diagnosis_cases import forum_nets as own
from diagnosis_cases import nets
from diagnosis_cases.case import planted
from diagnosis_cases.forum_setups import (
    bikes_poisson,
    drawings_of_several,
    grades_ordinal,
    loaders,
    machines_by_experts,
    melodies_composed,
    preferred_offer,
    sales_of_shops,
    spirals_by_a_deep_network,
    tickets_of_two_tasks,
    visits_of_patients,
)
from diagnosis_cases.setups import cancer_batch_norm
from thalweg import Recipe
from thalweg.diagnosis import Cause

OPTIMIZATION = Cause.OPTIMIZATION


@planted(OPTIMIZATION, machines_by_experts)
def the_rate_of_adam_for_plain_descent() -> Recipe:
    """SGD without momentum at the rate that one gives to Adam."""
    return machines_by_experts().but(optimizer=partial(torch.optim.SGD, lr=1e-3))


@planted(OPTIMIZATION, sales_of_shops)
def decay_of_one_within_adam() -> Recipe:
    """Weight decay of 1 in Adam, where it is part of the gradient."""
    return sales_of_shops().but(optimizer=partial(torch.optim.Adam, lr=3e-3, weight_decay=1.0))


@planted(OPTIMIZATION, melodies_composed)
def decoupled_decay_by_a_hundred() -> Recipe:
    """AdamW with a weight decay of 100: every step takes a third of all weights."""
    return melodies_composed().but(optimizer=partial(torch.optim.AdamW, lr=3e-3, weight_decay=100.0))


@planted(OPTIMIZATION, spirals_by_a_deep_network)
def thirty_layers_without_a_skip() -> Recipe:
    """Thirty layers without skips."""
    return spirals_by_a_deep_network().but(model=partial(own.deep, 30, skip=False))


@planted(OPTIMIZATION, cancer_batch_norm, also=(Cause.DATA,))
def sigmoids_fed_with_raw_measures() -> Recipe:
    """A hidden layer of sigmoids for measures of up to several thousand: they are saturated from the first step."""
    net = lambda: nets.mlp(30, 16, 16, 2, act=nn.Sigmoid)  # noqa: E731
    return cancer_batch_norm().but(model=net, optimizer=partial(torch.optim.SGD, lr=0.01))


@planted(OPTIMIZATION, drawings_of_several, also=(Cause.WIRING,))
def a_rate_that_is_gone_after_an_epoch() -> Recipe:
    """The rate is divided by a thousand after every epoch."""
    falling = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=1e-3)
    return drawings_of_several().but(schedule=falling, optimizer=partial(torch.optim.Adam, lr=1e-3))


@planted(OPTIMIZATION, visits_of_patients)
def gates_that_begin_shut() -> Recipe:
    """The gates of a GRU begin with biases that keep the old state, zero, whatever comes."""

    def net() -> nn.Module:
        built = own.VisitReader()
        with torch.no_grad():
            built.rnn.bias_ih_l0[32:64] = 12.0
        return built

    return visits_of_patients().but(model=net, optimizer=partial(torch.optim.Adam, lr=2e-3))


def in_units(of_an_hour: float) -> Recipe:
    """Tickets whose times are in another unit."""
    parts: Any = tuple((x, urgent, of_an_hour * hours) for x, urgent, hours in made.tickets())
    return tickets_of_two_tasks().but(data=loaders(parts))


@planted(OPTIMIZATION, tickets_of_two_tasks, also=(Cause.DATA, Cause.WIRING))
def one_task_that_drowns_the_other() -> Recipe:
    """The times are in seconds: their squared error is ten million times as large, and nothing is left for urgency."""
    return in_units(3600.0)


@planted(OPTIMIZATION, melodies_composed)
def embeddings_that_begin_at_a_hundred() -> Recipe:
    """Embeddings that begin a hundred times as large as they should, so that nothing moves them."""

    class Wide(own.Composer):
        spread = 100.0

        def __init__(self) -> None:
            super().__init__()
            with torch.no_grad():
                self.place.mul_(0.01)

    return melodies_composed().but(model=Wide)


@planted(OPTIMIZATION, preferred_offer)
def stopped_at_the_first_bump() -> Recipe:
    """Training stops as soon as the validation loss has not fallen by 0.2 in an epoch."""
    return preferred_offer().but(
        stopping=thalweg.EarlyStopping(patience=1, min_delta=0.2), optimizer=partial(torch.optim.Adam, lr=5e-4)
    )


class Slow:
    """An average of the weights that takes a ten-thousandth of what is new at each step, and no more at the start."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.module = model, copy.deepcopy(model)

    def update(self, step: int, steps: int | None) -> None:
        """Take in the weights."""
        with torch.no_grad():
            for kept, new in zip(self.module.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1e-4)

    def state_dict(self) -> Any:
        """The averaged weights."""
        return self.module.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Go on from such weights."""
        self.module.load_state_dict(state)


@planted(OPTIMIZATION, bikes_poisson)
def an_average_that_reaches_before_the_start() -> Recipe:
    """Averaged weights are judged and kept, with a decay of 0.9999 in a training of a thousand steps."""
    return bikes_poisson().but(average=lambda model: Slow(model))


@planted(OPTIMIZATION, grades_ordinal)
def gradients_clipped_under_descent() -> Recipe:
    """Gradients are clipped to a length of 0.001 and the rate is that of unclipped ones."""
    return grades_ordinal().but(clip_norm=1e-3, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9))
