r"""Optimizers by name: torch's own, and the two that torch writes as settings of SGD.

With gradient $g$, learning rate $\eta$ and parameters $\theta$:

    gradient_descent, sgd   theta := theta - eta g
    momentum                m := lambda m + g;                           theta := theta - eta m
    rmsprop                 v := alpha v + (1 - alpha) g^2;              theta := theta - eta g / (sqrt(v) + eps)
    adam                    momentum and RMSProp, both averages corrected for starting at 0
    adamw                   Adam, with weight decay outside of the division

`docs/optimizers.md` says where these part from the formulas of textbooks, with numbers.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from thalweg.core.errors import RecipeError, did_you_mean


def gradient_descent(params: ParamsT, lr: float | Tensor) -> torch.optim.SGD:
    """Plain gradient descent, theta := theta - lr g, meant for the whole split at once: `Recipe(batch_size=None)`.

    torch's SGD does the step; what makes it stochastic is the batch.

    >>> theta = torch.tensor([1.0], requires_grad=True)
    >>> theta.grad = torch.tensor([2.0])
    >>> gradient_descent([theta], lr=0.1).step()
    >>> theta
    tensor([0.8000], requires_grad=True)
    """
    return torch.optim.SGD(params, lr=lr)


def momentum(
    params: ParamsT, lr: float | Tensor, momentum: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0
) -> torch.optim.SGD:
    """SGD with momentum (Polyak 1964): m := momentum m + g, theta := theta - lr m.

    `nesterov` looks ahead: theta := theta - lr (g + momentum m) (Nesterov 1983, as in Sutskever et al. 2013).

    >>> theta = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = momentum([theta], lr=0.1)
    >>> for _ in range(2):
    ...     theta.grad = torch.tensor([1.0])
    ...     optimizer.step()
    >>> theta  # 1 - 0.1 - 0.1 (1 + 0.9)
    tensor([0.7100], requires_grad=True)
    """
    return torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "gradient_descent": gradient_descent,
    "sgd": torch.optim.SGD,
    "momentum": momentum,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def optimizer_by_name(name: str, **options: Any) -> Callable[..., torch.optim.Optimizer]:
    """The optimizer factory of that name with its options bound, as `Recipe(optimizer=...)` takes it.

    Options keep torch's names: `lr`, `weight_decay`, `momentum`. Raises `RecipeError` for an unknown name or option,
    and where a learning rate is needed and missing.

    >>> factory = optimizer_by_name("adam", lr=1e-3)
    >>> type(factory(torch.nn.Linear(3, 2).parameters())).__name__
    'Adam'
    >>> optimizer_by_name("adem")
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: There is no optimizer 'adem'. Did you mean 'adam'?
    """
    if name not in OPTIMIZERS:
        raise RecipeError(f"There is no optimizer {name!r}.{did_you_mean(name, OPTIMIZERS)}")
    factory = OPTIMIZERS[name]
    known = dict(list(inspect.signature(factory).parameters.items())[1:])
    for option in options:
        if option not in known:
            hint = " Did you mean 'lr'?" if "rate" in option else did_you_mean(option, known)
            raise RecipeError(f"The optimizer {name!r} has no option {option!r}.{hint}")
    if known["lr"].default is inspect.Parameter.empty and "lr" not in options:
        raise RecipeError(f"The optimizer {name!r} needs a learning rate. Say for instance lr=0.1.")
    return partial(factory, **options)
