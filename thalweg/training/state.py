"""The state of a training: what its next step depends on, as tensors and plain values, taken and put back."""

import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.notices import notice
from thalweg.core.randomness import Streams
from thalweg.training.attributes import (
    ABSENT,
    GOES_ON,
    attributes,
    attributes_of,
    mark,
    marks,
    of_weights,
    own_values,
    parted,
    restore,
    sharing,
)
from thalweg.training.build import Training
from thalweg.training.layout import lay_out_as
from thalweg.training.optimizer_state import put_back_update, taken_update
from thalweg.training.plain import PLAIN, moved
from thalweg.training.position import Position
from thalweg.training.tally import RunningMean


def taken(training: Training) -> dict[str, Any]:
    """The state beside the model's weights."""
    at = training.position
    own, others = parted(attributes(training.step))
    return {
        "step": training.moment.step,
        "epoch": at.epoch,
        "batch": at.batch,
        "seconds": at.seconds,
        "gradient_norm": training.gradient_norm(),
        "mean": {"total": at.mean.total, "weight": at.mean.weight},
        "streams": asdict(Streams.now()) if at.batch else None,
        "update": taken_update(training),
        "whole": None if training.whole is None else training.whole.state(),
        "choices": dict(training.choices),
        "clip": None if training.clip is None else training.clip.state(),
        "average": None if training.average is None else training.average.state_dict(),
        "beside": {name: value for name, value in training.step.state_dict().items() if not name.startswith("model.")},
        "passing": dict(_passing_buffers(training.step)),
        "own": own,
        "sharing": sharing(training.step),
        "marks": _marks(training, others),
        "gradients": _gradients(training),
        "frozen": [name for name, weight in training.step.named_parameters() if not weight.requires_grad],
    }


def put_back(training: Training, state: Mapping[str, Any], changed: Collection[str] = ()) -> None:
    """Put a state that was taken into a training that was built from the same recipe; its weights are put in apart.

    `changed` are the fields in which the recipe is another one, on purpose.
    """
    training.step.load_state_dict(state["beside"], strict=False)
    modules = dict(training.step.named_modules())
    with torch.no_grad():
        for name, value in state["passing"].items():
            where, _, buffer = name.rpartition(".")
            modules[where]._buffers[buffer] = value.to(training.device)
    _put_back_own(training, state, modules)
    frozen = set(state["frozen"])
    for name, weight in training.step.named_parameters():
        weight.requires_grad_(name not in frozen)
    for name, gradient in state["gradients"].items():
        training.step.get_parameter(name).grad = gradient.to(training.device)
    put_back_update(training, state["update"], changed)
    _say_what_begins_anew(state["marks"], _marks(training, parted(attributes(training.step))[1]))
    if state["choices"]["layout"] != training.choices["layout"]:
        lay_out_as(training, state["choices"]["layout"])
    if state["choices"]["compiled"] == "no":
        training.whole, training.choices["compiled"] = None, "no"
    elif training.whole is not None:
        training.whole.put_back(state["whole"])
    if training.clip is not None and state["clip"] is not None:
        training.clip.put_back(state["clip"])
    if training.average is not None and state["average"] is not None:
        training.average.load_state_dict(state["average"])
    training.moment.step, training.moment.epoch = state["step"], state["epoch"]
    mean = RunningMean(training.device)
    mean.total.copy_(state["mean"]["total"])
    mean.weight = moved(state["mean"]["weight"], training.device)
    streams = None if state["streams"] is None else Streams(**state["streams"])
    training.position = Position(
        mean, state["epoch"], state["batch"], state["seconds"], streams, state["gradient_norm"]
    )


def _put_back_own(training: Training, state: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> None:
    """Put back what modules keep as attributes; what is equal stays what it is, and whose it is."""
    now, shared = own_values(training.step), sharing(training.step)
    for name, value in state["own"].items():
        where, _, attribute = name.rpartition(".")
        alone = shared.get(name) == state["sharing"].get(name)
        restore(modules[where], attribute, value, now.get(name, ABSENT), training.device, alone)


def _marks(training: Training, others: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Marks of what training may change and no checkpoint holds, by whose it is; `others` are the modules' own."""
    recipe, judge = training.recipe, training.judge
    pieces = {"stopping": recipe.stopping, **judge.plain, **{name: each.inner for name, each in judge.marked.items()}}
    if recipe.judge is not None:
        pieces["judge"] = judge.objective.inner
    for name in ("objective", "penalty"):
        if not isinstance(piece := getattr(recipe, name), nn.Module):  # of a module a copy is part of the step
            pieces[name] = piece
    kept = {name: piece for name, piece in pieces.items() if _has_memory(piece)}
    weights = {id(weight) for weight in training.step.parameters()}
    others = {name: value for name, value in others.items() if name != "block"}  # that of a precision, entered anew
    return {
        "model": marks({name: value for name, value in others.items() if not of_weights(value, weights)}),
        "optimizer": marks(parted(attributes_of(training.optimizer, weights))[1]),
        "data set": _marks_of_data(training.source),
        "recipe": {name: mark(piece) for name, piece in kept.items()},
    }


def _has_memory(piece: Any) -> bool:
    """Whether it is an object that may remember; a function's closure may too, but it may also hold the data."""
    return hasattr(piece, "__dict__") and not isinstance(piece, types.FunctionType | partial | type | types.MethodType)


def _marks_of_data(source: Any) -> dict[str, str]:
    """Marks of the small values that a data set keeps as attributes."""
    if type(source).__module__.startswith("thalweg.") and not hasattr(source, "examples"):
        return {}  # what our own sources keep is the recipe's
    holder = getattr(source, "examples", source)
    kept = vars(holder) if hasattr(holder, "__dict__") else {}
    return {name: mark(value) for name, value in kept.items() if type(value) in PLAIN}


def _say_what_begins_anew(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Say what was changed when the checkpoint was written and begins anew."""
    for what, mend in MENDS.items():
        kept, own = before[what], now[what]
        other = [name.removeprefix("model.") for name, one in kept.items() if one == GOES_ON or one != own.get(name)]
        if other:
            notice(
                f"What the {what} keeps in {', '.join(other)} changes while it trains and is in no checkpoint: it "
                f"begins anew, and the run is not exact. {mend}"
            )


PLAIN_THINGS = "Keep numbers, tensors, arrays, lists, dicts and deques there."
MENDS = {
    "model": PLAIN_THINGS,
    "optimizer": PLAIN_THINGS,
    "data set": "Let an example depend on its index and on random numbers alone.",
    "recipe": "Let a metric, a judge or a rule depend on what it is given alone.",
}


def _gradients(training: Training) -> dict[str, Tensor]:
    """What a loop of the user's own may add to; ours begins each step with none."""
    if training.recipe.loop is None:
        return {}
    return {name: weight.grad for name, weight in training.step.named_parameters() if weight.grad is not None}


def _passing_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that a state_dict leaves out."""
    for name, each in module.named_modules():
        for buffer in each._non_persistent_buffers_set:
            value = each._buffers.get(buffer)
            if value is not None:
                yield f"{name}.{buffer}" if name else buffer, value
