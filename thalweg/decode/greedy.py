"""Writing token by token: always the likeliest, or drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.core.decoder import follow, spread
from thalweg.core.tokens import END, START
from thalweg.decode.hypothesis import Hypothesis
from thalweg.decode.rules import Prefix, Rules
from thalweg.decode.stepping import ask, checked_normalizers, decoding, exact, may_leave, memory_for, read_inputs

Choose = Callable[["Lines", Float[Tensor, "row token"], int, Int[Tensor, " row"] | None], tuple[Tensor, Tensor, Tensor]]
"""From scores, the time and what is forced: a token of each row, its score, and the row's largest score of all."""
FEW = 2**16
"""So many scores are copied to be masked, where that is quicker than to leave out what may not come."""


def greedy(
    model: Any,
    inputs: Mapping[str, Any],
    *,
    prefix: Prefix | None = None,
    banned: Sequence[int] | Tensor | np.ndarray = (),
    shortest: int = 0,
    longest: int | Sequence[int] | Tensor | np.ndarray = 100,
) -> list[Hypothesis]:
    r"""The output of each example that takes the likeliest token at each step, of equal ones the smaller.

    $$ y_t = \arg\max_v p(v \mid x, y_{<t}) $$

    `prefix`, `banned`, `shortest` and `longest` are as in `beam_search`, of which this is the one of width 1.

    >>> class Coin:
    ...     def encode(self, source):
    ...         return source
    ...     def step(self, state, tokens):  # padding, unknown, start, end, heads, tails
    ...         return torch.tensor([0, 0, 0, 0.2, 0.5, 0.3]).log().expand(len(tokens), -1), state
    >>> greedy(Coin(), {"source": torch.zeros(1)}, longest=2)[0].tokens
    (4, 4)

    Raises `RecipeError` for a model that cannot be decoded from, scores that are NaN or of another shape, unknown
    tokens, and arguments out of their range or at odds with each other.
    """
    examples, device = read_inputs(model, inputs)
    rules = Rules.of(examples, device, prefix=prefix, banned=banned, shortest=shortest, longest=longest)
    return [written[0] for written in write(model, inputs, rules, 1, _likeliest)]


@dataclass(frozen=True)
class Lines:
    """What is being written: `lines` rows for each example that is still in the batch."""

    present: Int[Tensor, " example"]
    """The examples' numbers in the batch."""
    rows: Int[Tensor, " row"]
    """Those of the lines among all lines of the batch."""
    tokens: Int[Tensor, " row"]
    open: Bool[Tensor, " row"]
    rules: Rules

    def take(self, kept: Bool[Tensor, " example"], lines: int) -> "Lines":
        """Those of some of the examples."""
        rows = kept.repeat_interleave(lines)
        return Lines(self.present[kept], self.rows[rows], self.tokens[rows], self.open[rows], self.rules.take(kept))


def _likeliest(
    front: Lines, scores: Float[Tensor, "row token"], time: int, forced: Int[Tensor, " row"] | None
) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"], Float[Tensor, " row"]]:
    if scores.numel() <= FEW:
        values, tokens = front.rules.masked(scores, time, forced).max(1)
        return tokens, values, scores.amax(1)
    values, tokens, highest = front.rules.best(scores, 1, time, forced)
    place = values.argmax(1, keepdim=True)
    return tokens.gather(1, place)[:, 0], values.gather(1, place)[:, 0], highest


def write(model: Any, inputs: Mapping[str, Any], rules: Rules, lines: int, choose: Choose) -> list[list[Hypothesis]]:
    """As many outputs for each example, written token by token by what `choose` chooses."""
    examples, device = len(rules.longest), rules.longest.device
    if not examples:
        return []
    start = torch.full((examples * lines,), START, device=device)
    numbers = torch.arange(len(start), device=device)
    front = Lines(numbers[:examples], numbers, start, torch.ones_like(start, dtype=torch.bool), rules)
    totals = torch.zeros(len(start), dtype=exact(device), device=device)
    columns: list[Tensor] = []
    memory: Tensor | None = None
    with decoding(model):
        state = spread(model, model.encode(**inputs), lines, rules.most + 1)
        for time in range(rules.most + 1):
            scores, state = ask(model, state, front.tokens, time, memory)
            if memory is None:
                rules.check(scores.shape[1])
                memory = memory_for(scores)
            tokens, added = _next(scores, front, time, choose, lines, memory)
            there = added > -torch.inf
            going = there & (tokens != END)
            if bool(going.all()) and len(front.rows) == len(start):
                columns.append(tokens)
                totals, front = totals + added, replace(front, tokens=tokens)
                continue
            columns.append(_among(len(start), front.rows, torch.where(there, tokens, NOTHING)))
            totals = totals.index_add(0, front.rows, torch.where(there, added, 0.0))
            front = replace(front, tokens=torch.where(there, tokens, END), open=going)
            done = ~front.open.view(-1, lines).any(1)
            count = int(done.sum())
            if count == len(done):
                break
            if may_leave(model, count, len(done)):
                state = follow(model, state, (~done).repeat_interleave(lines).nonzero()[:, 0])
                front = front.take(~done, lines)
    return _outputs(torch.stack(columns, 1), totals, lines)


NOTHING = -1
"""In the place of a token, behind the last of a line."""


def _next(
    scores: Float[Tensor, "row token"],
    front: Lines,
    time: int,
    choose: Choose,
    lines: int,
    memory: Float[Tensor, "... token"],
) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"]]:
    """The next token of each line, and its log-probability, which is minus infinity where a line is at its end."""
    forced = front.rules.forced(time)
    tokens, values, highest = choose(front, scores, time, None if forced is None else forced.repeat_interleave(lines))
    normalizer = checked_normalizers(scores, highest, front.open, time, front.present, memory)
    return tokens, torch.where(front.open, values - normalizer, -torch.inf)


def _among(count: int, rows: Int[Tensor, " row"], tokens: Int[Tensor, " row"]) -> Int[Tensor, " line"]:
    """The tokens of some rows at their places among all, where the others have nothing."""
    return tokens if len(rows) == count else tokens.new_full((count,), NOTHING).index_copy(0, rows, tokens)


def _outputs(columns: Int[Tensor, "row time"], totals: Float[Tensor, " row"], lines: int) -> list[list[Hypothesis]]:
    written = []
    for row, total in zip(columns.tolist(), totals.tolist(), strict=True):
        tokens = [token for token in row if token != NOTHING]
        ended = bool(tokens) and tokens[-1] == END
        written.append(Hypothesis(tuple(tokens[:-1] if ended else tokens), total, total, ended))
    return [written[first : first + lines] for first in range(0, len(written), lines)]
