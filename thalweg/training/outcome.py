"""How a run ended; each outcome carries the sentence that is shown, and what to do next."""

from thalweg.core.spoken import Spoken


class Outcome(Spoken):
    """The way a run ended.

    >>> print(Outcome.DIVERGED)
    DIVERGED
    >>> Outcome.FINISHED.good
    True
    """

    FINISHED = "All epochs were trained."
    STOPPED_EARLY = "The stopping rule ended the run before the last epoch."
    DIVERGED = "The loss became NaN or infinite: lower the learning rate, clip the gradient, or look at the data."
    INTERRUPTED = "The run was interrupted; the epochs that were done are kept."
    FAILED = "The run raised an error: run.error, or 'error' in its run.json, says which."

    @property
    def good(self) -> bool:
        """Whether the run went to its own end."""
        return self in (Outcome.FINISHED, Outcome.STOPPED_EARLY)
