"""References that outputs are measured against: each output has one or more."""

from collections.abc import Sequence
from typing import Any

from thalweg.core.errors import RecipeError


def check_references(outputs: Sequence[Any], references: Sequence[Sequence[Any]], of: str) -> None:
    """Refuse references that are not a list for each output, none of them empty; `of` is what one is, in the mend.

    >>> check_references([{"a"}], [[]], "labels")
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: Each output has a list of one or more references, but there are 1 lists for 1 ...

    Raises `RecipeError`.
    """
    if len(outputs) != len(references) or not all(references):
        raise RecipeError(
            f"Each output has a list of one or more references, but there are {len(references)} lists for "
            f"{len(outputs)} outputs, {sum(not several for several in references)} of them empty. Give "
            f"references=[[{of}], ...]."
        )
