r"""Power normalization: each feature divided by the root of its running mean square, in training as in evaluation.

Batch norm divides by the batch's own deviation, which in text jumps from batch to batch. Power normalization (Shen et
al., "PowerNorm: Rethinking Batch Normalization in Transformers", 2020, algorithm 2) subtracts no mean, and divides by
what earlier batches had. With $\psi^2_B = \frac1B \sum_i x_i^2$ of the batch, for each feature,

$$ \hat x_i = x_i / \psi, \quad y_i = \gamma \hat x_i + \beta, \quad
   \psi^2 := \psi^2 + (1 - \alpha)(\psi^2_B - \psi^2) . $$

Were $\psi = \psi_B$ (the paper's PN-V), the gradient with respect to the inputs would be exactly
$(g_i - \Lambda \hat x_i) / \psi$ with $g_i = \gamma\, \partial L / \partial y_i$ and
$\Lambda = \frac1B \sum_i g_i \hat x_i$. With the running $\psi$ a running $\nu$ stands for $\Lambda$:

$$ \partial L / \partial x_i \approx (g_i - \nu \hat x_i) / \psi, \quad
   \nu := \nu\,(1 - (1 - \alpha)\,\Gamma) + (1 - \alpha)\,\Lambda, \quad \Gamma = \frac1B \sum_i \hat x_i^2 . $$

The fixed point of $\nu$ is $\Lambda / \Gamma$, by which the gradient is at a right angle to $\hat x$, as in PN-V. A
batch with $\Gamma > 2 / (1 - \alpha)$ would throw it out: group scaling, each example divided by the root of its own
mean square over a group of features, stands before it and bounds what a batch can be. Without it training is reported
to end in NaN (sIncerass/powernorm, issues 2 and 15).

Two things are ours. In the first `warm_up` steps the batch's own $\psi_B$ is used, as in the authors' code, but with
the exact gradient, by the batch's own $\Lambda$; and until $1 / t < 1 - \alpha$ the running values are plain means of
what was seen, so that they do not start from a guess.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import sent
from thalweg.nn.knobs import check_count


class PowerNorm(nn.Module):
    r"""Power normalization of `features` along an axis: the last (`axis=-1`), or the second (`axis=1`) of images.

    `(batch, features)`, `(batch, length, features)` or, with `axis=1`, `(batch, features, height, width)` in, the same
    out. `mask`, of the input's shape without its features, is True where there is a token: all else stays out of every
    statistic, comes out as 0 and gets no gradient. `groups` is into how many groups of features group scaling divides
    (None leaves it out), `alpha` how much of the running values a step keeps, `warm_up` the number of steps with the
    batch's own statistics. Running values are buffers; `running_gradient`, the $\nu$ of the backward pass, changes in
    it, so that a gradient of a gradient is refused by torch. Raises `RecipeError` for a knob out of its range and for
    an input or mask of another shape.

    >>> norm = PowerNorm(3, groups=None, warm_up=1)
    >>> x = torch.tensor([[1.0, 2.0, 3.0], [1.0, -2.0, 3.0]])
    >>> norm(x).round(decimals=3).tolist(), norm.running_square.tolist()
    ([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]], [1.0, 4.0, 9.0])
    >>> norm(10 * x)[0].round(decimals=3).tolist()  # divided by what was seen before
    [10.0, 10.0, 10.0]
    """

    running_square: Tensor
    running_gradient: Tensor
    steps: Tensor

    def __init__(
        self,
        features: int,
        *,
        axis: int = -1,
        groups: int | None = 1,
        alpha: float = 0.9,
        warm_up: int = 100,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        _check_knobs(features, axis, groups, alpha, warm_up, eps)
        self.features, self.axis, self.groups = features, axis, groups
        self.alpha, self.warm_up, self.eps = alpha, warm_up, eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_square", torch.ones(features))
        self.register_buffer("running_gradient", torch.zeros(features))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @no_type_check
    def forward(self, x: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None) -> Float[Tensor, "..."]:
        """The normalized input, of its shape and type."""
        running = Running(self.running_square, self.running_gradient, self.steps)
        settings = Settings(self.features, self.axis, self.groups, self.alpha, self.warm_up, self.eps)
        return power_norm(x, self.weight, self.bias, running, settings, self.training, mask)

    def extra_repr(self) -> str:
        """What tells one from another in a printed model."""
        return f"{self.features}, axis={self.axis}, groups={self.groups}, alpha={self.alpha}, warm_up={self.warm_up}"


class Settings(NamedTuple):
    """What a power norm is built with."""

    features: int
    axis: int = -1
    groups: int | None = 1
    alpha: float = 0.9
    warm_up: int = 100
    eps: float = 1e-5


class Running(NamedTuple):
    r"""What it keeps from step to step, changed in place: $\psi^2$, $\nu$, and how many steps it has seen."""

    square: Tensor
    gradient: Tensor
    steps: Tensor


def _check_knobs(features: int, axis: int, groups: int | None, alpha: float, warm_up: int, eps: float) -> None:
    check_count("PowerNorm", "features", features)
    check_count("PowerNorm", "warm_up", warm_up, least=0)
    if axis not in (-1, 1):
        raise RecipeError(
            f"PowerNorm: axis is {axis!r}, but features lie along the last axis, axis=-1, or along the second of "
            "images, axis=1."
        )
    if groups is not None:
        check_count("PowerNorm", "groups", groups)
        if features % groups:
            raise RecipeError(
                f"PowerNorm: {features} features do not divide into groups={groups} of one size. Give a divisor of "
                f"{features}, such as groups=1."
            )
    for knob, value, least, most in (("alpha", alpha, 0, 1), ("eps", eps, 0, float("inf"))):
        if not (isinstance(value, int | float) and least <= value < most):
            raise RecipeError(
                f"PowerNorm: {knob} is {value!r}, but it must be at least {least} and below {most}. Give for instance "
                f"{knob}={Settings._field_defaults[knob]:g}."
            )


def power_norm(
    x: Tensor, weight: Tensor, bias: Tensor, running: Running, settings: Settings, training: bool, mask: Tensor | None
) -> Tensor:
    """Power normalization as a function of its weights and running values, which training changes in place.

    Shapes are those of `PowerNorm`. A function of its own, so that `torch.fx` keeps it whole.
    """
    _check_shapes(x, settings, mask)
    kind = x.dtype
    wide = x.to(torch.promote_types(kind, weight.dtype)).movedim(settings.axis, -1)
    real = None if mask is None else mask.unsqueeze(-1)
    wide = wide if real is None else wide.masked_fill(~real, 0)
    scaled = wide if settings.groups is None else group_scaling(wide, settings.groups, settings.eps)
    hidden = _trained(scaled, running, settings, real) if training else scaled * _scale(running.square, settings.eps)
    output = hidden * weight + bias
    output = output if real is None else output.masked_fill(~real, 0)
    return output.movedim(-1, settings.axis).to(kind)


torch.fx.wrap("power_norm")


def group_scaling(x: Float[Tensor, "... features"], groups: int, eps: float) -> Float[Tensor, "... features"]:
    r"""Each example's features over the root of their mean square in a group: $x / \sqrt{\overline{x^2} + \epsilon}$.

    >>> group_scaling(torch.tensor([[3.0, 3.0, 5.0, 5.0]]), groups=2, eps=0.0)
    tensor([[1., 1., 1., 1.]])
    """
    parts = x.unflatten(-1, (groups, -1))
    return (parts * _scale(parts.square().mean(-1, keepdim=True), eps)).flatten(-2)


def _scale(square: Tensor, eps: float) -> Tensor:
    """What divides by the root of a mean square."""
    return (square + eps).rsqrt()


def _trained(x: Tensor, running: Running, settings: Settings, real: Tensor | None) -> Tensor:
    """Normalize by the running mean square, and let it take in this batch; an empty batch changes nothing."""
    count = _count(x, real)
    with torch.no_grad():
        seen = (count > 0).to(running.steps.dtype)
        running.steps.add_(seen)
        square = _mean(x * x, count)
        warming = running.steps <= settings.warm_up
        used = torch.where(warming, square, running.square)
        rate = seen * torch.clamp(1 / running.steps.clamp(min=1).to(x.dtype), min=1 - settings.alpha)
        running.square.copy_(running.square + rate * (square - running.square))
    normalized: Tensor = _Normalized.apply(x, used, running.gradient, warming, rate, count, settings.eps)
    return normalized


def _count(x: Tensor, real: Tensor | None) -> Tensor:
    return sent(x.shape[:-1].numel(), x) if real is None else real.sum().to(x.dtype)


def _mean(values: Tensor, count: Tensor) -> Tensor:
    """The mean over all axes but the last, of `count` positions; the others hold 0."""
    return values.flatten(0, -2).sum(0) / count.clamp(min=1)


class _Normalized(torch.autograd.Function):
    r"""$x / \psi$ with the gradient above; $\nu$ takes in the gradient of the batch when it comes back."""

    @staticmethod
    def forward(ctx: Any, x: Any, square: Any, nu: Any, warming: Any, rate: Any, count: Any, eps: float) -> Tensor:
        scale = _scale(square, eps)
        normalized: Tensor = x * scale
        ctx.nu = nu
        ctx.save_for_backward(normalized, scale, warming, rate, count)
        return normalized

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            raise RecipeError(
                "A gradient of PowerNorm's gradient was asked for, but that is an estimate by running values and has "
                "none. Take a norm that is differentiated exactly: normalization('rms', ...) or 'layer'."
            )
        (gradient,) = gradients
        normalized, scale, warming, rate, count = ctx.saved_tensors
        along = _mean(gradient * normalized, count)
        length = _mean(normalized * normalized, count)
        used = torch.where(warming, along, ctx.nu)
        result = (gradient - used * normalized) * scale
        ctx.nu.copy_(ctx.nu * (1 - rate * length) + rate * along)
        return result, None, None, None, None, None, None


def _check_shapes(x: Tensor, settings: Settings, mask: Tensor | None) -> None:
    axis, features = settings.axis, settings.features
    if x.dim() < 2 or x.shape[axis] != features or not x.is_floating_point():
        raise RecipeError(
            f"PowerNorm was given {str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}, but needs real "
            f"numbers with {features} features along axis {axis}, the first axis being the batch. Build it with the "
            "input's number of features, and with axis=1 where they come second, as the channels of images do."
        )
    rest = x.movedim(axis, -1).shape[:-1]
    if mask is not None and (mask.shape != rest or mask.dtype != torch.bool):
        raise RecipeError(
            f"PowerNorm: the mask is {str(mask.dtype).removeprefix('torch.')} of shape {tuple(mask.shape)}, but must "
            f"be bool of the input's shape without its features, {tuple(rest)}: True where there is a token."
        )
