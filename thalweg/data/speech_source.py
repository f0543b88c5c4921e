"""Recordings and what is said in them as a source of batches, by both of their lengths.

A batch is `(x, y)`: x has `source` (batch, frames, mel), `lengths` (batch,) and `prefix` (batch, target length + 1),
which is `START` and the transcript; `y` (batch, target length + 1) is the transcript and `END`. Padding is 0, and -100
in `y`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from thalweg.core.errors import DataError, Unsupported
from thalweg.core.tokens import MARKS
from thalweg.core.wording import counted
from thalweg.data.pair_encoding import EncodedPairs
from thalweg.data.ragged import Ragged
from thalweg.data.recordings import Recordings
from thalweg.data.speech_encoding import SpeechEncoding, SpeechSchema
from thalweg.data.targeted import TargetedExamples
from thalweg.data.text_table import texts_of

Spoken = dict[str, Shaped[Tensor, "some ..."]]
"""`source` (some, frames, mel) and `lengths` (some,)."""


@dataclass(frozen=True, repr=False, eq=False)
class SpeechSource(TargetedExamples):
    """Recordings and transcripts as batches `({"source", "lengths", "prefix"}, y)`.

    `frame` has a row for each recording that was read, `frames` their frames, and `digests` one of each file, by which
    a recording is known that stands there twice; `ids` say which of them this source has. Training batches hold
    `batch_size` recordings of like lengths, or as many as keep count times (most frames + longest transcript) within
    `tokens`. It keeps core's protocols `Source`, `Indexed`, `Batched`, `Counted`, `Ordered`, `Described`, `Found`,
    `Grouped` and `Fitted`.

    >>> from thalweg.data.audio import LogMel
    >>> frame = pd.DataFrame({"path": ["1.wav", "2.wav"], "said": ["ab", "b"]})
    >>> frames = Ragged.of([np.ones((3, 2)), np.zeros((2, 2))])
    >>> schema = SpeechSchema(("path", "said"), LogMel(8000, mels=2))
    >>> source = SpeechSource.unfitted(frame, frames, np.array([b"1", b"2"]), schema).fit([0, 1])
    >>> source
    SpeechSource(2 recordings, frames of 2 -> 2 characters)
    >>> x, y = next(source.batches(1, 0, None))
    >>> x["source"].shape, x["prefix"].tolist(), y.tolist()
    (torch.Size([2, 3, 2]), [[2, 5, 4], [2, 4, 0]], [[5, 4, 3], [4, 3, -100]])
    """

    frame: pd.DataFrame
    frames: Ragged
    digests: Shaped[np.ndarray, " recording"]
    encoding: SpeechEncoding
    ids: Int[np.ndarray, " example"]
    batch_size: int | None = 32
    merge_single: bool = False
    tokens: int | None = None
    POSITIONS = ("frames and tokens", 8192)

    @classmethod
    def of(cls, found: Recordings, encoding: SpeechEncoding, **batching: Any) -> "SpeechSource":
        """All recordings that were gathered, in a given encoding."""
        frames = Ragged(found.values, found.offsets)
        return cls(found.frame, frames, found.digests, encoding, np.arange(len(found)), **batching)

    @classmethod
    def unfitted(
        cls, frame: pd.DataFrame, frames: Ragged, digests: np.ndarray, schema: SpeechSchema, **batching: Any
    ) -> "SpeechSource":
        """All recordings, before any is trained on: to be dealt into splits, then `fit`."""
        return cls(frame, frames, digests, SpeechEncoding(schema), np.arange(len(frame)), **batching)

    def __repr__(self) -> str:
        return (
            f"SpeechSource({counted(len(self), 'recording')}, frames of {self.schema.mel.count} -> "
            f"{self.encoding.target.size})"
        )

    @property
    def schema(self) -> SpeechSchema:
        """What the recordings and transcripts are."""
        return self.encoding.schema

    @property
    def sources(self) -> list[str]:
        """The path of each recording, as it is written."""
        return texts_of(self.rows, self.schema.names[0])

    @property
    def targets(self) -> list[str]:
        """The transcript of each recording."""
        self.check_labelled()
        return texts_of(self.rows, self.schema.names[1])

    @cached_property
    def encoded(self) -> EncodedPairs:
        """All recordings that were read, as scaled frames and tokens."""
        return self.encoding.encode(self.frames, texts_of(self.frame, self.schema.names[1]) if self.labelled else None)

    @property
    def group_name(self) -> str | None:
        """The column of groups."""
        return self.schema.group

    def inputs(self, places: Int[Tensor, " some"]) -> Spoken:
        """Some of the recordings as a model reads them to be decoded, padded to the longest of them."""
        own, frames = self.places(places), self.encoded.source
        return {"source": frames.padded(own), "lengths": torch.from_numpy(frames.lengths)[own]}

    def text(self, tokens: Iterable[Any], place: int) -> str:
        """The text of an output for the recording at this place."""
        return self.encoding.text(tokens)

    def references(self, places: Sequence[int]) -> list[list[str]]:
        """For each of these places the distinct transcripts that its recording has in this source, its own first."""
        targets, known = self.targets, dict[bytes, list[str]]()
        digests = self.digests[self.ids].tolist()
        for digest, target in zip(digests, targets, strict=True):
            known.setdefault(digest, []).append(target)
        return [list(dict.fromkeys([targets[place], *known[digests[place]]])) for place in places]

    def fit(self, train_ids: Any) -> Self:
        """The same recordings, encoded by the frames and transcripts of `train_ids` alone.

        A vocabulary that was fitted before keeps its size, for a model is made for it: a fold leaves tokens unused.
        """
        train = self.take(train_ids)
        if not len(train):
            raise DataError("There is no recording to fit a vocabulary to. Give at least one to train on.")
        known = len(self.encoding.target)
        size = known if known > len(MARKS) else None
        encoding = SpeechEncoding.fit(self.frames.take(train.ids), train.targets, self.schema, size)
        return self.encoded_by(encoding)

    def meta(self, ids: Any) -> dict[str, Any]:
        """Of each of these "row", its place, and the "group" where there is one: that of the schema's column.

        Where none is named, and a recording stands in several rows, it is the recording: all that it says is in one
        split.
        """
        rows = self.rows.iloc[np.asarray(ids, dtype=np.int64)]
        known = {"row": rows.index.to_numpy()}
        if self.schema.group is not None:
            return known | {"group": rows[self.schema.group].to_numpy()}
        kinds, numbers = self.distinct
        return known if kinds == len(numbers) else known | {"group": numbers[self.ids][np.asarray(ids, dtype=np.int64)]}

    @cached_property
    def distinct(self) -> tuple[int, np.ndarray]:
        """How many recordings differ of all that were read, and which of these each row is."""
        found, numbers = np.unique(self.digests, return_inverse=True)
        return len(found), numbers

    def where(self, ids: Any) -> list[str]:
        """The files of these recordings."""
        sources = self.sources
        return [sources[i] for i in np.asarray(ids, dtype=np.int64)]

    def fingerprint(self) -> str:
        """A hash of the encoding, of the recordings, of their transcripts, and of how they are batched."""
        texts = self.targets if self.labelled else None
        digest = hashlib.sha256(json.dumps([self.encoding.to_json(), self.tokens, texts]).encode())
        for each in self.digests[self.ids].tolist():
            digest.update(each)
        return digest.hexdigest()

    def check_labelled(self) -> None:
        if not self.labelled:
            raise Unsupported(
                "These recordings have no transcripts, so that they can be decoded, inputs(places), and neither "
                f"trained on nor judged. Give a manifest with the column '{self.schema.names[1]}'."
            )
