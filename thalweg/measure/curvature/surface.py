r"""The error surface at a point: the objective over a fixed evaluation set, its gradient, products with its Hessian.

$$ L(\theta) = \frac{\sum_b w_b L_b(\theta)}{\sum_b w_b} + P(\theta) + \tfrac{1}{2} \sum_k \lambda_k \theta_k^2 $$

over batches b that count by their examples, with the penalty P and decoupled weight decay. A product with the Hessian
is the gradient of $g^\top v$ (Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994); the graph of g is kept
from product to product, so that one costs two gradients and not three. Graphs that do not fit into memory are made anew
for each product.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.nest import Nest
from thalweg.core.objective import Moment
from thalweg.core.randomness import generator
from thalweg.core.step import Step
from thalweg.core.storage import storages
from thalweg.measure.curvature.evaluation import Part, cut, shares

PIECES = 16
"""So many pieces of the evaluation set give a spread over examples."""
FEWEST = 8
"""Fewer pieces tell no spread."""


@dataclass(eq=False)
class Surface:
    """The objective as a function of the trained parameters in one vector of `size` numbers.

    >>> from thalweg.measure.curvature.opening import surface
    >>> model = nn.Linear(1, 1, bias=False)
    >>> with surface(model, nn.MSELoss(), (torch.ones(4, 1), torch.ones(4, 1))) as at:
    ...     at.size, at.product(torch.ones(1))
    (1, tensor([2.]))
    """

    step: Step
    parameters: dict[str, nn.Parameter]
    parts: list[Part]
    decay: Tensor | float
    training: bool
    mode: str
    budget: float
    kept: dict[int, list[Tensor | None]] = field(default_factory=dict)
    bytes_kept: float = 0.0
    products: int = 0

    @property
    def size(self) -> int:
        """How many numbers a point has."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def dtype(self) -> torch.dtype:
        """The format that the numbers are computed in."""
        return next(iter(self.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        """Where vectors lie."""
        return next(iter(self.parameters.values())).device

    @property
    def theta(self) -> Float[Tensor, " n"]:
        """The point."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters.values()])

    def move(self, theta: Float[Tensor, " n"]) -> None:
        """Go to another point, for as long as the surface is open."""
        self.forget()
        for parameter, piece in zip(self.parameters.values(), self._pieces(theta.detach().to(self.dtype)), strict=True):
            parameter.data = piece.clone()

    def forget(self) -> None:
        """Let go of all graphs."""
        self.kept.clear()
        self.bytes_kept = 0.0

    def over(self, parts: list[Part]) -> "Surface":
        """The same objective over other parts."""
        return Surface(
            self.step,
            self.parameters,
            parts,
            self.decay,
            self.training,
            self.mode,
            max(self.budget - self.bytes_kept, 0),
        )

    def loss(self) -> float:
        """The bare loss over the evaluation set."""
        with torch.no_grad():
            return sum(share * self._bare(part.batch).item() for part, share in shares(self.parts))

    def extra(self) -> float:
        """What penalty and decay add to it."""
        with torch.no_grad():
            cost = self._restraint()
            decay = (self.decay * self.theta.double().square()).sum().item() / 2 if self._decays() else 0.0
            return (0.0 if cost is None else float(cost)) + decay

    def value(self) -> float:
        """The objective that was trained: the loss with penalty and decay."""
        return self.loss() + self.extra()

    def value_at(self, theta: Float[Tensor, " n"]) -> float:
        """The objective at another point; the surface stays where it is, and keeps its graphs."""
        with self._elsewhere(theta):
            return self.value()

    def gradient_at(self, theta: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The gradient at another point, without a graph."""
        total = self._zeros()
        with self._elsewhere(theta):
            for part, share in shares(self.parts):
                total.add_(self._flat(self._gradients(self._bare(part.batch), graph=False)), alpha=share)
            return self._restrained(total, self._flat, None)

    @contextmanager
    def _elsewhere(self, theta: Tensor) -> Iterator[None]:
        places = [parameter.data for parameter in self.parameters.values()]
        try:
            for parameter, piece in zip(self.parameters.values(), self._pieces(theta.to(self.dtype)), strict=True):
                parameter.data = piece.clone()
            yield
        finally:
            for parameter, data in zip(self.parameters.values(), places, strict=True):
                parameter.data = data

    def gradient(self) -> Float[Tensor, " n"]:
        """The gradient of the objective; its graph is kept where it fits."""
        return self._restrained(self.data_gradient(), self._flat, None)

    def data_gradient(self) -> Float[Tensor, " n"]:
        """The gradient of the loss alone."""
        total = self._zeros()
        for number, (_, share) in enumerate(shares(self.parts)):
            total.add_(self._flat(self._graph(number)), alpha=share)
        return total

    def product(self, v: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Hv for the objective, about two gradients."""
        self.products += 1
        v = v.to(self.dtype)
        total = self._zeros()
        pieces = self._pieces(v)
        for number, (_, share) in enumerate(shares(self.parts)):
            self._add(total, self._graph(number), pieces, share)
        return self._restrained(total, lambda gradients: self._of(gradients, pieces), v)

    def of_parts(self, what: Callable[["Surface"], Any]) -> Iterator[tuple[float, Any]]:
        """A quantity of each part alone, with the part's weight; no graph is kept."""
        for part in self.parts:
            alone = self.over([part])
            alone.budget = 0.0
            yield part.weight, what(alone)

    def pieces(self) -> list[Part] | None:
        """The evaluation set in pieces of which each has a loss of its own, 16 where they can be had.

        None where there are fewer than 8: few examples, or few batches of a loss that is no mean over examples.
        """
        if len(self.parts) >= PIECES:
            return self.parts
        each = math.ceil(PIECES / len(self.parts))
        found = [piece for part in self.parts for piece in self._cut(part, each)]
        return found if len(found) >= FEWEST else None

    def _cut(self, part: Part, count: int) -> list[Part]:
        batches = cut(part.batch, count)
        if batches is None:
            return [part]
        with torch.no_grad():
            whole = self._bare(part.batch).item()
            measured = [self._measured(batch) for batch in batches]
        weight = sum(weight for _, weight in measured)
        mean = sum(value * weight for value, weight in measured) / weight if weight else math.nan
        same = abs(mean - whole) <= 1e-4 * max(abs(value) for value, _ in measured) and close(weight, part.weight, 1e-4)
        return [Part(b, w) for b, (_, w) in zip(batches, measured, strict=True) if w > 0] if same else [part]

    def _moment(self) -> Moment:
        return Moment(training=self.training, generator=generator(0, "curvature", device=self.device))

    def _bare(self, batch: Nest) -> Tensor:
        return self.step.objective(self.step.model, batch, self._moment()).mean()

    def _measured(self, batch: Nest) -> tuple[float, float]:
        losses = self.step.objective(self.step.model, batch, self._moment())
        return losses.mean().item(), float(losses.total_weight())

    def _restraint(self) -> Tensor | float | None:
        return None if self.step.penalty is None else self.step.cost(self.step.penalty)

    def _decays(self) -> bool:
        return isinstance(self.decay, Tensor) or self.decay != 0

    def _restrained(self, total: Tensor, what: Callable[[list[Tensor | None]], Tensor], v: Tensor | None) -> Tensor:
        """A gradient (v is None) or a product, with what penalty and decay add to it."""
        if self._decays():
            total = total + self.decay * (self.theta if v is None else v)
        cost = self._restraint()
        if isinstance(cost, Tensor) and cost.requires_grad:
            total = total + what(self._gradients(cost))
        return total

    def _graph(self, number: int) -> list[Tensor | None]:
        """The gradient of a part with its graph, which is kept while there is room."""
        if number in self.kept:
            return self.kept[number]
        counted = Saved()
        with counted:
            gradients = self._gradients(self._bare(self.parts[number].batch))
        if self.bytes_kept + counted.bytes < self.budget:
            self.kept[number] = gradients
            self.bytes_kept += counted.bytes
        return gradients

    def _gradients(self, loss: Tensor, graph: bool = True) -> list[Tensor | None]:
        if not loss.requires_grad:
            return [None] * len(self.parameters)
        return list(torch.autograd.grad(loss, [*self.parameters.values()], create_graph=graph, allow_unused=True))

    def _of(self, gradients: list[Tensor | None], pieces: list[Tensor]) -> Tensor:
        total = self._zeros()
        self._add(total, gradients, pieces, 1.0)
        return total

    def _add(self, total: Tensor, gradients: list[Tensor | None], pieces: list[Tensor], share: float) -> None:
        """Add a share of Hv; a parameter that the loss does not use, or only as a factor, has rows of zeros."""
        pairs = [(g, v) for g, v in zip(gradients, pieces, strict=True) if g is not None and g.requires_grad]
        if not pairs:
            return
        products = torch.autograd.grad(
            [g for g, _ in pairs],
            [*self.parameters.values()],
            [v for _, v in pairs],
            retain_graph=True,
            allow_unused=True,
        )
        for room, product in zip(self._pieces(total), products, strict=True):
            if product is not None:
                room.add_(product, alpha=share)

    def _flat(self, gradients: list[Tensor | None]) -> Tensor:
        total = self._zeros()
        for room, gradient in zip(self._pieces(total), gradients, strict=True):
            if gradient is not None:
                room.copy_(gradient.detach())
        return total

    def _pieces(self, vector: Tensor) -> list[Tensor]:
        """Views of a vector in the shapes of the parameters."""
        shapes = [parameter.shape for parameter in self.parameters.values()]
        return [
            piece.view(shape) for piece, shape in zip(vector.split([s.numel() for s in shapes]), shapes, strict=True)
        ]

    def _zeros(self) -> Tensor:
        return torch.zeros(self.size, dtype=self.dtype, device=self.device)


class Saved(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes of what a graph keeps, storages once.

    >>> counted = Saved()
    >>> with counted:
    ...     _ = torch.ones(8, requires_grad=True).exp()
    >>> counted.bytes
    32.0
    """

    def __init__(self) -> None:
        self.bytes = 0.0
        self.seen: set[int] = set()

        def count(tensor: Tensor) -> Tensor:
            for address, size in storages(tensor).items():
                if address not in self.seen:
                    self.seen.add(address)
                    self.bytes += size
            return tensor.detach()  # the tensor itself would be a cycle of an output with its own graph, never freed

        super().__init__(count, lambda tensor: tensor)


def close(a: float, b: float, relative: float) -> bool:
    """Whether two numbers differ by no more than a share of the larger."""
    return abs(a - b) <= relative * max(abs(a), abs(b), 1e-30)
