"""Flaws: what a check has seen that is not as it should be, as values.

A check tests one mechanism and measures one number of it. What it sees is a flaw; whether the flaw costs anything is
for the losses to say, so it ranks among the causes only where the loss that it raises is too high.
"""

from dataclasses import asdict, dataclass
from typing import Any

from thalweg.core.spoken import Spoken
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.mechanism import Mechanism


class Sure(Spoken):
    """How sure a check is of what it says."""

    CERTAIN = "It follows from the program: no chance is involved."
    MEASURED = "The number lies outside of what chance gives."
    LIKELY = "It is what is usual for such a number, and there are others."


class Raises(Spoken):
    """Which loss a flaw raises above what the data allow."""

    TRAIN = "The loss on the training data, and with it all others."
    VALIDATION = "The loss on other data of the same kind."
    TEST = "The loss on the test data alone."
    NONE_SEEN = "None that is measured: it makes a number wrong, not the model."


@dataclass(frozen=True)
class Flaw:
    """What a check has seen: the mechanism that it tested, its number, and what a healthy program shows.

    `mechanism` is a name in a few words, the same wherever it is found; `says` is one sentence with
    the number, `mend` what to change, `refuted_by` what would show that it is no flaw.

    >>> flaw = Flaw(
    ...     Cause.WIRING, Mechanism.SOFTMAX_TWICE, "The outputs sum to 1 and the loss takes another softmax", 1.0,
    ...     "logits", "Take the softmax out of the model", "outputs that do not sum to 1",
    ... )
    >>> flaw.to_json()["sure"], flaw.to_json()["raises"]
    ('CERTAIN', 'TRAIN')
    >>> flaw
    Flaw(WIRING, 'softmax twice', 1, certain)
    >>> print(flaw)
    softmax twice. The outputs sum to 1 and the loss takes another softmax.
    To mend it: Take the softmax out of the model.
    """

    cause: Cause
    mechanism: Mechanism
    says: str
    number: float
    healthy: str
    mend: str
    refuted_by: str
    sure: Sure = Sure.CERTAIN
    raises: Raises = Raises.TRAIN
    also: Cause | None = None
    """What it is where it was meant so."""
    columns: tuple[int, ...] = ()
    """The inputs that it is about, where a remedy has to know them."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = {
            "cause": str(self.cause),
            "mechanism": str(self.mechanism),
            "sure": str(self.sure),
            "raises": str(self.raises),
        }
        return asdict(self) | told | {"also": None if self.also is None else str(self.also)}

    def __repr__(self) -> str:
        told = f"{self.cause}, '{self.mechanism}', {self.number:.3g}, {str(self.sure).lower()}"
        return f"{type(self).__name__}({told})"

    def __str__(self) -> str:
        return f"{self.mechanism}. {self.says}.\nTo mend it: {self.mend}."
