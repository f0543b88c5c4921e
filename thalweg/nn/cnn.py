r"""The convolutional network: what an image is worth knowing about stands in small regions, wherever they are.

Each neuron sees one region (the kernel, 3 x 3), the same filter looks at every region (shared parameters), and as many
filters as there are features give as many channels. A block is two convolutions (or more) and one pooling:

    conv -> norm -> ReLU -> conv -> norm -> ReLU -> pool

Two stacked 3 x 3 kernels see 5 x 5 of the image, and pooling doubles what the next block sees: small kernels do cover
large features. Channels double per block while pooling halves each side (Simonyan & Zisserman, "VGG", 2015). Global
average pooling at the end (Lin et al., "Network in Network", 2014) makes any image size do.

A residual block adds what came in before the last ReLU, by a 1 x 1 convolution where the shape changes (He et al.,
"Deep Residual Learning for Image Recognition", 2015, equation 2, option B):

    x -> conv -> norm -> ReLU -> conv -> norm -> + -> ReLU -> pool
      \------------- x, or conv 1 x 1 -> norm --/
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.knobs import check_choice, check_count, check_dropout
from thalweg.nn.normalization import CENTERED, NORMS, normalization
from thalweg.nn.spatial_transformer import IDENTITY, SpatialTransformer

POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}
LINKED = 2
"""How many convolutions a residual link goes around."""


class Residual(nn.Module):
    r"""$\mathrm{ReLU}(F(x) + s(x))$: `inner` is F, and `shortcut` s brings the input to its shape.

    `(batch, channels, height, width)` in, the shape of F's output out.

    >>> import torch
    >>> link = Residual(nn.Conv2d(3, 3, 1), nn.Identity())
    >>> x = torch.rand(2, 3, 5, 5)
    >>> bool((link(x) == torch.relu(link.inner(x) + x)).all())
    True
    """

    def __init__(self, inner: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.inner, self.shortcut, self.activation = inner, shortcut, nn.ReLU()

    @no_type_check
    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out rows columns"]:
        output: Tensor = self.activation(self.inner(x) + self.shortcut(x))
        return output


def cnn(
    channels: int,
    outputs: int,
    *,
    width: int = 16,
    depth: int = 2,
    convolutions: int = 2,
    kernel: int = 3,
    stride: int = 1,
    padding: int | None = None,
    pool: str | None = "max",
    norm: str | None = "batch",
    residual: bool = False,
    transformer: str | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """A convolutional network `(batch, channels, height, width) -> (batch, outputs)` of `depth` blocks.

    `width` is the number of filters of the first block, doubled in every further one; a block is so many `convolutions`
    and then `pool`: "max", "mean" or None, over 2 x 2 pixels. `stride` (of a block's first convolution), `kernel` and
    `padding` are in pixels; without a padding it is half the kernel, by which a stride of 1 keeps the size. Pooling
    rounds up, so that an image too small to be halved again goes through as it is. `norm` is None or a name that
    `normalization` knows, before each activation. `residual` adds a link around every two convolutions. `transformer`
    puts a `SpatialTransformer` of that kind ("affine", "attention", "rotation") before the first block. `dropout`
    silences features before the last layer only: between batch norms it would shift their statistics (Li et al. 2019).
    Raises `RecipeError` for a knob out of its range.

    >>> import torch
    >>> model = cnn(3, 10, width=8, depth=2)
    >>> model(torch.zeros(5, 3, 32, 32)).shape, model(torch.zeros(5, 3, 7, 1)).shape
    (torch.Size([5, 10]), torch.Size([5, 10]))
    >>> [type(layer).__name__ for layer in cnn(3, 10, convolutions=3, residual=True, norm="group")[0]]
    ['Residual', 'Residual', 'MaxPool2d']
    """
    counts = {"channels": channels, "outputs": outputs, "width": width, "depth": depth, "kernel": kernel}
    for knob, value in (counts | {"stride": stride, "convolutions": convolutions}).items():
        check_count("cnn", knob, value)
    padding = _padding(kernel, padding, residual)
    check_choice("cnn", "pool", pool, (*POOLS, None))
    check_choice("cnn", "norm", norm, (*NORMS, None))
    check_choice("cnn", "transformer", transformer, (*IDENTITY, None))
    if not isinstance(residual, bool):
        raise RecipeError(f"cnn: residual is {residual!r}, but it is True or False. Give residual=True for links.")
    check_dropout("cnn", dropout)
    widths = [channels] + [width * 2**block for block in range(depth)]
    blocks: list[nn.Module] = [] if transformer is None else [SpatialTransformer(channels, kind=transformer)]
    for pair in pairwise(widths):
        layers = [_convolution(*pair, kernel, stride, padding, norm)]
        layers += [_convolution(pair[1], pair[1], kernel, 1, padding, norm) for _ in range(1, convolutions)]
        chain = _linked(layers, pair, stride, norm) if residual else [layer for layers_ in layers for layer in layers_]
        blocks.append(nn.Sequential(*chain, *([] if pool is None else [POOLS[pool](2, ceil_mode=True)])))
    head: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        head.append(nn.Dropout(dropout))
    return nn.Sequential(*blocks, *head, nn.Linear(widths[-1], outputs))


def _padding(kernel: int, padding: int | None, residual: bool) -> int:
    """The padding that is meant; kernel, padding and links must go together."""
    if kernel % 2 == 0:
        raise RecipeError(
            f"cnn: kernel is {kernel}, but it must be odd so that a region has a middle pixel. Give "
            f"kernel={kernel - 1} or kernel={kernel + 1}."
        )
    if padding is None:
        return kernel // 2
    check_count("cnn", "padding", padding, least=0)
    if residual and padding != kernel // 2:
        raise RecipeError(
            f"cnn: padding is {padding}, which changes an image's size, but a residual link adds input and output of "
            f"one size. Give padding={kernel // 2}, or leave it out."
        )
    return padding


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, norm: str | None
) -> list[nn.Module]:
    """A convolution, its norm and its activation; the bias goes where the norm would take it away again."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, bias=norm not in CENTERED)
    return [convolution, *_norm(norm, outputs), nn.ReLU()]


def _norm(norm: str | None, features: int) -> list[nn.Module]:
    return [] if norm is None else [normalization(norm, features, dims=2)]


def _linked(layers: list[list[nn.Module]], channels: tuple[int, int], stride: int, norm: str | None) -> list[nn.Module]:
    """Residual links around every two convolutions; the first, in which the shape may change, has a projection."""
    inputs, outputs = channels
    links: list[nn.Module] = []
    for first in range(0, len(layers), LINKED):
        *inner, _ = [layer for each in layers[first : first + LINKED] for layer in each]
        shortcut: nn.Module = nn.Identity()
        if first == 0 and (inputs != outputs or stride != 1):
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=norm not in CENTERED)
            shortcut = nn.Sequential(projection, *_norm(norm, outputs))
        links.append(Residual(nn.Sequential(*inner), shortcut))
    return links
