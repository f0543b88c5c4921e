"""Sources and targets of which it is known where in the source each token is said: speech in small, and spelling."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import END, MARKS, NO_TARGET, START
from thalweg.study.orthography import LETTERS, SOUNDS, spanish_words, spoken_word

SIGNS, FEATURES, NOISE = 8, 8, 0.5
LENGTHS, FRAMES = (4, 9), (2, 7)
"""Signs of a text and frames of a sign, from and up to, which is not reached."""
SIGN_TOKENS, SOUND_TOKENS = len(MARKS) + SIGNS, len(MARKS) + len(SOUNDS)
LETTER_TOKENS = len(MARKS) + len(LETTERS)


class Aligned(NamedTuple):
    """Inputs and targets of a model, and which positions of the source each token is to be read from."""

    x: dict[str, Tensor]
    y: Int[Tensor, "text token"]
    own: Bool[Tensor, "text token position"]


class Said(NamedTuple):
    """A token, and the positions of the source that say it: from the first to the one that is not reached."""

    token: int
    first: int
    end: int


def spoken(count: int, seed: int, backwards: bool = False, part: int = 0) -> Aligned:
    """Texts as frames: the same signs for all parts of a seed, and texts of their own.

    >>> said = spoken(2, seed=0)
    >>> said.x["source"].shape[2], said.own.sum(1).max().item(), said.own.any(1).sum(1).equal(said.x["lengths"])
    (8, 1, True)
    """
    signs = np.random.default_rng(seed).normal(size=(SIGNS, FEATURES))
    random = np.random.default_rng((seed, part + 1))
    texts = [random.integers(SIGNS, size=random.integers(*LENGTHS)) for _ in range(count)]
    sources, targets = [], []
    for text in texts:
        frames = random.integers(*FRAMES, size=len(text))
        clean, ends = np.repeat(signs[text], frames, axis=0), np.cumsum(frames)
        sources.append(torch.from_numpy(clean + NOISE * random.normal(size=clean.shape)).float())
        said = [Said(int(sign), int(end - run), int(end)) for sign, run, end in zip(text, frames, ends, strict=True)]
        targets.append(said[::-1] if backwards else said)
    return _aligned(sources, targets)


def spelled(counts: Sequence[int], seed: int) -> list[Aligned]:
    """Spanish words as letters and as sounds, in parts of these sizes that share no word.

    >>> some, others = spelled([3, 2], seed=0)
    >>> some.x["source"].shape[0], others.y.shape[0], some.own.any(2).equal((some.y >= 0) & (some.y != END))
    (3, 2, True)

    Raises `RecipeError` where there are not so many words.
    """
    words, found = np.random.default_rng(seed).permutation(spanish_words()).tolist(), []
    if sum(counts) > len(words):
        raise RecipeError(
            f"{' and '.join(map(str, counts))} words are asked for, but there are {len(words):,}. Give for instance "
            f"words={len(words) // 2}."
        )
    for count in counts:
        part, words = words[:count], words[count:]
        found.append(
            _aligned(
                [torch.tensor([len(MARKS) + LETTERS.index(letter) for letter in word]) for word in part],
                [[Said(SOUNDS.index(sound), first, end) for sound, first, end in spoken_word(word)] for word in part],
            )
        )
    return found


def _aligned(sources: Sequence[Shaped[Tensor, "_ ..."]], targets: Sequence[Sequence[Said]]) -> Aligned:
    steps = max(map(len, targets)) + 1
    source = pad_sequence(list(sources), batch_first=True)
    prefix, y = (torch.full((len(sources), steps), empty) for empty in (0, NO_TARGET))
    own = torch.zeros(len(sources), steps, source.shape[1], dtype=torch.bool)
    for row, said in enumerate(targets):
        tokens = [len(MARKS) + one.token for one in said]
        prefix[row, : len(said) + 1] = torch.tensor([START, *tokens])
        y[row, : len(said) + 1] = torch.tensor([*tokens, END])
        for step, one in enumerate(said):
            own[row, step, one.first : one.end] = True
    return Aligned(
        {"source": source, "lengths": torch.tensor([len(each) for each in sources]), "prefix": prefix}, y, own
    )
