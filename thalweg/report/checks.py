"""What the checks of wiring, data and dynamics have seen, with the mend of each."""

from typing import Any

from thalweg.report.blocks import Prose, Section, Table
from thalweg.report.evidence import Evidence, mappings
from thalweg.report.wording import clean, quantity, spoken

MOST = 30
SURE = {
    "CERTAIN": "certain",
    "MEASURED": "measured, beyond chance",
    "LIKELY": "likely",
}
RAISES = {
    "TRAIN": "train, and all others",
    "VALIDATION": "validation",
    "TEST": "test",
    "NONE_SEEN": "none that is measured",
}
HARM = (
    "A flaw is the cause where the loss that it raises lies above what the data allow, or where it leaves no loss to "
    "judge by, as many copies between splits do; else it is a note."
)


def checks(evidence: Evidence) -> Section:
    """The flaws in a table: what was measured, what is healthy, how sure, which loss it raises, what to change."""
    found = mappings(evidence.finding.get("flaws"))
    title = "What the checks have seen"
    if not found:
        return Section("checks", title)
    rows = [_row(flaw) for flaw in found[:MOST]]
    head = ["flaw", "of", "number", "healthy", "seen", "how sure", "raises the loss on", "to mend it"]
    blocks: list[Any] = [Table(head, rows, plain=(0, 1, 3, 4, 5, 6, 7)), Prose(HARM, quiet=True)]
    if len(found) > MOST:
        blocks.append(Prose(f"{len(found) - MOST} more are in finding.json.", quiet=True))
    return Section("checks", title, blocks)


def _row(flaw: dict[str, Any]) -> list[str]:
    said = [clean(flaw.get(name, ""), 600) for name in ("healthy", "says")]
    sure, raises = str(flaw.get("sure", "")), str(flaw.get("raises", ""))
    return [
        clean(flaw.get("mechanism", "?"), 80),
        spoken(flaw.get("cause", "")),
        quantity(flaw.get("number"), 3),
        *said,
        SURE.get(sure, clean(sure, 40)),
        RAISES.get(raises, clean(raises, 40)),
        clean(flaw.get("mend", ""), 400),
    ]
