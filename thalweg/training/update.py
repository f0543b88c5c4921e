"""The update of stacked runs: one of torch's own optimizers for all of them, at each run's own rate and decay.

Adam, AdamW and SGD move the weights by the rate times a step that does not depend on it. So the optimizer is given
tensors of zeros and the rate 1, which leaves that step in them, and

    theta_k := (1 - eta_k lambda_k) theta_k + eta_k step_k          (lambda: a decay that is decoupled, as AdamW's is).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.training.chain import Chain
from thalweg.training.factories import bare_step
from thalweg.training.fused import OFF

KINDS = {
    torch.optim.Adam: ("betas", "eps"),
    torch.optim.AdamW: ("betas", "eps"),
    torch.optim.SGD: ("momentum", "dampening", "nesterov"),
}
"""The optimizers that can be stacked, and the settings in which stacked runs agree."""


def settings_of(optimizer: Any, weights: Sequence[nn.Parameter]) -> tuple[Any, ...] | None:
    """What must agree in two optimizers for one update; None for one that cannot be stacked."""
    names = KINDS.get(type(optimizer))
    groups = _groups(optimizer)
    if names is None or set(groups) != {id(weight) for weight in weights}:
        return None
    ours = [groups[id(weight)] for weight in weights]
    first = ours[0]
    if any(group.get(name) for group in ours for name in OFF) or any(isinstance(group["lr"], Tensor) for group in ours):
        return None
    same = all(group[name] == first[name] for group in ours for name in names)
    return (type(optimizer).__name__, *(str(first[name]) for name in names)) if same else None


def _groups(optimizer: Any) -> dict[int, dict[str, Any]]:
    return {id(weight): group for group in optimizer.param_groups for weight in group["params"]}


class Update:
    """One optimizer over the stacked weights of a chain, with the rates and decays of each run's own optimizer."""

    def __init__(self, chain: Chain, optimizers: list[Any]) -> None:
        self.chain, self.kind = chain, type(optimizers[0])
        groups = [_groups(optimizer) for optimizer in optimizers]
        self.groups = [[group[id(weight)] for group, weight in zip(groups, own, strict=True)] for own in chain.owners]
        """For each stacked weight the group of each run, whose rate a schedule may change."""
        self.decoupled = self.kind is torch.optim.AdamW
        self.decays = [[float(group["weight_decay"]) for group in row] for row in self.groups]
        self.moves = [torch.zeros_like(weight) for weight in chain.weights]
        self._optimize_moves()
        self._rates: list[list[float]] = []
        self._factors: list[Tensor] = []
        self._decay_factors: list[Tensor] = []

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step of all runs by the gradients of their losses."""
        gradients = tuple(gradient.contiguous() for gradient in gradients)  # fused kernels go by memory
        self._read_rates()
        for weight, move, gradient, decay, row in zip(
            self.chain.weights, self.moves, gradients, self._decay_factors, self.decays, strict=True
        ):
            weight.grad = move.grad = gradient
            if any(row):
                if self.decoupled:
                    weight.mul_(decay)
                else:
                    move.grad = gradient + decay * weight
        torch._foreach_zero_(self.moves)
        self._move()
        torch._foreach_addcmul_(self.chain.weights, self.moves, self._factors)

    def of(self, kept: list[int], chain: Chain) -> "Update":
        """The update of some of the runs, over a chain of their weights."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.chain = chain
        other.groups = [[row[k] for k in kept] for row in self.groups]
        other.decays = [[row[k] for k in kept] for row in self.decays]
        other.moves = [move[kept].clone() for move in self.moves]
        other._optimize_moves()
        for before, after in zip(self.moves, other.moves, strict=True):
            other.optimizer.state[after] = {
                name: value[kept].clone() if isinstance(value, Tensor) and value.dim() else value
                for name, value in self.optimizer.state[before].items()
            }
        other._rates = []
        return other

    def _optimize_moves(self) -> None:
        settings = {name: self.groups[0][0][name] for name in KINDS[self.kind]}
        self.optimizer = self.kind(self.moves, lr=1.0, weight_decay=0.0, fused=True, **settings)
        self._move = bare_step(self.optimizer)

    def _read_rates(self) -> None:
        """The rates as they are now; where none has changed, the tensors of the step before."""
        rates = [[group["lr"] for group in row] for row in self.groups]
        if rates == self._rates:
            return
        self._rates, self._factors, self._decay_factors = rates, [], []
        for weight, row, decays in zip(self.chain.weights, rates, self.decays, strict=True):
            shape = (-1,) + (1,) * (weight.dim() - 1)
            numbers = torch.tensor([row, decays], dtype=weight.dtype).to(weight.device, non_blocking=True)
            rate, decay = (values.view(shape) for values in numbers)
            self._factors.append(rate)
            self._decay_factors.append(1 - rate * decay if self.decoupled else decay)
