"""What the figures of a benchmark depend on, and how two ways of doing the same are timed: in turn, medians, ratios."""

import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

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
    return {name: median(seconds) for name, seconds in all_in_turn(ways, rounds, clock).items()}


def all_in_turn(ways: dict[str, Way], rounds: int, clock: Callable[[], float] = perf_counter) -> dict[str, list[float]]:
    """The seconds of each way in every round but the first."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = clock()
            way()
            if number:
                taken[name].append(clock() - started)
    return taken


def show(title: str, seconds: dict[str, float], against: str) -> None:
    """A table of seconds, and how many times as fast as `against` each is."""
    print(f"\n{title}")
    for name, each in seconds.items():
        print(f"  {name:<44} {each:8.3f} s   {seconds[against] / each:5.2f} x")


def show_all(title: str, seconds: dict[str, list[float]], against: str) -> None:
    """The same of medians and, in brackets, of minima."""
    print(f"\n{title}")
    first = seconds[against]
    for name, each in seconds.items():
        middle, least = median(each), min(each)
        print(
            f"  {name:<44} {middle:8.3f} s ({least:.3f})   {median(first) / middle:5.2f} x ({min(first) / least:.2f})"
        )


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself: AVX-512 BF16 or AMX, on ARM BF16."""
    has: dict[str, Any] = torch.cpu.get_capabilities()
    return any(bool(has.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
