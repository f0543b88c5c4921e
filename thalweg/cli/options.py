"""The options that several commands share."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

Set = Annotated[tuple[str, ...], Parameter(name="--set", negative="", consume_multiple=False, show_default=False)]
Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False)]
File = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""A file, or - for stdin."""
Conditions = Annotated[
    tuple[str, ...], Parameter(name="--fail-if", negative="", consume_multiple=False, show_default=False)
]
Quiet = Annotated[bool, Parameter(name="--quiet", negative="", show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True)
class TableOptions:
    """How a data file is read; each is a key of [data] in recipe.toml too."""

    target: str | None = None
    """The column to predict, by name or by number (-1 is the last); several are separated by commas."""
    task: Literal["classification", "regression"] | None = None
    """What the target is, where the guess is wrong."""
    missing: Literal["error", "drop", "impute"] | None = None
    """What to do about missing cells."""
    header: Annotated[bool, Parameter(negative="--no-header")] = True
    """Whether the first line holds the names of the columns."""
    group: str | None = None
    """A column whose values (a patient, a speaker) stay whole in one split."""
    time: str | None = None
    """A column to split by: the latest rows are the test set."""
    weights: str | None = None
    """A column that says how much each row counts."""
    features: str | None = None
    """The only columns to use, separated by commas; a row counter among them then stays."""
    test: str | None = None
    """A file of its own to test on."""

    def settings(self) -> dict[str, Any]:
        """The options that were given, as keys of [data]."""
        names = ("target", "task", "missing", "group", "time", "weights", "features", "test")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given if self.header else given | {"header": False}
