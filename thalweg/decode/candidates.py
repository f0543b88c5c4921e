"""What may go on from the beams of a batch, and which of it is kept."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.core.tokens import END
from thalweg.decode.largest import largest
from thalweg.decode.required import Required
from thalweg.decode.rules import Rules
from thalweg.decode.tree import Chosen


class Candidates(NamedTuple):
    """Tokens that go on from each beam; a log-likelihood of minus infinity: that one may not."""

    totals: Float[Tensor, "example beam candidate"]
    """Log-likelihoods of all tokens so far and this one."""
    tokens: Int[Tensor, "example beam candidate"]
    states: Int[Tensor, "example beam candidate phrase"] | None = None
    """Of the required phrases, after this token."""
    sure: Bool[Tensor, "example beam candidate"] | None = None
    """Whether there is room for all that is required, whatever else the candidate holds."""


def with_required(
    scores: Float[Tensor, "row token"],
    best: tuple[Float[Tensor, "row rank"], Int[Tensor, "row rank"]],
    states: Int[Tensor, "example beam phrase"],
    required: Required,
    free: Bool[Tensor, " example"],
) -> tuple[Float[Tensor, "row candidate"], Int[Tensor, "row candidate"]]:
    """The best tokens of each row and behind them those that go on with a required phrase, where any token may come."""
    values, tokens = best
    more = required.following_of(states)
    there = (more >= 0) & free[:, None, None]
    more, there = more.flatten(0, 1), there.flatten(0, 1)
    there &= ~(more[:, :, None] == tokens[:, None]).any(2)
    more = more.clamp(min=0)
    extra = torch.where(there, scores.gather(1, more), -torch.inf)
    return torch.cat([values, extra], 1), torch.cat([tokens, more], 1)


def held_to(
    required: Required, candidates: Candidates, states: Int[Tensor, "example beam phrase"], rules: Rules, time: int
) -> Candidates:
    """The candidates with their states; out are an `END` before all is there, and what leaves too few tokens for it."""
    examples, beams, count = candidates.tokens.shape
    tokens = candidates.tokens.flatten(1)
    after = required.after(states.repeat_interleave(count, 1), tokens)
    room = torch.where(tokens == END, 0, (rules.longest - time - 1)[:, None])
    shape = (examples, beams, count)
    late = (required.missing(after) > room).view(shape)
    return Candidates(
        candidates.totals.masked_fill(late, -torch.inf),
        candidates.tokens,
        after.view(*shape, -1),
        (required.enough(after) <= room).view(shape),
    )


def choose(
    candidates: Candidates, groups: int, diversity: float, required: Required | None
) -> tuple[Chosen, Int[Tensor, "example beam phrase"] | None]:
    r"""The best candidates of each group, as many as it has beams, and their states.

    The groups choose in turn. What counts is the log-likelihood, less `diversity` for each time that an earlier group
    has chosen the token at this step (Vijayakumar et al. 2016, "Diverse beam search", with the Hamming diversity). A
    token is penalized for its own step alone. Of equal candidates the one from the better beam comes first, of one beam
    the smaller token.
    """
    width, count = candidates.tokens.shape[1:]
    share = width // groups
    parts: list[Chosen] = []
    states: list[Tensor] = []
    for first in range(0, width, share):
        totals, tokens = (part[:, first : first + share].flatten(1) for part in candidates[:2])
        keys = totals
        if parts and diversity:
            used = torch.cat([torch.where(part.totals > -torch.inf, part.tokens, -1) for part in parts], 1)
            keys = totals - diversity * (tokens[:, :, None] == used[:, None]).sum(2)
        if candidates.states is None or candidates.sure is None or required is None:
            order = largest(keys, share)[1]
        else:
            after = candidates.states[:, first : first + share].flatten(1, 2)
            sure = candidates.sure[:, first : first + share].flatten(1)
            order = _by_banks(keys, required, required.banks(after), sure, share)
            states.append(after.gather(1, order[:, :, None].expand(-1, -1, after.shape[2])))
        parts.append(Chosen(totals.gather(1, order), order // count + first, tokens.gather(1, order)))
    if len(parts) == 1:
        return parts[0], states[0] if states else None
    return Chosen(*(torch.cat(part, 1) for part in zip(*parts, strict=True))), torch.cat(states, 1) if states else None


def _by_banks(
    keys: Float[Tensor, "example candidate"],
    required: Required,
    banks: Int[Tensor, "example candidate"],
    sure: Bool[Tensor, "example candidate"],
    share: int,
) -> Int[Tensor, "example rank"]:
    """The best, where each bank has a share of the places; what a bank leaves free goes to the best of all.

    Where phrases share tokens, what is missing is only known to lie between two bounds, and what looks as if there were
    room may have none. So the best that surely has some comes first: a beam of any width ends with all that is required
    if `longest` has room for the phrases side by side.
    """
    order = keys.argsort(stable=True, dim=1, descending=True)
    sorted_keys, sure = keys.gather(1, order), sure.gather(1, order)
    placed = required.shared(sorted_keys, banks.gather(1, order), share).int()
    sure &= (sorted_keys > -torch.inf) & ~required.apart[:, None]
    placed += 2 * (sure & (sure.cumsum(1) == 1))
    kept = placed.argsort(stable=True, dim=1, descending=True)[:, :share].sort(1).values
    return order.gather(1, kept)
