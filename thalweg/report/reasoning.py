"""Why the verdict is what it is: where the loss is lost, the experiments, the proofs, the diary of what was tried."""

import math
import re
from typing import Any

from thalweg.report.blocks import Beside, Heading, Prose, Section, Table, picture
from thalweg.report.charts import Row, dots_and_whiskers, height
from thalweg.report.evidence import Evidence, mapping, mappings, texts
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
        [spoken(item.get("cause", "?")), _percent(item.get("share")), told(item.get("sentence"))]
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
        where = f"Where the training stopped: {told(stopped['sentence'])}"
        blocks.append(Prose(f"{where} The gradient's length is {norm}, and counts as 0 up to {most}.", quiet=True))
    return Section("causes", "What holds it back", [*blocks, *_remedies(evidence)])


def _remedies(evidence: Evidence) -> list[Any]:
    """What would treat it; a sentence that only repeats name and cause is left out."""
    found = mappings(evidence.finding.get("remedies"))
    repeats = [f"{item.get('name')} treats {item.get('cause')}" for item in found]
    said = [
        "" if item.get("sentence") == same else told(item.get("sentence"))
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


def told(sentence: Any) -> str:
    """Sentences of a file, each with its end.

    >>> told(None)
    ''
    """
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
            changes(line),
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


def _band(score: dict[str, Any]) -> str:
    decimals = digits(math.nan, number(score.get("low")), number(score.get("high")))
    low, high = quantity(score.get("low"), decimals), quantity(score.get("high"), decimals)
    return low if low == high else f"{low} to {high}"


def changes(item: dict[str, Any]) -> str:
    """What an arm or a remedy changes, in a line.

    >>> changes({"change": ["epochs 2 -> 4"]})
    'epochs 2 → 4'
    """
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
