"""thalweg trains networks, says what holds them back, proves it by experiment, and applies the remedy.

The public names are resolved when they are first used, so that `import thalweg` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg import cases, decode, loss, measure, nn, optim
    from thalweg.core.errors import DataError, RecipeError, RunError, ThalwegError, Unsupported
    from thalweg.core.objective import Losses, Moment, objective
    from thalweg.core.source import Source, Splits
    from thalweg.diagnosis import Cause, Finding, watch
    from thalweg.measure.curvature import critical_point
    from thalweg.measure.receptive_field import receptive_field
    from thalweg.recipes import load, load_run, predict, resume
    from thalweg.remedy import Proof, Remedy, diagnose, improve, prove
    from thalweg.training import (
        EarlyStopping,
        Outcome,
        Recipe,
        Run,
        cross_validate,
        evaluate,
        find_learning_rate,
        largest_batch_size,
        train,
        train_many,
    )

__version__ = "0.1.0"

_ROOMS = {
    "thalweg.core.errors": ("DataError", "RecipeError", "RunError", "ThalwegError", "Unsupported"),
    "thalweg.core.objective": ("Losses", "Moment", "objective"),
    "thalweg.core.source": ("Source", "Splits"),
    "thalweg.diagnosis": ("Cause", "Finding", "watch"),
    "thalweg.measure": ("critical_point", "receptive_field"),
    "thalweg.recipes": ("load", "load_run", "predict", "resume"),
    "thalweg.remedy": ("Proof", "Remedy", "diagnose", "improve", "prove"),
    "thalweg.training": (
        "EarlyStopping",
        "Outcome",
        "Recipe",
        "Run",
        "cross_validate",
        "evaluate",
        "find_learning_rate",
        "largest_batch_size",
        "train",
        "train_many",
    ),
}
_WHOLE = ("cases", "decode", "loss", "measure", "nn", "optim")
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Cause",
    "DataError",
    "EarlyStopping",
    "Finding",
    "Losses",
    "Moment",
    "Outcome",
    "Proof",
    "Recipe",
    "RecipeError",
    "Remedy",
    "Run",
    "RunError",
    "Source",
    "Splits",
    "ThalwegError",
    "Unsupported",
    "cases",
    "critical_point",
    "cross_validate",
    "decode",
    "diagnose",
    "evaluate",
    "find_learning_rate",
    "improve",
    "largest_batch_size",
    "load",
    "load_run",
    "loss",
    "measure",
    "nn",
    "objective",
    "optim",
    "predict",
    "prove",
    "receptive_field",
    "resume",
    "train",
    "train_many",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _WHOLE:
        return import_module(f"thalweg.{name}")
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'thalweg' has no attribute '{name}'")
    value = getattr(import_module(_ROOM_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
