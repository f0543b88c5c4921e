"""Models from sequence to sequence: steps against the whole, beams, padding, copies, empty sources, small tasks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import naive
import pytest
import torch
from sequence_pairs import (
    LENGTHS,
    SOURCES,
    TARGETS,
    as_decoded,
    batch,
    made,
    read,
    recurrent,
    searched,
    small,
    stepped,
    written,
)
from torch import Tensor, nn

from thalweg.core.decoder import BeamDecoder
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.objective import Moment
from thalweg.core.tokens import END, PADDING, START, UNKNOWN
from thalweg.loss import Tagging
from thalweg.nn import MultiHeadAttention, lighter, rnn_seq2seq, transformer
from thalweg.nn.copying import copies_of, mixture
from thalweg.nn.light import LARGE, for_many_steps


def copies(name: str) -> bool:
    return "copying" in name


MODELS: dict[str, Callable[..., nn.Module]] = {
    "sinusoidal": small,
    "learned": partial(small, positions="learned", length=9),
    "relative, post": partial(small, positions="relative", order="post"),
    "rotary": partial(small, positions="rotary"),
    "none, tied to the source": partial(small, positions=None, vocabulary=TARGETS, tied="all"),
    "batch norm": partial(small, norm="batch", order="post", activation="gelu"),
    "power norm": partial(small, norm="power", tied=None),
    "rms norm, copying": partial(small, norm="rms", copying=True),
    "relative, copying": partial(small, positions="relative", copying=True, order="post"),
    "gru": recurrent,
    "lstm, dot": partial(recurrent, cell="lstm", depth=2, attention="dot"),
    "gru, copying": partial(recurrent, copying=True),
    "rnn": partial(recurrent, cell="rnn"),
    "gru, trees": partial(recurrent, brackets=(5, 6)),
}
all_models = pytest.mark.parametrize("name", MODELS)


@all_models
def test_steps_are_the_whole_at_once(name: str) -> None:
    model, x = MODELS[name](), batch(copies(name))
    whole = model(**x)
    assert isinstance(model, BeamDecoder)
    assert bool(whole.isfinite().all())
    there = x["prefix"] != PADDING
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            steps = stepped(model, x)
        assert steps.requires_grad == gradients
        torch.testing.assert_close(steps[there], as_decoded(whole)[there], atol=1e-10, rtol=0)
    narrow = {key: value.float() if value.is_floating_point() else value for key, value in x.items()}
    model.float()
    with torch.no_grad():
        whole = as_decoded(model(**narrow))
        torch.testing.assert_close(stepped(model, narrow)[there], whole[there], atol=1e-5, rtol=0)


@all_models
def test_beams_are_what_their_tokens_say(name: str) -> None:
    """Whatever beam goes on from whichever, and when an example leaves: as if read from the beginning."""
    model, x = MODELS[name](), read(batch(copies(name)))
    with torch.no_grad():
        for scores, examples, past in searched(model, x, beams=3, steps=7):
            inputs = {key: part[examples] for key, part in x.items()}
            torch.testing.assert_close(scores, as_decoded(model(**inputs, prefix=past))[:, -1, : scores.shape[1]])


def test_a_cache_that_is_full_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.nn.decoding_cache.FIRST_ROOM", 2)
    test_beams_are_what_their_tokens_say("relative, post")
    test_steps_are_the_whole_at_once("sinusoidal")


@pytest.mark.parametrize("name", ["relative, post", "rotary", "rms norm, copying", "lstm, dot"])
def test_steps_can_be_differentiated(name: str) -> None:
    x = batch(copies(name))
    gradients = []
    for way in (lambda model: model(**x), lambda model: stepped(model, x)):
        model = MODELS[name]()
        scores = as_decoded(way(model)).log_softmax(2)[x["prefix"] != PADDING]
        scores[scores > -torch.inf].square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    "name", ["sinusoidal", "relative, post", "rms norm, copying", "gru", "batch norm", "power norm"]
)
@pytest.mark.parametrize("training", [True, False])
def test_more_padding_changes_nothing(name: str, training: bool) -> None:
    """Neither scores, gradients nor running values; what stands where the source is padded is not read."""
    x = batch(copies(name))
    longer = x | {"source": torch.cat([x["source"], torch.full((4, 3), 7)], 1)}
    longer["prefix"] = torch.cat([x["prefix"], torch.full((4, 2), PADDING)], 1)
    if copies(name):
        longer["copies"] = torch.cat([x["copies"], torch.zeros(4, 3, dtype=torch.int64)], 1)
    there, models = x["prefix"] != PADDING, [MODELS[name]().train(training) for _ in range(2)]
    outputs = models[0](**x), models[1](**longer)
    torch.testing.assert_close(outputs[1][:, :6][there], outputs[0][there])
    torch.testing.assert_close(outputs[1][:, :6], outputs[0])
    for output in outputs:
        output[:, :6][there].square().sum().backward()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for one, other in zip(models[0].buffers(), models[1].buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", [name for name in MODELS if not copies(name)])
def test_scores_at_padding_have_no_gradient(name: str) -> None:
    """Only the last layer's bias moves them."""
    model, x = MODELS[name](), batch()
    model(**x)[x["prefix"] == PADDING].square().sum().backward()
    moved = {key for key, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}
    assert moved == {"output.bias"}


@pytest.mark.parametrize("name", ["sinusoidal", "relative, post", "rms norm, copying", "lstm, dot", "gru, copying"])
@pytest.mark.parametrize("positions", [0, 2])
def test_a_batch_of_empty_sources(name: str, positions: int) -> None:
    model, x = MODELS[name](), batch(copies(name))
    prefix = x["prefix"].clamp(max=TARGETS - 1)
    empty = {"source": torch.zeros(4, positions, dtype=torch.int64), "lengths": torch.zeros(4, dtype=torch.int64)}
    if copies(name):
        empty["copies"] = empty["source"]
    output = model(**empty, prefix=prefix)
    output.log_softmax(2)[prefix != PADDING].square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    assert bool(output.isfinite().all())
    mixed = {key: torch.cat([part, part]) for key, part in (x | {"prefix": prefix}).items()}
    for key, part in empty.items():
        mixed[key][4:] = 0 if part.dim() == 1 or not part.numel() else torch.zeros(4, 7)
    torch.testing.assert_close(model(**mixed)[4:, :, :TARGETS], output)
    torch.testing.assert_close(stepped(model, empty | {"prefix": prefix})[prefix != PADDING], output[prefix != PADDING])


@all_models
def test_later_tokens_change_nothing_before(name: str) -> None:
    model, x = MODELS[name](), batch(copies(name))
    other = x | {"prefix": x["prefix"].clone()}
    other["prefix"][0, 4] = 9 if int(x["prefix"][0, 4]) != 9 else 10
    before, after = model(**x), model(**other)
    torch.testing.assert_close(after[0, :4], before[0, :4])
    assert not torch.equal(after[0, 4], before[0, 4])
    assert torch.equal(after[1:], before[1:])


@all_models
def test_maps_say_where_it_looked(name: str) -> None:
    model, x = MODELS[name](), batch(copies(name))
    found = model.maps(**x)
    there = (x["prefix"] != PADDING) & (LENGTHS > 0)[:, None]
    for maps in found:
        assert maps.shape == (4, 1 if "gru" in name or name in ("rnn", "lstm, dot") else 2, 6, 7)
        torch.testing.assert_close(maps.sum(3), there[:, None].to(maps.dtype).expand(maps.shape[:3]))
        assert bool((maps[1, ..., 3:] == 0).all())
    state = model.encode(**read(x))
    for place, tokens in enumerate(x["prefix"].unbind(1)):
        _, state = model.step(state, tokens)
        weights, seen = model.attended(state)
        assert torch.equal(seen, torch.arange(7) < LENGTHS[:, None])
        row = there[:, place]
        torch.testing.assert_close(weights[row], found[-1][:, :, place].mean(1)[row])


def test_a_decoder_of_relative_positions_sees_order() -> None:
    """Without positions, two tokens of the past that are exchanged are the same past; with them they are not."""
    for positions, same in ((None, True), ("relative", False), ("rotary", False), ("sinusoidal", False)):
        model = small(positions=positions, depth=1)
        x = read(batch())
        scores = [
            model(**x, prefix=torch.tensor([[START, *pair, 7]]).expand(4, -1))[:, -1] for pair in ((5, 6), (6, 5))
        ]
        assert torch.allclose(*scores) == same


@pytest.mark.parametrize("order", ["pre", "post"])
def test_it_is_torchs_decoder_with_its_weights(order: str) -> None:
    model, x = small(order=order, depth=1), batch()
    lengths = LENGTHS.clamp(min=1)
    layer: Any = nn.TransformerDecoderLayer(
        12, 2, 17, dropout=0.0, batch_first=True, norm_first=order == "pre"
    ).double()
    own: Any = model.layers[0]
    attentions: dict[str, MultiHeadAttention] = {"self_attn": own.attention, "multihead_attn": own.cross}
    state = {}
    for name, attention in attentions.items():
        state |= {
            f"{name}.in_proj_weight": attention.projections.weight, f"{name}.in_proj_bias": attention.projections.bias,
            f"{name}.out_proj.weight": attention.output.weight, f"{name}.out_proj.bias": attention.output.bias,
        }  # fmt: skip
    parts = {"linear1": own.feed_forward[0], "linear2": own.feed_forward[-1], "norm1": own.first_norm.norm,
             "norm2": own.second_norm.norm, "norm3": own.third_norm.norm}  # fmt: skip
    for name, module in parts.items():
        state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    layer.load_state_dict(state)
    memory = model.encoder.encode(x["source"], lengths)
    stream = model.positions(model.embedding(x["prefix"]))
    mask = torch.ones(6, 6, dtype=torch.bool).triu(1)
    theirs = layer(
        stream, memory, mask, memory_key_padding_mask=torch.arange(7) >= lengths[:, None], tgt_is_causal=True
    )
    theirs = model.output(theirs if model.norm is None else model.norm(theirs))
    there = x["prefix"] != PADDING
    torch.testing.assert_close(model(**x | {"lengths": lengths})[there], theirs[there])


def test_vectors_may_come_in() -> None:
    """Such as frames of a recording; NaN in their padding is not read."""
    for factory in (transformer, rnn_seq2seq):
        model = made(factory, vocabulary=None, inputs=3, width=8)
        x = batch()
        x["source"] = torch.randn(4, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        x["source"][torch.arange(7) >= LENGTHS[:, None]] = torch.nan
        output = model(**x)
        assert output.shape == (4, 6, TARGETS)
        assert bool(output.isfinite().all())
        there = x["prefix"] != PADDING
        torch.testing.assert_close(stepped(model, x)[there], output[there])


# --- copying ---


def test_copying_is_the_mixture_of_each_position() -> None:
    x = batch(copying=True)["copies"]
    random = torch.Generator().manual_seed(0)
    scores, gate = torch.randn(4, 5, TARGETS, generator=random), torch.randn(4, 5, generator=random)
    weights = torch.rand(4, 5, 7, generator=random).masked_fill(x[:, None] == PADDING, 0.0).double()
    weights /= weights.sum(2, keepdim=True).clamp(min=1e-9)
    known = copies_of(x, TARGETS, (4, 7))
    assert known.width == TARGETS + 2
    found = mixture(scores.double(), gate.double(), weights, known).exp()
    for example in range(4):
        for place in range(5):
            generates = 1.0 if example == 2 else float(gate[example, place].double().sigmoid())
            expected = naive.copied(
                scores[example, place].tolist(), generates, weights[example, place].tolist(), x[example].tolist(),
                TARGETS, TARGETS + 2,
            )  # fmt: skip
            torch.testing.assert_close(found[example, place], torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(found.sum(2), torch.ones(4, 5, dtype=torch.float64))


@pytest.mark.parametrize("gate", [-200.0, 0.0, 200.0])
def test_copying_has_finite_gradients_at_the_ends(gate: float) -> None:
    """A gate that is shut, a token that is impossible, weights that are 0, a token that only another example has."""
    known = copies_of(torch.tensor([[5, 6, 5], [4, 0, 0]]), 6, (2, 3))
    parts = [
        torch.tensor([[[0.0, 0.0, 0.0, 0.0, 0.0, -400.0]], [[300.0, 0.0, 0.0, 0.0, 0.0, 0.0]]]),
        torch.full((2, 1), gate),
        torch.tensor([[[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]]),
    ]
    for part in parts:
        part.requires_grad_()
    found = mixture(parts[0], parts[1], parts[2], known)
    assert bool(found.isfinite().all())
    found.sum().backward()
    assert all(part.grad is not None and bool(part.grad.isfinite().all()) for part in parts)
    torch.testing.assert_close(found.exp().sum(2), torch.ones(2, 1))


@pytest.mark.parametrize("name", ["rms norm, copying", "gru, copying"])
def test_what_is_copied_is_shown(name: str) -> None:
    model, x = MODELS[name](), batch(copying=True)
    weights, generated = model.copied(**x)
    scores = model(**x)
    assert weights.shape == (4, 6, 7)
    unknown = weights[0, :, [0, 5]].sum(1) * (1 - generated[0])
    torch.testing.assert_close(scores[0, :, TARGETS].exp(), unknown)


# --- what is learned, and how much there is ---


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_tables_that_are_tied_count_once() -> None:
    width, hidden, depth = 12, 17, 2
    attention = 4 * width * width + 4 * width
    network = 2 * width * hidden + hidden + width
    layers = depth * (3 * attention + 2 * network + 5 * 2 * width) + 2 * 2 * width
    build = partial(transformer, TARGETS, width=width, heads=2, feed_forward=hidden, depth=depth)
    assert parameters(build(vocabulary=SOURCES)) == layers + (SOURCES + TARGETS) * width + TARGETS
    assert parameters(build(vocabulary=SOURCES, tied=None)) == layers + (SOURCES + 2 * TARGETS) * width + TARGETS
    model = build(vocabulary=TARGETS, tied="all")
    assert parameters(model) == layers + TARGETS * width + TARGETS
    assert model.output.weight is model.embedding.table.weight is model.encoder.embedding.table.weight
    pointer = 2 * (width * width + width) + 3 * width + 1
    assert parameters(build(vocabulary=SOURCES, copying=True)) - parameters(build(vocabulary=SOURCES)) == pointer


def test_a_new_model_knows_nothing() -> None:
    """The first loss is that of a guess, tied or not: scores begin small."""
    torch.manual_seed(0)
    x = batch()
    for tied in ("output", None):
        scores = transformer(500, vocabulary=SOURCES, width=64, tied=tied)(**x).detach()
        assert 0.1 < float(scores[x["prefix"] != PADDING].std()) < 1.5


Task = Callable[[torch.Generator, int], tuple[dict[str, Tensor], Tensor]]


def turned_round(random: torch.Generator, count: int) -> tuple[dict[str, Tensor], Tensor]:
    """Four digits in, the same from the last to the first out."""
    source = torch.randint(4, 10, (count, 4), generator=random)
    prefix = torch.cat([torch.full((count, 1), START), source.flip(1)], 1)
    target = torch.cat([source.flip(1), torch.full((count, 1), END)], 1)
    return {"source": source, "lengths": torch.full((count,), 4), "prefix": prefix}, target


def last_unknown(random: torch.Generator, count: int) -> tuple[dict[str, Tensor], Tensor]:
    """Four words in, two of which no vocabulary has: those two come out, in their order."""
    known = torch.randint(4, 10, (count, 4), generator=random)
    places = torch.rand(count, 4, generator=random).topk(2).indices.sort(1).values
    source = known.scatter(1, places, UNKNOWN)
    copies = known.scatter(1, places, torch.tensor([[10, 11]]).expand(count, 2))
    target = torch.tensor([[10, 11, END]]).repeat(count, 1)
    prefix = torch.tensor([[START, 10, 11]]).repeat(count, 1)
    return {"source": source, "lengths": torch.full((count,), 4), "prefix": prefix, "copies": copies}, target


def right(model: nn.Module, task: Task) -> float:
    """The share of new examples that come out exactly."""
    x, y = task(torch.Generator().manual_seed(9), 100)
    expected = [[token for token in row if token != END] for row in y.tolist()]
    found = written(model.eval(), read(x), y.shape[1])
    return sum(one == other for one, other in zip(found, expected, strict=True)) / len(expected)


@pytest.mark.battery
@pytest.mark.parametrize(
    ("factory", "task", "steps"),
    [
        (partial(transformer, width=64, depth=1, tied=None), turned_round, 100),
        (partial(transformer, width=32, heads=2, depth=1, copying=True), last_unknown, 60),
        (partial(rnn_seq2seq, width=32, copying=True), last_unknown, 60),
    ],
)
def test_a_small_task_is_learned_exactly(factory: Callable[..., nn.Module], task: Task, steps: int) -> None:
    torch.manual_seed(0)
    random, objective = torch.Generator().manual_seed(0), Tagging(label_smoothing=0.01)
    model = factory(10, vocabulary=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / steps)
        optimizer.zero_grad()
        losses = objective(model, task(random, 32), Moment(training=True))
        (losses.value * losses.weight).sum().div(losses.weight.sum()).backward()
        optimizer.step()
    assert right(model, task) >= 0.98


# --- a lighter copy ---


@pytest.mark.parametrize("numbers", ["int8", "bfloat16"])
@pytest.mark.parametrize("name", ["sinusoidal", "rms norm, copying", "gru, copying"])
def test_a_lighter_copy_says_almost_the_same(numbers: str, name: str) -> None:
    model, x = MODELS[name](dtype=torch.float32), batch(copies(name))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    light = lighter(model, numbers)
    with torch.no_grad():
        whole, steps, plain = light(**x), stepped(light, x), model(**x)
    there = x["prefix"] != PADDING
    torch.testing.assert_close(
        steps[there], as_decoded(whole)[there], atol=0.2, rtol=0
    )  # rounded by the range of other vectors
    off = (whole - plain)[there]
    assert 0 < float(off.square().mean().sqrt()) < 0.1 * float(plain[there].std())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in light.parameters())


# --- errors ---


def test_what_a_batch_lacks_is_said() -> None:
    plain, copying = small(), small(copying=True)
    x, with_copies = batch(), batch(copying=True)
    with pytest.raises(RecipeError, match=r"does not say what can be copied. Give it copies="):
        copying(**x)
    with pytest.raises(RecipeError, match=r"the model copies nothing. Build the model with copying=True"):
        plain(**with_copies)
    with pytest.raises(RecipeError, match=r"copies are int64 of shape \(4, 6\), .* \(4, 7\)"):
        copying(**with_copies | {"copies": with_copies["copies"][:, :6]})
    with pytest.raises(RecipeError, match="copies nothing. Build it with copying=True"):
        plain.copied(**x, copies=None)
    with pytest.raises(RecipeError, match="copies nothing. Build it with copying=True"):
        recurrent().copied(**x, copies=None)
    with pytest.raises(DataError, match="Tokens lie between 0 and 15, but the network knows 0 to 12"):
        plain(**x | {"prefix": torch.tensor([[2, 15, 0]]).repeat(4, 1)})
    with pytest.raises(RecipeError, match="takes tokens"):
        plain(**x | {"prefix": torch.zeros(4, 3)})
    with pytest.raises(RecipeError, match="lengths are"):
        plain(**x | {"lengths": torch.tensor([1, 2])})
    learned = small(positions="learned", length=5)
    with pytest.raises(RecipeError, match="learned positions end at 5"):
        stepped(learned, x)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({}, "inputs is None and vocabulary is None, but it is one of them"),
        ({"vocabulary": 9, "inputs": 3}, "but it is one of them"),
        ({"vocabulary": 9, "depth": 0}, "depth is 0"),
        ({"vocabulary": 1}, "vocabulary is 1"),
    ],
)
def test_knobs_out_of_range(knobs: dict[str, Any], words: str) -> None:
    for factory in (transformer, rnn_seq2seq):
        with pytest.raises(RecipeError, match=words):
            factory(13, **knobs)


@pytest.mark.parametrize(
    ("factory", "knobs", "words"),
    [
        (transformer, {"outputs": 1}, "outputs is 1"),
        (rnn_seq2seq, {"outputs": 1}, "outputs is 1"),
        (transformer, {"width": 10}, "heads is 4, which does not divide a width of 10"),
        (transformer, {"tied": "al"}, "tied is 'al', .* Did you mean 'all'"),
        (transformer, {"tied": "all"}, "tied is 'all', but the source has vocabulary=9 and the target outputs=13"),
        (transformer, {"positions": "sinus"}, "positions is 'sinus'"),
        (transformer, {"norm": "group"}, "norm is 'group'"),
        (transformer, {"order": "before"}, "order is 'before'"),
        (transformer, {"activation": "rely"}, "activation is 'rely'"),
        (transformer, {"dropout": 1.0}, "dropout is 1.0"),
        (rnn_seq2seq, {"cell": "gruu"}, "cell is 'gruu'"),
        (rnn_seq2seq, {"attention": "add"}, "attention is 'add'"),
        (rnn_seq2seq, {"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_other_knobs_out_of_range(factory: Callable[..., nn.Module], knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        factory(**({"outputs": 13, "vocabulary": 9} | knobs))


@pytest.mark.parametrize("bias", [True, False])
def test_layers_for_many_steps_are_the_same_layers(bias: bool) -> None:
    """Small or large, in whole or in part; one that is hooked is still called."""
    torch.manual_seed(0)
    for outputs in (6, 2**17):
        layer, x = nn.Linear(8, outputs, bias=bias), torch.randn(3, 8)
        assert (8 * outputs >= LARGE) == (outputs > 6)
        with torch.no_grad():
            torch.testing.assert_close(for_many_steps(layer)(x), layer(x))
            torch.testing.assert_close(for_many_steps(layer, 2, 5)(x), layer(x)[:, 2:5])
    called = []
    layer.register_forward_hook(lambda *_: called.append(1))
    for_many_steps(layer)(x)
    assert called


def test_a_lighter_copy_knows_its_numbers() -> None:
    with pytest.raises(RecipeError, match="numbers is 'int4'"):
        lighter(nn.Linear(3, 2), "int4")
    with pytest.raises(RecipeError, match=r"the model is on meta, but 8-bit products are the CPU's. Move it with"):
        lighter(nn.Linear(3, 2, device="meta"), "int8")
