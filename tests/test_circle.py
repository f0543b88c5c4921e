"""The circle from the command line: diagnose, improve, and the page they leave."""

import json
import re
from pathlib import Path

import pytest

import thalweg
from thalweg.cli import main

SLOW = ("--set", "epochs=15", "--set", "optimizer.lr=1e-5")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_diagnose_prints_the_cause_and_leaves_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["diagnose", "iris", *SLOW, "--quiet", "--json", "--fail-if", "cause!=NONE"])
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert code == 3
    assert document["cause"] == "OPTIMIZATION"
    assert {"run", "path", "status", "metrics", "cause", "ranked", "cost", "report"} <= set(document)
    assert document["next"] == "thalweg improve iris --set epochs=15 --set optimizer.lr=1e-5"
    given = "iris --set epochs=15 --set optimizer.lr=1e-5 --fail-if 'cause!=NONE'"
    assert document["command"] == f"thalweg diagnose {given}"
    page = Path(err.strip().splitlines()[-1])
    assert page.name == "report.html"
    assert "learning rate" in page.read_text(encoding="utf-8")
    assert json.loads((page.parent / "finding.json").read_text())["experiments"]


def test_a_run_can_be_diagnosed_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "wine", "--quiet", "--set", "epochs=25"]) == 0
    capsys.readouterr()
    assert main(["diagnose", "last", "--quiet"]) == 0
    assert "Nothing stands out" in capsys.readouterr().out


def test_a_dry_run_lists_prices_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "case:too-small", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"1\.0 x +under 1 s  learning rate x 10\n", out)
    assert "4 x as wide" in out
    assert "the budget is 20 times the training." in out
    assert list(Path("runs").iterdir()) == []


def test_a_dry_run_of_improve_lists_proofs_and_closing_runs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["improve", "case:too-small", "--dry-run", "--budget", "10m", "--json"]) == 0
    arms = json.loads(capsys.readouterr().out)
    assert [arm["arm"] for arm in arms][-2:] == ["5 pairs of runs, and a random change beside them", "the closing runs"]
    assert arms[-2]["times"] == 15
    assert main(["improve", "case:too-small", "--dry-run", "--budget", "10m"]) == 0
    assert "At most 6 rounds of this, each for the recipe that came out of the one before; 600 s in all." in (
        capsys.readouterr().out
    )
    assert list(Path("runs").iterdir()) == []


def test_improve_proves_adopts_and_keeps_its_diary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["improve", "iris", *SLOW, "--quiet", "--rounds", "1"]) == 0
    out, err = capsys.readouterr()
    assert "Round 1: OPTIMIZATION" in out
    assert "adopted: " in out
    assert "a random change at the same cost (" in out
    assert (
        "runs were judged on validation to choose by. On all 30 test examples, too few to halve and read twice" in out
    )
    folder = Path(err.strip().splitlines()[-1]).parent
    diary = json.loads((folder / "diary.json").read_text())
    assert diary["rounds"][0]["adopted"]
    assert diary["rounds"][0]["experiments"]
    assert diary["rounds"][0]["cost"]["runs"]
    (proof, *_) = sorted((folder / "proofs").iterdir())
    assert json.loads(proof.read_text())["helped"]
    assert "The proofs" in (folder / "report.html").read_text(encoding="utf-8")
    again = thalweg.load_run(folder)
    assert again.history[-1]["train_loss"] < 1
    assert f"The improved recipe: {folder / 'improved.toml'}" in out
    assert thalweg.load(folder / "improved.toml").model().state_dict().keys() == again.model.state_dict().keys()
    Path("flowers.csv").write_text("sepal_length_cm,sepal_width_cm,petal_length_cm,petal_width_cm\n5,3,1,0.2\n")
    assert main(["predict", str(folder), "flowers.csv", "-o", "out.csv"]) == 0
    assert Path("out.csv").read_text().splitlines()[0].endswith("prediction,probability")


def test_a_mistyped_case_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "case:too-smal"]) == 2
    assert "Did you mean 'too-small'" in capsys.readouterr().err
    assert list(Path("runs").iterdir()) == []


def test_data_that_cannot_be_used_leave_a_folder_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.csv").write_text("a,b\n")
    assert main(["train", "rows.csv", "--target", "b"]) == 2
    (folder,) = Path("runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "FAILED"
