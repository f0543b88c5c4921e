r"""The units along one axis of an image: what each of them sees of the pixels along that axis.

`reach` says it pixel by pixel, exactly, padding and holes included. Where units are regular they also have a form: unit
i sees `size` pixels from pixel `start + i * stride` on, wherever the image ends. A layer with kernel k, stride s,
dilation d and padding p makes of a form (r, j, a)

$$ r' = r + (k - 1) \, d \, j, \qquad j' = j \, s, \qquad a' = a - p \, j $$

(Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019, equations 2-4).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

MOST_PAIRS = 500_000
"""Pairs of units that a join of two tensors may have; a wider one is given up."""


class Form(NamedTuple):
    """Unit i sees the pixels from start + i * stride to start + i * stride + size - 1."""

    size: int
    stride: int
    start: int


@dataclass(frozen=True, eq=False)
class Units:
    """Units with what they reach, and the forms of those that are regular: (first unit, their number, form)."""

    reach: Bool[Tensor, "unit pixel"]
    parts: tuple[tuple[int, int, Form | None], ...]

    @classmethod
    def of(cls, reach: Bool[Tensor, "unit pixel"], form: Form | None = None) -> "Units":
        """Units that have one form, or none."""
        return cls(reach, ((0, len(reach), form),))

    @property
    def form(self) -> Form | None:
        """The form of all units, None where they have several."""
        return self.parts[0][2] if len(self.parts) == 1 else None

    def union(self) -> "Units":
        """One unit that sees what they all see."""
        return Units.of(self.reach.any(0, keepdim=True))


def pixels(count: int) -> Units:
    """The pixels themselves: each sees itself.

    >>> pixels(2).reach.tolist(), pixels(2).form
    ([[True, False], [False, True]], Form(size=1, stride=1, start=0))
    """
    return Units.of(torch.eye(count, dtype=torch.bool), Form(1, 1, 0))


def regathered(units: Units, taps: Int[Tensor, "new taps"], form: Form | None = None) -> Units:
    """New units, each of which sees what the units in its row see; -1 is none."""
    reach = torch.zeros(len(taps), units.reach.shape[1], dtype=torch.bool)
    for column in taps.long().T:
        reach |= units.reach[column.clamp(min=0)] & (column >= 0)[:, None]
    return Units.of(reach, form)


def as_rows(units: Units, rows: Int[Tensor, "new taps"]) -> Units:
    """The same as `regathered`, for rows in which a unit may stand many times, with the form that they then have."""
    marked = torch.zeros(len(rows), len(units.reach) + 1)
    marked.scatter_(1, rows.long() + 1, 1.0)
    reach = marked[:, 1:] @ units.reach.float() > 0
    return Units.of(reach, _form_of([(rows, part) for part in units.parts]))


def together(one: Form | None, other: Form | None) -> Form | None:
    """What sees what either sees; regular where both have the same stride.

    >>> together(Form(3, 2, -1), Form(1, 2, 0)), together(Form(3, 2, -1), Form(1, 1, 0))
    (Form(size=3, stride=2, start=-1), None)
    """
    if one is None or other is None or one.stride != other.stride:
        return None
    start = min(one.start, other.start)
    return Form(max(one.start + one.size, other.start + other.size) - start, one.stride, start)


def _form_of(seen: list[tuple[Tensor, tuple[int, int, Form | None]]]) -> Form | None:
    """The form of new units that see, row by row, units of several parts."""
    found = [(rows, part) for rows, part in seen if bool(_inside(rows, part).any())]
    return reduce(together, [_form_along(rows, part) for rows, part in found]) if found else None


def _inside(rows: Tensor, part: tuple[int, int, Form | None]) -> Tensor:
    return (rows >= part[0]) & (rows < part[0] + part[1])


def _form_along(rows: Int[Tensor, "new taps"], part: tuple[int, int, Form | None]) -> Form | None:
    """The form of rows in which units of one part stand: regular where each row has one, in equal steps."""
    (first, count, form), inside = part, _inside(rows, part)
    low = torch.where(inside, rows, first + count).amin(1) - first
    high = torch.where(inside, rows, first - 1).amax(1) - first
    held = inside.any(1)
    places, ids = held.nonzero().flatten(), low[held]
    if form is None or not torch.equal(ids, high[held]):
        return None
    step = int(ids[1] - ids[0]) if len(ids) > 1 else 1
    whole = len(places) == int(places[-1] - places[0]) + 1
    if step < 1 or not whole or not torch.equal(ids, ids[0] + step * (places - places[0])):
        return None
    offset = int(ids[0]) - step * int(places[0])
    return Form(form.size, form.stride * step, form.start + offset * form.stride)


def joined(
    one: Units, other: Units, first: Int[Tensor, "*shape"], second: Int[Tensor, "*shape"]
) -> tuple[Units, Tensor] | None:
    """Units for elements that see what unit `first` of the one and unit `second` of the other see, and which is whose.

    None where there are too many different pairs.
    """
    if one is other and torch.equal(first, second):
        return one, first
    group = _part_of(one)[first + 1] * (len(other.parts) + 1) + _part_of(other)[second + 1]
    wide = (group * (len(one.reach) + 1) + first + 1) * (len(other.reach) + 1) + second + 1
    keys, ids = torch.unique(wide, return_inverse=True)
    if len(keys) > MOST_PAIRS:
        return None
    b = keys % (len(other.reach) + 1) - 1
    a = keys // (len(other.reach) + 1) % (len(one.reach) + 1) - 1
    groups = keys // ((len(one.reach) + 1) * (len(other.reach) + 1))
    reach = _rows(one, a) | _rows(other, b)
    return Units(reach, tuple(_pair_parts(one, other, a, b, groups))), ids


def _pair_parts(
    one: Units, other: Units, a: Tensor, b: Tensor, groups: Tensor
) -> Iterator[tuple[int, int, Form | None]]:
    start = 0
    for count in torch.unique_consecutive(groups, return_counts=True)[1].tolist():
        rows = [(ids[start : start + count, None], units) for ids, units in ((a, one), (b, other))]
        yield start, count, _form_of([(ids, part) for ids, units in rows for part in units.parts])
        start += count


def _part_of(units: Units) -> Int[Tensor, " number"]:
    """The number of each unit's part, from 1 on, with 0 for no unit at the front."""
    counts = torch.tensor([0, *(count for _, count, _ in units.parts)])
    counts[0] = 1
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def _rows(units: Units, ids: Int[Tensor, " row"]) -> Bool[Tensor, "row _"]:
    return units.reach[ids.clamp(min=0)] & (ids >= 0)[:, None]


def side_by_side(groups: list[Units]) -> Units:
    """All units in one list, those of the first group first."""
    parts: list[tuple[int, int, Form | None]] = []
    before = 0
    for units in groups:
        parts += [(first + before, count, form) for first, count, form in units.parts]
        before += len(units.reach)
    return Units(torch.cat([units.reach for units in groups]), tuple(parts))
