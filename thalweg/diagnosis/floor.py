r"""The floor: how small the loss can be on these data, as an interval.

Its upper end is what the best of a few reference learners (linear, nearest neighbours, boosted trees) reaches out of
fold on train and validation examples together, in the loss that judges the model: so much these data allow. A network
may well do better. What a learner says is read as logits, probabilities, numbers or logarithms, whichever the loss does
best with: each is a prediction of examples that were not seen. Its lower end is unknown for a loss that is negative
somewhere, else 0, or more where equal inputs disagree, which no learner can mend, or where a learning curve is flat and
learners of two kinds agree (`lower_end`), which one of a third kind may yet break: it decides nothing.

A loss has no natural unit: a squared error has the target's, a likelihood of a density any origin. What is worth a
finding is therefore told by the way from the best constant prediction down to the floor, and by the loss itself where
that is less.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from thalweg.core.objective import PlainLoss
from thalweg.core.source import Source
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.lower_end import Losses, of_duplicates, of_learning_curve, of_perfect
from thalweg.diagnosis.natural import Natural, Scale, natural_errors, yes_or_no
from thalweg.diagnosis.neighbourhood import reached as reached_by_nodes
from thalweg.diagnosis.neighbourhood import read_nodes
from thalweg.diagnosis.next_tokens import reached as reached_by_counts
from thalweg.diagnosis.next_tokens import read_next
from thalweg.diagnosis.references import (
    CONSTANT,
    SMOOTHING,
    Inputs,
    Learners,
    classifiers,
    flat,
    out_of_fold,
    regressors,
)
from thalweg.diagnosis.stepwise import reached as reached_by_steps
from thalweg.diagnosis.stepwise import read_steps
from thalweg.diagnosis.tabled import read_table
from thalweg.training.interval import mean_interval
from thalweg.training.judging import Judge
from thalweg.training.values import values_of

SURE = 20.0
"""The logit of a class that is as sure as may be."""
SHARE_OF_LOSS, SHARE_OF_WAY = 0.1, 0.05
"""A difference below these shares of the loss, or of the way from the best constant to the floor, is not material."""
TRIFLE = 0.001
"""A difference below this share of the way is not, however small the loss: nothing that is used of it would change."""
APART = 2.0
"""Deviations between the means of two sources from which a reference does better on one of them."""


@dataclass(frozen=True, eq=False)
class Floor:
    """The interval, the learner that set its upper end, and that learner's losses on each source (None: not known).

    `siblings` says that no reference could speak, and the network's own siblings do; `null` is what the best constant
    prediction reaches: the loss of a model that reads no input; of siblings, the network's before its first step.

    >>> Floor(0.0, 0.2, "boosted trees", (None, None), (0.2, 0.1, 0.3), null=2.2).material(0.5)
    0.05
    """

    low: float
    high: float
    by: str
    values: "tuple[Known | None, ...]"
    judged: tuple[float, float, float]
    null: float
    siblings: bool = False
    natural: "Natural | None" = None
    """What references reach in errors that no loss can bend."""
    flaws: tuple[Flaw, ...] = ()
    """What the checks of the data have seen: the data stay as the floor does."""
    remote: bool = False
    """The learners read only a part of what tells: that they do no better says nothing."""
    best: Cause | None = None
    """Of siblings: OPTIMIZATION where the best is of the same size, MODEL_BIAS where it is bigger; None for none."""
    counted: bool = False
    """The learners count next tokens: what they reach may take a network far longer than it was trained."""

    @property
    def way(self) -> float:
        """The way from the best constant down to the floor; where there is none, a little of the constant's loss."""
        return max(self.null - self.high, SHARE_OF_WAY * abs(self.null))

    @property
    def natural_way(self) -> float:
        """The same in natural errors; 0 where none are known."""
        if self.natural is None:
            return 0.0
        return max(self.natural.null - self.natural.mean, SHARE_OF_WAY * self.natural.null)

    def material(self, level: float) -> float:
        """The smallest difference from a loss of `level` that is worth a finding.

        What siblings reach is no measure of how good a loss is: longer training lowers most losses by a tenth, however
        little is left of them. There the way down counts alone.
        """
        share = SHARE_OF_WAY * self.way
        if self.low < 0 or self.siblings:
            return share
        return max(min(SHARE_OF_LOSS * level, share), TRIFLE * self.way)

    def lies_below(self, level: float) -> bool:
        """Whether a loss lies more than a trifle above the floor as a whole, where that is one floor for all sources.

        It is where the reference does no better on one of them than on another beyond chance: then its mean over all
        examples is better known than that over the few of one.
        """
        known = [own.losses for own in self.values if own is not None and len(own.losses) > 1]
        if self.siblings or len(known) < 2:
            return True
        first, second = known[:2]
        noise = (first.var() / len(first) + second.var() / len(second)) ** 0.5
        apart = abs(first.mean() - second.mean()) > APART * noise
        return bool(apart or level - self.high > self.material(level))

    def reached(self, validation: float | None) -> "Floor":
        """The floor with what a network reaches on examples that it was not trained on: no lower end lies above that.

        >>> floor = Floor(0.2, 0.2, "boosted trees", (None, None), (0.2, 0.1, 0.3), null=2.2)
        >>> floor.reached(0.1).low, floor.reached(0.3).low
        (0.0, 0.2)
        """
        return self if validation is None or not validation < self.low else replace(self, low=0.0)


@dataclass(frozen=True, eq=False)
class Known:
    """The losses that a reference has on some examples of a source, by their places in it."""

    places: np.ndarray
    losses: np.ndarray


def reference_floor(judge: Judge, sources: list[Source], seed: int = 0) -> Floor | None:
    """The floor from the examples of several sources together, each predicted by learners that did not see it.

    None where references cannot speak: a marked objective of anything but nodes, inputs or targets that are not numbers
    in a table's shape, a loss without a value for each example.
    """
    from threadpoolctl import threadpool_limits

    if (nodes := read_nodes(sources)) is not None:
        with threadpool_limits(1):
            by_nodes = reached_by_nodes(judge, nodes, seed)
        return None if by_nodes is None else _remote(by_nodes, nodes.places)
    if (tokens := read_next(judge, sources)) is not None:
        by_counts = reached_by_counts(judge, tokens, seed)
        return None if by_counts is None else replace(_remote(by_counts, tokens.places), counted=True)
    data = read_table(judge, sources)
    steps = read_steps(judge, sources) if data is None else None
    if data is None and steps is None:
        return None
    with threadpool_limits(1):  # on a busy machine several threads wait for each other at every tree
        if steps is not None:
            places, reached = steps.places, reached_by_steps(judge, steps, seed)
        elif data is not None:
            x, y, places = data
            reached = _reached(judge, x, y, seed)
    if reached is None:
        return None
    losses, low, errors = reached
    natural = _natural(places, errors, steps.scale if steps is not None else _scale(y))
    return replace(_remote((losses, low), places), natural=natural, remote=steps is not None or not x.numbers)


def _remote(reached: tuple[Mapping[str, Losses], float], places: list[np.ndarray]) -> Floor:
    """The floor by learners that read a part of what tells, from their losses and weights on the examples at places."""
    losses, low = reached
    means = {name: mean_interval(*own) for name, own in losses.items()}
    best = min(means, key=lambda name: means[name][0])
    known = _by_source(places, losses[best][0])
    return Floor(low, means[best][0], best, known, means[best], means[CONSTANT][0], remote=True)


def _by_source(places: list[np.ndarray], values: np.ndarray) -> "tuple[Known, ...]":
    """The values of all examples, those of each source."""
    parts = np.split(values, np.cumsum([len(own) for own in places])[:-1])
    return tuple(Known(own, part) for own, part in zip(places, parts, strict=True))


def _scale(y: Tensor) -> Scale | None:
    return Scale.of(y) if y.is_floating_point() else None


def _natural(places: list[np.ndarray], errors: dict[str, np.ndarray], scale: Scale | None) -> "Natural | None":
    if CONSTANT not in errors:
        return None
    means = {name: float(values.mean()) for name, values in errors.items()}
    best = min(means, key=means.__getitem__)
    return Natural(best, _by_source(places, errors[best]), means[best], means[CONSTANT], scale)


Form = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Reading:
    """What learners may say of the targets, and the forms in which a loss may want to read it.

    `perfect` is what a learner without any error would say.
    """

    targets: Tensor
    learners: Learners
    forms: tuple[Form, ...]
    perfect: Tensor


def _readings(y: Tensor, inputs: Inputs) -> list[Reading]:
    """Ways to read the targets, from the first to try to the last."""
    if not y.is_floating_point():
        counts = [Reading(y.float(), regressors(inputs), _forms_of_counts(y), y.float())] if y.dim() == 1 else []
        return [_classes(y.long(), classifiers(inputs), lambda output: output), *counts]
    readings = []
    if (labels := yes_or_no(y)) is not None:

        def as_column(values: Tensor) -> Tensor:
            return values.reshape(y.shape).to(y.dtype)

        logits, shares, logarithms = (
            lambda output: as_column(output[:, 1] - output[:, 0]),
            lambda output: as_column(output[:, 1].exp()),
            lambda output: as_column(output[:, 1]),
        )
        readings.append(_classes(labels, classifiers(inputs), logits, shares, logarithms))
    numbers: list[Form] = [lambda output: output]
    if bool((y >= 0).all()) and bool(y.any()):
        least = SMOOTHING * float(y.float().mean())
        numbers.append(lambda output: output.clamp_min(least).log())
    means_and_spreads = (lambda output: _with_log_variances(output, y),)
    return [*readings, *(Reading(y, regressors(inputs), tuple(forms), y) for forms in (numbers, means_and_spreads))]


def _forms_of_counts(y: Tensor) -> tuple[Form, ...]:
    """Numbers for whole ones, as they are and as logarithms, each for itself and in a column."""
    least = SMOOTHING * max(float(y.float().mean()), SMOOTHING)
    forms: list[Form] = [lambda output: output]
    if bool((y >= 0).all()):
        forms.append(lambda output: output.clamp_min(least).log())
    return (*forms, *(lambda output, form=form: form(output)[:, None] for form in forms))


def _classes(labels: Tensor, learners: Learners, *forms: Form) -> Reading:
    sure = SURE * torch.nn.functional.one_hot(labels).float()
    return Reading(labels, learners, forms, sure.log_softmax(1))


def _reached(
    judge: Judge, x: Inputs, y: Tensor, seed: int
) -> tuple[dict[str, Losses], float, dict[str, np.ndarray]] | None:
    """The losses of each learner's examples and their weights, the least that this loss can be, and natural errors.

    Each learner is read in the form that suits it best: in any form it has not seen the examples. None where the loss
    takes no learner's output.
    """
    found = None
    for reading in _readings(y, x):
        own = _reached_by(judge, x, y, reading, seed)
        if own is None:
            continue
        best = [min(mean_interval(*losses)[0] for losses in each[0].values()) for each in (own, found or own)]
        found = own if best[0] <= best[1] else found
        if best[0] < mean_interval(*own[0][CONSTANT])[0]:
            break  # read so a learner makes something of the inputs
    return found


def _reached_by(
    judge: Judge, x: Inputs, y: Tensor, reading: Reading, seed: int
) -> tuple[dict[str, Losses], float, dict[str, np.ndarray]] | None:
    """The same in one reading of the targets."""
    constant = out_of_fold(reading.learners[CONSTANT], x.rows, reading.targets, seed)
    forms = [] if constant is None else [f for f in reading.forms if _losses(judge, f(constant), y) is not None]
    if not forms:
        return None
    perfect = _finite(judge, forms, reading.perfect, y)
    reached, errors, seen = dict[str, Losses](), dict[str, np.ndarray](), [*perfect]
    for name, build in reading.learners.items():
        output = out_of_fold(build, x.read_by(name), reading.targets, seed)
        if output is None or not (read := _finite(judge, forms, output, y)):
            return None
        reached[name] = min(read, key=lambda losses: mean_interval(*losses)[0])
        seen += read
        if (wrong := natural_errors(output, reading.targets)) is not None:
            errors[name] = wrong
    if min(values.min() for values, _ in seen) < 0:
        return reached, float("-inf"), errors
    low = max(_lower_end(judge, x, y, reading, forms, reached, seed), of_perfect(perfect, reached, CONSTANT))
    return reached, low, errors


def _lower_end(
    judge: Judge, x: Inputs, y: Tensor, reading: Reading, forms: list[Form], reached: dict[str, Losses], seed: int
) -> float:
    """What equal inputs with different targets leave, or a learning curve that is flat, if that is more."""
    assert isinstance(judge.objective, PlainLoss)
    means = {name: mean_interval(*losses)[0] for name, losses in reached.items()}
    best = min(means, key=means.__getitem__)
    left = of_duplicates(judge.objective, x.rows, reading.targets, y, forms) if x.numbers else 0.0
    others = [mean for name, mean in means.items() if name not in (best, CONSTANT)]
    if best == CONSTANT or not x.numbers or x.images or reached[best][1] is not None:
        return min(left, means[best])  # what these learners read of images is not what tells

    def fitted(share: float) -> Tensor | None:
        return out_of_fold(reading.learners[best], x.read_by(best), reading.targets, seed, share=share)

    def read(said: Tensor) -> np.ndarray | None:
        found = _finite(judge, forms, said, y)
        return min((values for values, _ in found), key=np.mean, default=None)

    flat_at = of_learning_curve(read, fitted, reached[best][0], others, means[CONSTANT])
    return min(max(left, flat_at), means[best])


def _finite(judge: Judge, forms: list[Form], output: Tensor, y: Tensor) -> list[Losses]:
    """The losses of an output in each form in which all of them are finite."""
    read = [_losses(judge, form(output), y) for form in forms]
    return [losses for losses in read if losses is not None and np.isfinite(losses[0]).all()]


def _losses(judge: Judge, output: Tensor, y: Tensor) -> Losses | None:
    """The judge's loss of each example and its weight; None where the loss refuses the output, or gives one number."""
    assert isinstance(judge.objective, PlainLoss)
    try:
        losses = values_of(judge.objective.loss, output, y, singly=True)
    except (RuntimeError, ValueError, IndexError):
        return None
    if not losses.value.dim():
        return None
    weight = losses.weight.double().numpy() if isinstance(losses.weight, Tensor) else None
    return losses.value.double().numpy(), weight


def _with_log_variances(output: Tensor, y: Tensor) -> Tensor:
    """The means, and behind them the logarithm of each column's mean squared error, the same for every example."""
    means = flat(output)
    spread = (means - flat(y)).square().mean(0).clamp_min(1e-6).log()
    return torch.cat([means, spread.expand_as(means)], 1)
