"""Too little data for the freedom of a model, as it is asked about."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from diagnosis_cases import forum_data as made
from diagnosis_cases import forum_nets as own
from diagnosis_cases import nets, tables
from diagnosis_cases.case import planted
from diagnosis_cases.forum_setups import (
    bikes_poisson,
    diabetes_decayed,
    drawings_of_several,
    gaits_of_other_people,
    molecules_by_neighbours,
    preferred_offer,
    sales_of_shops,
    same_digit_siamese,
    several,
    years_survived,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

OVERFITTING = Cause.OVERFITTING


def first(count: int, parts: Any) -> Any:
    """The same parts with so many training examples."""

    def short(x: Any) -> Any:
        if isinstance(x, dict):
            return {name: column[:count] for name, column in x.items()}
        return tuple(column[:count] for column in x) if isinstance(x, tuple) else x[:count]

    (x, y), validation, test = parts
    return (short(x), y[:count]), validation, test


@planted(OVERFITTING, same_digit_siamese)
def a_hundred_pairs() -> Recipe:
    """A hundred pairs of images, of which the network remembers each."""
    return same_digit_siamese().but(data=several(*first(100, made.digit_pairs())), epochs=60)


@planted(OVERFITTING, preferred_offer)
def ninety_comparisons() -> Recipe:
    """Ninety comparisons of offers for a score of two hidden layers."""
    return preferred_offer().but(data=several(*first(90, made.offers())), epochs=60)


def by_customer(told: bool) -> Recipe:
    """Sales with a number of the customer beside the shop: most occur once or twice."""
    parts = []
    for n, ((shop, x), y) in enumerate(made.sales(rows=1400)):
        customer = 12 + np.random.default_rng(n).integers(0, 700, len(y))
        parts.append(((np.stack([shop, customer if told else 0 * shop], 1), x), y))
    return sales_of_shops().but(data=several(*parts), model=Customers, epochs=30)


class Customers(own.ShopNet):
    """Embeddings of shops and customers, summed."""

    def __init__(self) -> None:
        super().__init__(712, 16)

    def forward(self, ids: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.body(torch.cat([self.shop(ids).sum(1), x], 1))


@planted(OVERFITTING, sales_of_shops, repaired=lambda: by_customer(False))
def an_embedding_for_each_customer() -> Recipe:
    """An embedding of sixteen numbers for each of seven hundred customers, who mean nothing and come once or twice."""
    return by_customer(True)


@planted(OVERFITTING, molecules_by_neighbours)
def fifty_molecules() -> Recipe:
    """Fifty graphs for a wide network."""
    return molecules_by_neighbours().but(
        data=several(*first(50, made.molecules())), model=partial(own.GraphNet, width=128), epochs=60
    )


@planted(OVERFITTING, drawings_of_several)
def eighty_drawings_by_a_large_network() -> Recipe:
    """Eighty images with three labels for a network without filters."""
    net = lambda: nn.Sequential(nn.Flatten(), nets.mlp(100, 256, 256, 3))  # noqa: E731
    return drawings_of_several().but(data=tables.as_splits(*first(80, made.drawings())), model=net, epochs=40)


@planted(OVERFITTING, diabetes_decayed)
def diabetes_by_a_huge_network() -> Recipe:
    """Sixty patients for three wide layers, without decay, and the patience of a saint."""
    x, y = diabetes_decayed().data.train
    split = diabetes_decayed().data
    return diabetes_decayed().but(
        data=tables.as_splits((x[:60], y[:60]), split.validation, split.test),
        model=lambda: nets.mlp(10, 256, 256, 1), optimizer=partial(torch.optim.Adam, lr=1e-2), stopping=None,
    )  # fmt: skip


@planted(OVERFITTING, bikes_poisson)
def a_hundred_and_twenty_hours() -> Recipe:
    """Counts of a hundred and twenty hours for a wide network."""
    return bikes_poisson().but(
        data=tables.as_splits(*first(120, made.bikes())), model=lambda: nets.mlp(6, 256, 256, 1), epochs=60
    )


@planted(OVERFITTING, years_survived)
def sixty_patients_of_a_study() -> Recipe:
    """Sixty patients, half of them censored."""
    return years_survived().but(data=tables.as_splits(*first(60, made.survival())), epochs=60)


@planted(OVERFITTING, gaits_of_other_people)
def eight_people_walking() -> Recipe:
    """Many windows, but of eight people: the network knows them by their gait."""
    train, validation, test = made.gaits(people=220, windows=6, test_people=60)
    return gaits_of_other_people().but(
        data=tables.as_splits(*first(48, (train, validation, test))), model=lambda: nets.mlp(24, 128, 2), epochs=60
    )
