"""Networks and objectives of one's own, as they are posted when they do not work."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import thalweg
from diagnosis_cases import nets


class OrdinalLoss(nn.Module):
    """A cumulative logit for each step between levels."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.arange(levels - 1))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, (target[:, None] > self.steps).float())


def level_read(output: Tensor) -> Tensor:
    """The level: how many steps are passed."""
    return F.one_hot((output > 0).sum(1), output.shape[1] + 1).float()


class Siamese(nn.Module):
    """The same network for both; the logit falls with the distance."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.body = nets.mlp(64, 64, width)
        self.bias = nn.Parameter(torch.ones(()))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.bias - (self.body(first) - self.body(second)).square().sum(1)


class Preferred(nn.Module):
    """A score for each of two; their difference is the logit."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.score = nets.mlp(*(widths or (6, 48, 48, 1)))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (self.score(first) - self.score(second)).squeeze(1)


class Variational(nn.Module):
    """A variational autoencoder: reconstruction, mean and log variance of the code."""

    def __init__(self, inputs: int = 8, code: int = 6) -> None:
        super().__init__()
        self.encoder = nets.mlp(inputs, 64, 2 * code)
        self.decoder = nets.mlp(code, 64, inputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, 1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return self.decoder(mean + noise * (0.5 * log_variance).exp()), mean, log_variance


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """From the code to the standard normal, summed over the code."""
    return -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)


@thalweg.objective
def elbo(model: nn.Module, batch: Any) -> Tensor:
    """What is lost in the reconstruction, and a little of the divergence."""
    x, clean = batch
    made, mean, log_variance = model(x)
    return ((made - clean) ** 2).sum(1) + 0.1 * kl(mean, log_variance)


class Experts(nn.Module):
    """Small networks, each of which counts as a gate says."""

    axis = 1

    def __init__(self, inputs: int = 8, experts: int = 4, width: int = 24) -> None:
        super().__init__()
        self.gate = nn.Linear(inputs, experts)
        self.experts = nn.ModuleList(nets.mlp(inputs, width, 1) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.gate(x).softmax(self.axis)
        return (torch.cat([expert(x) for expert in self.experts], 1) * weights).sum(1, keepdim=True)


class WordTagger(nn.Module):
    """A tag for every word by a GRU in both directions."""

    def __init__(self, kinds: int = 9, width: int = 24, tags: int = 4, both: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, 12, padding_idx=0)
        self.rnn = nn.GRU(12, width, batch_first=True, bidirectional=both)
        self.head = nn.Linear((1 + both) * width, tags)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(words))[0]).transpose(1, 2)


class GraphNet(nn.Module):
    """Each node hears its neighbours, then all nodes are summed."""

    def __init__(self, inputs: int = 4, width: int = 32) -> None:
        super().__init__()
        self.own, self.near = nn.Linear(inputs, width), nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, 2)

    def heard(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """The sum over the nodes from which an edge comes."""
        return edges @ nodes

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        hidden = F.relu(self.own(nodes) + self.near(self.heard(nodes, edges)))
        return self.head(F.relu(self.second(hidden)).sum(1))


class Composer(nn.Module):
    """Notes with places, causal attention, the next note at each: a decoder in the small."""

    causal, spread = True, 1.0

    def __init__(self, kinds: int = 5, length: int = 10, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds + 1, width)
        with torch.no_grad():
            self.embedding.weight.mul_(self.spread)
        self.place = nn.Parameter(0.5 * torch.randn(length, width))
        self.encoder = nn.TransformerEncoderLayer(width, 2, 4 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, kinds)

    def forward(self, notes: Tensor) -> Tensor:
        mask = torch.full((notes.shape[1],) * 2, float("-inf")).triu(1) if self.causal else None
        return self.head(self.encoder(self.embedding(notes) + self.place, src_mask=mask)).transpose(1, 2)


def drawing_filters() -> nn.Module:
    """Filters that look for shapes anywhere."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


class BagAttention(nn.Module):
    """Instances are weighed by attention before they are summed."""

    def __init__(self, inputs: int = 4, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.attention = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, 1))
        self.head = nn.Linear(width, 2)

    def forward(self, bag: Tensor) -> Tensor:
        hidden = self.body(bag)
        return self.head((self.attention(hidden).softmax(1) * hidden).sum(1))


class VisitReader(nn.Module):
    """A GRU that answers at the last visit of each patient."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, width, batch_first=True)
        self.head = nn.Linear(width, 4)

    def last(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The state after the last visit."""
        return states[torch.arange(len(states)), lengths - 1]

    def forward(self, visits: Tensor, lengths: Tensor) -> Tensor:
        return self.head(self.last(self.rnn(visits)[0], lengths))


class ShopNet(nn.Module):
    """An embedding of the shop beside the numbers."""

    def __init__(self, shops: int = 12, width: int = 8) -> None:
        super().__init__()
        self.shop = nn.Embedding(shops, width)
        self.body = nets.mlp(width + 4, 64, 64, 1)

    def forward(self, shop: Tensor, x: Tensor) -> Tensor:
        return self.body(torch.cat([self.shop(shop), x], 1))


class KnownLoss(nn.Module):
    """Binary cross-entropy over the labels that are known: those that are not below 0."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        known = target >= 0
        return F.binary_cross_entropy_with_logits(output[known], target[known])


class TwoHeads(nn.Module):
    """One body, a logit and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.urgent, self.hours = nn.Linear(64, 1), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x)
        return self.urgent(hidden).squeeze(1), self.hours(hidden).squeeze(1)


@thalweg.objective
def both_tasks(model: nn.Module, batch: Any) -> Tensor:
    """The sum of both losses of a batch that is a dict."""
    urgent, hours = model(batch["x"])
    loss = F.binary_cross_entropy_with_logits(urgent, batch["urgent"], reduction="none")
    return loss + (hours - batch["hours"]) ** 2


class Skip(nn.Module):
    """A layer whose input is added to its output."""

    def __init__(self, width: int, skip: bool = True) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.3 * self.inner(x) if self.skip else self.inner(x)


def deep(layers: int, skip: bool = True, width: int = 24) -> nn.Module:
    """A deep network for two inputs."""
    return nn.Sequential(
        nn.Linear(2, width), nn.ReLU(), *(Skip(width, skip) for _ in range(layers)), nn.Linear(width, 2)
    )


class GaussianLoss(nn.Module):
    """The negative log likelihood of a mean and a log variance."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        mean, log_variance = output.chunk(2, 1)
        return 0.5 * (log_variance + (target - mean) ** 2 * (-log_variance).exp()).mean()


def load_filters() -> nn.Module:
    """Filters in time, then a hidden layer, for the next hour."""
    return nn.Sequential(nn.Conv1d(1, 16, 5), nn.ReLU(), nn.Flatten(), nn.Linear(320, 32), nn.ReLU(), nn.Linear(32, 1))
