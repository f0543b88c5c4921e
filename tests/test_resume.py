"""Runs that are interrupted go on to the same bits."""

import random
import signal
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resuming import Augmented, N, bits, broken_off, examples, interrupting, loading, recipe
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset

import thalweg
from thalweg import EarlyStopping, Outcome, Splits
from thalweg.loss import L2
from thalweg.optim import EMA, SWA, per_step
from thalweg.training.build import prepare
from thalweg.training.checkpoint import packed, unpacked
from thalweg.training.state import put_back, taken

# --- to the same bits ---


class Counting(nn.Module):
    """A model with all that a state_dict leaves out: counters, tensors, random numbers, a buffer that is not kept."""

    running: Tensor
    passing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 2)
        self.second.weight = nn.Parameter(self.second.weight)
        self.first_own = torch.Generator().manual_seed(1)
        self.second_own = np.random.Generator(np.random.MT19937(2))
        self.calls = 0
        self.memory: dict[str, Any] = {"mean": torch.zeros(5), "seen": [0], "last": deque([0.0], maxlen=3)}
        self.sums, self.signs = np.zeros(5), {1}
        self.register_buffer("passing", torch.zeros(5), persistent=False)
        self.running = torch.zeros(5)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            x = x + 0.1 * torch.randn(x.shape, generator=self.first_own) + 0.1 * float(self.second_own.normal())
            self.passing = 0.9 * self.passing + x.mean(0)
            self.running.mul_(0.5).add_(x.mean(0))
            self.memory["mean"] = self.memory["mean"] + 0.1 * x.mean(0)
            self.memory["seen"][0] += len(x)
            self.memory["last"].append(float(x.mean()))
            self.sums += x.mean(0).numpy()
            self.signs.add(int(x.sum()))
        shift = self.passing + self.running + self.memory["mean"] + sum(self.memory["last"]) + len(self.signs)
        shift = shift + torch.from_numpy(self.sums).float()
        output: Tensor = self.second(torch.tanh(self.first(x) + shift / (1 + self.calls)))
        return output


class Tied(nn.Module):
    """Two layers that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(torch.relu(self.second(torch.relu(self.first(x)))))
        return output


class Exact(torch.optim.Optimizer):
    """Plain descent with a running sum in float64, which torch casts to float32 when it loads a state."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.05})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                state["sum"] = 0.9 * state.get("sum", torch.zeros_like(weight, dtype=torch.float64)) + weight.grad
                weight.sub_((group["lr"] * state["sum"]).float())


@thalweg.objective
def noisy(model: nn.Module, batch: Any, moment: thalweg.Moment) -> Tensor:
    """Draws from torch's stream, NumPy's and its own; Python's is drawn from by the type checks of these tests."""
    x, y = batch
    drawn = torch.randn(x.shape, generator=moment.generator) + torch.rand_like(x) + np.random.rand()
    return nn.functional.cross_entropy(model(x + 0.1 * drawn), y, reduction="none")


def halves(step: int, steps: int | None) -> float:
    return 0.5 ** (step / 10)


RECIPES: dict[str, dict[str, Any]] = {
    "momentum": {},
    "adam": {"optimizer": partial(torch.optim.AdamW, lr=0.01)},
    "step schedule": {"schedule": partial(StepLR, step_size=1, gamma=0.5)},
    "one cycle": {"schedule": per_step(partial(OneCycleLR, max_lr=0.1, total_steps=24))},
    "plateau": {"schedule": partial(ReduceLROnPlateau, patience=0, factor=0.1)},
    "a function": {"schedule": halves},
    "own values": {"model": Counting},
    "tied": {"model": Tied},
    "float64 sums": {"optimizer": Exact},
    "every stream": {"objective": noisy},
    "penalty and stopping": {"penalty": L2(0.01), "stopping": EarlyStopping(1)},
    "no validation": {"data": Splits(train=examples())},
    "clipped windows": {"clip_norm": 0.3, "accumulate": 2},
    "exponential average": {"average": EMA(0.9)},
    "late average": {"average": SWA(0.3), "optimizer": partial(torch.optim.Adam, lr=0.01)},
    "bfloat16": {"precision": "bfloat16"},
    "one batch": {"batch_size": None, "epochs": 20},
}


@pytest.mark.parametrize("step", [1, 9, 12])
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_goes_on_to_the_same_bits(name: str, step: int, tmp_path: Path) -> None:
    """Interrupted at the first step, within an epoch, and at its end."""
    chosen = recipe(**RECIPES[name])
    whole = thalweg.train(chosen)
    torch.rand(7)  # the caller's own streams have no part in it
    path = broken_off(chosen, tmp_path, step)
    again = thalweg.resume(path, chosen)
    assert bits(again) == bits(whole)
    assert not [item.name for item in (path / "checkpoints").iterdir() if item.name.startswith("epoch")]


def test_a_run_may_be_broken_off_again_and_again(tmp_path: Path) -> None:
    chosen = recipe(model=Counting, optimizer=partial(torch.optim.Adam, lr=0.01))
    path = broken_off(chosen, tmp_path, 4)
    for step in (5, 6, 7, 13, 23):
        assert thalweg.resume(path, chosen, progress=interrupting(step)).status is Outcome.INTERRUPTED
    assert bits(thalweg.resume(path, chosen)) == bits(thalweg.train(chosen))


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 0), (0, 2)])
def test_augmentation_belongs_to_the_example_whoever_fetches_it(before: int, after: int, tmp_path: Path) -> None:
    whole = thalweg.train(recipe(data=loading(0)))
    path = broken_off(recipe(data=loading(before)), tmp_path, 9)
    assert bits(thalweg.resume(path, recipe(data=loading(after)))) == bits(whole)


class OwnStream(Dataset[Any]):
    """Examples with noise from generators of their own, one of them in a transform."""

    def __init__(self) -> None:
        self.x, self.y = examples()
        self.transforms = [partial(OwnStream.jitter, rng=np.random.default_rng(5))]
        self.rng = random.Random(6)

    @staticmethod
    def jitter(x: Tensor, rng: np.random.Generator) -> Tensor:
        return x + 0.3 * float(rng.normal())

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.transforms[0](self.x[index]) * (1 + 0.1 * self.rng.random()), self.y[index]


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 0)])
def test_generators_that_a_data_set_keeps_belong_to_the_example_too(before: int, after: int, tmp_path: Path) -> None:
    def loading(workers: int) -> Splits:
        return Splits(train=DataLoader(OwnStream(), batch_size=11, shuffle=True, num_workers=workers))

    whole = thalweg.train(recipe(data=loading(0)))
    path = broken_off(recipe(data=loading(before)), tmp_path, 9)
    assert bits(thalweg.resume(path, recipe(data=loading(after)))) == bits(whole)
    assert whole.history[0]["train_loss"] != thalweg.train(recipe()).history[0]["train_loss"]


class Queue:
    """What cannot be read back from a checkpoint: an object of the user's own."""

    def __init__(self) -> None:
        self.items: list[float] = []


class Queueing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.queue, self.other = nn.Linear(5, 2), Queue(), Queue()

    def forward(self, x: Tensor) -> Tensor:
        self.queue.items.append(float(x.mean()))
        output: Tensor = self.layer(x)
        return output


def test_what_a_model_keeps_in_objects_of_its_own_is_said_to_begin_anew(tmp_path: Path) -> None:
    chosen = recipe(model=Queueing)
    run = thalweg.resume(broken_off(chosen, tmp_path, 9), chosen)
    (said,) = [notice for notice in run.notices if "begins anew" in notice]
    assert said.startswith("What the model keeps in queue changes while it trains and is in no checkpoint")


def test_what_a_data_set_counts_is_said_to_begin_anew(tmp_path: Path) -> None:
    class Curriculum(Dataset[Any]):
        def __init__(self) -> None:
            self.read, self.scale = 0, 2.0

        def __len__(self) -> int:
            return N

        def __getitem__(self, index: int) -> Any:
            self.read += 1
            return self.scale * torch.ones(5) * self.read, index % 2

    path = broken_off(recipe(data=Splits(train=Curriculum())), tmp_path, 9)
    run = thalweg.resume(path, recipe(data=Splits(train=Curriculum())))
    (said,) = [notice for notice in run.notices if "begins anew" in notice]
    assert said.startswith("What the data set keeps in read changes while it trains and is in no checkpoint")


def test_augmentation_differs_from_epoch_to_epoch_and_not_by_batch_size() -> None:
    seen: list[list[Tensor]] = []

    @thalweg.objective
    def look(model: nn.Module, batch: Any, moment: thalweg.Moment) -> Tensor:
        if moment.training:
            seen[-1].append(batch[0])
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    for size in (11, 22):
        seen.append([])
        thalweg.train(recipe(data=Splits(train=Augmented()), objective=look, batch_size=size, epochs=2))
    small, large = (torch.cat(batches) for batches in seen)
    assert torch.equal(small, large)
    first, second = (part[part[:, 0].argsort()] for part in small.split(N))
    assert not torch.equal(first, second)


def test_the_callers_streams_are_left_alone(tmp_path: Path) -> None:
    chosen = recipe(data=loading(0))
    path = broken_off(chosen, tmp_path, 9)
    torch.manual_seed(1), np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1), np.random.seed(1)
    thalweg.resume(path, chosen)
    assert (torch.rand(1), np.random.rand()) == expected  # Python's is drawn from by the type checks of these tests


def test_a_users_own_loop_goes_on_from_its_last_whole_epoch(tmp_path: Path) -> None:
    def loop(model: nn.Module, optimizer: Any, batches: Any, objective: Any) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
            optimizer.step()

    chosen = recipe(loop=loop)
    whole = thalweg.train(chosen)
    calls: list[int] = []

    def interrupt(epoch: int, step: int, row: Any) -> None:
        calls.append(step)
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)

    run = thalweg.train(chosen, out=tmp_path, progress=interrupt)
    assert run.status is Outcome.INTERRUPTED
    assert bits(thalweg.resume(str(run.path), chosen)) == bits(whole)


class Remembering(nn.Module):
    """Tensors that forward changes, in one of the ways in which people write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer, self.way = nn.Linear(5, 2), way
        self.mean, self.long, self.view = torch.zeros(5), [torch.zeros(2000)], self.layer.weight.data

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            new = x.detach().mean(0)
            if self.way == "assigned":
                self.mean = 0.9 * self.mean + new
            elif self.way == "data":
                self.mean.data.mul_(0.9).add_(new)
            elif self.way == "numpy":
                np.add(self.mean.numpy(), new.numpy(), out=self.mean.numpy())
            else:
                self.long[0][500:505] += new
        output: Tensor = self.layer(x + self.mean + self.long[0][500:505] + 0.01 * self.view.sum())
        return output


@pytest.mark.parametrize("way", ["assigned", "data", "numpy", "in a list"])
def test_every_tensor_that_forward_changes_is_kept_at_every_step(way: str) -> None:
    """Step by step: a freed tensor's place may be taken by the next, and not every way of writing leaves a mark."""
    training, other = (prepare(recipe(model=partial(Remembering, way)), torch.device("cpu")) for _ in range(2))
    for _ in range(20):
        training.model.train()(torch.randn(4, 5))
        put_back(other, unpacked(packed(taken(training))))
        for one, again in ((training.model.mean, other.model.mean), (training.model.long[0], other.model.long[0])):
            assert torch.equal(one, again)
    assert other.model.view.data_ptr() == other.model.layer.weight.data_ptr()  # what was shared stays shared


@pytest.mark.parametrize("way", ["assigned", "data", "numpy", "in a list"])
def test_tensors_that_forward_changes_go_on_to_the_same_bits(way: str, tmp_path: Path) -> None:
    chosen = recipe(model=partial(Remembering, way))
    whole = bits(thalweg.train(chosen))
    for step in (1, 9, 14, 20):
        assert bits(thalweg.resume(broken_off(chosen, tmp_path / str(step), step), chosen)) == whole
