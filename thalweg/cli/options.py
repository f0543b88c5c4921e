"""The options that several commands share."""

import logging
from dataclasses import dataclass
from pathlib import Path
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
DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", show_default=False)]


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
    text: str | None = None
    """The column of texts, where these are what a table is about."""
    test: str | None = None
    """A file of its own to test on; of recordings a rule, as in speaker=theo."""

    def settings(self) -> dict[str, Any]:
        """The options that were given, as keys of [data]."""
        names = ("target", "task", "missing", "group", "time", "weights", "features", "text", "test")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given if self.header else given | {"header": False}


@Parameter(name="*")
@dataclass(frozen=True)
class TrainingOptions:
    """What every command takes that trains a subject."""

    set_: Set = ()
    """A setting over the recipe's, as in --set epochs=20 --set optimizer.lr=0.01."""
    seed: int | None = None
    """The seed of the initial weights, the order of the examples, and dropout."""
    out: Path = Path("runs")
    """The folder in which the run's own folder is made."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Literal["float32", "bfloat16", "auto"] | None = None
    """The type that layers multiply in; auto takes bfloat16 where the device has it in hardware."""
    table: TableOptions | None = None
    """How a data file is read."""
    fail_if: Conditions = ()
    """Exit with code 3 where this holds of the results, as in --fail-if 'test.accuracy<0.9'."""
    json_: Json = False
    """One JSON document on stdout instead of text."""
    quiet: Quiet = False
    """No progress and no notices on stderr, only the path of the report."""

    def data(self) -> dict[str, Any]:
        """How a data file is read, as keys of [data]."""
        return (self.table or TableOptions()).settings()

    def assignments(self) -> tuple[str, ...]:
        """What --set says, and the options that are settings too."""
        return self.set_ if self.precision is None else (*self.set_, f"precision={self.precision}")

    def set_notices(self) -> None:
        """Let notices reach stderr, or keep them from it."""
        logging.getLogger("thalweg").setLevel(logging.ERROR if self.quiet else logging.WARNING)
