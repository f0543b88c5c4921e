"""The gradient at a point: 0 where training stands still, be it a minimum, a maximum or a saddle."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor


def gradient_norm(parameters: Iterable[Tensor]) -> Float[Tensor, ""] | None:
    r"""The length of the whole gradient, in the loss's unit per unit of a parameter.

    $$ \lVert g \rVert = \sqrt{\textstyle\sum_k (\partial L / \partial \theta_k)^2} $$

    Reads `.grad`; parameters without one are passed over, and None means that none has one (no backward pass yet). Half
    precision is summed in float32.

    >>> theta = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> gradient_norm([theta])
    >>> (theta.square().sum() / 2).backward()
    >>> gradient_norm([theta])
    tensor(5.)
    """
    gradients = [_dense(parameter.grad) for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).detach() if gradients else None


def _dense(gradient: Tensor) -> Tensor:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return values.to(torch.promote_types(values.dtype, torch.float32))
