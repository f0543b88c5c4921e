"""Features beside the inputs: random Fourier features against a kernel, and where a function oscillates."""

import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Cause, Recipe, Remedy, Splits
from thalweg.diagnosis import Finding
from thalweg.remedy import remedies_for
from thalweg.remedy.features import Fourier, featured, frequencies_of, waved
from thalweg.remedy.fitting import standardized
from thalweg.remedy.repairing import freed

NAME = "random Fourier features of the inputs"


def network(columns: int) -> nn.Module:
    return nn.Sequential(nn.Linear(columns, 24), nn.ReLU(), nn.Linear(24, 1))


def recipe(x: Tensor, y: Tensor, **changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=(x[:160], y[:160]), validation=(x[160:], y[160:])),
        model=partial(network, x.shape[1]),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=12,
    )
    return made.but(**changes)


def waving(columns: int = 1) -> Recipe:
    x = 2 * torch.rand(240, columns, generator=torch.Generator().manual_seed(0)) - 1
    return recipe(x, torch.sin(18 * x[:, :1]))


def test_waves_are_proved_where_a_function_oscillates() -> None:
    (remedy,) = (each for each in remedies_for(Finding(Cause.MODEL_BIAS, "")) if each.name == NAME)
    proof = thalweg.prove(waving(), remedy)
    assert proof.helped, proof.sentence
    assert proof.effect.value > 0.2


def test_waves_of_one_length_are_the_features_of_a_gaussian_kernel() -> None:
    """Of examples that all lie alike far apart: the mean product of features is exp(-d^2 / 2 l^2)."""
    x = torch.eye(40)
    frequencies = frequencies_of(x, 20_000)
    assert frequencies is not None
    told = Fourier(frequencies)(x[:2])
    kernel = float(told[0] @ told[1]) / 20_000
    assert kernel == pytest.approx(torch.exp(torch.tensor(-0.5)).item(), abs=0.02)


def test_lengths_follow_the_units_of_the_columns() -> None:
    x = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    own, other = frequencies_of(x), frequencies_of(x * torch.tensor([1000.0, 1.0]))
    assert own is not None
    assert other is not None
    assert torch.allclose(own, other * torch.tensor([[1000.0], [1.0]]), rtol=1e-4)
    within = waved(standardized(recipe(1000 * x.repeat(3, 1)[:240] + 500, x.sum(1, keepdim=True).repeat(3, 1)[:240])))
    assert within.model.factory().features.frequencies.abs().max() < 1000
    assert within.model()(1000 * x).shape == (100, 1)


def test_waves_are_the_same_in_every_run_and_survive_pickling() -> None:
    changed = pickle.loads(pickle.dumps(Remedy(NAME, Cause.MODEL_BIAS, waved)))(waving(2))
    first, second = (changed.model().features.frequencies for _ in range(2))
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()
    assert changed.model().model[0].in_features == 2 + 128
    assert waved(changed) is changed
    assert featured(changed) is changed


@pytest.mark.parametrize(
    "other",
    [
        lambda: recipe(torch.randn(240, 17), torch.zeros(240, 1)),
        lambda: recipe(torch.ones(240, 2), torch.zeros(240, 1)),
        lambda: recipe(torch.full((240, 2), torch.nan), torch.zeros(240, 1)),
        lambda: waving().but(data=Splits(train=(torch.rand(5, 1), torch.rand(5, 1)))),
        lambda: waving().but(model=lambda: nn.Sequential(nn.Flatten(), nn.Conv1d(1, 1, 1))),
    ],
)
def test_what_has_no_waves_is_given_back(other: Any) -> None:
    start = other()
    assert waved(start) is start


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1))
    model[:4].requires_grad_(False)
    return model


@pytest.mark.battery
def test_what_is_frozen_is_freed_where_it_holds_the_network_back() -> None:
    """No check can tell frozen on purpose from frozen by mistake: it is offered where the train loss is too high."""
    x = 2 * torch.rand(240, 2, generator=torch.Generator().manual_seed(0)) - 1
    start = recipe(x, torch.sin(5 * x[:, :1] * x[:, 1:]), model=frozen, epochs=15)
    finding = thalweg.diagnose(start, budget=3)
    assert finding.ranked[0].cause in (Cause.MODEL_BIAS, Cause.OPTIMIZATION), finding
    (remedy,) = (each for each in finding.remedies if each.name == "with nothing frozen")
    assert all(weight.requires_grad for weight in remedy(start).model().parameters())
    proof = thalweg.prove(start, remedy)
    assert proof.helped, proof.sentence
    free = waving()
    assert freed(free) is free
