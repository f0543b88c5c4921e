"""A graph as a source: one batch, `((features, edges), (labels, mask))`, whose examples are the nodes of its mask."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from thalweg.core.nest import Nest
from thalweg.core.nodes import NodeSource
from thalweg.core.wording import counted
from thalweg.data.cells import as_cells
from thalweg.data.encoding import statistics
from thalweg.data.graph_encoding import GraphEncoding, GraphSchema, Nodes, SparseRows, fit_graph_encoding
from thalweg.data.graphs import Graph, read_graph
from thalweg.data.schema import TargetKind
from thalweg.data.table import check_columns
from thalweg.data.targets import TargetValues, read_target


@dataclass(frozen=True, repr=False, eq=False)
class GraphSource(NodeSource):
    """Nodes of a graph that are trained on, or judged; the rest of the graph stays in the batch around them.

    `inputs` are the features, held sparsely where they are words and dense in a batch, and the edges `(2, edge)`, both
    ways where the graph is undirected, with their weights behind them where these are given. `labels` of nodes without
    one are 0, and never in a mask but to be predicted. It keeps core's protocols `Source`, `Indexed`, `Described`,
    `Named`, `Fitted` and `Restoring`.

    >>> from thalweg.data.karate import karate
    >>> karate().test
    GraphSource(32 of 34 nodes, 78 edges, 34 features, classification, outputs 2)
    """

    graph: Graph
    nodes: Nodes
    target: TargetValues
    encoding: GraphEncoding

    @classmethod
    def fitted(cls, graph: Graph, nodes: Nodes, target: TargetValues, schema: GraphSchema) -> "GraphSource":
        """All nodes that have a label, in the encoding that is fitted to all of them."""
        known = has_label(target)
        return _encoded(graph, nodes, target, _fit(nodes, target, schema, np.flatnonzero(known)), known)

    @classmethod
    def of(cls, nodes: Any, edges: Any = None, *, encoding: GraphEncoding, labelled: bool = False) -> "GraphSource":
        """A graph in a given encoding: all nodes, to predict their labels, or the `labelled` ones, to be judged.

        `nodes` and `edges` are as in `read_graph`. Words and categories that training never saw are left out, and said.

        Raises `DataError` for what cannot be read, and, if `labelled`, for labels that are no class.
        """
        schema = encoding.schema
        graph = read_graph(
            nodes, edges, id=schema.id, weights=schema.weights, directed=schema.directed, header=schema.header
        )
        target = graph_target(graph.frame, schema) if labelled else _no_target(len(graph), schema)
        read = encoding.read(graph.frame)
        return _encoded(graph, read, target, encoding, has_label(target) if labelled else np.ones(len(graph), bool))

    def __repr__(self) -> str:
        of = f"{len(self):,} of {counted(len(self.graph), 'node')}, {counted(self.graph.count, 'edge')}"
        features = counted(self.encoding.width, "feature")
        return f"GraphSource({of}, {features}, {self.encoding.task}, outputs {self.encoding.outputs})"

    @property
    def rows(self) -> pd.DataFrame:
        """What the file says of each of these nodes."""
        return self.graph.frame.iloc[self._places(np.arange(len(self)))]

    @property
    def feature_names(self) -> list[str]:
        """The name of every feature of a node, in order."""
        return self.encoding.feature_names

    @property
    def class_names(self) -> tuple[Any, ...]:
        """The classes in the order of the outputs; none for numbers."""
        return self.encoding.labels

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        if start == 0:
            features, *others = self.inputs
            whole = features.batch() if isinstance(features, SparseRows) else features.clone()
            yield (whole, *(each.clone() for each in others)), (self.labels.clone(), self.mask.clone())

    def meta(self, ids: Any) -> dict[str, Any]:
        """Of each of these nodes the "label" (classes only), its "id", and "row", its place in the file."""
        places = self._places(ids)
        known = {"id": self.graph.ids.to_numpy()[places], "row": self.graph.frame.index.to_numpy()[places]}
        if self.encoding.task == "classification" and has_label(self.target)[places].all():
            classes = self.target[places] if self.target.ndim == 1 else self.target[places].argmax(1)
            known["label"] = np.asarray(self.class_names)[classes]
        return known

    def where(self, ids: Any) -> list[str]:
        """The ids of these nodes."""
        return [f"node {name}" for name in self.graph.ids.to_numpy()[self._places(ids)]]

    def fit(self, train_ids: Any) -> "GraphSource":
        """The same nodes, encoded with the means and deviations of `train_ids` alone."""
        encoding = _fit(self.nodes, self.target, self.encoding.schema, self._places(train_ids))
        return replace(_encoded(self.graph, self.nodes, self.target, encoding, np.zeros(0, bool)), mask=self.mask)

    def judged(self, outputs: list[Nest], targets: list[Nest]) -> tuple[Nest, Nest, None] | None:
        """The outputs and labels of these nodes, in the target's own units."""
        own = NodeSource.judged(self, outputs, targets)
        if own is None or not isinstance(own[0], Tensor):
            return own
        return self.restore(own[0]), self.restore(own[1]), None

    def restore(self, values: Nest) -> Nest:
        """Outputs or targets in the target's own units; of targets with a mask the targets alone."""
        if isinstance(values, tuple):
            target, mask = values
            return self.restore(target), mask
        return self.encoding.restore(values)

    def fingerprint(self) -> str:
        """A hash of the encoding, and of the graph as a model sees it."""
        digest = hashlib.sha256(json.dumps(self.encoding.to_json()).encode())
        features, *others = self.inputs
        parts = features[:2] if isinstance(features, SparseRows) else (features,)
        for tensor in (*parts, *others, self.labels, self.mask):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _places(self, ids: Any) -> Int[np.ndarray, " some"]:
        return np.flatnonzero(self.mask.numpy())[np.asarray(ids, dtype=np.int64)]


def has_label(target: TargetValues) -> Bool[np.ndarray, " node"]:
    """Which nodes have a label.

    >>> has_label(np.array([0, -1])).tolist()
    [True, False]
    """
    return np.asarray(target >= 0 if target.ndim == 1 else ~np.isnan(target).any(1))


def graph_target(frame: pd.DataFrame, schema: GraphSchema) -> TargetValues:
    """The target of each node, -1 or NaN where it has none.

    Raises `DataError` for a column that is not there, labels that are no class, and text among numbers.
    """
    check_columns(frame, list(schema.target.names))
    return read_target(frame.index, {name: as_cells(frame[name]) for name in schema.target.names}, schema.target)


def _no_target(count: int, schema: GraphSchema) -> TargetValues:
    if schema.target.kind is TargetKind.CLASSES:
        return np.full(count, -1)
    return np.full((count, len(schema.target.names)), np.nan)


def _fit(nodes: Nodes, target: TargetValues, schema: GraphSchema, places: Int[np.ndarray, " some"]) -> GraphEncoding:
    encoding = fit_graph_encoding(nodes, schema, places)
    if schema.target.kind is not TargetKind.NUMBERS:
        return encoding
    means, scales = statistics(list(target[places].T))
    table = replace(encoding.table, target_means=means, target_scales=tuple(scale or 1.0 for scale in scales))
    return replace(encoding, table=table)


def _encoded(
    graph: Graph, nodes: Nodes, target: TargetValues, encoding: GraphEncoding, mask: Bool[np.ndarray, " asked"]
) -> GraphSource:
    features = encoding.inputs(nodes)
    dtype = features.value.dtype if isinstance(features, SparseRows) else features.dtype
    weights = () if graph.weights is None else (torch.from_numpy(graph.weights).to(dtype),)
    known = has_label(target)
    labels = encoding.encode_values(np.where(known if target.ndim == 1 else known[:, None], target, 0))
    inputs = (features, torch.from_numpy(graph.edges), *weights)
    return GraphSource(inputs, labels, torch.from_numpy(mask), graph, nodes, target, encoding)
