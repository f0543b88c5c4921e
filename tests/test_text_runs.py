"""Runs over texts from the command line: a table with one column of them, from training to a diagnosis."""

import re
from pathlib import Path

import pandas as pd
import pytest

import thalweg
from thalweg.cli import main
from thalweg.core.errors import RecipeError
from thalweg.data import SequenceSource, TableSource
from thalweg.nn import Encoder, Recurrent
from thalweg.recipes.predict import judge_file

QUICK = ["--set", "epochs=2", "--set", "model.width=8", "--set", "model.depth=1"]


def mails(count: int = 60) -> pd.DataFrame:
    """Mails whose first word tells which are spam."""
    rows = [(f"{'buy' if i % 2 else 'see'} number {i} soon", "yes" if i % 2 else "no") for i in range(count)]
    return pd.DataFrame(rows, columns=["mail", "spam"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    mails().to_csv("mails.csv", index=False)
    return tmp_path


def test_from_a_table_to_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mails.csv", "--target", "spam", *QUICK, "--set", "optimizer.lr=0.05", "--quiet"]) == 0
    mails()[["mail"]].head(4).to_csv("new.csv", index=False)
    capsys.readouterr()
    assert main(["predict", "last", "new.csv", "--proba"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mail,prediction,probability,probability_no,probability_yes"
    assert [line.split(",")[1] for line in lines[1:]] == ["no", "yes", "no", "yes"]
    assert main(["evaluate", "last", "mails.csv", "--fail-if", "accuracy<0.9"]) == 0
    (path,) = Path("runs").iterdir()
    run = thalweg.load_run(path)
    assert isinstance(run.model, Encoder)
    assert judge_file(run, "mails.csv")["accuracy"][0] == 1
    held_out = pd.read_csv(path / "predictions" / "test.csv")
    assert held_out.columns.tolist() == ["mail", "spam", "prediction", "probability"]
    assert main(["report", "last"]) == 0
    assert "Which classes are taken for which" in (path / "report.html").read_text()


def test_the_text_is_named_or_found(folder: Path) -> None:
    frame = mails().assign(size=[7 * i % 13 / 2 for i in range(60)])
    frame.to_csv("more.csv", index=False)
    assert isinstance(thalweg.load("more.csv", data={"target": "spam"}).data.train, TableSource)
    recipe = thalweg.load("more.csv", data={"target": "spam", "text": "mail"}, assignments=["model.kind=rnn"])
    assert isinstance(recipe.data.train, SequenceSource)
    assert isinstance(recipe.model(), Recurrent)
    assert recipe.data.train.encoding.schema.text == "mail"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("model.widht=3", "the model 'encoder' has no argument 'widht'. Did you mean 'width'?"),
        ("model.kind=mlp", "the model 'mlp' does not read texts. Give one of encoder, rnn"),
        ("data.size=3", "mails.csv holds texts, and 'size' is for images. Leave it out."),
        ("augmentation.flip=true", "'flip' changes tables and images, but the data are texts. Leave it out."),
        ("data.tex=mail", "[data] has no key 'tex'. Did you mean 'text'?"),
        ("data.unit=letters", "unit='letters'"),
        ("data.vocabulary=many", "vocabulary is 'many', but it must be a whole number or none."),
    ],
)
def test_settings_that_cannot_be(folder: Path, setting: str, says: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)):
        thalweg.load("mails.csv", data={"target": "spam"}, assignments=[setting])


def test_a_diagnosis_comes_to_its_end(folder: Path) -> None:
    recipe = thalweg.load("mails.csv", data={"target": "spam"}, assignments=["epochs=2", *QUICK[3::2]])
    assert thalweg.diagnose(recipe, budget=3).cause is not None


def test_images_are_read_as_patches(tmp_path: Path) -> None:
    recipe = thalweg.load("digits", assignments=["model.kind=encoder", "model.patch=2", "model.width=8", "epochs=1"])
    run = thalweg.train(recipe, out=tmp_path)
    frame = recipe.data.test.frame.head(3)
    assert len(thalweg.predict(thalweg.load_run(run.path), frame)) == 3
    with pytest.raises(
        RecipeError, match=r"8 x 8 pixels as square patches, whose side is 3. Give model.patch one of 2"
    ):
        thalweg.load("digits", assignments=["model.kind=encoder", "model.patch=3"])
    with pytest.raises(RecipeError, match="whose side is not said"):
        thalweg.load("digits", assignments=["model.kind=encoder"])
