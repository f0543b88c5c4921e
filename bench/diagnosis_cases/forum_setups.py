"""Healthy programs of the kinds that questions are asked about, each written in the manner of its field."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import thalweg
from diagnosis_cases import forum_data as made
from diagnosis_cases import forum_nets as own
from diagnosis_cases import nets, tables
from diagnosis_cases.case import setup
from diagnosis_cases.setups import ADAM, CLASSES, SGD, plain_loop, recipe
from thalweg import Recipe, Splits


def several(*parts: Any) -> Splits:
    """Splits whose inputs are tuples or dicts of arrays."""

    def opened(x: Any) -> Any:
        if isinstance(x, dict):
            return {name: tables._tensor(column) for name, column in x.items()}
        return tuple(tables._tensor(column) for column in x)

    a, b, c = ((opened(x), tables._tensor(y)) for x, y in parts)
    return Splits(train=a, validation=b, test=c)


def apart(pair: Any) -> Any:
    """How far two rows lie apart, column by column, and their difference: what a reference learner sees of a pair."""
    first, second = (np.asarray(each) for each in pair)
    return np.concatenate([np.abs(first - second), first - second, first, second], 1)


@setup("mlp", "regression", reads=torch.exp)
def bikes_poisson() -> Recipe:
    """Rented bikes, counted, by a Poisson regression with hidden layers."""
    loss = nn.PoissonNLLLoss(log_input=True)
    return recipe(made.bikes(), lambda: nets.mlp(6, 64, 64, 1), loss, lr=2e-3, epochs=25)


@setup("mlp", "multi-class", reads=own.level_read)
def grades_ordinal() -> Recipe:
    """Grades as cumulative logits."""
    return recipe(made.grades(), lambda: nets.mlp(8, 64, 64, 4), own.OrdinalLoss(5), lr=2e-3, epochs=30)


@setup("mlp", "binary", apart)
def same_digit_siamese() -> Recipe:
    """Whether two images show the same digit, by the distance of their codes."""
    data = several(*made.digit_pairs())
    loss = nn.BCEWithLogitsLoss()
    return Recipe(data=data, model=own.Siamese, objective=loss, optimizer=partial(ADAM, lr=2e-3), epochs=15)


@setup("mlp", "binary", apart)
def preferred_offer() -> Recipe:
    """Which of two offers is preferred, by a score for each."""
    adam, loss = partial(ADAM, lr=3e-3), nn.BCEWithLogitsLoss()
    return Recipe(data=several(*made.offers()), model=own.Preferred, objective=loss, optimizer=adam, epochs=25)


@setup("mlp", "regression")
def sensors_denoised() -> Recipe:
    """Eight sensors without their noise, through a code of six numbers."""
    return recipe(made.sensors(), lambda: nets.mlp(8, 64, 6, 64, 8), nn.MSELoss(), lr=2e-3, epochs=40)


@setup("mlp", "regression", reads=lambda output: output[0])
def sensors_variational() -> Recipe:
    """Eight sensors without their noise, by a variational autoencoder with an objective of its own."""
    return recipe(made.sensors(), own.Variational, own.elbo, lr=3e-3, epochs=40, seed=1)


@setup("mlp", "regression")
def machines_by_experts() -> Recipe:
    """Three kinds of machine by a mixture of four experts."""
    return recipe(made.regimes(), own.Experts, nn.MSELoss(), lr=2e-2, epochs=16)


@setup("rnn", "sequence", lambda words: np.asarray(nn.functional.one_hot(words, 9).flatten(1)))
def words_tagged() -> Recipe:
    """Words of padded sentences, tagged; padding is not counted."""
    loss = nn.CrossEntropyLoss(ignore_index=made.UNKNOWN)
    return recipe(made.sentences(), own.WordTagger, loss, lr=1e-2, epochs=10)


@setup("graph", "binary", lambda pair: made.reached(*map(np.asarray, pair))[:, None])
def molecules_by_neighbours() -> Recipe:
    """Small directed graphs by what each node hears of its neighbours."""
    adam = partial(ADAM, lr=5e-3)
    return Recipe(data=several(*made.molecules()), model=own.GraphNet, objective=CLASSES, optimizer=adam, epochs=30)


@setup("cnn", "regression")
def load_of_the_next_hour() -> Recipe:
    """The load an hour ahead by filters over the last day; later hours are held out."""
    adamw = partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.02)
    return recipe(made.loads(), own.load_filters, nn.MSELoss(), optimizer=adamw, epochs=25)


@setup("attention", "sequence", lambda notes: np.eye(6)[np.asarray(notes)].reshape(len(notes), -1))
def melodies_composed() -> Recipe:
    """The next note at every place by a causal encoder layer."""
    loss = nn.CrossEntropyLoss(ignore_index=made.UNKNOWN)
    return recipe(made.melodies(), own.Composer, loss, lr=3e-3, epochs=12)


@setup("cnn", "multi-label")
def drawings_of_several() -> Recipe:
    """Which of three shapes are drawn, by filters and a maximum."""
    return recipe(made.drawings(), own.drawing_filters, nn.BCEWithLogitsLoss(), lr=1e-2, epochs=9)


@setup("attention", "binary", lambda bag: np.asarray(bag).min(1))
def bags_by_attention() -> Recipe:
    """Whether a bag has a sick cell, by attention over its cells."""
    return recipe(made.bags(), own.BagAttention, lr=5e-3, epochs=20)


def before_last(x: Any) -> Any:
    """The last visit but one."""
    return np.asarray(x["visits"])[np.arange(len(x["lengths"])), np.asarray(x["lengths"]) - 2]


@setup("rnn", "multi-class", before_last)
def visits_of_patients() -> Recipe:
    """The state at the last visit but one, from padded visits and their number, given by name."""
    adam = partial(ADAM, lr=1e-2)
    return Recipe(data=several(*made.visits()), model=own.VisitReader, objective=CLASSES, optimizer=adam, epochs=9)


@setup("mlp", "binary")
def screening_weighted() -> Recipe:
    """A rare illness, with weights of the classes."""
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    return recipe(made.screening(), lambda: nets.mlp(6, 48, 2), loss, lr=5e-3, epochs=20)


def shop_and_numbers(pair: Any) -> Any:
    """The shop, one-hot, and the numbers beside it."""
    shop, numbers = (np.asarray(each) for each in pair)
    return np.concatenate([np.eye(12)[shop.reshape(len(shop), -1)[:, 0]], numbers], 1)


@setup("mlp", "regression", shop_and_numbers)
def sales_of_shops() -> Recipe:
    """What shops sell, by an embedding of the shop."""
    adam = partial(ADAM, lr=5e-3)
    return Recipe(data=several(*made.sales()), model=own.ShopNet, objective=nn.MSELoss(), optimizer=adam, epochs=20)


@setup("mlp", "multi-label")
def years_survived() -> Recipe:
    """Whether a patient lives beyond each of four years, as far as it is known."""
    return recipe(made.survival(), lambda: nets.mlp(7, 48, 48, 4), own.KnownLoss(), lr=3e-3, epochs=20)


class Tickets(Dataset[Any]):
    """Tickets as dicts."""

    def __init__(self, x: Any, urgent: Any, hours: Any) -> None:
        self.columns = {"x": torch.as_tensor(x), "urgent": torch.as_tensor(urgent), "hours": torch.as_tensor(hours)}

    def __len__(self) -> int:
        return len(self.columns["x"])

    def __getitem__(self, index: int) -> Any:
        return {name: column[index] for name, column in self.columns.items()}


def loaders(parts: Any) -> Splits:
    """Loaders of tickets."""
    a, b, c = (DataLoader(Tickets(*part), batch_size=32, shuffle=n == 0) for n, part in enumerate(parts))
    return Splits(train=a, validation=b, test=c)


TICKETS: Any = {"opens": lambda ticket: (ticket["x"], ticket["urgent"]), "reads": lambda output: output[0]}


@setup("mlp", "binary", **TICKETS)
def tickets_of_two_tasks() -> Recipe:
    """Urgency and hours of tickets at once, batches as dicts, an objective of one's own."""
    adam = partial(ADAM, lr=3e-3)
    return Recipe(data=loaders(made.tickets()), model=own.TwoHeads, objective=own.both_tasks, optimizer=adam, epochs=14)


@setup("mlp", "binary")
def gaits_of_other_people() -> Recipe:
    """Who limps, judged on people who were not trained on."""
    adamw = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1)
    return recipe(
        made.gaits(people=220, windows=6, test_people=60), lambda: nets.mlp(24, 16, 2), optimizer=adamw, epochs=15
    )


def clipped_loop(model: nn.Module, optimizer: Any, batches: Any, objective: Any) -> None:
    """A loop that clips gradients at a length of one."""
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        objective(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@setup("mlp", "binary")
def spirals_by_a_deep_network() -> Recipe:
    """Two arms of a spiral by six layers with skips, clipped, with a cosine schedule."""
    return recipe(
        made.spirals(), partial(own.deep, 6), lr=5e-3, epochs=16, loop=clipped_loop, schedule=thalweg.optim.Cosine()
    )


@setup("mlp", "regression", reads=lambda output: output[:, :1])
def winds_with_their_spread() -> Recipe:
    """A wind and how sure one is of it, by the likelihood of a normal distribution."""
    return recipe(made.winds(), lambda: nets.mlp(4, 64, 64, 2), own.GaussianLoss(), lr=2e-3, epochs=30)


@setup("mlp", "regression")
def diabetes_decayed() -> Recipe:
    """Diabetes: few rows, much noise, a small network with weight decay that stops early."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    parts = tables.scaled(*tables.three(x, ((y - 152) / 77)[:, None], classes=False))
    adamw = partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.3)
    rule = thalweg.EarlyStopping(patience=8)
    return recipe(parts, lambda: nets.mlp(10, 16, 1), nn.MSELoss(), optimizer=adamw, epochs=60, stopping=rule)


@setup("mlp", "multi-class")
def grades_by_sgd() -> Recipe:
    """Grades as five classes, in a plain loop with SGD whose rate falls in steps."""
    sgd, steps = partial(SGD, lr=0.05, momentum=0.9), partial(torch.optim.lr_scheduler.StepLR, step_size=12, gamma=0.3)
    return recipe(
        made.grades(seed=21), lambda: nets.mlp(8, 64, 64, 5), optimizer=sgd, epochs=30, loop=plain_loop, schedule=steps
    )
