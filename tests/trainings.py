"""Healthy trainings of many kinds, for checks that must say nothing of them."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from thalweg import Recipe, Splits
from thalweg.optim import EMA, Cosine, WarmUp

TRAIN, ALL = 600, 900


@cache
def digits(images: bool = False) -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:ALL]
    inputs = (torch.tensor(x, dtype=torch.float32)[order] - 4.9) / 6.0
    return (inputs.reshape(-1, 1, 8, 8) if images else inputs), torch.tensor(y)[order]


@cache
def curve() -> tuple[Tensor, Tensor]:
    x = torch.rand(ALL, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    y = (2 * x[:, :1]).sin() + x[:, 1:2] * x[:, 2:3]
    return x, y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))


@cache
def words() -> tuple[Tensor, Tensor]:
    """Sequences of 8 tokens out of 12; the class says whether more of them are low than high."""
    x = torch.randint(0, 12, (ALL, 8), generator=torch.Generator().manual_seed(3))
    return x, ((x < 6).sum(1) > 4).long()


def splits(pair: tuple[Tensor, Tensor]) -> Splits:
    x, y = pair
    return Splits(train=(x[:TRAIN], y[:TRAIN]), validation=(x[TRAIN:], y[TRAIN:]))


def dense(*widths: int, act: Callable[[], nn.Module] = nn.ReLU, drop: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, outer in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inner, outer), act()] + ([nn.Dropout(drop)] if drop else [])
    return nn.Sequential(*layers[: -2 if drop else -1])


class Residual(nn.Module):
    def __init__(self, depth: int = 20, width: int = 32, norm: bool = True, zero: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, width), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width) if norm else nn.Identity(), nn.Linear(width, width), nn.ReLU(),
                          nn.Linear(width, width))
            for _ in range(depth // 2)
        )  # fmt: skip
        if zero:
            for block in self.blocks:
                nn.init.zeros_(block[-1].weight)
                nn.init.zeros_(block[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)


class Reader(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embedding, self.kind = nn.Embedding(12, 16), kind
        if kind == "attention":
            self.body: nn.Module = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.1)
        elif kind == "bag":
            self.body = nn.Linear(16, 16)
        else:
            self.body = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](16, 32, batch_first=True)
        self.head = nn.Linear(32 if kind in ("rnn", "lstm", "gru") else 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(self.embedding(x))
        return self.head(h.mean(1) if self.kind in ("attention", "bag") else h[0][:, -1])


def conv(norm: bool = False) -> nn.Sequential:
    norms = [nn.BatchNorm2d(8) if norm else nn.Identity(), nn.BatchNorm2d(16) if norm else nn.Identity()]
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), norms[0], nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), norms[1], nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def normed() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 64),
        nn.LayerNorm(64),
        nn.GELU(),
        nn.Linear(64, 64),
        nn.LayerNorm(64),
        nn.GELU(),
        nn.Linear(64, 10),
    )


def zero_head() -> nn.Sequential:
    net = dense(64, 64, 64, 10)
    nn.init.zeros_(net[-1].weight)
    nn.init.zeros_(net[-1].bias)
    return net


def deep_he() -> nn.Sequential:
    net = dense(64, *[64] * 9, 10)
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return net


def own_loop(model: nn.Module, optimizer: Any, batches: Iterator[Any], objective: Any) -> None:
    for x, y in batches:
        optimizer.zero_grad()
        objective(model(x), y).backward()
        optimizer.step()


def small_weights(model: nn.Module) -> Tensor:
    return sum((w.square().sum() for w in model.parameters()), torch.zeros(())) * 1e-4


BASE: dict[str, Any] = {"objective": nn.CrossEntropyLoss(), "batch_size": 32, "epochs": 15}
MLP = partial(dense, 64, 64, 10)
ADAM = partial(Adam, lr=3e-3)
DIGITS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "mlp, adam at 1e-3, long": {"optimizer": partial(Adam, lr=1e-3), "epochs": 40},
    "sgd with momentum, cosine": {"optimizer": partial(SGD, lr=0.05, momentum=0.9), "schedule": Cosine()},
    "plain sgd": {"optimizer": partial(SGD, lr=0.1), "epochs": 25},
    "small batch, cosine": {"batch_size": 4, "optimizer": partial(SGD, lr=0.02), "schedule": Cosine(), "epochs": 8},
    "large batch": {"batch_size": 200, "optimizer": partial(Adam, lr=1e-2), "epochs": 40},
    "whole batch": {"batch_size": None, "optimizer": partial(Adam, lr=2e-2), "epochs": 100},
    "warm-up, cosine": {"schedule": WarmUp(0.1, Cosine())},
    "dropout": {"model": partial(dense, 64, 128, 128, 10, drop=0.5), "epochs": 25},
    "weight decay": {"optimizer": partial(AdamW, lr=3e-3, weight_decay=0.05)},
    "l2 in sgd": {"optimizer": partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-3), "schedule": Cosine()},
    "tanh": {"model": partial(dense, 64, 64, 64, 10, act=nn.Tanh)},
    "sigmoid": {"model": partial(dense, 64, 64, 10, act=nn.Sigmoid), "optimizer": partial(Adam, lr=1e-2)},
    "layer norm and gelu": {"model": normed},
    "logistic": {"model": partial(nn.Linear, 64, 10), "optimizer": partial(Adam, lr=1e-2), "epochs": 20},
    "zero last layer": {"model": zero_head},
    "residual, 20 layers": {"model": Residual, "optimizer": partial(Adam, lr=1e-3), "schedule": Cosine(), "epochs": 12},
    "residual, zero branches": {"model": partial(Residual, norm=False, zero=True), "optimizer": partial(Adam, lr=1e-3)},
    "deep, he": {"model": deep_he, "optimizer": partial(Adam, lr=1e-3), "schedule": Cosine()},
    "own loop": {"loop": own_loop},
    "penalty": {"penalty": small_weights},
    "clipped": {"clip_norm": 1.0},
    "label smoothing": {"objective": nn.CrossEntropyLoss(label_smoothing=0.1), "epochs": 20},
    "plateau scheduler": {"schedule": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=2), "epochs": 30},
    "averaged": {"average": EMA(0.98)},
    "accumulated": {"accumulate": 4, "batch_size": 8, "epochs": 20},
    "one cycle": {"schedule": WarmUp(0.3, Cosine()), "optimizer": partial(Adam, lr=1e-2)},
}
WORDS = {kind: {"model": partial(Reader, kind), "epochs": 15} for kind in ("rnn", "lstm", "gru", "attention", "bag")}
CURVES: dict[str, dict[str, Any]] = {
    "regression": {"model": partial(dense, 4, 64, 64, 1), "epochs": 20},
    "regression, tanh": {
        "model": partial(dense, 4, 32, 1, act=nn.Tanh),
        "optimizer": partial(Adam, lr=1e-2),
        "epochs": 40,
    },
}
IMAGES: dict[str, dict[str, Any]] = {
    "cnn": {"model": conv, "epochs": 12},
    "cnn with batch norm": {"model": partial(conv, True), "epochs": 6},
}


@cache
def healthy() -> dict[str, Recipe]:
    found = {}
    for name, own in DIGITS.items():
        found[name] = Recipe(**{**BASE, "data": splits(digits()), "model": MLP, "optimizer": ADAM, **own})
    for name, own in WORDS.items():
        found[name] = Recipe(**{**BASE, "data": splits(words()), "optimizer": ADAM, **own})
    for name, own in CURVES.items():
        base = {**BASE, "data": splits(curve()), "optimizer": ADAM, "objective": nn.MSELoss()}
        found[name] = Recipe(**{**base, **own})
    for name, own in IMAGES.items():
        found[name] = Recipe(**{**BASE, "data": splits(digits(images=True)), "optimizer": ADAM, **own})
    return found
