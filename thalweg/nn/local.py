r"""Locally connected layers: each neuron sees a small region, as in a convolution, but has weights of its own.

A convolution makes two assumptions about an image: what is worth knowing stands in small regions (receptive fields),
and it looks alike wherever it stands (shared weights). A fully connected layer makes neither, a locally connected one
the first alone. For K x K regions of C channels, and D outputs at each of P positions, out of an input of N numbers,

    fully connected   D P N       weights
    local             D P C K K
    convolution       D C K K

`same_outputs` builds one small network in all three ways (LeCun, "Generalization and Network Design Strategies", 1989,
compares them so on handwritten digits).
"""

from collections.abc import Callable
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import unfold

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.knobs import check_choice, check_count

POOLS: dict[str, Callable[[int], nn.Module]] = {"max": nn.AdaptiveMaxPool2d, "mean": nn.AdaptiveAvgPool2d}
Pair = tuple[int, int]
Size = int | tuple[int, ...]
"""One number for height and width, or both; of another length it is refused."""


class LocallyConnected2d(nn.Module):
    r"""A convolution without shared weights: `(batch, in, height, width) -> (batch, out, rows, columns)`.

    $y_{d,p} = b_{d,p} + \sum_{c,k} w_{p,d,ck} \, x_{c,\,p+k}$, with weights `(positions, out, in * kernel * kernel)`
    and a bias for every output. `size` is that of the images; `size`, `kernel_size`, `stride` and `padding` are in
    pixels, one number or (height, width). Initial weights are drawn as torch draws a convolution's, uniform up to
    $1 / \sqrt{C K K}$. Raises `RecipeError` for a knob out of its range, and for images of another size.

    >>> layer = LocallyConnected2d(3, 5, size=8, kernel_size=3, stride=2, padding=1)
    >>> layer(torch.zeros(2, 3, 8, 8)).shape, layer.weight.shape
    (torch.Size([2, 5, 4, 4]), torch.Size([16, 5, 27]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Size,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        for knob, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            check_count("LocallyConnected2d", knob, channels)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.size, self.kernel_size = _pair("size", size), _pair("kernel_size", kernel_size)
        self.stride, self.padding = _pair("stride", stride), _pair("padding", padding, least=0)
        self.output_size = _output_size(self.size, self.kernel_size, self.stride, self.padding)
        fan_in = in_channels * prod(self.kernel_size)
        bound = fan_in**-0.5
        self.weight = nn.Parameter(torch.empty(prod(self.output_size), out_channels, fan_in).uniform_(-bound, bound))
        drawn = torch.empty(out_channels, *self.output_size).uniform_(-bound, bound) if bias else None
        self.bias = None if drawn is None else nn.Parameter(drawn)

    @no_type_check
    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out rows columns"]:
        """One batched matrix product: for each position, its weights times the regions of all examples."""
        _check_images(x, self.in_channels, self.size)
        regions = unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)
        output = torch.bmm(self.weight, regions.permute(2, 1, 0)).permute(2, 1, 0).unflatten(2, self.output_size)
        return output if self.bias is None else output + self.bias

    def extra_repr(self) -> str:
        """What tells one from another in a printed model."""
        return (
            f"{self.in_channels}, {self.out_channels}, size={self.size}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )


def unshared(convolution: nn.Conv2d, size: Size) -> LocallyConnected2d:
    """The locally connected layer for images of `size` that computes what a convolution does: one kernel everywhere.

    Raises `RecipeError` for a convolution with groups, dilation, or another padding than zeros.

    >>> convolution, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(4, 2, 5, 5)
    >>> bool(torch.allclose(unshared(convolution, 5)(x), convolution(x), atol=1e-6))
    True
    """
    odd = [
        name for name, usual in (("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros"))
        if getattr(convolution, name) != usual
    ]  # fmt: skip
    if odd or isinstance(convolution.padding, str):
        odd.append("padding")
        raise RecipeError(
            f"unshared: the convolution has {odd[0]}={getattr(convolution, odd[0])!r}, for which there is no locally "
            "connected layer here. Give one of groups 1, dilation 1, and a number of zeros as padding."
        )
    channels = convolution.in_channels, convolution.out_channels
    shape = size, convolution.kernel_size, convolution.stride, convolution.padding
    layer = LocallyConnected2d(*channels, *shape, bias=convolution.bias is not None)
    with torch.no_grad():
        layer.weight.copy_(convolution.weight.flatten(1).expand_as(layer.weight))
        if layer.bias is not None and convolution.bias is not None:
            layer.bias.copy_(convolution.bias[:, None, None].expand_as(layer.bias))
    return layer.to(convolution.weight)


def same_outputs(
    channels: int,
    outputs: int,
    size: Size,
    *,
    connections: str = "convolution",
    width: int = 8,
    depth: int = 2,
    kernel: int = 3,
    stride: int = 2,
    padding: int = 1,
    pool: str | None = None,
) -> nn.Sequential:
    """A small network for images of one size, `(batch, channels, height, width) -> (batch, outputs)`, built in one of
    three ways whose layers have the same outputs: `connections` is "full", "local" or "convolution".

    The first of `depth` layers has `width` channels, each further one twice as many, and a ReLU follows each; the last
    layer is linear in all places, or in the largest or mean value of each channel over them (`pool` "max" or "mean"),
    which supposes that places do not matter. Raises `RecipeError` for a knob out of its range.

    >>> nets = [same_outputs(1, 10, 8, connections=way) for way in CONNECTIONS]
    >>> [sum(weight.numel() for weight in net.parameters()) for net in nets]
    [17226, 6602, 1898]
    >>> [tuple(net[0](torch.zeros(2, 1, 8, 8)).shape) for net in nets]
    [(2, 8, 4, 4), (2, 8, 4, 4), (2, 8, 4, 4)]
    """
    counts = {"channels": channels, "outputs": outputs, "width": width, "depth": depth}
    for knob, value in (counts | {"kernel": kernel, "stride": stride}).items():
        check_count("same_outputs", knob, value)
    check_count("same_outputs", "padding", padding, least=0)
    check_choice("same_outputs", "connections", connections, CONNECTIONS)
    check_choice("same_outputs", "pool", pool, (None, *POOLS))
    layers: list[nn.Module] = []
    size = _pair("size", size)
    for number in range(depth):
        filters = width * 2**number
        layers += [CONNECTIONS[connections](channels, filters, size, kernel, stride, padding), nn.ReLU()]
        channels, size = filters, _output_size(size, (kernel, kernel), (stride, stride), (padding, padding))
    if pool is not None:
        layers.append(POOLS[pool](1))
        size = (1, 1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * prod(size), outputs))


def _full(inputs: int, outputs: int, size: Pair, kernel: int, stride: int, padding: int) -> nn.Module:
    after = _output_size(size, (kernel, kernel), (stride, stride), (padding, padding))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs * prod(size), outputs * prod(after)), nn.Unflatten(1, (outputs, *after))
    )


def _convolution(inputs: int, outputs: int, size: Pair, kernel: int, stride: int, padding: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding)


CONNECTIONS: dict[str, Callable[..., nn.Module]] = {
    "full": _full,
    "local": LocallyConnected2d,
    "convolution": _convolution,
}
"""Ways to connect two layers of given outputs: to all, to a region, to a region by weights that are shared."""


def _pair(knob: str, value: Size, least: int = 1) -> Pair:
    """A number for height and width, or both."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise RecipeError(f"LocallyConnected2d: {knob} is {value!r}, but it is one number or (height, width).")
    for part in pair:
        check_count("LocallyConnected2d", knob, part, least)
    return pair[0], pair[1]


def _output_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """Positions of a kernel along height and width: floor((size + 2 padding - kernel) / stride) + 1."""
    rows, columns = (
        (side + 2 * pad - region) // step + 1
        for side, region, step, pad in zip(size, kernel, stride, padding, strict=True)
    )
    if rows < 1 or columns < 1:
        raise RecipeError(
            f"LocallyConnected2d: a kernel of {kernel} does not fit into an image of {size} with a padding of "
            f"{padding}. Give a smaller kernel, or more padding."
        )
    return rows, columns


@torch.fx.wrap
def _check_images(x: Tensor, channels: int, size: Pair) -> None:
    if x.dim() != 4 or tuple(x.shape[1:]) != (channels, *size):
        raise RecipeError(
            f"LocallyConnected2d was given images of shape {tuple(x.shape)}, but each position has weights of its own, "
            f"so that it takes (batch, {channels}, {size[0]}, {size[1]}) alone. Build it with the images' size."
        )
