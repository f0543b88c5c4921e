"""Remedies for networks that read images: what they show does not change when it is turned a little, or mirrored.

Reference learners of images are far from what networks reach, so that a verdict of NONE says little here: there is
more to try than what restrains, and a proof says whether it helps.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from thalweg.core.convert import loaded
from thalweg.core.nest import Nest
from thalweg.data import Augment, Augmented, augment
from thalweg.diagnosis import Cause
from thalweg.diagnosis.growth import deeper, wider
from thalweg.diagnosis.references import is_image
from thalweg.optim import schedule_by_name
from thalweg.remedy.remedy import Remedy
from thalweg.training import Recipe

TURNED: dict[str, Any] = {"rotate": 10.0, "scale": 0.1, "shift": 0.1}
WIDELY: dict[str, Any] = {"rotate": 30.0, "scale": 0.2, "shift": 0.1}
MIRRORED: dict[str, Any] = {"flip": True, "shift": 0.1}
LONGER = 2


def shows_images(batch: Nest) -> bool:
    """Whether the inputs of a batch are images, `(batch, channel, height, width)`.

    >>> import torch
    >>> shows_images((torch.zeros(5, 1, 8, 8), torch.zeros(5))), shows_images((torch.zeros(5, 64), torch.zeros(5)))
    (True, False)
    """
    x = batch[0] if isinstance(batch, tuple | list) and len(batch) == 2 else None
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point():
        return False
    return x.shape[1] <= 4 and is_image(x.shape[1:])


def augmentations() -> Iterator[Remedy]:
    """What may happen to images without a change of what they show: digits stay digits turned, photos mirrored."""
    yield Remedy("images turned, scaled and shifted a little", Cause.OVERFITTING, partial(augmented, **TURNED))
    yield Remedy("images mirrored and shifted a little", Cause.OVERFITTING, partial(augmented, **MIRRORED))


def widely() -> Remedy:
    """What may help where test images were taken otherwise in a way that no single change undoes, each in its own.

    >>> widely().cause.name
    'MISMATCH'
    """
    return Remedy("images turned, scaled and shifted widely", Cause.MISMATCH, partial(augmented, **WIDELY))


def beyond_references(batch: Nest) -> Iterator[Remedy]:
    """What may still help a network of images that does as well as reference learners."""
    yield from augmentations()
    yield Remedy("one block more", Cause.MODEL_BIAS, _grown(deeper, batch))
    yield Remedy("4 x as wide", Cause.MODEL_BIAS, _grown(partial(wider, factor=4), batch))
    yield Remedy("2 x as long, the rate going to 0", Cause.OPTIMIZATION, longer)


def augmented(recipe: Recipe, **settings: Any) -> Recipe:
    """The recipe with its train images changed anew in every epoch, beside what happens to them already, which stays.

    >>> import torch
    >>> from thalweg import Recipe, Splits
    >>> splits = Splits(train=(torch.zeros(5, 1, 8, 8), torch.zeros(5)))
    >>> recipe = Recipe(data=splits, model=torch.nn.Flatten, objective=torch.nn.MSELoss())
    >>> augmented(augmented(recipe, rotate=10), flip=True).data.train
    Augmented(5 examples, Augment(flip=True, rotate=10))
    """
    train = loaded(recipe.data.train)
    if isinstance(train, Augmented):
        more = {name: value for name, value in settings.items() if not getattr(train.augment, name)}
        if not more:
            return recipe
        return recipe.but(data=replace(recipe.data, train=replace(train, augment=replace(train.augment, **more))))
    return recipe.but(data=augment(recipe.data, Augment(**settings)))


def longer(recipe: Recipe) -> Recipe:
    """The recipe trained for twice as long, its learning rate falling to 0 along half a cosine."""
    return recipe.but(epochs=LONGER * recipe.epochs, schedule=schedule_by_name("cosine"))


def _grown(grow: Callable[[Recipe, Nest], Recipe | None], batch: Nest) -> Callable[[Recipe], Recipe]:
    """A change by a rule that may not know how to grow a model, and then changes nothing."""
    return lambda recipe: grow(recipe, batch) or recipe
