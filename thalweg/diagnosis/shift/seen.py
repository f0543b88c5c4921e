"""What a network makes of a split: inputs, penultimate features, outputs and targets of its first examples."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.nest import Nest, count_examples, leaves, map_tensors, to_device
from thalweg.core.objective import apply
from thalweg.core.randomness import untouched
from thalweg.core.source import Indexed, Source
from thalweg.diagnosis.references import is_image
from thalweg.training import Run

MOST = 1000
"""Examples of a split that are looked at, spread evenly over it."""
READERS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.Embedding)
"""Layers whose inputs are features."""
LEAST_SIDE = 5
ALIKE = 2.0
"""Pixels that stand one above the other agree so many times as well as any two."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Examples of a split, by their places in it; `features` are what the last layer with weights reads."""

    source: Source
    places: np.ndarray
    inputs: Tensor | None
    targets: Nest
    features: np.ndarray | None
    outputs: Tensor | None

    @property
    def labels(self) -> Tensor | None:
        """The targets themselves where they come with weights."""
        first = next(iter(leaves(self.targets)), None)
        return first if isinstance(first, Tensor) else None


def see(run: Run, source: Source, device: torch.device, most: int = MOST) -> Seen | None:
    """Some examples of a split, and what a run's best model makes of them; None where batches are no pairs, or the
    model does not take them so.
    """
    places = np.arange(len(source)) if isinstance(source, Indexed) else np.arange(most)
    if isinstance(source, Indexed) and len(source) > most:
        places = places[:: -(-len(source) // most)]
        source = source.take(places)
    xs, ys, features, outputs, count = list[Any](), list[Any](), list[Any](), list[Any](), 0
    model = run.model.to(device).eval()
    with torch.no_grad(), untouched(), Penultimate(model) as last:
        for batch in source.batches(0, 0, None):
            if not isinstance(batch, tuple | list) or len(batch) != 2 or count >= most:
                break
            try:
                output = apply(model, to_device(batch[0], device))
            except Exception:  # a user's own code: an objective of its own may call the model otherwise
                return None
            xs.append(batch[0])
            ys.append(batch[1])
            features.append(last.taken())
            outputs.append(output)
            count += count_examples(batch)
    if not xs:
        return None
    targets = _joined(ys)
    if targets is None:
        return None
    inputs, made, output = (_column(parts, count) for parts in (xs, features, outputs))
    told = None if made is None else _as_rows(made)
    return Seen(source, places[:count], inputs, targets, told, output)


class Penultimate:
    """Takes down, while it is entered, what the last of a model's layers with weights reads.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> with Penultimate(model) as last:
    ...     _ = model(torch.ones(5, 3))
    ...     last.taken().shape
    torch.Size([5, 2])
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.read = model, list[Any]()

    def __enter__(self) -> "Penultimate":
        layers = [each for each in self.model.modules() if isinstance(each, READERS)]
        self.hooks = [layer.register_forward_pre_hook(self._note) for layer in layers]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _note(self, module: nn.Module, inputs: Any) -> None:
        self.read = [inputs[0]] if inputs else []

    def taken(self) -> Tensor | None:
        """What was read last; None where no layer was called, or what it read is no batch of numbers."""
        read, self.read = (self.read[0] if self.read else None), []
        if not isinstance(read, Tensor) or not read.is_floating_point() or read.dim() < 2:
            return None
        return read.detach()


def _as_rows(features: Tensor) -> np.ndarray:
    """A row for each example: the mean over the pixels of each channel, over all but the last axis of a sequence."""
    if features.dim() == 4:
        features = features.mean((2, 3))
    rows = features.flatten(1, -2).mean(1) if features.dim() > 2 else features
    return np.asarray(rows.double().numpy(force=True))


def _column(parts: list[Any], count: int) -> Tensor | None:
    """Tensors of all batches in one; None where they are none, or do not fit together."""
    if not all(isinstance(part, Tensor) and part.dim() for part in parts):
        return None
    if len({tuple(part.shape[1:]) for part in parts}) != 1 or sum(map(len, parts)) != count:
        return None
    return torch.cat([part.detach().cpu() for part in parts])


def _joined(parts: list[Nest]) -> Nest | None:
    rest = [list(leaves(part)) for part in parts]
    if len({tuple((each.shape[1:], each.dim()) for each in own) for own in rest}) != 1 or not all(
        isinstance(each, Tensor) and each.dim() for own in rest for each in own
    ):
        return None
    columns = iter([torch.cat([each.cpu() for each in own]) for own in zip(*rest, strict=True)])
    return map_tensors(lambda first: next(columns), parts[0])


def is_grid(x: Tensor) -> bool:
    """Whether inputs are images: by their shape, or rows of as many pixels as a square, of which those that stand one
    above the other are alike.

    >>> ramp = torch.arange(36.0).expand(9, 36) * torch.arange(1.0, 10)[:, None]
    >>> is_grid(torch.zeros(9, 3, 8, 8)), is_grid(ramp), is_grid(torch.randn(99, 36))
    (True, True, False)
    """
    if not x.is_floating_point():
        return False
    if x.dim() == 4:
        return is_image(x.shape[1:]) and x.shape[1] <= 4
    side = isqrt(x.shape[1]) if x.dim() == 2 else 0
    if side < LEAST_SIDE or side * side != x.shape[1] or len(x) < LEAST_SIDE:
        return False
    grid = x.double().view(len(x), side, side)
    scale = x.double().std()
    if not bool(scale > 0) or not bool(torch.isfinite(scale)):
        return False
    near = (grid[:, 1:] - grid[:, :-1]).abs().mean()
    rows = x.double()[:, torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))]
    far = (rows[:, 1:] - rows[:, :-1]).abs().mean()
    return bool(near * ALIKE**0.5 < far)
