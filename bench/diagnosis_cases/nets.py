"""Networks as one writes them, plain torch."""

import torch
from torch import Tensor, nn


def mlp(*widths: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for inside, outside in zip(widths[:-1], widths[1:], strict=True):  # noqa: RUF007
        layers += [nn.Linear(inside, outside), act()]
    return nn.Sequential(*layers[:-1])


def digits_filters(classes: int = 10) -> nn.Sequential:
    """A CNN for images of 8 x 8 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, classes),
    )  # fmt: skip


class Recurrent(nn.Module):
    """A recurrent network that answers after the last step."""

    def __init__(self, kind: type[nn.Module], inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.rnn = kind(inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x)
        return self.head(states[:, -1])


class Stepwise(nn.Module):
    """A recurrent network that answers at every step."""

    def __init__(self, kind: type[nn.Module], inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.rnn = kind(inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class Tagger(nn.Module):
    """Tokens to a class for each of them, classes in the second axis as CrossEntropyLoss wants them."""

    def __init__(self, kinds: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, 8)
        self.rnn = nn.GRU(8, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(tokens))[0]).transpose(1, 2)


class Reader(nn.Module):
    """Tokens read by a GRU, one answer."""

    def __init__(self, kinds: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, 12)
        self.rnn = nn.GRU(12, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(tokens))[0][:, -1])


class Bag(nn.Module):
    """The mean of the embeddings of all tokens, then a hidden layer."""

    def __init__(self, kinds: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, hidden)
        self.head = mlp(hidden, hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens).mean(1))


class Rows(nn.Module):
    """The eight rows of a digit as a sequence for one encoder layer with learned places."""

    def __init__(self, width: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Linear(8, width)
        self.place = nn.Parameter(0.1 * torch.randn(8, width))
        self.encoder = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=dropout, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(x) + self.place).mean(1))


class Lookup(nn.Module):
    """The last row asks the others by attention."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(inputs, width), nn.Linear(inputs, width)
        self.value = nn.Linear(inputs, width)
        self.head = mlp(width, width, outputs)

    def weights(self, x: Tensor) -> Tensor:
        """How much the question looks at each row before it."""
        scores = self.key(x[:, :-1]) @ self.query(x[:, -1:]).transpose(1, 2)
        return scores.squeeze(2).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        looked = (self.weights(x)[:, :, None] * self.value(x[:, :-1])).sum(1)
        return self.head(looked)


class Tokens(nn.Module):
    """Tokens with learned places, one encoder layer, the mean of all."""

    def __init__(self, kinds: int, length: int, width: int = 32, classes: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, width)
        self.place = nn.Parameter(0.3 * torch.randn(length, width))
        self.encoder = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(tokens) + self.place).mean(1))
