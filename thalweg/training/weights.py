"""Weights on disk: standard safetensors files, with each shared tensor written once."""

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from thalweg.core.errors import RunError
from thalweg.core.files import write_bytes
from thalweg.core.notices import notice


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state; tied weights are written under their first name.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save_weights(nn.Linear(3, 1), path)
    >>> load_weights(nn.Linear(3, 1), path)
    """
    kept: dict[str, Tensor] = {}
    seen: set[tuple[object, ...]] = set()
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor):
            notice(f"The model's state '{name}' is a {type(tensor).__name__}, which a weights file cannot hold.")
            continue
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = tensor.detach().to("cpu", copy=True).contiguous()
    write_bytes(path, safetensors.torch.save(kept))


def load_weights(model: nn.Module, path: Path) -> None:
    """Read a model's state into it.

    Raises `RunError` where the file is missing or damaged, or its tensors do not fit the model.
    """
    try:
        state = safetensors.torch.load(path.read_bytes())
    except FileNotFoundError as error:
        raise RunError(f"There are no weights at {path}. Put the file back, or train the run again.") from error
    except OSError as error:
        raise RunError(
            f"The weights {path} cannot be read: {error.strerror}. Check that the file may be read."
        ) from error
    except (SafetensorError, ValueError) as error:
        raise RunError(
            f"The weights {path.name} cannot be read ({error}). The file is damaged: train again."
        ) from error
    own = model.state_dict()
    wrong = [name for name in state if name not in own or not _fits(own[name], state[name])]
    absent = [name for name in own if name not in state and not _tied(own, name, state)]
    if wrong or absent:
        raise RunError(
            f"The weights {path.name} do not fit the model: {', '.join(sorted(wrong + absent)[:5])}. They belong to a "
            "model of another shape; give load_run the recipe that the run was trained with."
        )
    with torch.no_grad():
        model.load_state_dict(state, strict=False)


def _fits(own: Tensor, read: Tensor) -> bool:
    return is_lazy(own) or own.shape == read.shape


def _tied(own: dict[str, Tensor], name: str, state: dict[str, Tensor]) -> bool:
    tensor = own[name]
    return not isinstance(tensor, Tensor) or any(
        other in state and own[other].data_ptr() == tensor.data_ptr() for other in own if other != name
    )
