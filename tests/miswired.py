"""Recipes with one fault in their wiring each, the mechanism that has to be said of it, and the same repaired."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from wellwired import (
    BCE,
    CE,
    HAS,
    IMAGES,
    LABELS,
    MSE,
    POSITIVE,
    SERIES,
    SERIES_SUM,
    SGD,
    WORDS,
    B,
    C,
    N,
    X,
    Y,
    accumulating_loop,
    cnn,
    judging_loop,
    mlp,
    plain_loop,
    recipe,
    token_loss,
)

from thalweg.core.source import Splits
from thalweg.training import Recipe

Maker = Callable[[], Recipe]


def ended(net: nn.Module, *ends: nn.Module) -> nn.Module:
    return nn.Sequential(net, *ends)


class Listed(nn.Module):
    def __init__(self, registered: bool) -> None:
        super().__init__()
        layers = [nn.Linear(6, 6) for _ in range(3)]
        self.layers: Any = nn.ModuleList(layers) if registered else layers
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return self.head(x)


class Detached(nn.Module):
    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.body, self.head, self.cut = mlp(6, 8), nn.Linear(8, 3), cut

    def forward(self, x: Tensor) -> Tensor:
        z = self.body(x)
        return self.head(z.detach() if self.cut else z)


class MadeInForward(nn.Module):
    def __init__(self, early: bool) -> None:
        super().__init__()
        self.body, self.early = mlp(6, 8), early
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        head = self.head if self.early else nn.Linear(8, 3)
        return head(self.body(x))


class Dropping(nn.Module):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.first, self.second, self.on = nn.Linear(6, 16), nn.Linear(16, 3), on

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.dropout(self.first(x).relu(), 0.5, training=self.training or self.on))


class StaysTraining(nn.Module):
    def __init__(self, stays: bool) -> None:
        super().__init__()
        self.net, self.stays = mlp(6, 3, nn.BatchNorm1d(16)), stays

    def train(self, mode: bool = True) -> "StaysTraining":
        return super().train(mode or self.stays)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Reshaping(nn.Module):
    """Channels moved by a view where a transpose was meant, so that examples mix."""

    def __init__(self, mixes: bool) -> None:
        super().__init__()
        self.net, self.mixes = nn.Sequential(nn.Linear(21, 16), nn.ReLU(), nn.Linear(16, 1)), mixes

    def forward(self, x: Tensor) -> Tensor:
        if self.mixes:
            x = x.transpose(0, 1).reshape(len(x), -1)
        return self.net(x.flatten(1))


class TimeFirst(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 12, batch_first=batch_first), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Attending(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 12), nn.Linear(12, 2)
        self.layer = nn.TransformerEncoderLayer(12, 3, 24, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


class Overwritten(nn.Module):
    def __init__(self, over: bool) -> None:
        super().__init__()
        self.net, self.over = mlp(), over

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.zeros_like(x) if self.over else x)


class Rounding(nn.Module):
    def __init__(self, rounds: bool) -> None:
        super().__init__()
        self.body, self.head, self.rounds = mlp(6, 8), nn.Linear(8, 3), rounds

    def forward(self, x: Tensor) -> Tensor:
        z = self.body(x)
        return self.head(z.round() if self.rounds else z)


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return -gradient


class GradientReversed(nn.Module):
    def __init__(self, reverses: bool, outputs: int = 1) -> None:
        super().__init__()
        self.net, self.reverses = mlp(6, outputs), reverses

    def forward(self, x: Tensor) -> Tensor:
        return Reversed.apply(self.net(x)) if self.reverses else self.net(x)


def head_only(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model[-1].parameters(), lr=3e-3)


head_only.takes_model = True


def no_clearing(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        loss(model(x), y).backward()
        optimizer.step()


def no_step(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        optimizer.zero_grad()
        loss(model(x), y).backward()


def no_backward(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        optimizer.zero_grad()
        loss(model(x), y)
        optimizer.step()


def cleared_before_step(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        loss(model(x), y).backward()
        optimizer.zero_grad()
        optimizer.step()


def first_batch(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
        return


def evaluating(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    model.eval()
    plain_loop(model, optimizer, batches, loss)


def stale_targets(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    last = None
    for x, y in batches:
        if last is not None:
            optimizer.zero_grad()
            loss(model(x), last).backward()
            optimizer.step()
        last = y


class Sorted(IterableDataset[Any]):
    def __init__(self, by: Tensor) -> None:
        self.by = by

    def __iter__(self) -> Iterator[Any]:
        return iter([(X[i], C[i]) for i in self.by.tolist()])


def moved(by: int) -> Recipe:
    return recipe(X, C.roll(by), mlp, CE)


def apart(broken: bool) -> Recipe:
    validation = C[:200][torch.randperm(200, generator=torch.Generator().manual_seed(0))] if broken else C[:200]
    splits = Splits(train=(X, C), validation=(X[:200], validation))
    return Recipe(data=splits, model=mlp, objective=CE, epochs=3)


def flipped(loss: Any) -> Any:
    return lambda output, target: -loss(output, target)


def column_softmax(output: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(output.log_softmax(0), target)


def wide_start(scale: float) -> nn.Module:
    net = mlp()
    nn.init.normal_(net[0].weight, std=scale)
    nn.init.normal_(net[-1].weight, std=scale)
    return net


def two_groups(rate: float) -> Any:
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        groups = [{"params": model[0].parameters(), "lr": rate}, {"params": model[-1].parameters()}]
        return torch.optim.Adam(groups, lr=3e-3)

    optimizer.takes_model = True
    return optimizer


def split(faulty: bool, wrong: Any, right: Any) -> Any:
    return wrong if faulty else right


Both = Callable[[bool], Recipe]
"""The faulty recipe for True, the repaired one for False."""

MISWIRED: dict[str, tuple[str, Both]] = {
    "softmax into cross-entropy": (
        "softmax twice",
        lambda f: recipe(X, C, lambda: ended(mlp(), *[nn.Softmax(1)] * f), CE),
    ),
    "softmax into smoothed cross-entropy": (
        "softmax twice",
        lambda f: recipe(X, C, lambda: ended(mlp(), *[nn.Softmax(1)] * f), nn.CrossEntropyLoss(label_smoothing=0.1)),
    ),
    "sigmoid into cross-entropy": (
        "sigmoid twice",
        lambda f: recipe(X, C, lambda: ended(mlp(), *[nn.Sigmoid()] * f), CE),
    ),
    "sigmoid into its logits": (
        "sigmoid twice",
        lambda f: recipe(X, B[:, None], lambda: ended(mlp(6, 1), *[nn.Sigmoid()] * f), BCE),
    ),
    "sigmoid into logits of labels": (
        "sigmoid twice",
        lambda f: recipe(X, LABELS, lambda: ended(mlp(6, 4), *[nn.Sigmoid()] * f), BCE),
    ),
    "scores into NLL": (
        "softmax never",
        lambda f: recipe(X, C, lambda: ended(mlp(), *[nn.LogSoftmax(1)] * (not f)), nn.NLLLoss()),
    ),
    "probabilities into NLL": (
        "probabilities for log-probabilities",
        lambda f: recipe(X, C, lambda: ended(mlp(), split(f, nn.Softmax(1), nn.LogSoftmax(1))), nn.NLLLoss()),
    ),
    "softmax over one unit": (
        "constant output",
        lambda f: recipe(X, B[:, None], lambda: ended(mlp(6, 1), split(f, nn.Softmax(1), nn.Sigmoid())), nn.BCELoss()),
    ),
    "softmax over the batch": (
        "softmax over the batch axis",
        lambda f: recipe(X, F.one_hot(C, 3).float(), lambda: ended(mlp(), nn.Softmax(0 if f else 1)), MSE),
    ),
    "softmax over the batch before cross-entropy": (
        "softmax over the batch axis",
        lambda f: recipe(X, C, lambda: ended(mlp(), *[nn.Softmax(0)] * f), CE),
    ),
    "softmax for labels": (
        "softmax for labels that do not exclude each other",
        lambda f: recipe(X, LABELS, lambda: ended(mlp(6, 4), split(f, nn.Softmax(1), nn.Sigmoid())), nn.BCELoss()),
    ),
    "rectifier on numbers": (
        "head without the targets in its range",
        lambda f: recipe(X, Y[:, None], lambda: ended(mlp(6, 1), *[nn.ReLU()] * f), MSE),
    ),
    "sigmoid on numbers": (
        "head without the targets in its range",
        lambda f: recipe(X, 5 * Y[:, None], lambda: ended(mlp(6, 1), *[nn.Sigmoid()] * f), MSE),
    ),
    "tanh on numbers": (
        "head without the targets in its range",
        lambda f: recipe(X, 3 * Y[:, None], lambda: ended(mlp(6, 1), *[nn.Tanh()] * f), nn.L1Loss()),
    ),
    "tanh on positive numbers": (
        "head without the targets in its range",
        lambda f: recipe(X, POSITIVE[:, None] * 10, lambda: ended(mlp(6, 1), *[nn.Tanh()] * f), nn.HuberLoss()),
    ),
    "rectifier on scores": (
        "rectifier on the scores",
        lambda f: recipe(X, C, lambda: ended(mlp(), *[nn.ReLU()] * f), CE),
    ),
    "pairs of unlike shapes": (
        "broadcast in the loss",
        lambda f: recipe(X, Y, lambda: ended(mlp(6, 1), *[nn.Flatten(0)] * (not f)), MSE),
    ),
    "pairs of unlike shapes, targets in a column": (
        "broadcast in the loss",
        lambda f: recipe(X, split(f, Y[:, None], Y), lambda: ended(mlp(6, 1), nn.Flatten(0)), nn.L1Loss()),
    ),
    "one output for all targets": (
        "fewer outputs than targets",
        lambda f: recipe(X, LABELS + Y[:, None], lambda: mlp(6, split(f, 1, 4)), MSE),
    ),
    "negative squares": (
        "flipped sign",
        lambda f: recipe(X, Y[:, None], lambda: mlp(6, 1), split(f, flipped(MSE), MSE)),
    ),
    "negative cross-entropy": ("flipped sign", lambda f: recipe(X, C, mlp, split(f, flipped(CE), CE))),
    "negative logits": (
        "flipped sign",
        lambda f: recipe(X, B[:, None], lambda: mlp(6, 1), split(f, flipped(BCE), BCE)),
    ),
    "positive correlation": (
        "flipped sign",
        lambda f: recipe(
            X,
            Y[:, None],
            lambda: mlp(6, 1),
            lambda o, t: (1 if f else -1) * F.cosine_similarity(o - o.mean(), t - t.mean(), 0).mean(),
        ),
    ),
    "a loss of the output alone": (
        "loss without the target",
        lambda f: recipe(X, Y[:, None], lambda: mlp(6, 1), lambda o, t: F.mse_loss(o, o.detach() * 0 if f else t)),
    ),
    "padding that is a class": (
        "loss without a class",
        lambda f: recipe(X, C, mlp, nn.CrossEntropyLoss(ignore_index=1 if f else -100)),
    ),
    "a class that weighs nothing": (
        "loss without a class",
        lambda f: recipe(X, C, mlp, nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.5, 0.0 if f else 0.1]))),
    ),
    "a loss of the target alone": (
        "loss without the output",
        lambda f: recipe(X, Y[:, None], lambda: mlp(6, 1), lambda o, t: F.mse_loss((0 * o if f else o), t)),
    ),
    "log-softmax over the batch in the loss": (
        "softmax over the batch axis",
        lambda f: recipe(X, C, mlp, split(f, column_softmax, CE)),
    ),
    "labels -1 and 1 as logits": (
        "labels outside of [0, 1]",
        lambda f: recipe(X, (2 * B - 1 if f else B)[:, None], lambda: mlp(6, 1), BCE),
    ),
    "labels 1 and 2 as logits": (
        "labels outside of [0, 1]",
        lambda f: recipe(X, (B + f)[:, None], lambda: mlp(6, 1), BCE),
    ),
    "sum with SGD": (
        "sum instead of mean",
        lambda f: recipe(
            X, 3 * Y[:, None], lambda: mlp(6, 1), nn.MSELoss(reduction="sum" if f else "mean"), optimizer=SGD
        ),
    ),
    "a wide start": ("loss at initialization", lambda f: recipe(X, C, lambda: wide_start(4.0 if f else 0.3), CE)),
    "dropout in evaluation": ("dropout in evaluation", lambda f: recipe(X, C, lambda: Dropping(f), CE)),
    "batch norm in evaluation": ("training mode in evaluation", lambda f: recipe(X, C, lambda: StaysTraining(f), CE)),
    "reshape that mixes": ("examples mix", lambda f: recipe(SERIES, SERIES_SUM, lambda: Reshaping(f), MSE)),
    "recurrent over the batch": ("examples mix", lambda f: recipe(SERIES, SERIES_SUM, lambda: TimeFirst(not f), MSE)),
    "attention over the batch": ("examples mix", lambda f: recipe(WORDS, HAS, lambda: Attending(not f), CE)),
    "input overwritten": ("output without the input", lambda f: recipe(X, C, lambda: Overwritten(f), CE)),
    "layers in a list": ("unregistered parameters", lambda f: recipe(X, C, lambda: Listed(not f), CE)),
    "layer made in forward": ("unregistered parameters", lambda f: recipe(X, C, lambda: MadeInForward(not f), CE)),
    "detached": ("no gradient", lambda f: recipe(X, C, lambda: Detached(f), CE)),
    "rounded": ("no gradient", lambda f: recipe(X, C, lambda: Rounding(f), CE)),
    "head alone in the optimizer": (
        "not in the optimizer",
        lambda f: recipe(X, C, mlp, CE, **({"optimizer": head_only} if f else {})),
    ),
    "rate 0 of a group": ("learning rate 0", lambda f: recipe(X, C, mlp, CE, optimizer=two_groups(0.0 if f else 1e-3))),
    "gradient reversed": (
        "the loss of one batch does not fall",
        lambda f: recipe(X, Y[:, None], lambda: GradientReversed(f), MSE),
    ),
    "gradient reversed in a marked objective": (
        "the loss of one batch does not fall",
        lambda f: recipe(X, C, lambda: GradientReversed(f, 3), token_loss),
    ),
    "no zero_grad": (
        "gradients not cleared",
        lambda f: recipe(X, C, mlp, CE, loop=split(f, no_clearing, accumulating_loop)),
    ),
    "no step": ("no step", lambda f: recipe(X, C, mlp, CE, loop=split(f, no_step, plain_loop))),
    "no backward": ("no backward", lambda f: recipe(X, C, mlp, CE, loop=split(f, no_backward, plain_loop))),
    "zero_grad before step": (
        "step without a gradient",
        lambda f: recipe(X, C, mlp, CE, loop=split(f, cleared_before_step, plain_loop)),
    ),
    "first batch alone": (
        "only one batch of an epoch",
        lambda f: recipe(X, C, mlp, CE, loop=split(f, first_batch, plain_loop)),
    ),
    "evaluation mode": (
        "evaluation mode in training",
        lambda f: recipe(X, C, lambda: mlp(6, 3, nn.Dropout(0.2)), CE, loop=split(f, evaluating, judging_loop)),
    ),
    "targets of the batch before": (
        "targets of another batch",
        lambda f: recipe(X, C, mlp, CE, loop=split(f, stale_targets, plain_loop)),
    ),
    "sorted stream": (
        "batches of one class",
        lambda f: recipe(DataLoader(Sorted(C.argsort() if f else torch.arange(N)), batch_size=16), None, mlp, CE),
    ),
    "sorted loader": (
        "batches of one class",
        lambda f: recipe(
            DataLoader(TensorDataset(X[C.argsort()], C.sort().values), batch_size=16, shuffle=not f), None, mlp, CE
        ),
    ),
    "batch norm that stays": (
        "running statistics stay",
        lambda f: recipe(X, C, lambda: mlp(6, 3, nn.BatchNorm1d(16, momentum=0.0 if f else 0.1)), CE),
    ),
    "batch norm over two": (
        "batch norm over few values",
        lambda f: recipe(X, C, lambda: mlp(6, 3, nn.BatchNorm1d(16)), CE, batch_size=2 if f else 32),
    ),
    "schedule for each step": (
        "learning rate spent early",
        lambda f: recipe(X, C, mlp, CE, epochs=20, schedule=lambda step, steps: 0.5 ** (step if f else step / 50)),
    ),
    "schedule that is a rate": (
        "schedule gives no multiplier",
        lambda f: recipe(X, C, mlp, CE, schedule=lambda step, steps: (1e-3 if f else 1.0) * (1 - step / steps)),
    ),
    "targets moved by a row": ("targets moved by some rows", lambda f: moved(int(f))),
    "validation shuffled apart": ("inputs and targets apart", apart),
    "images through a constant": (
        "output without the input",
        lambda f: recipe(
            IMAGES,
            B.long(),
            lambda: ended(
                nn.Hardtanh(5.0, 5.1) if f else nn.Identity(), nn.Threshold(6.0, 5.0) if f else nn.Identity(), cnn()
            ),
            CE,
        ),
    ),
}
