"""Express: a recipe that remedies changed, as settings again, so that it can be read, trained and built once more.

Each field that differs is said by the section it belongs to; a change that no section can say is named.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from thalweg.core.convert import loaded
from thalweg.core.errors import ThalwegError
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.notices import notice, unsaid
from thalweg.core.signature import defaults_of
from thalweg.core.source import plain_of
from thalweg.data import Augment, Augmented, Masked, SpecAugment
from thalweg.diagnosis.arms import ScaledRate
from thalweg.diagnosis.generalizing import Restraint
from thalweg.diagnosis.regrouped import Decayed
from thalweg.loss import Categorical, Rewarded, ScheduledSampling, Tagging, WeightedLoss
from thalweg.nn import Prepared
from thalweg.optim import OPTIMIZERS, SCHEDULES, Grouped
from thalweg.recipes.augmenting import augmentation_parameters
from thalweg.recipes.build import assemble
from thalweg.recipes.data_kinds import kind_reading
from thalweg.recipes.pieces import MODELS, PENALTIES
from thalweg.recipes.rewarding import said_of
from thalweg.recipes.settings import Section, Settings
from thalweg.training import EarlyStopping, Recipe

PLAIN = (bool, int, float, str, type(None))
DECIDED_BY_DATA = ("inputs", "outputs", "channels", "vocabulary", "places", "brackets", "head", "copying")


def expressed(recipe: Recipe, start: Recipe) -> Recipe:
    """The recipe that the settings of `recipe` describe, where `start` came from settings and they can say it.

    What is trained then is what the settings say, piece by piece. Else the recipe is given back as it is, and a notice
    says which change has no words.
    """
    if start.origin is None or "settings" not in start.origin or "python" in start.origin:
        return recipe
    origin = start.origin
    train = loaded(recipe.data.train)
    if lost := _unsaid(recipe, start, train):
        return _left(recipe, start, lost)
    sections = {name: dict(values) for name, values in origin["settings"].items()}
    for field, (section, say) in WORDS.items():
        if _differ(recipe, start, field):
            said = say(getattr(recipe, field))
            if said is None:
                return _left(recipe, start, field)
            sections[section] = _as_asked(sections["model"]) | said if section == "model" else said
    sections["fit"] = sections.get("fit", {}) | {
        key: getattr(recipe, key) for key in FIT if _differ(recipe, start, key)
    }
    sections["augmentation"] = _augmentation(train)
    encoding, folder = plain_of(train).encoding, origin.get("folder")
    base = None if folder is None else Path(folder)
    said_recipe = assemble(Settings(sections), origin["name"], recipe.data, encoding, origin.get("given"), base)
    return said_recipe.but(seed=recipe.seed, epochs=recipe.epochs, batch_size=recipe.batch_size)


def _as_asked(model: Section) -> Section:
    """What settings say of what the data decide where nothing is said: no remedy changes it."""
    return {key: value for key, value in model.items() if key in DECIDED_BY_DATA}


def _unsaid(recipe: Recipe, start: Recipe, train: Any) -> str:
    """A field that was changed and for which settings have no words; "" where there is none."""
    before, after = plain_of(loaded(start.data.train)), plain_of(train)
    if before is not after and (len(before) != len(after) or not hasattr(after, "encoding")):
        return "train split"
    if isinstance(train, Augmented) and type(train.augment) is not Augment:
        return "augmentation"
    if isinstance(train, Augmented | Masked):
        kind, made = kind_reading(after.encoding), Augment if isinstance(train, Augmented) else SpecAugment
        if kind is None or kind.augmentation() is not made:
            return "augmentation"
    return next((field for field in WORDLESS if _differ(recipe, start, field)), "")


def _left(recipe: Recipe, start: Recipe, field: str) -> Recipe:
    """The recipe as it is, after a notice that a change of it has no words."""
    notice(
        f"The change of the {field} cannot be said in settings, so `thalweg predict` cannot build this "
        "model from its folder: " + "; ".join(start.difference(recipe)) + "."
    )
    return recipe


def _differ(recipe: Recipe, start: Recipe, field: str) -> bool:
    return not _same(getattr(recipe, field), getattr(start, field))


def is_sayable(recipe: Recipe, start: Recipe) -> bool:
    """Whether the settings from which `start` came can say a recipe; true of one that came from none.

    >>> import thalweg
    >>> iris = thalweg.load("iris")
    >>> is_sayable(iris.but(epochs=7), iris), is_sayable(iris.but(model=lambda: iris.model()), iris)
    (True, False)
    """
    if start.origin is None or "settings" not in start.origin or "python" in start.origin:
        return True
    with unsaid():
        try:
            return expressed(recipe, start) is not recipe
        except ThalwegError:  # settings that say it are refused for such data
            return False


def as_toml(recipe: Recipe, folder: Path) -> str | None:
    """The recipe in TOML, its files found from `folder`; None for one that no settings describe, or Python does.

    >>> import thalweg
    >>> text = as_toml(thalweg.load("iris", assignments=["epochs=7"]), Path("."))
    >>> [line for line in text.splitlines() if line.startswith(("source", "epochs"))]
    ['source = "iris"', 'epochs = 7']
    """
    import tomli_w

    if recipe.origin is None or "settings" not in recipe.origin or "python" in recipe.origin:
        return None
    sections = {name: dict(values) for name, values in recipe.origin["settings"].items() if values}
    sections["fit"] |= {"batch_size": recipe.batch_size, "epochs": recipe.epochs, "seed": recipe.seed}
    base = Path(recipe.origin["folder"] or ".")
    for section, key in (("data", "source"), ("data", "test"), ("model", "pretrained")):
        value = sections.get(section, {}).get(key)
        if isinstance(value, str) and (base / value).exists():
            sections[section][key] = os.path.relpath(base / value, folder)
    said = {
        name: {key: "none" if value is None else value for key, value in values.items()}
        for name, values in sections.items()
    }
    return tomli_w.dumps(said)


def _same(first: Any, second: Any) -> bool:
    mark = fingerprint(first)
    return first is second or (mark == fingerprint(second) and mark != UNKNOWN)


def _model(factory: Any) -> Section | None:
    if isinstance(factory, Prepared):
        own = _model(factory.factory)
        beside = {"input_noise": factory.input_noise, "standardize_examples": factory.standardize_examples}
        return None if own is None else own | {key: value for key, value in beside.items() if value}
    return _bound(factory, MODELS, leave_out=DECIDED_BY_DATA)


def _optimizer(factory: Any) -> Section | None:
    if isinstance(factory, ScaledRate):
        own = _optimizer(factory.factory)
        if own is None:
            return None
        rate: float = own["lr"] if "lr" in own else defaults_of(OPTIMIZERS[own["kind"]])["lr"]
        return own | {"lr": rate * factory.factor}
    if isinstance(factory, Decayed) and not factory.decay:
        own = _optimizer(factory.factory)
        return None if own is None else own | {"weight_decay": 0.0}
    if isinstance(factory, Grouped):
        own = _optimizer(factory.factory)
        groups = {"lr_factors": dict(factory.lr_factors), "decay_norms_and_biases": factory.decay_norms_and_biases}
        return None if own is None else own | groups
    return _bound(factory, OPTIMIZERS)


def _penalty(penalty: Any) -> Section | None:
    if isinstance(penalty, Restraint):
        own = _penalty(penalty.own)
        if own == {} or (own is not None and own["kind"] == "l2" and not own.get("biases")):
            return {"kind": "l2", "strength": penalty.strength + own.get("strength", 0.0)}
        return None
    if penalty is None:
        return {}
    kind = next((name for name, known in PENALTIES.items() if type(penalty) is known), None)
    return None if kind is None else {"kind": kind, **vars(penalty)}


def _stopping(rule: Any) -> Section | None:
    if rule is None:
        return {}
    return dict(vars(rule)) if type(rule) is EarlyStopping else None


def _schedule(schedule: Any) -> Section | None:
    """A schedule that was taken away, or one of the built-in ones, which hold plain numbers."""
    if schedule is None:
        return {}
    kind = next((name for name, known in SCHEDULES.items() if type(schedule) is known), None)
    if kind is None:
        return None
    said = {key: _schedule(value) if key == "then" else value for key, value in vars(schedule).items()}
    plain = all(_plain(value) or (key == "then" and value is not None) for key, value in said.items())
    return {"kind": kind, **said} if plain else None


def _augmentation(train: Any) -> Section:
    """What happens to the examples of a train split, and is not what happens to none; of masks all is said, for each of
    their keys brings the others.
    """
    if not isinstance(train, Augmented | Masked):
        return {}
    kind = kind_reading(plain_of(train).encoding)
    assert kind is not None
    set_to: dict[str, Any]
    if masked := isinstance(train, Masked):
        set_to = vars(train.masks)
    else:
        set_to = vars(train.augment) | {"copies": train.copies}
    return {
        name: list(set_to[name]) if isinstance(set_to[name], tuple) else set_to[name]
        for name, parameter in augmentation_parameters()[kind.name].items()
        if masked or set_to[name] != parameter.default
    }


def _objective(loss: Any) -> Section | None:
    """The likelihood of classes, which remedies smooth; the others stay what they are."""
    if type(loss) is ScheduledSampling:
        own = _objective(loss.loss)
        return None if own is None else own | loss.said()
    if type(loss) is Rewarded:
        own, said = _objective(loss.likelihood), said_of(loss)
        return None if own is None or said is None else own | said
    if type(loss) is WeightedLoss:
        loss = loss.likelihood
    plain = type(loss) is Categorical and loss.reduction in ("mean", "none")
    if not plain and type(loss) is not Tagging:
        return None
    said = {} if loss.class_weights is None else {"class_weights": loss.class_weights.tolist()}
    if not plain and loss.guided:
        said |= {"guided": loss.guided, "guide_width": loss.guide_width}
    return {"kind": "categorical" if plain else "tagging", "label_smoothing": loss.label_smoothing, **said}


def _bound(factory: Any, table: Mapping[str, Callable[..., Any]], leave_out: tuple[str, ...] = ()) -> Section | None:
    """A factory of a table with its bound arguments as a section."""
    inner = factory if isinstance(factory, partial) else partial(factory)
    kind = next((name for name, known in table.items() if known is inner.func), None)
    if kind is None:
        return None
    names = list(signature(inner.func).parameters)
    arguments = dict(zip(names, inner.args, strict=False)) | inner.keywords
    said = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in arguments.items()
        if name not in leave_out
    }
    return {"kind": kind, **said} if all(map(_plain, said.values())) else None


def _plain(value: Any) -> bool:
    """Whether TOML can say a value: a number, a text, or a list of these."""
    return isinstance(value, PLAIN) or (isinstance(value, list) and all(isinstance(item, PLAIN) for item in value))


WORDS: dict[str, tuple[str, Callable[[Any], Section | None]]] = {
    "model": ("model", _model),
    "optimizer": ("optimizer", _optimizer),
    "penalty": ("penalty", _penalty),
    "stopping": ("stopping", _stopping),
    "objective": ("objective", _objective),
    "schedule": ("schedule", _schedule),
}
"""Fields that a remedy may change: the section of each, and how it is said there."""

FIT = ("clip_norm", "accumulate")
"""Fields that [fit] says as they are, beside those that change from run to run."""
WORDLESS = ("judge", "loop", "average", "collate")
"""Fields that no remedy can say in settings."""
