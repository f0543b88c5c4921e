r"""The natural error: how wrong outputs are on a scale that no loss can bend.

A program is trained by the loss that it has, and a faulty loss judges itself well. So beside it stands what anyone
would ask of the outputs: of classes whether the largest output is the right one (0 or 1), of numbers the squared error
in variances of the targets, $(f(x) - y)^2 / \mathrm{Var}(y) $, whose mean is $1 - R^2$. A softmax too many changes
neither. Errors are compared by one `Scale`: in variances of its own targets a split of a narrower range looks worse
where nothing is lost.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.core.arrays import are_classes
from thalweg.core.nest import to_device
from thalweg.core.objective import PlainLoss, apply, counted_targets
from thalweg.core.source import Source
from thalweg.training import Run
from thalweg.training.evaluate import ExampleLosses
from thalweg.training.judging import Judge
from thalweg.training.values import values_of

LEAST, KNOWN = 1e-6, 0.99
"""What stands for the logarithm of 0, and the share of examples on which a perfect output is at least as good."""
CONSTANT = 1e-6
"""A target whose deviation is less than this share of its numbers does not vary."""
LARGEST = 30.0
"""The largest output that is read as a logarithm."""
IGNORED = -100
"""What stands for a class number that does not count."""
SOLVED, RIDGE = 30, 1e-4
"""Steps of the calibration of classes, and what holds its numbers finite."""
CUTS = (0.0, 0.5)
"""Where a yes begins, of logits and of probabilities; the cut that is right more often is meant."""

Said = tuple[Tensor, Tensor] | None
MOST_KEPT = 10_000_000
"""Outputs of more numbers are not kept."""
KEPT: WeakKeyDictionary[Run, list[tuple[Source, Said]]] = WeakKeyDictionary()
"""What the model of a run has said of a split: its errors are asked for by several questions."""


@dataclass(frozen=True, eq=False)
class Scale:
    """How targets that are floating numbers are read: as yes and no, or in their variances, one for each number.

    >>> Scale.of(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    Scale(answers=False, variance=tensor([1., 0.], dtype=torch.float64))
    """

    answers: bool
    variance: Tensor

    @classmethod
    def of(cls, y: Tensor) -> "Scale":
        """The scale of these targets `(examples, ...)`; numbers that do not vary have the variance 0."""
        rows = y.detach().double().cpu().reshape(len(y), -1)
        variance = rows.var(0, correction=0)
        constant = variance <= (CONSTANT * rows.abs().amax(0)).square()
        return cls(set(rows.unique().tolist()) == {0.0, 1.0}, torch.where(constant, 0.0, variance))


def natural_errors(output: Any, y: Any, scale: Scale | None = None) -> np.ndarray | None:
    """The natural error of each example, by a scale or that of these targets; None where outputs cannot be read as
    predictions of them, or none of the targets varies.

    >>> natural_errors(torch.tensor([[0.0, 2.0], [3.0, 1.0]]), torch.tensor([1, 1])).tolist()
    [0.0, 1.0]
    >>> natural_errors(torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 2.0])).tolist()  # the variance is 1/4
    [0.0, 4.0]
    """
    if not isinstance(output, Tensor) or not isinstance(y, Tensor) or not len(y) or output.is_complex():
        return None
    output, y = output.detach().double().cpu(), y.detach().cpu()
    if not bool(torch.isfinite(output).all()):
        return None
    if are_classes(y) or (y.dim() > 1 and not y.is_floating_point() and not y.is_complex()):
        return _of_classes(output, y.long())
    if not y.is_floating_point() or y.is_complex():
        return None
    y = y.double()
    if output.numel() == 2 * y.numel() and output.dim() == 2:  # means, and behind them their spreads
        output = output[:, : output.shape[1] // 2]
    if output.numel() != y.numel():
        return None
    output, y = output.reshape(len(y), -1), y.reshape(len(y), -1)
    if scale is None or len(scale.variance) != y.shape[1]:
        scale = Scale.of(y)
    if scale.answers:
        return _of_answers(output, y)
    varies = scale.variance > 0
    if not bool(varies.any()):
        return None
    return np.asarray(((output - y)[:, varies].square() / scale.variance[varies]).mean(1).numpy())


def _of_classes(output: Tensor, y: Tensor) -> np.ndarray | None:
    if output.dim() == y.dim() and output.numel() == y.numel() and int(y.max()) <= 1:
        return _of_answers(output.reshape(len(y), -1), y.reshape(len(y), -1).double())
    if output.dim() == 2 and output.shape[1] == 1 and y.dim() == 1 and int(y.max()) <= 1:
        return _of_answers(output, y[:, None].double())
    axis = _axis_of_classes(output, y)
    if axis is None or output.shape[axis] <= int(y.max()):
        return None
    counted = (y >= 0).reshape(len(y), -1)  # the others are padding
    wrong = (output.argmax(axis) != y).reshape(len(y), -1) & counted
    return np.asarray((wrong.sum(1) / counted.sum(1).clamp_min(1)).double().numpy())


def _axis_of_classes(output: Tensor, y: Tensor) -> int | None:
    """Where the classes stand: behind the examples, as torch's losses read them, or last."""
    if output.dim() != y.dim() + 1:
        return None
    if output.shape[:1] + output.shape[2:] == y.shape:
        return 1
    return output.dim() - 1 if output.shape[:-1] == y.shape else None


def _of_answers(output: Tensor, y: Tensor) -> np.ndarray:
    wrong = [((output > cut).double() != y).double().mean(1) for cut in CUTS]
    return np.asarray(min(wrong, key=lambda errors: float(errors.mean())).numpy())


def errors_of(run: Run, source: Source, device: torch.device, scale: Scale | None = None) -> np.ndarray | None:
    """The natural errors of a run's best model on a split, in its order; None where they cannot be told."""
    said = _predicted(run, source, device)
    return None if said is None else natural_errors(*said, scale)


def recalibrated_errors(run: Run, source: Source, device: torch.device) -> np.ndarray | None:
    """The same after the calibration that is best on this split: a line for each number, a shift for each class.

    What a loss wants on purpose, another quantile or rare classes first, is no error here.
    """
    said = _predicted(run, source, device)
    if said is None:
        return None
    output, y = said
    return natural_errors(recalibrated(output, y), y)


def recalibrated(output: Tensor, y: Tensor) -> Tensor:
    """Outputs as near to the targets as a line for each number, or a scale and a shift for each class, brings them.

    Of numbers that are not negative outputs may be the logarithms.

    >>> y = torch.tensor([1.0, 2.0, 4.0])
    >>> recalibrated(2 - 3 * y, y).round(decimals=6).tolist()
    [1.0, 2.0, 4.0]
    """
    output, y = output.detach().double().cpu(), y.detach().cpu()
    if not bool(torch.isfinite(output).all()):
        return output
    if are_classes(y) and output.dim() == 2 and output.shape[1] > max(1, int(y.max())):
        return _shifted(output, y.long())
    if output.numel() != y.numel():
        return output
    x, t = output.reshape(len(y), -1), y.double().reshape(len(y), -1)
    read = [_on_a_line(x, t)]
    if bool((t >= 0).all()) and float(x.max()) < LARGEST:
        read.append(_on_a_line(x.exp(), t))  # the logarithms of counts or of lengths
    return min(read, key=lambda said: float((said - t).square().mean())).reshape(output.shape)


def _on_a_line(x: Tensor, t: Tensor) -> Tensor:
    centred, aimed = x - x.mean(0), t - t.mean(0)
    slope = (centred * aimed).sum(0) / centred.square().sum(0).clamp_min(1e-30)
    return t.mean(0) + slope * centred


def are_shares(output: Tensor) -> bool:
    """Whether the outputs of each example are the shares of its classes.

    >>> are_shares(torch.tensor([[0.25, 0.75]])), are_shares(torch.tensor([[-1.0, 2.0]]))
    (True, False)
    """
    return bool((output >= 0).all() and ((output.sum(1) - 1).abs() < 1e-3).all())


def _shifted(output: Tensor, y: Tensor) -> Tensor:
    """Class scores with one scale and a shift for each class, by maximum likelihood on these examples."""
    scores = output.log() if are_shares(output) and bool((output > 0).all()) else output
    scores = scores - scores.mean(1, keepdim=True)
    scores = scores / scores.std(correction=0).clamp_min(1e-12)
    free = torch.zeros(1 + scores.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([free], max_iter=SOLVED, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = nn.functional.cross_entropy(free[0].exp() * scores + free[1:], y) + RIDGE * free.square().sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        solver.step(loss)
    return (free[0].exp() * scores + free[1:]).detach()


def _predicted(run: Run, source: Source, device: torch.device) -> Said:
    """Outputs and targets of a split in its order, kept for the next who asks while the run lives, where they are few.

    Classes that the judge ignores are `IGNORED`; None where outputs and targets are not one tensor each, or the model
    is asked in another way by its objective.
    """
    kept = KEPT.setdefault(run, [])
    for split, said in kept:
        if split is source:
            return said
    said = _asked(run, source, device)
    if said is None or said[0].numel() <= MOST_KEPT:
        kept.append((source, said))
    return said


def _asked(run: Run, source: Source, device: torch.device) -> Said:
    outputs, targets = list[Any](), list[Any]()
    model = run.model.to(device).eval()
    judge = None if run.recipe is None else Judge.of(run.recipe).objective
    with torch.no_grad():
        for batch in source.batches(0, 0, None):
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                return None
            try:
                output, target = apply(model, to_device(batch[0], device)), batch[1]
            except Exception:  # a user's own code
                return None
            if not isinstance(output, Tensor) or not isinstance(target, Tensor) or len(output) != len(target):
                return None
            outputs.append(output.cpu())
            targets.append(without_ignored(judge.loss, target.cpu()) if isinstance(judge, PlainLoss) else target.cpu())
    if len({tuple(output.shape[1:]) for output in outputs}) != 1 or len({tuple(y.shape[1:]) for y in targets}) != 1:
        return None
    return torch.cat(outputs), torch.cat(targets)


def without_ignored(loss: object, y: Tensor) -> Tensor:
    """Class numbers, those that a loss ignores as `IGNORED`; other targets as they are.

    >>> without_ignored(nn.CrossEntropyLoss(ignore_index=0), torch.tensor([0, 1, 2])).tolist()
    [-100, 1, 2]
    """
    counted = counted_targets(loss, y)
    return y if counted is None or y.dtype == torch.bool else torch.where(counted > 0, y, IGNORED)


def deviances(objective: Any, run: Run, source: Source, device: torch.device) -> np.ndarray | None:
    """The loss of each example beyond that of its own target said outright; None where no such output is known, or its
    loss is 0 anyway.

    What is said is the target itself, or its logarithm, as a loss of counts reads it.
    """
    said = _predicted(run, source, device) if isinstance(objective, PlainLoss) else None
    if said is None or not said[1].is_floating_point() or said[0].numel() != said[1].numel():
        return None
    output, y = said
    perfect = [y] + [y.clamp_min(LEAST).log()] * bool((y >= 0).all())
    try:
        lost, *least = (
            values_of(objective.loss, each.reshape(output.shape).to(output.dtype), y, singly=True).value
            for each in (output, *perfect)
        )
    except (RuntimeError, ValueError, IndexError):
        return None
    if not lost.dim() or not all(bool(torch.isfinite(own).all()) for own in (lost, *least)):
        return None
    best = min(least, key=lambda own: float(own.mean()))
    known = float((best <= lost + 1e-6).double().mean()) > KNOWN and float(best.abs().max()) > 1e-6
    return np.asarray((lost - best).double().numpy()) if known else None


def as_losses(errors: np.ndarray) -> ExampleLosses:
    """Errors as losses that are compared: each example counts once, and stands for itself.

    >>> as_losses(np.array([0.0, 1.0])).mean()[0]
    0.5
    """
    return ExampleLosses(errors, np.ones(len(errors)), None)


@dataclass(frozen=True, eq=False)
class Natural:
    """What the best reference reaches out of fold in natural errors, on each source, and the best constant's mean; and
    the scale of floating targets, by which a network's errors are comparable.
    """

    by: str
    errors: tuple[Any, ...]
    mean: float
    null: float
    scale: Scale | None = None


def yes_or_no(y: Tensor) -> Tensor | None:
    """The class of each example where a column of numbers holds only 0 and 1, and both.

    >>> import torch
    >>> yes_or_no(torch.tensor([[1.0], [0.0]])), yes_or_no(torch.tensor([1.0, 2.0]))
    (tensor([1, 0]), None)
    """
    if not y.is_floating_point() or y.numel() != len(y):
        return None
    return y.reshape(-1).long() if set(y.unique().tolist()) == {0.0, 1.0} else None
