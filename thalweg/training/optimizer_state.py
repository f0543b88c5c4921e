"""The state of the optimizer and of its schedule, taken and put back; at another rate or kind where one insists."""

import warnings
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any

from torch import Tensor

from thalweg.core.errors import RunError
from thalweg.core.notices import notice
from thalweg.training.attributes import ABSENT, attributes_of, parted, restore
from thalweg.training.build import Training
from thalweg.training.plain import NotPlain, as_plain, plain_again
from thalweg.training.rate import Scheduled

CAST = (Tensor, bool, int, float, str, type(None), list, tuple, dict)
MEND = "Resume with the optimizer that the run began with."


def taken_update(training: Training) -> dict[str, Any]:
    """What the optimizer and the schedule remember."""
    rate = training.rate
    return {
        "optimizer": _state_of(training.optimizer, "optimizer"),
        "own": parted(attributes_of(training.optimizer, _ids(training)))[0],
        "optimizer_kind": type(training.optimizer).__qualname__,
        "rate": rate.used,
        "scheduler": _state_of(rate.scheduler, "scheduler") if isinstance(rate, Scheduled) else None,
        "scheduler_own": parted(_kept_by_schedule(training))[0],
    }


def _kept_by_schedule(training: Training) -> Iterator[tuple[str, Any]]:
    """The attributes of a scheduler that has no state_dict."""
    scheduler = training.rate.scheduler if isinstance(training.rate, Scheduled) else None
    if scheduler is None or callable(getattr(scheduler, "state_dict", None)):
        return iter(())
    own = attributes_of(scheduler, _ids(training))
    return ((name, value) for name, value in own if value is not training.optimizer)


def put_back_update(training: Training, state: Mapping[str, Any], changed: Collection[str] = ()) -> None:
    """Put it back; `changed` are the fields of the recipe that are meant to be others than they were.

    Another rate or decay holds from now on, over what the optimizer has gathered; another kind of optimizer, or another
    scheduler, begins anew, which is said.

    Raises `RunError` where the state does not fit.
    """
    optimizer = training.optimizer
    insisted = {"optimizer", "schedule"} & set(changed)
    groups = [_settings(group) for group in optimizer.param_groups]
    if "optimizer" in changed and not _same_kind(optimizer, groups, state):
        notice(f"The optimizer is now {type(optimizer).__qualname__}, which begins anew.")
    else:
        _check_kind(optimizer, state["optimizer_kind"])
        _load(training, plain_again(state["optimizer"]))
        _put_back_own(training, training.optimizer, state["own"])
    old = [group["lr"] for group in optimizer.param_groups]
    if insisted:
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group.update(deepcopy(settings))
    if isinstance(training.rate, Scheduled) and (state["scheduler"] is not None or state["scheduler_own"]):
        if "schedule" in changed:
            notice("The schedule begins anew: it is another one than the run began with.")
        elif state["scheduler"] is None:
            _put_back_own(training, training.rate.scheduler, state["scheduler_own"])
        else:
            _load_scheduler(training.rate.scheduler, plain_again(state["scheduler"]), old, bool(insisted))
    training.rate.used = state["rate"]


def _check_kind(optimizer: Any, kept: str) -> None:
    """Refuse another kind than the run began with, which a recipe that cannot be compared may bring."""
    name = type(optimizer).__qualname__
    if name != kept:
        raise RunError(f"The optimizer {name} cannot go on from what the checkpoint holds of {kept}. {MEND}")


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _same_kind(optimizer: Any, groups: list[dict[str, Any]], state: Mapping[str, Any]) -> bool:
    """Whether what one optimizer has gathered is what this one reads: the same kind, over as many weights."""
    kept = state["optimizer"]
    if kept is None or type(optimizer).__qualname__ != state["optimizer_kind"]:
        return False
    counts = [len(group["params"]) for group in optimizer.param_groups]
    return counts == [len(group["params"]) for group in plain_again(kept)["param_groups"]]


def _load_scheduler(scheduler: Any, kept: Mapping[str, Any], old: list[Any], insisted: bool) -> None:
    """Load a scheduler's state; at other rates it goes on by the same factors."""
    own = getattr(scheduler, "base_lrs", None)
    scheduler.load_state_dict(kept)
    if not insisted or own is None:
        return
    before, scheduler.base_lrs = scheduler.base_lrs, own
    for group, new, base, rate in zip(scheduler.optimizer.param_groups, own, before, old, strict=True):
        group["lr"] = new * rate / base if base else new


def _load(training: Training, state: Mapping[str, Any] | None) -> None:
    """Load the optimizer's state, and tensors that torch casts to the type of their parameter in their own."""
    if state is None:
        return
    optimizer = training.optimizer
    state, others = _parted(state)
    try:
        optimizer.load_state_dict(state)
    except Exception as error:  # a kind of its own may refuse in any way
        raise RunError(
            f"The optimizer {type(optimizer).__qualname__} cannot go on from what the checkpoint holds of it "
            f"({type(error).__name__}: {error}). {MEND}"
        ) from error
    own = optimizer.state_dict() if isinstance(state.get("state"), Mapping) else {"state": {}}
    for index, values in own["state"].items():
        kept = state["state"].get(index)
        if isinstance(values, dict) and isinstance(kept, dict):
            for name, value in kept.items():
                cast = values.get(name)
                if isinstance(value, Tensor) and isinstance(cast, Tensor) and value.dtype != cast.dtype:
                    values[name] = value.to(training.device)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]] if others else []
    for index, values in others.items():
        optimizer.state[weights[index]].update(values)


def _parted(state: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[int, dict[str, Any]]]:
    """A state that torch can cast to its weights, and what it would take apart: arrays, deques, random streams."""
    whole = state.get("state")
    if not isinstance(whole, dict):
        return state, {}
    others = {
        index: {name: value for name, value in values.items() if not isinstance(value, CAST)}
        for index, values in whole.items()
        if isinstance(index, int) and isinstance(values, dict)
    }
    others = {index: values for index, values in others.items() if values}
    kept = {
        index: {name: value for name, value in values.items() if name not in others[index]}
        if index in others
        else values
        for index, values in whole.items()
    }
    return {**state, "state": kept}, others


def _state_of(piece: Any, what: str) -> Any:
    """What an optimizer or a scheduler says of its state."""
    if not callable(getattr(piece, "state_dict", None)) or not callable(getattr(piece, "load_state_dict", None)):
        notice(
            f"The {what} {type(piece).__name__} has no state_dict and load_state_dict: at a resume it gets back the "
            "numbers, tensors, lists and dicts that are its attributes, and what else it remembers is lost."
        )
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scheduler says that its optimizer must be saved too, which it is
        state = piece.state_dict()
    try:
        return as_plain(state)
    except (NotPlain, RecursionError):  # what cannot be read back will be said when it is packed
        return state


def _ids(training: Training) -> set[int]:
    return {id(weight) for weight in training.step.parameters()}


def _put_back_own(training: Training, piece: Any, kept: Mapping[str, Any]) -> None:
    """What an optimizer or a scheduler keeps as attributes of its own, such as another optimizer inside it."""
    now, _ = parted(attributes_of(piece, _ids(training)))
    for name, value in kept.items():
        restore(piece, name, value, now.get(name, ABSENT), training.device)
