"""Small networks are trained and judged on one thread, large ones on all, by what a forward pass multiplies."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.core.threads import SMALL, counting, fitting_threads

X = torch.randn(40, 3)


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


class Asking(nn.Module):
    """A linear model that notes on how many threads it ran."""

    seen: set[tuple[bool, int]]

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.seen = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add((self.training, torch.get_num_threads()))
        output: Tensor = self.layer(x)
        return output


def trained(monkeypatch: pytest.MonkeyPatch, small: int) -> set[tuple[bool, int]]:
    monkeypatch.setattr("thalweg.core.threads.SMALL", small)
    made: list[Asking] = []

    def model() -> Asking:
        made.append(Asking())
        return made[-1]

    recipe = Recipe(
        data=Splits(train=(X, X[:, :1]), validation=(X, X[:, :1])), model=model, objective=nn.MSELoss(), epochs=2
    )
    run = thalweg.train(recipe)
    thalweg.evaluate(run, (X, X[:, :1]))
    return set().union(*(each.seen for each in made))


def test_a_small_network_is_trained_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = trained(monkeypatch, SMALL)
    assert (True, 1) in seen
    assert (True, 3) not in seen
    assert (False, 1) in seen


def test_a_large_one_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained(monkeypatch, 10) == {(True, 3), (False, 3)}


@pytest.mark.parametrize(
    ("module", "x", "expected"),
    [
        (nn.Linear(7, 5), torch.ones(2, 3, 7), 2 * 3 * 7 * 5),
        (nn.Conv2d(4, 6, 3, padding=1), torch.ones(2, 4, 8, 8), 2 * 8 * 8 * 6 * 4 * 9),
        (nn.Conv2d(4, 4, 3, groups=4), torch.ones(1, 4, 5, 5), 3 * 3 * 4 * 9),
        (nn.LSTM(3, 5, batch_first=True), torch.ones(2, 4, 3), 2 * 4 * (20 * 3 + 20 * 5)),
        (nn.Embedding(9, 5), torch.ones(2, 4, dtype=torch.int64), 0),
        (nn.BatchNorm1d(3), torch.ones(2, 3), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_work_is_what_layers_multiply(module: nn.Module, x: Any, expected: int) -> None:
    with counting(module) as work:
        module(x)
    assert work.total == expected
    assert not module._forward_hooks


def test_what_could_not_be_counted_is_given_all_threads() -> None:
    with fitting_threads(0):
        assert torch.get_num_threads() == 3
