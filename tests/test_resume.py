"""Runs that are interrupted, killed, damaged or locked out go on to the same bits, or say why they cannot."""

import json
import os
import random
import shutil
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resuming import N, bits, broken_off, dense_saving, examples, interrupting, recipe
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset

import thalweg
from thalweg import EarlyStopping, Outcome, Recipe, Run, RunError, Splits
from thalweg.core.lock import is_locked
from thalweg.loss import L2
from thalweg.optim import EMA, SWA, per_step
from thalweg.training import saving
from thalweg.training.build import prepare
from thalweg.training.checkpoint import Checkpoints, packed, unpacked
from thalweg.training.state import put_back, taken

STEPS = 6  # batches of 11: six an epoch


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


# --- killed ---


def in_child(work: Callable[[], Any]) -> int:
    """Run something in a process of its own that shares nothing but the files; its pid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, for a process with threads
        pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def only_run(out: Path) -> Path | None:
    return next((file.parent for file in out.glob("*/recipe.json")), None)


def finished(out: Path, chosen: Recipe) -> Run:
    """What a user does after a kill: resume, or, where nothing was kept, give the same command again."""
    path = only_run(out)
    if path is not None:
        return thalweg.resume(path, chosen)
    return thalweg.train(chosen, out=out / "again")


def killed_at(operation: int, chosen: Recipe, out: Path) -> int:
    """Train in a child that dies by SIGKILL before a file-system operation of that number; how many it has done."""
    counter = out / "operations"

    def work() -> None:
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            if done == operation:
                os.kill(os.getpid(), signal.SIGKILL)

        def hook(event: str, arguments: Any) -> None:
            touches = event in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod")
            if touches and str(arguments[0]).startswith(str(out)):
                count()

        synchronize = os.fsync

        def fsync(descriptor: int) -> None:
            count()
            synchronize(descriptor)
            count()

        os.fsync = fsync
        sys.addaudithook(hook)
        thalweg.train(chosen, out=out)
        counter.with_name(f"operations-{done}").touch()

    code = ended(in_child(work))
    assert code in (0, -signal.SIGKILL)
    made = next(out.glob("operations-*"), None)
    return int(made.name.partition("-")[2]) if made is not None else 0


@pytest.mark.parametrize("temporary", [None, "/dev/shm"])
def test_a_kill_at_any_operation_of_a_save_loses_nothing(
    temporary: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With temporary files on one file system and on another. Short: every 17th operation; the battery has them all."""
    if temporary is not None:
        monkeypatch.setenv("TMPDIR", temporary)
    dense_saving(monkeypatch)
    chosen = recipe(epochs=2, batch_size=22)
    expected = bits(thalweg.train(chosen))
    (tmp_path / "count").mkdir()
    operations = killed_at(0, chosen, tmp_path / "count")
    assert operations > 100
    stride = 1 if os.environ.get("THALWEG_BATTERY") else 17
    for operation in range(1, operations + 1, stride):
        out = tmp_path / str(operation)
        out.mkdir()
        killed_at(operation, chosen, out)
        path = only_run(out)
        if path is not None and json.loads((path / "run.json").read_bytes())["status"] == "FINISHED":
            assert bits(thalweg.load_run(path, chosen)) == expected
            continue
        assert bits(finished(out, chosen)) == expected, operation
        shutil.rmtree(out)


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.battery)])
def test_a_kill_at_a_random_moment_loses_nothing(kills: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Augmented data, dropout, batch norm, momentum; killed by SIGKILL up to three times on the way."""
    monkeypatch.setattr(saving, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(saving, "LEAST_SECONDS", 0.02)
    chosen = recipe(data=loading(0), epochs=30)
    expected = bits(thalweg.train(chosen))
    moments = random.Random(kills)
    killed = 0
    for number in range(kills):
        out = tmp_path / str(number)
        out.mkdir()
        for _ in range(moments.randint(1, 3)):
            path = only_run(out)
            work = partial(thalweg.train, chosen, out=out) if path is None else partial(thalweg.resume, path, chosen)
            pid = in_child(work)
            signal.sigtimedwait((), moments.uniform(0.01, 0.6))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            code = ended(pid)
            killed += code == -signal.SIGKILL
            if code == 0:
                break
        path = only_run(out)
        if path is not None and json.loads((path / "run.json").read_bytes())["status"] == "FINISHED":
            again = thalweg.load_run(path, chosen)
        else:
            again = finished(out, chosen)
        assert bits(again) == expected, number
        shutil.rmtree(out)
    assert killed >= kills / 2


def test_workers_of_a_killed_run_do_not_hold_its_folder(tmp_path: Path) -> None:
    chosen = recipe(data=loading(2), epochs=2)
    pid = in_child(
        lambda: thalweg.train(
            chosen, out=tmp_path, progress=lambda epoch, step, row: os.kill(os.getpid(), 9) if step == 9 else None
        )
    )
    assert ended(pid) == -signal.SIGKILL
    path = only_run(tmp_path)
    assert path is not None
    assert bits(thalweg.resume(path, chosen)) == bits(thalweg.train(chosen))


def test_a_run_that_is_killed_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    chosen = recipe()
    pid = in_child(lambda: thalweg.train(chosen, out=tmp_path, progress=lambda *_: os.kill(os.getpid(), 9)))
    assert ended(pid) == -signal.SIGKILL
    path = only_run(tmp_path)
    assert path is not None
    with pytest.raises(RunError, match="was killed before it ended. Go on with it: thalweg resume"):
        thalweg.load_run(path, chosen)
    assert bits(thalweg.resume(path, chosen)) == bits(thalweg.train(chosen))


# --- damaged ---


def damaged(kind: str, file: Path) -> None:
    data = file.read_bytes()
    if kind == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "flipped":
        middle = len(data) // 2
        file.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    else:
        file.unlink()


@pytest.mark.parametrize("ending", ["json", "state", "safetensors"])
@pytest.mark.parametrize("kind", ["truncated", "empty", "flipped", "missing"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(kind: str, ending: str, tmp_path: Path) -> None:
    if (kind, ending) == ("missing", "json"):
        return  # a checkpoint without its manifest is none
    chosen = recipe()
    path = broken_off(chosen, tmp_path, 15)
    newest = Checkpoints(path / "checkpoints").places()[0]
    assert newest == (3, 3)
    name = f"epoch-0003-batch-000003.{ending}"
    damaged(kind, path / "checkpoints" / name)
    again = thalweg.resume(path, chosen)
    assert bits(again) == bits(thalweg.train(chosen))
    said = [notice for notice in again.notices if "The checkpoint before it is used." in notice]
    assert [message.startswith("epoch-0003-batch-000003.") for message in said] == [True], again.notices


def test_without_the_best_weights_the_run_goes_on_and_says_so(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 15)
    for file in (path / "checkpoints").glob("best-*"):
        damaged("flipped", file)
    run = thalweg.resume(path, recipe())
    whole = thalweg.train(recipe())
    assert bits(run)[0] == bits(whole)[0]
    assert run.best_epoch >= 3
    assert any("the best until then, are lost: the best is looked for among the epochs" in said for said in run.notices)


def test_a_folder_at_the_name_of_a_checkpoints_file_is_left_alone(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 15)
    newest = max((path / "checkpoints").glob("*.state"))
    newest.unlink()
    (newest / "theirs").mkdir(parents=True)
    run = thalweg.resume(path, recipe())
    assert bits(run) == bits(thalweg.train(recipe()))
    assert (newest / "theirs").is_dir()


def test_an_interrupt_of_the_progress_leaves_a_checkpoint_of_its_step(tmp_path: Path) -> None:
    def interrupt(epoch: int, step: int, row: Any) -> None:
        if step == 4:
            raise KeyboardInterrupt

    run = thalweg.train(recipe(), out=tmp_path, progress=interrupt)
    assert run.path is not None
    assert Checkpoints(run.path / "checkpoints").places() == [(1, 4)]
    assert bits(thalweg.resume(run.path, recipe())) == bits(thalweg.train(recipe()))


def test_where_every_checkpoint_is_damaged_each_is_named(tmp_path: Path) -> None:
    chosen = recipe()
    path = broken_off(chosen, tmp_path, 15)
    for file in (path / "checkpoints").glob("*.state"):
        damaged("flipped", file)
    before = {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(RunError) as caught:
        thalweg.resume(path, chosen)
    assert "No checkpoint in" in str(caught.value)
    assert "epoch-0003-batch-000003.state is damaged" in str(caught.value)
    assert str(caught.value).count("is damaged") == 2
    assert {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_state_is_never_unpickled(tmp_path: Path) -> None:
    """A file with a true manifest and code inside: refused, whatever the environment says of torch.load."""
    from thalweg.training.checkpoint import framed

    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"step": Evil()}, tmp_path / "evil")
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.write((1, 1), b"", None, (tmp_path / "evil").read_bytes())
    assert framed(b"")
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with pytest.raises(RunError, match="cannot be read"):
            checkpoints.newest()
    finally:
        del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]
    assert not (tmp_path / "owned").exists()


def test_what_cannot_be_read_back_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    class Peculiar(torch.optim.SGD):
        def state_dict(self) -> dict[str, Any]:
            return super().state_dict() | {"path": Path("here")}

    run = thalweg.train(recipe(optimizer=partial(Peculiar, lr=0.1)), out=tmp_path)
    assert run.status is Outcome.FINISHED
    assert any("this run cannot be resumed: its state holds what cannot be read back" in said for said in run.notices)


# --- the folder ---


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    chosen = recipe(epochs=100000)
    pid = in_child(lambda: thalweg.train(chosen, out=tmp_path))
    try:
        while (path := only_run(tmp_path)) is None or not is_locked(path):
            signal.sigtimedwait((), 0.05)
        with pytest.raises(RunError, match=f"is being trained by process {pid} on"):
            thalweg.resume(path, chosen)
        with pytest.raises(RunError, match="is still going on"):
            thalweg.load_run(path, chosen)
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    assert not is_locked(path)  # a dead process holds nothing
    assert thalweg.resume(path, chosen, progress=interrupting(STEPS)).status is Outcome.INTERRUPTED


def test_links_at_our_names_are_replaced_and_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    path = broken_off(recipe(), tmp_path / "out", 9)
    for name in ("run.json", "metrics.jsonl"):
        (path / name).rename(path / f"{name}.kept")
        (path / name).symlink_to(theirs) if name == "metrics.jsonl" else (path / f"{name}.kept").rename(path / name)
    for name in ("last.safetensors", "best.safetensors", "best-0001.safetensors", "best-0002.safetensors"):
        (path / "checkpoints" / name).unlink(missing_ok=True)
        (path / "checkpoints" / name).symlink_to(theirs)
    with suppress(RunError):  # a link instead of the best weights is a damaged checkpoint
        thalweg.resume(path, recipe())
    assert theirs.read_text() == "precious"


def test_a_link_in_place_of_the_checkpoints_is_refused(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path / "out", 9)
    (path / "checkpoints").rename(tmp_path / "elsewhere")
    (path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="checkpoints is a link, which a run does not follow. Put the folder itself"):
        thalweg.resume(path, recipe())


def test_a_folder_that_is_refused_is_let_go(tmp_path: Path) -> None:
    run = thalweg.train(recipe(), out=tmp_path)
    assert run.path is not None
    with pytest.raises(RunError, match="has ended as FINISHED"):
        thalweg.resume(run.path, recipe())
    assert not is_locked(run.path)


def test_too_little_room_is_said_before_the_first_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    small = os.statvfs_result((*room[:4], 0, *room[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    steps: list[int] = []
    with pytest.raises(RunError, match="has 0 MB left, but the checkpoints of this run take up to"):
        thalweg.train(recipe(), out=tmp_path, progress=lambda epoch, step, row: steps.append(step))
    assert not steps


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import resource

    dense_saving(monkeypatch)
    chosen = recipe(epochs=2)

    def fills(epoch: int, step: int, row: Any) -> None:
        if step == 8:
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY))

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            thalweg.train(chosen, out=tmp_path, progress=fills)
        except OSError as error:
            os._exit(7 if "cannot be written: File too large. Allow larger files" in str(error) else 8)

    assert ended(in_child(work)) == 7
    path = only_run(tmp_path)
    assert path is not None
    assert bits(thalweg.resume(path, chosen)) == bits(thalweg.train(chosen))
