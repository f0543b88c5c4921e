"""What moved between validation and test data, as values: the explanation of a mismatch, in words and in JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

from thalweg.diagnosis.score import Score
from thalweg.diagnosis.shift.changes import Change
from thalweg.diagnosis.shift.families import number

NAMED = 3
"""Columns, classes or groups that a sentence names."""
LEVEL = 0.05
LITTLE = 0.05
"""What explains less of the harm is left out."""


@dataclass(frozen=True)
class Undone:
    """A change of the test inputs that takes off much of the harm where it is undone.

    `before` and `after` are losses on the examples that judge, `lowered` their difference, `left` how far `after` still
    lies above validation, `share` the part of the harm that was taken off. `tried` holds what else did best.
    """

    name: str
    before: Score
    after: Score
    validation: Score
    lowered: Score
    left: Score
    share: float
    chosen_by: int
    judged_by: int
    tried: tuple[tuple[str, Score], ...]
    change: Change = field(repr=False, compare=False)

    @property
    def sentence(self) -> str:
        """The change, and the loss without it."""
        rest = "as on validation" if not self.left.low > 0 else f"{self.left.value:.3g} above validation"
        return (
            f"the test inputs were changed ({self.name}): undone, the loss is {self.after.value:.3g} instead of "
            f"{self.before.value:.3g}, {rest} ({self.judged_by} examples that did not choose)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the change itself."""
        scores = {name: asdict(getattr(self, name)) for name in ("before", "after", "validation", "lowered", "left")}
        tried = [{"name": name, **asdict(score)} for name, score in self.tried]
        counts = {name: getattr(self, name) for name in ("share", "chosen_by", "judged_by")}
        return {"name": self.name, **scores, **counts, "tried": tried, "sentence": self.sentence}


@dataclass(frozen=True)
class Test:
    """A test of two samples: of what, by which statistic, and how likely by chance."""

    __test__ = False
    of: str
    by: str
    statistic: float
    p: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class MovedColumn:
    """A number of each example that is distributed otherwise on test, by Kolmogorov and Smirnov.

    Means and deviations are in the units of the data, where a table was scaled.

    `distance` is theirs, with the p-value times the number of columns; means and deviations are of validation and test.
    """

    name: str
    distance: float
    p: float
    means: tuple[float, float]
    deviations: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Classes:
    """The shares of the classes: counted on both splits, and estimated from the outputs alone (BBSE).

    `names` are the numbers of the classes, and `called` what the data call them. `weights` are counted test shares
    over validation shares. `left` is how much higher the loss on test is than that on validation with each class
    weighted so: where that is nothing, the shares explain all of it, and `alone` says so.
    """

    names: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    weights: tuple[float, ...]
    estimated: tuple[float, ...] | None
    p: float
    left: Score
    share: float
    alone: bool
    unseen: tuple[int, ...] = ()
    called: tuple[str, ...] = ()

    @property
    def _unseen(self) -> str:
        return self.called[self.names.index(self.unseen[0])]

    @property
    def moved(self) -> bool:
        """Whether the shares differ beyond chance."""
        return self.p < LEVEL / 5

    @property
    def sentence(self) -> str:
        """The classes whose share moved most, and what that explains."""
        most = sorted(range(len(self.names)), key=lambda i: -abs(self.after[i] - self.before[i]))[:NAMED]
        shares = ", ".join(f"{self.called[i]}: {self.before[i]:.0%} to {self.after[i]:.0%}" for i in most)
        new = f"; class {self._unseen} is not in validation" if self.unseen else ""
        if self.alone:
            why = "with validation weighted so its loss is that of test: the shares are all that costs"
        else:
            why = f"that explains {max(self.share, 0.0):.0%} of the harm"
        return f"the shares of the classes moved ({shares}{new}; p = {self.p:.1g}), {why}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"moved": self.moved, "sentence": self.sentence}


@dataclass(frozen=True)
class Groups:
    """The loss of each group of test examples, the worst first: (group, loss, whether training has none of it)."""

    losses: tuple[tuple[str, Score, bool], ...]
    new: int
    count: int
    on_new: Score | None
    on_known: Score | None
    shared: bool
    """Whether validation has groups of the train split."""
    called: str = "group"
    """What a group is: a speaker, a patient."""

    @property
    def sentence(self) -> str:
        """Which groups are new, and which do worst."""
        name, loss, new = self.losses[0]
        worst = f"the worst is {name}{', which is new,' if new and self.new < self.count else ''} with {loss}"
        said = f"{self.new} of {self.count} groups of test are not in train{self._new}"
        if self.count == 1:
            worst, said = f"its loss is {loss}", f"test has one {self.called} alone, {name}"
            said += ", which is not in train" if new else ", which train has too"
        if self.on_new is not None and self.on_known is not None:
            said += f" (loss {self.on_new} on these, {self.on_known} on the others)"
        if self.new and self.shared:
            said += ", while validation shares its groups with train and so cannot tell"
        return f"{said}; {worst}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        losses = [{"group": name, "new": new, **asdict(loss)} for name, loss, new in self.losses]
        both = {name: None if own is None else asdict(own) for name, own in self._both}
        counts = {"new": self.new, "count": self.count, "validation_shares_groups": self.shared, "called": self.called}
        return {"losses": losses, **both, **counts, "sentence": self.sentence}

    @property
    def _new(self) -> str:
        """The groups that are new, where the data say what they are called."""
        if not self.new or self.called == Groups.called:
            return ""
        names = [name for name, _, new in self.losses if new]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return f" ({self.called}: {', '.join(names[:NAMED])}{more})"

    @property
    def _both(self) -> tuple[tuple[str, Score | None], ...]:
        return (("on_new", self.on_new), ("on_known", self.on_known))


@dataclass(frozen=True)
class Shift:
    """What moved: the change that was found, shares of classes, groups, columns, what images look like, and the tests.

    >>> shift = Shift(tests=(Test("penultimate features", "MMD", 0.1, 0.005),))
    >>> shift.sentence
    'penultimate features moved (MMD p = 0.005)'
    """

    undone: Undone | None = None
    classes: Classes | None = None
    groups: Groups | None = None
    columns: tuple[MovedColumn, ...] = ()
    looks: tuple[MovedColumn, ...] = ()
    tests: tuple[Test, ...] = ()
    times: str | None = None
    counts: tuple[int, int] = (0, 0)
    """How many columns moved, and how many there are."""
    weighting: tuple[float, ...] | None = field(default=None, repr=False)
    """The weight of each class, by its number, where the shares of the classes explain much."""

    @property
    def sentence(self) -> str:
        """What moved, in a line, what explains most first; of the rest only where nothing of that is known."""
        return (
            "; ".join(self._explained or self._seen) or "no test sees inputs, features or outputs distributed otherwise"
        )

    @property
    def beside(self) -> list[str]:
        """What else was seen, where something explains the harm."""
        return self._seen if self._explained else []

    @property
    def _explained(self) -> list[str]:
        said = [self.undone.sentence] if self.undone is not None else []
        if self.classes is not None and self.classes.moved and (self.classes.alone or self.classes.share >= LITTLE):
            most = self.classes.alone or (self.undone is not None and self.classes.share > self.undone.share)
            said.insert(0 if most else len(said), self.classes.sentence)
        said += [self.groups.sentence] if self.groups is not None else []
        return said + ([self.times] if self.times is not None else [])

    @property
    def _seen(self) -> list[str]:
        said = [self._columns] if self.columns else []
        said += [self._looks] if self.looks else []
        beyond = [test for test in self.tests if test.p < LEVEL]
        names = dict.fromkeys(test.of for test in beyond)
        by = {name: ", ".join(f"{test.by} p = {test.p:.1g}" for test in beyond if test.of == name) for name in names}
        return said + [f"{name} moved ({tests})" for name, tests in by.items()]

    @property
    def _columns(self) -> str:
        named = ", ".join(f"{column.name} {_from_to(column)}" for column in self.columns[:NAMED])
        return f"{self.counts[0]} of {self.counts[1]} inputs are distributed otherwise ({named})"

    @property
    def _looks(self) -> str:
        return "images differ in their " + ", ".join(f"{look.name} ({_from_to(look)})" for look in self.looks[:NAMED])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        parts: dict[str, Undone | Classes | Groups | None] = {"undone": self.undone, "classes": self.classes}
        parts["groups"] = self.groups
        columns, looks, tests = ([each.to_json() for each in own] for own in (self.columns, self.looks, self.tests))
        return {
            "sentence": self.sentence,
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
            "columns": columns,
            "looks": looks,
            "tests": tests,
            "times": self.times,
            "columns_moved": list(self.counts),
        }


def _from_to(column: MovedColumn) -> str:
    """What changed more, of the mean and the deviation."""
    (m, n), (s, t) = column.means, column.deviations
    if abs(n - m) >= abs(t - s):
        return f"mean {number(m)} to {number(n)}"
    return f"deviation {number(s)} to {number(t)}"
