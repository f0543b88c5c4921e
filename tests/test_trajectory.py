"""The trajectory of a run: which weights are kept, that a resumed run keeps the same, and what cannot be read."""

from pathlib import Path

import pytest
import torch

import thalweg
from thalweg.core.errors import RunError
from thalweg.training import trajectory
from thalweg.training.trajectory import epochs_of, is_kept, stride_of


def kept(path: Path) -> dict[int, bytes]:
    return {int(file.stem[-6:]): file.read_bytes() for file in sorted((path / "trajectory").iterdir())}


def recipe(epochs: int = 4) -> thalweg.Recipe:
    return thalweg.load("iris", assignments=[f"epochs={epochs}", "model.width=4"])


def test_the_states_are_those_of_shorter_runs(tmp_path: Path) -> None:
    states = dict(thalweg.train(recipe(4), out=tmp_path).trajectory())
    assert list(states) == [0, 1, 2, 3, 4]
    for epochs in (0, 2, 4):
        shorter = thalweg.train(recipe(epochs)).last.state_dict()
        assert all(torch.equal(states[epochs][name], shorter[name]) for name in shorter)


@pytest.mark.parametrize("epochs", [1, 6, 7, 21])
def test_no_more_points_than_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    monkeypatch.setattr(trajectory, "MOST_POINTS", 6)
    run = thalweg.train(recipe(epochs), out=tmp_path)
    stride = stride_of(epochs, 6)
    assert [epoch for epoch, _ in run.trajectory()] == [e for e in range(epochs + 1) if is_kept(e, stride)]
    assert len([e for e in range(epochs + 1) if e % stride == 0]) <= 6


def test_an_interrupted_run_keeps_what_a_whole_one_does(tmp_path: Path) -> None:
    whole = thalweg.train(recipe(7), out=tmp_path / "whole")

    def interrupt(epoch: int, step: int, row: object) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        raise thalweg.train(recipe(7), out=tmp_path / "cut", progress=interrupt).error or AssertionError
    (cut,) = (tmp_path / "cut").iterdir()
    (cut / "trajectory" / "epoch-000006.safetensors").write_bytes(b"of another attempt")
    thalweg.resume(cut)
    assert whole.path is not None
    assert kept(cut) == kept(whole.path)


def test_a_model_too_large_keeps_none_and_its_weights_are_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory, "MOST_BYTES", 500)
    run = thalweg.train(recipe(), out=tmp_path)
    with pytest.raises(RunError, match=r"keeps no weights along its training.*run\.model and run\.last"):
        list(run.trajectory())


def test_a_run_without_a_folder_says_how_to_have_one() -> None:
    with pytest.raises(RunError, match=r"Give it a folder: train\(recipe, out="):
        list(thalweg.train(recipe(1)).trajectory())


def test_a_damaged_point_is_passed_over_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = thalweg.train(recipe(), out=tmp_path)
    assert run.path is not None
    (run.path / "trajectory" / "epoch-000002.safetensors").write_bytes(b"\0" * 9)
    (run.path / "trajectory" / "epoch-nine.safetensors").write_bytes(b"")
    assert [epoch for epoch, _ in run.trajectory()] == [0, 1, 3, 4]
    assert "weights of epoch 2 cannot be read" in caplog.text


def test_where_it_cannot_be_written_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = thalweg.training.RunFolder.make(tmp_path, "iris")
    (folder.path / "trajectory").write_text("a file")
    run = thalweg.train(recipe(), out=folder)
    assert run.status.good
    assert epochs_of(folder.path / "trajectory") == []
    assert "The trajectory of the run ends before epoch 0" in caplog.text
