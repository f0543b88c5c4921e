"""Findings: a cause with the experiments that show it, as values."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from thalweg.core.wording import capitalized, counted, preformatted
from thalweg.diagnosis.budget import Cost
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.score import Score as Score
from thalweg.diagnosis.shift.explanation import Shift
from thalweg.diagnosis.telling import headline, told
from thalweg.measure.curvature.point import CriticalPoint
from thalweg.training import Recipe


@dataclass(frozen=True)
class Arm:
    """One way of training in an experiment: what it changes, and the loss it reached, the mean over its seeds.

    `score` is what the experiment asks for; by `validation`, the loss there, a remedy is chosen among arms.
    """

    name: str
    change: tuple[str, ...]
    score: Score
    seeds: tuple[int, ...]
    seconds: float = 0.0
    validation: float = float("inf")
    recipe: Recipe | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the recipe itself is not among them, what it changes is."""
        return {
            "name": self.name,
            "change": list(self.change),
            **asdict(self.score),
            "seeds": list(self.seeds),
            "seconds": self.seconds,
        }

    def __repr__(self) -> str:
        return f"Arm({self.name!r}, {self.score}, {counted(len(self.seeds), 'seed')})"


@dataclass(frozen=True)
class Experiment:
    """A question, the run as it is, varied runs, and the answer: "yes", "no" or "undecided".

    >>> as_it_is = Arm("as it is", (), Score(0.5, 0.4, 0.6), (0,))
    >>> asked = Experiment("Does it help?", "train loss", as_it_is, (), "no", "Nothing was tried.")
    >>> asked
    Experiment('Does it help?', 'no', 0 arms beside Arm('as it is', 0.5 [0.4, 0.6], 1 seed))
    >>> print(asked)
    Does it help? no. Nothing was tried.
    """

    question: str
    measure: str
    control: Arm
    arms: tuple[Arm, ...]
    answer: str
    says: str
    effect: Score | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "question": self.question,
            "measure": self.measure,
            "control": self.control.to_json(),
            "arms": [arm.to_json() for arm in self.arms],
            "answer": self.answer,
            "effect": None if self.effect is None else asdict(self.effect),
            "says": self.says,
        }

    def __str__(self) -> str:
        return f"{self.question} {self.answer}. {self.says}"

    def __repr__(self) -> str:
        arms = f"{counted(len(self.arms), 'arm')} beside {self.control!r}"
        return f"Experiment({self.question!r}, {self.answer!r}, {arms})"


@dataclass(frozen=True)
class Ranked:
    """A cause, the share of the loss that it accounts for where that is known, and why."""

    cause: Cause
    share: float | None
    sentence: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.sentence}"


@dataclass(frozen=True)
class Finding:
    """What holds a network back, and how that is known.

    `losses` holds the floor, train, validation and test where they are known; `would_decide` says what an UNDECIDED
    finding waits for. Remedies are attached by the door `thalweg.diagnose`. `reference` is the floor in full: it does
    not change while the data and the judge stay, so another diagnosis can be given it. `held_off` says by what the
    worst of a cause is kept from the result already; its remedies may still lower the loss. `stopped_at` is the point
    at which the training stopped, where the train loss is too high: it explains, and decides nothing. `flaws` is what
    the checks have seen, harmful or not; `mend` says what to change where one of them is the cause. `shift` says of a
    mismatch what moved.

    >>> finding = Finding(Cause.NONE, "reaches the reference learners")
    >>> finding.to_json()["cause"]
    'NONE'

    `print` shows what `thalweg diagnose` does, and a notebook too.

    >>> print(finding)
    NONE  Nothing stands out: both losses are as small as these data are known to allow.
    Reaches the reference learners.
    """

    cause: Cause
    mechanism: str
    ranked: tuple[Ranked, ...] = ()
    losses: dict[str, Score] = field(default_factory=dict)
    floor_by: str = ""
    experiments: tuple[Experiment, ...] = ()
    remedies: tuple[Any, ...] = ()
    cost: Cost = field(default_factory=Cost)
    would_decide: str | None = None
    notices: tuple[str, ...] = ()
    reference: Floor | None = field(default=None, repr=False)
    held_off: str | None = None
    stopped_at: CriticalPoint | None = None
    flaws: tuple[Flaw, ...] = ()
    mend: str | None = None
    shift: Shift | None = None

    def but(self, **changes: Any) -> "Finding":
        """The same finding with some fields changed."""
        return replace(self, **changes)

    @property
    def sentence(self) -> str:
        """The finding in one sentence."""
        return f"{headline(self)} {capitalized(self.mechanism)}."

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `finding.json` and `--json` hold them."""
        losses: dict[str, Any] = {name: asdict(score) for name, score in self.losses.items()}
        if "floor" in losses:
            losses["floor"] = {"low": losses["floor"]["low"], "high": losses["floor"]["high"], "by": self.floor_by}
        return {
            "cause": str(self.cause),
            "sentence": self.sentence,
            "mechanism": self.mechanism,
            "next": None,
            "would_decide": self.would_decide,
            "held_off": self.held_off,
            "mend": self.mend,
            "flaws": [flaw.to_json() for flaw in self.flaws],
            "stopped_at": None if self.stopped_at is None else self.stopped_at.to_json(),
            "shift": None if self.shift is None else self.shift.to_json(),
            "ranked": [{"cause": str(r.cause), "share": r.share, "sentence": r.sentence} for r in self.ranked],
            "losses": losses,
            "experiments": [experiment.to_json() for experiment in self.experiments],
            "remedies": [remedy.to_json() for remedy in self.remedies],
            "cost": asdict(self.cost),
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        return f"Finding({self.cause}: {self.mechanism}; {self.cost.runs} runs, {self.cost.times:.1f} x the training)"

    def __str__(self) -> str:
        return "\n".join(told(self))

    def _repr_html_(self) -> str:
        return preformatted(str(self))
