"""Faults of the field that are none of the optimization: learned by heart, too simple, another test, ill wired."""

from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from sklearn.preprocessing import PolynomialFeatures
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from diagnosis_cases import field_made as made
from diagnosis_cases import field_nets as own
from diagnosis_cases import nets, tables
from diagnosis_cases.case import planted
from diagnosis_cases.field_programs import (
    brackets_nested,
    calls_of_an_hour,
    evens,
    gratings_by_filters,
    hand_of_an_arm,
    motif_in_a_text,
    odd_digits,
    order_of_pulses,
    progression_with_dropout,
    shells_by_a_tower,
    span_of_a_set,
    votes_by_chance,
)
from diagnosis_cases.overfitting import few
from diagnosis_cases.setups import ADAM
from thalweg import Recipe, Splits
from thalweg.diagnosis import Cause

OVERFITTING, BIAS, MISMATCH, WIRING = Cause.OVERFITTING, Cause.MODEL_BIAS, Cause.MISMATCH, Cause.WIRING

# --- learned by heart -------------------------------------------------------------------------------------------------


@planted(OVERFITTING, progression_with_dropout)
def every_product_of_every_column() -> Recipe:
    """All products of up to three of ten columns, 285, for 265 patients, in two hidden layers without restraint."""
    x, y = datasets.load_diabetes(return_X_y=True)
    more = PolynomialFeatures(3, include_bias=False).fit_transform(x / x.std(0))
    parts = tables.scaled(*tables.three(more, ((y - 152) / 77)[:, None], seed=3, classes=False))
    return progression_with_dropout().but(
        data=tables.as_splits(*parts), model=lambda: nets.mlp(285, 64, 64, 1), optimizer=partial(ADAM, lr=1e-3)
    )


@planted(OVERFITTING, votes_by_chance)
def every_vote_remembered() -> Recipe:
    """Wide layers, many epochs and no decay for sixty votes, of which every fourth is chance: all are remembered."""
    return votes_by_chance().but(
        data=few(made.votes(), 60), model=lambda: nets.mlp(8, 256, 256, 2), optimizer=partial(ADAM, lr=2e-3), epochs=80
    )


@planted(OVERFITTING, order_of_pulses)
def fifty_recordings_of_pulses() -> Recipe:
    """Fifty recordings for an LSTM."""
    return order_of_pulses().but(data=few(made.orders(), 50), epochs=80, batch_size=10)


@planted(OVERFITTING, motif_in_a_text)
def eighty_texts_in_wide_embeddings() -> Recipe:
    """Eighty texts for filters over the whole text, which learn each place for itself."""
    net = lambda: nn.Sequential(nn.Embedding(12, 32), nn.Flatten(), *nets.mlp(576, 128, 1))  # noqa: E731
    return motif_in_a_text().but(
        data=few(made.motifs(), 80), model=net, optimizer=partial(ADAM, lr=2e-3), epochs=40, batch_size=16
    )


@planted(OVERFITTING, hand_of_an_arm)
def twenty_five_poses() -> Recipe:
    """Twenty-five poses of an arm, many times over."""
    return hand_of_an_arm().but(data=few(made.arm(), 25), batch_size=5, epochs=150)


@planted(OVERFITTING, gratings_by_filters)
def gratings_without_filters() -> Recipe:
    """Eighty images of stripes for two wide layers that see pixels."""
    net = lambda: nn.Sequential(nn.Flatten(), *nets.mlp(144, 256, 256, 4))  # noqa: E731
    return gratings_by_filters().but(
        data=few(made.gratings(), 80), model=net, optimizer=partial(ADAM, lr=1e-3), epochs=40, schedule=None
    )


# --- too simple -------------------------------------------------------------------------------------------------------


@planted(BIAS, hand_of_an_arm)
def angles_added_in_a_line() -> Recipe:
    """A linear model for what turns."""
    return hand_of_an_arm().but(model=lambda: nn.Linear(3, 2))


@planted(BIAS, gratings_by_filters)
def filters_of_a_single_line() -> Recipe:
    """Filters that see along a line of pixels and never across: slopes to either side are the same."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 12, (1, 5), padding=(0, 2)), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 24, (1, 3), padding=(0, 1)), nn.BatchNorm2d(24), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4),
        )  # fmt: skip

    return gratings_by_filters().but(model=net)


@planted(BIAS, span_of_a_set)
def a_set_averaged_at_once() -> Recipe:
    """The readings are averaged before the network sees any of them."""

    class Averaged(own.Sets):
        def forward(self, x: Tensor) -> Tensor:
            return self.all(self.each(x.mean(1)))

    return span_of_a_set().but(model=Averaged)


@planted(BIAS, motif_in_a_text)
def tokens_seen_one_by_one() -> Recipe:
    """Filters over a single token: which tokens there are, and not how they follow each other."""
    return motif_in_a_text().but(model=partial(own.Scan, 24, 1))


@planted(BIAS, brackets_nested)
def brackets_counted_over_three_steps() -> Recipe:
    """Causal filters over the last three tokens, for a depth that all tokens before have made."""

    class Short(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.filters = nn.Embedding(3, 8), nn.Conv1d(8, 32, 3)
            self.head = nn.Conv1d(32, 1, 1)

        def forward(self, tokens: Tensor) -> Tensor:
            x = F.pad(self.embedding(tokens).transpose(1, 2), (2, 0))
            return self.head(self.filters(x).relu()).transpose(1, 2)

    return brackets_nested().but(model=Short)


@planted(BIAS, shells_by_a_tower)
def planes_between_shells() -> Recipe:
    """A linear model for shells that lie in each other."""
    return shells_by_a_tower().but(model=lambda: nn.Linear(4, 3))


@planted(BIAS, calls_of_an_hour)
def a_rate_that_knows_the_day_alone() -> Recipe:
    """The day is all that the network uses of an hour, of which the time matters more."""

    class Daily(own.Switchboard):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.cat([x[:, :1], torch.zeros_like(x[:, 1:])], 1))

    return calls_of_an_hour().but(model=Daily)


# --- another test -----------------------------------------------------------------------------------------------------


def other_test(parts: Any, other: Any) -> Splits:
    """The splits with another test part."""
    return tables.as_splits(parts[0], parts[1], other[2])


@planted(MISMATCH, hand_of_an_arm, on="test")
def a_longer_tool_in_the_test() -> Recipe:
    """The test was done after the arm was given a longer tool."""
    return hand_of_an_arm().but(data=other_test(made.arm(), made.arm(tool=1.2)))


@planted(MISMATCH, gratings_by_filters, on="test")
def coarser_stripes_in_the_test() -> Recipe:
    """The test images were taken from a third of the distance: their stripes are three times as wide."""
    return gratings_by_filters().but(data=other_test(made.gratings(), made.gratings(coarse=3.0)))


@planted(MISMATCH, motif_in_a_text, on="test")
def a_test_with_slips_of_the_pen() -> Recipe:
    """In the test texts every fourth token is another one than was meant."""
    draw = np.random.default_rng(9)

    def slips(x: Any, y: Any) -> Any:
        return np.where(draw.random(x.shape) < 0.25, draw.integers(0, 12, x.shape), x), y

    parts = tables.changed(made.motifs(), "test", slips)
    return motif_in_a_text().but(data=tables.as_splits(*parts))


@planted(MISMATCH, order_of_pulses, on="test")
def a_weak_wire_in_the_test() -> Recipe:
    """The second wire has a bad contact in the test: its pulses arrive at a third of their height."""
    weak = lambda x, y: (x * np.array([1.0, 0.3], np.float32), y)  # noqa: E731
    return order_of_pulses().but(data=tables.as_splits(*tables.changed(made.orders(), "test", weak)))


@planted(MISMATCH, odd_digits, on="test")
def stamps_on_the_test_images() -> Recipe:
    """On the test images a white stamp covers the upper left quarter."""

    def stamped(x: Any, y: Any) -> Any:
        x = x.copy()
        x[:, :, :4, :4] = 1.0
        return x, y

    return odd_digits().but(data=tables.as_splits(*tables.changed(evens(), "test", stamped)))


# --- ill wired --------------------------------------------------------------------------------------------------------


@planted(WIRING, gratings_by_filters)
def ignored_as_if_it_were_padding() -> Recipe:
    """ignore_index=0 was left in the loss by a program for texts; here 0 is a class, which is never trained."""
    loss = nn.CrossEntropyLoss(ignore_index=0)
    return gratings_by_filters().but(objective=loss, judge=nn.CrossEntropyLoss())


@planted(WIRING, hand_of_an_arm)
def rounded_between_two_layers() -> Recipe:
    """What comes out of the twelve units of the first layer is rounded, through which no gradient goes back."""

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rest = nn.Linear(3, 12), nets.mlp(12, 64, 2, act=nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            return self.rest(torch.round(self.first(x)))

    return hand_of_an_arm().but(model=Rounded)


@planted(WIRING, span_of_a_set, also=(BIAS,))
def scaled_along_the_wrong_axis() -> Recipe:
    """The readings are standardized along the axis of the set where that of the batch was meant."""

    class Scaled(own.Sets):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-6))

    return span_of_a_set().but(model=Scaled)


@planted(WIRING, gratings_by_filters, also=(Cause.DATA,))
def mirrored_with_the_label_unchanged() -> Recipe:
    """Training images are mirrored at random, which makes one slope the other, and their labels stay."""

    class Mirrored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = own.stripes()

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
            return self.net(x)

    return gratings_by_filters().but(model=Mirrored)


@planted(WIRING, calls_of_an_hour, reads=lambda output: output)
def log_input_is_false() -> Recipe:
    """PoissonNLLLoss(log_input=False) takes the logarithm of outputs that may be negative."""
    return calls_of_an_hour().but(objective=nn.PoissonNLLLoss(log_input=False))


@planted(WIRING, motif_in_a_text, repaired=lambda: sampled(None), also=(OVERFITTING, Cause.DATA))
def a_sampler_left_from_a_trial() -> Recipe:
    """A sampler of the first forty texts, made for a trial, is still in the loader."""
    return sampled(40)


def sampled(first: int | None) -> Recipe:
    """Texts in loaders, all or the first few of them."""
    train, validation, test = (TensorDataset(*tables.tensors(*part)) for part in made.motifs())
    sampler = SubsetRandomSampler(range(first or len(train)))
    data = Splits(
        train=DataLoader(train, batch_size=32, sampler=sampler),
        validation=DataLoader(validation, batch_size=64),
        test=DataLoader(test, batch_size=64),
    )
    return motif_in_a_text().but(data=data, epochs=60 if first else 15)


@planted(WIRING, order_of_pulses)
def the_last_example_answers_for_all() -> Recipe:
    """A slip in the order of axes: the answer is read from the state of the last example for all of its batch."""

    class Slip(nets.Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x)
            return self.head(states[-1:, -1]).expand(len(x), -1)

    return order_of_pulses().but(model=partial(Slip, nn.LSTM, 2, 32, 4))
