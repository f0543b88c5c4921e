"""Healthy programs as in exercises and papers; of many the course of training looks odd and is as it should be."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from diagnosis_cases import course_data as made
from diagnosis_cases import course_nets as own
from diagnosis_cases import nets, sequences, tables
from diagnosis_cases.case import setup
from diagnosis_cases.setups import SGD, plain_loop, recipe
from thalweg import Recipe


def both(pair: Any) -> Any:
    """Both numbers of a pair, one-hot, side by side."""
    return np.eye(40)[np.asarray(pair)].reshape(len(pair), -1)


@setup("mlp", "regression", both)
def ratings_factorized() -> Recipe:
    """Ratings as products of three numbers of user and item, which begin small: a flat start, then a fall."""
    return recipe(made.ratings(), own.Factors, nn.MSELoss(), lr=2e-2, epochs=40)


@setup("mlp", "binary", both)
def games_of_two() -> Recipe:
    """Who wins, by embeddings of both players."""
    return recipe(made.games(), own.Duel, lr=5e-3, epochs=20)


@setup("mlp", "regression")
def yields_of_fields() -> Recipe:
    """Sums of products by two hidden layers."""
    return recipe(made.products(), lambda: nets.mlp(8, 64, 64, 1), nn.MSELoss(), lr=3e-3, epochs=30)


@setup("mlp", "regression")
def warmth_by_branches() -> Recipe:
    """Ten residual branches, each taken small, by SGD with momentum."""
    sgd = partial(SGD, lr=0.01, momentum=0.9)
    return recipe(made.warmth(), partial(own.branches, 0.2), nn.MSELoss(), optimizer=sgd, epochs=12)


@setup("cnn", "multi-class")
def blobs_counted() -> Recipe:
    """How many blobs there are, by filters and a sum."""
    return recipe(made.blobs(), own.Summed, lr=5e-3, epochs=12)


@setup("attention", "regression")
def spots_by_patches() -> Recipe:
    """Where a spot is, by an encoder layer over nine patches of the image."""
    parts: Any = tuple((made.patches(x), y) for x, y in sequences.spots(seed=3))
    fall = lambda step, steps: 1 - step / steps  # noqa: E731
    return recipe(parts, own.Patches, nn.MSELoss(), lr=5e-3, epochs=20, schedule=fall)


@setup("cnn", "binary")
def tones_that_rise() -> Recipe:
    """Rising and falling tones by filters in time."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(1, 12, 9, stride=2), nn.ReLU(), nn.Conv1d(12, 16, 7), nn.ReLU(),
            nn.Flatten(), nn.Linear(16 * 14, 2),
        )  # fmt: skip

    return recipe(made.sweeps(), net, lr=3e-3, epochs=12)


@setup("mlp", "binary", made.word_counts)
def reviews_by_words() -> Recipe:
    """Praise or blame by the mean of embeddings."""
    return recipe(made.reviews(), partial(nets.Bag, 120, 16, 2), lr=1e-2, epochs=12)


@setup("cnn", "sequence", lambda x: np.eye(5)[np.asarray(x)].reshape(len(x), -1))
def symbols_delayed() -> Recipe:
    """A symbol of five steps before by causal filters with dilation."""
    loss = nn.CrossEntropyLoss(ignore_index=made.UNKNOWN)
    return recipe(made.delays(), own.Causal, loss, lr=1e-2, epochs=15)


@setup("mlp", "binary")
def rings_by_radial_units() -> Recipe:
    """A ring in a ring by units that answer near a centre."""
    return recipe(tables.rings(), own.Radial, lr=2e-2, epochs=20)


@setup("rnn", "multi-class")
def first_mark_by_identity() -> Recipe:
    """Which mark came first, thirty steps ago, by an Elman network that begins as the identity."""
    parts = sequences.first_sign(rows=1000, length=30)
    return recipe(parts, partial(own.Identity, 1.0), lr=1e-3, epochs=12, clip_norm=1.0)


@setup("attention", "binary", sequences.places)
def last_by_four_layers() -> Recipe:
    """Which of two tokens came last, by four encoder layers that normalize what they give, with a warm-up."""
    warm = lambda step, steps: min(1.0, 4 * (step + 1) / steps)  # noqa: E731
    parts = sequences.last_of_two(rows=1000)
    return recipe(parts, own.DeepTokens, lr=2e-3, epochs=10, batch_size=64, schedule=warm)


@setup("cnn", "multi-class")
def digits_by_many_filters() -> Recipe:
    """Eight layers of filters with batch norm by SGD."""
    sgd = partial(SGD, lr=0.05, momentum=0.9)
    net = partial(own.filters_in_a_row, 7, True)
    return recipe(tables.digits(image=True), net, optimizer=sgd, epochs=12)


@setup("mlp", "binary", reads=lambda output: output - 0.5)
def tumours_by_squared_error() -> Recipe:
    """Tumours by a probability and its squared error."""
    parts = tables.scaled(*((x, y[:, None].astype("float32")) for x, y in tables.cancer()))
    return recipe(parts, own.Probability, nn.MSELoss(), lr=5e-3, epochs=30)


# --- what looks odd and is not ----------------------------------------------------------------------------------------


@setup("mlp", "binary")
def loans_by_a_line() -> Recipe:
    """Loans by a linear model, which is enough; what is left of the loss is chance."""
    return recipe(made.loans(), lambda: nn.Linear(10, 1), nn.BCEWithLogitsLoss(), lr=1e-2, epochs=15)


@setup("mlp", "binary")
def frauds_that_are_rare() -> Recipe:
    """Four rows in a hundred are of the second class, and most of them look like the first."""
    return recipe(made.frauds(), lambda: nets.mlp(8, 16, 2), lr=2e-3, epochs=15)


@setup("mlp", "binary")
def parity_after_a_plateau() -> Recipe:
    """The parity of three of ten signs: the loss stands still at first, then falls."""
    return recipe(made.parity(), lambda: nets.mlp(10, 64, 2), lr=5e-3, epochs=30, loop=plain_loop)


@setup("mlp", "multi-class")
def wines_in_batches_of_two() -> Recipe:
    """Batches of two under SGD: the loss jumps from batch to batch."""
    sgd = partial(SGD, lr=0.02, momentum=0.5)
    return recipe(tables.scaled(*tables.wine()), lambda: nets.mlp(13, 16, 3), optimizer=sgd, batch_size=2, epochs=12)


@setup("mlp", "multi-class")
def irises_of_a_garden() -> Recipe:
    """Ninety irises to learn from and thirty to validate on."""
    sgd = partial(SGD, lr=0.05, momentum=0.9)
    parts = tables.scaled(*made.iris())
    return recipe(parts, lambda: nets.mlp(4, 12, 3), optimizer=sgd, batch_size=10, epochs=40, loop=plain_loop)


@setup("mlp", "regression")
def trains_with_heavy_tails() -> Recipe:
    """Delays of trains, some of them huge, by Huber's loss."""
    return recipe(made.delays_of_trains(), lambda: nets.mlp(6, 48, 48, 1), nn.HuberLoss(), lr=2e-3, epochs=20)


@setup("mlp", "multi-class")
def groups_with_restarts() -> Recipe:
    """A rate that falls and begins anew four times: the loss rises at every restart."""
    fall = lambda step, steps: 0.5 * (1 + np.cos(np.pi * (step % (steps / 4)) / (steps / 4)))  # noqa: E731
    parts = tables.scaled(*tables.groups(seed=8))
    return recipe(parts, lambda: nets.mlp(20, 96, 96, 4), lr=5e-3, epochs=24, schedule=fall)


@setup("mlp", "regression")
def yields_of_which_half_is_chance() -> Recipe:
    """Yields whose variance is to a half noise, by a small network that decays its weights."""
    adamw = partial(torch.optim.AdamW, lr=5e-3, weight_decay=0.1)
    return recipe(made.noisy_yields(), lambda: nets.mlp(8, 24, 1), nn.MSELoss(), optimizer=adamw, epochs=20)


@setup("mlp", "regression", reads=torch.exp)
def bikes_of_which_few_are_rented() -> Recipe:
    """Counts that are mostly zero or one, by a Poisson regression: a loss that hardly falls."""
    from diagnosis_cases.forum_data import bikes

    loss = nn.PoissonNLLLoss(log_input=True)
    return recipe(bikes(seed=5, level=-1.0), lambda: nets.mlp(6, 32, 1), loss, lr=3e-3, epochs=25)
