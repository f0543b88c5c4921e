"""Express: a recipe that remedies changed, as settings again, so that its run folder can be read back."""

from functools import partial
from typing import Any

from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.notices import notice
from thalweg.recipes.pieces import MODELS
from thalweg.training import Recipe

PLAIN = (bool, int, float, str, type(None))


def expressed(recipe: Recipe, start: Recipe) -> Recipe:
    """The recipe with the origin of `start`, where its model can be said in settings; else without, and that is said.

    What predicts is the model; how it was trained stands in the recipe's own description.
    """
    if start.origin is None or "settings" not in start.origin or "python" in start.origin:
        return recipe
    settings = {section: dict(values) for section, values in start.origin["settings"].items()}
    if fingerprint(recipe.model) != fingerprint(start.model) or fingerprint(recipe.model) == UNKNOWN:
        model = _model(recipe.model)
        if model is None:
            notice(
                "The improved model cannot be said in settings, so `thalweg predict` cannot build it from the folder."
            )
            return recipe
        settings["model"] = model
    return recipe.but(origin=dict(start.origin) | {"settings": settings, "changed": recipe.difference(start)})


def _model(factory: Any) -> dict[str, Any] | None:
    """A bound factory of the table of models as a section of settings."""
    if not isinstance(factory, partial) or factory.args:
        return None
    kind = next((name for name, known in MODELS.items() if known is factory.func), None)
    if kind is None or not all(isinstance(value, PLAIN) for value in factory.keywords.values()):
        return None
    return {"kind": kind, **factory.keywords}
