"""The command line, in process; exit codes, signals and start-up in processes of their own."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from thalweg.cli import main
from thalweg.data import bundled


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(*arguments: str) -> int:
    return main(["train", "iris", "--set", "epochs=2", *arguments])


def test_training_prints_results_on_stdout_and_progress_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert trained() == 0
    out, err = capsys.readouterr()
    assert "All epochs were trained. 2 epochs in" in out
    assert "balanced_accuracy" in out
    assert "validation" in out
    assert "epoch 2/2  train" in err
    assert Path(err.strip().splitlines()[-1]).name == "report.html"


def test_json_is_one_document_with_its_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert trained("--json", "--quiet") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert {"run", "path", "status", "metrics", "cause", "ranked", "cost", "report"} <= set(document)
    assert set(document["metrics"]) == {"train", "validation", "test"}
    score = document["metrics"]["test"]["accuracy"]
    assert score["low"] <= score["value"] <= score["high"]
    assert err.strip() == document["report"] == document["path"] + "/report.html"
    assert Path(document["path"]).parent == Path("runs")


def test_seed_and_set_and_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert trained("--seed", "7", "--set", "optimizer.lr=0.1", "--out", "elsewhere", "--quiet") == 0
    (folder,) = Path("elsewhere").iterdir()
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["counts"] == {"seed": 7, "epochs": 2, "batch_size": 32}
    assert recipe["fields"]["optimizer"] == "Adam(lr=0.1)"


def test_runs_are_listed_and_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "no runs in runs" in capsys.readouterr().err
    trained("--quiet")
    capsys.readouterr()
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    (folder,) = Path("runs").iterdir()
    assert folder.name in out
    assert "FINISHED" in out
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["run"] == folder.name
    rows = bundled("iris").frame
    rows.to_csv("iris.csv", index=False)
    for text in ("last", "iris", folder.name, folder.name[:8], str(folder)):
        assert main(["evaluate", text, "iris.csv"]) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("lst", "There is no run 'lst' in runs. Did you mean 'last'"), ("2", "'2' begins 2 runs: ")],
)
def test_a_run_that_is_not_there(text: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    trained("--quiet")
    trained("--quiet")
    capsys.readouterr()
    assert main(["predict", text, "iris.csv"]) == 2
    assert expected in capsys.readouterr().err


def test_prediction_keeps_the_columns_and_reads_stdin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("--quiet", "--set", "epochs=20")
    frame = bundled("iris").frame.drop(columns="species")
    frame.to_csv("new.csv", index=False)
    capsys.readouterr()
    assert main(["predict", "last", "new.csv", "--proba"]) == 0
    out = capsys.readouterr().out
    predicted = pd.read_csv(io.StringIO(out))
    assert list(predicted)[:4] == list(frame)
    assert list(predicted)[4:6] == ["prediction", "probability"]
    assert (predicted["prediction"] == bundled("iris").frame["species"]).mean() > 0.8
    assert main(["predict", "last", "new.csv", "--proba", "-o", "out.csv"]) == 0
    assert Path("out.csv").read_text() == out
    assert main(["predict", "last", "new.csv", "out.csv"]) == 2
    told = "This run reads tables, one file at a time, but 2 are given: 'new.csv', 'out.csv'. Predict each by itself"
    assert told in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path("new.csv").read_bytes())))
    assert main(["predict", "last", "--proba", "-"]) == 0
    assert capsys.readouterr().out == out


def test_calibrated_probabilities_use_the_temperature_of_validation(capsys: pytest.CaptureFixture[str]) -> None:
    trained("--quiet", "--set", "epochs=20")
    bundled("iris").frame.to_csv("iris.csv", index=False)
    for name in ("plain", "calibrated"):
        extra = ["--calibrated"] if name == "calibrated" else []
        assert main(["predict", "last", "iris.csv", "-o", f"{name}.csv", *extra]) == 0
    plain, calibrated = (pd.read_csv(f"{name}.csv") for name in ("plain", "calibrated"))
    assert plain["prediction"].equals(calibrated["prediction"])
    assert not plain["probability"].equals(calibrated["probability"])


def test_a_run_folder_that_moves_still_predicts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trained("--quiet")
    (folder,) = Path("runs").iterdir()
    bundled("iris").frame.to_csv("iris.csv", index=False)
    main(["predict", "last", "iris.csv", "-o", "before.csv"])
    folder.rename("moved")
    assert main(["predict", "moved", "iris.csv", "-o", "after.csv"]) == 0
    assert Path("before.csv").read_bytes() == Path("after.csv").read_bytes()


@pytest.mark.parametrize(
    ("condition", "code"),
    [("test.accuracy<2", 3), ("test.accuracy>2", 0), ("status!=FINISHED", 0), ("validation.loss>=0", 3)],
)
def test_fail_if_sets_the_exit_code(condition: str, code: int) -> None:
    assert trained("--quiet", "--fail-if", condition) == code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian", "iris"], 'Did you mean "train"'),
        (["train", "iris", "--sed", "3"], "Did you mean --seed"),
        (["train", "irsi"], "There is no subject 'irsi': .* Did you mean 'iris'"),
        (["train", "iris", "--set", "epoch=3"], "Did you mean 'epochs'"),
        (["train", "iris", "--target", "specis"], "Did you mean 'species'"),
        (["train", "iris", "--missing", "dorp"], "dorp"),
        (["train", "iris", "--set", "epochs=1", "--fail-if", "test.acuracy<1"], "Did you mean 'test.accuracy'"),
        (["train", "iris", "--set", "epochs=1", "--fail-if", "accuracy"], "is no comparison"),
        (["predict", "last", "x.csv"], "There are no runs in runs"),
    ],
)
def test_wrong_usage_exits_with_two_and_says_the_mend(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert main(arguments) == 2
    assert re.search(expected, " ".join(capsys.readouterr().err.replace("│", " ").split()))


def test_a_run_that_diverges_exits_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "diabetes", "--quiet", "--set", "optimizer.kind=sgd", "--set", "optimizer.lr=1e9"]
    assert main([*arguments, "--set", "epochs=3"]) == 1
    assert "The loss became NaN or infinite" in capsys.readouterr().out


# --- processes of their own ---


def as_from_a_shell() -> None:
    """Take signals as a foreground command does: tests that run in the background, or under nohup, ignore some."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    return subprocess.Popen(
        [sys.executable, "-m", "thalweg", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=as_from_a_shell,
        **options,
    )


def test_exit_codes_reach_the_shell() -> None:
    process = command("train", "nowhere")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "There is no subject 'nowhere'" in err


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.battery),
        pytest.param(signal.SIGHUP, 143, marks=pytest.mark.battery),
    ],
)
def test_a_signal_ends_the_run_with_its_weights_written(number: signal.Signals, code: int) -> None:
    process = command("train", "digits", "--set", "epochs=100000")
    assert process.stderr is not None
    deadline = time.monotonic() + 100
    try:
        while "epoch 3/" not in process.stderr.readline():
            assert time.monotonic() < deadline, "training never reached its third epoch"
        process.send_signal(number)
        out, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == code
    assert "interrupted" in out
    (folder,) = Path("runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "INTERRUPTED"
    assert (folder / "checkpoints" / "best.safetensors").stat().st_size > 0


def test_a_training_goes_on_whose_progress_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("epoch"):
                raise BrokenPipeError
            return super().write(text)

    monkeypatch.setattr(sys, "stderr", Gone())
    assert main(["train", "iris", "--set", "epochs=2"]) == 0
    (folder,) = Path("runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "FINISHED"


def test_streams_that_are_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        closed.setattr(sys, "stderr", None)
        assert main(["train", "iris", "--set", "epochs=1"]) == 0
        sys.stdout.close()
        sys.stderr.close()
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdin", None)
        assert main(["predict", "last", "-"]) == 2
        sys.stdin.close()
    assert "the standard input is empty" in capsys.readouterr().err


def test_help_is_instant_because_it_imports_no_torch() -> None:
    code = (
        "import sys; from thalweg.cli import main; main(['--help']); main(['runs']); assert 'torch' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert process.returncode == 0, process.stderr
    assert "Usage: thalweg COMMAND" in process.stdout
