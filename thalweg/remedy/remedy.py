"""Remedies: changes of a recipe, each with the cause that it treats."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

from thalweg.core.errors import RecipeError
from thalweg.core.randomness import untouched
from thalweg.diagnosis import Cause
from thalweg.training import Recipe

Change = Callable[[Recipe], Recipe]


@dataclass(frozen=True)
class Decided:
    """A change in two steps: `find` looks at a whole recipe and gives what is to be done, None where that is nothing.

    What was found holds for a part of the data too, such as a laboratory has, where it could not be found again.

    >>> import thalweg
    >>> twice = Decided(lambda recipe: partial(Recipe.but, epochs=2 * recipe.epochs))
    >>> twice(thalweg.cases.get("healthy")).epochs
    60
    """

    find: Callable[[Recipe], Change | None]

    def __call__(self, recipe: Recipe) -> Recipe:
        change = self.find(recipe)
        return recipe if change is None else change(recipe)


@dataclass(frozen=True)
class Remedy:
    """`Recipe -> Recipe`, with a name and the cause it treats. Raises `RecipeError` where its change gives no recipe.

    >>> import thalweg
    >>> from thalweg.cases import get
    >>> longer = Remedy("twice as long", Cause.OPTIMIZATION, lambda recipe: recipe.but(epochs=2 * recipe.epochs))
    >>> longer(get("healthy")).epochs
    60
    >>> longer
    Remedy('twice as long', OPTIMIZATION)
    """

    name: str
    cause: Cause
    change: Change
    parts: tuple[str, ...] = ()
    """The names of the remedies that it is made of; its own where it is one."""
    steps: "tuple[Remedy, ...]" = ()
    """The remedies that `then` put together, in their order; none where it is one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", self.parts or (self.name,))

    def __call__(self, recipe: Recipe) -> Recipe:
        with untouched():  # what looks at a model or at data draws from the global streams
            changed = self.change(recipe)
        if not isinstance(changed, Recipe):
            raise RecipeError(
                f"The remedy '{self.name}' gave {type(changed).__name__}, but a remedy gives a recipe: return "
                "recipe.but(...), or the recipe itself where there is nothing to change."
            )
        return changed

    def then(self, other: "Remedy") -> "Remedy":
        """Both remedies, this one first."""
        both, steps = f"{self.name}, {other.name}", (*(self.steps or (self,)), *(other.steps or (other,)))
        return Remedy(both, self.cause, partial(_both, self.change, other.change), self.parts + other.parts, steps)

    def without(self, part: "Remedy") -> "Remedy":
        """What is left of remedies that `then` put together when one of them is left out; it treats the same cause.

        >>> a, b = (Remedy(name, Cause.OPTIMIZATION, lambda recipe: recipe) for name in "ab")
        >>> a.then(b).without(a).name
        'b'
        """
        left = [step for step in self.steps if step is not part]
        return replace(reduce(Remedy.then, left), cause=self.cause)

    def settled(self, recipe: Recipe) -> "Remedy":
        """The remedy as this recipe asks for it: what is `Decided` is found here, then done to any recipe.

        >>> import thalweg
        >>> healthy = thalweg.cases.get("healthy")
        >>> twice = Decided(lambda recipe: partial(Recipe.but, epochs=2 * recipe.epochs))
        >>> Remedy("twice as long", Cause.OPTIMIZATION, twice).settled(healthy)(healthy.but(epochs=1)).epochs
        60
        """
        if self.steps:
            made = list[Remedy]()
            for step in self.steps:
                made.append(step.settled(recipe))
                recipe = made[-1](recipe)
            return replace(self, change=reduce(Remedy.then, made).change)
        if not isinstance(self.change, Decided):
            return self
        with untouched():
            found = self.change.find(recipe)
        return self if found is None else replace(self, change=found)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "cause": str(self.cause), "sentence": f"{self.name} treats {self.cause}"}

    def __repr__(self) -> str:
        return f"Remedy({self.name!r}, {self.cause})"

    def __str__(self) -> str:
        return self.name


def _both(first: Change, then: Change, recipe: Recipe) -> Recipe:
    return then(first(recipe))
