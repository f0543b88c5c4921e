r"""The encoding of nodes: their columns as a table's are encoded, beside them the words that each node holds.

A column of words holds a list for each node, such as "3 17 240" (places in a vocabulary that is not given) or "neural
network training"; it becomes one input for each word, how many times the node holds it. `normalize` says what becomes
of the numbers: "columns" standardizes columns of numbers as a table's (words stay as they are); "rows" divides all that
a node has by the sum of its absolute values, $x_{ij} / \sum_k |x_{ik}|$ (as Kipf & Welling, "Semi-supervised
classification with graph convolutional networks", 2017); "none" leaves all as it is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.errors import DataError
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells, as_texts
from thalweg.data.encoded_target import EncodedTarget
from thalweg.data.encoding import Encoding, fit_encoding
from thalweg.data.notation import MOSTLY
from thalweg.data.places import listed, where
from thalweg.data.schema import Schema, Target
from thalweg.data.table import Table, check_columns, read_features

NORMALIZE = ("columns", "rows", "none")


@dataclass(frozen=True)
class Words:
    """A column of words: how many there are, and which, in order; none are named where the file holds places alone.

    >>> Words("features", 2, ("graph", "node")).names
    ['features=graph', 'features=node']
    """

    column: str
    count: int
    known: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The name of every input."""
        return [f"{self.column}={word}" for word in self.known or range(self.count)]


@dataclass(frozen=True)
class GraphSchema:
    """What the nodes are read as: `columns` are numbers and categories, as a table's, with the target; `words` more.

    `id`, `split` and `weights` name columns of nodes and of edges; `header` says whether the files of nodes have names.

    >>> from thalweg.data.schema import TargetKind
    >>> columns = Schema((), Target(("topic",), TargetKind.CLASSES, ("art", "war")))
    >>> schema = GraphSchema(columns, "id", Words("words", 9))
    >>> GraphSchema.from_json(schema.to_json()) == schema
    True
    """

    columns: Schema
    id: str
    words: Words | None = None
    normalize: str = "columns"
    split: str | None = None
    weights: str | None = None
    directed: bool = False
    header: bool = True

    @property
    def target(self) -> Target:
        """What is predicted of a node."""
        return self.columns.target

    def to_json(self) -> dict[str, Any]:
        """The schema in plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "GraphSchema":
        """The schema that `to_json` wrote, also after it went through a file."""
        words = plain["words"] and Words(**{**plain["words"], "known": tuple(plain["words"]["known"])})
        return cls(**{**plain, "columns": Schema.from_json(plain["columns"]), "words": words})


@dataclass(frozen=True, eq=False)
class Nodes:
    """The features of nodes as they were read: a table of numbers and categories, and the places of words.

    Node i holds the words `places[offsets[i] : offsets[i + 1]]`.
    """

    table: Table
    places: Int[np.ndarray, " held"]
    offsets: Int[np.ndarray, " node_and_one"]

    def __len__(self) -> int:
        return len(self.offsets) - 1


MOST_DENSE = 2**24
"""Features of words of so many numbers, 64 MiB, are dense in a batch; of more they stay sparse."""


class SparseRows(NamedTuple):
    """A matrix of few numbers that are not 0, held as such: each `value` at a `place`, counted row by row.

    >>> rows = SparseRows(torch.tensor([3]), torch.tensor([5.0]), (2, 3))
    >>> rows.dense()
    tensor([[0., 0., 0.],
            [5., 0., 0.]])
    >>> rows.sparse().indices().tolist(), rows.batch().layout
    ([[1], [0]], torch.strided)
    """

    place: Int[Tensor, " held"]
    value: Float[Tensor, " held"]
    shape: tuple[int, int]

    def dense(self) -> Float[Tensor, "row column"]:
        """The whole matrix, made anew: that is faster than to copy it."""
        whole = self.value.new_zeros(self.shape[0] * self.shape[1])
        return whole.scatter_(0, self.place, self.value).view(self.shape)

    def sparse(self) -> Tensor:
        """The matrix as a sparse tensor, of which a network touches what is not 0."""
        held = torch.stack([self.place // self.shape[1], self.place % self.shape[1]])
        return torch.sparse_coo_tensor(held, self.value.clone(), self.shape, is_coalesced=True, check_invariants=False)

    def batch(self) -> Tensor:
        """The matrix as a network is given it: sparse where it would be large."""
        return self.dense() if self.shape[0] * self.shape[1] <= MOST_DENSE else self.sparse()


@dataclass(frozen=True)
class GraphEncoding(EncodedTarget):
    """A schema with the statistics of the nodes that were trained on: all that prediction needs.

    >>> from thalweg.data.schema import TargetKind
    >>> columns = Schema((), Target(("topic",), TargetKind.CLASSES, ("art", "war")))
    >>> schema = GraphSchema(columns, "id", Words("words", 2, ("paint", "sword")))
    >>> encoding = GraphEncoding(schema, Encoding(columns, (), (), ()))
    >>> frame = pd.DataFrame({"id": ["a", "b"], "words": ["sword sword", "paint"]})
    >>> encoding.inputs(encoding.read(frame)).dense()
    tensor([[0., 2.],
            [1., 0.]])
    >>> GraphEncoding.from_json(encoding.to_json()) == encoding
    True
    """

    schema: GraphSchema
    table: Encoding

    @property
    def target_means(self) -> tuple[float, ...]:
        """The means of the targets that are numbers."""
        return self.table.target_means

    @property
    def target_scales(self) -> tuple[float, ...]:
        """Their deviations."""
        return self.table.target_scales

    @property
    def feature_names(self) -> list[str]:
        """The name of every input of a node, in order."""
        return self.table.feature_names + ([] if self.schema.words is None else self.schema.words.names)

    @property
    def width(self) -> int:
        """How many inputs a node has."""
        return self.table.width + (0 if self.schema.words is None else self.schema.words.count)

    @property
    def input_shape(self) -> tuple[int]:
        """The shape of a node's features, `(features,)`."""
        return (self.width,)

    def read(self, frame: pd.DataFrame) -> Nodes:
        """The features of a frame's nodes; words and categories that training never saw are left out, and said.

        Raises `DataError` for missing columns, text among numbers, and missing cells that cannot be imputed.
        """
        nodes = read_nodes(frame, self.schema)
        self.table.announce_unseen(frame, nodes.table)
        return nodes

    def inputs(self, nodes: Nodes) -> SparseRows | Float[Tensor, "node feature"]:
        """The features of nodes, held sparsely where all of them are words."""
        count, rows = len(nodes), self.schema.normalize == "rows"
        words = _counted_words(nodes, self.schema.words, count)
        if self.table.width == 0:
            return words._replace(value=_per_row(words) if rows else words.value)
        dense = self.table.encode(nodes.table)
        whole = dense if self.schema.words is None else torch.cat([dense, words.dense()], 1)
        if not rows:
            return whole
        sums = whole.abs().sum(1, keepdim=True)
        return torch.where(sums > 0, whole / sums, whole)

    def to_json(self) -> dict[str, Any]:
        """The encoding in plain values, floats exact."""
        return {"kind": "graph", "schema": self.schema.to_json(), "table": self.table.to_json()}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "GraphEncoding":
        """The encoding that `to_json` wrote, also after it went through a file."""
        return cls(GraphSchema.from_json(plain["schema"]), Encoding.from_json(plain["table"]))


def fit_graph_encoding(nodes: Nodes, schema: GraphSchema, places: Int[np.ndarray, " some"]) -> GraphEncoding:
    """The encoding with the statistics of these nodes alone; numbers stay as they are where no column is normalized."""
    table = fit_encoding(nodes.table, places)
    if schema.normalize != "columns":
        count = len(schema.columns.numbers)
        table = replace(table, means=(0.0,) * count, scales=(1.0,) * count)
    return GraphEncoding(schema, table)


def read_nodes(frame: pd.DataFrame, schema: GraphSchema) -> Nodes:
    """The features of a frame's nodes, by the schema.

    Raises `DataError` as `GraphEncoding.read` does.
    """
    table = read_features(frame, schema.columns)
    if schema.words is None:
        return Nodes(table, np.empty(0, np.int64), np.zeros(len(frame) + 1, np.int64))
    check_columns(frame, [schema.words.column])
    held = word_lists(frame, schema.words.column)
    known = schema.words.known or tuple(map(str, range(schema.words.count)))
    place = pd.Index(known, dtype=object)
    flat = [word for words in held for word in words]
    if not schema.words.known:
        check_places(frame, schema.words.column, held)
        flat = [str(int(word)) for word in flat]
    codes = place.get_indexer(pd.Index(flat, dtype=object)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(words) for words in held])]).astype(np.int64)
    if (unknown := codes < 0).any():
        words = list(dict.fromkeys(flat[i] for i in np.flatnonzero(unknown)))
        notice(
            f"Column '{schema.words.column}' holds {listed(words, 3)}, which no node of training does: "
            f"{int(unknown.sum()):,} of {counted(len(codes), 'word')} left out."
        )
        before = np.concatenate([[0], np.cumsum(~unknown)])
        codes, offsets = codes[~unknown], before[offsets]
    return Nodes(table, codes, offsets)


def word_lists(frame: pd.DataFrame, column: str) -> list[list[str]]:
    """The words of each row, blanks between them; none where the cell is empty."""
    return [[] if text is None else text.split() for text in as_texts(as_cells(frame[column]))]


def check_places(frame: pd.DataFrame, column: str, held: Sequence[Sequence[str]]) -> None:
    """Refuse what is no place in a vocabulary: no whole number from 0 on."""
    bad = np.array([not all(map(is_place, words)) for words in held], dtype=bool)
    if bad.any():
        word = next(word for words in held for word in words if not is_place(word))
        raise DataError(
            f"Column '{column}' holds {word!r} in {where(frame.index, bad)} among places of words, which are whole "
            "numbers from 0 on. Correct these cells."
        )


def infer_words(frame: pd.DataFrame, column: str) -> Words:
    """What a column of words holds: places, where all of them are whole numbers from 0 on, or else words.

    >>> infer_words(pd.DataFrame({"f": ["0 3", "1", None]}), "f")
    Words(column='f', count=4, known=())

    Raises `DataError` for a column without any, and for a few words that are no places among places.
    """
    counts = Counter(chain.from_iterable(word_lists(frame, column)))
    if not counts:
        raise DataError(f"Column '{column}' holds no words. Fill it in, or leave it out of the features.")
    places = sum(times for word, times in counts.items() if is_place(word))
    if places >= MOSTLY * sum(counts.values()):
        check_places(frame, column, word_lists(frame, column))
        return Words(column, max(map(int, counts)) + 1)
    return Words(column, len(counts), tuple(sorted(counts)))


def is_place(word: str) -> bool:
    """Whether a word is a place in a vocabulary, a whole number from 0 on.

    >>> is_place("17"), is_place("-1"), is_place("graph")
    (True, False, False)
    """
    return word.isascii() and word.isdigit() and len(word) <= 9


def _counted_words(nodes: Nodes, words: Words | None, count: int) -> SparseRows:
    """How many times each node holds each word."""
    width = 0 if words is None else words.count
    rows = np.repeat(np.arange(count), np.diff(nodes.offsets))
    keys, times = np.unique(rows * max(width, 1) + nodes.places, return_counts=True)
    return SparseRows(torch.from_numpy(keys), torch.from_numpy(times).to(torch.get_default_dtype()), (count, width))


def _per_row(words: SparseRows) -> Float[Tensor, " held"]:
    row = words.place // max(words.shape[1], 1)
    return words.value / words.value.new_zeros(words.shape[0]).index_add_(0, row, words.value)[row]
