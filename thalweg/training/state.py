"""The state of a training: what its next step depends on, as tensors and plain values, taken and put back."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.fingerprint import UNKNOWN
from thalweg.core.generators import GENERATORS, generator_state, set_generator
from thalweg.core.notices import notice
from thalweg.core.randomness import Streams
from thalweg.training.attributes import (
    PLAIN,
    attributes,
    equal,
    mark,
    marks_of_others,
    moved,
    own_values,
    plain_again,
)
from thalweg.training.build import Training
from thalweg.training.layout import lay_out_as
from thalweg.training.optimizer_state import put_back_update, taken_update
from thalweg.training.position import Position
from thalweg.training.tally import RunningMean


def taken(training: Training) -> dict[str, Any]:
    """The state beside the model's weights."""
    at = training.position
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
        "own": own_values(training.step),
        "others": marks_of_others(training.step),
        "data": marks_of_data(training.source),
        "generators": {name: generator_state(value) for name, value in _generators(training.step)},
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
    now = own_values(training.step)
    for name, value in state["own"].items():
        where, _, attribute = name.rpartition(".")
        if name not in now or not equal(now[name], value):  # else it stays what it is, and whose it is
            setattr(modules[where], attribute, plain_again(moved(value, training.device)))
    _say_what_begins_anew(training, state)
    for name, value in state["generators"].items():
        where, _, attribute = name.rpartition(".")
        set_generator(getattr(modules[where], attribute), value)
    frozen = set(state["frozen"])
    for name, weight in training.step.named_parameters():
        weight.requires_grad_(name not in frozen)
    for name, gradient in state["gradients"].items():
        training.step.get_parameter(name).grad = gradient.to(training.device)
    put_back_update(training, state["update"], changed)
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


def marks_of_data(source: Any) -> dict[str, str]:
    """Marks of the small values that a data set keeps as attributes, by which it is seen whether reading changes them.

    >>> marks_of_data(torch.utils.data.TensorDataset(torch.ones(3)))
    {}
    """
    holder = getattr(source, "examples", source)
    kept = vars(holder) if hasattr(holder, "__dict__") else {}
    return {name: mark(value) for name, value in kept.items() if type(value) in PLAIN}


def _say_what_begins_anew(training: Training, state: Mapping[str, Any]) -> None:
    """Say what training changes and no checkpoint holds."""
    pairs = (("model", state["others"], marks_of_others(training.step)),
             ("data set", state["data"], marks_of_data(training.source)))  # fmt: skip
    for what, before, now in pairs:
        other = [name.removeprefix("model.") for name, kept in before.items() if kept not in (UNKNOWN, now.get(name))]
        if other:
            mend = (
                "Keep numbers, tensors, arrays, lists, dicts and deques there."
                if what == "model"
                else ("Let an example depend on its index and on random numbers alone.")
            )
            notice(
                f"What the {what} keeps in {', '.join(other)} changes while it trains and is in no checkpoint: it "
                f"begins anew, and the run is not exact. {mend}"
            )


def _gradients(training: Training) -> dict[str, Tensor]:
    """What a loop of the user's own may add to; ours begins each step with none."""
    if training.recipe.loop is None:
        return {}
    return {name: weight.grad for name, weight in training.step.named_parameters() if weight.grad is not None}


def _generators(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Sources of random numbers that modules keep as attributes of their own."""
    return ((name, value) for name, value in attributes(module) if isinstance(value, GENERATORS))


def _passing_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that a state_dict leaves out."""
    for name, each in module.named_modules():
        for buffer in each._non_persistent_buffers_set:
            value = each._buffers.get(buffer)
            if value is not None:
                yield f"{name}.{buffer}" if name else buffer, value
