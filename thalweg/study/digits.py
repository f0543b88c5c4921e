"""The handwritten digits that come with scikit-learn, 1797 images of 8 x 8, split anew for every seed."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from thalweg.core.source import Splits

PIXELS, CLASSES = 64, 10
Split = tuple[Tensor, Tensor]


@cache
def _all_digits() -> Split:
    from thalweg.data import bundled

    table = bundled("digits")
    pixels = table.frame.drop(columns=table.target).to_numpy(dtype=np.float32)
    labels = table.frame[table.target].to_numpy(dtype=np.int64)
    return torch.tensor((pixels - pixels.mean()) / pixels.std()), torch.tensor(labels)


def digits(seed: int, *, train: int, validation: int = 0) -> Splits:
    """The digits, standardized as a whole: `train` and `validation` random examples, and all others as the test split.

    >>> splits = digits(0, train=500, validation=100)
    >>> [len(part[1]) for part in (splits.train, splits.validation, splits.test)]
    [500, 100, 1197]
    """
    x, y = _all_digits()
    order = torch.from_numpy(np.random.default_rng([seed, 1]).permutation(len(y)))
    parts = [order[:train], order[train : train + validation], order[train + validation :]]
    first, second, third = ((x[ids], y[ids]) for ids in parts)
    return Splits(train=first, validation=second if validation else None, test=third)
