"""The validation loss: where it is too large although the train loss is small, whether the model overfits.

A gap between train and validation is no illness: a healthy network has one. Overfitting is claimed only where the
validation loss lies above what reference learners reach on the same examples, *and* an arm lowers it beyond noise: more
data (half of the validation examples join the training set, the other half judges), a penalty on the weights, or a
smaller model; or where the learning curve still falls, so that more data would.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.beginning import has_seen_train
from thalweg.core.description import describe_piece
from thalweg.core.randomness import stream_seed
from thalweg.core.source import Indexed, Splits
from thalweg.core.wording import lowered
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.compare import lower_by
from thalweg.diagnosis.finding import Arm, Experiment, Ranked, Score
from thalweg.diagnosis.floor import Floor, Known
from thalweg.diagnosis.growth import smaller_siblings
from thalweg.diagnosis.halving import halves
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch, merged
from thalweg.diagnosis.more_data import more_data
from thalweg.training import Recipe
from thalweg.training.evaluate import ExampleLosses

SEEDS = 2
STRENGTHS = (0.01, 0.1)
DIVISORS = (2, 4, 8)
"""The learning curve is trained on one of so many parts of the training data."""
MOST_SMALLER = 2
LEVEL = 1 - 0.05 / (len(STRENGTHS) + 1 + MOST_SMALLER + 2)
"""The level of an arm's interval: the chance to be fooled is divided among all that may be asked (Bonferroni), that is
penalties, more data, smaller models, and of the learning curve its last doubling and its last two."""
ELIMINATES = 0.5
"""So much of the way from the best constant to the floor is lost on validation where references decide."""
UNSOLVED, FITTED, STARVED = 0.3, 0.3, 0.15
"""The share of the best constant's loss that is left on validation, the share of that which is left on train, and the
share of the way from the constant to the floor by which the last doubling of the data lowers it."""
RESTRAINS = "Does a penalty on the weights lower the validation loss?"
SHRINKS = "Does a smaller model lower the validation loss?"
STARVES = "Does less of the training data raise the validation loss?"
HALVED = "1/2 of the training data"
FEWEST_HALVED = 20
FEEDS = "Does more training data lower the loss on the rest of the validation data?"


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


def above_floor(losses: ExampleLosses, floor: Floor, theirs: Known | None) -> Score:
    """How far a loss lies above the reference's on the same examples, where these are known, else above its mean."""
    if theirs is not None and len(theirs.places) and theirs.places.max() < len(losses.values):
        own = losses.at(theirs.places)
        return lower_by([own], [ExampleLosses(theirs.losses, own.weights, own.units)])
    mean, low, high = losses.mean()
    return Score(mean - floor.high, low - floor.judged[2], high - floor.judged[1])


@dataclass(frozen=True)
class Generalizing:
    """What the experiments on the validation loss say; `would_decide` where they do not."""

    ranked: Ranked
    experiments: tuple[Experiment, ...]
    would_decide: str | None = None


def explain_gap(lab: Laboratory, floor: Floor, above: Score, level: float, alike: bool) -> Generalizing:
    """The arms that restrain, then those that feed the model; whether one lowers the validation loss beyond noise.

    Where none does, much of the way from the best constant is lost between train and validation, and the two are
    `alike`, what references make of the same examples decides: it is the network that makes less of them.
    """
    lab.asks(RESTRAINS, FEEDS, SHRINKS, STARVES)
    half, judges = halves(lab.validation, "validation")
    asked = [ask(lab, floor, RESTRAINS, _restrained(lab), lab.validation)]
    if asked[-1].answer != "yes":
        lab.asks(FEEDS, SHRINKS, STARVES)
        asked.append(ask(lab, floor, FEEDS, _fed(lab, half, judges), judges))
    if asked[-1].answer != "yes":
        lab.asks(SHRINKS, STARVES)
        smaller = islice(smaller_siblings(lab.recipe, first_batch(lab.train)), MOST_SMALLER)
        shrunk = ask(lab, floor, SHRINKS, smaller, lab.validation)
        asked += [shrunk] if shrunk.arms else []
    if asked[-1].answer != "yes":
        lab.asks(STARVES)
        asked += [curve] if (curve := learning_curve(lab, floor, floor.high)) is not None else []
    best = max(asked, key=lambda experiment: (experiment.answer == "yes", _low(experiment)))
    share = max(0.0, min(1.0, above.value / level)) if level > 0 else None
    says = lowered(best.says).rstrip(".")
    ranked = Ranked(Cause.OVERFITTING, share, f"the validation loss lies {above} above the floor, and {says}")
    if best.answer != "yes" and alike and not floor.siblings and above.low > ELIMINATES * floor.way:
        says = (
            f"the validation loss lies {above} above the floor, although the network fits the train examples: from "
            f"these {floor.by} make as much as {floor.high:.3g} on others, and no restraint that was tried does"
        )
        return Generalizing(Ranked(Cause.OVERFITTING, share, says), tuple(asked))
    return Generalizing(ranked, tuple(asked), None if best.answer == "yes" else _waits(lab))


def ask_starved(
    lab: Laboratory, floor: Floor, train: ExampleLosses, validation: ExampleLosses
) -> tuple[Ranked, Experiment] | None:
    """Whether network and references alike would do much better with more examples: the cause, and the learning curve.

    Asked only where much of what the best constant loses is lost on validation, and little of it on train. None where
    the curve does not fall by much.
    """
    lost, kept = validation.mean()[0], train.mean()[0]
    if floor.siblings or floor.low < 0 or lost < UNSOLVED * floor.null or kept > FITTED * lost:
        return None
    lab.asks(STARVES)
    curve = learning_curve(lab, floor)
    if curve is None or curve.effect is None or curve.effect.low < STARVED * floor.way or curve.answer != "yes":
        return None
    says = (
        f"of the loss of {lost:.3g} on validation {kept:.3g} is left on train; references do no better with so few "
        f"examples ({floor.by}), and each would help: {lowered(curve.says).rstrip('.')}"
    )
    return Ranked(Cause.OVERFITTING, (lost - kept) / lost, says), curve


def _low(experiment: Experiment) -> float:
    return experiment.effect.low if experiment.effect is not None else float("-inf")


def ask(
    lab: Laboratory,
    floor: Floor,
    question: str,
    arms: Iterable[tuple[str, Recipe]],
    judges: Indexed,
    level: float = LEVEL,
) -> Experiment:
    """Each arm against the recipe as it is, on the same seeds and the same examples."""
    seeds = [lab.recipe.seed + i for i in range(SEEDS)]
    control = lab.arm(CONTROL, lab.recipe, seeds, judges)
    before = lab.losses_on(lab.run(CONTROL, lab.recipe, seeds), judges)
    tried: list[Arm] = []
    best: tuple[str, Score] | None = None
    offered = False
    for name, recipe in arms:
        offered = True
        if not lab.affords(recipe, seeds, name):
            continue
        after = lab.losses_on(lab.run(name, recipe, seeds), judges)
        tried.append(lab.arm(name, recipe, seeds, judges))
        if before is not None and after is not None:
            effect = lower_by(before, after, level)
            if best is None or effect.low > best[1].low:
                best = name, effect
    if best is None:
        none = "No arm could be afforded." if offered else "These data allow no arm."
        says = "No arm has a finite loss." if tried else none
        return Experiment(question, "validation loss", control, tuple(tried), "undecided", says)
    name, effect = best
    helped = beyond(effect, floor, control)
    does = (
        f"lowers the validation loss by {effect}, from" if effect.value > 0 else "does not lower the validation loss of"
    )
    says = f"{name[:1].upper()}{name[1:]} {does} {control.score.value:.3g}."
    return Experiment(question, "validation loss", control, tuple(tried), "yes" if helped else "no", says, effect)


def learning_curve(lab: Laboratory, floor: Floor, aim: float | None = None) -> Experiment | None:
    """Whether less of the training data raises the validation loss: what the rest has lowered, more would lower again.

    All are trained for as many steps. The last doubling, from half to the whole, decides; where it is not beyond noise
    a quarter and an eighth are asked, and the last two doublings decide, if at every one the loss falls. Where it
    falls a quarter is asked as well, so that a curve says how many examples would bring it to `aim` (`more_data`). None
    where the budget does not hold it, or the model begins with weights that have seen all of train.
    """
    if has_seen_train(lab.recipe.model):
        return None
    seeds = [lab.recipe.seed + i for i in range(SEEDS)]
    order = np.random.default_rng(stream_seed(0, "train halves", len(lab.train))).permutation(len(lab.train))
    whole, arms, scored = lab.losses_on(lab.run(CONTROL, lab.recipe, seeds), lab.validation), list[Arm](), list[Any]()
    parts = list[list[ExampleLosses]]()
    control = lab.arm(CONTROL, lab.recipe, seeds, lab.validation)
    for divisor in DIVISORS:
        name, recipe = f"1/{divisor} of the training data", _of_part(lab, order, divisor)
        if len(lab.train) < FEWEST_HALVED * divisor // 2 or not lab.affords(recipe, seeds, name):
            break
        less = lab.losses_on(lab.run(name, recipe, seeds), lab.validation)
        if whole is None or less is None:
            break
        parts.append(less)
        arms.append(lab.arm(name, recipe, seeds, lab.validation))
        scored.append(lower_by(less, whole, LEVEL))
        if divisor == DIVISORS[1] and beyond(scored[0], floor, control):
            break
    if not arms:
        return None
    effect, falls = scored[0], beyond(scored[0], floor, control)
    curve = [*(arm.score.value for arm in reversed(arms)), control.score.value]
    if not falls and len(arms) == len(DIVISORS) and all(one > next_ for one, next_ in pairwise(curve)):
        falls = scored[1].low > 0 and scored[0].value > floor.material(control.score.value)
        effect = scored[1] if falls else effect
    higher = "higher" if effect.value > 0 else "not higher"
    part = "half" if effect is scored[0] else "a quarter"
    says = f"With {part} of the training data the validation loss is {higher}, by {effect}"
    if len(arms) > 1:
        shares = [f"1/{divisor}" for divisor in DIVISORS[: len(arms)][::-1]]
        points = [f"{value:.3g}" for value in curve]
        says += f"; with {', '.join(shares)} and all of them it is {', '.join(points[:-1])} and {points[-1]}"
    if falls and whole is not None:
        sizes = [len(lab.train), *(len(lab.train) // divisor for divisor in DIVISORS[: len(arms)])]
        says += f"; {told}" if (told := more_data(sizes, [whole, *parts], aim)) is not None else ""
    return Experiment(STARVES, "validation loss", control, tuple(arms), "yes" if falls else "no", f"{says}.", effect)


def beyond(effect: Score, floor: Floor, control: Arm) -> bool:
    """Whether an effect is known to be there, and is material."""
    return effect.low > 0 and effect.value > floor.material(control.score.value)


def _of_part(lab: Laboratory, order: np.ndarray, divisor: int) -> Recipe:
    """The recipe on a part of the training data, each within the larger ones, for as many steps."""
    part = np.sort(order[: max(1, len(order) // divisor)])
    data = Splits(train=lab.train.take(part), validation=lab.validation)
    return lab.recipe.but(data=data, epochs=as_many_steps(lab, len(part)))


def as_many_steps(lab: Laboratory, examples: int) -> int:
    """The epochs over so many examples that take as many steps as the recipe takes."""
    size = getattr(lab.train, "batch_size", None) or lab.recipe.batch_size or len(lab.train)
    steps, fewer = (max(1, -(-count // size)) for count in (len(lab.train), examples))
    return max(1, round(lab.recipe.epochs * steps / fewer))


def _restrained(lab: Laboratory) -> Iterator[tuple[str, Recipe]]:
    for strength in STRENGTHS:
        penalty = Restraint(strength, lab.recipe.penalty)
        yield f"L2 penalty of {strength:g}", lab.recipe.but(penalty=penalty)


def _fed(lab: Laboratory, half: Indexed, judges: Indexed) -> Iterator[tuple[str, Recipe]]:
    if (more := merged(lab.train, half)) is not None:
        data = Splits(train=more, validation=judges)
        yield f"{len(more) / len(lab.train):.2g} x the training data", lab.recipe.but(data=data)


def _waits(lab: Laboratory) -> str:
    return (
        f"More data than the {len(lab.train)} training examples, or a larger budget: the validation loss lies above "
        "what reference learners reach, but nothing that was tried lowers it beyond noise."
    )
