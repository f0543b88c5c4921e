"""torch's fused step of Adam and AdamW, called at once: the same kernel on the same numbers, without what finds them.

Of a small network's step an eighth goes into gathering lists of weights and states that are the same each time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

OFF = ("amsgrad", "maximize", "differentiable", "capturable")
"""Settings of optimizers with which a step is more than the plain one."""
EMPTY: dict[str, Tensor] = {}
KINDS = {torch.optim.Adam: torch._fused_adam_, torch.optim.AdamW: torch._fused_adamw_}


@dataclass
class Gathered:
    """What one group's kernel reads beside the gradients."""

    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]

    def holds(self, weights: list[Tensor], state: Any) -> bool:
        """Whether the optimizer still keeps these very tensors for its weights, which loading a state replaces."""
        if len(weights) != len(self.first):
            return False
        own = [state.get(weight, EMPTY) for weight in weights]
        return all(
            each.get("exp_avg") is first and each.get("step") is step
            for each, first, step in zip(own, self.first, self.steps, strict=True)
        )


class FusedAdam:
    """The step of an Adam or AdamW whose groups are fused; where anything is unusual, `plain`, its own step.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = torch.optim.Adam([weight], lr=0.5, fused=True)
    >>> step = FusedAdam(optimizer, optimizer.step)
    >>> for _ in range(2):
    ...     weight.grad = torch.ones(2)
    ...     step()
    >>> torch.allclose(weight, torch.zeros(2), atol=1e-6)
    True
    """

    def __init__(self, optimizer: Any, plain: Callable[[], Any]) -> None:
        self.optimizer, self.plain, self.kernel = optimizer, plain, KINDS[type(optimizer)]
        self.gathered: list[Gathered] | None = None

    @torch.no_grad()
    def __call__(self) -> None:
        optimizer = self.optimizer
        known, groups = self.gathered, optimizer.param_groups
        if known is None or len(known) != len(groups) or not self._holds(known):
            self.plain()  # which makes the state where there is none
            self.gathered = self._gather()
            return
        gradients = [[weight.grad for weight in group["params"]] for group in groups]
        if any(gradient is None or gradient.is_sparse for own in gradients for gradient in own):
            self.plain()
            return
        for each, group, own in zip(known, groups, gradients, strict=True):
            torch._foreach_add_(each.steps, 1)
            self.kernel(
                group["params"], own, each.first, each.second, [], each.steps, amsgrad=False, maximize=False,
                lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
                eps=group["eps"], grad_scale=None, found_inf=None,
            )  # fmt: skip

    def _holds(self, known: list[Gathered]) -> bool:
        """Whether nothing has changed since they were gathered, settings included."""
        state, groups = self.optimizer.state, self.optimizer.param_groups
        return all(
            each.holds(group["params"], state) and not _is_odd(group) for each, group in zip(known, groups, strict=True)
        )

    def _gather(self) -> list[Gathered] | None:
        """The tensors of each group; None where they are not all of one kind, or a setting asks for something else."""
        found = []
        for group in self.optimizer.param_groups:
            weights, states = group["params"], [self.optimizer.state.get(weight, {}) for weight in group["params"]]
            kinds = {(weight.device, weight.dtype) for weight in weights}
            odd = _is_odd(group) or len(kinds) != 1 or any(weight.is_complex() for weight in weights)
            if odd or not all("exp_avg" in state for state in states):
                return None
            found.append(Gathered(*([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))))
        return found


def _is_odd(group: dict[str, Any]) -> bool:
    """Whether a setting asks for something else than the kernel with plain numbers."""
    numbers = all(isinstance(value, float | int) for value in (group["lr"], *group["betas"]))
    return not numbers or not group.get("fused") or any(group.get(name) for name in OFF)
