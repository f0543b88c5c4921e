r"""Pronouncing dictionaries in the form of CMUdict: a word, and behind it its sounds, with blanks between.

    aalborg(2) AA1 L B AO0 R G # place, danish

A number in brackets counts the pronunciations of a word; what stands behind `#`, and a line that begins with `;;;`, is
a comment. The sounds are those of ARPAbet, and the digit behind a vowel is its stress.
"""

import re
from collections.abc import Iterable
from itertools import islice

import numpy as np
import pandas as pd

from thalweg.core.errors import DataError
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.places import LINE

PHONES = """
    AA AE AH AO AW AX AXR AY B CH D DH DX EH EL EM EN ER EY F G HH IH IX IY JH K L M N NG OW OY P Q R S SH T TH UH UW UX
    V W WH Y Z ZH
"""
SOUNDS = frozenset(PHONES.split())
"""ARPAbet without its digits of stress."""
COMMENT = ";;;"
REMARK = " #"
COUNTED = re.compile(r"\(\d+\)$")
STRESS = re.compile(r"(?<=[A-Z])[0-2](?= |$)")
SAMPLE = 200
NAMES = ("word", "sounds")


def holds_pronunciations(text: str) -> bool:
    r"""Whether the lines at the beginning of a text are words with their sounds.

    >>> holds_pronunciations("a AH0\na(2) EY1\n"), holds_pronunciations("A line of text.\n")
    (True, False)
    """
    lines = list(islice((line for line in text.splitlines() if _entry(line)), SAMPLE))
    spelled = [line for line in lines if _is_spelled(line)]
    return bool(lines) and "\t" not in text[: 1 << 16] and len(spelled) >= 0.95 * len(lines)


def read_pronunciations(name: str, text: str) -> pd.DataFrame:
    r"""The words and sounds of a dictionary, a row for each pronunciation, by the line that it stands on.

    >>> read_pronunciations("cmudict.dict", "a AH0\na(2) EY1 # a letter\n")
         word sounds
    line
    1       a    AH0
    2       a    EY1

    Raises `DataError` for a line without sounds.
    """
    words, sounds, lines = [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not (entry := _entry(line)):
            continue
        word, _, said = entry.partition(" ")
        if not said.strip():
            raise DataError(
                f"{name}, line {number}, has no sounds behind {word!r}. An entry is a word and its sounds, with blanks "
                "between: 'cat K AE1 T'. Complete or remove the line."
            )
        words.append(COUNTED.sub("", word))
        sounds.append(" ".join(said.split()))
        lines.append(number)
    return pd.DataFrame({"word": words, "sounds": sounds}, index=pd.Index(lines, name=LINE), dtype=object)


def without_stress(frame: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """Pairs whose targets are sounds, without their stress; those that differed in stress alone are one, which is said.

    A pair that occurs twice as it is stays twice.

    >>> frame = pd.DataFrame({"word": ["a", "a", "a"], "sounds": ["AH0", "AH1", "EY1"]})
    >>> without_stress(frame, ("word", "sounds"))["sounds"].tolist()
    ['AH', 'EY']
    """
    bare = frame.copy()
    bare[names[1]] = [None if cell is None else STRESS.sub("", cell) for cell in frame[names[1]]]
    distinct = ~frame.duplicated(list(names)).to_numpy()
    other = bare[distinct].duplicated(list(names)).to_numpy()
    gone = set(_pairs(frame[distinct][other], names))
    again = np.array([pair in gone for pair in _pairs(frame, names)], dtype=bool)
    if again.any():
        differ = "differs" if again.sum() == 1 else "differ"
        notice(f"{counted(int(again.sum()), 'pair')} left out that {differ} from another in stress alone.")
    return bare[~again]


def has_stress(sounds: Iterable[str | None]) -> bool:
    """Whether any of these has a digit of stress.

    >>> has_stress(["K AE T", None]), has_stress(["K AE1 T"])
    (False, True)
    """
    return any(cell is not None and STRESS.search(cell) for cell in sounds)


def _pairs(frame: pd.DataFrame, names: tuple[str, str]) -> list[tuple[str, str]]:
    return list(zip(frame[names[0]], frame[names[1]], strict=True))


def _entry(line: str) -> str:
    """A line without comments, tabs or blanks at its ends; empty where there is no more."""
    return "" if line.startswith(COMMENT) else line.partition(REMARK)[0].replace("\t", " ").strip()


def _is_spelled(line: str) -> bool:
    _, *sounds = STRESS.sub("", _entry(line)).split()
    return bool(sounds) and SOUNDS.issuperset(sounds)
