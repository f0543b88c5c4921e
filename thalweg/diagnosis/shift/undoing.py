"""The experiment that says how test inputs were changed: known changes are undone until the loss comes back down.

Nothing is trained. A half of the examples chooses the change, the simplest of those that do as well as the best, and
the other half judges it, so that the number is not the luckiest of many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.nest import map_tensors
from thalweg.core.randomness import stream_seed
from thalweg.core.source import Described, Indexed
from thalweg.diagnosis.compare import higher_on, lower_by
from thalweg.diagnosis.laboratory import Laboratory
from thalweg.diagnosis.score import Score
from thalweg.diagnosis.shift.changes import Chained, Change, Grid, Moved, Rescaled
from thalweg.diagnosis.shift.explanation import Undone
from thalweg.diagnosis.shift.families import Unit, family
from thalweg.diagnosis.shift.seen import Seen
from thalweg.training import Run
from thalweg.training.evaluate import ExampleLosses

LEVEL = 0.99
FEWEST = 10
"""Examples that are needed to choose, and to judge."""
MOST_CHOOSING = 300
MORE, SURE, LITTLE = 0.3, 2.0, 0.03
"""A change has to take off this share of the harm that others leave, and so many standard errors; none is looked for
where so little is left.
"""
LEAST = 0.5
"""A change that takes off less of the harm explains little."""
FEW = 200
MOST_CHANGES, SHOWN = 3, 5


@dataclass(frozen=True, eq=False)
class Bench:
    """Some test examples, whose loss is asked with a change undone."""

    lab: Laboratory
    run: Run
    x: Tensor
    y: Any
    units: np.ndarray | None

    def __len__(self) -> int:
        return len(self.x)

    def at(self, places: np.ndarray) -> "Bench":
        """Some of them."""
        index = torch.from_numpy(places)
        units = None if self.units is None else self.units[places]
        return Bench(self.lab, self.run, self.x[index], map_tensors(lambda each: each[index], self.y), units)

    def losses(self, change: Change | None = None) -> ExampleLosses | None:
        """The loss of each; None where one of them is not finite."""
        x = self.x if change is None else as_given(change.undo(as_numbers(self.x)), self.x)
        found = self.lab.losses(self.run, ArraySource((x, self.y), self.lab.recipe.batch_size))
        if found is None or self.units is None or len(found.values) != len(self.units):
            return found
        return ExampleLosses(found.values, found.weights, self.units)

    def values(self, change: Change | None = None) -> np.ndarray | None:
        """The weighted losses, whose mean is the loss; None where one is not finite."""
        found = self.losses(change)
        return None if found is None else found.values * found.weights / found.weights.mean()


def ask_undone(
    lab: Laboratory,
    run: Run,
    here: Seen,
    there: Seen,
    validation: ExampleLosses,
    null: float = float("inf"),
    names: Sequence[str] = (),
    units: Sequence[Unit] = (),
) -> Undone | None:
    """The change that explains most of what is lost on test; None where no known one explains half of it.

    What a change takes off counts from `null` on, the loss of the best constant: to make inputs bland takes off all
    that is lost beyond it. Of few examples each half judges what the other has chosen, if both choose the same kind.
    """
    if here.inputs is None or there.inputs is None or not (_numbers(here.inputs) and _numbers(there.inputs)):
        return None
    whole = Bench(lab, run, there.inputs, there.targets, _units(there))
    if len(whole) < 2 * FEWEST:
        return None
    own, floor = as_numbers(here.inputs), validation.mean()[0]
    order = np.random.default_rng(stream_seed(0, "which change", len(whole))).permutation(len(whole))
    middle = min(len(order) // 2, MOST_CHOOSING)
    first, rest = whole.at(np.sort(order[:middle])), whole.at(np.sort(order[middle:]))
    chosen, tried = _chosen(first, own, whole.x, floor, names, units)
    if chosen is None:
        return None
    judged = [(rest, chosen)]
    if len(whole) <= FEW:
        other = _chosen(rest, own, whole.x, floor, names, units)[0]
        if other is not None and kind_of(other) == kind_of(chosen):
            judged.append((first, other))
    before, after = (_pooled([part.losses(change) for part, change in own]) for own in _both(judged))
    if before is None or after is None or not higher_on(before, validation).low > 0:
        return None
    lowered, left = lower_by([before], [after], LEVEL), higher_on(after, validation, LEVEL)
    start = min(before.mean()[0], null) if null > floor else before.mean()[0]
    share = float((start - after.mean()[0]) / (start - floor)) if start > floor else 0.0
    if not lowered.low > 0 or share < LEAST:
        return None
    others = [(change.name, rest.losses(change)) for change in tried if change.name != chosen.name]
    told = tuple((name, Score(*losses.mean())) for name, losses in others if losses is not None)
    one, two, three = (Score(*each.mean()) for each in (before, after, validation))
    return Undone(chosen.name, one, two, three, lowered, left, share, len(first), len(before.values), told, chosen)


def _both(judged: list[tuple[Bench, Change]]) -> list[list[tuple[Bench, Change | None]]]:
    """Each part as it is, and each with its change undone."""
    return [[(part, None) for part, _ in judged], [(part, change) for part, change in judged]]


def _pooled(parts: list[ExampleLosses | None]) -> ExampleLosses | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    units = [part.units for part in known if part.units is not None]
    values, weights = (
        np.concatenate(each) for each in zip(*((part.values, part.weights) for part in known), strict=True)
    )
    return ExampleLosses(values, weights, np.concatenate(units) if len(units) == len(known) else None)


def _chosen(
    bench: Bench, here: Tensor, there: Tensor, floor: float, names: Sequence[str], units: Sequence[Unit]
) -> tuple[Change | None, list[Change]]:
    """Changes are found one after another, each beside those before, while one more takes off enough of the harm that
    is left; with them what did best at first. Slopes and offsets are measured on all test inputs, `there`.
    """
    found: list[Change] = []
    now = start = bench.values()
    first: list[Change] = []
    while len(found) < MOST_CHANGES:
        left = Chained(tuple(found)).undo(as_numbers(there))
        asked = ((change, bench.values(Chained((change, *found)))) for change in family(here, left, names, units))
        tried = [(change, values) for change, values in asked if values is not None]
        if not tried:
            break
        first = first or [each for each, _ in sorted(tried, key=lambda pair: float(pair[1].mean()))[:SHOWN]]
        change, values = _simplest(tried)
        if now is not None:
            gain, error = _gain(now, values)
            if not gain > max(MORE * (now.mean() - floor), SURE * error):
                break
        found, now = [change, *found], values
        if start is not None and now.mean() - floor <= LITTLE * (start.mean() - floor):
            break
    if not found:
        return None, first
    return (found[0] if len(found) == 1 else Chained(tuple(found))), first


def _simplest(tried: list[tuple[Change, np.ndarray]]) -> tuple[Change, np.ndarray]:
    """The simplest kind of change within a standard error of the best, and the best of that kind."""
    _, best = min(tried, key=lambda pair: float(pair[1].mean()))
    kind = next(kind_of(change) for change, values in tried if np.less_equal(*_gain(values, best)))
    return min((pair for pair in tried if kind_of(pair[0]) == kind), key=lambda pair: float(pair[1].mean()))


def _gain(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """How much lower the losses of the same examples are after, and the standard error of that."""
    lower = before - after
    return float(lower.mean()), float(lower.std() / max(len(lower) - 1, 1) ** 0.5)


def kind_of(change: Change) -> tuple[Any, ...]:
    """What a change does, whatever its size.

    >>> from thalweg.diagnosis.shift.changes import Turned
    >>> kind_of(Turned(30.0)) == kind_of(Turned(40.0)) != kind_of(Chained((Turned(30.0),)))
    True
    """
    if isinstance(change, Chained):
        return tuple(map(kind_of, change.changes))
    inner = change.change if isinstance(change, Grid) else change
    if isinstance(inner, Rescaled):
        return type(inner), inner.columns, min(inner.slopes) < 0
    if isinstance(inner, Moved):
        return type(inner), inner.axis, inner.places > 0
    return type(inner), getattr(inner, "axis", None)


def as_numbers(x: Tensor) -> Tensor:
    """Inputs as floating numbers."""
    return x if x.is_floating_point() and x.dtype not in (torch.float16, torch.bfloat16) else x.float()


def as_given(x: Tensor, like: Tensor) -> Tensor:
    """Numbers in the type that the inputs came in; bytes stay within 0 and 255."""
    return x.round().clamp(0, 255).to(like.dtype) if like.dtype == torch.uint8 else x.to(like.dtype)


def _numbers(x: Tensor) -> bool:
    if x.is_complex() or not (x.is_floating_point() or (x.dtype == torch.uint8 and x.dim() > 2)):
        return False
    return bool(torch.isfinite(x).all())


def _units(seen: Seen) -> np.ndarray | None:
    if not isinstance(seen.source, Described) or not isinstance(seen.source, Indexed):
        return None
    group = seen.source.meta(np.arange(len(seen.source))).get("group")
    return None if group is None else np.asarray(group)
