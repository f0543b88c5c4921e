r"""Known changes of inputs, each of which can be undone: a test split that was made otherwise was often made so.

A change says what was done to the test inputs. `undo` takes it back, `redo` does it to other inputs at a size from 0
(nothing) to 1 (as on test) for each example, so that a network can be trained toward it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from thalweg.core.warp import affine, warp


@runtime_checkable
class Change(Protocol):
    """What was done to inputs `(batch, ...)`, in a few words."""

    @property
    def name(self) -> str:
        """The change in a few words."""
        ...

    def undo(self, x: Tensor) -> Tensor:
        """The inputs as they were before it."""
        ...

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        """Other inputs changed so, each by its own `size` from 0 to 1."""
        ...


@dataclass(frozen=True)
class Turned:
    """Images turned by some degrees against the clock; quarters of a full turn of square ones keep their pixels.

    >>> image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    >>> Turned(90.0).redo(image, torch.ones(1)).tolist()
    [[[[1.0, 3.0], [0.0, 2.0]]]]
    """

    degrees: float

    @property
    def name(self) -> str:
        return (
            f"turned by {abs(self.degrees):g} degrees {'against the clock' if self.degrees > 0 else 'with the clock'}"
        )

    def undo(self, x: Tensor) -> Tensor:
        if self.degrees % 90 == 0 and x.shape[-1] == x.shape[-2]:
            return x.rot90(int(-self.degrees // 90), (2, 3))
        return warp(x, affine(angle=-self.degrees, batch=len(x), dtype=x.dtype).to(x.device), padding="border")

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        return warp(x, affine(angle=(self.degrees * size).to(x)), padding="border")


@dataclass(frozen=True)
class Zoomed:
    """Images in which all is larger by a factor.

    >>> Zoomed(2.0).undo(torch.ones(1, 1, 4, 4)).shape
    torch.Size([1, 1, 4, 4])
    """

    factor: float

    @property
    def name(self) -> str:
        return f"all they show {self.factor:.3g} times as large"

    def undo(self, x: Tensor) -> Tensor:
        return warp(x, affine(scale=1 / self.factor, batch=len(x), dtype=x.dtype).to(x.device), padding="border")

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        return warp(x, affine(scale=(self.factor**size).to(x)), padding="border")


@dataclass(frozen=True)
class Moved:
    """Inputs moved along an axis by whole places; what leaves on one side comes in on the other.

    >>> Moved(1, 2, "steps later", "steps earlier").undo(torch.arange(5)[None]).tolist()
    [[2, 3, 4, 0, 1]]
    """

    axis: int
    places: int
    onward: str
    back: str

    @property
    def name(self) -> str:
        way = self.onward if self.places > 0 else self.back
        return f"moved by {abs(self.places)} {way if abs(self.places) > 1 else way.replace('s ', ' ', 1)}"

    def undo(self, x: Tensor) -> Tensor:
        return x.roll(-self.places, self.axis)

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        steps = (self.places * size).round().long()
        return torch.stack([one.roll(int(step), self.axis - 1) for one, step in zip(x, steps, strict=True)])


@dataclass(frozen=True)
class Reversed:
    """Inputs in the opposite order along an axis.

    >>> Reversed(1, "in the opposite order").undo(torch.arange(3)[None]).tolist()
    [[2, 1, 0]]
    """

    axis: int
    name: str

    def undo(self, x: Tensor) -> Tensor:
        return x.flip(self.axis)

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        return torch.where(_over(size >= 0.5, x), x.flip(self.axis), x)


@dataclass(frozen=True)
class Rescaled:
    """Numbers times a slope, plus an offset: another contrast, brightness, unit, or black for white.

    One slope for all, or one for each of some `columns` of rows `(batch, columns)`.

    >>> Rescaled((-1.0,), (1.0,), name="inverted").undo(torch.tensor([[0.25, 0.5]])).tolist()
    [[0.75, 0.5]]
    >>> Rescaled((10.0,), (5.0,), columns=(1,)).redo(torch.tensor([[0.25, 1.0]]), torch.ones(1)).tolist()
    [[0.25, 15.0]]
    """

    slopes: Sequence[float]
    offsets: Sequence[float]
    columns: tuple[int, ...] | None = None
    name: str = "in another unit"

    def undo(self, x: Tensor) -> Tensor:
        return self._put(x, lambda part: (part - self._of(self.offsets, x)) / self._of(self.slopes, x))

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        if min(self.slopes) < 0:  # between black on white and white on black lies grey
            size = (size >= 0.5).to(size)
        share = _over(size, x)

        def changed(part: Tensor) -> Tensor:
            slope, offset = (self._of(values, x) for values in (self.slopes, self.offsets))
            return part * (1 + share * (slope - 1)) + share * offset

        return self._put(x, changed)

    def _of(self, values: Sequence[float], x: Tensor) -> Tensor:
        tensor = torch.tensor(list(values), dtype=x.dtype, device=x.device)
        return tensor[0] if len(values) == 1 else tensor

    def _put(self, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        if self.columns is None:
            return change(x)
        changed = x.clone()
        changed[:, list(self.columns)] = change(x[:, list(self.columns)])
        return changed


@dataclass(frozen=True)
class Levelled:
    """Each image with a brightness and a contrast of its own; undone it has those of an image of validation."""

    mean: float
    deviation: float
    name: str = "a brightness and a contrast of each image's own"

    def undo(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        centred = rows - rows.mean(1, keepdim=True)
        spread = rows.std(1, correction=0, keepdim=True).clamp_min(1e-6)
        return (centred / spread * self.deviation + self.mean).view_as(x)

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Noisy:
    """Images with noise of a deviation; undone by the mean with the neighbours, weights 1, 2, 1 along each side."""

    deviation: float

    @property
    def name(self) -> str:
        return f"noise of a deviation of about {self.deviation:.2g}"

    def undo(self, x: Tensor) -> Tensor:
        return smoothed(x)

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        drawn = torch.Generator().manual_seed(int(1e6 * float(size.double().sum())))  # the same for the same examples
        noise = torch.randn(x.shape, generator=drawn, dtype=x.dtype).to(x.device)
        return x + self.deviation * _over(size, x) * noise


@dataclass(frozen=True)
class Blurred:
    """Images smoothed with their neighbours; undone, as far as that goes, by adding what smoothing takes away."""

    name: str = "blurred"

    def undo(self, x: Tensor) -> Tensor:
        return 2 * x - smoothed(x)

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        return x + _over(size, x) * (smoothed(x) - x)


@dataclass(frozen=True)
class Grid:
    """A change of images whose pixels stand in rows `(batch, side * side)`.

    >>> Grid(Turned(180.0)).undo(torch.arange(4.0)[None]).tolist()
    [[3.0, 2.0, 1.0, 0.0]]
    """

    change: Change

    @property
    def name(self) -> str:
        return self.change.name

    def undo(self, x: Tensor) -> Tensor:
        return self.change.undo(as_grid(x)).reshape(x.shape)

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        return self.change.redo(as_grid(x), size).reshape(x.shape)


@dataclass(frozen=True)
class Chained:
    """Changes one after another, the last of which is undone first."""

    changes: tuple[Change, ...]

    @property
    def name(self) -> str:
        return ", then ".join(change.name for change in self.changes)

    def undo(self, x: Tensor) -> Tensor:
        for change in reversed(self.changes):
            x = change.undo(x)
        return x

    def redo(self, x: Tensor, size: Tensor) -> Tensor:
        for change in self.changes:
            x = change.redo(x, size)
        return x


def smoothed(x: Tensor) -> Tensor:
    """Images averaged with their neighbours, weights 1, 2, 1 along each side, the outermost pixels once more outside.

    >>> smoothed(torch.tensor([[[[0.0, 4.0, 0.0]] * 3]]))[0, 0, 1].tolist()
    [1.0, 2.0, 1.0]
    """
    wide = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    wide = (wide[..., :-2] + 2 * wide[..., 1:-1] + wide[..., 2:]) / 4
    return (wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]) / 4


def as_grid(x: Tensor) -> Tensor:
    """Rows of square images, and images without channels, as `(batch, 1, height, width)`; others as they are."""
    if x.dim() == 3:
        return x[:, None]
    side = isqrt(x.shape[1]) if x.dim() == 2 else 0
    return x.reshape(len(x), 1, side, side) if side else x


def _over(size: Tensor, x: Tensor) -> Tensor:
    """A number for each example, to be multiplied with examples."""
    return size.to(x.device).view(-1, *[1] * (x.dim() - 1)).to(x.dtype if size.is_floating_point() else size.dtype)
