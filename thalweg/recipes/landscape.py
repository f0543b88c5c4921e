"""The error surface around the weights of a run, as plain values for the report: where it stopped, and how it came.

Looked at is the surface that was trained, on some of the train examples: the weights at the end, lines and planes
through them, and the points along the training that the run has kept.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from thalweg.core.convert import Batching, as_source
from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, RunError, ThalwegError
from thalweg.core.files import write_json
from thalweg.core.notices import notice
from thalweg.measure import CriticalPoint, critical_point, escape, spectral_density
from thalweg.measure.curvature.escaping import Escape
from thalweg.measure.curvature.spectrum import multiplications
from thalweg.measure.landscape import Course, along, critical_points, plane
from thalweg.measure.landscape.path import read_path
from thalweg.training import Recipe, Run, evaluate
from thalweg.training.minimized import MOST_EXAMPLES, Minimized, minimized
from thalweg.training.weights import save_weights

COURSE, GRID = 512, 25
"""The examples on which points along the training are judged and pictures are drawn, and a plane's points to a side."""
DRAWN, MULTIPLIED = 128, 6e7
"""Pictures of a model that multiplies more in a pass over those are drawn from fewer examples, but so many at least."""
PROBES = 2
"""Directions of a spectral density: of thousands of eigenvalues the bars are the same by more of them."""
ESCAPED = "escaped.safetensors"


@dataclass(frozen=True, eq=False)
class Landscape:
    """The point at which a run stopped, the course that led there, and all that the report draws, as plain values."""

    point: CriticalPoint
    course: Course
    drawn: dict[str, Any]
    escaped: Escape | None = None
    validation: tuple[float, float] | None = None
    """The validation loss before and after the escape."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `landscape.json` and `--json` hold them."""
        away = None if self.escaped is None else self.escaped.to_json() | {"validation": self.validation}
        return {"point": self.point.to_json(), "course": self.course.to_json(), "escape": away, **self.drawn}


@no_type_check
def landscape(
    run: Run,
    *,
    examples: int = MOST_EXAMPLES,
    checkpoints: int = 9,
    escaping: bool = False,
    device: str | torch.device = "auto",
    progress: Callable[[str], None] = lambda what: None,
) -> Landscape:
    """Look at the surface around a run's last weights, on so many train examples; kept in its folder where it has one.

    `checkpoints` of the points along the training are judged too. `escaping` moves a copy of the weights off a saddle,
    and keeps it as `checkpoints/escaped.safetensors`. Raises `RecipeError` for a model that cannot be differentiated
    twice and for counts that are none, `DataError` for a loss or weights that are not finite.

    >>> import tempfile, thalweg
    >>> run = thalweg.train(thalweg.load("iris", assignments=["epochs=4", "model.width=4"]), out=tempfile.mkdtemp())
    >>> found = landscape(run, checkpoints=2)
    >>> found.course.epochs, len(found.drawn["planes"])
    ((0, 4), 2)
    """
    assert run.recipe is not None
    for name, count in (("examples", examples), ("checkpoints", checkpoints)):
        if not isinstance(count, int) or count < 2:
            raise RecipeError(f"{name}={count!r}, but the surface is told by some: give at least 2.")
    if not all(bool(torch.isfinite(parameter).all()) for parameter in run.last.parameters()):
        raise DataError(
            f"The run's last weights are not finite, it ended as {run.status}: there is no surface around them. Train "
            "it again at a smaller learning rate, or look at run.trajectory()."
        )
    model = copy.deepcopy(run.last).to(resolve_device(device))
    whole, some = (minimized(run.recipe, model, most) for most in (examples, min(examples, COURSE)))
    few = _drawable(run.recipe, model, some)
    progress("the point at which it stopped")
    point = critical_point(model, whole.objective, whole.batches, **whole.restraints)
    drawn: dict[str, Any] = {"examples": whole.examples, "of": whole.of, "drawn_from": few.examples}
    if not point.exact:
        progress("the spectrum")
        density = spectral_density(model, few.objective, few.batches, probes=PROBES, **few.restraints)
        drawn["density"] = {"nodes": density.nodes.tolist(), "weights": density.weights.tolist()}
    progress("the steepest and the lowest direction")
    drawn["lines"] = along(model, few.objective, few.batches, **few.restraints).to_json()
    path = _path(run)
    progress("planes through the weights")
    drawn["planes"] = list(_planes(model, few, path))
    progress(f"the course of the training, by {min(checkpoints, len(path))} of its points")
    course = critical_points(model, some.objective, some.batches, path, most=checkpoints, **some.restraints)
    found = Landscape(point, course, drawn)
    if escaping:
        progress("a way down")
        found = _escaped(run, model, whole, found)
    if run.path is not None:
        write_json(run.path / "landscape.json", found.to_json(), indent=None)
    return found


def _drawable(recipe: Recipe, model: nn.Module, some: Minimized) -> Minimized:
    """The surface for pictures, which take over a thousand passes: over fewer examples where a pass multiplies much."""
    share = MULTIPLIED / max(multiplications(model, some.objective, some.batches), 1)
    most = max(DRAWN, int(share * some.examples))
    return some if most >= some.examples else minimized(recipe, model, most)


def _planes(model: nn.Module, seen: Minimized, path: dict[int, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The plane in which the training went, and one of two random directions; one that is none is left out and said."""
    for along_it in (path, None):
        try:
            found = plane(model, seen.objective, seen.batches, path=along_it, points=GRID, **seen.restraints)
            yield found.to_json()
        except RecipeError as error:
            notice(f"A plane is left out: {error}")


def _path(run: Run) -> dict[int, dict[str, Any]]:
    """The weights along the training; those of the best and the last epoch where no others are kept or of use."""
    kept = {}
    try:
        for epoch, state in run.trajectory():
            try:
                read_path({epoch: state}, run.last)
                kept[epoch] = state
            except ThalwegError as error:
                notice(f"Passed over: {error}")
    except RunError as error:
        notice(str(error))
    ends = {run.best_epoch: run.model, len(run.history): run.last}
    return kept or {epoch: copy.deepcopy(model.state_dict()) for epoch, model in ends.items()}


def _escaped(run: Run, model: nn.Module, seen: Minimized, found: Landscape) -> Landscape:
    """The same with a way down that was taken, where there is one, by a copy of the weights that is kept."""
    assert run.recipe is not None
    before = _validation(run, model)
    done = escape(model, seen.objective, seen.batches, point=found.point, **seen.restraints)
    after = _validation(run, model)
    if done.moved and run.path is not None:
        save_weights(model, run.path / "checkpoints" / ESCAPED)
    losses = None if before is None or after is None else (before, after)
    return replace(found, escaped=done, validation=losses)


def _validation(run: Run, model: nn.Module) -> float | None:
    recipe = run.recipe
    if recipe is None or recipe.data.validation is None:
        return None
    source = as_source(recipe.data.validation, "validation", Batching(recipe.batch_size, recipe.collate))
    moved = Run(recipe, run.history, run.status, model.eval(), model, run.best_epoch)
    return evaluate(moved, source)["loss"][0]
