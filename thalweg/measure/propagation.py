r"""Propagation: what goes forward through the layers of a network, and what comes back, by a few batches.

A layer is a leaf module with weights. Of each are told, in the order in which they are executed, the numbers that it
gives, the gradient that reaches them,

$$ \delta_l = \partial L / \partial z_l, $$

and the gradient of its weights. A unit is a number of a linear layer's output, or a channel of a convolution's. It is
dead where its $\delta$ is exactly 0 for all examples while others of its layer learn, or while what it gives never is
above 0: behind a ReLU it then never learns again (Lu et al., "Dying ReLU and Initialization", 2020).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite, nan
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.randomness import untouched
from thalweg.measure.saturation import Saturations

CHANNELS = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
)
"""Layers whose units are on axis 1; of others they are on the last."""
EQUAL = 1e-6
"""Two rows differ by less than this share of their length where they are the same but for rounding."""


@dataclass(frozen=True)
class LayerSignal:
    """What goes through one layer.

    `input` and `deviation` are root mean squares of what it reads and gives (that of `deviation` around the mean),
    `signal` is the mean length of the gradient of an example's loss by what it gives, `gradient` the length of the
    gradient of its weights, NaN where there is none, `weight` their own length. `dead` and `saturated` are shares of
    its units, the latter NaN where nothing behind it saturates; `symmetric` is the share of its units that have the
    weights and the gradient of another one.
    """

    name: str
    kind: str
    input: float
    mean: float
    deviation: float
    zeros: float
    signal: float
    gradient: float
    mean_gradient: float
    weight: float
    units: int
    dead: float
    saturated: float
    symmetric: float
    finite: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is None."""
        return {name: plain(value) for name, value in asdict(self).items()}


def plain(value: Any) -> Any:
    """A value as JSON takes it: a number that is not finite is None.

    >>> plain(1.5), plain(float("nan"))
    (1.5, None)
    """
    return None if isinstance(value, float) and not isfinite(value) else value


def propagation(model: nn.Module, loss: Callable[[Any], Tensor], batches: Iterable[Any]) -> tuple[LayerSignal, ...]:
    """What goes through each layer of a model on these batches, in the order in which the layers are executed.

    `loss(batch)` runs the model and gives the scalar that training minimizes, the mean over the examples. The model is
    run in the mode that it is in and left as it was: its buffers, its gradients and the random streams too. A layer
    that is executed several times is told by its last time, its gradient by all of them.

    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    >>> with torch.no_grad():
    ...     _ = net[0].bias[:2].fill_(-100.0)
    >>> first, last = propagation(net, lambda x: net(x).square().mean(), [torch.randn(50, 3)])
    >>> first.name, first.dead, last.dead
    ('0', 0.5, 0.0)

    Raises `RecipeError` where the loss is no scalar with a gradient, or there is no batch.
    """
    tracks: dict[str, Track] = {}
    with kept_as_it_is(model), untouched(), torch.enable_grad():
        with _recorded(model, tracks) as saturations:
            count = 0
            for batch in batches:
                value = loss(batch)
                if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
                    raise RecipeError(
                        "propagation: loss(batch) gave no scalar with a gradient. Give the loss that training "
                        "minimizes: loss=lambda batch: objective(model(batch[0]), batch[1])."
                    )
                _backward(value.reshape(()), tracks)
                count += 1
        if not count:
            raise RecipeError("propagation was given no batches, but it runs the model on one at least.")
    order = list(tracks.values())
    return tuple(track.signal_of(saturations.behind(track.name), last=track is order[-1]) for track in order)


@contextmanager
def kept_as_it_is(model: nn.Module) -> Iterator[None]:
    """Put the buffers and the modes of a model back as they were, under errors too.

    >>> norm = nn.BatchNorm1d(2)
    >>> with kept_as_it_is(norm):
    ...     _ = norm.eval(), norm.running_mean.fill_(3.0)
    >>> norm.training, norm.running_mean.tolist()
    (True, [0.0, 0.0])
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        for module, mode in modes:
            module.training = mode


def layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a model with weights of their own, in the order in which they were made.

    >>> [name for name, _ in layers_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))]
    ['0']
    """
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)) and not isinstance(module, nn.ParameterList):
            yield name, module


def symmetric_share(weights: Iterable[Tensor]) -> float:
    """The share of rows that are equal to another row in all of these tensors, but for rounding; 0 for a single row.

    >>> symmetric_share([torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])])
    0.5
    """
    flat = [weight.detach().reshape(len(weight), -1).double() for weight in weights]
    rows = torch.cat([part / part.abs().max().clamp_min(1e-300) for part in flat], 1)
    if len(rows) < 2 or not bool(rows.isfinite().all()):
        return 0.0
    order = torch.argsort(rows @ torch.linspace(1, 2, rows.shape[1], dtype=rows.dtype, device=rows.device))
    near = (rows[order[1:]] - rows[order[:-1]]).abs().amax(1) <= EQUAL
    same = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    same[1:] |= near
    same[:-1] |= near
    return float(same.double().mean())


class Track:
    """What is seen of one layer, batch after batch."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module
        self.weights = [weight for weight in module.parameters(recurse=False) if weight.requires_grad]
        self.output: Tensor | None = None
        self.examples = 1
        self.finite = True
        self.batches = self.numbers = 0
        self.input = self.mean = self.square = self.zeros = self.signal = 0.0
        self.gradients: list[Tensor] | None = None
        self.highest: Tensor | None = None
        self.reached: Tensor | None = None

    @property
    def axis(self) -> int:
        """The axis of its units."""
        return 1 if isinstance(self.module, CHANNELS) else -1

    def see(self, inputs: Any, output: Any) -> Any:
        """Note a forward pass; what follows is given a copy, which it may change in place."""
        given = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(given, Tensor) or not given.is_floating_point() or not given.dim():
            return None
        values = given.detach().float()
        self.finite = self.finite and bool(values.isfinite().all())
        self.output, self.examples = given, len(given)
        read = inputs[0] if inputs and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point() else None
        self.batches += 1
        self.input += nan if read is None else _root_mean_square(read.detach())
        self.mean += float(values.mean())
        self.square += float(values.square().mean())
        self.zeros += float((values == 0).float().mean())
        highest = self._by_unit(values, torch.amax)
        self.highest = highest if self.highest is None else torch.maximum(self.highest, highest)
        return given.clone() if given is output else None

    def learn(self, delta: Tensor | None, gradients: list[Tensor | None]) -> None:
        """Note a backward pass."""
        if delta is not None:
            self.feel(delta)
        given = [torch.zeros_like(w) if g is None else g for w, g in zip(self.weights, gradients, strict=True)]
        if any(gradient is not None for gradient in gradients):
            now = [gradient.to_dense() if gradient.is_sparse else gradient for gradient in given]
            self.gradients = (
                now if self.gradients is None else [a + b for a, b in zip(self.gradients, now, strict=True)]
            )
        self.output = None

    def feel(self, delta: Tensor) -> None:
        """Note the gradient by what it gave."""
        delta = delta.detach().float()
        self.signal += float(delta.reshape(len(delta), -1).norm(dim=1).mean()) * self.examples
        reached = self._by_unit(delta.abs(), torch.amax)
        self.reached = reached if self.reached is None else torch.maximum(self.reached, reached)

    def _by_unit(self, values: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
        axis = self.axis if values.dim() > 1 else -1
        return reduce(values.movedim(axis, 0).reshape(values.shape[axis], -1), 1)

    def dead(self) -> float:
        """The share of its units that are dead."""
        if self.reached is None or self.highest is None or self.reached.shape != self.highest.shape:
            return 0.0
        blocked = self.reached == 0
        dead = blocked & ((self.highest <= 0) | bool((~blocked).any()))
        return float(dead.float().mean())

    def symmetric(self) -> float:
        """The share of its units that can never be told from another one: by weights, bias and gradient."""
        if self.gradients is None or isinstance(self.module, nn.Embedding | nn.EmbeddingBag):
            return 0.0
        matrices = [weight for weight in self.weights if weight.dim() > 1]
        if not matrices or isinstance(self.module, nn.modules.conv._ConvTransposeNd):
            return 0.0
        rows = len(matrices[0])
        pairs = zip(self.weights, self.gradients, strict=True)
        return symmetric_share(part for pair in pairs if len(pair[0]) == rows for part in pair)

    def signal_of(self, saturated: float, last: bool) -> LayerSignal:
        """The numbers of the layer; what the last one gives is read by no layer, so that none of its units is dead."""
        count = max(self.batches, 1)
        length, entries = nan, nan
        if self.gradients is not None:
            whole = torch.cat([gradient.reshape(-1).float() for gradient in self.gradients]) / count
            length, entries = float(whole.norm()), float(whole.abs().mean())
        own = [weight.detach().reshape(-1).float() for weight in self.module.parameters(recurse=False)]
        mean = self.mean / count
        return LayerSignal(
            name=self.name,
            kind=type(self.module).__name__,
            input=self.input / count,
            mean=mean,
            deviation=max(self.square / count - mean**2, 0.0) ** 0.5,
            zeros=self.zeros / count,
            signal=self.signal / count,
            gradient=length,
            mean_gradient=entries,
            weight=float(torch.cat(own).norm()),
            units=0 if self.highest is None else len(self.highest),
            dead=0.0 if last else self.dead(),
            saturated=saturated,
            symmetric=0.0 if last else self.symmetric(),
            finite=self.finite and (isfinite(length) or self.gradients is None),
        )


@contextmanager
def _recorded(model: nn.Module, tracks: dict[str, Track]) -> Iterator[Saturations]:
    """Note what the layers give in a block; the hooks are removed, under errors too."""
    handles, saturations = list[Any](), Saturations()

    def see(name: str, module: nn.Module, inputs: Any, output: Any) -> Any:
        saturations.after(name)
        track = tracks.get(name) or tracks.setdefault(name, Track(name, module))
        if isinstance(module, nn.RNN) and module.nonlinearity == "tanh" and isinstance(output[0], Tensor):
            saturations.of_tanh(output[0])
        return track.see(inputs, output)

    try:
        for name, module in layers_of(model):
            with suppress(RuntimeError, TypeError):  # a scripted module takes no hooks
                handles.append(module.register_forward_hook(partial(see, name)))
        handles += saturations.hooked(model)
        with saturations:
            yield saturations
    finally:
        for handle in handles:
            handle.remove()


def _backward(loss: Tensor, tracks: dict[str, Track]) -> None:
    """The gradient of a batch by the numbers that layers give and by their weights; `.grad` is left alone."""
    outputs = {name: t.output for name, t in tracks.items() if t.output is not None and t.output.requires_grad}
    weights = [weight for track in tracks.values() for weight in track.weights]
    given = torch.autograd.grad(loss, [*outputs.values(), *weights], allow_unused=True)
    deltas = dict(zip(outputs, given, strict=False))
    rest = iter(given[len(outputs) :])
    for name, track in tracks.items():
        track.learn(deltas.get(name), [next(rest) for _ in track.weights])


def _root_mean_square(x: Tensor) -> float:
    """Of all numbers, those that a sparse tensor does not hold being 0."""
    held = x.coalesce().values() if x.layout is torch.sparse_coo else x
    return float((held.float().square().sum() / max(x.numel(), 1)).sqrt())
