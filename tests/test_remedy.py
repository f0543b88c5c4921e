"""Remedies, their proof and the circle where something goes otherwise than hoped."""

import json
import math
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import thalweg
from thalweg import Cause, Recipe, Remedy, RunError, Splits
from thalweg.cli import main
from thalweg.diagnosis import Budget, Experiment, Finding, Planned
from thalweg.diagnosis.finding import Arm, Ranked, Score
from thalweg.nn import mlp
from thalweg.remedy import remedies_for
from thalweg.remedy.circle import Circle
from thalweg.remedy.proof import Proof
from thalweg.remedy.round import Round

RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(160, 3))).float()
Y = X.sum(1, keepdim=True) + 0.1 * torch.from_numpy(RANDOM.normal(size=(160, 1))).float()


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=(X[:100], Y[:100]), validation=(X[100:], Y[100:])),
        model=partial(mlp, 3, 1, width=16),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=4,
    )
    return made.but(**changes)


class Failing(nn.Module):
    """A model that raises in its second epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 1), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        if self.calls > 6:
            raise ValueError("the seventh step")
        output: Tensor = self.layer(x)
        return output


@pytest.mark.parametrize(
    ("own", "other", "says"),
    [
        (Failing, partial(mlp, 3, 1), "one of the runs without it"),
        (partial(mlp, 3, 1), Failing, "one of the runs with it"),
    ],
    ids=["without", "with"],
)
def test_a_run_that_fails_is_no_loss_of_a_proof(own: Any, other: Any, says: str) -> None:
    remedy = Remedy("another model", Cause.MODEL_BIAS, lambda chosen: chosen.but(model=other))
    with pytest.raises(RunError, match=f"A run of the proof failed, {says} .another model.: "):
        thalweg.prove(recipe(model=own), remedy)


class Diverging:
    """Adam at a good rate, or where the seed is even at one that blows up at once."""

    def __init__(self, always: bool = False) -> None:
        self.always = always

    def __call__(self, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        even = self.always or torch.initial_seed() % 2 == 0
        return torch.optim.SGD(parameters, lr=1e30 if even else 0.01)


def test_pairs_without_any_finite_loss_have_no_part_in_the_effect() -> None:
    """Both runs of some pairs diverge: no difference of 0 may water the mean down."""
    longer = Remedy("longer", Cause.OPTIMIZATION, lambda chosen: chosen.but(epochs=12))
    proof = thalweg.prove(recipe(optimizer=Diverging(), epochs=2), longer, pairs=8)
    both = [math.isinf(before) and math.isinf(after) for _, before, after in proof.pairs]
    assert 0 < sum(both) < 8
    finite = [before - after for _, before, after in proof.pairs if math.isfinite(before) and math.isfinite(after)]
    assert proof.effect.value == pytest.approx(float(np.mean(finite)))


def test_remedies_of_an_undecided_finding_treat_what_ranks_first() -> None:
    chosen = recipe()
    control = Arm("as it is", (), Score(1.0), (0,), validation=1.0, recipe=chosen)
    better = Arm("better", (), Score(0.5), (0,), validation=0.5, recipe=chosen.but(epochs=9))
    again = Arm("better, on fresh seeds", (), Score(0.1), (1, 2), validation=0.1, recipe=chosen.but(epochs=9))
    asked = Experiment("?", "train loss", control, (better, again), "no", "It does.")
    finding = Finding(Cause.UNDECIDED, "", ranked=(Ranked(Cause.OPTIMIZATION, 0.5, ""),), experiments=(asked,))
    remedy, *_ = remedies_for(finding)
    assert (remedy.name, remedy.cause) == ("better", Cause.OPTIMIZATION)


def test_nothing_is_put_on_top_of_itself() -> None:
    circle = Circle(recipe(), recipe(), thalweg.diagnosis.Budget(), "cpu", lambda stage: None, lambda diary: None)
    noisy, both, restrained, *_ = remedies_for(Finding(Cause.OVERFITTING, ""))
    adopted = Proof(both, "validation loss", (), Score(1.0), 0.01, thalweg.diagnosis.Cost())
    circle.diary.append(Round(Finding(Cause.OVERFITTING, ""), (adopted,), adopted))
    assert both.parts == ("noise on the inputs", "a penalty on the weights")
    assert all(map(circle.has, (noisy, both, restrained)))


class Stream(IterableDataset[Any]):
    """Test data that only come one after another."""

    def __iter__(self) -> Iterator[Any]:
        yield from zip(X[100:], Y[100:], strict=True)


@pytest.mark.battery
def test_a_stream_of_test_data_costs_no_budget_for_nothing(caplog: pytest.LogCaptureFixture) -> None:
    data = Splits(train=(X[:100], Y[:100]), validation=(X[100:], Y[100:]), test=DataLoader(Stream(), batch_size=16))
    result = thalweg.improve(recipe(data=data, epochs=30), rounds=1, budget=3)
    assert result.judged_on == "the validation data, by which it was also chosen"
    assert result.after["loss"][0] < 1
    assert "The test split is a stream, which the diagnosis reads whole: no half of it is left" in caplog.text


def test_a_closing_run_that_fails_is_an_error_and_the_diary_is_kept() -> None:
    kept: list[tuple[Round, ...]] = []

    def settle(chosen: Recipe) -> Recipe:
        return chosen.but(model=Failing)

    with pytest.raises(ValueError, match="the seventh step"):
        thalweg.improve(recipe(epochs=30), rounds=1, budget=3, keep=kept.append, settle=settle)
    assert kept[-1][0].finding.cause is not None


@pytest.mark.parametrize(
    ("given", "planned"),
    [("90s", Budget(20.0, 90.0)), ("7", Budget(7.0)), (Budget(50.0, 3.0), Budget(20.0, 3.0))],
    ids=["time", "trainings", "both"],
)
def test_a_plan_of_improvement_keeps_trainings_and_time(
    given: Any, planned: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Budget] = []

    def plan(chosen: Recipe, device: str, budget: Budget) -> list[Planned]:
        asked.append(budget)
        return [Planned("?", "as it is", 1.0, None)]

    monkeypatch.setattr(sys.modules["thalweg.remedy.improve"], "plan", plan)
    thalweg.remedy.plan_of_improvement(recipe(), "cpu", given)
    assert asked == [planned]


def test_the_command_says_how_a_page_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "diagnose",
        "iris",
        "--set",
        "epochs=5",
        "--budget",
        "3",
        "--device",
        "cpu",
        "--seed",
        "4",
        "--json",
        "--quiet",
    ]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == "thalweg diagnose iris --set epochs=5 --seed 4 --device cpu --budget 3"


@pytest.mark.battery
def test_the_command_finds_its_run_and_its_folder_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "iris", "--set", "epochs=1", "--out", "mine", "--quiet"]) == 0
    (first,) = Path("mine").iterdir()
    capsys.readouterr()
    options = ["--out", "mine", "--budget", "1", "--fail-if", "status=DIVERGED", "--fail-if", "cause=MISMATCH"]
    assert main(["diagnose", "last", *options, "--json", "--quiet"]) == 0
    command = json.loads(capsys.readouterr().out)["command"]
    assert command == (
        f"thalweg diagnose {first.name} --out mine --budget 1 --fail-if status=DIVERGED --fail-if cause=MISMATCH"
    )
    assert main([*shlex.split(command)[1:], "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["command"] == command


def of_the_run(name: str) -> Any:
    """A file of the one run there is."""
    (file,) = Path("runs").glob(f"*/{name}")
    return json.loads(file.read_text())


@pytest.mark.parametrize("trouble", [ValueError("no room"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_what_comes_after_the_circle_does_not_undo_its_end(
    trouble: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def conclude(run: Any, device: str) -> None:
        raise trouble

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(thalweg.recipes, "conclude", conclude)
    assert main(["improve", "iris", "--set", "epochs=2", "--budget", "1", "--quiet"]) in (1, 130)
    diary = of_the_run("diary.json")
    assert diary["ended"] != "it was interrupted"
    assert diary["start"]["test"]
    assert diary["end"]["test"]
    assert "Traceback" in capsys.readouterr().err or isinstance(trouble, KeyboardInterrupt)


def test_an_interrupt_after_the_closing_run_keeps_its_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(run: Any, split: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_module("thalweg.recipes.predict"), "scores_on", scored)
    assert main(["improve", "iris", "--set", "epochs=2", "--budget", "1", "--quiet"]) == 130
    (history,) = Path("runs").glob("*/metrics.jsonl")
    assert len(history.read_text().splitlines()) == of_the_run("run.json")["epochs"] == 2
    assert of_the_run("diary.json")["ended"] == "it was interrupted"


def test_an_error_is_not_called_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(
        "import thalweg, torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    calls = 0\n"
        "    def __init__(self):\n        super().__init__(); self.layer = nn.Linear(3, 1)\n"
        "    def forward(self, x):\n        Net.calls += 1\n"
        "        if Net.calls > 400: raise ValueError('worn out')\n        return self.layer(x)\n"
        "x = torch.randn(64, 3)\n"
        "recipe = thalweg.Recipe(data=thalweg.Splits(train=(x[:40], x[:40, :1]), validation=(x[40:], x[40:, :1])),\n"
        "    model=Net, objective=nn.MSELoss(), epochs=30)\n"
    )
    assert main(["improve", "recipe.py", "--quiet"]) in (1, 2)
    assert of_the_run("diary.json")["ended"].startswith("an error ended it: ")
    assert of_the_run("run.json")["status"] == "FAILED"  # and not RUNNING, which is listed as KILLED
    assert "worn out" in of_the_run("run.json")["error"]


def test_what_the_best_weights_hold_off_is_said_and_treated_like_anything_else() -> None:
    """Trained far past its best epoch: the last weights overfit, and those that are kept do not."""
    random = np.random.default_rng(5)
    x = torch.from_numpy(random.normal(size=(400, 6))).float()
    y = (x[:, 0] + 1.5 * torch.from_numpy(random.normal(size=400)).float() > 0).long()
    late = Recipe(
        data=Splits(train=(x[:150], y[:150]), validation=(x[150:], y[150:])), model=partial(mlp, 6, 2, width=64),
        objective=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=0.003), epochs=120,
    )  # fmt: skip
    finding = thalweg.diagnose(late)
    assert finding.cause is Cause.OVERFITTING, finding
    assert finding.held_off == "the run keeps the weights of its best epoch"
    assert finding.to_json()["held_off"] == finding.held_off
    assert finding.remedies
