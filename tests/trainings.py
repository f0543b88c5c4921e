"""Healthy trainings of many kinds, for checks that must say nothing of them."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from thalweg import EarlyStopping, Recipe, Splits
from thalweg.optim import EMA, Cosine, PerStep, WarmUp

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


@cache
def doubtful() -> tuple[Tensor, Tensor]:
    """Classes that the inputs tell with a chance alone: a loss of about .5 is as low as it goes."""
    x = torch.randn(ALL, 10, generator=torch.Generator().manual_seed(4))
    chance = torch.sigmoid(1.5 * x[:, 0] - x[:, 1] + x[:, 2] * x[:, 3])
    return x, (torch.rand(ALL, generator=torch.Generator().manual_seed(5)) < chance).long()


@cache
def noisy() -> tuple[Tensor, Tensor]:
    """Numbers of which the inputs explain a third of the variance."""
    x, y = curve()
    y = y + torch.randn(y.shape, generator=torch.Generator().manual_seed(6))
    return x, (y - y.mean()) / y.std()


def splits(pair: tuple[Tensor, Tensor]) -> Splits:
    x, y = pair
    return Splits(train=(x[:TRAIN], y[:TRAIN]), validation=(x[TRAIN:], y[TRAIN:]))


def dense(*widths: int, act: Callable[[], nn.Module] = nn.ReLU, drop: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
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


def heavy_weights(model: nn.Module) -> Tensor:
    return small_weights(model) * 3e3


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
    "cnn with batch norm": {"model": partial(conv, True), "epochs": 12},
}
DOUBTFUL: dict[str, dict[str, Any]] = {
    "doubtful, logistic": {"model": partial(nn.Linear, 10, 2), "optimizer": partial(Adam, lr=1e-2), "epochs": 20},
    "doubtful, by sgd": {"model": partial(nn.Linear, 10, 2), "optimizer": partial(SGD, lr=0.1), "batch_size": 4},
    "doubtful, narrow": {"model": partial(dense, 10, 16, 2), "optimizer": partial(Adam, lr=3e-3)},
    "doubtful, tanh": {"model": partial(dense, 10, 16, 16, 2, act=nn.Tanh), "epochs": 12},
    "doubtful, sigmoid": {"model": partial(dense, 10, 32, 2, act=nn.Sigmoid), "optimizer": partial(Adam, lr=1e-2)},
    "doubtful, dropout": {"model": partial(dense, 10, 64, 64, 2, drop=0.5), "epochs": 12},
    "doubtful, decay": {"model": partial(dense, 10, 32, 2), "optimizer": partial(AdamW, lr=3e-3, weight_decay=0.1)},
    "doubtful, cosine": {
        "model": partial(dense, 10, 32, 32, 2), "optimizer": partial(SGD, lr=0.1, momentum=0.9), "schedule": Cosine(),
        "epochs": 6,
    },
    "doubtful, plateau scheduler": {
        "model": partial(dense, 10, 8, 2), "epochs": 30,
        "schedule": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=1),
    },
    "doubtful, deep": {"model": partial(dense, 10, *[32] * 3, 2), "optimizer": partial(Adam, lr=1e-3), "epochs": 8},
    "doubtful, stopping": {"model": partial(dense, 10, 64, 2), "stopping": EarlyStopping(patience=2), "epochs": 40},
}  # fmt: skip
NOISY: dict[str, dict[str, Any]] = {
    "noisy, linear": {"model": partial(nn.Linear, 4, 1), "optimizer": partial(Adam, lr=1e-2), "epochs": 20},
    "noisy, narrow": {"model": partial(dense, 4, 16, 1), "optimizer": partial(Adam, lr=3e-3), "epochs": 20},
    "noisy, tanh": {"model": partial(dense, 4, 16, 16, 1, act=nn.Tanh), "optimizer": partial(Adam, lr=5e-3)},
    "noisy, sgd": {"model": partial(dense, 4, 32, 1), "optimizer": partial(SGD, lr=0.05, momentum=0.9), "epochs": 12},
    "noisy, decay": {"model": partial(dense, 4, 32, 1), "optimizer": partial(AdamW, lr=3e-3, weight_decay=0.1)},
    "noisy, l1 loss": {"model": partial(dense, 4, 16, 1), "objective": nn.L1Loss()},
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
    for name, own in DOUBTFUL.items():
        found[name] = Recipe(**{**BASE, "data": splits(doubtful()), "optimizer": ADAM, **own})
    for name, own in NOISY.items():
        base = {**BASE, "data": splits(noisy()), "optimizer": ADAM, "objective": nn.MSELoss()}
        found[name] = Recipe(**{**base, **own})
    for name, own in IMAGES.items():
        found[name] = Recipe(**{**BASE, "data": splits(digits(images=True)), "optimizer": ADAM, **own})
    return found


class Faulty(NamedTuple):
    """A recipe with one fault, what is found of it, and how it is mended."""

    change: dict[str, Any]
    mechanisms: set[str]
    mend: dict[str, Any]


def initialized(net: Callable[[], nn.Module], how: Callable[[Tensor], Any]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        model = net()
        for module in model.modules():
            if isinstance(module, nn.Linear):
                with torch.no_grad():
                    how(module.weight)
                    module.bias.zero_()
        return model

    return made


def dead_biases() -> nn.Module:
    model = MLP()
    with torch.no_grad():
        model[0].bias.fill_(-20.0)
    return model


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log()


def logarithmic() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), Logarithm(), nn.Linear(32, 10))


def far_away() -> Splits:
    x, y = digits()
    return splits((x * 300, y))


def few_wrong() -> Splits:
    x, y = digits()
    y = torch.where(torch.arange(len(y)) % 3 == 0, (y + 1) % 10, y)
    return Splits(train=(x[:100], y[:100]), validation=(x[TRAIN:], y[TRAIN:]))


def per_step(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)


LOGISTIC = partial(nn.Linear, 10, 2)
SIGMOIDS = partial(dense, 64, *[32] * 12, 10, act=nn.Sigmoid)
FAULTY: dict[str, Faulty] = {
    "deep sigmoid": Faulty({"model": SIGMOIDS}, {"vanishing gradient"}, {"model": Residual}),
    "deep and not normalized": Faulty(
        {"model": partial(dense, 64, *[32] * 20, 10)}, {"vanishing gradient"}, {"model": Residual}
    ),
    "weights of 1": Faulty(
        {"model": initialized(partial(dense, 64, *[64] * 5, 10), nn.init.normal_)},
        {"exploding signal"},
        {"model": partial(dense, 64, *[64] * 5, 10)},
    ),
    "logarithm": Faulty({"model": logarithmic}, {"loss not finite"}, {"model": MLP}),
    "rate of 1000": Faulty(
        {"optimizer": partial(SGD, lr=1000.0), "model": partial(dense, 64, 64, 64, 10)},
        {"loss not finite", "divergence"},
        {"optimizer": partial(SGD, lr=0.1)},
    ),
    "dead biases": Faulty({"model": dead_biases}, {"dead units"}, {"model": MLP}),
    "saturated": Faulty(
        {"model": initialized(partial(dense, 64, 64, 64, 10, act=nn.Tanh), partial(nn.init.normal_, std=20.0))},
        {"saturated units"},
        {"model": partial(dense, 64, 64, 64, 10, act=nn.Tanh)},
    ),
    "inputs too large": Faulty(
        {"data": far_away(), "model": partial(dense, 64, 64, 10, act=nn.Sigmoid)},
        {"inputs saturate the first layer"},
        {"data": splits(digits()), "optimizer": partial(Adam, lr=1e-2)},
    ),
    "all weights equal": Faulty(
        {"model": initialized(MLP, partial(nn.init.constant_, val=0.01))}, {"symmetric units"}, {"model": MLP}
    ),
    "all weights 0": Faulty({"model": initialized(MLP, nn.init.zeros_)}, {"symmetric units"}, {"model": zero_head}),
    "rate too low": Faulty({"optimizer": partial(Adam, lr=1e-5)}, {"learning rate too low"}, {"optimizer": ADAM}),
    "rate too low, sgd": Faulty(
        {"optimizer": partial(SGD, lr=3e-4)}, {"learning rate too low"}, {"optimizer": partial(SGD, lr=0.1)}
    ),
    "rate of nearly 0": Faulty({"optimizer": partial(SGD, lr=1e-7)}, {"weights hardly move"}, {"optimizer": ADAM}),
    "rate too high": Faulty({"optimizer": partial(Adam, lr=0.5)}, {"learning rate too high"}, {"optimizer": ADAM}),
    "rate too high, sgd": Faulty(
        {"optimizer": partial(SGD, lr=2.0)}, {"learning rate too high"}, {"optimizer": partial(SGD, lr=0.1)}
    ),
    "swinging": Faulty(
        {"data": splits(doubtful()), "optimizer": partial(SGD, lr=20.0), "model": LOGISTIC, "batch_size": None,
         "epochs": 60},
        {"oscillation"},
        {"optimizer": partial(SGD, lr=1.0)},
    ),
    "batches of 1": Faulty(
        {"data": splits(doubtful()), "model": LOGISTIC,
         "optimizer": partial(SGD, lr=0.2), "batch_size": 1, "epochs": 5},
        {"noisy steps"},
        {"optimizer": partial(SGD, lr=0.01)},
    ),
    "schedule by step": Faulty({"schedule": PerStep(per_step)}, {"learning rate dies too early"}, {"schedule": None}),
    "endless warm-up": Faulty(
        {"schedule": WarmUp(20_000), "optimizer": partial(SGD, lr=0.1)},
        {"warm-up never ends"},
        {"schedule": None, "epochs": 25},
    ),
    "few epochs": Faulty({"epochs": 6, "optimizer": partial(Adam, lr=3e-4)}, {"too few steps"}, {"epochs": 80}),
    "few steps": Faulty({"batch_size": None, "epochs": 15}, {"too few steps"}, {"epochs": 200}),
    "dropout of .95": Faulty(
        {"model": partial(dense, 64, 64, 64, 10, drop=0.95)}, {"dropout too strong"}, {"model": MLP}
    ),
    "decay": Faulty(
        {"optimizer": partial(SGD, lr=0.1, weight_decay=0.3)},
        {"weights pulled to 0"},
        {"optimizer": partial(SGD, lr=0.1), "epochs": 25},
    ),
    "penalty": Faulty(
        {"penalty": heavy_weights}, {"weights pulled to 0", "penalty outweighs the loss"}, {"penalty": small_weights}
    ),
    "overfitting": Faulty(
        {"data": few_wrong(), "epochs": 100}, {"validation loss rises"}, {"data": splits(digits()), "epochs": 15}
    ),
    "no signal": Faulty({"data": splits((torch.zeros(ALL, 64), digits()[1]))}, {"plateau"}, {"data": splits(digits())}),
}  # fmt: skip


def faulty(name: str, mended: bool = False) -> Recipe:
    change, _, mend = FAULTY[name]
    return healthy()["mlp"].but(**{**change, **(mend if mended else {})})
