"""Healthy programs for the data of `field_data` and two real tables: what the faults of the field are planted in."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diagnosis_cases import field_data as made
from diagnosis_cases import nets, tables
from diagnosis_cases.case import setup
from diagnosis_cases.setups import SGD, plain_loop, recipe
from thalweg import Recipe


def sign_filters() -> nn.Module:
    """Two layers of filters for three colours, and the largest answer anywhere."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


@setup("cnn", "multi-class")
def signs_in_colour() -> Recipe:
    """Road signs by their shape and their colour."""
    return recipe(made.signs(), sign_filters, lr=5e-3, epochs=12)


def face_filters() -> nn.Module:
    """Filters, then two layers that keep the place."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 36, 32), nn.ReLU(), nn.Linear(32, 4),
    )  # fmt: skip


@setup("cnn", "regression")
def points_of_faces() -> Recipe:
    """Where eye and mouth are."""
    return recipe(made.faces(), face_filters, nn.MSELoss(), lr=3e-3, epochs=15)


def letter_filters() -> nn.Module:
    """Filters with batch norm and the largest answer anywhere."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 24, 4, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip


@setup("cnn", "multi-class")
def letters_b_d_p_q() -> Recipe:
    """Four letters that are mirror images of one another, by SGD with momentum."""
    return recipe(made.letters(), letter_filters, optimizer=partial(SGD, lr=0.05, momentum=0.9), epochs=14)


class Residual(nn.Module):
    """A layer in front, blocks that add to what they are given, a layer behind."""

    def __init__(self, inputs: int, width: int, outputs: int, blocks: int = 2) -> None:
        super().__init__()
        self.front, self.back = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(nets.mlp(width, width, width) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.front(x)
        for block in self.blocks:
            hidden = hidden + block(torch.relu(hidden))
        return self.back(torch.relu(hidden))


@setup("mlp", "regression")
def rents_on_a_map() -> Recipe:
    """Rents by place, size and floor, with residual blocks."""
    return recipe(tables.scaled(*made.rents()), partial(Residual, 4, 48, 1), nn.MSELoss(), lr=3e-3, epochs=20)


def of_houses(parts: made.Parts) -> Any:
    """Houses with their district one-hot, scaled."""
    return tables.scaled(*tables.changed(parts, "train validation test", made.by_district))


@setup("mlp", "regression")
def prices_of_houses() -> Recipe:
    """Prices of houses by two hidden layers."""
    adamw = partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.02)
    return recipe(of_houses(made.houses()), lambda: nets.mlp(17, 64, 32, 1), nn.MSELoss(), optimizer=adamw, epochs=25)


def beat_filters() -> nn.Module:
    """Filters in time over two leads."""
    return nn.Sequential(
        nn.Conv1d(2, 12, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(12, 16, 5), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 16, 4),
    )  # fmt: skip


@setup("cnn", "multi-class")
def beats_of_hearts() -> Recipe:
    """Four kinds of heartbeat on two leads."""
    return recipe(made.beats(), beat_filters, lr=2e-3, epochs=12)


class Mail(nn.Module):
    """The mean of the words' vectors, by torch's own bag, and a layer."""

    def __init__(self, kinds: int = 180, width: int = 24) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(kinds, width, mode="mean")
        self.head = nn.Linear(width, 4)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.bag(words))


@setup("mlp", "multi-class", made.words_counted)
def topics_of_mail() -> Recipe:
    """The topic of a letter by the words in it, in any order."""
    return recipe(made.mail(), Mail, lr=2e-2, epochs=12)


@setup("attention", "multi-class", made.when_done)
def orders_in_a_shop() -> Recipe:
    """Which of three things a customer did last, by one encoder layer."""
    return recipe(made.orders(), partial(nets.Tokens, 9, 9, 32, 3), lr=5e-3, epochs=12, batch_size=64)


@setup("mlp", "multi-label")
def tags_of_songs() -> Recipe:
    """Four tags at once, by SiLU layers."""
    return recipe(
        made.songs(), lambda: nets.mlp(10, 64, 64, 4, act=nn.SiLU), nn.BCEWithLogitsLoss(), lr=3e-3, epochs=20
    )


@setup("mlp", "regression")
def demand_by_the_clock() -> Recipe:
    """The demand by hour, date and warmth, by SGD in a plain loop."""
    parts = tables.changed(made.demand(), "train validation test", made.around)
    sgd = partial(SGD, lr=0.05, momentum=0.9)
    return recipe(
        parts, lambda: nets.mlp(5, 48, 48, 1, act=nn.Tanh), nn.MSELoss(), optimizer=sgd, epochs=25, loop=plain_loop
    )


def strip_filters() -> nn.Module:
    """Filters along the strip, a logit for every place."""
    return nn.Sequential(
        nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 16, 5, padding=2), nn.ReLU(),
        nn.Conv1d(16, 1, 5, padding=2), nn.Flatten(),
    )  # fmt: skip


@setup("cnn", "multi-label")
def strips_marked() -> Recipe:
    """Where a strip is rough, at every place."""
    return recipe(made.strips(), strip_filters, nn.BCEWithLogitsLoss(), lr=5e-3, epochs=12)


@setup("rnn", "regression")
def batteries_by_lstm() -> Recipe:
    """What is left in a battery, by an LSTM over what flowed."""
    net = partial(nets.Recurrent, nn.LSTM, 1, 32, 1)
    return recipe(made.batteries(), net, nn.MSELoss(), lr=1e-2, epochs=20, clip_norm=1.0)


@setup("mlp", "binary")
def tumours_with_dropout() -> Recipe:
    """Tumours by a hidden layer with dropout and weight decay."""
    net = lambda: nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))  # noqa: E731
    adamw = partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.1)
    return recipe(tables.scaled(*tables.cancer()), net, optimizer=adamw, epochs=25)


class Steps(nn.Module):
    """Filters whose answers are added to what came in, twice."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.front = nn.Conv2d(1, width, 3, padding=1)
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(16 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.front(x))
        hidden = nn.functional.max_pool2d(hidden + torch.relu(self.first(hidden)), 2)
        hidden = hidden + torch.relu(self.second(hidden))
        return self.head(hidden.flatten(1))


@setup("cnn", "multi-class")
def digits_by_residual_filters() -> Recipe:
    """The digits by filters with skips."""
    return recipe(tables.digits(image=True), Steps, lr=4e-3, epochs=11, batch_size=64)
