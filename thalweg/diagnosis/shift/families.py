"""The families of changes that are tried: of images, of anything with axes, of the columns of a table.

Each is measured: a slope and an offset are what brings the moments of the test inputs back to those of validation. The
simplest come first.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from thalweg.diagnosis.shift.changes import (
    Blurred,
    Change,
    Grid,
    Levelled,
    Moved,
    Noisy,
    Rescaled,
    Reversed,
    Turned,
    Zoomed,
    as_grid,
    smoothed,
)
from thalweg.diagnosis.shift.seen import is_grid
from thalweg.measure.shift import kolmogorov_smirnov

ANGLES = tuple(range(10, 180, 10))
FACTORS = (0.5, 0.67, 0.8, 1.25, 1.5, 2.0)
MOST_COLUMNS = 24
FARTHEST = 4
"""Inputs are moved by a quarter of a side at most,"""
MOST_MOVES = 6
"""and by so many different steps each way."""
NOISE_LEFT = 0.640625
"""The share of white noise's variance that smoothing takes away: 1 - 2 / 4 + (6 / 16)^2."""
TINY = 1e-6


Unit = tuple[float, float]
"""The mean and the scale by which an input was scaled."""


def family(here: Tensor, there: Tensor, names: Sequence[str] = (), units: Sequence[Unit] = ()) -> list[Change]:
    """The changes that may have made `there` of inputs like `here`, the simplest first.

    Columns of rows are called by their `names`, and changed in their own units where these are known.

    >>> [change.name for change in family(torch.eye(3), 10 * torch.eye(3))[:1]]
    ['all 10 times as large']
    """
    if here.shape[1:] != there.shape[1:] or here.dim() < 2 or min(len(here), len(there)) < 2:
        return []
    if here.dim() == 2 and not is_grid(here):
        columns = list(of_columns(here, there, names, units))
        moved = {j for change in columns if isinstance(change, Rescaled) for j in change.columns or ()}
        few = 0 < 2 * len(moved) <= here.shape[1]
        return columns if few else [*of_all(here, there), *columns]
    if here.dim() == 2 or (here.dim() == 3 and here.shape[1] == here.shape[2]):
        return [Grid(change) for change in of_images(as_grid(here), as_grid(there))]
    if here.dim() == 4 and is_grid(here):
        return list(of_images(here, there))
    return [*of_axes(here), *of_all(here, there)]


def of_images(here: Tensor, there: Tensor) -> Iterator[Change]:
    """Images `(batch, channel, height, width)` mirrored, turned, moved, in other light, noisier, blurred, zoomed."""
    yield Reversed(3, "mirrored left to right")
    yield Reversed(2, "upside down")
    yield from (Turned(180.0), Turned(90.0), Turned(-90.0))
    if here.shape[1] == 3:
        yield Reversed(1, "red and blue exchanged")
    yield from of_all(here, there)
    yield from moves(3, here.shape[3], "pixels to the right", "pixels to the left")
    yield from moves(2, here.shape[2], "pixels down", "pixels up")
    yield from (Turned(float(sign * angle)) for angle in ANGLES if angle != 90 for sign in (1, -1))
    yield from map(Zoomed, FACTORS)
    yield Levelled(float(here.mean()), float(here.flatten(1).std(1, correction=0).mean()))
    own, theirs = (float((each - smoothed(each)).square().mean()) for each in (here, there))
    yield Noisy(((theirs - own) / NOISE_LEFT) ** 0.5) if theirs > own else Blurred()


def of_axes(here: Tensor) -> Iterator[Change]:
    """Inputs of any axes backwards along one of them, or moved along it."""
    for axis in range(1, here.dim()):
        yield Reversed(axis, f"backwards along axis {axis}")
        yield from moves(axis, here.shape[axis], f"places onward along axis {axis}", f"places back along axis {axis}")


def moves(axis: int, side: int, onward: str, back: str) -> Iterator[Change]:
    """Moves along an axis, both ways, the shortest first."""
    farthest = side // FARTHEST
    for places in range(1, farthest + 1, max(1, -(-farthest // MOST_MOVES))):
        yield from (Moved(axis, places, onward, back), Moved(axis, -places, onward, back))


def of_all(here: Tensor, there: Tensor) -> Iterator[Change]:
    """One slope and one offset for all numbers: another unit, contrast or brightness, black for white."""
    (m, s), (n, t) = ((float(each.mean()), float(each.std(correction=0))) for each in (here, there))
    low, high = float(here.min()), float(here.max())
    if s <= TINY * max(abs(low), abs(high)) or t <= TINY * max(abs(low), abs(high)):
        return
    if here.dim() > 2 or is_grid(here):
        yield Rescaled((-1.0,), (low + high,), name="inverted")
    yield Rescaled((t / s,), (0.0,), name=f"all {t / s:.3g} times as large")
    yield Rescaled((1.0,), (n - m,), name=f"all {_raised(n - m)}")
    yield Rescaled((t / s,), (n - t / s * m,), name=f"{t / s:.3g} times the contrast, {_raised(n - m)} on average")
    if here.dim() > 2 or is_grid(here):
        yield Rescaled((-t / s,), (n + t / s * m,), name=f"inverted, {t / s:.3g} times the contrast")


def of_columns(here: Tensor, there: Tensor, names: Sequence[str], units: Sequence[Unit] = ()) -> Iterator[Change]:
    """Of the columns that moved one in another unit or from another origin; then all, each by a line of its own."""
    if not all(bool(torch.isfinite(each).all()) for each in (here, there)):
        return
    farthest = kolmogorov_smirnov(here.double().numpy(), there.double().numpy()).moved.tolist()
    m, n = here.mean(0), there.mean(0)
    s, t = (each.std(0, correction=0) for each in (here, there))
    low = TINY * torch.maximum(here.abs().amax(0), there.abs().amax(0)).clamp_min(TINY)
    slopes = torch.where((s > low) & (t > low), t / s.clamp_min(1e-30), 1.0)
    for j in farthest[:MOST_COLUMNS]:
        slope, called = float(slopes[j]), column_name(j, names)
        zero, unit = units[j] if j < len(units) else (0.0, 1.0)
        means, spreads = ([float(own[j]) * unit + at for own in each] for each, at in (((m, n), zero), ((s, t), 0.0)))
        factor = math.hypot(means[1], spreads[1]) / math.hypot(means[0], spreads[0]) if j < len(units) else slope
        scaled, lifted = f"{called} {factor:.3g} times as large", f"{called} {_raised(means[1] - means[0])}"
        yield Rescaled((factor,), ((factor - 1) * zero / unit,), (j,), scaled)
        yield Rescaled((1.0,), (float(n[j] - m[j]),), (j,), lifted)
        moments = (f"{number(one[1])} for {number(one[0])}" for one in (means, spreads))
        both = f"{called} of another mean ({next(moments)}) and deviation ({next(moments)})"
        yield Rescaled((slope,), (float(n[j] - slope * m[j]),), (j,), both)
    if len(farthest) > 1:
        moved = torch.tensor(sorted(farthest))
        offsets = (n - slopes * m)[moved].tolist()
        name = f"another mean and deviation in {len(farthest)} columns"
        yield Rescaled(slopes[moved].tolist(), offsets, tuple(moved.tolist()), name)


def column_name(j: int, names: Sequence[str]) -> str:
    """An input as a person calls it.

    >>> column_name(1, ["age", "weight"]), column_name(7, [])
    ("'weight'", 'input 7')
    """
    return f"'{names[j]}'" if j < len(names) else f"input {j}"


def number(value: float) -> str:
    """A number as a person reads it.

    >>> number(0.12345), number(38512.3)
    ('0.123', '38,512')
    """
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"


def _raised(by: float) -> str:
    return f"{'raised' if by >= 0 else 'lowered'} by {number(abs(by))}"
