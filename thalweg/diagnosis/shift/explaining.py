"""What moved between validation and the probe half of test: asked once the harm is known, and never instead of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.core.arrays import are_classes
from thalweg.core.errors import DataError
from thalweg.core.folds import described
from thalweg.core.source import Grouped, Indexed, Scaled, Source, plain_of
from thalweg.diagnosis.checks.data_rows import label_of, source_names
from thalweg.diagnosis.compare import higher_on
from thalweg.diagnosis.laboratory import Laboratory
from thalweg.diagnosis.score import Score
from thalweg.diagnosis.shift.changes import as_grid, smoothed
from thalweg.diagnosis.shift.explanation import Classes, Groups, MovedColumn, Shift, Test
from thalweg.diagnosis.shift.families import Unit, column_name
from thalweg.diagnosis.shift.seen import Seen, is_grid, see
from thalweg.diagnosis.shift.undoing import as_numbers, ask_undone
from thalweg.measure.shift import KolmogorovSmirnov, classifier_two_sample, kolmogorov_smirnov, label_shift, mmd
from thalweg.training import Run
from thalweg.training.evaluate import ExampleLosses
from thalweg.training.interval import mean_interval

SHOWN = 8
MOST_INPUTS = 4096
"""Inputs of more numbers are not tested one by one."""
LEVEL = 0.99
EXPLAINS = 0.5
"""Shares of classes that explain this part of the harm are worth a remedy."""
SMALLEST_GROUP = 3
LOOKS = (
    "brightness (mean)",
    "contrast (deviation)",
    "middle, from left to right",
    "middle, from top to bottom",
    "fine detail",
)


def what_moved(
    lab: Laboratory, run: Run, validation: ExampleLosses, probe: ExampleLosses | None, null: float
) -> Shift | None:
    """The explanation of a harm; None where the batches cannot be looked into. `null` is the best constant's loss."""
    assert lab.probe is not None
    here, there = see(run, lab.validation, lab.device), see(run, lab.probe, lab.device)
    if here is None or there is None:
        return None
    names, units = source_names(lab.validation), _units(lab.validation)
    inputs, columns = _columns(here, there, names, units)
    classes = None if probe is None else _classes(lab, here, there, validation, probe)
    much = classes is not None and classes.moved and (classes.alone or classes.share > EXPLAINS)
    return Shift(
        undone=ask_undone(lab, run, here, there, validation, null, names, units),
        classes=classes,
        groups=None if probe is None else _groups(lab, probe),
        columns=columns,
        looks=_looks(here, there),
        tests=tuple(_tests(here, there)),
        times=_times(lab),
        counts=(0, 0) if inputs is None else (len(inputs.moved), len(inputs.p)),
        weighting=_by_number(classes) if much and classes is not None else None,
    )


def _units(source: Source) -> list[Unit]:
    """The mean and the scale of each named input, in its own units; 0 and 1 where it was not scaled."""
    plain = plain_of(source)
    if not isinstance(plain, Scaled):
        return []
    return [plain.scale_of(j) or (0.0, 1.0) for j in range(len(source_names(plain)))]


def _columns(
    here: Seen, there: Seen, names: list[str], units: list[Unit]
) -> tuple[KolmogorovSmirnov | None, tuple[MovedColumn, ...]]:
    """Which numbers of an example are distributed otherwise; of an image they have no names, and are not listed."""
    if here.inputs is None or there.inputs is None or here.inputs.shape[1:] != there.inputs.shape[1:]:
        return None, ()
    first, second = (
        as_numbers(part.inputs).flatten(1).double().numpy() for part in (here, there) if part.inputs is not None
    )
    if first.shape[1] > MOST_INPUTS or not _testable(first, second):
        return None, ()
    found = kolmogorov_smirnov(first, second)
    if here.inputs.dim() != 2 or is_grid(here.inputs):
        return found, ()
    moved = found.moved[:SHOWN].tolist()
    return found, tuple(_moved(column_name(j, names), found, j, first, second, *units[j : j + 1]) for j in moved)


def _moved(
    name: str, found: KolmogorovSmirnov, j: int, first: np.ndarray, second: np.ndarray, unit: Unit = (0.0, 1.0)
) -> MovedColumn:
    zero, scale = unit
    means = zero + scale * float(first[:, j].mean()), zero + scale * float(second[:, j].mean())
    deviations = scale * float(first[:, j].std()), scale * float(second[:, j].std())
    return MovedColumn(name, float(found.distance[j]), float(found.p[j]), means, deviations)


def _testable(first: np.ndarray, second: np.ndarray) -> bool:
    shaped = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1] and first.shape[1] > 0
    return shaped and min(len(first), len(second)) > 1 and bool(np.isfinite(first).all() and np.isfinite(second).all())


def _looks(here: Seen, there: Seen) -> tuple[MovedColumn, ...]:
    """How images differ in what anyone sees: light, contrast, where their middle lies, how fine they are."""
    own, theirs = here.inputs, there.inputs
    if (
        own is None
        or theirs is None
        or own.dim() != theirs.dim()
        or not is_grid(as_numbers(own) if own.dim() == 4 else own)
    ):
        return ()
    first, second = (looks_of(as_grid(as_numbers(x))) for x in (own, theirs))
    if not _testable(first, second):
        return ()
    found = kolmogorov_smirnov(first, second)
    return tuple(_moved(LOOKS[j], found, j, first, second) for j in found.moved.tolist())


def looks_of(images: Tensor) -> np.ndarray:
    """Mean, deviation, the middle of what stands out (in pixels), and the share of fine detail, a row for each image.

    >>> looks_of(torch.eye(4)[None, None])[0, :4].round(2).tolist()
    [0.25, 0.43, 1.5, 1.5]
    """
    x = images.double().mean(1)
    mean, deviation = x.mean((1, 2)), x.std((1, 2), correction=0)
    apart = (x - x.flatten(1).median(1).values[:, None, None]).abs()
    total = apart.sum((1, 2)).clamp_min(1e-12)
    down, right = torch.arange(x.shape[1], dtype=x.dtype), torch.arange(x.shape[2], dtype=x.dtype)
    across, height = (apart.sum(1) * right).sum(1) / total, (apart.sum(2) * down).sum(1) / total
    fine = (x - smoothed(x[:, None])[:, 0]).square().mean((1, 2)).sqrt() / deviation.clamp_min(1e-12)
    return np.asarray(torch.stack([mean, deviation, across, height, fine], 1).numpy())


def _tests(here: Seen, there: Seen) -> Iterator[Test]:
    """Kolmogorov and Smirnov's on each output (BBSDs); MMD and a classifier on the penultimate features."""
    if here.outputs is not None and there.outputs is not None and here.outputs.dim() == 2:
        first, second = (_probabilities(part.outputs) for part in (here, there) if part.outputs is not None)
        if _testable(first, second):
            found = kolmogorov_smirnov(first, second)
            yield Test(f"{len(found.moved)} of {len(found.p)} outputs", "KS", float(found.distance.max()), found.least)
    first_features, second_features = (_features(part) for part in (here, there))
    if first_features is None or second_features is None or not _testable(first_features, second_features):
        return
    name = "penultimate features" if here.features is not None else "outputs"
    apart, told = mmd(first_features, second_features), classifier_two_sample(first_features, second_features)
    yield Test(name, "MMD", apart.squared, apart.p)
    yield Test(name, f"a classifier right {told.accuracy:.0%} of the time", told.accuracy, told.p)


def _features(seen: Seen) -> np.ndarray | None:
    if seen.features is not None or seen.outputs is None:
        return seen.features
    return np.asarray(seen.outputs.flatten(1).double().numpy())


def _probabilities(output: Tensor) -> np.ndarray:
    output = output.double()
    return np.asarray((output.softmax(1) if output.shape[1] > 1 else output).numpy())


def _classes(
    lab: Laboratory, here: Seen, there: Seen, validation: ExampleLosses, probe: ExampleLosses
) -> Classes | None:
    """The shares of the classes, and how much of the harm they explain; None where targets are no classes."""
    from scipy.stats import chi2_contingency

    own, theirs = labels_of(lab.validation), labels_of(lab.probe)
    if own is None or theirs is None or len(own) != len(validation.values) or len(theirs) != len(probe.values):
        return None
    count = int(max(own.max(), theirs.max())) + 1
    first, second = (np.bincount(labels, minlength=count) for labels in (own, theirs))
    held = np.flatnonzero(first + second)
    if len(held) < 2:
        return None
    before, after = first / len(own), second / len(theirs)
    weights = np.where(first > 0, after / np.where(first > 0, before, 1.0), 0.0)
    p = float(chi2_contingency(np.stack([first[held], second[held]])).pvalue)
    weighed = ExampleLosses(validation.values, validation.weights * weights[own], validation.units)
    if not weighed.weights.any():
        return None
    left = higher_on(probe, weighed, LEVEL)
    harm = probe.mean()[0] - validation.mean()[0]
    share = float(1 - left.value / harm) if harm > 0 else 0.0
    alone = bool(p < 0.01 and not left.low > 0 and share > EXPLAINS)
    unseen = tuple(np.flatnonzero((first == 0) & (second > 0)).tolist())
    estimated = _estimated(here, there, count)
    shares, moved, factors = (tuple(float(each[j]) for j in held) for each in (before, after, weights))
    kept = None if estimated is None else tuple(float(estimated[j]) for j in held)
    sides = ((plain_of(lab.validation), own), (plain_of(lab.probe), theirs))
    called = tuple(label_of(*sides[int(first[j] == 0)], int(j)) for j in held)
    return Classes(tuple(held.tolist()), shares, moved, factors, kept, p, left, share, alone, unseen, called)


def _estimated(here: Seen, there: Seen, count: int) -> np.ndarray | None:
    """The weights that the outputs alone tell; None where they cannot."""
    if here.outputs is None or there.outputs is None or here.labels is None or here.outputs.dim() != 2:
        return None
    if here.outputs.shape[1] < count or count < 2 or not are_classes(here.labels):
        return None
    said, theirs = (part.outputs[:, :count].argmax(1).numpy() for part in (here, there) if part.outputs is not None)
    try:
        return label_shift(said, here.labels.numpy(), theirs, count).weights
    except DataError:
        return None


def _by_number(classes: Classes) -> tuple[float, ...]:
    """The weight of each class by its number, 1 where none is known."""
    weights = [1.0] * (max(classes.names) + 1)
    for name, weight in zip(classes.names, classes.weights, strict=True):
        weights[name] = weight
    return tuple(weights)


def labels_of(source: Any) -> np.ndarray | None:
    """The class numbers of a split; None where its targets are none."""
    found = list[Tensor]()
    for batch in source.batches(0, 0, None):
        y = batch[1] if isinstance(batch, tuple | list) and len(batch) == 2 else None
        y = y[0] if isinstance(y, tuple | list) and y else y
        if not isinstance(y, Tensor) or y.dim() != 1 or y.is_floating_point() or y.is_complex():
            return None
        found.append(y.cpu().long())
    labels = torch.cat(found) if found else None
    return labels.numpy() if labels is not None and are_classes(labels) and int(labels.min()) >= 0 else None


def _groups(lab: Laboratory, probe: ExampleLosses) -> Groups | None:
    """The loss of each group of test, and which of them training has not seen; None where no groups are known."""
    train, own, theirs = (_known(source, "group") for source in (lab.train, lab.validation, lab.probe))
    if theirs is None or train is None or len(theirs) != len(probe.values):
        return None
    seen = set(train.tolist())
    losses = []
    for group in np.unique(theirs).tolist():
        at = np.flatnonzero(theirs == group)
        loss = mean_interval(probe.values[at], probe.weights[at]) if probe.weights[at].any() else None
        if loss is not None:
            small = len(at) < SMALLEST_GROUP
            losses.append((str(group), Score(loss[0]) if small else Score(*loss), group not in seen))
    if not losses:
        return None
    new = np.array([group not in seen for group in theirs.tolist()])
    parts = [probe.at(np.flatnonzero(new)), probe.at(np.flatnonzero(~new))] if 0 < new.sum() < len(new) else []
    scores = [_across(part) if part.weights.any() else None for part in parts] or [None, None]
    ordered = tuple(sorted(losses, key=lambda item: -item[1].value))
    shared = own is not None and bool(seen & set(own.tolist()))
    called = plain.group_name if isinstance(plain := plain_of(lab.probe), Grouped) else None
    return Groups(
        ordered, sum(new for _, _, new in losses), len(losses), scores[0], scores[1], shared, called or Groups.called
    )


def _across(part: ExampleLosses) -> Score:
    """The loss over several groups, which its interval resamples; of a single one it resamples the examples."""
    single = part.units is None or len(np.unique(part.units)) < 2
    return Score(*(mean_interval(part.values, part.weights) if single else part.mean()))


def _times(lab: Laboratory) -> str | None:
    """Where test lies in time behind all of train."""
    train, theirs = (_known(source, "time") for source in (lab.train, lab.probe))
    if train is None or theirs is None or not len(train) or not len(theirs):
        return None
    later = float((theirs > train.max()).mean())
    return f"{later:.0%} of test is later than all of train" if later > EXPLAINS else None


def _known(source: Source | None, name: str) -> np.ndarray | None:
    return described(source).get(name) if isinstance(source, Indexed) else None
