"""Attention in windows against the band of full attention, and against a loop over positions."""

import sys
from math import exp
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from thalweg.core.errors import RecipeError
from thalweg.nn import local_attention

MODULE = sys.modules["thalweg.nn.local_attention"]
SIZES = [1, 2, 5, 16, 31, 67, 130]


def sequences(batch: int, length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    made = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 2, length, 5, dtype=dtype, generator=made).requires_grad_() for _ in range(3)]


def by_band(qkv: list[Tensor], window: int, causal: bool, lengths: Tensor | None = None) -> Tensor:
    """All are compared with all, and what lies outside the window is masked; padded queries give zeros."""
    length = qkv[0].shape[2]
    at = torch.arange(length)
    offset = at - at[:, None]
    seen = (offset >= -window) & (offset <= (0 if causal else window))
    if lengths is None:
        return scaled_dot_product_attention(*qkv, attn_mask=seen)
    counts = at < lengths[:, None]
    seen = seen & counts[:, None, :] | torch.eye(length, dtype=torch.bool)
    return scaled_dot_product_attention(*qkv, attn_mask=seen[:, None]) * counts[:, None, :, None]


def by_positions(qkv: list[Tensor], window: int, causal: bool) -> list[list[float]]:
    """The first example and head, number by number."""
    q, k, v = (each[0, 0].tolist() for each in qkv)
    outputs = []
    for i, asked in enumerate(q):
        near = range(max(0, i - window), min(len(q), i + 1 + (0 if causal else window)))
        scores = [exp(sum(a * b for a, b in zip(asked, k[j], strict=True)) / len(asked) ** 0.5) for j in near]
        shares = [score / sum(scores) for score in scores]
        outputs.append([sum(share * v[j][c] for share, j in zip(shares, near, strict=True)) for c in range(len(v[0]))])
    return outputs


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [0, 1, 7, 16, 40])
@pytest.mark.parametrize("length", SIZES)
def test_it_is_the_band_of_full_attention(length: int, window: int, causal: bool) -> None:
    qkv = sequences(2, length)
    ours, theirs = local_attention(*qkv, window, causal=causal), by_band(qkv, window, causal)
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
    weights = torch.randn_like(ours)
    for mine, right in zip(*(torch.autograd.grad(y, qkv, weights) for y in (ours, theirs)), strict=True):
        assert torch.allclose(mine, right, atol=1e-12, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_it_is_what_a_loop_over_positions_gives(causal: bool) -> None:
    qkv = sequences(1, 53)
    expected = torch.tensor(by_positions(qkv, 6, causal), dtype=torch.float64)
    assert torch.allclose(local_attention(*qkv, 6, causal=causal)[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [0, 3, 20])
@pytest.mark.parametrize("length", [1, 9, 64, 131])
def test_padding_is_seen_by_none(length: int, window: int, causal: bool) -> None:
    qkv = sequences(4, length)
    lengths = torch.tensor([length, length // 2, 1, 0])
    ours = local_attention(*qkv, window, causal=causal, lengths=lengths)
    theirs = by_band(qkv, window, causal, lengths)
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
    for mine, right in zip(*(torch.autograd.grad(y.square().sum(), qkv) for y in (ours, theirs)), strict=True):
        assert torch.isfinite(mine).all()
        assert torch.allclose(mine, right, atol=1e-12, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_what_stands_at_padding_does_not_matter(causal: bool) -> None:
    lengths = torch.tensor([90, 17])
    first, second = sequences(2, 90), sequences(2, 90)
    with torch.no_grad():
        for each in second:
            each[1, :, 17:] = 1e3
    outputs = [local_attention(*qkv, 8, causal=causal, lengths=lengths) for qkv in (first, second)]
    assert torch.equal(*outputs)
    assert (outputs[0][1, :, 17:] == 0).all()
    alone = local_attention(*(each[1:, :, :17] for each in first), 8, causal=causal)
    assert torch.allclose(outputs[0][1:, :, :17], alone, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_single_precision(causal: bool) -> None:
    qkv = sequences(2, 300, torch.float32)
    ours, theirs = local_attention(*qkv, 32, causal=causal), by_band(qkv, 32, causal)
    assert torch.allclose(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [0, 3, 20])
@pytest.mark.parametrize("length", [1, 9, 64, 131])
@pytest.mark.parametrize("padded", [True, False])
def test_a_bias_is_added_by_offset(
    length: int, window: int, causal: bool, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "PIECE", 32)  # several pieces of the longest
    qkv, ahead = sequences(3, length), 0 if causal else window
    bias = torch.randn(2, window + 1 + ahead, dtype=torch.float64, requires_grad=True)
    counts = torch.arange(length) < torch.tensor([length, length // 2, 0])[:, None] if padded else torch.ones(3, length)
    at = torch.arange(length)
    offset = at - at[:, None]
    seen = (offset >= -window) & (offset <= ahead) & counts.bool()[:, None] | torch.eye(length, dtype=torch.bool)
    mask = bias[:, (offset + window).clamp(0, window + ahead)].masked_fill(~seen[:, None], -torch.inf)
    theirs = scaled_dot_product_attention(*qkv, attn_mask=mask) * counts[:, None, :, None]
    lengths = counts.sum(1).long() if padded else None
    ours = local_attention(*qkv, window, causal=causal, lengths=lengths, bias=bias)
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
    found = [torch.autograd.grad(y.square().sum(), [*qkv, bias]) for y in (ours, theirs)]
    for mine, right in zip(*found, strict=True):
        assert torch.allclose(mine, right, atol=1e-11, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lengths", [None, torch.tensor([200])])
@pytest.mark.parametrize("length", [7, 200])
def test_dropout_silences_weights_of_the_window(length: int, causal: bool, lengths: Tensor | None) -> None:
    query, key, _ = (each.detach() for each in sequences(1, length))
    value = torch.eye(length, dtype=torch.float64).expand(1, 2, length, length)  # what comes out are the weights
    lengths = None if lengths is None else lengths.clamp(max=length)
    plain = local_attention(query, key, value, 6, causal=causal, lengths=lengths)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = local_attention(query, key, value, 6, causal=causal, lengths=lengths, dropout=0.25)
    kept = dropped != 0
    assert torch.allclose(dropped[kept], plain[kept] / 0.75, atol=1e-12)
    assert (dropped[plain == 0] == 0).all()
    assert float(kept[plain > 0].double().mean()) == pytest.approx(0.75, abs=0.1)


def test_gradients_are_those_of_finite_differences() -> None:
    qkv = [each[:1, :1, :, :2].detach().requires_grad_() for each in sequences(1, 21)]
    for causal, lengths in ((True, None), (False, None), (False, torch.tensor([20]))):
        assert torch.autograd.gradcheck(
            lambda q, k, v, c=causal, n=lengths: local_attention(q, k, v, 2, causal=c, lengths=n), qkv
        )


def test_what_is_laid_out_otherwise_gives_the_same() -> None:
    qkv = sequences(3, 70)
    turned = [each.transpose(1, 2).contiguous().transpose(1, 2) for each in qkv]
    assert torch.allclose(local_attention(*turned, 5), local_attention(*qkv, 5), atol=1e-12)


def test_a_scale_is_taken_in_place_of_that_of_the_dimension() -> None:
    q, k, v = sequences(1, 50)
    assert torch.allclose(local_attention(q, k, v, 4, scale=1.0), local_attention(q * 5**0.5, k, v, 4), atol=1e-12)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's attention under vmap, on CPU
@pytest.mark.parametrize("lengths", [None, torch.tensor([80, 40])])
def test_stacked_by_vmap_and_half_precision(lengths: Tensor | None) -> None:
    qkv = [torch.stack([a, b]).detach() for a, b in zip(sequences(2, 80), sequences(2, 80, seed=1), strict=True)]
    stacked = torch.func.vmap(lambda q, k, v: local_attention(q, k, v, 6, lengths=lengths))(*qkv)
    for number in range(2):
        alone = local_attention(*(each[number] for each in qkv), 6, lengths=lengths)
        assert torch.allclose(stacked[number], alone, atol=1e-12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = local_attention(*(each[0].float() for each in qkv), 6, lengths=lengths)
    assert torch.allclose(half.double(), stacked[0], atol=0.1)


def test_neighbours_in_the_batch_are_not_seen() -> None:
    """Blocks of all examples are one batch there: what is not finite stays in its own example."""
    qkv = [each.detach() for each in sequences(3, 130)]
    lengths = torch.tensor([130, 130, 70])
    before = local_attention(*qkv, 20, lengths=lengths)
    for each in qkv:
        each[1] = torch.nan
    after = local_attention(*qkv, 20, lengths=lengths)
    assert torch.equal(after[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("piece", [1, 32, 48])
@pytest.mark.parametrize("way", ["causal", "both sides", "padded"])
def test_pieces_change_nothing(way: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "PIECE", piece)
    qkv, lengths = sequences(2, 131), torch.tensor([131, 90]) if way == "padded" else None
    causal = way == "causal"
    ours, theirs = local_attention(*qkv, 7, causal=causal, lengths=lengths), by_band(qkv, 7, causal, lengths)
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
    for mine, right in zip(*(torch.autograd.grad(y.square().sum(), qkv) for y in (ours, theirs)), strict=True):
        assert torch.allclose(mine, right, atol=1e-12, rtol=0)


def most_held(qkv: list[Tensor]) -> int:
    """The most bytes that a forward and a backward pass hold at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        torch.autograd.grad(local_attention(*qkv, 32, causal=True).sum(), qkv)
    assert recorded.profiler is not None
    events: Any = recorded.profiler.kineto_results
    held = most = 0
    for event in sorted((e for e in events.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def test_the_backward_pass_holds_the_windows_of_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    qkv, held = sequences(1, 2000), []
    for piece in (2048, 128):
        monkeypatch.setattr(MODULE, "PIECE", piece)
        held.append(most_held(qkv))
    assert held[1] < 0.7 * held[0]


def test_what_does_not_go_together_is_refused() -> None:
    q, k, v = sequences(2, 12)
    with pytest.raises(RecipeError, match=r"window is -1, but it must be a whole number of at least 0"):
        local_attention(q, k, v, -1)
    with pytest.raises(RecipeError, match=r"shapes \(2, 2, 12, 5\), \(2, 2, 11, 5\).*of the same length"):
        local_attention(q, k[:, :, 1:], v, 3)
    with pytest.raises(RecipeError, match=r"lengths are int64 of shape \(3,\).*of shape \(2,\)"):
        local_attention(q, k, v, 3, lengths=torch.tensor([1, 2, 3]))
    with pytest.raises(RecipeError, match=r"the bias has shape \(2, 3\).* Give it as \(2, 4\)"):
        local_attention(q, k, v, 3, causal=True, bias=torch.zeros(2, 3))
