"""Networks of the field, plain torch."""

import torch
from torch import Tensor, nn

from diagnosis_cases import nets


class Block(nn.Module):
    """A residual block that normalizes what it takes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nets.mlp(width, 2 * width, width, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(self.norm(x))


def tower(inputs: int, outputs: int, depth: int = 4, width: int = 32) -> nn.Sequential:
    """Residual blocks with layer norm."""
    blocks = [Block(width) for _ in range(depth)]
    return nn.Sequential(nn.Linear(inputs, width), *blocks, nn.LayerNorm(width), nn.Linear(width, outputs))


class Nested(nn.Module):
    """Tokens by a GRU, a number at every step."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(3, 8), nn.GRU(8, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(tokens))[0])


def stripes(first: int = 12, second: int = 24, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Two layers of filters with batch norm and a mean over the image."""
    return nn.Sequential(
        nn.Conv2d(1, first, 5, padding=2), nn.BatchNorm2d(first), act(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1), nn.BatchNorm2d(second), act(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(second, 4),
    )  # fmt: skip


def even_filters(dropout: float = 0.0) -> nn.Sequential:
    """Filters for the digits, one logit."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(384, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 1),
    )  # fmt: skip


class Switchboard(nn.Module):
    """An embedding of the day beside numbers, then hidden layers: the log of a rate."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.day, self.net = nn.Embedding(7, 4), nets.mlp(8, width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.cat([self.day(x[:, 0].long()), x[:, 1:]], 1))


class Scan(nn.Module):
    """Tokens by filters over a few of them and a maximum, one logit."""

    def __init__(self, width: int = 24, reach: int = 3, kinds: int = 12) -> None:
        super().__init__()
        self.embedding, self.filters = nn.Embedding(kinds, 12), nn.Conv1d(12, width, reach)
        self.head = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.filters(self.embedding(tokens).transpose(1, 2)).relu().amax(2))


class Sets(nn.Module):
    """Every reading by a small network, the maximum of each unit over the set, then another network."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.each, self.all = nets.mlp(1, width, width), nets.mlp(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.all(self.each(x).amax(1))
