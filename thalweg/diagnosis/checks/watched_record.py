"""What is seen of a watched loop, as it is seen: counts, rates, losses, and looks at the layers."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.measure.propagation import LayerSignal

TURNS = 20
"""So many turns of the gradient are kept, the last ones."""
ENDS = 64
"""So many numbers of a weight, at its beginning, tell whether it has moved."""


@dataclass(frozen=True)
class Sample:
    """A look at the layers in one step: what goes through them, and by what share their weights moved."""

    step: int
    layers: tuple[LayerSignal, ...]
    moves: dict[str, float]


@dataclass
class Record:
    """What was seen of a loop."""

    forwards: int = 0
    backwards: int = 0
    steps: int = 0
    looked: int = 0
    """Steps in which it was looked whether the gradient had been cleared."""
    uncleared: int = 0
    stale: int = 0
    evaluating: int = 0
    rates: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    broken: tuple[int, str] | None = None
    losses: list[Any] = field(default_factory=list)
    pairs: deque[tuple[Tensor, Tensor]] = field(default_factory=lambda: deque(maxlen=TURNS), repr=False)
    """The gradients of a small parameter at two steps in a row, the last ones."""
    differs: bool = False
    """Whether the model computes something else in evaluation mode."""
    left_out: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    weights: int = 0
    _first: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _owned: set[int] = field(default_factory=set, repr=False)

    def begin(self, model: nn.Module, owned: set[int]) -> None:
        """Note the weights as they are, and which of them an optimizer holds."""
        self._owned = owned
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._first = {name: _ends(weight) for name, weight in trained.items()}
        self.weights = len(trained)
        norms = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
        self.differs = any(isinstance(m, norms) and getattr(m, "p", 1.0) > 0 for m in model.modules())

    def end(self, model: nn.Module) -> None:
        """Note which weights have not moved."""
        trained = {name: weight for name, weight in model.named_parameters() if name in self._first}
        still = [name for name, weight in trained.items() if torch.equal(_ends(weight), self._first[name])]
        executed = {layer.name for sample in self.samples for layer in sample.layers}
        self.left_out = [name for name in still if id(trained[name]) not in self._owned]
        held = [name for name in still if id(trained[name]) in self._owned]
        here = [name for name in held if name.rpartition(".")[0] in executed]
        self.stuck = [name for name in held if (g := trained[name].grad) is not None and bool(g.any())]
        self.unreached = [name for name in here if trained[name].grad is None]

    def add_loss(self, loss: Any) -> None:
        """Note a loss; one on a device is read later, with others."""
        if not isinstance(loss, Tensor):
            self.losses.append(float(loss))
        elif loss.device.type == "cpu":
            self.losses.append(float(loss.detach()))
        else:
            self.losses.append(loss.detach())
            if len(self.losses) % 32 == 0:
                self.read_losses()

    def read_losses(self) -> list[float]:
        """The losses as numbers."""
        for place in range(len(self.losses) - 1, -1, -1):
            if not isinstance(self.losses[place], Tensor):
                break
            self.losses[place] = float(self.losses[place])
        return self.losses

    @property
    def turns(self) -> list[Tensor]:
        """The cosines between the gradients of two steps in a row, by a small parameter."""
        return [nn.functional.cosine_similarity(*pair, dim=0) for pair in self.pairs]

    def note_turn(self, before: Tensor, now: Tensor) -> None:
        """Note the gradients of two steps in a row; how far they turned is for whoever reads them."""
        self.pairs.append((before.reshape(-1), now.detach().reshape(-1).clone()))


def _ends(weight: Tensor) -> Tensor:
    flat = weight.detach().reshape(-1)
    return torch.cat([flat[:ENDS].clone(), flat[ENDS:].sum().reshape(1)])
