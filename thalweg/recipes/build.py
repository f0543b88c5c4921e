"""From settings to a recipe: defaults by the kind of target, pieces by their names, sizes by the data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from thalweg.core.convert import Deferred
from thalweg.core.errors import RecipeError
from thalweg.core.signature import defaults_of
from thalweg.core.source import Splits
from thalweg.data import Encoding, ImageEncoding, ImageSource, TableSource, TargetKind
from thalweg.loss import WeightedLoss, balanced_weights
from thalweg.recipes.augmenting import augmented_splits
from thalweg.recipes.image_data import depth_for
from thalweg.recipes.pieces import (
    average_piece,
    check_data,
    fit,
    fit_piece,
    model_piece,
    objective_piece,
    optimizer_piece,
    penalty_piece,
    schedule_piece,
    stopping_piece,
)
from thalweg.recipes.settings import Settings
from thalweg.recipes.tables import load_splits, metrics_of
from thalweg.training import Recipe

DEFAULTS: dict[str, dict[str, Any]] = {
    "model": {"kind": "mlp", "width": 64, "depth": 2},
    "optimizer": {"kind": "adam", "lr": 1e-3},
    "fit": {name: default for name, default in defaults_of(fit).items() if name not in ("metrics", "epochs")},
}
FEWEST_STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 1000, defaults_of(fit)["epochs"], 200
"""How long is trained where nothing is said: so many epochs, more of few rows, which make few steps each."""
FEWEST_IMAGE_EPOCHS, IMAGE_STEPS = 10, 3000
OBJECTIVE = {TargetKind.CLASSES: "categorical", TargetKind.SOFT: "categorical", TargetKind.NUMBERS: "gaussian"}
METRICS = {
    TargetKind.CLASSES: ["accuracy", "balanced_accuracy", "f1", "auc"],
    TargetKind.SOFT: ["accuracy"],
    TargetKind.NUMBERS: ["mae", "rmse", "r2"],
}
"""For each kind of target its likelihood, and the metrics beside it."""


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
    check_data(settings)
    splits = load_splits(settings, folder)
    encoding = splits.train.encoding
    settings = _with_balanced_weights(_filled(settings, encoding, len(splits.train)), splits.train)
    return assemble(settings, name, splits, encoding, given, folder)


def assemble(
    settings: Settings,
    name: str,
    splits: Splits,
    encoding: Encoding | ImageEncoding,
    given: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Recipe:
    """The recipe of complete settings over data that are encoded so."""
    objective = objective_piece(settings)
    _check_objective(settings, encoding)
    weighted = encoding.schema.weights is not None
    learned = getattr(objective, "variance", None) == "learned"
    fields = fit_piece(settings, METRICS[encoding.schema.target.kind])
    _check_metrics(settings, encoding, fields["metrics"])
    fields["metrics"] = metrics_of(fields["metrics"], encoding.schema)
    return Recipe(
        data=augmented_splits(settings, splits, encoding),
        model=model_piece(settings, sizes(encoding, learned), folder),
        objective=WeightedLoss(objective) if weighted else objective,
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


def _check_objective(settings: Settings, encoding: Encoding | ImageEncoding) -> None:
    """Refuse a likelihood of the built-in ones that is not of this target's kind."""
    kind, due = settings["objective"]["kind"], OBJECTIVE[encoding.schema.target.kind]
    if kind != due and ":" not in kind:
        raise RecipeError(
            f"{settings.place('objective', 'kind')}the target {', '.join(encoding.schema.target.names)} holds "
            f"{encoding.schema.target.kind}, whose likelihood is '{due}', not '{kind}'. Leave [objective] kind out, or "
            "say --task."
        )


def _check_metrics(settings: Settings, encoding: Encoding | ImageEncoding, metrics: Mapping[str, Any]) -> None:
    """Refuse a metric that would read the outputs as something else than they are."""
    numbers = encoding.schema.target.kind is TargetKind.NUMBERS
    fitting = METRICS[TargetKind.NUMBERS if numbers else TargetKind.CLASSES]
    for name in metrics:
        if name not in fitting:
            raise RecipeError(
                f"{settings.place('fit', 'metrics')}'{name}' does not measure the target "
                f"{', '.join(encoding.schema.target.names)}, which holds {encoding.schema.target.kind}. Name of "
                f"{', '.join(fitting)}, or say --task."
            )


def sizes(encoding: Encoding | ImageEncoding, learned_variance: bool = False) -> dict[str, int]:
    """What the data decide of a model: how many inputs or channels, how many outputs."""
    outputs = encoding.schema.target.outputs * (2 if learned_variance else 1)
    given = {"inputs": encoding.width, "outputs": outputs}
    return given | ({"channels": encoding.schema.layout[0]} if encoding.schema.layout else {})


def epochs_of(rows: int, batch_size: Any, fewest: int = FEWEST_EPOCHS, steps: int = FEWEST_STEPS) -> int:
    """How many epochs are trained where nothing is said: 30, or as many as make 1,000 steps, but at most 200.

    >>> epochs_of(1079, 32), epochs_of(341, 32), epochs_of(90, 32), epochs_of(5000, None)
    (30, 91, 200, 200)
    """
    whole = not isinstance(batch_size, int) or batch_size < 1  # what is no size is refused later
    an_epoch = 1 if whole else math.ceil(rows / batch_size)
    return min(MOST_EPOCHS, max(fewest, math.ceil(steps / an_epoch)))


def image_epochs(rows: int, batch_size: Any) -> int:
    """The same for images, whose steps cost more: 10, or as many as make 3,000 steps, but at most 200.

    >>> image_epochs(50_000, 32), image_epochs(3000, 32), image_epochs(60, 32)
    (10, 32, 200)
    """
    return epochs_of(rows, batch_size, FEWEST_IMAGE_EPOCHS, IMAGE_STEPS)


def _filled(settings: Settings, encoding: Encoding | ImageEncoding, rows: int) -> Settings:
    """The settings with the defaults where nothing was said."""
    defaults = DEFAULTS | {"objective": {"kind": OBJECTIVE[encoding.schema.target.kind]}}
    if isinstance(encoding, ImageEncoding):
        defaults["model"] = {"kind": "cnn", "depth": depth_for(encoding.schema.size)}
    size = (DEFAULTS["fit"] | settings["fit"])["batch_size"]
    epochs = image_epochs if isinstance(encoding, ImageEncoding) else epochs_of
    defaults["fit"] = DEFAULTS["fit"] | {"epochs": epochs(rows, size)}
    sections = dict(settings.sections)
    for section, values in defaults.items():
        own = settings[section]
        replaced = "kind" in own and own["kind"] != values.get("kind")
        sections[section] = own if replaced else values | own
    return Settings(sections, settings.where)


def _with_balanced_weights(settings: Settings, train: TableSource | ImageSource) -> Settings:
    """`class_weights = "balanced"` as numbers, from the labels of the training rows."""
    if settings["objective"].get("class_weights") != "balanced":
        return settings
    targets = [batch[1] for batch in train.batches(0, 0, None)]
    labels = torch.cat([target[0] if isinstance(target, tuple) else target for target in targets])
    weights = balanced_weights(labels, train.encoding.schema.target.outputs)
    return settings.with_value("objective", "class_weights", weights, settings.place("objective", "class_weights"))
