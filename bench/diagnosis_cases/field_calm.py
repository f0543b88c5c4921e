"""Programs of the field that look ill and are well: restraint that costs training loss, odd rates, odd optimizers."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import thalweg
from diagnosis_cases import field_made as made
from diagnosis_cases import field_nets as own
from diagnosis_cases import nets, tables
from diagnosis_cases.case import planted
from diagnosis_cases.field_programs import (
    brackets_nested,
    calls_of_an_hour,
    fall,
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
from thalweg import Recipe, Splits
from thalweg.diagnosis import Cause

NONE = Cause.NONE


@planted(NONE, odd_digits)
def dropout_that_makes_training_look_worse() -> Recipe:
    """Half of all units are dropped: the loss in training is above that on validation to the end."""
    return odd_digits().but(model=partial(own.even_filters, 0.5), epochs=15)


@planted(NONE, gratings_by_filters)
def strong_augmentation_of_stripes() -> Recipe:
    """Training images are shifted, dimmed and made noisy: they are harder than those of the validation."""

    class Disturbed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = own.stripes()

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                dimmed = x * torch.empty(len(x), 1, 1, 1).uniform_(0.5, 1.5)
                shift = int(torch.randint(0, 3, ()))
                x = dimmed.roll((shift, -shift), (2, 3)) + 0.8 * torch.randn_like(x)
            return self.net(x)

    return gratings_by_filters().but(model=Disturbed, epochs=14)


@thalweg.objective
def mixed(model: nn.Module, batch: Any) -> Tensor:
    """Two examples and their labels, mixed in training."""
    x, y = batch
    if not model.training:
        return F.cross_entropy(model(x), y, reduction="none")
    share, other = torch.distributions.Beta(0.4, 0.4).sample(), torch.randperm(len(x))
    said = model(share * x + (1 - share) * x[other])
    return share * F.cross_entropy(said, y, reduction="none") + (1 - share) * F.cross_entropy(
        said, y[other], reduction="none"
    )


@planted(NONE, order_of_pulses)
def recordings_mixed_in_pairs() -> Recipe:
    """Mixup: a training loss with a high floor, and a validation loss far below it."""
    return order_of_pulses().but(objective=mixed, epochs=25)


@planted(NONE, shells_by_a_tower)
def labels_smoothed_by_a_third() -> Recipe:
    """Label smoothing of 0.3: the loss ends at two thirds of what it began with."""
    return shells_by_a_tower().but(objective=nn.CrossEntropyLoss(label_smoothing=0.3))


@planted(NONE, hand_of_an_arm)
def gradients_clipped_short_under_adam() -> Recipe:
    """Gradients are clipped to a hundredth, to which Adam is indifferent."""
    return hand_of_an_arm().but(clip_norm=0.01)


@planted(NONE, impedance_of_circuits)
def one_cycle_up_to_a_high_rate() -> Recipe:
    """A rate that rises thirtyfold and falls to nothing: the loss is worse in the middle than before."""
    return impedance_of_circuits().but(
        optimizer=partial(SGD, lr=0.3), schedule=lambda step, steps: max(0.03, 1 - abs(2.5 * step / steps - 1))
        if step < 0.8 * steps else 0.03,
    )  # fmt: skip


@planted(NONE, motif_in_a_text)
def a_wide_scan_that_fits_to_the_last_text() -> Recipe:
    """Far more filters than there are rules, until the training loss is a ten-thousandth."""
    return motif_in_a_text().but(model=partial(own.Scan, 128), epochs=20)


@planted(NONE, motif_in_a_text)
def embeddings_left_as_they_were_drawn() -> Recipe:
    """Random embeddings, frozen on purpose: the filters tell the tokens apart all the same."""

    def net() -> nn.Module:
        built = own.Scan(48)
        built.embedding.requires_grad_(False)
        return built

    return motif_in_a_text().but(model=net)


@planted(NONE, calls_of_an_hour)
def rows_drawn_with_replacement() -> Recipe:
    """An epoch draws rows with replacement, so that some come twice and a third not at all."""
    train, validation, test = (TensorDataset(*tables.tensors(*part)) for part in made.calls())
    return calls_of_an_hour().but(
        data=Splits(
            train=DataLoader(train, batch_size=32, sampler=RandomSampler(train, replacement=True)),
            validation=DataLoader(validation, batch_size=64),
            test=DataLoader(test, batch_size=64),
        )
    )


@planted(NONE, brackets_nested)
def sequences_in_the_order_of_the_file() -> Recipe:
    """A loader without shuffle, over sequences that were written in no order."""
    train, validation, test = (DataLoader(TensorDataset(*tables.tensors(*part)), 32) for part in made.depths())
    return brackets_nested().but(data=Splits(train=train, validation=validation, test=test))


@planted(NONE, span_of_a_set)
def all_sets_at_once() -> Recipe:
    """The whole training part in each batch, two hundred steps in all, at a rate that is meant for it."""
    return span_of_a_set().but(batch_size=None, epochs=200, optimizer=partial(ADAM, lr=1e-2))


@planted(NONE, tumours_annealed)
def momentum_of_99_at_a_low_rate() -> Recipe:
    """Momentum of 0.99 with a rate to match: the loss swings at first and settles."""
    return tumours_annealed().but(optimizer=partial(SGD, lr=0.005, momentum=0.99, weight_decay=0.01))


@planted(NONE, shells_by_a_tower)
def decay_of_one_that_is_decoupled() -> Recipe:
    """Weight decay of 1 in AdamW, which at this rate takes a three-hundredth of the weights in a step."""
    return shells_by_a_tower().but(optimizer=partial(torch.optim.AdamW, lr=3e-3, weight_decay=1.0))


@planted(NONE, calls_of_an_hour)
def a_last_bias_set_to_the_mean() -> Recipe:
    """The last bias begins at the log of the mean count: the first loss is low already and hardly falls."""

    def net() -> nn.Module:
        built = own.Switchboard()
        nn.init.constant_(built.net[4].bias, 1.3)
        return built

    return calls_of_an_hour().but(model=net, optimizer=partial(ADAM, lr=2e-3), schedule=fall)


@planted(NONE, hand_of_an_arm)
def six_layers_of_tanh_well_begun() -> Recipe:
    """Six plain layers of tanh with Glorot's initialization, which carry a gradient all the way."""

    def net() -> nn.Module:
        built = nets.mlp(3, *[32] * 6, 2, act=nn.Tanh)
        for layer in built:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight, gain=5 / 3)
        return built

    return hand_of_an_arm().but(model=net, optimizer=partial(ADAM, lr=2e-3), schedule=fall)
