"""Layers of other sizes: each kind of layer that torch has, begun anew with other inner (input) and outer sides.

A layer is begun anew where it stands, so that a layer which is used twice, a subclass, or one held in a list of the
user's stays the same object, with all its settings but the sizes. Its weights are drawn as torch does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """How layers of one kind tell their sizes, are told what they get, and are begun anew.

    `inner` gives the sizes of the inputs, `outer` that of the output, None where the output has the size of the input;
    `given` the sizes that inputs really have, and `begin` begins a layer anew with sizes.
    """

    inner: Callable[[Any], Sizes]
    outer: Callable[[Any], int | None]
    given: Callable[[Any, tuple[Any, ...]], Sizes]
    begin: Callable[[Any, Sizes, int], None]


def kind_of(module: nn.Module) -> Kind | None:
    """The kind of a layer; None for what is none, for one that torch reparametrizes, or a subclass with more to hold.

    >>> kind_of(nn.Linear(3, 2)).inner(nn.Linear(3, 2)), kind_of(nn.ReLU())
    ((3,), None)
    """
    for known, kind in KINDS.items():
        if isinstance(module, known):
            return kind if type(module) is known or not _holds_more(module) else None
    return None


def mixes(module: nn.Module) -> bool:
    """Whether the size of a layer's output is its own; that of a norm, of attention, or of depthwise filters is not.

    >>> mixes(nn.GRU(3, 2)), mixes(nn.LayerNorm(3))
    (True, False)
    """
    kind = kind_of(module)
    return kind is not None and kind.outer(module) is not None


def resize(module: nn.Module, inner: Sizes, outer: int | None) -> None:
    """Begin a layer anew with these sizes; it stays on its device, of its type, frozen where it was, and in its mode.

    >>> layer = nn.GRU(3, 5, num_layers=2, bidirectional=True)
    >>> resize(layer, (4,), 10)
    >>> layer
    GRU(4, 10, num_layers=2, bidirectional=True)
    """
    kind = kind_of(module)
    assert kind is not None
    if isinstance(module, LazyModuleMixin):
        lazy: Any = module
        lazy.__class__ = lazy.cls_to_become
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    training = module.training
    with _alike(module):
        kind.begin(module, inner, outer if outer is not None else 0)
    module.train(training)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)


@contextmanager
def _alike(module: nn.Module) -> Iterator[None]:
    """New tensors have the type and the device of a layer's own."""
    own = next(module.parameters(), None)
    if own is None or not own.is_floating_point():
        yield
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(own.dtype)
    try:
        with own.device:
            yield
    finally:
        torch.set_default_dtype(before)


def _holds_more(module: nn.Module) -> bool:
    held = {*module._parameters, *module._buffers}
    return bool(module._modules) or not held <= HELD or isinstance(module, nn.RNNBase | nn.MultiheadAttention)


# --- one kind after the other -----------------------------------------------------------------------------------------


def _linear(layer: Any, inner: Sizes, outer: int) -> None:
    nn.Linear.__init__(layer, inner[0], outer, bias=layer.bias is not None)


def _bilinear(layer: Any, inner: Sizes, outer: int) -> None:
    nn.Bilinear.__init__(layer, inner[0], inner[1], outer, bias=layer.bias is not None)


def _convolution(layer: Any, inner: Sizes, outer: int) -> None:
    """With groups of one channel each (depthwise) there stay as many outputs for each input, else as many groups."""
    (channels,), groups = inner, layer.groups
    if _filters_outer(layer) is None:
        groups, outer = channels, channels * (layer.out_channels // layer.in_channels)
    groups = gcd(groups, channels, outer)
    settings: dict[str, Any] = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    settings |= {"groups": groups, "bias": layer.bias is not None, "padding_mode": layer.padding_mode}
    if layer.transposed:
        settings["output_padding"] = layer.output_padding
    _torch_kind(layer).__init__(layer, channels, outer, **settings)


def _embedding(layer: Any, inner: Sizes, outer: int) -> None:
    names = ("max_norm", "norm_type", "scale_grad_by_freq", "sparse")
    settings: dict[str, Any] = {name: getattr(layer, name) for name in names}
    if isinstance(layer, nn.EmbeddingBag):
        settings |= {"mode": layer.mode, "include_last_offset": layer.include_last_offset}
    _torch_kind(layer).__init__(layer, layer.num_embeddings, outer, padding_idx=layer.padding_idx, **settings)


def _channel_norm(layer: Any, inner: Sizes, outer: int) -> None:
    _torch_kind(layer).__init__(layer, *inner, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)


def _group_norm(layer: Any, inner: Sizes, outer: int) -> None:
    nn.GroupNorm.__init__(layer, gcd(layer.num_groups, inner[0]), inner[0], layer.eps, layer.affine)


def _layer_norm(layer: Any, inner: Sizes, outer: int) -> None:
    nn.LayerNorm.__init__(layer, inner, layer.eps, layer.elementwise_affine, getattr(layer, "bias", None) is not None)


def _rms_norm(layer: Any, inner: Sizes, outer: int) -> None:
    nn.RMSNorm.__init__(layer, inner, layer.eps, layer.elementwise_affine)


def _prelu(layer: Any, inner: Sizes, outer: int) -> None:
    nn.PReLU.__init__(layer, *inner)


def _recurrent(layer: Any, inner: Sizes, outer: int) -> None:
    names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
    settings: dict[str, Any] = {name: getattr(layer, name) for name in names}
    if layer.proj_size:
        settings["proj_size"] = min(outer - 1, max(1, layer.proj_size * outer // layer.hidden_size))
    if isinstance(layer, nn.RNN):
        settings["nonlinearity"] = layer.nonlinearity
    _torch_kind(layer).__init__(layer, *inner, outer, **settings)


def _cell(layer: Any, inner: Sizes, outer: int) -> None:
    settings: dict[str, Any] = {"bias": layer.bias}
    if isinstance(layer, nn.RNNCell):
        settings["nonlinearity"] = layer.nonlinearity
    _torch_kind(layer).__init__(layer, *inner, outer, **settings)


def _attention(layer: Any, inner: Sizes, outer: int) -> None:
    """As many heads, or the next fewer that divide the size."""
    size, keys, values = inner
    heads = next(count for count in range(layer.num_heads, 0, -1) if size % count == 0)
    nn.MultiheadAttention.__init__(
        layer, size, heads, layer.dropout, layer.in_proj_bias is not None, layer.bias_k is not None,
        layer.add_zero_attn, keys, values, layer.batch_first,
    )  # fmt: skip


def _torch_kind(layer: nn.Module) -> Any:
    return next(known for known in type(layer).__mro__ if known in KINDS)


def _last(layer: Any, given: tuple[Any, ...]) -> Sizes:
    """The sizes of the last axes of the inputs; a packed sequence has them too."""
    return tuple(_tensor(one).shape[-1] for one in given)


def _first_last(layer: Any, given: tuple[Any, ...]) -> Sizes:
    return _last(layer, given[:1])


def _trailing(layer: Any, given: tuple[Any, ...]) -> Sizes:
    return tuple(given[0].shape[-len(layer.normalized_shape) :])


def _channels(layer: Any, given: tuple[Any, ...]) -> Sizes:
    return (given[0].shape[1],)


def _slopes(layer: Any, given: tuple[Any, ...]) -> Sizes:
    return (given[0].shape[1] if layer.num_parameters > 1 else 1,)


def _channels_of_filters(layer: Any, given: tuple[Any, ...]) -> Sizes:
    return (given[0].shape[-1 - len(layer.kernel_size)],)


def _nothing(layer: Any, given: tuple[Any, ...] = ()) -> Sizes:
    return ()


def _tensor(one: Any) -> Tensor:
    return one.data if isinstance(one, nn.utils.rnn.PackedSequence) else one


def _same(layer: Any) -> None:
    return None


def _filters_outer(layer: Any) -> int | None:
    return None if layer.groups == layer.in_channels > 1 else int(layer.out_channels)


def _named(*names: str) -> Callable[[Any], Sizes]:
    return lambda layer: tuple(getattr(layer, name) for name in names)


def _one(name: str) -> Callable[[Any], int]:
    return lambda layer: int(getattr(layer, name))


FILTERS = Kind(_named("in_channels"), _filters_outer, _channels_of_filters, _convolution)
CHANNEL_NORM = Kind(_named("num_features"), _same, _channels, _channel_norm)
RECURRENT = Kind(_named("input_size"), _one("hidden_size"), _first_last, _recurrent)
CELL = Kind(_named("input_size"), _one("hidden_size"), _first_last, _cell)
EMBEDDING = Kind(_nothing, _one("embedding_dim"), _nothing, _embedding)
KINDS: dict[type[nn.Module], Kind] = {
    nn.Linear: Kind(_named("in_features"), _one("out_features"), _first_last, _linear),
    nn.Bilinear: Kind(_named("in1_features", "in2_features"), _one("out_features"), _last, _bilinear),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), FILTERS),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), FILTERS),
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU), RECURRENT),
    **dict.fromkeys((nn.RNNCell, nn.LSTMCell, nn.GRUCell), CELL),
    **dict.fromkeys((nn.Embedding, nn.EmbeddingBag), EMBEDDING),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), CHANNEL_NORM),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), CHANNEL_NORM),
    nn.GroupNorm: Kind(_named("num_channels"), _same, _channels, _group_norm),
    nn.LayerNorm: Kind(lambda layer: tuple(layer.normalized_shape), _same, _trailing, _layer_norm),
    nn.RMSNorm: Kind(lambda layer: tuple(layer.normalized_shape), _same, _trailing, _rms_norm),
    nn.PReLU: Kind(_named("num_parameters"), _same, _slopes, _prelu),
    nn.MultiheadAttention: Kind(_named("embed_dim", "kdim", "vdim"), _same, _last, _attention),
}
"""The layers that can be of another size."""
HELD = {"weight", "bias", "weight_ih", "weight_hh", "bias_ih", "bias_hh"} | {
    "running_mean", "running_var", "num_batches_tracked",
}  # fmt: skip
"""What torch's own layers hold; a subclass that holds more is no longer known."""
