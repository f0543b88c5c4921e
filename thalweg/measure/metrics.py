r"""Metrics: how good predictions are, in the numbers that people ask for.

Each is `(output, target) -> tensor`: one value for each example, `(batch,)`, where it is a mean over examples
(`accuracy`, `mae`), else a scalar. Metrics of classes take logits `(batch, classes)`, or the logit of "yes", `(batch,)`
or `(batch, 1)`, with class numbers or soft targets. Metrics of numbers take output and target of one shape, `(batch,)`
or `(batch, columns)`; an output of twice the columns is read as `Gaussian("learned")` has it, means first.

What is not defined is NaN, and nothing else is: an output that holds NaN, the AUC of a single class, the R2 of a
constant. A class without examples takes no part in a mean over classes.

torchmetrics counts where it is exact. Its AUC squashes logits by a sigmoid, which makes ties (0.5 instead of 1.0 for
float32 logits 18 to 30), its R2 is a difference of large sums (1.01 instead of 0.92 for targets around 100,000 with a
deviation of 10), and its mean of recalls counts predicted classes that have no examples; those three are written out
here.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.measure.classes import as_classes

Metric = Callable[[Tensor, Tensor], Tensor]


def accuracy(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """1 for each example whose likeliest class is the target's, 0 for each other; their mean is the accuracy.

    >>> accuracy(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    tensor([1., 0.])
    """
    logits, labels = as_classes(output, target)
    hits = (logits.argmax(dim=1) == labels).to(logits.dtype)
    return torch.where(logits.isnan().any(dim=1), torch.nan, hits)


def balanced_accuracy(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""The mean recall of the classes that have examples, $\frac{1}{C} \sum_c \mathrm{recall}_c$, each counted alike.

    Guessing scores 1 / C whatever the class frequencies; equals scikit-learn's `balanced_accuracy_score`.

    >>> balanced_accuracy(torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))
    tensor(0.5000)
    """
    from torchmetrics.functional.classification import multiclass_recall

    logits, labels = as_classes(output, target)
    classes = logits.shape[1]
    recalls = multiclass_recall(logits, labels, classes, average=None, validate_args=False)
    present = torch.zeros(classes, dtype=torch.bool, device=labels.device).index_fill(0, labels, True)
    return _nan_like(logits, recalls[present].mean())


def f1(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""Macro F1: the mean over classes of $2 \, TP / (2 \, TP + FP + FN)$.

    Classes that have no example and were never predicted are left out, as in scikit-learn's
    `f1_score(average="macro")`. The logit of "yes" has two classes, "no" and "yes".

    >>> f1(torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))  # (6 / 7 + 0) / 2
    tensor(0.4286)
    """
    from torchmetrics.functional.classification import multiclass_f1_score

    logits, labels = as_classes(output, target)
    value: Tensor = multiclass_f1_score(logits, labels, logits.shape[1], average="macro", validate_args=False)
    return _nan_like(logits, value)


def auc(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""The area under the ROC curve: how often an example of a class scores above one of another class.

    From the ranks $r_i$ of the scores, ties sharing theirs (Mann & Whitney 1947):

    $$ \mathrm{AUC} = \Big( \sum_{i: y_i = 1} r_i - n_1 (n_1 + 1) / 2 \Big) / (n_1 n_0) $$

    For several classes the mean of one class against the rest, scored by the class's probability, over the classes with
    examples in and outside of them; NaN where there is none, that is where all examples are of one class.

    >>> auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    tensor(0.7500)
    """
    logits, labels = as_classes(output, target)
    if logits.shape[1] == 2:
        scores, positive = (logits[:, 1] - logits[:, 0])[None], (labels == 1)[None]
    else:
        scores = logits.double().log_softmax(dim=1).T.contiguous()
        positive = labels == torch.arange(logits.shape[1], device=labels.device)[:, None]
    ordered = scores.sort(dim=1).values
    below, up_to = torch.searchsorted(ordered, scores), torch.searchsorted(ordered, scores, right=True)
    ranks = (below + up_to + 1).double() / 2
    n1 = positive.sum(dim=1)
    n0 = len(labels) - n1
    areas = ((ranks * positive).sum(dim=1) - n1 * (n1 + 1) / 2) / (n1 * n0)
    return _nan_like(logits, areas[(n1 > 0) & (n0 > 0)].mean().to(logits.dtype))


def mae(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    r"""The absolute error of each example, $|y - \hat y|$ in the target's unit, a mean over its columns.

    >>> mae(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 4.0], [3.0, 4.0]]))
    tensor([1., 0.])
    """
    prediction, target = _as_numbers(output, target)
    return (target - prediction).abs().mean(dim=1)


def rmse(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""The root mean square error, $\sqrt{\mathrm{mean}\,(y - \hat y)^2}$ in the target's unit, of all columns.

    >>> rmse(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 6.0]))  # sqrt((9 + 16) / 2)
    tensor(3.5355)
    """
    prediction, target = _as_numbers(output, target)
    return (target - prediction).square().mean().sqrt()


def r2(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""The share of variance explained, $1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2$, a mean over columns.

    1 is perfect, 0 as good as the mean, below 0 worse. A column whose target is constant has no variance and takes no
    part; NaN where all are.

    >>> r2(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 3.0, 5.0]))  # 1 - 2 / 8
    tensor(0.7500)
    """
    prediction, target = (tensor.double() for tensor in _as_numbers(output, target))
    varied = target.amax(dim=0) > target.amin(dim=0)
    residual = (target - prediction).square().sum(dim=0)
    total = (target - target.mean(dim=0)).square().sum(dim=0)
    return (1 - residual / total)[varied].mean().to(output.dtype)


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
