"""A convolution as attention by place, and attention of fixed shares as a dense layer."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from thalweg.core.errors import RecipeError
from thalweg.nn import as_attention, as_dense


def convolution(**knobs: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(2, 3, **{"kernel_size": 3, **knobs}).double()


def images(height: int = 7, width: int = 5) -> torch.Tensor:
    return torch.randn(4, 2, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"padding": 1},
        {"kernel_size": (5, 3), "padding": (2, 0)},
        {"kernel_size": 2, "stride": 2},
        {"stride": (3, 2), "padding": 2, "bias": False},
        {"dilation": (1, 2), "padding": (0, 1)},
        {"kernel_size": 1},
    ],
)
def test_heads_by_place_are_a_convolution(knobs: dict[str, Any]) -> None:
    conv, x = convolution(**knobs), images()
    attention = as_attention(conv)
    assert torch.allclose(attention(x), conv(x), atol=1e-10, rtol=0)
    (ours,), (theirs,) = (torch.autograd.grad(way(x).square().sum(), way_weight) for way, way_weight in (
        (attention, [attention.values]), (conv, [conv.weight])
    ))  # fmt: skip
    assert torch.allclose(ours, theirs.flatten(2).permute(2, 0, 1), atol=1e-9)


def test_attention_is_one_hot_and_soft_attention_is_not_a_convolution() -> None:
    conv, x = convolution(padding=1), images()
    shares, _ = as_attention(conv).attention(9, 7)
    assert ((shares == 1).sum(-1) == 1).all()
    assert torch.allclose(shares.sum(-1), torch.ones((), dtype=torch.float64))
    errors = [float((as_attention(conv, sharpness=a)(x) - conv(x)).abs().max().detach()) for a in (1.0, 10.0, 20.0)]
    assert errors[0] > 0.1
    assert errors[1] / errors[0] < 1e-2
    assert errors[2] / errors[1] == pytest.approx(torch.e**-10, rel=0.01)


def test_the_network_that_holds_it_learns() -> None:
    attention, x = as_attention(convolution(), sharpness=1.0), images()
    attention(x).square().mean().backward()
    for name, weight in attention.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_attention_of_fixed_shares_is_a_dense_layer() -> None:
    torch.manual_seed(0)
    shares = torch.randn(3, 7, 5, dtype=torch.float64).softmax(-1)
    values, bias = torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    x = torch.randn(6, 5, 4, dtype=torch.float64)
    expected = torch.zeros(6, 7, 2, dtype=torch.float64) + bias
    for share, value in zip(shares, values, strict=True):
        expected = expected + share @ x @ value.T
    dense = as_dense(shares, values, bias)
    assert dense.weight.shape == (7 * 2, 5 * 4)
    assert torch.allclose(dense(x.flatten(1)), expected.flatten(1), atol=1e-12)


def test_a_convolution_is_a_dense_layer_by_way_of_attention() -> None:
    conv, x = convolution(), images()
    attention = as_attention(conv)
    dense = as_dense(attention.attention(7, 5)[0], attention.values, attention.bias)
    output = dense(x.flatten(2).mT.flatten(1)).unflatten(1, (-1, 3)).mT
    assert torch.allclose(output, conv(x).flatten(2), atol=1e-10)


def test_shares_of_the_input_are_no_dense_layer() -> None:
    """Self-attention whose shares depend on x is not linear; with the shares of one x kept, it is."""
    torch.manual_seed(0)
    x, other = torch.randn(2, 5, 4, dtype=torch.float64)
    query, key, value = torch.randn(3, 4, 4, dtype=torch.float64)
    shares = ((x @ query) @ (x @ key).T / 2).softmax(-1)
    others = ((other @ query) @ (other @ key).T / 2).softmax(-1)
    dense = as_dense(shares[None], value.T[None])
    assert torch.allclose(linear(x.flatten(), dense.weight), (shares @ x @ value).flatten(), atol=1e-12)
    assert (linear(other.flatten(), dense.weight) - (others @ other @ value).flatten()).abs().max() > 0.1


def test_what_has_no_heads_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"groups=2, for which there are no heads"):
        as_attention(nn.Conv2d(2, 2, 3, groups=2))
    with pytest.raises(RecipeError, match=r"padding_mode='circular'"):
        as_attention(nn.Conv2d(2, 2, 3, padding_mode="circular"))
    with pytest.raises(RecipeError, match=r"padding='same'.*a number of zeros"):
        as_attention(nn.Conv2d(2, 2, 3, padding="same"))
    with pytest.raises(RecipeError, match=r"shape \(1, 3, 4, 4\), but it takes \(batch, 2, height, width\)"):
        as_attention(convolution())(torch.zeros(1, 3, 4, 4, dtype=torch.float64))
    with pytest.raises(RecipeError, match=r"region of \(3, 3\) does not fit into an image of \(2, 9\)"):
        as_attention(convolution())(images(2, 9))
    with pytest.raises(RecipeError, match=r"shares of shape \(2, 3, 3\) and values of shape \(1, 4, 4\)"):
        as_dense(torch.zeros(2, 3, 3), torch.zeros(1, 4, 4))
