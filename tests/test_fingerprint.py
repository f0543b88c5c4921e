"""Fingerprints: what a user's own program changes is another piece, whatever stands between."""

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from thalweg.core.fingerprint import UNKNOWN, fingerprint

PROGRAM = """
import argparse, enum, types
from dataclasses import dataclass
from torch import nn

RATE = {rate}
settings = types.SimpleNamespace(rate={rate}, act=lambda x: x * {rate})
options = argparse.Namespace(**{{"rate": {rate}}})
nested = {{"act": lambda x: x * {rate}, "settings": types.SimpleNamespace(rate=1)}}

class Kind(enum.Enum):
    ONE = {rate}

class Options:
    rate = {rate}

    def __init__(self):
        self.own = {rate}

class Base(nn.Module):
    def forward(self, x):
        return x * {rate}

class Sub(Base):
    pass

class Reads(nn.Module):
    def forward(self, x):
        return x * RATE

@dataclass(frozen=True)
class Loss:
    def __call__(self, output, target):
        return {rate} * (output - target).abs().mean()

def inner():
    return nn.Dropout({rate})

def outer():
    return inner()

def within():
    def build():
        return inner()
    return build()

def even(n):
    return n == {rate} or odd(n - 1)

def odd(n):
    return even(n - 1)

own = Options()
by_settings = lambda: nn.Dropout(settings.rate)
by_options = lambda: nn.Dropout(options.rate)
by_nested = lambda: nested["act"]
by_object = lambda: nn.Dropout(own.own)
by_class = lambda: nn.Dropout(Options.rate)
by_kind = lambda: nn.Dropout(Kind.ONE.value)
instance = Sub()
loss = Loss()
"""
READING = [
    "Sub", "Reads", "instance", "loss", "inner", "outer", "within", "even", "odd", "by_settings", "by_options",
    "by_nested", "by_object", "by_class", "by_kind",
]  # fmt: skip


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], ModuleType]]:
    """A program of the user's own, imported as it is written at the moment."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(rate: float) -> ModuleType:
        (tmp_path / "my_own_program.py").write_text(PROGRAM.format(rate=rate))
        sys.modules.pop("my_own_program", None)
        importlib.invalidate_caches()
        return importlib.import_module("my_own_program")

    yield write
    sys.modules.pop("my_own_program", None)


def test_a_program_that_was_edited_gives_other_pieces(written: Callable[[float], ModuleType]) -> None:
    prints = []
    for rate in (0.25, 0.25, 0.75):
        program = written(rate)
        prints.append({name: fingerprint(getattr(program, name), whole=True) for name in READING})
    first, again, edited = prints
    assert first == again
    assert UNKNOWN not in first.values()
    assert [name for name in READING if first[name] == edited[name]] == []


def test_what_is_read_through_a_module_counts(written: Callable[[float], ModuleType]) -> None:
    prints = []
    for rate in (0.25, 0.25, 0.75):
        space: dict[str, Any] = {"__name__": "__main__", "program": written(rate)}
        exec("def build(): return program.outer()", space)
        prints.append(fingerprint(space["build"]))
    assert prints[0] == prints[1] != prints[2]


def test_settings_that_change_in_place_count() -> None:
    options = argparse.Namespace(rate=0.1, deep=SimpleNamespace(own=[1, SimpleNamespace(rate=2)]))
    build = partial(lambda given, rate: nn.Dropout(options.rate), rate=0.1)
    before = fingerprint(build)
    options.deep.own[1].rate = 3
    assert fingerprint(build) != before


def test_the_whole_is_unknown_where_a_function_reads_what_cannot_be_hashed() -> None:
    with Path(__file__).open() as file:

        class Slotted:
            __slots__ = ("rate",)

            @cached_property
            def late(self) -> int:
                return 1

            @staticmethod
            def known() -> Any:
                return file

        reads: list[Callable[[], Any]] = [lambda: file, lambda: [1, {"it": file}], lambda: Slotted]
        assert [fingerprint(each, whole=True) for each in reads] == [UNKNOWN] * 3
        assert UNKNOWN not in map(fingerprint, reads)
    assert fingerprint(nn.Linear, whole=True) == fingerprint(nn.Linear)
    assert fingerprint(lambda: torch.optim.Adam, whole=True) != UNKNOWN


def test_what_leads_back_to_itself_ends() -> None:
    held: list[Any] = [1]
    held.append(held)
    around = SimpleNamespace(rate=1)
    around.itself = around
    assert fingerprint(lambda: (held, around), whole=True) != UNKNOWN
