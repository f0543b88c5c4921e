"""Scales: inputs and targets far from 1, and splits that were not prepared alike.

What counts is what the first layer with weights reads, whatever the model does before it; a layer that normalizes is
an excuse. Splits are compared by the changes that a forgotten or repeated step of preparation makes, and by no others:
a factor of eight and more, a negative, another of the usual ranges, a standardization that one side lacks. What else
moves between splits is a real shift.
"""

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.nest import map_tensors
from thalweg.core.objective import apply, as_objective, name_of
from thalweg.core.randomness import seed_everything, untouched
from thalweg.core.source import Indexed, plain_of
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.columns import raised_by
from thalweg.diagnosis.checks.data_rows import Rows
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training import Recipe

LARGE, SMALL, APART = 30.0, 0.02, 300.0
"""Root mean squares of inputs beyond these, and deviations of columns so far apart, are slow to learn from."""
TARGET_LARGE, TARGET_SMALL = 50.0, 0.01
READ = 256
FACTOR, FAR = 8.0, 3.0
RANGES = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0))
FEWEST = 20
NORMALIZING = "Norm"


class _Read(Exception):
    """The first layer was reached."""


def first_layer(recipe: Recipe, train: Indexed) -> tuple[nn.Module, Tensor, Tensor] | None:
    """The first layer with weights of a new model, what it reads of some train examples, and these examples.

    None where that cannot be told.
    """
    ids = np.unique(np.linspace(0, len(train) - 1, min(READ, len(train))).astype(int))
    batch = next(iter(plain_of(train).take(ids).batches(0, 0, None)))
    x = batch[0]
    if not isinstance(x, Tensor):
        return None
    with untouched(), torch.no_grad():
        seed_everything(recipe.seed, "model")
        model, seen = recipe.model(), list[tuple[nn.Module, Tensor]]()

        def look(module: nn.Module, inputs: tuple[object, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                seen.append((module, inputs[0].detach().clone()))
            raise _Read

        own = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
        own += [module for module in model.modules() if NORMALIZING in type(module).__name__ and module not in own]
        for module in own:
            module.register_forward_pre_hook(look)
        try:
            apply(model, x.clone())
        except _Read:
            return (*seen[0], x) if seen else None
        except Exception:
            return None
    return None


def input_scale(recipe: Recipe, source: Indexed, rows: Rows) -> list[Flaw]:
    """Inputs far from unit scale where the first layer reads them: number, the largest root mean square."""
    if rows.x is None or rows.tokens:
        return []
    read = first_layer(recipe, source)
    if read is None or NORMALIZING in type(read[0]).__name__ or not read[1].is_floating_point():
        return []
    layer, values, x = read
    own = values.shape == x.shape and bool(torch.equal(values.float(), x.float()))
    seen = rows.x if own else values.flatten(1).double().numpy(force=True)
    if not np.isfinite(seen).all():
        return []
    columns = seen if rows.table and seen.shape[1] == rows.x.shape[1] else seen.reshape(-1, 1)
    rms, deviation = np.sqrt((columns**2).mean(0)), columns.std(0)
    top = int(rms.argmax())
    usual = float(np.median(rms))
    many = np.array([len(np.unique(column[:500])) > 10 for column in columns.T])
    continuous = deviation[many & (deviation > 0)]
    apart = float(continuous.max() / np.median(continuous)) if len(continuous) > 2 else 1.0
    name = type(layer).__name__
    if rms[top] > LARGE:
        what = f"input {rows.column(top)}" if columns.shape[1] > 1 else "an input"
        rest = f", where the middle one has {usual:.3g}" if columns.shape[1] > 1 else ""
        return [_scale(f"{name} reads {what} with a root mean square of {rms[top]:.3g}{rest}", float(rms[top]))]
    if rms[top] < SMALL:
        return [_scale(f"{name} reads inputs whose root mean square is at most {rms[top]:.3g}", float(rms[top]))]
    if apart > APART:
        return [_scale(f"{name} reads columns whose deviations are {apart:.3g} times the middle one", apart)]
    return []


def _scale(says: str, number: float) -> Flaw:
    return Flaw(
        Cause.DATA,
        Mechanism.INPUTS_FAR_FROM_UNIT_SCALE,
        says,
        number,
        f"about 1: between {SMALL:g} and {LARGE:g}",
        "Standardize each input by its mean and deviation in train (images: divide by 255), or begin with a "
        "normalization layer",
        "a train loss that is as low with standardized inputs after as many epochs",
        Sure.LIKELY,
        Raises.TRAIN,
    )


def target_scale(recipe: Recipe, source: Indexed, rows: Rows) -> list[Flaw]:
    """Targets of a regression far from what a new model says: number, their root mean square."""
    if rows.targets is None or rows.classes or not np.isfinite(rows.targets).all():
        return []
    loss = name_of(getattr(as_objective(recipe.objective), "loss", recipe.objective)).lower()
    if not any(word in loss for word in ("mse", "l1", "huber", "squared", "absolute")):
        return []
    rms = float(np.sqrt((rows.targets**2).mean(0)).max())
    if TARGET_SMALL <= rms <= TARGET_LARGE or rms == 0:
        return []
    said = _said_at_first(recipe, source)
    if said is None or not (said < rms / 10 or said > 10 * rms):
        return []
    return [
        Flaw(
            Cause.DATA,
            Mechanism.TARGETS_FAR_FROM_UNIT_SCALE,
            f"The targets have a mean of {rows.targets.mean():.3g} and a root mean square of {rms:.3g}, a new model "
            f"says {said:.2g}: training has to learn the scale first, at the learning rate's pace",
            rms,
            f"about 1: between {TARGET_SMALL:g} and {TARGET_LARGE:g}",
            "Standardize the targets by their mean and deviation in train, and predictions back",
            "a train loss that is as low with standardized targets after as many epochs",
            Sure.LIKELY,
            Raises.TRAIN,
        )
    ]


def _said_at_first(recipe: Recipe, source: Indexed) -> float | None:
    """The root mean square of what a new model says."""
    ids = np.arange(min(READ, len(source)))
    x = map_tensors(Tensor.clone, next(iter(plain_of(source).take(ids).batches(0, 0, None)))[0])
    with untouched(), torch.no_grad():
        seed_everything(recipe.seed, "model")
        output = apply(recipe.model().eval(), x)
    return float(output.float().square().mean().sqrt()) if isinstance(output, Tensor) else None


def prepared_otherwise(train: Rows, judged: Rows) -> list[Flaw]:
    """A judged split that was not prepared as train was: number, the factor between them.

    Each input of the judged split is compared with train's by mean and deviation, and where all of them differ by one
    step of preparation, it is said.
    """
    if train.x is None or judged.x is None or train.tokens or train.x.shape[1:] != judged.x.shape[1:]:
        return []
    x, other = train.x, judged.x
    if len(other) < FEWEST or len(x) < FEWEST or not (np.isfinite(x).all() and np.isfinite(other).all()):
        return []
    varying = (x.std(0) > 1e-9) & (other.std(0) > 1e-9)
    if not varying.any():
        return []
    if train.image:
        return _image_prepared(x, other, judged.split)
    return _table_prepared(x[:, varying], other[:, varying], judged.split)


def _image_prepared(x: np.ndarray, other: np.ndarray, split: str) -> list[Flaw]:
    whole = x.std() > 0 and other.std() > 0
    ours, theirs = _usual_range(x), _usual_range(other)
    mean, their_mean = x.mean(0), other.mean(0)
    alike = float(np.corrcoef(mean, their_mean)[0, 1]) if mean.std() > 0.05 * x.std() and their_mean.std() > 0 else 0.0
    factor = float(other.std() / x.std()) if whole else 1.0
    if alike < -0.8 and 0.7 < factor < 1.4:
        return [_prepared("negatives", f"the negatives of train's: their means correlate by {alike:.2f}", alike, split)]
    if ours is not None and theirs is not None and ours != theirs:
        return [_prepared("range", f"in the range {_range(theirs)}, those of train in {_range(ours)}", factor, split)]
    if factor > FACTOR or factor < 1 / FACTOR:
        return [_prepared("factor", f"{factor:.3g} times as widely spread as train's", factor, split)]
    standard = abs(x.mean()) < 0.05 and abs(x.std() - 1) < 0.05
    their_standard = abs(other.mean()) < 0.05 and abs(other.std() - 1) < 0.05
    if (standard and theirs in RANGES[:1] + RANGES[3:]) or (their_standard and ours in RANGES[:1] + RANGES[3:]):
        which = "as they were read, and those of train standardized" if standard else "standardized, those of train not"
        return [_prepared("standardization", which, factor, split)]
    return []


def _usual_range(x: np.ndarray) -> tuple[float, float] | None:
    """The range that the values fill, where it is one of those that images are brought to."""
    low, high = float(x.min()), float(x.max())
    return next(
        (each for each in RANGES if max(abs(low - each[0]), abs(high - each[1])) < 0.005 * (each[1] - each[0])), None
    )


def _range(of: tuple[float, float]) -> str:
    return f"[{of[0]:g}, {of[1]:g}]"


def _table_prepared(x: np.ndarray, other: np.ndarray, split: str) -> list[Flaw]:
    many = np.array([len(np.unique(column[:500])) > 10 for column in x.T])
    if not many.any():
        return []
    x, other = x[:, many], other[:, many]
    mean, their_mean, deviation, theirs = x.mean(0), other.mean(0), x.std(0), other.std(0)
    ratio, quartiles = theirs / deviation, _quartiles(other) / np.maximum(_quartiles(x), 1e-300)
    factor = float(np.median(ratio))
    one = np.mean((ratio / factor < 1.6) & (ratio / factor > 1 / 1.6)) >= 0.8
    means = np.mean(np.abs(their_mean - factor * mean) < 1.5 * theirs) >= 0.8
    robust = float(np.median(quartiles))
    if one and means and all(each > FACTOR or each < 1 / FACTOR for each in (factor, robust)):
        return [_prepared("factor", f"{factor:.3g} times train's in every column", factor, split)]
    standard, their_standard = _standardized(mean, deviation), _standardized(their_mean, theirs)
    far = _moved(x, other)
    if len(far) >= 2 and standard != their_standard and np.mean(far > 0.4) > 0.6 and np.mean(far > 1) > 0.25:
        which = "as they were read, and those of train standardized" if standard else "standardized, those of train not"
        worst = float(ratio[np.abs(np.log(ratio)).argmax()])
        return [_prepared("standardization", which, worst, split)]
    exact = np.abs(their_mean).max() < 1e-4 and np.abs(theirs - 1).max() < 0.02
    if len(mean) >= 3 and standard and their_standard and exact and len(other) < 10_000:
        return [_own_statistics(float(np.abs(their_mean).max()), len(other), split)]
    return []


def _quartiles(x: np.ndarray) -> np.ndarray:
    low, high = np.quantile(x, [0.25, 0.75], axis=0)
    return np.asarray(high - low)


def _moved(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far each column moved, 1 being far: by its quartiles, which tails do not move."""
    width, their_width = _quartiles(x), _quartiles(other)
    some = (width > 0) & (their_width > 0)
    width, their_width = width[some], their_width[some]
    shift = np.abs(np.median(other, axis=0) - np.median(x, axis=0))[some]
    return np.asarray(
        np.maximum(
            np.abs(np.log(their_width / width)) / np.log(FAR), 1.35 * shift / (5 * np.maximum(width, their_width))
        )
    )


def _standardized(mean: np.ndarray, deviation: np.ndarray) -> bool:
    return bool(np.mean((np.abs(mean) < 0.02) & (np.abs(deviation - 1) < 0.02)) >= 0.8)


def _prepared(step: str, says: str, number: float, split: str) -> Flaw:
    return Flaw(
        Cause.DATA,
        Mechanism(f"{split} prepared otherwise than train ({step})"),
        f"The inputs of {split} are {says}",
        number,
        "a factor near 1",
        f"Prepare {split} by the same steps as train, with the statistics of train",
        f"{split} data that truly look so, and will in use: then it is a mismatch",
        Sure.MEASURED,
        raised_by(split),
    )


def _own_statistics(number: float, n: int, split: str) -> Flaw:
    return Flaw(
        Cause.DATA,
        Mechanism(f"{split} standardized by its own statistics"),
        f"The means of all columns of {split} are 0 to {number:.0e}, where {n:,} others give about {n**-0.5:.2g}",
        number,
        f"about {n**-0.5:.1g}",
        "Standardize by the mean and deviation of train: one new example has no statistics of its own",
        "a model that is always given whole sets",
        Sure.MEASURED,
        Raises.NONE_SEEN,
    )
