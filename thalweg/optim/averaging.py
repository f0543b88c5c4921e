r"""Averages of the weights along a run, which are judged and kept in the place of the last weights.

    EMA   theta'_t := d_t theta'_{t-1} + (1 - d_t) theta_t,   d_t = min(d, (1 + t) / (10 + t))
    SWA   theta'   := the plain mean of theta_t over the last part of the run
    Last  theta'   := the plain mean of theta_t at a few points of it, the last of them its end

Steps of SGD scatter around a minimum by an amount that grows with the learning rate; their mean lies nearer to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from thalweg.core.errors import RecipeError

Blend = Callable[[list[Tensor], list[Tensor], int], None]
"""Moves averaged tensors towards current ones; the third argument counts what was taken in before."""


Due = Callable[[int, int | None], bool]
"""Whether the weights after this step, of so many, are among those that are averaged."""


class Average:
    """A running average of a model: a copy of it, `module`, whose weights and buffers follow by `blend`.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = SWA(start=0.0)(model)
    >>> for step, value in enumerate((1.0, 3.0)):
    ...     nn.init.constant_(model.weight, value) is None
    ...     average.update(step, 2)
    False
    False
    >>> average.module.weight.item()
    2.0
    """

    def __init__(self, model: nn.Module, blend: Blend, start: float, due: Due | None = None) -> None:
        self.model, self.blend, self.start, self.due = model, blend, start, due
        self.copy = AveragedModel(model, use_buffers=True)

    @property
    def module(self) -> nn.Module:
        """The model with the averaged weights; the model itself before the average begins."""
        copied: nn.Module = self.copy.module
        return copied if int(self.copy.n_averaged) else self.model

    def update(self, step: int, steps: int | None) -> None:
        """Take in the weights after step number `step`, counted from 0, of `steps`."""
        if self.start and steps is None:
            raise RecipeError(
                f"SWA(start={self.start}) begins after a share of the steps, but a stream does not say how many there "
                "are. Take EMA, or SWA(start=0)."
            )
        if step >= self.start * (steps or 0) and (self.due is None or self.due(step, steps)):
            self._take_in()

    @torch.no_grad()
    def _take_in(self) -> None:
        """What `AveragedModel.update_parameters` does, but its count is not sent to a GPU and read back there."""
        taken, averaged, current = int(self.copy.n_averaged), _tensors(self.copy.module), _tensors(self.model)
        kinds: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
        for own, new in zip(averaged, current, strict=True):
            first, second = kinds.setdefault((own.device, own.dtype), ([], []))
            first.append(own)
            second.append(new)
        for first, second in kinds.values():
            if taken:
                self.blend(first, second, taken)
            else:
                torch._foreach_copy_(first, second)
        self.copy.n_averaged += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and how many were taken in."""
        state: dict[str, Any] = self.copy.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self.copy.load_state_dict(state)


@dataclass(frozen=True)
class EMA:
    """An exponential moving average of the weights (Polyak & Juditsky 1992; the ramp of Tarvainen & Valpola 2017).

    It reaches back about 1 / (1 - decay) steps; at the beginning of a run less, so that the initial weights fade.

    >>> EMA(1.5)
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: EMA(decay=1.5), but a decay lies between 0 and 1, as in EMA(0.999).
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise RecipeError(f"EMA(decay={self.decay}), but a decay lies between 0 and 1, as in EMA(0.999).")

    def __call__(self, model: nn.Module) -> Average:
        return Average(model, self._blend, 0.0)

    def _blend(self, averaged: list[Tensor], current: list[Tensor], taken: int) -> None:
        _move(averaged, current, 1 - min(self.decay, (1 + taken) / (10 + taken)))


@dataclass(frozen=True)
class SWA:
    """The mean of the weights over the steps after a share `start` of the run (Izmailov et al. 2018, at every step).

    >>> SWA(1.0)
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: SWA(start=1.0), but it begins at a share of the run below 1, as in SWA(0.75).
    """

    start: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.start < 1:
            raise RecipeError(f"SWA(start={self.start}), but it begins at a share of the run below 1, as in SWA(0.75).")

    def __call__(self, model: nn.Module) -> Average:
        return Average(model, self._blend, self.start)

    def _blend(self, averaged: list[Tensor], current: list[Tensor], taken: int) -> None:
        _move(averaged, current, 1 / (taken + 1))


@dataclass(frozen=True)
class Checkpoints:
    """The mean of the weights at the last `count` checkpoints, `every` apart, the end of the run among them.

    Vaswani et al., "Attention Is All You Need" (2017), section 6.1, take 5 that are about 1/70 of the run apart. A
    distance is a number of steps, or a share of the run. Raises `RecipeError` for numbers out of their range and, when
    called, for a run of unknown length or of fewer steps.

    >>> [step for step in range(10) if Checkpoints(3, every=2).due(step, 10)]
    [5, 7, 9]
    """

    count: int = 5
    every: int | float = 0.02

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 1:
            raise RecipeError(
                f"Checkpoints(count={self.count!r}), but it is how many are averaged, a whole number of at least 1. "
                "Give for instance count=5."
            )
        known = type(self.every) in (int, float)
        if not known or not (0 < self.every < 1 or (self.every >= 1 and self.every == int(self.every))):
            raise RecipeError(
                f"Checkpoints(every={self.every!r}), but it is a whole number of steps, at least 1, or a share of the "
                "run between 0 and 1. Give for instance every=0.02."
            )

    def __call__(self, model: nn.Module) -> Average:
        return Average(model, self._blend, 0.0, self.due)

    def due(self, step: int, steps: int | None) -> bool:
        """Whether there is a checkpoint after this step, counted from 0."""
        if steps is None:
            raise RecipeError(
                "Checkpoints are counted from the end of the run, but a stream does not say how many steps there are. "
                "Take EMA, or give the stream a length."
            )
        apart = int(self.every) if self.every >= 1 else max(1, round(self.every * steps))
        if (self.count - 1) * apart >= steps:
            raise RecipeError(
                f"Checkpoints(count={self.count}, every={self.every}) reach back {(self.count - 1) * apart:,} steps, "
                f"but the run has {steps:,}. Take fewer, or have them nearer to each other."
            )
        back = steps - 1 - step
        return back % apart == 0 and back // apart < self.count

    def _blend(self, averaged: list[Tensor], current: list[Tensor], taken: int) -> None:
        _move(averaged, current, 1 / (taken + 1))


def _tensors(model: nn.Module) -> list[Tensor]:
    return [each.detach() for each in (*model.parameters(), *model.buffers())]


def _move(averaged: list[Tensor], current: list[Tensor], share: float) -> None:
    """Averaged := averaged + share (current - averaged); counts are taken over as they are."""
    if averaged[0].is_floating_point() or averaged[0].is_complex():
        torch._foreach_lerp_(averaged, current, share)
    else:
        torch._foreach_copy_(averaged, current)


AVERAGES: dict[str, Callable[..., Callable[[nn.Module], Average]]] = {
    "ema": EMA,
    "swa": SWA,
    "checkpoints": Checkpoints,
}
