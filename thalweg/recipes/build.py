"""From settings to a recipe: defaults by the kind of target, pieces by their names, sizes by the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from thalweg.core.convert import Deferred
from thalweg.core.errors import RecipeError
from thalweg.core.signature import defaults_of
from thalweg.core.source import Splits
from thalweg.loss import balanced_weights
from thalweg.recipes.augmenting import augmented_splits
from thalweg.recipes.data_kinds import DataKind, kind_reading, load_splits
from thalweg.recipes.pieces import (
    average_piece,
    fit,
    fit_piece,
    model_piece,
    objective_piece,
    optimizer_piece,
    penalty_piece,
    schedule_piece,
    stopping_piece,
)
from thalweg.recipes.rewarding import objective_of, reward_metric
from thalweg.recipes.settings import Settings
from thalweg.training import Recipe

DEFAULTS: dict[str, dict[str, Any]] = {
    "model": {"kind": "mlp", "width": 64, "depth": 2},
    "optimizer": {"kind": "adam", "lr": 1e-3},
    "fit": {name: default for name, default in defaults_of(fit).items() if name not in ("metrics", "epochs")},
}


@dataclass(frozen=True)
class Loaded:
    """The splits of settings, loaded once, when they are first asked for."""

    settings: Settings
    folder: Path | None

    @cached_property
    def splits(self) -> Splits:
        return load_splits(self.settings, self.folder)

    def deferred(self) -> Splits:
        """Splits that load nothing until they are used."""
        return Splits(*(Deferred(partial(self.split, name)) for name in ("train", "validation", "test")))

    def split(self, name: str) -> Any:
        """One of the splits."""
        return getattr(self.splits, name)


def recipe_from(
    settings: Settings, name: str, given: Mapping[str, str] | None = None, folder: Path | None = None
) -> Recipe:
    """The recipe that settings describe, with its data loaded; relative sources are found from `folder`."""
    if not settings["data"].get("source"):
        raise RecipeError(
            f"{settings.place('data')}the recipe names no data. Give a name or a file: [data] source = 'digits'."
        )
    splits = load_splits(settings, folder)
    kind = _kind_of(splits.train.encoding)
    settings = _with_balanced_weights(_filled(settings, kind, splits.train), kind, splits.train)
    return assemble(settings, name, splits, splits.train.encoding, given, folder)


def assemble(
    settings: Settings,
    name: str,
    splits: Splits,
    encoding: Any,
    given: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Recipe:
    """The recipe of complete settings over data that are encoded so."""
    kind = _kind_of(encoding)
    objective = objective_piece(settings)
    _check_objective(settings, kind, encoding)
    learned = getattr(objective, "variance", None) == "learned"
    _check_asked(settings, kind, encoding)
    fields = fit_piece(settings, kind.metrics(encoding))
    _check_metrics(settings, kind, encoding, fields["metrics"])
    trained = objective_of(settings, kind.objective(objective, encoding), kind, encoding)
    fields["metrics"] = {**kind.measured(fields["metrics"], encoding), **reward_metric(trained)}
    kind.check_model(settings, encoding)
    model = sizes(kind, encoding, str(settings["model"].get("kind")), learned)
    return Recipe(
        data=augmented_splits(settings, splits, kind, encoding),
        model=model_piece(settings, model, folder),
        objective=trained,
        optimizer=optimizer_piece(settings),
        schedule=schedule_piece(settings),
        penalty=penalty_piece(settings),
        stopping=stopping_piece(settings),
        average=average_piece(settings),
        **fields,
        origin={
            "name": name,
            "settings": {section: settings[section] for section in settings.sections},
            "folder": None if folder is None else str(folder),
            "given": given,
        },
    )


def _kind_of(encoding: Any) -> DataKind:
    """The kind of the data of a recipe from settings."""
    kind = kind_reading(encoding)
    assert kind is not None
    return kind


def _check_objective(settings: Settings, kind: DataKind, encoding: Any) -> None:
    """Refuse a likelihood of the built-in ones that is not of this target's kind."""
    said, due = settings["objective"]["kind"], kind.likelihood(encoding)
    if said != due and ":" not in said:
        name, held = kind.target(encoding)
        raise RecipeError(
            f"{settings.place('objective', 'kind')}the target {name} holds {held}, whose likelihood is '{due}', not "
            f"'{said}'. Leave [objective] kind out{_or_the_task(kind)}."
        )


def _check_metrics(settings: Settings, kind: DataKind, encoding: Any, metrics: Mapping[str, Any]) -> None:
    """Refuse a metric that would read the outputs as something else than they are."""
    fitting = kind.fitting(encoding)
    for name in metrics:
        if name not in fitting:
            target, held = kind.target(encoding)
            raise RecipeError(
                f"{settings.place('fit', 'metrics')}'{name}' does not measure the target {target}, which holds {held}. "
                f"Name of {', '.join(fitting)}{_or_the_task(kind)}.{_at_the_end(kind, encoding)}"
            )


def _check_asked(settings: Settings, kind: DataKind, encoding: Any) -> None:
    """Refuse to take in every epoch what is measured on outputs that are searched for, at the end."""
    asked = settings["fit"].get("metrics") or []
    for name in (asked,) if isinstance(asked, str) else asked if isinstance(asked, list) else ():
        if name in kind.score_names(encoding):
            raise RecipeError(
                f"{settings.place('fit', 'metrics')}'{name}' is no metric of every epoch.{_at_the_end(kind, encoding)} "
                "Leave it out."
            )


def _or_the_task(kind: DataKind) -> str:
    return ", or say --task" if "task" in kind.parameters() else ""


def _at_the_end(kind: DataKind, encoding: Any) -> str:
    """What a kind of data measures without being asked."""
    scores = kind.score_names(encoding)
    return f" Unasked, {', '.join(scores)} are measured at the end, on what is put out then." if scores else ""


def sizes(kind: DataKind, encoding: Any, model: str, learned_variance: bool = False) -> dict[str, Any]:
    """What the data decide of a model: how many inputs, channels or words, how many outputs."""
    outputs = kind.outputs(encoding) * (2 if learned_variance else 1)
    return kind.sizes(encoding, outputs, model) | {"outputs": outputs}


def _filled(settings: Settings, kind: DataKind, train: Any) -> Settings:
    """The settings with the defaults where nothing was said."""
    own_defaults = kind.defaults(settings, train)
    defaults = DEFAULTS | {"objective": {"kind": kind.likelihood(train.encoding)}} | own_defaults
    defaults["fit"] = DEFAULTS["fit"] | own_defaults["fit"]
    sections = dict(settings.sections)
    for section, values in defaults.items():
        own = settings[section]
        replaced = "kind" in own and own["kind"] != values.get("kind")
        sections[section] = own if replaced else values | own
    return Settings(sections, settings.where)


def _with_balanced_weights(settings: Settings, kind: DataKind, train: Any) -> Settings:
    """`class_weights = "balanced"` as numbers, from the labels of the training rows."""
    if settings["objective"].get("class_weights") != "balanced":
        return settings
    weights = balanced_weights(kind.class_numbers(train), kind.outputs(train.encoding))
    return settings.with_value("objective", "class_weights", weights, settings.place("objective", "class_weights"))
