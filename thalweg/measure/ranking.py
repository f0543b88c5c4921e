r"""Ranking: how often an example of a class scores above one of another class, the area under the ROC curve."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from thalweg.measure.classes import as_classes
from thalweg.measure.resampling import once, resampled_by

FEW = 16
"""So few examples are compared with all others one by one; more by one sort of all."""


def _areas(
    output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."], counts: Float[Tensor, "draw batch"]
) -> Float[Tensor, " draw"]:
    """The AUC of each draw, by the sum over the members of a class of `W_below + W_ties / 2`."""
    logits, labels = as_classes(output, target)
    counts, total = counts.double(), counts.double().sum(dim=1)
    binary = logits.shape[1] == 2
    scores = (logits[:, 1] - logits[:, 0])[None] if binary else logits.double().log_softmax(dim=1).T.contiguous()
    areas = []
    for label, members in _members(labels, logits.shape[1])[: 1 if binary else None]:
        score = scores[0 if binary else label]
        own = counts[:, members]
        positive = own.sum(dim=1)
        won = (_below(score, score[members], counts) * own).sum(dim=1) - positive.square() / 2  # less those within
        areas.append(won / (positive * (total - positive)))
    return torch.where(logits.isnan().any(), torch.nan, torch.stack(areas).nanmean(dim=0)).to(logits.dtype)


@resampled_by(_areas)
def auc(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    r"""The area under the ROC curve: how often an example of a class scores above one of another class.

    From the pairs of an example of the class and another one, ties half (Mann & Whitney 1947):

    $$ \mathrm{AUC} = \frac{1}{n_1 n_0} \sum_{i: y_i = 1} \sum_{j: y_j = 0} [s_j < s_i] + \tfrac{1}{2} [s_j = s_i] $$

    For several classes the mean of one class against the rest, scored by the class's probability, over the classes with
    examples in and outside of them; NaN where there is none, that is where all examples are of one class.

    >>> auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    tensor(0.7500)
    """
    return _areas(output, target, once(target))[0]


def _members(labels: Int[Tensor, " batch"], classes: int) -> list[tuple[int, Int[Tensor, " member"]]]:
    """The classes that have examples, the last first, each with its examples."""
    sizes = labels.bincount(minlength=classes).tolist()
    members = labels.argsort(stable=True).split(sizes)
    return [(label, members[label]) for label in reversed(range(classes)) if sizes[label]]


def _below(
    scores: Float[Tensor, " batch"], own: Float[Tensor, " member"], counts: Float[Tensor, "draw batch"]
) -> Float[Tensor, "draw member"]:
    """How much of each draw scores below each of `own`; of ties the half."""
    if len(own) <= FEW:
        beaten = (scores[:, None] < own).to(counts) + (scores[:, None] == own).to(counts) / 2
        return counts @ beaten
    ordered, order = scores.sort()
    running = pad(counts[:, order].cumsum(dim=1), (1, 0))
    left, right = torch.searchsorted(ordered, own), torch.searchsorted(ordered, own, right=True)
    return (running[:, left] + running[:, right]) / 2
