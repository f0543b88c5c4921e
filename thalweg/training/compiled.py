r"""The whole step as one compiled graph: forward, backward and update together, where torch can trace them.

A small network's step is mostly calls, and one graph is one call. What it computes is the same but for rounding. The
first step of a run, and batches of another shape than its first (the short last one of an epoch), are taken eagerly:
both ways share weights and state.
"""

import copy
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from thalweg.core.nest import Nest, leaves, to_device
from thalweg.core.notices import notice
from thalweg.core.objective import MarkedObjective, Moment
from thalweg.core.randomness import untouched
from thalweg.core.source import Counted
from thalweg.training.build import Training
from thalweg.training.layout import took
from thalweg.training.memory import next_batch

COSTS, SAVES = 30.0, 0.5
"""What compiling takes, in seconds, and the share of a small step's time that it saves: what `auto` reckons with."""
OFF = ("amsgrad", "maximize", "differentiable")
"""Settings of optimizers that are left to their own step."""


def compile_if_asked(training: Training) -> None:
    """Give a training its compiled step, where its recipe asks for one; why it has none is said."""
    asked = training.recipe.compile
    if not asked or (asked == "auto" and not pays(training)):
        return
    why = why_not(training)
    if why:
        notice(f"The step is not compiled: {why}.")
        return
    training.whole, training.choices["compiled"] = Whole(training), "yes"


def why_not(training: Training) -> str:
    """Why the step of a training cannot be one graph; empty where it may."""
    recipe, objective, optimizer = training.recipe, training.step.objective, training.optimizer
    if recipe.loop is not None:
        return "a loop of your own takes its steps itself"
    if recipe.clip_norm is not None or recipe.accumulate > 1 or recipe.average is not None:
        return "clipping, steps of several batches and averages come between the gradient and the update"
    if isinstance(objective, MarkedObjective) and objective.arguments > 2:
        return "the objective asks for the moment, which is another at every step"
    if type(optimizer) not in KERNELS:
        return f"{type(optimizer).__name__} is none of {', '.join(kind.__name__ for kind in KERNELS)}"
    off = [name for name in OFF if any(group.get(name) for group in optimizer.param_groups)]
    return f"the optimizer's {off[0]} is left to its own step" if off else ""


def pays(training: Training) -> bool:
    """Whether the steps of a run take so long that compiling saves more than it costs, by timing a few on a copy."""
    if training.moment.steps is None or not isinstance(training.source, Counted) or why_not(training):
        return False
    try:
        step = copy.deepcopy(training.step).train()
        batch = to_device(next_batch(training), training.device)
        with untouched():
            fastest = min(took(step, batch) for _ in range(5))
    except Exception:  # a model that cannot be copied, or whose first step will say what is wrong
        return False
    return fastest * training.moment.steps * SAVES > COSTS


class Whole:
    """The step of a training in one graph: `(batch) -> loss`; None for a batch that the eager step has to take."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.shapes: tuple[Any, ...] | None = None
        """The shapes and types of the batches that it takes, those of the first."""
        self.graph: Callable[..., tuple[Tensor, Tensor]] | None = None
        groups = training.optimizer.param_groups
        self.used: list[float] = []
        self.rates = [torch.zeros((), device=training.device, dtype=torch.float64) for _ in groups]

    def __call__(self, batch: Nest) -> Tensor | None:
        shapes = tuple([(part.shape, part.dtype) for part in leaves(batch)])
        if shapes != self.shapes:
            self.shapes = self.shapes or shapes
            return None
        used = [group["lr"] for group in self.training.optimizer.param_groups]
        if used != self.used:
            self.used = used
            for rate, value in zip(self.rates, used, strict=True):
                rate.fill_(value)
        if self.graph is None:
            return self._first(batch)
        loss, self.training.norm = self.graph(batch, self.rates)
        return loss

    def state(self) -> list[Any]:
        """What it has to know again where a run goes on, as plain values."""
        return [[list(shape), str(kind).removeprefix("torch.")] for shape, kind in self.shapes or ()]

    def put_back(self, state: list[Any]) -> None:
        """Go on from such values."""
        self.shapes = tuple((torch.Size(shape), getattr(torch, kind)) for shape, kind in state) or None

    def _first(self, batch: Nest) -> Tensor | None:
        """Compile by calling; what torch cannot trace goes on eagerly, which is said."""
        graph = self._compiled()
        try:
            with tracing():
                loss, self.training.norm = graph(batch, self.rates)
        except Exception as error:
            why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            notice(f"The step is not compiled: {why.strip()[:200]}")
            self.training.whole, self.training.choices["compiled"] = None, "no"
            return None
        self.graph = graph
        return loss

    def _compiled(self) -> Callable[..., tuple[Tensor, Tensor]]:
        step, optimizer, moment = self.training.step, self.training.optimizer, Moment(training=True)
        groups = [dict(group) for group in optimizer.param_groups]
        states = [[optimizer.state.get(weight, {}) for weight in group["params"]] for group in groups]
        weights = [weight for group in groups for weight in group["params"]]
        kernel = KERNELS[type(optimizer)]

        def whole(batch: Nest, rates: list[Tensor]) -> tuple[Tensor, Tensor]:
            minimized, _ = step(batch, moment)
            gradients = iter(torch.autograd.grad(minimized, weights, allow_unused=True))
            squares = minimized.new_zeros(())
            with torch.no_grad():
                for group, state, rate in zip(groups, states, rates, strict=True):
                    given = [next(gradients) for _ in group["params"]]
                    used = [place for place, gradient in enumerate(given) if gradient is not None]
                    squares = squares + sum(given[place].square().sum() for place in used)
                    parts = [[column[place] for place in used] for column in (group["params"], given, state)]
                    kernel(group, rate, *parts)
            return minimized.detach(), squares.sqrt()

        # A code object of its own: torch counts the graphs of each, and gives up after a few.
        own = types.FunctionType(whole.__code__.replace(), whole.__globals__, "whole", None, whole.__closure__)
        compiled: Callable[..., tuple[Tensor, Tensor]] = torch.compile(
            own, fullgraph=True, dynamic=False, options={"fallback_random": True}
        )
        return compiled


@contextmanager
def tracing() -> Iterator[None]:
    """Let torch trace gradients within a graph, and keep its advice to itself."""
    import torch._dynamo.config as config

    with config.patch(trace_autograd_ops=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _adam(group: Any, rate: Tensor, weights: list[Any], gradients: list[Tensor], states: list[Any]) -> None:
    """Adam and AdamW as torch computes them, over the state that the optimizer keeps."""
    columns = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
    first, second, steps = columns
    adam(
        weights, gradients, first, second, [], steps, foreach=False, fused=False, amsgrad=False, maximize=False,
        capturable=rate.device.type != "cpu", decoupled_weight_decay=group["decoupled_weight_decay"],
        beta1=group["betas"][0], beta2=group["betas"][1], lr=rate, weight_decay=group["weight_decay"], eps=group["eps"],
    )  # fmt: skip


def _sgd(group: Any, rate: Tensor, weights: list[Any], gradients: list[Tensor], states: list[Any]) -> None:
    """SGD as torch computes it: m := momentum m + (1 - dampening) g; with nesterov the step is g + momentum m."""
    decay, momentum = group["weight_decay"], group["momentum"]
    for weight, gradient, state in zip(weights, gradients, states, strict=True):
        move = gradient + decay * weight if decay else gradient
        if momentum:
            kept = state["momentum_buffer"]
            kept.mul_(momentum).add_(move, alpha=1 - group["dampening"])
            move = move + momentum * kept if group["nesterov"] else kept
        weight.sub_((rate * move).to(weight.dtype))


KERNELS: dict[type, Callable[..., None]] = {torch.optim.Adam: _adam, torch.optim.AdamW: _adam, torch.optim.SGD: _sgd}
"""The optimizers whose update can be part of the graph."""
