"""Siblings of networks of all kinds: which are made, that they run and learn, and that nothing else is touched."""

import pickle
from functools import cache, partial
from typing import Any, cast

import pytest
import torch
from networks import NETWORKS, ROWS, EncoderWithClassToken, FixedReshape, LanguageModel, LastState, Mixer, plain
from torch import Tensor, nn

from thalweg import Recipe, Splits
from thalweg.core.objective import Moment, apply
from thalweg.core.step import Step
from thalweg.diagnosis.beginnings import batch_normed, initialized
from thalweg.diagnosis.growth import bigger_siblings, reinitialized, shallower, smaller_siblings
from thalweg.diagnosis.resizing import kind_of, resize
from thalweg.diagnosis.tracing import traced
from thalweg.diagnosis.widening import Resized, widened

WIDE, WIDEST, HIDDEN = "4 x as wide", "16 x as wide", "one hidden layer more"
BLOCK, LAYER, FILTERS = "one block more", "one recurrent layer more", "one convolution more"
QUARTER, HALF, FEWER = "1/4 as wide", "1/2 as wide", "half of its blocks"
BIGGER: dict[str, list[str]] = {
    "residual CNN": [BLOCK, HIDDEN],
    "packed LSTM tagger": [LAYER, HIDDEN],
    "GRU with a first state": [HIDDEN],
    "LSTM, time first": [LAYER, HIDDEN],
    "recurrent cell": [HIDDEN],
    "Transformer with a class token": [BLOCK, HIDDEN],
    "Transformer with a buffer of positions": [HIDDEN],
    "tied language model": [BLOCK, HIDDEN],
    "functionally tied language model": [LAYER],
    "attention by hand": [HIDDEN],
    "mixer": [BLOCK, HIDDEN],
    "U-Net": [FILTERS],
    "depthwise separable CNN": [FILTERS, HIDDEN],
    "CNN with a fixed reshape": [FILTERS, HIDDEN],
    "siamese": [],
    "two inputs": [HIDDEN],
    "convolutional autoencoder": [FILTERS],
    "gated residual": [HIDDEN],
    "two heads": [HIDDEN],
    "dilated convolutions": [FILTERS, HIDDEN],
    "lazy": [FILTERS, HIDDEN],
    "plain": [HIDDEN],
}
SHALLOW = {"residual CNN", "tied language model", "mixer"}
"""The networks with equal blocks that drop nothing."""
HARDLY_WIDER = {"CNN with a fixed reshape", "mixer"}
"""The networks of which a part cannot be wider."""


def recipe_of(name: str) -> Recipe:
    make, batch = NETWORKS[name]
    return Recipe(data=Splits(train=batch), model=make, objective=loss_of(batch))


def loss_of(batch: Any) -> nn.Module:
    return nn.MSELoss() if batch[1].is_floating_point() else nn.CrossEntropyLoss()


def size(model: nn.Module, batch: Any) -> int:
    apply(model, batch[0])  # lazy layers have no size before
    return sum(own.numel() for own in model.parameters())


@cache
def siblings(name: str) -> tuple[dict[str, Recipe], dict[str, Recipe]]:
    recipe, batch = recipe_of(name), NETWORKS[name][1]
    state = torch.random.get_rng_state()
    both = dict(bigger_siblings(recipe, batch)), dict(smaller_siblings(recipe, batch))
    assert bool((torch.random.get_rng_state() == state).all())
    return both


@pytest.mark.parametrize("name", NETWORKS)
def test_the_siblings_of(name: str) -> None:
    bigger, smaller = siblings(name)
    assert list(bigger) == [WIDE, *BIGGER[name], WIDEST]
    assert [one for one in smaller if one != QUARTER] == [HALF, *([FEWER] if name in SHALLOW else [])]


@pytest.mark.parametrize("name", NETWORKS)
def test_siblings_run_and_learn_and_are_of_another_size(name: str) -> None:
    make, batch = NETWORKS[name]
    bigger, smaller = siblings(name)
    own = make()
    before, shape = size(own, batch), apply(own, batch[0]).shape
    for change, sibling in (bigger | smaller).items():
        model = sibling.model()
        assert apply(model, batch[0]).shape == shape
        assert (size(model, batch) > before) == (change in bigger)
        loss = Step(model, sibling.objective).train()(batch, Moment(training=True))[0]
        loss.backward()
        assert all(own.grad is not None for own in model.parameters()), change
    wide = size(bigger[WIDE].model(), batch)
    assert wide > (3 if name in HARDLY_WIDER else 8) * before


@pytest.mark.parametrize("name", NETWORKS)
def test_factories_pickle_as_their_own_do(name: str) -> None:
    bigger, smaller = siblings(name)
    for sibling in (bigger | smaller).values():
        again = pickle.loads(pickle.dumps(sibling.model))
        assert again == sibling.model
        assert repr(again) == repr(sibling.model) != repr(NETWORKS[name][0])


def widen(model: Any, batch: Any, factor: int = 4) -> Any:
    factory = widened(Recipe(data=Splits(train=batch), model=model, objective=loss_of(batch)), batch, factor)
    assert factory is not None
    return factory()


def test_a_recurrent_network_keeps_what_it_is() -> None:
    model = widen(LastState, NETWORKS["GRU with a first state"][1])
    assert (model.gru.input_size, model.gru.hidden_size, model.gru.num_layers) == (3, 28, 2)
    assert (model.gru.batch_first, model.gru.dropout, model.hidden_size) == (True, 0.1, 28)
    assert (model.head.in_features, model.head.out_features) == (28, 4)


def test_a_transformer_grows_with_its_positions_and_keeps_its_heads() -> None:
    model = widen(EncoderWithClassToken, NETWORKS["Transformer with a class token"][1])
    (layer, _) = model.encoder.layers
    assert (layer.self_attn.embed_dim, layer.self_attn.num_heads, layer.self_attn.head_dim) == (32, 2, 16)
    assert (layer.linear1.in_features, layer.linear1.out_features, layer.linear2.out_features) == (32, 48, 32)
    assert (model.token.shape, model.positions.shape) == ((1, 1, 32), (1, 10, 32))
    assert float(model.token.detach().abs().max()) == 0  # as it began
    assert 0.01 < float(model.positions.detach().std()) < 0.03


def test_tied_weights_stay_tied_and_numbers_grow() -> None:
    model = widen(LanguageModel, NETWORKS["tied language model"][1])
    assert model.head.weight is model.wte.weight
    assert model.wte.weight.shape == (11, 32)
    assert [block.attn.n_embd for block in model.h] == [32, 32]
    assert model.h[0].attn.mask.shape == (16, 16)


def test_what_is_tied_to_the_data_stays_and_the_rest_grows() -> None:
    model = widen(FixedReshape, NETWORKS["CNN with a fixed reshape"][1])
    assert (model.conv1.out_channels, model.conv2.in_channels, model.conv2.out_channels) == (16, 16, 6)
    assert (model.fc1.in_features, model.fc1.out_features, model.fc2.in_features) == (24, 40, 40)
    mixer = widen(Mixer, NETWORKS["mixer"][1])
    assert [layer.out_features for layer in mixer.blocks[0].tokens if isinstance(layer, nn.Linear)] == [20, 16]


def test_a_bottleneck_is_opened_by_itself() -> None:
    def net() -> nn.Module:
        return nn.Sequential(
            nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 1), nn.Tanh(), nn.Linear(1, 12), nn.Linear(12, 4)
        )

    (name, opened), *_ = bigger_siblings(
        Recipe(data=Splits(train=PLAIN), model=net, objective=nn.CrossEntropyLoss()), PLAIN
    )
    assert name == "its narrowest layer as wide as the next"
    assert [layer.out_features for layer in opened.model() if isinstance(layer, nn.Linear)] == [12, 12, 12, 4]


PLAIN = NETWORKS["plain"][1]


def test_a_wider_one_is_offered_twice_as_wide_where_four_times_is_too_dear() -> None:
    recipe = Recipe(data=Splits(train=PLAIN), model=plain, objective=nn.CrossEntropyLoss())

    def cheap(one: Recipe) -> bool:
        return not isinstance(one.model, Resized) or one.model.change == "2 x as wide"

    assert [name for name, _ in bigger_siblings(recipe, PLAIN, cheap)][:2] == ["2 x as wide", WIDE]


def test_depth_comes_last_where_width_helps() -> None:
    recipe = Recipe(data=Splits(train=PLAIN), model=plain, objective=nn.CrossEntropyLoss())
    assert [name for name, _ in bigger_siblings(recipe, PLAIN, width_helps=lambda: True)] == [WIDE, WIDEST, HIDDEN]


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...], int | None, nn.Module]] = {
    "linear": (nn.Linear(3, 5, bias=False), (7,), 11, nn.Linear(7, 11, bias=False)),
    "filters": (
        nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, padding_mode="reflect"), (8,), 12,
        nn.Conv2d(8, 12, 3, stride=2, padding=1, dilation=2, groups=2, padding_mode="reflect"),
    ),
    "depthwise": (nn.Conv1d(4, 8, 3, groups=4), (6,), None, nn.Conv1d(6, 12, 3, groups=6)),
    "transposed": (
        nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1), (5,), 7,
        nn.ConvTranspose2d(5, 7, 3, stride=2, output_padding=1),
    ),
    "projected": (nn.LSTM(3, 8, proj_size=4, bias=False), (5,), 16, nn.LSTM(5, 16, proj_size=8, bias=False)),
    "elman": (nn.RNN(3, 4, nonlinearity="relu"), (3,), 8, nn.RNN(3, 8, nonlinearity="relu")),
    "cell": (nn.GRUCell(3, 4), (5,), 8, nn.GRUCell(5, 8)),
    "attention": (
        nn.MultiheadAttention(6, 3, dropout=0.1, kdim=4, vdim=5, batch_first=True), (4, 4, 4), None,
        nn.MultiheadAttention(4, 2, dropout=0.1, kdim=4, vdim=4, batch_first=True),
    ),
    "bilinear": (nn.Bilinear(2, 3, 4), (5, 7), 8, nn.Bilinear(5, 7, 8)),
    "bag": (nn.EmbeddingBag(9, 4, mode="sum", padding_idx=0), (), 8, nn.EmbeddingBag(9, 8, mode="sum", padding_idx=0)),
    "groups": (nn.GroupNorm(4, 8, affine=False), (6,), None, nn.GroupNorm(2, 6, affine=False)),
    "layer norm": (nn.LayerNorm((3, 4), bias=False), (5, 6), None, nn.LayerNorm((5, 6), bias=False)),
    "batch norm": (nn.BatchNorm2d(3, momentum=0.3), (5,), None, nn.BatchNorm2d(5, momentum=0.3)),
    "slopes": (nn.PReLU(3), (5,), None, nn.PReLU(5)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_other_sizes_is_torchs_own(name: str) -> None:
    layer, inner, outer, expected = LAYERS[name]
    resize(layer.double().eval(), inner, outer)
    assert repr(layer) == repr(expected)
    assert {key: own.shape for key, own in layer.state_dict().items()} == {
        key: own.shape for key, own in expected.state_dict().items()
    }
    assert not layer.training
    assert {own.dtype for own in layer.parameters()} <= {torch.float64}
    assert layer(*inputs_of(name, inner)) is not None


def inputs_of(name: str, inner: tuple[int, ...]) -> tuple[Tensor, ...]:
    if name == "bag":
        return (torch.ones(2, 3, dtype=torch.int64),)
    places = {"filters": (9, 9), "depthwise": (9,), "transposed": (4, 4), "batch norm": (3, 3)}.get(name, ())
    if name in ("projected", "elman", "attention"):
        return tuple(torch.randn(2, 3, each, dtype=torch.float64) for each in inner)
    if name == "layer norm":
        return (torch.randn(2, *inner, dtype=torch.float64),)
    return tuple(torch.randn(2, each, *places, dtype=torch.float64) for each in inner)


def test_frozen_layers_stay_frozen_and_strangers_are_left_alone() -> None:
    layer = nn.Linear(3, 4).requires_grad_(False)
    resize(layer, (3,), 8)
    assert not layer.weight.requires_grad
    assert kind_of(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))) is None

    class Masked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 4)
            self.register_buffer("mask", torch.ones(4, 3))

    assert kind_of(Masked()) is None


def test_layers_that_meet_the_output_are_told_by_the_gradients() -> None:
    def lasts(name: str) -> list[str]:
        trace = traced(recipe_of(name), NETWORKS[name][0](), NETWORKS[name][1])
        assert trace is not None
        return [layer.name for layer in trace.layers if layer.last]

    assert lasts("two heads") == ["one", "other"]
    assert lasts("mixer") == ["head"]
    assert lasts("functionally tied language model") == ["gru"]


def deep(count: int, drop: float = 0.0) -> nn.Module:
    blocks = [module for _ in range(count) for module in (nn.Linear(6, 6), nn.Sigmoid(), nn.Dropout(drop))]
    return nn.Sequential(nn.Linear(3, 6), nn.Sigmoid(), *blocks, nn.Linear(6, 4))


def halving() -> nn.Module:
    """Blocks that change the shape of what they get: half of them is another network."""
    blocks = (nn.Sequential(nn.Conv1d(1, 1, 1), nn.AvgPool1d(2, 1)) for _ in range(2))
    return nn.Sequential(nn.Unflatten(1, (1, 3)), *blocks, nn.Flatten(), nn.LazyLinear(4))


def of(model: Any) -> Recipe:
    return Recipe(data=Splits(train=PLAIN), model=model, objective=nn.CrossEntropyLoss())


def test_half_of_the_blocks_where_the_whole_can_do_without_the_others() -> None:
    half = shallower(of(partial(deep, 7)), PLAIN)
    assert half is not None
    assert sum(isinstance(layer, nn.Linear) for layer in half.model()) == 1 + 3 + 1
    assert shallower(of(partial(deep, 7, 0.5)), PLAIN) is None  # it drops less, which is no question of training
    assert shallower(of(plain), PLAIN) is None
    assert shallower(of(halving), PLAIN) is None


def test_layers_begin_anew_as_torch_does() -> None:
    def tiny() -> nn.Module:
        net = nn.GRU(3, 7, batch_first=True)
        for own in net.parameters():
            nn.init.constant_(own, 1e-6)
        return nn.Sequential(nn.Unflatten(1, (1, 3)), net, Last(), nn.Linear(7, 4))

    anew = reinitialized(of(tiny), PLAIN)
    assert anew is not None
    spread = anew.model()[1].weight_hh_l0.detach().std()
    assert float(spread) == pytest.approx(7**-0.5 / 3**0.5, rel=0.2)


class Last(nn.Module):
    def forward(self, given: Any) -> Tensor:
        last: Tensor = given[0][:, -1]
        return last


@pytest.mark.parametrize(("kind", "deviation"), [(nn.ReLU, (2 / 200) ** 0.5), (nn.Tanh, 5 / 3 * (1 / 200) ** 0.5)])
def test_weights_are_drawn_for_the_activation(kind: type[nn.Module], deviation: float) -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 200), kind(), nn.Linear(200, 200), kind(), nn.Linear(200, 4))

    begun = initialized(of(net), PLAIN)
    assert begun is not None
    model = begun.model()
    assert float(model[2].weight.detach().std()) == pytest.approx(deviation, rel=0.05)
    assert float(model[4].weight.detach().std()) == pytest.approx((2 / 204) ** 0.5, rel=0.1)
    assert not any(bool(model[place].bias.any()) for place in (0, 2, 4))


def test_batch_norm_goes_behind_hidden_layers() -> None:
    normed = batch_normed(of(plain), PLAIN)
    assert normed is not None
    assert [type(layer).__name__ for layer in normed.model()] == [
        "Sequential",
        "ReLU",
        "Dropout",
        "Sequential",
        "ReLU",
        "Linear",
    ]
    assert batch_normed(normed, PLAIN) is None
    assert normed.model()(ROWS).shape == (9, 4)
    assert batch_normed(recipe_of("GRU with a first state"), NETWORKS["GRU with a first state"][1]) is None


def test_a_mask_that_is_given_by_place_keeps_attention_from_nothing() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.attention, self.head = nn.Linear(3, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x).transpose(0, 1)
            mask = torch.zeros(x.shape[:2], dtype=torch.bool)
            return self.head(self.attention(hidden, hidden, hidden, mask)[0].mean(0))

    batch = torch.randn(6, 4, 3), torch.arange(6) % 2
    factory = widened(Recipe(data=Splits(train=batch), model=Masked, objective=nn.CrossEntropyLoss()), batch, 2)
    assert factory is not None
    assert cast(Any, factory()).attention.embed_dim == 16
