"""Runs in worker processes are those of this process on one thread, whatever happens to the workers."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg import EarlyStopping, Outcome, Recipe, Run, Splits
from thalweg.core.errors import RecipeError, RunError
from thalweg.training import workers
from thalweg.training.parcels import error_of, errors_of
from thalweg.training.shelf import Shelf, Unsendable, held, pack
from thalweg.training.workers import pays, train_apart, trained_in_processes

X = torch.randn(90, 1, 7, 7, generator=torch.Generator().manual_seed(0))
Y = (X.mean((1, 2, 3)) > 0).long()
DATA = Splits(train=(X[:70], Y[:70]), validation=(X[70:], Y[70:]))


class Net(nn.Module):
    """A convolution, dropout and batch norm."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.filters = nn.Conv2d(1, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(width * 25, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.dropout(self.norm(self.filters(x)).relu().flatten(1)))
        return output


class Locked(Net):
    """A model that no pickle takes."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Odd(Exception):
    """An error whose constructor takes something else than it keeps."""

    def __init__(self, place: int, why: str) -> None:
        super().__init__(f"{why} at {place}")
        self.place = place


class Holding(ValueError):
    """An error that holds what no pickle takes."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.lock = threading.Lock()


def recipe(**changes: Any) -> Recipe:
    made = Recipe(data=DATA, model=lambda: Net(5), objective=nn.CrossEntropyLoss(), batch_size=17, epochs=2)
    return made.but(**changes)


def seeds(count: int, **changes: Any) -> list[Recipe]:
    return [recipe(seed=k, **changes) for k in range(count)]


def in_two(recipes: list[Recipe]) -> list[Run]:
    return list(trained_in_processes(recipes, workers=2))


def without_seconds(run: Run) -> str:
    return repr([{name: value for name, value in row.items() if name != "seconds"} for row in run.history])


def assert_same(run: Run, other: Run) -> None:
    assert (run.status, run.best_epoch, run.notices) == (other.status, other.best_epoch, other.notices)
    assert without_seconds(run) == without_seconds(other)
    assert run.recipe is other.recipe
    assert (run.model is run.last) == (other.model is other.last)
    for one, two in ((run.model, other.model), (run.last, other.last)):
        assert type(one) is type(two)
        assert not any(module.training for module in one.modules())
        states = one.state_dict(), two.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(
            one.numpy().tobytes() == two.numpy().tobytes() for one, two in zip(*map(dict.values, states), strict=True)
        )


def pids(runs: list[Run]) -> list[set[int]]:
    return [{row["metrics"]["pid"] for row in run.history} for run in runs]


PID = {"pid": lambda output, target: float(os.getpid())}


# --- the same runs ----------------------------------------------------------------------------------------------------


def test_runs_are_those_of_this_process_to_the_bit() -> None:
    share = 0.5
    recipes = [
        *seeds(2, metrics={"right": lambda output, target: (output.argmax(1) == target).float().mean()}),
        recipe(
            optimizer=lambda weights: torch.optim.SGD(weights, lr=share, momentum=0.9),
            schedule=lambda step, steps: 1 - step / steps,
            penalty=lambda model: share * model.out.weight.square().sum(),
            stopping=EarlyStopping(1),
            epochs=4,
        ),
        recipe(optimizer=lambda weights: torch.optim.SGD(weights, lr=1e30)),
        recipe(model=Locked, epochs=3),
        recipe(batch_size=1000),
    ]
    for run, other in zip(in_two(recipes), thalweg.train_many(recipes, stacked=False), strict=True):
        assert_same(run, other)


def test_what_a_run_depends_on_beside_its_recipe_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THALWEG_TEST_FACTOR", "3")
    torch.set_default_dtype(torch.float64)
    try:
        metrics = {
            "here": lambda output, target: float(Path.cwd() == tmp_path),
            "factor": lambda output, target: float(os.environ["THALWEG_TEST_FACTOR"]),
            "bytes": lambda output, target: float(output.element_size()),
            "threads": lambda output, target: float(torch.get_num_threads()),
        }
        (run,) = in_two([recipe(data=Splits(train=(X.double(), Y)), metrics=metrics).but(judge=None)])
        (run,) = in_two([recipe(data=Splits(train=(X.double(), Y), validation=(X.double(), Y)), metrics=metrics)])
    finally:
        torch.set_default_dtype(torch.float32)
    assert run.history[0]["metrics"] == {"here": 1.0, "factor": 3.0, "bytes": 8.0, "threads": 1.0}


def test_the_same_memory_is_written_once_and_mapped_as_it_was() -> None:
    base = torch.randn(60_001)
    tied = nn.Parameter(torch.randn(200, 300))
    array = np.asfortranarray(np.arange(60_000, dtype=np.float64).reshape(200, 300))
    values = {"view": base[1:30_001], "turned": base[1:].reshape(200, 300).T, "tied": [tied, tied], "array": array}
    with Shelf() as shelf:
        packed = [pack({**values, "number": k}, shelf) for k in range(3)]
        files = [file for folder in shelf.folders for file in Path(folder).iterdir()]
        assert len(files) == 3
        assert max(map(len, packed)) < 3_000
        again, other = cloudpickle.loads(packed[0]), cloudpickle.loads(packed[1])
        assert torch.equal(again["view"], values["view"])
        assert torch.equal(again["turned"], values["turned"])
        assert again["turned"].stride() == values["turned"].stride()
        assert again["view"].data_ptr() % 64 == values["view"].data_ptr() % 64
        assert again["tied"][0] is again["tied"][1]
        assert isinstance(again["tied"][0], nn.Parameter)
        assert np.array_equal(again["array"], array)
        assert again["array"].strides == array.strides
        again["view"][0] = 7.0  # seen by what shares its memory, and by nobody else
        assert again["turned"][0, 0] == 7.0
        assert other["view"][0] == base[1] != 7.0
    assert not any(file.exists() for file in files)


def test_a_small_part_of_a_large_memory_goes_alone() -> None:
    large = torch.randn(1_000_000)
    with Shelf() as shelf:
        pack(large[:20_000], shelf)
        (file,) = (file for folder in shelf.folders for file in Path(folder).iterdir())
        assert file.stat().st_size < 100_000


# --- what goes wrong --------------------------------------------------------------------------------------------------


def raising(kind: str) -> Any:
    def objective(output: Tensor, target: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return output.sum()
        if kind == "odd":
            raise Odd(3, "no label")
        if kind == "holding":
            raise Holding("no key")

        class Local(Exception):
            pass

        raise Local("nowhere") from Odd(5, "the cause")

    return objective


def test_errors_come_back_and_the_others_finish() -> None:
    def at_once() -> nn.Module:
        raise KeyError("no width")

    kinds = ["odd", "holding", "local"]
    recipes = [*(recipe(objective=raising(kind)) for kind in kinds), recipe(model=at_once), recipe(batch_size=40)]
    odd, holding, local, early, fine = in_two(recipes)
    assert [run.status.name for run in (odd, holding, local, early, fine)] == ["FAILED"] * 4 + ["FINISHED"]
    assert isinstance(odd.error, Odd)
    assert (str(odd.error), odd.error.place) == ("no label at 3", 3)
    assert "in objective" in "".join(odd.error.__notes__)
    assert isinstance(holding.error, Holding)
    assert str(holding.error) == "no key"
    assert type(local.error).__name__ == "Local"
    assert isinstance(local.error.__cause__, Odd)
    assert isinstance(early.error, KeyError)
    with pytest.raises(RunError, match="This run has no model"):
        _ = early.model


def test_an_error_that_cannot_be_sent_at_all_is_said() -> None:
    class Unnamed(Exception):
        def __init__(self, lock: Any) -> None:
            super().__init__(lock)

        def __str__(self) -> str:
            return f"held by {type(self.args[0]).__name__}"

    error = error_of(errors_of(Unnamed(threading.Lock())))
    assert isinstance(error, RunError)
    assert str(error) == "Unnamed: held by lock"


def dying(marks: Path, most: int) -> Any:
    """A stopping rule that kills its process at the end of an epoch, `most` times at most."""

    def rule(history: list[dict[str, Any]]) -> bool:
        deaths = marks.read_text().count("x") if marks.exists() else 0
        if deaths < most:
            marks.write_text("x" * (deaths + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    return rule


def counting(marks: Path) -> Any:
    def rule(history: list[dict[str, Any]]) -> bool:
        with marks.open("a") as opened:
            opened.write("x")
        return False

    return rule


def test_a_worker_that_dies_is_tried_once_more(tmp_path: Path) -> None:
    counted = [tmp_path / f"counted-{k}" for k in range(3)]
    twice, once = tmp_path / "twice", tmp_path / "once"
    recipes = [
        recipe(stopping=counting(counted[0]), epochs=1),
        recipe(stopping=counting(counted[1]), epochs=1),
        recipe(stopping=dying(twice, 99)),
        recipe(stopping=dying(once, 1)),
        recipe(stopping=counting(counted[2]), epochs=1),
    ]
    first, second, dead, saved, last = in_two(recipes)
    assert [run.status.name for run in (first, second, saved, last)] == ["FINISHED"] * 4
    assert dead.status is Outcome.FAILED
    assert isinstance(dead.error, RunError)
    assert "died (SIGKILL(-9)), and once more when it was the only one" in str(dead.error)
    assert "take a smaller batch" in str(dead.error)
    assert twice.read_text() == "xx"
    assert counted[0].read_text() == "x"  # what had finished is not trained again
    assert_same(saved, thalweg.train_many([recipes[3]], stacked=False)[0])


# --- what stays here --------------------------------------------------------------------------------------------------


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, logger="thalweg"):
        yield caplog


def test_what_a_run_does_to_the_caller_is_not_lost(log: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def right(output: Tensor, target: Tensor) -> float:
        seen.append(len(target))
        return 0.0

    runs = in_two(seeds(2, metrics={"right": right}, epochs=3))
    alone: list[int] = []
    for each in seeds(2, metrics={"right": lambda output, target: float(alone.append(len(target)) is None)}, epochs=3):
        thalweg.train(each)
    assert seen == alone
    assert all(run.status is Outcome.FINISHED for run in runs)
    assert "training changes what it holds, which the caller would miss" in log.text


def test_what_cannot_be_sent_is_trained_here(log: pytest.LogCaptureFixture) -> None:
    lock = threading.Lock()

    def locked(output: Tensor, target: Tensor) -> float:
        with lock:
            return float(os.getpid())

    here, there = pids(in_two([recipe(metrics={"pid": locked}), recipe(metrics=PID)]))
    assert here == {float(os.getpid())} != there
    assert "not in a worker: it cannot be sent to one: TypeError: cannot pickle '_thread.lock' object" in log.text


def test_what_stays_for_a_reason() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=7, num_workers=1)
    three = torch.get_num_threads()
    assert "own loop" in str(workers._stays(recipe(loop=lambda *given: None), 1, "cpu"))
    assert "processes of its own" in str(workers._stays(recipe(data=Splits(train=loader)), 1, "cpu"))
    assert "no recipe" in str(workers._stays("digits", 1, "cpu"))
    assert workers._stays(recipe(), 2**30, "cpu") is None
    torch.set_num_threads(3)
    try:
        assert "3 threads" in str(workers._stays(recipe(), 2**30, "cpu"))
        assert workers._stays(recipe(), 100, "cpu") is None
    finally:
        torch.set_num_threads(three)
    with pytest.raises(Unsendable, match="a tensor on meta"), Shelf() as shelf:
        pack(torch.ones(3, device="meta"), shelf)


def test_training_changes_nothing_that_most_recipes_hold() -> None:
    generator = np.random.default_rng(0)
    plain, drawing = recipe(), recipe(metrics={"noise": lambda output, target: float(generator.random())})
    for each, changed in ((plain, False), (drawing, True)):
        before = held(each)
        thalweg.train(each)
        assert (held(each) != before) is changed


# --- where it pays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "seconds", "cores", "start", "expected"),
    [
        (9, 3.0, 2, 2.0, True),
        (9, 0.5, 2, 2.0, False),
        (9, 0.5, 2, 0.1, True),  # workers that wait already
        (9, 3.0, 1, 2.0, False),
        (1, 60.0, 8, 2.0, False),
        (1.5, 60.0, 2, 2.0, True),  # the half that is left of a run here
        (63, 0.06, 64, 2.0, True),
    ],
)
def test_processes_pay_when_they_save_more_than_they_take(
    left: float, seconds: float, cores: int, start: float, expected: bool
) -> None:
    assert pays(left, seconds, cores, start) is expected


def test_the_first_run_is_trained_here_and_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = seeds(3, metrics=PID)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (1.0, 1.0, 1.0))
    monkeypatch.setattr(workers, "_start_seconds", lambda: 1000.0)
    assert pids(list(train_apart(recipes, [100] * 3, "cpu"))) == [{float(os.getpid())}] * 3
    monkeypatch.setattr(workers, "_start_seconds", lambda: 0.0)
    first, *others = pids(thalweg.train_many(recipes))
    assert first == {float(os.getpid())}
    assert all(pid != first for pid in others)
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    assert pids(thalweg.train_many(recipes)) == [first] * 3


# --- scripts and interrupts -------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys, threading, torch
from torch import nn
import thalweg
from thalweg.training.workers import trained_in_processes

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(3, width)
    def forward(self, x):
        return scaled(self.layer(x))

def scaled(x):
    return FACTOR * x

FACTOR = 2.0
x = torch.linspace(-1, 1, 30).reshape(10, 3)
recipe = thalweg.Recipe(
    data=thalweg.Splits(train=(x, x), validation=(x, x)), model=lambda: Net(3), objective=nn.MSELoss(), epochs=EPOCHS,
    metrics={"pid": lambda output, target: os.getpid()}, batch_size=5,
    optimizer=lambda weights: torch.optim.Adam(weights, lr=0.01),
)
print("begins", flush=True)
runs = list(trained_in_processes([recipe.but(seed=k) for k in range(3)], workers=2))
print(*(run.status.name for run in runs), all(type(run.model) is Net for run in runs if run.history))
print(*(len(run.history) > 0 for run in runs), any(run.history[0]["metrics"]["pid"] == os.getpid() for run in runs))
"""


def script(epochs: int) -> str:
    return SCRIPT.replace("EPOCHS", str(epochs))


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(
    "way", ["file", *(pytest.param(way, marks=pytest.mark.battery) for way in ("stdin", "namespace"))]
)
def test_scripts_need_no_main_guard(way: str, tmp_path: Path) -> None:
    if way == "file":
        (tmp_path / "script.py").write_text(script(2))
    else:
        text = script(2) if way == "stdin" else f"exec({script(2)!r}, {{'__name__': 'cell'}})"
        (tmp_path / "script.py").write_text(text)
    command = [sys.executable, *(["script.py"] if way != "stdin" else ["-"])]
    with (tmp_path / "script.py").open() as opened:
        done = subprocess.run(
            command, stdin=opened, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=100
        )
    assert done.stderr == ""
    assert done.stdout.split("\n") == ["begins", "FINISHED FINISHED FINISHED True", "True True True False", ""]


@pytest.mark.battery
def test_an_interrupt_ends_the_list_with_the_run_that_it_met(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        + script(1_000_000).replace("lambda output, target: os.getpid()", "noted")
        .replace("FACTOR = 2.0", "FACTOR = 2.0\ndef noted(output, target):\n"
                 "    open(f'pid-{os.getpid()}', 'w').close()\n    return os.getpid()")
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    waited = threading.Event()
    while len(pids_there := list(tmp_path.glob("pid-*"))) < 2 and process.poll() is None:
        waited.wait(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert said.split("\n") == ["begins", "INTERRUPTED True", "True False", ""]
    for file in pids_there:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name.removeprefix("pid-")), 0)


def test_an_interrupt_in_a_worker_ends_the_list() -> None:
    def interrupt(history: list[dict[str, Any]]) -> bool:
        if len(history) == 2:
            signal.raise_signal(signal.SIGINT)
        return False

    runs = in_two([recipe(), recipe(stopping=interrupt, epochs=50), *seeds(2)])
    assert [run.status for run in runs] == [Outcome.FINISHED, Outcome.INTERRUPTED]
    assert 2 <= len(runs[1].history) < 50
    with pytest.raises(RecipeError):
        thalweg.train_many(recipe())  # type: ignore[arg-type]


@pytest.mark.parametrize(("load", "cores"), [(0.1, 4), (1.0, 4), (2.9, 2), (9.0, 1)])
def test_cores_that_others_use_are_not_counted(load: float, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    assert workers.free_cores() == cores
