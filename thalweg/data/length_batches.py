r"""Batches of sequences of like lengths, so that little is padding, in an order that the generator alone decides.

Lengths are rounded up to steps of an eighth ($1, 2, \ldots, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, \ldots$). Within
a step the sequences are shuffled, the steps follow one another, the row is cut into batches, and the batches are
shuffled. Which sequences meet changes with every epoch; how many batches there are does not.

A pair has two lengths: pairs follow one another by the step of the target, and where it is the same by that of the
source, up in one step and down in the next; a batch has count times (longest source + longest target) positions.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from thalweg.core.arrays import cut

Lengths = Int[np.ndarray, "sequence *sides"]
"""One length, or (source, target) of each pair."""


def by_length(
    lengths: Lengths,
    size: int | None,
    tokens: int | None = None,
    generator: torch.Generator | None = None,
    merge_single: bool = False,
) -> list[Int[Tensor, " _some"]]:
    """The sequences of each batch of an epoch: `size` of them, or as many as keep count times longest within `tokens`.

    Without a generator they stay in their own order. A sequence that is longer than `tokens` is a batch of its own.
    `merge_single` lets a batch of one join another, whatever `tokens` says.

    >>> lengths = np.array([3, 50, 4, 3, 60, 4])
    >>> [lengths[batch].tolist() for batch in by_length(lengths, None, 120, torch.Generator().manual_seed(0))]
    [[50, 60], [3, 3, 4, 4]]
    """
    n = len(lengths)
    if generator is None:
        return _cut(torch.arange(n), lengths, size, tokens, merge_single)
    shuffled = torch.randperm(n, generator=generator).numpy()
    steps = _steps(lengths)
    order = shuffled[_ascending(steps[shuffled])]
    batches = _cut(torch.from_numpy(order), steps[order], size, tokens, merge_single)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def count_by_length(lengths: Lengths, size: int | None, tokens: int | None = None, merge_single: bool = False) -> int:
    """How many batches an epoch of training has, whatever its order.

    >>> count_by_length(np.array([3, 50, 4, 3, 60, 4]), None, 120)
    2
    """
    steps = _steps(lengths)
    return len(_cut(torch.arange(len(lengths)), steps[_ascending(steps)], size, tokens, merge_single))


def padded_share(lengths: Lengths, batches: list[Int[Tensor, " _some"]]) -> float:
    """The share of all positions of these batches that are padding.

    >>> padded_share(np.array([1, 2]), [torch.tensor([0, 1])])
    0.25
    """
    held = [lengths[batch.numpy()] for batch in batches]
    whole = sum(len(one) * int(one.max(axis=0).sum()) for one in held)
    return (whole - sum(int(one.sum()) for one in held)) / whole if whole else 0.0


def _ascending(steps: Lengths) -> Int[np.ndarray, " place"]:
    """The order by steps, of pairs by the target's and then the source's; what is alike stays as it lies."""
    if steps.ndim == 1:
        return np.argsort(steps, kind="stable")
    source, target = steps.T
    up_or_down = np.unique(target, return_inverse=True)[1] % 2 * 2 - 1
    return np.lexsort((source * up_or_down, target))


def _steps(lengths: Lengths) -> Lengths:
    """Each length rounded up to a step of an eighth, but never beyond the longest sequence of that step."""
    if lengths.ndim == 2:
        return np.stack([_steps(side) for side in lengths.T], axis=1)
    low = 2 ** np.floor(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    width = np.maximum(low // 8, 1)
    steps = -(-lengths // width) * width
    _, place = np.unique(steps, return_inverse=True)
    longest = np.zeros(place.max(initial=-1) + 1, dtype=np.int64)
    np.maximum.at(longest, place, lengths)
    return longest[place]


def _cut(
    order: Int[Tensor, " sequence"], lengths: Lengths, size: int | None, tokens: int | None, merge_single: bool
) -> list[Int[Tensor, " _some"]]:
    """An order in batches; `lengths` are those of its sequences in turn."""
    if tokens is None:
        return cut(order, size or max(len(order), 1), merge_single)
    bounds = _bounds(lengths, tokens)
    if merge_single:
        bounds = _without_single(bounds)
    return list(torch.tensor_split(order, bounds[:-1])) if bounds else []


def _without_single(bounds: list[int]) -> list[int]:
    """The same ends without those of a batch of one, which goes with the next, or at the end with the one before."""
    kept: list[int] = []
    for end in bounds:
        if end - (kept[-1] if kept else 0) > 1:
            kept.append(end)
    return [*kept[:-1], bounds[-1]] if kept else bounds[-1:]


def _bounds(lengths: Lengths, tokens: int) -> list[int]:
    """Where each batch ends: with the last sequence that keeps count times longest within `tokens`."""
    bounds: list[int] = []
    start, n, guess = 0, len(lengths), 64
    while start < n:
        ahead = lengths[start : start + guess]
        longest = np.maximum.accumulate(ahead)
        area = longest.reshape(len(ahead), -1).sum(axis=1) * np.arange(1, len(ahead) + 1)
        fitting = int(np.searchsorted(area, tokens, side="right"))  # the area never falls
        if fitting == len(ahead) and start + guess < n:
            guess *= 2
            continue
        guess = max(64, 2 * fitting)
        start += max(fitting, 1)
        bounds.append(start)
    return bounds
