r"""The best tokens to go on with, of all beams of an example at once.

A candidate's log-likelihood grows with its score, $\log p(y_{<t}) + s_v - \log \sum_u e^{s_u}$. So a row is cut into
blocks, and the largest score of each stands for it: the $k$ best candidates of an example lie in the $k$ best blocks of
all its rows, as those of one row do (`thalweg.decode.largest`), and only these are looked into. Scores are read once,
and one choice is made for each example where there would be one for each beam.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.decode.largest import maxima, ordered
from thalweg.decode.tree import Chosen

BLOCK = 64


class Blocks(NamedTuple):
    """How a vocabulary is cut, and which of its tokens may not come."""

    size: int
    starts: Int[Tensor, " block"]
    """The first token that is read of each block: so many as `size` from there on; the last block begins earlier."""
    out: Bool[Tensor, "block place"]
    """What is not wanted of it, or is in the block before."""
    touched: Int[Tensor, " some"]
    """The blocks with tokens that are not wanted."""

    @staticmethod
    def of(vocabulary: int, unwanted: Int[Tensor, " out"]) -> "Blocks":
        """Those of a vocabulary; in a small one each token is a block.

        >>> Blocks.of(1000, torch.tensor([0, 70])).touched
        tensor([0, 1])
        """
        size = BLOCK if vocabulary >= 4 * BLOCK else 1
        firsts = torch.arange(0, vocabulary, size, device=unwanted.device)
        starts = firsts.clamp(max=vocabulary - size)
        tokens = starts[:, None] + torch.arange(size, device=unwanted.device)
        out = torch.zeros(vocabulary, dtype=torch.bool, device=unwanted.device).index_fill_(0, unwanted, True)
        return Blocks(size, starts, out[tokens] | (tokens < firsts[:, None]), (unwanted // size).unique())

    def maxima(self, scores: Float[Tensor, "row token"]) -> Float[Tensor, "row block"]:
        """The largest score of each block, wanted or not.

        >>> Blocks.of(1000, torch.tensor([0, 70])).maxima(torch.zeros(2, 1000)).shape
        torch.Size([2, 16])
        """
        return maxima(scores, self.size)

    def best(
        self,
        scores: Float[Tensor, "row token"],
        highest: Float[Tensor, "row block"],
        normalizer: Float[Tensor, " row"],
        totals: Float[Tensor, "example beam"],
    ) -> Chosen:
        """As many candidates of each example as it has beams, the best.

        `highest` are the scores' `maxima`, `totals` what each beam has, minus infinity for one that holds nothing. Of
        equal candidates the one from the better beam comes first, of one beam the smaller token.

        >>> scores, totals = torch.tensor([[0.0, 3.0, 2.0], [0.0, 0.0, 5.0]]), torch.tensor([[0.0, -4.0]]).double()
        >>> Blocks.of(3, torch.tensor([1])).best(scores, scores, torch.zeros(2).double(), totals)
        Chosen(totals=tensor([[2., 1.]], dtype=torch.float64), parents=tensor([[0, 1]]), tokens=tensor([[2, 2]]))
        """
        (rows, length), beams, count = scores.shape, totals.shape[1], len(self.starts)
        before = totals.flatten()
        touched = scores.unfold(1, self.size, 1)[:, self.starts[self.touched]]
        wanted = touched.masked_fill(self.out[self.touched], -torch.inf).amax(2)
        highest = _added(highest.index_copy(1, self.touched, wanted), normalizer[:, None], before[:, None])
        chosen = ordered(highest.view(-1, beams * count), beams)[1].sort(1).values
        parents, block = chosen // count, (chosen % count).flatten()
        row = (parents + torch.arange(0, rows, beams, device=scores.device)[:, None]).flatten()
        starts = self.starts[block]
        values = scores.reshape(-1).unfold(0, self.size, 1)[row * length + starts]
        values = values.masked_fill(self.out[block], -torch.inf)
        found = _added(values, normalizer[row][:, None], before[row][:, None]).view(len(totals), -1)
        found, place = ordered(found, beams)
        which, within = place // self.size, place % self.size
        return Chosen(found, parents.gather(1, which), starts.view_as(chosen).gather(1, which) + within)


def _added(values: Tensor, normalizer: Tensor, totals: Tensor) -> Tensor:
    """Log-likelihoods with one more token; minus infinity where a beam holds nothing, whatever its scores."""
    return (totals + (values - normalizer)).masked_fill(totals == -torch.inf, -torch.inf)
