"""Runs that are kept while something greater goes on, so that it can be interrupted and begun again without loss.

Whatever trains recipes within `keeping(folder)` finds there the runs that an earlier attempt has finished: the same
recipe, in every field, by its fingerprint. So a diagnosis, a race, a proof, a whole improvement is resumed by beginning
it anew, for all that follows from runs follows again. A recipe with a field that cannot be compared is trained again.

<key>-best.safetensors, <key>-last.safetensors      the weights        <key>.json      the rest, written last
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.description import describe_piece
from thalweg.core.errors import RunError, WriteError
from thalweg.core.files import check_writable, read_own, write_own
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.notices import notice, unsaid
from thalweg.core.randomness import untouched
from thalweg.core.source import Splits
from thalweg.training.attributes import own_values
from thalweg.training.factories import build_model
from thalweg.training.outcome import Outcome
from thalweg.training.plain import equal
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.weights import packed_weights, unpack_weights

ENDED = (Outcome.FINISHED, Outcome.STOPPED_EARLY, Outcome.DIVERGED)
_keeping: ContextVar["KeptRuns | None"] = ContextVar("thalweg_kept_runs", default=None)


@dataclass
class KeptRuns:
    """The runs of a folder, by recipe; the same recipe trained a second time is another run of it.

    `seconds` is the time of the runs that were found here and not trained.
    """

    folder: Path
    seconds: float = 0.0
    asked: dict[str, int] = field(default_factory=dict)
    names: dict[int, tuple[Recipe, str]] = field(default_factory=dict)
    hashed: dict[int, tuple[Any, str]] = field(default_factory=dict)

    def found(self, recipe: Recipe, device: Any) -> Run | None:
        """The run of a recipe, None where it was not kept; it is then kept under this name when it has ended."""
        name = self._name(recipe, device)
        if name is None:
            return None
        self.names[id(recipe)] = recipe, name
        return self._read(recipe, name)

    def keep(self, recipe: Recipe, run: Run) -> None:
        """Write a run that has come to its end; one that could not be read back as it is is left out."""
        known = self.names.pop(id(recipe), None)
        if known is None or run.status not in ENDED or not (run.best and run.final and _whole(recipe, run)):
            return
        about = {
            "history": run.history,
            "status": run.status.name,
            "best_epoch": run.best_epoch,
            "notices": list(run.notices),
        }
        try:
            told = json.dumps(about).encode()
        except (TypeError, ValueError):  # a metric that gives more than numbers
            return
        try:
            for which, model in (("best", run.best), ("last", run.final)):
                write_own(self.folder / f"{known[1]}-{which}.safetensors", packed_weights(model.state_dict()))
            write_own(self.folder / f"{known[1]}.json", told)
        except WriteError as error:  # what is kept for an interrupt must not be one
            notice(f"A run is not kept, and is trained again after an interrupt: {error}")

    def _name(self, recipe: Recipe, device: Any) -> str | None:
        parts = [str(device), torch.__version__]
        for item in fields(recipe):
            if item.name == "origin":
                continue
            value = getattr(recipe, item.name)
            split = [value.train, value.validation] if isinstance(value, Splits) else [value]
            prints = [self._print(each) for each in split]
            if UNKNOWN in prints:
                notice(
                    f"What is trained here is not kept: {item.name} cannot be compared ({describe_piece(value)[:80]}). "
                    "What is interrupted begins anew."
                )
                return None
            parts += [*prints, describe_piece(value)]
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        self.asked[key] = number = self.asked.get(key, 0) + 1
        return f"{key}-{number}"

    def _print(self, value: Any) -> str:
        known = self.hashed.get(id(value))
        if known is None or known[0] is not value:
            known = self.hashed[id(value)] = value, fingerprint(value, whole=True)
        return known[1]

    def _read(self, recipe: Recipe, name: str) -> Run | None:
        if not (self.folder / f"{name}.json").is_file():
            return None
        try:
            about = json.loads(read_own(self.folder / f"{name}.json"))
            status, history, best = Outcome[about["status"]], list(about["history"]), int(about["best_epoch"])
            models = list[nn.Module]()
            for which in ("best", "last"):
                with untouched(), unsaid():
                    model = build_model(recipe.model)
                file = self.folder / f"{name}-{which}.safetensors"
                unpack_weights(model, read_own(file), file.name, grown=True)
                models.append(model.eval())
            run = Run(recipe, history, status, models[0], models[1], best, notices=tuple(about["notices"]))
            self.seconds += run.seconds
            return run
        except (RunError, ValueError, KeyError, TypeError) as error:
            notice(f"A run that was kept cannot be read, and is trained again: {error}")
            return None


def _whole(recipe: Recipe, run: Run) -> bool:
    """Whether weights are all that a run's models have beyond what their factory gives them."""
    with untouched(), unsaid():
        fresh = own_values(build_model(recipe.model))
    return all(
        all(isinstance(value, Tensor) for value in model.state_dict().values()) and equal(own_values(model), fresh)
        for model in (run.best, run.final)
        if isinstance(model, nn.Module)
    )


@contextmanager
def keeping(folder: str | Path) -> Iterator[KeptRuns]:
    """Keep the runs that the block trains in a folder, and find those there that an earlier block has kept.

    >>> import tempfile, thalweg, torch
    >>> data = thalweg.Splits(train=(torch.ones(5, 3), torch.ones(5, 1)))
    >>> recipe = thalweg.Recipe(data=data, model=lambda: nn.Linear(3, 1), objective=nn.MSELoss(), epochs=2)
    >>> folder = tempfile.mkdtemp()
    >>> with keeping(folder):
    ...     (first,) = thalweg.train_many([recipe])
    >>> with keeping(folder):
    ...     (again,) = thalweg.train_many([recipe])
    >>> again.history == first.history
    True

    Raises `RunError` for a folder in which nothing can be written.
    """
    check_writable(Path(folder) / "kept")
    kept = KeptRuns(Path(folder))
    token = _keeping.set(kept)
    try:
        yield kept
    finally:
        _keeping.reset(token)


def kept_runs() -> KeptRuns | None:
    """The runs that are kept where this is called; None where none are.

    >>> kept_runs() is None
    True
    """
    return _keeping.get()


def found_or_missing(recipes: Sequence[Recipe], device: Any) -> tuple[dict[int, Run], list[int]]:
    """The runs that were kept, by the places of their recipes, and the places of those that are to be trained.

    >>> found_or_missing([], "cpu")
    ({}, [])
    """
    kept = kept_runs()
    found = {} if kept is None else {place: kept.found(recipe, device) for place, recipe in enumerate(recipes)}
    runs = {place: run for place, run in found.items() if run is not None}
    return runs, [place for place in range(len(recipes)) if place not in runs]


def keep_run(recipe: Recipe, run: Run) -> Run:
    """Keep a run, where runs are kept; gives the run."""
    kept = kept_runs()
    if kept is not None:
        kept.keep(recipe, run)
    return run


def seconds_kept() -> float:
    """The time of the runs that were found so far, and not trained; 0 where none are kept.

    >>> seconds_kept()
    0.0
    """
    kept = kept_runs()
    return 0.0 if kept is None else kept.seconds
