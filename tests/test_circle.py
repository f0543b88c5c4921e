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


@pytest.mark.battery
def test_a_run_can_be_diagnosed_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "wine", "--quiet", "--set", "epochs=25"]) == 0
    capsys.readouterr()
    assert main(["diagnose", "last", "--quiet"]) == 0
    assert "Nothing stands out" in capsys.readouterr().out


def test_a_dry_run_lists_prices_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "case:too-small", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"1\.0 x +(under 1|about \d+) s  learning rate x 10\n", out)
    assert "4 x as wide" in out
    assert "the budget is 20 times the training." in out
    assert not Path("runs").exists()


def test_a_dry_run_of_improve_lists_proofs_and_closing_runs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["improve", "case:too-small", "--dry-run", "--budget", "10m", "--json"]) == 0
    arms = json.loads(capsys.readouterr().out)
    assert [arm["arm"] for arm in arms][-2:] == ["5 pairs of runs, and a random change beside them", "the closing runs"]
    assert arms[-2]["times"] == 15
    assert main(["improve", "case:too-small", "--dry-run", "--budget", "10m"]) == 0
    assert "At most 6 rounds of this, each for the recipe that came out of the one before; 600 s in all." in (
        capsys.readouterr().out
    )
    assert not Path("runs").exists()


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


MISTYPED = {
    "case:too-smal": "Did you mean 'too-small'",
    "nowhere.csv --target b": "no subject 'nowhere.csv'",
    "rows.csv --target b": "rows.csv",
    "flowers.csv --target wide": "no column 'wide' to predict",
    "flowers.csv --target long --group who": "no column 'who' for --group",
    "flowers.csv --target long --test other.csv": "no file other.csv",
    "flowers.csv --target long --set epoch=3": "Did you mean 'epochs'",
    "flowers.csv --target long --device gpu": "no device 'gpu'",
    "flowers.csv --target long --fail-if test.foo<1": "no 'test.foo' in the results",
    "flowers.csv --target long --out flowers.csv": "flowers.csv cannot be made: Not a directory",
    "recipe.py": "expects 4 features",
}


@pytest.mark.parametrize(
    ("command", "given"),
    [*(("train", given) for given in MISTYPED), ("diagnose", "recipe.py"), ("improve", "recipe.py")],
)
def test_what_is_not_understood_leaves_nothing(command: str, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.csv").write_text("a,b\n")
    Path("flowers.csv").write_text("long,deep\n" + "".join(f"{i % 7}.5,{i * i % 11}.25\n" for i in range(40)))
    Path("recipe.py").write_text(
        "import thalweg, torch\nfrom torch import nn\nx = torch.randn(64, 3)\n"
        "recipe = thalweg.Recipe(data=thalweg.Splits(train=(x[:40], x[:40]), validation=(x[40:], x[40:])),\n"
        "    model=lambda: nn.Linear(4, 3), objective=nn.MSELoss(), epochs=2)\n"
    )
    before = set(Path().iterdir())
    assert main([command, *given.split(), "--quiet"]) == 2
    assert MISTYPED[given] in capsys.readouterr().err
    assert {path for path in Path().iterdir() if path.name != "__pycache__"} - before <= {Path("runs")}
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
    assert main([command, "iris", "--budget" if command != "train" else "--seed", "x"]) == 2
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
