"""Recordings: samples to frames, equal to a slow twin; files and folders to lists; damage named with its file."""

import json
import math
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import collecting
from thalweg.data.audio import LogMel, Recording, read_recording, resampled, standardized, to_hertz, to_mel
from thalweg.data.audio_listing import columns_of, list_recordings, list_sounds, parts_by, rows_by, suggested
from thalweg.data.recording_loading import judged_recordings, recording_splits
from thalweg.data.recordings import AudioOptions, gather_recordings, gather_sounds

soundfile = pytest.importorskip("soundfile")
RATE = 8000


def tone(hertz: float = 440, seconds: float = 0.2, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write(path: Path, samples: Any = None, rate: int = RATE, **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone() if samples is None else samples, rate, **settings)
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Three recordings of each of two words, in a folder for each."""
    for place, word in enumerate(("no", "yes")):
        for number in range(3):
            write(tmp_path / word / f"{number}.wav", tone(300 + 500 * place, 0.1 + 0.05 * number))
    return tmp_path


# --- frames -----------------------------------------------------------------------------------------------------------


def slow_frames(samples: np.ndarray, rate: int, mels: int, htk: bool) -> np.ndarray:
    """Frame by frame, frequency by frequency, triangle by triangle, as the formulas stand."""
    width, hop = round(0.025 * rate), round(0.010 * rate)
    size = next(2**k for k in range(20) if 2**k >= width)
    window = np.zeros(size)
    first = (size - width) // 2
    window[first : first + width] = [0.5 - 0.5 * math.cos(2 * math.pi * n / width) for n in range(width)]
    padded = np.concatenate([np.zeros(size // 2), samples, np.zeros(size // 2)])
    if htk:
        up, down = (lambda f: 2595 * math.log10(1 + f / 700)), (lambda m: 700 * (10 ** (m / 2595) - 1))
    else:
        up = lambda f: 3 * f / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)  # noqa: E731
        down = lambda m: 200 * m / 3 if m < 15 else 1000 * math.exp(math.log(6.4) * (m - 15) / 27)  # noqa: E731
    points = [down(i * up(rate / 2) / (mels + 1)) for i in range(mels + 2)]
    basis = np.exp(-2j * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(size)) / size)
    rows = []
    for t in range(1 + len(samples) // hop):
        power = np.abs(basis @ (window * padded[t * hop : t * hop + size])) ** 2
        row = []
        for low, peak, high in zip(points, points[1:], points[2:], strict=False):
            total = 0.0
            for k, p in enumerate(power):
                f = k * rate / size
                if low < f <= peak:
                    total += p * (f - low) / (peak - low) * 2 / (high - low)
                elif peak < f < high:
                    total += p * (high - f) / (high - peak) * 2 / (high - low)
            row.append(math.log(max(total, 1e-10)))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("rate", "mels", "htk"), [(8000, 23, False), (8000, 19, True), (11_025, 31, False)])
def test_frames_are_those_of_the_formula(rate: int, mels: int, htk: bool) -> None:
    samples = np.random.default_rng(0).standard_normal(901) * 0.3
    frames = LogMel(rate, mels, htk=htk, normalize="none")(torch.from_numpy(samples)).double().numpy()
    np.testing.assert_allclose(frames, slow_frames(samples, rate, mels, htk), atol=2e-5)
    assert len(frames) == LogMel(rate, mels).frames(len(samples))


def test_silence_has_a_logarithm() -> None:
    quiet = torch.zeros(400)
    assert torch.equal(LogMel(RATE, normalize="none")(quiet), torch.full((6, 40), math.log(1e-10)))
    assert torch.equal(LogMel(RATE)(quiet), torch.zeros(6, 40))


def test_a_recording_is_standardized_by_its_own_frames() -> None:
    samples = torch.randn(4000)
    plain = LogMel(RATE, normalize="none")(samples)
    torch.testing.assert_close(LogMel(RATE)(samples), (plain - plain.mean()) / plain.std(correction=0))
    pitches = LogMel(RATE, normalize="pitches")(samples)
    torch.testing.assert_close(pitches, (plain - plain.mean(0)) / plain.std(0, correction=0), atol=1e-4, rtol=0)
    assert standardized(torch.full((1, 3), 7.0)).tolist() == [[0, 0, 0]]


def test_louder_is_the_same_after_standardizing() -> None:
    samples = torch.randn(4000)
    torch.testing.assert_close(LogMel(RATE)(samples), LogMel(RATE)(samples * 0.01), atol=2e-3, rtol=0)


@pytest.mark.parametrize(("rate", "mels"), [(44_100, 80), (16_000, 80), (8000, 40), (4000, 20)])
def test_the_number_of_mels_goes_by_the_rate(rate: int, mels: int) -> None:
    frames = LogMel(rate)
    assert frames.count == mels
    assert (frames.filters.sum(1) > 0).all()
    assert LogMel.from_json(json.loads(json.dumps(frames.to_json()))) == frames


def test_the_scales_go_there_and_back() -> None:
    for htk in (False, True):
        hertz = np.array([0, 60, 999, 1000, 1001, 7000])
        back = [to_hertz(to_mel(float(one), htk), htk) for one in hertz]
        np.testing.assert_allclose(back, hertz, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate": 0}, "samples of a second"),
        ({"mels": 0}, "one number at least"),
        ({"mels": 200}, "cannot tell so many pitches apart"),
        ({"hop": 0.0}, "hop above 0"),
        ({"hop": 0.05}, "at most the window"),
        ({"normalize": "training"}, "Known: none, pitches, recording"),
    ],
)
def test_wrong_frames_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        LogMel(**{"rate": RATE, **settings})


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    flac: dict[str, Any] = {"subtype": "PCM_24"}
    for name, settings in (
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.flac", flac),
        ("A.WAV", {}),
        ("a.aiff", {}),
        ("a.au", {}),
    ):
        recording = read_recording(write(tmp_path / name, **settings))
        assert (recording.rate, recording.seconds) == (RATE, 0.2)
        np.testing.assert_allclose(recording.samples, tone(), atol=1e-4)


def test_channels_are_mixed_by_their_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.stack([tone(440), tone(900), np.zeros(1600)], 1), subtype="FLOAT")
    recording = read_recording(path)
    np.testing.assert_allclose(recording.samples, (tone(440) + tone(900)) / 3, atol=1e-6)
    assert recording.channels == 3


@pytest.mark.parametrize("rate", [16_000, 11_025, 48_000, 6000])
def test_another_rate_keeps_a_tone_and_keeps_out_what_is_too_high(rate: int) -> None:
    slow = resampled(Recording(tone(440, 0.5, rate).astype(np.float32), rate), RATE)
    middle = slice(400, -400)
    np.testing.assert_allclose(slow.samples[middle], tone(440, 0.5)[middle], atol=0.01)
    if rate > 10_000:
        high = resampled(Recording(tone(5000, 0.5, rate).astype(np.float32), rate), RATE)
        assert np.abs(high.samples[middle]).max() < 0.05


def broken_flac(path: Path) -> None:
    write(path)
    path.write_bytes(b"fLaC" + bytes(100))


def cut(path: Path, **settings: Any) -> None:
    write(path, np.random.default_rng(0).standard_normal(4000) * 0.1, **settings)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text.wav": (lambda path: path.write_text("no sound"), "no sound file that can be read"),
    "empty.wav": (lambda path: path.write_bytes(b""), "an empty file"),
    "none.wav": (lambda path: write(path, np.zeros(0)), "holds no samples"),
    "one.wav": (lambda path: write(path, np.zeros(1)), r"1 sample long \(0.125 ms\), shorter than a window of 25 ms"),
    "nan.wav": (
        lambda path: write(path, np.r_[tone(), np.nan, tone()], subtype="FLOAT"),
        r"not finite \(NaN or infinity at 0.2 s\)",
    ),
    "long.wav": (lambda path: write(path, tone(440, 3)), "3 s long, over the limit of 2 s.*limit=SECONDS"),
    "broken.flac": (broken_flac, "no sound file that can be read"),
    "cut.wav": (cut, "cut short, 50% of it are not there"),
    "cut.flac": (cut, "cut short|no sound file that can be read"),
    "cut.aiff": (cut, "cut short, 50% of it are not there"),
    "cut.au": (cut, "cut short, 50% of it are not there"),
    "cut.w64": (cut, "cut short, 50% of it are not there"),
    "cut.rf64": (cut, "cut short, 50% of it are not there"),
    "rf64.wav": (partial(cut, format="RF64"), "cut short, 50% of it are not there"),
    "w64.wav": (partial(cut, format="W64"), "cut short, 50% of it are not there"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_with_its_file(words: Path, name: str) -> None:
    make, said = DAMAGE[name]
    make(words / "no" / name)
    with pytest.raises(DataError, match=f"1 of 7 recordings cannot be used .*no/{name}: it .*{said}"):
        gather_recordings(words, limit=2)
    with collecting() as notices:
        found = gather_recordings(words, limit=2, damaged="skip")
    assert len(found) == len(found.frame) == len(found.digests) == 6
    assert not found.frame["path"].str.contains(name).any()
    assert any(said.startswith("Left out: 1 of 7") for said in notices)


@pytest.mark.parametrize(("kind", "place"), [("W64", 16), ("RF64", 20), ("WAV", 4)])
def test_what_large_files_promise_is_kept_or_not_said(tmp_path: Path, kind: str, place: int) -> None:
    path = write(tmp_path / "a.wav", tone(440, 0.2), format=kind)
    assert read_recording(path).seconds == 0.2
    content = bytearray(path.read_bytes())
    width = 4 if kind == "WAV" else 8
    content[place : place + width] = b"\xff" * width  # as a stream leaves it, which knows no length
    path.write_bytes(content)
    assert read_recording(path).seconds == 0.2


def test_a_class_of_damaged_files_is_named(words: Path) -> None:
    for number in range(3):
        (words / "yes" / f"{number}.wav").write_text("no sound")
    with pytest.raises(DataError, match="No recording of 'yes' can be used"):
        gather_recordings(words, damaged="skip")


def test_options_are_held_against_the_rate_where_it_is_known() -> None:
    with pytest.raises(RecipeError, match="rate=0, but it is the samples of a second"):
        AudioOptions(rate=0)
    with pytest.raises(RecipeError, match="mels=300: a window of 25 ms at 16,000 Hz cannot tell so many"):
        AudioOptions(rate=16_000, mels=300)
    assert AudioOptions(mels=300).mels == 300  # of 192,000 Hz there are as many


def test_a_single_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(DataError, match="a.wav cannot be used: it is no sound file"):
        read_recording(tmp_path / "a.wav")
    with pytest.raises(DataError, match="there is no such file"):
        read_recording(tmp_path / "b.wav")
    with pytest.raises(DataError, match="it is a folder"):
        read_recording(tmp_path)
    with pytest.raises(DataError, match="1 of 1 recording cannot be used.*Give recordings that can be"):
        gather_sounds(tmp_path, LogMel(RATE), damaged="skip")


# --- lists ------------------------------------------------------------------------------------------------------------


def test_folders_are_classes(words: Path) -> None:
    with collecting() as notices:
        found = gather_recordings(words, normalize="none")
    assert found.labels == ("no", "yes")
    assert found.frame["class"].tolist() == ["no"] * 3 + ["yes"] * 3
    assert found.frame["seconds"].tolist() == pytest.approx([0.1, 0.15, 0.2] * 2)
    assert found.lengths.tolist() == [11, 16, 21] * 2
    assert found.part is None
    assert found.values.dtype == np.float32
    frames = LogMel(RATE, normalize="none")
    for place, path in enumerate(found.frame["path"]):
        expected = frames(torch.from_numpy(read_recording(words / path).samples))
        np.testing.assert_array_equal(found[place], expected.numpy())
    assert any("6 recordings, 0.9 s in all, 0.1 to 0.2 s each; frames of 40 pitches" in said for said in notices)


def test_folders_may_be_splits(words: Path, tmp_path: Path) -> None:
    root = tmp_path / "split"
    for split in ("train", "val", "test"):
        for word in ("no", "yes"):
            write(root / split / word / "0.wav")
    found = gather_recordings(root)
    assert found.part.tolist() == [2, 2, 0, 0, 1, 1]
    assert found.frame["class"].tolist() == ["no", "yes"] * 3
    write(root / "test" / "maybe" / "0.wav")
    with pytest.raises(DataError, match="'maybe' .*none of the classes"):
        gather_recordings(root)
    (root / "test" / "maybe" / "0.wav").unlink()
    with pytest.raises(DataError, match="are its splits, so rules are too much"):
        gather_recordings(root, test="class=no")


def test_names_say_what_is_known(tmp_path: Path) -> None:
    for digit in "07":
        for speaker in ("anna", "theo"):
            for index in (3, 12):
                write(tmp_path / f"{digit}_{speaker}_{index}.wav")
    pattern = "{label}_{speaker}_{index}"
    found = gather_recordings(tmp_path, pattern=pattern, test="index<5")
    assert found.frame.columns.tolist() == ["path", "label", "speaker", "index", "seconds"]
    assert found.frame["label"].tolist() == ["0"] * 4 + ["7"] * 4
    assert found.part.tolist() == [0, 2] * 4
    with pytest.raises(DataError, match="both choose rows"):
        gather_recordings(tmp_path, pattern=pattern, test="index<5", validation="speaker=anna")
    write(tmp_path / "noise.wav")
    with pytest.raises(DataError, match="1 name of 9 .* do not fit .*'noise'"):
        gather_recordings(tmp_path, pattern=pattern)
    (tmp_path / "noise.wav").unlink()
    with pytest.raises(DataError, match=r"no folders of classes.*pattern='\{label\}_\{b\}_\{c\}'"):
        gather_recordings(tmp_path)


def test_a_pattern_may_name_folders(words: Path) -> None:
    listing = list_recordings(words, pattern="{word}/{number}")
    assert listing.frame["word"].tolist() == ["no"] * 3 + ["yes"] * 3
    assert listing.frame["number"].tolist() == ["0", "1", "2"] * 2


def test_a_table_names_paths(words: Path) -> None:
    table = words / "table.csv"
    table.write_text("age,sound,who\n31,no/0.wav,anna\n47,yes/2.wav,theo\n")
    found = gather_recordings(table, test="age>40")
    assert found.frame["who"].tolist() == ["anna", "theo"]
    assert found.part.tolist() == [0, 2]
    assert found.lengths.tolist() == [11, 21]
    named = gather_recordings(table, pattern="{number}")
    assert named.frame["number"].tolist() == ["0", "2"]
    with pytest.raises(RecipeError, match="makes a column 'who', which is there"):
        gather_recordings(table, pattern="{who}")
    table.write_text("age,sound\n31,no/0.wav\n47,yes/9.wav\n")
    with pytest.raises(DataError, match=r"1 recording of 2 .* cannot be found, such as .*9.wav \(line 3\)"):
        gather_recordings(table)
    table.write_text("age,sound\n31,no/0.wav\n47,\n")
    with pytest.raises(DataError, match="names no recording in line 3"):
        gather_recordings(table)
    table.write_text("age,sound\n31,no/0.png\n")
    with pytest.raises(DataError, match="names no recordings"):
        gather_recordings(table)


def test_wrong_folders_are_named(words: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Recordings are not read from the standard input. Give files, folders or a"):
        list_sounds(Path("-"))
    with pytest.raises(DataError, match="There is no file or folder"):
        gather_recordings(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a single recording"):
        gather_recordings(words / "no" / "0.wav")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no recordings"):
        gather_recordings(tmp_path / "bare")
    write(tmp_path / "one" / "sub" / "0.wav")
    with pytest.raises(DataError, match="'sub' alone"):
        gather_recordings(tmp_path / "one")
    write(words / "loose.wav")
    with pytest.raises(DataError, match="beside its folders of classes, such as 'loose.wav'"):
        gather_recordings(words)
    (words / "loose.wav").unlink()
    (words / "one" / "sub" / "0.wav").unlink()
    (words / "no" / ".hidden.wav").write_text("hidden")
    (words / "notes.txt").write_text("notes")
    with collecting() as notices:
        assert len(gather_recordings(words)) == 6
    assert any("'notes.txt'" in said for said in notices)
    with pytest.raises(DataError, match="'yes' .* none of the classes that are trained on"):
        gather_recordings(words, classes=["no", "maybe"])


def test_what_is_predicted_comes_in_the_frames_of_training(words: Path) -> None:
    found = gather_recordings(words, mels=20)
    again = LogMel.from_json(json.loads(json.dumps(found.mel.to_json())))
    write(words / "other" / "deep" / "fast.wav", tone(440, 0.2, 16_000), 16_000)
    with collecting() as notices:
        sounds = gather_sounds(words / "other", again)
    assert sounds.values.shape == (21, 20)
    assert any("Brought to 8,000 Hz: 1 of 16,000 Hz." in said for said in notices)
    one = gather_sounds(words / "no" / "1.wav", again)
    np.testing.assert_array_equal(one.values, found[1])


def test_the_rate_is_that_of_most(words: Path) -> None:
    write(words / "no" / "slow.wav", tone(440, 0.2, 6000), 6000)
    write(words / "no" / "two.wav", np.zeros((1600, 2)))
    with collecting() as notices:
        found = gather_recordings(words)
    assert found.mel.rate == RATE
    assert any("1 of 6,000 Hz. What is above half a lower rate is silence" in said for said in notices)
    assert any("Mixed into one channel: 1 of 8 recordings" in said for said in notices)
    assert any("Silent throughout" in said and "two.wav" in said for said in notices)


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ("n<5", [True, False, False]),
        ("n <= 5", [True, True, False]),
        ("n>5", [False, False, True]),
        ("n>=5", [False, True, True]),
        ("n=5,12", [False, True, True]),
        ("n != 5", [True, False, True]),
        ("who==anna", [True, False, True]),
        ("who=theo, x", [False, True, False]),
    ],
)
def test_a_rule_chooses_rows(rule: str, chosen: list[bool]) -> None:
    frame = pd.DataFrame({"n": ["3", "5", "12"], "who": ["anna", "theo", "anna"]})
    assert rows_by(frame, rule).tolist() == chosen


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("n", "is no rule"),
        ("m<5", "no column 'm'"),
        ("n<x", "'x' is no number"),
        ("who<5", "'who' holds text in rows 0 and 1"),
        ("n>99", "chooses none of 2 rows"),
        ("n<99", "leave none of 2 rows to train on"),
    ],
)
def test_wrong_rules_are_named(rule: str, words: str) -> None:
    with pytest.raises((DataError, RecipeError), match=words):
        parts_by(pd.DataFrame({"n": [3, 5], "who": ["anna", "theo"]}), test=rule)


def test_patterns_take_names_apart() -> None:
    assert columns_of(["a-b_c", "a_b"], "{x}_{y}").to_numpy().tolist() == [["a-b", "c"], ["a", "b"]]
    assert columns_of(["take (3)"], "take ({n})").to_numpy().tolist() == [["3"]]
    assert (suggested(["a_b"]), suggested(["a-b-c", "d-e-f"]), suggested(["ab", "a_b"])) == (
        "{label}_{b}",
        "{label}-{b}-{c}",
        "",
    )
    for pattern in ("label", "{a}_{a}", "{}"):
        with pytest.raises(RecipeError, match="needs parts in braces"):
            columns_of(["a_a"], pattern)


@pytest.mark.parametrize(
    "options", [{"damaged": "drop"}, {"limit": 0}, {"mels": 0}, {"normalize": "rows"}, {"rate": 16_000, "mels": 500}]
)
def test_wrong_options_are_refused(words: Path, options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        gather_recordings(words, **options)


def test_spoken_digits_are_read(realdata: Path, tmp_path: Path) -> None:
    with tarfile.open(realdata / "fsdd" / "recordings.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "recordings"
    found = gather_recordings(folder, pattern="{label}_{speaker}_{index}", test="index<5")
    assert (len(found), found.mel.count) == (2000, 40)
    assert np.bincount(found.part).tolist() == [1800, 0, 200]
    assert found.frame["speaker"].nunique() == 4
    assert np.isfinite(found.values).all()


def test_of_a_folder_with_splits_the_recordings_to_test_on_are_judged(tmp_path: Path) -> None:
    for i in range(12):
        for word, pitch in (("low", 300), ("high", 900)):
            folder = tmp_path / ("train" if i < 8 else "test") / word
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / f"{i}.wav", tone(pitch))
    splits = recording_splits(tmp_path)
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [13, 3, 8]
    judged = judged_recordings(tmp_path, splits.train.encoding)
    assert sorted(judged.rows["path"]) == sorted(splits.test.rows["path"])
