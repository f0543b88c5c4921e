"""watch: look over the shoulder of a training loop of your own, and say what is not as it should be.

Nothing is changed: the loop clears, goes backward and steps as it does. Hooks at the optimizer and at a few small
parameters see each step; the layers are looked at in steps that lie ever farther apart (1, 2, 4, 8, ...), so that
it costs a few percent. What is found is a sign, and no proof: an experiment (`thalweg.diagnose`) would be one.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import isfinite, nan
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.randomness import untouched
from thalweg.core.wording import counted
from thalweg.diagnosis.checks.watched import Sign, signs
from thalweg.diagnosis.checks.watched_record import Record, Sample
from thalweg.measure.propagation import Track, kept_as_it_is, layers_of
from thalweg.measure.saturation import Saturations

ALL, EVERY = 16, 8
"""A few small parameters are looked at in so many first steps, then in every such step."""
APART = 2
"""A step at which the layers are looked at is followed by one that many times later."""
SYNC = 16
"""On a device numbers are read so rarely, for reading one waits for all that it has to do."""


@no_type_check
def watch(model: nn.Module, optimizer: Any) -> "Watching":
    """Watch a training loop of your own and say what is not as it should be.

    Write `with thalweg.watch(model, optimizer) as w:` around it, and `print(w)` behind it. `optimizer` is one, or a
    list of several. `w.step(loss)` after each step is optional: with it the course of the loss is judged too.
    `w.findings` are the signs, none of them proved; `w.to_json()` gives plain values.

    >>> x, y = torch.randn(64, 3), torch.randn(64, 1)
    >>> net = nn.Linear(3, 1)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    >>> with watch(net, optimizer) as w:
    ...     for _ in range(20):
    ...         nn.functional.mse_loss(net(x), y).backward()  # and no zero_grad
    ...         optimizer.step()
    >>> [sign.mechanism for sign in w.findings]
    ['missing zero_grad']

    Raises `RecipeError` for what is no module or no optimizer, for an optimizer without parameters of the model, and
    for lazy layers that have no weights yet.
    """
    if not isinstance(model, nn.Module):
        raise RecipeError(
            f"watch was given {type(model).__name__}, but it watches a torch.nn.Module: watch(model, optimizer)."
        )
    optimizers = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
    for one in optimizers or [None]:
        if not isinstance(one, torch.optim.Optimizer):
            raise RecipeError(
                f"watch was given {type(one).__name__} as an optimizer, but it watches a torch.optim.Optimizer, or a "
                "list of them: watch(model, optimizer)."
            )
    if any(map(is_lazy, model.parameters())):
        raise RecipeError(
            "watch was given a model with lazy layers that have no weights yet: call it once on a batch before, "
            "model(x)."
        )
    own = {id(weight) for weight in model.parameters()}
    for one in optimizers:
        if not any(id(weight) in own for group in one.param_groups for weight in group["params"]):
            raise RecipeError(
                f"The {type(one).__name__} holds none of the model's parameters, so it cannot train it. Make it after "
                "the model is complete: torch.optim.Adam(model.parameters())."
            )
    return Watching(model, optimizers)


@dataclass
class Sentinel:
    """A small parameter that is looked at in every step: what its gradient was at the last one, and since then."""

    weight: nn.Parameter
    stepped: Tensor | None = None
    expected: Tensor | None = None
    calls: int = 0
    total: int = 0
    cleared: bool = True

    def before(self, gradient: Tensor) -> None:
        """A new gradient is about to be added to what is there."""
        there = self.weight.grad
        if self.calls == 0 or not self.cleared:
            self.cleared = there is None or self.expected is None or not torch.equal(there, self.expected)
        if not self.cleared and there is not None:
            self.expected = there + gradient.detach()
        self.calls += 1

    def turns(self, record: Record) -> bool:
        """Note the gradient beside that of the last step, where both are there; whether they were."""
        now = self.weight.grad
        if self.stepped is None or now is None or now.is_sparse or now.numel() < 2:
            return False
        record.note_turn(self.stepped, now)
        return True

    def after_step(self, looks: bool) -> None:
        """The optimizer has stepped by the gradient that is there; the next step is looked at, or not."""
        gradient = self.weight.grad if looks else None
        given = gradient is not None and not gradient.is_sparse and bool(gradient.any())
        self.stepped = self.expected = gradient.detach().clone() if given and gradient is not None else None
        self.calls, self.cleared = 0, True


@dataclass(eq=False)
class Watching:
    """A loop that is watched, from entering to leaving the block; what was seen stays."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    record: Record = field(default_factory=Record)
    _handles: list[Any] = field(default_factory=list, repr=False)
    _sampling: list[Any] = field(default_factory=list, repr=False)
    _tracks: dict[str, Track] = field(default_factory=dict, repr=False)
    _saturations: Saturations = field(default_factory=Saturations, repr=False)
    _slopes: dict[nn.Module, float | None] = field(default_factory=dict, repr=False)
    _before: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _given: tuple[Any, Any] | None = field(default=None, repr=False)
    _next: int = 0

    def __enter__(self) -> "Watching":
        if self._handles:
            raise RecipeError("This loop is being watched already: each `with thalweg.watch(...)` watches one block.")
        owned = {id(w) for one in self.optimizers for group in one.param_groups for w in group["params"]}
        self.record.begin(self.model, owned)
        self._at_hand = next(self.model.parameters()).device.type == "cpu"
        self._handles.append(self.model.register_forward_pre_hook(self._forward, with_kwargs=True))
        for one in self.optimizers:
            sentinels = [Sentinel(weight) for weight in _smallest(one, self.model)]
            self._handles += [s.weight.register_hook(partial(self._backward, s)) for s in sentinels]
            self._handles.append(one.register_step_pre_hook(partial(self._pre_step, sentinels)))
            self._handles.append(one.register_step_post_hook(partial(self._post_step, sentinels)))
        self._arm()
        return self

    def __exit__(self, *error: Any) -> None:
        self._disarm()
        for handle in self._handles:
            handle.remove()
        self._handles, self._given = [], None
        self.record.end(self.model)

    def step(self, loss: Any = None) -> None:
        """Mark the end of an iteration, with its loss; without one only the steps are counted.

        Raises `RecipeError` for a loss that is no number.
        """
        if loss is None:
            return
        if not (loss.numel() == 1 and not loss.is_complex() if isinstance(loss, Tensor) else isinstance(loss, Real)):
            shown = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise RecipeError(f"step was given {shown}, but a loss is one number: w.step(loss) or w.step().")
        self.record.add_loss(loss)

    @property
    def findings(self) -> tuple[Sign, ...]:
        """The signs that something is not as it should be, none of them proved."""
        if self._handles:
            self.record.end(self.model)
        return signs(self.record)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        losses = self.record.read_losses()
        return {
            "steps": self.record.steps,
            "backwards": self.record.backwards,
            "losses": [loss if isfinite(loss) else None for loss in losses],
            "findings": [sign.to_json() for sign in self.findings],
        }

    def __str__(self) -> str:
        found = self.findings
        lines = [f"{counted(self.record.steps, 'step')} watched, {counted(len(found), 'sign')}:"]
        for sign in found:
            lines += [f"- {sign.mechanism}. {sign.says}.", f"  {sign.mend}."]
        if not found and not self.record.steps:
            return "No step of the optimizer was seen: the loop has to run inside of `with thalweg.watch(...)`."
        if not found:
            return lines[0][: -len(", 0 signs:")] + ": nothing stands out."
        return "\n".join([*lines, "None of this is proved: thalweg.diagnose(recipe) asks by experiment."])

    def _forward(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled():
            self.record.forwards += 1
            self._given = args, kwargs

    def _backward(self, sentinel: Sentinel, gradient: Tensor) -> None:
        sentinel.total += 1
        if sentinel.total > self.record.backwards:
            self.record.backwards = sentinel.total
        if sentinel.stepped is None or gradient.is_sparse:
            sentinel.calls += 1  # as in most steps: nothing but a count
        else:
            sentinel.before(gradient)

    def _pre_step(self, sentinels: list[Sentinel], optimizer: Any, args: Any, kwargs: Any) -> None:
        record = self.record
        record.steps += 1
        if not any(map(callable, (*args[1:], *kwargs.values()))):  # a closure goes backward inside
            met = [sentinel for sentinel in sentinels if sentinel.calls]
            record.stale += not met
            if any(sentinel.stepped is not None for sentinel in met):
                record.looked += 1
                record.uncleared += any(not sentinel.cleared for sentinel in met)
        record.evaluating += not self.model.training
        record.rates.append(float(optimizer.param_groups[0]["lr"]))
        for sentinel in sentinels:
            if sentinel.turns(record):
                break
        if record.broken is None and sentinels and (self._at_hand or record.steps % SYNC == 0):
            self._look_for_breaks(sentinels[-1].weight.grad)
        if self._sampling:
            self._before = {name: _flat(module) for name, module in layers_of(self.model) if name in self._tracks}

    def _post_step(self, sentinels: list[Sentinel], optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._sampling and self._tracks:
            self._sample()
        for sentinel in sentinels:
            sentinel.after_step(self.record.steps < ALL or self.record.steps % EVERY == EVERY - 1)
        if not self._sampling and self.record.steps >= self._next:
            self._arm()

    def _look_for_breaks(self, gradient: Tensor | None) -> None:
        """Where a gradient is not finite, which layer it comes from; the weights are still those that were used."""
        if gradient is None or gradient.is_sparse or isfinite(gradient.sum().item()):
            return
        found: list[str] = []

        def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
            given = output[0] if isinstance(output, tuple) and output else output
            if isinstance(given, Tensor) and given.is_floating_point() and not bool(given.isfinite().all()):
                found.append(f"'{name}' ({type(module).__name__})")

        handles = [m.register_forward_hook(partial(look, n)) for n, m in self.model.named_modules() if not _holds(m)]
        try:
            with suppress(Exception), torch.no_grad(), untouched(), kept_as_it_is(self.model):
                if self._given is not None:
                    self.model(*self._given[0], **self._given[1])
        finally:
            for handle in handles:
                handle.remove()
        self.record.broken = (self.record.steps, found[0] if found else "")

    def _arm(self) -> None:
        """Look at the layers until the next step."""
        self._tracks, self._saturations = {}, Saturations()

        def see(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
            if not torch.is_grad_enabled():
                return
            self._saturations.after(name)
            track = self._tracks.get(name) or self._tracks.setdefault(name, Track(name, module))
            track.see(inputs, output)
            if track.output is not None and track.output.requires_grad:
                track.output.register_hook(partial(_learn, track, track.examples))
                track.output = None

        for name, module in layers_of(self.model):
            with suppress(RuntimeError, TypeError):  # a scripted module takes no hooks
                self._sampling.append(module.register_forward_hook(partial(see, name)))
        self._sampling += self._saturations.hooked(self.model, self._slopes)

    def _disarm(self) -> None:
        for handle in self._sampling:
            handle.remove()
        self._sampling = []

    @torch.no_grad()
    def _sample(self) -> None:
        """What was seen of the layers in this step; the hooks are taken away until the next one that is looked at."""
        order, moves = list(self._tracks.values()), {}
        modules = dict(layers_of(self.model))
        for name, before in self._before.items():
            length = float(before.norm())
            moves[name] = float((_flat(modules[name]) - before).norm()) / length if length else nan
        for track in order:
            track.gradients = [w.grad.to_dense() for w in track.weights if w.grad is not None] or None
        layers = tuple(t.signal_of(self._saturations.behind(t.name), last=t is order[-1]) for t in order)
        self.record.samples.append(Sample(self.record.steps, layers, moves))
        self._disarm()
        self._tracks, self._before = {}, {}
        self._next = APART * self.record.steps


def _learn(track: Track, examples: int, delta: Tensor) -> None:
    track.examples = examples
    track.feel(delta)


def _flat(module: nn.Module) -> Tensor:
    """The trained weights of a layer in one row."""
    own = [weight.detach().reshape(-1) for weight in module.parameters(recurse=False) if weight.requires_grad]
    return torch.cat(own).float() if own else torch.zeros(0)


def _holds(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _smallest(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[nn.Parameter]:
    """Small parameters of the model that an optimizer trains: of its first layers and of its last."""
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    own = [weight for weight in model.parameters() if id(weight) in held and weight.requires_grad]
    halves = [half for half in (own[: (len(own) + 1) // 2], own[len(own) // 2 :]) if half]
    size: Callable[[nn.Parameter], int] = nn.Parameter.numel
    return list({id(weight): weight for weight in (min(half, key=size) for half in halves)}.values())
