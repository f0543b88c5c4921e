"""Loading: a graph from its files to splits that can be trained on.

Read nodes and edges, give the columns of nodes their roles, read every node by the schema, take the split that a column
gives or hold nodes out, and fit the encoding to the nodes that are left to train on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.folds import check_seen
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.wording import counted
from thalweg.data.cells import Cells, as_cells, as_texts
from thalweg.data.columns import as_feature, check_numbers, parse
from thalweg.data.decisions import say_target
from thalweg.data.graph_encoding import NORMALIZE, GraphSchema, Nodes, Words, infer_words, is_place, read_nodes
from thalweg.data.graph_source import GraphSource, graph_target, has_label
from thalweg.data.graphs import Graph, read_graph
from thalweg.data.holdout import PARTS, hold_out
from thalweg.data.image_listing import CALLED
from thalweg.data.inference import MISSING
from thalweg.data.notation import MOSTLY, notations
from thalweg.data.places import listed, where
from thalweg.data.schema import Column, Schema, TargetKind
from thalweg.data.targets import TargetValues, as_target, target_names

LABELS = ("label", "class", "target", "y", "club")
"""What a column of labels is called where none is named."""
SPLIT = "split"
OUTSIDE = {"-", "none", "no", "unused", "unlabeled", "unlabelled", "?"}
"""What a column of splits says of a node in none of them, beside an empty cell."""
MOST_ONE_HOT = 2**27
"""Numbers up to which nodes without features get one each for itself: 11,585 nodes."""


def load_graph(
    nodes: Any,
    edges: Any = None,
    *,
    target: str | int | Sequence[str | int] | None = None,
    task: str | None = None,
    features: Sequence[str] | None = None,
    normalize: str = "columns",
    missing: str = "error",
    id: str | None = None,
    split: str | None = None,
    weights: str | None = None,
    directed: bool = False,
    header: bool = True,
    edge_header: bool | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
) -> Splits:
    r"""The splits of a graph: of a folder with nodes.csv and edges.csv, or of a file of nodes and one of edges.

    `target` is by default the column called label or class; `features` are all columns that have no other part, of
    words or of numbers and categories; without any each node is an input of its own. `split` names a column of train,
    validation (val, valid, dev) and test, by default the one called split; without one nodes are held out, every class
    in its share. `normalize` is "columns", "rows" or "none" (`graph_encoding`). `id`, `weights`, `directed` and
    `edge_header` are as in `read_graph`. Each split is a `GraphSource`; a split without nodes is None.

    >>> import io
    >>> rows = [f"p{i},{'ab'[i % 2]},{i % 2} {i % 3}" for i in range(20)]
    >>> edges = "\n".join(f"p{i},p{i + 2}" for i in range(18))
    >>> splits = load_graph(io.StringIO("\n".join(["id,label,words", *rows])), io.StringIO(edges))
    >>> splits.train
    GraphSource(12 of 20 nodes, 18 edges, 3 features, classification, outputs 2)

    Raises `DataError` for data that cannot be used, `RecipeError` for arguments that cannot be; both say the mend.
    """
    for name, value, known in (("normalize", normalize, NORMALIZE), ("missing", missing, ("error", "impute"))):
        if value not in known:
            drop = " A node cannot be dropped from its graph." if value in MISSING else ""
            raise RecipeError(f"{name}={value!r} is not known.{did_you_mean(str(value), known)}{drop}")
    graph = read_graph(nodes, edges, id=id, weights=weights, directed=directed, header=header, edge_header=edge_header)
    split = _split_column(graph.frame, split)
    columns, words = _columns(graph, target, task, features, split, missing)
    schema = GraphSchema(columns, str(graph.ids.name), words, normalize, split, weights, directed, header)
    return graph_splits(graph, schema, validation_share=validation_share, test_share=test_share, seed=seed)


def graph_splits(
    graph: Graph,
    schema: GraphSchema,
    *,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
) -> Splits:
    """The splits of a graph that is read by a schema: by its column of splits, else held out.

    Raises `DataError` where no node is left to train on, and for classes that are judged and not trained on.
    """
    target, nodes = graph_target(graph.frame, schema), read_nodes(graph.frame, schema)
    part = None if schema.split is None else _parts(graph.frame, schema.split)
    shares = {"validation_share": validation_share, "test_share": test_share, "seed": seed}
    return graph_splits_of(graph, nodes, target, schema, part, **shares)


def graph_splits_of(
    graph: Graph,
    nodes: Nodes,
    target: TargetValues,
    schema: GraphSchema,
    part: Int[np.ndarray, " node"] | None,
    **shares: Any,
) -> Splits:
    """The splits of nodes that are read already, by their `part` (0, 1, 2, or -1 for none), else held out by shares.

    Raises what `graph_splits` raises.
    """
    if not has_label(target).any():
        raise _no_labels(schema.target.names)
    source = GraphSource.fitted(graph, nodes, target, schema)
    _announce_graph(source)
    held = list(hold_out(source, **shares)) if part is None else _given(source, part)
    fitted = source.fit(held[0])
    splits = [fitted.take(ids) if len(ids) else None for ids in held]
    by = "" if schema.split is None else f" by column '{schema.split}'"
    sizes = "; ".join(
        f"{name} {'none' if one is None else counted(len(one), 'node')}"
        for name, one in zip(PARTS, splits, strict=True)
    )
    rest = len(graph) - sum(map(len, held))
    outside = f"; {counted(rest, 'node')} in none, whose features and edges count all the same" if rest else ""
    notice(f"Split{by}: {sizes}{outside}.")
    return Splits(*splits)


def _no_labels(names: Sequence[str]) -> DataError:
    return DataError(f"No node has a label in {listed(list(names))}. Fill some in, or name another --target.")


def part_of(name: str | None) -> int | None:
    """Which split a cell names: 0, 1 or 2 for train, validation and test, -1 for none of them; None where unknown.

    >>> part_of("val"), part_of("-"), part_of("maybe")
    (1, -1, None)
    """
    if name is None or name.lower() in OUTSIDE:
        return -1
    return (CALLED | {"dev": 1}).get(name.lower())


def _split_column(frame: pd.DataFrame, name: str | None) -> str | None:
    if name is not None:
        if name not in frame:
            raise DataError(f"There is no column '{name}' of splits.{did_you_mean(name, list(frame.columns))}")
        return name
    return next((column for column in frame.columns if column.lower() == SPLIT), None)


def _columns(
    graph: Graph,
    target: Any,
    task: str | None,
    features: Sequence[str] | None,
    split: str | None,
    missing: str,
) -> tuple[Schema, Words | None]:
    """The columns of numbers, categories and targets, and the column of words."""
    frame, names = graph.frame, list(graph.frame.columns)
    if target is None:
        target = next((name for word in LABELS for name in names if name.lower() == word), None)
    targets = target_names(names, target)
    taken = [*targets, str(graph.ids.name), *([] if split is None else [split])]
    for name in features or ():
        if name not in names:
            raise DataError(f"There is no column '{name}' for features.{did_you_mean(name, names)}")
        if name in targets or name == split:
            raise DataError(f"Column '{name}' is the target or the split: it cannot be a feature. Leave it off.")
    wanted = [name for name in names if name not in taken] if features is None else list(features)
    goal = _target(frame, targets, task)
    word = _word_column(frame, wanted)
    kept, left_out = _table_columns(frame, [name for name in wanted if name != word], features is not None, missing)
    words = None if word is None else infer_words(frame, word)
    if not kept and words is None:
        if len(graph) ** 2 > MOST_ONE_HOT:
            raise DataError(
                f"The nodes have no features, and {len(graph):,} are too many to be inputs of their own. Give them "
                "some, such as the number of their edges."
            )
        notice(f"The nodes have no features: each of the {len(graph):,} is an input of its own.")
        words = Words(str(graph.ids.name), len(graph), tuple(graph.ids))
    return Schema(tuple(kept), goal, missing, left_out=tuple(left_out)), words


def _target(frame: pd.DataFrame, names: Sequence[str], task: str | None) -> Any:
    """What the labelled nodes predict."""
    cells = [as_texts(as_cells(frame[name])) for name in names]
    known = np.array([all(cell is not None for cell in row) for row in zip(*cells, strict=True)], dtype=bool)
    if not known.any():
        raise _no_labels(names)
    labelled = frame[known]
    goal = as_target(labelled.index, parse(labelled, list(names)), task)
    if task is None:
        say_target(goal)
    return goal


def _word_column(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The column whose cells are lists of words."""
    found = [name for name in names if _are_lists(as_cells(frame[name]))]
    if len(found) > 1:
        raise DataError(
            f"Columns {listed(found)} hold words, and one can be read. Name the features: features=[{found[0]!r}]."
        )
    return found[0] if found else None


def _are_lists(cells: Cells) -> bool:
    """Whether most cells have several words, or some have several places of words; 12 345 is a number."""
    texts = [] if isinstance(cells, np.ndarray) else [text for text in cells if text is not None]
    several = [len(text.split()) > 1 for text in texts]
    if not any(several) or notations(list(dict.fromkeys(texts))):
        return False
    places = [is_place(word) for text in texts for word in text.split()]
    return bool(np.mean(several) >= 0.5 or np.mean(places) >= MOSTLY)


def _table_columns(
    frame: pd.DataFrame, names: list[str], wanted: bool, missing: str
) -> tuple[list[Column], list[tuple[str, str]]]:
    """The columns of numbers and categories, and what is left out with the reason, which is said."""
    parsed = parse(frame, names)
    check_numbers(frame.index, parsed)
    found = {name: as_feature(column, wanted) for name, column in parsed.items()}
    kept = [column for column in found.values() if isinstance(column, Column)]
    left_out = [(name, reason) for name, reason in found.items() if isinstance(reason, str)]
    for name, reason in left_out:
        notice(f"Column left out: '{name}': {reason}.")
    gaps = [column.name for column in kept if column.gaps]
    if gaps and missing == "error":
        first = np.asarray(parsed[gaps[0]].missing)
        raise DataError(
            f"Cells are missing in {listed(gaps)}, the first of them in {where(frame.index, first)}. Fill them in, or "
            "say --missing impute (missing='impute'): a number becomes the mean of the nodes of training, and one more "
            "input marks it."
        )
    return kept, left_out


def _parts(frame: pd.DataFrame, column: str) -> Int[np.ndarray, " node"]:
    """The split of each node by a column, -1 for none."""
    texts = as_texts(as_cells(frame[column]))
    parts = [part_of(text) for text in texts]
    if (bad := np.array([part is None for part in parts], dtype=bool)).any():
        word = texts[int(np.flatnonzero(bad)[0])]
        raise DataError(
            f"Column '{column}' holds {word!r} in {where(frame.index, bad)}, but a node is of train, validation or "
            f"test, or of none: '-' or an empty cell.{did_you_mean(str(word), [*CALLED, 'dev'])}"
        )
    return np.array(parts, dtype=np.int64)


def _given(source: GraphSource, part: Int[np.ndarray, " node"]) -> list[Int[np.ndarray, " _some"]]:
    """The labelled nodes of each split, by their place among the labelled ones."""
    of = part[source.mask.numpy()]
    for place, name in enumerate(PARTS):
        if bare := int((part == place).sum() - (of == place).sum()):
            notice(f"Split '{name}': {counted(bare, 'node')} without a label left out of it.")
    held = [np.flatnonzero(of == place) for place in range(len(PARTS))]
    if not len(held[0]):
        raise DataError("The split has no node with a label to train on. Put some of them into 'train'.")
    label = source.meta(np.arange(len(source))).get("label")
    for name, ids in zip(PARTS[1:], held[1:], strict=True):
        check_seen(label, held[0], ids, f"the {name} nodes")
    return held


def _announce_graph(source: GraphSource) -> None:
    graph, schema = source.graph, source.encoding.schema
    ways = "each one way" if graph.directed else "each both ways"
    alone = f", {counted(graph.isolated, 'node')} without any" if graph.isolated else ""
    words = "" if schema.words is None else f" ({schema.words.count:,} words of '{schema.words.column}')"
    notice(
        f"Graph: {counted(len(graph), 'node')}, {counted(graph.count, 'edge')} ({ways}){alone}, "
        f"{counted(source.encoding.width, 'feature')}{words}."
    )
    if schema.target.kind is TargetKind.CLASSES and (bare := len(graph) - len(source)):
        notice(f"{counted(bare, 'node')} without a label: never trained on nor judged.")
