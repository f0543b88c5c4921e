"""What each operation of torch does with fields.

Statistics that normalize a whole image (group, instance, layer norm) count as constants: they pass on means, no
patterns. Batch norm in evaluation has none. All channels of a window are taken together.
"""

from typing import Any

import torch
from torch import Tensor

from thalweg.measure.field.tracing import (
    Call,
    Field,
    Rule,
    along,
    both,
    mixed,
    one_list,
    spread,
    tensors_in,
    varying,
)
from thalweg.measure.field.units import Units, side_by_side
from thalweg.measure.field.windows import adaptive, of_axis, transposed_window, weighted, window

NORMS = """native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm
native_group_norm native_layer_norm _fused_rms_norm hardswish hardswish_ _prelu_kernel _to_copy rrelu_with_noise
native_dropout"""
MOVES = """view _unsafe_view reshape _reshape_alias permute transpose t slice select expand unsqueeze squeeze split
split_with_sizes unbind clone contiguous detach alias flip roll repeat index_select pixel_shuffle pixel_unshuffle
channel_shuffle native_channel_shuffle cat stack constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d
replication_pad1d replication_pad2d replication_pad3d upsample_nearest1d upsample_nearest2d upsample_nearest3d
_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d unfold im2col"""
WINDOWS = (
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d"
)
ADAPTIVE = """adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
adaptive_max_pool3d"""
RESIZES = "upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa"
REDUCTIONS = "mean sum amax amin max min var std linalg_vector_norm logsumexp prod var_mean norm"
ALONG = "_softmax _log_softmax _safe_softmax softmax log_softmax cumsum sort logcumsumexp"
PRODUCTS = "mm bmm addmm baddbmm"
FRESH = "new_empty new_zeros new_ones new_full empty_like zeros_like ones_like full_like rand_like randn_like"


def rule_of(operation: Any) -> Rule | None:
    """The rule of an operation, None where there is none.

    >>> rule_of(torch.ops.aten.relu.default).__name__, rule_of(torch.ops.aten.linalg_inv_ex.default)
    ('elementwise', None)
    """
    name = str(operation._schema.name).removeprefix("aten::")
    if name in RULES:
        return RULES[name]
    if name.startswith("_scaled_dot_product"):
        return attention
    return elementwise if torch.Tag.pointwise in operation.tags else None


def elementwise(call: Call) -> Field | None:
    """Each element sees what the elements that it is made of see."""
    main, fields = call.main, [call.fields[tensor] for tensor in call.tensors]
    found = [both([field.axes[axis] for field in fields], main.shape) for axis in range(len(fields[0].cells))]
    axes = [pair for pair in found if pair is not None]
    if len(axes) < len(found):
        return None
    first: Field = fields[0]
    if call.operation._schema.is_mutable and all(
        units is cell.units for (units, _), cell in zip(axes, first.cells, strict=True)
    ):
        return first
    return Field.of(axes)


def moving(call: Call) -> Field | list[Field | None]:
    """Marks go where the elements go."""
    fields = [call.fields[tensor] for tensor in call.tensors]
    outputs = tensors_in([call.output])
    shared = len(fields) == 1 and _storage(outputs[0]) == _storage(call.tensors[0])
    by_axis: list[list[Tensor]] = []
    cells = []
    for axis, cell in enumerate(fields[0].cells):
        units, offsets = one_list(fields, axis)
        shifted = {
            id(tensor): field.marks[axis] + offset * (field.marks[axis] > 0) if offset else field.marks[axis]
            for tensor, field, offset in zip(call.tensors, fields, offsets, strict=True)
        }
        by_axis.append(tensors_in([_moved(call, shifted)]))
        cells.append(cell if shared else type(cell)(units))
    return [Field(tuple(marks[i] for marks in by_axis), tuple(cells)) for i in range(len(outputs))]


def _moved(call: Call, marks: dict[int, Tensor]) -> Any:
    def stand_in(value: Any) -> Any:
        if isinstance(value, Tensor):
            floating = value.is_floating_point()
            return marks.get(id(value), torch.zeros(value.shape, dtype=torch.float64) if floating else value)
        return [stand_in(item) for item in value] if isinstance(value, list | tuple) and tensors_in([value]) else value

    given = {name: stand_in(value) for name, value in call.arguments.items()}
    if "pad" in call.arguments and "value" in call.arguments:
        given["value"] = 0.0
    try:
        return call.operation(**given)
    except RuntimeError:  # marks may lie in memory otherwise than what they mark
        whole = {name: value.contiguous() if isinstance(value, Tensor) else value for name, value in given.items()}
        return call.operation(**whole)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def copying(call: Call) -> Field | None:
    """What is copied into a part of a tensor brings its units with it, for all views of that tensor."""
    to, source = call.field("self"), call.field("src")
    if to is None or any(0 in marks.stride() and marks.numel() > 1 for marks in to.marks):
        return None
    for axis, (marks, cell) in enumerate(zip(to.marks, to.cells, strict=True)):
        if source is None:
            marks.zero_()
            continue
        units, others = source.axes[axis]
        before = 0
        if units is not cell.units:
            before = len(cell.units.reach)
            cell.units = side_by_side([cell.units, units]) if before else units
        marks.copy_(others + before * (others > 0))
    return to


def fresh(call: Call) -> Field:
    """Numbers that see nothing of the image."""
    field = call.fields[call.tensors[0]]
    empty = [Units(cell.units.reach[:0], ()) for cell in field.cells]
    return Field.of([(units, torch.zeros(call.main.shape, dtype=torch.float64)) for units in empty])


def convolving(call: Call) -> Field | None:
    """A window, or a transposed one."""
    field, given = call.field("input"), call.arguments
    if field is None or call.field("weight") is not None:
        return None
    sides = given["weight"].shape[2:]
    make = transposed_window if given["transposed"] else window

    def seen(units: Units, dim: int, count: int) -> Units:
        stride, padding, dilation = (of_axis(given[name], dim) for name in ("stride", "padding", "dilation"))
        return make(units, count, sides[dim], stride, padding, dilation)

    return _over(call, field, len(sides), seen)


def pooling(call: Call) -> Field | None:
    """A window whose stride is its side unless it is said."""
    field, given = call.field("self"), call.arguments

    def seen(units: Units, dim: int, count: int) -> Units:
        side = of_axis(given["kernel_size"], dim)
        stride = of_axis(given["stride"], dim) if given.get("stride") else side
        return window(
            units, count, side, stride, of_axis(given.get("padding", 0), dim), of_axis(given.get("dilation", 1), dim)
        )

    return None if field is None else _over(call, field, _dims(call), seen)


def adapting(call: Call) -> Field | None:
    """Regions that share the image out."""
    field = call.field("self")
    return None if field is None else _over(call, field, _dims(call), lambda units, _, count: adaptive(units, count))


def resizing(call: Call) -> Field | None:
    """Weighted neighbours: which, is asked of the operation itself."""
    field, dims = call.field("self") or call.field("input"), _dims(call)

    def seen(units: Units, dim: int, count: int) -> Units:
        size = len(units.reach)
        shape = [1] * dims
        shape[dim] = size
        probe = torch.eye(size, dtype=torch.float64).view(size, 1, *shape)
        probe = probe.expand(size, 1, *(size if at == dim else call.main.shape[at - dims] for at in range(dims)))
        name = "self" if "self" in call.arguments else "input"
        out = call.operation(**(call.arguments | {name: probe.contiguous()})).movedim(2 + dim, -1).flatten(1, -2)
        return weighted(units, out.abs().amax(1).T)

    return None if field is None else _over(call, field, dims, seen)


def _over(call: Call, field: Field, dims: int, seen: Any) -> Field | None:
    """A window over the last `dims` dimensions: for each axis of the image along the one in which it lies."""
    axes = []
    shape = call.main.shape
    for axis, (units, marks) in enumerate(field.axes):
        vary = varying(marks)
        inside = [dim for dim in vary if dim >= marks.dim() - dims]
        if len(inside) > 1 or (0 in vary and marks.dim() - dims > 1):
            return None
        if not inside and dims == len(field.cells) and marks.shape[axis - dims] == 1:
            inside = [marks.dim() - dims + axis]
        if not inside:
            axes.append((along(units, marks, []), torch.ones(1, dtype=torch.float64).expand(shape)))
            continue
        found = seen(along(units, marks, inside), inside[0] - marks.dim() + dims, shape[inside[0]])
        axes.append((found, spread(marks, inside, shape)))
    return Field.of(axes)


def reducing(call: Call) -> Field | list[Field | None] | None:
    """All along the reduced dimensions is seen."""
    field = call.field("self")
    if field is None:
        return None
    dims = call.arguments.get("dim")
    chosen = [dims] if isinstance(dims, int) else list(dims or range(field.marks[0].dim()))
    shape = call.main.shape
    axes = [(units, marks.reshape(shape)) for units, marks in (mixed(*axis, chosen) for axis in field.axes)]
    return [Field.of(axes) for _ in tensors_in([call.output])]


def spreading(call: Call) -> Field | list[Field | None] | None:
    """Everything along one dimension is seen by every element of it."""
    field = call.field("self")
    if field is None:
        return None
    axes = [mixed(*axis, [call.arguments["dim"]]) for axis in field.axes]
    found = Field.of([(units, marks.expand(call.main.shape)) for units, marks in axes])
    return [found for _ in tensors_in([call.output])]


def multiplying(call: Call) -> Field | None:
    """A matrix product sees all along the dimension that it sums over."""
    names = ("mat1", "mat2") if "mat1" in call.arguments else ("batch1", "batch2")
    names = names if names[0] in call.arguments else ("self", "mat2")
    summed = [(names[0], -1), (names[1], -2)]
    parts = [(field, [dim]) for name, dim in summed if (field := call.field(name)) is not None]
    if names[0] != "self" and (field := call.field("self")) is not None:
        parts.append((field, []))
    return _combined(call, parts)


def attention(call: Call) -> Field | None:
    """A query sees itself, and all keys and values."""
    wanted = {"query": [-1], "key": [-1, -2], "value": [-2]}
    return _combined(call, [(field, dims) for name, dims in wanted.items() if (field := call.field(name)) is not None])


def attending(call: Call) -> Field | None:
    """The whole attention layer in one operation: tokens see all tokens."""
    wanted = {"query": [2], "key": [1, 2], "value": [1, 2]}
    return _combined(call, [(field, dims) for name, dims in wanted.items() if (field := call.field(name)) is not None])


def _combined(call: Call, parts: list[tuple[Field, list[int]]]) -> Field | None:
    axes = []
    for axis in range(len(parts[0][0].cells)):
        pair = both([mixed(*field.axes[axis], dims) for field, dims in parts], call.main.shape)
        if pair is None:
            return None
        axes.append(pair)
    return Field.of(axes)


def _dims(call: Call) -> int:
    """How many dimensions a pool or a resize works on: 2 of max_pool2d_with_indices."""
    return next(int(letter) for letter in str(call.operation._schema.name) if letter.isdigit())


RULES: dict[str, Rule] = {
    **dict.fromkeys(NORMS.split(), elementwise),
    **dict.fromkeys(MOVES.split(), moving),
    **dict.fromkeys(WINDOWS.split(), pooling),
    **dict.fromkeys(ADAPTIVE.split(), adapting),
    **dict.fromkeys(RESIZES.split(), resizing),
    **dict.fromkeys(REDUCTIONS.split(), reducing),
    **dict.fromkeys(ALONG.split(), spreading),
    **dict.fromkeys(PRODUCTS.split(), multiplying),
    **dict.fromkeys(FRESH.split(), fresh),
    "convolution": convolving,
    "copy_": copying,
    "_native_multi_head_attention": attending,
}
