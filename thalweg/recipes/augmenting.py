"""The section [augmentation]: what happens to the examples of a recipe's train split."""

from dataclasses import replace
from functools import partial
from inspect import Parameter
from typing import Any

import torch
from torch import Tensor

from thalweg.core.convert import Deferred, loaded
from thalweg.core.errors import RecipeError
from thalweg.core.randomness import stream_seed
from thalweg.core.signature import named_parameters
from thalweg.core.source import Splits, plain_of
from thalweg.data import Augment, Augmented, TargetKind, augment
from thalweg.recipes.construction import built, placed
from thalweg.recipes.data_kinds import KINDS, DataKind
from thalweg.recipes.data_kinds.table import OF_IMAGES
from thalweg.recipes.inside import as_plain
from thalweg.recipes.settings import Settings
from thalweg.training import Run

SHOWN, EPOCHS, LARGEST = 10, 3, 40
"""Examples that are shown, in so many epochs, and the most pixels to a side."""


def augmentation_parameters() -> dict[str, dict[str, Parameter]]:
    """The keys of [augmentation] for each kind of data: what it is changed by, but for what the data decide; copies."""
    return {kind.name: _keys(made) for kind in KINDS if (made := kind.augmentation()) is not None}


def _keys(made: Any) -> dict[str, Parameter]:
    own = {name: parameter for name, parameter in named_parameters(made).items() if name != "classes"}
    return own | {"copies": named_parameters(augment)["copies"]} if made is Augment else own


def augmented_splits(settings: Settings, splits: Splits, kind: DataKind, encoding: Any) -> Splits:
    """The splits with the train split augmented as the section says; as they are where there is none.

    Raises `RecipeError` naming file and line for a value out of its range, and for data that are not so changed.
    """
    arguments = settings["augmentation"]
    if not arguments:
        return splits
    made = kind.augmentation()
    _check_keys(settings, kind, made)
    assert made is not None
    copies = arguments.pop("copies", 0)
    chosen = built(settings, "augmentation", made, arguments)
    if isinstance(chosen, Augment):
        _check_data(settings, arguments, encoding)
        if encoding.schema.target.kind is TargetKind.CLASSES and chosen.mixup:
            chosen = replace(chosen, classes=encoding.schema.target.outputs)
    train = splits.train
    with placed(settings, "augmentation", augment, {"copies": copies}):
        if isinstance(train, Deferred):
            return replace(splits, train=Deferred(partial(_loaded, train, kind, chosen, copies)))
        return replace(splits, train=kind.altered(plain_of(train), chosen, copies))


def _loaded(train: Deferred, kind: DataKind, chosen: Any, copies: int) -> Any:
    return kind.altered(plain_of(train.load()), chosen, copies)


def _check_keys(settings: Settings, kind: DataKind, made: Any) -> None:
    """Refuse keys that change another kind of data."""
    known = {} if made is None else _keys(made)
    for key in settings["augmentation"]:
        if key not in known:
            able = [each.plural for each in KINDS if (other := each.augmentation()) and key in _keys(other)]
            raise RecipeError(
                f"{settings.place('augmentation', key)}'{key}' changes {' and '.join(able)}, but the data are "
                f"{kind.plural}. Leave it out{', or give one of ' + ', '.join(known) if known else ''}."
            )


def augmented_examples(run: Run) -> dict[str, Any] | None:
    """Ten train images of a run, and what augmentation made of them in its first epochs; None where it has none.

    Copies are the same in every epoch: it is the first of them then.
    """
    assert run.recipe is not None
    train = loaded(run.recipe.data.train)
    if not isinstance(train, Augmented):
        return None
    places = torch.linspace(0, len(train) - 1, min(SHOWN, len(train))).long()  # files come class by class
    some = train.take(places)
    x, y = next(iter(some.plain().batches(0, 0, None)))
    if not isinstance(x, Tensor) or x.dim() != 4 or x.shape[1] not in (1, 3):
        return None
    ids = places if train.numbers is None else train.numbers[places]
    keys = [stream_seed(run.recipe.seed, "order", epoch) for epoch in range(1, EPOCHS + 1)]
    if train.copies:
        keys = [train.key_of_copy(copy) for copy in range(1, min(train.copies, EPOCHS) + 1)]
    rows = [as_plain(train.augment(x, y, key, ids)[0], LARGEST) for key in keys]
    return {"images": as_plain(x, LARGEST), "augmented": rows, "copies": train.copies}


def _check_data(settings: Settings, arguments: dict[str, Any], encoding: Any) -> None:
    usual = named_parameters(Augment)
    needing = [name for name in OF_IMAGES if name in arguments and arguments[name] != usual[name].default]
    if needing and encoding.schema.layout is None:
        raise RecipeError(
            f"{settings.place('augmentation', needing[0])}{', '.join(needing)} change images, but the data are a "
            "table. Say that its columns are pixels: [data] layout = [1, 28, 28] (channels, height, width). For "
            "columns there are noise and mixup."
        )
    if arguments.get("mixup") and encoding.schema.weights is not None:
        raise RecipeError(
            f"{settings.place('augmentation', 'mixup')}mixup mixes targets, but here they have weights, the column "
            f"'{encoding.schema.weights}'. Leave one of the two out."
        )
