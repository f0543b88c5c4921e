"""Oddities that do no harm: a tool that flags them cries wolf. Each is measured against its twin and the references."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis_cases import nets, sequences, tables
from diagnosis_cases.case import planted
from diagnosis_cases.setups import (
    ADAM,
    adding_gru,
    bars_cnn,
    cancer_logit,
    digits_cnn,
    digits_loop,
    digits_mlp,
    digits_rows_gru,
    first_gru,
    friedman_mlp,
    groups_mlp,
    labels_mlp,
    majority_lstm,
    moons_mlp,
    rings_mlp,
    spots_cnn,
    waves_cnn,
    wine_mlp,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

NONE = Cause.NONE


@planted(NONE, digits_mlp)
def double_softmax_that_costs_nothing() -> Recipe:
    """A softmax before CrossEntropyLoss under Adam, which gets there all the same."""
    net = lambda: nn.Sequential(*nets.mlp(64, 96, 10), nn.Softmax(1))  # noqa: E731
    return digits_mlp().but(model=net, optimizer=partial(ADAM, lr=5e-3), epochs=30)


@planted(NONE, friedman_mlp)
def relu_units_of_which_many_are_dead() -> Recipe:
    """Half of a very wide layer begins dead; the other half is more than enough."""

    def net() -> nn.Module:
        made = nets.mlp(10, 128, 64, 1)
        with torch.no_grad():
            made[0].bias[:64] = -20.0
        return made

    return friedman_mlp().but(model=net)


@planted(NONE, digits_mlp, on="test")
def a_large_shift_without_harm() -> Recipe:
    """Test images are all a tenth brighter: plainly another distribution, and the same errors."""
    brighter = lambda x, y: ((1.1 * x + 0.03).astype("float32"), y)  # noqa: E731
    return digits_mlp().but(data=tables.as_splits(*tables.changed(tables.digits(), "test", brighter)))


@planted(NONE, wine_mlp, on="test")
def a_shift_of_a_useless_column() -> Recipe:
    """A column of zeros in training is anything in the test, with a weight that stays small."""

    def column(values: float) -> Any:
        draw = np.random.default_rng(3)
        return lambda x, y: (np.concatenate([x, values * draw.normal(size=(len(x), 1))], 1), y)

    parts = tables.changed(tables.scaled(*tables.wine()), "train validation", column(1.0))
    parts = tables.changed(parts, "test", lambda x, y: (np.concatenate([x, np.full((len(x), 1), 1.5)], 1), y))
    return wine_mlp().but(data=tables.as_splits(*parts), model=lambda: nets.mlp(14, 16, 3))


@planted(NONE, moons_mlp)
def duplicates_by_nature() -> Recipe:
    """Coordinates rounded to a tenth: many examples occur twice, in all splits."""
    rounded = lambda x, y: (np.round(x, 1), y)  # noqa: E731
    parts = tables.changed(tables.moons(), "train validation test", rounded)
    return moons_mlp().but(data=tables.as_splits(*parts))


@planted(NONE, groups_mlp)
def a_few_wrong_labels() -> Recipe:
    """One training label in a hundred is wrong."""

    def slips(x: Any, y: Any) -> Any:
        return x, np.where(np.random.default_rng(1).random(len(y)) < 0.01, (y + 1) % 4, y)

    return groups_mlp().but(data=tables.as_splits(*tables.changed(tables.scaled(*tables.groups()), "train", slips)))


@planted(NONE, digits_mlp)
def inputs_up_to_255() -> Recipe:
    """Pixels from 0 to 255, which a network of ReLUs under Adam takes as they are."""
    wide = lambda x, y: ((255 * x).astype("float32"), y)  # noqa: E731
    parts = tables.changed(tables.digits(), "train validation test", wide)
    return digits_mlp().but(data=tables.as_splits(*parts))


@planted(NONE, cancer_logit)
def one_class_is_rare() -> Recipe:
    """A third of one class was left out everywhere: the classes are not equally frequent."""
    rare = lambda x, y: (x[keep := (y[:, 0] > 0) | (np.arange(len(y)) % 3 > 0)], y[keep])  # noqa: E731
    parts = tuple((x, y[:, None].astype("float32")) for x, y in tables.cancer())
    return cancer_logit().but(data=tables.as_splits(*tables.changed(tables.scaled(*parts), "train", rare)))


@planted(NONE, digits_loop)
def a_loop_with_clipping() -> Recipe:
    """A loop of one's own that clips gradients and clears them after the step."""

    def loop(model: nn.Module, optimizer: Any, batches: Any, objective: Any) -> None:
        for x, y in batches:
            objective(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad()

    return digits_loop().but(loop=loop)


@planted(NONE, adding_gru)
def many_more_units_than_needed() -> Recipe:
    """A GRU three times as wide as it need be."""
    return adding_gru().but(
        model=partial(nets.Recurrent, nn.GRU, 2, 96, 1), optimizer=partial(ADAM, lr=5e-3), epochs=15
    )


@planted(NONE, first_gru)
def a_layer_frozen_that_need_not_learn() -> Recipe:
    """The embedding of the inputs is a frozen random projection, on purpose."""

    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(3, 12).requires_grad_(False)
            self.net = nets.Recurrent(nn.GRU, 12, 24, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.project(x))

    return first_gru().but(model=Projected)


@planted(NONE, rings_mlp, reads=lambda output: output - 0.5)
def probabilities_and_their_loss() -> Recipe:
    """A sigmoid in the model and the loss of probabilities."""
    net = lambda: nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0), nn.Sigmoid())  # noqa: E731
    return rings_mlp().but(model=net, objective=nn.BCELoss())


@planted(NONE, groups_mlp)
def log_softmax_in_the_model() -> Recipe:
    """LogSoftmax in the model before CrossEntropyLoss, which changes nothing: it is its own square."""
    net = lambda: nn.Sequential(*nets.mlp(20, 96, 96, 4), nn.LogSoftmax(1))  # noqa: E731
    return groups_mlp().but(model=net)


@planted(NONE, labels_mlp)
def summed_loss_under_adam() -> Recipe:
    """A summed loss under Adam, to which the scale of a gradient is nothing."""
    return labels_mlp().but(objective=nn.BCEWithLogitsLoss(reduction="sum"))


@planted(NONE, majority_lstm)
def labels_smoothed() -> Recipe:
    """Label smoothing of 0.1."""
    return majority_lstm().but(objective=nn.CrossEntropyLoss(label_smoothing=0.1))


@planted(NONE, digits_cnn)
def a_rate_that_ends_at_zero() -> Recipe:
    """A cosine schedule down to nothing."""
    return digits_cnn().but(schedule=lambda step, steps: 0.5 * (1 + np.cos(np.pi * step / steps)), epochs=14)


@planted(NONE, spots_cnn)
def a_head_that_is_bounded_as_its_targets_are() -> Recipe:
    """A tanh after the last layer, for targets from -1 to 1, with room at the edge."""

    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 2)
            )

        def forward(self, x: Tensor) -> Tensor:
            return 1.2 * self.net(x).tanh()

    return spots_cnn().but(model=Bounded)


@planted(NONE, waves_cnn)
def a_detached_target_network() -> Recipe:
    """A second output that is only watched, detached, and not part of the loss."""

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filters = nn.Sequential(
                nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.Conv1d(16, 16, 5, padding=2), nn.ReLU(),
                nn.AdaptiveMaxPool1d(1), nn.Flatten(),
            )  # fmt: skip
            self.head = nn.Linear(16, 3)
            self.seen = 0.0

        def forward(self, x: Tensor) -> Tensor:
            features = self.filters(x)
            self.seen = float(features.detach().mean())
            return self.head(F.relu(features))

    return waves_cnn().but(model=Watched)


@planted(NONE, bars_cnn)
def color_images_that_are_grey() -> Recipe:
    """Three channels that are the same."""
    parts = tuple((np.repeat(x, 3, axis=1), y) for x, y in sequences.bars())

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 12, 5, padding=2), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(12, 3)
        )

    return bars_cnn().but(data=tables.as_splits(*parts), model=net)


@planted(NONE, digits_rows_gru)
def time_first_and_said_so() -> Recipe:
    """A GRU without batch_first that is given a proper transpose."""

    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(8, 64), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x.transpose(0, 1))
            return self.head(states[-1])

    return digits_rows_gru().but(model=Transposed)


@planted(NONE, first_gru)
def softmax_over_the_batch_that_costs_nothing() -> Recipe:
    """Softmax over the batch axis on top of a GRU, then CrossEntropyLoss, which learns the task all the same."""

    class Softened(nets.Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(super().forward(x), dim=0)

    return first_gru().but(model=partial(Softened, nn.GRU, 3, 24, 3))
