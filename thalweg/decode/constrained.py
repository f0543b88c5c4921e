r"""Outputs that keep a grammar: what would break it cannot come next, whatever the model holds likely.

A grammar has a state for each row, says which tokens may come, and goes on with the one that did. `Constrained` puts it
around a model, so that greedy and beam search and draws keep it, and know nothing of it. Tokens that may not come get
minus infinity, and what they were likely goes to `PADDING`, which no output has: so the log-probabilities of the others
are those of the model, and outputs are ranked as if the grammar were not there.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from thalweg.core.decoder import check_decoder, follow, is_attentive, spread
from thalweg.core.errors import RecipeError
from thalweg.core.nest import map_tensors
from thalweg.core.tokens import END, MARKS, PADDING, START


@runtime_checkable
class Grammar(Protocol):
    """What may come next; the state is tensors whose axis 0 is the row, one for each example before the first token.

    >>> isinstance(Distinct(6, 1), Grammar)
    True
    """

    def begin(self) -> Any:
        """The state before the first token."""

    def allowed(self, state: Any) -> Bool[Tensor, "row token"]:
        """The tokens that may come next, `END` among them."""

    def after(self, state: Any, tokens: Int[Tensor, " row"]) -> Any:
        """The state after one more token of each row."""


class Constrained(nn.Module):
    """A model whose outputs keep a grammar, made for the examples of one batch.

    >>> class Coin:
    ...     def encode(self, source):
    ...         return source
    ...     def step(self, state, tokens):  # padding, unknown, start, end, heads, tails
    ...         return torch.tensor([0, 0, 0, 0.1, 0.5, 0.4]).log().expand(len(tokens), -1), state
    >>> from thalweg.decode import greedy
    >>> greedy(Constrained(Coin(), Distinct(6, 1)), {"source": torch.zeros(1)})[0].tokens
    (4, 5)

    Raises `RecipeError` for a model that cannot be decoded from, or that scores other tokens than the grammar's.
    """

    def __init__(self, model: Any, grammar: Grammar) -> None:
        super().__init__()
        check_decoder(model)
        self.model, self.grammar = model, grammar
        if is_attentive(model):
            self.attended = lambda state: model.attended(state[0])

    def encode(self, **inputs: Any) -> Any:
        """The states of both."""
        return self.model.encode(**inputs), self.grammar.begin()

    def step(self, state: Any, tokens: Int[Tensor, " row"]) -> tuple[Float[Tensor, "row token"], Any]:
        """The scores of what may come, minus infinity elsewhere."""
        inner, held = state
        scores, inner = self.model.step(inner, tokens)
        held = self.grammar.after(held, tokens)
        allowed = self.grammar.allowed(held)
        if allowed.shape != scores.shape:
            raise RecipeError(
                f"{type(self.model).__name__} scores {scores.shape[1]} tokens, and the grammar knows "
                f"{allowed.shape[1]}. Make it for the vocabulary that the model was trained with."
            )
        scores = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
        lost = scores.masked_fill(allowed, -torch.inf).logsumexp(1)
        held_to = scores.masked_fill(~allowed, -torch.inf)
        return held_to.index_copy(1, torch.tensor([PADDING], device=scores.device), lost[:, None]), (inner, held)

    def spread(self, state: Any, beams: int, longest: int) -> Any:
        """The states with `beams` rows for each example."""
        held = map_tensors(lambda tensor: tensor.repeat_interleave(beams, 0), state[1])
        return spread(self.model, state[0], beams, longest), held

    def follow(self, state: Any, rows: Int[Tensor, " row"]) -> Any:
        """The states of these rows."""
        return follow(self.model, state[0], rows), map_tensors(lambda tensor: tensor.index_select(0, rows), state[1])


class Distinct:
    """No token twice: a set, put out in any order, that may end at any time.

    >>> grammar = Distinct(7, 1)
    >>> grammar.allowed(grammar.after(grammar.begin(), torch.tensor([5]))).int().tolist()
    [[0, 0, 0, 1, 1, 0, 1]]
    """

    def __init__(self, vocabulary: int, examples: int, device: torch.device | None = None) -> None:
        self.fresh = torch.ones(examples, vocabulary, dtype=torch.bool, device=device)
        self.fresh[:, : len(MARKS)] = False
        self.fresh[:, END] = True

    def begin(self) -> Bool[Tensor, "row token"]:
        return self.fresh

    def allowed(self, state: Bool[Tensor, "row token"]) -> Bool[Tensor, "row token"]:
        return state

    def after(self, state: Bool[Tensor, "row token"], tokens: Int[Tensor, " row"]) -> Bool[Tensor, "row token"]:
        return state.scatter(1, tokens[:, None], False)


class Bracketing:
    """One tree of brackets over a number of leaves that is known: `(` leaf `(` leaf leaf `)` `)`.

    `opening` are the tokens that open a bracket, each with its label, `leaf` is that of a word, `closing` ends a
    bracket; `leaves` is how many words each example has, and `longest` how many tokens at most. A bracket opens only
    where a word is left for it and room to close all, none is empty, and the outermost closes behind the last word.
    Where `longest` is too short for one bracket around all leaves, an output may end before its tree does; of no leaves
    it is empty.

    >>> grammar = Bracketing(7, opening=[4], leaf=5, closing=6, leaves=torch.tensor([1]), longest=torch.tensor([9]))
    >>> state, seen = grammar.begin(), []
    >>> for token in (2, 4, 5, 6):
    ...     state = grammar.after(state, torch.tensor([token]))
    ...     seen.append(grammar.allowed(state)[0].nonzero().flatten().tolist())
    >>> seen
    [[4], [4, 5], [6], [3]]
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        opening: list[int],
        leaf: int,
        closing: int,
        leaves: Int[Tensor, " example"],
        longest: Int[Tensor, " example"],
    ) -> None:
        device = leaves.device
        self.leaves, self.longest, self.leaf, self.closing = leaves, longest, leaf, closing
        self.opening = torch.zeros(vocabulary, dtype=torch.bool, device=device)
        self.opening[torch.tensor(opening, dtype=torch.int64, device=device)] = True
        place = torch.arange(vocabulary, device=device)
        self.is_leaf, self.is_closing, self.is_end = place == leaf, place == closing, place == END

    def begin(self) -> Int[Tensor, "row number"]:
        """Leaves that are left, tokens there is room for, brackets that are open, whether the last one is empty."""
        none = torch.zeros_like(self.leaves)
        return torch.stack([self.leaves, self.longest, none, none], 1)

    def allowed(self, state: Int[Tensor, "row number"]) -> Bool[Tensor, "row token"]:
        left, room, depth, empty = state.unbind(1)
        within, some = depth > 0, left > 0
        opens = some & (~within | (room >= left + depth + 2))  # nothing is open and words are left: nothing was
        closes = within & (empty == 0) & ((depth > 1) | ~some)
        ends = ~some & ~within
        parts = ((opens, self.opening), (within & some, self.is_leaf), (closes, self.is_closing), (ends, self.is_end))
        found = torch.zeros(len(state), len(self.opening), dtype=torch.bool, device=state.device)
        for rows, tokens in parts:
            found |= rows[:, None] & tokens
        return found

    def after(self, state: Int[Tensor, "row number"], tokens: Int[Tensor, " row"]) -> Int[Tensor, "row number"]:
        left, room, depth, _ = state.unbind(1)
        opens, leaf, closes, used = (
            part.to(left.dtype)
            for part in (self.opening[tokens], tokens == self.leaf, tokens == self.closing, tokens != START)
        )
        return torch.stack([left - leaf, room - used, depth + opens - closes, opens], 1)
