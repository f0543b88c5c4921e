"""The section on alignments that are to go forward, from decoding.json, which is read without trust."""

from typing import Any

from thalweg.report.blocks import Heading, Prose, Section, Table
from thalweg.report.evidence import mapping, mappings
from thalweg.report.wording import clean, number

MOST_TOLD = 10
KINDS = {
    "forward": "went forward through all of the source",
    "again": "read a part of the source again",
    "back": "went back to what had not been read",
    "passed": "passed over a part of the source",
    "nowhere": "looked at half of the source or more at every step: nothing is aligned",
}
"""What an alignment may do, in the order of the table."""
WHY = (
    "The path of an alignment is where each step looked most. Going back, or leaving out, by more than {slack:g} times "
    "the pace that reads the source evenly counts; one that does two things is in both rows. A decoder that repeats "
    "words or leaves some out shows it here, and where it is right all the same, what it read knew of its neighbours. "
    "Between languages whose order differs, going back is no fault."
)


def in_order(found: dict[str, Any], split: str) -> Section:
    """How many alignments went forward, and what the others did; empty where nothing is known of it."""
    known = mapping(found.get("in_order"))
    counts = {str(item.get("kind")): item for item in mappings(known.get("kinds"))}
    rows = [row for kind, said in KINDS.items() if (row := _row(counts.get(kind), said)) is not None]
    title = "Was the source read once, in order?"
    if not rows:
        return Section("in-order", title)
    blocks: list[Any] = [Table(["the alignment", "outputs", "of them right"], rows, plain=(0,))]
    if told := [_told(item) for item in mappings(known.get("told"))[:MOST_TOLD] if item.get("says")]:
        blocks += [
            Heading("Some that did not go forward"),
            Table(["row", "the output", "its alignment"], told, plain=(1, 2)),
        ]
    slack = number(known.get("slack"))
    blocks.append(Prose(WHY.format(slack=slack if slack == slack else 0.0), quiet=True))
    return Section("in-order", title, blocks, f"The alignments of {split}, which are to go forward here.")


def _row(item: dict[str, Any] | None, said: str) -> list[str] | None:
    outputs, right = (number((item or {}).get(key)) for key in ("outputs", "right"))
    if outputs != outputs or right != right or not outputs:
        return None
    return [said, f"{outputs:,.0f}", f"{right:,.0f} ({right / outputs:.0%})"]


def _told(item: dict[str, Any]) -> list[str]:
    row = number(item.get("row"))
    right = "right" if item.get("right") is True else "wrong"
    return [f"{row + 1:,.0f}" if row == row else "", right, clean(item.get("says"), 200)]
