"""Healthy programs of the field, in which faults are planted."""

from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from torch import nn

from diagnosis_cases import field_made as made
from diagnosis_cases import field_nets as own
from diagnosis_cases import nets, tables
from diagnosis_cases.case import setup
from diagnosis_cases.setups import SGD, recipe
from thalweg import Recipe


def evens() -> Any:
    """The digits as images: 1 where the number is odd."""
    return tuple((x, (y % 2)[:, None].astype("float32")) for x, y in tables.digits(image=True))


def fall(step: int, steps: int) -> float:
    """A cosine down to zero."""
    return 0.5 * (1 + float(np.cos(np.pi * step / steps)))


@setup("mlp", "regression", lambda x: np.concatenate([np.sin(x), np.cos(x), x], 1))
def hand_of_an_arm() -> Recipe:
    """Where the hand of an arm is, by two layers of tanh."""
    net = lambda: nets.mlp(3, 64, 64, 2, act=nn.Tanh)  # noqa: E731
    return recipe(made.arm(), net, nn.MSELoss(), lr=5e-3, epochs=30)


@setup("mlp", "multi-class")
def shells_by_a_tower() -> Recipe:
    """Three shells by four residual blocks with layer norm and AdamW."""
    adamw = partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.01)
    return recipe(made.shells(), partial(own.tower, 4, 3, width=24), optimizer=adamw, epochs=20, schedule=fall)


@setup("rnn", "multi-class")
def order_of_pulses() -> Recipe:
    """On which wire the first and the second pulse came, by an LSTM."""
    net = partial(nets.Recurrent, nn.LSTM, 2, 32, 4)
    return recipe(made.orders(), net, lr=1e-2, epochs=20, clip_norm=1.0)


@setup("rnn", "sequence", lambda tokens: np.eye(3)[np.asarray(tokens)].cumsum(1).reshape(len(tokens), -1))
def brackets_nested() -> Recipe:
    """How deep brackets are nested, by a GRU."""
    return recipe(made.depths(), own.Nested, nn.MSELoss(), lr=1e-2, epochs=20)


@setup("cnn", "multi-class", lambda x: np.abs(np.fft.fft2(np.asarray(x)[:, 0])))
def gratings_by_filters() -> Recipe:
    """The slope of stripes by filters with batch norm under SGD."""
    sgd = partial(SGD, lr=0.05, momentum=0.9)
    return recipe(made.gratings(), own.stripes, optimizer=sgd, epochs=10, schedule=fall)


@setup("cnn", "binary")
def odd_digits() -> Recipe:
    """Even and odd digits by filters and a logit."""
    return recipe(evens(), own.even_filters, nn.BCEWithLogitsLoss(), lr=2e-3, epochs=12)


@setup("mlp", "regression", lambda x: np.concatenate([np.eye(7)[x[:, 0].long()], x[:, 1:]], 1), reads=torch.exp)
def calls_of_an_hour() -> Recipe:
    """Calls, counted, by the day and the time: an embedding, hidden layers, Poisson's loss."""
    loss = nn.PoissonNLLLoss(log_input=True)
    return recipe(made.calls(), own.Switchboard, loss, lr=3e-3, epochs=20)


@setup("cnn", "binary", made.pairs_of_motif)
def motif_in_a_text() -> Recipe:
    """Whether a motif of three tokens occurs, by filters of three tokens."""
    return recipe(made.motifs(), own.Scan, nn.BCEWithLogitsLoss(), lr=1e-2, epochs=15)


@setup("mlp", "regression", lambda x: np.sort(np.asarray(x)[:, :, 0], axis=1))
def span_of_a_set() -> Recipe:
    """How far readings lie apart, by a network that takes a set."""
    return recipe(made.spans(), own.Sets, nn.MSELoss(), lr=5e-3, epochs=30, schedule=fall)


@setup("mlp", "regression")
def impedance_of_circuits() -> Recipe:
    """The impedance of circuits by two hidden layers under SGD, all scaled."""
    sgd = partial(SGD, lr=0.03, momentum=0.9)
    parts = tables.scaled(*made.in_kiloohms(made.circuits()))
    return recipe(parts, lambda: nets.mlp(4, 48, 48, 1), nn.MSELoss(), optimizer=sgd, epochs=30)


# --- what looks odd and is not ----------------------------------------------------------------------------------------


@setup("mlp", "binary")
def votes_by_chance() -> Recipe:
    """Votes of which the best guess is wrong for one in four, by a small network: a loss that hardly falls."""
    adamw = partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.1)
    return recipe(made.votes(), lambda: nets.mlp(8, 16, 2), optimizer=adamw, epochs=12)


@setup("mlp", "regression")
def progression_with_dropout() -> Recipe:
    """265 patients, two fifths of what happens to them predictable: a small network with dropout and decay, Huber."""
    x, y = datasets.load_diabetes(return_X_y=True)
    parts = tables.scaled(*tables.three(x, ((y - 152) / 77)[:, None], seed=3, classes=False))
    net = lambda: nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 1))  # noqa: E731
    adamw = partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.3)
    return recipe(parts, net, nn.HuberLoss(), optimizer=adamw, epochs=40)


@setup("mlp", "regression")
def curve_under_heavy_tails() -> Recipe:
    """A curve under errors with heavy tails, by absolute errors: squared ones would be ruled by a few rows."""
    return recipe(made.tailed(), lambda: nets.mlp(5, 32, 32, 1), nn.L1Loss(), lr=3e-3, epochs=15, schedule=fall)


@setup("mlp", "regression")
def plane_by_one_layer() -> Recipe:
    """Twelve inputs of a plane by a single layer, which is all there is to learn."""
    x, y = datasets.make_regression(600, 12, noise=5.0, random_state=1)
    parts = tables.scaled(*tables.three(x, (y / np.std(y))[:, None], classes=False))
    return recipe(parts, lambda: nn.Linear(12, 1), nn.MSELoss(), optimizer=partial(SGD, lr=0.02), epochs=20)


@setup("mlp", "binary")
def faults_that_are_rare() -> Recipe:
    """One machine in twenty is faulty and counts threefold in the loss."""
    x, y = datasets.make_classification(
        2000, 10, n_informative=5, n_redundant=0, n_clusters_per_class=1, weights=[0.95], class_sep=2.0, flip_y=0.0,
        random_state=4,
    )  # fmt: skip
    parts = tuple((x, y[:, None].astype("float32")) for x, y in tables.scaled(*tables.three(x, y)))
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))
    return recipe(parts, lambda: nets.mlp(10, 24, 1), loss, lr=3e-3, epochs=15)


@setup("mlp", "multi-class")
def wines_all_at_once() -> Recipe:
    """All rows of the wines in one batch, by Rprop, which wants it so."""
    rprop = partial(torch.optim.Rprop, lr=0.01)
    parts = tables.scaled(*tables.three(*datasets.load_wine(return_X_y=True), seed=5))
    return recipe(parts, lambda: nets.mlp(13, 10, 3), optimizer=rprop, batch_size=None, epochs=40)


@setup("mlp", "binary")
def tumours_annealed() -> Recipe:
    """Tumours by SGD at a rate that falls to zero and a network that decays its weights."""
    sgd = partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
    parts = tables.scaled(*tables.three(*datasets.load_breast_cancer(return_X_y=True), seed=7))
    return recipe(parts, lambda: nets.mlp(30, 12, 2, act=nn.Tanh), optimizer=sgd, epochs=25, schedule=fall)
