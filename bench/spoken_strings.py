"""Spoken strings of digits, heard and written down: as digits, and as German number words, by attention with location.

The digits are those of fsdd/recordings.tar.gz (the Free Spoken Digit Dataset, 4 speakers, 50 of each digit, 8 kHz) in
the folder that the variable THALWEG_DATA names. A string is 2 to 5 of them one behind the other, each of any speaker.
Strings to test on are made of the recordings 0 to 4 of each digit and speaker alone, those to validate on of 5 to 7, so
that none of these is ever trained on. With `--guided` the same is trained with the loss of guided attention and
without, by content and by location: how soon it learns, and where it looks, for where each digit is spoken is known.

    THALWEG_DATA=... python bench/spoken_strings.py strings    # makes the recordings and strings.tsv
    THALWEG_DATA=... python bench/spoken_strings.py strings --train digits
    THALWEG_DATA=... python bench/spoken_strings.py strings --train german
    THALWEG_DATA=... python bench/spoken_strings.py fewer --strings 1000 --train digits --guided 30 --set epochs=20
"""

import argparse
import io
import os
import tarfile
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import soundfile
import torch
from machine import machine

import thalweg
from thalweg.data.pair_encoding import begun_and_ended
from thalweg.recipes import conclude
from thalweg.recipes.alignment_shown import alignments, stacked_by
from thalweg.report import write_report

WORDS = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
STRINGS = 3000
COUNTS = {"validation": 300, "test": 500}
OF = {"test": range(5), "validation": range(5, 8), "train": range(8, 50)}
SHORTEST, LONGEST, RATE = 2, 5, 8000
Recordings = dict[int, list[np.ndarray]]


def spoken(path: Path) -> dict[str, Recordings]:
    """The recordings of each digit for each split, by the index in their names: 7_theo_12.wav is a seven, number 12."""
    found: dict[str, Recordings] = {part: {digit: [] for digit in range(10)} for part in OF}
    with tarfile.open(path) as packed:
        for member in sorted(packed.getmembers(), key=lambda each: each.name):
            if not member.name.endswith(".wav"):
                continue
            digit, _, index = Path(member.name).stem.split("_")
            file = packed.extractfile(member)
            assert file is not None
            samples, rate = soundfile.read(io.BytesIO(file.read()), dtype="float32")
            assert rate == RATE, f"{member.name} is of {rate} Hz"
            for part, indices in OF.items():
                if int(index) in indices:
                    found[part][int(digit)].append(samples)
    return found


def write(folder: Path, archive: Path, train: int, seed: int = 0) -> Path:
    """The strings as flac files, and the manifest that says what each holds, and when each of its digits ends."""
    random, rows = np.random.default_rng(seed), list[dict[str, str]]()
    for part, digits in spoken(archive).items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number in range(train if part == "train" else COUNTS[part]):
            string = random.integers(10, size=random.integers(SHORTEST, LONGEST + 1)).tolist()
            sounds = [digits[digit][random.integers(len(digits[digit]))] for digit in string]
            name = f"{part}/{number}.flac"
            soundfile.write(folder / name, np.concatenate(sounds), RATE)
            rows.append({"path": name, "part": part, "digits": " ".join(map(str, string))})
            rows[-1]["german"] = " ".join(WORDS[digit] for digit in string)
            rows[-1]["ends"] = " ".join(f"{end / RATE:.4f}" for end in np.cumsum([len(sound) for sound in sounds]))
    frame = pd.DataFrame(rows).sample(frac=1, random_state=seed)
    frame.to_csv(folder / "strings.tsv", sep="\t", index=False)
    return folder / "strings.tsv"


def split_of(target: str) -> list[str]:
    """The settings of the manifest: what is written down, and the splits by its column `part`."""
    return [f"data.target={target}", "data.test=part=test", "data.validation=part=validation"]


def learn(manifest: Path, target: str, said: list[str], out: Path) -> None:
    """Train on the manifest and say the scores on the test strings, and what it took."""
    start = process_time()
    run = thalweg.train(thalweg.load(str(manifest), assignments=[*split_of(target), *said]), out=out)
    trained = process_time() - start
    scores = conclude(run).scores["test"]
    report = write_report(run.path)
    told = ", ".join(f"{name} {value:.2%} ({low:.2%} to {high:.2%})" for name, (value, low, high) in scores.items())
    print(f"{target}: test {told}; {trained / 60:.1f} min of processor time ({machine()}); {report}")


def compare(manifest: Path, target: str, strength: float, seeds: int, said: list[str], out: Path) -> None:
    """A row for each attention, with guidance and without, and each seed: what it learned, how soon, where it looks."""
    print(f"{machine()}; guided {strength:g} times", flush=True)
    ends = pd.read_csv(manifest, sep="\t").set_index("path")["ends"]
    for attention in ("additive", "location"):
        for guided in (0.0, strength):
            for seed in range(seeds):
                start = process_time()
                chosen = [f"model.attention={attention}", f"objective.guided={guided}", f"seed={seed}"]
                run = thalweg.train(
                    thalweg.load(str(manifest), assignments=[*split_of(target), *chosen, *said]), out=out
                )
                losses = [row["validation_loss"] for row in run.history]
                scores = conclude(run).scores["test"]
                there, forward = looks(run, ends)
                told = ", ".join(f"{name} {value:.4f}" for name, (value, _, _) in scores.items())
                print(
                    f"{attention:9} {guided:4g} seed {seed}: loss of validation over the epochs {np.mean(losses):.4f}, "
                    f"least {min(losses):.4f}; test {told}; in its place {there:.3f}, forward {forward:.3f}; "
                    f"{process_time() - start:.0f} s; by epoch {' '.join(f'{loss:.2f}' for loss in losses)}",
                    flush=True,
                )


@torch.no_grad()
def looks(run: thalweg.Run, ends: pd.Series) -> tuple[float, float]:
    """Along the right text of the test strings: the attention of a digit's tokens that lies where it is spoken, and the
    share of strings through which it goes forward.
    """
    source, model = run.recipe.data.test, run.model.eval()
    stride = source.schema.mel.hop * stacked_by(model)
    targets, shares = source.targets, list[float]()
    for place, (path, target) in enumerate(zip(source.sources, targets, strict=True)):
        vocabulary = source.encoding.target
        prefix = begun_and_ended(vocabulary.encode_all([target]), None)[0].padded(torch.tensor([0]))
        weights = model.aligned(**source.inputs(torch.tensor([place])), prefix=prefix)[1][0]
        bounds = [0.0, *map(float, ends[path].split())]
        moments = (torch.arange(weights.shape[1]) + 0.5) * stride
        word = 0
        for step, unit in enumerate(vocabulary.split(target)):
            if unit == " ":
                word += 1
                continue
            own = (moments >= bounds[word]) & (moments < bounds[word + 1])
            shares.append(float(weights[step, own].sum()))
            word += vocabulary.unit == "words"
    found = alignments(model, source, targets, range(len(targets)), torch.device("cpu"))
    return float(np.mean(shares)), float(np.mean([each is not None and each.monotonic for _, each in found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", choices=("digits", "german"))
    parser.add_argument("--strings", type=int, default=STRINGS, help="strings to train on")
    parser.add_argument("--guided", type=float, help="compare so many times the loss of guided attention with none")
    parser.add_argument("--seeds", type=int, default=1, help="seeds that are compared by")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    given = parser.parse_args()
    manifest = given.folder / "strings.tsv"
    if not manifest.is_file():
        archive = Path(os.environ.get("THALWEG_DATA", "")) / "fsdd" / "recordings.tar.gz"
        if not archive.is_file():
            raise SystemExit(f"There is no file {archive}. Name the folder above fsdd by THALWEG_DATA.")
        print(f"written: {write(given.folder, archive, given.strings)}")
    if given.train and given.guided:
        compare(manifest, given.train, given.guided, given.seeds, given.set, given.out)
    elif given.train:
        learn(manifest, given.train, given.set, given.out)


if __name__ == "__main__":
    main()
