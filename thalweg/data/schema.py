"""The schema of a table: which columns are features, of which kind, and what is to be predicted.

It is inferred once from all the rows that were read, so that the width of the input never changes from fold to fold;
means and the categories that training has seen are not here, they belong to the `Encoding`. Plain values throughout:
a schema goes to JSON and back, and with it any file of the same columns can be read.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from thalweg.data.notation import PLAIN, Notation

Label = str | bool | int | float


class Kind(StrEnum):
    """What a feature column holds."""

    NUMBER = "number"
    CATEGORY = "category"


class TargetKind(StrEnum):
    """What is predicted: one of several classes, a distribution over classes, or one or more numbers."""

    CLASSES = "classes"
    SOFT = "soft classes"
    NUMBERS = "numbers"


@dataclass(frozen=True)
class Column:
    """A feature: its name, its kind, how it writes numbers, its categories in order, and whether cells are missing."""

    name: str
    kind: Kind
    notation: Notation = PLAIN
    categories: tuple[str, ...] = ()
    gaps: bool = False


@dataclass(frozen=True)
class Target:
    """What is predicted: columns and their notations; for classes the labels in order, of the type they came in.

    >>> Target(("species",), TargetKind.CLASSES, labels=("Adelie", "Gentoo")).outputs
    2
    """

    names: tuple[str, ...]
    kind: TargetKind
    labels: tuple[Label, ...] = ()
    notations: tuple[Notation, ...] = ()

    @property
    def outputs(self) -> int:
        """How many outputs a model needs: one for each class, or one for each number."""
        return len(self.names) if self.kind is TargetKind.NUMBERS else len(self.labels)

    @property
    def task(self) -> str:
        """ "classification" or "regression"."""
        return "regression" if self.kind is TargetKind.NUMBERS else "classification"


@dataclass(frozen=True)
class Schema:
    """Columns and target of a table, the columns with a role of their own, and the columns left out with the reason.

    `missing` is what happens to empty cells: "error", "drop" or "impute". `layout` is the shape of an image that the
    columns hold, or None. `header` is whether the file named its columns in its first line: so any other file does.

    >>> column = Column("mass", Kind.NUMBER)
    >>> schema = Schema((column,), Target(("sex",), TargetKind.CLASSES, ("female", "male")))
    >>> Schema.from_json(schema.to_json()) == schema
    True
    """

    columns: tuple[Column, ...]
    target: Target
    missing: str = "error"
    layout: tuple[int, int, int] | None = None
    group: str | None = None
    time: str | None = None
    weights: str | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    header: bool = True

    @property
    def numbers(self) -> tuple[Column, ...]:
        """The columns of numbers, in the table's order."""
        return tuple(column for column in self.columns if column.kind is Kind.NUMBER)

    @property
    def categories(self) -> tuple[Column, ...]:
        """The columns of categories, in the table's order."""
        return tuple(column for column in self.columns if column.kind is Kind.CATEGORY)

    def to_json(self) -> dict[str, Any]:
        """The schema in plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Schema":
        """The schema that `to_json` wrote, also after it went through a file."""
        columns = tuple(_column(column) for column in plain["columns"])
        return cls(
            **{
                **plain,
                "columns": columns,
                "target": target_from_json(plain["target"]),
                "layout": plain["layout"] and tuple(plain["layout"]),
                "left_out": tuple((name, reason) for name, reason in plain["left_out"]),
            }
        )


def _column(plain: dict[str, Any]) -> Column:
    return Column(
        plain["name"], Kind(plain["kind"]), Notation(**plain["notation"]), tuple(plain["categories"]), plain["gaps"]
    )


def target_from_json(plain: dict[str, Any]) -> Target:
    """The target out of a file."""
    notations = tuple(Notation(**notation) for notation in plain["notations"])
    return Target(tuple(plain["names"]), TargetKind(plain["kind"]), tuple(plain["labels"]), notations)
