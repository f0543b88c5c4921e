"""Attention against its formula, a loop over queries, torch's own layer, and masks whose answer is known."""

import math
from typing import Any

import pytest
import torch
from causality import reads
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from thalweg.core.errors import RecipeError
from thalweg.nn import MultiHeadAttention, SelfAttention, attend, band_mask, causal_mask, edge_mask, padding_mask
from thalweg.nn.attend import attend_near, weights_of

BATCH, LENGTH, KEYS, WIDTH, HEADS = 3, 7, 5, 12, 2
LENGTHS = torch.tensor([7, 4, 0])
SETTINGS: list[dict[str, Any]] = [
    {},
    {"causal": True},
    {"window": 2},
    {"window": 2, "causal": True},
    {"positions": "relative"},
    {"positions": "rotary", "causal": True},
    {"positions": "relative", "window": 1},
]


def sequences(length: int = LENGTH, width: int = WIDTH, batch: int = BATCH, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, width, dtype=torch.float64, generator=random)


def multi_head(**settings: Any) -> MultiHeadAttention:
    torch.manual_seed(1)
    layer = MultiHeadAttention(WIDTH, HEADS, **settings).double()
    for parameter in layer.parameters():  # biases and relative positions begin as 0
        nn.init.normal_(parameter, std=0.5)
    return layer


def by_loops(query: Tensor, key: Tensor, value: Tensor, may: Tensor) -> Tensor:
    """Query by query, in Python's numbers: exp(q k / sqrt d), over their sum, times the values."""
    found = torch.zeros(*query.shape[:3], value.shape[3], dtype=query.dtype)
    for b in range(query.shape[0]):
        for h in range(query.shape[1]):
            for i in range(query.shape[2]):
                keys = [j for j in range(key.shape[2]) if bool(may[b, h, i, j])]
                scores = [(query[b, h, i] @ key[b, h, j]).item() / math.sqrt(query.shape[3]) for j in keys]
                total = sum(math.exp(score) for score in scores)
                for j, score in zip(keys, scores, strict=True):
                    found[b, h, i] += math.exp(score) / total * value[b, h, j]
    return found


def heads(length: int, size: int, seed: int) -> Tensor:
    return sequences(length, 2 * size, seed=seed).view(BATCH, length, 2, size).transpose(1, 2)


def test_self_attention_is_its_formula() -> None:
    layer, x = SelfAttention(WIDTH, 5).double(), sequences()
    query, key, value = (x @ weight.mT for weight in (layer.query, layer.key, layer.value))
    expected = by_loops(query[:, None], key[:, None], value[:, None], torch.ones(BATCH, 1, LENGTH, LENGTH))[:, 0]
    torch.testing.assert_close(layer(x), expected)
    weights = layer.attention(x)
    torch.testing.assert_close(weights.sum(2), torch.ones(BATCH, LENGTH, dtype=torch.float64))
    torch.testing.assert_close(weights @ value, expected)


def test_its_only_parameters_are_three_matrices() -> None:
    layer = SelfAttention(WIDTH, 5)
    shapes = {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}
    assert shapes == dict.fromkeys(("query", "key", "value"), (5, WIDTH))
    assert layer(torch.randn(2, 1, WIDTH)).shape == (2, 1, 5)
    assert layer(torch.randn(2, 30, WIDTH)).shape == (2, 30, 5)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("causal", [False, True])
def test_each_head_is_a_self_attention(lengths: Tensor | None, causal: bool) -> None:
    layer, x = multi_head(bias=False, causal=causal), sequences()
    mask = causal_mask(LENGTH) if causal else None
    found, maps = [], []
    for query, key, value in zip(*(w.chunk(HEADS) for w in layer.projections.weight.chunk(3)), strict=True):
        head = SelfAttention(WIDTH, WIDTH // HEADS).double()
        head.load_state_dict({"query": query, "key": key, "value": value})
        found.append(head(x, lengths, mask=mask))
        maps.append(head.attention(x, mask=mask))
    torch.testing.assert_close(layer(x, lengths), torch.cat(found, 2) @ layer.output.weight.mT)
    if lengths is None:
        torch.testing.assert_close(layer.attention(x), torch.stack(maps, 1))


def test_heads_made_in_two_steps_are_one_projection() -> None:
    """Q = Wq x, then q1 = Wq1 q and q2 = Wq2 q: the heads' matrices are the products."""
    layer, x = multi_head(bias=False), sequences()
    size = WIDTH // HEADS
    first = [torch.randn(WIDTH, WIDTH, dtype=torch.float64) for _ in range(3)]
    second = [[torch.randn(size, WIDTH, dtype=torch.float64) for _ in range(HEADS)] for _ in range(3)]
    with torch.no_grad():
        layer.projections.weight.copy_(torch.cat([m @ w for w, own in zip(first, second, strict=True) for m in own]))
    found = []
    for head in range(HEADS):
        q, k, v = ((x @ w.mT) @ own[head].mT for w, own in zip(first, second, strict=True))
        found.append(((q @ k.mT) / math.sqrt(size)).softmax(2) @ v)
    torch.testing.assert_close(layer(x), torch.cat(found, 2) @ layer.output.weight.mT)


def torchs(layer: MultiHeadAttention) -> nn.MultiheadAttention:
    other = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    other.load_state_dict(
        {
            "in_proj_weight": layer.projections.weight,
            "in_proj_bias": layer.projections.bias,
            "out_proj.weight": layer.output.weight,
            "out_proj.bias": layer.output.bias,
        }
    )
    return other


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_torchs_layer_with_its_weights(causal: bool) -> None:
    layer, x, lengths = multi_head(causal=causal), sequences(), torch.tensor([7, 4, 1])
    padding, order = ~padding_mask(lengths, LENGTH)[:, 0, 0], ~causal_mask(LENGTH)[0, 0] if causal else None
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    there = ~padding[..., None]
    expected, maps = torchs(layer)(
        *[inputs[0]] * 3, key_padding_mask=padding, attn_mask=order, average_attn_weights=False
    )
    output = layer(inputs[1], lengths)
    torch.testing.assert_close(output, expected * there)
    torch.testing.assert_close(layer.attention(x, lengths), maps * there[:, None])
    (expected * there).square().sum().backward()
    output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)


def test_it_looks_at_a_memory_as_torchs_does() -> None:
    layer, x, memory, lengths = multi_head(), sequences(), sequences(KEYS, seed=3), torch.tensor([5, 2, 1])
    padding = ~padding_mask(lengths, KEYS)[:, 0, 0]
    expected, maps = torchs(layer)(x, memory, memory, key_padding_mask=padding, average_attn_weights=False)
    torch.testing.assert_close(layer(x, memory=memory, memory_lengths=lengths), expected)
    torch.testing.assert_close(layer.attention(x, memory=memory, memory_lengths=lengths), maps)
    some = layer(x, LENGTHS, memory=memory, memory_lengths=lengths)
    torch.testing.assert_close(some, expected * padding_mask(LENGTHS, LENGTH)[:, 0, 0, :, None])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_attend_is_the_loop_over_queries(dtype: torch.dtype) -> None:
    query, key, value = heads(LENGTH, 4, 0), heads(KEYS, 4, 1), heads(KEYS, 3, 2)
    may = torch.rand(BATCH, 2, LENGTH, KEYS, generator=torch.Generator().manual_seed(0)) < 0.4
    may[0, 0, 3] = False
    expected = by_loops(query, key, value, may)
    near = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.05}[dtype]
    output = attend(query.to(dtype), key.to(dtype), value.to(dtype), mask=may)
    torch.testing.assert_close(output.double(), expected, atol=near, rtol=near)
    everything = by_loops(query, key, value, torch.ones_like(may))
    output = attend(query.to(dtype), key.to(dtype), value.to(dtype))
    torch.testing.assert_close(output.double(), everything, atol=near, rtol=near)
    weights = weights_of(query, key, mask=may)
    torch.testing.assert_close(weights @ value, expected)
    assert set(weights.sum(3).round(decimals=9).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_a_query_without_keys_gets_zeros_and_no_gradient(dtype: torch.dtype, bias: bool) -> None:
    query, key, value = (heads(5, 4, seed).to(dtype).requires_grad_() for seed in range(3))
    mask = torch.ones(BATCH, 2, 5, 5, dtype=torch.bool)
    mask[1, :, 2] = False
    mask[2] = False
    added = torch.zeros(1, 2, 5, 5, dtype=dtype, requires_grad=True) if bias else None
    output = attend(query, key, value, mask=mask, bias=added)
    assert (output[2] == 0).all()
    assert (output[1, :, 2] == 0).all()
    output.square().sum().backward()
    for leaf in (query, key, value, *([added] if added is not None else [])):
        assert leaf.grad is not None
        assert bool(leaf.grad.isfinite().all())
    assert query.grad is not None
    assert key.grad is not None
    assert (query.grad[2] == 0).all()
    assert (query.grad[1, :, 2] == 0).all()
    assert (key.grad[2] == 0).all()
    assert (query.grad[0] != 0).any()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("padding", [False, True])
def test_maps_give_the_output(settings: dict[str, Any], padding: bool) -> None:
    """The quick way without maps and the one by the maps are the same, whatever masks there are."""
    layer, x, lengths = multi_head(**settings), sequences(), LENGTHS if padding else None
    mask = torch.rand(BATCH, HEADS, LENGTH, LENGTH, generator=torch.Generator().manual_seed(0)) < 0.7
    mask[0, :, 3] = False
    value = layer.projections(x)[..., 2 * WIDTH :].view(BATCH, LENGTH, HEADS, -1).transpose(1, 2)
    for each in (None, mask):
        maps = layer.attention(x, lengths, mask=each)
        seen = maps.sum(3) > 0
        expected = layer.output((maps @ value).transpose(1, 2).flatten(2)) * seen.any(1)[..., None]
        torch.testing.assert_close(layer(x, lengths, mask=each), expected)


@pytest.mark.parametrize("settings", SETTINGS)
def test_more_padding_changes_nothing(settings: dict[str, Any]) -> None:
    layer, x = multi_head(**settings), sequences()
    short, long = x.clone().requires_grad_(), torch.cat([x, 9 * x], 1).requires_grad_()
    outputs = layer(short, LENGTHS), layer(long, LENGTHS)
    torch.testing.assert_close(outputs[1][:, :LENGTH], outputs[0])
    assert (outputs[1][:, LENGTH:] == 0).all()
    assert (outputs[0][2] == 0).all()
    for output in outputs:
        output.square().sum().backward()
    assert short.grad is not None
    assert long.grad is not None
    torch.testing.assert_close(long.grad[:, :LENGTH], short.grad)
    assert (long.grad[:, LENGTH:] == 0).all()


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_read_is_what_the_mask_says(settings: dict[str, Any]) -> None:
    seen = reads(multi_head(**settings), sequences())
    window, causal = settings.get("window", LENGTH), settings.get("causal", False)
    assert torch.equal(seen, band_mask(LENGTH, window, causal)[0, 0])


def test_without_positions_the_order_is_not_seen() -> None:
    layer, x = multi_head(), sequences()
    order = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order])
    assert not torch.allclose(multi_head(positions="rotary")(x[:, order]), multi_head(positions="rotary")(x)[:, order])


def test_masks_of_known_shape_and_content() -> None:
    assert padding_mask(torch.tensor([2, 0, 9, -1]), 3)[:, 0, 0].int().tolist() == [
        [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]
    ]  # fmt: skip
    assert torch.equal(causal_mask(5)[0, 0], torch.ones(5, 5).tril().bool())
    for window in range(6):
        both, back = band_mask(5, window)[0, 0], band_mask(5, window, causal=True)[0, 0]
        assert torch.equal(both, torch.ones(5, 5).triu(-window).tril(window).bool())
        assert torch.equal(back, torch.ones(5, 5).triu(-window).tril().bool())
    edges = torch.tensor([[0, 3, 3], [1, 1, 3]])
    assert edge_mask(edges, 4)[0, 0].nonzero().tolist() == [[1, 0], [1, 3], [3, 3]]
    assert edge_mask(edges[:, :0], 4).sum() == 0


def test_attention_along_edges_reads_along_edges() -> None:
    edges = torch.tensor([[0, 3, 3], [1, 1, 3]])
    layer = multi_head()
    seen = reads(lambda x: layer(x, mask=edge_mask(edges, LENGTH)), sequences())
    expected = edge_mask(edges, LENGTH)[0, 0]
    assert torch.equal(seen, expected | (torch.eye(LENGTH).bool() & expected.any(1)))


def test_a_query_that_one_head_lets_look_has_an_output() -> None:
    layer, mask = multi_head(), torch.zeros(1, HEADS, LENGTH, LENGTH, dtype=torch.bool)
    mask[0, 0, 2, 1] = True
    output = layer(sequences(), mask=mask)
    assert (output[:, 2] != 0).all()
    assert (output[:, [0, 1, 3, 4, 5, 6]] == 0).all()


def test_near_attention_is_attention_with_a_band() -> None:
    query, key, value = heads(LENGTH, 4, 0), heads(LENGTH, 4, 1), heads(LENGTH, 4, 2)
    for window, causal in ((0, False), (2, False), (2, True), (9, True)):
        may = (band_mask(LENGTH, window, causal) & padding_mask(LENGTHS, LENGTH)).expand(BATCH, 2, -1, -1)
        output = attend_near(query, key, value, window, causal, LENGTHS)
        there = padding_mask(LENGTHS, LENGTH).mT  # what queries of padding find has no meaning
        torch.testing.assert_close(output * there, by_loops(query, key, value, may) * there)


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that is made."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, inputs: Any = (), options: Any = None) -> Any:
        output = function(*inputs, **(options or {}))
        self.numbers = max(self.numbers, *(each.numel() for each in tree_leaves(output) if isinstance(each, Tensor)), 0)
        return output


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.1}, {"positions": "relative"}, {"causal": True}])
def test_a_window_makes_nothing_of_the_size_of_all_pairs(settings: dict[str, Any]) -> None:
    layer, x = MultiHeadAttention(WIDTH, HEADS, window=16, **settings), torch.randn(1, 1024, WIDTH)
    with Largest() as largest:
        layer(x, torch.tensor([1000])).sum().backward()
    assert 1024 * 3 * WIDTH <= largest.numbers < 1024 * 1024 / 4


def test_dropout_is_for_training_alone() -> None:
    layer, x = multi_head(dropout=0.5), sequences()
    assert not torch.equal(layer(x), layer(x))
    assert not torch.equal(layer(x, LENGTHS), layer(x, LENGTHS))
    layer.eval()
    torch.testing.assert_close(layer(x), multi_head()(x))


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_computes_in_16_bits_by_autocast(settings: dict[str, Any]) -> None:
    layer, x = multi_head(**settings).float(), sequences().float()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x, LENGTHS)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), layer(x, LENGTHS), atol=0.15, rtol=0.05)
    output.float().square().sum().backward()  # queries of padding, and those of the empty sequence, see nothing
    assert all(bool(p.grad.isfinite().all()) for p in layer.parameters() if p.grad is not None)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_stacked(settings: dict[str, Any]) -> None:
    layer, x = multi_head(**settings), sequences()
    both = torch.func.vmap(lambda x: layer(x, LENGTHS))(torch.stack([x, 2 * x]))
    torch.testing.assert_close(both, torch.stack([layer(x, LENGTHS), layer(2 * x, LENGTHS)]))


def test_odd_sizes() -> None:
    layer = multi_head()
    assert layer(sequences(length=1)).shape == (BATCH, 1, WIDTH)
    assert layer(sequences(length=0)).shape == (BATCH, 0, WIDTH)
    assert layer(sequences(batch=0)).shape == (0, LENGTH, WIDTH)
    assert layer(sequences().mT.contiguous().mT).shape == (BATCH, LENGTH, WIDTH)
    assert MultiHeadAttention(WIDTH, HEADS, inputs=5)(torch.randn(2, 3, 5)).shape == (2, 3, WIDTH)
    with torch.device("meta"):
        assert MultiHeadAttention(WIDTH, HEADS, positions="relative")(torch.randn(2, 3, WIDTH)).is_meta


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: MultiHeadAttention(10, 4), "does not divide a width of 10. Give for instance heads=5, or width=12"),
        (lambda: MultiHeadAttention(12, 4, positions="rotary"), "even size, as rotary .* width=16"),
        (lambda: MultiHeadAttention(12, 4, positions="rotery"), "Did you mean 'rotary'"),
        (lambda: MultiHeadAttention(12, 0), "heads is 0"),
        (lambda: MultiHeadAttention(12, 2, window=-1), "window is -1"),
        (lambda: MultiHeadAttention(12, 2, dropout=1.0), "dropout is 1.0"),
        (lambda: MultiHeadAttention(12, 2, inputs=0), "inputs is 0"),
        (lambda: SelfAttention(0), "inputs is 0"),
        (lambda: multi_head()(torch.zeros(2, 12)), r"values are float32 of shape \(2, 12\), but .* length, 12\)"),
        (lambda: multi_head()(torch.zeros(2, 3, 5)), "inputs= the features that come in"),
        (lambda: multi_head()(torch.zeros(2, 3, 12).long()), "values are int64"),
        (lambda: multi_head()(None), "values are None"),
        (lambda: multi_head()(sequences(), memory=sequences(width=5)), "memory are float64 of shape"),
        (lambda: multi_head()(sequences(), memory=sequences(batch=2)), "2 sequences in the memory for 3"),
        (lambda: multi_head(causal=True)(sequences(), memory=sequences()), "causal order, a window or positions"),
        (lambda: multi_head()(sequences(), torch.tensor([1, 2])), r"lengths are int64 of shape \(2,\).*\(3,\)"),
        (lambda: multi_head()(sequences(), torch.tensor([1.0, 2, 3])), "lengths are float32"),
        (lambda: multi_head()(sequences(), [1, 2, 3]), r"lengths are \[1, 2, 3\]"),
        (lambda: multi_head()(sequences(), mask=torch.zeros(3, 1, 7, 7)), "mask is float32.*~mask"),
        (lambda: multi_head()(sequences(), mask=torch.ones(7, 7).bool()), r"mask is bool of shape \(7, 7\)"),
        (lambda: multi_head()(sequences(), mask=causal_mask(6)), r"mask is bool of shape \(1, 1, 6, 6\)"),
        (lambda: band_mask(3, -1), "window is -1"),
        (lambda: padding_mask(torch.tensor([True]), 3), "lengths are bool"),
        (lambda: edge_mask(torch.zeros(3, 2).long(), 3), r"int64 of shape \(3, 2\), but .*\(pairs\).t\(\)"),
        (lambda: edge_mask([[0, 1]], 3), r"edge_mask was given \[\[0, 1\]\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(made: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        made()
