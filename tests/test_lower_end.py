"""The lower end of the floor: nothing that a model could break."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thalweg import Recipe, Splits
from thalweg.core.convert import Batching, as_source
from thalweg.core.objective import PlainLoss
from thalweg.diagnosis.floor import Floor, reference_floor
from thalweg.diagnosis.lower_end import of_duplicates
from thalweg.training.judging import Judge

RANDOM = np.random.default_rng(0)


def floor_of(x: np.ndarray, y: np.ndarray, loss: Any) -> Floor:
    data = (torch.from_numpy(x).float(), torch.from_numpy(y))
    recipe = Recipe(data=Splits(train=data), model=partial(nn.Linear, 1, 1), objective=loss)
    floor = reference_floor(Judge.of(recipe), [as_source(recipe.data.train, "train", Batching(32, None))])
    assert floor is not None
    return floor


def as_they_are(output: Tensor) -> Tensor:
    return output


def test_equal_inputs_leave_the_loss_of_the_best_output_for_all_of_them() -> None:
    rows = np.array([[0.0], [0.0], [0.0], [1.0], [2.0], [2.0]])
    y = torch.tensor([0, 0, 1, 1, 0, 0])
    entropy = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    found = of_duplicates(PlainLoss(nn.CrossEntropyLoss()), rows, y, y, [as_they_are])
    assert found == pytest.approx(3 / 6 * entropy, abs=1e-6)
    numbers = torch.tensor([[1.0], [3.0], [5.0], [9.0], [2.0], [2.0]])
    found = of_duplicates(PlainLoss(nn.MSELoss()), rows, numbers, numbers, [as_they_are])
    assert found == pytest.approx(3 / 6 * 8 / 3)


def test_an_output_that_is_no_minimum_of_the_loss_bounds_nothing() -> None:
    rows, y = np.zeros((3, 1)), torch.tensor([[1.0], [2.0], [9.0]])  # the median and not the mean
    assert of_duplicates(PlainLoss(nn.L1Loss()), rows, y, y, [as_they_are]) == 0.0


def test_no_model_does_better_on_these_examples_than_the_duplicates_let_it() -> None:
    x = RANDOM.integers(0, 4, (600, 2)).astype(float)
    y = (RANDOM.random(600) < 0.2 + 0.15 * x[:, 0]).astype(int)
    floor = floor_of(x, y, nn.CrossEntropyLoss())
    cells = torch.from_numpy(4 * x[:, 0] + x[:, 1]).long()
    table = torch.zeros(16, 2, requires_grad=True)  # a model that can say anything of each input
    solver = torch.optim.LBFGS([table], max_iter=200)

    def loss() -> Tensor:
        solver.zero_grad()
        value = nn.functional.cross_entropy(table[cells], torch.from_numpy(y))
        torch.autograd.backward(value)
        return value

    solver.step(loss)
    best = float(loss().detach())
    assert 0.5 < floor.low <= best + 1e-4
    assert floor.low == pytest.approx(best, abs=1e-3)
    assert floor.low <= floor.high


def test_a_learning_curve_that_falls_says_nothing() -> None:
    x = RANDOM.normal(size=(1200, 2))
    noise = RANDOM.normal(size=1200)
    steps = floor_of(x, (3 * np.sign(x[:, 0] * x[:, 1]) + 0.1 * noise).astype(np.float32), nn.MSELoss())
    assert steps.low == 0.0


def test_a_linear_rule_with_noise_has_a_floor_near_its_noise() -> None:
    x = RANDOM.normal(size=(2000, 2))
    y = (RANDOM.random(2000) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(int)
    floor = floor_of(x, y, nn.CrossEntropyLoss())
    chances = 1 / (1 + np.exp(-2 * x[:, 0]))
    truth = float(-(chances * np.log(chances) + (1 - chances) * np.log(1 - chances)).mean())
    assert floor.low <= truth + 0.02
    assert floor.low > 0.8 * truth
