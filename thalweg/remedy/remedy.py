"""Remedies: changes of a recipe, each with the cause that it treats."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from thalweg.core.randomness import untouched
from thalweg.diagnosis import Cause
from thalweg.training import Recipe


@dataclass(frozen=True)
class Remedy:
    """`Recipe -> Recipe`, with a name and the cause it treats.

    >>> import thalweg
    >>> from thalweg.cases import get
    >>> longer = Remedy("twice as long", Cause.OPTIMIZATION, lambda recipe: recipe.but(epochs=2 * recipe.epochs))
    >>> longer(get("healthy")).epochs
    60
    """

    name: str
    cause: Cause
    change: Callable[[Recipe], Recipe]
    parts: tuple[str, ...] = ()
    """The names of the remedies that it is made of; its own where it is one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", self.parts or (self.name,))

    def __call__(self, recipe: Recipe) -> Recipe:
        with untouched():  # what looks at a model or at data draws from the global streams
            return self.change(recipe)

    def then(self, other: "Remedy") -> "Remedy":
        """Both remedies, this one first."""
        both = f"{self.name}, {other.name}"
        return Remedy(both, self.cause, partial(_both, self.change, other.change), self.parts + other.parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "cause": str(self.cause), "sentence": f"{self.name} treats {self.cause}"}


def _both(first: Callable[[Recipe], Recipe], then: Callable[[Recipe], Recipe], recipe: Recipe) -> Recipe:
    return then(first(recipe))
