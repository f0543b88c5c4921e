"""What is said of faults that do no harm, and of what more examples would tell."""

from thalweg.diagnosis import Cause, Finding
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.nothing import _more

UNCLEARED = Flaw(
    Cause.WIRING,
    Mechanism.GRADIENTS_NOT_CLEARED,
    "15 of 15 backward passes add to the gradient of the step before",
    15.0,
    "0",
    "Call optimizer.zero_grad() before each backward pass",
    "a sum over several batches that is meant",
)


def test_a_certain_fault_without_harm_is_no_contradiction_and_says_its_mend() -> None:
    finding = Finding(Cause.NONE, "train and validation loss reach the references", flaws=(UNCLEARED,))
    lines = str(finding).splitlines()
    assert lines[0] == (
        "NONE  Nothing holds the losses back; one certain fault that does no harm yet: gradients not cleared."
    )
    seen = next(i for i, line in enumerate(lines) if line.startswith("Seen, certain: gradients not cleared."))
    assert lines[seen + 1] == "  To mend it: Call optimizer.zero_grad() before each backward pass."
    assert finding.to_json()["sentence"].startswith("Nothing holds the losses back; one certain fault")


def test_what_is_only_likely_or_makes_no_loss_larger_is_no_fault_of_the_headline() -> None:
    for flaw in (
        Flaw(*[getattr(UNCLEARED, name) for name in FIELDS], sure=Sure.LIKELY),
        Flaw(*[getattr(UNCLEARED, name) for name in FIELDS], raises=Raises.NONE_SEEN),
    ):
        assert str(Finding(Cause.NONE, "", flaws=(flaw,))).startswith("NONE  Nothing stands out")
    assert str(Finding(Cause.OVERFITTING, "", flaws=(UNCLEARED,))).startswith("OVERFITTING  The model fits")


FIELDS = ("cause", "mechanism", "says", "number", "healthy", "mend", "refuted_by")


def test_where_examples_are_few_it_is_said_what_can_be_done() -> None:
    wide = Flaw(Cause.DATA, Mechanism.MORE_INPUTS_THAN_EXAMPLES, "", 1.0, "", "", "", Sure.LIKELY, Raises.NONE_SEEN)
    assert "gather rows" in _more(Finding(Cause.UNDECIDED, ""))
    assert "fewer columns" in _more(Finding(Cause.UNDECIDED, "", flaws=(wide,)))
