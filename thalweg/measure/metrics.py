r"""Metrics: how good predictions are, in the numbers that people ask for.

Each is `(output, target) -> tensor`: one value for each example, `(batch,)`, where it is a mean over examples
(`accuracy`, `mae`), else a scalar. Metrics of classes take logits `(batch, classes)`, or the logit of "yes", `(batch,)`
or `(batch, 1)`, with class numbers or soft targets. Metrics of numbers take output and target of one shape, `(batch,)`
or `(batch, columns)`; an output of twice the columns is read as `Gaussian("learned")` has it, means first.

What is not defined is NaN, and nothing else is: an output that holds NaN, the AUC of a single class, the R2 of a
constant. A class without examples takes no part in a mean over classes.

They are written out here: torchmetrics' AUC squashes logits by a sigmoid, which makes ties (0.5 instead of 1.0 for
float32 logits 18 to 30), its R2 is a difference of large sums (1.01 instead of 0.92 for targets around 100,000 with a
deviation of 10), its mean of recalls counts predicted classes that have no examples, and none resamples.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.measure.classes import as_classes
from thalweg.measure.ranking import auc
from thalweg.measure.resampling import an_error, once, resampled_by

Metric = Callable[[Tensor, Tensor], Tensor]


def accuracy(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """1 for each example whose likeliest class is the target's, 0 for each other; their mean is the accuracy.

    >>> accuracy(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    tensor([1., 0.])
    """
    logits, labels = as_classes(output, target)
    hits = (logits.argmax(dim=1) == labels).to(logits.dtype)
    return torch.where(logits.isnan().any(dim=1), torch.nan, hits)


def _balanced_accuracies(
    output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."], counts: Float[Tensor, "draw batch"]
) -> Float[Tensor, " draw"]:
    logits, labels = as_classes(output, target)
    hits, actual, _ = _counted(logits, labels, counts)
    return _nan_like(logits, (hits / actual).nanmean(dim=1))


@resampled_by(_balanced_accuracies)
def balanced_accuracy(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""The mean recall of the classes that have examples, $\frac{1}{C} \sum_c \mathrm{recall}_c$, each counted alike.

    Guessing scores 1 / C whatever the class frequencies; equals scikit-learn's `balanced_accuracy_score`.

    >>> balanced_accuracy(torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))
    tensor(0.5000)
    """
    return _balanced_accuracies(output, target, once(target))[0]


def _f1s(
    output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."], counts: Float[Tensor, "draw batch"]
) -> Float[Tensor, " draw"]:
    logits, labels = as_classes(output, target)
    hits, actual, guessed = _counted(logits, labels, counts)
    return _nan_like(logits, (2 * hits / (actual + guessed)).nanmean(dim=1))


@resampled_by(_f1s)
def f1(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""Macro F1: the mean over classes of $2 \, TP / (2 \, TP + FP + FN)$.

    Classes that have no example and were never predicted are left out, as in scikit-learn's
    `f1_score(average="macro")`. The logit of "yes" has two classes, "no" and "yes".

    >>> f1(torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))  # (6 / 7 + 0) / 2
    tensor(0.4286)
    """
    return _f1s(output, target, once(target))[0]


@an_error
def mae(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    r"""The absolute error of each example, $|y - \hat y|$ in the target's unit, a mean over its columns.

    >>> mae(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 4.0], [3.0, 4.0]]))
    tensor([1., 0.])
    """
    prediction, target = _as_numbers(output, target)
    return (target - prediction).abs().mean(dim=1)


def _root_mean_squares(
    output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."], counts: Float[Tensor, "draw batch"]
) -> Float[Tensor, " draw"]:
    prediction, target = _as_numbers(output, target)
    squares = (target - prediction).double().square().mean(dim=1)
    return (counts.double() @ squares / counts.sum(dim=1)).sqrt().to(prediction.dtype)


@resampled_by(_root_mean_squares)
def rmse(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""The root mean square error, $\sqrt{\mathrm{mean}\,(y - \hat y)^2}$ in the target's unit, of all columns.

    >>> rmse(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 6.0]))  # sqrt((9 + 16) / 2)
    tensor(3.5355)
    """
    return _root_mean_squares(output, target, once(target))[0]


def _explained(
    output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."], counts: Float[Tensor, "draw batch"]
) -> Float[Tensor, " draw"]:
    """R2 with sums about the mean of the whole set, which loses no digits to targets that are far from 0."""
    prediction, target = (tensor.double() for tensor in _as_numbers(output, target))
    counts = counts.double()
    off = target - target.mean(dim=0)
    residual = counts @ (target - prediction).square()
    total = counts @ off.square() - (counts @ off).square() / counts.sum(dim=1, keepdim=True)
    varied = (target.amax(dim=0) > target.amin(dim=0)) & (total > 0)
    return torch.where(varied, 1 - residual / total, torch.nan).nanmean(dim=1).to(output.dtype)


@resampled_by(_explained)
def r2(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""The share of variance explained, $1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2$, a mean over columns.

    1 is perfect, 0 as good as the mean, below 0 worse. A column whose target is constant has no variance and takes no
    part; NaN where all are.

    >>> r2(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 3.0, 5.0]))  # 1 - 2 / 8
    tensor(0.7500)
    """
    return _explained(output, target, once(target))[0]


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "auc": auc,
    "mae": mae,
    "rmse": rmse,
    "r2": r2,
}


def _nan_like(logits: Tensor, value: Tensor) -> Tensor:
    """`value`, but NaN where a logit is: an argmax or a sort would hide it."""
    return torch.where(logits.isnan().any(), torch.nan, value)


def _counted(
    logits: Float[Tensor, "batch class"], labels: Int[Tensor, " batch"], counts: Float[Tensor, "draw batch"]
) -> tuple[Float[Tensor, "draw class"], Float[Tensor, "draw class"], Float[Tensor, "draw class"]]:
    """Of each class how often it was hit, how often it is the label, how often it was guessed."""
    guess = logits.argmax(dim=1)
    counts = counts.to(logits.dtype)

    def by_class(classes: Tensor, values: Tensor) -> Tensor:
        empty = values.new_zeros(len(values), logits.shape[1])
        return empty.scatter_add_(1, classes.expand(len(values), -1), values)

    return by_class(labels, counts * (guess == labels)), by_class(labels, counts), by_class(guess, counts)


def _as_numbers(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Prediction and target, both `(batch, columns)`."""
    prediction = output.detach()
    if output.dim() == 2 and output.numel() == 2 * target.numel():
        prediction = prediction.chunk(2, dim=1)[0].reshape(target.shape)
    if prediction.shape != target.shape or target.dim() not in (1, 2) or target.numel() == 0:
        raise RecipeError(
            f"Metrics of numbers got an output {tuple(output.shape)} and a target {tuple(target.shape)}, but they need "
            "the same shape, (batch,) or (batch, columns), and at least one example. Give the target a column, "
            "target.unsqueeze(1), or measure classes by accuracy, f1 or auc."
        )
    prediction = prediction.to(torch.promote_types(output.dtype, torch.float32))
    return prediction.reshape(len(target), -1), target.detach().to(prediction.dtype).reshape(len(target), -1)
