r"""Sentences of a hidden Markov source: what the best reader of them can know, no network can do better than.

A state $s_t$ of `states` stays as it is with probability `STAY` and is drawn anew otherwise; a word $w_t$ is drawn from
the words of its state, some of which are far more frequent than others. The forward and backward recursions (Rabiner,
"A Tutorial on Hidden Markov Models", 1989, section III) give the probability of each state given all words, and of each
word given those before it: their mean negative logarithms are the least expected loss of tagging and of modelling.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.tokens import MARKS, NO_TARGET, PADDING

STAY = 0.8
FIRST_WORD = len(MARKS)
"""Words are numbered behind the marks of padding and the like."""


class HiddenMarkov(NamedTuple):
    """How a state follows a state, and which words it has."""

    moves: Float[np.ndarray, "state state"]
    words: Float[np.ndarray, "state word"]


class Sentences(NamedTuple):
    """Padded words, how many there are, and the state behind each: -100 at padding."""

    words: Int[Tensor, "sentence length"]
    lengths: Int[Tensor, " sentence"]
    states: Int[Tensor, "sentence length"]


def hidden_markov(seed: int, *, states: int = 5, words: int = 40) -> HiddenMarkov:
    """A source: every state has favourite words of its own, by Zipf's law, and shares all with the others.

    >>> source = hidden_markov(0)
    >>> source.moves.sum(1).round(6).tolist(), source.words.shape
    ([1.0, 1.0, 1.0, 1.0, 1.0], (5, 40))
    """
    random = np.random.default_rng([seed, 71])
    moves = STAY * np.eye(states) + (1 - STAY) * np.full((states, states), 1 / states)
    zipf = 1 / np.arange(1, words + 1)
    emitted = np.stack([zipf[random.permutation(words)] for _ in range(states)])
    return HiddenMarkov(moves, emitted / emitted.sum(1, keepdims=True))


def sentences(source: HiddenMarkov, count: int, lengths: tuple[int, int], *purpose: int) -> Sentences:
    """So many sentences of a length between the two, each seed and purpose its own.

    >>> words, lengths, states = sentences(hidden_markov(0), 3, (2, 6), 1)
    >>> words.shape, bool((words[torch.arange(6) >= lengths[:, None]] == PADDING).all())
    (torch.Size([3, 6]), True)
    """
    random = np.random.default_rng([*purpose, 72])
    shortest, longest = lengths
    chosen = random.integers(shortest, longest + 1, count)
    states = np.empty((count, longest), dtype=np.int64)
    states[:, 0] = random.integers(0, len(source.moves), count)
    for time in range(1, longest):
        states[:, time] = _drawn(source.moves[states[:, time - 1]], random)
    words = _drawn(source.words[states], random) + FIRST_WORD
    padding = np.arange(longest) >= chosen[:, None]
    words[padding], states[padding] = PADDING, NO_TARGET
    return Sentences(torch.from_numpy(words), torch.from_numpy(chosen), torch.from_numpy(states))


def _drawn(shares: Float[np.ndarray, "... choice"], random: np.random.Generator) -> Int[np.ndarray, "..."]:
    """One choice by each row of shares."""
    passed = shares.cumsum(-1) < random.random((*shares.shape[:-1], 1))
    return np.asarray(passed.sum(-1).clip(max=shares.shape[-1] - 1))


def least_losses(source: HiddenMarkov, given: Sentences) -> tuple[float, float]:
    """What the best reader loses a position, in nats: tagging words by all words, and telling the next by those before.

    When a sentence ends is not asked of the reader of the next word; the first word counts, told by no word at all.

    >>> source = hidden_markov(0)
    >>> tagging, modelling = least_losses(source, sentences(source, 20, (5, 9), 1))
    >>> bool(0 < tagging < np.log(5)), bool(tagging < modelling < np.log(40))
    (True, True)
    """
    tagging, modelling, count = 0.0, 0.0, 0
    for words, length, states in zip(*(each.numpy() for each in given), strict=True):
        likely = source.words[:, words[:length] - FIRST_WORD].T
        ahead, scales = np.empty_like(likely), np.empty(length)
        belief = np.full(len(source.moves), 1 / len(source.moves))
        for time in range(length):
            joint = belief * likely[time]
            scales[time] = joint.sum()
            ahead[time] = joint / scales[time]
            belief = ahead[time] @ source.moves
        back = np.ones(len(source.moves))
        for time in range(length - 1, -1, -1):
            both = ahead[time] * back
            tagging -= np.log(both[states[time]] / both.sum())
            back = source.moves @ (likely[time] * back)
            back = back / back.sum()
        modelling -= np.log(scales).sum()
        count += int(length)
    return tagging / count, modelling / count
