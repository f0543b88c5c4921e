"""The learning-rate range test and the largest batch: what they find, and that they leave no trace."""

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from resuming import bits, examples, recipe
from torch import Tensor, nn
from torch.utils.data import IterableDataset

import thalweg
from thalweg import RecipeError, Splits
from thalweg.core.device import available
from thalweg.training import finders


def line(rate: float = 0.1, **changes: Any) -> thalweg.Recipe:
    """Least squares in ten dimensions: plain descent diverges above 2 / (largest eigenvalue), here about 1."""
    x = torch.randn(400, 10, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(400, 1, generator=torch.Generator().manual_seed(1))
    made = recipe(
        data=Splits(train=(x, x @ torch.arange(10.0)[:, None] + 5 * noise)),
        model=lambda: nn.Linear(10, 1),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.SGD, lr=rate),
        batch_size=400,
    )
    return made.but(**changes)


def test_the_edge_of_descent_is_found() -> None:
    """For the mean squared error of standard normal inputs the curvature is about 2, the edge at a rate of about 1."""
    test = thalweg.find_learning_rate(line())
    assert 0.2 < test.best < 2  # it takes a few steps above the edge to be seen
    assert 0.01 < test.suggestion < test.best
    assert test.rates[-1] < 10  # it ended where the loss rose
    assert len(test.rates) == len(test.losses)


def test_groups_keep_their_proportions_and_schedules_are_left_out() -> None:
    rates: set[tuple[float, ...]] = set()

    class Seen(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            rates.add(tuple(group["lr"] for group in self.param_groups))
            super().step()

    def groups(parameters: Any) -> Any:
        first, second = parameters
        return Seen([{"params": [first], "lr": 0.1}, {"params": [second], "lr": 0.01}], lr=1.0)

    chosen = line(optimizer=groups, schedule=lambda step, steps: 0.0)
    thalweg.find_learning_rate(chosen, lowest=1e-4, highest=1e-2, count=10)
    assert sorted(first for first, _ in rates) == pytest.approx(np.geomspace(1e-4, 1e-2, 10).tolist())
    assert all(first == pytest.approx(10 * second) for first, second in rates)


def test_finders_leave_no_trace() -> None:
    chosen = recipe()
    before = bits(thalweg.train(chosen))
    state = random.getstate(), torch.get_rng_state()
    thalweg.find_learning_rate(chosen)
    thalweg.largest_batch_size(chosen)
    assert state[0] == random.getstate()
    assert torch.equal(state[1], torch.get_rng_state())
    assert bits(thalweg.train(chosen)) == before


def test_the_test_is_drawn() -> None:
    ax = thalweg.find_learning_rate(line()).plot()
    assert ax.get_xscale() == "log"
    assert "falls fastest at" in ax.get_legend().get_texts()[0].get_text()


def test_the_largest_batch_is_what_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(nn.Module):
        """Keeps 80 kB of each example for the backward pass."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = nn.Linear(5, 10_000), nn.Linear(10_000, 2)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.out(torch.tanh(self.layer(x)))
            return output

    chosen = recipe(model=Wide, data=Splits(train=examples(60_000)))
    monkeypatch.setattr(finders, "available", lambda: 400_000_000)
    assert 1_000 < thalweg.largest_batch_size(chosen) < 8_000
    monkeypatch.setattr(finders, "available", lambda: 10**12)
    assert thalweg.largest_batch_size(chosen) == 60_000
    monkeypatch.setattr(finders, "available", lambda: 0)
    assert thalweg.largest_batch_size(chosen) == 1


def test_a_sparse_tensor_that_is_kept_counts_by_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mixing(nn.Linear):
        mix: Tensor

        def __init__(self) -> None:
            super().__init__(5, 2)
            self.register_buffer("mix", torch.eye(5).to_sparse())

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.sparse.mm(self.mix, x.T.tanh() * self.weight.sum()).T)

    monkeypatch.setattr(finders, "available", lambda: 10**12)
    assert thalweg.largest_batch_size(recipe(model=Mixing, data=Splits(train=examples(60)))) == 60


def test_free_memory_is_read() -> None:
    assert 10**6 < available() < 10**14


def test_sizes_are_tried_where_too_much_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            torch.empty(2**48 if len(x) > 37 else 1)
            output: Tensor = self.out(x)
            return output

    training = finders._alone(recipe(model=Hungry), "cpu")
    assert finders._tried(training, training.source) == 37  # type: ignore[arg-type]
    training = finders._alone(recipe(), "cpu")
    assert finders._tried(training, training.source) == 66  # type: ignore[arg-type]


class Rows(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(*examples(), strict=True))


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda: thalweg.find_learning_rate(line(), lowest=1.0, highest=0.1), "lowest=1.0 and highest=0.1, but rates"),
        (lambda: thalweg.find_learning_rate(line(), count=3), "count=3, but a loss that falls and rises takes"),
        (lambda: thalweg.find_learning_rate(3), "find_learning_rate was given int, but it tries rates of"),  # type: ignore[arg-type]
        (lambda: thalweg.largest_batch_size(3), "largest_batch_size was given int, but it looks at a thalweg.Recipe"),  # type: ignore[arg-type]
        (
            lambda: thalweg.find_learning_rate(recipe(loop=lambda model, optimizer, batches, objective: None)),
            "The recipe has a loop of its own, which takes its steps itself",
        ),
        (
            lambda: thalweg.largest_batch_size(recipe(data=Splits(train=Rows()))),
            "The train split is a stream, whose examples cannot be put together.",
        ),
        (
            lambda: thalweg.find_learning_rate(line(objective=lambda output, target: output.mean() * float("nan"))),
            "The loss is not finite at the rate 1e-06 already. Begin lower, lowest=1e-08",
        ),
    ],
)
def test_what_cannot_be_found_is_said(work: Any, says: str) -> None:
    with pytest.raises(RecipeError) as error:
        work()
    assert says in str(error.value)
