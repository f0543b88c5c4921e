"""How images lie in memory: channel by channel, or pixel by pixel with its channels side by side (channels last).

Convolutions read the second faster on most machines. The numbers are the same but for rounding.
"""

import copy
from time import perf_counter
from typing import Any

import torch
from torch import nn

from thalweg.core.nest import to_device
from thalweg.core.objective import Moment
from thalweg.core.randomness import generator, untouched
from thalweg.training.build import Training
from thalweg.training.memory import next_batch

TIMES, GAIN = 3, 1.1
"""Each layout is timed so often, in turn; the second is chosen where the first takes so many times as long."""
CHANNELS_LAST = "channels last"


def lay_out_if_asked(training: Training) -> None:
    """Put the weights of convolutions channels last where the recipe asks for it, or lets a few steps decide."""
    asked = training.recipe.channels_last
    convolves = any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in training.model.modules())
    if asked and convolves and (asked is True or is_faster(training)):
        lay_out_as(training, CHANNELS_LAST)


def lay_out_as(training: Training, layout: str) -> None:
    """Put the weights so, and note it; inputs follow by themselves."""
    order = torch.channels_last if layout == CHANNELS_LAST else torch.contiguous_format
    training.model.to(memory_format=order)  # type: ignore[call-overload]
    training.choices["layout"] = layout


def is_faster(training: Training) -> bool:
    """Whether steps on a copy are faster so; not where they fail, as where a model calls `view` on an image."""
    try:
        plain, other = (copy.deepcopy(training.step).train() for _ in range(2))
        other.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with untouched():
            batch = to_device(next_batch(training), training.device)
            pairs = [(took(plain, batch), took(other, batch)) for _ in range(1 + TIMES)][1:]
    except Exception:
        return False
    return min(first for first, _ in pairs) > GAIN * min(second for _, second in pairs)


def took(step: Any, batch: Any) -> float:
    """The seconds of a forward and a backward pass."""
    began = perf_counter()
    own = generator(0, "trial", device=next(step.parameters()).device)
    step(batch, Moment(training=True, generator=own))[0].backward()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return perf_counter() - began
