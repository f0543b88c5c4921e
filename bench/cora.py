"""Cora, whose papers cite one another: GCN, GAT and GATv2 by their papers' recipes, and an MLP that sees no citation.

The public split: 140 papers to learn from, 500 to stop by, 1,000 to score. The data lie in the folder cora of the one
that the variable THALWEG_DATA names.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from time import process_time
from typing import Any

import torch
from machine import machine
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import thalweg
from thalweg import EarlyStopping, Losses, Recipe, Splits
from thalweg.nn import gat, gcn

WORDS, CLASSES = 1433, 7
DECAY = 5e-4


class Edgeless(nn.Module):
    """A multilayer perceptron with GCN's width and dropout: a GCN of a graph without edges, each node by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gcn(WORDS, CLASSES)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """The outputs of each node by its own words."""
        output: Tensor = self.inner(features, edges[:, :0])
        return output


def read(folder: Path) -> Splits:
    """The graph, its rows of words each summing to 1 and sparse, and a mask over nodes for every split."""
    lines = (folder / "nodes.tsv").read_text().splitlines()[1:]
    _, labels, splits, words = zip(*(line.split("\t") for line in lines), strict=True)
    rows = [[int(word) for word in each.split()] for each in words]
    places = torch.tensor([[node, word] for node, row in enumerate(rows) for word in row]).T
    shares = torch.tensor([1 / len(row) for row in rows for _ in row])
    features = torch.sparse_coo_tensor(places, shares, (len(rows), WORDS), check_invariants=True).coalesce()
    pairs = [line.split("\t") for line in (folder / "edges.tsv").read_text().splitlines()[1:]]
    edges = torch.tensor([[int(a), int(b)] for a, b in pairs]).T
    target = torch.tensor([int(label) for label in labels])
    masks = {name: torch.tensor([split == name for split in splits]) for name in ("train", "valid", "test")}
    given = {name: ((features, edges), (target, mask)) for name, mask in masks.items()}
    return Splits(train=given["train"], validation=given["valid"], test=given["test"])


@thalweg.objective
def node_loss(model: nn.Module, batch: Any) -> Losses:
    """The cross entropy of the nodes of the split."""
    (features, edges), (labels, mask) = batch
    return Losses(cross_entropy(model(features, edges), labels, reduction="none"), weight=mask)


@thalweg.objective
def accuracy(model: nn.Module, batch: Any) -> Losses:
    """The share of right answers among the nodes of the split."""
    (features, edges), (labels, mask) = batch
    return Losses((model(features, edges).argmax(1) == labels).float(), weight=mask)


def of_first_layer(model: nn.Module) -> Tensor:
    """Half the squared weights of the first layer, as Kipf & Welling penalize them."""
    first = next(weight for weight in model.parameters() if weight.dim() == 2)
    return DECAY / 2 * first.square().sum()


def recipes(data: Splits) -> dict[str, Recipe]:
    """Each network by the recipe of its paper."""
    kipf = Recipe(
        data=data, model=Edgeless, objective=node_loss, metrics={"accuracy": accuracy}, batch_size=None, epochs=200,
        optimizer=partial(torch.optim.Adam, lr=0.01), penalty=of_first_layer, stopping=EarlyStopping(patience=10),
    )  # fmt: skip
    velickovic = kipf.but(
        optimizer=partial(torch.optim.Adam, lr=0.005, weight_decay=DECAY), penalty=None, epochs=1000,
        stopping=EarlyStopping(patience=100),
    )  # fmt: skip
    model: Callable[..., Any] = partial(gat, WORDS, CLASSES)
    return {
        "MLP": kipf.but(stopping=EarlyStopping(patience=100)),  # it starts too slowly for ten epochs to tell
        "GCN": kipf.but(model=partial(gcn, WORDS, CLASSES)),
        "GAT": velickovic.but(model=model),
        "GATv2": velickovic.but(model=partial(model, dynamic=True)),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    chosen = parser.parse_args()
    folder = Path(os.environ.get("THALWEG_DATA", "")) / "cora"
    if not folder.is_dir():
        raise SystemExit(f"There is no folder '{folder}': name the folder of the data by THALWEG_DATA.")
    torch.set_num_threads(1)
    print(machine())
    data = read(folder)
    for name, recipe in recipes(data).items():
        if chosen.only and name not in chosen.only:
            continue
        scores, epochs, started = [], [], process_time()
        for seed in range(chosen.seeds):
            run = thalweg.train(recipe.but(seed=seed))
            scores.append(thalweg.evaluate(run, data.test)["accuracy"][0])
            epochs.append(len(run.history))
            print(f"  {name}, seed {seed}: {scores[-1]:.3f} after {epochs[-1]} epochs", flush=True)
        spread = stdev(scores) if len(scores) > 1 else 0.0
        seconds = (process_time() - started) / sum(epochs)
        print(f"{name:<6} {mean(scores):.4f} +- {spread:.4f}  {1e3 * seconds:.1f} ms an epoch", flush=True)


if __name__ == "__main__":
    main()
