"""run_study: the name of a study -> a `Study`."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from time import perf_counter
from typing import Any

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.study.catalogue import STUDIES
from thalweg.study.verdict import Study

SEED_STRIDE = 1000
"""Study seed k uses the training seeds from 1000 k on, so that two study seeds share none."""


def run_study(
    name: str,
    *,
    seeds: int | None = None,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
    **settings: Any,
) -> Study:
    """Run the study of that name and give its numbers, its verdict and its figure.

    `seeds` is how many seeds the interval is taken over (None: the study's own number), `seed` chooses which; the same
    seed gives the same numbers. `progress(share, what)` is told how far it is. `settings` are the study's own, such as
    `epochs`. Nothing is written; `Study.save(out)` does that.

    >>> study = run_study("vanishing", seeds=3, epochs=0, train=64)
    >>> study.held, len(study.seeds)
    (True, 3)
    >>> run_study("learning-rat")
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: There is no study 'learning-rat'. Did you mean 'learning-rate'?

    Raises `RecipeError` for an unknown name or setting, and for fewer than two seeds.
    """
    if name not in STUDIES:
        raise RecipeError(f"There is no study '{name}'.{did_you_mean(name, STUDIES)}")
    if seeds is not None and seeds < 2:
        raise RecipeError(f"seeds={seeds}, but an interval over seeds needs at least 2. Give for instance seeds=5.")
    if seed < 0:
        raise RecipeError(f"seed={seed}, but a study's seed is a whole number from 0 on. Give for instance seed=1.")
    room = import_module(f"thalweg.study.{name.replace('-', '_')}")
    known = [option for option in inspect.signature(room.study).parameters if option not in ("seeds", "progress")]
    for option in settings:
        if option not in known:
            raise RecipeError(f"The study '{name}' has no setting '{option}'.{did_you_mean(option, known)}")
    first = SEED_STRIDE * seed
    with _one_thread():
        started = perf_counter()
        study: Study = room.study(range(first, first + (seeds or room.SEEDS)), progress or _silent, **settings)
        return replace(study, seconds=round(perf_counter() - started, 1))


@contextmanager
def _one_thread() -> Iterator[None]:
    """For steps this small one thread is as fast, and its sums are the same on a machine with other cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _silent(share: float, what: str) -> None:
    """No progress is shown."""
