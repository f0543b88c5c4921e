"""What tables and images share: rows of numbers that may be the pixels of an image."""

from collections.abc import Callable
from typing import Any

from thalweg.core.errors import RecipeError
from thalweg.data import Augment, Augmented
from thalweg.recipes.data_kinds.kind import DataKind
from thalweg.recipes.settings import Settings


class Pixels(DataKind):
    """A kind whose examples can be augmented as images are, and read by an encoder as patches."""

    def check_model(self, settings: Settings, encoding: Any) -> None:
        super().check_model(settings, encoding)
        check_pixels(settings, encoding)

    def augmentation(self) -> Callable[..., Any]:
        return Augment

    def altered(self, train: Any, chosen: Any, copies: int) -> Any:
        return Augmented(train, chosen, copies)


def check_pixels(settings: Settings, encoding: Any) -> None:
    """Refuse an encoder of what is no image, and one without the side of a patch that divides the image.

    Raises `RecipeError` naming file and line.
    """
    kind, layout = settings["model"].get("kind"), encoding.schema.layout
    if kind != "encoder":
        return
    if layout is None:
        raise RecipeError(
            f"{settings.place('model', 'kind')}an encoder reads sequences, or images as patches, but the data are a "
            "table. Say that its columns are pixels: [data] layout = [1, 28, 28] (channels, height, width), or use "
            "kind = 'mlp'."
        )
    patch, (height, width) = settings["model"].get("patch"), layout[1:]
    sides = [side for side in range(2, min(height, width) + 1) if height % side == width % side == 0]
    if patch is None or (isinstance(patch, int) and patch > 0 and (height % patch or width % patch)):
        said = "is not said" if patch is None else f"is {patch}"
        raise RecipeError(
            f"{settings.place('model', 'patch')}an encoder reads images of {height} x {width} pixels as square "
            f"patches, whose side {said}. Give model.patch one of {', '.join(map(str, sides[:6]))}."
        )
