"""Mixup: a batch of mixtures of two examples, and of their targets in the same shares."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.nest import describe


def mixed(
    x: Float[Tensor, "batch ..."],
    y: Any,
    drawn: Float[Tensor, "batch 2"],
    ids: Int[Tensor, " batch"],
    alpha: float,
    classes: int | None,
) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
    r"""$\lambda x_i + (1 - \lambda) x_j$ and the same of $y$, where classes count as probabilities `(batch, classes)`.

    $\lambda$ is the quantile of $\mathrm{Beta}(\alpha, \alpha)$ at the second number of `drawn`. The examples of a
    batch stand in the order of the first, and each is mixed with the next one: who is mixed with whom depends on who is
    in the batch, and not on their order. An example that is alone is mixed with itself.

    >>> x, y = mixed(torch.eye(2), torch.tensor([0, 1]), torch.full((2, 2), 0.5), torch.arange(2), 0.2, classes=3)
    >>> x, y
    (tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]]), tensor([[0.5000, 0.5000, 0.0000],
            [0.5000, 0.5000, 0.0000]]))
    """
    from scipy.special import betaincinv

    target = mixable(y, len(x), classes, x.dtype)
    order = ids.to(x.device).argsort()
    order = order[drawn[:, 0][order].argsort(stable=True)]
    partner = torch.empty_like(order).scatter_(0, order, order.roll(-1))
    quantiles = betaincinv(alpha, alpha, drawn[:, 1].double().numpy(force=True))
    share = torch.from_numpy(quantiles).to(x.device)
    return _between(x, partner, share), _between(target, partner.to(target.device), share.to(target.device))


def _between(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    own = share.to(values.dtype).view(-1, *[1] * (values.dim() - 1))
    return torch.lerp(values[partner], values, own)


def mixable(y: Any, count: int, classes: int | None, dtype: torch.dtype) -> Tensor:
    """Targets as numbers of which a mixture means something."""
    if not isinstance(y, Tensor) or y.dim() == 0 or len(y) != count:
        raise DataError(
            f"mixup mixes targets that are one tensor, one row for each example, but they are {describe(y)}."
        )
    if y.is_floating_point():
        return y
    if y.dim() > 1:
        raise DataError(f"mixup mixes numbers, or one class for each example, but the targets are {describe(y)}.")
    if classes is None:
        raise RecipeError(
            f"mixup makes probabilities of classes, and the targets are {describe(y)}: say how many classes there are, "
            f"Augment(mixup=..., classes={max(2, int(y.max()) + 1)})."
        )
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise DataError(
            f"mixup was told of {classes} classes, 0 to {classes - 1}, but the targets go from {int(y.min())} to "
            f"{int(y.max())}. Say how many there are: classes={max(2, int(y.max()) + 1)}."
        )
    return F.one_hot(y.long(), classes).to(dtype)
