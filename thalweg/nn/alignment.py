r"""Alignments that only go forward: where reading stops, as probabilities, and what is read before each stop.

At output step $i$ reading goes on from where it stopped before and stops at position $j$ with probability $p_{ij}$
(Raffel, Luong, Liu, Weiss & Eck, "Online and Linear-Time Attention by Enforcing Monotonic Alignments", 2017, equations
9, 13 and 14). The probability $\alpha_{ij}$ to stop there, in all ways that lead there, is

$$ \alpha_{ij} = p_{ij}\, q_{ij}, \qquad q_{ij} = (1 - p_{i,j-1})\, q_{i,j-1} + \alpha_{i-1,j} $$

where $\alpha_0$ is 1 at the first position. With $p$ of 0 and 1 it is the walk itself. The paper divides by cumulative
products of $1 - p$, which it clips at 1e-10 so that gradients are finite; what stood behind a product below that is
lost, as at $p = .5$ after 34 positions. Here the recursion is done in $\log_2$ of the source's length rounds, each for
all positions at once (Hillis & Steele, "Data Parallel Algorithms", 1986): nothing is divided or clipped, and all
products are of numbers in [0, 1].
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from thalweg.nn.knobs import check_count


def expected_alignment(
    stopping: Float[Tensor, "*row source"], before: Float[Tensor, "*row source"]
) -> Float[Tensor, "*row source"]:
    r"""$\alpha_i$ by $p_i$ and $\alpha_{i-1}$; it sums to what does not run off the end.

    Equations 13 and 14 of Raffel et al. (2017), in float32 or more.

    >>> expected_alignment(torch.tensor([0.5, 0.5, 1.0]), torch.tensor([1.0, 0.0, 0.0]))
    tensor([0.5000, 0.2500, 0.2500])
    >>> expected_alignment(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1.0]))  # it does not go back
    tensor([0., 0., 1.])
    """
    kind = torch.promote_types(torch.float32, stopping.dtype)
    stopping, reached = stopping.to(kind), before.to(kind)
    passing, apart = _later(1 - stopping, 1), 1
    while apart < stopping.shape[-1]:
        reached = reached + passing * _later(reached, apart)
        passing = passing * _later(passing, apart)
        apart *= 2
    return stopping * reached


def monotonic_alignment(stopping: Float[Tensor, "*batch target source"]) -> Float[Tensor, "*batch target source"]:
    """The expected alignment of all steps, where all probabilities to stop are known.

    >>> monotonic_alignment(torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [0., 0., 1.]])
    """
    place = torch.arange(stopping.shape[-1], device=stopping.device)
    before, rows = (place == 0).to(stopping.dtype).expand(stopping[..., 0, :].shape), []
    for step in stopping.unbind(-2):
        before = expected_alignment(step, before)
        rows.append(before)
    return torch.stack(rows, -2) if rows else stopping


def chunkwise_weights(
    alignment: Float[Tensor, "*row source"], scores: Float[Tensor, "*row source"], chunk: int
) -> Float[Tensor, "*row source"]:
    r"""Soft attention over the `chunk` positions that end where reading stops.

    $$ \beta_j = \sum_{k=j}^{j+w-1} \alpha_k \frac{e^{u_j}}{\sum_{l=k-w+1}^{k} e^{u_l}} $$

    (Chiu & Raffel, "Monotonic Chunkwise Attention", 2018.) Every chunk has a softmax of its own, so that
    scores far above those of a chunk do no harm; the first positions have shorter chunks. The weights sum to what the
    alignment does. Raises `RecipeError` for a chunk below 1.

    >>> chunkwise_weights(torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.zeros(4), chunk=2)
    tensor([0.0000, 0.5000, 0.5000, 0.0000])
    """
    check_count("chunkwise_weights", "chunk", chunk)
    kind = torch.promote_types(torch.float32, scores.dtype)
    scores, alignment = scores.to(kind), alignment.to(kind)
    place, lowest = torch.arange(scores.shape[-1], device=scores.device), torch.finfo(kind).min
    back = range(chunk)
    ends = torch.stack([_later(scores, far).masked_fill(place < far, lowest) for far in back], -1)
    shares = alignment[..., None] * ends.softmax(-1)
    return torch.stack([_earlier(shares[..., far], far) for far in back]).sum(0)


def _later(x: Tensor, by: int) -> Tensor:
    """Each number at a later position, zeros before them."""
    by = min(by, x.shape[-1])
    return F.pad(x[..., : x.shape[-1] - by], (by, 0))


def _earlier(x: Tensor, by: int) -> Tensor:
    """Each number at an earlier position, zeros behind them."""
    by = min(by, x.shape[-1])
    return F.pad(x[..., by:], (0, by))
