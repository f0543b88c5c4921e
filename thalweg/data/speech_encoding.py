r"""The encoding of speech: the statistics of frames, the vocabulary of transcripts, and the ways to tensors and back.

A frame $v$ becomes $(v - m) / s$ with the mean and the deviation of each of its numbers over all frames of the training
recordings. A transcript is trained on as in `pair_encoding`: a prefix that begins with `START`, and what comes next.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import RecipeError
from thalweg.data.audio import LogMel
from thalweg.data.encoding import numbers_of, statistics
from thalweg.data.pair_encoding import EncodedPairs, PairEncoding, begun_and_ended
from thalweg.data.pair_schema import PairSchema, check_missing
from thalweg.data.ragged import Ragged
from thalweg.data.vocabulary import Vocabulary, check_unit


@dataclass(frozen=True)
class SpeechSchema:
    """What the recordings and their transcripts are.

    `names` are the columns of both; `mel` makes the frames; `unit`, `size`, `fewest` and `lower` are those of the
    transcripts' vocabulary; `longest` is after how many frames, and units, they are cut off; `missing` says what
    becomes of recordings without a transcript, as for pairs; `header` is that of `read_manifest`, `group` the column of
    groups.

    >>> schema = SpeechSchema(("path", "said"), LogMel(8000))
    >>> SpeechSchema.from_json(schema.to_json()) == schema
    True

    Raises `RecipeError` for values that cannot be.
    """

    names: tuple[str, str]
    mel: LogMel
    unit: str = "characters"
    size: int | None = None
    fewest: int | None = None
    lower: bool = False
    longest: tuple[int | None, int | None] = (None, None)
    missing: str = "error"
    header: bool = True
    group: str | None = None
    copying = False
    """Nothing is copied from a sound."""
    output = "text"
    """A transcript is neither a tree nor a set."""

    def __post_init__(self) -> None:
        check_unit(self.unit, self.size, self.fewest)
        check_missing(self.missing)
        for longest, what in zip(self.longest, ("frames a recording", "units a transcript"), strict=True):
            if longest is not None and (type(longest) is not int or longest < 1):
                raise RecipeError(
                    f"longest={longest!r}, but it is after how many {what} is cut off: a whole number of at least 1, "
                    "or None for all of it. Give for instance 200."
                )

    def to_json(self) -> dict[str, Any]:
        """The schema in plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "SpeechSchema":
        """The schema that `to_json` wrote, also after it went through a file.

        Raises `ValueError` where a side is missing, and `RecipeError` for values that cannot be.
        """
        for name in ("names", "longest"):
            if not isinstance(plain.get(name), list) or len(plain[name]) != 2:
                raise ValueError(f"'{name}' is {plain.get(name)!r}, but it is a list of two, of recordings and texts")
        both = {name: tuple(plain[name]) for name in ("names", "longest")}
        return cls(**{**plain, **both, "mel": LogMel.from_json(plain["mel"])})


@dataclass(frozen=True)
class SpeechEncoding:
    """A schema with what was learned of the training recordings and their transcripts: all that prediction needs.

    >>> schema = SpeechSchema(("path", "said"), LogMel(8000, mels=2))
    >>> frames = Ragged.of([np.array([[1.0, 5.0], [3.0, 5.0]])])
    >>> encoding = SpeechEncoding.fit(frames, ["ab"], schema)
    >>> encoded = encoding.encode(frames, ["ba"])
    >>> encoded.source[0].tolist(), encoded.prefix[0].tolist(), encoded.y[0].tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [2, 5, 4], [5, 4, 3])
    >>> encoding.text([5, 4, 3]), SpeechEncoding.from_json(encoding.to_json()) == encoding
    ('ba', True)
    """

    schema: SpeechSchema
    target: Vocabulary = field(default_factory=lambda: Vocabulary("characters"))
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls, frames: Ragged, transcripts: Sequence[str], schema: SpeechSchema, size: int | None = None
    ) -> "SpeechEncoding":
        """The encoding by recordings and transcripts of training; `size` is that of a vocabulary fitted before."""
        limit = schema.longest[0]
        means, scales = statistics(list((frames if limit is None else frames.shortened(limit)).values.T))
        joiners = schema.unit == "words"
        target = Vocabulary.fit(
            transcripts,
            schema.unit,
            size=size or schema.size,
            fewest=schema.fewest,
            lower=schema.lower,
            joiners=joiners,
        )
        return cls(schema, target.widened(size or 0), means, scales)

    @property
    def outputs(self) -> int:
        """How many tokens a model tells apart."""
        return len(self.target)

    def encode(self, frames: Ragged, transcripts: Sequence[str] | None = None) -> EncodedPairs:
        """Scaled frames, and the tokens of their transcripts where there are some."""
        read = self.scaled(frames)
        if transcripts is None:
            return EncodedPairs(read, None, None, None)
        return EncodedPairs(read, *begun_and_ended(self.target.encode_all(transcripts), self.schema.longest[1]), None)

    def scaled(self, frames: Ragged) -> Ragged:
        """The frames that are read, each number with the mean 0 and the deviation 1 over those of training."""
        limit = self.schema.longest[0]
        read = frames if limit is None else frames.shortened(limit)
        means, scales = np.array(self.means, np.float32), np.array(self.scales, np.float32)
        factor = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0)
        values: Float[np.ndarray, "frame mel"] = (read.values.astype(np.float32) - means) * factor
        return Ragged(values, read.offsets)

    @property
    def texts(self) -> PairEncoding:
        """The encoding of the transcripts alone, which says how tokens become texts."""
        return PairEncoding(self.target, self.target, PairSchema(unit=(self.schema.unit, self.schema.unit)))

    def text(self, tokens: Iterable[Any], source: str | None = None) -> str:
        """The text of an output; the source adds nothing to it."""
        return self.texts.text(tokens)

    def unit_text(self, token: int, source: str | None = None) -> str:
        """A single token of an output as it is read."""
        return self.texts.unit_text(token)

    def formed(self, transcript: str) -> str:
        """A transcript in the form that outputs have: of its units, so that both can be compared."""
        return self.target.join(self.target.split(transcript))

    def to_json(self) -> dict[str, Any]:
        """The encoding in plain values, floats exact."""
        floats = {name: list(getattr(self, name)) for name in ("means", "scales")}
        return {"kind": "speech", "schema": self.schema.to_json(), "target": self.target.to_json(), **floats}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "SpeechEncoding":
        """The encoding that `to_json` wrote, also after it went through a file.

        Raises `ValueError` for statistics, a vocabulary or a schema that are none.
        """
        schema = SpeechSchema.from_json(plain["schema"])
        floats = {name: numbers_of(name, plain[name], schema.mel.count) for name in ("means", "scales")}
        return cls(schema, Vocabulary.from_json(plain["target"]), **floats)
