"""What improve begins with, adopts and gives back; what is said of rounds, and of an interrupt while it comes."""

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg import Cause, DataError, Recipe, Remedy, Splits
from thalweg.cli import main
from thalweg.cli.diary import Diary
from thalweg.core.source import Indexed
from thalweg.diagnosis import Cost, Finding, Score
from thalweg.nn import mlp
from thalweg.remedy import Proof, Round
from thalweg.training.interrupts import Announced, announcing

RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(140, 3))).float()
Y = X.sum(1, keepdim=True) + 0.1 * torch.from_numpy(RANDOM.normal(size=(140, 1))).float()


def slow(**changes: Any) -> Recipe:
    """A rate that is far too low, and no validation split."""
    made = Recipe(
        data=Splits(train=(X[:100], Y[:100])),
        model=partial(mlp, 3, 1, width=8),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=1e-5),
        epochs=4,
    )
    return made.but(**changes)


@pytest.mark.battery
def test_what_is_adopted_is_what_was_proved_where_validation_was_held_out(caplog: pytest.LogCaptureFixture) -> None:
    result = thalweg.improve(slow(), rounds=1, budget=60, device="cpu")
    adopted = result.diary[0].adopted
    assert adopted is not None
    kept = result.recipe.data
    assert isinstance(kept.train, Indexed)
    assert isinstance(kept.validation, Indexed)
    assert (len(kept.train), len(kept.validation)) == (80, 20)
    for seed, _, proved in adopted.pairs[:2]:
        run = thalweg.train(result.recipe.but(seed=seed), device="cpu")
        assert run.history[run.best_epoch - 1]["validation_loss"] == pytest.approx(proved, rel=1e-4)
    assert result.judged_on == "the validation data, by which it was also chosen"
    assert result.after["loss"][0] < result.before["loss"][0]
    assert caplog.text.count("20 of the 100 training examples are held out") == 1


@pytest.mark.parametrize("split", ["train", "validation"])
def test_data_that_cannot_be_trained_on_are_refused_before_anything_is_trained(split: str) -> None:
    splits: dict[str, Any] = {"train": (X[:60], Y[:60]), "validation": (X[60:], Y[60:])}
    splits[split] = (X[:60], torch.full_like(Y[:60], torch.nan))
    with pytest.raises(DataError, match=f"The {split} targets hold 60 values that are not finite"):
        thalweg.improve(slow(data=Splits(**splits)), progress=lambda stage: pytest.fail(stage.name))


def test_gaps_that_a_remedy_fills_are_improved() -> None:
    gapped = X.clone()
    gapped[::7, 2] = torch.nan
    start = slow(data=Splits(train=(gapped, Y)), optimizer=partial(torch.optim.Adam, lr=0.02))
    result = thalweg.improve(start, rounds=1, budget=60, device="cpu")
    adopted = result.diary[0].adopted
    assert adopted is not None
    assert adopted.kept.name == "gaps in the inputs filled and marked"
    assert result.before == {}  # as it came in it cannot be trained
    assert bool(torch.isfinite(result.run.model(gapped)).all())


def test_what_was_found_stays_where_no_remedy_of_the_gaps_is_adopted() -> None:
    gapped = X.clone()
    gapped[:60:7, 2] = torch.nan
    start = slow(data=Splits(train=(gapped[:60], Y[:60]), validation=(X[60:100], Y[60:100]), test=(X[100:], Y[100:])))
    result = thalweg.improve(start, rounds=1, budget=1, device="cpu")
    assert result.finding.cause is Cause.DATA
    assert (result.before, result.after) == ({}, {})
    assert result.run.status is thalweg.Outcome.DIVERGED
    assert result.recipe.data.train is start.data.train
    assert result.ended.endswith("; the gaps in its data are left, and the closing runs take them as they are")


GAPPY = """
from functools import partial
import thalweg, torch
from torch import nn
x = torch.randn(90, 1, generator=torch.Generator().manual_seed(0))
y = 2 * x
x[:60:4] = torch.nan
recipe = thalweg.Recipe(
    data=thalweg.Splits(train=(x[:60], y[:60]), validation=(x[60:], y[60:])), model=partial(nn.Linear, 1, 1),
    objective=nn.MSELoss(), optimizer=partial(torch.optim.Adam, lr=0.02), epochs=3,
)
"""


def test_the_command_improves_data_with_gaps_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gappy.py").write_text(GAPPY)
    assert main(["improve", "gappy.py", "--rounds", "1", "--budget", "20", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Round 1: DATA" in out
    assert "adopted: " in out
    assert main(["improve", "gappy.py", "--rounds", "1", "--budget", "1", "--quiet"]) == 1
    assert "the gaps in its data are left" in capsys.readouterr().out
    assert main(["diagnose", "gappy.py", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("DATA")
    Path("lost.py").write_text(GAPPY + "recipe.data.train[1].fill_(torch.nan)")
    assert main(["improve", "lost.py", "--quiet"]) == 2
    assert "values that are not finite" in capsys.readouterr().err


def test_an_improvement_whose_last_training_diverges_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wild.py").write_text(GAPPY.replace("x[:60:4] = torch.nan", "").replace("Adam, lr=0.02", "SGD, lr=1e6"))
    assert main(["improve", "wild.py", "--rounds", "1", "--budget", "1", "--quiet", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "DIVERGED"


@pytest.mark.battery
def test_a_stream_without_validation_is_trained_whole_in_the_end() -> None:
    class Stream:
        def batches(self, epoch: int, start: int, generator: Any) -> Any:
            yield from ((X[i : i + 10], Y[i : i + 10]) for i in range(10 * start, 100, 10))

    result = thalweg.improve(slow(data=Splits(train=Stream())), rounds=1, budget=3, device="cpu")
    assert isinstance(result.recipe.data.train, Stream)
    assert result.judged_on == "no data: there is neither a test nor a validation split"


class Interrupting(nn.Linear):
    """A model in whose sixth step of training signals come, and which says when it goes on."""

    steps, signals = 0, 1

    def forward(self, x: Any) -> Any:
        if self.training and torch.is_grad_enabled():
            Interrupting.steps += 1
            if Interrupting.steps == 6:
                for _ in range(self.signals):
                    os.kill(os.getpid(), signal.SIGINT)
                os.write(2, b"the step goes on")
        return super().forward(x)


@pytest.mark.parametrize("signals", [1, 2])
def test_an_interrupt_is_answered_before_the_step_has_ended_and_a_second_one_ends_it(
    signals: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Interrupting, "signals", signals)
    monkeypatch.setattr(Interrupting, "steps", 0)
    before = signal.getsignal(signal.SIGINT)
    remedy = Remedy("longer", Cause.OPTIMIZATION, lambda one: one.but(epochs=9))
    with pytest.raises(KeyboardInterrupt):
        thalweg.prove(slow(model=partial(Interrupting, 3, 1)), remedy, device="cpu")
    err = capfd.readouterr().err
    says = (
        "The proof stops after the step that runs, and says nothing: pairs are wanted. Ctrl-C once more stops at once."
    )
    assert err.count(says) == 1
    assert ("the step goes on" in err.split(says)[1]) == (signals == 1)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("door", ["diagnose", "improve"])
def test_each_door_says_what_it_keeps(door: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(stage: Any) -> None:
        if stage.name == "as it is":
            os.kill(os.getpid(), signal.SIGINT)

    kept = {"resume": tmp_path} if door == "improve" else {}
    with pytest.raises(KeyboardInterrupt):
        getattr(thalweg, door)(slow(), progress=interrupt, device="cpu", **kept)
    says = {
        "diagnose": "The diagnosis stops after the step that runs, and keeps the evidence so far.",
        "improve": "The improvement stops after the step that runs, and keeps the rounds so far. Every run that has",
    }
    assert capfd.readouterr().err.count(says[door]) == 1


def test_the_outermost_block_answers_and_an_ignored_interrupt_stays_ignored() -> None:
    with announcing("outside"), announcing("inside"):
        handler = signal.getsignal(signal.SIGINT)
        assert isinstance(handler, Announced)
        assert handler.says == "outside"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with announcing("nothing"):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_rounds_are_numbered_as_they_were_before_an_interrupt(tmp_path: Path) -> None:
    told: list[str] = []

    def interrupt(stage: Any) -> None:
        told.append(stage.name)
        if stage.name == "reference learners":
            raise KeyboardInterrupt

    for begun, says in (
        (None, "diagnosing"),
        (None, "going on from the runs that are kept"),
        ("3", "found again in the runs that are kept"),
        ("no number", "diagnosing"),
    ):
        if begun is not None:
            (tmp_path / "rounds").write_text(begun)
        told.clear()
        with pytest.raises(KeyboardInterrupt):
            thalweg.improve(slow(), rounds=1, budget=3, resume=tmp_path, progress=interrupt, device="cpu")
        assert told[0] == f"round 1: {says}"


def test_a_diary_keeps_what_was_shown_until_it_has_come_so_far_and_then_no_old_proof(tmp_path: Path) -> None:
    def proof(name: str) -> Proof:
        remedy = Remedy(name, Cause.OPTIMIZATION, lambda one: one)
        return Proof(remedy, "", ((1, 0.5, 0.4),), Score(0.1), 0.5, Cost())

    def round_of(*names: str) -> Round:
        return Round(Finding(Cause.OPTIMIZATION, ""), tuple(map(proof, names)))

    def read() -> Any:
        return json.loads((tmp_path / "diary.json").read_text())["rounds"]

    first = Diary(tmp_path, "thalweg improve")
    assert "Interrupted in round 1, too early to show." in str(first)
    first.keep((round_of("one"), round_of("two", "three")))
    assert f"Interrupted in round 2: what it has shown is kept in {tmp_path}, with round 1." in str(first)
    again = Diary(tmp_path, "thalweg improve")
    assert len(read()) == 2
    again.keep((round_of("one"),))
    assert [turn["tried"][0]["remedy"] for turn in read()] == ["one", "two"]
    diary = (round_of("one"), round_of("four"))
    again.keep(diary)
    again = Diary(tmp_path, "thalweg improve")  # a third attempt takes away what the first one has left
    again.keep(diary)
    (tmp_path / "proofs" / "mine").mkdir()
    (tmp_path / "proofs" / "notes.txt").write_text("Mine.")
    (tmp_path / "proofs" / "03-three.json").unlink()
    (tmp_path / "proofs" / "03-three.json").mkdir()
    run = thalweg.train(slow(epochs=0), device="cpu")
    again.end(thalweg.remedy.Improvement(slow(), run, diary, {}, {}, "", "the rounds are over"))
    assert [len(turn["tried"]) for turn in read()] == [1, 1]
    kept = sorted(file.name for file in (tmp_path / "proofs").iterdir())
    assert kept == ["01-one.json", "02-four.json", "03-three.json", "mine", "notes.txt"]
    assert json.loads((tmp_path / "diary.json").read_text())["proofs"] == kept[:2]
