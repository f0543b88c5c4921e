"""The convolutional network: what an image is worth knowing about stands in small regions, wherever they are.

Each neuron sees one region (the kernel, 3 x 3), the same filter looks at every region (shared parameters), and as many
filters as there are features give as many channels. A block is two convolutions and one pooling:

    conv -> norm -> ReLU -> conv -> norm -> ReLU -> pool

Two stacked 3 x 3 kernels see 5 x 5 of the image, and pooling doubles what the next block sees: small kernels do cover
large features. Channels double per block while pooling halves each side (Simonyan & Zisserman, "VGG", 2015). Global
average pooling at the end (Lin et al., "Network in Network", 2014) makes any image size do.
"""

from itertools import pairwise

from torch import nn

from thalweg.core.errors import RecipeError
from thalweg.nn.knobs import check_choice, check_count, check_dropout

POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}


def cnn(
    channels: int,
    outputs: int,
    *,
    width: int = 16,
    depth: int = 2,
    kernel: int = 3,
    stride: int = 1,
    pool: str | None = "max",
    norm: str | None = "batch",
    dropout: float = 0.0,
) -> nn.Sequential:
    """A convolutional network `(batch, channels, height, width) -> (batch, outputs)` of `depth` blocks.

    `width` is the number of filters of the first block, doubled in every further one; `stride` (of a block's first
    convolution) and `kernel` are in pixels; `pool` is "max", "mean" or None, over 2 x 2 pixels. Pooling rounds up, so
    that an image too small to be halved again goes through as it is. `dropout` silences features before the last layer
    only: between batch norms it would shift their statistics (Li et al. 2019). Raises `RecipeError` for a knob out of
    its range.

    >>> import torch
    >>> model = cnn(3, 10, width=8, depth=2)
    >>> model(torch.zeros(5, 3, 32, 32)).shape, model(torch.zeros(5, 3, 7, 1)).shape
    (torch.Size([5, 10]), torch.Size([5, 10]))
    """
    counts = {"channels": channels, "outputs": outputs, "width": width, "depth": depth, "kernel": kernel}
    for knob, value in (counts | {"stride": stride}).items():
        check_count("cnn", knob, value)
    if kernel % 2 == 0:
        raise RecipeError(
            f"cnn: kernel is {kernel}, but it must be odd so that a region has a middle pixel. Give "
            f"kernel={kernel - 1} or kernel={kernel + 1}."
        )
    check_choice("cnn", "pool", pool, (*POOLS, None))
    check_choice("cnn", "norm", norm, ("batch", None))
    check_dropout("cnn", dropout)
    widths = [channels] + [width * 2**block for block in range(depth)]
    blocks = [_block(*pair, kernel, stride, pool, norm) for pair in pairwise(widths)]
    head: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        head.append(nn.Dropout(dropout))
    return nn.Sequential(*blocks, *head, nn.Linear(widths[-1], outputs))


def _block(inputs: int, outputs: int, kernel: int, stride: int, pool: str | None, norm: str | None) -> nn.Sequential:
    layers = _convolution(inputs, outputs, kernel, stride, norm) + _convolution(outputs, outputs, kernel, 1, norm)
    if pool is not None:
        layers.append(POOLS[pool](2, ceil_mode=True))
    return nn.Sequential(*layers)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, norm: str | None) -> list[nn.Module]:
    """Padded so that a stride of 1 keeps the size; the bias goes where batch norm would take it away again."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=norm is None)
    return [convolution, *([nn.BatchNorm2d(outputs)] if norm == "batch" else []), nn.ReLU()]
