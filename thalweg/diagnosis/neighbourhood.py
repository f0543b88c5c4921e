r"""The floor of a graph's nodes, from linear learners that read each node's own features and those around it.

With $P = D^{-1} (A + I)$, which takes the mean over a node and its neighbours, a learner is given $X$ or $P^2 X$: what
stands within two steps (Wu et al., "Simplifying Graph Convolutional Networks", 2019, equation 8, with the mean in place
of the symmetric one). Such a learner has nothing to learn of the graph: that it does worse than a network says nothing,
that it does better shows what features and edges allow.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.arrays import are_classes
from thalweg.core.nest import Nest
from thalweg.core.objective import Moment
from thalweg.core.source import Source
from thalweg.diagnosis.references import CONSTANT, FOLDS, out_of_fold
from thalweg.training.judging import Judge

STEPS = 2
MOST_ROWS, MOST_FEATURES, MOST_CLASSES = 4000, 20_000_000, 100
"""Nodes that learners are fitted to, numbers of all features, and classes that they tell apart."""
OWN, AROUND = "linear on each node alone", f"linear on what lies within {STEPS} edges"


@dataclass(frozen=True, eq=False)
class Nodes:
    """The nodes of all splits that have a label: what each learner reads of them, their targets, and their places.

    `batches` are those of the splits, `places` the numbers of their nodes in the graph.
    """

    rows: dict[str, np.ndarray]
    targets: Tensor
    batches: list[Any]
    places: list[np.ndarray]

    def learners(self) -> dict[str, tuple[Callable[[], Any], np.ndarray]]:
        """How each learner is built, and what it reads."""
        from sklearn.dummy import DummyClassifier, DummyRegressor
        from sklearn.linear_model import LogisticRegression, RidgeCV

        numbers = self.targets.is_floating_point()
        constant: Any = DummyRegressor() if numbers else DummyClassifier(strategy="prior")
        linear = partial(RidgeCV, np.logspace(-2, 3, 6)) if numbers else partial(LogisticRegression, C=0.1)
        made = {name: (linear, rows) for name, rows in self.rows.items()}
        return {CONSTANT: (lambda: constant, self.rows[OWN]), **made}

    def outputs(self, said: Tensor) -> list[Tensor]:
        """What a learner says of its nodes, as outputs of each split's batch, 0 for all other nodes."""
        said, at, found = said.reshape(len(said), -1).float(), 0, []
        for batch, places in zip(self.batches, self.places, strict=True):
            output = torch.zeros(len(batch[1][1]), said.shape[1])
            output[places] = said[at : at + len(places)]
            found.append(output)
            at += len(places)
        return found


class Said(nn.Module):
    """A model that has its answer already, so that an objective of any form can judge it.

    >>> Said(torch.ones(2))("any", "inputs")
    tensor([1., 1.])
    """

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, *inputs: Any) -> Tensor:
        return self.output


def read_nodes(sources: list[Source]) -> Nodes | None:
    """The nodes of splits that are graphs with a mask; None where one is none, or too large to be read so."""
    batches, places, targets, rows = [], [], [], list[dict[str, Tensor]]()
    for source in sources:
        own = list(source.batches(0, 0, None))
        if len(own) != 1 or not _is_graph(own[0]):
            return None
        (features, edges, *_), (labels, mask) = own[0]
        chosen = (mask != 0).nonzero().flatten()
        chosen = chosen[:: -(-len(chosen) * len(sources) // MOST_ROWS) or 1]
        batches.append(own[0])
        places.append(chosen.numpy())
        targets.append(labels[chosen])
        rows.append({OWN: features[chosen], AROUND: around(features, edges)[chosen]})
    y = torch.cat(targets) if len({(own.dtype, own.shape[1:]) for own in targets}) == 1 else None
    if y is None or len(y) < 2 * FOLDS or len({own[OWN].shape[1] for own in rows}) != 1:
        return None
    if not bool(torch.isfinite(y).all()) or not (y.is_floating_point() or are_classes(y)):
        return None
    if not y.is_floating_point() and (int(y.min()) < 0 or int(y.max()) >= MOST_CLASSES):
        return None
    read = {name: torch.cat([own[name] for own in rows]).double().numpy() for name in rows[0]}
    return Nodes({name: own / (own.std() or 1.0) for name, own in read.items()}, y, batches, places)


def _is_graph(batch: Nest) -> bool:
    """Whether a batch is `((features, edges, ...), (labels, mask))`, of numbers that are not too many."""
    if not (isinstance(batch, tuple) and len(batch) == 2 and all(isinstance(part, tuple) for part in batch)):
        return False
    if len(batch[0]) < 2 or len(batch[1]) != 2 or not all(isinstance(own, Tensor) for part in batch for own in part):
        return False
    (features, edges, *_), (labels, mask) = batch
    return (
        features.layout is torch.strided
        and features.dim() == 2
        and features.is_floating_point()
        and features.numel() <= MOST_FEATURES
        and bool(torch.isfinite(features).all())
        and edges.dim() == 2
        and len(edges) == 2
        and edges.dtype == torch.int64
        and mask.shape == (len(features),) == labels.shape[:1]
    )


def around(features: Tensor, edges: Tensor, steps: int = STEPS) -> Tensor:
    """The mean over each node and those that edges come from, `steps` times.

    >>> around(torch.tensor([[0.0], [4.0], [2.0]]), torch.tensor([[0, 1], [1, 0]]), steps=1).flatten()
    tensor([2., 2., 2.])
    """
    own = torch.arange(len(features)).expand(2, -1)
    source, target = torch.cat([edges, own], 1)
    shares = 1 / torch.bincount(target, minlength=len(features))[target].to(features.dtype)
    size = (len(features), len(features))
    mean = torch.sparse_coo_tensor(torch.stack([target, source]), shares, size, check_invariants=True)
    for _ in range(steps):
        features = torch.sparse.mm(mean, features)
    return features


def reached(judge: Judge, nodes: Nodes, seed: int) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], float] | None:
    """The losses of each learner's nodes and their weights, and the least that was seen.

    None where the objective takes no learner's output, or gives no loss for each node.
    """
    losses, least = dict[str, tuple[np.ndarray, np.ndarray]](), np.inf
    for name, (build, rows) in nodes.learners().items():
        said = out_of_fold(build, rows, nodes.targets, seed)
        own = None if said is None else _losses(judge, nodes, nodes.outputs(said))
        if own is None:
            return None
        losses[name], least = own, min(least, float(own[0].min()))
    return losses, 0.0 if least >= 0 else float("-inf")


def _losses(judge: Judge, nodes: Nodes, outputs: list[Tensor]) -> tuple[np.ndarray, np.ndarray] | None:
    values, weights = [], []
    for batch, output, places in zip(nodes.batches, outputs, nodes.places, strict=True):
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # of shapes that do not go together, which are tried on purpose
                losses = judge.objective(Said(output), batch, Moment())
        except Exception:  # a user's own code
            return None
        if losses.value.shape != (len(output),) or not isinstance(losses.weight, Tensor):
            return None
        values.append(losses.value.double().numpy()[places])
        weights.append(losses.weight.double().numpy()[places])
    found = np.concatenate(values), np.concatenate(weights)
    return found if np.isfinite(found[0]).all() and found[1].any() else None
