"""Graphs: nodes and edges from two files, every mistake of either named by its line.

A file of nodes has a column of ids, one of labels, features, and maybe the split of each node; a file of edges has two
columns of ids. An edge counts both ways unless the graph is directed; edges that are given twice count once, and a node
is never its own neighbour: networks that want self-loops add them.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells, as_numbers, as_texts
from thalweg.data.opening import SUFFIXES, as_text, open_bytes
from thalweg.data.places import LINE, listed, where
from thalweg.data.reading import read_table

IDS = ("id", "node", "node_id", "nodeid", "name")
"""What a column of ids is called; else it is the first one."""
ENDS = {"source", "target", "from", "to", "src", "dst", "a", "b", "u", "v", "citing", "cited", "node1", "node2"}
"""What columns of edges are called: so a first line of names is told from an edge."""
COMMENTS = ("#", "%")


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes, a row of `frame` for each, whose `ids` are texts; and edges `(2, edge)` from place to place.

    Of an undirected graph each edge stands there both ways, once each. `weights` are those of the edges, where given.
    """

    frame: pd.DataFrame
    ids: pd.Index
    edges: Int[np.ndarray, "two edge"]
    weights: Float[np.ndarray, " edge"] | None = None
    directed: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def count(self) -> int:
        """The edges, each once."""
        return self.edges.shape[1] // (1 if self.directed else 2)

    @property
    def isolated(self) -> int:
        """The nodes without an edge."""
        return len(self) - len(np.unique(self.edges))


def read_graph(
    nodes: Any,
    edges: Any = None,
    *,
    id: str | None = None,
    weights: str | None = None,
    directed: bool = False,
    header: bool = True,
    edge_header: bool | None = None,
) -> Graph:
    r"""The graph of a folder, or of a file of nodes and one of edges (paths, open files, frames).

    In a folder the files are called nodes and edges (`.csv`, `.tsv`, `.txt`, `.parquet`, also `.gz`). `id` names the
    column of ids. Whether the file of edges begins with names is found out, unless `edge_header` says it; its cells may
    be separated by blanks as well, and lines that begin with # or % are comments, but for those that begin with a node.
    `weights` names its column of weights.

    >>> graph = read_graph(io.StringIO("id,label\na,x\nb,y\nc,x"), io.StringIO("a,b\nb,c\nc,b\na,a"))
    >>> graph.edges.tolist(), graph.isolated
    ([[0, 1, 1, 2], [1, 0, 2, 1]], 0)

    Raises `DataError` for ids that are missing or twice, edges to what is no node, and files that are no tables.
    """
    nodes, edges = (nodes, edges) if edges is not None else graph_files(Path(nodes))
    frame = nodes.rename(columns=str) if isinstance(nodes, pd.DataFrame) else read_table(nodes, header=header)
    ids = _ids(frame, id)
    name, table = _read_edges(edges, ids, edge_header)
    ends = _ends(name, table, ids)
    lengths = None if weights is None else _weights(name, table, weights)
    if weights is None and len(table.columns) > 2:
        notice(f"Left out of {name}: {listed(list(table.columns[2:]))}. weights=NAME weighs the edges by a column.")
    kept, lengths = simple_edges(ends, lengths, len(ids), directed=directed, name=name)
    return Graph(frame, ids, kept, lengths, directed)


def graph_files(folder: Path) -> tuple[Path, Path]:
    """The files of nodes and edges in a folder.

    Raises `DataError` where there is not one of each.
    """
    if not folder.is_dir():
        what = "is one file" if folder.exists() else "is not there"
        raise DataError(
            f"{folder} {what}, but a graph is a folder with nodes.csv and edges.csv, or two files: give both."
        )
    tables = [item for item in sorted(folder.iterdir()) if item.suffix.lower() in SUFFIXES]
    found = [[item for item in tables if re.match(rf"{what}\b", item.name.lower())] for what in ("nodes", "edges")]
    for items in found:
        if len(items) != 1:
            held = f"holds {listed([item.name for item in items or tables])}" if items or tables else "holds no table"
            raise DataError(
                f"{folder} {held}, but a graph is one file of nodes and one of edges. Call them nodes.csv and "
                "edges.csv (or .tsv, .txt, .parquet), or name both files."
            )
    return found[0][0], found[1][0]


def simple_edges(
    ends: Int[np.ndarray, "two edge"],
    weights: Float[np.ndarray, " edge"] | None,
    nodes: int,
    *,
    directed: bool = False,
    name: str = "the edges",
) -> tuple[Int[np.ndarray, "two _kept"], Float[np.ndarray, " _kept"] | None]:
    """Each edge once, in order, without self-loops; of an undirected graph both ways. What is left out is said.

    >>> simple_edges(np.array([[0, 1, 1, 2], [1, 0, 1, 0]]), None, 3)[0].tolist()
    [[0, 0, 1, 2], [1, 2, 0, 0]]
    """
    loops = ends[0] == ends[1]
    if loops.any():
        notice(
            f"Left out of {name}: {counted(int(loops.sum()), 'edge')} from a node to itself. A network that wants them "
            "adds one to every node."
        )
    pairs = ends[:, ~loops]
    lengths = None if weights is None else weights[~loops]
    keys = pairs[0] * nodes + pairs[1] if directed else pairs.min(0, initial=nodes) * nodes + pairs.max(0, initial=0)
    once, first = np.unique(keys, return_index=True)
    if len(once) < len(keys):
        ways = len(np.unique(pairs[0] * nodes + pairs[1]))
        _say_repeated(len(keys) - ways, lengths is not None and _differ(keys, lengths), name)
    kept, lengths = np.stack([once // max(nodes, 1), once % max(nodes, 1)]), None if lengths is None else lengths[first]
    if directed:
        return kept, lengths
    both = np.concatenate([kept, kept[::-1]], axis=1)
    order = np.lexsort((both[1], both[0]))
    return both[:, order], None if lengths is None else np.concatenate([lengths, lengths])[order]


def _say_repeated(again: int, differ: bool, name: str) -> None:
    """Say that edges were given more than once, but for those of an undirected graph that stand there both ways."""
    if again:
        notice(f"{name}: {counted(again, 'edge')} stood there before. Each counts once.")
    if differ:
        notice(f"{name}: some edges stand there several times with different weights. The first weight counts.")


def _differ(keys: np.ndarray, weights: np.ndarray) -> bool:
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    return bool((weights[order][1:] != weights[order][:-1])[same].any())


def _ids(frame: pd.DataFrame, name: str | None) -> pd.Index:
    column = id_column(list(frame.columns), name)
    texts = as_texts(as_cells(frame[column]))
    missing = np.array([text is None for text in texts], dtype=bool)
    if missing.any():
        raise DataError(f"Column '{column}' has no id in {where(frame.index, missing)}. Every node needs one.")
    ids = pd.Index(texts, dtype=object, name=column)
    if (twice := np.asarray(ids.duplicated(keep=False))).any():
        text = ids[twice][0]
        raise DataError(
            f"Column '{column}' holds {text!r} in {where(frame.index, np.asarray(ids == text))}"
            f"{_others(len(set(ids[twice])) - 1)}, but each node has an id of its own. Take away what is there twice, "
            "or name the column of ids (id=NAME)."
        )
    return ids


def id_column(columns: Sequence[str], name: str | None = None) -> str:
    """The column of ids: the named one, else one that is called so, else the first.

    >>> id_column(["label", "id"]), id_column(["paper", "label"])
    ('id', 'paper')

    Raises `DataError` for a name that is no column.
    """
    if name is not None:
        if name not in columns:
            raise DataError(f"There is no column '{name}' of ids.{did_you_mean(name, columns)}")
        return name
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[word] for word in IDS if word in lower), columns[0])


def _others(count: int) -> str:
    return f" (and {counted(count, 'other id')} likewise)" if count else ""


def _read_edges(edges: Any, ids: pd.Index, header: bool | None) -> tuple[str, pd.DataFrame]:
    """The file's name, and its cells under names."""
    if isinstance(edges, pd.DataFrame):
        return "the edges", edges.rename(columns=str)
    name, data = open_bytes(edges)
    if not data.startswith(b"PAR1"):
        data = _plain(as_text(name, data), ids).encode()
        if not data.strip():
            raise DataError(f"{name} holds comments alone. A file of edges needs a line with two ids for each edge.")
    if header is not None or data.startswith(b"PAR1"):
        return name, read_table(_named(name, data), header=header is not False)
    try:
        frame = read_table(_named(name, data), header=False)
    except DataError:  # names over numbers, or an error that comes again
        return name, read_table(_named(name, data))
    first = [str(cell) for cell in frame.iloc[0].tolist()[:2]]
    if _are_names(first, ids):
        names = [str(cell) for cell in frame.iloc[0].tolist()]
        return name, frame.iloc[1:].set_axis(pd.Index(names, dtype=object), axis=1)
    return name, frame


def _are_names(first: list[str], ids: pd.Index) -> bool:
    """Whether the first line of a file names its columns: neither is a node, and they are not written as nodes are."""
    if any(cell in ids for cell in first):
        return False
    called = all(cell.strip().lower() in ENDS or cell.strip().lower() in IDS for cell in first)
    numbered = all(text.lstrip("-").isdigit() for text in ids[:100])
    return called or (numbered and not any(re.search(r"\d", cell) for cell in first))


def _plain(text: str, ids: pd.Index) -> str:
    """The text without comments, and with tabs where blanks alone separate the cells; every line keeps its number."""
    lines = ["" if _is_comment(line, ids) else line for line in text.splitlines()]
    held = [line for line in lines if line.strip()]
    counts = {len(line.split()) for line in held[:1000]}
    if counts <= {2, 3} and len(counts) == 1 and not any(mark in line for line in held[:1000] for mark in ",;|\t"):
        lines = ["\t".join(line.split()) for line in lines]
    return "\n".join(lines) + "\n"


def _is_comment(line: str, ids: pd.Index) -> bool:
    """Whether a line begins with the sign of a comment, and not with a node that is called so, such as #winter."""
    return line.startswith(COMMENTS) and re.split(r"[\s,;|]", line, maxsplit=1)[0] not in ids


def _named(name: str, data: bytes) -> io.BytesIO:
    file = io.BytesIO(data)
    file.name = name
    return file


def _ends(name: str, frame: pd.DataFrame, ids: pd.Index) -> Int[np.ndarray, "two edge"]:
    if len(frame.columns) < 2:
        raise DataError(
            f"{name} has one column, {listed(list(map(str, frame.columns)))}, but an edge is two ids, separated by a "
            "comma, a tab or a blank. Write both in each line: 3,17."
        )
    texts = [as_texts(as_cells(frame[column])) for column in frame.columns[:2]]
    ends = np.stack([ids.get_indexer(pd.Index(column, dtype=object)) for column in texts]).astype(np.int64)
    unknown = (ends < 0).any(0)
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        text = next(column[row] for column, end in zip(texts, ends[:, row], strict=True) if end < 0)
        what = "no id" if text is None else f"{text!r}, which is no node"
        more = f" ({int(unknown.sum()):,} such edges)" if unknown.sum() > 1 else ""
        near = did_you_mean(text, ids[:5000]) if text is not None else ""
        near = near if near.startswith(" Did") else ""
        begins = frame.index.name == LINE and row == 0
        names = " If this line names the columns: edge_header=True." if begins else ""
        raise DataError(
            f"{name} holds {what}, in {where(frame.index, np.arange(len(frame)) == row)}{more}. Add the node to the "
            f"file of nodes, or take the edge away.{near}{names}"
        )
    return ends


def _weights(name: str, frame: pd.DataFrame, column: str) -> Float[np.ndarray, " edge"]:
    if column not in frame.columns[2:]:
        known = list(map(str, frame.columns[2:]))
        raise RecipeError(
            f"{name} has no column '{column}' of weights behind the two ids."
            f"{did_you_mean(column, known) if known else ' Add it, or leave off the weights.'}"
        )
    numbers = as_numbers(as_cells(frame[column]))
    bad = ~(np.isfinite(numbers.value) & (numbers.value > 0))
    if bad.any():
        raise DataError(
            f"The weights '{column}' of {name} are no numbers above 0 in {where(frame.index, bad)}. Correct them, take "
            "these edges away, or leave off the weights."
        )
    return numbers.value
