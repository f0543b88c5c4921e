"""Graphs in memory that have the fields of a torch_geometric `Data` object, which need not be installed.

Its fields are `x` (node, feature), `edge_index` (2, edge), `y` (node), maybe `edge_weight` (edge) and boolean masks
`train_mask`, `val_mask` and `test_mask` (node).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.wording import counted
from thalweg.data.graph_encoding import NORMALIZE, GraphSchema, Nodes, Words
from thalweg.data.graph_loading import graph_splits_of
from thalweg.data.graphs import Graph, simple_edges
from thalweg.data.schema import Column, Kind, Schema, Target, TargetKind
from thalweg.data.table import Table

MASKS = ("train_mask", "val_mask", "test_mask")
FEW = 0.1
"""Features are held as words where at most this share of them is not 0, and all are whole numbers."""
LABELS = "y"


@no_type_check
def from_geometric(
    data: Any,
    *,
    normalize: str = "none",
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
) -> Splits:
    """The splits of an object with `x`, `edge_index` and `y`, by its masks, or held out where it has none.

    Edges stand there as they are, one way each, as such objects hold an undirected edge twice; self-loops and edges
    given twice are left out, and said. Without `x` each node is an input of its own. Masks of several splits
    `(node, split)` give the first. A y of whole numbers are classes, -1 none; a floating one is a number for each node.

    >>> from types import SimpleNamespace
    >>> edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> masks = {name: torch.eye(3, dtype=torch.bool)[i] for i, name in enumerate(MASKS)}
    >>> data = SimpleNamespace(x=torch.eye(3), edge_index=edges, y=torch.tensor([0, 0, 0]), **masks)
    >>> from_geometric(data).test
    GraphSource(1 of 3 nodes, 4 edges, 3 features, classification, outputs 1)

    Raises `DataError` for what lacks a field, or has one of another shape.
    """
    if normalize not in NORMALIZE:
        raise RecipeError(f"normalize={normalize!r} is not known.{did_you_mean(str(normalize), NORMALIZE)}")
    y, edges = _field(data, "y"), _field(data, "edge_index")
    y = y.squeeze(-1) if y.dim() == 2 and y.shape[-1] == 1 else y
    if y.dim() != 1 or not len(y):
        raise DataError(f"y is {tuple(y.shape)}, but it holds one label for each node: (node,).")
    count = len(y)
    graph = _graph(count, edges, _optional(data, "edge_weight"))
    nodes, words, columns = _features(_optional(data, "x"), count)
    classes = not y.is_floating_point()
    target = y.numpy().astype(np.int64) if classes else y.double().numpy()[:, None]
    labels = tuple(range(int(target.max()) + 1)) if classes else ()
    goal = Target((LABELS,), TargetKind.CLASSES if classes else TargetKind.NUMBERS, labels)
    schema = GraphSchema(Schema(columns, goal), "id", words, normalize, directed=True)
    table = Table(schema.columns, nodes.table.numbers, nodes.table.codes, graph.frame.index)
    parts = _parts(data, count)
    shares = {"validation_share": validation_share, "test_share": test_share, "seed": seed}
    return graph_splits_of(graph, replace(nodes, table=table), target, schema, parts, **shares)


def _graph(count: int, edges: Tensor, weights: Tensor | None) -> Graph:
    if edges.dim() != 2 or edges.shape[0] != 2 or edges.is_floating_point():
        raise DataError(f"edge_index is {tuple(edges.shape)} {edges.dtype}, but it holds (2, edge) places of nodes.")
    ends = edges.long().numpy()
    if ends.size and (ends.min() < 0 or ends.max() >= count):
        raise DataError(
            f"edge_index names node {ends.max() if ends.max() >= count else ends.min()}, but there are "
            f"{counted(count, 'node')}, from 0 to {count - 1}. Give y, x and the masks a row for each node."
        )
    if weights is not None and weights.shape != (ends.shape[1],):
        raise DataError(f"edge_weight is {tuple(weights.shape)}, but there are {ends.shape[1]:,} edges: one for each.")
    lengths = None if weights is None else weights.double().numpy()
    kept, lengths = simple_edges(ends, lengths, count, directed=True, name="edge_index")
    ids = pd.Index(list(map(str, range(count))), dtype=object, name="id")
    return Graph(pd.DataFrame({"id": ids}), ids, kept, lengths, directed=True)


def _features(x: Tensor | None, count: int) -> tuple[Nodes, Words | None, tuple[Column, ...]]:
    """The features as they are: as words where they are few whole numbers, else as columns."""
    empty = Table(
        Schema((), Target((), TargetKind.CLASSES)),
        np.empty((count, 0)),
        np.empty((count, 0), np.int64),
        pd.RangeIndex(count),
    )
    if x is None:
        notice(f"The nodes have no features: each of the {count:,} is an input of its own.")
        one_each = Words("id", count, tuple(map(str, range(count))))
        return Nodes(empty, np.arange(count), np.arange(count + 1)), one_each, ()
    values = (x if x.layout is torch.strided else x.to_dense()).double().numpy()
    if values.ndim != 2 or len(values) != count or not values.shape[1]:
        raise DataError(f"x is {values.shape}, but y has {counted(count, 'node')}: x is (node, feature).")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise DataError(f"x of node {bad} is not finite. Correct it: every feature is a finite number.")
    held = values != 0
    if held.mean() <= FEW and (values >= 0).all() and (values == np.floor(values)).all():
        row, place = np.nonzero(held)
        times = values[row, place].astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(np.repeat(row, times), minlength=count))])
        return Nodes(empty, np.repeat(place, times), offsets), Words("x", values.shape[1]), ()
    columns = tuple(Column(f"x={i}", Kind.NUMBER) for i in range(values.shape[1]))
    nothing = np.empty(0, np.int64)
    table = Table(empty.schema, values, empty.codes, empty.rows)
    return Nodes(table, nothing, np.zeros(count + 1, np.int64)), None, columns


def _parts(data: Any, count: int) -> np.ndarray | None:
    """The split of each node, by the masks: 0, 1, 2, or -1; None without a mask of training."""
    given = {name: _optional(data, name) for name in MASKS}
    if given["train_mask"] is None:
        return None
    part = np.full(count, -1)
    for place, (name, mask) in enumerate(given.items()):
        if mask is None:
            continue
        if mask.dim() == 2 and len(mask) == count:
            notice(f"{name} holds {counted(mask.shape[1], 'split')}: the first is taken.")
            mask = mask[:, 0]
        if mask.shape != (count,) or mask.dtype != torch.bool:
            raise DataError(f"{name} is {tuple(mask.shape)} {mask.dtype}, but it is true or false for each node.")
        if (twice := mask.numpy() & (part >= 0)).any():
            first = int(np.flatnonzero(twice)[0])
            raise DataError(
                f"Node {first} is in {name} and in {MASKS[part[first]]}. Each node is in one split at most."
            )
        part[mask.numpy()] = place
    return part


def _field(data: Any, name: str) -> Tensor:
    value = _optional(data, name)
    if value is None:
        raise DataError(
            f"{type(data).__name__} has no {name}, but a graph has x, edge_index and y, as torch_geometric's Data does."
        )
    return value


def _optional(data: Any, name: str) -> Tensor | None:
    value = getattr(data, name, None)
    if value is not None and not isinstance(value, Tensor):
        raise DataError(f"{name} is a {type(value).__name__}, but it is a tensor.")
    return None if value is None else value.detach().cpu()
