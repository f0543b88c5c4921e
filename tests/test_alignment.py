"""Alignments that only go forward, and attention that knows where it looked: naive twins, long inputs, steps, beams."""

from collections.abc import Callable
from functools import partial
from typing import Any

import naive
import pytest
import torch
from sequence_pairs import LENGTHS, as_decoded, batch, read, recurrent, searched, stepped
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import PADDING
from thalweg.decode import beam_search
from thalweg.nn import chunkwise_weights, expected_alignment, lighter, monotonic_alignment, rnn_seq2seq
from thalweg.nn.additive_attention import Read
from thalweg.nn.location_attention import LocationAttention
from thalweg.nn.monotonic_attention import ChunkwiseAttention, MonotonicAttention, stops


def forward_only(offset: float = -1.0, **settings: Any) -> nn.Module:
    """One that stops at several positions."""
    model: Any = recurrent(**settings)
    with torch.no_grad():
        model.attention.stop.gain.fill_(6.0)
        model.attention.stop.offset.fill_(offset)
    return model


MODELS: dict[str, Callable[..., Any]] = {
    "location": partial(recurrent, attention="location"),
    "cumulative, lstm": partial(recurrent, attention="cumulative", cell="lstm", depth=2),
    "location, copying": partial(recurrent, attention="location", copying=True),
    "monotonic": partial(forward_only, attention="monotonic"),
    "monotonic, copying": partial(forward_only, attention="monotonic", copying=True),
    "chunkwise": partial(forward_only, attention="chunkwise", chunk=2, offset=-3.0),
}
FORWARD = ("monotonic", "chunkwise")
all_models = pytest.mark.parametrize("name", MODELS)


def drawn(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(model: Any, x: dict[str, Tensor]) -> Tensor:
    return as_decoded(model(**x))


# --- alignments ---


@pytest.mark.parametrize(("target", "source"), [(1, 1), (5, 1), (1, 7), (6, 11), (11, 6)])
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_the_expected_alignment_is_the_recursion(target: int, source: int, scale: float) -> None:
    stopping = drawn(target, source, scale=scale).sigmoid()
    expected = torch.tensor(naive.expected_alignment(stopping.tolist()), dtype=torch.float64)
    torch.testing.assert_close(monotonic_alignment(stopping), expected, atol=1e-14, rtol=1e-12)
    several = torch.stack([stopping, stopping.flip(0)])
    torch.testing.assert_close(monotonic_alignment(several)[0], expected)


def test_nothing_is_lost_behind_a_product_that_is_tiny() -> None:
    """Where cumulative products are clipped at 1e-10, what stood at position 60 before is lost."""
    stopping, before = torch.full((100,), 0.5), torch.zeros(100)
    before[60] = 1.0
    found = expected_alignment(stopping, before)
    torch.testing.assert_close(found[60:70], 0.5 ** torch.arange(1.0, 11.0))
    passed = torch.cat([torch.ones(1), (1 - stopping).cumprod(0)[:-1]])
    clipped = stopping * passed * (before / passed.clamp(min=1e-10)).cumsum(0)
    assert float(clipped.sum()) < 1e-6


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_long_inputs_have_finite_gradients(scale: float) -> None:
    """In float32; energies of 30 make probabilities of exactly 1 and products of exactly 0."""
    energies = drawn(500, 500, scale=scale).float().requires_grad_()
    scores = drawn(500, 500, scale=scale, seed=1).float().requires_grad_()
    torch.manual_seed(0)
    found = monotonic_alignment(stops(energies[None], torch.ones(1, 500, dtype=torch.bool), training=True)[0])
    weights = chunkwise_weights(found, scores, 3)
    for each in (found, weights):
        torch.testing.assert_close(each.sum(1), torch.ones(500), atol=1e-4, rtol=0)
        assert bool((each >= 0).all())
    (torch.stack([found, weights]) * drawn(2, 500, 500, seed=2)).sum().backward()
    for leaf in (energies, scores):
        assert leaf.grad is not None
        assert bool(leaf.grad.isfinite().all())
        assert bool(leaf.grad.any())


@pytest.mark.parametrize("chunk", [1, 2, 5, 20])
def test_chunks_are_those_of_the_double_loop(chunk: int) -> None:
    alignment, scores = drawn(3, 11).softmax(1), drawn(3, 11, scale=40.0, seed=1)
    found = chunkwise_weights(alignment, scores, chunk)
    for row in range(3):
        expected = naive.chunkwise_weights(alignment[row].tolist(), scores[row].tolist(), chunk)
        torch.testing.assert_close(found[row], torch.tensor(expected, dtype=torch.float64))
    if chunk == 1:
        torch.testing.assert_close(found, alignment)


def test_decoding_is_the_limit_of_training() -> None:
    """The walk itself, and the expected alignment where energies are saturated."""
    energies, there = drawn(4, 6, 13), torch.arange(13) < torch.tensor([13, 7, 1, 0])[:, None]
    hard = monotonic_alignment(stops(energies, there, training=False))
    torch.manual_seed(0)
    soft = monotonic_alignment(stops(1e4 * energies, there, training=True))
    torch.testing.assert_close(soft, hard)
    for row, length in enumerate([13, 7, 1]):
        assert hard[row].argmax(1).tolist() == naive.walk(energies[row, :, :length].tolist())
        assert bool((hard[row].sum(1) == 1).all())
    assert not hard[3].any()


def test_noise_is_of_training_alone() -> None:
    energies, there = torch.zeros(1, 2, 5000), torch.ones(1, 5000, dtype=torch.bool)
    torch.manual_seed(0)
    drawn = stops(energies, there, training=True)[..., :-1].logit()
    assert abs(float(drawn.std()) - 1) < 0.03
    assert not stops(energies, there, training=False)[..., :-1].any()


# --- a step ---


def test_location_is_the_formula() -> None:
    """Chorowski et al. (2015), equations 8 and 9, with filters of 3 over 5 positions, of which the last is padding."""
    torch.manual_seed(0)
    attention = LocationAttention(2, 3, 4, filters=2, kernel=3).double().requires_grad_(False)
    memory, query = drawn(1, 5, 3), drawn(1, 2, seed=1)
    before = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]], dtype=torch.float64)
    _, weights, after = attention(query, attention.read(memory, torch.tensor([4])), before)
    padded, scores = [0.0, *before[0].tolist(), 0.0], []
    for i in range(4):
        located = [sum(float(f) * padded[i + k] for k, f in enumerate(one[0])) for one in attention.filters.weight]
        inner = attention.query(query[0]) + attention.key(memory[0, i]) + attention.location.weight @ torch.tensor(
            located, dtype=torch.float64
        )  # fmt: skip
        scores.append(float(attention.score(torch.tanh(inner))))
    torch.testing.assert_close(weights[0], torch.tensor([*naive.softmax(scores), 0.0], dtype=torch.float64))
    assert after is weights


@pytest.mark.parametrize("make", [MonotonicAttention, ChunkwiseAttention, LocationAttention])
def test_a_row_is_as_it_is_alone(make: Any) -> None:
    """Rows of several memories, one of them empty, in evaluation mode."""
    torch.manual_seed(0)
    attention = make(4, 6, 5).double().eval()
    values, lengths = drawn(3, 7, 6), torch.tensor([7, 0, 4])
    memory = attention.read(values, lengths)
    state = attention.begin(memory).repeat_interleave(2, 0)
    for step in range(3):
        context, weights, state = attention(drawn(6, 4, seed=step), memory, state)
    assert not context[2:4].any()
    assert not weights[2:4].any()
    alone = attention.read(values[2:, :4], None)
    state = attention.begin(alone)
    for step in range(3):
        found, _, state = attention(drawn(6, 4, seed=step)[5:], alone, state)
    torch.testing.assert_close(found, context[5:])


@pytest.mark.parametrize("make", [LocationAttention, MonotonicAttention, ChunkwiseAttention])
@pytest.mark.parametrize("whole", [True, False])
def test_in_sixteen_bits(make: Any, whole: bool) -> None:
    """All of it, or by autocast; alignments are summed in 32."""
    torch.manual_seed(0)
    kind = torch.bfloat16 if whole else torch.float32
    attention, values = make(4, 6, 5).to(kind), torch.randn(2, 300, 6, dtype=kind)
    with torch.autocast("cpu", torch.bfloat16, enabled=not whole):
        memory = attention.read(values, None)
        state = attention.begin(memory)
        for _ in range(3):
            context, weights, state = attention(torch.randn(2, 4, dtype=kind), memory, state)
        context.float().square().sum().backward()
    assert bool(context.isfinite().all())
    torch.testing.assert_close(weights.float().sum(1), torch.ones(2), atol=0.02, rtol=0)
    assert make is LocationAttention or (weights.dtype == state.dtype == torch.float32)
    assert all(bool(one.grad.isfinite().all()) for one in attention.parameters())


@pytest.mark.parametrize("name", ["location", "chunkwise"])
def test_a_lighter_copy_says_almost_the_same(name: str) -> None:
    model, x = MODELS[name](dtype=torch.float32), batch()
    with torch.no_grad():
        light, plain = lighter(model, "bfloat16")(**x), model(**x)
    there = x["prefix"] != PADDING
    off = (light - plain)[there]
    assert 0 < float(off.square().mean().sqrt()) < 0.1 * float(plain[there].std())


# --- in a model ---


@all_models
def test_steps_and_beams_are_the_whole_at_once(name: str) -> None:
    """In evaluation mode; so there is no other state than that of training."""
    model, x = MODELS[name](), batch("copying" in name)
    there = x["prefix"] != PADDING
    torch.testing.assert_close(stepped(model, x)[there], whole(model, x)[there], atol=1e-10, rtol=0)
    with torch.no_grad():
        for scores, examples, past in searched(model, read(x), beams=3, steps=6):
            inputs = {key: part[examples] for key, part in read(x).items()}
            expected = as_decoded(model(**inputs, prefix=past))[:, -1, : scores.shape[1]]
            torch.testing.assert_close(scores, expected)
        best = beam_search(model, read(x), width=2, longest=4)
    assert all(len(own) == 1 for own in best)


@all_models
def test_training_mode_steps_are_the_whole_with_the_same_noise(name: str) -> None:
    model, x = MODELS[name]().train(), batch("copying" in name)
    there, found = x["prefix"] != PADDING, []
    for way in (whole, stepped):
        torch.manual_seed(3)
        found.append(way(model, x)[there])
    torch.testing.assert_close(*found)
    again = whole(model, x)[there]
    assert torch.equal(again, found[0]) != name.startswith(FORWARD)


@all_models
@pytest.mark.parametrize("training", [True, False])
def test_maps_padding_and_gradients(name: str, training: bool) -> None:
    model, x = MODELS[name]().train(training), batch("copying" in name)
    torch.manual_seed(0)
    scores, weights, there = model.aligned(**x)
    assert torch.equal(there, torch.arange(7) < LENGTHS[:, None])
    seen = ((x["prefix"] != PADDING) & (LENGTHS > 0)[:, None]).to(weights.dtype)
    torch.testing.assert_close(weights.sum(2), seen)
    assert not weights.masked_select(~there[:, None]).any()
    if not training:
        assert torch.equal(scores, model(**x))
        assert torch.equal(weights, model.maps(**x)[0][:, 0])
        longer = x | {"source": torch.cat([x["source"], torch.full((4, 3), 7)], 1)}
        if "copying" in name:
            longer["copies"] = torch.cat([x["copies"], torch.zeros(4, 3, dtype=torch.int64)], 1)
        torch.testing.assert_close(model(**longer), scores)
    scores[x["prefix"] != PADDING].log_softmax(1).square().sum().backward()
    unmoved = {key for key, one in model.named_parameters() if one.grad is None or not one.grad.any()}
    stop = {key for key in unmoved if ".stop." in key}
    assert unmoved == stop
    assert bool(stop) == (name.startswith(FORWARD) and not training)
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters() if one.grad is not None)


@all_models
@pytest.mark.parametrize("positions", [0, 2])
def test_a_batch_of_empty_sources(name: str, positions: int) -> None:
    model, x = MODELS[name]().train(), batch()
    empty = {"source": torch.zeros(4, positions, dtype=torch.int64), "lengths": torch.zeros(4, dtype=torch.int64)}
    if "copying" in name:
        empty["copies"] = empty["source"]
    scores, weights, there = model.aligned(**empty, prefix=x["prefix"])
    assert weights.shape == (4, 6, positions)
    assert there.shape == (4, positions)
    assert bool(scores.isfinite().all())
    scores.sum().backward()
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters() if one.grad is not None)


def test_decoding_goes_forward_alone() -> None:
    for name in ("monotonic", "chunkwise"):
        model, x = MODELS[name](), batch()
        weights = model.maps(**x)[0][0, 0, :5]
        ends = torch.where(weights > 0, torch.arange(7), -1).amax(1)
        assert bool((ends.diff() >= 0).all())
        assert len(ends.unique()) > 1
        assert int((weights > 0).sum(1).max()) <= (1 if name == "monotonic" else 2)


class Once(nn.Module):
    """A step of an attention, of three rows for two memories."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.attention, self.memory = attention, torch.arange(84.0).sin().view(2, 7, 6)

    def forward(self) -> Tensor:
        memory = self.attention.read(self.memory, torch.tensor([7, 3]))
        state = self.attention.begin(memory).repeat_interleave(3, 0)
        context: Tensor = self.attention(torch.ones(6, 4), memory, state)[0]
        return context


@pytest.mark.parametrize("make", [LocationAttention, MonotonicAttention, ChunkwiseAttention])
def test_many_at_once(make: Any) -> None:
    """Inside vmap."""
    modules = [Once(make(4, 6, 5)).eval() for _ in range(2)]
    weights, _ = torch.func.stack_module_state(modules)
    together = torch.func.vmap(lambda own: torch.func.functional_call(modules[0], own, ()))(weights)
    torch.testing.assert_close(together, torch.stack([module() for module in modules]))


# --- refusals ---


def test_a_memory_of_no_positions() -> None:
    memory = Read.of(torch.zeros(2, 0, 3), torch.zeros(2, 0, 3), torch.tensor([0, 0]))
    assert MonotonicAttention(2, 3, 3).begin(memory).shape == (2, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LocationAttention(4, 6, 5, kernel=4), "kernel is 4, .* Give for instance kernel=5"),
        (lambda: LocationAttention(4, 6, 5, filters=0), "LocationAttention: filters is 0"),
        (lambda: MonotonicAttention(0, 6, 5), "MonotonicAttention: query is 0"),
        (lambda: ChunkwiseAttention(4, 6, 5, chunk=0), "ChunkwiseAttention: chunk is 0"),
        (lambda: chunkwise_weights(torch.ones(3), torch.ones(3), 0), "chunk is 0"),
        (lambda: rnn_seq2seq(9, vocabulary=7, attention="chunkwise", chunk=0), "rnn_seq2seq: chunk is 0"),
        (
            lambda: rnn_seq2seq(9, vocabulary=7, attention="monotonic", chunk=3),
            'chunk is 3, but attention is "monotonic", which reads no chunks',
        ),
        (lambda: rnn_seq2seq(9, vocabulary=7, attention="monoton"), "Did you mean 'monotonic'"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make()
