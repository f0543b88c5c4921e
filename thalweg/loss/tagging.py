r"""A class for each position of a sequence, as words have tags."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.errors import RecipeError
from thalweg.core.nest import describe
from thalweg.core.objective import Losses, Moment, apply, pair
from thalweg.core.tokens import NEVER, NO_TARGET
from thalweg.loss.guided import aligned_outputs, guided_attention
from thalweg.loss.likelihood import Categorical


class Tagging(nn.Module):
    r"""Negative log-likelihood of a class at every position, in nats a position: cross-entropy after a soft-max.

    $$ L = \frac{\sum_i \sum_{t} w_{y_{it}} \ell_{it}}{\sum_i \sum_t w_{y_{it}}}, \quad
       \ell_{it} = -\log \mathrm{softmax}(z_{it})_{y_{it}} $$

    over the positions $t$ of the sequences $i$ that have a target; -100 marks those that have none, such as padding. An
    objective over batches `(x, y)` with logits `(batch, length, classes)` and `y` of `(batch, length)`. Its value for a
    sequence is the mean over its positions and its weight their number, so that the mean is that over all positions,
    and an interval resamples whole sequences (the positions of one are not independent). `class_weights` (w) and
    `label_smoothing` are as in `Categorical`; smoothing is taken off where it judges. Classes that a position cannot
    have, whose score is `core.tokens.NEVER` or minus infinity, have no part in it: what other examples of the batch can
    copy is not smoothed over.

    `guided` times the loss of `thalweg.loss.guided`, whose g is `guide_width`, is added to a sequence's value in
    training, of a model that says where it looked (`thalweg.core.decoder.AlignedModel`); where it judges it is not.

    >>> batch = (torch.tensor([[[0.0, 0.0], [3.0, 0.0]]]), torch.tensor([[0, -100]]))
    >>> Tagging()(nn.Identity(), batch, Moment())
    Losses(value=tensor([0.6931]), weight=tensor([1.]), unit=None)

    Raises `RecipeError` for shapes that do not agree, class numbers outside of the logits, a negative `guided`, a width
    that is not above 0, and in training with `guided` a model that does not say where it looked.
    """

    thalweg_objective = True
    class_weights: Tensor | None

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Float[Tensor, " classes"] | Sequence[float] | None = None,
        *,
        guided: float = 0.0,
        guide_width: float = 0.2,
    ) -> None:
        super().__init__()
        checked = Categorical(label_smoothing, class_weights)
        _check_guide(guided, guide_width)
        self.guided, self.guide_width = guided, guide_width
        self.label_smoothing = checked.label_smoothing
        self.register_buffer("class_weights", checked.class_weights)

    def forward(self, model: nn.Module, batch: Any, moment: Moment) -> Losses:
        x, y = pair(batch)
        if not self.guided or not moment.training:
            return self.of_output(apply(model, x), y, moment)
        output, weights, sources = aligned_outputs(model, x)
        losses = self.of_output(output, y, moment)
        cost = guided_attention(weights, (y != NO_TARGET).sum(1), sources, self.guide_width)
        return losses._replace(value=losses.value + self.guided * cost.to(losses.value.dtype))

    def of_output(self, output: Any, y: Any, moment: Moment) -> Losses:
        """The same of a batch whose output is known; without what is guided, which an output does not say."""
        _check(output, y, self.class_weights)
        smoothing = self.label_smoothing if moment.training else 0.0
        weights = None if self.class_weights is None else self.class_weights.to(output.dtype)
        rows, targets = output.flatten(0, 1), y.flatten()  # over the middle axis of three, log-softmax takes far longer
        try:
            values = _cross_entropy(rows, targets, weights, smoothing).view(y.shape)
        except IndexError as error:
            raise RecipeError(_outside(output, y)) from error
        counted = (y != NO_TARGET).to(values.dtype)
        if weights is not None:
            counted = counted * weights[y.clamp(min=0)]
        weight = counted.sum(1)
        smallest = torch.finfo(weight.dtype).tiny
        return Losses(values.sum(1) / weight.clamp(min=smallest), weight=weight)

    def extra_repr(self) -> str:
        weights = "" if self.class_weights is None else f", class_weights={self.class_weights.tolist()}"
        guide = f", guided={self.guided}, guide_width={self.guide_width}" if self.guided else ""
        return f"label_smoothing={self.label_smoothing}{weights}{guide}"


def _cross_entropy(
    scores: Float[Tensor, "row classes"],
    targets: Int[Tensor, " row"],
    weights: Float[Tensor, " classes"] | None,
    smoothing: float,
) -> Float[Tensor, " row"]:
    """Of each row, to a target of which a share goes evenly to all classes that it can have; 0 without a target."""
    if not smoothing or not _may_hold_never(scores):
        return F.cross_entropy(scores, targets, weights, reduction="none", label_smoothing=smoothing)
    logarithms, never = scores.log_softmax(1), (scores == NEVER) | (scores == -torch.inf)
    right = F.nll_loss(logarithms, targets, weights, reduction="none")
    weighted = logarithms if weights is None else logarithms * weights
    even = weighted.masked_fill(never, 0.0).sum(1) / (~never).sum(1)
    return (1 - smoothing) * right - smoothing * even.masked_fill(targets == NO_TARGET, 0.0)


def _may_hold_never(scores: Tensor) -> bool:
    """Whether a score is so low; where values cannot be looked at, as in `vmap` and `torch.compile`, it may be."""
    if torch.compiler.is_compiling():
        return True
    try:
        return bool(scores.detach().amin() <= NEVER)
    except RuntimeError:
        return True


def _check_guide(guided: float, width: float) -> None:
    for name, value, fine in (("guided", guided, guided >= 0), ("guide_width", width, width > 0)):
        if not (fine and math.isfinite(value)):
            least = "at least 0" if name == "guided" else "above 0"
            raise RecipeError(
                f"Tagging: {name} is {value!r}, but it must be finite and {least}. Give for instance guided=10.0, or "
                "0.0 for none, with guide_width=0.2."
            )


def _check(output: Any, y: Any, weights: Float[Tensor, " classes"] | None) -> None:
    shapes = isinstance(output, Tensor) and isinstance(y, Tensor) and output.dim() == 3
    if not shapes or tuple(y.shape) != tuple(output.shape[:2]) or y.is_floating_point():
        raise RecipeError(
            f"Tagging: the output is {describe(output)} and the target {describe(y)}, but logits (batch, length, "
            "classes) go with whole class numbers (batch, length). Give the model a score for each class at every "
            "position; for one class a sequence use Categorical."
        )
    if weights is not None and len(weights) != output.shape[2]:
        raise RecipeError(
            f"Tagging: {len(weights)} class weights for logits of {output.shape[2]} classes. Give one weight for each."
        )


def _outside(output: Tensor, y: Tensor) -> str:
    known = y[y != NO_TARGET]
    return (
        f"Tagging: class numbers run from {int(known.min())} to {int(known.max())}, but the logits have "
        f"{output.shape[2]} classes, 0 to {output.shape[2] - 1}. Give the model {int(known.max()) + 1} outputs; "
        f"{NO_TARGET} marks a position without a target."
    )
