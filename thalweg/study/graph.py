r"""graph: what the edges of a graph tell about a node whose label is not known.

Four networks learn from the few nodes that have a label, and are judged by the others. GCN and GAT let each node look
at its neighbours (`thalweg.nn.graph`); the multilayer perceptron is the GCN with all edges taken away, so that each
node is on its own; and the GCN "with moved edges" sees the same graph, but each node stands at the place of another, so
that its neighbours say nothing about it. On the karate club a node has nothing of its own but its number: without edges
nothing leads from the two labels to anybody else (Kipf & Welling 2017, appendix A.1). On Cora a paper has its words.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import unsaid
from thalweg.core.objective import Losses, objective
from thalweg.core.randomness import generator
from thalweg.core.source import Splits
from thalweg.data import karate, load_graph
from thalweg.nn import gat, gcn
from thalweg.study.arms import Progress, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.graph_picture import draw_scores, draw_votes
from thalweg.study.interval import over_seeds
from thalweg.study.picture import panels
from thalweg.study.verdict import Check, Study
from thalweg.training import EarlyStopping, Recipe, Run

SEEDS = 5
ALONE, GCN, GAT, MOVED = ARMS = ("MLP", "GCN", "GAT", "GCN, moved edges")
HEADS, ANY, CORA = GRAPHS = ("karate", "karate, any two", "cora")
"""The club with the labels of its two heads, with those of any two members, and the papers."""
DECAY = 5e-4
OF_CORA = " Cora: the public split of 140, 500 and 1,000 papers, by the recipes of the networks' own papers."


class Labelled(NamedTuple):
    """Features and edges, the label of each node, and which nodes are trained on, stopped by and judged."""

    features: Tensor
    edges: Int[Tensor, "2 edge"]
    labels: Int[Tensor, " node"]
    masks: dict[str, Tensor]


class Alone(nn.Module):
    """A network on graphs that is shown no edge: each node by itself, with the same weights.

    >>> Alone(gcn(3, 2))(torch.ones(4, 3), torch.tensor([[0], [1]])).shape
    torch.Size([4, 2])
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: Tensor, edges: Int[Tensor, "2 edge"]) -> Float[Tensor, "node outputs"]:
        """The outputs of each node by its own features."""
        output: Tensor = self.inner(features, edges[:, :0])
        return output


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    graphs: Sequence[str] | None = None,
    epochs: int = 100,
    moved: bool = False,
) -> Study:
    """All networks on each of the `graphs` (None: on Cora where its data are), with all nodes `moved` or none."""
    wanted = [name for name in GRAPHS if name != CORA or cora_folder() is not None] if graphs is None else list(graphs)
    if not wanted:
        raise RecipeError(f"graphs={tuple(wanted)}, but the study needs a graph. Give some of {', '.join(GRAPHS)}.")
    runs: dict[str, dict[str, list[Run]]] = {}
    for place, name in enumerate(wanted):
        arms = {arm: [_recipe(name, arm, seed, epochs, moved) for seed in seeds] for arm in ARMS}
        named = {f"{name}, {arm}": recipes for arm, recipes in arms.items()}
        trained = train_arms(named, progress, (place / len(wanted), (place + 1) / len(wanted)))
        runs[name] = dict(zip(ARMS, trained.values(), strict=True))
    scores = {name: {arm: np.array([score(run) for run in own]) for arm, own in arms.items()}
              for name, arms in runs.items()}  # fmt: skip
    figure, axes = panels(len(wanted) + 1)
    for name, ax in zip(wanted, axes, strict=False):
        draw_scores(scores[name], name, ax)
    shown = runs[wanted[0]][GCN]
    draw_votes(*_votes(shown), axes[-1])
    return Study(
        name="graph",
        claim=STUDIES["graph"],
        question="How much more do networks that see edges know of nodes without a label, and is it the edges?",
        method=f"On {'; '.join(wanted)}. Karate club: 2 of 34 nodes have a label, {epochs} epochs of Adam, networks of "
        f"two layers with 16 features.{OF_CORA if CORA in wanted else ''} The intervals are over starts"
        f"{', and over pairs of labels' if ANY in wanted else ''}.",
        seeds=tuple(seeds),
        columns=("graph", "judged nodes", *ARMS),
        rows=tuple(
            (name, _judged(runs[name][GCN][0]), *(float(own.mean()) for own in scores[name].values()))
            for name in wanted
        ),
        checks=tuple(check for name in wanted for check in decide(name, scores[name])),
        settings={"graphs": wanted, "epochs": epochs, "moved": moved},
        figure=figure,
    )  # fmt: skip


def decide(name: str, scores: dict[str, Float[np.ndarray, " seed"]]) -> tuple[Check, ...]:
    """Paired by seed: what seeing neighbours adds to the accuracy, and that it goes where neighbours say nothing."""
    return (
        over_seeds(f"{name}: accuracy, GCN - MLP", scores[GCN] - scores[ALONE], above=0.0),
        over_seeds(f"{name}: accuracy, GAT - MLP", scores[GAT] - scores[ALONE], above=0.0),
        over_seeds(f"{name}: accuracy, GCN - GCN with moved edges", scores[GCN] - scores[MOVED], above=0.0),
    )


def cora_folder() -> Path | None:
    """The folder cora of the one that THALWEG_DATA names; None without it."""
    named = os.environ.get("THALWEG_DATA")
    folder = Path(named or "") / CORA
    return folder if named and folder.is_dir() else None


def graph(name: str, seed: int) -> Labelled:
    """A graph of that name, and which of its nodes are labelled, judged, and maybe stopped by.

    >>> club = graph("karate", seed=0)
    >>> len(club.labels), {name: int(mask.sum()) for name, mask in club.masks.items()}
    (34, {'train': 2, 'test': 32})
    >>> graph("karat", seed=0)
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: The study 'graph' knows no graph 'karat'. Did you mean 'karate'?

    Raises `RecipeError` for another name, `DataError` for Cora where its data are not.
    """
    if name not in GRAPHS:
        raise RecipeError(f"The study 'graph' knows no graph '{name}'.{did_you_mean(name, GRAPHS)}")
    if name == CORA:
        folder = cora_folder()
        if folder is None:
            raise DataError(
                "Cora is not among the data: there is no folder 'cora' in the one that THALWEG_DATA names. Set "
                f"THALWEG_DATA, or leave it out: graphs=('{HEADS}',)."
            )
        with unsaid():
            return _as_graph(load_graph(folder, normalize="rows"))
    club = _as_graph(karate())
    return club if name == HEADS else _with_labels_of_any_two(club, seed)


def moved_edges(edges: Int[Tensor, "2 edge"], nodes: int, seed: int) -> Int[Tensor, "2 edge"]:
    """The same graph with its nodes at random places of it.

    >>> moved_edges(torch.tensor([[0, 1], [1, 2]]), 3, seed=1).shape
    torch.Size([2, 2])
    """
    return torch.randperm(nodes, generator=generator(seed, "moved edges"))[edges]


@objective
def node_loss(model: nn.Module, batch: Any) -> Losses:
    """The cross-entropy of the nodes that the mask names."""
    (features, edges), (labels, mask) = batch
    return Losses(cross_entropy(model(features, edges), labels, reduction="none"), weight=mask)


@torch.no_grad()
def outputs(run: Run) -> Float[Tensor, "node outputs"]:
    """The outputs at all nodes in evaluation mode, by the best weights where there was something to stop by."""
    assert run.recipe is not None
    model = run.last if run.recipe.stopping is None else run.model
    output: Tensor = model.eval()(*run.recipe.data.test[0])
    return output


def score(run: Run) -> float:
    """The share of right answers among the judged nodes."""
    assert run.recipe is not None
    labels, mask = run.recipe.data.test[1]
    return float((outputs(run).argmax(1) == labels)[mask].float().mean())


def _judged(run: Run) -> int:
    assert run.recipe is not None
    return int(run.recipe.data.test[1][1].sum())


def _votes(runs: Sequence[Run]) -> tuple[Any, Any, Any]:
    """The edges, the labelled nodes, and for each node the share of networks that give it class 1."""
    assert runs[0].recipe is not None
    (_, edges), (_, mask) = runs[0].recipe.data.train
    votes = torch.stack([(outputs(run).argmax(1) == 1).double() for run in runs]).mean(0)
    return edges.numpy(), mask.numpy(), votes.numpy()


def _as_graph(splits: Splits) -> Labelled:
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    masks = {name: part.mask for name, part in parts.items() if part is not None}
    rows, edges = splits.train.inputs
    places = torch.stack([rows.place // rows.shape[1], rows.place % rows.shape[1]])
    features = torch.sparse_coo_tensor(places, rows.value, rows.shape, check_invariants=True).coalesce()
    return Labelled(features, edges, splits.train.labels, masks)


def _with_labels_of_any_two(club: Labelled, seed: int) -> Labelled:
    """The club with a random member of either side labelled."""
    random, train = generator(seed, "labelled"), torch.zeros(len(club.labels), dtype=torch.bool)
    for side in (0, 1):
        members = (club.labels == side).nonzero().flatten()
        train[members[torch.randint(len(members), (1,), generator=random)]] = True
    return club._replace(masks={"train": train, "test": ~train})


def _recipe(name: str, arm: str, seed: int, epochs: int, moved: bool) -> Recipe:
    given = graph(name, seed)
    inputs, classes = given.features.shape[1], int(given.labels.max()) + 1
    edges = moved_edges(given.edges, len(given.labels), seed) if moved or arm == MOVED else given.edges
    splits = {part: ((given.features, edges), (given.labels, mask)) for part, mask in given.masks.items()}
    network, settings = _networks(name, inputs, classes, epochs)[GCN if arm == MOVED else arm]
    return Recipe(
        data=Splits(**splits), model=network, objective=node_loss, batch_size=None, seed=seed, **settings
    )  # fmt: skip


def _networks(name: str, inputs: int, classes: int, epochs: int) -> dict[str, tuple[Callable[[], nn.Module], Any]]:
    """Each arm's network and its training: on Cora as in the papers of GCN and GAT (`bench/cora.py`)."""
    small: dict[str, Any] = {"width": 4, "heads": 4, "dropout": 0.5} if name != CORA else {}
    nets: dict[str, Callable[[], nn.Module]] = {
        ALONE: partial(_alone, inputs, classes),
        GCN: partial(gcn, inputs, classes),
        GAT: partial(gat, inputs, classes, **small),
    }
    if name != CORA:
        return {arm: (net, {"optimizer": partial(torch.optim.Adam, lr=0.02), "epochs": epochs})
                for arm, net in nets.items()}  # fmt: skip
    kipf = {"optimizer": partial(torch.optim.Adam, lr=0.01), "penalty": _of_first_layer, "epochs": 200}
    velickovic = {"optimizer": partial(torch.optim.Adam, lr=0.005, weight_decay=DECAY), "epochs": 1000}
    return {
        ALONE: (nets[ALONE], kipf | {"stopping": EarlyStopping(patience=100)}),
        GCN: (nets[GCN], kipf | {"stopping": EarlyStopping(patience=10)}),
        GAT: (nets[GAT], velickovic | {"stopping": EarlyStopping(patience=100)}),
    }


def _alone(inputs: int, classes: int) -> nn.Module:
    return Alone(gcn(inputs, classes))


def _of_first_layer(model: nn.Module) -> Tensor:
    """Half the squared weights of the first layer, as Kipf & Welling penalize them."""
    first = next(weight for weight in model.parameters() if weight.dim() == 2)
    return DECAY / 2 * first.square().sum()
