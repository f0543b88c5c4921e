"""The sections on texts that a model put out, from decoding.json, which is read without trust."""

from typing import Any

from thalweg.report.alignments import in_order
from thalweg.report.beam_tree import PER_ROW, draw_tree, path_of, read_levels
from thalweg.report.blocks import Compared, Facts, Heading, Heat, Prose, Section, Table
from thalweg.report.evidence import Evidence, mapping, mappings, texts
from thalweg.report.wording import clean, number, spoken

MOST_WORST, MOST_MAPS, MOST_UNITS, LONGEST, SHORT = 20, 6, 64, 220, 60
STEPS = ((0, 0, "none"), (1, 1, "1"), (2, 2, "2"), (3, 5, "3 to 5"), (6, 10, "6 to 10"), (11, None, "more than 10"))
"""Counts of edits that are told apart."""
COUNTED = {"tree": "brackets and words", "set": "labels"}
"""What edits of outputs that are no texts count."""
LOOKED = (
    "A row for each token of the output, the first on top, and a column for each of the source: the stronger the "
    "colour, the more of the attention lay there when that token was chosen. A row sums to 1. The strongest square of "
    "a map is its own largest share: {most}. "
)
HEARD = "Of a recording a column is a moment, under the second at which it begins. "
HEADS = "Of several heads it is their mean in the last layer. Attention shows where a model looked, not why it said so."
KEPT = (
    "A box is a beginning of an output with the logarithm of its probability. From left to right each step adds one "
    "token to every beginning and keeps the likeliest; those below, in dashed boxes, were the next ones and were "
    "dropped. ■ ends an output. Grey beginnings were kept, but nothing that went on from them was. The coloured way "
    "led to what came out."
)
ON = " A row of steps begins with the last step of the row above."


def signatures(evidence: Evidence) -> list[Prose]:
    """How sacreBLEU computed the scores of texts."""
    found = mapping(evidence.decoding.get("signatures"))
    return [
        Prose(f"{spoken(name)} as sacreBLEU computes it: {clean(text, 200)}", quiet=True)
        for name, text in found.items()
        if isinstance(text, str) and text
    ]


def decoded_texts(evidence: Evidence) -> list[Section]:
    """What was said in the place of what was wanted, where the model looked, and how a beam search got there."""
    found = evidence.decoding
    split = clean(found.get("split", "held-out data"), 20)
    return [_worst(found, split), _attention(found, split), in_order(found, split), _search(found, split)]


def _worst(found: dict[str, Any], split: str) -> Section:
    counts = [int(number(each)) for each in found.get("edits", []) if number(each) >= 0] if _listed(found) else []
    rows = [row for item in mappings(found.get("worst"))[:MOST_WORST] if (row := _row(item)) is not None]
    unit = COUNTED.get(str(found.get("form")), "words" if found.get("unit") == "words" else "characters")
    blocks: list[Any] = []
    if counts:
        right = sum(not each for each in counts)
        blocks.append(Prose(f"{right:,} of {len(counts):,} outputs of {split} are exactly one of their targets."))
        blocks.append(Table(["edits", "outputs", "share"], _counted(counts)))
    if rows:
        blocks += [
            Heading("The worst"),
            Compared(["row", "source", "wanted", "said", "edits"], rows),
            Prose(
                f"The outputs with the most edits for each of the {unit} of their target. What edits touch is marked, "
                f"in the target what is missing; all outputs are in predictions/{split}.csv.",
                quiet=True,
            ),
        ]
    return Section("worst", "What was said", blocks, f"Edits are {unit} to change, leave out or add.")


def _listed(found: dict[str, Any]) -> bool:
    return isinstance(found.get("edits"), list)


def _counted(counts: list[int]) -> list[list[str]]:
    rows = []
    for low, high, name in STEPS:
        own = sum(low <= each and (high is None or each <= high) for each in counts)
        if own:
            rows.append([name, f"{own:,}", f"{own / len(counts):.1%}"])
    return rows


def _row(item: dict[str, Any]) -> list[Any] | None:
    row, edits, length = (number(item.get(key)) for key in ("row", "edits", "length"))
    said, wanted = _pieces(item.get("output")), _pieces(item.get("reference"))
    if row != row or edits != edits or length != length:
        return None
    others = number(item.get("references"))
    several = [(f" (the nearest of {others:.0f})", True)] if others > 1 else []
    return [
        f"{row + 1:,.0f}",
        clean(item.get("source", ""), LONGEST) or "nothing at all",
        [*(wanted or [("nothing at all", True)]), *several],
        said or "nothing at all",
        f"{edits:,.0f} of {length:,.0f}",
    ]


def _pieces(value: Any) -> list[tuple[str, bool]]:
    found, left = [], LONGEST
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str) or left <= 0:
            break
        text = clean(item[0], left)
        found.append((text, item[1] is True))
        left -= len(text)
    return found if left > 0 else [*found, ("…", True)]


def _attention(found: dict[str, Any], split: str) -> Section:
    blocks: list[Any] = []
    copied, heard, most = False, False, list[str]()
    for item in mappings(found.get("attention"))[:MOST_MAPS]:
        if (heat := _heat(item)) is not None:
            blocks += [_heading(item), heat]
            copied |= heat.beside is not None
            heard |= isinstance(item.get("recording"), str)
            most.append(f"{heat.most:.2f}")
    if blocks:
        gate = "The column at the right is the share of a token that was copied from the source. " if copied else ""
        blocks.append(Prose(LOOKED.format(most=", ".join(most)) + HEARD * heard + gate + HEADS, quiet=True))
    lead = (
        f"A few sources of {split} that fit a page: a right output where there is one, one that is wrong by a middling "
        "share, and the worst."
    )
    return Section("attention", "Where the model looked", blocks, lead)


def _heading(item: dict[str, Any]) -> Heading:
    """The source and what was said for it."""
    source, output = (texts(item.get(key)) for key in ("source", "output"))
    joint = "" if all(len(each) == 1 for each in source) else " "
    said = ("" if all(len(each) == 1 for each in output if each != "END") else " ").join(
        text for text in output if text != "END"
    )
    mark, tone = ("right", "good") if item.get("right") is True else ("wrong", "bad")
    named = item["recording"] if isinstance(item.get("recording"), str) else joint.join(source)
    return Heading(clean(named, SHORT), mark, tone, clean(said, SHORT) or "nothing at all")


def _heat(item: dict[str, Any]) -> Heat | None:
    source, output = texts(item.get("source")), texts(item.get("output"))
    shares = [_shares(row) for row in item["weights"]] if isinstance(item.get("weights"), list) else []
    known = {len(row) for row in shares} == {len(source)} and len(shares) == len(output)
    if not known or not source or max(len(source), len(output)) > MOST_UNITS:
        return None
    copied, heading = _shares(item.get("copied")), _heading(item)
    return Heat(
        f"attention map: {heading.text}, said: {heading.then}",
        [_unit(text) for text in source],
        [_unit(text) for text in output],
        shares,
        ("copied", copied) if len(copied) == len(output) else None,
    )


def _shares(value: Any) -> list[float]:
    numbers = [number(each) for each in value] if isinstance(value, list) else []
    return [min(1.0, max(0.0, each)) for each in numbers] if all(each == each for each in numbers) else []


def _unit(text: str) -> str:
    shown = clean(text, 14) if text.strip() else "␣" * min(len(text), 3)
    return shown or "–"


def _search(found: dict[str, Any], split: str) -> Section:
    tree = mapping(found.get("tree"))
    levels = read_levels(tree.get("levels"), found.get("unit") == "words")
    if not levels:
        return Section("search", "How the beam search found it")
    outputs = mappings(tree.get("outputs"))[:10]
    best = path_of(levels, outputs[0].get("end")) if outputs else set()
    source, wanted = clean(tree.get("source", ""), 120), clean(" or ".join(texts(tree.get("references"))), 120)
    rows = [
        [str(place), clean(each.get("text", ""), 120) or "nothing at all", f"{number(each.get('score')):.3f}"]
        for place, each in enumerate(outputs, 1)
    ]
    steps = number(tree.get("steps"))
    after = (
        f" The search went on for {steps - len(levels):.0f} more steps, until nothing could come out better."
        if steps > len(levels)
        else ""
    )
    ranked = "Finished outputs are ranked by the mean of that logarithm over their tokens, the end included."
    on = ON if len(levels) > PER_ROW else ""
    picture = draw_tree(levels, best, f"the beam search for {source}, step by step", KEPT + on + after)
    return Section(
        "search",
        "How the beam search found it",
        [
            Facts([("source", source), ("wanted", wanted)]),
            picture,
            Table(["place", "output", "score"], rows, plain=(0, 1)),
            Prose(ranked, quiet=True),
        ],
        f"For one source of {split}: where there is such a one, the likeliest beginning was not always that of what "
        "came out.",
    )
