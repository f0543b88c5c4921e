"""What pairs are: how each side is split into units, what is known of it, and where it is cut off."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.data.vocabulary import check_unit

MISSING = ("error", "drop", "keep")
SIDES = ("source", "target")
OUTPUTS = ("text", "tree", "set")
"""What targets may be."""
ORDERS = ("frequency", "given")
"""In which order the labels of a set are put out."""


@dataclass(frozen=True)
class PairSchema:
    """What the sources and the targets are; where there are two of a value, the first is the source's.

    `names` are the columns of both; `unit`, `size`, `fewest` and `lower` are those of their vocabularies, which are one
    where they are `shared`; `longest` is after how many units a text is cut off; with `copying` a model is told which
    units of the source it may copy. `missing` says what becomes of pairs that lack a text: "error", "drop", or "keep",
    which takes it as empty. `parallel` says that the targets have a file of their own, `header` is that of
    `read_pairs`, and without `stress` the digits of stress are taken from targets that are sounds. `output` is what
    targets are: "text", "tree" (brackets over the words of the source), or "set" (labels between `separator`, put out
    in a `label_order`, "frequency" or "given"). With `letters` a word of a source is also what its letters say of it
    (`thalweg.data.word_hashing`).

    >>> schema = PairSchema(("en", "de"), ("words", "words"), shared=True)
    >>> PairSchema.from_json(schema.to_json()) == schema
    True

    Raises `RecipeError` for values that cannot be, or not together.
    """

    names: tuple[str, str] = SIDES
    unit: tuple[str, str] = ("characters", "characters")
    size: tuple[int | None, int | None] = (None, None)
    fewest: tuple[int | None, int | None] = (None, None)
    lower: tuple[bool, bool] = (False, False)
    longest: tuple[int | None, int | None] = (None, None)
    shared: bool = False
    copying: bool = False
    missing: str = "error"
    parallel: bool = False
    header: bool | None = None
    stress: bool = True
    output: str = "text"
    label_order: str = "frequency"
    separator: str = ";"
    letters: bool = False

    def __post_init__(self) -> None:
        for unit, size, fewest in zip(self.unit, self.size, self.fewest, strict=True):
            check_unit(unit, size, fewest)
        for longest in self.longest:
            if longest is not None and (type(longest) is not int or longest < 1):
                raise RecipeError(
                    f"longest={longest!r}, but it is after how many units a text is cut off: a whole number of at "
                    "least 1, or None for all of it. Give for instance 200."
                )
        check_missing(self.missing)
        self._check_output()
        if self.letters and self.unit[0] != "words":
            raise RecipeError(
                f"letters=True is for sources of words, and unit is {self.unit[0]!r}. Leave letters out, or say "
                "unit='words'."
            )
        if self.shared:
            for name in ("unit", "size", "fewest", "lower"):
                self._check_alike(name, "shared=True makes one vocabulary of both sides")
        if self.copying:
            self._check_alike("unit", "copying=True takes units of the source for units of the target")
            if self.unit[0] == "subwords" and not self.shared:
                raise RecipeError(
                    "copying=True with subwords needs one vocabulary, for what is one subword of the source may be two "
                    "of the target. Say shared=True, or take words or characters."
                )

    def to_json(self) -> dict[str, Any]:
        """The schema in plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "PairSchema":
        """The schema that `to_json` wrote, also after it went through a file.

        Raises `ValueError` where a side is missing, and `RecipeError` for values that cannot be.
        """
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        for name in ("names", "unit", "size", "fewest", "lower", "longest"):
            if not isinstance(read.get(name), tuple) or len(read[name]) != 2:
                raise ValueError(f"'{name}' is {plain.get(name)!r}, but it is a list of two, for source and target")
        return cls(**read)

    def _check_output(self) -> None:
        for name, known in (("output", OUTPUTS), ("label_order", ORDERS)):
            if getattr(self, name) not in known:
                raise RecipeError(
                    f"{name}={getattr(self, name)!r} is not known.{did_you_mean(str(getattr(self, name)), known)}"
                )
        if not self.separator.strip():
            raise RecipeError(
                f"separator={self.separator!r} is what stands between the labels of a set, and labels may hold blanks. "
                "Give a sign, for instance ';'."
            )
        if self.output == "text":
            return
        for name in ("shared", "copying"):
            if getattr(self, name):
                raise RecipeError(
                    f"{name}=True is for targets that are texts, and output='{self.output}' puts out none of the words "
                    f"of its source. Leave {name} out."
                )
        if self.unit[1] != "words":
            raise RecipeError(
                f"output='{self.output}' has units of its own, brackets or labels, so that unit is that of the sources "
                f"alone, and not {self.unit[0]!r} and {self.unit[1]!r}. Give one."
            )

    def _check_alike(self, name: str, why: str) -> None:
        source, target = getattr(self, name)
        if source != target:
            raise RecipeError(f"{why}, but {name} is {source!r} and {target!r}. Give one {name} for both.")


def check_missing(missing: str) -> None:
    """Refuse an unknown word for what becomes of pairs that lack a text.

    >>> check_missing("impute")
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: missing='impute' is not known. Known: drop, error, keep.
    """
    if missing not in MISSING:
        raise RecipeError(f"missing={missing!r} is not known.{did_you_mean(str(missing), MISSING)}")


def both(name: str, value: Any) -> tuple[Any, Any]:
    """A value for both sides, or two of them: a list, or a text with a comma.

    >>> both("unit", "words"), both("unit", "characters,words"), both("size", [8000, 100])
    (('words', 'words'), ('characters', 'words'), (8000, 100))

    Raises `RecipeError` for more than two.
    """
    given = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(given, Sequence):
        return value, value
    if len(given) not in (1, 2):
        raise RecipeError(
            f"{name}={value!r} has {len(given)} values. Give one for both sides, or two: the source's and the target's."
        )
    return given[0], given[-1]
