"""One forward pass, with what every tensor sees of the image carried along beside it.

Each element of a tensor has a mark along each axis of the image: the number of a unit, from 1 on, or 0 where it sees
nothing of it. What only moves elements (views, pads, concatenations) does with the marks what it does with the tensor.
An operation without a rule makes what follows from it unknown, which is said, and not guessed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from thalweg.measure.field.units import Units, as_rows, joined, pixels, side_by_side


@dataclass(eq=False)
class Cell:
    """The units that marks refer to; views of one tensor share it. `lost` once something wrote there unseen."""

    units: Units
    lost: bool = False


@dataclass(frozen=True, eq=False)
class Field:
    """What a tensor sees: for each axis of the image the marks, in the tensor's shape, and their units."""

    marks: tuple[Tensor, ...]
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, axes: "list[tuple[Units, Tensor]]") -> "Field":
        """A field of fresh cells."""
        return cls(tuple(marks for _, marks in axes), tuple(Cell(units) for units, _ in axes))

    @property
    def axes(self) -> list[tuple[Units, Tensor]]:
        """Units and marks, axis by axis."""
        return [(cell.units, marks) for cell, marks in zip(self.cells, self.marks, strict=True)]

    @property
    def lost(self) -> bool:
        """Whether something wrote into it that was not followed."""
        return any(cell.lost for cell in self.cells)


Rule = Callable[["Call"], "Field | list[Field | None] | None"]
"""What an operation does with fields; None where that cannot be known."""


@dataclass(frozen=True, eq=False)
class Call:
    """An operation with its arguments by name, its outputs, and the fields of the tensors that have one."""

    operation: Any
    arguments: dict[str, Any]
    output: Any
    fields: WeakTensorKeyDictionary

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments that see something of the image."""
        return [tensor for tensor in tensors_in(self.arguments.values()) if tensor in self.fields]

    def field(self, name: str) -> Field | None:
        """The field of an argument, None where it sees nothing of the image."""
        value = self.arguments.get(name)
        found: Field | None = self.fields.get(value) if isinstance(value, Tensor) else None
        return found

    @property
    def main(self) -> Tensor:
        """The output, or the first of several."""
        return tensors_in([self.output])[0]


class Trace(TorchDispatchMode):
    """While it is active every operation is followed; `unknown` names those that had no rule."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.fields: Any = WeakTensorKeyDictionary()
        self.unknown: list[str] = []
        self.broken = False
        self.fields[image] = image_field(image)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and its rule."""
        output = func(*args, **(kwargs or {}))
        names = [argument.name for argument in func._schema.arguments]
        call = Call(func, dict(zip(names, args, strict=False)) | (kwargs or {}), output, self.fields)
        if call.tensors and tensors_in([output]):
            self._follow(call)
        return output

    def _follow(self, call: Call) -> None:
        from thalweg.measure.field.rules import rule_of

        name = str(call.operation._schema.name).removeprefix("aten::")
        rule = rule_of(call.operation)
        inputs = [self.fields[tensor] for tensor in call.tensors]
        known = not self.broken and all(field is not None and not field.lost for field in inputs)
        try:
            found = rule(call) if known and rule is not None else None
        except (RuntimeError, IndexError, KeyError, TypeError, ValueError):
            found = None
        outputs = tensors_in([call.output])
        fields = found if isinstance(found, list) else [found]
        if known and any(field is None for field in fields) and name not in self.unknown:
            self.unknown.append(name)
        if call.operation._schema.is_mutable:
            self._written(call, fields[0])
        for output, field in zip(outputs, fields if found is not None else [None] * len(outputs), strict=False):
            self.fields[output] = field

    def _written(self, call: Call, field: Field | None) -> None:
        """What was written into sees something else now, and so do its views, which are not followed."""
        written = next(iter(call.arguments.values()))
        before = self.fields.get(written)
        if before is None and written not in self.fields:  # a part of a tensor that nothing was known of
            whole = written.numel() * written.element_size() == written.untyped_storage().nbytes()
            self.broken = self.broken or not whole
        if before is not None and (field is None or field.cells != before.cells):
            for cell in before.cells:
                cell.lost = True


def tensors_in(values: Any) -> list[Tensor]:
    """The tensors among values, in lists too."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found


def image_field(image: Tensor) -> Field:
    """Each pixel sees itself."""
    axes = []
    for axis, count in enumerate(image.shape[2:]):
        shape = [1] * image.dim()
        shape[2 + axis] = count
        marks = torch.arange(1.0, count + 1, dtype=torch.float64).view(shape)
        axes.append((pixels(count), marks.expand(image.shape)))
    return Field.of(axes)


def varying(marks: Tensor) -> list[int]:
    """The dimensions along which marks differ, those aside that see nothing."""
    return [
        dim
        for dim in range(marks.dim())
        if marks.shape[dim] > 1 and marks.stride(dim) and bool((marks.amax(dim) > _least(marks, dim)).any())
    ]


def _least(marks: Tensor, dim: int) -> Tensor:
    """The smallest mark along a dimension of those that see something."""
    return torch.where(marks > 0, marks, torch.inf).amin(dim)


def along(units: Units, marks: Tensor, dims: list[int]) -> Units:
    """New units, one for each place along `dims`, which see what all elements at that place see."""
    rows = marks.permute(*dims, *(dim for dim in range(marks.dim()) if dim not in dims))
    flat = rows.reshape(*rows.shape[: len(dims)], -1).flatten(0, len(dims) - 1) if dims else rows.reshape(1, -1)
    return as_rows(units, flat.long() - 1)


def spread(marks: Tensor, dims: list[int], shape: Any) -> Tensor:
    """Marks 1, 2, ... over the places of `dims` of a tensor of that shape."""
    sizes = [shape[dim] if dim in dims else 1 for dim in range(len(shape))]
    order = torch.arange(1.0, 1 + int(torch.tensor([shape[dim] for dim in dims]).prod()), dtype=torch.float64)
    return order.view(sizes).expand(tuple(shape))


def mixed(units: Units, marks: Tensor, dims: list[int]) -> tuple[Units, Tensor]:
    """What sees all along `dims`, whose sizes become 1."""
    dims = [dim % marks.dim() for dim in dims]
    vary = varying(marks)
    if not set(vary) & set(dims):
        return units, marks.amax(dims, keepdim=True) if dims else marks
    kept = [dim for dim in vary if dim not in dims]
    shape = [1 if dim in dims else size for dim, size in enumerate(marks.shape)]
    return along(units, marks, kept), spread(marks, kept, shape)


def both(axes: list[tuple[Units, Tensor]], shape: Any) -> tuple[Units, Tensor] | None:
    """What sees all that any of these see, element by element, in that shape."""
    units, marks = axes[0][0], axes[0][1].expand(tuple(shape))
    for other, others in axes[1:]:
        others = others.expand(tuple(shape))
        small = [dim for dim in range(len(shape)) if dim in varying(marks) or dim in varying(others)]
        first, second = (_narrowed(each, small) for each in (marks, others))
        pair = joined(units, other, first.long() - 1, second.long() - 1)
        if pair is None:
            return None
        if pair[0] is units:
            continue
        units, marks = pair[0], (pair[1] + 1).double().expand(tuple(shape))
    return units, marks


def _narrowed(marks: Tensor, dims: list[int]) -> Tensor:
    for dim in range(marks.dim()):
        if dim not in dims:
            marks = marks.amax(dim, keepdim=True)
    return marks


def one_list(fields: list[Field], axis: int) -> tuple[Units, list[int]]:
    """The units of several fields in one list, and what is to be added to the marks of each."""
    groups: list[Units] = []
    places: list[int] = []
    for field in fields:
        units = field.cells[axis].units
        if not any(units is group for group in groups):
            groups.append(units)
        at = next(place for place, group in enumerate(groups) if group is units)
        places.append(sum(len(group.reach) for group in groups[:at]))
    return (groups[0] if len(groups) == 1 else side_by_side(groups)), places
