"""Arms of the same size: the network trained better, at other learning rates, with another optimizer, longer.

Factories are opaque (`lambda p: Adam(p, lr=3e-4)`), so a learning rate is changed in the optimizer that was built.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf, isclose, isfinite
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.randomness import untouched
from thalweg.diagnosis.beginnings import is_deep
from thalweg.diagnosis.escaping import EscapingSaddles
from thalweg.diagnosis.finding import Arm
from thalweg.diagnosis.further_arms import Tried, behind, could_be, further_arms
from thalweg.diagnosis.growth import reinitialized, shallower
from thalweg.diagnosis.laboratory import Laboratory, first_batch
from thalweg.diagnosis.regrouped import ScaledRate
from thalweg.diagnosis.repairs import evened
from thalweg.diagnosis.untrained import untrained
from thalweg.measure.curvature.kinds import Kind
from thalweg.training import Recipe
from thalweg.training.factories import build_optimizer
from thalweg.training.rate import Scheduled, as_rate

ADAM, LONGER = "Adam at its usual rate", "trained 3 x as long"
EVENED = "inputs standardized"
EVENED_ADAM = f"{EVENED}, and {ADAM}"
SHALLOWER = ("half as deep", "a quarter as deep")
ESCAPING = "escaping from the saddle"
UNSCHEDULED, ANEW = "without its schedule", "layers initialized anew"
DECADES = 5
"""The learning rate is raised and lowered at most so far."""
STEPS = 3
"""A scheduler that sets rates of its own is told by so many."""
NEARLY = 0.02
"""Rates that lie so near to one another, as half decades do, train the same."""
ADAMS = ("lr", "betas", "eps", "weight_decay", "amsgrad")
HARDLY = 0.02
"""A decade that lowers the train loss by less than this share was the last one in its direction."""


@dataclass(frozen=True, repr=False)
class ScaledSchedule:
    """A factory of a scheduler that sets rates of its own (`OneCycleLR`, `CyclicLR`), all of them multiplied.

    It stands beside a `ScaledRate` of the same factor, which is what the optimizer has where the schedule is left out.
    """

    factory: Callable[..., Any]
    factor: float

    @property
    def per_step(self) -> bool:
        """Whether the scheduler is stepped after every update."""
        return bool(getattr(self.factory, "per_step", False))

    def __call__(self, optimizer: Any) -> Any:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] / self.factor
        return ScaledScheduler(self.factory(optimizer), optimizer, self.factor)

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} with its learning rates x {self.factor:g}"


class ScaledScheduler:
    """A scheduler that steps from the rates which it has set itself; the optimizer has them multiplied."""

    def __init__(self, scheduler: Any, optimizer: Any, factor: float) -> None:
        self.scheduler, self.optimizer, self.factor = scheduler, optimizer, factor
        self._scale()

    def step(self) -> None:
        """One step of the scheduler."""
        for group, own in zip(self.optimizer.param_groups, self.own, strict=True):
            group["lr"] = own
        self.scheduler.step()
        self._scale()

    def _scale(self) -> None:
        self.own = [group["lr"] for group in self.optimizer.param_groups]
        for group, own in zip(self.optimizer.param_groups, self.own, strict=True):
            group["lr"] = own * self.factor

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's own state, and its rates."""
        return {"scheduler": self.scheduler.state_dict(), "own": list(self.own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.scheduler.load_state_dict(state["scheduler"])
        self.own = list(state["own"])


def at_rate(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with every learning rate times `factor`, those too that a schedule sets whatever the optimizer's."""
    inner, schedule = recipe.optimizer, recipe.schedule
    before, inner = (inner.factor, inner.factory) if isinstance(inner, ScaledRate) else (1.0, inner)
    scaled = recipe.but(optimizer=ScaledRate(inner, before * factor))
    if isinstance(schedule, ScaledSchedule):
        return scaled.but(schedule=ScaledSchedule(schedule.factory, schedule.factor * factor))
    if schedule is not None and factor != 1 and _sets_its_own(recipe, scaled):
        return scaled.but(schedule=ScaledSchedule(schedule, factor))
    return scaled


def _sets_its_own(recipe: Recipe, scaled: Recipe) -> bool:
    """Whether the schedule comes to a rate, other than 0, that the optimizer's rate does not change."""
    return any(own == other != 0 for own, other in zip(_rates(recipe), _rates(scaled), strict=True))


def _rates(recipe: Recipe) -> list[float]:
    """The rates of all groups along the first few steps of a scheduler; a function of the step has none of its own."""
    rates = list[float]()
    with untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stepped without its optimizer
        optimizer = build_optimizer(recipe.optimizer, recipe.model(), recipe.loop)
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"])  # a tensor would be the recipe's own, and stepped in place
        rate = as_rate(recipe.schedule, optimizer)
        if not isinstance(rate, Scheduled) or isinstance(rate.scheduler, ReduceLROnPlateau):
            return []
        for _ in range(STEPS):
            rates += [float(group["lr"]) for group in optimizer.param_groups]
            try:
                rate.scheduler.step()
            except Exception:  # made for fewer steps, or a user's own
                break
    return rates


def better_trained(lab: Laboratory, control: Arm) -> Iterator[tuple[str, Recipe]]:
    """The promising first: rates in decades while they help, what inputs and depth ask for, half decades, no schedule,
    layers anew, Adam, longer, further arms.
    """
    rates, stopped = Rates(lab, control), lab.known_so_far.stopped_at
    if stopped is not None and stopped.kind in (Kind.SADDLE, Kind.LOCAL_MAXIMUM):
        yield from _affordable(lab, [(ESCAPING, lab.recipe.but(optimizer=EscapingSaddles(lab.recipe)))])
    yield from rates.in_decades()
    yield from _affordable(lab, for_inputs_and_depth(lab, *rates.tuned))
    yield from rates.in_halves()
    batch, adams = first_batch(lab.train), any(is_usual_adam(rates.at(decades)[1]) for decades in rates.losses)
    yield from _affordable(lab, _usual_changes(lab.recipe, *rates.tuned, batch, not adams))
    adam = lab.kept.get((ADAM, lab.recipe.seed))
    helped = adam is not None and rates.loss_of(ADAM, usual_adam(lab.recipe)) < rates.losses[rates.best]
    tried = Tried(*rates.tuned, rates.at(rates.best + 0.5)[1], rates.higher_harm, helped)
    yield from further_arms(lab, control, batch, tried)


def could_be_better_trained(lab: Laboratory, batch: Nest) -> Iterator[str]:
    """The names of all that `better_trained` may come to, at the recipe's own rate."""
    recipe = lab.recipe
    yield from (f"learning rate x {factor:g}" for factor in (10, 0.1, 100, 0.01, 3.16, 0.316))
    yield ESCAPING
    yield from (name for name, _ in for_inputs_and_depth(lab, "", recipe))
    yield from (name for name, _ in _usual_changes(recipe, "", recipe, batch, not is_usual_adam(recipe)))
    yield from could_be(recipe, batch)


class Rates:
    """The learning rates that were tried, by their decades from the recipe's own, and the train losses there."""

    def __init__(self, lab: Laboratory, control: Arm) -> None:
        self.lab, self.seed = lab, [lab.recipe.seed]
        self.losses: dict[float, float] = {0: control.score.value}

    def at(self, decades: float) -> tuple[str, Recipe]:
        """Name and recipe of a rate."""
        factor = float(f"{10**decades:.3g}")
        return f"learning rate x {factor:g}", at_rate(self.lab.recipe, factor)

    def loss_of(self, name: str, recipe: Recipe) -> float:
        """The train loss of an arm, which is not trained again."""
        return self.lab.arm(name, recipe, self.seed, self.lab.train).score.value

    @property
    def best(self) -> float:
        """The rate of the lowest train loss; the recipe's own where that is hardly lower."""
        best, own = min(self.losses, key=self.losses.__getitem__), self.losses[0]
        return 0 if isfinite(own) and own - self.losses[best] < HARDLY * abs(own) else best

    @property
    def tuned(self) -> tuple[str, Recipe]:
        """Name and recipe of the best rate, without a name where it is the recipe's own."""
        return self.at(self.best) if self.best else ("", self.lab.recipe)

    @property
    def higher_harm(self) -> bool:
        """Whether a rate of up to ten times the best was tried and trained worse."""
        losses, best = self.losses, self.best
        return any(loss > losses[best] for decades, loss in losses.items() if best < decades <= best + 1)

    def in_decades(self) -> Iterator[tuple[str, Recipe]]:
        """Rates up and down, while they help."""
        lab, losses = self.lab, self.losses
        stands = isfinite(losses[0]) and losses[0] > (1 - HARDLY) * untrained(lab, lab.train, inf)
        for step in (1, -1) if isfinite(losses[0]) else (-1, 1):
            for decades in range(step, step * (DECADES + 1), step):
                if not lab.affords(lab.recipe, self.seed, self.at(decades)[0]):
                    break
                yield self.at(decades)
                before, now = losses[decades - step], self.loss_of(*self.at(decades))
                losses[decades] = now
                least = -HARDLY if stands and step > 0 else HARDLY  # what has hardly begun gains in proportion
                if before - now < least * abs(now) if isfinite(now) else step > 0:  # a smaller one may still be finite
                    break

    def in_halves(self) -> Iterator[tuple[str, Recipe]]:
        """Half a decade above the best of the decades, and below it."""
        best = self.best
        for half in (best + 0.5, best - 0.5):
            if self.lab.affords(self.at(half)[1], self.seed, self.at(half)[0]):
                yield self.at(half)
                now = self.loss_of(*self.at(half))
                self.losses[half] = now if isfinite(now) else inf


def _affordable(lab: Laboratory, arms: Iterable[tuple[str, Recipe]]) -> Iterator[tuple[str, Recipe]]:
    return ((name, recipe) for name, recipe in arms if lab.affords(recipe, [lab.recipe.seed], name))


def for_inputs_and_depth(lab: Laboratory, rate: str, tuned: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Unlike inputs standardized, with Adam too, for the old rate was theirs; a deep network with fewer layers."""
    if (even := evened(tuned, lab.train)) is not None:
        yield behind(EVENED, rate), even
        if not (is_usual_adam(lab.recipe) or is_usual_adam(tuned)):
            yield EVENED_ADAM, usual_adam(even).but(schedule=lab.recipe.schedule)  # not one that a rate has scaled
    for part, shallow in with_fewer_layers(tuned, first_batch(lab.train)):
        yield behind(part, rate), shallow


def _usual_changes(recipe: Recipe, rate: str, tuned: Recipe, batch: Nest, adam: bool) -> Iterator[tuple[str, Recipe]]:
    """No schedule, layers anew, `adam` where that is another optimizer, three times as long."""
    if tuned.schedule is not None:
        yield behind(UNSCHEDULED, rate), tuned.but(schedule=None)
    if (anew := reinitialized(tuned, batch)) is not None:
        yield behind(ANEW, rate), anew
    if adam:
        yield ADAM, usual_adam(recipe)
    yield behind(LONGER, rate), tuned.but(epochs=3 * recipe.epochs)


def with_fewer_layers(recipe: Recipe, batch: Nest) -> Iterator[tuple[str, Recipe]]:
    """A deep network with half of its equal blocks, and with a quarter: the whole can compute all that these do.

    That one of them fits better shows bad training, not too small a model (He et al. 2015, Deep Residual Learning for
    Image Recognition, section 1).
    """
    part: Recipe | None = recipe
    for name in SHALLOWER if is_deep(recipe) else ():
        part = None if part is None else shallower(part, batch)
        if part is not None:
            yield name, part


def is_usual_adam(recipe: Recipe) -> bool:
    """Whether a recipe has Adam at its usual rate, or hardly another, so that an arm with it would be the same again.

    >>> from torch import nn
    >>> from thalweg.core.source import Splits
    >>> x = torch.ones(8, 3)
    >>> recipe = Recipe(
    ...     data=Splits(train=(x, x)), model=lambda: nn.Linear(3, 3), objective=nn.MSELoss(),
    ...     optimizer=partial(torch.optim.Adam, lr=1e-4),
    ... )
    >>> is_usual_adam(recipe), is_usual_adam(at_rate(recipe, 10.0))
    (False, True)
    """
    if isinstance(recipe.schedule, ScaledSchedule):
        return False  # the schedule's own rates are others
    with untouched():
        model = recipe.model()
        own, usual = (build_optimizer(one.optimizer, model, one.loop) for one in (recipe, usual_adam(recipe)))
    if type(own) is not type(usual) or len(own.param_groups) != len(usual.param_groups):
        return False
    mine, theirs = ({key: each.param_groups[0].get(key) for key in ADAMS} for each in (own, usual))
    rates = [float(settings.pop("lr")) for settings in (mine, theirs)]
    return bool(mine == theirs) and isclose(*rates, rel_tol=NEARLY)


def usual_adam(recipe: Recipe) -> Recipe:
    """The recipe with Adam at 1e-3, or AdamW where it has that, and its own weight decay: that is not training."""
    with untouched():
        built = build_optimizer(recipe.optimizer, recipe.model(), recipe.loop)
    decay = float(built.param_groups[0].get("weight_decay", 0.0))
    kind = torch.optim.AdamW if isinstance(built, torch.optim.AdamW) else torch.optim.Adam
    plain = decay == 0.0 and kind is torch.optim.Adam
    return recipe.but(optimizer=partial(kind, lr=1e-3) if plain else partial(kind, lr=1e-3, weight_decay=decay))
