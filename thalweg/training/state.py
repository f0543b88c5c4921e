"""The state of a training: what its next step depends on, as tensors and plain values, taken and put back."""

import json
import random
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.notices import notice
from thalweg.core.randomness import Streams
from thalweg.measure.gradient import gradient_norm
from thalweg.training.build import Training
from thalweg.training.position import Position
from thalweg.training.rate import Scheduled
from thalweg.training.tally import RunningMean

PLAIN = (bool, int, float, str, bytes, type(None))
OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module: its parameters, buffers and hooks."""


def taken(training: Training) -> dict[str, Any]:
    """The state beside the model's weights."""
    at, norm = training.position, gradient_norm(training.model.parameters())
    return {
        "step": training.moment.step,
        "epoch": at.epoch,
        "batch": at.batch,
        "seconds": at.seconds,
        "gradient_norm": None if norm is None else float(norm),
        "mean": {"total": at.mean.total, "weight": at.mean.weight},
        "streams": asdict(Streams.now()) if at.batch else None,
        "optimizer": _state_of(training.optimizer, "optimizer"),
        "rate": training.rate.used,
        "scheduler": _state_of(training.rate.scheduler, "scheduler") if isinstance(training.rate, Scheduled) else None,
        "beside": {name: value for name, value in training.step.state_dict().items() if not name.startswith("model.")},
        "passing": dict(_passing_buffers(training.step)),
        "own": own_values(training.step),
        "generators": {name: generator_state(value) for name, value in _generators(training.step)},
        "gradients": _gradients(training),
        "frozen": [name for name, weight in training.step.named_parameters() if not weight.requires_grad],
    }


def put_back(training: Training, state: Mapping[str, Any]) -> None:
    """Put a state that was taken into a training that was built from the same recipe; its weights are put in apart."""
    training.step.load_state_dict(state["beside"], strict=False)
    modules = dict(training.step.named_modules())
    with torch.no_grad():
        for name, value in state["passing"].items():
            where, _, buffer = name.rpartition(".")
            modules[where]._buffers[buffer] = value.to(training.device)
    for name, value in state["own"].items():
        where, _, attribute = name.rpartition(".")
        if not _equal(getattr(modules[where], attribute, None), value):  # else it stays what it is, and whose it is
            setattr(modules[where], attribute, _moved(value, training.device))
    for name, value in state["generators"].items():
        where, _, attribute = name.rpartition(".")
        set_generator(getattr(modules[where], attribute), value)
    frozen = set(state["frozen"])
    for name, weight in training.step.named_parameters():
        weight.requires_grad_(name not in frozen)
    for name, gradient in state["gradients"].items():
        training.step.get_parameter(name).grad = gradient.to(training.device)
    _load_optimizer(training, state["optimizer"])
    if isinstance(training.rate, Scheduled) and state["scheduler"] is not None:
        training.rate.scheduler.load_state_dict(state["scheduler"])
    training.rate.used = state["rate"]
    training.moment.step, training.moment.epoch = state["step"], state["epoch"]
    mean = RunningMean(training.device)
    mean.total.copy_(state["mean"]["total"])
    mean.weight = _moved(state["mean"]["weight"], training.device)
    streams = None if state["streams"] is None else Streams(**state["streams"])
    training.position = Position(
        mean, state["epoch"], state["batch"], state["seconds"], streams, state["gradient_norm"]
    )


def _gradients(training: Training) -> dict[str, Tensor]:
    """What a loop of the user's own may add to; ours begins each step with none."""
    if training.recipe.loop is None:
        return {}
    return {name: weight.grad for name, weight in training.step.named_parameters() if weight.grad is not None}


def _load_optimizer(training: Training, state: Mapping[str, Any] | None) -> None:
    """Load the optimizer's state, and tensors that torch casts to the type of their parameter in their own."""
    if state is None:
        return
    optimizer = training.optimizer
    optimizer.load_state_dict(state)
    own = optimizer.state_dict() if isinstance(state.get("state"), Mapping) else {"state": {}}
    for index, values in own["state"].items():
        kept = state["state"].get(index)
        if isinstance(values, dict) and isinstance(kept, dict):
            for name, value in kept.items():
                cast = values.get(name)
                if isinstance(value, Tensor) and isinstance(cast, Tensor) and value.dtype != cast.dtype:
                    values[name] = value.to(training.device)


def _state_of(piece: Any, what: str) -> Any:
    """What an optimizer or a scheduler says of its state."""
    if not callable(getattr(piece, "state_dict", None)) or not callable(getattr(piece, "load_state_dict", None)):
        notice(
            f"The {what} {type(piece).__name__} has no state_dict and load_state_dict: what it remembers is lost at a "
            "resume, which is then not exact."
        )
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scheduler says that its optimizer must be saved too, which it is
        return piece.state_dict()


def own_values(module: nn.Module) -> dict[str, Any]:
    """Plain values and tensors that modules keep as attributes of their own, by dotted name: counters, running values.

    >>> net = nn.Sequential(nn.Linear(1, 1))
    >>> net[0].calls = 3
    >>> own_values(net)["0.calls"]
    3
    """
    found = {}
    for name, each in module.named_modules():
        for attribute, value in vars(each).items():
            if attribute not in OF_EVERY_MODULE and attribute != "training" and _storable(value):
                found[f"{name}.{attribute}" if name else attribute] = value
    return found


def _generators(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Sources of random numbers that modules keep as attributes of their own."""
    for name, each in module.named_modules():
        for attribute, value in vars(each).items():
            if isinstance(value, torch.Generator | np.random.Generator | random.Random):
                yield f"{name}.{attribute}" if name else attribute, value


def generator_state(source: Any) -> Any:
    """The state of a source of random numbers, as plain values.

    >>> source = np.random.default_rng(0)
    >>> state, first = generator_state(source), source.normal()
    >>> set_generator(source, state)
    >>> source.normal() == first
    True
    """
    if isinstance(source, torch.Generator):
        return source.get_state()
    if isinstance(source, random.Random):
        return json.dumps(source.getstate())
    return json.dumps(source.bit_generator.state, default=np.ndarray.tolist)


def set_generator(source: Any, state: Any) -> None:
    """Put such a source back to a state."""
    if isinstance(source, torch.Generator):
        source.set_state(state)
    elif isinstance(source, random.Random):
        version, numbers, gauss = json.loads(state)
        source.setstate((version, tuple(numbers), gauss))
    else:
        source.bit_generator.state = json.loads(state)


def _equal(own: Any, kept: Any) -> bool:
    """Whether two values have the same content, to the bit."""
    if isinstance(own, Tensor) and isinstance(kept, Tensor):
        same = own.shape == kept.shape and own.dtype == kept.dtype
        return same and torch.equal(own.detach().cpu(), kept.detach().cpu())
    if type(own) is not type(kept):
        return False
    if isinstance(own, list | tuple):
        return len(own) == len(kept) and all(map(_equal, own, kept))
    if isinstance(own, dict):
        return list(own) == list(kept) and all(_equal(own[name], kept[name]) for name in own)
    return bool(own == kept)


def _storable(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not isinstance(value, nn.Parameter)
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(map(_storable, value))
    if isinstance(value, dict):
        return type(value) is dict and all(
            isinstance(key, str | int) and _storable(item) for key, item in value.items()
        )
    return isinstance(value, PLAIN)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, device) for item in value)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


def _passing_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that a state_dict leaves out."""
    for name, each in module.named_modules():
        for buffer in each._non_persistent_buffers_set:
            value = each._buffers.get(buffer)
            if value is not None:
                yield f"{name}.{buffer}" if name else buffer, value
