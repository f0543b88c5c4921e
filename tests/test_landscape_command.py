"""thalweg landscape: what it says, keeps and draws of a run, and what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

import thalweg
from thalweg.cli.app import main
from thalweg.cli.landscape import show
from thalweg.core.errors import DataError, RecipeError, RunError
from thalweg.measure import Kind
from thalweg.recipes import landscape as looked
from thalweg.recipes.landscape import landscape
from thalweg.report.evidence import read_evidence
from thalweg.report.page import page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> thalweg.Run:
    recipe = thalweg.load("iris", assignments=["epochs=6", "model.width=4", "model.depth=1"])
    return thalweg.train(recipe, out=tmp_path_factory.mktemp("runs"))


def test_it_prints_the_verdict_and_the_course_and_the_report_shows_them(
    run: thalweg.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.path is not None
    assert main(["landscape", str(run.path), "--checkpoints", "3", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [point["epoch"] for point in found["course"]["points"]] == [0, 2, 6]
    assert found["examples"] == found["of"] == 90
    assert found["escape"] is None
    assert [len(plane["path"]) for plane in found["planes"]] == [7, 0]
    assert found["point"]["loss"] == pytest.approx(thalweg.evaluate(run, run.recipe.data.train)["loss"][0], rel=1e-4)
    kept = json.loads((run.path / "landscape.json").read_text())
    assert kept == {name: found[name] for name in kept}
    shown = page(read_evidence(run.path))
    assert "The error surface" in shown
    assert shown.count("principal direction 1") >= 1
    assert main(["landscape", run.path.name[:12], "--out", str(run.path.parent), "--checkpoints", "2"]) == 0
    told = capsys.readouterr()
    assert found["point"]["kind"] in told.out
    assert "the course of the training, by 2 of its points" in told.err
    assert told.err.endswith(f"{run.path / 'report.html'}\n")


@pytest.mark.battery
def test_it_escapes_from_a_saddle_and_keeps_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "case:at-a-saddle", "--set", "epochs=2", "--out", str(tmp_path), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["landscape", "last", "--escape", "--checkpoints", "2", "--out", str(tmp_path), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "Moved by" in said
    before, after = said.split("Validation loss before ")[1].rstrip(".\n").split(", after ")
    assert float(after) < 0.95 * float(before)
    (folder,) = tmp_path.iterdir()
    weights = safetensors.torch.load_file(folder / "checkpoints" / "escaped.safetensors")
    last = thalweg.load_run(folder, thalweg.cases.get("at-a-saddle")).last
    assert not last.state_dict()["0.weight"].any()
    assert float(weights["0.weight"].norm()) > 0.1


def test_without_a_trajectory_the_best_and_the_last_weights_are_looked_at(
    run: thalweg.Run, caplog: pytest.LogCaptureFixture
) -> None:
    unwritten = thalweg.train(run.recipe)
    found = landscape(unwritten, checkpoints=2)
    assert found.course.epochs == tuple(sorted({unwritten.best_epoch, 6}))
    assert "it has no trajectory" in caplog.text


def test_points_of_no_use_are_passed_over(run: thalweg.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run.path is not None
    shutil.copytree(run.path, tmp_path / "run")
    points = tmp_path / "run" / "trajectory"
    states = {file: safetensors.torch.load_file(file) for file in sorted(points.iterdir())}
    for file, change in zip(states, (lambda t: t * torch.nan, lambda t: t[..., :1].contiguous()), strict=False):
        safetensors.torch.save_file({name: change(tensor) for name, tensor in states[file].items()}, file)
    found = landscape(thalweg.load_run(tmp_path / "run"), checkpoints=2)
    assert found.course.epochs == (2, 6)
    assert "Passed over: Epoch 0 of the path holds weights that are not finite" in caplog.text
    assert "Passed over: Epoch 1 of the path is of another model" in caplog.text


def test_a_saddle_is_shown_with_its_way_down_and_costly_pictures_take_fewer_examples(
    run: thalweg.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = landscape(run, checkpoints=2)
    assert found.drawn["drawn_from"] == 90
    show(found)
    assert "--escape" not in capsys.readouterr().out
    show(replace(found, point=replace(found.point, kind=Kind.SADDLE)))
    assert "The way down: the same command with --escape." in capsys.readouterr().out
    monkeypatch.setattr(looked, "DRAWN", 20)
    monkeypatch.setattr(looked, "MULTIPLIED", 1)
    assert landscape(run, checkpoints=2).drawn["drawn_from"] == 20


def test_a_run_that_diverged_is_refused() -> None:
    diverged = thalweg.train(thalweg.load("iris", assignments=["epochs=1", "optimizer.kind=sgd", "optimizer.lr=1e30"]))
    with pytest.raises(
        DataError, match="last weights are not finite, it ended as DIVERGED.*Train it again at a smaller"
    ):
        landscape(diverged)


@pytest.mark.parametrize("name", ["examples", "checkpoints"])
def test_counts_that_are_none_are_refused(run: thalweg.Run, name: str) -> None:
    with pytest.raises(RecipeError, match=rf"{name}=1, but the surface is told by some: give at least 2"):
        landscape(run, **{name: 1})
    with pytest.raises(RecipeError, match=rf"{name}=2\.5, but"):
        landscape(run, **{name: 2.5})


def test_a_run_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["landscape", "last", "--out", str(tmp_path)]) == 2
    assert "There are no runs in" in capsys.readouterr().err
    with pytest.raises(RunError):
        thalweg.load_run(tmp_path)
