"""What the command line says of damaged runs, bad conditions, full disks and interrupts; all in process."""

import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from thalweg import Outcome, load, load_run, predict, train
from thalweg.cli import main
from thalweg.cli.exits import Terminated
from thalweg.core.errors import WriteError
from thalweg.core.files import write_json
from thalweg.data import bundled
from thalweg.training.weights import save_weights

IRIS = ("train", "iris", "--quiet", "--set", "epochs=2")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    bundled("iris").frame.to_csv("iris.csv", index=False)
    yield
    logging.getLogger("thalweg").setLevel(logging.NOTSET)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Path:
    assert main([*IRIS]) == 0
    capsys.readouterr()
    (folder,) = Path("runs").iterdir()
    return folder


def change(folder: Path, **values: Any) -> None:
    write_json(folder / "run.json", json.loads((folder / "run.json").read_text()) | values)


# --- runs that did not end well, and damaged ones ---


@pytest.mark.parametrize(
    ("status", "best", "expected"),
    [
        ("DIVERGED", 2, "ended as DIVERGED. The loss became NaN .* The weights that are used are its best, of epoch 2"),
        (
            "FAILED",
            1,
            "ended as FAILED. The run raised an error: .* The weights that are used are its best, of epoch 1",
        ),
        ("INTERRUPTED", 0, "The weights that are used are its last: no epoch was the best"),
    ],
)
def test_a_run_that_did_not_end_well_says_so_before_it_predicts(
    status: str, best: int, expected: str, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import re

    change(run, status=status, best_epoch=best)
    for command in ("predict", "evaluate"):
        caplog.clear()
        assert main([command, "last", "iris.csv"]) == 0
        assert re.search(expected, caplog.text)


def test_weights_that_are_not_finite_predict_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_run(run).model
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    save_weights(model, run / "checkpoints" / "best.safetensors")
    change(run, status="DIVERGED")
    for command in ("predict", "evaluate"):
        assert main([command, "last", "iris.csv"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "ended as DIVERGED, and its weights are not finite, so it can predict nothing. Train it again" in err


DAMAGED: list[tuple[str, str, str]] = [
    ("run.json", "{}", "run.json is damaged: it has no 'status'"),
    ("run.json", "[]", "run.json is damaged: it holds no JSON object"),
    ("run.json", '{"status": "??", "epochs": 2, "best_epoch": 1, "notices": []}', "its 'status' is '\\?\\?', none of"),
    ("preprocessing.json", "{}", "preprocessing.json is damaged: what it says of the table is not whole"),
    ("recipe.json", "{}", "recipe.json is damaged: it has no 'counts'"),
    ("recipe.json", '{"counts": {}, "origin": {}}', "recipe.json is damaged: what it says of the recipe is not whole"),
]


@pytest.mark.parametrize(("file", "text", "expected"), DAMAGED)
def test_a_damaged_file_of_a_run_is_named(
    file: str, text: str, expected: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    (run / file).write_text(text)
    assert main(["predict", str(run), "iris.csv"]) == 2
    err = capsys.readouterr().err
    assert re.search(expected, err)
    assert "train the run again" in err


@pytest.mark.parametrize("text", [None, "{\n", "[1]\n"])
def test_predicting_needs_no_history(text: str | None, run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "metrics.jsonl").unlink() if text is None else (run / "metrics.jsonl").write_text(text)
    assert main(["predict", "last", "iris.csv", "-o", "out.csv"]) == 0
    assert len(pd.read_csv("out.csv")) == 150
    assert "metrics.jsonl cannot be read from line 1 on" in caplog.text


def test_a_run_without_an_epoch_has_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "iris", "--quiet", "--set", "epochs=0"]) == 0
    assert main(["predict", "last", "iris.csv"]) == 2
    assert "ended as FINISHED with no epoch done, so it has no weights. Train it again" in capsys.readouterr().err


def test_a_damaged_run_is_listed_and_breaks_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, Path("runs") / "zzz")
    (Path("runs") / "zzz" / "run.json").write_text("[]")
    assert main(["runs"]) == 0
    out, err = capsys.readouterr()
    assert "zzz" in out
    assert "DAMAGED" in out
    assert run.name in out
    assert "zzz/run.json is damaged: it holds no JSON object" in err
    assert main(["predict", "last", "iris.csv"]) == 0  # the newest that is whole
    assert main(["predict", "zzz", "iris.csv"]) == 2
    assert "zzz/run.json is damaged" in capsys.readouterr().err


def test_the_runs_are_listed_with_the_losses_of_their_best_epoch(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads((run / "run.json").read_text())
    assert about["best"]["epoch"] == about["best_epoch"]
    change(run, best=about["best"] | {"train_loss": 0.125, "validation_loss": 0.0625})
    assert main(["runs"]) == 0
    assert "0.125" in (out := capsys.readouterr().out)
    assert "0.0625" in out


def test_a_file_of_a_run_folder_means_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("report.html", "checkpoints/best.safetensors"):
        assert main(["evaluate", str(run / file), "iris.csv"]) == 0
    assert main(["train", str(run / "report.html"), "--quiet"]) == 0
    assert len(list(Path("runs").iterdir())) == 2


def test_a_recipe_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("z4.toml").mkdir()
    assert main(["train", "z4.toml"]) == 2
    err = capsys.readouterr().err
    assert "z4.toml cannot be read as a recipe: Is a directory. Give a file in TOML that may be read." in err
    assert not Path("runs").exists()


# --- results that cannot be written ---


def test_an_output_that_cannot_be_written_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for output in ("runs", "iris.csv/x.csv"):
        assert main(["predict", "last", "iris.csv", "-o", output]) == 2
    err = capsys.readouterr().err
    assert "runs is a folder, but a file is to be written there" in err
    assert "iris.csv is a file, not a folder" in err


def test_a_full_disk_ends_the_run_with_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(model: Any, path: Path) -> None:
        raise WriteError(f"{path} cannot be written: No space left on device.")

    monkeypatch.setattr("thalweg.training.folder.save_weights", full)
    assert main([*IRIS]) == 1
    assert "last.safetensors cannot be written: No space left on device" in capsys.readouterr().err
    (folder,) = Path("runs").iterdir()
    about = json.loads((folder / "run.json").read_text())
    assert (about["status"], about["epochs"]) == ("FAILED", 2)


def test_a_full_stdout_is_said(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

        def fileno(self) -> int:
            return spare.fileno()

    with Path("spare").open("w") as spare:
        monkeypatch.setattr("sys.stdout", Full())
        assert main(["predict", "last", "iris.csv"]) == 1
    assert "stdout cannot be written: No space left on device. Free some space there" in capsys.readouterr().err


# --- interrupts ---


@pytest.mark.parametrize(("interrupt", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
@pytest.mark.parametrize(
    ("place", "expected", "status"),
    [
        ("thalweg.recipes.load", "while iris was loaded: nothing was trained.", None),
        ("thalweg.training.train.prepare", "outside the epochs: see runs/", "INTERRUPTED"),
        (
            "thalweg.recipes.conclude",
            "while the run was judged: its weights are kept. For its scores and its report: thalweg",
            "FINISHED",
        ),
    ],
)
def test_an_interrupt_says_what_it_left(
    place: str,
    expected: str,
    status: str | None,
    interrupt: type[BaseException],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise interrupt

    room, _, name = place.rpartition(".")
    import importlib

    monkeypatch.setattr(importlib.import_module(room), name, interrupted)
    assert main([*IRIS]) == code
    assert expected in capsys.readouterr().err
    if status is None:
        assert not Path("runs").exists()
        return
    (folder,) = Path("runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == status


# --- conditions ---


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("", "'' is no comparison"),
        ("test.accuracy<nan", "'test.accuracy' is a number, and 'nan' is none to compare it to"),
        ("test.accuracy<high", "'high' is none to compare it to. Write one, as in 'test.accuracy<0.9'"),
        ("status<FINISHED", "'status' is a word, which has no order. Write 'status!=FINISHED'"),
        ("status!=FINISHD", "'status' is never 'FINISHD'. Did you mean 'FINISHED'?"),
        ("test.acuracy<1", "there is no 'test.acuracy' in the results. Did you mean 'test.accuracy'?"),
        ("cause!=NONE", "there is no 'cause' in the results"),
    ],
)
def test_a_bad_condition_is_refused_before_anything_is_trained(
    condition: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("thalweg.training.train", lambda *arguments, **options: pytest.fail("trained"))
    assert main([*IRIS, "--fail-if", condition]) == 2
    assert expected in capsys.readouterr().err
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_the_condition_that_holds_is_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*IRIS, "--fail-if", "status!=FINISHED", "--fail-if", "test.accuracy<2"]) == 3
    *_, said, report = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("--fail-if 'test.accuracy<2' holds: test.accuracy is 0.")
    assert report.endswith("report.html")
    assert main(["evaluate", "last", "iris.csv", "--fail-if", "acuracy<2"]) == 2
    assert "Did you mean 'accuracy'?" in capsys.readouterr().err
    assert main(["evaluate", "last", "iris.csv", "--fail-if", "accuracy<2"]) == 3


# --- notices of loading ---


def test_what_was_said_while_loading_is_kept_with_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--target", "petal_width_cm", "--set", "data.target=species", "--test", "iris.csv"]
    assert main(["train", "iris.csv", "--set", "epochs=1", "--json", "--quiet", *arguments]) == 0
    said = json.loads(capsys.readouterr().out)["notices"]
    assert "--set data.target=species goes before --target petal_width_cm." in said
    assert any("The test file iris.csv is the training file itself" in text for text in said)
    (folder,) = Path("runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["notices"] == said
    assert "notices" not in (json.loads((folder / "recipe.json").read_text())["origin"])


def test_a_recipe_keeps_its_notices_for_its_runs(caplog: pytest.LogCaptureFixture) -> None:
    recipe = load("iris.csv", data={"target": "species", "test": "iris.csv"}, assignments=["epochs=1"])
    caplog.clear()
    run = train(recipe)
    assert any("is the training file itself" in text for text in run.notices)
    assert "is the training file itself" not in caplog.text  # it was said when it was loaded
    assert run.status is Outcome.FINISHED
    assert len(predict(run, bundled("iris").frame)) == 150


def test_a_single_epoch_is_one_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "iris", "--quiet", "--set", "epochs=1"]) == 0
    assert "All epochs were trained. 1 epoch in" in capsys.readouterr().out
