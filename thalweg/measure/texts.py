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

    if unit not in UNITS:
        raise RecipeError(f"unit={unit!r} is not known. Give one of {', '.join(UNITS)}.")
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
    if len(outputs) < 2:
        found = metric.corpus_score(list(outputs), streams)
        return CorpusScore(found.score, found.score, found.score, str(metric.get_signature()))
    found = metric.corpus_score(list(outputs), streams, n_bootstrap=DRAWS)
    low, high = float(found._mean - found._ci), float(found._mean + found._ci)
    return CorpusScore(
        found.score, min(max(low, 0.0), found.score), max(min(high, 100.0), found.score), str(metric.get_signature())
    )


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
