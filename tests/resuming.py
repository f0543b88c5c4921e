"""A run that is broken off and goes on, compared to the bit with one that nothing has interrupted."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import thalweg
from thalweg import Outcome, Recipe, Run


def interrupting(at: int) -> Callable[..., None]:
    """A progress that presses Ctrl-C after a step."""

    def progress(epoch: int, step: int, row: Any) -> None:
        if step >= at and row is None:  # a run that goes on may have passed it
            signal.raise_signal(signal.SIGINT)

    return progress


def bits(run: Run) -> list[Any]:
    """What must be the same to the bit: the history but for the time, and both sets of weights."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in run.history]
    states = [model.state_dict() for model in (run.model, run.last)]
    return [repr(rows), run.best_epoch, run.status] + [
        (name, value.numpy().tobytes()) for state in states for name, value in state.items()
    ]


def broken_off(chosen: Recipe, folder: Path, step: int) -> Path:
    """The folder of a run that was interrupted after a step."""
    run = thalweg.train(chosen, out=folder, progress=interrupting(step))
    assert run.status is Outcome.INTERRUPTED
    assert run.path is not None
    return run.path
