"""Runs over pairs of texts from the command line: from training to texts that are put out line by line."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

import thalweg
from thalweg.cli import main
from thalweg.core.errors import DataError, RecipeError
from thalweg.data import PairSource
from thalweg.nn import RecurrentSeq2Seq, Transformer
from thalweg.recipes.data_kinds import pairs as kind
from thalweg.recipes.data_kinds.kind import Outputs
from thalweg.recipes.data_kinds.pairs import Pairs
from thalweg.recipes.decoded import Decoding
from thalweg.recipes.predict import judge_file, translate

SMALL = ["epochs=2", "model.kind=transformer", "model.width=8", "model.depth=1", "model.heads=2"]
QUICK = [part for assignment in SMALL for part in ("--set", assignment)]
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
    assert main(["predict", "last", "new.txt", "more.txt"]) == 2
    told = (
        "This run reads lines of text, of one file or the standard input, but 2 files are given. Join them: cat new.txt"
    )
    assert f"{told} more.txt | thalweg predict RUN -." in capsys.readouterr().err
    assert main(["predict", "last", "new.txt", "-o", "out.csv"]) == 0
    assert pd.read_csv("out.csv").columns.tolist() == ["source", "prediction", "score"]
    capsys.readouterr()
    assert main(["evaluate", "last", "pairs.tsv", "--json", "--fail-if", "character_error>100"]) == 0
    judged = json.loads(capsys.readouterr().out)["metrics"]
    assert set(judged) == set(scores["test"])
    assert 0 <= judged["exact_match"]["low"] <= judged["exact_match"]["high"] <= 1
    assert judged["character_error"]["value"] > 0
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


@pytest.mark.parametrize(
    ("said", "width", "dropout", "rate"), [([], 96, 0.3, 3e-3), (["model.kind=transformer"], 128, 0.2, 1e-3)]
)
def test_few_pairs_are_for_a_recurrent_network_and_each_kind_has_its_own_numbers(
    folder: Path, said: list[str], width: int, dropout: float, rate: float
) -> None:
    recipe = thalweg.load("pairs.tsv", assignments=said)
    model = recipe.model()
    assert isinstance(model, Transformer if said else RecurrentSeq2Seq)
    assert (model.output.in_features, model.dropout.p) == (width, dropout)
    assert recipe.optimizer.keywords["lr"] == rate
    assert recipe.epochs == 200
    assert not recipe.data.train.schema.copying


def test_many_pairs_are_for_a_transformer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "FEW", 36)
    assert isinstance(thalweg.load("pairs.tsv").model(), Transformer)  # 36 of 60 are trained on
    recurrent = thalweg.load("pairs.tsv", assignments=["model.kind=rnn-seq2seq"]).model()
    assert (recurrent.output.in_features, recurrent.dropout.p) == (128, 0.1)


@pytest.mark.parametrize(("source", "copying"), [("names:nl", True), ("names:ru", False)])
def test_names_of_the_world_are_built_in_and_copied_where_the_script_is_shared(source: str, copying: bool) -> None:
    recipe = thalweg.load(source, data={"categories": "territories"})
    train = recipe.data.train
    assert isinstance(train, PairSource)
    assert train.schema.names == ("en", source[-2:])
    assert train.schema.copying is copying
    assert (train.tokens, recipe.batch_size) == (1024, 32)
    assert recipe.model.keywords["copying"] is copying


def test_names_that_there_are_not_are_refused() -> None:
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


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_any_line_of_a_pipe_has_its_answer(
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = ["ab", "", "\U0001f600\u00e9\u202e", "\u05d0\u05d1\rca", "abc" * 9]
    monkeypatch.setattr("thalweg.recipes.decoded.MOST_READ", 5)
    piped(monkeypatch, b"\xef\xbb\xbf" + "\r\n".join(odd).encode())
    assert main(["predict", "last", "-"]) == 0
    assert "1 source is empty (line 2)." in caplog.text
    assert "1 source has more than 5 tokens (line 5), up to 27: what stands behind these is not read" in caplog.text
    outputs = capsys.readouterr().out.split("\n")[:-1]
    assert len(outputs) == len(odd)
    found = thalweg.predict(thalweg.load_run(trained), [*odd[:4], "abcab"])
    assert found["prediction"].tolist() == outputs
    assert found["score"].notna().all()


def test_a_pipe_that_breaks_off_keeps_what_was_said(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    piped(monkeypatch, b"ab\n\xff\xfe\n")
    assert main(["predict", "last", "-"]) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    assert "Line 2 of the standard input is not UTF-8 (invalid start byte at byte 1)" in told.err

    def interrupted() -> Iterator[str]:
        yield "ab\n"
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", interrupted())
    assert main(["predict", "last", "-"]) == 130
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_what_cannot_be_trained_on_is_said_before(folder: Path) -> None:
    Path("train.en").write_text("a b c\n" * 20)
    with pytest.raises(DataError, match="There is no file train.de. Did you mean"):
        thalweg.load("train.en", data={"target": "train.de"})
    with Path("pairs.tsv").open("a") as file:
        file.write("abc" * 350_000 + "\tx\n")
    long = r"has a text of more than 10,000 tokens \(line 61\), up to 1,050,000.* Say data.longest=2000"
    with pytest.raises(DataError, match=long):
        thalweg.load("pairs.tsv")
    assert thalweg.load("pairs.tsv", data={"longest": 50}).data.train is not None


def test_columns_that_are_called_by_languages_are_pairs_whatever_they_hold(folder: Path) -> None:
    Path("few.tsv").write_text("en\tde\n" + "".join(f"{word}\t{word}{word}\n" for word in "abcdefgh") * 8)
    for given in ({}, {"target": "en"}):
        assert isinstance(thalweg.load("few.tsv", data=given, assignments=SMALL).data.train, PairSource)
    Path("few.csv").write_text("text,target\n" + "dog,Hund\ncat,Katze\n" * 30)  # two labels
    assert not isinstance(thalweg.load("few.csv", data={"target": "target"}).data.train, PairSource)


def test_predict_asks_for_a_run() -> None:
    with pytest.raises(
        RecipeError, match=r"predict was given str, but it asks a Run. Load .*thalweg.load_run\(folder\)"
    ):
        thalweg.predict("runs/last", ["a text"])
