r"""The floor of targets that are each the next token of a sequence, from learners that count.

$$ p(v \mid c) = \frac{n(c, v) + u(c)\, p(v \mid c')}{n(c) + u(c)} $$

for a context $c$ that was followed by $v$ in $n(c, v)$ of its $n(c)$ places and by $u(c)$ different tokens, and a
shorter context $c'$ (Witten & Bell, "The Zero-Frequency Problem", 1991, method C). The contexts are none, which is the
best constant; the token before; the two before; and what stands at the same place of the source, with the token before:
where source and target are alike, that learner copies. Sequences stay whole in the folds. Such learners read little:
that a network does better says nothing, that it does worse shows what the data allow.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from thalweg.core.nest import Nest, leaves
from thalweg.core.objective import MarkedObjective, Moment
from thalweg.core.source import Source
from thalweg.core.tokens import NO_TARGET, PADDING
from thalweg.diagnosis.deadline import check_time
from thalweg.diagnosis.references import CONSTANT, FOLDS, SMOOTHING
from thalweg.training.judging import Judge

MOST_TOLD, MOST_COUNTED, MOST_CLASSES = 6000, 200_000, 20_000
"""Tokens that are predicted, tokens that are counted, and different ones that are told apart."""
Context = tuple[int, ...]
Losses = tuple[np.ndarray, np.ndarray]

LADDERS: dict[str, tuple[str, ...]] = {
    CONSTANT: ("",),
    "the token before": ("", "1"),
    "the two tokens before": ("", "1", "2"),
    "the token before and the same place of the source": ("", "s", "s1"),
}
"""Contexts of each learner, the shorter ones first: how many tokens before, and whether that of the source."""


@dataclass
class Next:
    """Batches of sequences whose targets are their own next tokens: all are counted, and some predicted."""

    batches: list[Nest] = field(default_factory=list)
    sequences: list[list[tuple[list[int], list[int]]]] = field(default_factory=list)
    """Of each batch the targets and the source of each row, without padding."""
    places: list[np.ndarray] = field(default_factory=list)
    """Of each source which of its sequences are predicted, in the order in which they come."""
    told: list[np.ndarray] = field(default_factory=list)
    """Of each batch the rows that are predicted."""

    @property
    def classes(self) -> int:
        """How many tokens are told apart."""
        return 1 + max(int(y.max()) for _, y in self.batches)


def read_next(judge: Judge, sources: Sequence[Source]) -> Next | None:
    """The sequences of each source; None where targets are not the next tokens of an input."""
    if not isinstance(judge.objective, MarkedObjective):
        return None
    found, firsts = Next(), list[list[int]]()
    for source in sources:
        firsts.append([])
        at = 0
        for batch in source.batches(0, 0, None):
            rows = _rows(batch)
            if rows is None:
                return None
            firsts[-1].append(at)
            at += len(rows)
            found.batches.append(batch)
            found.sequences.append(rows)
    if sum(map(len, found.sequences)) < 2 * FOLDS or found.classes > MOST_CLASSES:
        return None
    every = max(1, sum(len(y) for rows in found.sequences for y, _ in rows) // MOST_TOLD)
    number = iter(found.sequences)
    for starts in firsts:
        own = [(start, np.arange(-start % every, len(next(number)), every)) for start in starts]
        found.told += [rows for _, rows in own]
        found.places.append(np.concatenate([np.zeros(0, dtype=int), *(start + rows for start, rows in own)]))
    return found if all(len(own) for own in found.places) else None


def _rows(batch: Nest) -> list[tuple[list[int], list[int]]] | None:
    """The targets of each row, and its source, where targets are what comes next in one of the inputs."""
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not isinstance(batch[1], Tensor):
        return None
    x, y = batch
    whole = [leaf for leaf in leaves(x) if leaf.dim() == 2 and not leaf.is_floating_point()]
    if y.dim() != 2 or y.shape[1] < 2 or y.is_floating_point():
        return None
    inner = (y[:, 1:] != NO_TARGET) & (y[:, :-1] != NO_TARGET)
    own = [leaf for leaf in whole if leaf.shape == y.shape and bool((leaf[:, 1:] == y[:, :-1])[inner].all())]
    if len(own) != 1 or not bool(inner.any()):
        return None
    others = [leaf for leaf in whole if leaf is not own[0]]
    read = others[0].tolist() if others else [[]] * len(y)
    return [
        ([token for token in told if token != NO_TARGET], [token for token in source if token != PADDING])
        for told, source in zip(y.tolist(), read, strict=True)
    ]


def reached(judge: Judge, found: Next, seed: int) -> tuple[dict[str, Losses], float] | None:
    """The losses of each learner's sequences and their weights, and the least that was seen.

    None where the objective takes no learner's output, or gives no loss for each sequence.
    """
    count = sum(map(len, found.sequences))
    folds = np.random.default_rng(seed).permutation(count) % FOLDS
    losses, least = dict[str, Losses](), np.inf
    for name, ladder in LADDERS.items():
        if "s" in ladder and not any(source for rows in found.sequences for _, source in rows):
            continue
        tables = [Counts(ladder, _others(found, folds, fold), found.classes) for fold in range(FOLDS)]
        own = _losses(judge, found, folds, tables)
        if own is None:
            return None
        losses[name], least = own, min(least, float(own[0].min()))
    return losses, 0.0 if least >= 0 else float("-inf")


def _others(found: Next, folds: np.ndarray, fold: int) -> Iterator[tuple[list[int], list[int]]]:
    """Sequences of all folds but one, as many as are counted."""
    flat = (row for rows in found.sequences for row in rows)
    left = MOST_COUNTED
    for number, row in enumerate(flat):
        if folds[number] != fold and left > 0:
            left -= len(row[0])
            yield row


class Counts:
    """How often each token came after each context of a ladder.

    >>> counts = Counts(("", "1"), [([4, 5, 4, 5], [])], 6)
    >>> counts.shares([4, 5], []).round(2)[1].tolist()
    [0.0, 0.0, 0.0, 0.0, 0.17, 0.83]
    """

    def __init__(self, ladder: tuple[str, ...], rows: Iterable[tuple[list[int], list[int]]], classes: int) -> None:
        self.ladder, self.classes = ladder, classes
        self.tables: list[dict[Context, Counter[int]]] = [defaultdict(Counter) for _ in ladder]
        for y, source in rows:
            for place, token in enumerate(y):
                for kind, table in zip(ladder, self.tables, strict=True):
                    table[_context(kind, y, source, place)][token] += 1

    def shares(self, y: Sequence[int], source: Sequence[int]) -> np.ndarray:
        """The probability of every token at each place of a sequence."""
        return np.stack([self._shares(y, source, place) for place in range(len(y))])

    def _shares(self, y: Sequence[int], source: Sequence[int], place: int) -> np.ndarray:
        shares = np.full(self.classes, 1 / self.classes)
        for level, (kind, table) in enumerate(zip(self.ladder, self.tables, strict=True)):
            after = table.get(_context(kind, y, source, place))
            if not after:
                continue
            total, different = after.total(), len(after) if level else SMOOTHING * after.total()
            shares = shares * (different / (total + different))
            shares[list(after)] += np.array(list(after.values())) / (total + different)
        return shares


def _context(kind: str, y: Sequence[int], source: Sequence[int], place: int) -> Context:
    """What a learner looks at: so many tokens before, -1 in the place of those before the first, and the source's."""
    at = (source[place] if place < len(source) else -1,) if kind.startswith("s") else ()
    before = int(kind.removeprefix("s") or 0)
    return (*at, *(y[place - back] if place >= back else -1 for back in range(1, before + 1)))


def _losses(judge: Judge, found: Next, folds: np.ndarray, tables: Sequence[Counts]) -> Losses | None:
    """The judge's loss of each sequence that is predicted, and its weight."""
    assert isinstance(judge.objective, MarkedObjective)
    values, weights, first = [], [], 0
    for batch, rows, told in zip(found.batches, found.sequences, found.told, strict=True):
        check_time()
        if kept := told.tolist():
            y = batch[1][kept]
            output = torch.zeros(*y.shape, found.classes)
            for row, place in enumerate(kept):
                own, source = rows[place]
                shares = tables[folds[first + place]].shares(own, source)
                output[row, y[row] != NO_TARGET] = torch.from_numpy(shares).log().float()
            try:
                losses = judge.objective.of_output(output, (None, y), Moment())
            except Exception:  # a user's own code
                return None
            if losses is None or losses.value.shape != (len(kept),) or not isinstance(losses.weight, Tensor):
                return None
            values.append(losses.value.double().numpy())
            weights.append(losses.weight.double().numpy())
        first += len(rows)
    found_values, found_weights = np.concatenate(values), np.concatenate(weights)
    return (found_values, found_weights) if np.isfinite(found_values).all() and found_weights.any() else None
