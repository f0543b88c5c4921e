"""Remedies for a mismatch, by what moved: train inputs changed as test was, classes weighted as test holds them,
validation held out by group or by time, each group or each example brought to one scale.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thalweg.core.arrays import ArraySource, Drawn
from thalweg.core.convert import loaded
from thalweg.core.counter import uniform
from thalweg.core.nest import Nest
from thalweg.core.objective import apply
from thalweg.core.randomness import untouched
from thalweg.core.source import Indexed
from thalweg.data import Augment, Augmented, augment
from thalweg.data.augmentation import DRAWS
from thalweg.diagnosis import Cause, Finding
from thalweg.diagnosis.halving import places_of
from thalweg.diagnosis.laboratory import first_batch, open_indexed
from thalweg.diagnosis.shift.changes import Change, Levelled, Rescaled
from thalweg.diagnosis.shift.explaining import labels_of
from thalweg.diagnosis.shift.explanation import Classes
from thalweg.loss import Categorical
from thalweg.nn import Prepared
from thalweg.remedy.altered import judge_kept
from thalweg.remedy.grouping import group_standardized
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.resplit import split_by_group, split_by_time
from thalweg.training import Recipe

BEYOND = 1.5
"""Sizes are drawn from 0 to so many times that of test and cut off there: every third example is as test is."""
LIGHTEST, HEAVIEST = 0.05, 10.0
"""The least and the largest weight of a class: one that the probe half lacks may be in test all the same."""


def remedies_of_shift(finding: Finding) -> Iterator[Remedy]:
    """What treats the mismatch of a finding, the most promising first.

    >>> [remedy.name for remedy in remedies_of_shift(Finding(Cause.MISMATCH, "the test data are of another kind"))][:1]
    ['each example standardized']
    """
    standardized = Remedy("each example standardized", Cause.MISMATCH, each_standardized)
    shift = finding.shift
    if shift is None:
        yield standardized
        yield Remedy("inputs standardized within each group", Cause.MISMATCH, group_standardized)
        return
    light = shift.undone is not None and _of_light(shift.undone.change)
    if light:
        yield standardized
    if shift.classes is not None and shift.classes.alone and shift.weighting is not None:
        yield _as_in_test(shift.classes, shift.weighting)
    if shift.undone is not None:
        name = f"train inputs changed as test was ({shift.undone.name})"
        yield Remedy(name, Cause.MISMATCH, partial(toward, change=shift.undone.change))
    if shift.classes is not None and not shift.classes.alone and shift.weighting is not None:
        yield _as_in_test(shift.classes, shift.weighting)
    if shift.groups is not None and shift.groups.new and shift.groups.shared:
        yield Remedy("validation held out by group", Cause.MISMATCH, split_by_group)
    if shift.times is not None:
        yield Remedy("validation held out by time", Cause.MISMATCH, split_by_time)
    yield Remedy("inputs standardized within each group", Cause.MISMATCH, group_standardized)
    if not light:
        yield standardized


def _as_in_test(classes: Classes, weights: tuple[float, ...]) -> Remedy:
    shares = dict(zip(classes.names, classes.after, strict=True))
    change = partial(weighted, weights=weights, shares=tuple(shares.get(name, 0.0) for name in range(len(weights))))
    return Remedy("classes weighted as in test", Cause.MISMATCH, change)


def _of_light(change: Change) -> bool:
    """Whether what moved is brightness and contrast, which no longer matter where each example is standardized."""
    inner = getattr(change, "change", change)
    if isinstance(inner, Rescaled):
        return inner.columns is None and min(inner.slopes) > 0
    return isinstance(inner, Levelled)


def each_standardized(recipe: Recipe) -> Recipe:
    """The recipe whose models get each example with mean 0 and deviation 1."""
    own = recipe.model if isinstance(recipe.model, Prepared) else Prepared(recipe.model)
    return recipe if own.standardize_examples else recipe.but(model=replace(own, standardize_examples=True))


@dataclass(frozen=True, kw_only=True, repr=False)
class Toward(Augment):
    """Augmentation toward the test distribution: a change at a size that is drawn for each example, then any others.

    >>> from thalweg.diagnosis.shift.changes import Reversed
    >>> x, _ = Toward(change=Reversed(1, "backwards"))(torch.tensor([[0.0, 1.0]] * 60), None, 0, torch.arange(60))
    >>> 20 < int(x[:, 0].sum()) < 60
    True
    """

    change: Any = None

    def __repr__(self) -> str:
        own = Augment(**{name: value for name, value in vars(self).items() if name != "change"})
        beside = repr(own).removeprefix("Augment(").removesuffix(")")
        return f"Toward({', '.join(filter(None, (self.change.name, beside)))})"

    def __call__(
        self, x: Float[Tensor, "batch ..."], y: Nest, key: int, ids: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch ..."], Nest]:
        """The batch changed, each example at its own size from 0 to that of test."""
        if len(x):
            size = (BEYOND * uniform(key, ids.to(x.device), DRAWS + 1)[:, DRAWS]).clamp(max=1.0)
            x = self.change.redo(x, size)
        return super().__call__(x, y, key, ids)


def toward(recipe: Recipe, change: Change) -> Recipe:
    """The recipe whose train inputs are changed as those of test are, by sizes from nothing to as much.

    What happens to them already stays. A recipe whose inputs are no floating numbers is given back as it is.
    """
    train = loaded(recipe.data.train)
    x = _inputs(recipe)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return recipe
    if isinstance(train, Augmented):
        if isinstance(train.augment, Toward):
            return recipe
        own = {name: value for name, value in vars(train.augment).items() if name != "change"}
        return recipe.but(data=replace(recipe.data, train=replace(train, augment=Toward(**own, change=change))))
    return recipe.but(data=augment(recipe.data, Toward(change=change)))


def weighted(recipe: Recipe, weights: tuple[float, ...], shares: tuple[float, ...] = ()) -> Recipe:
    """The recipe whose classes count by their share in test over that in validation, and its validation examples too.

    The loss that judges stays; with `shares`, those in test, the validation examples of each class come as often as
    that asks for (`reshared`), so that the epoch is chosen, and the price told, by the importance-weighted loss. A
    recipe whose loss takes no weights of classes is given back as it is (Shimodaira, "Improving Predictive Inference
    under Covariate Shift by Weighting the Log-Likelihood Function", 2000; Lipton et al. 2018 for shares of labels).
    """
    count = _outputs(recipe)
    if not isinstance(recipe.objective, nn.CrossEntropyLoss | Categorical) or count is None or count < len(weights):
        return recipe
    known = torch.tensor([*weights, *[1.0] * (count - len(weights))]).clamp(LIGHTEST, HEAVIEST)
    loss = copy.deepcopy(recipe.objective)
    name = "class_weights" if isinstance(loss, Categorical) else "weight"
    own = getattr(loss, name)
    setattr(loss, name, known if own is None else own * known)
    weighed = recipe.but(objective=loss, judge=judge_kept(recipe))
    if not shares or recipe.data.validation is None:
        return weighed
    own = open_indexed(recipe, recipe.data.validation, "validation")
    held = reshared(own, shares)
    return weighed if held is own else weighed.but(data=replace(recipe.data, validation=held))


def reshared(source: Indexed, shares: tuple[float, ...]) -> Indexed:
    """As many examples of a source, each class as often as its share asks for: some of its examples come again.

    The mean loss over them is the importance-weighted one; an interval that counts copies as examples is too narrow.
    Itself where the shares are these already, targets are no classes, or the source cannot tell its copies, which have
    to stay together where it is halved. No example comes more than `HEAVIEST` times.

    >>> held = reshared(ArraySource((torch.zeros(8, 1), torch.tensor([0] * 6 + [1] * 2)), None), (0.25, 0.75))
    >>> held.data[1].tolist()
    [0, 0, 1, 1, 1, 1, 1, 1]
    """
    labels = labels_of(source)
    if labels is None:
        return source
    counts = np.bincount(labels, minlength=len(shares)).astype(float)
    known = np.where(counts > 0, np.pad(np.array(shares), (0, len(counts) - len(shares))), 0.0)
    if not known.any():
        return source
    wanted = np.minimum(np.rint(known / known.sum() * len(labels)), HEAVIEST * counts).astype(np.int64)
    if (np.abs(wanted - counts) <= 1).all():
        return source
    members = (np.flatnonzero(labels == name) for name in range(len(counts)))
    ids = [np.resize(own, often) for own, often in zip(members, wanted.tolist(), strict=True)]
    drawn = np.sort(np.concatenate(ids))
    held = Drawn.of(source, drawn) if isinstance(source, ArraySource) else source.take(drawn)
    told = len(held) == len(drawn) and len(np.unique(places_of(held)[0])) == len(np.unique(drawn))
    return held if told else source


def _inputs(recipe: Recipe) -> Any:
    batch = first_batch(open_indexed(recipe, recipe.data.train, "train"))
    return batch[0] if isinstance(batch, tuple | list) and len(batch) == 2 else None


def _outputs(recipe: Recipe) -> int | None:
    """How many numbers the model gives for an example; None where that cannot be told."""
    x = _inputs(recipe)
    with torch.no_grad(), untouched():
        try:
            output = apply(recipe.model().eval(), x)
        except Exception:  # a user's own code
            return None
    return output.shape[1] if isinstance(output, Tensor) and output.dim() == 2 else None
