"""Runs over recordings from the command line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import thalweg
from thalweg.cli import main
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import collecting
from thalweg.data import Masked, judged_recordings, recording_splits
from thalweg.diagnosis.laboratory import merged
from thalweg.recipes.express import as_toml, expressed
from thalweg.recipes.predict import judge_file
from thalweg.remedy.resplit import split_by_group

soundfile = pytest.importorskip("soundfile")
SAID = {"pattern": "{label}_{speaker}_{index}", "test": "index<2"}
QUICK = ["epochs=2", "model.width=8", "model.depth=1"]


def tone(pitch: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * pitch * np.arange(int(8000 * seconds)) / 8000) / 2


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("sounds").mkdir()
    for index in range(8):
        for word, pitch in (("low", 300), ("high", 1500)):
            for speaker in ("anna", "theo"):
                soundfile.write(f"sounds/{word}_{speaker}_{index}.wav", tone(pitch + index, 0.1 + 0.01 * index), 8000)
    return Path("sounds")


def test_from_a_folder_to_predictions(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"data.{key}={value}" for key, value in SAID.items()]
    sets = [part for item in (*QUICK, *given, "epochs=12", "optimizer.lr=0.02") for part in ("--set", item)]
    assert main(["train", "sounds", *sets, "--quiet"]) == 0
    (path,) = Path("runs").iterdir()
    capsys.readouterr()
    assert main(["predict", str(path), "sounds"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["path", "seconds", "prediction", "probability"]
    assert all(row[0].startswith(row[2]) for row in rows[1:])
    assert len(rows) == 33
    run = thalweg.load_run(path)
    assert thalweg.predict(run, "sounds/low_anna_3.wav")["prediction"].tolist() == ["low"]
    capsys.readouterr()
    assert main(["predict", str(path), "sounds/low_anna_3.wav", "sounds/high_theo_1.wav"]) == 0
    several = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in several] == ["sounds/low_anna_3.wav", "sounds/high_theo_1.wav"]
    assert [row[2] for row in several] == ["low", "high"]
    assert judge_file(run, "sounds")["accuracy"][0] == 1
    with pytest.raises(DataError, match=r"judged at a time, but 2 were given"):
        judged_recordings(["sounds", "sounds"], run.preprocessing)
    assert len(run.recipe.data.test.load()) == 8
    held_out = pd.read_csv(path / "predictions" / "test.csv")
    assert held_out.columns.tolist() == ["path", "label", "speaker", "index", "seconds", "prediction", "probability"]
    assert main(["report", "last"]) == 0
    assert "Which classes are taken for which" in (path / "report.html").read_text()


def test_folders_of_classes_and_masks(sounds: Path, tmp_path: Path) -> None:
    for word in ("low", "high"):
        (tmp_path / "classes" / word).mkdir(parents=True)
        for file in sounds.glob(f"{word}_*"):
            file.rename(tmp_path / "classes" / word / file.name)
    recipe = thalweg.load("classes", assignments=[*QUICK, "model.kind=rnn", "augmentation.time_masks=1"])
    assert isinstance(recipe.data.train, Masked)
    assert recipe.data.train.masks.time_masks == 1
    assert expressed(recipe.but(penalty=None), recipe).difference(recipe) == []
    assert "time_masks = 1" in (as_toml(recipe, tmp_path) or "")
    run = thalweg.train(recipe, out=tmp_path / "runs")
    assert set(judge_file(thalweg.load_run(run.path), "classes")) >= {"loss", "accuracy"}
    assert isinstance(thalweg.load_run(run.path).recipe.data.train.load(), Masked)


def test_what_is_far_longer_than_the_rest_is_cut_off(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(sounds / "low_anna_9.wav", tone(300, 8), 8000)
    with collecting() as notices:
        splits = thalweg.load("sounds", data=SAID, assignments=QUICK).data
    said = " ".join(notices)
    assert "1 recording of 33 is longer than 512 frames (5.12 s), up to 801 (8.01 s), and cut off there" in said
    assert "--set data.longest=N reads another length, data.longest=none all of it" in said
    held_by = next(name for name in ("train", "validation") if getattr(splits, name).lengths.max() > 100)
    assert f"1 recording of the {held_by} split is cut off after 512 frames (5.12 s)." in said
    assert getattr(splits, held_by).lengths.max() == 512
    for limit, most in ((None, 801), (40, 40)):
        with collecting() as notices:
            splits = thalweg.load("sounds", data={**SAID, "longest": limit}, assignments=QUICK).data
        assert getattr(splits, held_by).lengths.max() == most
        assert not any("--set data.longest" in notice for notice in notices)
    with collecting() as notices:
        assert judged_recordings("sounds", splits.train.encoding, labelled=False).lengths.max() == 40
    assert "1 recording of sounds is cut off after 40 frames (0.4 s)." in notices
    with pytest.raises(RecipeError, match="longest='atuo', but it is after how many frames"):
        thalweg.load("sounds", data={**SAID, "longest": "atuo"})


def test_a_test_recording_decides_no_length(sounds: Path) -> None:
    for index in range(2):  # all of the test recordings, a quarter of all
        for word in ("low", "high"):
            for speaker in ("anna", "theo"):
                soundfile.write(sounds / f"{word}_{speaker}_{index}.wav", tone(300, 6), 8000)
    splits = thalweg.load("sounds", data=SAID, assignments=QUICK).data
    assert splits.test.lengths.tolist() == [512] * 8
    assert thalweg.load("sounds", data=SAID, assignments=["data.longest=none"]).data.test.lengths.max() == 601


@pytest.mark.parametrize("said", [{}, {"group": "speaker"}])
def test_a_test_rule_on_the_group_leaves_validation_to_the_only_other(sounds: Path, said: dict[str, str]) -> None:
    data = {"pattern": SAID["pattern"], "test": "speaker=theo", **said}
    with collecting() as notices:
        splits = thalweg.load("sounds", data=data, assignments=QUICK).data
    assert _speakers(splits) == {"train": {"anna"}, "validation": {"anna"}, "test": {"theo"}}
    (told,) = [notice for notice in notices if "holds out by 'speaker'" in notice]
    assert "--set" not in told  # one speaker is left: there is no other to hold out
    assert set(splits.test.meta([0])["group"]) == {"theo"}


def test_a_named_group_is_held_out_for_validation_too(sounds: Path) -> None:
    for index in range(4):
        for word, pitch in (("low", 300), ("high", 1200)):
            soundfile.write(sounds / f"{word}_eve_{index}.wav", tone(pitch, 0.3), 8000)
    rule = {"pattern": SAID["pattern"], "test": "speaker=theo"}
    with collecting() as notices:
        mixed, apart = (thalweg.load("sounds", data=rule | said).data for said in ({}, {"group": "speaker"}))
    assert _speakers(mixed) == {"train": {"anna", "eve"}, "validation": {"anna", "eve"}, "test": {"theo"}}
    held = _speakers(apart)
    assert held["train"] | held["validation"] == {"anna", "eve"}
    assert not held["train"] & held["validation"]
    first, second = [notice for notice in notices if "holds out by 'speaker'" in notice]
    assert "--set data.group=speaker holds whole ones out, --set data.validation='speaker=...' those that" in first
    assert "validation is held out by 'speaker' as well" in second


def test_train_and_validation_of_recordings_can_be_joined_and_dealt_anew(sounds: Path) -> None:
    for index in range(4):
        for word, pitch in (("low", 300), ("high", 1200)):
            soundfile.write(sounds / f"{word}_eve_{index}.wav", tone(pitch, 0.3), 8000)
    rule = {"pattern": SAID["pattern"], "test": "speaker=theo"}
    recipe = thalweg.load("sounds", data=rule, assignments=QUICK)
    train, validation = recipe.data.train, recipe.data.validation
    both = merged(train, validation)
    assert both is not None
    assert both.rows["path"].tolist() == [*train.rows["path"], *validation.rows["path"]]
    assert merged(train, thalweg.load("sounds", data=rule).data.validation) is None  # read apart
    anew = split_by_group(recipe).data
    held = _speakers(anew)
    assert held["train"] | held["validation"] == {"anna", "eve"}
    assert not held["train"] & held["validation"]
    assert len(anew.train) + len(anew.validation) == len(both)
    assert split_by_group(recipe.but(data=anew)).data is anew


def test_recordings_that_are_packed_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "all.tar.gz").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"holds no recordings \(.*\). Unpack 'all.tar.gz' first. Give a folder that does"
    ):
        recording_splits(tmp_path, pattern="{label}_{index}")


def _speakers(splits: thalweg.Splits) -> dict[str, set[str]]:
    return {name: set(getattr(splits, name).rows["speaker"]) for name in ("train", "validation", "test")}


@pytest.mark.parametrize(
    ("said", "group"),
    [
        ({"test": "speaker=theo"}, "speaker"),
        ({"test": "speaker!=anna"}, "speaker"),
        ({"test": "speaker=theo", "validation": "index=7"}, "speaker"),
        ({"test": "index=3"}, None),
        ({"test": "index<3"}, None),
        ({"test": "speaker=theo", "target": "speaker", "pattern": "{word}_{speaker}_{index}"}, None),
    ],
)
def test_a_rule_that_names_members_makes_groups(sounds: Path, said: dict[str, str], group: str | None) -> None:
    for file in sounds.glob("*_theo_7.wav"):
        file.unlink()  # that two rules choose nothing twice
    if group is None and "speaker" in said["test"]:
        with pytest.raises(DataError, match="theo"):  # a class that train has none of
            recording_splits(sounds, **said)
        return
    with collecting() as notices:
        splits = recording_splits(sounds, **{"pattern": SAID["pattern"]} | said)
    assert splits.test.group_name == group
    alone = any("Test has one speaker alone, so no interval tells how another would fare" in each for each in notices)
    assert alone == (group is not None and "validation" not in said)


def test_a_test_rule_on_a_column_that_is_called_alike_is_none_on_the_group(sounds: Path) -> None:
    data = {"pattern": "{label}_{who}_{who_knows}", "test": "who_knows<2", "group": "who"}
    with collecting() as notices:
        splits = thalweg.load("sounds", data=data, assignments=QUICK).data
    assert not set(splits.train.rows["who"]) & set(splits.validation.rows["who"])
    assert not any("holds out by" in notice for notice in notices)


def test_a_diagnosis_comes_to_its_end(sounds: Path) -> None:
    assert thalweg.diagnose(thalweg.load("sounds", data=SAID, assignments=QUICK), budget=3).cause is not None


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (
            "augmentation.flip=true",
            "'flip' changes tables and images, but the data are recordings. Leave it out, or give",
        ),
        ("augmentation.pitch_share=1.5", "pitch_share is 1.5, but it is a share, from 0 to 1"),
        ("data.cache=off", "sounds holds recordings, and 'cache' is for images. Leave it out."),
        ("data.mels=0", "mels=0"),
        ("data.damaged=skp", "Did you mean 'skip'"),
    ],
)
def test_settings_that_cannot_be(sounds: Path, setting: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        thalweg.load("sounds", data=SAID, assignments=[setting])


def test_what_they_are_has_to_be_said(sounds: Path) -> None:
    with pytest.raises(DataError, match="sounds holds 32 recordings"):
        thalweg.load("sounds")
    with pytest.raises(DataError, match="Which column is to be predicted"):
        thalweg.load("sounds", data={"pattern": "{}_{}_{index}"})


def test_texts_that_recur_may_be_what_is_said(sounds: Path) -> None:
    rows = "".join(f"sounds/{path.name}\t{path.name[:3]}\t{i % 3}\n" for i, path in enumerate(sounds.iterdir()))
    Path("said.tsv").write_text(f"file\ttext\troom\n{rows}")
    with pytest.raises(DataError, match=r"there are 'text', 'room'\. .*If 'text' is .* --set data.task=text\."):
        thalweg.load("said.tsv")
    thalweg.load("said.tsv", data={"task": "text"})


def test_improve_comes_to_its_end(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [f"--set=data.{name}={value}" for name, value in SAID.items()] + [f"--set={each}" for each in QUICK]
    assert main(["improve", "sounds", *asked, "--budget=12"]) == 0
    told = capsys.readouterr()
    assert "proving: " in told.err  # a remedy of recordings was asked for, and could be said in recipe.toml
    assert "accuracy" in told.out
