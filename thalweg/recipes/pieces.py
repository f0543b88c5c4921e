"""From a section of settings to a piece of a recipe: `kind` names it, the other keys are its arguments."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.loss import L1, L2, Bernoulli, Categorical, Gaussian
from thalweg.measure.metrics import METRICS
from thalweg.nn import cnn, mlp, pretrained
from thalweg.optim import Grouped, optimizer_by_name, schedule_by_name
from thalweg.recipes.settings import Settings
from thalweg.training import EarlyStopping

MODELS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp, "cnn": cnn}
OBJECTIVES: dict[str, Callable[..., nn.Module]] = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
}
GROUPS = ("lr_factors", "decay_norms_and_biases")
"""Keys of [optimizer] that make parameter groups: rates by name pattern, and whether norms and biases decay."""
PENALTIES: dict[str, Callable[..., Any]] = {"l1": L1, "l2": L2}


def model_piece(settings: Settings, given: Mapping[str, Any], folder: Path | None = None) -> Callable[[], nn.Module]:
    """The model factory; `given` are the sizes that the data decide (inputs, outputs, channels), where asked for.

    `pretrained` names a safetensors file whose weights the model begins with.

    Raises `RecipeError` naming file and line for an unknown kind or argument.
    """
    weights = settings["model"].get("pretrained")
    factory, arguments = _piece(settings, "model", MODELS, given)
    known = inspect.signature(factory).parameters
    sizes = {name: value for name, value in given.items() if name in known and name not in arguments}
    if factory is cnn and "channels" not in sizes and "channels" not in arguments:
        raise RecipeError(
            f"{settings.place('model', 'kind')}a cnn reads images, but the data are a table. Say that its columns are "
            "pixels: [data] layout = [1, 28, 28] (channels, height, width), or use kind = 'mlp'."
        )
    model = partial(factory, **sizes, **arguments)
    if factory in MODELS.values():
        with torch.device("meta"):  # builds nothing, and finds a knob out of its range now
            _built(settings, "model", factory, sizes | arguments)
    return model if weights is None else pretrained(model, weights if folder is None else folder / weights)


def objective_piece(settings: Settings) -> nn.Module:
    """The likelihood that is trained."""
    factory, arguments = _piece(settings, "objective", OBJECTIVES)
    return _built(settings, "objective", factory, arguments)


def penalty_piece(settings: Settings) -> Any:
    """The penalty on the weights, None where there is no such section."""
    if not settings["penalty"]:
        return None
    factory, arguments = _piece(settings, "penalty", PENALTIES)
    return _built(settings, "penalty", factory, arguments)


def optimizer_piece(settings: Settings) -> Callable[..., Any]:
    """The optimizer factory."""
    kind, arguments = _split(settings, "optimizer")
    groups = {name: arguments.pop(name) for name in GROUPS if name in arguments}
    if ":" in kind:
        factory = partial(imported(kind, settings.place("optimizer")), **arguments)
    else:
        factory = _built(settings, "optimizer", partial(optimizer_by_name, kind), arguments)
    return _built(settings, "optimizer", partial(Grouped, factory), groups) if groups else factory


def schedule_piece(settings: Settings) -> Callable[..., Any] | None:
    """The schedule, None where there is no such section."""
    if not settings["schedule"]:
        return None
    kind, arguments = _split(settings, "schedule")
    if ":" in kind:
        return _built(settings, "schedule", imported(kind, settings.place("schedule")), arguments)
    return _built(settings, "schedule", partial(schedule_by_name, kind), arguments)


def stopping_piece(settings: Settings) -> EarlyStopping | None:
    """Early stopping, None where there is no such section."""
    arguments = settings["stopping"]
    return _built(settings, "stopping", EarlyStopping, arguments) if arguments else None


def metric_pieces(settings: Settings, defaults: list[str]) -> dict[str, Any]:
    """The metrics by name, those of the task where none are named."""
    names = settings["fit"].get("metrics", defaults)
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in METRICS:
            raise RecipeError(
                f"{settings.place('fit', 'metrics')}there is no metric '{name}'.{did_you_mean(name, METRICS)}"
            )
    return {name: METRICS[name] for name in names}


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


def _split(settings: Settings, section: str) -> tuple[str, dict[str, Any]]:
    arguments = settings[section]
    kind = arguments.pop("kind", None)
    if section == "model":
        arguments.pop("pretrained", None)
    if not isinstance(kind, str):
        raise RecipeError(f'{settings.place(section)}[{section}] needs a kind, a name in quotes: kind = "...".')
    return kind, arguments


def _piece(
    settings: Settings, section: str, table: Mapping[str, Callable[..., Any]], given: Mapping[str, Any] | None = None
) -> tuple[Callable[..., Any], dict[str, Any]]:
    kind, arguments = _split(settings, section)
    if ":" in kind:
        factory = imported(kind, settings.place(section, "kind"))
    elif kind in table:
        factory = table[kind]
    else:
        raise RecipeError(
            f"{settings.place(section, 'kind')}there is no {section} '{kind}'.{did_you_mean(kind, table)} "
            'Your own is named by its module: kind = "mypackage.nets:Net".'
        )
    known = inspect.signature(factory).parameters
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        for name in arguments:
            if name not in known:
                options = [option for option in known if option not in (given or {})]
                raise RecipeError(
                    f"{settings.place(section, name)}the {section} '{kind}' has no argument '{name}'."
                    + did_you_mean(name, options)
                )
    return factory, arguments


def _built(settings: Settings, section: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """The piece, with the place of the section before any error it raises."""
    try:
        return factory(**arguments)
    except (RecipeError, TypeError, ValueError) as error:
        named = [name for name in arguments if f"'{name}'" in str(error) or f"{name} is" in str(error)]
        last_first = [] if isinstance(error, RecipeError) else list(arguments)[::-1]
        places = [settings.place(section, name) for name in (*named, *last_first, "kind")]
        place = next((place for place in places if place), "")
        said = (
            str(error) if isinstance(error, RecipeError) else f"[{section}] holds a value of the wrong kind: {error}."
        )
        raise RecipeError(f"{place}{said}") from error
