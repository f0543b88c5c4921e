"""Models that are too plain in ways that are not their width: what they see, join, keep or may say."""

from functools import partial

import torch
from torch import Tensor, nn

from diagnosis_cases import course_nets as own
from diagnosis_cases import nets
from diagnosis_cases.case import planted
from diagnosis_cases.course_setups import (
    blobs_counted,
    games_of_two,
    ratings_factorized,
    spots_by_patches,
    symbols_delayed,
    tones_that_rise,
    warmth_by_branches,
    yields_of_fields,
)
from diagnosis_cases.setups import ADAM, majority_lstm
from thalweg import Recipe
from thalweg.diagnosis import Cause

BIAS = Cause.MODEL_BIAS


@planted(BIAS, symbols_delayed)
def the_dilation_is_forgotten() -> Recipe:
    """The second layer of filters is not dilated: as many weights, and one step too few is seen."""
    return symbols_delayed().but(model=partial(own.Causal, (1, 1)))


@planted(BIAS, yields_of_fields)
def a_sum_of_curves_for_products() -> Recipe:
    """A network of its own for each input, whose outputs are summed, where inputs act on one another."""
    return yields_of_fields().but(model=own.Additive, epochs=16)


@planted(BIAS, blobs_counted)
def the_maximum_where_a_count_is_asked() -> Recipe:
    """The maximum over the image says that there is a blob, not how many."""
    return blobs_counted().but(model=partial(own.Summed, "max"))


@planted(BIAS, spots_by_patches)
def patches_without_places() -> Recipe:
    """The patches of an image are a heap: nothing says where each was."""
    return spots_by_patches().but(model=partial(own.Patches, False))


@planted(BIAS, ratings_factorized)
def a_single_taste() -> Recipe:
    """Factors of one number where there are three tastes."""
    return ratings_factorized().but(model=partial(own.Factors, 1))


@planted(BIAS, games_of_two)
def a_relation_that_has_no_direction() -> Recipe:
    """The product of both embeddings is the same whoever comes first."""

    class Symmetric(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.player, self.head = nn.Embedding(12, 16), nets.mlp(16, 32, 2)

        def forward(self, pair: Tensor) -> Tensor:
            return self.head(self.player(pair).prod(1))

    return games_of_two().but(model=Symmetric)


@planted(BIAS, tones_that_rise)
def only_magnitudes_are_seen() -> Recipe:
    """The network is given the magnitudes of the spectrum, which are those of the tone played backwards."""

    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.mlp(25, 48, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(torch.fft.rfft(x[:, 0]).abs() / 5)

    return tones_that_rise().but(model=Spectral)


@planted(BIAS, majority_lstm)
def every_second_step_is_read() -> Recipe:
    """Every second step is left out to make the sequence shorter."""

    class Sparse(nets.Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x[:, ::2])

    return majority_lstm().but(model=partial(Sparse, nn.LSTM, 1, 24, 2))


@planted(BIAS, warmth_by_branches)
def weights_that_can_only_be_positive() -> Recipe:
    """A network whose output can only rise with its inputs, for a curve that rises and falls."""
    return warmth_by_branches().but(model=partial(own.Rising, 6), optimizer=partial(ADAM, lr=5e-3))
