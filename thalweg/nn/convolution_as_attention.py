r"""A convolution as self-attention, and self-attention as a dense layer: which layer can compute what.

Cordonnier, Loukas & Jaggi, "On the Relationship between Self-Attention and Convolutional Layers" (2020), theorem 1: a
K x K convolution is self-attention of K K heads. Head h attends by place alone, from the pixel q that asks to the pixel
k with the score

$$ -\alpha \, \lVert k - q - \Delta_h \rVert^2
   = -\alpha \, (1, -2 \Delta_{h1}, -2 \Delta_{h2}) \cdot (\lVert \delta \rVert^2, \delta_1, \delta_2)
     + \text{const}, \qquad \delta = k - q $$

so that as $\alpha$ grows all attention goes to the pixel at $\Delta_h$ from the one that asks, and the head's value
matrix is the kernel's weights at that place. Every other pixel gets at most $e^{-\alpha}$ of that: 4e-44 for the
default $\alpha = 100$, which is nothing in float32 and float64, so that the softmax is exactly one-hot. Beyond the
border stands what the convolution has there, a frame of zeros, which is attended to as well.

Attention of fixed shares $A^h$ is in turn a dense layer on the flattened sequence, of the weights
$\sum_h A^h \otimes W_h^T$: of n C times n D numbers that a dense layer has for itself, n n for each head and the value
matrices remain. So, for layers of fixed weights, convolution < self-attention < dense. There the order ends: the shares
of a trained self-attention depend on its input, and what it computes is no linear map, hence no dense layer at all.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError

SHARPNESS = 100.0


class ConvolutionAsAttention(nn.Module):
    r"""Self-attention between pixels, by relative place: `(batch, in, height, width) -> (batch, out, rows, columns)`.

    $y_q = b + \sum_h \sum_k \mathrm{softmax}_k(-\alpha \lVert k - q - \Delta_h \rVert^2) \, W_h x_k$. `centers` are the
    $\Delta_h$ `(head, 2)` in pixels, counted from the first pixel of a region; `values` the $W_h$ `(head, out, in)`;
    `sharpness` is $\alpha$. All are trained. Asking pixels are `stride` apart in an image framed by `padding` zeros.
    Memory grows as the square of the pixels: for small images.

    >>> layer = ConvolutionAsAttention(torch.tensor([[0.0, 0.0]]), torch.ones(1, 2, 3))
    >>> layer(torch.zeros(5, 3, 4, 4)).shape
    torch.Size([5, 2, 4, 4])
    """

    def __init__(
        self,
        centers: Float[Tensor, "head 2"],
        values: Float[Tensor, "head out in"],
        bias: Float[Tensor, " out"] | None = None,
        *,
        region: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        sharpness: float = SHARPNESS,
    ) -> None:
        super().__init__()
        self.centers, self.values = (nn.Parameter(each.detach().clone()) for each in (centers, values))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.sharpness = nn.Parameter(values.new_tensor(sharpness))
        self.region, self.stride, self.padding = region, stride, padding

    @no_type_check
    def forward(self, x: Float[Tensor, "batch in height width"]) -> Float[Tensor, "batch out rows columns"]:
        if x.dim() != 4 or x.shape[1] != self.values.shape[2]:
            raise RecipeError(
                f"ConvolutionAsAttention was given images of shape {tuple(x.shape)}, but it takes (batch, "
                f"{self.values.shape[2]}, height, width)."
            )
        rows, columns = self.padding
        framed = nn.functional.pad(x, (columns, columns, rows, rows))
        shares, size = self.attention(framed.shape[2], framed.shape[3])
        seen = torch.einsum("hqk,bik->bhqi", shares, framed.flatten(2))
        output = torch.einsum("bhqi,hoi->boq", seen, self.values)
        output = output if self.bias is None else output + self.bias[:, None]
        return output.unflatten(2, size)

    def attention(self, height: int, width: int) -> tuple[Float[Tensor, "head query key"], tuple[int, int]]:
        """The share of every pixel of a framed image in what each asking pixel sees, and the rows and columns of those.

        They do not depend on the image. Raises `RecipeError` where no region fits into the image.
        """
        keys = _grid(height, width, (1, 1), self.centers)
        tall, wide = height - self.region[0] + 1, width - self.region[1] + 1
        if tall < 1 or wide < 1:
            raise RecipeError(
                f"ConvolutionAsAttention: a region of {self.region} does not fit into an image of "
                f"({height}, {width}), its frame counted. Give larger images, or more padding."
            )
        queries = _grid(tall, wide, self.stride, self.centers)
        offset = keys - queries[:, None] - self.centers[:, None, None]
        shares = (-self.sharpness * offset.square().sum(-1)).softmax(-1)
        return shares, (-(-tall // self.stride[0]), -(-wide // self.stride[1]))


@no_type_check
def as_attention(conv: nn.Conv2d, *, sharpness: float = SHARPNESS) -> ConvolutionAsAttention:
    """The self-attention that computes what a convolution does: a head for every place of its kernel.

    Exact as soon as $e^{-sharpness}$ is nothing beside 1 in the convolution's precision: from 40 on in float64. Stride,
    dilation and zeros around the image are taken over. Raises `RecipeError` for groups and other paddings.

    >>> conv, x = nn.Conv2d(2, 3, 3, padding=1).double(), torch.randn(4, 2, 5, 5).double()
    >>> bool(torch.allclose(as_attention(conv)(x), conv(x), atol=1e-10))
    True
    """
    odd = [
        name for name, usual in (("groups", 1), ("padding_mode", "zeros")) if getattr(conv, name) != usual
    ]  # fmt: skip
    if odd or isinstance(conv.padding, str):
        name = (odd or ["padding"])[0]
        raise RecipeError(
            f"as_attention: the convolution has {name}={getattr(conv, name)!r}, for which there are no heads here. "
            "Give one of groups 1 and a number of zeros as padding."
        )
    rows, columns = conv.kernel_size
    centers = _grid(rows, columns, (1, 1), conv.weight) * conv.weight.new_tensor(conv.dilation)
    region = tuple(step * (side - 1) + 1 for step, side in zip(conv.dilation, conv.kernel_size, strict=True))
    return ConvolutionAsAttention(
        centers,
        conv.weight.flatten(2).permute(2, 0, 1),
        conv.bias,
        region=(region[0], region[1]),
        stride=(conv.stride[0], conv.stride[1]),
        padding=(conv.padding[0], conv.padding[1]),
        sharpness=sharpness,
    )


@no_type_check
def as_dense(
    attention: Float[Tensor, "head query key"],
    values: Float[Tensor, "head out in"],
    bias: Float[Tensor, " out"] | None = None,
) -> nn.Linear:
    r"""The dense layer that computes self-attention of fixed shares, on the flattened sequence.

    `(batch, key * in) -> (batch, query * out)`, of the weights $\sum_h A^h_{qk} W^h_{oi}$ at $(q o, k i)$. It holds for
    those shares alone: where they depend on the input there is no such layer. Raises `RecipeError` for shapes that do
    not go together.

    >>> shares, values, x = torch.rand(2, 5, 5).softmax(-1), torch.randn(2, 3, 4), torch.randn(7, 5, 4)
    >>> y = sum(share @ x @ value.T for share, value in zip(shares, values))
    >>> bool(torch.allclose(as_dense(shares, values)(x.flatten(1)), y.flatten(1), atol=1e-5))
    True
    """
    if attention.dim() != 3 or values.dim() != 3 or len(attention) != len(values):
        raise RecipeError(
            f"as_dense was given shares of shape {tuple(attention.shape)} and values of shape {tuple(values.shape)}, "
            "but they are (head, query, key) and (head, out, in), of as many heads."
        )
    weight = torch.einsum("hqk,hoi->qoki", attention, values).flatten(2).flatten(0, 1).detach()
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias.repeat(attention.shape[1]))
    return layer


def _grid(rows: int, columns: int, step: tuple[int, int], like: Tensor) -> Float[Tensor, "place 2"]:
    """The places (row, column) of an image, row by row, `step` apart."""
    down, right = (
        torch.arange(0, side, each, dtype=like.dtype, device=like.device)
        for side, each in ((rows, step[0]), (columns, step[1]))
    )
    return torch.cartesian_prod(down, right)
