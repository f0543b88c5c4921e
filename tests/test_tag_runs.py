"""Runs over sentences with a tag for each word, from the command line."""

import gzip
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pandas as pd
import pytest
import torch

import thalweg
from thalweg.cli import main
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.loss import Tagging
from thalweg.nn import Recurrent, WordFeatures, encoder
from thalweg.recipes.predict import judge_file

QUICK = ["epochs=3", "model.width=8"]


@pytest.fixture
def sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("words.conll").write_text("The DET\ncat NOUN\n\nA DET\ndog NOUN\nruns VERB\n\n" * 20)
    Path("new.conll").write_text("The\ndog\n\nA\nwombat\nruns\n\n")
    return Path("words.conll")


def test_from_a_file_to_predictions(sentences: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [part for item in (*QUICK, "epochs=20", "optimizer.lr=0.05") for part in ("--set", item)]
    assert main(["train", "words.conll", *sets, "--quiet"]) == 0
    (path,) = Path("runs").iterdir()
    capsys.readouterr()
    assert main(["predict", str(path), "new.conll"]) == 0
    rows = [line.split(",")[:3] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["sentence", "token", "prediction"]
    assert [row[2] for row in rows[1:]] == ["DET", "NOUN", "DET", "NOUN", "VERB"]
    assert main(["evaluate", str(path), "words.conll", "--fail-if", "accuracy<0.9"]) == 0
    run = thalweg.load_run(path)
    assert isinstance(run.model, Recurrent)
    assert isinstance(run.model.embedding, WordFeatures)
    assert run.model.layers.bidirectional
    assert isinstance(run.recipe.objective, Tagging)
    assert run.recipe.data.train.load().tokens == 1024
    assert list(judge_file(run, "words.conll")) == ["loss", "accuracy", "balanced_accuracy", "f1"]
    assert judge_file(run, "words.conll")["f1"][0] > 0.9
    assert {"f1", "balanced_accuracy"} <= set(run.history[-1]["metrics"])
    report = (path / "report.html").read_text()
    assert "Which classes are taken for which" in report
    held_out = pd.read_csv(path / "predictions" / "test.csv")
    assert held_out.columns.tolist() == ["sentence", "token", "tag", "prediction", "probability"]
    assert (held_out["tag"] == held_out["prediction"]).mean() > 0.9
    chances = thalweg.predict(run, "new.conll", proba=True)[["probability_DET", "probability_NOUN", "probability_VERB"]]
    assert chances.sum(axis=1).to_numpy() == pytest.approx(1)


UNIVERSAL = """# newdoc id = a
# text = the cat
1\tThe\tthe\t{}\tX\t_\t0\troot\t_\t_
2-3\tcat's\t_\t_\t_\t_\t_\t_\t_\t_
2\tcat\tcat\t{}\tX\t_\t0\troot\t_\t_

"""


def test_predictions_are_written_back_as_conll(
    sentences: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = UNIVERSAL.format("DET", "NOUN")
    Path("train.conllu").write_text("".join(whole.replace("id = a", f"id = {i}") for i in range(20)))
    assert main(["train", "train.conllu", "--set", "epochs=20", "--set", "optimizer.lr=0.05", "--quiet"]) == 0
    (path,) = Path("runs").iterdir()
    for tags in (("_", "_"), ("X", "NOUN")):
        Path("new.conllu").write_bytes(UNIVERSAL.format(*tags).encode())
        assert main(["predict", str(path), "new.conllu", "-o", "out.conllu"]) == 0
        assert Path("out.conllu").read_text() == whole
        assert main(["evaluate", str(path), "out.conllu", "--fail-if", "accuracy<1", "--fail-if", "f1<1"]) == 0
    assert main(["predict", str(path), "new.conll", "-o", "out.conll.gz"]) == 0
    assert gzip.decompress(Path("out.conll.gz").read_bytes()).decode().startswith("The\tDET\ndog\tNOUN\n\nA\tDET\n")
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(UNIVERSAL.format("_", "_").encode())))
    assert main(["predict", str(path), "-", "-o", "out.conll"]) == 0
    assert Path("out.conll").read_text() == whole
    assert main(["predict", str(path), "new.conllu", "--proba", "-o", "out.csv"]) == 0
    assert pd.read_csv("out.csv")["probability_DET"].between(0, 1).all()
    capsys.readouterr()
    assert main(["predict", str(path), "new.conllu", "--proba", "-o", "out.conllu"]) == 2
    assert "has one column for the tag of a word and none for the probabilities of --proba" in capsys.readouterr().err


def test_words_behind_the_longest_sentence_have_no_tag(sentences: Path) -> None:
    run = thalweg.train(thalweg.load("words.conll", assignments=[*QUICK, "data.longest=2"]))
    with collecting() as said:
        frame = thalweg.predict(run, [["The", "dog", "runs"], ["A", "cat"]])
    assert frame["prediction"].isna().tolist() == [False, False, True, False, False]
    assert said == [
        "1 word behind position 2 of their sentence, where it is cut off (data.longest), has no prediction."
    ]


def test_balanced_classes_and_an_encoder(sentences: Path) -> None:
    settings = ["model.kind=encoder", "objective.class_weights=balanced", *QUICK, "data.validation=words.conll"]
    recipe = thalweg.load("words.conll", assignments=settings)
    assert recipe.data.test is None
    assert recipe.objective.class_weights.tolist() == pytest.approx([100 / 120, 100 / 120, 100 / 60])
    assert thalweg.train(recipe).status.good


def test_a_diagnosis_comes_to_its_end(sentences: Path) -> None:
    assert thalweg.diagnose(thalweg.load("words.conll", assignments=QUICK), budget=3).cause is not None


def test_words_with_letters_are_read_by_an_encoder_of_any_padding() -> None:
    torch.manual_seed(0)
    model = encoder(5, vocabulary=11, places=13, width=8, head="position").double().eval()
    words, lengths = torch.randint(1, 11, (2, 7, 3)), torch.tensor([7, 3])
    padded = words.clone()
    padded[1, 3:] = 0
    torch.testing.assert_close(model(padded, lengths)[1, :3], model(padded[1:, :3], lengths[1:])[0])
    for owner, given in ((encoder, {"inputs": 3, "places": 9}), (encoder, {"vocabulary": 9, "word_dropout": 0.1})):
        with pytest.raises(RecipeError, match="leave (places|word_dropout) out"):
            owner(5, **given)
    with pytest.raises(RecipeError, match=r"int64 of shape \(batch, length, 1 \+ letters\)"):
        thalweg.nn.rnn(5, vocabulary=11, places=13)(words[..., 0], lengths)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("data.target=tag", "is for tables"),
        ("fit.metrics=mae", "'mae' does not measure the target tag, which holds classes. Name of accuracy"),
        ("objective.kind=categorical", "whose likelihood is 'tagging', not 'categorical'"),
        (
            "augmentation.time_masks=1",
            "'time_masks' changes recordings and speech, but the data are sentences with tags",
        ),
    ],
)
def test_settings_that_cannot_be(sentences: Path, setting: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        thalweg.load("words.conll", assignments=[setting])
