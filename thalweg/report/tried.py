"""Proofs, and the diary of what was tried: values of `proofs/` and diary.json as sections of the page."""

from typing import Any

from thalweg.report.blocks import Beside, Facts, Folded, Heading, Items, Prose, Section, Table, picture
from thalweg.report.charts import height, paired_dots
from thalweg.report.evidence import Evidence, mapping, mappings, scores_of
from thalweg.report.reasoning import MOST_ROWS, changes, told
from thalweg.report.wording import clean, duration, interval, number, quantity, row_digits, spoken

LONGEST_RACE = 1200
"""Characters of what is said of a race."""
LUCKY = "the more, the better the validation loss looks by chance alone."


def proofs(evidence: Evidence) -> Section:
    """Each proof: the same seeds without and with the remedy, the effect and whether it helped."""
    blocks: list[Any] = []
    for item in evidence.proofs:
        blocks += _proof(item)
    lead = (
        "The same seeds, trained twice: without the remedy (open dot) and with it (full dot). p is how often chance "
        "alone, a random sign for each pair, would make the mean gain as large; at most 0.05 counts as helped. A "
        "random change stands beside it: drawn without a look at the finding, on the same seeds, at the same cost."
    )
    return Section("proofs", "The proofs", blocks, lead)


def _proof(item: dict[str, Any]) -> list[Any]:
    helped, measure = item.get("helped") is True, clean(item.get("measure") or "loss", 60)
    pairs = [
        (f"seed {clean(pair.get('seed', '?'), 20)}", number(pair.get("without")), number(pair.get("with")))
        for pair in mappings(item.get("pairs"))
    ]
    cost = mapping(item.get("cost"))
    wins = f"{quantity(item.get('wins'), 0)} of {len(pairs)} seeds"
    facts = [
        ("Changed", changes(item)),
        ("Treats", spoken(item.get("cause") or "–")),
        (f"{measure[:1].upper()}{measure[1:]} lower by", interval(mapping(item.get("effect")))),
        ("Better with it", wins),
        ("p", quantity(item.get("p"))),
        *_beside(mapping(item.get("random"))),
        ("Cost", f"{quantity(cost.get('runs'), 0)} runs, {duration(cost.get('seconds'))}" if cost else "–"),
    ]
    mark, tone = ("helped", "good") if helped else ("did not help", "bad")
    heading = Heading(spoken(item.get("remedy") or "remedy"), mark, tone)
    if item.get("stopped") is True:
        early = f"stopped after {len(pairs)} of {quantity(item.get('planned'), 0)}: the rest could not have shown it"
        facts.insert(4, ("Pairs", early))
    if not pairs:
        return [heading, Facts(facts)]
    shown = pairs[:MOST_ROWS]
    chart = picture(lambda ax: paired_dots(shown, measure, ax), f"{measure} by seed", height(len(shown)))
    table = Table(["seed", "without", "with"], [[name, quantity(a), quantity(b)] for name, a, b in pairs])
    return [heading, Beside([chart], [Facts(facts)]), *_parts(item), Folded("The numbers", [table])]


def _beside(random: dict[str, Any]) -> list[tuple[str, str]]:
    """The random change that stands beside a proof."""
    if not random:
        return []
    beaten = "" if random.get("beaten") is True else "; the remedy is no better beyond noise"
    shown = f"{spoken(random.get('name') or '–')}: {interval(mapping(random.get('effect')))}{beaten}"
    return [("Random change, lower by", shown)]


def _parts(item: dict[str, Any]) -> list[Any]:
    """What each part of a composed remedy is worth."""
    rows = [
        [
            spoken(part.get("name") or "–"),
            interval(mapping(part.get("rise"))),
            "pays" if part.get("pays") is True else "does not pay, left out",
        ]
        for part in mappings(item.get("parts"))
    ]
    return [Table(["part", "loss higher without it by [95 % interval]", "outcome"], rows, plain=(0, 2))] if rows else []


def diary(evidence: Evidence) -> Section:
    """What `improve` tried, round by round, and the scores before and after."""
    found = evidence.diary
    if not found:
        return Section("diary", "The diary")
    turns = mappings(found.get("rounds"))
    rows = [row for entry in turns for row in _tried(entry)]
    blocks: list[Any] = []
    if rows:
        head = ["round", "held back by", "tried", "loss lower by [95 % interval]", "a random change", "outcome"]
        blocks.append(Table(head, rows, plain=(0, 1, 2, 4, 5)))
    sentences = [
        f"Round {quantity(entry.get('round'), 0)}: {clean(entry['sentence'])}"
        + (f" Raced: {clean(entry['raced'], LONGEST_RACE)}." if entry.get("raced") else "")
        for entry in turns
        if entry.get("sentence")
    ]
    blocks += [Items(sentences)] if sentences else []
    blocks += _before_and_after(found)
    blocks += [Prose(f"It ended: {told(found['ended'])}")] if found.get("ended") else []
    blocks += [Prose(f"The scores are of {clean(found['judged_on'])}.")] if found.get("judged_on") else []
    used = number(found.get("validation_used"))
    if used > 0:
        blocks.append(Prose(f"{used:.0f} runs were judged on validation to choose by: {LUCKY}", quiet=True))
    if found.get("budget"):
        blocks.append(Prose(f"Budget: {clean(found['budget'])}", quiet=True))
    return Section("diary", "The diary", blocks, "What was tried, what helped, and what did not.")


def _tried(entry: dict[str, Any]) -> list[list[str]]:
    """The rows of one round: each remedy that was put to proof, or that none was."""
    cause = {"NONE": "Nothing"}.get(str(entry.get("cause"))) or spoken(entry.get("cause") or "–")
    first, rows = [quantity(entry.get("round"), 0), cause], []
    for tried in mappings(entry.get("tried")) or [{}]:
        helped = tried.get("helped")
        outcome = "helped" if helped is True else "did not help" if helped is False else "–"
        if tried and entry.get("adopted") == tried.get("remedy"):
            kept = entry.get("kept")
            outcome += ", kept" if kept in (None, tried.get("remedy")) else f", kept: {spoken(kept)}"
        outcome += ", stopped early" * (tried.get("stopped") is True)
        effect, beside = (mapping(each.get("effect")) for each in (tried, mapping(tried.get("random"))))
        rows.append(
            [*first, spoken(tried.get("remedy") or "nothing tried"), interval(effect), interval(beside), outcome]
        )
        first = ["", ""]
    return rows


def _before_and_after(found: dict[str, Any]) -> list[Any]:
    start, end = scores_of(found.get("start")), scores_of(found.get("end"))
    rows = []
    for split in ("validation", "test"):
        for name, first in start.get(split, {}).items():
            if last := end.get(split, {}).get(name):
                decimals = row_digits([first, last])
                shown = [interval(score, decimals=decimals) for score in (first, last)]
                rows.append([f"{spoken(name)}, {split}", *shown])
    return [Heading("From the first run to the last"), Table(["score", "first", "last"], rows)] if rows else []
