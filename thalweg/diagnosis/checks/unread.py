"""Inputs that the output does not depend on, and whether they tell of the targets what the others do not.

Parts of the inputs (a column, a step in time, a row of pixels, one of several inputs) are exchanged between examples:
an output that stays as it is, whatever the weights are, does not read them. That harms where learners that see all
inputs err less, out of fold, than the same learners without these.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thalweg.core.nest import Nest, leaves, map_tensors
from thalweg.core.source import Indexed
from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import WORTH, Examined, asking
from thalweg.diagnosis.checks.reach import perturbed
from thalweg.diagnosis.compare import lower_by
from thalweg.diagnosis.finding import Score
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.floor import SHARE_OF_WAY
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.natural import as_losses, natural_errors
from thalweg.diagnosis.references import CONSTANT, Inputs, classifiers, out_of_fold, regressors

COPIES, PARTS = 3, 32
"""Sets of weights for which an output is asked, and the parts along one axis."""
SAME = 1e-6
"""Of the outputs' spread: what is read changes more."""
SAMPLE, FEWEST, WIDEST, MOST_WORDS = 800, 100, 2048, 64
Place = tuple[int, int, slice]
"""A leaf of the inputs, an axis of it, and a part of that axis."""


@dataclass(frozen=True)
class Unread:
    """The places of the inputs that are not read, and a mask of what is, for each leaf `(1, ...)`."""

    places: tuple[Place, ...]
    read: tuple[Tensor, ...]

    @property
    def share(self) -> float:
        """The share of the numbers of an example that is not read."""
        return 1 - sum(int(mask.sum()) for mask in self.read) / sum(mask.numel() for mask in self.read)


def unread_flaws(e: Examined) -> list[Flaw]:
    """Inputs that never reach the output although they tell of the targets."""
    if not e.tensors or e.whole or e.n < 5 or not ((e.classes and e.y.dim() == 1) or e.numbers):
        return []
    unread = _unread(e)
    if unread is None or not 0 < unread.share < 1 or (told := _told(e, unread)) is None:
        return []
    without, effect = told
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.INPUTS_THAT_ARE_NOT_READ,
            f"{unread.share:.0%} of the inputs ({_named(e, unread)}) never reach the output, and learners that see "
            f"them too err less by {effect}, from {without:.3g}",
            unread.share,
            "an output that moves with every input that tells of the target",
            "Check which step, column or part forward takes: an index, a slice, a mask, a view",
            "an output that moves when these inputs do",
            Sure.MEASURED,
            also=Cause.MODEL_BIAS,
        )
    ]


def _unread(e: Examined) -> Unread | None:
    """What the outputs do not depend on at several sets of weights; None where outputs cannot be compared."""
    inputs = list(leaves(e.x))
    parts = [place for number, leaf in enumerate(inputs) for place in _parts(number, leaf, len(inputs))]
    if not parts or len(parts) * COPIES * max(e.work, 1) > WORTH:
        return None
    models = [e.fresh(), *(perturbed(e.fresh(), e.generator(f"unread {i}"), 0.3) for i in range(1, COPIES))]
    before = [e.judged(model, e.x) for model in models]
    again = [e.judged(model, e.x) for model in models]
    if not all(isinstance(o, Tensor) and torch.equal(o, other) for o, other in zip(before, again, strict=True)):
        return None
    still = []
    for number, axis, part in parts:
        changed, moves = _exchanged(e.x, number, axis, part)
        if moves and all(_same(o, e.judged(model, changed)) for model, o in zip(models, before, strict=True)):
            still.append((number, axis, part))
    read = [torch.ones(1, *leaf.shape[1:], dtype=torch.bool) for leaf in inputs]
    for number, axis, part in still:
        mask = read[number]  # axis 0: a number for each example, which is one part
        (mask.narrow(axis, part.start, part.stop - part.start) if axis else mask).fill_(False)
    return Unread(tuple(still), tuple(read)) if still else None


def _parts(number: int, leaf: Tensor, inputs: int) -> Iterator[Place]:
    """The parts of a leaf: along each axis, and all of it where it is one of several inputs."""
    if leaf.dim() < 2:
        if leaf.dim() == 1 and inputs > 1:
            yield number, 0, slice(0, len(leaf))
        return
    for axis in range(1, leaf.dim()):
        size = leaf.shape[axis]
        step = max(1, -(-size // PARTS))
        for start in range(0, size, step):
            if size > 1 or inputs > 1:
                yield number, axis, slice(start, min(size, start + step))


def _exchanged(x: Nest, number: int, axis: int, part: slice) -> tuple[Nest, bool]:
    """The inputs with a part of a leaf taken from another example; and whether any example's part is another then."""
    at, moves = 0, False

    def change(leaf: Tensor) -> Tensor:
        nonlocal at, moves
        here, at = at, at + 1
        if here != number:
            return leaf
        changed, other = leaf.clone(), leaf.roll(1, 0)
        if axis == 0:
            changed = other
        else:
            changed.narrow(axis, part.start, part.stop - part.start).copy_(
                other.narrow(axis, part.start, part.stop - part.start)
            )
        moves = not torch.equal(changed, leaf)
        return changed

    return map_tensors(change, x), moves


def _same(before: Tensor, after: object) -> bool:
    if not isinstance(after, Tensor) or after.shape != before.shape:
        return False
    return float((before - after).abs().max()) <= SAME * max(float(before.std()), 1e-12)


def _told(e: Examined, unread: Unread) -> tuple[float, Score] | None:
    """The errors of learners without what is not read, and how much lower they are with it, if beyond noise."""
    sample = _sample(e, unread)
    if sample is None:
        return None
    whole, part, targets = sample
    errors = []
    for rows in (whole, part):
        inputs = Inputs(rows, (rows.shape[1],))
        learners = regressors(inputs) if targets.is_floating_point() else classifiers(inputs)
        found = {}
        for name, build in learners.items():
            said = out_of_fold(build, rows, targets, e.recipe.seed)
            own = None if said is None else natural_errors(said, targets)
            if own is not None:
                found[name] = own
        if CONSTANT not in found:
            return None
        errors.append(found)
    best, other = (min(found.values(), key=np.mean) for found in errors)
    effect = lower_by([as_losses(other)], [as_losses(best)])
    way = float(errors[0][CONSTANT].mean() - best.mean())
    return (float(other.mean()), effect) if effect.low > 0 and effect.value > SHARE_OF_WAY * way else None


def _sample(e: Examined, unread: Unread) -> tuple[np.ndarray, np.ndarray, Tensor] | None:
    """Rows of some hundred train examples, those without what is not read, and their targets."""
    if not isinstance(e.source, Indexed):
        return None
    source = e.source.take(torch.randperm(len(e.source), generator=e.generator("unread"))[:SAMPLE].sort().values)
    whole, part, ys = list[Tensor](), list[Tensor](), list[Tensor]()
    with asking():
        for x, y in source.batches(0, 0, None):
            inputs = [leaf.cpu() for leaf in leaves(x)]
            whole.append(torch.cat([_rows(leaf, None) for leaf in inputs], 1))
            part.append(torch.cat([_rows(leaf, mask) for leaf, mask in zip(inputs, unread.read, strict=True)], 1))
            ys.append(y.cpu())
        rows = [torch.cat(own).double().numpy() for own in (whole, part)]
        y = torch.cat(ys)
    if len(y) < FEWEST or not rows[1].shape[1] or rows[0].shape[1] > WIDEST or y[0].numel() > 8:
        return None
    if not all(np.isfinite(own).all() for own in rows):
        return None
    return rows[0], rows[1], y if y.is_floating_point() else y.long()


def _rows(leaf: Tensor, mask: Tensor | None) -> Tensor:
    """The numbers of each example, those of the mask alone; of few different whole numbers which of them it is."""
    rows = leaf.reshape(len(leaf), -1)
    if mask is not None:
        rows = rows[:, mask.reshape(-1)]
    if leaf.is_floating_point():
        return rows.float()
    words = int(leaf.max()) + 1
    if not 0 < words <= MOST_WORDS or int(leaf.min()) < 0:
        return rows.float()
    return torch.nn.functional.one_hot(rows.long(), words).flatten(1).float()


def _named(e: Examined, unread: Unread) -> str:
    """The first of the places in words, those beside each other as one."""
    joined: list[list[int]] = []
    for number, axis, part in sorted(unread.places, key=lambda place: (place[0], place[1], place[2].start)):
        if joined and joined[-1][:2] == [number, axis] and joined[-1][3] == part.start:
            joined[-1][3] = part.stop
        else:
            joined.append([number, axis, part.start, part.stop])
    several = len(list(leaves(e.x))) > 1
    told = [
        (f"input {number}, " if several else "")
        + (f"axis {axis} at {start}" if stop == start + 1 else f"axis {axis} from {start} to {stop - 1}")
        for number, axis, start, stop in joined
    ]
    return "; ".join(told[:3]) + (f"; {counted(len(told) - 3, 'more place')}" if len(told) > 3 else "")
