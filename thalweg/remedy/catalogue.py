"""The catalogue: which remedies treat which cause, the most promising first.

For optimization and model bias the best arms of the experiments come first: what closed the gap in an experiment is
what to adopt. Then comes what a flaw that a check has seen asks for, then what is usual for the cause.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from thalweg.diagnosis import Arm, Cause, Finding
from thalweg.diagnosis.exchanges import EXCHANGES, LOSS
from thalweg.diagnosis.generalizing import Restraint
from thalweg.nn import Prepared
from thalweg.remedy.frames import other_voices
from thalweg.remedy.images import augmentations, widely
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.shift import remedies_of_shift
from thalweg.remedy.treatments import treating, usual
from thalweg.training import Recipe

CARRIED = ("model", "objective", "optimizer", "schedule", "epochs", "batch_size", "penalty", "stopping", "loop")
"""The fields in which an arm can differ from the recipe, and which adopting it changes."""
EXCHANGED = (*EXCHANGES, LOSS)
"""Parts of a program in whose place the usual one did better."""
MOST_ARMS = 2
NOISE = 0.5
"""The deviation of the noise on the inputs, in deviations of the inputs."""


def remedies_for(finding: Finding, images: bool = False, frames: bool = False) -> tuple[Remedy, ...]:
    """The remedies that treat a finding, the most promising first; none where there is nothing to treat.

    `images` says that the network reads images, `frames` that it reads recordings as frames. Of an UNDECIDED finding
    those of the cause that ranks first: whether one helps is for its proof to say.

    >>> remedies_for(Finding(Cause.OVERFITTING, "too few examples"))[0].name
    'noise on the inputs'
    """
    known = dict[str, Remedy]()
    for remedy in _remedies(finding, images, frames):
        known.setdefault(remedy.name, remedy)
    return tuple(known.values())


def _remedies(finding: Finding, images: bool, frames: bool) -> Iterator[Remedy]:
    undecided = finding.cause is Cause.UNDECIDED and finding.ranked
    cause = finding.ranked[0].cause if undecided else finding.cause
    if cause in (Cause.WIRING, Cause.DATA):
        yield from treating(finding, cause)
    if cause is Cause.WIRING:
        yield from (remedy for remedy in adopted_arms(finding, cause) if remedy.name in EXCHANGED)
    if cause in (Cause.OPTIMIZATION, Cause.MODEL_BIAS, Cause.DATA):
        yield from adopted_arms(finding, cause)
    if cause in (Cause.OPTIMIZATION, Cause.MODEL_BIAS):
        yield from treating(finding, cause)
    if cause is Cause.OVERFITTING and images:
        yield from augmentations()
    if cause is Cause.OVERFITTING:
        noisy = Remedy("noise on the inputs", Cause.OVERFITTING, partial(prepared, input_noise=NOISE))
        restrained = Remedy("a penalty on the weights", Cause.OVERFITTING, restrain)
        yield from (noisy, noisy.then(restrained), restrained)
    yield from usual(cause)
    if cause is Cause.MISMATCH:
        if images and (finding.shift is None or finding.shift.undone is None):
            yield widely()
        if frames:
            yield from other_voices()
        yield from treating(finding, cause)
        yield from remedies_of_shift(finding)


def adopted_arms(finding: Finding, cause: Cause) -> Iterator[Remedy]:
    """The best arms of the experiment that decided, else of all, as remedies: those of the lowest validation loss.

    The cause is decided by the train loss; the arm that fits the training data best need not be the one to adopt.
    """
    decided = [experiment for experiment in finding.experiments if experiment.answer == "yes"][-1:]
    asked = decided or list(finding.experiments)
    better = [
        (arm, experiment.control)
        for experiment in asked
        for arm in experiment.arms
        if arm.seeds == experiment.control.seeds
        and arm.score.value < experiment.control.score.value
        and arm.validation < experiment.control.validation
    ]
    for arm, control in sorted(better, key=lambda pair: pair[0].validation)[:MOST_ARMS]:
        if control.recipe is not None and arm.recipe is not None:
            yield Remedy(arm.name, cause, Adopted(_changed(control.recipe, arm)))


@dataclass(frozen=True)
class Adopted:
    """The change of a recipe into an arm of an experiment: the fields in which the arm differs."""

    changes: dict[str, Any]

    def __call__(self, recipe: Recipe) -> Recipe:
        return recipe.but(**self.changes)


def _changed(control: Recipe, arm: Arm) -> dict[str, Any]:
    assert arm.recipe is not None
    return {
        item.name: getattr(arm.recipe, item.name)
        for item in fields(Recipe)
        if item.name in CARRIED and getattr(arm.recipe, item.name) is not getattr(control, item.name)
    }


def restrain(recipe: Recipe, strength: float = 0.01) -> Recipe:
    """The recipe with an L2 penalty beside its own."""
    return recipe.but(penalty=Restraint(strength, recipe.penalty))


def prepared(recipe: Recipe, **preparation: Any) -> Recipe:
    """The recipe whose models get their inputs prepared, beside what was done to them before."""
    own = recipe.model if isinstance(recipe.model, Prepared) else Prepared(recipe.model)
    return recipe.but(model=replace(own, **preparation))
