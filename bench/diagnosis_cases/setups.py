"""Healthy programs, each of its own kind: what the faults are planted in, and healthy cases themselves."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from diagnosis_cases import nets, sequences, tables
from diagnosis_cases.case import setup
from thalweg import Recipe, Splits

ADAM = torch.optim.Adam
SGD = torch.optim.SGD
CLASSES = nn.CrossEntropyLoss()


def plain_loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Callable[..., Any]) -> None:
    """The loop of every tutorial."""
    for x, y in batches:
        optimizer.zero_grad()
        loss = objective(model(x), y)
        loss.backward()
        optimizer.step()


def recipe(
    parts: Any, model: Callable[[], nn.Module], objective: Any = CLASSES, lr: float = 1e-3, **more: Any
) -> Recipe:
    """A recipe of three parts of data, with Adam where nothing else is said."""
    more.setdefault("optimizer", partial(ADAM, lr=lr))
    return Recipe(data=tables.as_splits(*parts), model=model, objective=objective, **more)


# --- rows -------------------------------------------------------------------------------------------------------------


@setup("mlp", "multi-class")
def digits_mlp() -> Recipe:
    """A hidden layer for the digits."""
    return recipe(tables.digits(), lambda: nets.mlp(64, 64, 10), epochs=25, lr=2e-3)


@setup("mlp", "multi-class")
def digits_sgd() -> Recipe:
    """Two hidden layers for the digits by SGD with momentum."""
    sgd = partial(SGD, lr=0.05, momentum=0.9)
    return recipe(tables.digits(), lambda: nets.mlp(64, 64, 64, 10), optimizer=sgd, epochs=20, seed=1)


@setup("mlp", "multi-class")
def digits_loop() -> Recipe:
    """The digits in a loop of one's own."""
    sgd = partial(SGD, lr=0.05, momentum=0.9)
    return recipe(tables.digits(), lambda: nets.mlp(64, 48, 10), optimizer=sgd, epochs=20, loop=plain_loop)


@setup("mlp", "multi-class")
def digits_tanh() -> Recipe:
    """Three hidden layers of tanh for the digits."""
    return recipe(tables.digits(), lambda: nets.mlp(64, 48, 48, 48, 10, act=nn.Tanh), epochs=25, seed=2)


@setup("mlp", "multi-class")
def digits_dropout() -> Recipe:
    """A wide hidden layer with dropout for the digits."""
    net = lambda: nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))  # noqa: E731
    return recipe(tables.digits(), net, epochs=25, seed=3)


@setup("mlp", "multi-class")
def digits_loader() -> Recipe:
    """The digits in DataLoaders."""
    train, validation, test = (TensorDataset(*tables.tensors(*part)) for part in tables.digits())
    return Recipe(
        data=Splits(
            train=DataLoader(train, batch_size=32, shuffle=True),
            validation=DataLoader(validation, batch_size=64),
            test=DataLoader(test, batch_size=64),
        ),
        model=lambda: nets.mlp(64, 64, 10),
        objective=CLASSES,
        optimizer=partial(SGD, lr=0.1, momentum=0.9),
        epochs=15,
    )


@setup("mlp", "multi-class")
def wine_mlp() -> Recipe:
    """Wines by a small hidden layer."""
    return recipe(tables.scaled(*tables.wine()), lambda: nets.mlp(13, 16, 3), lr=1e-2, batch_size=16, epochs=40)


@setup("mlp", "binary")
def cancer_logit() -> Recipe:
    """Tumours by one logit."""
    parts = tables.scaled(*((x, y[:, None].astype("float32")) for x, y in tables.cancer()))
    return recipe(parts, lambda: nets.mlp(30, 16, 1), nn.BCEWithLogitsLoss(), lr=3e-3, epochs=40, seed=1)


@setup("mlp", "binary")
def cancer_batch_norm() -> Recipe:
    """Tumours as they were measured, normalized by the first layer."""
    net = lambda: nn.Sequential(nn.BatchNorm1d(30), nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2))  # noqa: E731
    return recipe(tables.cancer(), net, lr=5e-3, epochs=40, loop=plain_loop)


@setup("mlp", "regression")
def friedman_mlp() -> Recipe:
    """A curved sum of five of ten inputs by two hidden layers."""
    return recipe(tables.friedman(), lambda: nets.mlp(10, 64, 64, 1), nn.MSELoss(), lr=3e-3, epochs=40)


@setup("mlp", "regression")
def friedman_sgd() -> Recipe:
    """A curved sum of five of ten inputs by SGD."""
    parts, sgd = tables.scaled(*tables.friedman(seed=4)), partial(SGD, lr=0.02, momentum=0.9)
    return recipe(parts, lambda: nets.mlp(10, 48, 48, 1), nn.MSELoss(), optimizer=sgd, epochs=40, seed=4)


@setup("mlp", "multi-class")
def groups_mlp() -> Recipe:
    """Four classes of points in twenty dimensions."""
    return recipe(tables.scaled(*tables.groups()), lambda: nets.mlp(20, 96, 96, 4), lr=2e-3, epochs=30, seed=5)


@setup("mlp", "binary")
def moons_mlp() -> Recipe:
    """Two half moons by two hidden layers."""
    return recipe(tables.moons(), lambda: nets.mlp(2, 32, 32, 2), lr=5e-3, epochs=30)


@setup("mlp", "binary")
def rings_mlp() -> Recipe:
    """A ring in a ring by a hidden layer, one logit for each."""
    parts = tuple((x, y.astype("float32")) for x, y in tables.rings())
    net = lambda: nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))  # noqa: E731
    return recipe(parts, net, nn.BCEWithLogitsLoss(), lr=1e-2, epochs=30)


@setup("mlp", "multi-label")
def labels_mlp() -> Recipe:
    """Five labels of each row."""
    return recipe(tables.labels(), lambda: nets.mlp(12, 64, 5), nn.BCEWithLogitsLoss(), lr=3e-3, epochs=40)


# --- images and signals -----------------------------------------------------------------------------------------------


@setup("cnn", "multi-class")
def digits_cnn() -> Recipe:
    """Two layers of filters for the digits."""
    return recipe(tables.digits(image=True), nets.digits_filters, lr=3e-3, epochs=8)


@setup("cnn", "multi-class")
def digits_cnn_batch_norm() -> Recipe:
    """Two layers of filters with batch norm for the digits."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(96, 10),
        )  # fmt: skip

    return recipe(tables.digits(image=True), net, lr=3e-3, epochs=8, seed=1)


@setup("cnn", "multi-class")
def bars_cnn() -> Recipe:
    """Upright, lying or sloping lines in tiny images."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(12, 3)
        )

    return recipe(sequences.bars(), net, lr=1e-2, epochs=10)


@setup("cnn", "regression")
def spots_cnn() -> Recipe:
    """Where a spot is in a tiny image."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 2)
        )

    return recipe(sequences.spots(), net, nn.MSELoss(), lr=3e-3, epochs=15)


@setup("cnn", "multi-class", sequences.windows)
def waves_cnn() -> Recipe:
    """The frequency of a wave by filters in time."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.Conv1d(16, 16, 5, padding=2), nn.ReLU(),
            nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(16, 3),
        )  # fmt: skip

    return recipe(sequences.waves(), net, lr=5e-3, epochs=12)


# --- sequences --------------------------------------------------------------------------------------------------------


@setup("rnn", "multi-class")
def digits_rows_gru() -> Recipe:
    """The rows of a digit read by a GRU."""
    parts = tuple((x.reshape(-1, 8, 8), y) for x, y in tables.digits())
    return recipe(parts, partial(nets.Recurrent, nn.GRU, 8, 48, 10), lr=5e-3, epochs=15)


@setup("rnn", "binary", sequences.sums)
def majority_lstm() -> Recipe:
    """The sign of a sum by an LSTM."""
    return recipe(sequences.majority(), partial(nets.Recurrent, nn.LSTM, 1, 24, 2), lr=1e-2, epochs=15)


@setup("rnn", "multi-class")
def first_gru() -> Recipe:
    """Which mark came first, remembered by a GRU."""
    return recipe(sequences.first_sign(), partial(nets.Recurrent, nn.GRU, 3, 24, 3), lr=1e-2, epochs=15)


@setup("rnn", "regression", sequences.sums)
def adding_gru() -> Recipe:
    """The sum of two marked numbers by a GRU."""
    net = partial(nets.Recurrent, nn.GRU, 2, 32, 1)
    return recipe(sequences.adding(), net, nn.MSELoss(), lr=1e-2, epochs=20)


@setup("rnn", "sequence")
def echo_elman() -> Recipe:
    """The mean of the last three numbers at every step by an Elman network."""
    net = partial(nets.Stepwise, nn.RNN, 1, 32, 1)
    return recipe(sequences.echo(), net, nn.MSELoss(), lr=5e-3, epochs=40)


@setup("rnn", "sequence")
def tags_gru() -> Recipe:
    """A tag for every token."""
    return recipe(sequences.tags(), partial(nets.Tagger, 6, 24, 3), lr=1e-2, epochs=15)


@setup("rnn", "binary", sequences.places)
def last_gru() -> Recipe:
    """Which of two tokens came last, by a GRU."""
    return recipe(sequences.last_of_two(), partial(nets.Reader, 8, 24, 2), lr=1e-2, epochs=12)


@setup("rnn", "regression")
def forecast_lstm() -> Recipe:
    """The next number of a wave by an LSTM."""
    net = partial(nets.Recurrent, nn.LSTM, 1, 32, 1)
    return recipe(sequences.forecast(), net, nn.MSELoss(), lr=1e-2, epochs=20)


# --- attention --------------------------------------------------------------------------------------------------------


@setup("attention", "multi-class")
def digits_rows_attention() -> Recipe:
    """The rows of a digit by an encoder layer."""
    parts = tuple((x.reshape(-1, 8, 8), y) for x, y in tables.digits())
    return recipe(parts, nets.Rows, lr=3e-3, epochs=15)


@setup("attention", "multi-class")
def lookup_attention() -> Recipe:
    """The value of the key that is asked for."""
    return recipe(sequences.lookup(), partial(nets.Lookup, 8, 16, 4), lr=1e-2, epochs=20)


@setup("attention", "binary", sequences.places)
def last_attention() -> Recipe:
    """Which of two tokens came last, by an encoder layer."""
    return recipe(sequences.last_of_two(), partial(nets.Tokens, 8, 10), lr=3e-3, epochs=12)


@setup("mlp", "binary", sequences.counts)
def counted_bag() -> Recipe:
    """Which half of an alphabet is more frequent, by the mean of embeddings."""
    return recipe(sequences.counted(), partial(nets.Bag, 10, 16, 2), lr=1e-2, epochs=20)
