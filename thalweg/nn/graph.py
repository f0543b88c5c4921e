r"""Networks on graphs: each node looks at its neighbours, by fixed weights (GCN) or by attention along edges (GAT).

With $N(i)$ the neighbours of node i and i itself, a layer is

$$ h_i' = \phi\Big(\sum_{j \in N(i)} \alpha_{ij} W h_j + b\Big) $$

- **GCN** (Kipf & Welling, "Semi-Supervised Classification with Graph Convolutional Networks", 2017, eq. 2):
  $\alpha_{ij} = 1 / \sqrt{d_i d_j}$, $d_i = |N(i)|$, that is $D^{-1/2} (A + I) D^{-1/2} H W$. Known before training.
  Where edges have weights A holds these: $\alpha_{ij} = a_{ij} / \sqrt{d_i d_j}$, $d_i = 1 + \sum_j a_{ij}$.
- **GAT** (Velickovic et al., "Graph Attention Networks", 2018, equation 3): self-attention whose mask is the graph,
  $\alpha_{ij} = \mathrm{softmax}_{j \in N(i)} \mathrm{LeakyReLU}(a^T [W h_i \,\|\, W h_j])$, with several heads.
- **GATv2** (Brody, Alon & Yahav, "How Attentive are Graph Attention Networks?", 2022, equation 7):
  $a^T \mathrm{LeakyReLU}(W_t h_i + W_s h_j)$. In GAT all nodes rank neighbours alike, as $a^T [x \| y]$ is a sum of
  a part for each and LeakyReLU is monotonic; here the ranking depends on who asks.

Nothing of size nodes x nodes is made: time and memory grow with nodes and edges. Attention over all pairs would be the
complete graph. Several graphs are one batch when their nodes stand one after another and edges are shifted accordingly.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout, elu, leaky_relu, linear, relu

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.knobs import check_count, check_dropout
from thalweg.nn.masks import described

SLOPE = 0.2
"""What LeakyReLU leaves of negative scores (Velickovic et al. 2018, section 2.1)."""
SPARSE, LEAST_SPARSE = 0.1, 100_000
"""The largest share that is not zero, and the least numbers, of features of which dropout draws for these alone."""


class GraphConvolution(nn.Module):
    r"""$D^{-1/2} (A + I) D^{-1/2} X W + b$: features `(node, inputs)` and arcs of `arcs` to `(node, outputs)`.

    >>> layer = GraphConvolution(3, 2)
    >>> layer(torch.ones(4, 3), arcs(torch.tensor([[0], [1]]), 4)).shape
    torch.Size([4, 2])
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)

    @no_type_check
    def forward(
        self,
        x: Float[Tensor, "node inputs"],
        arcs: Int[Tensor, "2 arc"],
        weights: Float[Tensor, " arc"] | None = None,
    ) -> Float[Tensor, "node outputs"]:
        source, target = arcs
        x = _times(x, self.weight)
        if weights is None:
            root = torch.bincount(target, minlength=len(x)).to(x.dtype).rsqrt()
            share = root[source] * root[target]
        else:
            root = _gathered(weights[:, None], target, len(x))[:, 0].to(x.dtype).rsqrt()
            share = root[source] * root[target] * weights.to(x.dtype)
        return _gathered(_at(source, x) * share[:, None], target, len(x)) + self.bias


class GraphAttention(nn.Module):
    r"""Attention of each node over its neighbours, `heads` side by side: `(node, inputs) -> (node, heads * outputs)`.

    `dynamic` scores by GATv2, else by GAT; `dropout` silences shares $\alpha_{ij}$ in training, without making the
    others sum to 1 again.

    >>> layer = GraphAttention(3, 2, heads=4)
    >>> layer(torch.ones(5, 3), arcs(torch.tensor([[0], [1]]), 5)).shape
    torch.Size([5, 8])
    """

    def __init__(self, inputs: int, outputs: int, *, heads: int, dropout: float = 0.0, dynamic: bool = False) -> None:
        super().__init__()
        self.heads, self.dropout, self.dynamic = heads, dropout, dynamic
        self.weight = nn.Parameter(torch.empty(heads * outputs, inputs))
        self.target_weight = nn.Parameter(torch.empty(heads * outputs, inputs)) if dynamic else None
        self.score = nn.Parameter(torch.empty(1 if dynamic else 2, heads, outputs))
        self.bias = nn.Parameter(torch.zeros(heads * outputs))
        for matrix in (self.weight, self.target_weight):
            if matrix is not None:
                nn.init.xavier_uniform_(matrix)
        bound = (6 / (2 * outputs + 1)) ** 0.5  # Glorot's for a, a vector of 2 x outputs numbers for each head
        nn.init.uniform_(self.score, -bound, bound)

    @no_type_check
    def forward(self, x: Float[Tensor, "node inputs"], arcs: Int[Tensor, "2 arc"]) -> Float[Tensor, "node outputs"]:
        source, target = arcs
        sent = _times(x, self.weight).unflatten(1, (self.heads, -1))
        shares = neighbour_softmax(self._scores(x, sent, source, target), target, len(x)).to(sent.dtype)
        shares = dropout(shares, self.dropout, self.training)
        return _gathered((_at(source, sent) * shares[..., None]).flatten(1), target, len(x)) + self.bias

    def _scores(self, x: Tensor, sent: Tensor, source: Tensor, target: Tensor) -> Float[Tensor, "arc head"]:
        if self.target_weight is None:
            asked, offered = (sent * self.score[:, None]).sum(-1)
            return leaky_relu(_at(target, asked) + _at(source, offered), SLOPE)
        asking = _times(x, self.target_weight).unflatten(1, (self.heads, -1))
        return (leaky_relu(_at(target, asking) + _at(source, sent), SLOPE) * self.score[0]).sum(-1)


class GraphNetwork(nn.Module):
    """Layers on one graph: `model(features, edges)`, `(node, inputs)` and `(2, edge)` to `(node, outputs)`.

    Features are dense, or a sparse tensor, of which only what is not zero is touched. Each undirected edge is given
    once or in both directions, which is the same; repeated ones and self-loops count once. A GCN also takes a weight
    for each edge, `model(features, edges, weights)`, of an edge given several times the mean. `dropout` silences inputs
    of every layer. Raises `RecipeError` for edges of another shape or type, for those of nodes that are not there, and
    for weights that are no numbers above 0, one for each edge, or that the layers do not read.

    >>> model = gcn(3, 2)
    >>> features, edges = torch.randn(4, 3), torch.tensor([[0, 1], [1, 2]])
    >>> bool(torch.allclose(model.eval()(features, edges), model(features, torch.cat([edges, edges.flip(0)], 1))))
    True
    """

    def __init__(self, layers: list[nn.Module], activation: Any, dropout: float) -> None:
        super().__init__()
        self.layers, self.activation, self.dropout = nn.ModuleList(layers), activation, dropout

    @no_type_check
    def forward(
        self,
        features: Float[Tensor, "node inputs"],
        edges: Int[Tensor, "2 edge"],
        weights: Float[Tensor, " edge"] | None = None,
    ) -> Float[Tensor, "node outputs"]:
        joined: tuple[Tensor, ...] = (arcs(edges, len(features)),)
        if weights is not None:
            self._check_weights(weights, edges)
            joined = weighted_arcs(edges, weights, len(features))
        x = features
        for number, layer in enumerate(self.layers):
            if number:
                x = self.activation(x)
            x = layer(_dropped(x, self.dropout, self.training), *joined)
        return x

    def _check_weights(self, weights: Any, edges: Tensor) -> None:
        if not all(isinstance(layer, GraphConvolution) for layer in self.layers):
            raise RecipeError(
                "The edges have weights, which this network does not read: attention finds its own. Leave them out "
                "(data.weights), or take a gcn."
            )
        fits = isinstance(weights, Tensor) and weights.is_floating_point() and weights.shape == edges.shape[1:]
        if not fits or not bool((weights > 0).all()):
            raise RecipeError(
                f"The weights of edges are {described(weights)}, but there is a real number above 0 for each edge, "
                f"({edges.shape[1]},) here. Take edges without weight away."
            )

    def extra_repr(self) -> str:
        """What tells one from another in a printed model."""
        return f"activation={self.activation.__name__}, dropout={self.dropout}"


@no_type_check
def gcn(inputs: int, outputs: int, *, width: int = 16, depth: int = 2, dropout: float = 0.5) -> GraphNetwork:
    """A graph convolutional network, `model(features, edges)`: `depth` layers of `width` features, the last of outputs.

    ReLU between layers, dropout of what goes into each. Source: Kipf & Welling (2017), equation 9, whose recipe for
    Cora is Adam with 0.01, an L2 penalty of 5e-4 on the first layer, and rows of features that sum to 1. Raises
    `RecipeError` for a knob out of its range.

    >>> gcn(1433, 7)(torch.rand(5, 1433), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([5, 7])
    """
    _check_counts("gcn", inputs=inputs, outputs=outputs, width=width, depth=depth)
    check_dropout("gcn", dropout)
    sizes = [inputs] + [width] * (depth - 1) + [outputs]
    return GraphNetwork([GraphConvolution(*sizes[layer : layer + 2]) for layer in range(depth)], relu, dropout)


@no_type_check
def gat(
    inputs: int,
    outputs: int,
    *,
    width: int = 8,
    depth: int = 2,
    heads: int = 8,
    dropout: float = 0.6,
    dynamic: bool = False,
) -> GraphNetwork:
    """A graph attention network, `model(features, edges)`: layers of `heads` x `width` features, the last of one head.

    ELU between layers; dropout of what goes into each and of the attention. `dynamic` is GATv2 (Brody et al. 2022).
    Source: Velickovic et al. (2018), section 3.3, whose recipe for Cora is Adam with 0.005, an L2 penalty of 5e-4, and
    stopping after 100 epochs without progress. Raises `RecipeError` for a knob out of its range.

    >>> gat(1433, 7, dynamic=True)(torch.rand(5, 1433), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([5, 7])
    """
    _check_counts("gat", inputs=inputs, outputs=outputs, width=width, depth=depth, heads=heads)
    check_dropout("gat", dropout)
    sizes = [inputs] + [heads * width] * (depth - 1)
    layers: list[nn.Module] = [
        GraphAttention(size, width, heads=heads, dropout=dropout, dynamic=dynamic) for size in sizes[:-1]
    ]
    layers.append(GraphAttention(sizes[-1], outputs, heads=1, dropout=dropout, dynamic=dynamic))
    return GraphNetwork(layers, elu, dropout)


@no_type_check
def arcs(edges: Int[Tensor, "2 edge"], nodes: int) -> Int[Tensor, "2 arc"]:
    """Both directions of each edge and a self-loop of each node, once each: `(source, target)`, in order of targets.

    >>> arcs(torch.tensor([[0, 1, 2], [1, 0, 2]]), 3)
    tensor([[0, 1, 0, 1, 2],
            [0, 0, 1, 1, 2]])
    """
    _check_edges(edges, nodes)
    loops = torch.arange(nodes, device=edges.device).expand(2, -1)
    source, target = torch.cat([edges, edges.flip(0), loops], dim=1)
    pairs = torch.unique(target * nodes + source)
    return torch.stack([pairs % max(nodes, 1), pairs // max(nodes, 1)])


def weighted_arcs(
    edges: Int[Tensor, "2 edge"], weights: Float[Tensor, " edge"], nodes: int
) -> tuple[Int[Tensor, "2 arc"], Float[Tensor, " arc"]]:
    """The same with a weight for each arc: of edges between the same two nodes their mean, 1 of a node to itself.

    >>> weighted_arcs(torch.tensor([[0, 0], [1, 0]]), torch.tensor([3.0, 5.0]), 2)
    (tensor([[0, 1, 0, 1],
            [0, 0, 1, 1]]), tensor([1., 3., 3., 1.]))

    Raises `RecipeError` as `arcs` does.
    """
    joined = arcs(edges, nodes)
    other = edges[0] != edges[1]
    (source, target), weights = edges[:, other], weights[other]
    keys = torch.cat([target * nodes + source, source * nodes + target])
    place = torch.searchsorted(joined[1] * nodes + joined[0], keys)
    found = weights.new_zeros(joined.shape[1]).index_add(0, place, weights.repeat(2))
    times = torch.bincount(place, minlength=joined.shape[1])
    return joined, torch.where(times > 0, found / times.clamp(min=1), 1.0)


def neighbour_softmax(
    scores: Float[Tensor, "arc head"], target: Int[Tensor, " arc"], nodes: int
) -> Float[Tensor, "arc head"]:
    r"""Scores of arcs to shares that sum to 1 over the arcs of each target: $\exp(e_{ij}) / \sum_k \exp(e_{ik})$.

    >>> neighbour_softmax(torch.zeros(3, 1), torch.tensor([0, 0, 1]), 2).flatten()
    tensor([0.5000, 0.5000, 1.0000])
    """
    index = target[:, None].expand_as(scores)
    lowest = scores.detach().new_full((nodes, scores.shape[1]), -torch.inf)
    most = lowest.scatter_reduce(0, index, scores.detach(), "amax")
    shares = (scores - _at(target, most)).exp()
    return shares / _at(target, _gathered(shares, target, nodes))


def _at(ends: Int[Tensor, " arc"], of_nodes: Tensor) -> Tensor:
    """The row of the node at an end of each arc: faster than by brackets, and so is its gradient."""
    return of_nodes.index_select(0, ends)


def _gathered(sent: Float[Tensor, "arc feature"], target: Int[Tensor, " arc"], nodes: int) -> Tensor:
    """The sum of what arrives at each node."""
    return sent.new_zeros(nodes, sent.shape[1]).index_add(0, target, sent)


def _times(x: Tensor, weight: Tensor) -> Tensor:
    return torch.sparse.mm(x, weight.T) if x.layout is not torch.strided else linear(x, weight)


def _dropped(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout; of a sparse tensor that of the values it has, as zeros stay zeros."""
    if not (share and training):
        return x
    if x.layout is torch.strided and not _mostly_zero(x):
        return dropout(x, share)
    if x.layout is torch.strided:
        held = x.nonzero(as_tuple=True)
        return torch.zeros_like(x).index_put(held, dropout(x[held], share))
    x = (x if x.layout is torch.sparse_coo else x.to_sparse_coo()).coalesce()
    values = dropout(x.values(), share, training)
    return torch.sparse_coo_tensor(x.indices(), values, x.shape, is_coalesced=True, check_invariants=False)


def _mostly_zero(x: Tensor) -> bool:
    """Whether features are words, of which a node has few: to draw for each zero takes longer than the layer itself."""
    if x.device.type != "cpu" or x.requires_grad or x.numel() < LEAST_SPARSE or torch.compiler.is_compiling():
        return False
    sample = x[:: max(1, len(x) // 64)]
    return bool(sample.count_nonzero() < SPARSE * sample.numel())


def _check_counts(network: str, **counts: Any) -> None:
    for knob, value in counts.items():
        check_count(network, knob, value)


def _check_edges(edges: Any, nodes: int) -> None:
    if not isinstance(edges, Tensor) or edges.dim() != 2 or len(edges) != 2 or edges.dtype != torch.int64:
        given = f"{tuple(edges.shape)} and dtype {edges.dtype}" if isinstance(edges, Tensor) else type(edges).__name__
        raise RecipeError(
            f"A graph network was given edges of {given}, but they are pairs of nodes: an int64 tensor (2, edge). Give "
            "edges.T.long() if you have (edge, 2)."
        )
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        strange = int(edges.min()) if int(edges.min()) < 0 else int(edges.max())
        raise RecipeError(
            f"A graph network was given an edge of node {strange}, but its {nodes} rows of features are "
            f"nodes 0 to {nodes - 1}. Give features for every node, or number nodes from 0."
        )
