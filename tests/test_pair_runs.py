"""Runs over pairs of texts from the command line: from training to texts that are put out line by line."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import thalweg
from thalweg.cli import main
from thalweg.core.errors import RecipeError
from thalweg.data import PairSource
from thalweg.nn import Transformer
from thalweg.recipes.data_kinds.kind import Outputs
from thalweg.recipes.data_kinds.pairs import Pairs
from thalweg.recipes.decoded import Decoding
from thalweg.recipes.predict import judge_file, translate

QUICK = ["--set", "epochs=2", "--set", "model.width=8", "--set", "model.depth=1", "--set", "model.heads=2"]
SPELLED = {"a": "x", "b": "y", "c": "z"}


def pairs(count: int = 60) -> list[tuple[str, str]]:
    """Texts of three letters, and each letter's own letter in the same order."""
    texts = ["".join("abc"[i // 3**k % 3] for k in range(4)) for i in range(count)]
    return [(text, "".join(SPELLED[letter] for letter in text)) for text in texts]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs()))
    return tmp_path


@pytest.fixture
def trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["train", "pairs.tsv", *QUICK, "--quiet"]) == 0
    capsys.readouterr()
    (path,) = Path("runs").iterdir()
    return path


def test_from_pairs_to_texts(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = json.loads((trained / "evaluation.json").read_text())["metrics"]
    assert {"loss", "accuracy", "exact_match", "character_error", "chrf"} == set(scores["test"])
    assert set(scores["train"]) == {"loss", "accuracy"}  # decoding all of it would take long
    held_out = pd.read_csv(trained / "predictions" / "test.csv")
    assert held_out.columns.tolist()[-2:] == ["prediction", "score"]
    Path("new.txt").write_text("abca\n\ncab\n")
    assert main(["predict", "last", "new.txt", "-o", "out.txt", "--beam", "3", "--nbest", "2"]) == 0
    lines = Path("out.txt").read_text().splitlines()
    assert len(lines) == 6
    assert float(lines[0].split("\t")[0]) >= float(lines[1].split("\t")[0])
    monkeypatch.setattr("sys.stdin", io.StringIO("abca\n\ncab\n"))
    assert main(["predict", "last", "-", "--beam", "3"]) == 0
    alone = capsys.readouterr().out.splitlines()
    assert alone == [line.split("\t")[1] for line in lines[::2]]  # whatever stands in the same batch
    assert main(["predict", "last", "new.txt", "-o", "out.csv"]) == 0
    assert pd.read_csv("out.csv").columns.tolist() == ["source", "prediction", "score"]
    assert main(["evaluate", "last", "pairs.tsv", "--fail-if", "accuracy<0"]) == 0
    assert main(["report", "last"]) == 0


def test_a_source_counts_once_however_many_targets_it_has(trained: Path) -> None:
    run = thalweg.load_run(trained)
    kind, encoding = Pairs(), run.preprocessing
    outputs = Outputs(run.model, torch.device("cpu"))
    one, other = thalweg.predict(run, ["abca", "cabc"])["prediction"]

    def scores(rows: list[tuple[str, str]]) -> dict[str, tuple[float, float, float]]:
        frame = pd.DataFrame(rows, columns=["source", "target"])
        return kind.judge(PairSource.of(frame, encoding), outputs).scores()

    alone = [("abca", f"{one}x"), ("cabc", other)]
    assert scores(alone)["exact_match"][0] == 0.5
    several = scores([alone[0], ("abca", f"{one}xx"), ("abca", f"{one}xxx"), alone[1]])
    assert several == scores(alone)  # and so are the intervals, which are over sources
    assert scores([*alone, ("abca", one)])["exact_match"][0] == 1


def test_in_python(trained: Path) -> None:
    run = thalweg.load_run(trained)
    assert isinstance(run.model, Transformer)
    assert judge_file(run, "pairs.tsv")["loss"][0] > 0
    frame = thalweg.predict(run, ["abc", "ca"], decoding=Decoding(beam=2, nbest=2))
    assert frame.index.tolist() == [0, 0, 1, 1]
    (first, _), *_ = translate(run, iter(["abc"]), Decoding(beam=2, nbest=2))
    assert frame["prediction"].iloc[0] == first.text
    with pytest.raises(RecipeError, match="which have no probabilities. Leave --proba out"):
        thalweg.predict(run, ["abc"], proba=True)


def test_an_rnn_reads_pairs_too_and_copies(folder: Path) -> None:
    recipe = thalweg.load(
        "pairs.tsv", data={"copying": True}, assignments=["model.kind=rnn-seq2seq", "model.width=8", "epochs=1"]
    )
    assert isinstance(recipe.data.train, PairSource)
    assert recipe.data.train.schema.copying
    assert thalweg.train(recipe, device="cpu").status.good


def test_names_of_the_world_are_built_in() -> None:
    recipe = thalweg.load("names:ru", data={"categories": "territories"})
    train = recipe.data.train
    assert isinstance(train, PairSource)
    assert train.schema.names == ("en", "ru")
    with pytest.raises(RecipeError, match="no argument 'target'"):
        thalweg.load("names:ru", data={"target": "de"})
    with pytest.raises(RecipeError, match="Did you mean 'ru'"):
        thalweg.load("names:Russian")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"beam": 0}, "beam=0, but it is a whole number of at least 1"),
        ({"beam": 2, "nbest": 3}, "Give --beam 3 or more"),
        ({"longest": 0}, "longest=0"),
    ],
)
def test_a_decoding_that_cannot_be_is_refused(said: dict[str, int], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        Decoding(**said)  # type: ignore[arg-type]


def test_a_run_on_a_table_decodes_nothing(folder: Path) -> None:
    run = thalweg.train(thalweg.load("iris", assignments=["epochs=1"]), device="cpu", out=folder / "runs")
    with pytest.raises(RecipeError, match="reads tables, of which nothing is decoded"):
        thalweg.predict(run, "iris.csv", decoding=Decoding())
