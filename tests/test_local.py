"""Layers without sharing: with one kernel everywhere they are convolutions; the family has the same outputs thrice."""

from typing import Any

import pytest
import torch
from torch import nn

from thalweg.core.errors import RecipeError
from thalweg.core.threads import counting
from thalweg.nn import LocallyConnected2d, same_outputs, unshared
from thalweg.nn.local import CONNECTIONS


def naive(layer: LocallyConnected2d, x: torch.Tensor) -> torch.Tensor:
    """A loop over positions: each one's own weights times its region."""
    (rows, columns), (height, width) = layer.output_size, layer.kernel_size
    padded = nn.functional.pad(x, (layer.padding[1],) * 2 + (layer.padding[0],) * 2)
    output = torch.zeros(len(x), layer.out_channels, rows, columns)
    for row in range(rows):
        for column in range(columns):
            top, left = row * layer.stride[0], column * layer.stride[1]
            region = padded[:, :, top : top + height, left : left + width].flatten(1)
            output[:, :, row, column] = region @ layer.weight[row * columns + column].T
    return output if layer.bias is None else output + layer.bias


SHAPES: list[tuple[Any, Any, Any]] = [
    (3, 1, 0), (3, 1, 1), (3, 2, 1), (5, 3, 2), (1, 1, 0), ((3, 2), (2, 1), (1, 0)), ((7, 5), 1, 0), (2, 2, 0),
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_loop_over_positions(kernel: Any, stride: Any, padding: Any, bias: bool):
    layer = LocallyConnected2d(3, 5, (7, 9), kernel, stride, padding, bias=bias)
    x = torch.randn(4, 3, 7, 9)
    torch.testing.assert_close(layer(x), naive(layer, x), rtol=1e-5, atol=1e-6)
    assert layer(x[:1].transpose(2, 3).contiguous().transpose(2, 3)).shape == layer(x)[:1].shape


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_with_one_kernel_everywhere_it_is_a_convolution_and_so_are_its_gradients(
    kernel: Any, stride: Any, padding: Any, bias: bool
):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias).double()
    layer = unshared(convolution, (7, 9))
    x = torch.randn(4, 3, 7, 9, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(convolution(x).shape, dtype=torch.float64)
    torch.testing.assert_close(layer(x), convolution(x), rtol=0, atol=1e-12)
    own = torch.autograd.grad((layer(x) * weights).sum(), [x, *layer.parameters()])
    theirs = torch.autograd.grad((convolution(x) * weights).sum(), [x, *convolution.parameters()])
    torch.testing.assert_close(own[0], theirs[0], rtol=0, atol=1e-12)
    # A shared weight's gradient is the sum of those that it has at each position.
    torch.testing.assert_close(own[1].sum(0), theirs[1].flatten(1), rtol=0, atol=1e-11)
    if bias:
        torch.testing.assert_close(own[2].sum((1, 2)), theirs[2], rtol=0, atol=1e-11)
    single, its = convolution.float(), unshared(convolution.float(), (7, 9))
    torch.testing.assert_close(its(x.detach().float()), single(x.detach().float()), rtol=0, atol=1e-6)


def test_positions_learn_apart():
    layer = LocallyConnected2d(1, 1, 4, 2, 2, bias=False)
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, :2, :2] = 1.0
    layer(x).sum().backward()
    assert layer.weight.grad[0].abs().sum() > 0
    assert layer.weight.grad[1:].abs().sum() == 0


def test_initial_weights_are_drawn_as_a_convolution_draws_them():
    layer, convolution = LocallyConnected2d(4, 32, 16, 3, 1, 1), nn.Conv2d(4, 512, 3)
    for own, theirs in ((layer.weight, convolution.weight), (layer.bias, convolution.bias)):
        assert float(own.detach().abs().max()) <= (4 * 9) ** -0.5 + 1e-6
        assert float(own.detach().std()) == pytest.approx(float(theirs.detach().std()), rel=0.1)


@pytest.mark.parametrize("size", [8, (6, 9), 12])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 1, 0), (5, 1, 2)])
def test_one_network_is_built_three_ways_with_the_same_outputs(size: Any, kernel: int, stride: int, padding: int):
    nets = {
        way: same_outputs(2, 7, size, connections=way, width=3, kernel=kernel, stride=stride, padding=padding)
        for way in CONNECTIONS
    }
    height, width = (size, size) if isinstance(size, int) else size
    x = torch.randn(4, 2, height, width)
    hidden = dict.fromkeys(nets, x)
    inputs, numbers = 2, 2 * height * width
    for number in range(2):
        outputs = 3 * 2**number
        layers = {way: net[2 * number] for way, net in nets.items()}
        hidden = {way: layer(hidden[way]) for way, layer in layers.items()}
        (shape,) = {tuple(part.shape[1:]) for part in hidden.values()}
        positions = shape[1] * shape[2]
        counts = {way: sum(weight.numel() for weight in layer.parameters()) for way, layer in layers.items()}
        assert counts == {
            "full": outputs * positions * (numbers + 1),
            "local": outputs * positions * (inputs * kernel**2 + 1),
            "convolution": outputs * (inputs * kernel**2 + 1),
        }
        inputs, numbers = outputs, outputs * positions
    for net in nets.values():
        assert net(x).shape == (4, 7)
        assert net[-1].in_features == numbers
        torch.testing.assert_close(torch.fx.symbolic_trace(net)(x), net(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: LocallyConnected2d(0, 1, 8, 3), "LocallyConnected2d: in_channels is 0"),
        (lambda: LocallyConnected2d(1, 1, 8, 3, padding=-1), "padding is -1, but it must be a whole number of at leas"),
        (lambda: LocallyConnected2d(1, 1, (8, 8, 8), 3), r"size is \(8, 8, 8\), but it is one number or \(height, wi"),
        (lambda: LocallyConnected2d(1, 1, 2, 3), r"a kernel of \(3, 3\) does not fit into an image of \(2, 2\) with"),
        (
            lambda: LocallyConnected2d(1, 1, 8, 3)(torch.zeros(2, 1, 8, 9)),
            r"shape \(2, 1, 8, 9\), but .* \(batch, 1, 8",
        ),
        (lambda: LocallyConnected2d(1, 1, 8, 3)(torch.zeros(1, 8, 8)), r"given images of shape \(1, 8, 8\), but"),
        (lambda: unshared(nn.Conv2d(2, 2, 3, groups=2), 8), "has groups=2, for which there is no locally connected"),
        (lambda: unshared(nn.Conv2d(2, 2, 3, dilation=2), 8), r"has dilation=\(2, 2\)"),
        (lambda: unshared(nn.Conv2d(2, 2, 3, padding="same"), 8), "has padding='same'"),
        (lambda: same_outputs(1, 10, 8, connections="locla"), "connections is 'locla', .* Did you mean 'local'"),
        (lambda: same_outputs(1, 10, 8, depth=0), "same_outputs: depth is 0"),
    ],
)
def test_what_cannot_be_is_said(call: Any, said: str):
    with pytest.raises(RecipeError, match=said):
        call()


def test_its_multiplications_are_those_of_the_convolution_that_it_could_be() -> None:
    convolution, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(4, 2, 5, 7)
    counted = []
    for layer in (convolution, unshared(convolution, (5, 7))):
        with counting(layer) as work:
            layer(x)
        counted.append(work.total)
    assert counted == [4 * 35 * 3 * 18] * 2
