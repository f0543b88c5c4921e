"""thalweg compare: two run folders side by side."""

import json
from pathlib import Path

import pytest
from pages import score, write

from thalweg.cli.compare import compare
from thalweg.core.errors import RecipeError
from thalweg.report import clean, compare_runs, read_evidence


def two_runs(folder: Path) -> tuple[Path, Path]:
    runs = []
    for name, rate, seed in (("a", 0.001, 0), ("b", 0.01, 1)):
        settings = {"data": {"source": "digits"}, "optimizer": {"kind": "adam", "lr": rate}, "fit": {"seed": seed}}
        fields = {
            "optimizer": f"Adam(lr={rate}, eps=1e-08)",
            "seed": str(seed),
            "metrics": f"<function f1 at 0x{seed}>",
        }
        metrics = {"test": {"loss": score(0.5 - 0.25 * seed, 0.4 - 0.25 * seed, 0.6 - 0.25 * seed)}}
        files = {
            "run.json": {"run": f"2026-{name}", "name": name, "status": "FINISHED"},
            "recipe.json": {"fields": fields, "fingerprint": name, "origin": {"settings": settings}},
            "evaluation.json": {"metrics": metrics | ({"train": {"f1": score(1.0)}} if name == "b" else {})},
        }
        runs.append(write(folder / name, **files))
    return runs[0], runs[1]


def test_compare_shows_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = two_runs(tmp_path)
    assert compare(str(first), "2026-b", out=tmp_path) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert ["optimizer.lr", "0.001", "0.01"] in lines
    assert ["test", "loss", "0.50", "[0.40,", "0.60]", "0.25", "[0.15,", "0.35]", "−0.25"] in lines
    assert ["train", "f1", "–", "1.00", "–"] in lines
    assert not any("metrics" in line for line in lines)  # an address in memory is no difference


def test_compare_says_how_far_the_scores_compare(tmp_path: Path) -> None:
    first, second = (read_evidence(folder) for folder in two_runs(tmp_path))
    (note,) = compare_runs(first, second)["notes"]
    assert note.startswith("A difference has no interval: the runs are not paired.")
    settings = {"data": {"source": "iris"}}
    write(tmp_path / "c", **{"recipe.json": {"origin": {"settings": settings}}, "evaluation.json": first.evaluation})
    (note,) = compare_runs(first, read_evidence(tmp_path / "c"))["notes"]
    assert note.startswith("The two were not given the same data")


def test_compare_fails_where_a_difference_is_too_large(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = map(str, two_runs(tmp_path))
    assert compare(first, second, fail_if=("test.loss>0",)) == 0
    assert compare(first, second, fail_if=("test.loss<-0.1",)) == 3
    assert "test.loss is -0.25" in capsys.readouterr().err
    assert compare(first, second, fail_if=("train.f1<0",)) == 3  # a difference that is not there passes no gate
    with pytest.raises(RecipeError, match="there is no 'test.lost' in the results. Did you mean 'test.loss'?"):
        compare(first, second, fail_if=("test.lost<0",))


def test_compare_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = two_runs(tmp_path)
    assert compare(str(first), str(second), json_=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["field"] for row in found["recipe"]] == ["optimizer.lr", "fit.seed"]
    assert found["metrics"]["test"]["loss"]["difference"] == -0.25
    assert found["metrics"]["train"]["f1"] == {"first": None, "second": score(1.0), "difference": None}
    assert found["first"]["run"] == "2026-a"


def test_runs_from_python_are_compared_by_their_fields(tmp_path: Path) -> None:
    for name, rate, data in (("a", 0.1, "x"), ("b", 0.2, "x"), ("c", 0.1, "x")):
        fields = {"optimizer": f"SGD(lr={rate}, momentum=0.9)", "data": data}
        recipe = {"fields": fields, "fingerprint": name, "origin": None}
        write(tmp_path / name, **{"recipe.json": recipe})
    a, b, c = (read_evidence(tmp_path / name) for name in "abc")
    assert compare_runs(a, b)["recipe"] == [{"field": "optimizer", "first": "SGD(lr=0.1)", "second": "SGD(lr=0.2)"}]
    assert compare_runs(a, c)["recipe"] == [{"field": "fingerprint", "first": "a", "second": "c"}]
    assert compare_runs(a, a)["recipe"] == []


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "\x1b[31mred", "x" * 1_000_000], ids=["markup", "escape", "long"])
def test_compare_prints_hostile_text_as_text(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("a", "plain"), ("b", text)):
        recipe = {"fields": {"model": value}, "origin": None}
        write(tmp_path / name, **{"run.json": {"run": value}, "recipe.json": recipe})
    assert compare(str(tmp_path / "a"), str(tmp_path / "b")) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert clean(text, 300)[:20] in out
    assert len(out) < 10_000
