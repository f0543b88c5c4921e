"""Products of 16-bit numbers by way of float32: the same numbers, wherever they are computed."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.core.notices import collecting
from thalweg.nn import EncoderLayer, sixteen_bits
from thalweg.nn.sixteen_bits import ByFloat, by_float
from thalweg.training import precision

CPU = torch.device("cpu")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("by_autocast", [True, False])
def test_a_product_is_that_of_rounded_numbers_rounded(by_autocast: bool) -> None:
    a, b, bias = numbers(5, 7), numbers(3, 7, seed=1), numbers(3, seed=2)
    rounded = [each.bfloat16().double() for each in (a, b, bias)]
    expected = (rounded[0] @ rounded[1].T + rounded[2]).bfloat16()
    given = [a, b, bias] if by_autocast else [a.bfloat16(), b.bfloat16(), bias.bfloat16()]
    with torch.autocast("cpu", torch.bfloat16) if by_autocast else nullcontext(), ByFloat():
        found = F.linear(*given)
    assert found.dtype == torch.bfloat16
    assert (found != expected).sum() <= 1  # a sum of float32 may round to the other side
    torch.testing.assert_close(found, expected, atol=0, rtol=2**-7)


def test_what_is_not_of_16_bits_is_as_it_was() -> None:
    with torch.autocast("cpu", torch.bfloat16), ByFloat():
        assert (numbers(2, 3).double() @ numbers(3, 2).double()).dtype == torch.float64
        assert (numbers(2, 3) + 1).dtype == torch.float32
    with ByFloat():
        assert torch.equal(F.linear(numbers(2, 3), numbers(4, 3)), numbers(2, 3) @ numbers(4, 3).T)


@pytest.mark.parametrize("settings", [{}, {"positions": "relative"}, {"window": 2, "causal": True}])
def test_a_layer_gives_what_it_gives_by_torchs_own_products(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, x, lengths = EncoderLayer(12, 2, **settings), numbers(2, 9, 12), torch.tensor([9, 5])
    found = {}
    for hardware in (True, False):
        monkeypatch.setattr(sixteen_bits, "IN_HARDWARE", hardware)
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(x, lengths)
        gradients = torch.autograd.grad(output.square().sum(), list(layer.parameters()))
        found[hardware] = [output, *gradients]
    for ours, theirs in zip(found[False], found[True], strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, atol=0.05 * theirs.detach().abs().max().item(), rtol=0)


def test_the_block_is_for_16_bits_on_a_processor_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sixteen_bits, "IN_HARDWARE", False)
    assert isinstance(by_float(numbers(1)), nullcontext)
    assert isinstance(by_float(numbers(1).bfloat16()), ByFloat)
    with torch.autocast("cpu", torch.bfloat16):
        assert isinstance(by_float(numbers(1)), ByFloat)
        assert isinstance(by_float(torch.empty(1, device="meta")), nullcontext)
        monkeypatch.setattr(sixteen_bits, "IN_HARDWARE", True)
        assert isinstance(by_float(numbers(1)), nullcontext)


def test_what_a_processor_cannot_compute_fast_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast in (False, True):
        monkeypatch.setattr(precision, "computes_bfloat16", lambda device, fast=fast: fast)
        with collecting() as notices:
            assert precision.resolve_precision("bfloat16", CPU) == "bfloat16"
            assert precision.resolve_precision("auto", CPU) == "float32"
        assert [said.startswith("This processor has no instructions for bfloat16") for said in notices] == [True] * (
            not fast
        )
