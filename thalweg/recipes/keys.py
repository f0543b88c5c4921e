"""Keys: what a recipe in TOML may say, read off the signatures of what it names.

`docs/recipe.md` is this table with a word on each key; a test holds the two together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from inspect import Parameter
from typing import Any

from thalweg.core.kinds import kind_of
from thalweg.core.signature import named_parameters
from thalweg.loss import ScheduledSampling
from thalweg.optim import AVERAGES, OPTIMIZERS, SCHEDULES, Grouped
from thalweg.recipes.augmenting import augmentation_parameters
from thalweg.recipes.build import DEFAULTS
from thalweg.recipes.construction import BESIDE
from thalweg.recipes.data_kinds import KINDS, data_parameters
from thalweg.recipes.pieces import (
    MODELS,
    OBJECTIVES,
    PENALTIES,
    WITHHELD,
    fit,
    model_around,
)
from thalweg.recipes.rewarding import reward_around
from thalweg.recipes.settings import SECTIONS
from thalweg.training import EarlyStopping

NAMED: dict[str, Mapping[str, Callable[..., Any]]] = {
    "model": MODELS,
    "objective": OBJECTIVES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "penalty": PENALTIES,
    "average": AVERAGES,
}
"""The sections whose `kind` names a piece."""
UNNAMED = {
    "data": data_parameters(),
    "augmentation": augmentation_parameters(),
    "stopping": {"": named_parameters(EarlyStopping)},
    "fit": {"": named_parameters(fit)},
}
"""The keys of the other sections, for each kind of data where they go by that."""
FOUND = dict.fromkeys(
    ("inputs", "outputs", "channels", "vocabulary", "places", "brackets", "head", "epochs"), "by the data"
)
"""What the data decide; of [data] itself only the channels."""
SAID_BY_NAME = {"a function": "text or a table"}
"""A piece inside a piece is said as a section is: by its kind alone, or as a table with a kind."""


@dataclass(frozen=True, order=True)
class Key:
    """A key of a section, what it may be, and its default in words; `kind` is empty where it goes with any.

    >>> next(key for key in keys() if key.name == "patience")
    Key(section='stopping', kind='', name='patience', may_be='a whole number', default='5')
    """

    section: str
    kind: str
    name: str
    may_be: str
    default: str


def keys() -> Iterator[Key]:
    """Every key of every section, in the order of the sections."""
    for section in SECTIONS:
        if section in UNNAMED:
            yield from _by_kind_of_data(section)
            continue
        usual = str(DEFAULTS.get(section, {}).get("kind", "by the data" if section == "objective" else "needed"))
        yield Key(section, "", "kind", "text", usual)
        around = (model_around, ScheduledSampling, reward_around, Grouped)
        beside = [item for factory in around for item in named_parameters(factory).items()]
        yield from (_key(section, "", parameter, name) for name, parameter in beside if name in BESIDE.get(section, ()))
        for kind, factory in NAMED[section].items():
            for name, parameter in named_parameters(factory).items():
                if name != "params" and name not in WITHHELD:
                    yield _key(section, kind, parameter, name)


def _by_kind_of_data(section: str) -> Iterator[Key]:
    """The keys of a section; one that is the same of every kind of data goes with any."""
    given = UNNAMED[section]
    for name in dict.fromkeys(name for parameters in given.values() for name in parameters):
        found = [_key(section, kind, own[name], name) for kind, own in given.items() if name in own]
        alike = len({(key.may_be, key.default) for key in found}) == 1 and len(found) == len(KINDS)
        yield from [replace(found[0], kind="")] if alike else found


def _key(section: str, kind: str, parameter: Parameter, name: str) -> Key:
    may_be = kind_of(parameter.annotation).one
    usual = DEFAULTS.get(section, {})
    own = usual.get("kind", "") == kind
    default = FOUND.get(name) or in_toml(usual[name] if own and name in usual else parameter.default)
    return Key(section, kind, name, SAID_BY_NAME.get(may_be, may_be), default)


def in_toml(value: Any) -> str:
    """A default as TOML writes it; `needed` where there is none.

    >>> in_toml((0.9, 0.999)), in_toml(False), in_toml("max"), in_toml(None)
    ('[0.9, 0.999]', 'false', 'max', 'none')
    """
    if value is Parameter.empty:
        return "needed"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(in_toml, value))}]"
    if isinstance(value, str | int | float):
        return str(value)
    names = {type(schedule()): name for name, schedule in SCHEDULES.items() if not named_parameters(schedule)}
    return names.get(type(value), "none")
