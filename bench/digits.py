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


def by_hand(data: Any, epochs: int, model: Callable[[], nn.Module] = net, seed: int = 0) -> nn.Module:
    """The bare loop: a DataLoader, torch's Adam as it comes, the loss read at every step."""
    torch.manual_seed(seed)
    trained, loss = model(), nn.CrossEntropyLoss()
    optimizer = ADAM(trained.parameters())
    loader = DataLoader(TensorDataset(*data), batch_size=32, shuffle=True)
    for _ in range(epochs):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            value = loss(trained(x), y)
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
