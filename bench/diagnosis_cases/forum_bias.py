"""Models that cannot say what is asked of them, as they are asked about: no such input, too narrow, too plain."""

from functools import partial

import torch
from torch import Tensor, nn

from diagnosis_cases import forum_nets as own
from diagnosis_cases import nets
from diagnosis_cases.case import planted
from diagnosis_cases.forum_setups import (
    bags_by_attention,
    bikes_poisson,
    drawings_of_several,
    load_of_the_next_hour,
    melodies_composed,
    molecules_by_neighbours,
    sales_of_shops,
    same_digit_siamese,
    screening_weighted,
    sensors_denoised,
    visits_of_patients,
    words_tagged,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

BIAS = Cause.MODEL_BIAS


@planted(BIAS, molecules_by_neighbours)
def nodes_that_hear_nobody() -> Recipe:
    """A network for graphs whose nodes never hear their neighbours."""

    class Alone(own.GraphNet):
        def heard(self, nodes: Tensor, edges: Tensor) -> Tensor:
            return torch.zeros_like(nodes)

    return molecules_by_neighbours().but(model=Alone)


@planted(BIAS, same_digit_siamese)
def a_code_of_one_number() -> Recipe:
    """Ten digits are coded by a single number, in which they cannot all lie apart."""
    return same_digit_siamese().but(model=partial(own.Siamese, 1))


@planted(BIAS, sensors_denoised)
def a_code_too_short_for_the_factors() -> Recipe:
    """A code of one number for three hidden factors."""
    return sensors_denoised().but(model=lambda: nets.mlp(8, 64, 1, 64, 8))


@planted(BIAS, load_of_the_next_hour)
def only_the_last_hour_is_seen() -> Recipe:
    """The network is given the last hour alone, of a load that swings."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.mlp(1, 32, 32, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x[:, 0, -1:])

    return load_of_the_next_hour().but(model=Last)


@planted(BIAS, sales_of_shops)
def the_shop_is_not_an_input() -> Recipe:
    """The network is never told which shop it is."""

    class Shopless(own.ShopNet):
        def forward(self, shop: Tensor, x: Tensor) -> Tensor:
            return super().forward(torch.zeros_like(shop), x)

    return sales_of_shops().but(model=Shopless)


@planted(BIAS, bags_by_attention)
def a_mean_over_cells_before_any_layer() -> Recipe:
    """The cells of a bag are averaged before the network sees them."""

    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.mlp(4, 32, 32, 2)

        def forward(self, bag: Tensor) -> Tensor:
            return self.net(bag.mean(1))

    return bags_by_attention().but(model=Averaged)


@planted(BIAS, words_tagged)
def tags_read_in_one_direction() -> Recipe:
    """A tag depends on the word after it, and the GRU reads forwards only."""
    return words_tagged().but(model=partial(own.WordTagger, both=False))


@planted(BIAS, bikes_poisson)
def a_rate_whose_log_is_linear() -> Recipe:
    """A Poisson regression without hidden layers, for a rate that rises and falls."""
    return bikes_poisson().but(model=lambda: nn.Linear(6, 1), optimizer=partial(torch.optim.Adam, lr=1e-2))


@planted(BIAS, melodies_composed)
def notes_from_the_last_alone() -> Recipe:
    """The next note is the sum of two, and the network knows one of them."""

    class Short(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(6, 32)
            self.net = nets.mlp(32, 64, 64, 5)

        def forward(self, notes: Tensor) -> Tensor:
            return self.net(self.embedding(notes)).transpose(1, 2)

    return melodies_composed().but(model=Short)


@planted(BIAS, drawings_of_several)
def one_filter_for_three_shapes() -> Recipe:
    """A single layer of one filter of two pixels, then the maximum over the image."""

    def net() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 1, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(1, 3))

    return drawings_of_several().but(model=net)


@planted(BIAS, visits_of_patients)
def visits_summed_without_their_order() -> Recipe:
    """The visits are summed, and which of them was the last but one is not to be seen."""

    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.mlp(5, 32, 32, 4)

        def forward(self, visits: Tensor, lengths: Tensor) -> Tensor:
            return self.net(torch.cat([visits.sum(1), lengths[:, None].float()], 1))

    return visits_of_patients().but(model=Summed)


@planted(BIAS, screening_weighted)
def a_plane_before_a_shell() -> Recipe:
    """A logistic regression where the ill lie all around the healthy."""
    return screening_weighted().but(model=lambda: nn.Linear(6, 2))
