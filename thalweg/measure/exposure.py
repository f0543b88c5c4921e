r"""What a prefix does to what comes after it: the edits that a continuation adds.

An output $y = (p, c)$, a prefix of $l$ tokens and how it goes on, is compared with a reference $r$. Its prefix is
already off by $\min_j d(p, r_{\le j})$ edits, wherever in the reference it may have come to; its continuation adds

$$ a = d(y, r) - \min_j d(p, r_{\le j}) \ge 0, $$

edits, as far as it misses the rest from there. For a prefix of the reference itself it is $d(c, r_{> l})$. So
continuations of gold prefixes and of a decoder's own can be compared: one that made a mistake, and then goes on as if
nothing had happened, adds nothing. That they are worse after own prefixes of the same length is exposure bias (He et
al., "Exposure Bias versus Self-Recovery", 2021, compare qualities of continuations so, of text without a reference).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.core.errors import RecipeError


def added_edits(output: Sequence[Any], reference: Sequence[Any], length: int) -> int:
    """The edits that an output adds behind its first `length` tokens.

    >>> added_edits("Hausmeister", "Hausmeister", 4), added_edits("Hausmist", "Hausmeister", 4)
    (0, 3)
    >>> added_edits("Hasmeister", "Hausmeister", 3)  # one is missing in the prefix, none behind it
    0

    Raises `RecipeError` for an output that is shorter than its prefix.
    """
    if not 0 <= length <= len(output):
        raise RecipeError(
            f"length={length}, but the output has {len(output)} tokens, of which the first are its prefix. Leave out "
            "outputs that ended before."
        )
    numbers = {token: number for number, token in enumerate(dict.fromkeys(reference))}
    wanted = np.array([numbers[token] for token in reference], dtype=np.int64)
    places = np.arange(len(wanted) + 1)
    row = places
    before = int(row.min()) if length == 0 else 0
    for count, token in enumerate(output, 1):
        changed = row[:-1] + (wanted != numbers.get(token, -1))
        row = np.concatenate([[count], np.minimum(changed, row[1:] + 1)])
        row = np.minimum.accumulate(row - places) + places
        if count == length:
            before = int(row.min())
    return int(row[-1]) - before
