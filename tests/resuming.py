"""A run that is broken off and goes on, compared to the bit with one that nothing has interrupted."""

import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import thalweg
from thalweg import Outcome, Recipe, Run, Splits
from thalweg.training import saving

N, STEPS = 66, 6  # six batches of 11 an epoch


def examples(n: int = N) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(3))
    return x, (x.sum(1) > 0).long()


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=examples(), validation=examples(20)),
        model=net,
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        batch_size=11,
        epochs=4,
    )
    return made.but(**changes)


class Augmented(Dataset[Any]):
    """Examples with noise from all three streams, and a model of nothing else."""

    def __init__(self) -> None:
        self.x, self.y = examples()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        noise = torch.randn(5) + float(np.random.normal()) + random.gauss(0, 1)
        return self.x[index] + 0.1 * noise, self.y[index]


def loading(workers: int, **options: Any) -> Splits:
    return Splits(
        train=DataLoader(Augmented(), batch_size=11, shuffle=True, num_workers=workers, **options),
        validation=DataLoader(Augmented(), batch_size=11, num_workers=workers),
    )


def interrupting(at: int) -> Callable[..., None]:
    """A progress that presses Ctrl-C after a step."""

    def progress(epoch: int, step: int, row: Any) -> None:
        if step >= at and row is None:  # a run that goes on may have passed it
            signal.raise_signal(signal.SIGINT)

    return progress


def bits(run: Run) -> list[Any]:
    """What must be the same to the bit: the history but for the time, and both sets of weights."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in run.history]
    states = [model.state_dict() for model in (run.model, run.last)]
    return [repr(rows), run.best_epoch, run.status] + [
        (name, value.numpy().tobytes()) for state in states for name, value in state.items()
    ]


def broken_off(chosen: Recipe, folder: Path, step: int) -> Path:
    """The folder of a run that was interrupted after a step."""
    run = thalweg.train(chosen, out=folder, progress=interrupting(step))
    assert run.status is Outcome.INTERRUPTED
    assert run.path is not None
    return run.path


def dense_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step, as if each took a minute."""
    monkeypatch.setattr(saving, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(saving, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(saving, "SHARE", 0.0)
