"""Which units the output units of a window, a transposed window, a resize, or an adaptive pool read."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.measure.field.units import Form, Units, regathered


def window(units: Units, count: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Units:
    """Unit o reads the units o s - p + m d for m = 0 ... k - 1, those that are there.

    >>> from thalweg.measure.field.units import pixels
    >>> window(window(pixels(9), 7, 3, 1, 0), 5, 3, 1, 0).form
    Form(size=5, stride=1, start=0)
    """
    taps = torch.arange(count)[:, None] * stride - padding + torch.arange(kernel) * dilation
    form = units.form
    if form is not None:
        form = Form(
            form.size + (kernel - 1) * dilation * form.stride, form.stride * stride, form.start - padding * form.stride
        )
    return regathered(units, _inside(taps, len(units.reach)), form)


def transposed_window(units: Units, count: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Units:
    """Unit o reads the units i with o = i s - p + m d; at a stride above 1 neighbours read unlike numbers of them.

    >>> from thalweg.measure.field.units import pixels
    >>> transposed_window(pixels(2), 5, 3, 2, 0).reach.long().tolist()
    [[1, 0], [1, 0], [1, 1], [0, 1], [0, 1]]
    """
    reached = torch.arange(count)[:, None] + padding - torch.arange(kernel) * dilation
    taps = torch.where(reached % stride == 0, reached.div(stride, rounding_mode="floor"), -1)
    form = units.form
    if form is not None and stride == 1:
        grown = (kernel - 1) * dilation
        form = Form(form.size + grown * form.stride, form.stride, form.start + (padding - grown) * form.stride)
    return regathered(units, _inside(taps, len(units.reach)), form if stride == 1 else None)


def adaptive(units: Units, count: int) -> Units:
    """Unit o reads the units from floor(o n / m) to ceil((o + 1) n / m) - 1, for m units out of n."""
    size = len(units.reach)
    first = torch.arange(count) * size // count
    last = ((torch.arange(count) + 1) * size + count - 1) // count
    taps = first[:, None] + torch.arange(int((last - first).max()))
    return regathered(units, torch.where(taps < last[:, None], taps, -1))


def weighted(units: Units, weights: Tensor) -> Units:
    """Unit o reads the units whose weight in its row is not zero."""
    return Units.of((weights != 0).float() @ units.reach.float() > 0)


def _inside(taps: Int[Tensor, "new taps"], count: int) -> Int[Tensor, "new taps"]:
    return torch.where((taps >= 0) & (taps < count), taps, -1)


def of_axis(value: Any, axis: int) -> int:
    """The number of one axis, where one may be said for all.

    >>> of_axis([3, 5], 1), of_axis([3], 1), of_axis(2, 1)
    (5, 3, 2)
    """
    values = value if isinstance(value, list | tuple) else [value]
    return int(values[axis if len(values) > 1 else 0])
