"""The validation loss: where it is too large although the train loss is small, whether the model overfits.

A gap between train and validation is no illness: a healthy network has one. Overfitting is claimed only where the
validation loss lies above what reference learners reach on the same examples, *and* an arm lowers it beyond noise: more
data (half of the validation examples join the training set, the other half judges), or a penalty on the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.description import describe_piece
from thalweg.core.randomness import stream_seed
from thalweg.core.source import Indexed, Splits
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.compare import higher_on, lower_by
from thalweg.diagnosis.finding import Arm, Experiment, Ranked, Score
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, merged
from thalweg.training import Recipe
from thalweg.training.evaluate import ExampleLosses

SEEDS = 2
FEEDS = "Does restraint, or more data, lower the validation loss?"


@dataclass(frozen=True, repr=False)
class Restraint:
    """A penalty beside the recipe's own: strength / 2 times the sum of squared weights (matrices and filters alone)."""

    strength: float
    own: Any = None

    def __repr__(self) -> str:
        return f"L2 penalty of {self.strength:g}" + ("" if self.own is None else f" and {describe_piece(self.own)}")

    def __call__(self, model: nn.Module) -> Tensor:
        squares = [weight.square().sum() for weight in model.parameters() if weight.dim() > 1 and weight.requires_grad]
        total = self.strength / 2 * torch.stack(squares).sum()
        return total if self.own is None else total + self.own(model)


def above_floor(losses: ExampleLosses, floor: Floor, theirs: np.ndarray) -> Score:
    """How far a loss lies above the reference's on the same examples (`theirs`), else above its mean."""
    if len(theirs) == len(losses.values):
        return lower_by([losses], [ExampleLosses(theirs, losses.weights, losses.units)])
    mean, low, high = losses.mean()
    return Score(mean - floor.high, low - floor.judged[2], high - floor.judged[1])


def explain_gap(lab: Laboratory, floor: Floor, above: Score, level: float) -> tuple[Ranked, Experiment, str | None]:
    """The arms that restrain, or feed, the model; whether one of them lowers the validation loss beyond noise."""
    lab.asks(FEEDS)
    seeds = [lab.recipe.seed + i for i in range(SEEDS)]
    half, judges = _halves(lab.validation)
    controls = [
        losses for run in lab.run(CONTROL, lab.recipe, seeds) if (losses := lab.losses(run, judges)) is not None
    ]
    control = lab.arm(CONTROL, lab.recipe, seeds, judges)
    arms: list[Arm] = []
    best: tuple[str, Score] | None = None
    for name, recipe in _arms(lab, half):
        if not lab.affords(recipe, seeds):
            continue
        after = [lab.losses(run, judges) for run in lab.run(name, recipe, seeds)]
        arms.append(lab.arm(name, recipe, seeds, judges))
        if not controls or any(losses is None for losses in after):
            continue
        effect = lower_by(controls, [losses for losses in after if losses is not None])
        if best is None or effect.low > best[1].low:
            best = name, effect
    helped = best is not None and best[1].low > 0 and best[1].value > floor.material(control.score.value)
    says = (
        f"{best[0]} lowers the validation loss by {best[1]}, from {control.score.value:.3g}"
        if best is not None
        else "no arm could be afforded"
    )
    experiment = Experiment(
        FEEDS,
        "validation loss",
        control,
        tuple(arms),
        "yes" if helped else "no",
        says[:1].upper() + says[1:] + ".",
        None if best is None else best[1],
    )
    share = max(0.0, min(1.0, above.value / level)) if level else None
    sentence = f"the validation loss lies {above} above the floor, and {says}"
    return Ranked(Cause.OVERFITTING, share, sentence), experiment, None if helped else _waits(lab)


def _arms(lab: Laboratory, half: Indexed) -> Iterator[tuple[str, Recipe]]:
    recipe = lab.recipe
    if (more := merged(lab.train, half)) is not None:
        factor = len(more) / len(lab.train)
        yield f"{factor:.2g} x the training data", recipe.but(data=Splits(train=more, validation=lab.validation))
    for strength in (0.01, 0.1):
        yield f"L2 penalty of {strength:g}", recipe.but(penalty=Restraint(strength, recipe.penalty))


def _halves(validation: Indexed) -> tuple[Indexed, Indexed]:
    order = np.random.default_rng(stream_seed(0, "validation halves", len(validation))).permutation(len(validation))
    middle = len(validation) // 2
    return validation.take(np.sort(order[:middle])), validation.take(np.sort(order[middle:]))


def gap(lab: Laboratory, train: ExampleLosses, validation: ExampleLosses) -> Score:
    """How much higher the loss is on validation than on train."""
    return higher_on(validation, train)


def _waits(lab: Laboratory) -> str:
    return (
        f"More data than the {len(lab.train)} training examples, or a larger budget: the validation loss lies above "
        "what reference learners reach, but nothing that was tried lowers it beyond noise."
    )
