r"""How near texts that a model put out are to those that were wanted: exact matches, edits, BLEU and chrF.

The edit rate is the number of units (words or characters) to change, leave out or add until an output is its reference,
over the references' units,

$$ \sum_i \min_r d(y_i, r) \Big/ \sum_i |r_i| , $$

with the nearest of several references. Of characters it is the character error rate, of words the word error rate; of
words that are sounds the phoneme error rate. BLEU (Papineni et al. 2002) and chrF (Popović 2015) are those of sacrebleu
(Post, "A Call for Clarity in Reporting BLEU Scores", 2018), whose signature says how they were computed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from thalweg.core.errors import RecipeError

UNITS = ("characters", "words")
DRAWS = 1000
FIRST = 0x10000
"""Resamples of an interval, and the character that stands for the first word."""


class Edits(NamedTuple):
    """For each output its edits to the nearest reference, and that reference's units; their sums' ratio is the rate.

    >>> edits(["a cat"], [["a dog", "the cat"]], "words")
    Edits(distance=array([1]), length=array([2]))
    """

    distance: Int[np.ndarray, " text"]
    length: Int[np.ndarray, " text"]

    @property
    def rate(self) -> float:
        """Edits per unit of the references; NaN where these have none."""
        return float(self.distance.sum() / self.length.sum()) if self.length.any() else float("nan")


class CorpusScore(NamedTuple):
    """A score of all texts together, from 0 to 100, its interval at 95 %, and how it was computed."""

    value: float
    low: float
    high: float
    signature: str


def edits(outputs: Sequence[str], references: Sequence[Sequence[str]], unit: str = "characters") -> Edits:
    """The edits between each output and the nearest of its references; of two as near ones the longer counts.

    >>> edits(["kitten", ""], [["sitting"], ["ab"]]).distance
    array([3, 2])

    Raises `RecipeError` for an unknown unit, and where outputs and references differ in number or an output has none.
    """
    from torchmetrics.functional.text import edit_distance

    _check_unit(unit)
    _check(outputs, references)
    numbers: dict[str, int] = {}
    distances, lengths = [], []
    for output, several in zip(outputs, references, strict=True):
        given, *wanted = (_as_characters(text, numbers) if unit == "words" else text for text in (output, *several))
        found = [
            (0 if given == reference else int(edit_distance(given, reference, reduction="sum")), -len(reference))
            for reference in wanted
        ]
        distance, length = min(found)
        distances.append(distance)
        lengths.append(-length)
    return Edits(np.array(distances, dtype=np.int64), np.array(lengths, dtype=np.int64))


def aligned(output: str, reference: str, unit: str = "characters") -> tuple[list[bool], list[bool]]:
    """Which units of an output, and which of its reference, no edit touches, where there are the fewest edits.

    Of ways with as few edits, the one that keeps units as late as it can.

    >>> aligned("Haus", "Maus"), aligned("a b", "b", "words")
    (([False, True, True, True], [False, True, True, True]), ([False, True], [True]))

    Raises `RecipeError` for an unknown unit.
    """
    _check_unit(unit)
    given, wanted = (text.split() if unit == "words" else list(text) for text in (output, reference))
    costs = [list(range(len(wanted) + 1))]
    for i, own in enumerate(given, 1):
        above, row = costs[-1], [i]
        for j, other in enumerate(wanted, 1):
            row.append(min(above[j - 1] + (own != other), above[j] + 1, row[j - 1] + 1))
        costs.append(row)
    kept: tuple[list[bool], list[bool]] = ([False] * len(given), [False] * len(wanted))
    i, j = len(given), len(wanted)
    while i and j:
        here = costs[i][j]
        if given[i - 1] == wanted[j - 1] and here == costs[i - 1][j - 1]:
            kept[0][i - 1] = kept[1][j - 1] = True
        if here == costs[i - 1][j - 1] + (given[i - 1] != wanted[j - 1]):
            i, j = i - 1, j - 1
        elif here == costs[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return kept


def exact(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> Bool[np.ndarray, " text"]:
    """Whether each output is one of its references.

    >>> exact(["a", "b"], [["b", "a"], ["a"]])
    array([ True, False])

    Raises `RecipeError` as `edits` does.
    """
    _check(outputs, references)
    return np.array([output in several for output, several in zip(outputs, references, strict=True)], dtype=bool)


def bleu(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> CorpusScore:
    """BLEU of all outputs, 0 to 100, with sacrebleu's own tokens (13a) and a bootstrap over the texts.

    >>> round(bleu(["the cat sat on the mat"], [["the cat sat on the mat"]]).value, 6)
    100.0

    Raises `RecipeError` as `edits` does.
    """
    from sacrebleu.metrics import BLEU

    return _corpus_score(BLEU(), outputs, references)


def chrf(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> CorpusScore:
    """The chrF of all outputs, 0 to 100: the F score of runs of one to six characters, recall counted twice (beta 2).

    >>> chrf(["haus"], [["haus"]]).value
    100.0

    Raises `RecipeError` as `edits` does.
    """
    from sacrebleu.metrics import CHRF

    class Floating(CHRF):
        """Scores of one type: that of a resample without any match is no float32, as others are, and has no mean."""

        def _compute_f_score(self, statistics: Any) -> float:
            return float(super()._compute_f_score(statistics))

    return _corpus_score(Floating(), outputs, references)


def _corpus_score(metric: Any, outputs: Sequence[str], references: Sequence[Sequence[str]]) -> CorpusScore:
    _check(outputs, references)
    if not outputs:
        return CorpusScore(float("nan"), float("nan"), float("nan"), "")
    most = max(map(len, references))
    streams = [[several[k] if k < len(several) else None for several in references] for k in range(most)]
    value = float(metric.corpus_score(list(outputs), streams).score)
    if len(outputs) < 2:
        return CorpusScore(value, value, value, str(metric.get_signature()))
    low, high = _resampled(metric, metric._extract_corpus_statistics(list(outputs), streams))
    return CorpusScore(value, min(max(low, 0.0), value), max(min(high, 100.0), value), str(metric.get_signature()))


def _resampled(metric: Any, counts: Any) -> tuple[float, float]:
    """The ends of sacrebleu's own interval, which it cannot compute itself where texts share nothing in some draws.

    The mean of such draws, of which some scores are numbers of numpy in single precision and others Python's 0.0, ends
    in a `TypeError` of the standard library.
    """
    from sacrebleu.significance import _bootstrap_resample

    metric.n_bootstrap = DRAWS  # its signature then says so
    metric.seed, found = _bootstrap_resample(counts, metric, DRAWS)
    drawn = sorted(float(score.score) for score in found)
    beside = DRAWS // 40
    middle, half = sum(drawn) / DRAWS, 0.5 * (drawn[DRAWS - beside - 1] - drawn[beside])
    return middle - half, middle + half


def _check_unit(unit: str) -> None:
    if unit not in UNITS:
        raise RecipeError(f"unit={unit!r} is not known. Give one of {', '.join(UNITS)}.")


def _check(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    lacking = [i for i, several in enumerate(references) if not several]
    if len(outputs) != len(references) or lacking:
        told = f"output {lacking[0]} has none" if lacking else f"there are {len(references)} for {len(outputs)} outputs"
        raise RecipeError(
            f"Each output has a list of one or more references, but {told}. Give references=[[text], ...]."
        )


def _as_characters(text: str, numbers: dict[str, int]) -> str:
    """A text whose characters are the words of this one, each word always the same."""
    return "".join(chr(FIRST + numbers.setdefault(word, len(numbers))) for word in text.split())
