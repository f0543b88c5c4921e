"""Construction: what `kind` names, built with the other keys of its section as arguments; errors name the place.

`kind` is a name of a table (`mlp`, `adam`), or says where your own is: `mypackage.nets:Net`.
"""

import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.kinds import argument_names, at_fault, check_arguments, check_name, takes_any_name
from thalweg.core.objective import name_of
from thalweg.recipes.settings import Settings

INPUTS = ("wrong_inputs", "confusable", "own_inputs", "least_gold", "own_top_k", "own_steps")
REWARD = ("reward", "method", "baseline", "samples", "temperature", "sharpness", "gold", "likelihood_weight")
BESIDE = {
    "model": ("pretrained", "input_noise", "standardize_examples"),
    "objective": (*INPUTS, *REWARD),
    "optimizer": ("lr_factors", "decay_norms_and_biases"),
}
"""Keys that are no argument of what `kind` names: weights to begin with, what happens to inputs, a reward, groups."""


def named(
    settings: Settings, section: str, table: Mapping[str, Callable[..., Any]], withheld: Collection[str] = ()
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What the section's kind names, and its arguments; those that are `withheld` are not for settings to say.

    Raises `RecipeError` naming the place for an unknown kind or argument.
    """
    kind, arguments = kind_and_arguments(settings, section)
    if ":" in kind:
        factory, withheld = imported(kind, settings.place(section, "kind")), ()
    elif kind in table:
        factory = table[kind]
    else:
        raise RecipeError(
            f"{settings.place(section, 'kind')}there is no {section} '{kind}'.{did_you_mean(kind, table)} "
            'Your own is named by its module: kind = "mypackage.nets:Net".'
        )
    for name in arguments:
        _check_of_kind(f"{settings.place(section, name)}the {section} '{kind}'", name, factory, table, withheld)
        near = BESIDE.get(section, ())
        check_name(factory, name, f"{settings.place(section, name)}the {section} '{kind}'", withheld, near)
    return factory, arguments


def _check_of_kind(
    owner: str,
    name: str,
    factory: Callable[..., Any],
    table: Mapping[str, Callable[..., Any]],
    withheld: Collection[str],
) -> None:
    """Refuse what only other kinds of the table have as an argument, naming these."""
    having = [kind for kind, other in table.items() if name in argument_names(other) and name not in withheld]
    if having and name not in argument_names(factory) and not takes_any_name(factory):
        kinds = " and ".join(f"'{kind}'" for kind in having)
        raise RecipeError(
            f"{owner} has no argument '{name}', which is of {kinds}. Leave it out, or say kind = '{having[0]}'."
        )


def kind_and_arguments(settings: Settings, section: str) -> tuple[str, dict[str, Any]]:
    """A section as its kind and the arguments of what that names."""
    others = beside(settings, section)
    arguments = {key: value for key, value in settings[section].items() if key not in others}
    kind = arguments.pop("kind", None)
    if not isinstance(kind, str):
        raise RecipeError(f'{settings.place(section)}[{section}] needs a kind, a name in quotes: kind = "...".')
    return kind, arguments


def beside(settings: Settings, section: str) -> dict[str, Any]:
    """What a section says beside the arguments of what its kind names.

    An objective of your own may have arguments that are called as those of a reward, where there is none.
    """
    own, names = settings[section], BESIDE.get(section, ())
    if section == "objective" and "reward" not in own and ":" in str(own.get("kind")):
        names = INPUTS
    return {key: value for key, value in own.items() if key in names}


def built(settings: Settings, section: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """`factory(**arguments)`, each argument of the kind that it has to be."""
    with placed(settings, section, factory, arguments):
        check_arguments(factory, arguments)
        return factory(**arguments)


@contextmanager
def placed(
    settings: Settings, section: str, factory: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterator[None]:
    """Whatever `factory` refuses becomes a `RecipeError` that begins with the place of the argument at fault."""
    try:
        yield
    except (RecipeError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        chosen = [key for home, key in settings.where if home == section]
        name = at_fault(factory, arguments, str(error), chosen)
        place = settings.place(section, name or "kind")
        if isinstance(error, RecipeError):
            raise RecipeError(f"{place}{error}") from error
        what = f"[{section}]" if name is None else f"{section}.{name} = {arguments[name]!r}"
        raise RecipeError(f"{place}{what} is refused by {name_of(factory)}: {error}. Give another value.") from error


def imported(name: str, place: str = "") -> Any:
    """What `package.module:Name` stands for; modules of the current folder are found too.

    >>> imported("torch.nn:Linear").__name__
    'Linear'

    Raises `RecipeError` where the module or the name is missing.
    """
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"{place}the module '{module_name}' of kind = \"{name}\" cannot be imported: {error}. Install it, or run "
            "thalweg from the folder that holds it."
        ) from error
    if not hasattr(module, attribute):
        public = [item for item in vars(module) if not item.startswith("_")]
        raise RecipeError(f"{place}the module '{module_name}' has no '{attribute}'.{did_you_mean(attribute, public)}")
    return getattr(module, attribute)
