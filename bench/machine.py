"""What the figures of a benchmark depend on, and how two ways of doing the same are timed: in turn, medians, ratios."""

import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

Way = Callable[[], object]


def machine() -> str:
    """The machine in a line."""
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


def in_turn(ways: dict[str, Way], rounds: int, clock: Callable[[], float] = perf_counter) -> dict[str, float]:
    """The median seconds of each way, A B C A B C ..., after a first round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = clock()
            way()
            if number:
                taken[name].append(clock() - started)
    return {name: median(seconds) for name, seconds in taken.items()}


def show(title: str, seconds: dict[str, float], against: str) -> None:
    """A table of seconds, and how many times as fast as `against` each is."""
    print(f"\n{title}")
    for name, each in seconds.items():
        print(f"  {name:<44} {each:8.3f} s   {seconds[against] / each:5.2f} x")
