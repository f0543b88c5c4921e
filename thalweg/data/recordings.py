"""Gathering: recordings as frames, one after the other in one array, with what is known of each.

All files are decoded once, by threads, at one rate; what later needs no samples any more is kept beside the frames: how
long each recording is, and a digest of its file.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.passing import passed
from thalweg.core.wording import counted
from thalweg.data.audio import LONGEST, LogMel, Recording, Unreadable, decoded, resampled, soundfile
from thalweg.data.audio_listing import list_recordings, list_sounds, parts_by
from thalweg.data.image_decoding import in_threads
from thalweg.data.image_listing import CLASS, Listing, paths_of
from thalweg.data.places import listed

DAMAGED = ("error", "skip")
LISTED = 10
"""Damaged recordings that are named."""
FAINT = 1e-4
"""A recording whose largest sample is below it is as good as silent: -80 dB."""
SECONDS = "seconds"
"""The column that says how long each recording is."""


@dataclass(frozen=True)
class AudioOptions:
    """How recordings are read: `rate` in Hertz (default: that of most), `mels`, `normalize` and `htk` as in `LogMel`;
    `damaged` is "error" or "skip"; `limit` the seconds up to which a recording is decoded.

    >>> AudioOptions(mels=40).damaged
    'error'

    Raises `RecipeError` for a value that is none of these.
    """

    rate: int | None = None
    mels: int | None = None
    normalize: str = "recording"
    htk: bool = False
    damaged: str = "error"
    limit: float | int = LONGEST

    def __post_init__(self) -> None:
        if self.damaged not in DAMAGED:
            raise RecipeError(f"damaged={self.damaged!r} is not known.{did_you_mean(str(self.damaged), DAMAGED)}")
        if not self.limit > 0:
            raise RecipeError(f"limit={self.limit!r}, but it is a number of seconds above 0. Give for instance 600.")
        mels = None if self.rate is None else self.mels  # how many can be told apart depends on the rate
        LogMel(16_000 if self.rate is None else self.rate, mels, normalize=self.normalize, htk=self.htk)


@dataclass(frozen=True, eq=False, repr=False)
class Recordings:
    """Recordings as frames: the i-th is `values[offsets[i] : offsets[i + 1]]`, and row i of `frame` says what it is.

    `part` is the split of each where folders or rules say so: 0, 1 and 2 for train, validation and test. `labels` are
    the classes in their order where folders are the classes. `mel` makes the same frames of other recordings.
    """

    values: Float[np.ndarray, "frame mel"]
    offsets: Int[np.ndarray, " bound"]
    frame: pd.DataFrame
    digests: Shaped[np.ndarray, " recording"]
    mel: LogMel
    part: Int[np.ndarray, " recording"] | None = None
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"Recordings({counted(len(self), 'recording')}, {len(self.values):,} frames of {self.mel.count})"

    def __getitem__(self, place: int) -> Float[np.ndarray, "_frame mel"]:
        return self.values[self.offsets[place] : self.offsets[place + 1]]

    @property
    def lengths(self) -> Int[np.ndarray, " recording"]:
        """How many frames each recording has."""
        return np.diff(self.offsets)


def gather_recordings(
    path: str | Path,
    *,
    pattern: str | None = None,
    test: str | None = None,
    validation: str | None = None,
    header: bool = True,
    classes: Sequence[str] | None = None,
    mel: LogMel | None = None,
    **options: Any,
) -> Recordings:
    """The recordings of a folder, or of a table of paths, as frames.

    `pattern` makes columns of the files' names, such as "{label}_{speaker}_{index}"; `test` and `validation` are rules
    on a column that choose the split, such as "index<5" or "speaker=theo". `options` are the fields of `AudioOptions`.
    `classes` and `mel` are those of training, for recordings that are judged.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("yes_anna_0", "no_anna_0", "yes_theo_1", "no_theo_1"):
    ...     soundfile().write(root / f"{name}.wav", np.sin(np.arange(1600) / 5), 8000)
    >>> found = gather_recordings(root, pattern="{label}_{speaker}_{index}", test="speaker=theo")
    >>> found, found.part.tolist(), found.frame["label"].tolist()
    (Recordings(4 recordings, 84 frames of 40), [0, 2, 0, 2], ['no', 'no', 'yes', 'yes'])

    Raises `DataError` for recordings that cannot be used, `RecipeError` for arguments that cannot be.
    """
    listing = list_recordings(Path(path), pattern=pattern, classes=classes, header=header)
    if test is not None or validation is not None:
        if listing.part is not None:
            raise DataError(f"The folders of {path} are its splits, so rules are too much. Leave them out.")
        listing = replace(listing, part=parts_by(listing.frame, test=test, validation=validation))
    return frames_of(listing, AudioOptions(**options), mel)


def gather_sounds(path: str | Path | Sequence[str | Path], mel: LogMel, **options: Any) -> Recordings:
    """All recordings of folders, whatever folders they lie in, and single ones, as frames: to predict what they are.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "1.wav"
    >>> soundfile().write(path, np.sin(np.arange(1600) / 5), 8000)
    >>> gather_sounds(path, LogMel(8000))
    Recordings(1 recording, 21 frames of 40)

    Raises `DataError` for recordings that cannot be used.
    """
    return frames_of(list_sounds(*paths_of(path)), AudioOptions(**options), mel)


def frames_of(listing: Listing, asked: AudioOptions, mel: LogMel | None = None) -> Recordings:
    """The recordings of a listing as frames, without those that cannot be used and are to be skipped.

    Raises `DataError` for recordings that cannot be used.
    """
    soundfile()
    training = mel is None
    if mel is None:
        rate = _rate(listing.paths) if asked.rate is None else asked.rate
        mel = LogMel(rate, asked.mels, normalize=asked.normalize, htk=asked.htk)
    found = _decode(listing.paths, mel, float(asked.limit))
    wrong = {place: str(each) for place, each in enumerate(found) if isinstance(each, Unreadable)}
    _refuse(listing, wrong, asked)
    kept = [place for place in range(len(listing)) if place not in wrong]
    good = [each for each in found if not isinstance(each, Unreadable)]
    listing = listing.take(kept)
    if training:
        _check_classes(listing)
    lengths = np.array([len(each.values) for each in good], dtype=np.int64)
    frame = listing.frame if SECONDS in listing.frame else listing.frame.assign(**{SECONDS: [x.seconds for x in good]})
    _announce(listing.paths, good, mel)
    return Recordings(
        np.concatenate([each.values for each in good]),
        np.concatenate([[0], np.cumsum(lengths)]),
        frame,
        np.array([each.digest for each in good]),
        mel,
        listing.part,
        listing.labels,
    )


@dataclass(frozen=True, eq=False)
class _Frames:
    """What is kept of a recording."""

    values: Float[np.ndarray, "frame mel"]
    seconds: float
    rate: int
    channels: int
    peak: float
    digest: bytes


def _decode(paths: Sequence[Path], mel: LogMel, limit: float) -> list[_Frames | Unreadable]:
    found: list[_Frames | Unreadable] = []
    for each in in_threads(lambda path: _frames(path, mel, limit), paths):
        found.append(each)
        if len(found) % 64 == 0 or len(found) == len(paths):
            passed("decoding recordings", len(found), len(paths))
    return found


def _frames(path: Path, mel: LogMel, limit: float) -> _Frames | Unreadable:
    try:
        own = decoded(path, limit)
        recording = resampled(own, mel.rate)
        if len(recording.samples) < mel.width:
            raise Unreadable(_short(own, mel))
    except Unreadable as error:
        return error
    values = mel(torch.from_numpy(recording.samples)).numpy()
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    return _Frames(values, own.seconds, own.rate, own.channels, float(np.abs(own.samples).max()), digest)


def _short(recording: Recording, mel: LogMel) -> str:
    said = f"{counted(len(recording.samples), 'sample')} long ({1000 * recording.seconds:.3g} ms)"
    return f"it is {said}, shorter than a window of {1000 * mel.window:g} ms"


def _rate(paths: Sequence[Path]) -> int:
    """The rate that most recordings have; of two the higher one."""
    library, rates = soundfile(), Counter[int]()
    for path in paths:
        try:
            rates[int(library.info(path).samplerate)] += 1
        except (library.SoundFileError, OSError, TypeError):  # named when it is decoded
            continue
    return max(rates, key=lambda rate: (rates[rate], rate), default=16_000)


def _refuse(listing: Listing, wrong: dict[int, str], asked: AudioOptions) -> None:
    if not wrong:
        return
    few = "; ".join(f"{listing.paths[place]}: {why}" for place, why in sorted(wrong.items())[:LISTED])
    more = f"; and {len(wrong) - LISTED:,} more" if len(wrong) > LISTED else ""
    said = f"{len(wrong):,} of {counted(len(listing), 'recording')} cannot be used ({few}{more})."
    limit = " limit=SECONDS decodes longer ones." if any("over the limit" in why for why in wrong.values()) else ""
    if len(wrong) == len(listing):
        raise DataError(f"{said} Give recordings that can be.{limit}")
    if asked.damaged == "error":
        raise DataError(f"{said} Mend them, take them away, or leave them out: --set data.damaged=skip.{limit}")
    notice(f"Left out: {said}{limit}")


def _check_classes(listing: Listing) -> None:
    """Refuse a class of whose recordings none is left to train on."""
    if not listing.labels:
        return
    held = listing.frame[CLASS].to_numpy()
    present = set(held if listing.part is None else held[listing.part == 0])
    if absent := [label for label in listing.labels if label not in present]:
        raise DataError(f"No recording of {listed(absent)} can be used. Mend some, or take the folder away.")


def _announce(paths: Sequence[Path], found: Sequence[_Frames], mel: LogMel) -> None:
    seconds = np.array([each.seconds for each in found])
    whole = seconds.sum()
    time = f"{whole / 3600:.1f} h" if whole > 5400 else f"{whole / 60:.1f} min" if whole > 90 else f"{whole:.3g} s"
    one = counted(len(found), "recording")
    notice(
        f"Recordings: {one}, {time} in all, {seconds.min():.3g} to {seconds.max():.3g} s each; frames of "
        f"{mel.count} pitches, {1000 * mel.window:g} ms long, one each {1000 * mel.hop:g} ms, at {mel.rate:,} Hz."
    )
    rates = Counter(each.rate for each in found if each.rate != mel.rate)
    if rates:
        had = ", ".join(f"{count:,} of {rate:,} Hz" for rate, count in sorted(rates.items()))
        lower = " What is above half a lower rate is silence in them." if min(rates) < mel.rate else ""
        notice(f"Brought to {mel.rate:,} Hz: {had}.{lower}")
    if mixed := sum(each.channels > 1 for each in found):
        notice(f"Mixed into one channel: {mixed:,} of {one}.")
    faint = [str(path) for path, each in zip(paths, found, strict=True) if each.peak < FAINT]
    if faint:
        notice(
            f"Silent throughout: {listed(faint, 3)}. Take such recordings away, unless silence is one of the classes."
        )
