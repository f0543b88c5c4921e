"""What kinds of points there are on an error surface, and how sure it is which one a point is."""

from thalweg.core.spoken import Spoken


class Kind(Spoken):
    """The kind of a point; `str` is the name, `sentence` what it means for whoever trains.

    >>> print(Kind.SADDLE)
    SADDLE
    >>> Kind.SADDLE.sentence
    'A saddle: the gradient is zero, and there is a way down. Take it: thalweg.measure.escape.'
    """

    NOT_STATIONARY = "The gradient is not zero: no critical point. Go on training, perhaps at a smaller rate."
    LOCAL_MINIMUM = "A local minimum: every way out goes up. Lower loss lies elsewhere, or takes another model."
    SADDLE = "A saddle: the gradient is zero, and there is a way down. Take it: thalweg.measure.escape."
    LOCAL_MAXIMUM = "A local maximum: every way out goes down. Take one: thalweg.measure.escape."
    DEGENERATE = "Flat: along some directions the loss does not change, so that none of the other names is shown."


class Certainty(Spoken):
    """How sure a kind is; `str` is the name, `sentence` why.

    >>> print(Certainty.EXACT, Certainty.EXACT.sentence)
    EXACT All eigenvalues were computed.
    """

    MEASURED = "The gradient is longer than chance and rounding make it."
    EXACT = "All eigenvalues were computed."
    HELD_OUT = "What was found on one half of the data holds on the other."
    PROBED = "Eigenvalues leave it open; the loss itself was followed along the flat directions."
    LIKELY = "Lanczos found it from random starts, not from all eigenvalues."
    UNSURE = "The data or the steps are too few to tell."
