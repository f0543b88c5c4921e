"""The panels of the study graph: how often each network is right, and what it says of each node."""

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes

from thalweg.study.picture import COLORS

MOST_NODES = 200
"""So many nodes can be told apart in a panel."""


def draw_scores(scores: dict[str, Float[np.ndarray, " seed"]], title: str, ax: Axes) -> Axes:
    """The accuracy of each arm: a dot a seed, and their mean."""
    for place, values in enumerate(scores.values()):
        color = COLORS[place]
        ax.plot([place] * len(values), values, "o", color=color, markersize=5, alpha=0.6)
        ax.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color=color, linewidth=2)
    ax.set_xticks(range(len(scores)), [name.replace(", ", ",\n") for name in scores], fontsize=8)
    ax.set(ylabel="accuracy", ylim=(0, 1.04), xlim=(-0.5, len(scores) - 0.5))
    ax.set_title(title, fontsize=10)
    return ax


def draw_votes(
    edges: Int[np.ndarray, "two edge"], labelled: Bool[np.ndarray, " node"], votes: Float[np.ndarray, " node"], ax: Axes
) -> Axes:
    """The graph, each node coloured by the share of networks that give it class 1; squares have a label."""
    if len(votes) > MOST_NODES:
        ax.text(0.5, 0.5, f"{len(votes):,} nodes", ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return ax
    places = spectral_places(edges, len(votes))
    for start, end in sorted({tuple(sorted(edge)) for edge in edges.T.tolist()}):
        ax.plot(*places[[start, end]].T, color="0.8", linewidth=0.7, zorder=0)
    for marker, chosen in (("o", ~labelled), ("s", labelled)):
        edge = 1.5 if marker == "s" else 0.5
        across, up = places[chosen].T
        ax.scatter(
            across,
            up,
            45,
            votes[chosen],
            marker=marker,
            cmap="coolwarm",
            vmin=0,
            vmax=1,
            edgecolors="0.3",
            linewidths=edge,
        )
    ax.set_title("coloured by the GCNs' votes; squares have a label", fontsize=10)
    ax.set_axis_off()
    return ax


def spectral_places(edges: Int[np.ndarray, "two edge"], nodes: int) -> Float[np.ndarray, "node 2"]:
    r"""Places for the nodes of a graph by which neighbours are near: eigenvectors 2 and 3 of $D^{-1/2} A D^{-1/2}$.

    They are drawn by rank, so that no crowd hides a node. Source: Hall, "An r-dimensional quadratic placement
    algorithm", 1970, for the Laplacian without the square roots.

    >>> spectral_places(np.array([[0, 1, 2], [1, 2, 3]]), 4).shape
    (4, 2)
    """
    near = np.zeros((nodes, nodes))
    near[edges[0], edges[1]] = near[edges[1], edges[0]] = 1
    root = np.sqrt(np.maximum(near.sum(1), 1))
    vectors = np.linalg.eigh(near / root[:, None] / root)[1][:, -3:-1][:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), [0, 1]]) / root[:, None]
    return np.asarray(vectors.argsort(0).argsort(0) + 0.3 * vectors / np.abs(vectors).max(), dtype=float)
