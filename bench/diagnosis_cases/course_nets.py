"""Networks as in exercises and papers, plain torch."""

import torch
from torch import Tensor, nn

from diagnosis_cases import nets


class Factors(nn.Module):
    """A rating is the product of what a user likes and what an item has."""

    def __init__(self, rank: int = 3, spread: float = 0.3, users: int = 40, items: int = 30) -> None:
        super().__init__()
        self.taste, self.style = nn.Embedding(users, rank), nn.Embedding(items, rank)
        for table in (self.taste, self.style):
            nn.init.normal_(table.weight, std=spread)

    def forward(self, pair: Tensor) -> Tensor:
        return (self.taste(pair[:, 0]) * self.style(pair[:, 1])).sum(1, keepdim=True)


class Duel(nn.Module):
    """Two players, embedded side by side, then a hidden layer."""

    def __init__(self, players: int = 12, width: int = 8) -> None:
        super().__init__()
        self.player = nn.Embedding(players, width)
        self.head = nets.mlp(2 * width, 32, 2)

    def forward(self, pair: Tensor) -> Tensor:
        return self.head(self.player(pair).flatten(1))


class Summed(nn.Module):
    """Filters, then the sum over the image, or another way to forget where."""

    def __init__(self, pool: str = "sum", width: int = 8) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 16, 3, padding=1), nn.ReLU()
        )
        self.head, self.pool = nets.mlp(16, 32, 5), pool

    def forward(self, x: Tensor) -> Tensor:
        found = self.filters(x)
        return self.head(found.sum((2, 3)) / 8 if self.pool == "sum" else found.amax((2, 3)))


class Patches(nn.Module):
    """Nine patches of an image by an encoder layer, with learned places or without."""

    def __init__(self, places: bool = True, width: int = 24) -> None:
        super().__init__()
        self.embedding = nn.Linear(9, width)
        self.place = nn.Parameter(0.3 * torch.randn(9, width)) if places else None
        self.encoder = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        return self.head(self.encoder(x if self.place is None else x + self.place).mean(1))


class Causal(nn.Module):
    """Symbols by two layers of causal filters with dilation, a class for each."""

    def __init__(self, dilations: tuple[int, int] = (1, 2), kinds: int = 5, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, 16)
        self.dilations = dilations
        self.first = nn.Conv1d(16, width, 3, dilation=dilations[0])
        self.second = nn.Conv1d(width, width, 3, dilation=dilations[1])
        self.head = nn.Conv1d(width, kinds, 1)

    def forward(self, symbols: Tensor) -> Tensor:
        x = self.embedding(symbols).transpose(1, 2)
        for layer, dilation in zip((self.first, self.second), self.dilations, strict=True):
            x = layer(nn.functional.pad(x, (2 * dilation, 0))).relu()
        return self.head(x)


class Radial(nn.Module):
    """Units that answer near a centre, each with its width."""

    def __init__(self, centre: float = 0.0, units: int = 16) -> None:
        super().__init__()
        self.centres = nn.Parameter(centre + torch.randn(units, 2))
        self.sharpness = nn.Parameter(torch.ones(units))
        self.head = nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Tensor:
        far = (x[:, None] - self.centres).square().sum(2)
        return self.head((-far * self.sharpness.exp()).exp())


class Identity(nn.Module):
    """An Elman network whose recurrence begins as `scale` times the identity, or as random as large as that."""

    def __init__(self, scale: float = 1.0, kind: str = "relu", width: int = 32, mixed: bool = False) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, width, nonlinearity=kind, batch_first=True)
        self.head = nn.Linear(width, 3)
        start = torch.randn(width, width) / width**0.5 if mixed else torch.eye(width)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(scale * start)
            self.rnn.bias_hh_l0.zero_()
            self.rnn.bias_ih_l0.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class DeepTokens(nets.Tokens):
    """Tokens by several encoder layers, each of which normalizes what it gives or what it takes."""

    def __init__(self, layers: int = 4, first: bool = False, width: int = 32) -> None:
        super().__init__(8, 10, width)
        make = nn.TransformerEncoderLayer
        self.encoder = nn.Sequential(
            *(make(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=first) for _ in range(layers))
        )


def filters_in_a_row(depth: int, norm: bool, width: int = 10) -> nn.Sequential:
    """Many layers of filters for the digits, with batch norm or plain."""
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1), *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * width, 10))


class Branch(nn.Module):
    """A residual branch of two layers, taken at some size."""

    def __init__(self, width: int, size: float) -> None:
        super().__init__()
        self.inner, self.size = nets.mlp(width, width, width), size
        for layer in (self.inner[0], self.inner[2]):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.size * self.inner(x)


def branches(size: float, count: int = 10, width: int = 32) -> nn.Sequential:
    """Residual branches in a row, for six inputs."""
    return nn.Sequential(nn.Linear(6, width), *(Branch(width, size) for _ in range(count)), nn.Linear(width, 1))


class Additive(nn.Module):
    """A network of its own for every input; their sum."""

    def __init__(self, inputs: int = 8, width: int = 16) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nets.mlp(1, width, width, 1) for _ in range(inputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([part(x[:, n : n + 1]) for n, part in enumerate(self.parts)]).sum(0)


class Rising(nn.Module):
    """Two hidden layers whose weights are squares: an output that only rises with every input."""

    def __init__(self, inputs: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, 1)])

    def forward(self, x: Tensor) -> Tensor:
        for n, layer in enumerate(self.layers):
            x = nn.functional.linear(x, layer.weight.square(), layer.bias)
            x = x if n == len(self.layers) - 1 else x.tanh()
        return x


class Probability(nn.Module):
    """A hidden layer and a probability."""

    def __init__(self, inputs: int = 30, spread: float | None = None, width: int = 24) -> None:
        super().__init__()
        self.net = nn.Sequential(*nets.mlp(inputs, width, 1), nn.Sigmoid())
        if spread is not None:
            for layer in (self.net[0], self.net[2]):
                nn.init.normal_(layer.weight, std=spread)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
