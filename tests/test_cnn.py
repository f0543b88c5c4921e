"""The convolutional family: knobs, residual links and norms by name; the defaults are the network they always were."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.core.errors import RecipeError
from thalweg.diagnosis.growth import bigger_siblings, runs
from thalweg.nn import PowerNorm, SpatialTransformer, cnn, mlp, normalization
from thalweg.nn.cnn import Residual
from thalweg.nn.normalization import CENTERED, NORMS

IMAGES = torch.randn(7, 2, 11, 9, generator=torch.Generator().manual_seed(0))


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.modules() if not isinstance(module, nn.Sequential)]


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


# --- the network ------------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_network_they_always_were():
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
        )  # fmt: skip

    torch.manual_seed(3)
    by_hand = nn.Sequential(block(2, 16), block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    drawn = torch.rand(1)
    torch.manual_seed(3)
    model = cnn(2, 5)
    assert torch.equal(torch.rand(1), drawn)
    assert list(model.state_dict()) == list(by_hand.state_dict())
    assert all(
        torch.equal(one, other)
        for one, other in zip(model.state_dict().values(), by_hand.state_dict().values(), strict=True)
    )
    assert torch.equal(model(IMAGES), by_hand(IMAGES))


@pytest.mark.parametrize("convolutions", [1, 2, 3, 5])
@pytest.mark.parametrize("residual", [False, True])
def test_a_block_has_so_many_convolutions_before_its_pooling(convolutions: int, residual: bool):
    model = cnn(2, 3, width=5, depth=2, convolutions=convolutions, residual=residual)
    for block in model[:2]:
        inner = block[:-1] if not residual else [link.inner for link in block[:-1]]
        assert sum(kinds(part).count("Conv2d") for part in inner) == convolutions
        assert isinstance(block[-1], nn.MaxPool2d)
    assert model(IMAGES).shape == (7, 3)


def test_padding_says_how_much_is_lost_at_the_border():
    sizes = [tuple(cnn(2, 3, depth=1, padding=padding, pool=None)[0](IMAGES).shape[2:]) for padding in (None, 0, 1, 2)]
    assert sizes == [(11, 9), (7, 5), (11, 9), (15, 13)]


def test_a_residual_block_is_what_the_paper_writes():
    block = cnn(2, 3, width=5, depth=1, residual=True)[0][0]
    convolution, norm, _, second, second_norm = block.inner
    projection, third_norm = block.shortcut
    hidden = second_norm(second(norm(convolution(IMAGES)).clamp(min=0)))
    torch.testing.assert_close(block(IMAGES), (hidden + third_norm(projection(IMAGES))).clamp(min=0))
    assert projection.kernel_size == (1, 1)
    assert kinds(block).count("ReLU") == 2  # the last one comes after the sum


def test_links_are_identities_where_the_shape_stays():
    model = cnn(6, 3, width=6, depth=2, convolutions=4, residual=True)
    shortcuts = [link.shortcut for block in model[:2] for link in block if isinstance(link, Residual)]
    assert [isinstance(shortcut, nn.Identity) for shortcut in shortcuts] == [True, True, False, True]
    strided = cnn(6, 3, width=6, depth=1, residual=True, stride=2)
    assert strided(torch.randn(2, 6, 9, 5)).shape == (2, 3)
    assert not isinstance(strided[0][0].shortcut, nn.Identity)


def test_a_residual_network_with_silent_convolutions_passes_its_input_on():
    link = cnn(4, 3, width=4, depth=1, residual=True, norm=None)[0][0]
    for weight in link.inner.parameters():
        nn.init.zeros_(weight)
    x = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(link(x), x)


@pytest.mark.parametrize("norm", [None, *NORMS])
@pytest.mark.parametrize("residual", [False, True])
def test_every_norm_trains_takes_any_size_and_is_traced(norm: str | None, residual: bool):
    model = cnn(2, 3, width=8, depth=2, norm=norm, residual=residual)
    traced = torch.fx.symbolic_trace(model.eval())
    for size in ((11, 9), (4, 5), (23, 6)):
        x = torch.randn(3, 2, *size)
        assert model(x).shape == (3, 3)
        torch.testing.assert_close(traced(x), model(x), rtol=0, atol=0)
    model.train()(IMAGES).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    biased = [layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert set(biased) == {norm not in CENTERED}


@pytest.mark.parametrize("norm", [*CENTERED, "layer"])
def test_a_bias_before_a_norm_that_takes_the_mean_away_is_idle(norm: str):
    layer = normalization(norm, 16, dims=2)
    x, shift = torch.randn(5, 16, 6, 6), torch.randn(16, 1, 1)
    assert torch.allclose(layer(x), layer(x + shift), atol=1e-5) is (norm in CENTERED)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"convolutions": 0}, "cnn: convolutions is 0, but it must be a whole number of at least 1"),
        ({"padding": -1}, "cnn: padding is -1, but it must be a whole number of at least 0"),
        ({"padding": 0, "residual": True}, "padding is 0, which changes an image's size, .* Give padding=1, or leave"),
        ({"norm": "grup"}, "cnn: norm is 'grup', but .* Did you mean 'group'"),
    ],
)
def test_knobs_out_of_range_say_how_to_mend(knobs: dict[str, Any], said: str):
    with pytest.raises(RecipeError, match=said):
        cnn(3, 2, **knobs)


# --- norms by name ----------------------------------------------------------------------------------------------------


def by_hand(x: torch.Tensor, over: tuple[int, ...], centered: bool = True, eps: float = 1e-5) -> torch.Tensor:
    """(x - mean) / sqrt(variance + eps) over some axes."""
    mean = x.mean(over, keepdim=True) if centered else 0.0
    return (x - mean) / ((x - mean).square().mean(over, keepdim=True) + eps).sqrt()


SHAPES = {0: (5, 16), 1: (5, 7, 16), 2: (5, 16, 3, 4)}
OVER: dict[tuple[str, int], tuple[int, ...]] = {
    ("batch", 0): (0,), ("batch", 1): (0, 1), ("batch", 2): (0, 2, 3),
    ("layer", 0): (1,), ("layer", 1): (2,), ("layer", 2): (1, 2, 3),
    ("instance", 1): (1,), ("instance", 2): (2, 3),
    ("rms", 0): (1,), ("rms", 1): (2,), ("rms", 2): (1,),
}  # fmt: skip


@pytest.mark.parametrize(("name", "dims"), OVER)
def test_a_norm_is_over_the_axes_that_its_name_means(name: str, dims: int):
    x = 3 * torch.randn(SHAPES[dims]) + 1
    own = normalization(name, 16, dims)(x)
    torch.testing.assert_close(own, by_hand(x, OVER[name, dims], name != "rms"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", SHAPES)
def test_group_norm_is_over_eight_features_or_more(dims: int):
    x = torch.randn(SHAPES[dims])
    first = x.movedim(1 if dims == 2 else -1, 1)
    parts = first.unflatten(1, (2, 8))
    expected = by_hand(parts, tuple(range(2, parts.dim()))).flatten(1, 2).movedim(1, 1 if dims == 2 else -1)
    torch.testing.assert_close(normalization("group", 16, dims)(x), expected, rtol=1e-4, atol=1e-5)


def test_an_mlp_has_them_too():
    for norm in ("group", "rms", "power"):
        model = mlp(6, 3, width=16, depth=2, norm=norm)
        model(torch.randn(4, 6)).sum().backward()
        assert model[1].bias is not None
    assert isinstance(model[2], PowerNorm)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: normalization("batsh", 3), "name is 'batsh', but it must be one of .* Did you mean 'batch'"),
        (lambda: normalization("batch", 0), "normalization: features is 0"),
        (lambda: normalization("batch", 3, dims=3), r"dims is 3, but it is 0 for \(batch, features\), 1 for"),
        (lambda: normalization("instance", 3), "'instance' is over the positions of one example, .* Use 'layer'."),
    ],
)
def test_a_norm_that_is_not_there_is_said(call: Any, said: str):
    with pytest.raises(RecipeError, match=said):
        call()


# --- in a recipe ------------------------------------------------------------------------------------------------------

X, Y = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3


def recipe(model: Any, **changes: Any) -> Recipe:
    return Recipe(
        data=Splits(train=(X, Y)), model=model, objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01), batch_size=8, epochs=2,
    ).but(**changes)  # fmt: skip


ALL = ["4 x as wide", "one hidden layer more", "16 x as wide"]


@pytest.mark.parametrize("norm", ["batch", "power"])
def test_a_residual_network_grows_by_its_knobs(norm: str):
    siblings = dict(bigger_siblings(recipe(partial(cnn, 1, 3, width=4, residual=True, norm=norm)), (X, Y)))
    assert list(siblings) == ALL
    assert all(runs(sibling, (X, Y)) for sibling in siblings.values())


@pytest.mark.parametrize(
    "model",
    [
        lambda: cnn(1, 3, width=8, norm="group"),
        lambda: cnn(1, 3, width=8, norm="instance"),
        lambda: cnn(1, 3, width=8, norm="layer"),
        lambda: cnn(1, 3, width=8, norm="rms"),
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3), cnn(8, 3, width=8, depth=1, residual=True)),
        lambda: cnn(1, 3, width=4, residual=True),
        lambda: cnn(1, 3, width=4, norm="power"),
    ],
)
def test_one_without_knobs_is_grown_by_its_layers(model: Any):
    names = [name for name, _ in bigger_siblings(recipe(model), (X, Y))]
    assert names == [ALL[0], "one convolution more", *ALL[1:]]


@pytest.mark.parametrize("norm", ["group", "power"])
def test_settings_of_a_recipe_reach_the_network(norm: str):
    chosen = thalweg.load("digits", assignments=[f"model.{knob}" for knob in SAID] + [f"model.norm={norm}", "epochs=1"])
    run = thalweg.train(chosen)
    assert run.status is thalweg.Outcome.FINISHED
    assert kinds(run.last).count("Residual") == 1
    assert kinds(run.last).count({"group": "GroupNorm", "power": "PowerNorm"}[norm]) == 3


SAID = ["kind=cnn", "residual=true", "depth=1", "width=4"]


@pytest.mark.parametrize("kind", ["affine", "attention", "rotation"])
def test_a_spatial_transformer_goes_first_and_begins_as_nothing(kind: str) -> None:
    net, x = cnn(3, 5, width=4, transformer=kind), torch.rand(2, 3, 9, 11)
    assert isinstance(net[0], SpatialTransformer)
    assert net[0].kind == kind
    assert torch.equal(net[0](x), x)
    assert net(x).shape == (2, 5)
    with pytest.raises(RecipeError, match="transformer is 'afine'"):
        cnn(3, 5, transformer="afine")
