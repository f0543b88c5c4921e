"""The errand of a worker process: one recipe, trained as it would be in the caller's process on one thread."""

import logging
import os
import signal
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from thalweg.training.outcome import Outcome
from thalweg.training.parcels import Parcel, parcel_of, refusing
from thalweg.training.recipe import Recipe
from thalweg.training.shelf import Shelf, held
from thalweg.training.train import train_here

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "NUMEXPR")}


@dataclass(frozen=True)
class Setting:
    """What a run depends on beside its recipe, as it is where the caller is."""

    owner: int
    shelf: str
    folder: str
    path: list[str]
    environment: dict[str, str]
    dtype: torch.dtype
    precision: str
    deterministic: tuple[bool, bool]
    gradients: bool

    @classmethod
    def now(cls, shelf: Shelf) -> "Setting":
        deterministic = torch.are_deterministic_algorithms_enabled()
        return cls(
            os.getpid(),
            shelf.path,
            str(Path.cwd()),
            list(sys.path),
            {name: value for name, value in os.environ.items() if name not in ONE_THREAD},
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            (deterministic, torch.is_deterministic_algorithms_warn_only_enabled()),
            torch.is_grad_enabled(),
        )

    def settle(self) -> None:
        """Make it so in this process."""
        sys.path[:] = self.path
        os.chdir(self.folder)
        os.environ.update(self.environment)
        torch.set_num_threads(1)
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.precision)
        torch.use_deterministic_algorithms(self.deterministic[0], warn_only=self.deterministic[1])
        torch.set_grad_enabled(self.gradients)


def begin(newest_source: float) -> None:
    """Leave interrupts to the process that waits for the runs, and its log to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("thalweg").disabled = True


def train_one(mark: str, packed: bytes) -> Parcel:
    """Train one recipe in this worker."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Path(mark).touch()
        setting, inner = cloudpickle.loads(packed)
        setting.settle()
        filters, recipe = cloudpickle.loads(inner)
        warnings.resetwarnings()
        warnings.filters.extend(filters)  # type: ignore[attr-defined]
        return _watched(recipe, setting)
    except KeyboardInterrupt:
        return Parcel([], str(Outcome.INTERRUPTED), 0, ())
    except Exception as error:
        return refusing(f"its copy cannot be read there ({type(error).__name__}: {error})")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with suppress(Exception):
            sys.stdout.flush()


def _watched(recipe: Recipe, setting: Setting) -> Parcel:
    """The run of a recipe that changed nothing of what the caller holds, for as long as somebody waits for it."""

    def look(epoch: int, step: int, row: dict[str, Any] | None) -> None:
        if os.getppid() != setting.owner:  # it was killed, and a worker would wait for its next errand
            os._exit(1)
        if not Path(setting.shelf).exists():
            signal.raise_signal(signal.SIGINT)

    before = held(recipe)
    run = train_here(recipe, "cpu", look)
    if run.status is not Outcome.INTERRUPTED and (before is None or held(recipe) != before):
        return refusing("training changes what it holds, which the caller would miss")
    return parcel_of(run)
