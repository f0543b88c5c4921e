"""The digits, a network for them, and the loop that anyone writes by hand: what the benchmarks compare with."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg

ADAM = partial(torch.optim.Adam, lr=1e-3)


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8 x 8 pixels as rows, and their classes."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)


def net(width: int = 128) -> nn.Module:
    """An MLP 64-128-10."""
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def by_hand(
    data: Any,
    epochs: int,
    model: Callable[[], nn.Module] = net,
    seed: int = 0,
    batch_size: int = 32,
    changed: Callable[[Tensor], Tensor] = lambda x: x,
) -> nn.Module:
    """The bare loop: a DataLoader, torch's Adam as it comes, the loss read at every step; inputs `changed` by batch."""
    torch.manual_seed(seed)
    trained, loss = model(), nn.CrossEntropyLoss()
    optimizer = ADAM(trained.parameters())
    loader = DataLoader(TensorDataset(*data), batch_size=batch_size, shuffle=True)
    for _ in range(epochs):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            value = loss(trained(changed(x)), y)
            value.backward()
            optimizer.step()
            total += value.item()
    return trained


def recipe(data: Any, epochs: int, **changes: Any) -> thalweg.Recipe:
    """The same as a recipe."""
    made = thalweg.Recipe(
        data=thalweg.Splits(train=data), model=net, objective=nn.CrossEntropyLoss(), optimizer=ADAM, epochs=epochs
    )
    return made.but(**changes)


def images() -> tuple[Tensor, Tensor]:
    """2,000 images of 28 x 28 pixels, as large as those of MNIST, and their classes."""
    x = torch.randn(2000, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return x, (x.mean((1, 2, 3)) * 280).clamp(-4.5, 4.5).add(5).long()


def filters() -> nn.Module:
    """A small CNN: two layers of filters, 16 and 32."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def encoder() -> nn.Module:
    """A small Transformer encoder over 16 positions of 8 numbers."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    return nn.Sequential(
        nn.Linear(8, 32), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Flatten(), nn.Linear(512, 10)
    )


def sequences() -> tuple[Tensor, Tensor]:
    """1,280 sequences of 16 positions of 8 numbers, and their classes."""
    x = torch.randn(1280, 16, 8, generator=torch.Generator().manual_seed(0))
    return x, (x.mean((1, 2)) * 50).clamp(-4.5, 4.5).add(5).long()
