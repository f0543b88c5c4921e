"""Linear attention: all positions at once against one after another, and both against the formula."""

import pytest
import torch
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.nn import LinearAttention, linear_attention


def by_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """All similarities, as softmax attention would have them."""
    q, k = (torch.where(each > 0, each + 1, each.exp()) for each in (q, k))
    similar = (q @ k.mT).tril()
    return similar @ v / similar.sum(-1, keepdim=True)


def parts(length: int) -> list[Tensor]:
    made = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, length, 5, dtype=torch.float64, generator=made).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("length", [1, 3, 64, 65, 200])
def test_chunks_give_what_all_similarities_give(length: int) -> None:
    qkv = parts(length)
    ours, theirs = linear_attention(*qkv), by_formula(*qkv)
    assert torch.allclose(ours, theirs, atol=1e-5)  # the formula has no constant below the fraction
    for mine, right in zip(*(torch.autograd.grad(y.square().sum(), qkv) for y in (ours, theirs)), strict=True):
        assert torch.allclose(mine, right, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_the_size_of_chunks_does_not_matter(chunk: int) -> None:
    qkv = parts(23)
    assert torch.allclose(linear_attention(*qkv, chunk=chunk), linear_attention(*qkv), atol=1e-12)


def test_steps_of_a_recurrent_network_are_the_same_outputs() -> None:
    torch.manual_seed(0)
    layer, x = LinearAttention(12, heads=3).double(), torch.randn(2, 150, 12, dtype=torch.float64)
    state, outputs = layer.start(2), []
    for time in range(150):
        state, y = layer.step(state, x[:, time])
        outputs.append(y)
    stepped = torch.stack(outputs, dim=1)
    assert torch.allclose(stepped, layer(x), atol=1e-12)
    weights = list(layer.parameters())
    ours, theirs = (torch.autograd.grad(y.square().sum(), weights) for y in (stepped, layer(x)))
    for mine, right in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, right, atol=1e-10)


def test_padding_changes_nothing_before_it() -> None:
    torch.manual_seed(0)
    layer, x = LinearAttention(4, heads=2), torch.randn(3, 70, 4)
    lengths = torch.tensor([70, 12, 0])
    output = layer(x, lengths)
    assert (output[1, 12:] == 0).all()
    assert (output[2] == 0).all()
    assert torch.allclose(output[1:2, :12], layer(x[1:2, :12]), atol=1e-6)
    x[1, 12:] = torch.nan
    assert torch.equal(layer(x, lengths), output)


def test_similarities_that_underflow_give_numbers() -> None:
    qkv = [torch.full((1, 1, 5, 2), -1e4, requires_grad=True) for _ in range(3)]
    output = linear_attention(*qkv)
    output.sum().backward()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(each.grad).all() for each in qkv)
    assert linear_attention(*torch.zeros(3, 1, 1, 0, 2)).shape == (1, 1, 0, 2)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"5 heads do not divide a width of 12.*width=10"):
        LinearAttention(12, heads=5)
    with pytest.raises(RecipeError, match=r"width is 0, but"):
        LinearAttention(0)
    q, k, v = parts(7)
    with pytest.raises(RecipeError, match=r"shapes \(2, 3, 7, 5\), \(2, 3, 6, 5\)"):
        linear_attention(q, k[:, :, 1:], v)
    with pytest.raises(RecipeError, match=r"chunk is 0"):
        linear_attention(q, k, v, chunk=0)
    with pytest.raises(RecipeError, match=r"given float32 of shape \(2, 5, 3\), but takes.* \(batch, length, 4\)"):
        LinearAttention(4)(torch.zeros(2, 5, 3))
    with pytest.raises(RecipeError, match=r"LinearAttention: lengths are int64 of shape \(1,\).*of shape \(2,\)"):
        LinearAttention(4)(torch.zeros(2, 5, 4), torch.tensor([5]))
