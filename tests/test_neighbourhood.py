"""Reference learners of a graph's nodes."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import thalweg
from thalweg import Losses, Recipe, Splits
from thalweg.core.convert import Batching, as_source
from thalweg.core.nodes import NodeSource
from thalweg.diagnosis.floor import Floor, reference_floor
from thalweg.diagnosis.laboratory import merged
from thalweg.diagnosis.neighbourhood import AROUND, OWN, around, read_nodes
from thalweg.diagnosis.work import examples_of
from thalweg.loss import WeightedLoss
from thalweg.nn import gcn
from thalweg.training.judging import Judge

NODES, CLASSES = 211, 3


def graph(kept: float, seed: int = 0) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Two edges from each node to others of its class; a node shows its class by itself in a share of all cases."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (NODES,), generator=random)
    order = labels.argsort()
    edges = torch.cat([torch.stack([order, order.roll(step)]) for step in (1, 2)], 1)
    edges = edges[:, labels[edges[0]] == labels[edges[1]]]
    shown = torch.where(
        torch.rand(NODES, generator=random) < kept, labels, labels[torch.randperm(NODES, generator=random)]
    )
    return (torch.nn.functional.one_hot(shown, CLASSES).float(), torch.cat([edges, edges.flip(0)], 1)), labels


def halves() -> tuple[Tensor, Tensor]:
    first = torch.arange(NODES) % 2 == 0
    return first, ~first


def floor_of(inputs: Any, labels: Tensor, objective: Any) -> Floor | None:
    sources = [as_source((inputs, (labels, mask)), "train", Batching(None, None)) for mask in halves()]
    recipe = Recipe(data=Splits(train=(inputs, (labels, halves()[0]))), model=lambda: gcn(3, 3), objective=objective)
    return reference_floor(Judge.of(recipe), sources)


@thalweg.objective
def node_loss(model: Any, batch: Any) -> Losses:
    (features, edges), (labels, mask) = batch
    return Losses(torch.nn.functional.cross_entropy(model(features, edges), labels, reduction="none"), weight=mask)


@pytest.mark.parametrize("objective", [WeightedLoss(torch.nn.CrossEntropyLoss()), node_loss])
def test_what_stands_around_a_node_tells_more_than_it_does(objective: Any) -> None:
    inputs, labels = graph(kept=0.6)
    floor = floor_of(inputs, labels, objective)
    assert floor is not None
    assert floor.by == AROUND
    assert floor.remote
    assert floor.high < 0.25 < 0.9 < floor.null < 1.2
    for known, mask in zip(floor.values, halves(), strict=True):
        assert known is not None
        assert known.places.tolist() == mask.nonzero().flatten().tolist()
        assert known.losses.mean() < floor.null / 2


def test_where_edges_say_nothing_a_node_alone_tells_more() -> None:
    (features, edges), labels = graph(kept=0.9)
    place = torch.randperm(NODES, generator=torch.Generator().manual_seed(1))
    floor = floor_of((features, place[edges]), labels, node_loss)
    assert floor is not None
    assert floor.by == OWN


def test_numbers_of_nodes() -> None:
    inputs, _ = graph(kept=0.6)
    means = around(*inputs)
    y = (means @ torch.tensor([[1.0], [-2.0], [0.5]])) + 3
    floor = floor_of(inputs, y, WeightedLoss(torch.nn.MSELoss()))
    assert floor is not None
    assert floor.by == AROUND
    assert floor.high < 0.01 * floor.null


def test_labels_that_nothing_tells_leave_the_constant() -> None:
    inputs, labels = graph(kept=1.0)
    moved = labels[torch.randperm(NODES, generator=torch.Generator().manual_seed(2))]
    floor = floor_of(inputs, moved, node_loss)
    assert floor is not None
    assert floor.high > 0.9 * floor.null


def test_what_is_around_is_the_mean_of_steps() -> None:
    inputs, _ = graph(kept=0.5)
    features, edges = inputs
    steps = torch.eye(NODES)
    steps[edges[1], edges[0]] += 1
    mean = steps / steps.sum(1, keepdim=True)
    assert torch.allclose(around(features, edges), mean @ mean @ features, atol=1e-6)


def test_what_is_no_graph_is_not_read() -> None:
    inputs, labels = graph(kept=0.5)
    first, second = halves()

    def read(x: Any, y: Any) -> Any:
        return read_nodes([as_source((x, y), "train", Batching(None, None))])

    assert read(inputs, (labels, first)) is not None
    assert read((inputs[0].to_sparse(), inputs[1]), (labels, first)) is None
    assert read((inputs[0], inputs[1].float()), (labels, first)) is None
    assert read(inputs[0], labels) is None
    assert read(inputs, (labels, first & (torch.arange(NODES) < 6))) is None  # too few for folds
    assert read((inputs[0].log(), inputs[1]), (labels, second)) is None


def test_more_of_a_graph_is_more_nodes_at_the_same_price() -> None:
    inputs, labels = graph(kept=0.9)
    first, second = (as_source((inputs, (labels, mask)), "train", Batching(None, None)) for mask in halves())
    both = merged(first, second)
    assert isinstance(both, NodeSource)
    assert bool(both.mask.all())
    of_one, of_both = (
        Recipe(data=Splits(train=each), model=lambda: gcn(3, 3), objective=node_loss, epochs=3, batch_size=None)
        for each in (first, both)
    )
    assert examples_of(of_one) == examples_of(of_both) == NODES
    other = as_source((inputs, (1 - labels.clamp(max=1), halves()[1])), "train", Batching(None, None))
    assert merged(first, other) is None


@pytest.mark.battery
def test_too_few_labels_are_overfitting_and_more_nodes_tell() -> None:
    (features, edges), labels = graph(kept=0.5)
    words = torch.cat([features, torch.randn(NODES, 60, generator=torch.Generator().manual_seed(4))], 1)
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(3))
    few, rest = torch.zeros(2, NODES, dtype=torch.bool)
    few[order[:12]] = rest[order[12:]] = True
    recipe = Recipe(
        data=Splits(train=((words, edges), (labels, few)), validation=((words, edges), (labels, rest))),
        model=lambda: gcn(63, 3, dropout=0.0),
        objective=node_loss,
        optimizer=partial(torch.optim.Adam, lr=0.02),
        batch_size=None,
        epochs=40,
    )
    finding = thalweg.diagnose(recipe, budget=12)
    assert finding.cause is thalweg.Cause.OVERFITTING
    assert "x the training data" in str(finding.mechanism) or "of the training data" in str(finding.mechanism)
