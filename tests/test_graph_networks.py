"""Networks on graphs against dense twins, whose adjacency is a full matrix and whose attention has a mask."""

from functools import partial

import networkx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, elu, leaky_relu

import thalweg
from thalweg import Losses, Recipe, Splits
from thalweg.core.errors import RecipeError
from thalweg.core.nodes import NodeSource
from thalweg.measure import hessian
from thalweg.nn import arcs, gat, gcn
from thalweg.nn import graph as graph_networks

NODES, INPUTS = 11, 5
NETWORKS = {"gcn": gcn, "gat": gat, "gatv2": partial(gat, dynamic=True)}


def graph() -> tuple[Tensor, Tensor]:
    """Node 10 has no edge, one edge is given twice, once turned around, and one is a self-loop."""
    made = torch.Generator().manual_seed(0)
    edges = torch.randint(0, NODES - 1, (2, 14), generator=made)
    edges = torch.cat([edges, torch.tensor([[2, 3, 3, 4], [3, 2, 2, 4]])], dim=1)
    return torch.randn(NODES, INPUTS, dtype=torch.float64, generator=made).requires_grad_(), edges


def adjacency(edges: Tensor) -> Tensor:
    """1 for neighbours, in both directions, and for each node itself."""
    matrix = torch.eye(NODES, dtype=torch.float64)
    for a, b in edges.T.tolist():
        matrix[a, b] = matrix[b, a] = 1
    return matrix


def dense_gcn(model: nn.Module, x: Tensor, matrix: Tensor) -> Tensor:
    root = torch.diag(matrix.sum(1) ** -0.5)
    for number, layer in enumerate(model.layers):
        x = root @ matrix @ root @ (x.relu() if number else x) @ layer.weight.T + layer.bias
    return x


def dense_gat(model: nn.Module, x: Tensor, matrix: Tensor) -> Tensor:
    """Scores of all pairs, head by head; those without an edge are masked."""
    seen = matrix.bool()
    for number, layer in enumerate(model.layers):
        x, heads = elu(x) if number else x, []
        for head in range(layer.heads):
            rows = slice(head * layer.score.shape[2], (head + 1) * layer.score.shape[2])
            sent = x @ layer.weight[rows].T
            if layer.dynamic:
                both = (x @ layer.target_weight[rows].T)[:, None] + sent
                scores = leaky_relu(both, 0.2) @ layer.score[0, head]
            else:
                pairs = torch.cat([sent[:, None].expand(-1, NODES, -1), sent.expand(NODES, -1, -1)], dim=-1)
                scores = leaky_relu(pairs @ layer.score[:, head].flatten(), 0.2)
            heads.append(scores.masked_fill(~seen, -torch.inf).softmax(1) @ sent)
        x = torch.cat(heads, dim=1) + layer.bias
    return x


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_its_dense_twin(name: str, depth: int) -> None:
    torch.manual_seed(0)
    model, (x, edges) = NETWORKS[name](INPUTS, 3, width=4, depth=depth).double().eval(), graph()
    twin = dense_gcn if name == "gcn" else dense_gat
    ours, theirs = model(x, edges), twin(model, x, adjacency(edges))
    assert ours.shape == (NODES, 3)
    assert torch.allclose(ours, theirs, atol=1e-12)
    over = [x, *model.parameters()]
    for mine, right in zip(*(torch.autograd.grad(y.square().sum(), over) for y in (ours, theirs)), strict=True):
        assert torch.allclose(mine, right, atol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_edges_once_twice_and_in_any_order_are_one_graph(name: str) -> None:
    model, (x, edges) = NETWORKS[name](INPUTS, 3).double().eval(), graph()
    expected = model(x, edges)
    for other in (edges.flip(0), torch.cat([edges, edges.flip(0)], 1), edges[:, torch.randperm(edges.shape[1])]):
        assert torch.equal(model(x, other), expected)


def test_a_gcn_goes_by_the_weights_of_edges() -> None:
    torch.manual_seed(0)
    model, (x, edges) = gcn(INPUTS, 3, depth=3).double().eval(), graph()
    given: dict[frozenset[int], list[float]] = {}
    weights = torch.rand(edges.shape[1], dtype=torch.float64) + 0.1
    for pair, weight in zip(edges.T.tolist(), weights.tolist(), strict=True):
        given.setdefault(frozenset(pair), []).append(weight)
    matrix = torch.eye(NODES, dtype=torch.float64)
    for pair, found in given.items():
        if len(pair) == 2:
            a, b = pair
            matrix[a, b] = matrix[b, a] = sum(found) / len(found)
    ours, theirs = model(x, edges, weights), dense_gcn(model, x, matrix)
    assert torch.allclose(ours, theirs, atol=1e-12)
    ones = torch.ones(edges.shape[1], dtype=torch.float64)
    assert torch.allclose(model(x, edges, ones), model(x, edges), atol=1e-12)
    for wrong in (ones[1:], ones.long(), ones - 1):
        with pytest.raises(RecipeError, match=r"a real number above 0 for each edge, \(18,\) here"):
            model(x, edges, wrong)
    with pytest.raises(RecipeError, match=r"The edges have weights.*Leave them out \(data.weights\), or take a gcn"):
        gat(INPUTS, 3).double()(x, edges, ones)


@pytest.mark.parametrize("name", NETWORKS)
def test_nodes_without_edges_see_themselves(name: str) -> None:
    model, (x, edges) = NETWORKS[name](INPUTS, 3).double().eval(), graph()
    alone = model(x[10:], torch.zeros(2, 0, dtype=torch.int64))
    assert torch.allclose(model(x, edges)[10:], alone, atol=1e-12)
    assert model(x[:0], torch.zeros(2, 0, dtype=torch.int64)).shape == (0, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_numbering_does_not_matter(name: str) -> None:
    model, (x, edges) = NETWORKS[name](INPUTS, 3).double().eval(), graph()
    order = torch.randperm(NODES)
    place = torch.argsort(order)
    assert torch.allclose(model(x[order], place[edges]), model(x, edges)[order], atol=1e-12)


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("name", NETWORKS)
def test_sparse_features_are_features(name: str, layout: torch.layout) -> None:
    torch.manual_seed(0)
    model, (_, edges) = NETWORKS[name](INPUTS, 3).double(), graph()
    x = (torch.rand(NODES, INPUTS) < 0.3).double()
    sparse = x.to_sparse(layout=layout)
    assert torch.allclose(model.eval()(sparse, edges), model(x, edges), atol=1e-12)
    ours, theirs = (torch.autograd.grad(model(each, edges).square().sum(), model.parameters()) for each in (sparse, x))
    for mine, right in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, right, atol=1e-10)
    assert torch.isfinite(model.train()(sparse, edges)).all()


def test_sparse_features_have_the_same_curvature() -> None:
    torch.manual_seed(0)
    model, (_, edges) = gcn(INPUTS, 3, width=2).double(), graph()
    x, y = (torch.rand(NODES, INPUTS) < 0.3).double(), torch.arange(NODES) % 3
    ours, theirs = (hessian(model, cross_entropy, ((each, edges), y)) for each in (x.to_sparse(), x))
    assert torch.allclose(ours, theirs, atol=1e-10)


def test_dropout_of_words_draws_for_those_that_are_there() -> None:
    torch.manual_seed(0)
    x = torch.zeros(500, 211).scatter(1, torch.randint(0, 211, (500, 3)), 2.0)
    assert x.numel() > graph_networks.LEAST_SPARSE
    dropped = graph_networks._dropped(x, 0.6, training=True)
    assert dropped.unique().tolist() == pytest.approx([0.0, 5.0])
    assert (dropped[x == 0] == 0).all()
    assert (dropped[x != 0] != 0).float().mean() == pytest.approx(0.4, abs=0.05)
    assert graph_networks._dropped(x, 0.6, training=False) is x
    full = graph_networks._dropped(torch.ones(500, 211), 0.6, training=True)
    assert (full != 0).float().mean() == pytest.approx(0.4, abs=0.05)


def test_dropout_of_attention_is_in_training_alone_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x, edges = graph()
    layer = gat(INPUTS, 3, depth=1, dropout=0.5).double().layers[0]
    joined = arcs(edges, NODES)
    mean = torch.stack([layer(x, joined) for _ in range(400)]).mean(0)
    assert torch.allclose(mean, layer.eval()(x, joined), atol=0.4)
    assert torch.equal(layer(x, joined), layer(x, joined))
    assert not torch.equal(layer.train()(x, joined), layer(x, joined))


def test_scores_far_apart_overflow_nowhere() -> None:
    model, (x, edges) = gat(INPUTS, 3), graph()
    output = model.eval()(1e4 * x.detach().float(), edges)
    assert torch.isfinite(output).all()


def test_who_asks_matters_in_gatv2_alone() -> None:
    """In GAT every node ranks the same neighbours alike; Brody et al. 2022, theorem 1."""
    torch.manual_seed(0)
    x = torch.randn(6, INPUTS)
    complete = arcs(torch.combinations(torch.arange(6)).T, 6)
    ranks = {}
    for dynamic in (False, True):
        layer = gat(INPUTS, 3, depth=1, dynamic=dynamic).layers[0]
        source, target = complete
        scores = layer._scores(x, (x @ layer.weight.T).unflatten(1, (1, -1)), source, target).reshape(6, 6)
        ranks[dynamic] = {tuple(row.argsort().tolist()) for row in scores}
    assert len(ranks[False]) == 1
    assert len(ranks[True]) > 1


@pytest.mark.parametrize("name", NETWORKS)
def test_under_bfloat16_and_stacked(name: str) -> None:
    (x, edges), model = graph(), NETWORKS[name](INPUTS, 3).eval()
    x = x.detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(x, edges)
    assert torch.allclose(half.float(), model(x, edges), atol=0.2)
    stack = {key: torch.stack([weight, 2 * weight]) for key, weight in model.state_dict().items()}
    outputs = torch.func.vmap(lambda weights: torch.func.functional_call(model, weights, (x, edges)))(stack)
    assert torch.allclose(outputs[0], model(x, edges), atol=1e-6)


@thalweg.objective
def node_loss(model: nn.Module, batch: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Losses:
    (features, edges), (labels, mask) = batch
    return Losses(cross_entropy(model(features, edges), labels, reduction="none"), weight=mask)


def test_a_graph_is_one_batch_with_no_size_to_look_for() -> None:
    x, edges = graph()
    nodes = NodeSource((x.detach().float(), edges), torch.arange(NODES) % 3, torch.ones(NODES))
    recipe = Recipe(data=Splits(train=nodes), model=partial(gcn, INPUTS, 3), objective=node_loss)
    with pytest.raises(
        RecipeError, match="is one batch, as a graph is: there is no size to look for. Leave batch_size"
    ):
        thalweg.largest_batch_size(recipe, device="cpu")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_karate_club_from_two_labels(name: str) -> None:
    club = networkx.karate_club_graph()
    labels = torch.tensor([int(club.nodes[node]["club"] == "Officer") for node in club])
    inputs, seen = (torch.eye(34), torch.tensor(list(club.edges)).T), torch.zeros(34, dtype=torch.bool)
    seen[[0, 33]] = True
    recipe = Recipe(
        data=Splits(train=(inputs, (labels, seen))),
        model=partial(NETWORKS[name], 34, 2, dropout=0.0),
        objective=node_loss,
        optimizer=partial(torch.optim.Adam, lr=0.02),
        batch_size=None,
        epochs=40,
    )
    run = thalweg.train(recipe)
    assert (run.model.eval()(*inputs).argmax(1) == labels)[~seen].float().mean() > 0.85


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        (torch.zeros(5, 2, dtype=torch.int64), r"edges of \(5, 2\) and dtype torch.int64.*edges\.T\.long\(\)"),
        (torch.zeros(2, 5), r"edges of \(2, 5\) and dtype torch.float32"),
        ([[0, 1], [1, 2]], r"edges of list"),
        (torch.tensor([[0], [NODES]]), r"an edge of node 11, but its 11 rows of features are nodes 0 to 10"),
        (torch.tensor([[0], [-1]]), r"an edge of node -1"),
    ],
)
def test_edges_that_are_none_are_refused(edges: object, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        gcn(INPUTS, 3).double()(graph()[0], edges)


def test_knobs_out_of_range_are_refused() -> None:
    for network, knobs, words in (
        (gcn, {"depth": 0}, r"gcn: depth is 0"),
        (gcn, {"dropout": 1.0}, r"gcn: dropout is 1\.0"),
        (gat, {"heads": 0}, r"gat: heads is 0"),
        (gat, {"width": 0}, r"gat: width is 0"),
    ):
        with pytest.raises(RecipeError, match=words):
            network(INPUTS, 3, **knobs)
