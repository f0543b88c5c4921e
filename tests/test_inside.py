"""Looking inside: each picture against a naive twin or a known answer, and the model left as it was."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.randomness import Streams
from thalweg.measure import feature_maps, first_layer_filters, maximize, occlusion, saliency
from thalweg.measure.inside.filters import convolutions
from thalweg.nn import Prepared, cnn


def net(channels: int = 2, outputs: int = 3) -> nn.Module:
    torch.manual_seed(5)
    return cnn(channels, outputs, width=4, depth=2)


def images(count: int = 3, channels: int = 2, height: int = 9, width: int = 7) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(1))


# --- filters and maps -------------------------------------------------------------------------------------------------


def test_the_first_filters_are_a_copy_of_the_first_convolution() -> None:
    model = net()
    filters = first_layer_filters(model)
    assert torch.equal(filters, model[0][0].weight)
    filters.zero_()
    assert model[0][0].weight.abs().sum() > 0
    assert convolutions(model) == ["0.0", "0.3", "1.0", "1.3"]


def test_maps_are_what_the_layers_before_them_make() -> None:
    model, x = net(), images()
    model.eval()
    with torch.no_grad():
        by_hand = model[0][1](model[0][0](x))
    torch.testing.assert_close(feature_maps(model, x, "0.1"), by_hand)
    torch.testing.assert_close(feature_maps(model, x, ""), model(x))
    torch.testing.assert_close(feature_maps(model, x[1], "0.1"), by_hand[1:2])


def test_a_map_is_not_what_was_later_written_into_it() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True))
    assert bool((feature_maps(model, images(), "0") < 0).any())


# --- saliency ---------------------------------------------------------------------------------------------------------


def naive_saliency(model: nn.Module, x: Tensor, target: int, step: float = 1e-5) -> Tensor:
    """Central differences, pixel by pixel."""
    found = torch.zeros(x.shape)
    for place in np.ndindex(*x.shape):
        moved = [x.clone(), x.clone()]
        moved[0][place] += step
        moved[1][place] -= step
        above, below = (model(each)[place[0], target] for each in moved)
        found[place] = (above - below) / (2 * step)
    return found.abs().amax(1)


def test_saliency_is_the_slope_that_differences_find() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(60, 4)).double()
    x = images(2, 2, 7, 6).double()
    with torch.no_grad():
        expected = naive_saliency(copy.deepcopy(model).eval(), x, 2)
    torch.testing.assert_close(saliency(model, x, 2).double(), expected.double(), rtol=1e-5, atol=1e-8)


def test_each_image_has_its_own_target_and_the_largest_output_is_the_usual_one() -> None:
    model, x = net().eval(), images()
    guesses = model(x).argmax(1)
    assert torch.equal(saliency(model, x), saliency(model, x, guesses))
    each = saliency(model, x, [2, 0, 1])
    for place, target in enumerate((2, 0, 1)):
        torch.testing.assert_close(each[place], saliency(model, x[place], target)[0])


def test_smooth_saliency_is_the_mean_of_noisy_ones_and_seeded() -> None:
    model, x = net(), images()
    smooth = saliency(model, x, 1, samples=5, noise=0.2, seed=3)
    assert torch.equal(smooth, saliency(model, x, 1, samples=5, noise=0.2, seed=3))
    assert not torch.equal(smooth, saliency(model, x, 1, samples=5, noise=0.2, seed=4))
    torch.testing.assert_close(saliency(model, x, 1, samples=3, noise=0.0), saliency(model, x, 1))


def test_saliency_finds_the_only_pixel_that_counts() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 1, 2, 3], -(x[:, 0, 0, 0] ** 2)], 1)

    found = saliency(Corner(), images(), 0)
    assert found.nonzero()[:, 1:].tolist() == [[2, 3]] * 3
    assert saliency(nn.Sequential(nn.Flatten(), Constant()), images(), 0).sum() == 0


class Constant(nn.Module):
    """The same whatever the image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 2)


# --- occlusion --------------------------------------------------------------------------------------------------------


def naive_occlusion(model: nn.Module, image: Tensor, target: int, size: int, stride: int, fill: float) -> Tensor:
    """One square after the other on one image."""
    height, width = image.shape[1:]
    total, count = torch.zeros(height, width), torch.zeros(height, width)
    whole = model(image[None])[0, target]
    rows = sorted({*range(0, height - size + 1, stride), height - size})
    columns = sorted({*range(0, width - size + 1, stride), width - size})
    for i in rows:
        for j in columns:
            covered = image.clone()
            covered[:, i : i + size, j : j + size] = fill
            total[i : i + size, j : j + size] += whole - model(covered[None])[0, target]
            count[i : i + size, j : j + size] += 1
    return total / count


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 2), (4, 4), (5, 3), (7, 1)])
def test_occlusion_is_what_one_square_after_the_other_finds(
    size: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = net().eval(), images()
    monkeypatch.setattr("thalweg.measure.inside.cover.AT_ONCE", 7 * x.numel())
    found = occlusion(model, x, [2, 0, 1], size=size, stride=stride, fill=0.25)
    with torch.no_grad():
        expected = [naive_occlusion(model, x[i], target, size, stride, 0.25) for i, target in enumerate((2, 0, 1))]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-6)


def test_the_usual_cover_is_the_mean_of_each_channel() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    flat = torch.ones(1, 2, 8, 8) * torch.tensor([0.2, 0.9])[:, None, None]
    torch.testing.assert_close(occlusion(model, flat, 0), torch.zeros(1, 8, 8))
    bright = torch.zeros(1, 1, 8, 8)
    bright[..., :4] = 1.0
    found = occlusion(model, bright, 0, size=2)
    assert bool((found[0, :, :3] > 0).all() and (found[0, :, 5:] < 0).all())


# --- maximizing images ------------------------------------------------------------------------------------------------


def test_the_best_image_of_a_linear_filter_is_known() -> None:
    model = nn.Conv2d(2, 2, 1)
    nn.init.zeros_(model.bias)
    model.weight.data = torch.tensor([[1.0, -1.0], [-1.0, -2.0]])[:, :, None, None]
    found = maximize(model, "", [0, 1], (2, 5, 6), bounds=(-1.0, 3.0))
    torch.testing.assert_close(found.end, torch.tensor([4.0, 3.0]))  # 3 - (-1), and 1 + 2
    torch.testing.assert_close(found.images[0, 0], torch.full((5, 6), 3.0))
    torch.testing.assert_close(found.images[:, 1], torch.full((2, 5, 6), -1.0))


def test_maximizing_raises_the_activation_within_bounds_from_a_seeded_start() -> None:
    model = net()
    found = maximize(model, "1.3", list(range(8)), (2, 9, 7))
    assert bool((found.end > found.start).all())
    assert found.images.min() >= 0 and found.images.max() <= 1  # noqa: PT018
    again, other = (maximize(model, "1.3", list(range(8)), (2, 9, 7), seed=seed) for seed in (0, 1))
    assert torch.equal(found.images, again.images)
    assert not torch.equal(found.images, other.images)
    one = maximize(model, "1.3", 3, (2, 9, 7))
    torch.testing.assert_close(one.images[0], found.images[3], rtol=1e-3, atol=1e-3)
    measured = feature_maps(model, found.images, "1.3").mean((2, 3)).diagonal()
    torch.testing.assert_close(found.end, measured)


def test_smoothness_makes_images_smooth() -> None:
    def roughness(smoothness: float) -> float:
        found = maximize(net(), "0.3", [0, 1, 2, 3], (2, 16, 16), smoothness=smoothness).images
        return float((found[..., 1:] - found[..., :-1]).abs().mean())

    assert roughness(0.9) < 0.8 * roughness(0.0)


def test_an_output_can_be_maximized_and_a_dead_filter_cannot() -> None:
    model = net()
    assert bool((maximize(model, "", [0, 1, 2], (2, 9, 7)).end > maximize(model, "", [0, 1, 2], (2, 9, 7)).start).all())
    dead = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    nn.init.constant_(dead[0].bias, -1e3)
    found = maximize(dead, "1", 0, (1, 8, 8))
    assert (float(found.start), float(found.end)) == (0.0, 0.0)
    assert bool(found.images.isfinite().all())


# --- all of them ------------------------------------------------------------------------------------------------------

LOOKS: dict[str, Callable[[nn.Module, Any], Any]] = {
    "filters": lambda model, x: first_layer_filters(model),
    "maps": lambda model, x: feature_maps(model, x, "0.0"),
    "saliency": lambda model, x: saliency(model, x, samples=2),
    "occlusion": lambda model, x: occlusion(model, x),
    "maximize": lambda model, x: maximize(model, "0.0", 0, (2, 9, 7), steps=3),
}


class Counting(nn.Module):
    """A model that writes into a buffer, exchanges another, and draws random numbers at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("0", net()[0])
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = x.detach().mean().view(1)
        found: Tensor = self.get_submodule("0")(x).mean((2, 3)) + 0 * torch.rand(1)
        return found


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_leaves_the_model_as_it_was(name: str) -> None:
    model, x = Counting().train(), images()
    model.get_submodule("0.1").eval()
    modes = {part: module.training for part, module in model.named_modules()}
    parameter = next(model.parameters())
    parameter.grad = torch.ones_like(parameter)
    frozen = list(model.parameters())[1].requires_grad_(False)
    state, before, image = copy.deepcopy(model.state_dict()), Streams.now(), x.clone()
    LOOKS[name](model, x)
    after = Streams.now()
    assert {part: module.training for part, module in model.named_modules()} == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(parameter.grad, torch.ones_like(parameter))
    assert not frozen.requires_grad
    assert torch.equal(before.cpu, after.cpu)
    assert before.numpy[2] == after.numpy[2]  # the type checks of the tests draw from Python's own
    assert torch.equal(x, image)
    assert not x.requires_grad
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_works_without_gradients_in_double_in_wrappers_and_on_odd_memory(name: str) -> None:
    look, x = LOOKS[name], images()
    model = net()
    usual = look(model, x)
    strided = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for other in (x.double(), x.numpy(), strided):
        torch.testing.assert_close(tensor(look(model, other)), tensor(usual))
    with torch.no_grad():
        torch.testing.assert_close(tensor(look(model, x)), tensor(usual))
    with torch.inference_mode():
        torch.testing.assert_close(tensor(look(model, x)), tensor(usual))
    torch.testing.assert_close(tensor(look(net().double(), x)).float(), tensor(usual), rtol=1e-3, atol=1e-3)


def tensor(found: Any) -> Tensor:
    return found if isinstance(found, Tensor) else found.images


def test_wrapped_models_and_gray_images_of_one() -> None:
    wrapped = Prepared(lambda: net(1, 3), input_noise=0.3, standardize_examples=True)()
    image = images(1, 1)[0]
    assert saliency(wrapped, image).shape == occlusion(wrapped, image).shape == (1, 9, 7)
    assert first_layer_filters(wrapped).shape == (4, 1, 3, 3)
    number = nn.Sequential(net(1, 1), nn.Flatten(0))
    assert saliency(number, images(2, 1)).shape == (2, 9, 7)


@pytest.mark.parametrize("name", ["maps", "saliency", "occlusion"])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.rand(9, 7), r"these have \(9, 7\). A gray image"),
        (torch.rand(0, 2, 9, 7), r"these have \(0, 2, 9, 7\)"),
        (torch.zeros(1, 2, 9, 7, dtype=torch.uint8), "hold uint8 numbers.*images.float\\(\\) / 255"),
        (torch.full((1, 2, 9, 7), torch.nan), "not finite"),
        (torch.rand(1, 3, 9, 7), r"cannot read images of shape \(1, 3, 9, 7\)"),
    ],
)
def test_bad_images_are_refused(name: str, bad: Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        LOOKS[name](net(), bad)


def test_a_model_of_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        model = net()
    with pytest.raises(RecipeError, match="made in torch.inference_mode"):
        saliency(model, images())


def test_what_is_not_there_is_named_with_what_is() -> None:
    model, x = net(), images()
    for look in (lambda: feature_maps(model, x, "0.00"), lambda: maximize(model, "0.00", 0, (2, 9, 7))):
        with pytest.raises(RecipeError, match="no layer '0.00'. Did you mean '0.0'?"):
            look()
    with pytest.raises(RecipeError, match="no convolution over images"):
        first_layer_filters(nn.Linear(3, 2))
    with pytest.raises(RecipeError, match="not a torch.nn.Module, but a list"):
        saliency([model], x)
    unused = nn.Sequential(nn.Flatten(), nn.Linear(126, 2))
    unused.spare = nn.Conv2d(1, 1, 1)
    unused.forward = lambda x: nn.Sequential(unused[0], unused[1])(x)
    with pytest.raises(RecipeError, match="'spare' was not called"):
        feature_maps(unused, x, "spare")


@pytest.mark.parametrize("target", [3, -1, [0, 1], 1.5, [], True])
def test_a_target_that_is_no_output_is_refused(target: Any) -> None:
    with pytest.raises(RecipeError, match="number of an output, from 0 to 2, or one for each of the 3 images"):
        saliency(net(), images(), target)
    with pytest.raises(RecipeError, match="number of an output"):
        occlusion(net(), images(), target)


def test_outputs_that_are_no_rows_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"gives \(3, 4, 7, 5\) for 3 images, but"):
        saliency(nn.Conv2d(2, 4, 3), images())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "size=0, but it is a number of pixels"),
        ({"size": 8}, "size=8 is larger than the images of 9 x 7. Give at most size=7"),
        ({"size": 2, "stride": 3}, "leaves pixels between squares of size=2"),
        ({"stride": 1.5}, "stride=1.5, but"),
        ({"fill": float("nan")}, "fill=nan, but"),
        ({"fill": "black"}, "fill='black', but"),
    ],
)
def test_a_cover_that_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        occlusion(net(), images(), **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps=0, rate"),
        ({"rate": float("inf")}, "rate=inf"),
        ({"jitter": -1}, "jitter=-1"),
        ({"smoothness": 1.5}, "smoothness=1.5, but it is a share"),
        ({"bounds": (1, 1)}, r"bounds=\(1, 1\), but"),
        ({"bounds": 1}, "bounds=1, but"),
        ({"channel": 4}, "channel=4, but the layer '0.0' has the channels 0 to 3"),
        ({"channel": []}, r"channel=\[\] names no channel"),
        ({"channel": [0, -1]}, "channel=-1, but"),
        ({"input_shape": (9, 7)}, "cannot read images"),
        ({"input_shape": (2, 9, 0)}, "shape of one image"),
    ],
)
def test_a_maximizing_that_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    given = {"channel": 0, "input_shape": (2, 9, 7)} | settings
    with pytest.raises((RecipeError, DataError), match=words):
        maximize(net(), "0.0", **given)
    with pytest.raises(RecipeError, match="samples=-1"):
        saliency(net(), images(), samples=-1)
