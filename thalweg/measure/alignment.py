r"""Monotony: whether an alignment goes through its source from beginning to end, or reads again, or passes over.

A decoder that goes wrong on long inputs repeats words or leaves some out, and its attention shows it: it goes back, or
jumps ahead. The path of an alignment $A$, of $T$ steps over $N$ positions, is where each step looks most,

$$ c_t = \arg\max_n A_{tn}, \qquad s = \max(1, N / T) $$

and $s$ is the stride of an even pace. A step goes back where $c_t$ is more than $k s$ before the farthest since the
last return; what it then reads it reads again, if it had looked there or a stride beside it. Positions between two
neighbours of all $c_t$ are passed over where these are more than $(k + 1) s$ apart, or more than $k s$ from an end; $k$
is the slack. That is for pairs whose order agrees, as of speech and its text or spelling and sound: translation goes
back for good reasons. Weights alone are read: where each position of the source already knows of its neighbours, as
behind a recurrent encoder, a model may be right and flagged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import describe

EVENLY = 0.5
"""From so large a share of the source on that a step looks at, nothing is aligned."""


class Return(NamedTuple):
    """At a step it went back, and read from `first` to `last`; `again` where it had read most of that before.

    >>> monotony(torch.eye(8)[[0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7]]).returns
    (Return(step=6, first=1, last=5, again=True),)
    """

    step: int
    first: int
    last: int
    again: bool


@dataclass(frozen=True)
class Monotony:
    """What an alignment does with its source; steps and positions count from 0, ranges have both ends.

    `spread` is how many positions a step looks at, the exponential of its entropy, as a share of the source.

    >>> found = monotony(torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.7, 0.3]]))
    >>> found.path, round(found.spread, 2), found.aligned
    ((0, 2), 0.48, True)
    """

    path: tuple[int, ...]
    positions: int
    returns: tuple[Return, ...]
    passed_over: tuple[tuple[int, int], ...]
    spread: float

    @property
    def aligned(self) -> bool:
        """Whether steps look somewhere rather than everywhere; else the path means nothing."""
        return self.positions == 1 or self.spread < EVENLY

    @property
    def monotonic(self) -> bool:
        """Whether it goes forward through all of its source."""
        return self.aligned and not self.returns and not self.passed_over

    def says(
        self, units: Sequence[str] | None = None, between: str = " ", *, seconds: Sequence[float] | None = None
    ) -> str:
        """What it does in words, of `units` of the source, of `seconds` at which its positions begin and the last ends,
        else of its positions.

        >>> monotony(torch.eye(6)).says()
        'It goes forward through the source.'
        >>> path = torch.eye(8)[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7]]
        >>> monotony(path).says("a b c d e f g h".split())
        'It reads "a b c d e" again at step 5.'
        >>> monotony(torch.eye(9)[[0, 1, 2, 8, 8, 8, 8, 8, 8]]).says()
        'It passes over positions 3 to 7.'
        >>> monotony(torch.eye(9)[[0, 1, 2, 8, 8, 8, 8, 8, 8]]).says(seconds=[0.04 * i for i in range(10)])
        'It passes over 0.12 to 0.32 s.'
        """
        if not self.aligned:
            return f"It looks at {self.spread:.0%} of the source at every step: nothing is aligned."

        def named(first: int, last: int) -> str:
            if units is not None:
                return f'"{between.join(units[first : last + 1])}"'
            if seconds is not None:
                return f"{seconds[first]:.2f} to {seconds[last + 1]:.2f} s"
            return f"positions {first} to {last}" if last > first else f"position {first}"

        lines = [
            f"It reads {named(first, last)} again at step {step}."
            if again
            else f"It goes back at step {step}, to {named(first, last)}, which it had not read."
            for step, first, last, again in self.returns
        ]
        lines += [f"It passes over {named(*each)}." for each in self.passed_over]
        return " ".join(lines) or "It goes forward through the source."


@no_type_check
def monotony(weights: Float[Tensor, "target source"], *, slack: float = 3.0) -> Monotony:
    """Whether an alignment goes forward, where it does not, and what it leaves out.

    `weights` are those of one example without padding, a row for each step, which need not sum to 1. Raises
    `RecipeError` for weights that are no such matrix, negative or not finite, a step without any, and a slack below 0.

    >>> found = monotony(torch.eye(9)[[0, 1, 2, 3, 4, 5, 0, 1, 2, 3]])
    >>> found.returns, found.passed_over, found.monotonic
    ((Return(step=6, first=0, last=3, again=True),), (), False)
    """
    _check(weights, slack)
    steps, positions = weights.shape
    path = weights.argmax(1).tolist()
    stride = max(1.0, positions / steps)
    shares = weights / weights.sum(1, keepdim=True)
    spread = float(torch.special.entr(shares).sum(1).exp().mean()) / positions
    return Monotony(
        tuple(path),
        positions,
        tuple(_returns(path, slack * stride, stride)),
        tuple(_passed_over(path, positions, slack * stride, stride)),
        spread,
    )


def _returns(path: list[int], reach: float, stride: float) -> list[Return]:
    """Where the path goes back, and what it reads until it is where it had been; steps back in a row are one."""
    starts: list[tuple[int, int]] = []
    farthest, latest = path[0], -1
    for step, place in enumerate(path):
        descending = latest == step - 1 and step > 0 and place < farthest
        if descending or farthest - place > reach:
            if not descending:
                starts.append((step, farthest))
            farthest, latest = place, step
        else:
            farthest = max(farthest, place)
    ends = [step for step, _ in starts[1:]] + [len(path)]
    return [_return(path, *start, end, stride) for start, end in zip(starts, ends, strict=False)]


def _return(path: list[int], step: int, farthest: int, end: int, stride: float) -> Return:
    """What is read from a step back until the path is where it was, or goes back once more."""
    read = list(takewhile(lambda place: place <= farthest, path[step:end]))
    known = [any(abs(place - before) < stride + 0.5 for before in path[:step]) for place in read]
    return Return(step, min(read), max(read), again=sum(known) > len(known) / 2)


def _passed_over(path: list[int], positions: int, reach: float, stride: float) -> list[tuple[int, int]]:
    """The ranges between neighbours of the path, and at both ends, that are too long."""
    places = sorted(set(path))
    inner = [(a + 1, b - 1) for a, b in pairwise(places) if b - a > reach + stride]
    before = [(0, places[0] - 1)] if places[0] > reach else []
    behind = [(places[-1] + 1, positions - 1)] if positions - 1 - places[-1] > reach else []
    return before + inner + behind


def _check(weights: Any, slack: float) -> None:
    if not (isinstance(weights, Tensor) and weights.dim() == 2 and weights.numel() and weights.is_floating_point()):
        raise RecipeError(
            f"monotony was given {describe(weights)}, but it reads the weights of one example, (target, source), with "
            "a step and a position at least. Give one matrix, without its padding: maps[i, :steps, :positions]."
        )
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()) or not bool((weights.sum(1) > 0).all()):
        raise RecipeError(
            "monotony: weights are negative or not finite, or a step has none. Give attention's weights after the "
            "softmax, and leave steps and positions of padding out."
        )
    if not (slack >= 0 and math.isfinite(slack)):
        raise RecipeError(f"monotony: slack is {slack!r}, but it is a number of strides, at least 0. Give slack=3.0.")
