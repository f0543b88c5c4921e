"""Loading speech: from a manifest of recordings and transcripts to splits of frames that can be trained on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.wording import counted
from thalweg.data.audio import is_recording
from thalweg.data.audio_listing import list_sounds, listed_in, parts_by
from thalweg.data.columns import usual_words
from thalweg.data.holdout import PARTS, hold_out
from thalweg.data.image_listing import Listing, path_of, paths_of
from thalweg.data.pair_loading import complete
from thalweg.data.places import where
from thalweg.data.recording_length import AUTO, read_of_each
from thalweg.data.recordings import AudioOptions, frames_of
from thalweg.data.speech_encoding import SpeechEncoding, SpeechSchema
from thalweg.data.speech_manifest import SAID, read_manifest, transcript_column
from thalweg.data.speech_source import SpeechSource
from thalweg.data.text_table import texts_of
from thalweg.data.vocabulary import unknown_share

OFTEN = 20
"""So often each word of transcripts is said, by the mean, where they are read as words."""


def speech_splits(
    path: str | Path,
    *,
    target: str | int | None = None,
    task: str | None = None,
    test: str | None = None,
    validation: str | None = None,
    header: bool = True,
    group: str | None = None,
    missing: str = "error",
    unit: str | None = None,
    size: int | None = None,
    fewest: int | None = None,
    lower: bool = False,
    longest: int | str | None = AUTO,
    tokens: int | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
    **options: Any,
) -> Splits:
    r"""The splits of a manifest: a table or JSON lines with a column of recordings and one of what they say.

    `target` is the column of transcripts, by default the one called transcript, transcription, sentence, text,
    translation or target, or the only one beside the paths; they may be in another language. `task` may say "text".
    `test` and `validation` are rules that choose a split, such as "part=test"; what they do not choose is held out by
    shares, by whole groups where a `group` is named. `unit` is "words", "characters" or "subwords"; by default words
    where each is said 20 times. `longest` cuts recordings off after so many frames, as of `recording_splits`; `missing`
    is what becomes of a recording without a transcript, as of `pair_splits`; `tokens` is how many frames and tokens a
    training batch may have, `options` are the fields of `AudioOptions`. Each split is a `SpeechSource`.

    >>> import tempfile
    >>> from thalweg.data.audio import soundfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for i in range(10):
    ...     soundfile().write(root / f"{i}.wav", np.sin(np.arange(1600) / (3 + i)), 8000)
    >>> _ = (root / "said.tsv").write_text("path\ttext\n" + "".join(f"{i}.wav\tnumber {i}\n" for i in range(10)))
    >>> splits = speech_splits(root / "said.tsv")
    >>> splits.train, len(splits.validation), len(splits.test)
    (SpeechSource(6 recordings, frames of 40 -> 13 characters), 2, 2)

    Raises `DataError` for data that cannot be used, `RecipeError` for arguments that cannot be; both say the mend.
    """
    if task not in (None, SAID):
        raise RecipeError(
            f"task={task!r}, but what recordings say is read as text.{did_you_mean(str(task), (SAID,))} Leave unit, "
            "vocabulary, fewest and lower out to predict classes or numbers."
        )
    listing = _manifest(path, header)
    name = transcript_column(listing.frame, target, listing.column, str(path))
    if group is not None and group not in listing.frame:
        columns = list(map(str, listing.frame.columns))
        raise DataError(f"There is no column '{group}' in {path} for data.group.{did_you_mean(group, columns)}")
    listing = _with_texts(listing, name, missing)
    texts = texts_of(listing.frame, name)
    rules = replace(listing, part=parts_by(listing.frame, test=test, validation=validation))
    found = frames_of(rules, AudioOptions(**options))
    known = np.ones(len(found), bool) if found.part is None else found.part != PARTS.index("test")
    limits = (read_of_each(longest, found.lengths, known, found.mel), None)
    how: dict[str, Any] = {"size": size, "fewest": fewest, "lower": lower, "missing": missing}
    schema = SpeechSchema(
        (listing.column, name), found.mel, _unit(texts, name) if unit is None else unit, longest=limits, header=header,
        group=group, **how,
    )  # fmt: skip
    whole = SpeechSource.of(found, SpeechEncoding(schema), tokens=tokens)
    splits = whole.dealt(_held(whole, found.part, (validation_share, test_share), seed))
    sizes = (
        f"{part} {'none' if one is None else counted(len(one), 'recording')}"
        for part, one in zip(PARTS, splits, strict=True)
    )
    notice(f"What is said is in '{name}'. Split: {'; '.join(sizes)}.")
    for part, split in zip(PARTS, splits, strict=True):
        _announce(split, part)
    return Splits(*splits)


def judged_speech(
    path: str | Path | Sequence[str | Path], encoding: SpeechEncoding, labelled: bool = True
) -> SpeechSource:
    """The recordings of a manifest in a given encoding, to judge; or of folders, files or a manifest, to predict.

    Recordings that cannot be read are left out, which is said.

    >>> import tempfile
    >>> from thalweg.data.audio import LogMel, soundfile
    >>> path = Path(tempfile.mkdtemp()) / "1.wav"
    >>> soundfile().write(path, np.sin(np.arange(1600) / 5), 8000)
    >>> schema = SpeechSchema(("path", "said"), LogMel(8000))
    >>> judged_speech(path, SpeechEncoding(schema, means=(0.0,) * 40, scales=(1.0,) * 40), labelled=False)
    SpeechSource(1 recording, frames of 40 -> 0 characters)

    Raises `DataError` for recordings that cannot be used and, if `labelled`, transcripts that are missing.
    """
    schema = encoding.schema
    listing = _to_judge(path, schema, labelled)
    if labelled:
        if schema.names[1] not in listing.frame:
            columns = list(map(str, listing.frame.columns))
            raise DataError(
                f"There is no column '{schema.names[1]}' of transcripts in {path}."
                f"{did_you_mean(schema.names[1], columns)}"
            )
        listing = _with_texts(listing, schema.names[1], schema.missing)
    elif schema.names[1] in listing.frame:
        listing = replace(listing, frame=listing.frame.drop(columns=schema.names[1]))
    listing = replace(listing, frame=listing.frame.rename(columns={listing.column: schema.names[0]}))
    found = frames_of(listing, AudioOptions(damaged="skip"), schema.mel)
    return SpeechSource.of(found, encoding)


def listed_sounds(path: str | Path | Sequence[str | Path], schema: SpeechSchema) -> list[str]:
    """The recordings that are to be written down, in their order, those too that cannot be read."""
    listing = _to_judge(path, schema, labelled=False)
    return texts_of(listing.frame, listing.column)


def _to_judge(given: Any, schema: SpeechSchema, labelled: bool) -> Listing:
    path, *more = [path_of(given)] if labelled else paths_of(given)
    if more:
        return list_sounds(path, *more)
    if not labelled and (path.is_dir() or is_recording(path) or not path.is_file()):
        return list_sounds(path)
    if path.is_dir() or is_recording(path):
        raise DataError(
            f"{path} does not say what is said. Give a table with the columns "
            f"'{schema.names[0]}' and '{schema.names[1]}', or predict: thalweg predict RUN {path}."
        )
    return _manifest(path, schema.header)


def _manifest(path: Any, header: bool) -> Listing:
    path = Path(path)
    if path.is_dir() or is_recording(path):
        raise DataError(
            f"{path} does not say what is said. Give a table of the recordings and their transcripts: a line each, "
            "with a tab between the path and the text."
        )
    return listed_in(read_manifest(path, header), path)


def _with_texts(listing: Listing, name: str, missing: str) -> Listing:
    """Without the recordings that lack a transcript, where these are dropped."""
    frame = listing.frame.copy()
    cells: list[str | None] = [(text.strip() or None) for text in texts_of(frame, name)]
    frame[name] = np.array(cells, dtype=object)
    frame["_place"] = np.arange(len(frame))
    kept = complete(frame, (listing.column, name), missing)
    return replace(listing.take(kept["_place"].to_numpy()), frame=kept.drop(columns="_place"))


def _unit(texts: list[str], name: str) -> str:
    """Words where transcripts have several of few, characters otherwise, which is said."""
    words = [word for text in texts for word in text.split()]
    often = len(words) / max(1, len(set(words)))
    unit = "words" if often >= OFTEN and usual_words(texts) >= 2 else "characters"
    notice(
        f"'{name}' has {counted(len(set(words)), 'different word')}, each said {often:.3g} times by the mean: read as "
        f"{unit} (data.unit says words, characters or subwords)."
    )
    return unit


def _held(
    whole: SpeechSource, part: Int[np.ndarray, " recording"] | None, shares: tuple[float | int, float | int], seed: int
) -> list[Int[np.ndarray, " _some"]]:
    """The recordings of each split: by their part where it is given, and held out of those to train on where not."""
    if part is None:
        return list(hold_out(whole, validation_share=shares[0], test_share=shares[1], seed=seed))
    held = [np.flatnonzero(part == place) for place in range(len(PARTS))]
    if len(held[1]):
        return held
    inner = hold_out(
        whole.take(held[0]), validation_share=shares[0], test_share=0.0 if len(held[2]) else shares[1], seed=seed
    )
    return [held[0][inner.train], held[0][inner.validation], held[2] if len(held[2]) else held[0][inner.test]]


def _announce(split: SpeechSource | None, part: str) -> None:
    """Say of one split what is unknown in its transcripts, and which are empty."""
    if split is None:
        return
    _, _, y, _ = split.encoded
    assert y is not None
    own = y.take(split.ids)
    if share := unknown_share(own.values):
        notice(f"Unknown: {share:.2%} of the {len(own.values):,} tokens of the transcripts of the {part} split.")
    empty = np.array([not text for text in split.targets], dtype=bool)
    if empty.any():
        is_empty = "transcript is" if empty.sum() == 1 else "transcripts are"
        notice(f"{empty.sum():,} {is_empty} empty and kept so ({where(split.rows.index, empty, 3)}).")
