"""Faults of the optimization in the field: beginnings, rates by part, betas, schedules, batches, noise, clipping."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diagnosis_cases import field_made as made
from diagnosis_cases import field_nets as own
from diagnosis_cases import nets, tables
from diagnosis_cases.case import planted
from diagnosis_cases.field_programs import (
    brackets_nested,
    calls_of_an_hour,
    gratings_by_filters,
    hand_of_an_arm,
    impedance_of_circuits,
    motif_in_a_text,
    odd_digits,
    order_of_pulses,
    shells_by_a_tower,
    span_of_a_set,
    tumours_annealed,
)
from diagnosis_cases.setups import ADAM, SGD
from thalweg import Recipe
from thalweg.diagnosis import Cause

OPTIMIZATION = Cause.OPTIMIZATION


@planted(OPTIMIZATION, order_of_pulses)
def an_lstm_that_begins_forgetting() -> Recipe:
    """The forget gate of an LSTM begins at a bias of -6: what was a step ago is gone, and so is its gradient."""

    def net() -> nn.Module:
        built = nets.Recurrent(nn.LSTM, 2, 32, 4)
        with torch.no_grad():
            built.rnn.bias_ih_l0[32:64] = -6.0
        return built

    return order_of_pulses().but(model=net, optimizer=partial(ADAM, lr=2e-3))


@planted(OPTIMIZATION, brackets_nested)
def gates_that_begin_all_alike() -> Recipe:
    """All weights of a GRU and its head begin at 0.1: its units are one unit many times, and stay so."""

    def net() -> nn.Module:
        built = own.Nested()
        for weight in (*built.rnn.parameters(), *built.head.parameters()):
            nn.init.constant_(weight, 0.1)
        return built

    return brackets_nested().but(model=net)


@planted(OPTIMIZATION, gratings_by_filters)
def norms_whose_gain_begins_at_zero() -> Recipe:
    """The gains of batch norm begin at zero, as one does behind residual branches, in a network without skips."""

    def net() -> nn.Module:
        built = own.stripes()
        for layer in built:
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.zeros_(layer.weight)
        return built

    return gratings_by_filters().but(model=net)


@planted(OPTIMIZATION, hand_of_an_arm)
def units_that_begin_at_their_ends() -> Recipe:
    """The biases of the tanh units begin at plus or minus eight: each unit says one thing, and its slope is nothing."""

    def net() -> nn.Module:
        built = nets.mlp(3, 64, 64, 2, act=nn.Tanh)
        for layer in (built[0], built[2]):
            nn.init.constant_(layer.bias, 8.0)
            with torch.no_grad():
                layer.bias[::2] = -8.0
        return built

    return hand_of_an_arm().but(model=net, optimizer=partial(ADAM, lr=1e-3))


@planted(OPTIMIZATION, shells_by_a_tower)
def twenty_layers_of_tanh() -> Recipe:
    """Twenty plain layers of tanh, as torch begins them, by SGD: the first ones hardly get a gradient."""
    net = lambda: nets.mlp(4, *[24] * 20, 3, act=nn.Tanh)  # noqa: E731
    return shells_by_a_tower().but(model=net, optimizer=partial(SGD, lr=0.05, momentum=0.9))


@planted(OPTIMIZATION, odd_digits)
def filters_of_sigmoids_in_a_row() -> Recipe:
    """Six layers of filters with sigmoids, from which a nearly constant image comes."""

    def net() -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(1, 8, 3, padding=1), nn.Sigmoid(), nn.MaxPool2d(2)]
        for _ in range(5):
            layers += [nn.Conv2d(8, 8, 3, padding=1), nn.Sigmoid()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 1))

    return odd_digits().but(model=net)


@planted(OPTIMIZATION, shells_by_a_tower)
def both_betas_exchanged() -> Recipe:
    """The betas of Adam exchanged: a thousand steps of momentum over a scale of ten."""
    return shells_by_a_tower().but(optimizer=partial(ADAM, lr=1e-2, betas=(0.999, 0.9)), schedule=None)


@planted(OPTIMIZATION, motif_in_a_text)
def the_rate_of_fine_tuning_for_the_body() -> Recipe:
    """Embedding and filters learn at a five-hundredth of the head's rate, as if they had been trained before."""

    def two_rates(parameters: Iterable[Tensor]) -> Any:
        every = list(parameters)
        return ADAM([{"params": every[:-2], "lr": 2e-5}, {"params": every[-2:], "lr": 1e-2}])

    return motif_in_a_text().but(optimizer=two_rates)


@planted(OPTIMIZATION, motif_in_a_text)
def rprop_in_small_batches() -> Recipe:
    """Rprop in batches of eight: it takes a change of sign, which is noise, for the end of a slope."""
    return motif_in_a_text().but(batch_size=8, epochs=10, optimizer=partial(torch.optim.Rprop, lr=0.01))


@planted(OPTIMIZATION, motif_in_a_text)
def a_schedule_for_a_far_shorter_training() -> Recipe:
    """The rate falls in a line to zero in the first thirtieth of the training, and stays there."""
    return motif_in_a_text().but(schedule=lambda step, steps: max(0.0, 1 - 30 * step / steps))


@planted(OPTIMIZATION, impedance_of_circuits)
def a_cycle_that_ends_at_its_top() -> Recipe:
    """A rate that goes up and down, up to one, and is at its top when the training ends."""
    return impedance_of_circuits().but(
        optimizer=partial(ADAM, lr=1.0), schedule=lambda step, steps: abs(1 - (4 * step / steps) % 2)
    )


@planted(OPTIMIZATION, impedance_of_circuits, also=(Cause.DATA,))
def ohms_from_nought() -> Recipe:
    """Targets of hundreds of ohms, neither centred nor scaled, under Adam at 1e-3, which goes there step by step."""
    parts = tables.scaled(*made.circuits())
    return impedance_of_circuits().but(data=tables.as_splits(*parts), optimizer=partial(ADAM, lr=1e-3))


@planted(OPTIMIZATION, impedance_of_circuits, also=(Cause.DATA,))
def farads_beside_hertz() -> Recipe:
    """Inputs from below one to nearly two thousand, as measured, by SGD at the largest rate that is stable."""
    parts = made.in_kiloohms(made.circuits())
    return impedance_of_circuits().but(data=tables.as_splits(*parts), optimizer=partial(SGD, lr=3e-6, momentum=0.9))


@planted(OPTIMIZATION, impedance_of_circuits)
def two_rows_at_a_high_rate() -> Recipe:
    """Batches of two at a rate for large ones: the weights follow the noise of the last rows."""
    return impedance_of_circuits().but(batch_size=2, epochs=6, optimizer=partial(ADAM, lr=0.1))


@planted(OPTIMIZATION, gratings_by_filters)
def gradients_of_the_whole_epoch_gathered() -> Recipe:
    """Gradients are gathered over fifteen batches for each step, at the same rate, for as few epochs."""
    return gratings_by_filters().but(accumulate=15, optimizer=partial(SGD, lr=0.02))


@planted(OPTIMIZATION, gratings_by_filters, also=(Cause.MODEL_BIAS,))
def decay_that_takes_the_gains_too() -> Recipe:
    """Weight decay of 0.5 in SGD on all there is, gains and biases too: what is learned is taken again."""
    return gratings_by_filters().but(optimizer=partial(SGD, lr=0.05, momentum=0.9, weight_decay=0.5))


@planted(OPTIMIZATION, span_of_a_set, also=(Cause.MODEL_BIAS,))
def absolute_weights_held_at_zero() -> Recipe:
    """A penalty on the absolute values of all weights, which outweighs the loss."""
    lasso = lambda model: 0.3 * sum(weight.abs().sum() for weight in model.parameters())  # noqa: E731
    return span_of_a_set().but(penalty=lasso)


@planted(OPTIMIZATION, brackets_nested)
def brackets_read_for_an_epoch() -> Recipe:
    """A single epoch at a modest rate for a GRU."""
    return brackets_nested().but(epochs=1, optimizer=partial(ADAM, lr=2e-3))


@planted(OPTIMIZATION, span_of_a_set)
def adagrad_at_a_rate_for_adam() -> Recipe:
    """Adagrad, whose steps only become shorter, at 1e-3."""
    return span_of_a_set().but(optimizer=partial(torch.optim.Adagrad, lr=1e-3))


@planted(OPTIMIZATION, hand_of_an_arm)
def rmsprop_that_never_settles() -> Recipe:
    """RMSprop at 0.1 to the end: every step moves all weights by a tenth."""
    return hand_of_an_arm().but(optimizer=partial(torch.optim.RMSprop, lr=0.1))


@planted(OPTIMIZATION, odd_digits)
def a_rate_scaled_with_the_batch() -> Recipe:
    """Batches of 512 and a rate that was multiplied along with them, from the first step: most units die of it."""
    return odd_digits().but(batch_size=512, optimizer=partial(SGD, lr=3.2, momentum=0.9), epochs=30)


def clamped_loop(most: float) -> Callable[..., None]:
    """A loop that clips every number of the gradient."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
            nn.utils.clip_grad_value_(model.parameters(), most)
            optimizer.step()

    return loop


@planted(OPTIMIZATION, calls_of_an_hour)
def every_slope_clipped_to_a_hair() -> Recipe:
    """Each number of the gradient is clipped at 1e-5 under SGD: no weight gets anywhere."""
    return calls_of_an_hour().but(loop=clamped_loop(1e-5), optimizer=partial(SGD, lr=0.05, momentum=0.9))


@planted(OPTIMIZATION, calls_of_an_hour)
def momentum_that_swings_through_counts() -> Recipe:
    """Momentum of 0.99 at a rate of a tenth, with an exponential at the end: it overshoots until it is far away."""
    return calls_of_an_hour().but(optimizer=partial(SGD, lr=0.1, momentum=0.99))


@planted(OPTIMIZATION, tumours_annealed)
def an_annealing_that_begins_at_nothing() -> Recipe:
    """SGD without momentum at 1e-4, annealed from there to zero."""
    return tumours_annealed().but(optimizer=partial(SGD, lr=1e-4), epochs=15)


@planted(OPTIMIZATION, order_of_pulses)
def a_recurrence_at_a_rate_of_ten() -> Recipe:
    """SGD at a rate of ten through fourteen steps of an LSTM, unclipped."""
    return order_of_pulses().but(optimizer=partial(SGD, lr=10.0, momentum=0.9), clip_norm=None)
