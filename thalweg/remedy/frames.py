"""Remedies for networks that read recordings as frames: a word stays that word in another voice, or faster.

Voices, microphones and rooms that train has none of cannot be undone on test: each is another. What is left is to make
the network need less of what they change.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thalweg.core.convert import Batching, as_source
from thalweg.core.nest import Nest
from thalweg.core.source import Indexed, Ordered
from thalweg.data import Masked, SpecAugment
from thalweg.diagnosis import Cause
from thalweg.remedy.remedy import Remedy
from thalweg.training import Recipe

UNMASKED: dict[str, Any] = {"pitch_masks": 0, "time_masks": 0}
VARIED: dict[str, Any] = {"pitch_warp": 0.15, "speed": 0.2}
MASKED: dict[str, Any] = {"pitch_masks": 2, "time_masks": 2}
ALIKE = 0.7
"""Pitches that stand side by side differ by so much of what any two of them differ by, at most."""
FEWEST = 8
"""Frames of fewer numbers have no pitches side by side."""


def shows_frames(batch: Nest) -> bool:
    """Whether the inputs of a batch are sequences of frames, `(frames, lengths)`, whose numbers stand in an order.

    Numbers that stand side by side are then more alike than any two are, as those of a spectrum.

    >>> pitches = torch.linspace(0, 3, 12).sin() + torch.linspace(0, 9, 50)[:, None].cos()
    >>> batch = ((pitches.expand(2, 50, 12), torch.tensor([50, 50])), torch.zeros(2))
    >>> order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    >>> shows_frames(batch), shows_frames(((torch.randn(2, 50, 12), torch.tensor([50, 50])), torch.zeros(2)))
    (True, False)
    """
    x = batch[0] if isinstance(batch, tuple | list) and len(batch) == 2 else None
    if not isinstance(x, tuple | list) or len(x) != 2 or not all(isinstance(part, Tensor) for part in x):
        return False
    frames, lengths = x
    if frames.dim() != 3 or frames.shape[2] < FEWEST or not frames.is_floating_point() or lengths.dim() != 1:
        return False
    order = torch.randperm(frames.shape[2], generator=torch.Generator().manual_seed(0))
    near, far = (_difference(each) for each in (frames, frames[..., order]))
    return bool(near < ALIKE * far)


def _difference(frames: Tensor) -> Tensor:
    return frames.double().diff(dim=2).abs().mean()


def other_voices() -> Iterator[Remedy]:
    """What may help where test was spoken by others than train was."""
    yield Remedy("pitch and speed varied", Cause.MISMATCH, partial(varied_frames, **VARIED))
    yield Remedy("frames masked, pitch and speed varied", Cause.MISMATCH, partial(varied_frames, **MASKED, **VARIED))
    yield Remedy("frames masked", Cause.MISMATCH, partial(varied_frames, **MASKED))


def varied_frames(recipe: Recipe, **settings: Any) -> Recipe:
    """The recipe whose train frames are masked, or of another pitch and speed, anew in every epoch (`SpecAugment`).

    What happens to them already stays. Itself where nothing more would happen, or the split cannot name its examples.
    """
    train: Any = as_source(recipe.data.train, "train", Batching(recipe.batch_size, recipe.collate))
    own = train.masks if isinstance(train, Masked) else SpecAugment(**UNMASKED)
    more = {name: value for name, value in settings.items() if value > getattr(own, name)}
    if not more or not isinstance(train, Indexed) or not isinstance(train, Ordered):
        return recipe
    masks = replace(own, **more)
    changed = replace(train, masks=masks) if isinstance(train, Masked) else Masked(train, masks)
    return recipe.but(data=replace(recipe.data, train=changed))
