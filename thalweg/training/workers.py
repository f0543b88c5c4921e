"""Worker processes: recipes that do not stack, each trained in a process of its own, to the bits of training here.

    here:          run, run, run, run                    seconds * runs
    in processes:  start, run, run                       start + seconds * runs / workers
                   start, run, run

A run that computes on one thread computes the same in any process. What is different there is said here:

- **Nothing that a run does to the caller's objects is lost.** A worker trains a copy of the recipe; where the copy
  holds something else afterwards (a metric that appends to a list, a generator that was drawn from), the run is trained
  here once more, and so are those after it. Only the variables of imported modules are not watched.
- **Own loops, loaders with processes of their own, GPUs, and what cannot be pickled** stay here.
- **A worker that dies** takes the runs with it that it and its siblings were at. Each of those is trained once more,
  alone; one that dies again is a run that FAILED.
- **An interrupt** ends the runs in all workers after their step.
"""

import logging
import math
import multiprocessing
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import joblib
import torch
from joblib.externals.loky import get_reusable_executor, reusable_executor
from joblib.externals.loky.process_executor import ShutdownExecutorError
from torch.utils.data import DataLoader

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RunError
from thalweg.core.notices import notice
from thalweg.core.threads import SMALL
from thalweg.training.errand import ONE_THREAD, Setting, begin, train_one
from thalweg.training.outcome import Outcome
from thalweg.training.parcels import Parcel, opened, refusing
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.shelf import Shelf, Unsendable, pack
from thalweg.training.train import train_here

START_SECONDS = 2.0
"""What a pool of workers takes to start: each imports torch (1.5 s measured on two idle cores)."""
WARM_SECONDS = 0.1
MARGIN = 1.5
"""How many times its start a pool has to save: the time of the runs that are left is an estimate."""
IDLE_SECONDS = 60
"""A worker without work ends after this time."""
GRACE_SECONDS = 5.0
"""How long an interrupt waits for the step that a worker is in."""

DEATHS = (BrokenExecutor, ShutdownExecutorError)


def pays(left: int | float, seconds: float, workers: int, start: float) -> bool:
    """Whether runs are done sooner by processes: what these save of `left` runs of `seconds` is well above their start.

    >>> pays(left=9, seconds=3.0, workers=2, start=2.0), pays(left=9, seconds=0.1, workers=2, start=2.0)
    (True, False)
    >>> pays(left=9, seconds=3.0, workers=1, start=2.0), pays(left=1, seconds=99.0, workers=2, start=2.0)
    (False, False)
    """
    return workers > 1 and (left - math.ceil(left / workers)) * seconds > MARGIN * start


@no_type_check
def train_apart(recipes: Sequence[Recipe], works: Sequence[int], device: str | torch.device) -> Iterator[Run]:
    """The runs of recipes in their order, here or, once that pays, in worker processes; ends with an interrupted one.

    `works` are the multiplications of their forward passes: timing chooses among ways to the same bits alone, so that
    a run that would compute on several threads here stays here.

    >>> from torch import nn
    >>> from thalweg.core.source import Splits
    >>> recipe = Recipe(data=Splits(train=(torch.ones(5, 3), torch.ones(5, 1))), model=lambda: nn.Linear(3, 1),
    ...     objective=nn.MSELoss(), epochs=2)
    >>> [run.status.name for run in train_apart([recipe, recipe.but(seed=1)], [15, 15], "cpu")]
    ['FINISHED', 'FINISHED']
    """
    stay = {place: why for place, each in enumerate(zip(recipes, works, strict=True)) if (why := _stays(*each, device))}
    most = 1 if multiprocessing.parent_process() is not None else free_cores()
    return Crew(recipes, device, most, stay).runs()


@no_type_check
def trained_in_processes(
    recipes: Sequence[Recipe], device: str | torch.device = "cpu", workers: int | None = None
) -> Iterator[Run]:
    """The runs of recipes in their order, in worker processes of one thread each, whatever that costs.

    >>> from torch import nn
    >>> from thalweg.core.source import Splits
    >>> recipe = Recipe(data=Splits(train=(torch.ones(5, 3), torch.ones(5, 1))), model=lambda: nn.Linear(3, 1),
    ...     objective=nn.MSELoss(), epochs=2)
    >>> [run.status.name for run in trained_in_processes([recipe, recipe.but(seed=1)], workers=1)]
    ['FINISHED', 'FINISHED']
    """
    stay = {place: why for place, recipe in enumerate(recipes) if (why := _stays(recipe, 1, device))}
    crew = Crew(recipes, device, workers or joblib.cpu_count(), stay)
    crew.start(range(len(recipes)))
    return crew.runs()


def free_cores() -> int:
    """The cores on which nobody else computes, at least one: of a busy machine workers would only take from each other.

    >>> 1 <= free_cores() <= joblib.cpu_count()
    True
    """
    cores = int(joblib.cpu_count())
    with suppress(OSError, AttributeError):  # systems without a load average, in which this process counts as one
        return max(1, min(cores, round(cores + 1 - os.getloadavg()[0])))
    return cores


def _stays(recipe: Any, work: int, device: str | torch.device) -> str | None:
    """Why a recipe is trained here, whatever it costs; None where it may go."""
    if not isinstance(recipe, Recipe):
        return "it is no recipe"
    if resolve_device(device).type != "cpu":
        return f"it is trained on {resolve_device(device)}"
    if torch.get_num_threads() > 1 and not 0 < work <= SMALL:
        return f"it computes on {torch.get_num_threads()} threads, which give other bits than one"
    if recipe.loop is not None:
        return "its own loop may work on what is outside the recipe"
    if any(isinstance(split, DataLoader) and split.num_workers for split in vars(recipe.data).values()):
        return "its loader has worker processes of its own"
    return None


def _say(reason: str) -> None:
    logging.getLogger("thalweg").info("Trained in this process and not in a worker: %s.", reason)


@no_type_check
@dataclass
class Crew:
    """Recipes on their way to be runs, in worker processes once it has started; `stay` says why some never go.

    >>> Crew([], "cpu", workers=2).futures
    {}
    """

    recipes: Sequence[Recipe]
    device: str | torch.device
    workers: int
    stay: dict[int, str] = field(default_factory=dict)
    shelf: Shelf | None = None
    pool: Any = None
    packed: dict[int, bytes] = field(default_factory=dict)
    futures: dict[int, "Future[Parcel]"] = field(default_factory=dict)
    lost: dict[int, BaseException] = field(default_factory=dict)
    slowest: float = 0.0
    """The seconds of an epoch here, as far as they are known."""
    idle_deaths: int = 0
    """How often a pool broke before a run had begun in it."""

    def runs(self) -> Iterator[Run]:
        """The runs in their order, to the first that was interrupted."""
        try:
            for place in range(len(self.recipes)):
                try:
                    run = self._run(place)
                except KeyboardInterrupt as interrupt:
                    yield from self._interrupted(place, interrupt)
                    return
                yield run
                if run.status is Outcome.INTERRUPTED:
                    return
        finally:
            self._close()

    def start(self, places: Sequence[int]) -> None:
        """Send recipes to workers; those that cannot go stay, and the log says why."""
        if self.shelf is None:
            try:
                self.shelf = Shelf()
            except OSError as error:
                _say(f"there is no folder for what workers share ({error})")
                return
        setting = Setting.now(self.shelf)
        for place in places:
            if place not in self.stay:
                try:
                    inner = pack((warnings.filters, self.recipes[place]), self.shelf)
                    self.packed[place] = pack((setting, inner), self.shelf)
                except Unsendable as error:
                    self.stay[place] = f"it cannot be sent to one: {error}"
        if self.packed:
            self._submit(sorted(self.packed), self.workers)

    def _submit(self, places: Sequence[int], workers: int) -> None:
        assert self.shelf is not None
        self.pool = get_reusable_executor(
            max(min(workers, len(places)), _warm()),
            timeout=IDLE_SECONDS,
            initializer=begin,
            initargs=(_newest_source(),),
            env=ONE_THREAD,
        )
        for place in places:
            try:
                future = self.pool.submit(train_one, self.shelf.begun(place), self.packed[place])
            except (OSError, RuntimeError) as error:  # no process can be made, or the last one has just died
                future = Future()
                future.set_exception(BrokenExecutor(str(error)))
            self.futures[place] = future

    def _run(self, place: int) -> Run:
        recipe = self.recipes[place]
        while place in self.futures and place not in self.lost:
            try:
                parcel = self.futures[place].result()
            except DEATHS as error:
                self._once_more(error)
                continue
            except CancelledError:
                break
            if parcel.refused is None:
                try:
                    run = opened(parcel, recipe)
                except Exception as error:
                    parcel = refusing(f"its run cannot be read ({type(error).__name__}: {error})")
                else:
                    for said in run.notices[len((recipe.origin or {}).get("notices", ())) :]:
                        notice(said)
                    return run
            self.stay[place] = str(parcel.refused)
            for future in self.futures.values():  # what kept this one may keep the others
                future.cancel()
            break
        if place in self.lost:
            return Run(recipe, [], Outcome.FAILED, error=self.lost[place])
        if place in self.stay:
            _say(self.stay[place])
        return self._train_here(place)

    def _train_here(self, place: int) -> Run:
        """Train a recipe here, and start workers for those after it as soon as that pays."""
        after = [other for other in range(place + 1, len(self.recipes)) if other not in self.stay]
        if self.shelf is not None or self.workers < 2 or not after:
            return train_here(self.recipes[place], self.device)
        epochs, started = self.recipes[place].epochs, perf_counter()
        later = sum(self.recipes[other].epochs for other in after) / len(after)

        def look(epoch: int, step: int, row: dict[str, Any] | None) -> None:
            seconds, done = perf_counter() - started, epoch - (row is None)
            each = max(self.slowest, seconds / max(done, 1))
            rest = (epochs - done) / max(epochs, 1) if done else 0
            if self.shelf is None and pays(len(after) + rest, each * later, self.workers, _start_seconds()):
                self.start(after)

        run = train_here(self.recipes[place], self.device, look)
        self.slowest = max(self.slowest, (perf_counter() - started) / max(len(run.history), 1))
        if (
            run.status is not Outcome.INTERRUPTED
            and self.shelf is None
            and pays(len(after), self.slowest * later, self.workers, _start_seconds())
        ):
            self.start(after)
        return run

    def _once_more(self, error: BaseException) -> None:
        """A worker died, and the pool with it: train what had begun once more, each alone, then the others."""
        assert self.shelf is not None
        broken = [place for place, future in self.futures.items() if _is_broken(future) and place not in self.lost]
        begun = [place for place in broken if Path(self.shelf.begun(place)).exists()]
        self.idle_deaths += not begun
        for place in begun:
            self._submit([place], 1)
            wait([self.futures[place]])
            if _is_broken(self.futures[place]):
                self.lost[place] = _died(self.futures[place].exception())
        others = [place for place in broken if place not in begun]
        if self.idle_deaths > 1:
            for place in others:
                self.stay[place] = f"workers die before they begin ({error})"
                del self.futures[place]
        elif others:
            self._submit(others, self.workers)

    def _interrupted(self, place: int, interrupt: KeyboardInterrupt) -> Iterator[Run]:
        """End the runs in the workers, and give the one that the interrupt met with what it has."""
        run = None
        if self.shelf is not None and place in self.futures:
            self.shelf.remove()
            with suppress(KeyboardInterrupt, Exception):  # a second interrupt does not wait
                parcel = self.futures[place].result(timeout=GRACE_SECONDS)
                run = opened(parcel, self.recipes[place]) if parcel.refused is None else None
        if run is not None:
            yield run
            place += 1
        if (run is None or run.status is not Outcome.INTERRUPTED) and place < len(self.recipes):
            yield Run(self.recipes[place], [], Outcome.INTERRUPTED, error=interrupt)

    def _close(self) -> None:
        """Leave no worker at work, and nothing on the shelf."""
        if self.shelf is not None:
            self.shelf.remove()
        if any(not future.done() for future in self.futures.values()):
            self.pool.shutdown(wait=True, kill_workers=True)


def _is_broken(future: "Future[Parcel]") -> bool:
    return future.done() and not future.cancelled() and isinstance(future.exception(), DEATHS)


def _died(error: BaseException | None) -> RunError:
    """What is said of a run whose worker died twice."""
    codes = re.search(r"exit codes? of the workers? (?:are|is) \{(.+?)\}", str(error))
    died = RunError(
        f"The process that trained this recipe died ({codes[1] if codes else 'no exit code'}), and once more when it "
        "was the only one; it was expected to send back a run. SIGKILL mostly says that memory ran out: take a smaller "
        "batch or model. After any other end, thalweg.train(recipe) shows what happens in it."
    )
    died.__cause__ = error
    return died


def _warm() -> int:
    """The workers that wait already."""
    pool: Any = getattr(reusable_executor, "_executor", None)
    if pool is None or pool._flags.broken or pool._flags.shutdown:
        return 0
    return len(pool._processes or ())


def _start_seconds() -> float:
    return WARM_SECONDS if _warm() else START_SECONDS


def _newest_source() -> float:
    """When the user's own modules were last written: workers that imported them before are not kept."""
    own: list[float] = []
    for module in list(sys.modules.values()):
        file = vars(module).get("__file__") if hasattr(module, "__dict__") else None
        if isinstance(file, str) and not file.startswith((sys.prefix, sys.base_prefix)):
            with suppress(OSError):
                own.append(Path(file).stat().st_mtime)
    return max(own, default=0.0)
