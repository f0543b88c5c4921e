r"""Brackets of trees that were put out, against those that were wanted: precision, recall and F1 as evalb counts them.

A bracket is its label, its first word and the word behind its last. Of all sentences together,

$$ P = \frac{\sum_i |g_i \cap w_i|}{\sum_i |g_i|}, \quad R = \frac{\sum_i |g_i \cap w_i|}{\sum_i |w_i|}, \quad
   F_1 = \frac{2 P R}{P + R}, $$

for the given brackets $g_i$ and the wanted $w_i$ of a sentence, of which one may occur twice and then counts twice
(PARSEVAL: Black et al. 1991; evalb: Sekine & Collins 1997). Without labels a bracket is its words alone. Which brackets
are scored is decided where trees are read (`thalweg.data.bracketed.spans`).
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from thalweg.measure.references import check_references

Bracket = tuple[str, int, int]


class Brackets(NamedTuple):
    """For each sentence its brackets that match, those that were given, and those that were wanted.

    >>> found = brackets([[("NP", 0, 2), ("VP", 2, 4)]], [[[("NP", 0, 2), ("VP", 3, 4), ("PP", 4, 6)]]])
    >>> found.precision, round(found.recall, 3), found.f1
    (0.5, 0.333, 0.4)
    """

    matched: Int[np.ndarray, " sentence"]
    given: Int[np.ndarray, " sentence"]
    wanted: Int[np.ndarray, " sentence"]

    @property
    def precision(self) -> float:
        """The share of the given brackets that are wanted; NaN where there are none."""
        return _ratio(self.matched, self.given)

    @property
    def recall(self) -> float:
        """The share of the wanted brackets that are given; NaN where there are none."""
        return _ratio(self.matched, self.wanted)

    @property
    def f1(self) -> float:
        """The harmonic mean of both; NaN where there is no bracket at all."""
        return _ratio(2 * self.matched, self.given + self.wanted)

    def take(self, ids: Int[np.ndarray, " some"]) -> "Brackets":
        """Some of the sentences, as often as they are named."""
        return Brackets(self.matched[ids], self.given[ids], self.wanted[ids])


def brackets(
    outputs: Sequence[Sequence[Bracket]], references: Sequence[Sequence[Sequence[Bracket]]], *, labelled: bool = True
) -> Brackets:
    """The counts of each output against the reference, of several, with which its own F1 is largest.

    >>> brackets([[("NP", 0, 2)]], [[[("VP", 0, 2)]]], labelled=False).f1
    1.0

    Raises `RecipeError` where outputs and references differ in number, or an output has none.
    """
    check_references(outputs, references, "brackets")
    rows = []
    for given, several in zip(outputs, references, strict=True):
        own = _counted(given, labelled)
        counts = [((own & _counted(wanted, labelled)).total(), len(wanted)) for wanted in several]
        rows.append((*max(counts, key=lambda count: _share(2 * count[0], len(given) + count[1])), len(given)))
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 3)
    return Brackets(table[:, 0], table[:, 2], table[:, 1])


def _counted(found: Sequence[Bracket], labelled: bool) -> Counter[Bracket]:
    return Counter((label if labelled else "", first, end) for label, first, end in found)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _ratio(part: Int[np.ndarray, " sentence"], whole: Int[np.ndarray, " sentence"]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")
