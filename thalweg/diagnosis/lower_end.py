r"""The lower end of the floor: what no model is known to do better than on these examples.

Examples with the same inputs and different targets leave a loss to every model: on each such group that of the best
single output, which for classes is their shares and for numbers their mean, where it is a minimum of this loss. Beside
it stands the learning curve of the best reference: where a quarter, a half and all of the examples give the same loss,
and a learner of another kind does no better, more examples would hardly either; what neither kind of learner reads may
still tell. Neither end is ever above the upper one.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from thalweg.core.objective import PlainLoss
from thalweg.training.interval import mean_interval

SHARES = (0.25, 0.5)
"""Of the examples that a reference is fitted to, beside all of them."""
NEVER = 1e-9
"""The share of a class that a group of equal inputs does not hold."""
STATIONARY = 1e-2
"""The slopes of a group sum to less than this share of their lengths where its output is the best for all of it."""
FLAT, AGREE = 0.05, 0.15
"""Shares of the way from the constant: a curve that falls by less is flat, and learners this close reach the same."""
LEAST_HELD, NO_LOSS = 0.99, 1e-6
"""A perfect prediction is the best for a loss that is no lower for any learner on this share of the examples; what is
left of it is a lower end where it is more than this share of the best constant's loss."""
Losses = tuple[np.ndarray, np.ndarray | None]
Form = Callable[[Tensor], Tensor]
Read = Callable[[Tensor], np.ndarray | None]
"""The losses of outputs, one for each example, as the judge reads them best; None where it does not."""


def of_duplicates(objective: PlainLoss, rows: np.ndarray, targets: Tensor, y: Tensor, forms: Sequence[Form]) -> float:
    """The least loss that equal inputs with different targets leave, the mean over all examples; 0 where none do.

    >>> rows, y = np.array([[1.0], [1.0], [2.0]]), torch.tensor([0, 1, 1])
    >>> loss = PlainLoss(torch.nn.CrossEntropyLoss())
    >>> round(of_duplicates(loss, rows, y, y, [lambda output: output]), 3)  # two thirds of ln 2
    0.462
    """
    _, group, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    repeated = torch.from_numpy(np.flatnonzero(counts[group] > 1))
    if not len(repeated):
        return 0.0
    own = torch.from_numpy(np.unique(group[repeated.numpy()], return_inverse=True)[1])
    said = _best(targets[repeated], own)
    found = [_least(objective, form(_as_all(said, targets, repeated))[repeated], y[repeated], own) for form in forms]
    known = [value for value in found if value is not None]
    return max(0.0, min(known, default=0.0)) * len(repeated) / len(rows)


def _best(targets: Tensor, group: Tensor) -> Tensor:
    """The shares of the classes in each example's group, as logarithms; of numbers their mean."""
    values = targets.reshape(len(targets), -1).double()
    if not targets.is_floating_point():
        values = torch.nn.functional.one_hot(targets.long()).double()
    groups = int(group.max()) + 1
    sums = torch.zeros(groups, values.shape[1], dtype=torch.float64).index_add_(0, group, values)
    means = sums / torch.bincount(group, minlength=groups)[:, None]
    return (means if targets.is_floating_point() else means.clamp_min(NEVER).log())[group]


def _as_all(said: Tensor, targets: Tensor, repeated: Tensor) -> Tensor:
    """What is said of all examples, which forms read together; of those that are not repeated the first output."""
    classes = 0 if targets.is_floating_point() else int(targets.max()) + 1
    width = classes or said.shape[1]
    padded = torch.full((len(targets), width), np.log(NEVER) if classes else 0.0, dtype=torch.float64)
    padded[repeated, : said.shape[1]] = said
    return padded.float() if classes else padded.to(targets.dtype).reshape(targets.shape)


def _least(objective: PlainLoss, output: Tensor, y: Tensor, group: Tensor) -> float | None:
    """The mean loss of these outputs where each group's is a minimum for it; None where it is not, or is refused."""
    z = output.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            loss = objective.scalar(z, y)
            (slope,) = torch.autograd.grad(loss, z)
    except Exception:  # a user's own code
        return None
    slope = slope.reshape(len(slope), -1).double()
    sums, lengths = (
        torch.zeros(int(group.max()) + 1, slope.shape[1], dtype=torch.float64).index_add_(0, group, own)
        for own in (slope, slope.abs())
    )
    if not bool(torch.isfinite(loss.detach())) or float(sums.abs().max()) > STATIONARY * float(lengths.max()) + 1e-9:
        return None
    return float(loss.detach())


def of_learning_curve(
    read: Read, fitted: Callable[[float], Tensor | None], best: np.ndarray, others: Sequence[float], constant: float
) -> float:
    """The lower end of the best learner's interval where fewer examples give the same loss; 0 where they do not.

    `fitted(share)` is what it says, out of fold, when fitted to a share of the examples; `others` are the mean losses
    of learners of another kind, one of which must come as near.
    """
    mean, low, _ = mean_interval(best, None)
    way = max(constant - mean, 0.0)
    if not way or not any(abs(other - mean) <= AGREE * way for other in others):
        return 0.0
    for share in SHARES:
        said = fitted(share)
        losses = None if said is None else read(said)
        if losses is None:
            return 0.0
        apart, below, _ = mean_interval(losses - best, None)
        if below > 0 or apart > FLAT * way:
            return 0.0
    return max(0.0, low)


def of_perfect(perfect: Sequence[Losses], reached: Mapping[str, Losses], constant: str) -> float:
    """The loss that a perfect prediction leaves, such as the constant of a likelihood, where nothing does better; else
    0.

    >>> learner, constant = np.full(8, 1.25), np.full(8, 1.5)
    >>> of_perfect([(np.full(8, 0.5), None)], {"trees": (learner, None), "constant": (constant, None)}, "constant")
    0.5
    """
    if not perfect:
        return 0.0
    values, weights = min(perfect, key=lambda losses: mean_interval(*losses)[0])
    best = all(np.mean(values <= own + NO_LOSS * np.abs(own)) >= LEAST_HELD for own, _ in reached.values())
    left = mean_interval(values, weights)[0]
    least = min(mean_interval(*losses)[0] for losses in reached.values())
    return float(min(left, least)) if best and left > NO_LOSS * mean_interval(*reached[constant])[0] else 0.0
