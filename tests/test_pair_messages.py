"""What is said of pairs: how a command is mended, which file is meant, and what a run is compared with."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import thalweg
from thalweg.cli import main
from thalweg.core.convert import loaded
from thalweg.core.errors import DataError, RecipeError
from thalweg.data import PairSchema, PairSource, pair_splits
from thalweg.data.pair_decisions import choose_units
from thalweg.recipes.predict import judge_file, scores_on, translate

SMALL = ["epochs=2", "model.kind=transformer", "model.width=8", "model.depth=1", "model.heads=2"]
QUICK = [part for assignment in SMALL for part in ("--set", assignment)]
ENGLISH = [f"the house number {i} is red" for i in range(30)]
GERMAN = [f"das Haus Nummer {i} ist rot" for i in range(30)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two parallel files and a run on them."""
    place = tmp_path_factory.mktemp("pairs")
    for name, lines in (("train.en", ENGLISH), ("train.de", GERMAN)):
        (place / name).write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["train", "train.en", "--set", "data.target=train.de", *QUICK, "--quiet"]) == 0
    return place


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which a test stands in."""
    copy = shutil.copytree(made, tmp_path / "pairs")
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def trained(folder: Path) -> Path:
    (path,) = Path("runs").iterdir()
    return path


def test_a_run_and_its_diagnosis_were_given_the_same_data(trained: Path) -> None:
    from thalweg.cli.options import TrainingOptions
    from thalweg.cli.subject import read_subject

    again = read_subject(str(trained), TrainingOptions())
    kept = json.loads((trained / "recipe.json").read_text())
    assert again.describe()["data"] == kept["fields"]["data"]
    assert again.fingerprint() == kept["fingerprint"]


def test_improve_gives_the_scores_of_what_is_decoded(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = thalweg.load_run(trained)
    assert run.recipe is not None
    judged = json.loads((trained / "evaluation.json").read_text())["metrics"]["test"]
    scores = scores_on(run, loaded(run.recipe.data.test), device="cpu")
    assert {name: value for name, (value, *_) in scores.items()} == pytest.approx(
        {name: score["value"] for name, score in judged.items()}
    )
    given: dict[str, Any] = {}

    def stopped(recipe: Any, **options: Any) -> None:
        given.update(options)
        raise DataError("stopped here")

    monkeypatch.setattr("thalweg.remedy.improve", stopped)
    assert main(["improve", str(trained), "--quiet"]) == 2
    assert given["score"] is scores_on


def test_columns_of_sentences_are_pairs_whose_two_columns_are_asked_for(folder: Path) -> None:
    rows = [
        f"{one}\t{other}\tCC-BY 2.0 (France) #{i}\n" for i, (one, other) in enumerate(zip(ENGLISH, GERMAN, strict=True))
    ]
    Path("three.tsv").write_text("".join(rows))
    with pytest.raises(DataError, match=r"line 1, has 3 cells, and a pair has two.* data.text=0 data.target=1"):
        thalweg.load("three.tsv")
    train = thalweg.load("three.tsv", data={"text": 0, "target": 1}, assignments=SMALL).data.train
    assert train.schema.names == ("c0", "c1")
    Path("table.tsv").write_text("id\treview\tits answer\n" + "".join(rows))  # a header is no sentence
    with pytest.raises(DataError, match="Which column is to be predicted"):
        thalweg.load("table.tsv")
    Path("asked.tsv").write_text("Who wrote all this\tWhat was the answer\tsource\n" + "".join(rows))
    with pytest.raises(DataError, match="If it is a table, name the column to predict and no text: data.target=NAME"):
        thalweg.load("asked.tsv")


def test_a_single_column_is_told_of_two_parallel_files(folder: Path) -> None:
    with pytest.raises(DataError, match=r"There is a single column, .*: --set data.target=FILE \(target=\)"):
        thalweg.load("train.en")


def test_one_long_line_does_not_make_words_of_names(caplog: pytest.LogCaptureFixture) -> None:
    names = pd.DataFrame({"en": ["Rome"] * 9 + ["of it much is told " * 99], "it": ["Roma"] * 10})
    with caplog.at_level("INFO", logger="thalweg"):
        assert choose_units(names, ("en", "it"), False) == ("characters", "characters")
    assert "'en' has 1 words a text, by the median: read as characters" in caplog.text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("metrics=mae", r"Name of accuracy. Unasked, exact_match, word_error, bleu, chrf are measured at the end"),
        (
            "metrics=bleu",
            r"--set metrics=bleu: 'bleu' is no metric of every epoch. Unasked, exact_match, .* Leave it out",
        ),
        ("objective.kind=gaussian", r"whose likelihood is 'tagging', not 'gaussian'. Leave \[objective\] kind out."),
        ("model.heads=3", r"--set model.heads=3: transformer: heads is 3, which does not divide a width of 8"),
    ],
)
def test_what_pairs_do_not_have_is_not_advised(folder: Path, said: str, told: str) -> None:
    assignments = [*(one for one in SMALL if not said.startswith(one.partition("=")[0])), said]
    with pytest.raises(RecipeError, match=told) as raised:
        thalweg.load("train.en", data={"target": "train.de"}, assignments=assignments)
    assert "--task" not in str(raised.value)


def test_tables_may_still_say_the_task() -> None:
    with pytest.raises(RecipeError, match="or say --task"):
        thalweg.load("iris", assignments=["metrics=mae"])


def test_unknown_categories_of_names_are_told_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="no category 'planets' of names. .*They are territories, languages, scripts"):
        thalweg.load("names:de", data={"categories": "planets"})


def test_an_output_is_what_its_name_says(trained: Path) -> None:
    Path("new.txt").write_text("the red house\nis red\n")
    for name in ("out.xlsx", "out.parquet", "out.JSON"):
        with pytest.raises(RecipeError, match=rf"--output {name}: .* Call it out.csv \(a table"):
            main_raising("predict", "last", "new.txt", "-o", name)
        assert not Path(name).exists()
    assert main(["predict", "last", "new.txt", "-o", "out.tsv"]) == 0
    assert pd.read_csv("out.tsv", sep="\t").columns.tolist() == ["en", "prediction", "score"]


def main_raising(*words: str) -> None:
    """A command whose error is raised, not printed."""
    from thalweg.cli.predict import predict

    run, file, _, output = words[1:]
    predict(run, file, output=Path(output))


def test_a_nul_is_refused_from_a_pipe_as_from_a_file(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("nul.txt").write_bytes(b"the house\na \x00 house\n")
    assert main(["predict", "last", "nul.txt"]) == 2
    assert "nul.txt holds a NUL byte in line 2" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path("nul.txt").read_bytes()), encoding="utf-8"))
    assert main(["predict", "last", "-"]) == 2
    told = capsys.readouterr()
    assert "Line 2 of the standard input holds a NUL, which no text has" in told.err
    assert len(told.out.splitlines()) == 1


def test_what_is_odd_about_lines_is_said_once_for_all(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = thalweg.load_run(trained)
    with caplog.at_level("INFO", logger="thalweg"):
        answers = list(translate(run, iter(["a house", "", "red", " ", "the", ""])))
    assert len(answers) == 6
    assert caplog.messages == ["3 sources are empty (lines 2, 4 and 6)."]


def test_evaluate_names_the_partner_of_a_file(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, lines in (("new.txt", ENGLISH[:4]), ("their.txt", GERMAN[:4])):
        Path(name).write_text("\n".join(lines) + "\n")
    assert main(["evaluate", "last", "new.txt"]) == 2
    assert "or to thalweg evaluate --target TARGETS" in capsys.readouterr().err
    assert main(["evaluate", "last", "new.txt", "--target", "their.txt", "--json"]) == 0
    assert {"loss", "bleu"} <= set(json.loads(capsys.readouterr().out)["metrics"])


def test_targets_of_a_table_have_no_file_of_their_own(folder: Path) -> None:
    run = thalweg.train(thalweg.load("iris", assignments=["epochs=1"]), device="cpu", out=folder / "others")
    with pytest.raises(RecipeError, match=r"reads tables, .* Leave --target other.csv out: only pairs"):
        judge_file(run, "iris.csv", target="other.csv")


def test_a_recipe_finds_all_its_files_beside_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "[data]\nsource = 'train.en'\ntarget = 'train.de'\nvalidation = 'train.en'\ntest = ['train.en', 'train.de']\n"
    )
    Path("recipe.toml").write_text(text)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    data = thalweg.load(folder / "recipe.toml", assignments=SMALL).data
    assert [len(split) for split in (data.train, data.validation, data.test)] == [30, 30, 30]


def test_texts_tell_sources_apart_that_have_the_same_tokens() -> None:
    encoding = pair_splits(
        pd.DataFrame({"source": ENGLISH, "target": ENGLISH}), unit="words", copying=True
    ).train.encoding

    def source(name: str) -> PairSource:
        return PairSource.of(pd.DataFrame({"source": [f"house {name}"], "target": [name]}), encoding)

    first, second = source("Rome"), source("Oslo")
    tokens = [[part.values.tolist() for part in one.encoded if part is not None] for one in (first, second)]
    assert tokens[0] == tokens[1]
    assert first.fingerprint() != second.fingerprint() != source("Rome").fingerprint()
    assert first.fingerprint() == source("Rome").fingerprint()
    assert first.fingerprint() != first.budgeted(9).fingerprint()
    assert isinstance(first.schema, PairSchema)
    assert np.array_equal(first.ids, [0])
