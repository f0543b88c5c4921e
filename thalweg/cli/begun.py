"""What an improvement began with, as its folder keeps it: enough to go on with it after an interrupt."""

import contextlib
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.cli.find import find_run
from thalweg.cli.options import TableOptions, TrainingOptions
from thalweg.cli.subject import CASE, is_run, read_subject
from thalweg.core.errors import RunError
from thalweg.core.files import read_object, write_json

if TYPE_CHECKING:
    from thalweg.training import Recipe

FILE, KEPT = "begun.json", "kept-runs"
"""What it began with, and the folder of the runs that are kept until it has ended."""
BUDGET, ROUNDS = "200", 6
"""What an improvement may cost, and how often it goes round, where nothing is said."""


@dataclass(frozen=True)
class Begun:
    """A command `improve`: its subject, how that is trained, and its own options.

    >>> Begun("digits", "200", 6, {"seed": 3}).options(TrainingOptions()).seed
    3
    """

    subject: str
    budget: str
    rounds: int
    trained: dict[str, Any] = field(default_factory=dict)
    """What shapes the recipe: assignments, the seed, how a table is read."""
    fingerprint: str = ""
    """That of the recipe that came in."""
    place: str = ""
    """The folder in which the command was given: paths are meant from there."""

    @classmethod
    def of(cls, subject: str, budget: str, rounds: int, own: TrainingOptions, recipe: "Recipe") -> "Begun":
        """What a command begins with."""
        trained = {"assignments": list(own.assignments()), "seed": own.seed, "table": own.data()}
        return cls(subject, budget, rounds, trained, recipe.fingerprint(), str(Path.cwd()))

    def keep(self, path: Path) -> None:
        """Write it into the folder."""
        write_json(path / FILE, asdict(self))

    def options(self, own: TrainingOptions) -> TrainingOptions:
        """The options that the command had, with those that only shape the output or the place from `own`."""
        table = self.trained.get("table") or None
        return replace(
            own,
            set_=tuple(self.trained.get("assignments", ())),
            seed=self.trained.get("seed"),
            table=None if table is None else TableOptions(**table),
        )

    def at_its_place(self) -> contextlib.AbstractContextManager[None]:
        """The folder in which the command was given as the working folder: images are read from there as they come."""
        away = Path(self.place) != Path.cwd() and Path(self.place).is_dir()
        return contextlib.chdir(self.place) if away else contextlib.nullcontext()

    def recipe(self, own: TrainingOptions) -> "Recipe":
        """The recipe that came in, read again; `RunError` where it, or its data, have changed since."""
        recipe = read_subject(self.subject, self.options(own))
        if recipe.fingerprint().rstrip("~") != self.fingerprint.rstrip("~"):
            raise RunError(
                f"'{self.subject}' is not what the improvement began with: its data or its settings have changed. "
                f"Begin anew: thalweg improve {self.subject}."
            )
        return recipe


def begun_in(folder: Path) -> Begun | None:
    """What the improvement of a folder began with; None where the folder is of something else, or it has ended."""
    from thalweg.training import Outcome

    try:
        about = read_object(folder / "run.json", status=str)
    except RunError:  # going on with a training will find out what is left
        return None
    status = Outcome.__members__.get(about["status"])
    if about.get("kind") != "improve" or (status is not None and status.good) or not (folder / FILE).is_file():
        return None
    found = read_object(folder / FILE, subject=str, budget=str, rounds=int, trained=dict, fingerprint=str, place=str)
    names = ("subject", "budget", "rounds", "trained", "fingerprint", "place")
    return Begun(**{name: found[name] for name in names})


def unfinished(subject: str, out: Path) -> Path | None:
    """The folder of an improvement that did not end, where that is the subject; None for anything else."""
    if subject.startswith(CASE) or not is_run(subject, out):
        return None
    folder = find_run(subject, out)
    return folder if begun_in(folder) is not None else None


def check_alike(folder: Path, own: TrainingOptions, budget: str, rounds: int) -> None:
    """Refuse options that are not those with which an improvement began: it goes on as it began.

    Raises `RunError` with what is given and what it began with.
    """
    begun = begun_in(folder)
    assert begun is not None
    table = begun.trained.get("table") or {}
    pairs = {
        "--budget": (budget, BUDGET, begun.budget),
        "--rounds": (rounds, ROUNDS, begun.rounds),
        "--seed": (own.seed, None, begun.trained.get("seed")),
        "--set": (list(own.assignments()), [], list(begun.trained.get("assignments", ()))),
    }
    pairs |= {f"--{name}": (value, None, table.get(name)) for name, value in own.data().items()}
    other = [name for name, (given, usual, began) in pairs.items() if given != usual and given != began]
    if other:
        raise RunError(
            f"The improvement in {folder} goes on as it began, with budget {begun.budget} and {begun.rounds} rounds: "
            f"{', '.join(other)} cannot change it. Leave that out, or begin anew: thalweg improve {begun.subject}."
        )


def forget_runs(folder: Path) -> None:
    """Take away the runs that were kept: what they have shown stands in the diary."""
    kept = folder / KEPT
    if kept.is_symlink():
        kept.unlink()
    shutil.rmtree(kept, ignore_errors=True)
