r"""The risk $1 - \mathbb{E}_{y \sim p(\cdot \mid x)}\, r(y)$ by some outputs of a batch, with the gradient of a method.

`thalweg.loss.reward` says which outputs these are, and what the methods do.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.tokens import NO_TARGET, PADDING, START

Row = tuple[int, ...]
"""An output as it was chosen: its tokens, and `END` behind them where that was chosen too."""


class Candidates(NamedTuple):
    """Distinct outputs of the examples of a batch, one behind the other: whose each is, its reward, how often drawn."""

    rows: list[Row]
    examples: Int[Tensor, " row"]
    rewards: Float[Tensor, " row"]
    counts: Float[Tensor, " row"]

    def take(self, kept: Tensor) -> "Candidates":
        """Some of them; the first where there would be none."""
        places = kept.nonzero()[:, 0] if bool(kept.any()) else kept.new_zeros(1, dtype=torch.int64)
        return Candidates([self.rows[place] for place in places.tolist()], *(part[places] for part in self[1:]))


def self_critical(
    model: nn.Module,
    inputs: Mapping[str, Any],
    found: Candidates,
    baseline: Float[Tensor, " row"],
    temperature: float = 1.0,
) -> Float[Tensor, " batch"]:
    """1 minus the mean reward of what was drawn, with REINFORCE's gradient against a baseline of each row.

    A row that was never drawn, or whose reward is its baseline, adds nothing and is not computed.
    """
    drawn = found.counts / _totals(found, found.counts)[found.examples]
    ahead = drawn * (found.rewards - baseline)
    risk = 1 - _totals(found, drawn * found.rewards)
    some = found._replace(counts=ahead).take(ahead != 0)
    surrogate = -some.counts * log_likelihoods(model, inputs, some.rows, some.examples, temperature)
    surrogate = torch.zeros_like(risk, dtype=surrogate.dtype).index_add(0, some.examples, surrogate)
    return risk + surrogate - surrogate.detach()


def others(found: Candidates) -> Float[Tensor, " row"]:
    r"""For each row the mean reward of the other samples of its example, $\frac{1}{K-1} \sum_{j \ne k} r(y_j)$.

    >>> rows = Candidates([(4,), (5,)], torch.tensor([0, 0]), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0]))
    >>> others(rows)  # beside the first there are two of 0; beside each of these a 1 and a 0
    tensor([0.0000, 0.5000])
    """
    low, _ = _range(found)
    above = found.rewards - low[found.examples]  # so that equal rewards leave nothing, not even a rounding
    total, count = (_totals(found, part)[found.examples] for part in (found.counts * above, found.counts))
    return low[found.examples] + (total - above) / (count - 1)


def _range(found: Candidates) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The lowest and the highest reward of each example."""
    start = found.rewards.new_zeros(int(found.examples.max()) + 1)
    low, high = (
        start.scatter_reduce(0, found.examples, found.rewards, how, include_self=False) for how in ("amin", "amax")
    )
    return low, high


def _totals(found: Candidates, values: Float[Tensor, " row"]) -> Float[Tensor, " batch"]:
    """The sum over the rows of each example."""
    return values.new_zeros(int(found.examples.max()) + 1).index_add(0, found.examples, values)


def minimum_risk(
    model: nn.Module, inputs: Mapping[str, Any], found: Candidates, sharpness: float = 0.005
) -> Float[Tensor, " batch"]:
    """1 minus the expected reward over the subset that was found, renormalized.

    An example all of whose candidates have one reward has that whatever the model says, and is not computed.
    """
    low, high = _range(found)
    some = found.take((low != high)[found.examples])
    present, owner = some.examples.unique(return_inverse=True)
    place = torch.arange(len(owner), device=owner.device) - torch.searchsorted(owner, owner)
    shape = len(present), int(place.max()) + 1
    sharpened = sharpness * log_likelihoods(model, inputs, some.rows, some.examples)
    table = sharpened.new_full(shape, -torch.inf).index_put((owner, place), sharpened)
    worth = sharpened.new_zeros(shape).index_put((owner, place), some.rewards.to(sharpened.dtype))
    return (1 - low).to(table.dtype).index_put((present,), 1 - (table.softmax(1) * worth).sum(1))


def log_likelihoods(
    model: nn.Module,
    inputs: Mapping[str, Any],
    rows: Sequence[Row],
    examples: Int[Tensor, " row"],
    temperature: float = 1.0,
) -> Float[Tensor, " row"]:
    """The log-probability of choosing each row for its example, in nats: all by one pass, as in training.

    A row without its `END` is one at whose end nothing was left to choose. `PADDING` and `START` cannot be chosen.
    """
    longest = max(1, *map(len, rows))
    padded = [[*row, *[NO_TARGET] * (longest - len(row))] for row in rows]
    targets = torch.tensor(padded, device=examples.device)
    prefix = F.pad(targets[:, :-1].masked_fill(targets[:, :-1] == NO_TARGET, PADDING), (1, 0), value=START)
    repeated = {name: part.index_select(0, examples) for name, part in inputs.items()}
    scores = model(**repeated, prefix=prefix)
    scores = scores if scores.dtype == torch.float64 else scores.float()
    never = torch.tensor([PADDING, START], device=scores.device)
    policy = scores.index_fill(2, never, -torch.inf).flatten(0, 1) / temperature
    return -F.cross_entropy(policy, targets.flatten(), reduction="none").view(targets.shape).sum(1)
