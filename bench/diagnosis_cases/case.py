"""What a case is: a program with one fault, the twin without it, and what is known of the fault.

A setup is a healthy program; a planted case changes one thing of it. Both are functions that give a recipe, the name is
the function's, and the mechanism in words its docstring. Nothing here is taken from what the diagnosis looks for.
"""

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from textwrap import dedent
from types import CodeType
from typing import Any

import numpy as np

import thalweg
from thalweg.diagnosis import Cause

Make = Callable[[], thalweg.Recipe]
SETUPS: dict[str, "Setup"] = {}
CASES: dict[str, "Case"] = {}


@dataclass(frozen=True)
class Setup:
    """A healthy program: its family, its task, how its outputs are scored, and what the reference learners see.

    `reads` makes classes or numbers of outputs that are neither, `opens` an input and its scored target of an example
    that is no pair of both.
    """

    name: str
    family: str
    task: str
    make: Make
    features: Callable[[Any], Any] | None = None
    reads: Callable[[Any], Any] | None = None
    opens: Callable[[Any], Any] | None = None

    def __call__(self) -> thalweg.Recipe:
        return self.make()


@dataclass(frozen=True)
class Case:
    """A planted fault with its repaired twin, or a healthy program (cause NONE), which has no twin or is harmless.

    `on` is the split on which the harm is measured: "held out" (validation and test together), "validation", "test", or
    "gap", by how much the score on test is worse than on validation. `reads` makes classes or numbers of outputs where
    the fault changes what the outputs are; `twin_reads` does so for the repaired twin.
    """

    name: str
    family: str
    task: str
    cause: Cause
    mechanism: str
    faulty: Make
    twin: Setup | None
    repaired: Make | None
    also: tuple[Cause, ...] = ()
    on: str = "held out"
    reads: Callable[[Any], Any] | None = None
    features: Callable[[Any], Any] | None = None
    twin_reads: Callable[[Any], Any] | None = None
    opens: Callable[[Any], Any] | None = None

    @property
    def source(self) -> str:
        """A hash of all the source that the case is made of."""
        made = [self.faulty, *([self.repaired] if self.repaired else [])]
        return sha256("".join(sorted(set().union(*map(sources, made)))).encode()).hexdigest()[:12]


def half(name: str) -> str:
    """The half of a case, by a hash of its name.

    >>> half("digits-mlp")
    'develop'
    """
    return "develop" if sha256(f"half of {name}".encode()).digest()[0] % 2 else "report"


def setup(
    family: str, task: str, features: Callable[[Any], Any] | None = None, **known: Any
) -> Callable[[Make], Setup]:
    """Mark a function as a healthy program; it is a healthy case too. What else is known are its reads and opens."""

    def made(make: Make) -> Setup:
        name = _name(make)
        SETUPS[name] = Setup(name, family, task, make, features, **known)
        said = _mechanism(make)
        CASES[name] = Case(name, family, task, Cause.NONE, said, make, None, None, features=features, **known)
        return SETUPS[name]

    return made


def planted(cause: Cause, twin: Setup, **known: Any) -> Callable[[Make], Make]:
    """Mark a function as a fault planted in a setup; `repaired` names another twin where the setup itself is none."""

    def made(make: Make) -> Make:
        name = _name(make)
        if name in CASES:
            raise ValueError(f"Two cases are called {name}.")
        fixed = {"family": twin.family, "task": twin.task, "features": twin.features, "repaired": twin.make}
        fixed |= {"reads": twin.reads, "twin_reads": twin.reads, "opens": twin.opens, **known}
        own = None if "repaired" in known else twin
        CASES[name] = Case(name=name, cause=cause, mechanism=_mechanism(make), faulty=make, twin=own, **fixed)
        return make

    return made


def _name(make: Make) -> str:
    return make.__name__.replace("_", "-")


def _mechanism(make: Make) -> str:
    return (make.__doc__ or "").strip().removesuffix(".")


def sources(made: Any, seen: set[int] | None = None) -> set[str]:
    """The source of a function or a class, and of all in this folder that it names."""
    seen = set() if seen is None else seen
    made = getattr(made, "make", made)
    if id(made) in seen or not getattr(made, "__module__", "").startswith("diagnosis_cases."):
        return set()
    seen.add(id(made))
    found = {_program(_source(made))}
    functions = [made] if inspect.isfunction(made) else [f for f in vars(made).values() if inspect.isfunction(f)]
    for base in getattr(made, "__bases__", ()):
        found |= sources(base, seen)
    for name, named in (each for function in functions for each in _named(function)):
        if isinstance(named, int | float | str | tuple | np.ndarray):
            found.add(f"{name} = {named!r}")
        else:
            found |= sources(named, seen)
    return found


def _named(function: Any) -> list[tuple[str, Any]]:
    """What a function names: globals of its module, and what it takes from modules of this folder."""
    names, known = _names(function.__code__), function.__globals__
    modules = [known[name] for name in names if inspect.ismodule(known.get(name))]
    near = [vars(module) for module in modules if module.__name__.startswith("diagnosis_cases.")]
    return [(name, space[name]) for name in sorted(names) for space in (known, *near) if name in space]


@cache
def _source(made: Any) -> str:
    return inspect.getsource(made)


@cache
def _program(text: str) -> str:
    """What a text does: its tree, without layout, comments and docstrings."""
    tree = ast.parse(dedent(text))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and body and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _names(code: CodeType) -> set[str]:
    inner = [_names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*inner)
