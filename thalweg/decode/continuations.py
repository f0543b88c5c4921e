r"""The best tokens to go on with, of all beams of an example at once.

A candidate's log-likelihood grows with its score, $\log p(y_{<t}) + s_v - \log \sum_u e^{s_u}$. So a row is cut into
blocks, and the largest score of each stands for it: the $k$ best candidates of an example lie in the $k$ best blocks of
all its rows, as those of one row do (`thalweg.decode.largest`), and only these are looked into. Scores are read once,
and one choice is made for each example where there would be one for each beam.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.decode.largest import maxima, ordered
from thalweg.decode.tree import Chosen

BLOCK = 64


def block_maxima(scores: Float[Tensor, "row token"]) -> Float[Tensor, "row block"]:
    """The largest score of each block of tokens; in a small vocabulary each token is a block.

    >>> block_maxima(torch.zeros(2, 1000)).shape
    torch.Size([2, 16])
    """
    return maxima(scores, _size(scores))


def best_continuations(
    scores: Float[Tensor, "row token"],
    blocks: Float[Tensor, "row block"],
    normalizer: Float[Tensor, " row"],
    totals: Float[Tensor, "example beam"],
    unwanted: Int[Tensor, " out"],
) -> Chosen:
    """As many candidates of each example as it has beams, the best; those of `unwanted` tokens are out.

    `blocks` are `block_maxima` of the scores, `totals` what each beam has, minus infinity for one that holds nothing.
    Of equal candidates the one from the better beam comes first, of one beam the smaller token.

    >>> scores, totals = torch.tensor([[0.0, 3.0, 2.0], [0.0, 0.0, 5.0]]), torch.tensor([[0.0, -4.0]]).double()
    >>> best_continuations(scores, block_maxima(scores), torch.zeros(2).double(), totals, torch.tensor([1]))
    Chosen(totals=tensor([[2., 1.]], dtype=torch.float64), parents=tensor([[0, 1]]), tokens=tensor([[2, 2]]))
    """
    length, size, count, beams = scores.shape[1], _size(scores), blocks.shape[1], totals.shape[1]
    out = torch.zeros(count * size, dtype=torch.bool, device=scores.device).index_fill_(0, unwanted, True)
    out[length:] = True
    inside = torch.arange(size, device=scores.device)
    touched = (unwanted // size).unique()
    places = (touched[:, None] * size + inside).flatten()
    rest = scores.index_select(1, places.clamp(max=length - 1)).masked_fill(out[places], -torch.inf)
    wanted = blocks.index_copy(1, touched, rest.unflatten(1, (-1, size)).amax(2))
    before = totals.flatten()
    chosen = ordered(_added(wanted, normalizer[:, None], before[:, None]).view(-1, beams * count), beams)[1]
    chosen = chosen.sort(1).values
    row = chosen // count + torch.arange(0, len(scores), beams, device=scores.device)[:, None]
    row = row.repeat_interleave(size, 1)
    tokens = ((chosen % count)[:, :, None] * size + inside).flatten(1)
    values = scores[row, tokens.clamp(max=length - 1)].masked_fill(out[tokens], -torch.inf)
    found, place = ordered(_added(values, normalizer[row], before[row]), beams)
    return Chosen(found, row.gather(1, place) % beams, tokens.gather(1, place))


def _added(values: Tensor, normalizer: Tensor, totals: Tensor) -> Tensor:
    """Log-likelihoods with one more token; minus infinity where a beam holds nothing, whatever its scores."""
    return (totals + (values - normalizer)).masked_fill(totals == -torch.inf, -torch.inf)


def _size(scores: Tensor) -> int:
    return BLOCK if scores.shape[1] >= 4 * BLOCK else 1
