r"""The update of a step: the optimizer's, and what a recipe puts before and behind it.

clipping     g := g min(1, c / ||g||)          (Pascanu et al. 2013), over all parameters together
averaging    the weights after the step join a running average
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.notices import notice
from thalweg.core.objective import Moment
from thalweg.training.factories import bare_step

Update = Callable[[], Any]
OFTEN = 0.5
"""Clipping that acts in more than this share of the steps is a lower learning rate in disguise (Tuning Playbook)."""


class Clip:
    """Shortens a gradient that is longer than `most`, then updates; counts how often it had to.

    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip = Clip([weight], 1.0, lambda: None)
    >>> clip()
    >>> weight.grad, float(clip.norm)
    (tensor([0.6000, 0.8000]), 5.0)
    """

    def __init__(self, weights: list[nn.Parameter], most: float, update: Update) -> None:
        self.weights, self.most, self.update = weights, most, update
        self.norm: Tensor | None = None
        """The length of the last gradient before it was shortened."""
        self.steps, self.shortened = 0, torch.zeros((), dtype=torch.int64, device=weights[0].device)

    def __call__(self) -> None:
        self.norm = torch.nn.utils.clip_grad_norm_(self.weights, self.most)
        self.shortened += self.norm > self.most
        self.steps += 1
        self.update()

    def say_often(self) -> None:
        """Say where most steps were shortened."""
        share = int(self.shortened) / self.steps if self.steps else 0.0
        if share > OFTEN:
            notice(
                f"The gradient was clipped to norm {self.most:g} in {share:.0%} of the steps, so that it hides "
                "more than outliers. Take a lower learning rate first, or a larger clip_norm."
            )

    def state(self) -> dict[str, int]:
        """What is counted, as plain values."""
        return {"steps": self.steps, "shortened": int(self.shortened)}

    def put_back(self, state: dict[str, int]) -> None:
        """Go on counting from such values."""
        self.steps = state["steps"]
        self.shortened.fill_(state["shortened"])


def composed(optimizer: Any, moment: Moment, clip_norm: float | None, average: Any) -> tuple[Update, Clip | None]:
    """The update of a recipe as one call, and its clip where it has one."""
    update, clip = bare_step(optimizer), None
    if clip_norm is not None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        update = clip = Clip(weights, clip_norm, update)
    if average is None:
        return update, clip
    step = update

    def then_average() -> None:
        step()
        average.update(moment.step, moment.steps)

    return then_average, clip
