"""What a step of preparation has thrown away, in all splits alike, by the traces that it leaves in the inputs.

No learner tells what is not in the inputs any more, and no loss shows that it ever was. But a step that throws away
leaves its mark: examples that all come sorted, channels that are all the same, lines of an image or steps in time that
never change, numbers that pile up at the upper end (cut off) or within (gaps that were filled), one word that stands
for all rare ones. Each is harmless where the targets are told all the same. So a trace is the cause only where network
and learners alike leave much untold (`ranking.THROWN_AWAY`), and a note elsewhere.
"""

from collections.abc import Iterator

import numpy as np

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.data_rows import Rows
from thalweg.diagnosis.checks.opinions import opinions
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism

FEWEST = 40
NEARLY_ALL, BY_CHANCE = 0.995, 0.5
"""The share of the examples that come sorted, and that would at most if their parts came in any order."""
BLOCK, LEAST_LINES, LEAST_AXIS = 0.25, 3, 8
"""So much of an axis of so many places at least never changes, in one piece of so many."""
MARKS, CONTINUOUS, LEAST_PILED, MOST_PILES = 20, 0.5, 0.02, 3
"""A place with no more values than these holds marks; how many of the numbers beside the piles differ, and
the least share of all numbers that a pile holds."""
FILLED, BETWEEN, SURELY = 0.05, 0.1, 1e-3
"""The least share of filled gaps, the least share of the values on either side, and the chance of the harm."""
FEWEST_WORDS, COMMON, RARELY, RARE = 50, 0.15, 5, 0.05
"""Of so many words one is this share of all tokens, and so few of them are met less often than so."""


def thrown_away(rows: Rows) -> list[Flaw]:
    """The traces in the inputs of a split: number, the share of the values or examples that bear it."""
    if rows.x is None or len(rows.kept) < FEWEST or not np.isfinite(rows.x).all():
        return []
    asked = (_sorted, _one_word) if rows.tokens else (_same_channels, _never_change, _piles)
    return [flaw for ask in asked for flaw in ask(rows)]


def _sorted(rows: Rows) -> Iterator[Flaw]:
    """Tokens, but for zeros at the ends, that never fall."""
    assert rows.x is not None
    share, chance = (_rising(rows.x if random is None else _shuffled(rows.x)) for random in (None, 0))
    if share >= NEARLY_ALL and chance <= BY_CHANCE:
        yield _flaw(
            Mechanism.ORDER_THROWN_AWAY,
            f"In {share:.1%} of the examples the tokens come sorted: the order in which they came is lost",
            share,
            f"{chance:.0%}, as in a random order",
            "Keep the order of the events: sort by time, not by name, wherever they are read, grouped or joined",
            "examples that are sets, whose order says nothing",
        )


def _rising(x: np.ndarray) -> float:
    held = [row[row != 0] for row in x]
    told = [bool((np.diff(row) >= 0).all()) for row in held if len(np.unique(row)) > 1]
    return float(np.mean(told)) if len(told) >= FEWEST else 0.0


def _shuffled(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).permuted(x, axis=1)


def _one_word(rows: Rows) -> Iterator[Flaw]:
    """One token that stands for all rare ones, where text has many words that are met once or twice, and none is left.

    Padding, which nothing follows or nothing goes before, is left out.
    """
    assert rows.x is not None
    names, counts = np.unique(_unpadded(rows.x.astype(np.int64)), return_counts=True)
    if len(counts) < FEWEST_WORDS or (counts < RARELY).mean() > RARE:
        return
    share, top = float(counts.max() / counts.sum()), names[counts.argmax()]
    if share >= COMMON:
        yield _flaw(
            Mechanism.ONE_WORD_FOR_MANY,
            f"Token {top} is {share:.0%} of all tokens, and of {len(counts)} words hardly one is rare: it stands for "
            "those that the vocabulary lacks",
            share,
            f"below {COMMON:.0%}",
            "A larger vocabulary, or one of parts of words, so that rare words keep a number of their own",
            "a word that is as common by itself",
        )


def _unpadded(x: np.ndarray) -> np.ndarray:
    """The tokens between the runs of one token at both ends."""
    kept = np.zeros(x.shape, bool)
    for row, mask in zip(x, kept, strict=True):
        first, last = (np.flatnonzero(side != side[0]) for side in (row, row[::-1]))
        if len(first):
            mask[(first[0] if row[0] == 0 else 0) : (len(row) - last[0] if last[0] > 1 else len(row))] = True
    return np.asarray(x[kept])


def _same_channels(rows: Rows) -> Iterator[Flaw]:
    """Channels of an image that are all the same in every example."""
    if not rows.image or not 2 <= rows.shape[0] <= 4:
        return
    assert rows.x is not None
    channels = rows.x.reshape(len(rows.x), rows.shape[0], -1)
    if np.allclose(channels, channels[:, :1], rtol=0, atol=1e-6 * float(np.abs(channels).max() + 1e-30)):
        yield _flaw(
            Mechanism.COLOUR_THROWN_AWAY,
            f"All {rows.shape[0]} channels are the same in every example: if there was a colour, it is lost",
            1.0,
            "channels that differ",
            "Read the images in colour; where they have none, one channel is enough",
            "images that never had a colour",
        )


def _never_change(rows: Rows) -> Iterator[Flaw]:
    """Lines of images, or steps of sequences, that are the same in every example: a quarter of the axis in a piece."""
    if rows.names:
        return
    assert rows.x is not None
    still = (np.ptp(rows.x, axis=0) == 0).reshape(rows.shape)
    if still.all():
        return
    axes = range(1, 3) if rows.image else range(still.ndim)
    for axis in axes:
        others = tuple(other for other in range(still.ndim) if other != axis)
        lines = still.all(others) if others else still
        start, length = _longest(lines)
        if len(lines) >= LEAST_AXIS and length >= max(LEAST_LINES, BLOCK * len(lines)):
            yield _flaw(
                Mechanism.A_PART_THAT_NEVER_CHANGES,
                f"Places {start} to {start + length - 1} of {len(lines)} along one axis of the inputs never change in "
                f"{len(rows.x):,} examples: what stood there is cut off or hidden",
                length / len(lines),
                f"below {BLOCK:.0%} in one piece",
                "Look at the inputs as the network reads them: a window that ends too early, a crop, a cover",
                "an edge where nothing ever is",
            )
            return


def _longest(lines: np.ndarray) -> tuple[int, int]:
    """Where the longest run begins, and how long it is.

    >>> _longest(np.array([True, False, True, True]))
    (2, 2)
    """
    best, start = (0, 0), 0
    for place, still in enumerate([*lines.tolist(), False]):
        if not still:
            best, start = max(best, (start, place - start), key=lambda run: run[1]), place + 1
    return best


def _piles(rows: Rows) -> Iterator[Flaw]:
    """Values that many numbers have, where all others are continuous: at the upper end, or within."""
    if rows.names or rows.x is None:
        return
    x = rows.x[:, [len(np.unique(column)) > MARKS for column in rows.x.T]]  # marks of a kind or a place are no numbers
    if x.shape[1] < LEAST_AXIS:
        return
    values, counts = np.unique(x, return_counts=True)
    order = np.argsort(-counts)[:MOST_PILES]
    piles = [int(at) for at in order if counts[at] >= LEAST_PILED * counts.sum()]
    rest = np.delete(counts, piles)
    if not piles or rest.sum() < FEWEST or len(rest) < CONTINUOUS * rest.sum():
        return
    if len(values) - 1 in piles:
        share = float(counts[-1] / counts.sum())
        yield _flaw(
            Mechanism.CUT_OFF_AT_AN_END,
            f"{share:.1%} of all numbers are exactly {values[-1]:.4g}, the largest, where others hardly ever meet: "
            "what was larger is cut off",
            share,
            f"below {LEAST_PILED:.0%}",
            "Measure on a wider range, or keep the numbers as they are before a clip",
            "a quantity that truly ends there",
        )
        return
    for at in piles:
        below, share = float(counts[:at].sum() / counts.sum()), float(counts[at] / counts.sum())
        if share >= FILLED and min(below, 1 - share - below) >= BETWEEN and _harms(rows, values[at]):
            yield _flaw(
                Mechanism.GAPS_FILLED_WITH_A_NUMBER,
                f"{share:.1%} of all numbers are exactly {values[at]:.4g}, amid others that hardly ever meet, and "
                "examples with more of them are told worse: missing numbers were filled in",
                share,
                f"below {FILLED:.0%}",
                "Find the numbers, or mark what is missing in a channel of its own and fill from the neighbours",
                "a quantity that truly takes this one value so often",
            )
            return


def _harms(rows: Rows, value: float) -> bool:
    """Whether what is said out of fold of examples that hold more of a value is surely worse."""
    from scipy.stats import spearmanr

    from thalweg.diagnosis.checks.another_kind import errors_of, numbers_of, out_of_fold

    assert rows.x is not None
    if rows.classes:
        known = opinions(rows)
        if known is None:
            return False
        errors, x = 1 - known.shares[np.arange(len(known.y)), known.y], known.x
    else:
        read = numbers_of(rows, rows)
        if read is None:
            return False
        x, y = read[:2]
        errors = errors_of(out_of_fold(rows, x, y), y, np.maximum(y.std(0), 1e-12))
    held = (x == value).mean(1)
    if np.ptp(held) == 0:
        return False
    found = spearmanr(held, errors, alternative="greater")
    return bool(found.pvalue < SURELY)


def _flaw(mechanism: Mechanism, says: str, number: float, healthy: str, mend: str, refuted_by: str) -> Flaw:
    return Flaw(Cause.DATA, mechanism, says, number, healthy, mend, refuted_by, Sure.MEASURED)
