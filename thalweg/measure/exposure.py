r"""How far what comes after a prefix is from what should come, whatever the prefix.

An output is a prefix $p$ of $l$ tokens and its continuation $c$; its reference is $r$. A prefix with mistakes may have
come to another place of the reference than its $l$-th, namely to

$$ j = \arg\min_j d(p, r_{\le j}), $$

of several the one nearest to $l$, and what should come from there is the rest. So the continuation is off by
$d(c, r_{> j})$ edits; after a gold prefix that is $d(c, r_{> l})$. One that goes on from a mistake as if nothing had
happened is right. That continuations are worse after a decoder's own prefixes than after gold ones of the same length
is exposure bias (He et al., "Exposure Bias versus Self-Recovery", 2021, compare qualities of continuations so, of text
without a reference). The edits of the whole less those of the prefix would be another count, and a kinder one to wrong
prefixes: both may then be aligned in different ways.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from thalweg.core.errors import RecipeError


def continuation_edits(output: Sequence[Any], reference: Sequence[Any], length: int) -> int:
    """The edits between an output behind its first `length` tokens, and what is left of the reference there.

    >>> continuation_edits("Hausmeister", "Hausmeister", 4), continuation_edits("Hausmist", "Hausmeister", 4)
    (0, 3)
    >>> continuation_edits("Hasmeister", "Hausmeister", 4)  # one is missing in the prefix, none behind it
    0

    Raises `RecipeError` for an output that is shorter than its prefix.
    """
    if not 0 <= length <= len(output):
        raise RecipeError(
            f"length={length}, but the output has {len(output)} tokens, of which the first are its prefix. Leave out "
            "outputs that ended before."
        )
    before = to_each_beginning(output[:length], reference)
    places = np.flatnonzero(before == before.min())
    place = int(places[np.abs(places - length).argmin()])
    return int(to_each_beginning(output[length:], reference[place:])[-1])


def to_each_beginning(output: Sequence[Any], reference: Sequence[Any]) -> Int[np.ndarray, " place"]:
    """The edits between an output and the first 0, 1, 2 ... tokens of a reference (Levenshtein's distance, row by row).

    >>> to_each_beginning("ac", "abc").tolist()
    [2, 1, 1, 1]
    """
    numbers = {token: number for number, token in enumerate(dict.fromkeys(reference))}
    wanted = np.array([numbers[token] for token in reference], dtype=np.int64)
    places = np.arange(len(wanted) + 1)
    row = places
    for count, token in enumerate(output, 1):
        changed = row[:-1] + (wanted != numbers.get(token, -1))
        row = np.concatenate([[count], np.minimum(changed, row[1:] + 1)])
        row = np.minimum.accumulate(row - places) + places
    return row
