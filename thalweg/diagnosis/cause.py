"""Causes: what can hold a network back, in the order in which they are asked."""

from thalweg.core.spoken import Spoken


class Cause(Spoken):
    """What holds a network back; `str` is the name, `sentence` what the report prints.

    >>> print(Cause.MODEL_BIAS)
    MODEL_BIAS
    >>> Cause.NONE.sentence
    'Nothing stands out: both losses are as small as these data are known to allow.'
    """

    WIRING = "The program does not compute what was meant."
    DATA = "Labels or inputs are bad."
    OPTIMIZATION = "The model could fit the training data, but training does not find it."
    MODEL_BIAS = "The model is too small or too simple to fit the training data."
    OVERFITTING = "The model fits the training data and fails on others of the same kind."
    MISMATCH = "The test data differ from the training data in a way that costs."
    NONE = "Nothing stands out: both losses are as small as these data are known to allow."
    UNDECIDED = "The experiments do not decide it."
