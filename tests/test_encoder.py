"""The encoder against torch's own with copied weights, gathered batch statistics, gradients, and padding."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from causality import reads, reads_ahead
from torch import Tensor, nn

import thalweg
from thalweg.core.errors import DataError, RecipeError
from thalweg.nn import Encoder, EncoderLayer, SequenceNorm, encoder, pool_over
from thalweg.nn.masks import edge_mask, present
from thalweg.nn.positions import SinusoidalPositions

BATCH, LENGTH, FEATURES, WIDTH, HEADS = 4, 7, 3, 12, 2
LENGTHS = torch.tensor([7, 4, 1, 0])
VECTORS = partial(encoder, 5, inputs=FEATURES, width=WIDTH, heads=HEADS)


def sequences(length: int = LENGTH, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, length, FEATURES, dtype=torch.float64, generator=random)


def made(**settings: Any) -> Encoder:
    """With every parameter at random: norms begin as if they were not there, and biases as 0."""
    torch.manual_seed(1)
    model = VECTORS(**settings).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


class Through(nn.Module):
    """A norm that changes nothing."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x


def copied(layer: EncoderLayer, other: nn.TransformerEncoderLayer) -> None:
    state = {
        "self_attn.in_proj_weight": layer.attention.projections.weight,
        "self_attn.in_proj_bias": layer.attention.projections.bias,
        "self_attn.out_proj.weight": layer.attention.output.weight,
        "self_attn.out_proj.bias": layer.attention.output.bias,
    }
    pairs: tuple[tuple[str, nn.Module], ...] = (
        ("linear1", layer.feed_forward[0]), ("linear2", layer.feed_forward[-1]),
        ("norm1", layer.first_norm.norm), ("norm2", layer.second_norm.norm),
    )  # fmt: skip
    for name, module in pairs:
        state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    other.load_state_dict(state)


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_it_is_torchs_encoder_with_its_weights(order: str, activation: str) -> None:
    model, x, lengths = made(order=order, activation=activation, feed_forward=11), sequences(), LENGTHS.clamp(min=1)
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 11, dropout=0.0, batch_first=True, norm_first=order == "pre", activation=activation
    )
    norm = nn.LayerNorm(WIDTH) if order == "pre" else None
    theirs = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False).double()
    for own, other in zip(model.layers, theirs.layers, strict=True):
        copied(own, other)
    if norm is not None:
        norm.load_state_dict(model.norm.norm.state_dict())
    stream = model.positions(model.embedding(x) * present(lengths, LENGTH)[..., None])
    expected = theirs(stream, src_key_padding_mask=~present(lengths, LENGTH)) * present(lengths, LENGTH)[..., None]
    torch.testing.assert_close(model.encode(x, lengths), expected)
    pooled = expected.sum(1) / lengths[:, None]
    torch.testing.assert_close(model(x, lengths), model.head(pooled))


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "relative", "rotary", None])
@pytest.mark.parametrize("norm", ["layer", "rms", "batch", "power"])
@pytest.mark.parametrize("training", [True, False])
def test_more_padding_changes_nothing(positions: str | None, norm: str, training: bool) -> None:
    """Outputs, gradients, and the running values that training leaves; what stands in the padding is not read."""
    settings: dict[str, Any] = {"positions": positions, "norm": norm, "order": "post" if norm == "rms" else "pre"}
    x = sequences()
    beyond = torch.full_like(x, torch.nan)
    for head in ("sequence", "position"):
        short, long = (made(head=head, **settings).train(training) for _ in range(2))
        outputs = short(x, LENGTHS), long(torch.cat([x, beyond], 1), LENGTHS)
        if head == "position":
            assert (outputs[1][:, LENGTH:] == 0).all()
            outputs = outputs[0], outputs[1][:, :LENGTH]
        torch.testing.assert_close(outputs[1], outputs[0])
        for output in outputs:
            output.square().sum().backward()
        for one, other in zip(short.parameters(), long.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)
        for one, other in zip(short.buffers(), long.buffers(), strict=True):
            torch.testing.assert_close(one, other)


def test_batch_norm_is_that_of_the_positions_that_are_there() -> None:
    own, torchs = SequenceNorm("batch", FEATURES).double(), nn.BatchNorm1d(FEATURES).double()
    for norm in (own.norm, torchs):
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    there = present(LENGTHS, LENGTH)
    for seed in range(3):
        inputs = [sequences(seed=seed).requires_grad_() for _ in range(2)]
        outputs = own(inputs[0], there)[there], torchs(inputs[1][there])
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.pow(3).sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    assert own.norm.state_dict().keys() == torchs.state_dict().keys()
    for key, value in torchs.state_dict().items():
        torch.testing.assert_close(own.norm.state_dict()[key], value)
    x = sequences()
    before = own.norm.running_mean.clone()
    assert bool(own(x, torch.zeros_like(there)).isfinite().all())
    assert torch.equal(own.norm.running_mean, before)  # there was nothing to see
    torch.testing.assert_close(own(x), torchs(x.flatten(0, 1)).view(x.shape))
    torch.testing.assert_close(own.eval()(x, there)[there], torchs.eval()(x[there]))


def test_dropout_silences_what_comes_in_and_what_is_added_in_training_alone() -> None:
    torch.manual_seed(0)
    only = Encoder(nn.Identity(), [], nn.Identity(), positions=SinusoidalPositions(), pool=None, dropout=0.25)
    x = torch.randn(2, 300, WIDTH)
    whole = SinusoidalPositions()(x)
    kept = only(x) != 0
    torch.testing.assert_close(only.eval()(x), whole)
    assert float(kept.double().mean()) == pytest.approx(0.75, abs=0.03)
    for order in ("pre", "post"):
        for part in ("attention.output", "feed_forward.3"):
            layer = EncoderLayer(WIDTH, HEADS, order=order, dropout=0.25)
            layer.first_norm = layer.second_norm = Through()
            for name, weight in layer.named_parameters():
                nn.init.constant_(weight, float(name == f"{part}.bias"))
            added = layer(x, None) - x
            assert float((added.abs() < 1e-5).double().mean()) == pytest.approx(0.25, abs=0.03)
            torch.testing.assert_close(added[added.abs() > 1e-5], torch.full_like(added, 4 / 3)[added.abs() > 1e-5])
            torch.testing.assert_close(layer.eval()(x, None), x + 1)


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("positions", ["sinusoidal", "relative", "rotary"])
@pytest.mark.parametrize("window", [None, 2])
def test_a_causal_encoder_does_not_read_ahead(norm: str, positions: str, window: int | None) -> None:
    model = made(causal=True, norm=norm, head="position", positions=positions, window=window)
    seen = reads(model, sequences())
    assert not seen.triu(1).any()
    assert torch.equal(seen, torch.ones(LENGTH, LENGTH).tril().triu(-LENGTH if window is None else -4).bool())
    assert reads_ahead(made(norm=norm, head="position", positions=positions, window=window), sequences())


def test_statistics_of_the_batch_read_ahead() -> None:
    """Batch norm in training leaks the future into a causal encoder, in evaluation it does not; so does power norm."""
    for norm in ("batch", "power"):
        model = made(causal=True, norm=norm, head="position")
        assert reads_ahead(model, sequences()), norm
        assert not reads_ahead(model.eval(), sequences()), norm


def test_power_norm_reads_ahead_backward_alone_once_it_is_warm() -> None:
    model, x = made(causal=True, norm="power", head="position"), sequences()
    for module in model.modules():
        if isinstance(module, thalweg.nn.PowerNorm):
            module.warm_up = 0
    changed = x.clone()
    changed[:, 4:] += 1
    state = {key: value.clone() for key, value in model.state_dict().items()}
    first = model(x)[:, :4]
    model.load_state_dict(state)
    torch.testing.assert_close(model(changed)[:, :4], first)


def test_without_positions_the_order_is_not_seen() -> None:
    model, x = made(positions=None, head="position"), sequences()
    order = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x[:, order]), model(x)[:, order])
    whole = made(positions=None)
    torch.testing.assert_close(whole(x[:, order]), whole(x))
    assert not torch.allclose(made()(x[:, order]), made()(x))


@pytest.mark.parametrize("pool", ["mean", "max", "first", "last"])
def test_pooling_is_that_of_each_sequence(pool: str) -> None:
    x = sequences()
    by_hand = {
        "mean": lambda row: row.mean(0),
        "max": lambda row: row.max(0).values,
        "first": lambda row: row[0],
        "last": lambda row: row[-1],
    }[pool]
    rows = list(zip(x, LENGTHS, strict=True))
    expected = [by_hand(row[:length]) if length else torch.zeros(FEATURES).double() for row, length in rows]
    torch.testing.assert_close(pool_over(pool, x, LENGTHS), torch.stack(expected))
    torch.testing.assert_close(pool_over(pool, x), torch.stack([by_hand(row) for row in x]))
    assert pool_over(pool, x[:, :0]).tolist() == [[0.0] * FEATURES] * BATCH
    model = made(pool=pool)
    output = model(x, LENGTHS)
    torch.testing.assert_close(output[3], model.head.bias)  # the empty sequence
    assert bool(model(x[:, :0], torch.zeros(BATCH, dtype=torch.int64)).isfinite().all())


def test_tokens_vectors_and_images_go_in() -> None:
    tokens = torch.tensor([[4, 5, 6, 0], [7, 0, 0, 0]])
    model = encoder(5, vocabulary=9, width=8, heads=2)
    assert model(tokens, torch.tensor([3, 1])).shape == (2, 5)
    assert model(tokens.int()).shape == (2, 5)
    assert (model.embedding(tokens)[tokens == 0] == 0).all()
    images = torch.rand(2, 3, 8, 12)
    picture = encoder(5, inputs=3, patch=4, width=8, heads=2)
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(2, 6, 48)
    convolution = picture.embedding.convolution
    by_hand = patches @ convolution.weight.flatten(1).mT + convolution.bias
    torch.testing.assert_close(picture.embedding(images), by_hand)
    assert picture(images).shape == (2, 5)
    assert encoder(5, inputs=3, patch=4, head="position", width=8)(images).shape == (2, 6, 5)


def test_maps_are_what_each_layer_looks_at() -> None:
    for order in ("pre", "post"):
        model, x = made(order=order, causal=True), sequences()
        first, second = model.maps(x, LENGTHS)
        assert first.shape == second.shape == (BATCH, HEADS, LENGTH, LENGTH)
        stream = model.positions(model.embedding(x).masked_fill(~present(LENGTHS, LENGTH)[..., None], 0))
        own = model.layers[0].first_norm(stream) if order == "pre" else stream
        torch.testing.assert_close(first, model.layers[0].attention.attention(own, LENGTHS))
        torch.testing.assert_close(second.sum(3), present(LENGTHS, LENGTH)[:, None].expand(-1, HEADS, -1).double())
        assert (second.triu(1) == 0).all()


def test_a_mask_of_edges_makes_it_a_network_of_a_graph() -> None:
    edges = torch.tensor([[0, 1, *range(LENGTH)], [1, 2, *range(LENGTH)]])
    model = made(head="position", positions=None)
    seen = reads(lambda x: model(x, mask=edge_mask(edges, LENGTH)), sequences())
    assert seen[2].nonzero().flatten().tolist() == [0, 1, 2]  # two layers, two steps
    assert seen[3].nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("settings", [{}, {"norm": "batch", "order": "post"}, {"positions": "rotary", "causal": True}])
def test_it_computes_in_16_bits_by_autocast(settings: dict[str, Any]) -> None:
    model, x = made(**settings).float().eval(), sequences().float()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.encode(x, LENGTHS).dtype == torch.float32
        output = model(x, LENGTHS)
    torch.testing.assert_close(output.float(), model(x, LENGTHS), atol=0.2, rtol=0.05)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("pool", ["mean", "last"])
def test_seeds_are_stacked(pool: str) -> None:
    x, models = sequences(), [VECTORS(pool=pool).double() for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(models)

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(models[0], (parameters, buffers), (x, LENGTHS))

    stacked = torch.func.vmap(one)(parameters, buffers)
    torch.testing.assert_close(stacked, torch.stack([model(x, LENGTHS) for model in models]))


def test_it_is_built_on_no_device() -> None:
    with torch.device("meta"):
        model = VECTORS(positions="learned", norm="power")
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert model(torch.zeros(2, 3, FEATURES, device="meta")).shape == (2, 5)


@pytest.mark.battery
def test_it_compiles_without_breaks() -> None:
    """In a process of its own: the type checks of the tests cannot be traced."""
    script = Path(__file__).parent / "compiling_encoder.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def spans(count: int, seed: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Sequences of 3 to 9 tokens, and whether token 2 is among them."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 10, (count,), generator=random)
    tokens = torch.randint(3, 8, (count, 9), generator=random)
    tokens[torch.arange(count) % 2 == 0, 1] = 2
    return (tokens * present(lengths, 9), lengths), (torch.arange(count) % 2 == 0).long()


def test_it_is_trained_by_a_recipe() -> None:
    recipe = thalweg.Recipe(
        data=thalweg.Splits(train=spans(128, 0), validation=spans(80, 1)),
        model=partial(encoder, 2, vocabulary=8, width=16, depth=1, heads=2, pool="max"),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=3,
    )
    runs = [thalweg.train(recipe) for _ in range(2)]
    assert runs[0].status.good
    assert runs[0].history[-1]["validation_loss"] < 0.4
    assert runs[0].history[-1]["validation_loss"] == runs[1].history[-1]["validation_loss"]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: encoder(2), "inputs is None, vocabulary None and patch None, but it takes tokens"),
        (lambda: encoder(2, inputs=3, vocabulary=5), "inputs is 3, vocabulary 5"),
        (lambda: encoder(2, vocabulary=5, patch=2), "vocabulary 5 and patch 2"),
        (lambda: encoder(2, inputs=3, width=10), "encoder: heads is 4, which does not divide a width of 10"),
        (lambda: encoder(2, inputs=3, depth=-1), "depth is -1"),
        (lambda: encoder(0, inputs=3), "outputs is 0"),
        (lambda: encoder(2, inputs=3, norm="group"), "norm is 'group'"),
        (lambda: encoder(2, inputs=3, norm="lair"), "Did you mean 'layer'"),
        (lambda: encoder(2, inputs=3, order="before"), "order is 'before'"),
        (lambda: encoder(2, inputs=3, positions="rotery"), "Did you mean 'rotary'"),
        (lambda: encoder(2, inputs=3, head="token"), "head is 'token'"),
        (lambda: encoder(2, inputs=3, pool="meen"), "Did you mean 'mean'"),
        (lambda: encoder(2, inputs=3, activation="rellu"), "Did you mean 'relu'"),
        (lambda: encoder(2, inputs=3, dropout=1.0), "dropout is 1.0"),
        (lambda: encoder(2, inputs=3, feed_forward=0), "feed_forward is 0"),
        (lambda: encoder(2, inputs=3, window=True), "window is True"),
        (lambda: encoder(2, vocabulary=1), "vocabulary is 1"),
        (lambda: encoder(2, inputs=0), "inputs is 0"),
        (lambda: encoder(2, inputs=3, patch=0), "patch is 0"),
        (lambda: encoder(2, inputs=3, positions="learned", length=0), "length is 0"),
        (lambda: SequenceNorm("instance", 3), "name is 'instance'"),
        (lambda: made()(torch.zeros(2, 3)), r"shape \(batch, length, 3\), and was given float32 of shape \(2, 3\)"),
        (lambda: made()(torch.zeros(2, 5, 3).long()), "was given int64"),
        (lambda: made()([1, 2], LENGTHS), r"was given \[1, 2\]"),
        (lambda: made()(sequences(), torch.tensor([1, 2])), r"Encoder: lengths are int64 of shape \(2,\)"),
        (lambda: encoder(2, vocabulary=5)(torch.zeros(2, 3)), "takes tokens, int64 of shape"),
        (lambda: encoder(2, vocabulary=5)(torch.zeros(2, 3).to(torch.uint8)), "was given uint8"),
        (lambda: encoder(2, inputs=3, patch=4)(torch.zeros(2, 3, 8, 9)), "multiples of its patch, 4"),
        (lambda: encoder(2, inputs=3, patch=4)(torch.zeros(2, 1, 8, 8)), r"given float32 of shape \(2, 1, 8, 8\)"),
        (lambda: encoder(2, inputs=3, positions="learned", length=4)(torch.zeros(2, 5, 3)), "end at 4"),
        (lambda: pool_over("sum", sequences()), "name is 'sum'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(build: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        build()


def test_a_token_beyond_the_vocabulary_is_named() -> None:
    with pytest.raises(DataError, match="lie between -100 and 2, .*vocabulary=5, and give 0 to padding"):
        encoder(2, vocabulary=5)(torch.tensor([[2, -100]]))
    assert encoder(2, vocabulary=5)(torch.tensor([[2, -100]]), torch.tensor([1])).shape == (1, 2)
    with pytest.raises(DataError, match="lie between 1 and 9, but the network knows 0 to 4.*vocabulary=10"):
        encoder(2, vocabulary=5)(torch.tensor([[1, 9]]))
