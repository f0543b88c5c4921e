"""What a page is made of. A section is a list of blocks; `page.html` knows how each is written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup

from thalweg.report.drawing import inline_svg
from thalweg.report.wording import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Heading:
    """A heading inside a section, with a mark beside it; `tone` is good, bad or plain. `then` is what became of it."""

    text: str
    mark: str = ""
    tone: str = "plain"
    then: str = ""
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Prose:
    """A paragraph; a quiet one is small and grey."""

    text: str
    quiet: bool = False
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Command:
    """A line for a shell."""

    text: str
    kind: ClassVar[str] = "command"


@dataclass(frozen=True)
class Table:
    """Rows under a header. The first cell heads its row; the columns of `plain` hold words, all others numbers."""

    head: list[str]
    rows: list[list[str]]
    plain: tuple[int, ...] = (0,)
    marked: tuple[int, ...] = ()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Compared:
    """A table of texts: a cell is a text, or pieces of one, each with whether it is as it should be."""

    head: list[str]
    rows: list[list[str | list[tuple[str, bool]]]]
    kind: ClassVar[str] = "compared"


@dataclass(frozen=True)
class Heat:
    """Shares between 0 and 1 by row and column as colours; `beside` are shares of each row, with a name.

    The largest of `shares`, where there is one above 0, has the full colour; those beside have that of their share.
    """

    title: str
    columns: list[str]
    rows: list[str]
    shares: list[list[float]]
    beside: tuple[str, list[float]] | None = None
    kind: ClassVar[str] = "heat"

    @property
    def most(self) -> float:
        """The largest share; 1 where all are 0."""
        return max(map(max, self.shares), default=0.0) or 1.0


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    pairs: list[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    texts: list[str]
    kind: ClassVar[str] = "items"


@dataclass(frozen=True)
class Picture:
    """A figure and what to see in it; an inked one holds images in black, which dark pages turn over.

    One with a `width` in pixels is never smaller: where the page is, it is moved under it.
    """

    svg: Markup
    caption: str = ""
    inked: bool = False
    width: int = 0
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Beside:
    """Two columns of blocks, one under the other where the page is narrow; even ones are equally wide."""

    left: list[Any]
    right: list[Any]
    even: bool = False
    kind: ClassVar[str] = "beside"


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    title: str
    blocks: list[Any]
    kind: ClassVar[str] = "folded"


@dataclass(frozen=True)
class Section:
    """A part of the page with a title; one without blocks is left out."""

    name: str
    title: str
    blocks: list[Any] = field(default_factory=list)
    lead: str = ""


def picture(draw: "Callable[[Axes], Any]", title: str, height: int, caption: str = "") -> Picture:
    """A figure drawn by `draw` on fresh axes.

    >>> picture(lambda ax: ax.plot([1, 2]), "a line", 120).svg[:4]
    Markup('<svg')
    """
    return Picture(Markup(inline_svg(draw, clean(title), height)), caption)
