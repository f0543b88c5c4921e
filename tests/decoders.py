"""Small models that can be decoded from, and the naive twins of decoding: lists, loops, every output written down."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg.core.tokens import END, PADDING, START
from thalweg.decode import Hypothesis

VOCABULARY = 6
WRITTEN = (1, 4, 5)
"""The tokens that may come out: unknown, and two of its own."""


class Grams:
    """Scores by example and the last two tokens, from a random table: a `Decoder` whose state is plain tensors."""

    def __init__(self, kinds: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64, scale: float = 1.5) -> None:
        draw = torch.Generator().manual_seed(seed)
        shape = (kinds, VOCABULARY, VOCABULARY, VOCABULARY)
        self.table = (scale * torch.randn(shape, generator=draw, dtype=torch.float64)).to(dtype)
        self.rows: list[int] = []
        """How many rows each step had."""

    def encode(self, source: Tensor) -> Any:
        return {"source": source, "before": torch.full_like(source, PADDING)}

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        self.rows.append(len(tokens))
        return self.table[state["source"], state["before"], tokens], {"source": state["source"], "before": tokens}

    def __call__(self, source: Tensor, prefix: Tensor) -> Tensor:
        before = torch.cat([torch.full_like(prefix[:, :1], PADDING), prefix[:, :-1]], 1)
        return self.table[source[:, None], before, prefix]


@dataclass(frozen=True)
class Recalled:
    """What `Recaller` keeps: the memory of each example once, and the keys of all tokens of each row."""

    memory: Tensor
    there: Tensor
    beams: int
    cache: Tensor | None = None
    time: int = 0
    weights: Tensor | None = None


class Recaller(nn.Module):
    """A decoder that looks at its source and at all it has written: a `BeamDecoder` with a cache of its own form."""

    def __init__(self, seed: int = 0, width: int = 7, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.source, self.target = nn.Embedding(11, width), nn.Embedding(VOCABULARY, width)
            self.out = nn.Linear(width, VOCABULARY)
        self.drop = nn.Dropout(0.5)
        self.to(dtype)
        self.rows: list[int] = []

    def encode(self, source: Tensor, lengths: Tensor) -> Recalled:
        there = torch.arange(source.shape[1]) < lengths[:, None]
        return Recalled(self.source(source) * there[:, :, None], there, 1)

    def spread(self, state: Recalled, beams: int, longest: int) -> Recalled:
        width = state.memory.shape[2]
        return replace(state, beams=beams, cache=state.memory.new_zeros(len(state.memory) * beams, longest, width))

    def step(self, state: Recalled, tokens: Tensor) -> tuple[Tensor, Recalled]:
        self.rows.append(len(tokens))
        assert state.cache is not None
        assert len(tokens) == len(state.memory) * state.beams == len(state.cache)
        assert state.time < state.cache.shape[1], "more tokens than were announced"
        cache = state.cache.clone()
        cache[:, state.time] = self.target(tokens)
        memory, there = (part.repeat_interleave(state.beams, 0) for part in (state.memory, state.there))
        scores, weights = self._scores(cache[:, : state.time + 1], memory, there)
        return scores, replace(state, cache=cache, time=state.time + 1, weights=weights)

    def follow(self, state: Recalled, rows: Tensor) -> Recalled:
        examples = rows.view(-1, state.beams) // state.beams
        assert (examples == examples[:, :1]).all(), "a row goes on from another example"
        kept = examples[:, 0]
        assert state.cache is not None
        assert state.weights is not None
        own = replace(state, memory=state.memory[kept], there=state.there[kept])
        return replace(own, cache=state.cache[rows], weights=state.weights[rows])

    def attended(self, state: Recalled) -> tuple[Tensor, Tensor]:
        assert state.weights is not None
        return state.weights, state.there.repeat_interleave(state.beams, 0)

    def forward(self, source: Tensor, lengths: Tensor, prefix: Tensor) -> Tensor:
        return torch.stack([self._at(source, lengths, prefix[:, :end])[0] for end in self._ends(prefix)], 1)

    def weights(self, source: Tensor, lengths: Tensor, prefix: Tensor) -> Tensor:
        """How much each token of an output attends to each position: (example, token, position)."""
        return torch.stack([self._at(source, lengths, prefix[:, :end])[1] for end in self._ends(prefix)], 1)

    def _ends(self, prefix: Tensor) -> range:
        return range(1, prefix.shape[1] + 1)

    def _at(self, source: Tensor, lengths: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
        state = self.encode(source, lengths)
        return self._scores(self.target(written), state.memory, state.there)

    def _scores(self, keys: Tensor, memory: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        ages = torch.arange(keys.shape[1], 0, -1, dtype=keys.dtype)
        hidden = (keys / ages[:, None]).sum(1)
        likeness = (memory @ hidden[:, :, None])[:, :, 0].masked_fill(~there, -torch.inf)
        weights = likeness.softmax(1).nan_to_num(0.0)  # a source of no positions is not attended to
        return self.out(self.drop(torch.tanh(hidden + (weights[:, None] @ memory)[:, 0]))) * 3, weights


Logs = Callable[[tuple[int, ...]], list[float]]
"""The log-probabilities of all tokens after some tokens."""
Score = Callable[[tuple[int, ...], float], float]
"""The score of a finished output, by its tokens and its log-likelihood."""
Found = tuple[tuple[int, ...], float]
"""Tokens and log-likelihood."""


KNOWN: dict[tuple[Any, ...], dict[tuple[int, ...], list[float]]] = {}
"""What models of the same numbers said of the same inputs: many tests write down the same outputs."""


def logs_of(model: Any, inputs: dict[str, Tensor], example: int) -> Logs:
    """Of one example alone, each time from the beginning, as in training; asked once for each beginning."""
    own = {name: value[example : example + 1] for name, value in inputs.items()}
    numbers = [model.table] if isinstance(model, Grams) else [*model.state_dict().values()]
    tensors = [(each.shape, each.dtype, each.detach().numpy().tobytes()) for each in (*numbers, *own.values())]
    known = KNOWN.setdefault((type(model), getattr(model, "training", False), *tensors), {})

    def logs(written: tuple[int, ...]) -> list[float]:
        if written not in known:
            with torch.no_grad():
                scores = model(**own, prefix=torch.tensor([[START, *written]]))[0, -1].tolist()
            whole = math.log(sum(math.exp(score) for score in scores))
            known[written] = [score - whole for score in scores]
        return known[written]

    return logs


def plain_score(alpha: float = 0.0, gnmt: bool = False) -> Score:
    """The log-likelihood over the norm of the length, END counted."""

    def score(written: tuple[int, ...], total: float) -> float:
        length = len(written) + 1
        return total / (((5 + length) / 6) ** alpha if gnmt else length**alpha)

    return score


def with_coverage(model: Recaller, inputs: dict[str, Tensor], example: int, beta: float, score: Score) -> Score:
    """The same and the penalty for positions that were attended to too little."""
    own = {name: value[example : example + 1] for name, value in inputs.items()}

    def covered(written: tuple[int, ...], total: float) -> float:
        with torch.no_grad():
            weights = model.weights(**own, prefix=torch.tensor([[START, *written]]))[0].sum(0).tolist()
        penalty = sum(math.log(min(weight, 1.0)) for weight in weights[: int(own["lengths"])])
        return score(written, total) + beta * penalty

    return covered


def everything(logs: Logs, longest: int, shortest: int = 0, tokens: Sequence[int] = WRITTEN) -> list[Found]:
    """All outputs of so many tokens, with their log-likelihoods."""
    found = []
    for length in range(shortest, longest + 1):
        for written in product(tokens, repeat=length):
            total = sum(logs(written[:place])[token] for place, token in enumerate((*written, END)))
            found.append((written, total))
    return found


def ranked(found: list[Found], score: Score) -> list[tuple[tuple[int, ...], float, float]]:
    """Tokens, score and log-likelihood, the best first."""
    scored = [(written, score(written, total), total) for written, total in found]
    return sorted(scored, key=lambda one: -one[1])


def holds(written: tuple[int, ...], phrase: tuple[int, ...]) -> bool:
    return any(written[place : place + len(phrase)] == phrase for place in range(len(written)))


def bank(written: tuple[int, ...], phrases: Sequence[tuple[int, ...]]) -> int:
    """How many required tokens are there: whole phrases, and the beginning of one at the end."""
    own = 0
    for phrase in phrases:
        sizes = range(len(phrase))
        begun = max(size for size in sizes if written[len(written) - min(size, len(written)) :] == phrase[:size])
        own += len(phrase) if holds(written, phrase) else begun
    return own


def searched_by_banks(logs: Logs, width: int, longest: int, phrases: Sequence[tuple[int, ...]]) -> list[Found]:
    """All that a beam search finishes that shares its beam among banks; the phrases have no token in common."""
    top = sum(map(len, phrases))
    beams: list[Found] = [((), 0.0)]
    finished: list[Found] = []
    for time in range(longest + 1):
        candidates = []
        for rank, (written, total) in enumerate(beams):
            for token, log in enumerate(logs(written)):
                after = written if token == END else (*written, token)
                full = bank(after, phrases) == top
                room = longest - len(after) >= top - bank(after, phrases)
                if (token == END and full) or (token in WRITTEN and time < longest and room):
                    candidates.append((-(total + log), rank, token, after))
        candidates.sort()
        quotas = [width // (top + 1)] * top + [width - top * (width // (top + 1))]
        sure, rest = [], []
        for one in candidates:
            # END takes the place of what was begun at the end, of which there is nothing where all is there
            own = bank(one[3], phrases)
            quotas[own] -= 1
            (sure if quotas[own] >= 0 else rest).append(one)
        kept = sorted([*sure, *rest][:width])
        finished += [(after, -key) for key, _, token, after in kept if token == END]
        beams = [(after, -key) for key, _, token, after in kept if token != END]
    return finished


def searched(
    logs: Logs, width: int, longest: int, *, shortest: int = 0, groups: int = 1, diversity: float = 0.0
) -> list[list[Found]]:
    """All that a beam search finishes, group by group: nothing is cut short, nothing is batched."""
    share = width // groups
    beams: list[list[Found]] = [[((), 0.0)] for _ in range(groups)]
    finished: list[list[Found]] = [[] for _ in range(groups)]
    for time in range(longest + 1):
        used: list[int] = []
        for group in range(groups):
            candidates = []
            for rank, (written, total) in enumerate(beams[group]):
                for token, log in enumerate(logs(written)):
                    fine = token == END if time == longest else token in WRITTEN or (token == END and time >= shortest)
                    if fine:
                        key = total + log - diversity * used.count(token)
                        candidates.append((-key, rank, token, written, total + log))
            kept = sorted(candidates)[:share]
            used += [token for _, _, token, _, _ in kept]
            finished[group] += [(written, total) for _, _, token, written, total in kept if token == END]
            beams[group] = [((*written, token), total) for _, _, token, written, total in kept if token != END]
    return finished


LONGEST = 3
ALL = sum(len(WRITTEN) ** length for length in range(LONGEST + 1))
"""As many beams as there are beginnings of outputs of `LONGEST` tokens: 40."""
Scored = tuple[tuple[int, ...], float, float]


def grams(kinds: int = 3, **options: Any) -> tuple[Grams, dict[str, Tensor]]:
    return Grams(kinds, **options), {"source": torch.arange(kinds)}


def recaller(**options: Any) -> tuple[Recaller, dict[str, Tensor]]:
    """Three sources, of which one is empty."""
    source = torch.tensor([[4, 7, 9, 5], [6, 2, 0, 0], [0, 0, 0, 0]])
    return Recaller(**options).eval(), {"source": source, "lengths": torch.tensor([4, 2, 0])}


BOTH = pytest.mark.parametrize("made", [grams, recaller], ids=["tensors", "own-state"])


def same(found: list[Hypothesis], expected: list[Scored]) -> None:
    """Tokens in the same order, scores and log-likelihoods to the last digits of double precision."""
    assert [one.tokens for one in found] == [tokens for tokens, _, _ in expected]
    scores, totals = [score for _, score, _ in expected], [total for _, _, total in expected]
    torch.testing.assert_close([one.score for one in found], scores, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close([one.log_likelihood for one in found], totals, rtol=1e-12, atol=1e-12)
    assert all(one.finished for one in found)


def take(inputs: dict[str, Tensor], examples: list[int]) -> dict[str, Tensor]:
    return {name: value[examples] for name, value in inputs.items()}


class Fixed:
    """The same scores at each step, for each row its own."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self.rows: list[int] = []

    def encode(self, source: Tensor) -> Tensor:
        return source

    def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        self.rows.append(len(tokens))
        return self.scores[state], state


def fixed(*rows: list[float], dtype: torch.dtype = torch.float32) -> tuple[Fixed, dict[str, Tensor]]:
    return Fixed(torch.tensor(rows, dtype=dtype)), {"source": torch.arange(len(rows))}


NEVER = -float("inf")


def same_outputs(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [(one.tokens, one.finished, one.group) for one in found] == [
        (one.tokens, one.finished, one.group) for one in expected
    ]
    scores, others = [one.score for one in found], [one.score for one in expected]
    torch.testing.assert_close(scores, others, rtol=1e-12, atol=1e-12)
