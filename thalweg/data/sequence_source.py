"""Sequences of different lengths as a source of batches: kept flat, padded by the batch, batched by their length.

A batch is `((values, lengths), y)`: `values` are tokens `(batch, length)`, or vectors `(batch, length, features)`, with
padding of zeros behind; `lengths` is `(batch,)`. `y` is a class or numbers for each sequence, or a class for each
position, `(batch, length)`, with -100 where there is none.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from thalweg.core.errors import DataError
from thalweg.core.nest import Nest, map_tensors
from thalweg.core.notices import notice
from thalweg.core.tokens import NO_TARGET
from thalweg.core.wording import counted
from thalweg.data.batched_by_length import BatchedByLength
from thalweg.data.encoding import fit_encoding
from thalweg.data.holdout import PARTS
from thalweg.data.image_listing import PATH
from thalweg.data.ragged import Ragged
from thalweg.data.sequence_encoding import SequenceEncoding, SequenceSchema, fit_sequences
from thalweg.data.table_source import TableSource
from thalweg.data.vocabulary import unknown_share

Sequences = tuple[Shaped[Tensor, "some length ..."], Int[Tensor, " some"]]
"""Values, padding behind, and lengths."""


@dataclass(frozen=True, repr=False)
class SequenceSource(BatchedByLength):
    """Sequences as batches `((values, lengths), y)`, or `((values, lengths), (y, w))` with a column of weights.

    `content` holds all sequences as they were read: texts, lists of words, or frames (`Ragged`). `about` is a table of
    what is known of each: its target, group and time; its `ids` say which sequences this source has. `tags` are the
    classes of each position, where these are the target. Training batches hold `batch_size` sequences of like length,
    or as many as keep count times longest within `tokens`. It keeps core's protocols `Source`, `Indexed`, `Batched`,
    `Counted`, `Ordered`, `Described`, `Grouped`, `Fitted`, `Judged` and `Restoring`.

    >>> from thalweg.data.text_table import text_splits
    >>> mails = pd.DataFrame({"spam": [1, 0] * 10})
    >>> mails["mail"] = [f"{'read' if i % 2 else 'buy'} it now {i}" for i in range(20)]
    >>> source = text_splits(mails, target="spam").train
    >>> source
    SequenceSource(12 texts, 4 words, classification, outputs 2)
    >>> (values, lengths), y = next(source.batched(2).batches(1, 0, None))
    >>> values.shape, lengths.tolist(), y.tolist()
    (torch.Size([2, 4]), [4, 4], [1, 0])
    """

    content: Any
    about: TableSource
    encoding: SequenceEncoding
    tags: Ragged | None = None
    batch_size: int | None = 32
    merge_single: bool = False
    tokens: int | None = None
    KEPT = ("encoded", "sequences", "targets")

    @classmethod
    def unfitted(
        cls, content: Any, about: TableSource, schema: SequenceSchema, tags: Ragged | None = None, **batching: Any
    ) -> "SequenceSource":
        """All sequences, before any is trained on: to be dealt into splits, then `fit`."""
        return cls(content, about, SequenceEncoding(schema), tags, **batching)

    def __len__(self) -> int:
        return len(self.about)

    def __repr__(self) -> str:
        kind = "sentence" if self.schema.tagging else self.schema.kind.removesuffix("s")
        held = "sequence" if kind == "frame" else kind
        words = self.encoding.vocabulary
        shape = (
            f"frames of {len(self.encoding.means)}"
            if words is None
            else counted(len(words) - 4, words.unit.removesuffix("s"))
        )
        task = f"{self.encoding.task}, outputs {self.encoding.outputs}"
        return f"SequenceSource({counted(len(self), held)}, {shape}, {task}{' a word' if self.schema.tagging else ''})"

    @property
    def schema(self) -> SequenceSchema:
        """What the sequences are."""
        return self.encoding.schema

    @property
    def rows(self) -> pd.DataFrame:
        """The sequences as they were read, with all that stood beside them."""
        return self.about.rows

    @property
    def ids(self) -> Int[np.ndarray, " example"]:
        """Which of all sequences this source has."""
        return self.about.ids

    @cached_property
    def encoded(self) -> Ragged:
        """All sequences that were read, as tokens or scaled frames."""
        return self.encoding.encode(self.content)

    @cached_property
    def sequences(self) -> Ragged:
        """The sequences of this source, as tokens or scaled frames."""
        return self.encoded.take(self.ids)

    @cached_property
    def targets(self) -> Nest:
        """The targets of all sequences, `(y, weights)` where there are weights; ragged where each position has one."""
        if self.tags is None:
            return self.about.arrays.data[1]
        tags = self.tags if self.schema.longest is None else self.tags.shortened(self.schema.longest)
        return tags.take(self.ids)

    @property
    def lengths(self) -> Int[np.ndarray, " example"]:
        """The length of each sequence."""
        return self.sequences.lengths

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        for chunk in self.ordered(epoch, generator)[start:]:
            yield self.inputs(chunk), self._targets(chunk)

    def inputs(self, places: Int[Tensor, " some"]) -> Sequences:
        """Some of the sequences as a model reads them, padded to the longest of them."""
        return self.sequences.padded(places), torch.from_numpy(self.lengths)[places]

    def take(self, ids: Any) -> Self:
        return self._part(self.about.take(ids))

    def joined(self, other: "SequenceSource") -> Self:
        """The sequences of both, which were read as one; raises `ValueError` where they were not."""
        if self.content is not other.content or self.encoding is not other.encoding:
            raise ValueError("the sequences were read apart")
        return self._part(replace(self.about, ids=np.concatenate([self.ids, other.ids])))

    def _part(self, about: TableSource) -> Self:
        source = replace(self, about=about)
        if "encoded" in self.__dict__:
            source.__dict__["encoded"] = self.encoded  # encoded once for all its parts
        return source

    def fit(self, train_ids: Any) -> Self:
        """The same sequences, encoded with the vocabulary, means and deviations of `train_ids` alone."""
        places = self.ids[np.asarray(train_ids, dtype=np.int64)]
        if not len(places):
            raise DataError("There is no sequence to fit a vocabulary to. Give at least one to train on.")
        chosen = self.content.take(places) if isinstance(self.content, Ragged) else [self.content[i] for i in places]
        encoding = fit_sequences(chosen, self.schema, fit_encoding(self.about.table, places))
        return replace(self, encoding=encoding, about=replace(self.about, encoding=encoding.table))

    def meta(self, ids: Any) -> dict[str, Any]:
        """Of each of these the "label" (classes only), "group" and "time" where given, and "row", its place."""
        return self.about.meta(ids)

    def where(self, ids: Any) -> list[str]:
        """The line of the file, the file, or the row of the frame that each of these was read from."""
        if self.schema.kind == "frames" and PATH in self.rows:
            return [str(path) for path in self.rows[PATH].iloc[np.asarray(ids, dtype=np.int64)]]
        return self.about.where(ids)

    def judged(
        self, outputs: list[Nest], targets: list[Nest]
    ) -> tuple[Tensor, Tensor, Int[np.ndarray, " position"]] | None:
        """Scores and classes of all positions that have a target, with their sentence, or the group that this is of.

        None where a sequence has one target, or outputs do not go by position.
        """
        pairs: list[tuple[Any, Any]] = list(zip(outputs, targets, strict=True))
        if self.tags is None or any(not isinstance(o, Tensor) or o.shape[:2] != y.shape for o, y in pairs):
            return None
        kept = [y != NO_TARGET for _, y in pairs]
        own = [torch.cat([one[k].detach().cpu() for one, k in zip(of, kept, strict=True)]) for of in (outputs, targets)]
        group = self.meta(np.arange(len(self))).get("group")
        units = np.arange(len(self)) if group is None else np.unique(group, return_inverse=True)[1]
        return own[0], own[1], np.repeat(units, torch.cat([k.sum(1).cpu() for k in kept]).numpy())

    @property
    def group_name(self) -> str | None:
        """The column of groups."""
        return self.schema.group

    def restore(self, values: Nest) -> Nest:
        """Outputs or targets in the target's own units; of targets with weights the targets alone."""
        return self.about.restore(values)

    def fingerprint(self) -> str:
        """A hash of the encoding, of the sequences and targets as a model sees them, and of how they are batched."""
        digest = hashlib.sha256(json.dumps([self.encoding.to_json(), self.tokens]).encode())
        kept = [self.sequences, self.targets] if isinstance(self.targets, Ragged) else [self.sequences]
        for ragged in kept:
            digest.update(ragged.offsets.tobytes() + np.ascontiguousarray(ragged.values).tobytes())
        if not isinstance(self.targets, Ragged):
            map_tensors(lambda tensor: digest.update(tensor.contiguous().numpy().tobytes()), self.targets)
        return digest.hexdigest()

    def announce(self, name: str) -> None:
        """Say what of these sequences a model does not see: unknown tokens, and what is cut off."""
        if self.encoding.vocabulary is not None and (share := unknown_share(self._tokens)):
            notice(f"Unknown: {share:.2%} of the {len(self._tokens):,} tokens of the {name} split.")
        self.announce_cut(f"the {name} split")
        if self.tokens is not None and (beyond := int((self.lengths > self.tokens).sum())):
            verb = "is" if beyond == 1 else "are"
            notice(
                f"{counted(beyond, 'sequence')} of the {name} split {verb} longer than data.tokens={self.tokens:,}, "
                f"up to {self.lengths.max():,}: a batch each. data.longest=N cuts them off."
            )

    def announce_cut(self, whole: str) -> None:
        """Say how many sequences of the `whole` are cut off."""
        limit = self.schema.longest
        if limit is not None and (cut := _cut_off(self, limit)):
            verb, mel = "is" if cut == 1 else "are", self.schema.mel
            one, unit = ("sequence", "positions") if mel is None else ("recording", f"frames ({limit * mel.hop:.3g} s)")
            notice(
                f"{counted(cut, one)} of {whole} {verb} cut off after {limit:,} {unit}{' (data.longest)' * (not mel)}."
            )

    @property
    def _tokens(self) -> Int[np.ndarray, " position"]:
        values = self.sequences.values
        return values[:, 0] if values.ndim == 2 else values

    def _targets(self, chunk: Int[Tensor, " some"]) -> Nest:
        if isinstance(self.targets, Ragged):
            return self.targets.padded(chunk, NO_TARGET)
        return map_tensors(lambda column: column.index_select(0, chunk), self.targets)


def announce_each(splits: Sequence[SequenceSource | None]) -> None:
    """Say of each split what a model does not see of it."""
    for name, split in zip(PARTS, splits, strict=True):
        if split is not None:
            split.announce(name)


def _cut_off(source: SequenceSource, limit: int) -> int:
    """How many sequences were longer than `limit`; only those that fill it are looked at again."""
    filling = source.ids[source.lengths == limit]
    if isinstance(source.content, Ragged):
        return int((source.content.lengths[filling] > limit).sum())
    whole = replace(source.encoding, schema=replace(source.schema, longest=None))
    return int((whole.encode([source.content[i] for i in filling]).lengths > limit).sum())
