"""The train loss: where it is too large, whether the model or its training is to blame.

Asked only where the loss on the training data lies above what reference learners reach on examples they never saw. Arms
of the same size are trained better (another learning rate, another optimizer, longer), then bigger ones with the rate
that was found. Compared is the share of the way from the train loss to the floor that the best of each closes:

    share = (T - T_arm) / (T - F).

A run without a finite loss begins where the best constant prediction stands. Only arms that lower the validation loss
as well count.

Same size closes it: OPTIMIZATION. Only bigger closes it: MODEL_BIAS. Neither, or no clear winner: UNDECIDED.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite

import torch

from thalweg.diagnosis.arms import at_rate
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.finding import Arm, Experiment, Ranked, Score
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.growth import bigger_siblings
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch
from thalweg.training import Recipe

CLOSES = 0.75
"""An arm that goes so much of the way to the floor closes the gap."""
CLEAR = 0.25
"""By so much of the way the bigger arms must be ahead of the same-size ones to be their own cause."""
TRIFLE = 0.2
"""A validation loss that is lower by less than this share of what is material is not lower."""
SEEDS = 3
DECADES = 5
"""The learning rate is raised and lowered at most so far."""
ADAM, LONGER, SMALLER_RATE = "Adam at its usual rate", "trained 3 x as long", "learning rate x 0.316"


@dataclass(frozen=True)
class Fitting:
    """What the experiments on the train loss say."""

    ranked: tuple[Ranked, ...]
    experiments: tuple[Experiment, ...]
    would_decide: str | None = None


def explain_train_loss(lab: Laboratory, floor: Floor, grow: Callable[[Recipe], Recipe] | None) -> Fitting:
    """Same-size arms, then bigger ones, until one closes the gap or the budget is spent."""
    lab.asks(SAME, BIGGER)
    seed = lab.recipe.seed
    control = lab.arm(CONTROL, lab.recipe, [seed], lab.train, last=True)
    way = Way.of(control, floor)
    same: list[tuple[Arm, Recipe]] = []
    for name, recipe in better_trained(lab, control):
        same.append((lab.arm(name, recipe, [seed], lab.train, last=True), recipe))
        if way.share(same[-1][0]) >= 1 and helpful(same[-1:], control, floor):
            break
    best_same = min(helpful(same, control, floor), key=lambda pair: pair[0].score.value, default=None)
    if best_same is not None and way.share(best_same[0]) >= CLOSES:
        confirmed = _confirmed(lab, best_same)
        experiment = _experiment(SAME, control, [arm for arm, _ in same], confirmed, floor)
        if experiment.answer == "yes":
            says = f"{_times(confirmed)} closes {way.share(confirmed):.0%} of the way from the train loss to the floor"
            return Fitting((Ranked(Cause.OPTIMIZATION, min(1.0, way.share(confirmed)), says),), (experiment,))
    first = _experiment(SAME, control, [arm for arm, _ in same], None, floor)
    return _capacity(lab, floor, control, first, same, grow)


@dataclass(frozen=True)
class Way:
    """The way from the train loss down to the floor.

    >>> Way(2.0, 0.5).share(Arm("wider", (), Score(1.25), (0,)))
    0.5
    """

    start: float
    floor: float

    @classmethod
    def of(cls, control: Arm, floor: Floor) -> "Way":
        """From the control's loss, where it is finite."""
        start = control.score.value if isfinite(control.score.value) else floor.null
        return cls(max(start, floor.high + floor.material(floor.high)), floor.high)

    def share(self, arm: Arm) -> float:
        """The share of it that an arm goes; negative where its loss is higher."""
        return (self.start - arm.score.value) / (self.start - self.floor)


def helpful(arms: list[tuple[Arm, Recipe]], control: Arm, floor: Floor) -> list[tuple[Arm, Recipe]]:
    """The arms that lower the validation loss too: a lower train loss that helps nowhere else cures nothing."""
    enough = TRIFLE * floor.material(control.validation)
    return [pair for pair in arms if control.validation - pair[0].validation > enough]


SAME = "Does a model of the same size, trained better, come down to the floor?"
BIGGER = "Does a bigger model, trained equally well, come down to the floor?"


def better_trained(lab: Laboratory, control: Arm) -> Iterator[tuple[str, Recipe]]:
    """Same-size arms, the promising direction first: rates in decades while they help, half a decade, Adam, longer."""
    seed = [lab.recipe.seed]
    losses = {0: control.score.value}

    def at(decades: int | float) -> tuple[str, Recipe]:
        factor = float(f"{10**decades:.3g}")
        return f"learning rate x {factor:g}", at_rate(lab.recipe, factor)

    for step in (1, -1) if isfinite(losses[0]) else (-1, 1):
        for decades in range(step, step * (DECADES + 1), step):
            if not lab.affords(lab.recipe, seed):
                break
            yield at(decades)
            before, now = losses[decades - step], lab.arm(*at(decades), seed, lab.train, last=True).score.value
            losses[decades] = now
            if now > 0.98 * before if isfinite(now) else step > 0:  # a smaller rate may still be finite
                break
    best = min(losses, key=losses.__getitem__)
    for between in (best + 0.5, best - 0.5):
        if lab.affords(lab.recipe, seed):
            yield at(between)
    adam = lab.recipe.but(optimizer=partial(torch.optim.Adam, lr=1e-3))
    if lab.affords(adam, seed):
        yield ADAM, adam
    name, tuned = at(best) if best else ("", lab.recipe)
    longer = tuned.but(epochs=3 * lab.recipe.epochs)
    if lab.affords(longer, seed):
        yield ", ".join(filter(None, (LONGER, name))), longer


def _capacity(
    lab: Laboratory,
    floor: Floor,
    control: Arm,
    first: Experiment,
    same: list[tuple[Arm, Recipe]],
    grow: Callable[[Recipe], Recipe] | None,
) -> Fitting:
    lab.asks(BIGGER)
    seed, way = lab.recipe.seed, Way.of(control, floor)
    same = helpful(same, control, floor)
    equal = [pair for pair in same if pair[1].epochs == lab.recipe.epochs and pair[0].score.value < control.score.value]
    tuned = min(equal, key=lambda pair: pair[0].score.value)[1] if equal else lab.recipe
    best_same = min(same, key=lambda pair: pair[0].score.value, default=None)
    reached = 0.0 if best_same is None else max(0.0, way.share(best_same[0]))
    bigger: list[tuple[Arm, Recipe]] = []
    for name, recipe in bigger_arms(tuned, lab, grow):
        if lab.affords(recipe, [seed]):
            bigger.append((lab.arm(name, recipe, [seed], lab.train, last=True), recipe))
            if bigger[-1][0].score.value <= floor.high and helpful(bigger[-1:], control, floor):
                break
    tried, bigger = bigger, helpful(bigger, control, floor)
    if not bigger:
        why = "No bigger sibling could be made or afforded: give diagnose(grow=...), or a larger budget."
        if tried:
            why = "Bigger siblings fit the training data better and lower no validation loss: more data would decide."
        ranked = (
            Ranked(Cause.MODEL_BIAS, None, f"{floor.by} does better, and no arm of the same size closes the gap"),
            Ranked(Cause.OPTIMIZATION, reached, f"arms of the same size close {reached:.0%} of the gap"),
        )
        return Fitting(ranked, (first,), why)
    best = min(bigger, key=lambda pair: pair[0].score.value)
    share = way.share(best[0])
    confirmed = _confirmed(lab, best) if share >= CLOSES else None
    second = _experiment(BIGGER, control, [arm for arm, _ in bigger], confirmed, floor)
    shares = [
        Ranked(Cause.MODEL_BIAS, share - reached, f"bigger models close {share:.0%} of the way to the floor"),
        Ranked(Cause.OPTIMIZATION, reached, f"models of the same size close {reached:.0%} of it"),
    ]
    if second.answer == "yes" and share - reached >= CLEAR:
        return Fitting(tuple(shares), (first, second))
    why = "Wider sweeps of rate and size, or a longer training: neither size nor rate alone came down to the floor."
    return Fitting(tuple(sorted(shares, key=lambda r: -(r.share or 0))), (first, second), why)


def bigger_arms(
    recipe: Recipe, lab: Laboratory, grow: Callable[[Recipe], Recipe] | None
) -> Iterator[tuple[str, Recipe]]:
    """Bigger siblings of a recipe, each at its learning rate and at a smaller one."""
    batch = first_batch(lab.train)
    siblings = bigger_siblings(recipe, batch) if grow is None else iter([("grown by the given rule", grow(recipe))])
    for name, bigger in siblings:
        yield name, bigger
        yield f"{name}, {SMALLER_RATE}", at_rate(bigger, 10**-0.5)


def _confirmed(lab: Laboratory, pair: tuple[Arm, Recipe]) -> Arm:
    """The arm on more seeds, as many as the budget holds."""
    seeds = [lab.recipe.seed + i for i in range(SEEDS)]
    while len(seeds) > 1 and not lab.affords(pair[1], seeds[1:]):
        seeds.pop()
    return lab.arm(pair[0].name, pair[1], seeds, lab.train, last=True)


def _experiment(question: str, control: Arm, arms: list[Arm], confirmed: Arm | None, floor: Floor) -> Experiment:
    way = Way.of(control, floor)
    shown = tuple(confirmed if confirmed is not None and arm.name == confirmed.name else arm for arm in arms)
    best = confirmed or min(shown, key=lambda arm: arm.score.value, default=control)
    share = way.share(best)
    answer = "yes" if confirmed is not None and share >= CLOSES else "no"
    says = (
        f"The best arm, {_times(best)}, goes from {Score(control.score.value)} to {Score(best.score.value)}: "
        f"{max(share, 0.0):.0%} of the way to the floor ({floor.high:.3g}, {floor.by})."
    )
    effect = Score(way.start - best.score.value)
    return Experiment(question, "train loss", control, shown, answer, says, effect)


def _times(arm: Arm) -> str:
    return arm.name if arm.name != CONTROL else "none"
