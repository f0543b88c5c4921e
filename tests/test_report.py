"""The report: a page for every kind of run folder, hostile text as text, damaged files by name; two runs compared."""

import json
import math
import re
import shlex
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from house import heavy_imports

from thalweg.cli import main
from thalweg.cli.compare import compare
from thalweg.cli.report import report
from thalweg.core.errors import RunError
from thalweg.report import clean, compare_runs, interval, quantity, read_evidence, write_report

HOSTILE = {
    "script": "</script><script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "style": "</style><b onclick=alert(1)>",
    "svg": "]]></text></svg><script>1</script>",
    "mathtext": r"$\foo{$",
    "template": "{{ 7 * 7 }}{% raw %}",
    "turned": "abc\u202edef\u200f",
    "control": "a\x00b\x1bc\ufffed",
    "lines": "one\ntwo\r\n\tthree",
    "surrogate": "\ud800 alone",
    "quotes": "\"'`&amp;",
    "letters": "猫 αβγ עברית",
    "long": "x" * 1_000_000,
    "empty": "",
}
CHECKED = {"meta", "style", "html", "head", "title", "body", "header", "nav", "main", "section", "footer", "p", "span"}
CHECKED |= {
    "h1",
    "h2",
    "h3",
    "bdi",
    "a",
    "dl",
    "dt",
    "dd",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "ul",
    "li",
}
CHECKED |= {"figure", "figcaption", "pre", "code", "details", "summary"}
DRAWN = {"svg", "g", "path", "use", "text", "defs", "clippath", "rect", "image"}


class Page(HTMLParser):
    """The tags, the attributes and the text of a page, as a browser takes them apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def titles(self) -> list[str]:
        return re.findall(r"<h2>(.*?)</h2>", self.source)

    @property
    def figures(self) -> list[ElementTree.Element]:
        return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.source, re.DOTALL)]


def page(folder: Path) -> Page:
    """The report of a folder, after the checks that hold for every page."""
    found = Page(write_report(folder))
    assert len(found.source) < 2_000_000
    assert set(found.tags) <= CHECKED | DRAWN
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    links = [value for name, value in found.attributes if name in ("href", "src", "xlink:href")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not re.search(r"https?://", found.source)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", found.source)
    ids = [value for name, value in found.attributes if name == "id"]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all("nan" not in str(value).lower() for figure in found.figures for value in figure.attrib.values())
    return found


def score(value: float, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def write(folder: Path, **files: Any) -> Path:
    """A run folder with run.json and these files, each as JSON under its name; text is written as it is."""
    run = {
        "run": "20260101-000000-one-0000",
        "name": "one",
        "created": "2026-01-01T00:00:00+00:00",
        "status": "FINISHED",
    }
    run |= {"epochs": 3, "best_epoch": 2, "seconds": 1.5, "notices": [], "error": None, "versions": {"python": "3.11"}}
    for name, value in ({"run.json": run} | files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, str) else json.dumps(value)
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return folder


def history(epochs: int, validation: bool = True) -> str:
    rows = [
        {"epoch": e, "train_loss": 2 / e, "validation_loss": 0.1 + 2 / e if validation else None, "metrics": {}}
        for e in range(1, epochs + 1)
    ]
    return "\n".join(map(json.dumps, rows))


def classes(labels: list[str]) -> dict[str, Any]:
    return {"schema": {"columns": [], "target": {"names": ["kind"], "kind": "classes", "labels": labels}}}


def numbers(names: list[str], **notation: str) -> dict[str, Any]:
    target = {"names": names, "kind": "numbers", "labels": [], "notations": [notation] * len(names)}
    return {"schema": {"columns": [], "target": target}}


def quoted(cells: list[str]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)


FINDING: dict[str, Any] = {
    "cause": "MODEL_BIAS",
    "sentence": "The model is too small for these data.",
    "mechanism": "Two units for 61 inputs.",
    "next": "thalweg improve digits --budget 20",
    "would_decide": None,
    "ranked": [
        {"cause": "MODEL_BIAS", "share": 0.8, "sentence": "A wider one closes 94 % of the way."},
        {"cause": "MISMATCH", "share": None, "sentence": "Not judged."},
    ],
    "losses": {
        "floor": {"low": 0.001, "high": 0.02, "by": "wider network"},
        "train": score(0.41, 0.38, 0.44),
        "validation": score(0.47, 0.4, 0.54),
        "test": None,
    },
    "experiments": [
        {
            "question": "Does a larger model fit better?",
            "measure": "train loss",
            "control": {"name": "as given", **score(0.41, 0.38, 0.44), "seeds": [0, 1]},
            "arms": [
                {
                    "name": "width x 8",
                    "change": ["mlp.width 2 -> 16"],
                    **score(0.02, 0.01, 0.03),
                    "seeds": [0, 1],
                    "seconds": 2,
                },
                {
                    "name": "no end",
                    "change": [],
                    "value": None,
                    "low": None,
                    "high": None,
                    "seeds": [0],
                    "seconds": None,
                },
            ],
            "answer": "yes",
            "effect": score(-0.39, -0.42, -0.36),
            "says": "Eight times the width closes the way to the floor.",
        },
        {
            "question": "Nothing ran?",
            "measure": "train loss",
            "control": None,
            "arms": [],
            "answer": "undecided",
            "effect": None,
        },
    ],
    "remedies": [{"name": "widen", "cause": "MODEL_BIAS", "sentence": "Twice the width."}],
    "cost": {"runs": 18, "seconds": 12.3, "times": 9.4},
    "notices": ["The test set was split once."],
}
PROOF: dict[str, Any] = {
    "remedy": "widen",
    "cause": "MODEL_BIAS",
    "change": ["mlp.width 2 -> 16"],
    "measure": "validation loss",
    "pairs": [{"seed": 0, "without": 0.4, "with": 0.1}, {"seed": 1, "without": 0.5, "with": None}],
    "effect": score(-0.34, -0.4, -0.28),
    "wins": 2,
    "p": 0.03125,
    "helped": True,
    "cost": {"runs": 4, "seconds": 9.1},
}
DIARY: dict[str, Any] = {
    "command": "thalweg improve digits --budget 20",
    "rounds": [
        {
            "round": 1,
            "cause": "MODEL_BIAS",
            "sentence": "Too small.",
            "tried": [
                {"remedy": "train_longer", "helped": False, "effect": score(-0.01, -0.05, 0.03)},
                {"remedy": "widen", "helped": True, "effect": score(-0.34, -0.4, -0.28)},
            ],
            "adopted": "widen",
        },
        {"round": 2, "cause": "NONE", "sentence": "Nothing stands out.", "tried": [], "adopted": None},
    ],
    "start": {"test": {"loss": score(0.49, 0.4, 0.6)}},
    "end": {"test": {"loss": score(0.1, 0.05, 0.15)}},
    "budget": "20",
    "ended": "Nothing stands out any more.",
}


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
    command = re.search(r"<code>(thalweg train .*?)</code>", page(trained["digits"]).source)
    assert command is not None
    arguments = shlex.split(command[1].replace("&#39;", "'").replace("&#34;", '"'))[1:]
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
        "Notices",
    ]
    for words in (
        "The model is too small for these data.",
        "Two units for 61 inputs.",
        "thalweg improve digits --budget 20",
        "floor (wider network) 0.001 to 0.020",
        "Effect: −0.390 [−0.420, −0.360].",
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


# --- hostile text -----------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    return " ".join(clean(text, 10_000).split())


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_text_everywhere(tmp_path: Path, text: str) -> None:
    def spread(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spread(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spread(item) for item in value]
        return text if isinstance(value, str) else value

    names = [text, "other"]
    file = "\n".join([quoted([text + "c", "kind", "prediction", "probability"]), quoted([text, text, "other", "0.9"])])
    files = {
        "run.json": {
            "run": text,
            "name": text,
            "status": text,
            "created": text,
            "error": text,
            "notices": [text, text + "2"],
        }
        | {"versions": {text: text}, "epochs": text, "seconds": text, "best_epoch": text},
        "recipe.json": {"fields": {text: text, "model": text}, "fingerprint": text}
        | {"origin": {"name": text, "settings": {"data": {"source": text, "target": text}, text: {text: text}}}},
        "evaluation.json": {
            "metrics": {"test": {text: score(0.5, 0.4, 0.6)}, "train": {text: text}},
            "calibration": text,
        },
        "preprocessing.json": classes(names),
        "predictions/test.csv": file,
        "finding.json": spread(FINDING) | {"cause": text},
        "proofs/1.json": spread(PROOF),
        "diary.json": spread(DIARY),
        "metrics.jsonl": history(2),
    }
    found = page(write(tmp_path, **files))
    start = shown(text)[:40].strip()
    assert start in found.text
    labels = " ".join(" ".join(" ".join(figure.itertext()) for figure in found.figures).split())
    assert start[:8].strip() in labels
    if text == HOSTILE["long"]:
        assert "… (1,000,000 characters)" in found.text


def test_cleaned_text_keeps_scripts_of_people() -> None:
    assert clean("猫 αβγ עברית é") == "猫 αβγ עברית é"
    assert clean("\u202eabc") == "⟨U+202E⟩abc"


# --- damaged files ----------------------------------------------------------------------------------------------------

WRONG_SHAPES: list[Any] = [{}, {"cause": None}, {"losses": [1]}, {"experiments": {"a": 1}}, {"ranked": [1, None, {}]}]
WRONG_SHAPES += [{"experiments": [{"control": 3, "arms": [{"value": "x", "seeds": 3, "change": 5}]}]}, {"cost": "much"}]


@pytest.mark.parametrize("finding", WRONG_SHAPES, ids=str)
def test_what_a_file_does_not_say_is_left_out(tmp_path: Path, finding: Any) -> None:
    files = {
        "finding.json": finding,
        "proofs/1.json": {"pairs": 3, "effect": []},
        "diary.json": {"rounds": [{"tried": 3}]},
    }
    page(write(tmp_path, **files))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("run.json", "{", "run.json is damaged"),
        ("run.json", "[]", "it holds a list, not an object"),
        ("finding.json", "\x00", "finding.json is damaged"),
        ("proofs/a.json", '{"pairs": ', "a.json is damaged"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epoch"', "metrics.jsonl is damaged (line 2: "),
        ("metrics.jsonl", "3", "line 1 holds no object"),
        ("evaluation.json", "[" * 100_000, "evaluation.json is damaged"),
        ("checkpoints/best.safetensors", "no", "does not begin as a safetensors file does"),
        ("checkpoints/best.safetensors", struct.pack("<Q", 3).decode() + "[3]", "best.safetensors is damaged"),
        ("predictions/test.csv", "kind,prediction\na,b\n", "it has no column probability"),
        ("predictions/test.csv", "kind,prediction,probability\na,b\n", "line 2 has 2 cells, the header 3"),
        ("predictions/test.csv", "", "it has no column kind"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(RunError) as caught:
        write_report(write(tmp_path, **{"preprocessing.json": classes(["a"]), name: text}))
    assert words in str(caught.value)
    assert "take the file away" in str(caught.value)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="it has no run.json. Give a folder that thalweg train wrote."):
        write_report(tmp_path)


def test_the_page_is_the_same_when_written_again(trained: dict[str, Path]) -> None:
    assert write_report(trained["diabetes"]).read_bytes() == write_report(trained["diabetes"]).read_bytes()


# --- the commands -----------------------------------------------------------------------------------------------------


def test_report_prints_the_path_of_the_page(trained: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert report(trained["digits"].name, out=trained["digits"].parent) == 0
    assert capsys.readouterr().out == f"{trained['digits'] / 'report.html'}\n"


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


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (-0.0, "0.000"),
        (1e-9, "1e-09"),
        (-1e9, "−1e+09"),
        (12345.6, "12,346"),
        (True, "–"),
        (math.inf, "–"),
    ],
)
def test_numbers_read_well(value: Any, text: str) -> None:
    assert quantity(value) == text


def test_a_small_negative_number_does_not_show_as_minus_nothing() -> None:
    assert interval({"value": -0.001, "low": -2.0, "high": 2.0}, sign=True) == "0.0 [−2.0, +2.0]"
