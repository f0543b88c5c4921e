"""Parcels: a run as a worker process sends it back, in parts of which each can be read without the others.

A model comes whole, or as its state, with which the recipe's factory builds it again; an error comes by its own
constructor, without it, or as text.
"""

import itertools
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cloudpickle
from torch import nn

from thalweg.core.errors import RunError
from thalweg.core.randomness import seed_everything, untouched
from thalweg.training.factories import build_model
from thalweg.training.keeper import snapshot
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run


@dataclass(frozen=True)
class Parcel:
    """A run without its recipe, each part in bytes of its own; `refused` says why there is none."""

    history: list[dict[str, Any]]
    status: str
    best_epoch: int
    notices: tuple[str, ...]
    models: bytes | None = None
    states: bytes | None = None
    error: bytes | None = None
    refused: str | None = None


def refusing(reason: str) -> Parcel:
    """The parcel of a recipe that has to be trained where it is.

    >>> refusing("no room").refused
    'no room'
    """
    return Parcel([], str(Outcome.FAILED), 0, (), refused=reason)


def parcel_of(run: Run) -> Parcel:
    """A run to be sent: its models whole, or their states where they cannot be pickled."""
    models = states = None
    try:
        models = cloudpickle.dumps((run.best, run.final, run.preprocessing))
    except Exception:
        try:
            both = [None if model is None else snapshot(model) for model in (run.best, run.final)]
            states = cloudpickle.dumps((*both, run.best is run.final, run.preprocessing))
        except Exception as error:
            return refusing(f"what it learned cannot be sent back ({type(error).__name__}: {error})")
    told = None if run.error is None else cloudpickle.dumps(errors_of(run.error))
    return Parcel(run.history, str(run.status), run.best_epoch, run.notices, models, states, told)


def opened(parcel: Parcel, recipe: Recipe) -> Run:
    """The run of a parcel, with the caller's own recipe."""
    best = final = preprocessing = None
    if parcel.models is not None:
        best, final, preprocessing = cloudpickle.loads(parcel.models)
    elif parcel.states is not None:
        first, last, same, preprocessing = cloudpickle.loads(parcel.states)
        final = _rebuilt(recipe, last)
        best = final if same else _rebuilt(recipe, first)
    error = None if parcel.error is None else error_of(cloudpickle.loads(parcel.error))
    return Run(
        recipe, parcel.history, Outcome[parcel.status], best, final, parcel.best_epoch, error, parcel.notices,
        preprocessing=preprocessing,
    )  # fmt: skip


def _rebuilt(recipe: Recipe, state: Any) -> nn.Module | None:
    """The model of the recipe with a state of it, in evaluation mode."""
    if state is None:
        return None
    with untouched():
        seed_everything(recipe.seed, "model")
        model = build_model(recipe.model)
    model.load_state_dict(state)
    return model.eval()


def errors_of(error: BaseException) -> list[tuple[Any, ...]]:
    """An error and its causes: each whole, in parts, and as text, for whichever can be read."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    told = "".join(traceback.format_exception(error))
    return [(*_forms(each), type(each).__name__, _said(each), told if each is error else "") for each in chain]


def _forms(error: BaseException) -> tuple[bytes | None, bytes | None]:
    """An error by its own constructor, where that gives the same again, and without it."""
    whole = parts = None
    with suppress(Exception):
        packed = cloudpickle.dumps(error)
        again = cloudpickle.loads(packed)
        whole = packed if type(again) is type(error) and str(again) == str(error) else None
    with suppress(Exception):
        own = {name: value for name, value in vars(error).items() if _can_go(value)}
        parts = cloudpickle.dumps((type(error), tuple(a if _can_go(a) else repr(a) for a in error.args), own))
    return whole, parts


def _can_go(value: Any) -> bool:
    try:
        cloudpickle.loads(cloudpickle.dumps(value))
    except Exception:
        return False
    return True


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return repr(error.args)


def error_of(sent: list[tuple[Any, ...]]) -> BaseException:
    """The error again, with its causes and, as a note, the traceback of the process that it was raised in.

    >>> error_of(errors_of(ValueError("no such label")))
    ValueError('no such label')
    """
    ways: tuple[Callable[[bytes], Any], ...] = (cloudpickle.loads, _unmade)
    errors: list[BaseException] = []
    for *forms, name, said, told in sent:
        error: BaseException = RunError(f"{name}: {said}")
        for form, way in zip(forms, ways, strict=True):
            with suppress(Exception):
                if form is not None and _said(made := way(form)) == said:
                    error = made
                    break
        if told:
            error.add_note(f"Raised in a worker process:\n\n{told}")
        errors.append(error)
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def _unmade(parts: bytes) -> BaseException:
    """An error that its constructor cannot make again."""
    kind, given, own = cloudpickle.loads(parts)
    error: BaseException = kind.__new__(kind, *given)
    error.args = given
    vars(error).update(own)
    return error
