r"""The receptive field: which part of the image a unit of a layer can see.

From layer to layer the field's size r, the distance j of neighbouring units in pixels and the first pixel a grow as

$$ r_l = r_{l-1} + (k_l - 1) \, d_l \, j_{l-1}, \qquad j_l = j_{l-1} \, s_l, \qquad a_l = a_{l-1} - p_l \, j_{l-1} $$

for kernel k, dilation d, stride s and padding p (Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill, 2019). Two 3 x 3 layers see 5 x 5. Where paths meet, the union is seen.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.randomness import generator
from thalweg.measure.field.shape import AXES, as_input_shape
from thalweg.measure.field.support import linearized, support_of
from thalweg.measure.field.tracing import Field, Trace, along, varying
from thalweg.measure.field.units import Units
from thalweg.measure.looking import as_module, first_tensor, forward, looking


@dataclass(frozen=True, eq=False)
class LayerField:
    """What the units of one layer see, a number for each axis of the image: height, then width.

    `size` is the side of the field in pixels, wherever the image ends; `stride` how far the fields of neighbouring
    units lie apart; `offset` the centre of the first unit's field, 0 being the middle of the first pixel. `units` is
    how many there are: rows and columns, or tokens; a vector is one unit, which sees what all its numbers see. Without
    rows and columns the stride is NaN. Units that are not alike (after upsampling, or wrapped padding) have the largest
    size in the middle half of the image, within the image. Where `measured`, an operation was met that has no rule, and
    the size is that of the gradient's support of the middle unit.

    >>> LayerField("1", "Conv2d", (7, 7), (5, 5), (1.0, 1.0), (2.0, 2.0))
    LayerField(layer='1', kind='Conv2d', units=(7, 7), size=(5, 5), stride=(1.0, 1.0), offset=(2.0, 2.0), ...)
    """

    layer: str
    kind: str
    units: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[float, ...]
    offset: tuple[float, ...]
    measured: bool = False
    leaf: bool = field(default=True, repr=False)
    reach: tuple[Bool[Tensor, "_ _"], ...] = field(default=(), repr=False)


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The fields of all layers in the order in which the image passes them; `str()` is a table.

    `unknown` names the operations without a rule; the layers after them are measured by the gradient.

    >>> found = receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)), (1, 9, 9))
    >>> found["1"].size, found.unknown
    ((5, 5), ())
    """

    input_shape: tuple[int, ...]
    layers: tuple[LayerField, ...]
    unknown: tuple[str, ...] = ()

    def __getitem__(self, layer: str) -> LayerField:
        """The field of the layer of that name, at its last call; `RecipeError` for another name."""
        found = [row for row in self.layers if row.layer == layer]
        if not found:
            raise RecipeError(f"There is no layer '{layer}'.{did_you_mean(layer, (row.layer for row in self.layers))}")
        return found[-1]

    @property
    def last(self) -> LayerField:
        """The last layer that still has rows and columns: beyond it all is seen."""
        kept = [row for row in self.layers if all(stride == stride for stride in row.stride)]
        return (kept or self.layers)[-1]

    def box(self, layer: str, position: Sequence[int]) -> tuple[slice, ...]:
        """The pixels that the unit at `position` sees, as slices of the image; empty ones where it sees only padding.

        >>> field = receptive_field(nn.Conv2d(1, 1, 3, padding=1), (1, 8, 8))
        >>> field.box("", (0, 4))
        (slice(0, 2, None), slice(3, 6, None))
        """
        row = self[layer]
        places = tuple(position)
        if (
            len(places) != len(row.units)
            or not row.reach
            or not all(0 <= i < n for i, n in zip(places, row.units, strict=True))
        ):
            raise RecipeError(
                f"The layer '{layer}' has no unit at {places}: its units are {' x '.join(map(str, row.units))}"
                f"{', measured by the gradient: ask gradient_support' if not row.reach else ''}."
            )
        spread = (
            places * len(row.reach) if len(places) == 1 else places
        )  # a token has one place, and sees along each axis
        return tuple(_extent(reach[i]) for reach, i in zip(row.reach, spread, strict=True))

    def __str__(self) -> str:
        shown = [row for row in self.layers if row.leaf]
        axes = AXES[len(self.input_shape) - 1]
        head = ("layer", "kind", "units", "sees", "stride", f"first centre ({', '.join(axes)})")
        lines = [head, *(_line(row, self.input_shape[1:]) for row in shown)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        if self.unknown:
            text.append(
                f"* measured by the gradient's support, after operations without a rule: {', '.join(self.unknown)}"
            )
        return "\n".join(text)


def _with_shapes(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The model; of one with lazy layers a copy that has seen an image, so that these know their shapes."""
    if not any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        return model
    own = copy.deepcopy(model).eval()
    with torch.no_grad():
        forward(own, torch.zeros(1, *shape))
    return own


@no_type_check
def receptive_field(model: nn.Module, input_shape: Sequence[int]) -> ReceptiveField:
    """What the units of each layer of a model see of an image of `input_shape`, (channels, height, width).

    Convolutions (transposed ones too), pools, paddings, resizes and whatever moves or joins elements are followed
    through one forward pass of the model in evaluation mode, exactly, for every unit and each axis by itself; linear
    layers, attention and reductions see all that they sum over. Statistics of normalization count as constants. What is
    met without a rule is named, and the layers after it are measured by `gradient_support`.

    >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2))
    >>> print(receptive_field(net, (1, 16, 16)))
    layer  kind       units    sees   stride  first centre (height, width)
    0      Conv2d     14 x 14  3 x 3  1 x 1   1, 1
    1      ReLU       14 x 14  3 x 3  1 x 1   1, 1
    2      Conv2d     12 x 12  5 x 5  1 x 1   2, 2
    3      MaxPool2d  6 x 6    6 x 6  2 x 2   2.5, 2.5
    >>> receptive_field(net, (1, 16, 16))["2"].size
    (5, 5)

    Raises `RecipeError` for what is no module or no shape, `DataError` where the model cannot read such an image.
    """
    shape = as_input_shape(input_shape)
    model = _with_shapes(as_module(model), shape)
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    image = torch.rand(1, *shape, generator=generator(0, "pixels")).to(like)
    found: list[tuple[str, nn.Module, Any, tuple[int, ...]]] = []
    with looking(model), torch.no_grad():
        trace = Trace(image)
        handles = [
            module.register_forward_hook(_recorder(name, trace, found)) for name, module in model.named_modules()
        ]
        try:
            with trace:
                forward(model, image)
        finally:
            for handle in handles:
                handle.remove()
    lost = [name for name, _, known, _ in found if known is None]
    sizes = _measured(model, shape, lost) if lost else {}
    rows = tuple(
        _row(name, module, known, units, shape[1:])
        if known is not None
        else _measured_row(name, module, units, sizes[name])
        for name, module, known, units in found
    )
    return ReceptiveField(shape, rows, tuple(trace.unknown) if lost else ())


def _recorder(name: str, trace: Trace, found: list[Any]) -> Any:
    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            known: Field | None = trace.fields.get(tensor)
            known = None if known is None or known.lost or trace.broken else known
            found.append((name, module, known, tuple(tensor.shape)))

    return record


def _row(name: str, module: nn.Module, known: Field, shape: tuple[int, ...], sides: tuple[int, ...]) -> LayerField:
    dims, laid_out = _layout(known, shape, len(sides))
    axes = [along(*axis, each) for axis, each in zip(known.axes, dims, strict=True)]
    counts = tuple(len(units.reach) for units in axes)
    if not laid_out:
        counts = counts[:1]
    numbers = [_numbers(units, laid_out) for units in axes]
    size, stride, offset = zip(*numbers, strict=True)
    reach = tuple(units.reach for units in axes)
    return LayerField(name, type(module).__name__, counts, size, stride, offset, False, _is_leaf(module), reach)


def _layout(known: Field, shape: tuple[int, ...], axes: int) -> tuple[list[list[int]], bool]:
    """The dimensions of a tensor in which each axis of the image lies, and whether that is one of its own for each."""
    if len(shape) <= 2:
        return [[] for _ in known.marks], False
    dims = [varying(marks) for marks in known.marks]
    if not any(dims) and (len(shape) != axes + 2 or all(side == 1 for side in shape[2:])):
        return dims, False
    if len(shape) == axes + 2:
        placed = [each or [2 + axis] for axis, each in enumerate(dims)]
        if all(len(each) == 1 for each in placed) and len({each[0] for each in placed}) == axes:
            return placed, True
    together = sorted({dim for each in dims for dim in each})
    return [together for _ in dims], False


def _numbers(units: Units, laid_out: bool) -> tuple[int, float, float]:
    """Size, stride and offset along an axis: the form's, else those of the boxes."""
    form = units.form
    if form is not None and laid_out:
        return form.size, float(form.stride), form.start + (form.size - 1) / 2
    extents = [_extent(row) for row in units.reach]
    centres = [(extent.start + extent.stop - 1) / 2 for extent in extents]
    count = len(extents)
    low, high = (count // 4, count * 3 // 4) if count >= 4 else (0, count - 1)
    size = max(extent.stop - extent.start for extent in (extents[low : high + 1] if laid_out else extents))
    if not laid_out or count < 2:
        return size, float("nan"), centres[0]
    return size, (centres[high] - centres[low]) / (high - low), centres[0]


def _is_leaf(module: nn.Module) -> bool:
    return not any(True for _ in module.children())


def _extent(row: Bool[Tensor, " pixel"]) -> slice:
    places = row.nonzero().flatten()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _measured(model: nn.Module, shape: tuple[int, ...], layers: list[str]) -> dict[str, tuple[slice, ...]]:
    """The boxes of the gradient's support of the middle units."""
    found = {}
    with linearized(model, shape, layers) as (x, outputs):
        for layer in layers:
            support = support_of(x, outputs[layer], layer, None)
            axes = range(support.dim())
            found[layer] = tuple(_extent(support.movedim(axis, 0).flatten(1).any(1)) for axis in axes)
    return found


def _measured_row(name: str, module: nn.Module, shape: tuple[int, ...], box: tuple[slice, ...]) -> LayerField:
    nothing = (float("nan"),) * len(box)
    size = tuple(side.stop - side.start for side in box)
    return LayerField(name, type(module).__name__, shape[2:], size, nothing, nothing, True, _is_leaf(module))


def _line(row: LayerField, sides: tuple[int, ...]) -> tuple[str, ...]:
    def each(numbers: Sequence[Any], between: str) -> str:
        known = [number for number in numbers if number == number]
        return between.join(f"{number:g}" for number in numbers) if len(known) == len(numbers) > 0 else "–"

    whole = row.stride[0] != row.stride[0] and row.size >= sides
    sees = ("all" if whole else each(row.size, " x ")) + "*" * row.measured
    units = each(row.units, " x ") if row.units else "1"
    return row.layer or "(model)", row.kind, units, sees, each(row.stride, " x "), each(row.offset, ", ")
