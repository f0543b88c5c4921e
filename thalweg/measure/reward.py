"""What an output is worth beside its reference, as a number to be made large: what a decoder can be trained by.

Each is `(output, reference) -> float`, 1 for an output that is right. BLEU (Papineni et al. 2002) and chrF (Popović
2015) of one text are those of sacrebleu (Post 2018), divided by 100: BLEU with orders that a short text has, and where
an order has no match, exponential smoothing (Chen & Cherry, "A Systematic Comparison of Smoothing Techniques for
Sentence-Level BLEU", 2014, technique 3). The error rates are taken from 1, so that a long wrong output is worth less
than 0.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from thalweg.measure.texts import edits

Worth = Callable[[str, str], float]


def sentence_bleu(output: str, reference: str, unit: str = "words") -> float:
    """BLEU of one text, 0 to 1, of its words (sacrebleu's 13a) or its characters.

    >>> round(sentence_bleu("a cat sat", "a cat sat"), 6), sentence_bleu("", "a cat")
    (1.0, 0.0)
    >>> sentence_bleu("a cat sat down", "the cat sat down") > sentence_bleu("down cat sat a", "the cat sat down")
    True
    """
    return float(_bleu("char" if unit == "characters" else "13a").sentence_score(output, [reference]).score) / 100


def sentence_chrf(output: str, reference: str) -> float:
    """The chrF of one text, 0 to 1.

    >>> sentence_chrf("haus", "haus"), sentence_chrf("maus", "haus") < 1
    (1.0, True)
    """
    return float(_chrf().sentence_score(output, [reference]).score) / 100


def sentence_exact(output: str, reference: str) -> float:
    """1 for an output that is its reference, else 0.

    >>> sentence_exact("haus", "haus"), sentence_exact("maus", "haus")
    (1.0, 0.0)
    """
    return float(output == reference)


def without_errors(output: str, reference: str, unit: str = "words") -> float:
    """1 minus the edits over the units of the reference, of which an empty one has one.

    >>> without_errors("a dog", "a cat"), without_errors("maus", "haus", "characters"), without_errors("a b c", "a")
    (0.5, 0.75, -1.0)
    """
    found = edits([output], [[reference]], unit)
    return 1 - float(found.distance[0]) / max(1, int(found.length[0]))


REWARDS: Mapping[str, Callable[[str], Worth]] = {
    "bleu": lambda unit: partial(sentence_bleu, unit=unit),
    "chrf": lambda unit: sentence_chrf,
    "exact": lambda unit: sentence_exact,
    "wer": lambda unit: without_errors,
    "cer": lambda unit: partial(without_errors, unit="characters"),
}
"""By their names, for targets that are "words" or "characters"."""


@cache
def _bleu(tokens: str) -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize=tokens, effective_order=True)


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()
