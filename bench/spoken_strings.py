"""Spoken strings of digits, heard and written down: as digits, and as German number words, by attention with location.

The digits are those of fsdd/recordings.tar.gz (the Free Spoken Digit Dataset, 4 speakers, 50 of each digit, 8 kHz) in
the folder that the variable THALWEG_DATA names. A string is 2 to 5 of them one behind the other, each of any speaker.
Strings to test on are made of the recordings 0 to 4 of each digit and speaker alone, those to validate on of 5 to 7, so
that none of these is ever trained on.

    THALWEG_DATA=... python bench/spoken_strings.py strings    # makes the recordings and strings.tsv
    THALWEG_DATA=... python bench/spoken_strings.py strings --train digits
    THALWEG_DATA=... python bench/spoken_strings.py strings --train german
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
from machine import machine

import thalweg
from thalweg.recipes import conclude
from thalweg.report import write_report

WORDS = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
COUNTS = {"train": 3000, "validation": 300, "test": 500}
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


def write(folder: Path, archive: Path, seed: int = 0) -> Path:
    """The strings as flac files, and the manifest that says what each holds."""
    random, rows = np.random.default_rng(seed), list[dict[str, str]]()
    for part, digits in spoken(archive).items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number in range(COUNTS[part]):
            string = random.integers(10, size=random.integers(SHORTEST, LONGEST + 1)).tolist()
            sounds = [digits[digit][random.integers(len(digits[digit]))] for digit in string]
            name = f"{part}/{number}.flac"
            soundfile.write(folder / name, np.concatenate(sounds), RATE)
            rows.append({"path": name, "part": part, "digits": " ".join(map(str, string))})
            rows[-1]["german"] = " ".join(WORDS[digit] for digit in string)
    frame = pd.DataFrame(rows).sample(frac=1, random_state=seed)
    frame.to_csv(folder / "strings.tsv", sep="\t", index=False)
    return folder / "strings.tsv"


def learn(manifest: Path, target: str, said: list[str], out: Path) -> None:
    """Train on the manifest and say the scores on the test strings, and what it took."""
    start = process_time()
    given = [f"data.target={target}", "data.test=part=test", "data.validation=part=validation", *said]
    run = thalweg.train(thalweg.load(str(manifest), assignments=given), out=out)
    trained = process_time() - start
    scores = conclude(run).scores["test"]
    report = write_report(run.path)
    told = ", ".join(f"{name} {value:.2%} ({low:.2%} to {high:.2%})" for name, (value, low, high) in scores.items())
    print(f"{target}: test {told}; {trained / 60:.1f} min of processor time ({machine()}); {report}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", choices=("digits", "german"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    given = parser.parse_args()
    manifest = given.folder / "strings.tsv"
    if not manifest.is_file():
        archive = Path(os.environ.get("THALWEG_DATA", "")) / "fsdd" / "recordings.tar.gz"
        if not archive.is_file():
            raise SystemExit(f"There is no file {archive}. Name the folder above fsdd by THALWEG_DATA.")
        print(f"written: {write(given.folder, archive)}")
    if given.train:
        learn(manifest, given.train, given.set, given.out)


if __name__ == "__main__":
    main()
