"""What a probe looks at between two steps: losses of fresh batches, what goes through layers, where a move leads."""

from dataclasses import dataclass, field
from itertools import accumulate, islice
from statistics import fmean

import torch
from torch import Tensor, nn

from thalweg.core.nest import Nest, count_examples, to_device
from thalweg.core.objective import Moment
from thalweg.core.randomness import generator, seed_everything, stream_seed, untouched
from thalweg.diagnosis.stretch import Along
from thalweg.measure.propagation import LayerSignal, kept_as_it_is, layers_of, propagation
from thalweg.training.build import Training, forward

EXAMPLES, MOST, ENOUGH = 128, 24, 64
"""Layers are looked at with so many examples, or somewhat more: as many batches as that takes, up to the second.

A loss is told by the third, at least.
"""


@dataclass
class Looking:
    """A training that is probed, the weights by layer, and a few fresh batches that no step takes."""

    training: Training
    few: bool
    cost: float = 0.0
    names: list[str] = field(default_factory=list)
    weights: list[nn.Parameter] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    fresh: list[Nest] = field(default_factory=list)

    def __post_init__(self) -> None:
        seen = set[int]()
        for name, module in layers_of(self.training.model):
            own = [w for w in module.parameters(recurse=False) if w.requires_grad and id(w) not in seen]
            if own:
                seen |= {id(weight) for weight in own}
                self.owner += [len(self.names)] * len(own)
                self.names.append(name)
                self.weights += own
        order = generator(self.training.recipe.seed, "order", 0)
        drawn = self.training.source.batches(0, 0, order)
        for batch in islice(drawn, MOST):
            self.fresh.append(to_device(batch, self.training.device))
            if sum(map(count_examples, self.fresh)) >= EXAMPLES:
                break

    @property
    def judging(self) -> list[Nest]:
        """The fresh batches by which a loss is told."""
        sizes = accumulate(map(count_examples, self.fresh))
        needed = next((place for place, size in enumerate(sizes, 1) if size >= ENOUGH), len(self.fresh))
        return self.fresh[: 1 if self.few else needed]

    def by_layer(self, tensors: list[Tensor]) -> list[float]:
        """The length of what each layer has of these tensors."""
        if not tensors:
            return []
        squares = torch.stack([norm.float() for norm in torch._foreach_norm(tensors)]).double().square()
        total = torch.zeros(len(self.names), dtype=torch.float64)
        lengths: list[float] = total.index_add(0, torch.tensor(self.owner), squares.cpu()).sqrt().tolist()
        return lengths

    def lengths(self) -> list[float]:
        """The lengths of the weights."""
        return self.by_layer([weight.detach() for weight in self.weights])

    def copy(self) -> list[Tensor]:
        """The weights as they are."""
        return [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def put(self, weights: list[Tensor]) -> None:
        """Put weights in place."""
        torch._foreach_copy_(list[Tensor](self.weights), weights)

    def loss(self, evaluated: bool = False, dropped: bool = False) -> float:
        """The mean loss of fresh batches, each time with the same noise, in training mode with the penalty.

        `evaluated` is the loss that judges, in evaluation mode; with `dropped` in training mode, so that only what the
        model does otherwise there tells the two apart, and not what is minimized beside it (smoothing, guides).
        """
        step, moment = self.training.step, self.moment(evaluated)
        values = []
        with kept_as_it_is(step), untouched():
            step.train(dropped or not evaluated)
            seed_everything(self.training.recipe.seed, "probe")
            for batch in self.judging:
                minimized, losses = forward(step, batch, moment)
                values.append(float((losses.mean() if evaluated else minimized).detach()))
                self.cost += 1 / 3
        return fmean(values)

    def moment(self, evaluated: bool = False) -> Moment:
        """The moment at which the fresh batches are asked for."""
        at, device = self.training.moment, self.training.device
        noise = torch.Generator(device).manual_seed(stream_seed(self.training.recipe.seed, "probe"))
        return Moment(at.step, at.steps, max(at.epoch, 1), not evaluated, noise)

    def penalty(self) -> float:
        """What the penalty adds to the loss; 0 without one."""
        step = self.training.step
        return 0.0 if step.penalty is None else float(torch.as_tensor(step.cost(step.penalty)).detach())

    def signals(self) -> tuple[LayerSignal, ...]:
        """What goes through the layers with the fresh batches."""
        step, moment = self.training.step, self.moment()
        with kept_as_it_is(step):
            step.train()
            self.cost += len(self.fresh)
            return propagation(self.training.model, lambda batch: forward(step, batch, moment)[0], self.fresh)

    def along(self, start: list[Tensor], end: list[Tensor], factors: tuple[float, ...]) -> Along:
        """The losses along a move of the weights, which are put back."""
        own, move = self.copy(), torch._foreach_sub(end, start)
        losses = []
        for factor in factors:
            self.put(list(torch._foreach_add(start, torch._foreach_mul(move, factor))))
            losses.append(self.loss())
        self.put(own)
        return Along(factors, tuple(losses))
