"""The tree of a beam search as a picture: step by step the beginnings that were kept, and the best that were not."""

import unicodedata
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from thalweg.report.blocks import Picture
from thalweg.report.evidence import mappings
from thalweg.report.wording import clean, number

ACROSS, DOWN, WIDE, HIGH = 112, 44, 90, 34
"""From node to node, and a node."""
LEFT, TOP, GAP = 56, 26, 22
PER_ROW = 6
"""Steps that stand side by side."""
MOST_LEVELS, MOST_NODES, TAIL = 40, 24, 9
"""More is not what thalweg writes; and characters of a beginning that a node has room for."""


@dataclass(frozen=True)
class Leaf:
    """A beginning: its text, its log-likelihood, the place of what it goes on from, and what became of it."""

    text: str
    log_likelihood: float
    parent: int | None
    kept: bool
    ended: bool


def read_levels(value: Any, words: bool) -> list[list[Leaf]]:
    """The steps of a search as decoding.json has them, up to one that is damaged.

    >>> read_levels([[{"token": "a", "parent": None, "log_likelihood": -0.1, "kept": True}]], False)[0][0].text
    'a'
    """
    levels: list[list[Leaf]] = []
    for level in value[:MOST_LEVELS] if isinstance(value, list) else []:
        read = [_leaf(item, levels[-1] if levels else None, words) for item in mappings(level)[:MOST_NODES]]
        leaves = [leaf for leaf in read if leaf is not None]
        if not leaves or len(leaves) < len(read):
            break
        levels.append(leaves)
    return levels


def _leaf(item: dict[str, Any], before: list[Leaf] | None, words: bool) -> Leaf | None:
    parent, value = item.get("parent"), number(item.get("log_likelihood"))
    goes_on = type(parent) is int and before is not None and 0 <= parent < len(before)
    if value != value or (goes_on is False and (before is not None or parent is not None)):
        return None
    ended, token = item.get("ended") is True or item.get("token") == "END", clean(item.get("token", ""), 60)
    stem = before[parent].text if before is not None and type(parent) is int else ""
    blank = " " if words and stem and not ended else ""
    text = stem if ended else f"{stem}{blank}{token if token.strip() or not token else '␣' * len(token)}"
    return Leaf(text, value, parent if goes_on else None, item.get("kept") is True, ended)


def path_of(levels: list[list[Leaf]], end: Any) -> set[tuple[int, int]]:
    """The nodes that lead to one.

    >>> levels = read_levels([[{"token": "a", "parent": None, "log_likelihood": -0.1}]], False)
    >>> path_of(levels, [0, 0]), path_of(levels, [7, 0])
    ({(0, 0)}, set())
    """
    whole = isinstance(end, list) and len(end) == 2 and all(type(each) is int and each >= 0 for each in end)
    if not whole or end[0] >= len(levels) or end[1] >= len(levels[end[0]]):
        return set()
    level, place = end
    found = {(level, place)}
    while (parent := levels[level][place].parent) is not None:
        level, place = level - 1, parent
        found.add((level, place))
    return found


@dataclass(frozen=True)
class Row:
    """Steps that stand side by side, and how far down; all but the first row begin with the last step of the one above.

    >>> [(row.first, row.stop) for row in Row.of([[]] * 8)]
    [(0, 6), (5, 8)]
    """

    first: int
    stop: int
    top: float

    @classmethod
    def of(cls, levels: list[list[Leaf]]) -> "list[Row]":
        """The rows of a search."""
        rows, top = [], 0.0
        for first in range(0, max(1, len(levels) - 1), PER_ROW - 1):
            stop = min(first + PER_ROW, len(levels))
            rows.append(cls(first, stop, top))
            top += TOP + DOWN * max(map(len, levels[first:stop])) + GAP
        return rows

    def corner(self, level: int, place: int) -> tuple[float, float]:
        """The upper left corner of a node."""
        return float(LEFT + ACROSS * (level - self.first)), self.top + TOP + DOWN * place


def draw_tree(levels: list[list[Leaf]], best: set[tuple[int, int]], title: str, caption: str) -> Picture:
    """The picture: a column for each step, the likeliest beginning on top, those that were dropped below and dashed.

    The way to the best output is drawn in colour. Text stays text, so that a page shows it in any script. Of many steps
    a few stand in a row, so that a page is wide enough.

    >>> levels = read_levels([[{"token": "a<b", "parent": None, "log_likelihood": -0.1, "kept": True}]], False)
    >>> "a&lt;b" in draw_tree(levels, set(), "a search", "").svg
    True
    """
    rows = Row.of(levels)
    width = LEFT + ACROSS * min(PER_ROW, len(levels)) + 8
    height = rows[-1].top + TOP + DOWN * max(map(len, levels[rows[-1].first :])) + 4
    grown = {(i - 1, leaf.parent) for i, level in enumerate(levels) for leaf in level if leaf.parent is not None}
    parts = [_text(LEFT / 2, TOP + HIGH / 2 + 4, "START", "soft")]
    for row in rows:
        for i, level in enumerate(levels[row.first : row.stop], row.first):
            x, _ = row.corner(i, 0)
            parts.append(_text(x + WIDE / 2, row.top + 13, f"step {i + 1}", "soft"))
            if i > row.first or i == 0:
                parts += [_edge(row, i, place, leaf, (i, place) in best) for place, leaf in enumerate(level)]
        for i, level in enumerate(levels[row.first : row.stop], row.first):
            last = i == len(levels) - 1
            for place, leaf in enumerate(level):
                alive = leaf.ended or last or (i, place) in grown
                parts.append(_node(row.corner(i, place), leaf, (i, place) in best, alive))
    svg = (
        f'<svg viewBox="0 0 {width} {height:g}" role="img" aria-label="{escape(title)}" '
        f'style="stroke-width: 1">{"".join(parts)}</svg>'
    )
    return Picture(Markup(svg), caption, width=width)


def _edge(row: Row, level: int, place: int, leaf: Leaf, best: bool) -> str:
    x, y = row.corner(level, place)
    from_x, from_y = row.corner(level - 1, leaf.parent) if leaf.parent is not None else (LEFT - WIDE - 6.0, float(TOP))
    x0, y0, y1 = from_x + WIDE, from_y + HIGH / 2, y + HIGH / 2
    middle = (x0 + x) / 2
    colour, wide = ("train", 2.5) if best else ("soft" if leaf.kept else "rule", 1)
    return (
        f'<path d="M{x0:g} {y0:g} C{middle:g} {y0:g} {middle:g} {y1:g} {x:g} {y1:g}" '
        f'style="fill: none; stroke: var(--{colour}); stroke-width: {wide}"/>'
    )


def _node(corner: tuple[float, float], leaf: Leaf, best: bool, alive: bool) -> str:
    x, y = corner
    line = "train" if best else "ink" if leaf.kept and alive else "soft"
    dashed = "" if leaf.kept else "; stroke-dasharray: 4 3"
    fill = "paper" if not leaf.ended else "good-ground"
    box = (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="5" '
        f'style="fill: var(--{fill}); stroke: var(--{line}); stroke-width: {2.5 if best else 1}{dashed}"/>'
    )
    tone = "ink" if leaf.kept and alive else "soft"
    shown = shortened(leaf.text, TAIL) + (" ■" if leaf.ended else "")
    whole = f"<title>{escape(leaf.text)}{' and END' if leaf.ended else ''}: {leaf.log_likelihood:.3f}</title>"
    return (
        f"<g>{whole}{box}{_text(x + WIDE / 2, y + 15, shown, tone, 13)}"
        f"{_text(x + WIDE / 2, y + 29, f'{leaf.log_likelihood:.2f}'.replace('-', '−'), 'soft')}</g>"
    )


def shortened(text: str, most: int) -> str:
    """The end of a text, where beginnings differ; the letters of Chinese, Japanese and Korean count as two.

    >>> shortened("Westafrika", 5), shortened("日本語", 5)
    ('…rika', '…本語')
    """
    text = text.replace("<unknown>", "\ufffd")
    wide = [1 + (unicodedata.east_asian_width(character) in "WF") for character in text]
    if sum(wide) <= most:
        return text
    room, start = most - 1, len(text)
    while start and room >= wide[start - 1]:
        start -= 1
        room -= wide[start]
    return "…" + text[start:]


def _text(x: float, y: float, text: str, colour: str, size: int = 11) -> str:
    turned = ' direction="rtl"' if _from_the_right(text) else ""
    style = f"font-size: {size}px; text-anchor: middle; fill: var(--{colour})"
    return f'<text x="{x:g}" y="{y:g}" style="{style}"{turned}>{escape(text)}</text>'


def _from_the_right(text: str) -> bool:
    """Whether the first letter of a text is of a script that runs from right to left."""
    strong = (unicodedata.bidirectional(character) for character in text)
    return next((kind != "L" for kind in strong if kind in ("L", "R", "AL")), False)
