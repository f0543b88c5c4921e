"""What moved between validation and test: the change that was found, classes, groups, columns, and the tests."""

from typing import Any

from thalweg.report.blocks import Beside, Heading, Prose, Section, Table, picture
from thalweg.report.charts import Row, dots_and_whiskers, height
from thalweg.report.evidence import Evidence, mapping, mappings
from thalweg.report.wording import clean, interval, number, quantity, row_digits, sentences

MOST_ROWS = 12
LEAD = "The loss on test is higher beyond chance; this explains it, and decides nothing."
HONEST = "A half of the examples chose the change and others judged it; nothing was trained."
TESTS = (
    "KS: Kolmogorov and Smirnov's distance, p times the number of columns. MMD: the squared maximum mean discrepancy. "
    "p of MMD and of the classifier is by random labels of which set a row belongs to."
)


def shift(evidence: Evidence) -> Section:
    """The explanation of a mismatch; without content where there is none."""
    found = mapping(evidence.finding.get("shift"))
    title = "What moved on test"
    if not found:
        return Section("shift", title)
    blocks = [
        *_undone(mapping(found.get("undone"))),
        *_classes(mapping(found.get("classes"))),
        *_groups(mapping(found.get("groups"))),
        *_columns(mappings(found.get("columns")), "Which inputs", "input"),
        *_columns(mappings(found.get("looks")), "How images differ", "of an image"),
        *_tests(mappings(found.get("tests"))),
    ]
    return Section("shift", title, blocks, LEAD)


def _undone(item: dict[str, Any]) -> list[Any]:
    """The losses with the change undone, and with others: a chart, and what it says."""
    if not item:
        return []
    lines = [
        ("validation", mapping(item.get("validation")), "validation"),
        ("test as it is", mapping(item.get("before")), "test"),
    ]
    lines.append((f"undone: {clean(item.get('name', '?'), 120)}", mapping(item.get("after")), "good"))
    lines += [
        (f"undone: {clean(other.get('name', '?'), 120)}", other, "soft")
        for other in mappings(item.get("tried"))[:MOST_ROWS]
    ]
    rows = [Row.of(name.removeprefix("undone: "), score, color) for name, score, color in lines]
    decimals = row_digits([score for _, score, _ in lines])
    table = Table(
        ["the same model on", "loss [95 % interval]"],
        [[name, interval(score, decimals=decimals)] for name, score, _ in lines],
    )
    chart = picture(lambda ax: dots_and_whiskers(rows, "loss", ax), "losses with changes undone", height(len(rows)))
    said = [Prose(text) for text in sentences(clean(item.get("sentence", ""), 400))]
    return [Heading("The change that was found"), Beside([chart], [*said, Prose(HONEST, quiet=True)]), table]


def _classes(item: dict[str, Any]) -> list[Any]:
    columns = [item.get(name) for name in ("names", "before", "after", "weights", "estimated")]
    names, before, after, weights, estimated = (each if isinstance(each, list) else [] for each in columns)
    if not item.get("moved") or not len(names) == len(before) == len(after) == len(weights):
        return []
    guessed = estimated if len(estimated) == len(names) else [None] * len(names)
    order = sorted(range(len(names)), key=lambda i: -abs(number(after[i]) - number(before[i])))
    rows = [
        [clean(names[i], 40), _percent(before[i]), _percent(after[i]), quantity(weights[i]), quantity(guessed[i])]
        for i in order[:MOST_ROWS]
    ]
    head = ["class", "of validation", "of test", "times as much", "by the outputs alone (BBSE)"]
    said = [Prose(text) for text in sentences(clean(item.get("sentence", ""), 400))]
    return [Heading("Shares of the classes"), *said, Table(head, rows)]


def _groups(item: dict[str, Any]) -> list[Any]:
    lines = mappings(item.get("losses"))[:MOST_ROWS]
    if not lines:
        return []
    rows = [
        Row.of(line.get("group", "?"), line, "validation" if line.get("new") is True else "train") for line in lines
    ]
    chart = picture(lambda ax: dots_and_whiskers(rows, "loss", ax), "loss by group of test", height(len(rows)))
    said = [Prose(text) for text in sentences(clean(item.get("sentence", ""), 400))]
    note = Prose("Orange: groups that training has not seen. The worst are on top.", quiet=True)
    return [Heading("Groups"), Beside([chart], [*said, note])]


def _columns(lines: list[dict[str, Any]], title: str, what: str) -> list[Any]:
    if not lines:
        return []
    rows = [
        [
            clean(line.get("name", "?"), 80),
            *(_both(line.get(name)) for name in ("means", "deviations")),
            quantity(line.get("distance"), 2),
            quantity(line.get("p")),
        ]
        for line in lines[:MOST_ROWS]
    ]
    return [Heading(title), Table([what, "mean: validation → test", "deviation: validation → test", "KS", "p"], rows)]


def _tests(lines: list[dict[str, Any]]) -> list[Any]:
    rows = [
        [
            clean(line.get("of", "?"), 80),
            clean(line.get("by", "?"), 80),
            quantity(line.get("statistic")),
            quantity(line.get("p")),
        ]
        for line in lines
    ]
    if not rows:
        return []
    return [
        Heading("Tests of outputs and features"),
        Table(["of", "by", "statistic", "p"], rows, plain=(0, 1)),
        Prose(TESTS, quiet=True),
    ]


def _both(pair: Any) -> str:
    first, second = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
    return f"{quantity(first)} → {quantity(second)}"


def _percent(share: Any) -> str:
    return f"{number(share):.1%}" if number(share) == number(share) else "–"
