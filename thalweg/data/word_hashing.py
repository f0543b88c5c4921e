"""What the letters of a word say of it, as numbers: an unknown word still has a beginning, an ending and a shape.

Prefixes of 1 to 3 letters, suffixes of 1 to 4, and the shape (`Xx-d` for "Anne-3": runs of capital and small letters,
digits, all else as it is) are hashed into a fixed number of places, so that none of them is ever unknown (Weinberger et
al., "Feature Hashing for Large Scale Multitask Learning", 2009).
"""

import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from jaxtyping import Int

from thalweg.data.word_splitting import normalized

PREFIXES, SUFFIXES = (1, 2, 3), (1, 2, 3, 4)
HASHED = len(PREFIXES) + len(SUFFIXES) + 1
"""How many numbers a word has beside its own."""
PLACES = 2**14
"""Places that they are hashed into where nothing else is said."""


def hashed(words: Sequence[str], places: int) -> Int[np.ndarray, "word feature"]:
    """For each word its prefixes, suffixes and shape as numbers from 1 to `places` - 1; 0 is padding.

    >>> known, unknown = hashed(["nation", "station"], 2**14)
    >>> (known == unknown).astype(int).tolist()
    [0, 0, 0, 1, 1, 1, 1, 1]
    """
    rows = [[crc32(part.encode("utf-8", "replace")) % (places - 1) + 1 for part in _parts(word)] for word in words]
    return np.array(rows, dtype=np.int64).reshape(len(rows), HASHED)


def hashed_once(words: Sequence[str], places: int = PLACES) -> Int[np.ndarray, "word feature"]:
    """The same of normalized words; each different one is looked at once, for in sentences few are new.

    >>> bool((hashed_once(["a", "the", "a"])[[0, 2]] == hashed(["a"], PLACES)).all())
    True
    """
    place: dict[str, int] = {}
    codes = [place.setdefault(word, len(place)) for word in words]
    return hashed(list(map(normalized, place)), places)[np.array(codes, dtype=np.int64)]


def shape(word: str) -> str:
    """The shape of a word.

    >>> shape("Anne-300"), shape("iPhone")
    ('Xx-d', 'xXx')
    """
    return re.sub(r"(X+|x+|d+)", lambda run: run[0][0], "".join(map(_kind, word)))


def _parts(word: str) -> list[str]:
    lower = word.lower()
    begins = [f"{size}<{lower[:size]}" for size in PREFIXES]
    ends = [f"{size}>{lower[-size:]}" for size in SUFFIXES]
    return [*begins, *ends, f"={shape(word)}"]


def _kind(letter: str) -> str:
    if letter.isupper():
        return "X"
    return "x" if letter.isalpha() else "d" if letter.isdigit() else letter
