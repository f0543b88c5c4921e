"""Networks that are too small or too simple for their task."""

from functools import partial

from torch import Tensor, nn

from diagnosis_cases import nets
from diagnosis_cases.case import planted
from diagnosis_cases.setups import (
    ADAM,
    adding_gru,
    bars_cnn,
    digits_cnn,
    digits_dropout,
    digits_mlp,
    digits_rows_attention,
    digits_rows_gru,
    digits_tanh,
    friedman_mlp,
    groups_mlp,
    last_attention,
    lookup_attention,
    moons_mlp,
    rings_mlp,
    spots_cnn,
    tags_gru,
    waves_cnn,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

BIAS = Cause.MODEL_BIAS


@planted(BIAS, digits_mlp)
def two_hidden_units() -> Recipe:
    """Two hidden units for ten classes."""
    return digits_mlp().but(model=lambda: nets.mlp(64, 2, 10), optimizer=partial(ADAM, lr=1e-2), epochs=40)


@planted(BIAS, moons_mlp)
def a_line_between_moons() -> Recipe:
    """A linear model for two half moons."""
    return moons_mlp().but(model=lambda: nn.Linear(2, 2))


@planted(BIAS, rings_mlp)
def a_line_between_rings() -> Recipe:
    """A linear model for a ring in a ring."""
    return rings_mlp().but(model=lambda: nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)))


@planted(BIAS, friedman_mlp)
def a_plane_through_a_curve() -> Recipe:
    """A linear model for a curved regression."""
    return friedman_mlp().but(model=lambda: nn.Linear(10, 1), optimizer=partial(ADAM, lr=1e-2))


@planted(BIAS, groups_mlp)
def layers_without_activation() -> Recipe:
    """Three linear layers with no activation between them, which are one."""
    net = lambda: nn.Sequential(nn.Linear(20, 96), nn.Linear(96, 96), nn.Linear(96, 4))  # noqa: E731
    return groups_mlp().but(model=net)


@planted(BIAS, digits_tanh)
def a_bottleneck_of_one_unit() -> Recipe:
    """A layer of a single unit between wide ones."""
    return digits_tanh().but(model=lambda: nets.mlp(64, 48, 1, 48, 10, act=nn.Tanh), optimizer=partial(ADAM, lr=5e-3))


@planted(BIAS, digits_cnn)
def filters_of_one_pixel() -> Recipe:
    """Filters of one pixel and a mean over the image: no shape can be seen."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 16, 1), nn.ReLU(), nn.Conv2d(16, 32, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip

    return digits_cnn().but(model=net, epochs=12)


@planted(BIAS, bars_cnn)
def a_receptive_field_too_small() -> Recipe:
    """Filters of 1 x 2 pixels before the maximum over the image, for lines of five pixels."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 12, (1, 2)), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(12, 3)
        )

    return bars_cnn().but(model=net, epochs=20)


@planted(BIAS, spots_cnn)
def a_mean_that_forgets_where() -> Recipe:
    """A mean over the whole image, unpadded, before the question where the spot is."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, padding_mode="circular"), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
        )  # fmt: skip

    return spots_cnn().but(model=net)


@planted(BIAS, waves_cnn)
def a_window_shorter_than_a_wave() -> Recipe:
    """A single filter of two steps in time, for waves of five to sixteen."""

    def net() -> nn.Module:
        return nn.Sequential(nn.Conv1d(1, 1, 2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(1, 3))

    return waves_cnn().but(model=net, optimizer=partial(ADAM, lr=2e-2), epochs=20)


@planted(BIAS, digits_rows_gru)
def a_gru_of_width_one() -> Recipe:
    """A GRU with one hidden unit."""
    return digits_rows_gru().but(model=partial(nets.Recurrent, nn.GRU, 8, 1, 10), optimizer=partial(ADAM, lr=2e-2))


@planted(BIAS, adding_gru)
def a_linear_recurrence() -> Recipe:
    """A recurrence that only sums its inputs: no product of mark and number."""

    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inward, self.head = nn.Linear(2, 32), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.inward(x).sum(1))

    return adding_gru().but(model=Summed)


@planted(BIAS, tags_gru)
def tags_from_the_token_alone() -> Recipe:
    """A tag depends on the token before, and the network sees each token alone."""

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(6, 24), nets.mlp(24, 24, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embedding(tokens)).transpose(1, 2)

    return tags_gru().but(model=Alone)


@planted(BIAS, last_attention)
def attention_without_places() -> Recipe:
    """An encoder layer without places for a question of order."""

    class Placeless(nets.Tokens):
        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.encoder(self.embedding(tokens)).mean(1))

    return last_attention().but(model=partial(Placeless, 8, 10))


@planted(BIAS, lookup_attention)
def attention_of_width_one() -> Recipe:
    """Queries, keys and values of a single number."""
    return lookup_attention().but(model=partial(nets.Lookup, 8, 1, 4), optimizer=partial(ADAM, lr=2e-2))


@planted(BIAS, digits_rows_attention)
def the_mean_of_all_rows() -> Recipe:
    """The rows of a digit are averaged before anything looks at them."""

    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.mlp(8, 32, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.mean(1))

    return digits_rows_attention().but(model=Averaged)


@planted(BIAS, digits_dropout, also=(Cause.OPTIMIZATION,))
def dropout_of_nearly_all() -> Recipe:
    """Dropout of 95 % in every layer: what is left of the network is too little to fit."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.95), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.95),
            nn.Linear(64, 10),
        )  # fmt: skip

    return digits_dropout().but(model=net)
