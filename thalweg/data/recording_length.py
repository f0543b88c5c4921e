"""How much of a recording is read where nothing is said: what is far longer than the rest is cut off.

A single recording of ten minutes among words of a second would take more time than all of them: attention costs the
square of the length, and what shares its batch is padded to it.
"""

import numpy as np
from jaxtyping import Bool, Int

from thalweg.core.errors import RecipeError
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.audio import LogMel

AUTO = "auto"
USUAL, TIMES = 0.95, 2
"""So many of the recordings are of a usual length, and so many times that length is read of each."""
LEAST, MOST = 512, 2048
"""Frames that are read of each in any case, for they cost little; and at most, as of texts."""


def usual_limit(lengths: Int[np.ndarray, " recording"]) -> int:
    """The frames after which recordings of such lengths are cut off: twice what 95 of 100 have, from 512 to 2,048.

    >>> usual_limit(np.array([60] * 99 + [60_001])), usual_limit(np.arange(300, 700)), usual_limit(np.array([3000] * 9))
    (512, 1358, 2048)
    """
    usual = int(np.quantile(lengths, USUAL, method="lower")) if len(lengths) else 0
    return min(MOST, max(LEAST, TIMES * usual))


def read_of_each(
    longest: int | str | None, lengths: Int[np.ndarray, " recording"], held: Bool[np.ndarray, " recording"], mel: LogMel
) -> int | None:
    """The frames that are read of each: those that are asked for, None for all, or by default `usual_limit` the held.

    Raises `RecipeError` for another text.
    """
    if longest != AUTO:
        if isinstance(longest, str):
            raise RecipeError(
                f"longest={longest!r}, but it is after how many frames a recording is cut off, a whole number of at "
                'least 1, or "auto", or none for all of it. Give for instance 1000.'
            )
        return longest
    limit = usual_limit(lengths[held])
    if beyond := int((lengths > limit).sum()):
        verb, most = "is" if beyond == 1 else "are", int(lengths.max())
        notice(
            f"{counted(beyond, 'recording')} of {len(lengths):,} {verb} longer than {limit:,} frames "
            f"({limit * mel.hop:.3g} s), up to {most:,} ({most * mel.hop:,.3g} s), and cut off there: twice the length "
            f"that 95 of 100 keep within is read, at least {LEAST} and at most {MOST:,} frames. --set data.longest=N "
            "reads another length, data.longest=none all of it, but attention takes time as its square."
        )
    return limit
