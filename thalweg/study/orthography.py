"""Spanish, from letters to sounds: the spelling of a word says how it is spoken, and which letters say it.

The rules are those of Real Academia Española, "Ortografía de la lengua española" (2010, chapter 1), as they are spoken
in the north of Spain: `c` before `e` and `i` is not `s`, and `ll` is `y`. A letter may be silent (`h`, `u` in `que`),
two may be one sound (`ch`), one may be two (`x`), and what a letter says depends on its neighbours (`c`, `g`, `r`,
`y`). Stress is left out, and exceptions are read by the rules too: `méxico`, whose `x` is spoken as `j`, and names from
other languages. Sounds are written as in the International Phonetic Alphabet.
"""

import re
from functools import cache
from typing import NamedTuple

from thalweg.data import names_frame

LETTERS = "abcdefghijklmnñopqrstuvwxyzáéíóúü"
SHORTEST, LONGEST = 4, 12
"""Letters of a word that is taken."""
WORD = re.compile(r"[^\W\d_]+")
RULES = tuple(
    (re.compile(pattern), sounds.split())
    for pattern, sounds in (
        ("ch", "tʃ"), ("ll", "ʝ"), ("rr", "r"), ("qu(?=[eéií])", "k"), ("gu(?=[eéií])", "g"), ("gü", "g w"),
        ("c(?=[eéií])", "θ"), ("g(?=[eéií])", "x"), ("(?<![^nls])r", "r"), ("y(?![aeiouáéíóú])", "i"),
        ("i(?=[aeouáéóú])", "j"), ("u(?=[aeioáéíó])", "w"), ("^x", "s"), ("h", ""), ("x", "k s"),
        ("[aá]", "a"), ("[eé]", "e"), ("[ií]", "i"), ("[oó]", "o"), ("[uúü]", "u"), ("[bv]", "b"), ("[ckq]", "k"),
        ("d", "d"), ("f", "f"), ("g", "g"), ("j", "x"), ("l", "l"), ("m", "m"), ("n", "n"), ("ñ", "ɲ"), ("p", "p"),
        ("r", "ɾ"), ("s", "s"), ("t", "t"), ("w", "w"), ("y", "ʝ"), ("z", "θ"),
    )
)  # fmt: skip
"""The first that fits at a place says what is spoken there."""
SOUNDS = tuple(sorted({sound for _, sounds in RULES for sound in sounds}))


class Sound(NamedTuple):
    """A sound, and the letters that say it: from the first to the one that is not reached."""

    sound: str
    first: int
    end: int


def spoken_word(word: str) -> list[Sound]:
    """The sounds of a word of `LETTERS`, each with the letters that say it.

    >>> " ".join(sound.sound for sound in spoken_word("quechua"))
    'k e tʃ w a'
    >>> spoken_word("xhosa")[:2]
    [Sound(sound='s', first=0, end=1), Sound(sound='o', first=2, end=3)]
    """
    found, place = [], 0
    while place < len(word):
        end, sounds = next(
            (fits.end(), sounds) for pattern, sounds in RULES if (fits := pattern.match(word, place)) is not None
        )
        found += [Sound(sound, place, end) for sound in sounds]
        place = end
    return found


@cache
def spanish_words() -> tuple[str, ...]:
    """The words of Spanish names of the world (Unicode CLDR) that `LETTERS` write, each once, in alphabetical order.

    >>> len(spanish_words()) > 1000, "guatemala" in spanish_words()
    (True, True)
    """
    words = {word for name in names_frame("es")["es"] for word in WORD.findall(name.lower())}
    return tuple(sorted(word for word in words if SHORTEST <= len(word) <= LONGEST and set(word) <= set(LETTERS)))
