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
from thalweg.diagnosis.shift.changes import Chained, Change
from thalweg.diagnosis.shift.explanation import Undone
from thalweg.diagnosis.shift.families import family
from thalweg.diagnosis.shift.seen import Seen
from thalweg.training import Run
from thalweg.training.evaluate import ExampleLosses

LEVEL = 0.99
FEWEST = 10
"""Examples that are needed to choose, and to judge."""
MOST_CHOOSING = 300
AS_GOOD = 0.05
"""A simpler change is taken where it leaves this share of the harm more, at most."""
MORE = 0.15
"""A change beside another has to take off this share of the harm."""
LEAST = 0.25
"""A change that takes off less of the harm explains little."""
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

    def mean(self, change: Change | None = None) -> float:
        """The mean loss; infinite where one is not finite."""
        found = self.losses(change)
        return float("inf") if found is None else found.mean()[0]


def ask_undone(
    lab: Laboratory, run: Run, here: Seen, there: Seen, validation: ExampleLosses, names: Sequence[str] = ()
) -> Undone | None:
    """The change that explains most of what is lost on test; None where no known one explains a quarter of it."""
    if here.inputs is None or there.inputs is None or not (_numbers(here.inputs) and _numbers(there.inputs)):
        return None
    whole = Bench(lab, run, there.inputs, there.targets, _units(there))
    if len(whole) < 2 * FEWEST:
        return None
    order = np.random.default_rng(stream_seed(0, "which change", len(whole))).permutation(len(whole))
    middle = min(len(order) // 2, MOST_CHOOSING)
    choosing, judging = whole.at(np.sort(order[:middle])), whole.at(np.sort(order[middle:]))
    chosen, tried = _chosen(choosing, as_numbers(here.inputs), validation.mean()[0], names)
    before, after = judging.losses(), None if chosen is None else judging.losses(chosen)
    if chosen is None or before is None or after is None:
        return None
    lowered, left = lower_by([before], [after], LEVEL), higher_on(after, validation, LEVEL)
    harm = before.mean()[0] - validation.mean()[0]
    if not lowered.low > 0 or harm <= 0 or lowered.value < LEAST * harm:
        return None
    others = [(change.name, judging.losses(change)) for change in tried if change is not chosen]
    told = tuple((name, Score(*losses.mean())) for name, losses in others if losses is not None)
    first, second, third = (Score(*each.mean()) for each in (before, after, validation))
    share = float(lowered.value / harm)
    return Undone(chosen.name, first, second, third, lowered, left, share, len(choosing), len(judging), told, chosen)


def _chosen(bench: Bench, here: Tensor, floor: float, names: Sequence[str]) -> tuple[Change | None, list[Change]]:
    """Changes are found one after another, each beside those before, while one more takes off enough of the harm."""
    found: list[Change] = []
    loss = start = bench.mean()
    first: list[Change] = []
    while len(found) < MOST_CHANGES:
        there = as_numbers(bench.x)
        for change in reversed(found):
            there = change.undo(there)
        tried = [(change, bench.mean(Chained((change, *found)))) for change in family(here, there, names)]
        tried = [(change, mean) for change, mean in tried if np.isfinite(mean)]
        if not tried:
            break
        harm = start - floor if np.isfinite(start) else float("inf")
        least = min(mean for _, mean in tried)
        change, mean = next(pair for pair in tried if pair[1] <= least + AS_GOOD * min(harm, abs(least) + 1.0))
        first = first or [each for each, _ in sorted(tried, key=lambda pair: pair[1])[:SHOWN]]
        if not loss - mean > MORE * harm:
            break
        found, loss = [change, *found], mean
        if loss <= floor:
            break
    if not found:
        return None, first
    return (found[0] if len(found) == 1 else Chained(tuple(found))), first


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
