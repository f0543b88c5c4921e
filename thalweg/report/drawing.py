"""Figures as inline SVG: text stays text, and every colour is a CSS variable, so that a page turns light or dark."""

import io
import math
import re
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 420
"""Units of a figure's width; a page shows it between 350 and 520 pixels wide."""

MOST_TICKS = 6

PALETTE: Mapping[str, str] = {
    "ink": "#1c2530",
    "soft": "#6b7683",
    "rule": "#d5dbe1",
    "paper": "#ffffff",
    "train": "#1f6f8b",
    "validation": "#d1603d",
    "test": "#7b559c",
    "good": "#2e7d4f",
}
"""The colours by the names that page.css gives them; a figure that is looked at alone has these."""

STYLE: Any = {
    "svg.hashsalt": "thalweg",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.size": 11,
    "axes.labelsize": 11,
    "legend.fontsize": 11,
    "text.color": PALETTE["ink"],
    "axes.labelcolor": PALETTE["soft"],
    "axes.edgecolor": PALETTE["soft"],
    "xtick.color": PALETTE["soft"],
    "ytick.color": PALETTE["soft"],
    "lines.solid_capstyle": "round",
}


def inline_svg(draw: "Callable[[Axes], Any]", title: str, height: int = 260, width: int = WIDTH) -> str:
    """What `draw` puts on fresh axes, as an `<svg>` element to stand inside a page.

    >>> svg = inline_svg(lambda ax: ax.set_title("a < b"), "an empty figure")
    >>> svg[:4], "a &lt; b" in svg, "http" in svg
    ('<svg', True, False)
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with rc_context(STYLE), warnings.catch_warnings():
        # A letter that our own font lacks is measured wrongly, no more: the reader's browser has it.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        draw(figure.subplots())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inlined(buffer.getvalue(), title)


def axes(ax: "Axes | None", height: int = 260) -> "Axes":
    """The given axes, or fresh ones of a figure of their own."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / 72, height / 72), layout="constrained").subplots()


def plain_ticks(axis: Any) -> None:
    """Decimal labels on a logarithmic axis; matplotlib's own are mathematics, which stays unset here."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = sorted(axis.get_view_interval())
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) <= MOST_TICKS:
            break
    axis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / MOST_TICKS) or 1]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _inlined(svg: bytes, title: str) -> str:
    root = ElementTree.fromstring(svg)
    used = {name for element in root.iter() for value in element.attrib.values() for name in _referred(value)}
    prefix = f"f{zlib.crc32(svg):08x}-"  # ids are a page's, not a figure's
    for parent in list(root.iter()):
        for child in list(parent):
            if _bare(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _bare(element.tag)
        element.attrib = {
            _bare(name): _attribute(_bare(name), value, prefix)
            for name, value in element.attrib.items()
            if _bare(name) != "id" or value in used
        }
        if element.tag != "text":
            element.text = None
        element.tail = None
    box = root.attrib["viewBox"]
    root.attrib = {"viewBox": box, "role": "img", "aria-label": title}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _bare(name: str) -> str:
    return name.rpartition("}")[2]


def _referred(value: str) -> list[str]:
    """The ids that an attribute points to."""
    return re.findall(r"(?:^|url\()#([^)]+)", value)


def _attribute(name: str, value: str, prefix: str) -> str:
    """An attribute with ids of this figure's own, colours by name, and two decimals."""
    if name == "id":
        return prefix + value
    if name == "href":
        return value.replace("#", f"#{prefix}", 1) if value.startswith("#") else value
    if name == "clip-path":
        return value.replace("url(#", f"url(#{prefix}")
    if name == "style":
        kept = (part.strip() for part in value.split(";") if not part.strip().startswith("font-family"))
        return re.sub(r"#[0-9a-f]{6}\b", _variable, "; ".join(filter(None, kept)))
    if name in ("d", "x", "y", "width", "height", "transform", "points"):
        return re.sub(r"(\.\d\d)\d+", r"\1", value).replace("\n", " ").strip()
    return value


def _variable(color: re.Match[str]) -> str:
    names = {value: name for name, value in PALETTE.items()}
    return f"var(--{names[color[0]]})" if color[0] in names else color[0]
