r"""What a linear learner is given to read images by: how much each region looks like patches cut from other images.

Patches of the images, drawn at random, are the filters; nothing is trained. With a patch $p$ centred and divided by its
deviation, $W$ the whitening of such patches and $d_k$ a whitened filter of length 1, the features of a place are

$$ f_k = \max(0, d_k^T W p - a), \qquad f_{-k} = \max(0, -d_k^T W p - a), $$

averaged over each quarter of the image (Coates, Ng & Lee, "An analysis of single-layer networks in unsupervised feature
learning", 2011; Coates & Ng, "The importance of encoding versus training with sparse coding and vector quantization",
2011, which finds filters drawn at random to do as well as learned ones).
"""

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor
from torch.nn import functional as F

SIDE, FILTERS, DRAWN = 6, 100, 4000
"""The side of a patch in pixels, the filters, and the patches from which the whitening is learned."""
SMOOTH, BEYOND = 0.01, 0.25
"""What is added to the variance of a patch, as a share of the images' own, and to the whitening; and the a of above."""
AT_ONCE = 128


class PatchFeatures(TransformerMixin, BaseEstimator):
    """Rows of pixels, `(examples, channels * height * width)`, as features `(examples, 2 * FILTERS * 4)`.

    >>> rows = np.random.default_rng(0).normal(size=(5, 64))
    >>> PatchFeatures((1, 8, 8)).fit(rows).transform(rows).shape
    (5, 800)
    """

    def __init__(self, shape: tuple[int, int, int], seed: int = 0) -> None:
        self.shape, self.seed = shape, seed

    def fit(self, rows: np.ndarray, _: Any = None) -> "PatchFeatures":
        """Draw patches from these images and learn how they are whitened."""
        images = self._images(rows)
        draw = np.random.default_rng(self.seed)
        side = min(SIDE, *images.shape[2:])
        which = torch.from_numpy(draw.integers(0, len(images), DRAWN))
        down, right = (torch.from_numpy(draw.integers(0, length - side + 1, DRAWN)) for length in images.shape[2:])
        cut = torch.stack(
            [images[i, :, y : y + side, x : x + side] for i, y, x in zip(which, down, right, strict=True)]
        )
        self.smooth_ = SMOOTH * float(images.var(correction=0)) + 1e-12
        patches = cut.flatten(1)
        patches = patches - patches.mean(1, keepdim=True)
        patches = patches / (patches.var(1, correction=0, keepdim=True) + self.smooth_).sqrt()
        values, vectors = torch.linalg.eigh(patches.T @ patches / DRAWN)
        whitening = vectors @ ((values.clamp_min(0) + SMOOTH).rsqrt()[:, None] * vectors.T)
        filters = F.normalize(patches[:FILTERS] @ whitening) @ whitening
        filters = filters - filters.mean(1, keepdim=True)  # takes the mean of whatever patch it meets away
        self.filters_ = filters.view(-1, *cut.shape[1:])
        return self

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """The features of these images."""
        images = self._images(rows)
        return torch.cat([self._features(part) for part in images.split(AT_ONCE)]).double().numpy()

    def _features(self, images: Tensor) -> Tensor:
        side = (self.filters_.shape[2], self.filters_.shape[3])
        means = [F.avg_pool2d(power, side, 1).mean(1, keepdim=True) for power in (images, images.square())]
        deviation = ((means[1] - means[0].square()).clamp_min(0) + self.smooth_).sqrt()
        alike = F.conv2d(images, self.filters_) / deviation
        signs = (alike.sub(BEYOND).relu_(), alike.neg_().sub_(BEYOND).relu_())
        return torch.cat([F.adaptive_avg_pool2d(each, 2) for each in signs], 1).flatten(1)

    def _images(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(rows)).float().view(-1, *self.shape)
