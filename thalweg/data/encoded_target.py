"""What encodings of rows and of images share: the target, by the statistics of training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from thalweg.data.schema import Label, TargetKind
from thalweg.data.targets import TargetValues


class EncodedTarget:
    """An encoding with a `schema` that has a target, whose numbers are scaled by `target_means` and `target_scales`."""

    schema: Any

    @property
    def target_means(self) -> tuple[float, ...]:
        """The means of the targets that are numbers; none of classes."""
        return ()

    @property
    def target_scales(self) -> tuple[float, ...]:
        """Their deviations."""
        return ()

    @property
    def outputs(self) -> int:
        """How many outputs a model needs."""
        outputs: int = self.schema.target.outputs
        return outputs

    @property
    def task(self) -> str:
        """ "classification" or "regression"."""
        task: str = self.schema.target.task
        return task

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes in the order of the outputs, of the type they came in; none for regression."""
        labels: tuple[Label, ...] = self.schema.target.labels
        return labels

    def encode_values(self, target: TargetValues) -> Shaped[Tensor, "batch ..."]:
        """Targets: int64 classes, a distribution over classes, or scaled numbers `(batch, d)`."""
        if self.schema.target.kind is TargetKind.CLASSES:
            return torch.from_numpy(target.astype(np.int64))
        if self.schema.target.kind is TargetKind.NUMBERS:
            target = (target - np.array(self.target_means)) / np.array(self.target_scales)
        return as_floats(target)

    def restore(self, values: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        r"""Outputs or targets of a regression in the target's own units, in double precision; of classes as they are.

        Single precision loses the differences between large numbers of a small spread, and any metric with them.

        Where there are twice as many columns as numbers to predict, the second half are the logarithms of variances
        $\ln \sigma^2$ of a Gaussian: $\ln \sigma^2 + 2 \ln s$ with the scale $s$ of the target.
        """
        if self.schema.target.kind is not TargetKind.NUMBERS:
            return values
        return restored(values, self.target_means, self.target_scales)


def as_floats(values: np.ndarray) -> Float[Tensor, "..."]:
    """An array as a tensor of torch's default type.

    >>> as_floats(np.array([1, 2]))
    tensor([1., 2.])
    """
    return torch.from_numpy(np.ascontiguousarray(values)).to(torch.get_default_dtype())


def restored(values: Shaped[Tensor, "..."], means: Sequence[float], scales: Sequence[float]) -> Float[Tensor, "..."]:
    """Scaled numbers in their own units, in double precision, and logarithms of variances behind them, if any."""
    values = values.double()
    scale = values.new_tensor(scales)
    numbers = values[..., : len(scales)] * scale + values.new_tensor(means)
    if not _doubled(values, scale):
        return numbers
    return torch.cat([numbers, values[..., len(scales) :] + 2 * scale.log()], -1)


def _doubled(values: Tensor, scales: Tensor) -> bool:
    """Whether values have a logarithm of a variance beside each number."""
    return values.shape[-1] == 2 * len(scales)
