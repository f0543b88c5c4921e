"""Chains: models that are a sequence of linear layers and what acts on each unit, lowered to batched matrix products.

The weights of K models are stacked along a first axis, and one product `(K, out, in) x (K, in, batch)` does the work of
K. Each model's own parameters become views of the stack, so that it can be judged at any time.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ELEMENTWISE = (
    nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Hardtanh, nn.Identity,
    nn.LogSigmoid, nn.Mish, nn.ReLU6, nn.SELU, nn.Softsign,
)  # fmt: skip
"""Modules without parameters that act on each number alone."""
Draws = list[torch.Generator]
Lowered = Callable[[Tensor, Draws], Tensor]


def links(model: nn.Module) -> list[nn.Module] | None:
    """The modules of a chain in their order; None where the model is none, or a module stands in it twice.

    >>> [type(link).__name__ for link in links(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU())))]
    ['Linear', 'ReLU']
    >>> links(nn.Sequential(nn.Conv2d(1, 1, 3))) is None
    True
    """
    if type(model) is not nn.Sequential:
        return [model] if _is_link(model) else None
    found: list[nn.Module] = []
    for child in model:
        inner = links(child)
        if inner is None:
            return None
        found += inner
    weights = [weight for link in found for weight in link.parameters()]
    return found if len({id(weight) for weight in weights}) == len(weights) else None


def _is_link(module: nn.Module) -> bool:
    hooked = any(getattr(module, name) for name in vars(module) if name.endswith("_hooks"))
    if hooked or not all(weight.requires_grad for weight in module.parameters()):
        return False
    if type(module) is nn.Flatten:
        return (module.start_dim, module.end_dim) == (1, -1)
    if type(module) is nn.LayerNorm:
        return len(module.normalized_shape) == 1
    if type(module) is nn.BatchNorm1d:
        return module.track_running_stats and module.momentum is not None
    return type(module) in (nn.Linear, nn.Dropout) or type(module) in ELEMENTWISE


def signature(model: nn.Module) -> tuple[Any, ...] | None:
    """What must agree in two models for them to be one program: kinds, shapes, types, settings but the dropout's rate.

    >>> signature(nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.1))) == signature(
    ...     nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)))
    True
    """
    found = links(model)
    if found is None:
        return None
    return tuple(
        (
            type(link).__name__,
            "" if type(link) is nn.Dropout else repr(link),
            tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in link.state_dict().items()),
        )
        for link in found
    )


class Chain:
    """K chains of one signature as one program: `(K, batch, ...) -> (K, batch, ...)`.

    >>> nets = [nn.Sequential(nn.Linear(3, 2), nn.Tanh()) for _ in range(4)]
    >>> x = torch.randn(4, 5, 3)
    >>> chain = Chain(nets)
    >>> bool(torch.allclose(chain(x, []), torch.stack([net(part) for net, part in zip(nets, x)]), atol=1e-6))
    True
    """

    def __init__(self, models: list[nn.Module]) -> None:
        self.models = models
        self.weights: list[Tensor] = []
        """Stacked parameters, in the order of the chain, each `(K, ...)`."""
        self.owners: list[list[nn.Parameter]] = []
        """The parameters of each model that they stand for."""
        self._steps = [self._lowered(list(row)) for row in zip(*map(_chain_of, models), strict=True)]

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        for step in self._steps:
            x = step(x, draws)
        return x

    @property
    def even_batches(self) -> bool:
        """Whether all batches of a step must be of one size: batch norm counts every row."""
        return any(isinstance(module, nn.BatchNorm1d) for module in self.models[0].modules())

    def stack(self, modules: list[nn.Module], name: str) -> Tensor:
        """One parameter of each module as a leaf, of which they become views."""
        own = [getattr(module, name) for module in modules]
        stacked = torch.stack([weight.detach() for weight in own]).requires_grad_()
        for weight, view in zip(own, stacked.detach(), strict=True):
            weight.data = view
        self.weights.append(stacked)
        self.owners.append(own)
        return stacked

    def share_gradients(self) -> None:
        """Let each model's parameters have the gradients of the stack."""
        for stacked, own in zip(self.weights, self.owners, strict=True):
            for k, weight in enumerate(own):
                weight.grad = None if stacked.grad is None else stacked.grad[k]

    def _lowered(self, row: list[nn.Module]) -> Lowered:
        link: Any = row[0]
        if isinstance(link, nn.Flatten):
            return lambda x, draws: x.flatten(2)
        if isinstance(link, nn.Linear):
            return self._linear(row, link.bias is not None)
        if isinstance(link, nn.Dropout):
            return _Dropout([module.p for module in row if isinstance(module, nn.Dropout)])
        if isinstance(link, nn.LayerNorm):
            return self._layer_norm(row, link)
        if isinstance(link, nn.BatchNorm1d):
            return self._batch_norm(row, link)
        return lambda x, draws: link(x)

    def _linear(self, row: list[nn.Module], biased: bool) -> Lowered:
        """Examples lie along the last axis in memory, by which narrow layers take a third of the time."""
        weight = self.stack(row, "weight")
        if not biased:
            return lambda x, draws: torch.bmm(weight, x.mT).mT
        bias = self.stack(row, "bias")
        return lambda x, draws: torch.baddbmm(bias.unsqueeze(2), weight, x.mT).mT

    def _layer_norm(self, row: list[nn.Module], link: nn.LayerNorm) -> Lowered:
        if not link.elementwise_affine:
            return lambda x, draws: link(x)
        weight = self.stack(row, "weight")
        bias = self.stack(row, "bias") if link.bias is not None else None

        def norm(x: Tensor, draws: Draws) -> Tensor:
            x = F.layer_norm(x, link.normalized_shape, eps=link.eps) * weight.unsqueeze(1)
            return x if bias is None else x + bias.unsqueeze(1)

        return norm

    def _batch_norm(self, row: list[nn.Module], link: nn.BatchNorm1d) -> Lowered:
        """All models' features side by side as the features of one batch norm."""
        weight, bias = (self.stack(row, name) if link.affine else None for name in ("weight", "bias"))
        means, variances = (torch.cat([getattr(module, name) for module in row]) for name in STATISTICS)
        for name, whole in zip(STATISTICS, (means, variances), strict=True):
            for module, part in zip(row, whole.chunk(len(row)), strict=True):
                setattr(module, name, part)

        def norm(x: Tensor, draws: Draws) -> Tensor:
            side = x.transpose(0, 1).flatten(1)
            scale, shift = (None if part is None else part.flatten() for part in (weight, bias))
            momentum = float(link.momentum or 0.0)
            side = F.batch_norm(side, means, variances, scale, shift, training=True, momentum=momentum, eps=link.eps)
            for module in row:
                module.get_buffer("num_batches_tracked").add_(1)
            return side.unflatten(1, (len(row), -1)).transpose(0, 1)

        return norm


STATISTICS = ("running_mean", "running_var")


class _Dropout:
    """Each model's own rate and draws: the mask that its dropout would have drawn from the global stream."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        if not any(self.rates):
            return x
        masks = [
            part.new_ones(part.shape)
            if rate == 0
            else part.new_zeros(part.shape)
            if rate == 1
            else part.new_empty(part.shape).bernoulli_(1 - rate, generator=own).div_(1 - rate)
            for part, rate, own in zip(x.detach(), self.rates, draws, strict=True)
        ]
        return x * torch.stack(masks)


def _chain_of(model: nn.Module) -> Iterator[nn.Module]:
    found = links(model)
    assert found is not None
    yield from found
