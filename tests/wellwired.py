"""Recipes with nothing wrong in their wiring, of many kinds: checks have to be silent on all of them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from thalweg.core.objective import objective
from thalweg.core.source import Splits
from thalweg.training import Recipe

N = 320
Adam = partial(torch.optim.Adam, lr=3e-3)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = draw(N, 6)
Y = X[:, 0] * 2 - X[:, 1] + 0.3 * draw(N, seed=1)
C = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()
B = ((X[:, 0] + 0.5 * draw(N, seed=2)) > 0).float()
IMAGES = draw(N, 1, 8, 8)
IMAGES[:, :, :4] += 2 * B[:, None, None, None]
SERIES = draw(N, 7, 3)
SERIES_SUM = SERIES[..., 0].sum(1, keepdim=True)
WORDS = torch.randint(0, 20, (N, 9), generator=torch.Generator().manual_seed(3))
HAS = (WORDS == 4).any(1).long()
LABELS = torch.stack([(X[:, i] > 0).float() for i in range(4)], 1)


def mlp(inputs: int = 6, outputs: int = 3, *between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), *between, nn.Linear(16, outputs))


def recipe(x: Any, y: Any, model: Callable[[], nn.Module], loss: Any, **given: Any) -> Recipe:
    split = (x, y) if y is not None else x
    held = {} if y is None or not isinstance(x, Tensor) else {"validation": (x[:100], y[:100])}
    given = {"optimizer": Adam, "epochs": 3} | given
    return Recipe(data=Splits(train=split, **held), model=model, objective=loss, **given)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module] = nn.LSTM) -> None:
        super().__init__()
        self.rnn: Any = kind(3, 12, batch_first=True)
        self.head = nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(12, 3, 24, batch_first=True)
        self.embed, self.head = nn.Embedding(20, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head((self.a(a) * self.b(b)).tanh())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(3, 6, seed=5) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.weight).tanh(), self.weight.T)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.blocks = nn.ModuleList(mlp(16, 16) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(4))
        self.gates = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for gate, block, norm in zip(self.gates, self.blocks, self.norms, strict=True):
            x = x + gate * block(norm(x))
        return self.head(x)


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 4), nn.Linear(2, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decode(z), mean, log_variance


class Teacher(nn.Module):
    """A student with a teacher that is kept out of the parameters on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.student = mlp()
        self.teacher = [mlp().requires_grad_(False)]

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x) + 0.01 * self.teacher[0](x)


class Cosine(nn.Module):
    """Scores that are cosines, times a scale that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.centres = mlp(6, 8), nn.Parameter(draw(3, 8, seed=6))
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.normalize(self.body(x), dim=1) @ F.normalize(self.centres, dim=1).T


class Leftover(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.unused = mlp(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def zero_head() -> nn.Module:
    net = mlp()
    nn.init.zeros_(net[-1].weight)
    nn.init.zeros_(net[-1].bias)
    return net


def frozen_backbone() -> nn.Module:
    net = mlp(6, 3, nn.Linear(16, 16), nn.ReLU())
    net[0].requires_grad_(False)
    net[2].requires_grad_(False)
    return net


def cnn(*extra: nn.Module, outputs: int = 2) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), *extra,
        nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs),
    )  # fmt: skip


def elbo(output: Any, target: Tensor) -> Tensor:
    decoded, mean, log_variance = output
    return F.mse_loss(decoded, target) - 0.05 * (1 + log_variance - mean.square() - log_variance.exp()).mean()


def pinball(output: Tensor, target: Tensor) -> Tensor:
    levels = torch.tensor([0.1, 0.5, 0.9])
    error = target[:, None] - output
    return torch.maximum(levels * error, (levels - 1) * error).mean()


def gaussian(output: Tensor, target: Tensor) -> Tensor:
    return F.gaussian_nll_loss(output[:, 0], target, output[:, 1].exp())


def ordinal(output: Tensor, target: Tensor) -> Tensor:
    above = (target[:, None] > torch.arange(2)).float()
    return F.binary_cross_entropy_with_logits(output, above)


def gamma(output: Tensor, target: Tensor) -> Tensor:
    return (output.squeeze(1) + target * (-output.squeeze(1)).exp()).mean()


def summed_over_features(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().sum(1).mean()


def distances(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(-output.square(), target)


def dice(output: Tensor, target: Tensor) -> Tensor:
    p = output.sigmoid()
    return 1 - 2 * (p * target).sum() / (p.sum() + target.sum() + 1e-6)


def correlation(output: Tensor, target: Tensor) -> Tensor:
    a, b = output.squeeze(1) - output.mean(), target - target.mean()
    return 1 - (a * b).sum() / (a.norm() * b.norm() + 1e-6)


def two_views(output: Tensor, _: Tensor) -> Tensor:
    z = F.normalize(output, dim=1)
    return F.cross_entropy(5 * z @ z.roll(1, 1).T, torch.arange(len(z)))


def supervised_contrast(output: Tensor, target: Tensor) -> Tensor:
    z = F.normalize(output, dim=1)
    same = (target[:, None] == target).float().fill_diagonal_(0)
    scores = (5 * z @ z.T).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9).log_softmax(1)
    return -(scores * same).sum() / same.sum().clamp_min(1)


def focal(output: Tensor, target: Tensor) -> Tensor:
    log_p = output.log_softmax(1).gather(1, target[:, None])
    return -((1 - log_p.exp()).square() * log_p).mean()


@objective
def token_loss(model: nn.Module, batch: Any) -> Tensor:
    x, y = batch
    return F.cross_entropy(model(x), y, reduction="none")


@objective
def denoising(model: nn.Module, batch: Any, moment: Any) -> Tensor:
    x, _ = batch
    noise = torch.randn(x.shape, generator=moment.generator)
    return (model(x + noise) - noise).square().mean(1)


@objective
def contrast(model: nn.Module, batch: Any) -> Tensor:
    z = F.normalize(model(batch[0]), dim=1)
    return F.cross_entropy(5 * z @ z.T.roll(1, 1), torch.arange(len(z)), reduction="none")


def plain_loop(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()


def late_clearing_loop(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def clearing_after_loop(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()


def accumulating_loop(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for i, (x, y) in enumerate(batches):
        (loss(model(x), y) / 4).backward()
        if (i + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()


def manual_loop(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        gradients = torch.autograd.grad(loss(model(x), y), list(model.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(model.parameters(), gradients, strict=True):
                weight -= 0.1 * gradient


def mixing_loop(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        share, order = 0.7, torch.randperm(len(x))
        output = model(share * x + (1 - share) * x[order])
        optimizer.zero_grad()
        (share * loss(output, y) + (1 - share) * loss(output, y[order])).backward()
        optimizer.step()


def sharpness_loop(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    """Two gradients for each step, the first one only to move away (SAM)."""
    for x, y in batches:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        moved = [0.01 * weight.grad for weight in model.parameters()]
        with torch.no_grad():
            for weight, move in zip(model.parameters(), moved, strict=True):
                weight += move
        optimizer.zero_grad()
        loss(model(x), y).backward()
        with torch.no_grad():
            for weight, move in zip(model.parameters(), moved, strict=True):
                weight -= move
        optimizer.step()


def judging_loop(model: Any, optimizer: Any, batches: Any, loss: Any) -> None:
    for x, y in batches:
        model.eval()
        with torch.no_grad():
            loss(model(x), y)
        model.train()
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(X, C, strict=True))


class Dictionary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.EmbeddingBag(20, 8), nn.Linear(14, 2)

    def forward(self, words: Tensor, numbers: Tensor) -> Tensor:
        return self.head(torch.cat([self.embed(words), numbers], 1))


def graph() -> Recipe:
    edges = (draw(N, N, seed=9) > 2.0).float()
    edges = ((edges + edges.T + torch.eye(N)) > 0).float()
    edges = edges / edges.sum(1, keepdim=True)

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, features: Tensor, edges: Tensor) -> Tensor:
            return self.second(edges @ self.first(edges @ features).relu())

    def masked(output: Tensor, target: Any) -> Tensor:
        labels, mask = target
        return F.cross_entropy(output[mask], labels[mask])

    mask = torch.arange(N) < 200
    return Recipe(data=Splits(train=((X, edges), (C, mask))), model=Convolution, objective=masked, batch_size=None)


CE, MSE, BCE = nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss()
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
POSITIVE = Y.exp()

WELL: dict[str, Callable[[], Recipe]] = {
    "mlp": lambda: recipe(X, C, mlp, CE),
    "mlp sgd": lambda: recipe(X, C, mlp, CE, optimizer=SGD),
    "linear": lambda: recipe(X, C, lambda: nn.Linear(6, 3), CE),
    "one unit": lambda: recipe(X, C, lambda: nn.Sequential(nn.Linear(6, 1), nn.ReLU(), nn.Linear(1, 3)), CE),
    "deep": lambda: recipe(
        X,
        C,
        lambda: nn.Sequential(*(m for _ in range(8) for m in (nn.LazyLinear(16), nn.ReLU())), nn.LazyLinear(3)),
        CE,
    ),
    "deep sigmoid": lambda: recipe(
        X,
        C,
        lambda: nn.Sequential(
            nn.Linear(6, 16), *(m for _ in range(4) for m in (nn.Sigmoid(), nn.Linear(16, 16))), nn.Linear(16, 3)
        ),
        CE,
    ),
    "one hidden word": lambda: recipe(WORDS, HAS, lambda: nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 2)), CE),
    "zero head": lambda: recipe(X, C, zero_head, CE),
    "residual with gates at 0": lambda: recipe(X, C, Residual, CE),
    "cnn": lambda: recipe(IMAGES, B.long(), cnn, CE),
    "cnn dropout": lambda: recipe(IMAGES, B.long(), lambda: cnn(nn.Dropout2d(0.3)), CE),
    "cnn double outputs": lambda: recipe(IMAGES, B[:, None], lambda: cnn(outputs=1), BCE),
    "images of bytes": lambda: recipe((IMAGES * 40 + 128).clamp(0, 255), B.long(), cnn, CE),
    "segmentation": lambda: recipe(
        IMAGES,
        (IMAGES[:, 0] > 0.5).long(),
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)),
        CE,
    ),
    "dice": lambda: recipe(
        IMAGES,
        (IMAGES > 0.5).float(),
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)),
        dice,
    ),
    "lstm": lambda: recipe(SERIES, SERIES_SUM, Recurrent, MSE),
    "gru": lambda: recipe(SERIES, SERIES_SUM, lambda: Recurrent(nn.GRU), nn.HuberLoss()),
    "rnn": lambda: recipe(SERIES, SERIES_SUM, lambda: Recurrent(nn.RNN), nn.L1Loss()),
    "attention": lambda: recipe(WORDS, HAS, Attention, CE),
    "next word": lambda: recipe(
        WORDS[:, :-1],
        WORDS[:, 1:],
        lambda: nn.Sequential(nn.Embedding(20, 12), nn.Linear(12, 20)),
        lambda o, t: F.cross_entropy(o.transpose(1, 2), t),
    ),
    "regression": lambda: recipe(X, Y[:, None], lambda: mlp(6, 1), MSE),
    "regression squeezed": lambda: recipe(X, Y, lambda: nn.Sequential(mlp(6, 1), nn.Flatten(0)), MSE),
    "regression of large numbers": lambda: recipe(X, 1000 + 50 * Y[:, None], lambda: mlp(6, 1), MSE),
    "regression squeezed in the loss": lambda: recipe(
        X, Y, lambda: mlp(6, 1), lambda o, t: F.mse_loss(o.squeeze(1), t)
    ),
    "several numbers": lambda: recipe(X, X @ draw(6, 4, seed=7), lambda: mlp(6, 4), MSE),
    "rectified head": lambda: recipe(X, POSITIVE[:, None], lambda: nn.Sequential(mlp(6, 1), nn.Softplus()), MSE),
    "relu head on counts": lambda: recipe(
        X,
        POSITIVE[:, None].round(),
        lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1), nn.ReLU()),
        MSE,
    ),
    "tanh head": lambda: recipe(X, Y[:, None].tanh(), lambda: nn.Sequential(mlp(6, 1), nn.Tanh()), MSE),
    "sigmoid head": lambda: recipe(X, Y[:, None].sigmoid(), lambda: nn.Sequential(mlp(6, 1), nn.Sigmoid()), MSE),
    "scaled sigmoid head": lambda: recipe(
        X, 10 * Y[:, None].sigmoid(), lambda: nn.Sequential(mlp(6, 1), nn.Sigmoid()), lambda o, t: F.mse_loss(10 * o, t)
    ),
    "autoencoder": lambda: recipe(X, X, lambda: nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 6)), MSE),
    "tied autoencoder": lambda: recipe(X, X, Tied, summed_over_features),
    "variational autoencoder": lambda: recipe(X, X, Variational, elbo),
    "binary": lambda: recipe(X, B[:, None], lambda: mlp(6, 1), BCE),
    "binary probabilities": lambda: recipe(X, B[:, None], lambda: nn.Sequential(mlp(6, 1), nn.Sigmoid()), nn.BCELoss()),
    "binary by two scores": lambda: recipe(X, B.long(), lambda: mlp(6, 2), CE),
    "binary soft targets": lambda: recipe(X, (B * 0.8 + 0.1)[:, None], lambda: mlp(6, 1), BCE),
    "rare class": lambda: recipe(
        X, (X[:, 0] > 1.6).float()[:, None], lambda: mlp(6, 1), nn.BCEWithLogitsLoss(pos_weight=torch.tensor(9.0))
    ),
    "hinge": lambda: recipe(X, 2 * B[:, None] - 1, lambda: mlp(6, 1), lambda o, t: (1 - o * t).relu().mean()),
    "soft margin": lambda: recipe(X, 2 * B[:, None] - 1, lambda: mlp(6, 1), nn.SoftMarginLoss()),
    "multi-label": lambda: recipe(X, LABELS, lambda: mlp(6, 4), BCE),
    "multi-label probabilities": lambda: recipe(
        X, LABELS, lambda: nn.Sequential(mlp(6, 4), nn.Sigmoid()), nn.BCELoss()
    ),
    "log-softmax and NLL": lambda: recipe(X, C, lambda: nn.Sequential(mlp(), nn.LogSoftmax(1)), nn.NLLLoss()),
    "log-softmax and cross-entropy": lambda: recipe(X, C, lambda: nn.Sequential(mlp(), nn.LogSoftmax(1)), CE),
    "softmax and squares": lambda: recipe(X, F.one_hot(C, 3).float(), lambda: nn.Sequential(mlp(), nn.Softmax(1)), MSE),
    "softmax and its own logarithm": lambda: recipe(
        X, C, lambda: nn.Sequential(mlp(), nn.Softmax(1)), lambda o, t: F.nll_loss((o + 1e-9).log(), t)
    ),
    "label smoothing": lambda: recipe(X, C, mlp, nn.CrossEntropyLoss(label_smoothing=0.2)),
    "class weights": lambda: recipe(X, C, mlp, nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]))),
    "soft classes": lambda: recipe(X, (X[:, :3] * 2).softmax(1), mlp, CE),
    "focal": lambda: recipe(X, C, mlp, focal),
    "multi margin": lambda: recipe(X, C, mlp, nn.MultiMarginLoss()),
    "distances": lambda: recipe(X, C, mlp, distances),
    "cosines": lambda: recipe(X, C, Cosine, CE),
    "poisson": lambda: recipe(
        X,
        torch.poisson(POSITIVE, generator=torch.Generator().manual_seed(0))[:, None],
        lambda: mlp(6, 1),
        nn.PoissonNLLLoss(),
    ),
    "poisson rates": lambda: recipe(
        X,
        POSITIVE[:, None].round(),
        lambda: nn.Sequential(mlp(6, 1), nn.Softplus()),
        nn.PoissonNLLLoss(log_input=False),
    ),
    "gamma": lambda: recipe(X, POSITIVE, lambda: mlp(6, 1), gamma),
    "gaussian": lambda: recipe(X, Y, lambda: mlp(6, 2), gaussian),
    "quantiles": lambda: recipe(X, Y, lambda: mlp(6, 3), pinball),
    "ordinal": lambda: recipe(X, C, lambda: mlp(6, 2), ordinal),
    "correlation": lambda: recipe(X, Y, lambda: mlp(6, 1), correlation),
    "two views": lambda: recipe(X, C, lambda: mlp(6, 8), two_views),
    "supervised contrast": lambda: recipe(X, C, lambda: mlp(6, 8), supervised_contrast),
    "marked": lambda: recipe(X, C, mlp, token_loss),
    "marked denoising": lambda: recipe(X, C, lambda: mlp(6, 6), denoising),
    "marked contrast": lambda: recipe(X, C, lambda: mlp(6, 8), contrast),
    "batch norm": lambda: recipe(X, C, lambda: mlp(6, 3, nn.BatchNorm1d(16)), CE, optimizer=SGD),
    "batch norm without statistics": lambda: recipe(
        X, C, lambda: mlp(6, 3, nn.BatchNorm1d(16, track_running_stats=False)), CE
    ),
    "group norm": lambda: recipe(IMAGES, B.long(), lambda: cnn(nn.GroupNorm(2, 6)), CE),
    "dropout": lambda: recipe(X, C, lambda: mlp(6, 3, nn.Dropout(0.5)), CE),
    "frozen backbone": lambda: recipe(X, C, frozen_backbone, CE),
    "layer left over": lambda: recipe(X, C, Leftover, CE),
    "hidden teacher": lambda: recipe(X, C, Teacher, CE),
    "two inputs": lambda: recipe((X, X.flip(1)), C, Two, CE),
    "dict of inputs": lambda: recipe({"words": WORDS, "numbers": X}, HAS, Dictionary, CE),
    "graph": graph,
    "pure noise": lambda: recipe(X, torch.randint(0, 3, (N,), generator=torch.Generator().manual_seed(8)), mlp, CE),
    "warm-up and cosine": lambda: recipe(
        X, C, mlp, CE, schedule=lambda step, steps: min((step + 1) / 5, 1 - step / steps)
    ),
    "step decay": lambda: recipe(
        X, C, mlp, CE, epochs=30, schedule=partial(torch.optim.lr_scheduler.StepLR, step_size=10)
    ),
    "averaged whole batch": lambda: recipe(X, C, mlp, CE, batch_size=None, epochs=20),
    "sum with Adam": lambda: recipe(X, C, mlp, nn.CrossEntropyLoss(reduction="sum")),
    "sum with a small rate": lambda: recipe(
        X, C, mlp, nn.CrossEntropyLoss(reduction="sum"), optimizer=partial(torch.optim.SGD, lr=2e-3)
    ),
    "sum over the mean": lambda: recipe(X, X, lambda: mlp(6, 6), summed_over_features, optimizer=SGD),
    "loader": lambda: recipe(DataLoader(TensorDataset(X, C), batch_size=16, shuffle=True), None, mlp, CE),
    "loader in its own mixed order": lambda: recipe(DataLoader(TensorDataset(X, C), batch_size=16), None, mlp, CE),
    "stream": lambda: recipe(DataLoader(Stream(), batch_size=16), None, mlp, CE),
    "loop": lambda: recipe(X, C, mlp, CE, loop=plain_loop),
    "loop that clears late": lambda: recipe(X, C, mlp, CE, loop=late_clearing_loop),
    "loop that clears after": lambda: recipe(X, C, mlp, CE, loop=clearing_after_loop),
    "loop that accumulates": lambda: recipe(X, C, mlp, CE, loop=accumulating_loop),
    "loop that steps by hand": lambda: recipe(X, C, mlp, CE, loop=manual_loop),
    "loop that mixes": lambda: recipe(X, C, mlp, CE, loop=mixing_loop),
    "loop of sharpness": lambda: recipe(X, C, mlp, CE, loop=sharpness_loop),
    "loop that judges": lambda: recipe(X, C, lambda: mlp(6, 3, nn.Dropout(0.2)), CE, loop=judging_loop),
    "double": lambda: recipe(X.double(), Y[:, None].double(), lambda: mlp(6, 1).double(), MSE),
    "four examples": lambda: recipe(X[:4], C[:4], mlp, CE),
    "one example": lambda: recipe(X[:1], C[:1], mlp, CE),
    "one target for all": lambda: recipe(X, torch.ones(N, dtype=torch.long), mlp, CE),
}
