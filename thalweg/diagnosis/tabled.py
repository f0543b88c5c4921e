"""What reference learners are given: the examples of several sources as rows of numbers, with their targets."""

import numpy as np
import torch
from torch import Tensor

from thalweg.core.arrays import are_classes
from thalweg.core.nest import Nest, leaves
from thalweg.core.objective import PlainLoss, counted_targets
from thalweg.core.source import Indexed, Source
from thalweg.diagnosis.references import FOLDS, Inputs, as_rows, flat, tokens_as_rows
from thalweg.training.judging import Judge

MOST_TARGETS, MOST_CLASSES = 32, 4096
MOST = 4000
"""References are fitted to at most so many examples; more would only lower the floor, at a price."""


def read_table(judge: Judge, sources: list[Source]) -> tuple[Inputs, Tensor, list[np.ndarray]] | None:
    """Inputs and targets of the sources one behind the other, and the places of the examples in each.

    Of more than `MOST` examples every n-th is kept as it is read, so that data larger than memory can be compared too.
    """
    if not isinstance(judge.objective, PlainLoss):
        return None
    lengths = [len(source) if isinstance(source, Indexed) else MOST for source in sources]
    step = -(-sum(lengths) // MOST)
    if (gathered := _gathered(sources, step)) is None:
        return None
    x, shape, numbers, y, sizes = gathered
    few = y.is_floating_point() and flat(y).shape[1] <= MOST_TARGETS
    if not (are_classes(y) and int(y.max()) < MOST_CLASSES) and not few:
        return None
    if not (are_classes(y) or bool(torch.isfinite(y).all())):
        return None
    kept = np.arange(0, len(y), step)
    if are_classes(y):
        counted = counted_targets(judge.objective.loss, y[kept])
        assert counted is not None
        known = (y[kept].numpy() >= 0) & (counted.numpy() > 0)  # the others are padding, or no label at all
        x, kept = x[torch.from_numpy(known)], kept[known]
    if len(kept) < 2 * FOLDS:
        return None
    edges = np.cumsum([0, *sizes])
    places = [
        own - start for own, start in zip(np.split(kept, np.searchsorted(kept, edges[1:-1])), edges, strict=False)
    ]
    return Inputs(x.double().numpy(), shape, numbers), y[kept], places


def _gathered(sources: list[Source], step: int) -> tuple[Tensor, tuple[int, ...], bool, Tensor, list[int]] | None:
    """The numbers of every `step`-th example, their shape, whether they were one tensor; all targets; the sizes."""
    xs, ys, sizes, shapes, numbers = [], [], [], set(), True
    for source in sources:
        sizes.append(0)
        for batch in source.batches(0, 0, None):
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                return None
            x, y = batch
            if not isinstance(y, Tensor) or y.is_complex() or not _readable(x, len(y)):
                return None
            every = slice(-sum(sizes) % step, None, step)
            if isinstance(x, Tensor) and x.is_floating_point():
                rows, shape = as_rows(x[every].detach().cpu().clone())  # not a view of the batch
                xs.append([rows])
                shapes.add(shape)
            else:
                numbers = False
                xs.append([leaf[every].detach().cpu().clone() for leaf in leaves(x)])
            ys.append(y.detach().cpu())
            sizes[-1] += len(y)
    if len({tuple(leaf.shape[1:] for leaf in x) for x in xs}) != 1 or len({y.shape[1:] for y in ys}) != 1:
        return None
    x, y = torch.cat([_as_columns(torch.cat(own)) for own in zip(*xs, strict=True)], 1), torch.cat(ys)
    shape = shapes.pop() if len(shapes) == 1 else (x.shape[1],)
    return x, shape, numbers, y, sizes


def _readable(x: Nest, count: int) -> bool:
    """Whether inputs are tensors with a row for each example, of finite numbers."""
    own = list(leaves(x))
    if not own or any(not leaf.dim() or len(leaf) != count or leaf.is_complex() for leaf in own):
        return False
    return all(bool(torch.isfinite(leaf).all()) for leaf in own if leaf.is_floating_point())


def _as_columns(leaf: Tensor) -> Tensor:
    return flat(leaf).float() if leaf.is_floating_point() or leaf.dtype == torch.bool else tokens_as_rows(leaf)
