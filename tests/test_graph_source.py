"""Graphs: files to batches, the mask as the split, every mistake named by its line."""

import io
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.folds import folds
from thalweg.core.notices import collecting
from thalweg.data.geometric import from_geometric
from thalweg.data.graph_encoding import GraphEncoding
from thalweg.data.graph_loading import load_graph
from thalweg.data.graph_source import GraphSource
from thalweg.data.graphs import read_graph, simple_edges
from thalweg.data.karate import karate
from thalweg.loss import WeightedLoss

NODES = "id,label,split,words\na,x,train,0 3\nb,y,train,1\nc,x,val,\nd,y,test,3 3 2\ne,,-,0\n"
EDGES = "a,b\nb,c\nc,d\n"


def text(content: str, name: str = "edges.csv") -> io.StringIO:
    file = io.StringIO(content)
    file.name = name
    return file


def loaded(nodes: str = NODES, edges: str = EDGES, **settings: Any) -> thalweg.Splits:
    return load_graph(text(nodes, "nodes.csv"), text(edges), **settings)


def only_batch(source: Any) -> Any:
    (batch,) = source.batches(1, 0, None)
    return batch


class Convolution(nn.Module):
    """Two dense layers of Kipf & Welling (2017), equation 2, by a whole matrix."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, 8), nn.Linear(8, outputs)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        matrix = torch.eye(len(features))
        matrix[edges[1], edges[0]] = 1
        scale = matrix.sum(1).rsqrt()
        matrix = scale[:, None] * matrix * scale
        return matrix @ self.second(torch.relu(matrix @ self.first(features)))


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(1) == target).float()


def test_a_batch_is_the_whole_graph() -> None:
    splits = loaded()
    (features, edges), (labels, mask) = only_batch(splits.train)
    assert features.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 2], [1, 0, 0, 0]]
    assert edges.tolist() == [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]
    assert labels[mask].tolist() == [0, 1]
    assert mask.tolist() == [True, True, False, False, False]
    assert only_batch(splits.test)[1][1].tolist() == [False, False, False, True, False]
    assert list(splits.train.batches(1, 1, None)) == []
    assert splits.validation.meta([0])["label"].tolist() == ["x"]
    assert splits.test.meta([0])["id"].tolist() == ["d"]
    assert splits.test.rows["words"].tolist() == ["3 3 2"]
    assert splits.train.class_names == ("x", "y")
    assert splits.train.feature_names == ["words=0", "words=1", "words=2", "words=3"]


def test_a_model_may_write_into_its_batch() -> None:
    for source in (loaded().train, loaded("id,label,n\na,x,1\nb,y,2.5\nc,x,4\nd,y,3", "a,b", test_share=0.0).train):
        (features, edges), (labels, mask) = only_batch(source)
        before = [part.clone() for part in (features, edges, labels, mask)]
        for part in (features, edges, labels):
            part.zero_()
        mask.fill_(False)
        (features, edges), (labels, mask) = only_batch(source)
        assert all(map(torch.equal, before, (features, edges, labels, mask)))


def test_rows_are_divided_by_their_sums() -> None:
    words = only_batch(loaded(normalize="rows").train)[0][0]
    torch.testing.assert_close(words[[0, 2, 3]], torch.tensor([[0.5, 0, 0, 0.5], [0, 0, 0, 0], [0, 0, 1 / 3, 2 / 3]]))
    numbers = loaded("id,label,p,q\na,x,-1,3\nb,y,2.5,0\nc,x,0,0\nd,y,1,1", "a,b", normalize="rows", test_share=0.0)
    expected = torch.tensor([[-0.25, 0.75], [1, 0], [0, 0], [0.5, 0.5]])
    torch.testing.assert_close(only_batch(numbers.train)[0][0], expected)


def test_numbers_are_standardized_by_the_nodes_of_training() -> None:
    nodes = "id,label,split,size,kind\na,x,train,1.5,red\nb,y,train,3.5,blue\nc,x,test,90,red\n"
    splits = loaded(nodes, "a,b\n")
    features = only_batch(splits.test)[0][0]
    torch.testing.assert_close(features, torch.tensor([[-1.0, 0, 1], [1, 1, 0], [87.5, 0, 1]]))
    assert splits.train.feature_names == ["size", "kind=blue", "kind=red"]
    plain = only_batch(loaded(nodes, "a,b\n", normalize="none").test)[0][0]
    assert plain[:, 0].tolist() == [1.5, 3.5, 90]


def test_words_and_numbers_stand_beside_each_other() -> None:
    nodes = "id,label,split,size,title\na,x,train,1.5,deep water\nb,y,train,3.5,deep deep sea\nc,x,test,90,sea\n"
    splits = loaded(nodes, "a,b\n")
    assert splits.train.feature_names == ["size", "title=deep", "title=sea", "title=water"]
    assert only_batch(splits.train)[0][0].tolist() == [[-1, 1, 0, 1], [1, 2, 1, 0], [87.5, 0, 1, 0]]


def test_numbers_may_be_predicted_in_their_own_units() -> None:
    nodes = "id,y,split,words\na,1.5,train,0 1\nb,3.5,train,1\nc,7.25,test,0\nd,,,0 1\n"
    splits = loaded(nodes, "a,b\n", task="regression")
    labels = only_batch(splits.test)[1][0]
    assert labels[:3].tolist() == [[-1.0], [1.0], [4.75]]
    assert labels.isfinite().all()
    test = splits.test
    output, target, _ = test.judged([torch.tensor([[0.0], [0.0], [1.0], [0.0]])], [(test.labels, test.mask)])
    assert (output.item(), target.item()) == (3.5, pytest.approx(7.25))
    assert splits.test.restore((labels, labels))[0][2].item() == pytest.approx(7.25)


def test_subsets_and_folds_act_on_the_mask() -> None:
    splits = loaded()
    assert only_batch(splits.train.take([1]))[1][1].tolist() == [False, True, False, False, False]
    source = karate().test
    for train, validation in folds(source, 3):
        parts = [only_batch(source.take(ids))[1][1] for ids in (train, validation)]
        assert not (parts[0] & parts[1]).any()
        assert torch.equal(parts[0] | parts[1], source.mask)


def test_fitting_again_goes_by_other_nodes() -> None:
    nodes = "id,label,split,size\na,x,train,1.5\nb,y,train,3.5\nc,x,train,7.5\nd,y,train,5.5\n"
    train = loaded(nodes, "a,b\n").train
    assert train.encoding.table.means == (4.5,)
    again = train.fit([0, 1])
    assert again.encoding.table.means == (2.5,)
    assert len(again) == 4
    assert only_batch(again)[0][0].flatten().tolist() == [-1, 1, 5, 3]
    assert train.fingerprint() == train.fit([0, 1, 2, 3]).fingerprint() != again.fingerprint()
    assert train.fingerprint() != train.take([0, 1]).fingerprint()


def test_held_out_nodes_hold_every_class_and_no_other_node() -> None:
    rows = "\n".join(f"n{i},{'xyz'[i % 3]},{i % 7} {i % 5}" for i in range(60))
    splits = loaded(f"id,label,words\n{rows}\nlast,,1 2", "n0,n1\n", seed=3)
    masks = torch.stack([split.mask for split in (splits.train, splits.validation, splits.test)])
    assert masks.sum(1).tolist() == [36, 12, 12]
    assert masks.sum(0).tolist() == [1] * 60 + [0]
    assert np.unique(splits.test.meta(np.arange(12))["label"], return_counts=True)[1].tolist() == [4, 4, 4]
    other = loaded(f"id,label,words\n{rows}", "n0,n1\n", seed=4)
    assert not torch.equal(other.test.mask, masks[2][:60])


def test_edges_count_once_and_both_ways() -> None:
    with collecting() as notices:
        graph = read_graph(text("id\na\nb\nc\nd"), text("a,b\nb,a\na,b\nc,c\nb,c"))
    assert graph.edges.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert (graph.count, graph.isolated) == (2, 1)
    assert any("1 edge from a node to itself" in said for said in notices)
    assert any("1 edge stood there before" in said for said in notices)
    one_way = read_graph(text("id\na\nb\nc"), text("a,b\nb,a\nc,b"), directed=True)
    assert one_way.edges.tolist() == [[0, 1, 2], [1, 0, 1]]


def test_simple_edges_are_those_of_a_set() -> None:
    ends = np.random.default_rng(0).integers(0, 13, (2, 200))
    naive = {(a, b) for one, other in ends.T.tolist() if one != other for a, b in ((one, other), (other, one))}
    assert [tuple(pair) for pair in simple_edges(ends, None, 13)[0].T.tolist()] == sorted(naive)
    naive = {(a, b) for a, b in ends.T.tolist() if a != b}
    assert [tuple(pair) for pair in simple_edges(ends, None, 13, directed=True)[0].T.tolist()] == sorted(naive)
    assert simple_edges(np.empty((2, 0), np.int64), None, 3)[0].shape == (2, 0)


def test_edges_may_have_weights() -> None:
    edges = "source,target,strength\na,b,2\nc,b,0.5\nb,a,3\n"
    with collecting() as notices:
        (_, ends, weights), _ = only_batch(loaded(edges=edges, weights="strength").train)
    assert ends.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert weights.tolist() == [2, 2, 0.5, 0.5]
    assert any("different weights" in said for said in notices)
    with collecting() as notices:
        assert len(only_batch(loaded(edges=edges).train)[0]) == 2
    assert any("'strength'" in said for said in notices)


@pytest.mark.parametrize(
    "edges",
    [
        "source,target\na,b\nb,c",
        "a,b\nb,c",
        "# a comment\na b\n% another\nb   c",
        "from\tto\na\tb\nb\tc\n",
        '"a";"b"\n"b";"c"',
    ],
)
def test_edges_are_read_however_they_are_written(edges: str) -> None:
    assert read_graph(text("id\na\nb\nc"), text(edges)).edges.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]


def test_numbers_are_nodes_and_no_names() -> None:
    for edges in ("0,1\n1,2", "a,b\n0,1\n1,2", "0 1\n1 2", "from,to\n1,0\n2,1"):
        assert read_graph(text("id\n0\n1\n2"), text(edges)).count == 2
    frame = pd.DataFrame({"id": [0, 1, 2]})
    assert read_graph(frame, pd.DataFrame({0: [0, 1], 1: [1, 2]})).count == 2


def test_nodes_may_be_called_like_comments() -> None:
    nodes = pd.DataFrame({"id": ["#art", "#war", "joy"], "label": ["x", "y", "x"]})
    for edges in ("#art,#war\n#war,joy", "# two edges\n%of=2\n#art #war\n#war joy"):
        assert read_graph(nodes, io.StringIO(edges)).edges.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]


def test_a_graph_may_have_no_edges() -> None:
    for edges in ("source,target\n", "from to\n"):
        (_, ends), _ = only_batch(loaded(edges=edges).train)
        assert ends.shape == (2, 0)
    assert read_graph(text("id\na\nb"), text("source,target\n")).isolated == 2


def test_parquet_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"id": [3, 5, 8], "label": ["x", "y", "x"], "split": ["train"] * 3}).to_parquet(
        tmp_path / "nodes.parquet"
    )
    pd.DataFrame({"s": [3, 5], "t": [8, 3], "w": [1.5, 2.5]}).to_parquet(tmp_path / "edges.parquet")
    (_, ends, weights), _ = only_batch(load_graph(tmp_path, weights="w").train)
    assert ends.tolist() == [[0, 0, 1, 2], [1, 2, 0, 0]]
    assert weights.tolist() == [2.5, 1.5, 2.5, 1.5]


def test_a_folder_holds_both_files(tmp_path: Path) -> None:
    (tmp_path / "nodes.tsv").write_text(NODES.replace(",", "\t"))
    with pytest.raises(DataError, match="one file of nodes and one of edges"):
        load_graph(tmp_path)
    (tmp_path / "edges.txt").write_text(EDGES)
    assert load_graph(tmp_path).train.fingerprint() == loaded().train.fingerprint()
    (tmp_path / "edges.csv").write_text(EDGES)
    with pytest.raises(DataError, match="'edges.csv', 'edges.txt'"):
        load_graph(tmp_path)
    with pytest.raises(DataError, match="is one file"):
        load_graph(tmp_path / "nodes.tsv")
    with pytest.raises(DataError, match="is not there"):
        load_graph(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("nodes", "edges", "words"),
    [
        (NODES, "a,b\nb,zebra\n", "edges.csv holds 'zebra', which is no node, in line 2"),
        (NODES, "# all\na,b\nb,zebra\nq,a", r"line 3 \(2 such edges\)"),
        (NODES, "zebra,yak\na,b\n", "edge_header=True"),
        (NODES, "a,b\nb,\n", "edges.csv holds no id, in line 2"),
        (NODES, "a\nb\n", "has one column"),
        (NODES, "# nothing\n", "comments alone"),
        (NODES + "a,x,test,1\nb,x,test,1\n", EDGES, r"'a' in lines 2 and 7 \(and 1 other id likewise\)"),
        (NODES + ",x,test,1\n", EDGES, "no id in line 7"),
        (NODES.replace("val", "vla"), EDGES, "'vla' in line 4.*Did you mean 'val'"),
        (NODES.replace(",x,", ",,").replace(",y,", ",,"), EDGES, "No node has a label"),
        (NODES.replace("train", "test"), EDGES, "no node with a label to train on"),
        (NODES.replace("d,y", "d,z"), EDGES, "'z' .*appears only in the test nodes"),
        (NODES.replace("0 3", f"{'0 ' * 40}-3"), EDGES, "'-3' in line 2 among places of words"),
        ("id,label,n\na,x,1\nb,y,\nc,x,3\nd,y,2", "a,b", "Cells are missing in 'n', .*line 3.*impute"),
        ("id,label,p,q\na,x,one two,three four\nb,y,five six,one two", "a,b", "Columns 'p', 'q' hold words"),
        ("id,size\na,1.5\nb,2.5", "a,b", "Which column is to be predicted"),
    ],
)
def test_mistakes_are_named(nodes: str, edges: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        loaded(nodes, edges)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"normalize": "row"}, "Did you mean 'rows'"),
        ({"missing": "drop"}, "cannot be dropped from its graph"),
        ({"features": ["wrods"]}, "Did you mean 'words'"),
        ({"features": ["split"]}, "cannot be a feature"),
        ({"split": "part"}, "no column 'part' of splits"),
        ({"id": "nmae"}, "no column 'nmae' of ids"),
        ({"target": "lable"}, "Did you mean 'label'"),
        ({"weights": "w"}, "no column 'w' of weights"),
    ],
)
def test_wrong_arguments_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises((DataError, RecipeError), match=words):
        loaded(**settings)


def test_wrong_weights_are_named() -> None:
    with pytest.raises(DataError, match="no numbers above 0 in line 3"):
        loaded(edges="source,target,w\na,b,1\nb,c,nan\n", weights="w")
    with pytest.raises(RecipeError, match=r"no column 'km' of weights behind the two ids\. Known: w"):
        loaded(edges="source,target,w\na,b,1\n", weights="km")
    with pytest.raises(RecipeError, match=r"no column 'km' of weights behind the two ids\. Add it, or leave off"):
        loaded(edges="source,target\na,b\n", weights="km")


def test_gaps_are_imputed_and_marked() -> None:
    nodes = "id,label,split,n\na,x,train,1\nb,y,train,\nc,x,train,3\nd,y,test,\n"
    features = only_batch(loaded(nodes, "a,b", missing="impute").train)[0][0]
    assert features.tolist() == [[-1, 0], [0, 1], [1, 0], [0, 1]]


def test_nodes_without_features_are_inputs_of_their_own() -> None:
    splits = loaded("id,label\na,x\nb,y\nc,x\nd,y", "a,b", validation_share=0.0, test_share=0.0)
    assert only_batch(splits.train)[0][0].tolist() == torch.eye(4).tolist()
    assert splits.train.feature_names == ["id=a", "id=b", "id=c", "id=d"]
    frame = pd.DataFrame({"id": np.arange(12_000), "label": np.arange(12_000) % 2})
    with pytest.raises(DataError, match="12,000 are too many"):
        load_graph(frame, pd.DataFrame({"a": [0], "b": [1]}))


def test_another_graph_is_read_in_the_encoding_of_training() -> None:
    encoding = loaded(normalize="rows").train.encoding
    encoding = GraphEncoding.from_json(json.loads(json.dumps(encoding.to_json())))
    nodes, edges = "words,id\n0 3 7,z\n1,y\n", "z,y\n"
    with collecting() as notices:
        asked = GraphSource.of(text(nodes), text(edges), encoding=encoding)
    (features, ends), (_, mask) = only_batch(asked)
    assert features.tolist() == [[0.5, 0, 0, 0.5], [0, 1, 0, 0]]
    assert ends.tolist() == [[0, 1], [1, 0]]
    assert mask.tolist() == [True, True]
    assert any("'7'" in said and "1 of 4 words left out" in said for said in notices)
    assert "label" not in asked.meta([0, 1])
    judged = GraphSource.of(text("id,words,label\nz,0,y\ny,1,\n"), text(edges), encoding=encoding, labelled=True)
    assert judged.meta([0])["label"].tolist() == ["y"]
    assert len(judged) == 1
    with pytest.raises(DataError, match="no class that the model was trained for"):
        GraphSource.of(text("id,words,label\nz,0,q\ny,1,\n"), text(edges), encoding=encoding, labelled=True)
    with pytest.raises(DataError, match="lacks column 'words'"):
        GraphSource.of(text("id,label\nz,q\ny,\n"), text(edges), encoding=encoding)
    with pytest.raises(DataError, match="'x1' in line 2"):
        GraphSource.of(text("id,words\nz,0 x1\ny,1\n"), text(edges), encoding=encoding)


def test_the_karate_club_is_that_of_networkx() -> None:
    splits, graph = karate(), networkx.karate_club_graph()
    assert {tuple(pair) for pair in splits.train.graph.edges.T.tolist()} == {
        pair for edge in graph.edges for pair in (edge, edge[::-1])
    }
    clubs = [splits.train.class_names[i] for i in splits.train.labels]
    assert clubs == [graph.nodes[node]["club"] for node in graph]
    assert splits.train.mask.nonzero().flatten().tolist() == [0, 33]
    (features, _), _ = only_batch(splits.train)
    assert torch.equal(features, torch.eye(34))


def test_a_recipe_trains_on_two_members_of_the_karate_club() -> None:
    splits = karate()
    recipe = thalweg.Recipe(
        data=splits,
        model=partial(Convolution, 34, 2),
        objective=WeightedLoss(nn.CrossEntropyLoss()),
        optimizer=partial(torch.optim.Adam, lr=0.05),
        metrics={"accuracy": accuracy},
        epochs=40,
        batch_size=None,
    )
    run = thalweg.train(recipe)
    right = thalweg.evaluate(run, splits.test)["accuracy"][0]
    (features, edges), _ = only_batch(splits.test)
    test = splits.test
    output, labels, _ = test.judged([run.last(features, edges)], [(test.labels, test.mask)])
    assert right == pytest.approx(accuracy(output, labels).mean().item())
    assert right > 0.9


def geometric(**fields: Any) -> SimpleNamespace:
    masks = {f"{name}_mask": torch.eye(5, dtype=torch.bool)[i] for i, name in enumerate(("train", "val", "test"))}
    own = {"x": torch.randn(5, 3), "edge_index": torch.tensor([[0, 1, 1, 1], [1, 0, 1, 0]]), "y": torch.zeros(5).long()}
    return SimpleNamespace(**{**own, **masks, **fields})


def test_an_object_of_torch_geometric_is_taken_as_it_is() -> None:
    data = geometric()
    splits = from_geometric(data)
    (features, edges), (labels, mask) = only_batch(splits.validation)
    assert torch.equal(features, data.x)
    assert edges.tolist() == [[0, 1], [1, 0]]
    assert torch.equal(mask, data.val_mask)
    assert torch.equal(labels, data.y)
    words = (torch.arange(100).reshape(5, 20) % 17 == 0).float() * 2
    assert torch.equal(only_batch(from_geometric(geometric(x=words)).train)[0][0], words)
    assert torch.equal(only_batch(from_geometric(geometric(x=words.to_sparse())).train)[0][0], words)
    weighted = from_geometric(geometric(edge_weight=torch.tensor([1.0, 2, 3, 4])))
    assert only_batch(weighted.train)[0][2].tolist() == [1, 2]
    numbers = from_geometric(geometric(y=torch.tensor([[1.5], [2.5], [3.5], [4.5], [5.5]])))
    assert only_batch(numbers.test)[1][0].tolist() == [[0], [1], [2], [3], [4]]
    many = torch.eye(5, dtype=torch.bool)[:, :2]
    assert from_geometric(geometric(train_mask=many)).train.mask.tolist() == [True, False, False, False, False]


def test_without_masks_nodes_are_held_out() -> None:
    labels = torch.tensor([0, 1] * 10 + [-1])
    data = SimpleNamespace(x=None, edge_index=torch.empty(2, 0, dtype=torch.int64), y=labels)
    splits = from_geometric(data, seed=1)
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    assert only_batch(splits.train)[0][0].shape == (21, 21)
    assert not splits.train.mask[20]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"y": None}, "has no y"),
        ({"y": torch.zeros(5, 2)}, "one label for each node"),
        ({"y": [0, 1]}, "is a list"),
        ({"edge_index": torch.zeros(3, 4).long()}, r"edge_index is \(3, 4\)"),
        ({"edge_index": torch.tensor([[0], [5]])}, "names node 5, but there are 5 nodes"),
        ({"edge_weight": torch.ones(3)}, "one for each"),
        ({"x": torch.zeros(4, 3)}, "x is \\(4, 3\\)"),
        ({"x": torch.full((5, 3), torch.nan)}, "node 0 is not finite"),
        ({"val_mask": torch.ones(5, dtype=torch.bool)}, "Node 0 is in val_mask and in train_mask"),
        ({"val_mask": torch.ones(4, dtype=torch.bool)}, "true or false for each node"),
        ({"y": torch.full((5,), -1)}, "No node has a label"),
    ],
)
def test_wrong_objects_are_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_geometric(geometric(**fields))


def test_cora_is_read_as_it_is_published(realdata: Path) -> None:
    splits = load_graph(realdata / "cora", normalize="rows")
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [140, 500, 1000]
    (features, edges), (labels, _) = only_batch(splits.train)
    assert (features.shape, edges.shape, len(labels.unique())) == ((2708, 1433), (2, 10556), 7)
    torch.testing.assert_close(features.sum(1), torch.ones(2708))
    assert np.bincount(splits.train.labels[splits.train.mask]).tolist() == [20] * 7
