"""Weights on disk: standard safetensors files, with each shared tensor written once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from thalweg.core.errors import RunError
from thalweg.core.files import write_own
from thalweg.core.notices import notice


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state; tied weights are written under their first name.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save_weights(nn.Linear(3, 1), path)
    >>> load_weights(nn.Linear(3, 1), path)
    """
    write_own(path, packed_weights(model.state_dict()))


def packed_weights(state: Mapping[str, Any]) -> bytes:
    """A model's state as a safetensors file holds it, each shared tensor once."""
    kept: dict[str, Tensor] = {}
    seen: set[tuple[object, ...]] = set()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            notice(f"The model's state '{name}' is a {type(tensor).__name__}, which a weights file cannot hold.")
            continue
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = tensor.detach().to("cpu", copy=True).contiguous()
    return safetensors.torch.save(kept)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read a model's state into it.

    Raises `RunError` where the file is missing or damaged, or its tensors do not fit the model.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"There are no weights at {path}. Put the file back, or train the run again.") from error
    except OSError as error:
        raise RunError(
            f"The weights {path} cannot be read: {error.strerror}. Check that the file may be read."
        ) from error
    unpack_weights(model, data, path.name)


OTHER_MODEL = "They belong to a model of another shape; give load_run the recipe that the run was trained with."


def unpack_weights(model: nn.Module, data: bytes, name: str, mend: str = OTHER_MODEL, grown: bool = False) -> None:
    """Put the content of a weights file of that name into a model; `mend` is said where they do not fit.

    `grown` lets buffers take the shapes that they have there.

    Raises `RunError` where it is damaged, or its tensors do not fit the model.
    """
    try:
        state = safetensors.torch.load(data)
    except (SafetensorError, ValueError) as error:
        raise RunError(f"The weights {name} cannot be read ({error}). The file is damaged: train again.") from error
    if grown:
        adopt_buffers(model, state)
    own = model.state_dict()
    wrong = [key for key in state if key not in own or not _fits(own[key], state[key])]
    absent = [key for key in own if key not in state and not _tied(own, key, state)]
    if wrong or absent:
        raise RunError(f"The weights {name} do not fit the model: {', '.join(sorted(wrong + absent)[:5])}. {mend}")
    with torch.no_grad():
        model.load_state_dict(state, strict=False)


def adopt_buffers(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Give a model's buffers the shapes of a state: a memory bank grows, and some buffers are None at first.

    >>> norm = nn.BatchNorm1d(2)
    >>> adopt_buffers(norm, {"running_mean": torch.zeros(5)})
    >>> norm.running_mean.shape
    torch.Size([5])
    """
    modules = dict(model.named_modules())
    for name, value in state.items():
        where, _, buffer = name.rpartition(".")
        buffers = modules[where]._buffers if where in modules else {}
        own = buffers.get(buffer)
        if buffer in buffers and isinstance(value, Tensor) and (own is None or own.shape != value.shape):
            device = value.device if own is None else own.device
            buffers[buffer] = torch.empty_like(value, device=device)


def _fits(own: Tensor, read: Tensor) -> bool:
    return is_lazy(own) or own.shape == read.shape


def _tied(own: dict[str, Tensor], name: str, state: dict[str, Tensor]) -> bool:
    tensor = own[name]
    return not isinstance(tensor, Tensor) or any(
        other in state and own[other].data_ptr() == tensor.data_ptr() for other in own if other != name
    )
