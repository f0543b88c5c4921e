"""The study graph: it comes out false where edges say nothing, and reads the graphs that it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from thalweg.core.errors import DataError, RecipeError
from thalweg.study import graph, graph_picture, run_study
from thalweg.study.graph import ALONE, ANY, ARMS, CORA, GAT, GCN, HEADS, MOVED


def test_graph_holds_on_the_club_from_its_two_heads() -> None:
    study = run_study("graph", seeds=3, graphs=(HEADS,), epochs=30)
    assert study.held
    (row,) = study.rows
    assert row[1] == 32
    assert row[2 + ARMS.index(GCN)] > 0.85
    assert 0.3 < row[2 + ARMS.index(ALONE)] < 0.7
    assert 0.3 < row[2 + ARMS.index(MOVED)] < 0.7


def test_graph_is_false_where_every_node_stands_at_another_ones_place() -> None:
    study = run_study("graph", seeds=3, graphs=(HEADS,), epochs=15, moved=True)
    assert not any(check.passed for check in study.checks)


def test_graph_is_false_where_no_network_sees_an_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = graph._networks

    def blind(*given: Any) -> dict[str, tuple[Callable[[], nn.Module], Any]]:
        return dict.fromkeys(ARMS, networks(*given)[ALONE])

    monkeypatch.setattr(graph, "_networks", blind)
    study = run_study("graph", seeds=2, graphs=(HEADS,), epochs=3)
    assert [check.value for check in study.checks] == [0.0, 0.0, 0.0]
    assert not study.held


def test_graph_decides_by_each_gain_apart() -> None:
    random = np.random.default_rng(1)
    noise = {arm: random.normal(0.5, 0.02, size=6) for arm in ARMS}
    assert [check.passed for check in graph.decide("a", noise)] == [False] * 3
    ahead = noise | {GCN: noise[GCN] + 0.3, GAT: noise[GAT] + 0.3}
    assert [check.passed for check in graph.decide("a", ahead)] == [True] * 3
    assert [check.passed for check in graph.decide("a", ahead | {MOVED: ahead[GCN]})] == [True, True, False]


def test_the_labels_of_any_two_are_one_of_either_side() -> None:
    pairs = set()
    for seed in range(8):
        club = graph.graph(ANY, seed)
        assert sorted(club.labels[club.masks["train"]].tolist()) == [0, 1]
        assert torch.equal(club.masks["test"], ~club.masks["train"])
        assert torch.equal(club.masks["train"], graph.graph(ANY, seed).masks["train"])
        pairs.add(tuple(club.masks["train"].nonzero().flatten().tolist()))
    assert len(pairs) > 4
    assert graph.graph(HEADS, 3).masks["train"].nonzero().flatten().tolist() == [0, 33]


def test_moved_edges_are_the_same_graph_of_other_nodes() -> None:
    edges = graph.graph(HEADS, 0).edges
    moved = graph.moved_edges(edges, 34, seed=5)
    near, other = torch.zeros(2, 34, 34, dtype=torch.float64).unbind()
    near[edges[0], edges[1]] = other[moved[0], moved[1]] = 1
    assert not torch.equal(near, other)
    torch.testing.assert_close(torch.linalg.eigvalsh(near), torch.linalg.eigvalsh(other))
    assert torch.equal(moved, graph.moved_edges(edges, 34, seed=5))
    assert not torch.equal(moved, graph.moved_edges(edges, 34, seed=6))


def test_a_graph_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("", str(tmp_path)):
        monkeypatch.setenv("THALWEG_DATA", folder)
        assert graph.cora_folder() is None
        with pytest.raises(DataError, match="there is no folder 'cora' in the one that THALWEG_DATA names"):
            run_study("graph", graphs=(CORA,))
    with pytest.raises(RecipeError, match="no graph 'kora'. Did you mean 'cora'?"):
        run_study("graph", graphs=("kora",))
    with pytest.raises(RecipeError, match="the study needs a graph"):
        run_study("graph", graphs=())


def test_without_data_the_study_is_of_the_club_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    study = run_study("graph", seeds=2, epochs=1)
    assert study.settings["graphs"] == [HEADS, ANY]
    assert len(study.checks) == 6


def test_cora_is_the_public_split_with_rows_that_sum_to_one(realdata: Path) -> None:
    cora = graph.graph(CORA, 0)
    assert cora.features.shape == (2708, 1433)
    assert {name: int(mask.sum()) for name, mask in cora.masks.items()} == {
        "train": 140,
        "validation": 500,
        "test": 1000,
    }
    torch.testing.assert_close(cora.features.to_dense().sum(1), torch.ones(2708))
    assert int(cora.labels.max()) == 6


def test_neighbours_are_drawn_near() -> None:
    path = np.stack([np.arange(8), np.arange(1, 9)])
    first = graph_picture.spectral_places(path, 9)[:, 0]
    assert (np.diff(first) > 0).all() or (np.diff(first) < 0).all()


def test_a_graph_of_many_nodes_is_not_drawn() -> None:
    _, (ax,) = graph_picture_panel()
    graph_picture.draw_votes(np.zeros((2, 0), dtype=np.int64), np.zeros(300, dtype=bool), np.zeros(300), ax)
    assert [text.get_text() for text in ax.texts] == ["300 nodes"]


def graph_picture_panel() -> Any:
    from thalweg.study.picture import panels

    return panels(1)
