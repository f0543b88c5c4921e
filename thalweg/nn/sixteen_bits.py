r"""Products of 16-bit numbers on a processor that has no instructions for them: by way of float32.

Such a product is $\mathrm{round}\big(\sum_k \mathrm{round}(a_k)\, \mathrm{round}(b_k)\big)$ with the sum in float32,
wherever it is computed. Where the processor cannot, torch takes it number by number, which takes up to 50 times as long
as in float32; here the rounded operands are multiplied by the fast routine of float32, and the result is rounded.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from thalweg.core.device import computes_bfloat16

IN_HARDWARE = computes_bfloat16(torch.device("cpu"))
PRODUCTS: frozenset[Callable[..., Any]] = frozenset(
    (F.linear, torch.matmul, torch.bmm, torch.baddbmm, F.scaled_dot_product_attention)
)


def by_float(x: Tensor) -> AbstractContextManager[Any]:
    """The block in which products of 16-bit numbers go by way of float32, where `x` is on a CPU that needs it.

    16 bits are those of `x`, or of torch's autocast. Elsewhere the block changes nothing.

    >>> with by_float(torch.zeros(1)):
    ...     (torch.ones(2, 3, dtype=torch.bfloat16) @ torch.ones(3, 2, dtype=torch.bfloat16)).dtype
    torch.bfloat16
    """
    if IN_HARDWARE or x.device.type != "cpu" or not (torch.is_autocast_enabled("cpu") or x.itemsize == 2):
        return nullcontext()
    return ByFloat()


class ByFloat(TorchFunctionMode):
    """Within it products of numbers that are to be of 16 bits are taken in float32, and rounded.

    >>> a = torch.tensor([[1.0, 2.0**-9]], dtype=torch.bfloat16)
    >>> with ByFloat():
    ...     (a @ a.mT).item(), (a.float() @ a.float().mT).dtype
    (1.0, torch.float32)
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        dtype = _sixteen((*args, *given.values())) if func in PRODUCTS else None
        if dtype is None:
            return func(*args, **given)

        def rounded(value: Any) -> Any:
            return value.to(dtype).float() if isinstance(value, Tensor) and value.is_floating_point() else value

        with torch.autocast("cpu", enabled=False):
            return func(*map(rounded, args), **{name: rounded(value) for name, value in given.items()}).to(dtype)


def _sixteen(values: tuple[Any, ...]) -> torch.dtype | None:
    """The type of 16 bits that a product of these would be taken in; None for another."""
    kinds = {value.dtype for value in values if isinstance(value, Tensor) and value.is_floating_point()}
    if torch.float64 in kinds:
        return None
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return kinds.pop() if len(kinds) == 1 and max(kind.itemsize for kind in kinds) == 2 else None
