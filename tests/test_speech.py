"""Speech: manifests of recordings and transcripts, as a source of batches and from the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from resuming import bits, broken_off

import thalweg
from thalweg.cli import main
from thalweg.core.convert import loaded
from thalweg.core.errors import DataError, RecipeError, RunError, Unsupported
from thalweg.core.notices import collecting
from thalweg.core.tokens import END, NO_TARGET, START
from thalweg.data import Masked, SpecAugment, SpeechEncoding, judged_speech, speech_splits
from thalweg.data.image_listing import paths_of
from thalweg.measure.reward import REWARDS
from thalweg.recipes.data_kinds.known import kind_at
from thalweg.recipes.data_kinds.speech import Speech, in_step
from thalweg.recipes.predict import scores_on, translate
from thalweg.recipes.settings import Settings
from thalweg.recipes.subject import load

soundfile = pytest.importorskip("soundfile")
PITCHES = {"low": 400, "mid": 1000, "high": 2400}
RATE = 8000


def sung(words: list[str]) -> np.ndarray:
    """A tone of 60 ms for each word."""
    return np.concatenate([np.sin(2 * np.pi * PITCHES[word] * np.arange(480) / RATE) / 2 for word in words])


def texts(count: int) -> list[list[str]]:
    random = np.random.default_rng(0)
    return [random.choice(list(PITCHES), random.integers(2, 5)).tolist() for _ in range(count)]


@pytest.fixture
def songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 recordings and a manifest: path, what is sung, a few singers, and which part a recording is of."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for number, words in enumerate(texts(40)):
        soundfile.write(f"{number}.{'flac' if number % 2 else 'wav'}", sung(words), RATE)
        rows.append({"path": f"{number}.{'flac' if number % 2 else 'wav'}", "singer": f"singer {number % 5}",
                     "part": "test" if number < 6 else "rest", "said": " ".join(words)})  # fmt: skip
    pd.DataFrame(rows).to_csv("songs.tsv", sep="\t", index=False)
    return Path("songs.tsv")


def manifest(text: str, name: str = "few.tsv") -> Path:
    Path(name).write_text(text)
    return Path(name)


# --- the source -------------------------------------------------------------------------------------------------------


def test_batches_hold_frames_and_what_is_said(songs: Path) -> None:
    splits = speech_splits(songs, target="said", unit="words", test="part=test")
    train = splits.train
    assert (len(train), len(splits.validation), len(splits.test)) == (27, 7, 6)
    seen = 0
    for x, y in train.batches(1, 0, torch.Generator().manual_seed(0)):
        assert x["source"].shape[2] == 40
        assert x["source"].shape[1] == x["lengths"].max()
        assert (x["prefix"][:, 0] == START).all()
        assert ((y == END).sum(1) == 1).all()
        for row, steps in enumerate((y >= 0).sum(1).tolist()):
            assert torch.equal(x["prefix"][row, 1:steps], y[row, : steps - 1])
        seen += len(y)
    assert seen == len(train)
    frames = np.concatenate([train.encoded.source[i] for i in train.ids.tolist()])
    assert np.abs(frames.mean(0)).max() < 1e-4
    assert train.text(y[0].tolist(), 0) in train.targets
    assert SpeechEncoding.from_json(json.loads(json.dumps(train.encoding.to_json()))) == train.encoding


def test_an_example_is_the_same_alone_and_in_a_batch(songs: Path) -> None:
    source = speech_splits(songs, target="said", unit="characters").train
    (x, y), place = next(source.batched(4).batches(0, 0, None)), 2
    alone, target = next(source.take([place]).batches(0, 0, None))
    length, steps = int(alone["lengths"][0]), int((target >= 0).sum())
    assert torch.equal(x["source"][place, :length], alone["source"][0])
    assert not x["source"][place, length:].any()
    assert torch.equal(y[place, :steps], target[0])
    assert (y[place, steps:] == NO_TARGET).all()


def test_groups_and_rules_part_the_recordings(songs: Path) -> None:
    splits = speech_splits(songs, target="said", group="singer")
    singers = [set(split.rows["singer"]) for split in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, singers)) == len(set().union(*singers)) == 5
    ruled = speech_splits(songs, target="said", test="singer=singer 1", validation="singer=singer 0")
    assert set(ruled.validation.rows["singer"]) == {"singer 0"}
    assert set(ruled.test.rows["singer"]) == {"singer 1"}
    assert len(ruled.train) == 24


def test_a_fold_keeps_the_size_of_the_vocabulary(songs: Path) -> None:
    train = speech_splits(songs, target="said", unit="words", fewest=1).train
    fold = train.fit([0])
    assert len(fold.encoding.target) == len(train.encoding.target)
    assert fold.encoding.means != train.encoding.means
    assert fold.fingerprint() != train.fingerprint() == train.take(range(len(train))).fingerprint()


def test_a_recording_twice_has_two_transcripts(songs: Path) -> None:
    both = manifest("path\tsaid\n0.wav\tone\n0.wav\tuno\n1.flac\ttwo\n")
    encoding = speech_splits(songs, target="said").train.encoding
    assert judged_speech(both, encoding).references([1, 2]) == [["uno", "one"], ["two"]]


def test_masks_are_over_frames_in_training_alone(songs: Path) -> None:
    train = speech_splits(songs, target="said").train
    masked = Masked(train, SpecAugment(pitch_masks=1, time_masks=0, pitch_share=0.5))
    random = torch.Generator().manual_seed(0)
    x, y = next(masked.batches(1, 0, random.clone_state()))
    plain, same = next(train.batches(1, 0, random))
    assert torch.equal(y, same)
    assert torch.equal(x["prefix"], plain["prefix"])
    assert not torch.equal(x["source"], plain["source"])
    judged = next(masked.batches(0, 0, None))[0]
    assert torch.equal(judged["source"], next(train.batches(0, 0, None))[0]["source"])


def test_without_transcripts_they_are_only_heard(songs: Path) -> None:
    encoding = speech_splits(songs, target="said").train.encoding
    heard = judged_speech(".", encoding, labelled=False)
    assert len(heard) == 40
    assert heard.inputs(torch.tensor([3]))["source"].shape[0] == 1
    with pytest.raises(Unsupported, match="These recordings have no transcripts"):
        next(heard.batches(0, 0, None))


# --- which kind a table is --------------------------------------------------------------------------------------------


def kind(path: Path, **data: Any) -> str:
    return kind_at(Settings({"data": {"source": str(path), **data}})).name


def test_few_classes_stay_classes_unless_told_otherwise(songs: Path) -> None:
    assert kind(songs, target="said") == "speech"
    assert kind(songs, target="singer") == "recordings"
    assert kind(songs, target="singer", task="text") == "speech"
    assert kind(songs, target="singer", unit="words") == "speech"
    assert kind(songs, target="said", task="classification") == "recordings"
    numbers = manifest("path\tage\n" + "".join(f"{i}.wav\t{i}.5\n" for i in range(0, 40, 2)))
    assert kind(numbers, target="age") == "recordings"
    assert kind(Path(), pattern="{label}") == "recordings"


def test_lines_of_json_and_csv_are_manifests(songs: Path) -> None:
    rows = pd.read_csv(songs, sep="\t")[["path", "said"]].rename(columns={"said": "text"})
    rows.to_json("songs.jsonl", orient="records", lines=True)
    rows.to_csv("songs.csv", index=False)
    wanted = speech_splits(songs, target="said").train
    for path in ("songs.jsonl", "songs.csv"):
        assert kind(Path(path)) == "speech"
        assert speech_splits(path).train.targets == wanted.targets


def test_quotes_between_tabs_are_text(songs: Path) -> None:
    quoted = manifest('path\tsaid\n0.wav\tthe "one\n1.flac\t"two" more\n2.wav\tc\n3.flac\td\n4.wav\te\n')
    assert sorted(judged_speech(quoted, speech_splits(songs, target="said").train.encoding).targets)[:2] == [
        '"two" more',
        "c",
    ]


# --- from the command line --------------------------------------------------------------------------------------------


def test_from_a_manifest_to_texts(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = manifest("\n".join(songs.read_text().splitlines()[:15]) + "\n", "some.tsv")
    sets = [
        "data.target=said",
        "data.unit=words",
        "data.fewest=1",
        "data.test=part=test",
        "epochs=12",
        "model.width=8",
        "optimizer.lr=0.03",
    ]
    given = [part for item in (*sets, "augmentation.time_masks=1") for part in ("--set", item)]
    assert main(["train", str(few), *given, "--quiet", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"exact_match", "word_error", "character_error"} <= set(result["metrics"]["test"])
    path = Path(result["path"])
    kept = json.loads((path / "decoding.json").read_text())
    assert sum(each["outputs"] for each in kept["in_order"]["kinds"]) > 0
    assert kept["attention"]
    assert all(len(row) == len(item["source"]) for item in kept["attention"] for row in item["weights"])
    page = (path / "report.html").read_text()
    assert "Was the source read once, in order?" in page
    assert "under the second at which it begins" in page
    Path("two").mkdir()
    for name in ("1.flac", "2.wav"):
        Path(name).rename(f"two/{name}")
    assert main(["predict", str(path), "two", "-o", "two.txt"]) == 0
    lines = Path("two.txt").read_text().splitlines()
    run = thalweg.load_run(path)
    said = thalweg.predict(run, "two")
    assert said["path"].tolist() == ["1.flac", "2.wav"]
    assert said["prediction"].tolist() == lines
    assert main(["predict", str(path), "two/2.wav", "two", "-o", "both.txt"]) == 0
    assert Path("both.txt").read_text().splitlines() == [lines[1], *lines]
    both = thalweg.predict(run, ["two/2.wav", "two/1.flac"])
    assert both["path"].tolist() == ["two/2.wav", "two/1.flac"]
    assert both["prediction"].tolist() == lines[::-1]
    Path("two/1b.wav").touch()  # cannot be read, and those behind it keep their lines
    assert main(["predict", str(path), "two", "-o", "three.txt"]) == 0
    assert Path("three.txt").read_text().split("\n") == [lines[0], "", lines[1], ""]
    with pytest.raises(RunError, match="This run reads speech; only one that was trained on"):
        next(translate(run, ["a"]))


def test_masked_speech_goes_on_to_the_same_bits(songs: Path) -> None:
    said = ["data.target=said", "data.unit=words", "data.tokens=300", "model.width=4", "augmentation.time_masks=1"]
    recipe = thalweg.load(songs, assignments=[*said, "epochs=2"])
    whole = thalweg.train(recipe, device="cpu")
    again = thalweg.resume(broken_off(recipe, Path("runs"), step=2))
    assert bits(again) == bits(whole)


def test_several_outputs_stand_behind_their_scores() -> None:
    known = {"path": ["a.wav"] * 3, "prediction": ["a b", "a", "b"], "score": [-0.5, -1.25, -2.0]}
    frame = pd.DataFrame(known, index=[3, 3, 5])
    wanted = ["-0.5000\ta b", "-1.2500\ta", "", "-2.0000\tb"]
    assert in_step(frame, ["a.wav", "b.wav", "a.wav"], "path") == wanted
    assert Speech().writer(None, None, None, False)(frame).startswith(b"path,prediction,score")


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_a_reward_is_of_the_units_of_transcripts(songs: Path, unit: str) -> None:
    said = [f"data.unit={unit}", "data.target=said", "objective.reward=bleu", "model.pretrained=some.safetensors"]
    recipe = load(songs, assignments=said)
    assert recipe.optimizer.keywords["lr"] == 3e-4  # a tenth of the usual
    tokens = recipe.data.train.encoding.target.numbers
    for words in (["low", "mid"], ["mid", "high", "low"]):
        rows = [tuple(tokens[each] for each in (" ".join(own) if unit == "characters" else own)) for own in
                (words, ["low", "high"])]  # fmt: skip
        worth = REWARDS["bleu"](unit)(*map(" ".join, ([*words], ["low", "high"])))
        assert recipe.objective.score(rows[:1], rows[1]) == [worth]


@pytest.mark.battery
def test_it_learns_to_hear(songs: Path) -> None:
    recipe = load(str(songs), assignments=["data.target=said", "data.unit=words", "data.test=part=test", "epochs=40",
                                           "model.width=24", "optimizer.lr=0.01", "fit.batch_size=4",
                                           "data.tokens=none"])  # fmt: skip
    run = thalweg.train(recipe)
    assert scores_on(run, loaded(run.recipe.data.test))["word_error"][0] < 0.34


# --- what cannot be used ----------------------------------------------------------------------------------------------


def test_errors_say_what_and_where(songs: Path) -> None:
    missing = manifest("path\tsaid\n0.wav\tone\n99.wav\ttwo\n")
    with pytest.raises(
        DataError, match=r"1 recording of 2 in column 'path' cannot be found, such as 99.wav \(line 3\)"
    ):
        speech_splits(missing)
    nameless = manifest("0.wav\tone two\n1.flac\ttwo\n2.wav\ta\n")
    with pytest.raises(DataError, match="first line of few.tsv is .* names a recording, '0.wav'. Say data.header=fal"):
        speech_splits(nameless)
    assert len(speech_splits(nameless, header=False).train) == 1
    empty = manifest("path\tsaid\n0.wav\tone\n1.flac\t\n2.wav\ta\n")
    with pytest.raises(DataError, match=r"1 pair of 3 lacks a text: 'said' 1 \(line 3\). Fill them in, or"):
        speech_splits(empty)
    short = np.zeros(20)
    soundfile.write("short.wav", short, RATE)
    Path("broken.flac").write_bytes(b"fLaC and no more")
    bad = manifest("path\tsaid\n0.wav\tone\nshort.wav\ttwo\nbroken.flac\tthree\n")
    with pytest.raises(DataError, match=r"short.wav: it is 20 samples long \(2.5 ms\), shorter than a window of 25 ms"):
        speech_splits(bad)
    with pytest.raises(DataError, match="broken.flac: it is no sound file that can be read"):
        speech_splits(bad)
    with pytest.raises(DataError, match="There is no column 'sayd' in songs.tsv. Did you mean 'said'?"):
        speech_splits(songs, target="sayd")
    with pytest.raises(DataError, match="Which column of songs.tsv holds what is said"):
        speech_splits(songs)
    with pytest.raises(DataError, match="'path' of songs.tsv names the recordings"):
        speech_splits(songs, target="path")
    with pytest.raises(DataError, match="no column 'singr' in songs.tsv for data.group"):
        speech_splits(songs, target="said", group="singr")
    with pytest.raises(DataError, match="target=9 is no column of songs.tsv"):
        speech_splits(songs, target=9)
    with pytest.raises(RecipeError, match="task='regression', but what recordings say is read as text"):
        speech_splits(songs, target="said", task="regression")
    with pytest.raises(DataError, match="does not say what is said. Give a table"):
        speech_splits(Path("0.wav"))
    twice = manifest("path\tsaid\tsaid\n0.wav\ta\tb\n")
    with pytest.raises(DataError, match="names its columns 'path', 'said', 'said'"):
        speech_splits(twice)
    with pytest.raises(RecipeError, match="tokens=0, but it is how many frames and tokens a batch may have"):
        speech_splits(songs, target="said", tokens=0)
    with pytest.raises(RecipeError, match="longest=0, but it is after how many frames"):
        speech_splits(songs, target="said", longest=0)


def test_empty_transcripts_may_be_dropped_or_kept(songs: Path) -> None:
    rows = songs.read_text().splitlines()
    rows[1] = rows[1].rsplit("\t", 1)[0] + "\t"
    holed = manifest("\n".join(rows) + "\n")
    with collecting() as said:
        dropped = speech_splits(holed, target="said", missing="drop")
        kept = speech_splits(holed, target="said", missing="keep")
    assert sum(map(len, (dropped.train, dropped.validation, dropped.test))) == 39
    assert sum(map(len, (kept.train, kept.validation, kept.test))) == 40
    assert any("transcript is empty and kept so" in line for line in said)


def test_what_a_run_cannot_judge(songs: Path) -> None:
    encoding = speech_splits(songs, target="said").train.encoding
    with pytest.raises(DataError, match="does not say what is said. Give a table with the columns 'path' and 'said'"):
        judged_speech(".", encoding)
    with pytest.raises(DataError, match="There is no column 'said' of transcripts in few.tsv"):
        judged_speech(manifest("path\tsayd\n0.wav\tone\n"), encoding)
    with pytest.raises(DataError, match=r"judged at a time, but 2 were given: 'songs.tsv', '0.wav'. Judge each by its"):
        judged_speech(["songs.tsv", "0.wav"], encoding)
    with pytest.raises(
        DataError, match=r"a list of these is read, but \[\] \(list\) was given. Give one path at least"
    ):
        judged_speech([], encoding, labelled=False)
    for other in (pd.DataFrame({"path": ["0.wav"]}), ["0.wav", 1]):
        with pytest.raises(DataError, match=r"a list of these is read, but [\s\S]* was given"):
            paths_of(other)


def test_a_model_that_reads_no_frames_is_refused(songs: Path) -> None:
    with pytest.raises(RecipeError, match="'transformer' does not read speech. Give one of rnn-"):
        load(str(songs), assignments=["data.target=said", "model.kind=transformer"])
