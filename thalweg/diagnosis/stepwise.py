r"""The floor of targets at every step of a sequence, from learners that read a window of it.

Of step t a learner is given what stands in the steps around it, and of what comes before and in the whole sequence the
mean; tokens stand as 0 and 1 for each. Sequences stay whole in the folds. Such a learner remembers little: that it does
worse than a network says nothing, that it does better shows what the inputs allow.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from thalweg.core.nest import Nest, leaves
from thalweg.core.objective import PlainLoss, counted_targets
from thalweg.core.source import Indexed, Source
from thalweg.diagnosis.natural import IGNORED, Scale, natural_errors
from thalweg.diagnosis.references import CONSTANT, FOLDS, Inputs, Learners, classifiers, out_of_fold, regressors
from thalweg.training.judging import Judge
from thalweg.training.values import values_of

MOST_ROWS, MOST_CLASSES, WORDS, WIDE, WINDOW = 6000, 100, 64, 128, 3
"""Steps that learners are fitted to, classes they tell apart, tokens that are told apart, features, and the steps to
either side that they read, fewer where a step has many features."""


@dataclass
class Steps:
    """Batches of sequences, some of each source, and what learners read of them.

    `rows` is `(steps, features)`, `targets` those of the steps that count, `owner` the sequence of each.
    """

    batches: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    """Inputs as numbers `(sequences, steps, channels)`, targets, and which of these count `(sequences, steps)`."""
    places: list[np.ndarray] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """How many classes; 0 for numbers."""
        first = self.batches[0][1]
        return 0 if first.is_floating_point() else 1 + max(int(y[counts].max()) for _, y, counts in self.batches)

    @property
    def scale(self) -> Scale | None:
        """The scale of natural errors of numbers, where all sequences are of one length."""
        if self.classes or len({y.shape[1:] for _, y, _ in self.batches}) != 1:
            return None
        return Scale.of(torch.cat([y for _, y, _ in self.batches]))

    def table(self) -> tuple[np.ndarray, Tensor, np.ndarray]:
        """Rows, targets and owners of the steps that count."""
        rows, targets, owners, at = [], [], [], 0
        for x, y, counts in self.batches:
            rows.append(windows(x)[counts])
            targets.append(y[counts])
            owners.append((at + torch.arange(len(y))[:, None].expand_as(counts))[counts])
            at += len(y)
        return torch.cat(rows).double().numpy(), torch.cat(targets), torch.cat(owners).numpy()

    def outputs(self, said: Tensor) -> list[Tensor]:
        """What learners say of the steps as outputs of each batch, `(sequences, steps, classes or numbers)`."""
        parts, at = [], 0
        said = said.reshape(len(said), -1)
        for _, _, counts in self.batches:
            output = torch.zeros(*counts.shape, said.shape[1])
            number = int(counts.sum())
            output[counts] = said[at : at + number].float()
            parts.append(output)
            at += number
        return parts


def read_steps(judge: Judge, sources: list[Source]) -> Steps | None:
    """Some sequences of each source, as many as learners use; None where targets do not stand at an input's steps."""
    if not isinstance(judge.objective, PlainLoss):
        return None
    steps, total = Steps(), [len(source) if isinstance(source, Indexed) else MOST_ROWS for source in sources]
    every = 0
    for source in sources:
        own, at = [], 0
        for batch in source.batches(0, 0, None):
            if not isinstance(batch, tuple | list) or len(batch) != 2 or not isinstance(batch[1], Tensor):
                return None
            y = batch[1].detach().cpu()
            if y.dim() < 2 or y.shape[1] < 2 or y.is_complex() or y.dim() > 3:
                return None
            every = every or max(1, sum(total) * y.shape[1] // MOST_ROWS)
            kept = torch.arange(-at % every, len(y), every)
            at += len(y)
            x = _numbers(batch[0], y.shape[1])
            if x is None:
                return None
            if len(kept):
                counts = _counted(judge.objective.loss, y[kept])
                steps.batches.append((x[kept], y[kept], counts))
                own.append(at - len(y) + kept.numpy())
        steps.places.append(np.concatenate(own) if own else np.zeros(0, dtype=int))
    if sum(map(len, steps.places)) < 2 * FOLDS or not all(bool(counts.any()) for _, _, counts in steps.batches):
        return None
    widths = {x.shape[2] for x, _, _ in steps.batches}
    return steps if len(widths) == 1 and steps.classes <= MOST_CLASSES else None


def _counted(loss: object, y: Tensor) -> Tensor:
    if y.is_floating_point():
        return torch.isfinite(y.reshape(*y.shape[:2], -1)).all(2)
    counted = counted_targets(loss, y)
    assert counted is not None
    return (counted > 0) & (y >= 0)


def _numbers(x: Nest, steps: int) -> Tensor | None:
    """All inputs that stand at the steps, side by side, `(sequences, steps, channels)`; None where none does."""
    parts = []
    for leaf in leaves(x):
        leaf = leaf.detach().cpu()
        if leaf.dim() == 3 and leaf.shape[1] != steps and leaf.shape[2] == steps:
            leaf = leaf.transpose(1, 2)
        if leaf.dim() not in (2, 3) or leaf.shape[1] != steps or leaf.is_complex():
            continue
        if not leaf.is_floating_point() and leaf.dim() == 2:
            leaf = torch.nn.functional.one_hot(leaf.long().clamp(0, WORDS - 1), WORDS)
        if not bool(torch.isfinite(leaf).all()):
            return None
        parts.append(leaf.reshape(len(leaf), steps, -1).float())
    return torch.cat(parts, 2) if parts else None


def windows(x: Tensor) -> Tensor:
    """What is read of each step: the steps around it, the means of those before and of all, and its place.

    >>> windows(torch.arange(4.0).reshape(1, 4, 1))[0, 1, 2:5]
    tensor([0., 1., 2.])
    """
    sequences, steps, _ = x.shape
    x = x[:, :, x.reshape(-1, x.shape[2]).std(0) > 0] if sequences * steps > 1 else x
    window = max(0, min(WINDOW, (WIDE // max(x.shape[2], 1) - 3) // 2))
    padded = torch.nn.functional.pad(x, (0, 0, window, window))
    around = [padded[:, start : start + steps] for start in range(2 * window + 1)]
    counted = torch.arange(1, steps + 1)[None, :, None]
    before = x.cumsum(1) / counted
    place = (torch.arange(steps) / max(steps - 1, 1))[None, :, None].expand(sequences, steps, 1)
    return torch.cat([*around, before, x.mean(1, keepdim=True).expand_as(x), place], 2)


def reached(
    judge: Judge, steps: Steps, seed: int
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray | None]], float, dict[str, np.ndarray]] | None:
    """The losses of each learner's sequences and their weights, the least that was seen, and natural errors.

    None where the loss takes no learner's output.
    """
    rows, targets, owner = steps.table()
    inputs = Inputs(rows, (rows.shape[1],))
    learners: Learners = regressors(inputs) if targets.is_floating_point() else classifiers(inputs)
    losses, errors, least = dict[str, tuple[np.ndarray, np.ndarray | None]](), dict[str, np.ndarray](), np.inf
    for name, build in learners.items():
        said = out_of_fold(build, rows, targets, seed, owner)
        if said is None:
            return None
        outputs = steps.outputs(said)
        read = [own for own in (_losses(judge, steps, outputs, form) for form in FORMS) if own is not None]
        if not read:
            return None
        losses[name] = min(read, key=lambda own: float(np.average(own[0], weights=own[1])))
        least = min([least, *(float(own[0].min()) for own in read)])
        if (wrong := _errors(steps, outputs)) is not None:
            errors[name] = wrong
    return losses, 0.0 if least >= 0 else float("-inf"), errors if CONSTANT in errors else {}


FORMS = ("classes behind sequences", "classes last", "as the targets")


def _formed(output: Tensor, y: Tensor, form: str) -> Tensor:
    if form == FORMS[0]:
        return output.transpose(1, 2)
    return output if form == FORMS[1] else output.reshape(y.shape)


def _losses(
    judge: Judge, steps: Steps, outputs: list[Tensor], form: str
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """The judge's loss of each sequence and its weight; None where it refuses this form, or gives one number."""
    assert isinstance(judge.objective, PlainLoss)
    values, weights = [], []
    for (_, y, _), output in zip(steps.batches, outputs, strict=True):
        if form == FORMS[2] and output.numel() != y.numel():
            return None
        try:
            losses = values_of(judge.objective.loss, _formed(output, y, form), y, singly=True)
        except Exception:  # a user's own code
            return None
        if not losses.value.dim() or len(losses.value) != len(y) or not bool(torch.isfinite(losses.value).all()):
            return None
        values.append(losses.value.double().numpy())
        own = losses.weight
        weights.append(own.double().numpy() if isinstance(own, Tensor) else np.ones(len(y)))
    return np.concatenate(values), np.concatenate(weights)


def _errors(steps: Steps, outputs: list[Tensor]) -> np.ndarray | None:
    """Natural errors of the sequences, where all are of one length."""
    if len({y.shape[1:] for _, y, _ in steps.batches}) != 1:
        return None
    y = torch.cat([own for _, own, _ in steps.batches])
    if not y.is_floating_point():
        y = torch.where(torch.cat([counts for _, _, counts in steps.batches]), y, IGNORED)
    output = torch.cat(outputs)
    return natural_errors(output.reshape(y.shape) if output.numel() == y.numel() else output, y)
