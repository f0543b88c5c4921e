r"""Tokens and phrases that an output must hold, kept track of while it is written.

A phrase is followed by its automaton (Knuth, Morris & Pratt 1977): the state is how many of its tokens the output ends
with, and once it is complete it stays so. The sum of the states is the *bank* of a hypothesis, the number of required
tokens that it has. A beam is shared out among banks, so that hypotheses that have paid for a required token are not
compared with those that have yet to (Hokamp & Liu 2017; one beam for all banks: Post & Vilar 2018, "Fast lexically
constrained decoding with dynamic beam allocation").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.decode.rules import Rules, check_known, check_tokens

Phrase = tuple[int, ...]
NONE = -1
"""In the place of a token: there is none."""


@dataclass(frozen=True)
class Required:
    """The phrases that each example of a batch must hold, as tables."""

    sizes: Int[Tensor, "example phrase"]
    """Tokens of each phrase; 0 where an example has fewer phrases."""
    following: Int[Tensor, "example phrase state"]
    """The token that goes on from each state."""
    alphabet: Int[Tensor, "example letter"]
    """The tokens of all phrases of an example; the symbol behind the last is any other token."""
    moves: Int[Tensor, "example phrase state symbol"]
    """The state after a symbol."""
    apart: Bool[Tensor, " example"]
    """Whether no two phrases share a token, so that none helps another."""

    @classmethod
    def of(cls, required: Any, examples: int, rules: Rules) -> "Required | None":
        """The tables, or None where nothing is required.

        >>> rules = Rules.of(1, torch.device("cpu"))
        >>> Required.of([(5, 6), 7], 1, rules).sizes
        tensor([[2, 1]])

        Raises `RecipeError` for a required token that is banned, and for more of them than the longest output holds.
        """
        wanted = _read(required, examples)
        if not any(wanted):
            return None
        banned, limits = set(rules.banned.tolist()), rules.longest.tolist()
        for example, (phrases, limit) in enumerate(zip(wanted, limits, strict=True)):
            _check(example, phrases, banned, limit)
        return _tables(wanted, rules.banned.device)

    def check(self, vocabulary: int) -> None:
        """Refuse tokens that the model has no score for."""
        check_known("required", int(self.alphabet.max()), vocabulary)

    def take(self, kept: Bool[Tensor, " example"]) -> "Required":
        """The tables of some of the examples."""
        parts = (self.sizes, self.following, self.alphabet, self.moves, self.apart)
        return Required(*(part[kept] for part in parts))

    def begin(self, beams: int) -> Int[Tensor, "example beam phrase"]:
        """The states before the first token."""
        return torch.zeros_like(self.sizes)[:, None].repeat(1, beams, 1)

    def following_of(self, states: Int[Tensor, "example beam phrase"]) -> Int[Tensor, "example beam phrase"]:
        """The tokens that go on with the phrases that are not complete, each once; `NONE` elsewhere."""
        beams = states.shape[1]
        tokens = self.following[:, None].expand(-1, beams, -1, -1).gather(3, states[..., None])[..., 0]
        earlier = torch.ones(states.shape[2], states.shape[2], dtype=torch.bool, device=states.device).tril(-1)
        twice = ((tokens[..., :, None] == tokens[..., None, :]) & earlier).any(3)
        return tokens.masked_fill(twice, NONE)

    def after(
        self, states: Int[Tensor, "example candidate phrase"], tokens: Int[Tensor, "example candidate"]
    ) -> Int[Tensor, "example candidate phrase"]:
        """The states after one more token."""
        matches = tokens[:, :, None] == self.alphabet[:, None]
        symbols = torch.where(matches.any(2), matches.int().argmax(2), self.alphabet.shape[1])
        phrases, width = self.moves.shape[1], self.moves.shape[3]
        first = torch.arange(phrases, device=states.device) * (self.moves.shape[2] * width)
        places = first + states * width + symbols[:, :, None]
        return self.moves.flatten(1).gather(1, places.flatten(1)).view_as(states)

    def banks(self, states: Int[Tensor, "example candidate phrase"]) -> Int[Tensor, "example candidate"]:
        """How many required tokens each has."""
        return states.sum(2)

    def missing(self, states: Int[Tensor, "example candidate phrase"]) -> Int[Tensor, "example candidate"]:
        """A number of tokens that each needs at least to have all: exact where phrases share no token."""
        lacking = self.sizes[:, None] - states
        return torch.where(self.apart[:, None], lacking.sum(2), lacking.amax(2))

    def enough(self, states: Int[Tensor, "example candidate phrase"]) -> Int[Tensor, "example candidate"]:
        """A number of tokens that is enough to have all: to go on with the phrase that is furthest, then the others.

        >>> required = Required.of([(4, 5), (5, 4)], 1, Rules.of(1, torch.device("cpu")))
        >>> required.enough(torch.tensor([[[1, 0]]])), required.missing(torch.tensor([[[1, 0]]]))
        (tensor([[3]]), tensor([[2]]))
        """
        sizes = self.sizes[:, None].expand_as(states)
        lacking = states < sizes
        return torch.where(lacking, sizes, 0).sum(2) - torch.where(lacking, states, 0).amax(2)

    def shared(
        self,
        keys: Float[Tensor, "example candidate"],
        banks: Int[Tensor, "example candidate"],
        width: int,
    ) -> Bool[Tensor, "example candidate"]:
        """Which candidates, the best first, have a place of their bank: an equal share of the beam, or are sure of one.

        What is left over by the division goes to the bank that has all.
        """
        top = self.sizes.sum(1)
        share = width // (top + 1)
        numbers = torch.arange(int(top.max()) + 1, device=keys.device)
        quota = torch.where(numbers == top[:, None], (width - share * top)[:, None], share[:, None])
        member = banks[:, :, None] == numbers
        rank = (member.cumsum(1) * member).sum(2)  # from 1
        return (rank <= quota.gather(1, banks)) & (keys > -torch.inf)


def _read(required: Any, examples: int) -> list[list[Phrase]]:
    """The phrases of each example, without repetitions."""
    if isinstance(required, str) or not isinstance(required, Sequence):
        raise RecipeError(
            f"Decoding: required is {required!r}, but it is a list of tokens and phrases, as in [5, (7, 8)], or such a "
            "list for each example."
        )
    lists = [one for one in required if isinstance(one, list)]
    if lists and not len(lists) == len(required) == examples:
        raise RecipeError(
            f"Decoding: required has {len(lists)} lists among {len(required)} entries for {examples} examples. Give "
            "tokens and phrases (tuples) for all, as in [5, (7, 8)], or a list of them for each example."
        )
    own = required if lists else [required] * examples
    return [sorted({_phrase(entry) for entry in one}) for one in own]


def _phrase(entry: Any) -> Phrase:
    phrase = tuple(check_tokens("required", entry if isinstance(entry, tuple) else [entry]))
    if not phrase:
        raise RecipeError("Decoding: required holds a phrase of no tokens. Leave it out.")
    return phrase


def _check(example: int, phrases: list[Phrase], banned: set[int], limit: int) -> None:
    if both := sorted(banned & {token for phrase in phrases for token in phrase}):
        raise RecipeError(
            f"Decoding: token {both[0]} is required in example {example} and banned. Leave it out of one of the two."
        )
    needed = sum(map(len, phrases)) if _apart(phrases) else max(map(len, phrases))
    if needed > limit:
        raise RecipeError(
            f"Decoding: example {example} must hold {needed} required tokens, but longest is {limit}. Take "
            f"longest={needed} or more."
        )


def _apart(phrases: list[Phrase]) -> bool:
    return not any(set(one) & set(other) for one, other in combinations(phrases, 2))


def _tables(wanted: list[list[Phrase]], device: torch.device) -> Required:
    count, longest = max(map(len, wanted)), max(len(phrase) for phrases in wanted for phrase in phrases)
    alphabets = [sorted({token for phrase in phrases for token in phrase}) for phrases in wanted]
    symbols = max(map(len, alphabets))
    sizes = torch.zeros(len(wanted), count, dtype=torch.int64)
    following = torch.full((len(wanted), count, longest + 1), NONE)
    alphabet = torch.full((len(wanted), symbols), NONE)
    moves = torch.zeros(len(wanted), count, longest + 1, symbols + 1, dtype=torch.int64)
    for example, (phrases, own) in enumerate(zip(wanted, alphabets, strict=True)):
        alphabet[example, : len(own)] = torch.tensor(own, dtype=torch.int64)
        for place, phrase in enumerate(phrases):
            sizes[example, place] = len(phrase)
            following[example, place, : len(phrase)] = torch.tensor(phrase)
            moves[example, place, len(phrase)] = len(phrase)
            for state in range(len(phrase)):
                for symbol, token in enumerate(own):
                    moves[example, place, state, symbol] = _state(phrase, (*phrase[:state], token))
    apart = torch.tensor([_apart(phrases) for phrases in wanted])
    return Required(*(part.to(device) for part in (sizes, following, alphabet, moves, apart)))


def _state(phrase: Phrase, written: Phrase) -> int:
    """The number of tokens of the phrase that the written ones end with."""
    return max(size for size in range(len(written) + 1) if written[len(written) - size :] == phrase[:size])
