"""The spatial transformer: the identity in the beginning, torch's own sampling, and it finds where to look."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import thalweg
from thalweg import RecipeError, Splits
from thalweg.core.warp import affine, warp
from thalweg.nn import SpatialTransformer, cnn, localization_net

KINDS = {"affine": 6, "attention": 3, "rotation": 1}


def images(batch: int = 3, channels: int = 2, height: int = 13, width: int = 20) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


def told(kind: str, *values: float, **knobs: Any) -> SpatialTransformer:
    """A layer whose parameters are these for every image."""
    layer = SpatialTransformer(2, kind=kind, **knobs)
    layer.localization[-1].bias = nn.Parameter(torch.tensor(values))
    return layer


@pytest.mark.parametrize("size", [(13, 20), (32, 32), (28, 28), (1, 1), (3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_it_begins_as_the_identity(kind: str, size: tuple[int, int]) -> None:
    x = images(height=size[0], width=size[1])
    assert torch.equal(SpatialTransformer(2, kind=kind)(x), x)
    own = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), KINDS[kind]))
    assert torch.equal(SpatialTransformer(own, kind=kind, padding="border")(x), x)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_of_a_square_it_is_the_papers_sampling(padding: str) -> None:
    x, theta = images(height=13, width=13), (0.8, 0.3, -0.2, -0.4, 1.1, 0.5)
    grid = F.affine_grid(torch.tensor(theta).view(1, 2, 3).expand(3, -1, -1), [3, 2, 7, 5], align_corners=False)
    expected = F.grid_sample(x, grid, padding_mode=padding, align_corners=False)
    assert torch.allclose(told("affine", *theta, size=(7, 5), padding=padding)(x), expected, atol=1e-5)


def test_attention_is_a_window() -> None:
    x = images(height=8, width=16)
    assert torch.allclose(told("attention", 0.5, 0.5, -0.5, size=(4, 8))(x), x[:, :, :4, 8:], atol=1e-6)


def test_a_rotation_turns_in_pixels() -> None:
    x = images()
    assert torch.allclose(told("rotation", 0.7)(x), warp(x, affine(angle=0.7 * 180 / torch.pi, batch=3)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_localization_network_and_the_image(kind: str) -> None:
    x = images().requires_grad_()
    layer = SpatialTransformer(2, kind=kind)
    layer(x).square().sum().backward()
    assert x.grad is not None
    assert bool((layer.localization[-1].bias.grad != 0).any())


def test_it_stands_between_layers_of_any_size() -> None:
    net = nn.Sequential(nn.Conv2d(2, 5, 3), SpatialTransformer(5, size=6), nn.Conv2d(5, 3, 3))
    assert net(images()).shape == (3, 3, 4, 4)
    assert net(images(1)).shape == (1, 3, 4, 4)


def spots(n: int) -> tuple[Tensor, Tensor]:
    """A standing or a lying bar of three pixels somewhere in an image of 16 x 16, and which it is."""
    random = torch.Generator().manual_seed(n)
    x, y = torch.zeros(n, 1, 16, 16), torch.arange(n) % 2
    rows, columns = torch.randint(2, 14, (2, n), generator=random)
    for step in (-1, 0, 1):
        x[torch.arange(n), 0, rows + step * y, columns + step * (1 - y)] = 1.0
    return x, y


def test_it_is_trained_and_comes_out_again() -> None:
    chosen = thalweg.Recipe(
        data=Splits(train=spots(200), validation=spots(100)),
        model=lambda: nn.Sequential(SpatialTransformer(1, kind="attention"), cnn(1, 2, width=4, depth=1)),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=2,
    )
    runs = [thalweg.train(chosen) for _ in range(2)]
    assert runs[0].status.good
    assert runs[0].history[-1]["validation_loss"] == runs[1].history[-1]["validation_loss"]
    bias = runs[0].last[0].localization[-1].bias
    assert not torch.equal(bias, torch.tensor([1.0, 0.0, 0.0]))


def test_it_finds_where_to_look() -> None:
    """A spot anywhere is brought to the middle, where nothing but the loss says that it is wanted."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(5)
    place = torch.rand(64, 2, generator=random) * 0.8 - 0.4
    axis = (torch.arange(16) - 7.5) / 8
    distance = (axis[:, None] - place[:, 1, None, None]) ** 2 + (axis - place[:, 0, None, None]) ** 2
    x, middle = torch.exp(-distance[:, None] / 0.08), torch.exp(-(axis[:, None] ** 2 + axis**2) / 0.08)
    layer = SpatialTransformer(1, kind="attention")
    layer(x)
    before = ((layer(x) - middle) ** 2).mean().item()
    optimizer = torch.optim.Adam(layer.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        ((layer(x) - middle) ** 2).mean().backward()
        optimizer.step()
    assert ((layer(x) - middle) ** 2).mean().item() < 0.05 * before
    moved = layer.matrices(x)[:, :, 2] / 8
    assert torch.allclose(moved, place, atol=0.08)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: SpatialTransformer(2, kind="afine"), "kind is 'afine'.*Did you mean 'affine'"),
        (lambda: SpatialTransformer(2, padding="zero"), "Did you mean 'zeros'"),
        (lambda: SpatialTransformer(2, size=0), r"size is 0, but it is \(height, width\)"),
        (lambda: SpatialTransformer(2, size=(3, 4, 5)), "size is"),
        (lambda: SpatialTransformer(0), "localization_net: channels is 0"),
        (lambda: SpatialTransformer("net"), "was given 'net', but it takes a localization network"),
        (lambda: SpatialTransformer(nn.Sequential(nn.Linear(3, 6), nn.Tanh())), r"ends in Tanh\(\)"),
        (lambda: SpatialTransformer(nn.Linear(3, 5)), r"out_features=5.*nn.Linear\(features, 6\)"),
        (lambda: SpatialTransformer(nn.Linear(3, 6, bias=False)), "linear layer with a bias"),
        (lambda: SpatialTransformer(nn.Sequential()), "linear layer with a bias"),
        (lambda: SpatialTransformer(nn.Linear(20, 6))(images()), r"gave \(3, 2, 13, 6\), but .* takes \(3, 6\)"),
        (lambda: localization_net(1, 6, width=0), "width is 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(made: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        made()
