"""A split in two halves, of which each has a purpose of its own: what one has shown the other has not seen.

The halves are dealt by the places that examples have in the whole that they came from. So copies of an example lie in
one half; and where examples without a target are left out, all others lie in the half in which they lay before.
"""

from typing import Any

import numpy as np

from thalweg.core.arrays import Drawn
from thalweg.core.randomness import stream_seed
from thalweg.core.source import Described, Indexed, plain_of

SPLIT_FROM = 100
"""A test split of fewer examples is not halved: on half of them an error rate is known to 14 points at best."""


def splittable(test: Indexed) -> bool:
    """Whether a test split can be halved: it has examples enough, and where these belong to groups, two of them."""
    if places_of(test)[1] < SPLIT_FROM:
        return False
    known = test.meta(np.arange(len(test))) if isinstance(test, Described) else {}
    return known.get("group") is None or len(np.unique(np.asarray(known["group"]))) > 1


def halves(source: Indexed, name: str = "test") -> tuple[Indexed, Indexed]:
    """A split in two halves, the same for every seed of a run and for all that is drawn from the same whole.

    Halves of another name are dealt anew, so that a half can be halved.

    >>> import torch
    >>> from thalweg.core.arrays import ArraySource
    >>> whole = ArraySource(torch.arange(8), None)
    >>> [half.data.tolist() for half in halves(whole)]
    [[0, 1, 3, 5], [2, 4, 6, 7]]
    >>> [half.data.tolist() for half in halves(Drawn.of(whole, [0, 1, 1, 6]))]
    [[0, 1, 1], [6]]
    """
    places, count = places_of(source)
    order = np.random.default_rng(stream_seed(0, f"{name} halves", count)).permutation(count)
    first = np.isin(places, order[: count // 2])
    return source.take(np.flatnonzero(first)), source.take(np.flatnonzero(~first))


def places_of(source: Any) -> tuple[np.ndarray, int]:
    """The place of each example in the whole that a source was drawn from, and of how many; copies share theirs.

    >>> import torch
    >>> from thalweg.core.arrays import ArraySource
    >>> places_of(Drawn.of(ArraySource(torch.arange(8), None), [3, 3, 5]))
    (array([3, 3, 5]), 8)
    """
    plain = plain_of(source)
    for one in (plain, getattr(plain, "arrays", None)):
        if isinstance(one, Drawn):
            return one.origin.numpy(), one.whole
    ids = getattr(plain, "ids", None)
    if ids is not None and len(ids) == len(source):
        names, places = np.unique(np.asarray(ids), return_inverse=True)
        if len(names) < len(ids):
            return places, len(names)
    return np.arange(len(source)), len(source)
