r"""Calibration: whether 80 % of the predictions made with 80 % confidence are right.

The confidence of an example is the probability of its likeliest class. In bins $B$ of confidence, the expected
calibration error is

$$ \mathrm{ECE} = \sum_B \frac{|B|}{n} \, \big| \mathrm{accuracy}(B) - \mathrm{confidence}(B) \big| $$

(Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3). Outputs are logits, as in
`thalweg.measure.metrics`.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.measure.classes import as_classes

COLDEST, HOTTEST = 0.01, 100.0


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of confidence, from 0 to 1 in equal steps; an empty bin has count 0, confidence and accuracy NaN.

    >>> table = reliability(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 0]), bins=5)
    >>> table.count.tolist()  # confidences 0.73 and 0.95
    [0, 0, 0, 1, 1]
    """

    confidence: Float[Tensor, " bins"]
    accuracy: Float[Tensor, " bins"]
    count: Int[Tensor, " bins"]


def reliability(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."], bins: int = 15) -> Reliability:
    """Mean confidence, accuracy and number of examples in each of `bins` equal bins of confidence.

    A bin holds its lower edge, the last one both. Raises `RecipeError` for fewer than one bin.

    >>> reliability(torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 0.1]]), torch.tensor([0, 1, 1]), bins=2)
    Reliability(confidence=tensor([   nan, 0.8199]), accuracy=tensor([   nan, 0.6667]), count=tensor([0, 3]))
    """
    if bins < 1:
        raise RecipeError(
            f"reliability: bins is {bins!r}, but confidences go into at least one bin. Give for instance bins=15."
        )
    logits, labels = as_classes(output, target)
    confidence, guess = logits.softmax(dim=1).max(dim=1)
    inner_edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)[1:-1]
    where = torch.bucketize(confidence, inner_edges, right=True)
    count = torch.zeros(bins, dtype=torch.int64, device=where.device).index_add(0, where, torch.ones_like(where))
    empty = confidence.new_zeros(bins)
    total_confidence = empty.index_add(0, where, confidence)
    hits = empty.index_add(0, where, (guess == labels).to(confidence.dtype))
    return Reliability(total_confidence / count, hits / count, count)


def expected_calibration_error(
    output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."], bins: int = 15
) -> Float[Tensor, ""]:
    """The mean distance of accuracy from confidence over `reliability`'s bins, between 0 and 1; NaN for NaN logits.

    >>> logits = torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 0.1]])
    >>> expected_calibration_error(logits, torch.tensor([0, 1, 1]), bins=2)
    tensor(0.1532)
    """
    table = reliability(output, target, bins)
    distance = (table.accuracy - table.confidence).abs() * table.count / table.count.sum()
    return torch.where(table.count > 0, distance, 0).sum()


def temperature(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> float:
    r"""The temperature T that makes $\mathrm{softmax}(z / T)$ likeliest; fit it on validation, never on training data.

    With $b = 1/T$ the mean negative log-likelihood is convex; its slope and curvature are

    $$ \frac{1}{n} \sum_i \big( E_{p_i}[z] - z_{i, y_i} \big), \qquad \frac{1}{n} \sum_i \mathrm{Var}_{p_i}[z], $$

    so Newton's method finds b, cutting the bracket where a step would leave it (Guo et al. 2017, section 4.2). Between
    0.01 and 100: where all predictions are right no temperature is cold enough. 1 where all logits are equal, NaN for
    logits that are not finite numbers.

    >>> temperature(torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))  # sigmoid(2 / T) = 3 / 4
    1.82...
    """
    logits, labels = as_classes(output, target)
    z = logits.double()
    z = z - z.gather(1, labels[:, None])
    if not bool(z.isfinite().all()):
        return math.nan
    if bool((z == 0).all()):
        return 1.0
    if _slope_and_curvature(z, 1 / COLDEST)[0] <= 0:
        return COLDEST
    if _slope_and_curvature(z, 1 / HOTTEST)[0] >= 0:
        return HOTTEST
    return 1 / _root(z, 1 / HOTTEST, 1 / COLDEST)


def advised_temperature(output: Float[Tensor, "batch ..."], target: Shaped[Tensor, "batch ..."]) -> float:
    """The likeliest temperature where it lowers the calibration error too, else 1, which changes nothing.

    1 as well where the likeliest one is at an end of its range: where all predictions are right or all logits noise,
    there is none to fit.

    >>> advised_temperature(torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))
    1.82...
    >>> advised_temperature(torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 0]))
    1.0
    """
    fitted = temperature(output, target)
    if not COLDEST * 1.01 < fitted < HOTTEST / 1.01:
        return 1.0
    before, after = (expected_calibration_error(as_classes(output, target)[0] / heat, target) for heat in (1.0, fitted))
    return fitted if after < before else 1.0


def _root(z: Float[Tensor, "batch classes"], low: float, high: float) -> float:
    """Where the slope is 0, between a b where it is negative and one where it is positive."""
    b = 1.0
    for _ in range(100):
        slope, curvature = _slope_and_curvature(z, b)
        low, high = (low, b) if slope > 0 else (b, high)
        step = b - slope / curvature if curvature > 0 else math.inf
        previous, b = b, step if low < step < high else math.sqrt(low * high)
        if abs(b - previous) <= 1e-9 * b:
            break
    return b


def _slope_and_curvature(z: Float[Tensor, "batch classes"], b: float) -> tuple[float, float]:
    """Of the mean negative log-likelihood in b, for logits relative to the true class's."""
    p = (b * z).softmax(dim=1)
    mean = (p * z).sum(dim=1, keepdim=True)
    return mean.mean().item(), (p * (z - mean).square()).sum(dim=1).mean().item()
