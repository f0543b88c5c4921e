"""Texts that a trained model puts out for sources: decoded in batches of like lengths, in the sources' own order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import nn

from thalweg.core.decoder import check_decoder
from thalweg.core.errors import RecipeError
from thalweg.core.nest import to_device
from thalweg.core.notices import notice
from thalweg.data import PairSource, SpeechSource
from thalweg.data.places import where
from thalweg.decode import Hypothesis, beam_search, greedy
from thalweg.recipes.output_forms import held_to_form, tokens_needed

AT_ONCE, POSITIONS = 128, 2**13
"""The sources and the positions of a source that a batch may have."""
MOST_READ = 2000
"""Tokens of a source that are read to be decoded: more take minutes, and are no sentence."""
PER_UNIT, BESIDE = 2, 20
"""An output has at most so many tokens for each of its source, and so many more."""
FRAMES = 4
"""Of a recording: one for so many frames, 25 for a second."""


@dataclass(frozen=True)
class Decoding:
    """How outputs are searched for: `beam` hypotheses side by side (1: greedily), of which `nbest` are given.

    `length_penalty` is that of `beam_search`; `longest` is the most tokens of an output, by default twice those of its
    source and 20, of trees as many for each word as those of training had at most, and 20. With `constrained` an output
    is a tree or a set at every step where targets are; without, it is made one at its end.
    Raises `RecipeError` for numbers out of their range.
    """

    beam: int = 5
    nbest: int = 1
    length_penalty: float = 0.6
    longest: int | None = None
    constrained: bool = True

    def __post_init__(self) -> None:
        for name, least in (("beam", 1), ("nbest", 1), ("longest", 1)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise RecipeError(f"{name}={value!r}, but it is a whole number of at least {least}.")
        if self.nbest > self.beam:
            raise RecipeError(
                f"nbest={self.nbest} outputs cannot come of a beam of {self.beam}. Give --beam {self.nbest} or more "
                "(beam=)."
            )


class Output(NamedTuple):
    """A text that was put out, what it was ranked by, its log-likelihood in nats, and whether it was of the form that
    targets have, a tree or a set, before it was repaired.
    """

    text: str
    score: float
    log_likelihood: float
    whole: bool = True


def decoded(
    model: nn.Module,
    source: PairSource | SpeechSource,
    decoding: Decoding | None = None,
    device: torch.device | None = None,
) -> list[list[Output]]:
    """For each source its `nbest` outputs, the best first; fewer where it has no more.

    Raises `RecipeError` for a model that cannot be decoded from.
    """
    check_decoder(model)
    decoding = decoding or Decoding()
    found: list[list[Output]] = [[] for _ in range(len(source))]
    for places, inputs in _batches(source):
        there = inputs if device is None else to_device(inputs, device)
        longest = longest_of(source, places, there, decoding.longest)
        held = held_to_form(model, source, longest, places) if decoding.constrained else model
        for place, hypotheses in zip(places.tolist(), _searched(held, there, decoding, longest), strict=True):
            found[place] = [_output(source, place, each) for each in hypotheses]
    return found


def _output(source: PairSource | SpeechSource, place: int, found: Hypothesis) -> Output:
    whole = not isinstance(source, PairSource) or source.whole(found.tokens, place)
    return Output(source.text(found.tokens, place), found.score, found.log_likelihood, whole)


def _batches(source: PairSource | SpeechSource) -> Iterator[tuple[torch.Tensor, Any]]:
    """The places and inputs of each batch, the longest sources first: each batch begins with its own longest.

    No more than `MOST_READ` tokens are read: attention grows with their square.
    """
    lengths = source.lengths[:, 0]
    most = int(lengths.max(initial=1))
    if isinstance(source, PairSource):  # of a recording its own encoding says how much is read
        say_long(source.rows.index[is_long(lengths)], most)
        most = MOST_READ
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        longest = min(most, max(1, int(lengths[order[start]])))
        places = torch.from_numpy(order[start : start + min(AT_ONCE, max(1, POSITIONS // longest))])
        inputs = source.inputs(places)
        read = {name: each[:, :most] for name, each in inputs.items() if name != "lengths"}
        yield places, read | {"lengths": inputs["lengths"].clamp(max=most)}
        start += len(places)


def is_long(lengths: Int[np.ndarray, " source"]) -> Bool[np.ndarray, " source"]:
    """Which sources are read in part.

    >>> is_long(np.array([3, 2001])).tolist()
    [False, True]
    """
    return lengths > MOST_READ


def say_long(lines: "pd.Index[Any]", longest: int) -> None:
    """Say which sources are read in part, where there are such.

    >>> from thalweg.core.notices import collecting
    >>> with collecting() as said:
    ...     say_long(pd.Index([7], name="line"), 2500)
    >>> said
    ['1 source has more than 2,000 tokens (line 7), up to 2,500: what stands behind these is not read. Divide it at its
    sentences.']
    """
    if len(lines):
        have = "source has" if len(lines) == 1 else "sources have"
        notice(
            f"{len(lines):,} {have} more than {MOST_READ:,} tokens ({where(lines, np.ones(len(lines), dtype=bool), 3)})"
            f", up to {longest:,}: what stands behind these is not read. Divide it at its sentences."
        )


def most_for(units: Any) -> Any:
    """The most tokens of an output for so many units of its source, or of its target: a number, or a tensor of them.

    >>> most_for(100)
    220
    """
    return units * PER_UNIT + BESIDE


def most_tokens(inputs: Any) -> Int[torch.Tensor, " source"]:
    """How many tokens the output of each source has at most, by how long it is.

    >>> lengths = torch.tensor([100])
    >>> most_tokens({"source": torch.ones(1, 100, dtype=torch.int64), "lengths": lengths})
    tensor([220])
    >>> most_tokens({"source": torch.ones(1, 100, 40), "lengths": lengths})
    tensor([45])
    """
    lengths: torch.Tensor = inputs["lengths"]
    recorded = inputs["source"].is_floating_point()
    most: torch.Tensor = lengths // FRAMES + BESIDE if recorded else most_for(lengths)
    return most


def longest_of(
    source: PairSource | SpeechSource, places: Int[torch.Tensor, " some"], inputs: Any, longest: int | None = None
) -> Int[torch.Tensor, " some"]:
    """The most tokens of the outputs of some sources: as many as are asked for, as their form needs, or by length."""
    if longest is not None:
        return torch.full_like(inputs["lengths"], longest)
    needed = tokens_needed(source, places)
    return most_tokens(inputs) if needed is None else needed.to(inputs["lengths"].device) + BESIDE


def _searched(
    model: nn.Module, inputs: Any, decoding: Decoding, longest: Int[torch.Tensor, " some"]
) -> list[list[Hypothesis]]:
    if decoding.beam == 1:
        return [[each] for each in greedy(model, inputs, longest=longest)]
    return beam_search(
        model,
        inputs,
        width=decoding.beam,
        nbest=decoding.nbest,
        length_penalty=decoding.length_penalty,
        longest=longest,
    )
