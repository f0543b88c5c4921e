"""The state of the optimizer and of its schedule, taken and put back; at another rate or kind where one insists."""

import warnings
from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from torch import Tensor

from thalweg.core.errors import RunError
from thalweg.core.notices import notice
from thalweg.training.build import Training
from thalweg.training.rate import Scheduled

MEND = "Resume with the optimizer that the run began with."


def taken_update(training: Training) -> dict[str, Any]:
    """What the optimizer and the schedule remember."""
    rate = training.rate
    return {
        "optimizer": _state_of(training.optimizer, "optimizer"),
        "optimizer_kind": type(training.optimizer).__qualname__,
        "rate": rate.used,
        "scheduler": _state_of(rate.scheduler, "scheduler") if isinstance(rate, Scheduled) else None,
    }


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
        _load(training, state["optimizer"])
    old = [group["lr"] for group in optimizer.param_groups]
    if insisted:
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group.update(deepcopy(settings))
    if isinstance(training.rate, Scheduled) and state["scheduler"] is not None:
        if "schedule" in changed:
            notice("The schedule begins anew: it is another one than the run began with.")
        else:
            _load_scheduler(training.rate.scheduler, state["scheduler"], old, bool(insisted))
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
    return counts == [len(group["params"]) for group in kept["param_groups"]]


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
