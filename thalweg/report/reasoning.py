"""Why the verdict is what it is: where the loss is lost, the experiments, the proofs, the diary of what was tried."""

import math
import re
from typing import Any

from thalweg.report.blocks import Beside, Facts, Folded, Heading, Items, Prose, Section, Table, picture
from thalweg.report.charts import Row, dots_and_whiskers, height, paired_dots
from thalweg.report.evidence import Evidence, mapping, mappings, scores_of, texts
from thalweg.report.wording import clean, digits, duration, interval, number, quantity, row_digits, sentences, spoken

MOST_ROWS = 24
"""Rows of a chart; what is beyond stands in the table."""
SHARE = (
    "Share: of the way from the train loss to the floor, how much the experiment closed (model bias, optimization); of "
    "the validation loss, how much lies above the floor (overfitting)."
)
HALF = "The test loss is here that of the half of the test data which the diagnosis may read; under Scores it is of"
SPLITS = ("train", "validation", "test")
GAPS = (
    ("floor", "train", "a better fit could gain", "the fit is as good as the floor asks"),
    ("train", "validation", "is lost on new examples", "nothing is lost on new examples"),
    ("validation", "test", "is lost on the test set in addition", "nothing more is lost on the test set"),
)
"""Two losses that follow one another, and what it means that the second is higher, or that it is not."""


def losses(evidence: Evidence) -> Section:
    """Floor, train, validation and test loss on one line, and what is lost between them."""
    found = mapping(evidence.finding.get("losses")) or {
        split: scores["loss"] for split, scores in evidence.scores.items() if "loss" in scores
    }
    rows = []
    floor = mapping(found.get("floor"))
    known = [floor[key] for key in ("low", "high") if not math.isnan(number(floor.get(key)))]
    if known:
        by = f" ({clean(floor['by'], 60)})" if floor.get("by") else ""
        bounds = {"low": known[0], "high": known[-1]}
        rows.append(("floor", f"floor{by}", Row.of("floor", bounds, "good"), bounds))
    for split in SPLITS:
        score = mapping(found.get(split))
        if number(score.get("value")) == score.get("value"):
            rows.append((split, split, Row.of(split, score, split), score))
    if not rows:
        return Section("losses", "Where the loss is lost")
    charted = [row for _, _, row, _ in rows]
    decimals = row_digits([score for key, _, _, score in rows if key != "floor"])
    shown = [
        [name, _band(score) if key == "floor" else interval(score, decimals=decimals)] for key, name, _, score in rows
    ]
    chart = picture(lambda ax: dots_and_whiskers(charted, "loss", ax), "losses by split", height(len(rows)))
    ends = {key: number(score.get("high" if key == "floor" else "value")) for key, _, _, score in rows}
    gaps = [
        [f"{before} → {after}", shown, higher if shown.startswith("+") else lower]
        for before, after, higher, lower in GAPS
        if before in ends and after in ends and (gap := ends[after] - ends[before]) == gap
        for shown in [quantity(gap, decimals, sign=True)]
    ]
    right: list[Any] = [Table(["split", "loss [95 % interval]"], shown)]
    right += [Table(["from → to", "difference", "meaning"], gaps, plain=(2,))] if gaps else []
    lead = "The floor is the least loss that these data allow, as far as is known." if floor else ""
    if _halved(evidence, mapping(found.get("test"))):
        other = "the other half, which nothing else has read" if evidence.diary else "all of it"
        right.append(Prose(f"{HALF} {other}.", quiet=True))
    return Section("losses", "Where the loss is lost", [Beside([chart], right)], lead)


def _halved(evidence: Evidence, test: dict[str, Any]) -> bool:
    """Whether the finding's test loss is of other rows than that of the scores."""
    first, second = (number(score.get("value")) for score in (test, evidence.scores.get("test", {}).get("loss", {})))
    return abs(first - second) > 1e-6 * abs(second)


def causes(evidence: Evidence) -> Section:
    """All causes in their order, each with its share and its sentence, and what would treat them."""
    ranked = [
        [spoken(item.get("cause", "?")), _percent(item.get("share")), _told(item.get("sentence"))]
        for item in mappings(evidence.finding.get("ranked"))
        if item.get("cause") != "NONE"
    ]
    blocks: list[Any] = []
    if ranked:
        blocks.append(Table(["cause", "share", "what the runs say"], ranked, plain=(0, 2)))
    if any(share != "–" for _, share, _ in ranked):
        blocks.append(Prose(SHARE, quiet=True))
    stopped = mapping(evidence.finding.get("stopped_at"))
    if "sentence" in stopped:
        norm, most = (quantity(stopped.get(name)) for name in ("gradient_norm", "tolerance"))
        where = f"Where the training stopped: {_told(stopped['sentence'])}"
        blocks.append(Prose(f"{where} The gradient's length is {norm}, and counts as 0 up to {most}.", quiet=True))
    return Section("causes", "What holds it back", [*blocks, *_remedies(evidence)])


def _remedies(evidence: Evidence) -> list[Any]:
    """What would treat it; a sentence that only repeats name and cause is left out."""
    found = mappings(evidence.finding.get("remedies"))
    repeats = [f"{item.get('name')} treats {item.get('cause')}" for item in found]
    said = [
        "" if item.get("sentence") == same else _told(item.get("sentence"))
        for item, same in zip(found, repeats, strict=True)
    ]
    rows = [
        [spoken(item.get("name", "?")), spoken(item.get("cause", "")), text]
        for item, text in zip(found, said, strict=True)
    ]
    if not rows:
        return []
    width = 3 if any(said) else 2
    head = ["remedy", "treats", "what it does"]
    note = "Not proved yet: thalweg improve trains the same seeds without and with it."
    table = Table(head[:width], [row[:width] for row in rows], plain=(0, 1, 2)[:width])
    return [Heading("What may treat it"), table, *([] if evidence.proofs else [Prose(note, quiet=True)])]


def _told(sentence: Any) -> str:
    return " ".join(sentences(clean(sentence or "")))


def experiments(evidence: Evidence) -> Section:
    """Each experiment: its question and answer, control and arms as dots with their intervals; of every round."""
    blocks: list[Any] = []
    rounds = [turn for turn in mappings(evidence.diary.get("rounds")) if mappings(turn.get("experiments"))]
    for turn in rounds or [evidence.finding]:
        place = f"Round {quantity(turn.get('round'), 0)}: " if rounds else ""
        for item in mappings(turn.get("experiments")):
            blocks += _experiment(item, place)
    lead = "Each arm differs from the control in what its name says, and in nothing else. Lines are 95 % intervals."
    return Section("experiments", "The experiments", blocks, lead)


def _experiment(item: dict[str, Any], place: str = "") -> list[Any]:
    control, arms = mapping(item.get("control")), mappings(item.get("arms"))
    answer = clean(item.get("answer") or "undecided", 40)
    measure = clean(item.get("measure") or "loss", 60)
    lines = ([control] if control else []) + arms
    rows = [Row.of(line.get("name", "?"), line, "soft" if line is control else "train") for line in lines]
    decimals = row_digits(lines)
    cells = [
        [
            clean(line.get("name", "?"), 80),
            _changes(line),
            interval(line, decimals=decimals),
            str(len(line["seeds"])) if isinstance(line.get("seeds"), list) else "–",
            duration(line.get("seconds")),
        ]
        for line in lines
    ]
    table = Table(["run", "what differs", f"{measure} [95 % interval]", "seeds", "time"], cells, plain=(0, 1))
    blocks: list[Any] = [Heading(place + clean(item.get("question") or "Experiment"), answer)]
    said = [clean(item["says"])] if item.get("says") else []
    if (effect := mapping(item.get("effect"))) and number(effect.get("value")) == effect.get("value"):
        said.append(f"Size of the effect: {interval(effect)}.")
    if not rows:
        return [*blocks, *map(Prose, said)]
    shown = rows[:MOST_ROWS]
    chart = picture(lambda ax: dots_and_whiskers(shown, measure, ax), f"{measure} by arm", height(len(shown)))
    return [*blocks, Beside([chart], [*map(Prose, said)]), table] if said else [*blocks, chart, table]


def proofs(evidence: Evidence) -> Section:
    """Each proof: the same seeds without and with the remedy, the effect and whether it helped."""
    blocks: list[Any] = []
    for item in evidence.proofs:
        blocks += _proof(item)
    lead = (
        "The same seeds, trained twice: without the remedy (open dot) and with it (full dot). p is how often chance "
        "alone, a random sign for each pair, would make the mean gain as large; at most 0.05 counts as helped."
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
        ("Changed", _changes(item)),
        ("Treats", spoken(item.get("cause") or "–")),
        (f"{measure[:1].upper()}{measure[1:]} lower by", interval(mapping(item.get("effect")))),
        ("Better with it", wins),
        ("p", quantity(item.get("p"))),
        ("Cost", f"{quantity(cost.get('runs'), 0)} runs, {duration(cost.get('seconds'))}" if cost else "–"),
    ]
    mark, tone = ("helped", "good") if helped else ("did not help", "bad")
    heading = Heading(spoken(item.get("remedy") or "remedy"), mark, tone)
    if not pairs:
        return [heading, Facts(facts)]
    shown = pairs[:MOST_ROWS]
    chart = picture(lambda ax: paired_dots(shown, measure, ax), f"{measure} by seed", height(len(shown)))
    table = Table(["seed", "without", "with"], [[name, quantity(a), quantity(b)] for name, a, b in pairs])
    return [heading, Beside([chart], [Facts(facts)]), Folded("The numbers", [table])]


def diary(evidence: Evidence) -> Section:
    """What `improve` tried, round by round, and the scores before and after."""
    found = evidence.diary
    if not found:
        return Section("diary", "The diary")
    blocks: list[Any] = []
    rows = []
    for entry in mappings(found.get("rounds")):
        cause = {"NONE": "Nothing"}.get(str(entry.get("cause"))) or spoken(entry.get("cause") or "–")
        first = [quantity(entry.get("round"), 0), cause]
        for tried in mappings(entry.get("tried")) or [{}]:
            helped = {True: "helped", False: "did not help"}.get(tried.get("helped"), "–")  # type: ignore[arg-type]
            adopted = tried and entry.get("adopted") == tried.get("remedy")
            effect = interval(mapping(tried.get("effect")))
            rows.append(
                [*first, spoken(tried.get("remedy") or "nothing tried"), effect, helped + ", kept" * bool(adopted)]
            )
            first = ["", ""]
    if rows:
        head = ["round", "held back by", "tried", "loss lower by [95 % interval]", "outcome"]
        blocks.append(Table(head, rows, plain=(0, 1, 2, 4)))
    sentences = [
        f"Round {quantity(entry.get('round'), 0)}: {clean(entry['sentence'])}"
        + (f" Raced: {clean(entry['raced'])}." if entry.get("raced") else "")
        for entry in mappings(found.get("rounds"))
        if entry.get("sentence")
    ]
    blocks += [Items(sentences)] if sentences else []
    blocks += _before_and_after(found)
    blocks += [Prose(f"It ended: {_told(found['ended'])}")] if found.get("ended") else []
    if found.get("budget"):
        blocks.append(Prose(f"Budget: {clean(found['budget'])}", quiet=True))
    return Section("diary", "The diary", blocks, "What was tried, what helped, and what did not.")


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


def _band(score: dict[str, Any]) -> str:
    decimals = digits(math.nan, number(score.get("low")), number(score.get("high")))
    low, high = quantity(score.get("low"), decimals), quantity(score.get("high"), decimals)
    return low if low == high else f"{low} to {high}"


def _changes(item: dict[str, Any]) -> str:
    return "; ".join(map(_change, texts(item.get("change")))) or "–"


def _change(text: str) -> str:
    """A change as a line; examples that differ are not printed.

    >>> _change("splits.train ArraySource(data=(tensor([[0., 1.]]))) -> ArraySource(data=(tensor([[1., 0.]])))")
    'splits.train: other examples'
    >>> _change("scaled.factor 31.622777 -> 316.22776999999996")
    'scaled.factor 31.623 → 316.23'
    """
    if re.search(r"\b(tensor|array)\(\[", text):
        return f"{clean(text.split(' ')[0], 60)}: other examples"
    return re.sub(r"\d+\.\d{6,}", lambda found: f"{float(found[0]):.5g}", clean(text, 160)).replace(" -> ", " → ")


def _percent(share: Any) -> str:
    return f"{number(share):.0%}" if number(share) == share else "–"
