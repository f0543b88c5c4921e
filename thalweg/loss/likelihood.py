r"""Losses as likelihoods: what a network outputs are the parameters of a distribution of the target.

Training by maximum likelihood minimizes the mean negative log-likelihood of the examples, in nats:

$$ L(\theta) = -\frac{1}{n} \sum_i \log p(y_i \mid x_i; \theta). $$

An example's likelihood is the product over all its target values, so its loss is their *sum*; the mean is over the
batch only. With `reduction = "none"` each loss gives one value for each example, shape `(batch,)`. `docs/likelihood.md`
derives least squares and cross-entropy from these three.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.errors import RecipeError

LOG_2_PI = math.log(2 * math.pi)
NO_LABEL = -100  # torch's mark, F.cross_entropy(ignore_index=-100)


class Gaussian(nn.Module):
    r"""Negative log-likelihood of a target with normal noise: least squares, with its constant.

    $$ -\log p(y \mid \mu, \sigma^2) = \sum_j \frac{(y_j - \mu_j)^2}{2 \sigma_j^2} + \frac{\log 2 \pi \sigma_j^2}{2} $$

    `(output, target) -> scalar` in nats (of a density: it depends on the target's unit, and may be negative). The
    output is the mean $\mu$, of the target's shape `(batch,)` or `(batch, columns, ...)`. With `variance="learned"` it
    has twice the columns, first the means, then the log variances; a target `(batch,)` then goes with an output
    `(batch, 2)`. With `variance=1` the loss is half the squared error plus $\frac{1}{2} \log 2 \pi$ per column (Bishop,
    "Pattern Recognition and Machine Learning", section 5.2; learned variance: Nix & Weigend 1994). Raises `RecipeError`
    for a variance that is not positive and for shapes that do not agree: `(n, 1)` against `(n,)` would broadcast to
    `(n, n)` in silence.

    >>> loss = Gaussian()
    >>> loss(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 5.0])) - LOG_2_PI / 2  # (2^2 / 2 + 0) / 2
    tensor(1.0000)
    >>> Gaussian("learned")(torch.tensor([[3.0, 0.0]]), torch.tensor([3.0])) - LOG_2_PI / 2
    tensor(0.)
    """

    def __init__(self, variance: float | str = 1.0, *, reduction: str = "mean") -> None:
        super().__init__()
        if variance != "learned" and not (isinstance(variance, int | float) and 0 < variance < math.inf):
            raise RecipeError(
                f"Gaussian: variance is {variance!r}, but it must be a positive number or 'learned'. Give 1.0 for "
                "least squares, the noise's variance where it is known, or 'learned' for a model that outputs its "
                "logarithm."
            )
        self.variance = variance
        self.reduction = _checked_reduction(reduction)

    def forward(self, output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "..."]:
        target = target.to(output.dtype)
        mean, precision, log_variance = self._parameters_of(output, target)
        _check_same_shape("Gaussian", mean, target)
        # Not F.gaussian_nll_loss: it looks at values (vmap refuses that) and cuts small variances off without gradient.
        squares = F.mse_loss(mean, target, reduction="none") * precision
        return _reduced(_per_example((squares + log_variance + LOG_2_PI) / 2), self.reduction)

    def _parameters_of(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Mean, precision (1 / variance) and log variance."""
        if not isinstance(self.variance, str):
            return output, 1 / self.variance, math.log(self.variance)
        mean, log_variance = _mean_and_log_variance(output, target)
        return mean, torch.exp(-log_variance), log_variance

    def extra_repr(self) -> str:
        return f"variance={self.variance!r}, reduction={self.reduction!r}"


class Bernoulli(nn.Module):
    r"""Negative log-likelihood of yes-or-no targets, from logits: binary cross-entropy.

    $$ -\log p(y \mid z) = -\sum_j \big( y_j \log p_j + (1 - y_j) \log (1 - p_j) \big), \quad p_j = \sigma(z_j) $$

    `(output, target) -> scalar` in nats; logits and target have one shape, `(batch,)` or `(batch, columns, ...)`, and
    targets are 0, 1, True, False or anything between (soft targets). Raises `RecipeError` for other values and for
    shapes that do not agree.

    >>> Bernoulli()(torch.zeros(3), torch.tensor([0, 1, 1]))  # a fair coin: log 2
    tensor(0.6931)
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = _checked_reduction(reduction)

    def forward(self, output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "..."]:
        _check_same_shape("Bernoulli", output, target)
        target = target.to(output.dtype)
        _check_unit_interval(target)
        values = F.binary_cross_entropy_with_logits(output, target, reduction="none")
        return _reduced(_per_example(values), self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class Categorical(nn.Module):
    r"""Negative log-likelihood of one class out of several, from logits: cross-entropy after a soft-max.

    $$ -\log p(y \mid z) = -\log \mathrm{softmax}(z)_y, \quad \mathrm{softmax}(z)_k = e^{z_k} / \sum_j e^{z_j} $$

    `(output, target) -> scalar` in nats. Logits are `(batch, classes)` or `(batch, classes, ...)`; the target is class
    numbers `(batch, ...)`, or a share for each class, of the logits' shape. Positions of one example (`...`) are
    summed: the mean is torch's `F.cross_entropy` times the number of positions. Class weights follow torch too: the
    mean over class numbers is $\sum_i w_{y_i} \ell_i / \sum_i w_{y_i}$, and -100 marks a target that is not known.
    `label_smoothing` mixes a share of the uniform distribution into the target (Szegedy et al. 2016, section 7). Raises
    `RecipeError` for class numbers outside of the logits, fractional class numbers, and shapes that do not agree.

    >>> Categorical()(torch.zeros(3, 4), torch.tensor([0, 1, 3])).exp()  # four classes equally likely
    tensor(4.)
    """

    class_weights: Tensor | None

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Float[Tensor, " classes"] | Sequence[float] | None = None,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if not (isinstance(label_smoothing, int | float) and 0 <= label_smoothing <= 1):
            raise RecipeError(
                f"Categorical: label_smoothing is {label_smoothing!r}, but it is the share of the target that is "
                "spread over all classes, between 0 and 1. Give for instance 0.1, or 0.0 for none."
            )
        self.label_smoothing = label_smoothing
        self.reduction = _checked_reduction(reduction)
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.get_default_dtype())
        if weights is not None and not (weights.dim() == 1 and bool((weights >= 0).all()) and bool(weights.any())):
            raise RecipeError(
                f"Categorical: class_weights is {weights.tolist()}, but it is one weight for each class, none below 0 "
                "and not all 0. Give for instance class_weights=[1.0, 3.0] for two classes."
            )
        self.register_buffer("class_weights", weights)

    def forward(self, output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "..."]:
        soft = target.is_floating_point() and target.shape == output.shape
        if not soft:
            _check_class_numbers(output, target)
            target = target.long()
        weights = None if self.class_weights is None else self._weights_for(output)
        try:
            return self._loss(output, target, weights, soft)
        except IndexError as error:
            raise RecipeError(_outside(output, target)) from error

    def _loss(self, output: Tensor, target: Tensor, weights: Tensor | None, soft: bool) -> Tensor:
        positions = output[0, 0].numel() if len(output) else 1
        if self.reduction == "mean" and (weights is None or soft):
            mean = F.cross_entropy(output, target, weights, label_smoothing=self.label_smoothing)
            return mean if positions == 1 else mean * positions
        values = F.cross_entropy(output, target, weights, reduction="none", label_smoothing=self.label_smoothing)
        if self.reduction == "none" or weights is None:
            return _per_example(values)
        # torch's own weighted mean of smoothed class numbers is the one form that vmap refuses
        return values.sum() / (weights[target.clamp(min=0)] * (target != NO_LABEL)).sum() * positions

    def _weights_for(self, output: Tensor) -> Tensor:
        assert self.class_weights is not None
        if len(self.class_weights) != output.shape[1]:
            raise RecipeError(
                f"Categorical: {len(self.class_weights)} class weights for an output {tuple(output.shape)} of "
                f"{output.shape[1]} classes. Give one weight for each class, or a model with as many outputs as "
                "classes."
            )
        return self.class_weights.to(output.dtype)

    def extra_repr(self) -> str:
        weights = "" if self.class_weights is None else f", class_weights={self.class_weights.tolist()}"
        return f"label_smoothing={self.label_smoothing}{weights}, reduction={self.reduction!r}"


def _per_example(values: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    return values.flatten(1).sum(1) if values.dim() > 1 else values


def _reduced(values: Float[Tensor, " batch"], reduction: str) -> Float[Tensor, "..."]:
    return values if reduction == "none" else values.mean()


def _mean_and_log_variance(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    columns = target.shape[1] if target.dim() > 1 else 1
    if output.dim() < 2 or output.shape[1] != 2 * columns:
        raise RecipeError(
            f"Gaussian: the output has shape {tuple(output.shape)} for a target {tuple(target.shape)}, but with "
            f"variance='learned' it needs {2 * columns} columns: a mean and a log variance for each of the target's "
            f"{columns}. Give the model {2 * columns} outputs, or say variance=1.0."
        )
    mean, log_variance = output.chunk(2, dim=1)
    return (mean.squeeze(1), log_variance.squeeze(1)) if target.dim() == 1 else (mean, log_variance)


def _check_same_shape(loss: str, output: Tensor, target: Tensor) -> None:
    if output.shape == target.shape:
        return
    if output.shape == (*target.shape, 1):
        mend = (
            "Give the target a column, target.unsqueeze(1), or drop the output's, nn.Sequential(model, nn.Flatten(0))."
        )
    elif target.shape == (*output.shape, 1):
        mend = "Drop the target's last axis: target.squeeze(1)."
    else:
        mend = "Give the model as many outputs as an example has target values."
    raise RecipeError(
        f"{loss}: the output has shape {tuple(output.shape)} and the target {tuple(target.shape)}, but they must be "
        f"the same: otherwise each output would be compared with every target. {mend}"
    )


def _check_unit_interval(target: Tensor) -> None:
    """Looks at values, which `vmap` and `torch.compile` do not allow: there the check is passed over."""
    if torch.compiler.is_compiling():
        return
    try:
        low, high = (bound.item() for bound in torch.aminmax(target)) if target.numel() else (0.0, 1.0)
    except RuntimeError:
        return
    if low < 0 or high > 1:
        raise RecipeError(
            f"Bernoulli: targets lie between {low:g} and {high:g}, but they are 0 for no, 1 for yes, or shares "
            "between. Map labels -1 and 1 by (target + 1) / 2, labels 1 and 2 by target - 1; for several classes use "
            "Categorical."
        )


def _check_class_numbers(output: Tensor, target: Tensor) -> None:
    expected = (output.shape[0], *output.shape[2:])
    if output.dim() < 2 or tuple(target.shape) != expected:
        raise RecipeError(
            f"Categorical: the logits have shape {tuple(output.shape)} and the target {tuple(target.shape)}, but "
            "logits (batch, classes, ...) go with class numbers (batch, ...)"
            + (f", here {expected}. " if output.dim() > 1 else ". ")
            + ("Drop the target's last axis: target.squeeze(1)." if tuple(target.shape) == (*expected, 1) else "")
            + ("A model with one output per example is for Bernoulli." if output.dim() < 2 else "")
        )
    if target.is_floating_point():
        raise RecipeError(
            f"Categorical: the target {tuple(target.shape)} holds {str(target.dtype).removeprefix('torch.')}, but "
            "class numbers are whole. Say target.long(); shares of the classes have the logits' shape, here "
            f"{tuple(output.shape)}; for numbers to be predicted use Gaussian."
        )


def _outside(output: Tensor, target: Tensor) -> str:
    known = target[target != NO_LABEL]
    low, high, classes = int(known.min()), int(known.max()), output.shape[1]
    mend = "Subtract 1 from the target" if low == 1 and high == classes else f"Give the model {high + 1} outputs"
    return (
        f"Categorical: class numbers run from {low} to {high}, but the output {tuple(output.shape)} has {classes} "
        f"classes, 0 to {classes - 1}. "
        + (f"{mend}." if low >= 0 else f"Count classes from 0; {NO_LABEL} marks a missing label.")
    )


def _checked_reduction(reduction: str) -> str:
    if reduction not in ("mean", "none"):
        raise RecipeError(
            f"reduction is {reduction!r}, but a likelihood gives the 'mean' over the batch, or 'none' for one value "
            "for each example. For a sum, call .sum() on those values."
        )
    return reduction
