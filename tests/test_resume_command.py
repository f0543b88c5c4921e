"""`thalweg resume`: from a signal to the same result, its exit codes and what it says."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from thalweg.cli import main

TRAIN = ["train", "iris", "--set", "epochs=150"]
SHORT = ["train", "iris", "--set", "epochs=3"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sent(number: int, epochs: int = 30) -> threading.Thread:
    """Send a signal to this process once some epochs of a run are written, and then each second until it has ended."""

    def wait() -> None:
        while True:
            for file in Path("runs").glob("*/metrics.jsonl"):
                if len(file.read_text().splitlines()) >= epochs:
                    os.kill(os.getpid(), number)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def results(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    document = json.loads(capsys.readouterr().out)
    return {name: document[name] for name in ("status", "epochs", "best_epoch", "metrics", "calibration")}


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.battery), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_a_run_with_a_checkpoint_and_the_line_that_goes_on(
    number: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = sent(number, epochs=1)
    assert main(TRAIN) == code
    thread.join()
    err = capsys.readouterr().err
    (path,) = Path("runs").iterdir()
    assert f"go on with it: thalweg resume {path}" in err
    assert list((path / "checkpoints").glob("epoch-*.json"))
    assert main(["runs"]) == 0
    assert "INTERRUPTED" in capsys.readouterr().out
    assert main(["resume", "last", "--json", "--quiet", "--fail-if", "test.accuracy<2"]) == 3
    resumed = results(capsys)
    assert main([*TRAIN, "--json", "--quiet"]) == 0
    assert results(capsys) == resumed
    assert main(["resume", str(path)]) == 2
    assert "has ended as FINISHED: there is nothing to go on with" in capsys.readouterr().err


def test_a_case_goes_on_too(capsys: pytest.CaptureFixture[str]) -> None:
    thread = sent(signal.SIGINT, epochs=1)
    assert main(["train", "case:healthy", "--set", "epochs=40", "--seed", "3", "--quiet"]) == 130
    thread.join()
    (path,) = Path("runs").iterdir()
    capsys.readouterr()
    assert main(["resume", path.name[:13], "--json", "--quiet"]) == 0
    assert results(capsys)["epochs"] == 40
    assert json.loads((path / "recipe.json").read_text())["counts"] == {"seed": 3, "epochs": 40, "batch_size": 32}


def test_other_data_are_refused_and_insisted_on(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 13},{i % 7},{'ab'[i % 2]}" for i in range(400)]
    Path("rows.csv").write_text("x,y,z\n" + "\n".join(rows) + "\n")
    thread = sent(signal.SIGINT, epochs=1)
    assert main(["train", "rows.csv", "--target", "z", "--set", "epochs=60", "--quiet"]) == 130
    thread.join()
    Path("rows.csv").write_text("x,y,z\n" + "\n".join([*rows[:-1], "99,1,a"]) + "\n")
    capsys.readouterr()
    assert main(["resume", "last"]) == 2
    err = capsys.readouterr().err
    assert "The run was trained otherwise: data" in err
    assert "thalweg resume RUN --force" in err
    assert main(["resume", "last", "--force", "--set"]) == 2  # there is no such option
    capsys.readouterr()
    assert main(["resume", "last", "--force", "--json", "--quiet"]) == 0
    assert results(capsys)["status"] == "FINISHED"


def test_a_run_that_was_killed_while_it_was_judged_gets_its_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SHORT, "--json", "--quiet"]) == 0
    expected = results(capsys)
    (path,) = Path("runs").iterdir()
    for lost in (["evaluation.json", "report.html"], ["report.html"]):
        for file in lost:
            (path / file).unlink()
        assert main(["resume", "last", "--json", "--quiet"]) == 0
        assert results(capsys) == expected
        assert (path / "report.html").exists()
    assert main(["resume", "last"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["resume", "nothing"], "There are no runs in runs, so 'nothing' is none."),
        (["resume", "."], "There are no runs in runs"),
    ],
)
def test_what_is_no_run_is_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_a_diagnosis_is_not_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "iris", "--set", "epochs=2", "--budget", "1", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["resume", "last"]) == 2
    assert (
        "is that of a diagnose, which is not resumed. Give the command that began it again: thalweg diagnose iris"
        in (capsys.readouterr().err)
    )


def test_a_run_that_was_killed_while_its_data_were_loaded_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    from thalweg.training import RunFolder

    folder = RunFolder.make(Path("runs"), "iris")
    folder.release()
    assert main(["runs"]) == 0
    assert "KILLED" in capsys.readouterr().out
    assert main(["resume", "last"]) == 2
    assert "was killed before its recipe was kept, and nothing was trained. Give the command" in capsys.readouterr().err


def test_a_killed_run_is_listed_with_what_it_has_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SHORT, "--quiet"]) == 0
    (path,) = Path("runs").iterdir()
    about = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(about | {"status": "RUNNING", "epochs": 0, "last": None, "best": None}))
    capsys.readouterr()
    assert main(["runs", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["status"], listed["epochs"]) == ("KILLED", about["epochs"])
    assert listed["last"]["train_loss"] == about["last"]["train_loss"]


def test_predictions_do_not_go_where_a_link_leads(tmp_path: Path) -> None:
    assert main([*SHORT, "--quiet"]) == 0
    (path,) = Path("runs").iterdir()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for file in (path / "predictions").iterdir():
        file.unlink()
    (path / "predictions").rmdir()
    (path / "predictions").symlink_to(theirs)
    (path / "report.html").unlink()
    assert main(["resume", "last", "--quiet"]) == 0
    assert not list(theirs.iterdir())
    assert (path / "predictions" / "test.csv").exists()
