"""Receptive fields: closed forms, and every unit of random networks against the gradient's support."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

import thalweg
from thalweg.core.errors import DataError, RecipeError
from thalweg.measure import effective_field, gradient_support, receptive_field
from thalweg.nn import cnn


class Residual(nn.Module):
    """x + body(x), cut to the smaller of the two where the body shrinks it; written into in place where asked."""

    def __init__(self, body: nn.Module, in_place: bool = False) -> None:
        super().__init__()
        self.body, self.in_place = body, in_place

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.in_place:
            y += x
            return y
        return x + y


class Beside(nn.Module):
    """The outputs of two paths, channel by channel."""

    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([path(x) for path in self.paths], 1)


class Turned(nn.Module):
    """A layer on the transposed image."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(2, 3).contiguous()).transpose(2, 3)


class Does(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def random_layer(draw: random.Random, channels: int, deep: int = 0) -> nn.Module:
    """A layer that keeps the channels."""
    kernel = (draw.choice([1, 2, 3, 5]), draw.choice([1, 3, 4]))
    stride, dilation = (
        (draw.choice([1, 1, 2]), draw.choice([1, 1, 3])),
        (draw.choice([1, 1, 2]), draw.choice([1, 1, 3])),
    )
    padding = (draw.randrange(0, 3), draw.randrange(0, 3))
    small = (min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2))
    same = draw.choice([1, 3, 5])
    mode = draw.choice(["reflect", "replicate", "circular"])
    kinds: list[Any] = [
        lambda: nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=draw.choice([1, channels])),
        lambda: nn.Conv2d(channels, channels, 3, 1, 1, padding_mode=mode),
        lambda: nn.MaxPool2d(kernel, stride, small, dilation, ceil_mode=draw.random() < 0.5),
        lambda: nn.AvgPool2d(kernel, stride, small, ceil_mode=draw.random() < 0.5),
        lambda: nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True)),
        lambda: nn.Upsample(scale_factor=2, mode=draw.choice(["nearest", "bilinear", "bicubic"])),
        lambda: nn.ConvTranspose2d(channels, channels, kernel, stride, small),
        lambda: nn.AdaptiveAvgPool2d((draw.choice([3, 5]), draw.choice([4, 7]))),
        lambda: nn.AdaptiveMaxPool2d(draw.choice([2, 5])),
        lambda: nn.ZeroPad2d((0, 1, 2, 0)),
        lambda: Does(lambda x: x[:, :, 1:, :-1] if min(x.shape[2:]) > 3 else x),
        lambda: Turned(nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))),
        lambda: Does(lambda x: torch.roll(x, 1, 2).flip(3)),
        lambda: Does(lambda x: functional.silu(functional.channel_shuffle(x, 2))),
        lambda: nn.Conv2d(channels, channels, same, padding=same // 2, dilation=1),
    ]
    if deep < 2:
        kinds += [
            lambda: Residual(same_size(draw, channels), draw.random() < 0.5),
            lambda: nn.Sequential(
                Beside(same_size(draw, channels), nn.Identity()), nn.Conv2d(2 * channels, channels, 1)
            ),
            lambda: nn.Sequential(random_layer(draw, channels, deep + 1), random_layer(draw, channels, deep + 1)),
        ]
    made: nn.Module = draw.choice(kinds)()
    return made


def same_size(draw: random.Random, channels: int) -> nn.Module:
    kernel, gap = draw.choice([1, 3, 5]), draw.choice([1, 2])
    down = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(channels, channels, 3, padding=1))
    plain = nn.Conv2d(channels, channels, kernel, padding=gap * (kernel // 2), dilation=gap)
    return draw.choice([down, nn.Sequential(plain, nn.GELU())])


def random_net(seed: int) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """A network whose image stays within what can be looked at unit by unit."""
    draw = random.Random(seed)
    shape = (2, draw.randrange(9, 17), draw.randrange(9, 17))
    layers: list[nn.Module] = []
    x = torch.zeros(1, *shape)
    while len(layers) < 6:
        layer = random_layer(draw, 2).eval()
        try:
            y = layer(x)
        except RuntimeError:
            continue
        if min(y.shape[2:]) >= 1 and max(y.shape[2:]) <= 24:
            layers.append(layer)
            x = y
    return nn.Sequential(*layers), shape


@pytest.mark.parametrize("seed", range(25))
def test_every_unit_of_a_random_network_sees_what_its_gradient_says(seed: int) -> None:
    net, shape = random_net(seed)
    found = receptive_field(net, shape)
    assert not found.unknown, (net, found.unknown)
    draw = random.Random(seed)
    for name, row in [(str(place), found[str(place)]) for place in range(len(net))]:
        assert not row.measured
        if len(row.units) < 2:  # one unit of 1 x 1
            continue
        for position in [tuple(draw.randrange(n) for n in row.units) for _ in range(4)] + [(0, 0)]:
            support = gradient_support(net, shape, name, position)
            for axis in (0, 1):
                assert torch.equal(support.any(1 - axis), row.reach[axis][position[axis]] & support.any()), (
                    name,
                    position,
                )


def regular_net(seed: int) -> nn.Sequential:
    draw = random.Random(seed)
    layers: list[nn.Module] = []
    for _ in range(5):
        kernel, gap = draw.choice([1, 2, 3, 5]), draw.choice([1, 2])
        padding = draw.randrange(0, kernel)
        pool = nn.MaxPool2d(2, draw.choice([1, 2]))
        layers.append(
            draw.choice(
                [nn.Conv2d(1, 1, kernel, draw.choice([1, 2]), padding, gap), pool, Residual(same_size(draw, 1))]
            )
        )
    return nn.Sequential(*layers)


@pytest.mark.parametrize("seed", range(12))
def test_the_recurrence_is_what_the_gradient_says_in_the_middle_of_a_large_image(seed: int) -> None:
    net = regular_net(seed)
    row = receptive_field(net, (1, 260, 40))[""]
    middle = row.units[0] // 2
    support = gradient_support(net, (1, 260, 40), "", (middle, row.units[1] // 2)).any(1).nonzero().flatten()
    first, last = int(support[0]), int(support[-1])
    assert last - first + 1 == row.size[0]
    assert (first + last) / 2 == row.offset[0] + middle * row.stride[0]


def naive(layers: list[tuple[int, int, int, int]]) -> tuple[int, int, float]:
    """The closed form, r = 1 + sum of (k - 1) d times the product of the strides before it."""
    size, jump, start = 1, 1, 0.0
    for number, (kernel, _, padding, dilation) in enumerate(layers):
        before = 1
        for _, stride, _, _ in layers[:number]:
            before *= stride
        size += (kernel - 1) * dilation * before
        start -= padding * before
        jump = before * layers[number][1]
    return size, jump, start + (size - 1) / 2


@pytest.mark.parametrize("seed", range(10))
def test_a_chain_of_convolutions_follows_the_closed_form(seed: int) -> None:
    draw = random.Random(seed)
    layers = [
        (draw.choice([1, 3, 5, 7]), draw.choice([1, 2]), draw.choice([0, 1, 2]), draw.choice([1, 2])) for _ in range(4)
    ]
    net = nn.Sequential(*[nn.Conv2d(1, 1, k, s, p, d) for k, s, p, d in layers])
    row = receptive_field(net, (1, 300, 300)).layers[-1]
    assert (row.size[0], row.stride[0], row.offset[0]) == naive(layers)
    assert row.size[0] == row.size[1]


def test_known_networks_have_their_known_fields() -> None:
    pair = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    assert receptive_field(pair, (1, 9, 9))["1"].size == (5, 5)
    alexnet = nn.Sequential(
        nn.Conv2d(3, 8, 11, 4, 2),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 8, 5, padding=2),
        nn.MaxPool2d(3, 2),
        *[nn.Conv2d(8, 8, 3, padding=1) for _ in range(3)],
        nn.MaxPool2d(3, 2),
    )
    assert receptive_field(alexnet, (3, 224, 224)).layers[-2].size == (195, 195)  # Araujo et al. 2019, table 1
    assert receptive_field(alexnet, (3, 224, 224)).layers[-2].stride == (32, 32)
    vgg: list[nn.Module] = []
    for count in (2, 2, 3, 3, 3):
        vgg += [*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(count)), nn.MaxPool2d(2)]
    assert receptive_field(nn.Sequential(*vgg), (3, 224, 224)).last.size == (212, 212)
    net = cnn(1, 10, depth=2)
    assert thalweg.receptive_field(net, (1, 8, 8)).last.size == (16, 16)


class Bottleneck(nn.Module):
    """ResNet's, with the stride in the first convolution."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 2, 1, stride)
        self.second = nn.Conv2d(2, 2, 3, 1, 1)
        self.third = nn.Conv2d(2, 4, 1)
        self.short = nn.Conv2d(channels, 4, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.third(functional.relu(self.second(self.first(x)))) + self.short(x))


def test_resnet_50_sees_483_pixels() -> None:
    stages = [(3, 1), (4, 2), (6, 2), (3, 2)]
    blocks = [Bottleneck(4, stride if i == 0 else 1) for count, stride in stages for i in range(count)]
    net = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    field = receptive_field(net, (3, 224, 224))
    assert field.last.size == (483, 483)  # Araujo et al. 2019, table 1
    assert field.last.stride == (32, 32)
    assert field.layers[-2].layer == "18" or field.layers[-2].units == (1,)
    assert field["18"].size == (224, 224)


def test_paths_that_join_see_the_union() -> None:
    paths = Beside(nn.Conv2d(1, 1, (1, 7), padding=(0, 3)), nn.Conv2d(1, 1, (5, 1), padding=(2, 0)), nn.Identity())
    assert receptive_field(paths, (1, 20, 20))[""].size == (5, 7)
    gate = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), Does(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid()))
    found = receptive_field(gate, (2, 9, 11))
    assert (found["0"].size, found["1"].size) == ((3, 3), (9, 11))


class Tokens(nn.Module):
    """A small vision transformer."""

    def __init__(self, windows: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, 4)
        self.linear = nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)
        self.windows = windows

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(self.patches(x).flatten(2).transpose(1, 2))
        x = x.reshape(self.windows, -1, 8)
        x = self.attention(x, x, x)[0].reshape(1, -1, 8)
        return self.head(x.mean(1))


def test_tokens_see_patches_until_they_attend() -> None:
    found = receptive_field(Tokens(), (1, 16, 16))
    assert found["linear"].units == (16,)
    assert found["linear"].size == (4, 4)
    assert found.box("linear", (5,)) == (slice(4, 8), slice(4, 8))
    assert found["attention"].size == (16, 16)
    assert found["head"].size == (16, 16)
    assert not found.unknown
    windowed = receptive_field(Tokens(windows=2), (1, 16, 16))
    assert windowed["attention"].size == (8, 16)  # the upper or the lower half
    assert windowed["head"].size == (16, 16)


def test_attention_by_its_function_sees_all_tokens() -> None:
    def attend(x: Tensor) -> Tensor:
        y = x.flatten(2).transpose(1, 2)[:, None]
        return functional.scaled_dot_product_attention(y, y, y)[:, 0].transpose(1, 2).reshape(x.shape)

    found = receptive_field(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), Does(attend)), (1, 6, 7))
    assert not found.unknown
    assert found["1"].size == (6, 7)


def test_a_linear_layer_over_the_width_sees_rows() -> None:
    found = receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Linear(8, 8)), (1, 8, 8))
    assert found["1"].size == (3, 8)


def test_one_and_three_axes_are_followed_too() -> None:
    sound = nn.Sequential(nn.Conv1d(1, 1, 5, 2), nn.MaxPool1d(2), nn.Conv1d(1, 1, 3))
    assert receptive_field(sound, (1, 64)).layers[-2].size == (15,)
    volume = nn.Sequential(nn.Conv3d(1, 1, (1, 2, 3)), nn.AvgPool3d(2))
    assert receptive_field(volume, (1, 8, 9, 10))["1"].size == (2, 3, 4)
    assert gradient_support(volume, (1, 8, 9, 10), "1", (0, 0, 0)).sum() == 2 * 3 * 4


def test_what_has_no_rule_is_named_and_measured() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Does(lambda x: torch.fft.fft2(x).real), nn.Conv2d(1, 1, 3))
    found = receptive_field(net, (1, 8, 8))
    assert found.unknown == ("_fft_c2c",)
    assert not found["0"].measured
    assert found["2"].measured
    assert found["2"].size == (8, 8)
    assert str(found).endswith("operations without a rule: _fft_c2c")
    sliced = nn.Sequential(Does(lambda x: _shifted(x, torch.zeros(1, 1, 8, 8))), nn.Conv2d(1, 1, 3))
    assert receptive_field(sliced, (1, 8, 8))["1"].measured  # a part of a foreign tensor was written into
    shifted = nn.Sequential(Does(lambda x: _shifted(x, torch.zeros_like(x))), nn.Conv2d(1, 1, 3))
    assert receptive_field(shifted, (1, 8, 8)).box("1", (0, 0)) == (slice(0, 2), slice(0, 3))


def _shifted(x: Tensor, to: Tensor) -> Tensor:
    to[:, :, 1:] = x[:, :, :-1]
    return to


def test_views_of_what_is_written_into_are_not_guessed() -> None:
    def forward(x: Tensor) -> Tensor:
        y = x.clone()
        rows = y[:, :, :4]
        rows += functional.avg_pool2d(x, 3, 1, 1)[:, :, :4]
        return y

    assert receptive_field(Does(forward), (1, 8, 8))[""].measured


def test_the_model_stays_as_it_was() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 3)
    )
    net[0].eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    images, random_state = torch.rand(3, 1, 8, 8), torch.get_rng_state()
    receptive_field(net, (1, 8, 8))
    gradient_support(net, (1, 8, 8), "0", (1, 1))
    effective_field(net, images, "0")
    assert [module.training for module in net] == [False, True, True, True, True, True]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_effective_field_is_gaussian_and_grows_with_the_root_of_the_depth() -> None:
    def radius(depth: int) -> float:
        net = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(depth)])
        for layer in net:
            assert isinstance(layer, nn.Conv2d)
            nn.init.constant_(layer.weight, 1 / 9)
        found = effective_field(net, torch.rand(2, 1, 61, 61))
        assert found.side < receptive_field(net, (1, 61, 61)).last.size[0]
        return found.radius[0]

    for depth in (4, 16):  # the deviation of a sum of `depth` steps, each -1, 0 or 1
        assert radius(depth) == pytest.approx((depth * 2 / 3) ** 0.5, rel=1e-3)


def test_a_dead_unit_has_an_effective_field_of_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    nn.init.constant_(net[0].bias, -100.0)
    found = effective_field(net, torch.rand(2, 1, 9, 9))
    assert found.heat.max() == 0
    assert found.side == 0
    assert found.radius[0] != found.radius[0]


@pytest.mark.parametrize("shape", [(8, 8, -1), (3,), 32, (3, 8.0, 8), (1, 1, 1, 1, 1), None, (3, True, 8)])
def test_a_wrong_shape_is_said(shape: Any) -> None:
    with pytest.raises(RecipeError, match="shape of one image without the batch"):
        receptive_field(nn.Conv2d(3, 3, 3), shape)


def test_what_cannot_be_is_said() -> None:
    net = cnn(1, 3)
    with pytest.raises(RecipeError, match="not a torch.nn.Module, but a class or function that makes one"):
        receptive_field(cnn, (1, 8, 8))
    with pytest.raises(RecipeError, match="not a torch.nn.Module, but a str"):
        receptive_field("cnn", (1, 8, 8))
    with pytest.raises(DataError, match=r"cannot read images of shape \(1, 3, 8, 8\)"):
        receptive_field(net, (3, 8, 8))
    found = receptive_field(net, (1, 8, 8))
    with pytest.raises(RecipeError, match="no layer '3.flat'. Known: , 0, 0.0"):
        found["3.flat"]
    with pytest.raises(RecipeError, match=r"no unit at \(9, 9\): its units are 8 x 8"):
        found.box("0.0", (9, 9))
    with pytest.raises(RecipeError, match="no layer 'conv'. Known"):
        gradient_support(net, (1, 8, 8), "conv")
    with pytest.raises(RecipeError, match=r"position=\(1,\), but the layer '0.0' has 8 x 8 units"):
        gradient_support(net, (1, 8, 8), "0.0", (1,))
    with pytest.raises(RecipeError, match="has no units. Give position=None"):
        gradient_support(net, (1, 8, 8), "4", (1, 1))
    with pytest.raises(DataError, match="hold uint8 numbers"):
        effective_field(net, torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_lazy_layers_are_shown_an_image_first() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.LazyConv2d(4, 3))
    assert receptive_field(lazy, (1, 9, 9)).last.size == (5, 5)
    assert all(map(is_lazy, lazy.parameters()))  # left as it was
