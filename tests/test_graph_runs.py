"""Runs over graphs from the command line."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import thalweg
from thalweg.cli import main
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import collecting
from thalweg.data import GraphEncoding, graph_encoding
from thalweg.loss import WeightedLoss
from thalweg.recipes.data_kinds.graph import Graph
from thalweg.recipes.predict import judge_file


@pytest.fixture
def papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    topics = ["maths sum proof", "maths proof", "music song", "music song sum"]
    rows = [f"p{i},{['science', 'art'][i % 4 // 2]},{topics[i % 4]}" for i in range(40)]
    Path("papers").mkdir()
    Path("papers/nodes.csv").write_text("\n".join(["id,label,words", *rows, "p40,,song"]))
    Path("papers/edges.csv").write_text("\n".join(f"p{i},p{i + 4}" for i in range(36)))
    return Path("papers")


def test_from_a_folder_to_predictions(papers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "papers", "--quiet"]) == 0
    (path,) = Path("runs").iterdir()
    capsys.readouterr()
    assert main(["predict", str(path), "papers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "id,label,words,prediction,probability"
    assert len(lines) == 42  # all nodes, with a label or without
    assert lines[41].split(",")[3] == "art"
    assert main(["evaluate", str(path), "papers", "--fail-if", "accuracy<0.9"]) == 0
    assert "Which classes are taken for which" in (path / "report.html").read_text()
    run = thalweg.load_run(path)
    assert isinstance(run.preprocessing, GraphEncoding)
    assert isinstance(run.recipe.objective, WeightedLoss)
    assert (run.recipe.batch_size, run.recipe.epochs) == (None, 200)
    assert run.recipe.optimizer.keywords == {"lr": 0.01, "weight_decay": 5e-4}
    assert len(pd.read_csv(path / "predictions" / "test.csv")) == len(run.recipe.data.test.load())
    assert run.preprocessing.schema.normalize == "rows"
    features = run.recipe.data.train.load().inputs[0].dense()
    assert features.sum(1).allclose(features.new_ones(41))


@pytest.mark.parametrize("kind", ["gcn", "gat"])
def test_a_large_graph_of_words_is_sparse_in_its_batches(
    papers: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [f"model.kind={kind}", "epochs=4", "model.dropout=0"]
    dense = thalweg.train(thalweg.load("papers", assignments=said))
    monkeypatch.setattr(graph_encoding, "MOST_DENSE", 0)
    recipe = thalweg.load("papers", assignments=said)
    ((features, _), _) = next(recipe.data.train.batches(1, 0, None))
    assert features.layout is torch.sparse_coo
    runs = thalweg.train_many([recipe, recipe.but(seed=1)])
    for one, other in zip(dense.history, runs[0].history, strict=True):
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], abs=1e-5)
    assert runs[1].history[-1]["train_loss"] != runs[0].history[-1]["train_loss"]
    assert main(["train", "papers", "--quiet", *(f"--set={each}" for each in said)]) == 0
    capsys.readouterr()
    assert main(["predict", "last", "papers"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 42
    assert main(["evaluate", "last", "papers"]) == 0
    with collecting() as notices:
        assert thalweg.diagnose(recipe, budget=3).cause is not None
    assert not [notice for notice in notices if "could not be asked" in notice]


def test_the_karate_club(tmp_path: Path) -> None:
    run = thalweg.train(thalweg.load("karate", assignments=["model.kind=gat", "model.width=4"]), out=tmp_path)
    assert run.recipe.optimizer.keywords["lr"] == 0.005
    again = thalweg.load_run(run.path)
    assert len(thalweg.predict(again, "karate")) == 34
    assert judge_file(again, "karate")["accuracy"][0] > 0.8


def test_a_diagnosis_comes_to_its_end(papers: Path) -> None:
    assert thalweg.diagnose(thalweg.load("papers", assignments=["epochs=10"]), budget=3).cause is not None


@pytest.mark.parametrize(
    ("subject", "setting", "says"),
    [
        (
            "karate",
            "data.id=club",
            "'karate' brings its own columns and splits, so 'id' changes nothing. Leave it out.",
        ),
        ("papers", "data.lower=true", "papers holds a graph, and 'lower' is for texts. Leave it out."),
        ("papers", "model.kind=rnn", "the model 'rnn' does not read graphs. Give one of gcn, gat"),
        ("papers", "model.kind=gcm", "there is no model 'gcm'. Did you mean 'gcn'?"),
        ("papers", "data.normalize=row", "normalize='row' is not known. Did you mean 'rows'?"),
        ("iris", "model.kind=gcn", "the model 'gcn' does not read tables."),
    ],
)
def test_settings_that_cannot_be(papers: Path, subject: str, setting: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        thalweg.load(subject, assignments=[setting])


def test_graphs_that_do_not_go_with_the_run(papers: Path) -> None:
    run = thalweg.train(thalweg.load("papers", assignments=["epochs=1"]), out="runs")
    nodes = pd.read_csv("papers/nodes.csv")
    nodes.drop(columns="label").to_csv("papers/nodes.csv", index=False)
    assert len(thalweg.predict(run, "papers")) == 41
    with pytest.raises(DataError, match=r"The table lacks column 'label', .* it has 'id', 'words'"):
        judge_file(run, "papers")
    for ask in (judge_file, thalweg.predict):
        with pytest.raises(DataError, match="The run was not trained on the club 'karate': it reads other nodes, of 5"):
            ask(run, "karate")


def test_edges_may_have_weights(papers: Path) -> None:
    rows = [f"p{i},p{i + 4},{1 + i % 3}" for i in range(36)]
    Path("papers/edges.csv").write_text("\n".join(["source,target,times", *rows]))
    recipe = thalweg.load("papers", assignments=["epochs=60", "data.weights=times"])
    run = thalweg.train(recipe, out="runs")
    assert len(recipe.data.train.inputs) == 3
    assert judge_file(thalweg.load_run(run.path), "papers")["accuracy"][0] > 0.9
    with pytest.raises(RecipeError, match="The edges have weights, which this network does not read"):
        thalweg.train(thalweg.load("papers", assignments=["data.weights=times", "model.kind=gat"]))


def test_of_a_graph_with_splits_the_nodes_to_test_on_are_judged(papers: Path) -> None:
    nodes = pd.read_csv("papers/nodes.csv")
    parts = ["train", "train", "train", "train", "val", "val", "test", "test"] * 5
    nodes.assign(split=[*parts, "test"]).to_csv("papers/nodes.csv", index=False)
    run = thalweg.train(thalweg.load("papers", assignments=["epochs=1"]))
    judged = Graph().judged("papers", run.preprocessing)
    assert judged.meta(range(len(judged)))["id"].tolist() == [f"p{i}" for i in range(40) if parts[i] == "test"]
