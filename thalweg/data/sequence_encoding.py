r"""The encoding of sequences: the vocabulary, or the statistics, of the training sequences, and the way to tensors.

A text becomes its tokens. A word of a sentence that is tagged becomes its own token and, beside it, those of its
letters, $1 + 8$ numbers for each position. A frame, a vector of numbers, becomes $(v - m) / s$ with the mean and the
deviation of each of its numbers over all frames of the training sequences.

No sequence is empty: one without any token becomes a single unknown one, one without a frame a single frame of zeros.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import UNKNOWN
from thalweg.data.audio import LogMel
from thalweg.data.encoded_target import EncodedTarget
from thalweg.data.encoding import Encoding, numbers_of, statistics
from thalweg.data.ragged import Ragged
from thalweg.data.schema import Schema, Target, TargetKind
from thalweg.data.vocabulary import Vocabulary
from thalweg.data.word_hashing import HASHED, hashed_once

KINDS = ("texts", "words", "frames")


@dataclass(frozen=True)
class SequenceSchema:
    """What the sequences are, and what is predicted.

    `kind` is "texts" (a text has a target), "words" (each word of a sentence has one), or "frames" (vectors of numbers,
    and a sequence of them has a target). `table` has the target and the columns of group, time and weights, `text`
    names the column of texts; `unit`, `size`, `fewest` and `lower` are those of the vocabulary; `longest` is where
    sequences are cut off, if anywhere; `columns` are those of the words and the tags of a file in columns, from 1; of
    recordings `mel` makes the frames, and `pattern` makes columns of their names.

    >>> target = Target(("spam",), TargetKind.CLASSES, ("no", "yes"))
    >>> schema = SequenceSchema("texts", Schema((), target), text="mail")
    >>> SequenceSchema.from_json(schema.to_json()) == schema
    True
    """

    kind: str
    table: Schema
    text: str | None = None
    unit: str = "words"
    size: int | None = None
    fewest: int | None = None
    lower: bool = False
    longest: int | None = None
    columns: tuple[int, int] | None = None
    mel: LogMel | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        if self.longest is not None and (type(self.longest) is not int or self.longest < 1):
            raise RecipeError(
                f"longest={self.longest!r}, but it is after how many positions a sequence is cut off: a whole number "
                "of at least 1, or None for all of it. Give for instance 512."
            )

    @property
    def target(self) -> Target:
        """What is predicted, of a sequence or of each of its words."""
        return self.table.target

    @property
    def tagging(self) -> bool:
        """Whether each position has a target."""
        return self.kind == "words"

    @property
    def group(self) -> str | None:
        """The column of groups."""
        return self.table.group

    @property
    def time(self) -> str | None:
        """The column of times."""
        return self.table.time

    @property
    def weights(self) -> str | None:
        """The column of weights."""
        return self.table.weights

    @property
    def header(self) -> bool:
        """Whether the file names its columns."""
        return self.table.header

    def to_json(self) -> dict[str, Any]:
        """The schema in plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "SequenceSchema":
        """The schema that `to_json` wrote, also after it went through a file.

        Raises `ValueError` for a kind that is none.
        """
        if plain["kind"] not in KINDS:
            raise ValueError(f"'kind' is {plain['kind']!r}, but it is one of {', '.join(KINDS)}")
        columns = plain["columns"] and (int(plain["columns"][0]), int(plain["columns"][1]))
        mel = None if plain.get("mel") is None else LogMel(**plain["mel"])
        return cls(**{**plain, "table": Schema.from_json(plain["table"]), "columns": columns, "mel": mel})


@dataclass(frozen=True)
class SequenceEncoding(EncodedTarget):
    """A schema with what was learned of the training sequences: all that prediction needs.

    `vocabulary` is None for frames, whose `means` and `scales` there are instead.

    >>> target = Target(("spam",), TargetKind.CLASSES, ("no", "yes"))
    >>> schema = SequenceSchema("texts", Schema((), target), text="mail", longest=3)
    >>> encoding = SequenceEncoding(schema, Vocabulary.fit(["buy now", "buy now"]))
    >>> encoding.inputs(["now buy it now", ""])
    (tensor([[5, 4, 1],
            [1, 0, 0]]), tensor([3, 1]))
    >>> SequenceEncoding.from_json(encoding.to_json()) == encoding
    True
    """

    schema: SequenceSchema
    vocabulary: Vocabulary | None = None
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    target_means: tuple[float, ...] = ()
    target_scales: tuple[float, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one position: `()` for a token, `(features,)` for a word with its letters and for a frame."""
        return (1 + HASHED,) if self.schema.tagging else () if self.vocabulary is not None else (len(self.means),)

    @property
    def table(self) -> Encoding:
        """The encoding of the targets of whole sequences, as a table without columns has it."""
        return Encoding(self.schema.table, (), (), (), self.target_means, self.target_scales)

    def encode(self, content: Any) -> Ragged:
        """The tokens or frames of texts, of lists of words, or of ragged frames; none is empty."""
        if self.vocabulary is None:
            means, scales = np.array(self.means), np.array(self.scales)
            factor = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0)
            frames = content.shortened(self.schema.longest) if self.schema.longest else content
            values = ((frames.values - means) * factor).astype(str(torch.get_default_dtype()).removeprefix("torch."))
            return replace(frames, values=values).filled(0)
        tokens = self.vocabulary.encode_all(content)
        if self.schema.tagging:
            letters = hashed_once([word for sentence in content for word in sentence])
            tokens = replace(tokens, values=np.column_stack([tokens.values, letters]))
        tokens = tokens.shortened(self.schema.longest) if self.schema.longest else tokens
        return tokens.filled(UNKNOWN)

    def inputs(self, content: Any) -> tuple[Shaped[Tensor, "sequence length ..."], Int[Tensor, " sequence"]]:
        """The inputs of sequences, padded to the longest of them, and their lengths."""
        encoded = self.encode(content)
        return encoded.padded(torch.arange(len(encoded))), torch.from_numpy(encoded.lengths)

    def to_json(self) -> dict[str, Any]:
        """The encoding in plain values, floats exact."""
        vocabulary = None if self.vocabulary is None else self.vocabulary.to_json()
        floats = {name: list(getattr(self, name)) for name in ("means", "scales", "target_means", "target_scales")}
        return {"kind": "sequences", "schema": self.schema.to_json(), "vocabulary": vocabulary, **floats}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "SequenceEncoding":
        """The encoding that `to_json` wrote, also after it went through a file.

        Raises `ValueError` for statistics or a vocabulary that are not the schema's.
        """
        schema = SequenceSchema.from_json(plain["schema"])
        given = plain["vocabulary"]
        if (given is None) != (schema.kind == "frames"):
            raise ValueError(f"'vocabulary' is {str(given)[:40]}, which does not go with {schema.kind}")
        vocabulary = None if given is None else Vocabulary.from_json(given)
        targets = len(schema.target.names) if schema.target.kind is TargetKind.NUMBERS else 0
        frames = len(plain["means"])
        counts = {"means": frames, "scales": frames, "target_means": targets, "target_scales": targets}
        return cls(schema, vocabulary, **{name: numbers_of(name, plain[name], count) for name, count in counts.items()})


def fit_sequences(content: Any, schema: SequenceSchema, table: Encoding) -> SequenceEncoding:
    """The encoding with what these training sequences hold, and the `table`'s statistics of their targets.

    >>> target = Target(("spam",), TargetKind.CLASSES, ("no", "yes"))
    >>> schema = SequenceSchema("texts", Schema((), target), text="mail", fewest=1)
    >>> fit_sequences(["buy now"], schema, Encoding(schema.table, (), (), ())).vocabulary
    Vocabulary(2 words)
    """
    encoding = SequenceEncoding(schema, target_means=table.target_means, target_scales=table.target_scales)
    if schema.kind == "frames":
        read = content.shortened(schema.longest) if schema.longest else content
        means, scales = statistics(list(read.values.T))
        return replace(encoding, means=means, scales=scales)
    fitted = Vocabulary.fit(content, schema.unit, size=schema.size, fewest=schema.fewest, lower=schema.lower)
    return replace(encoding, vocabulary=fitted)
