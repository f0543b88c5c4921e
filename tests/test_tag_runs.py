"""Runs over sentences with a tag for each word, from the command line."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import thalweg
from thalweg.cli import main
from thalweg.core.errors import RecipeError
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
    assert judge_file(run, "words.conll")["accuracy"][0] > 0.9
    held_out = pd.read_csv(path / "predictions" / "test.csv")
    assert held_out.columns.tolist() == ["sentence", "token", "tag", "prediction", "probability"]
    assert (held_out["tag"] == held_out["prediction"]).mean() > 0.9
    chances = thalweg.predict(run, "new.conll", proba=True)[["probability_DET", "probability_NOUN", "probability_VERB"]]
    assert chances.sum(axis=1).to_numpy() == pytest.approx(1)


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
    with pytest.raises(RecipeError, match=r"whole numbers \(batch, length, 1 \+ letters\)"):
        thalweg.nn.rnn(5, vocabulary=11, places=13)(words[..., 0], lengths)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("data.target=tag", "is for tables"),
        ("fit.metrics=f1", "'f1' does not measure the target tag, which holds classes. Name of accuracy"),
        ("objective.kind=categorical", "whose likelihood is 'tagging', not 'categorical'"),
        ("augmentation.time_masks=1", "'time_masks' changes recordings, but the data are sentences with tags"),
    ],
)
def test_settings_that_cannot_be(sentences: Path, setting: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        thalweg.load("words.conll", assignments=[setting])
