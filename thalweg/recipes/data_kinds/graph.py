"""Graphs: nodes and edges, of which some nodes have labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import notice
from thalweg.core.source import Source, Splits
from thalweg.data import GraphEncoding, GraphSource, holds_graph, karate, load_graph, prediction_frame
from thalweg.loss import WeightedLoss
from thalweg.recipes.data_kinds.kind import DataKind, Outputs
from thalweg.recipes.settings import Section, Settings

KARATE = "karate"


class Graph(DataKind):
    """A graph whose nodes are classified, or have numbers; one batch is the whole of it."""

    name = "graph"
    holds = "a graph"
    plural = "graphs"
    models = ("gcn", "gat")
    named: ClassVar[tuple[str, ...]] = (KARATE,)
    spelled: ClassVar[Mapping[str, str]] = {"split_seed": "seed"}

    def loaders(self) -> Sequence[Callable[..., Any]]:
        return (load_graph,)

    def changed(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        features = parameters["features"].replace(annotation=Sequence[str] | str | None)
        edges = parameters["edges"].replace(annotation=str | None)
        normalize = parameters["normalize"].replace(annotation=str | None, default=None)
        return {"features": features, "edges": edges, "normalize": normalize}

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        return options.get("edges") is not None or holds_graph(path)

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        if isinstance(source, Path):
            chosen = {name: value for name, value in arguments.items() if name != "normalize" or value is not None}
            splits = load_graph(source, **chosen)
            return splits if "normalize" in chosen else _words_by_rows(splits)
        if arguments:
            key = next(iter(settings["data"].keys() - {"source"}))
            raise RecipeError(
                f"{settings.place('data', key)}'{source}' brings its own columns and splits, so '{key}' changes "
                "nothing. Leave it out."
            )
        return karate()

    def reads(self, encoding: Any) -> bool:
        return isinstance(encoding, GraphEncoding)

    def from_json(self, plain: Mapping[str, Any]) -> Any:
        return GraphEncoding.from_json(dict(plain))

    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        """The settings of Kipf & Welling (2017) and Velickovic et al. (2018), with the decay on all layers."""
        rate = 0.005 if settings["model"].get("kind") == "gat" else 0.01
        optimizer = {"kind": "adam", "lr": rate, "weight_decay": 5e-4}
        return {"model": {"kind": "gcn"}, "optimizer": optimizer, "fit": {"epochs": 200, "batch_size": None}}

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        return {"inputs": encoding.width}

    def weights(self, encoding: Any) -> str | None:
        return None

    def objective(self, likelihood: nn.Module, encoding: Any) -> nn.Module:
        return WeightedLoss(likelihood)

    def class_numbers(self, source: Any) -> Tensor:
        return torch.as_tensor(source.labels[source.mask])

    def scored(self, source: Any, outputs: list[Tensor]) -> Tensor:
        return outputs[0][source.mask]

    def frame(self, source: Any, outputs: list[Tensor], **shown: Any) -> Any:
        return prediction_frame(source.rows, source.encoding, self.scored(source, outputs), **shown)

    def opened(self, file: str, encoding: Any) -> Any:
        return file if file in self.named else Path(file)

    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> Any:
        """A row for each node, of those with a label too."""
        source = _whole(data, encoding)
        return self.frame(source, outputs(x for x, _ in source.batches(0, 0, None)), **shown)

    def judged(self, file: str, encoding: Any) -> Source:
        if file in self.named:
            return _club(encoding)
        source = GraphSource.of(_folder(Path(file)), encoding=encoding, labelled=True)
        return _tested(source, file)


def _words_by_rows(splits: Splits) -> Splits:
    """The splits with the rows of features summing to 1 where all features are words, as Kipf & Welling do."""
    encoding = splits.train.encoding
    if encoding.table.width or encoding.schema.words is None:
        return splits
    encoding = replace(encoding, schema=replace(encoding.schema, normalize="rows"))
    train = replace(splits.train, encoding=encoding).fit(np.arange(len(splits.train)))
    others = (splits.validation, splits.test)
    return Splits(train, *(None if one is None else replace(train, mask=one.mask) for one in others))


def _whole(data: Any, encoding: GraphEncoding) -> GraphSource:
    """All nodes of a graph, whether they have a label or not."""
    if data == KARATE:
        own = _club(encoding)
        return replace(own, mask=torch.ones(len(own.mask), dtype=torch.bool))
    pair = data if isinstance(data, tuple) else (_folder(Path(data)), None)
    return GraphSource.of(*pair, encoding=encoding)


def _club(encoding: GraphEncoding) -> GraphSource:
    """The members of the karate club that are judged, for a network that was trained on it."""
    own: GraphSource = karate().test
    if own.encoding.schema != encoding.schema:
        raise DataError(
            f"The run was not trained on the club '{KARATE}': it reads other nodes, of {encoding.width} features. Give "
            "a folder with such nodes and their edges."
        )
    return replace(own, encoding=encoding)


def _folder(path: Path) -> Path:
    """The folder of a graph, where its file of nodes is named."""
    return path.parent if path.is_file() and holds_graph(path.parent) else path


def _tested(source: GraphSource, file: str) -> GraphSource:
    """The nodes to test on, where a column says which they are."""
    from thalweg.data.graph_loading import part_of

    column = source.encoding.schema.split
    if column is None or column not in source.graph.frame:
        return source
    own = np.array([part_of(str(cell)) == 2 for cell in source.rows[column]])
    if not own.any():
        return source
    notice(f"Of {file} the nodes to test on are taken: {int(own.sum()):,} of {len(source):,}.")
    return source.take(np.flatnonzero(own))
