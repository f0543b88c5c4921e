"""Runs that cannot go on: losses that are not finite, workers that die, batches that do not fit."""

import copy
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import N, dense_saving, examples, recipe
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import thalweg
from thalweg import Outcome, RunError, Splits
from thalweg.core.keyed import told_of_workers
from thalweg.training.build import prepare
from thalweg.training.checkpoint import Checkpoints
from thalweg.training.memory import largest_that_fits

# --- not finite ---


def test_a_loss_that_is_not_finite_stops_at_its_step_and_names_the_examples(tmp_path: Path) -> None:
    x, y = examples()
    order = torch.randperm(N, generator=thalweg.core.randomness.generator(0, "order", 2))
    bad = int(order[2 * 11 + 3])

    @thalweg.objective
    def blows_up(model: nn.Module, batch: Any, moment: thalweg.Moment) -> Tensor:
        values = nn.functional.cross_entropy(model(batch[0][:, :5]), batch[1], reduction="none")
        spoiled = (batch[0][:, 5] == bad) & (moment.epoch == 2) & moment.training
        return torch.where(spoiled, float("nan"), values)

    numbered = torch.cat([x, torch.arange(N)[:, None].float()], 1)
    chosen = recipe(data=Splits(train=(numbered, y)), objective=blows_up)
    run = thalweg.train(chosen, out=tmp_path)
    assert run.status is Outcome.DIVERGED
    told = next(said for said in run.notices if "The loss is nan" in said)
    assert "at step 9 (epoch 2, batch 3, train examples " in told
    assert f"{bad}" in told.partition("examples")[2].partition(")")[0].replace(",", "").split()
    assert [len(run.history), run.history[-1]["epoch"]] == [2, 2]
    assert run.path is not None
    assert Checkpoints(run.path / "checkpoints").places() == [(2, 0)]


def test_weights_that_are_not_finite_never_replace_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A step that spoils the weights while its own loss was fine."""
    dense_saving(monkeypatch)

    class Spoiling(torch.optim.SGD):
        steps = 0

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            super().step()
            self.steps += 1
            if self.steps == 8:
                self.param_groups[0]["params"][0].data.fill_(float("inf"))

    run = thalweg.train(recipe(optimizer=partial(Spoiling, lr=0.01)), out=tmp_path)
    assert run.status is Outcome.DIVERGED
    assert any("A weight is not finite after step 8 (epoch 2, batch 2)" in said for said in run.notices)
    assert run.path is not None
    kept = Checkpoints(run.path / "checkpoints").newest()
    assert kept is not None
    assert kept.place == (2, 1)


# --- workers and memory ---


class Deadly(Dataset[Any]):
    """A data set one of whose examples kills the worker that fetches it."""

    def __len__(self) -> int:
        return 44

    def __getitem__(self, index: int) -> Any:
        if index == 30 and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.ones(5), 1


def test_a_worker_that_is_killed_is_an_error_and_no_hang() -> None:
    loader = DataLoader(Deadly(), batch_size=11, num_workers=2)
    with pytest.raises(RunError, match=r"DataLoader worker \(pid.*A worker that is killed is most often out of memory"):
        thalweg.train(recipe(data=Splits(train=loader)))


def test_a_worker_that_dies_while_it_hands_over_a_batch_is_the_same_error() -> None:
    class Broken(DataLoader[Any]):
        def __iter__(self) -> Any:
            yield torch.ones(3)
            raise self.dataset

    def broken(error: Any, workers: int = 2) -> Any:
        return Broken(error, batch_size=None, num_workers=workers, sampler=[0])

    with pytest.raises(RunError, match=r"DataLoader worker \(pid unknown\) is gone: reset.*most often out of memory"):
        list(told_of_workers(broken(ConnectionResetError("reset"))))
    with pytest.raises(ConnectionError, match="Caught ConnectionError in DataLoader worker process 0"):
        list(told_of_workers(broken(ConnectionError("Caught ConnectionError in DataLoader worker process 0."))))
    with pytest.raises(ConnectionError, match="^reset$"):
        list(told_of_workers(broken(ConnectionError("reset"), workers=0)))


def test_a_worker_whose_death_is_noticed_within_a_step_is_the_same_error() -> None:
    """Torch says it by a signal, in whatever line is then run."""

    def noticed(output: Tensor, target: Tensor) -> Tensor:
        if output.requires_grad:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        return nn.functional.cross_entropy(output, target)

    with pytest.raises(RunError, match=r"DataLoader worker \(pid 7\).*A worker that is killed is most often out of"):
        thalweg.train(recipe(objective=noticed))


class Hungry(nn.Module):
    """A model that asks for a tebibyte for every example beyond the seventh."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        torch.empty(2**48 if len(x) > 7 else 1)
        output: Tensor = self.out(x)
        return output


def test_a_batch_that_does_not_fit_is_said_with_the_largest_that_would() -> None:
    with pytest.raises(RunError, match=r"A batch of 11 examples does not fit.*; 7 examples would. Set batch_size=7"):
        thalweg.train(recipe(model=Hungry))


def test_what_is_tried_out_leaves_no_trace_in_the_model() -> None:
    training = prepare(recipe(model=Hungry), torch.device("cpu"))
    before = copy.deepcopy(training.model.state_dict())
    assert largest_that_fits(training, examples(32), 32) == 7
    assert all(torch.equal(before[name], value) for name, value in training.model.state_dict().items())
