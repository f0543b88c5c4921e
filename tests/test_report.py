"""The report: a page for every kind of run folder, with all that the folder holds, at every size."""

import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from house import heavy_imports
from pages import DIARY, FINDING, PROOF, classes, history, numbers, page, score, write

from thalweg.cli import main
from thalweg.cli.report import report
from thalweg.report import interval, write_report


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run on classes and one on numbers, as `thalweg train` leaves them."""
    out = tmp_path_factory.mktemp("runs")
    for subject in ("digits", "diabetes"):
        main(["train", subject, "--set", "epochs=2", "--set", "model.width=8", "--out", str(out), "--quiet", "--json"])
    return {name: next(out.glob(f"*-{name}-*")) for name in ("digits", "diabetes")}


# --- what a page shows ------------------------------------------------------------------------------------------------


def test_a_plain_run_of_classes(trained: dict[str, Path]) -> None:
    found = page(trained["digits"])
    assert [title for title in found.titles if title != "Notices"] == [
        "Learning curves",
        "Where the loss is lost",
        "Scores",
        "Which classes are taken for which",
        "Is it as sure as it is right?",
        "The most confident mistakes",
        "The model",
        "Recipe and command",
    ]
    evaluation = json.loads((trained["digits"] / "evaluation.json").read_text())
    assert f"Accuracy on test is {interval(evaluation['metrics']['test']['accuracy'])}." in found.text
    assert f"thalweg diagnose {trained['digits'].name}" in found.text
    assert "mlp(inputs=61, outputs=10, width=8, depth=2)" in found.text
    assert "658 numbers in 6 tensors" in found.text  # 61 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    assert " at 0x" not in found.source
    assert "image" in found.tags  # the mistakes are drawn


def test_a_plain_run_of_numbers(trained: dict[str, Path]) -> None:
    found = page(trained["diabetes"])
    assert {"Residuals", "The largest residuals"} <= set(found.titles)
    assert "Is it as sure as it is right?" not in found.titles
    assert "MAE on test is" in found.text
    assert "blood_pressure" in found.text


def test_the_command_trains_the_same_again(trained: dict[str, Path], tmp_path: Path) -> None:
    command = next(text for text in page(trained["digits"]).commands if text.startswith("thalweg train "))
    arguments = shlex.split(command)[1:]
    main([*arguments, "--out", str(tmp_path), "--quiet", "--json"])
    (again,) = tmp_path.iterdir()
    first, second = (json.loads((run / "recipe.json").read_text()) for run in (trained["digits"], again))
    assert first["fingerprint"] == second["fingerprint"]


def test_a_finding_with_its_experiments_proofs_and_diary(tmp_path: Path) -> None:
    files = {
        "finding.json": FINDING,
        "proofs/1.json": PROOF,
        "proofs/2.json": PROOF | {"helped": False},
        "diary.json": DIARY,
    }
    found = page(write(tmp_path, **files))
    assert found.titles == [
        "Where the loss is lost",
        "What holds it back",
        "The experiments",
        "The proofs",
        "The diary",
        "Recipe and command",
        "Notices",
    ]
    for words in (
        "The model is too small for these data.",
        "Two units for 61 inputs.",
        "thalweg improve digits --budget 20",
        "floor (wider network) 0.001 to 0.020",
        "Size of the effect: −0.390 [−0.420, −0.360].",
        "A wider one closes 94 % of the way.",
        "Share: of the way from the train loss to the floor",
        "widen Model bias Twice the width.".replace("widen", "Widen"),
        "Validation loss lower by 0.34 [0.28, 0.40]",
        "p is how often chance alone",
        "Round 2: Nothing stands out.",
        "It ended: Nothing stands out any more.",
        "mlp.width 2 → 16",
        "helped",
        "did not help",
        "2 of 2 seeds",
        "helped, kept",
        "0.49 [0.40, 0.60] 0.10 [0.05, 0.15]",
        "18 runs, 9.4 times one training",
    ):
        assert words in found.text, words
    charts = [" ".join(figure.itertext()) for figure in found.figures]
    assert any("floor" in chart and "validation" in chart for chart in charts)
    assert any("as given" in chart and "width x 8" in chart for chart in charts)
    assert sum("seed 0" in chart and "seed 1" in chart for chart in charts) == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("DIVERGED", "Training diverged"),
        ("RUNNING", "has not ended"),
        ("INTERRUPTED", "interrupted"),
        ("FAILED", "KeyError: 'x'"),
    ],
)
def test_a_run_that_did_not_finish(tmp_path: Path, status: str, words: str) -> None:
    run = {"run": "r", "status": status, "error": "KeyError: 'x'" if status == "FAILED" else None}
    assert words in page(write(tmp_path, **{"run.json": run})).text


def test_the_verdict_is_one_sentence_and_the_rest_explains_it(tmp_path: Path) -> None:
    sentence = "The model is too small. Bigger ones close 0.8 [0.7, 0.9] of the way. p = 0.03"
    found = page(write(tmp_path, **{"finding.json": FINDING | {"sentence": sentence, "mechanism": None}}))
    assert "<h1><bdi>The model is too small.</bdi></h1>" in found.source
    assert "Bigger ones close 0.8 [0.7, 0.9] of the way. p = 0.03" in found.text


def test_nothing_stands_out_goes_on_to_predictions(tmp_path: Path) -> None:
    finding = {"cause": "NONE", "sentence": "All is well.", "ranked": [{"cause": "NONE", "sentence": "all is well"}]}
    files = {"finding.json": finding, "preprocessing.json": classes(["a", "b"])}
    assert "Next It is ready to use: thalweg.load_run" in page(write(tmp_path, **files)).text
    files["recipe.json"] = {"origin": {"settings": {"data": {"source": "a.csv"}}}}
    found = page(write(tmp_path, **files))
    assert found.commands[0] == "thalweg predict 20260101-000000-one-0000 new.csv"
    assert "What holds it back" not in found.titles


def test_a_loss_that_is_no_higher_is_not_called_lost(tmp_path: Path) -> None:
    losses = {"train": score(0.4), "validation": score(0.3), "test": score(0.5)}
    found = page(write(tmp_path, **{"finding.json": {"losses": losses | {"floor": {"low": 0.0, "high": 0.6}}}}))
    assert "the fit is as good as the floor asks" in found.text
    assert "nothing is lost on new examples" in found.text
    assert "is lost on the test set in addition" in found.text


def test_two_test_losses_on_a_page_are_of_two_halves(tmp_path: Path) -> None:
    files = {
        "finding.json": {"losses": {"test": score(0.5)}},
        "evaluation.json": {"metrics": {"test": {"loss": score(0.6)}}},
    }
    assert "which the diagnosis may read; under Scores it is of all of it." in page(write(tmp_path, **files)).text
    files["diary.json"] = {"rounds": []} | {"command": "thalweg improve digits"}
    assert "of the other half, which nothing else has read." in page(write(tmp_path, **files)).text


def test_the_experiments_of_every_round_are_shown(tmp_path: Path) -> None:
    rounds = [
        {"round": number, "cause": "MODEL_BIAS", "experiments": FINDING["experiments"][:1], "cost": FINDING["cost"]}
        for number in (1, 2)
    ]
    files = {"finding.json": FINDING, "proofs/1.json": PROOF, "diary.json": DIARY | {"rounds": rounds}}
    found = page(write(tmp_path, **files))
    assert "Round 1: Does a larger model fit better?" in found.text
    assert "Round 2: Does a larger model fit better?" in found.text
    assert "Diagnoses and proofs 33.7 s 40 runs" in found.text  # 2 x 12.3 + 9.1 s, 2 x 18 + 4 runs


def test_examples_that_differ_are_not_printed(tmp_path: Path) -> None:
    change = "splits.train ArraySource(data=(tensor([[0.0, 1.0]]))) -> ArraySource(data=(tensor([[1.0, 0.0]])))"
    arm = FINDING["experiments"][0]["arms"][0] | {"change": [change]}
    experiment = FINDING["experiments"][0] | {"arms": [arm]}
    found = page(write(tmp_path, **{"finding.json": FINDING | {"experiments": [experiment]}}))
    assert "splits.train: other examples" in found.text
    assert "tensor" not in found.text


def test_a_diagnosis_of_a_case_has_its_command(tmp_path: Path) -> None:
    files = {"finding.json": FINDING | {"command": "thalweg diagnose case:too-small"}}
    files["recipe.json"] = {"fields": {"epochs": "3"}, "origin": None}
    found = page(write(tmp_path, **files))
    assert "thalweg diagnose case:too-small" in found.commands
    assert "trained from Python" not in found.text


def test_a_finding_that_was_cut_short_says_so(tmp_path: Path) -> None:
    run = {"run": "r", "status": "INTERRUPTED"}
    found = page(write(tmp_path, **{"finding.json": FINDING, "run.json": run}))
    assert "It was interrupted: this is what was found until then." in found.text


def test_undecided_says_what_would_decide(tmp_path: Path) -> None:
    finding = {
        "cause": "UNDECIDED",
        "sentence": "Too noisy.",
        "would_decide": "Four more seeds.",
        "next": "Give it a test set.",
    }
    found = page(write(tmp_path, **{"finding.json": finding}))
    assert "What would decide it: Four more seeds." in found.text
    assert "Next Give it a test set." in found.text
    del finding["next"]
    assert "Next Four more seeds." in page(write(tmp_path, **{"finding.json": finding})).text


def test_scores_are_explained_and_those_of_one_target_named(tmp_path: Path) -> None:
    metrics = {"loss": score(0.5), "mae": score(2.0), "mae_house_price": score(3.0), "own": score(1.0)}
    found = page(write(tmp_path, **{"evaluation.json": {"metrics": {"test": metrics}}}))
    assert "MAE of house_price 3.00" in found.text
    assert "The mean absolute error, in the target's own unit." in found.text
    assert "No predictions are kept beside this run" in found.text


def test_soft_classes_are_judged_by_the_largest_share(tmp_path: Path) -> None:
    target = {"names": ["cat", "dog"], "kind": "soft classes", "labels": ["cat", "dog"], "notations": [{}, {}]}
    rows = "cat,dog,prediction,probability\n0.2,0.8,cat,0.75\n0.9,0.1,cat,0.6\n,0.1,cat,0.6\n"
    files = {"preprocessing.json": {"schema": {"target": target}}, "predictions/test.csv": rows}
    found = page(write(tmp_path, **files))
    assert "1 of 2 rows of test are wrong" in found.text
    assert "the largest one counts as its true class here" in found.text
    assert "0 dog cat 75.0%" in found.text or "1 dog cat 75.0%" in found.text


def test_tables_are_told_to_a_reader_who_does_not_see_them(trained: dict[str, Path]) -> None:
    source = page(trained["digits"]).source
    regions = re.findall(r'<div class="scroll" role="region" aria-label="Table: [^"]+" tabindex="0">', source)
    assert len(regions) == source.count("<table>")
    assert source.count('<th scope="row"') == source.count("<tr>") - source.count("<thead>")
    assert all(re.search(r">\s*<bdi>[^<]", head) for head in re.findall(r'<th scope="col".*?</th>', source))
    assert source.count('role="img" aria-label=') == source.count("<svg ")


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [0, 1, 1000])
def test_any_number_of_epochs(tmp_path: Path, epochs: int) -> None:
    found = page(write(tmp_path, **{"metrics.jsonl": history(epochs, validation=epochs != 1)}))
    assert ("Learning curves" in found.titles) == (epochs > 0)
    assert len(found.source) < 200_000


def test_losses_that_are_missing_or_strange(tmp_path: Path) -> None:
    for losses in ([None, None], [1.0, None], [-1.0, 2.0], [0.0, 0.0], [1e300, 1e-300], [5.0, 5.0]):
        rows = [{"epoch": e, "train_loss": loss, "validation_loss": None} for e, loss in enumerate(losses, 1)]
        found = page(write(tmp_path, **{"metrics.jsonl": "\n".join(map(json.dumps, rows))}))
        assert ("Learning curves" in found.titles) == any(loss is not None for loss in losses)


def test_a_hundred_classes_and_ten_thousand_rows(tmp_path: Path) -> None:
    labels = [f"class number {i}" for i in range(100)]
    rows = [f"{i},{labels[i % 100]},{labels[i * 7 % 97]},{0.5 + i % 50 / 100}" for i in range(10_000)]
    files = {
        "preprocessing.json": classes(labels),
        "predictions/test.csv": "\n".join(["size,kind,prediction,probability", *rows]),
        "evaluation.json": {"metrics": {"test": {"accuracy": score(0.5, None, None)}}, "calibration": None},
    }
    found = page(write(tmp_path, **files))
    assert "of 10,000 rows of test are wrong" in found.text
    assert len(found.source) < 400_000


def test_ten_thousand_residuals_of_two_targets(tmp_path: Path) -> None:
    rows = [f'"{i},5",{math.sin(i)},{i + 0.25},0' for i in range(10_000)]
    files = {
        "preprocessing.json": numbers(["a", "b"], decimal=",", thousands="", sign=""),
        "predictions/validation.csv": "\n".join(["a,b,prediction_a,prediction_b", *rows]),
    }
    found = page(write(tmp_path, **files))
    assert "1,500 of 10,000 rows" in found.text
    assert "true a" in found.text
    assert "predicted b" in " ".join(" ".join(figure.itertext()) for figure in found.figures)


def test_no_mistakes_show_the_least_sure(tmp_path: Path) -> None:
    rows = "kind,prediction,probability\n1.0,1,0.75\n2,2,0.5\n,2,0.9\n"
    found = page(write(tmp_path, **{"preprocessing.json": classes(["1", "2"]), "predictions/test.csv": rows}))
    assert "The least sure predictions" in found.titles
    assert "0 of 2 rows of test are wrong." in found.text


def test_a_table_with_a_column_called_prediction(tmp_path: Path) -> None:
    rows = "prediction,kind,prediction_2,probability_2\n7,a,b,0.75\n"
    found = page(write(tmp_path, **{"preprocessing.json": classes(["a", "b"]), "predictions/test.csv": rows}))
    assert "1 of 1 rows of test are wrong" in found.text


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    assert page(write(tmp_path)).titles == []
    assert "All epochs were trained." in page(write(tmp_path)).text


def test_the_page_is_the_same_when_written_again(trained: dict[str, Path]) -> None:
    assert write_report(trained["diabetes"]).read_bytes() == write_report(trained["diabetes"]).read_bytes()


# --- the command ------------------------------------------------------------------------------------------------------


def test_report_prints_the_path_of_the_page(trained: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert report(trained["digits"].name, out=trained["digits"].parent) == 0
    assert capsys.readouterr().out == f"{trained['digits'] / 'report.html'}\n"
    assert report(trained["digits"].name, out=trained["digits"].parent, json_=True) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(trained["digits"] / "report.html")


def test_neither_command_imports_torch(trained: dict[str, Path]) -> None:
    run = str(trained["digits"])
    for command in (
        f"from thalweg.cli.report import report; report({run!r})",
        f"from thalweg.cli.compare import compare; compare({run!r}, {run!r})",
    ):
        assert not heavy_imports(command) & {"torch", "pandas", "sklearn", "scipy", "torchmetrics"}


def test_a_page_is_written_where_there_is_no_screen(trained: dict[str, Path]) -> None:
    folder = str(trained["digits"])
    code = f"import pathlib, thalweg.report; thalweg.report.write_report(pathlib.Path({folder!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={"PATH": "", "MPLBACKEND": "TkAgg"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
