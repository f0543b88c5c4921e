"""Recipes in Python: a file that ends with `recipe = thalweg.Recipe(...)`, or a function `recipe()` that makes one."""

import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.fingerprint import RECIPE_MODULE
from thalweg.core.kinds import at_fault, check_kinds, check_name
from thalweg.core.objective import name_of
from thalweg.core.signature import named_parameters
from thalweg.recipes.settings import parse_value
from thalweg.training import Recipe


def load_python(path: Path, assignments: Iterable[str] = (), home: Path | None = None) -> Recipe:
    """The recipe of a Python file, with assignments over it: `epochs=5`, or `optimizer.lr=0.01` for bound arguments.

    Its imports are found beside it, or in `home`. Raises `RecipeError` where the file makes no recipe.
    """
    name = f"{RECIPE_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path} cannot be read as a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str((home or path.parent).resolve()))
    try:
        spec.loader.exec_module(module)
        recipe = getattr(module, "recipe", None)
        recipe = recipe() if callable(recipe) else recipe
    except RecipeError:
        raise
    except Exception as error:
        raise RecipeError(
            f"{path} stopped with {type(error).__name__}: {error}. Run it with python to see where."
        ) from error
    finally:
        sys.path.pop(0)
    if not isinstance(recipe, Recipe):
        names = [key for key, value in vars(module).items() if isinstance(value, Recipe)]
        hint = f" It makes a recipe under the name '{names[0]}': call it 'recipe'." if names else ""
        raise RecipeError(f"{path} makes no recipe. End it with recipe = thalweg.Recipe(...).{hint}")
    for assignment in assignments:
        recipe = assigned(recipe, assignment)
    text = path.read_text(encoding="utf-8", errors="replace")
    counts = {"fit": {name: getattr(recipe, name) for name in ("seed", "epochs", "batch_size")}}
    origin = {
        "name": path.parent.resolve().name if path.stem == "recipe" else path.stem,
        "python": str(path),
        "assignments": list(assignments),
        "settings": counts,
        "given": {"file": "recipe.py", "text": text},
    }
    return recipe.but(origin=origin)


def assigned(recipe: Recipe, assignment: str) -> Recipe:
    """The recipe with `field=value`, or `field.argument=value` of a piece whose arguments are bound by `partial`."""
    name, equals, text = assignment.partition("=")
    if not equals:
        raise RecipeError(f"--set {assignment} gives no value. Write --set key=value, as in --set epochs=20.")
    field, dot, argument = name.strip().removeprefix("fit.").partition(".")
    known = [item.name for item in fields(recipe) if item.name != "origin"]
    if field not in known:
        raise RecipeError(f"--set {assignment}: a recipe has no field '{field}'.{did_you_mean(field, known)}")
    value: Any = parse_value(text.strip())
    try:
        return recipe.but(**{field: _bound(recipe, field, argument, value) if dot else value})
    except RecipeError as error:
        raise RecipeError(f"--set {assignment}: {error}") from error


def _bound(recipe: Recipe, field: str, argument: str, value: Any) -> Any:
    """A field of the recipe with one of its bound arguments changed."""
    piece = getattr(recipe, field)
    if not isinstance(piece, partial):
        raise RecipeError(
            f"the {field} of this recipe has no bound arguments to change. In the file, write it as "
            f"{field}=functools.partial(...)."
        )
    check_name(piece.func, argument, f"the {field} '{name_of(piece)}'")
    known = named_parameters(piece.func)
    check_kinds(name_of(piece), {argument: known[argument]} if argument in known else {}, {argument: value})
    changed = partial(piece, **{argument: value})
    if isinstance(piece.func, type) and issubclass(piece.func, torch.optim.Optimizer):
        _try(changed, argument)
    return changed


def _try(optimizer: partial[Any], argument: str) -> None:
    """Refuse a value that the optimizer does not take; what else it may ask of parameters is seen when it is built."""
    trial, value = partial(optimizer, [torch.zeros(1, requires_grad=True)]), optimizer.keywords[argument]
    try:
        trial()
    except (TypeError, ValueError, RuntimeError) as error:
        if at_fault(partial(trial.func, *trial.args), trial.keywords, str(error)) == argument:
            said = f"{argument} = {value!r} is refused by {name_of(optimizer)}: {error}. Give another value."
            raise RecipeError(said) from error
