"""resume: a run folder -> Run, from the newest checkpoint on, to the same bits as if nothing had happened."""

from dataclasses import fields
from pathlib import Path

import torch

from thalweg.core.convert import Deferred, loaded
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, RunError
from thalweg.core.source import Splits
from thalweg.recipes.restore import kept_encoding, kept_recipe
from thalweg.training import Progress, Recipe, Run, RunFolder, resumed
from thalweg.training.train import good


@no_type_check
def resume(
    path: str | Path,
    recipe: Recipe | None = None,
    *,
    force: bool = False,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
) -> Run:
    """Go on with a run that was interrupted or killed, from its newest checkpoint; without one, from its beginning.

    On the same machine the run ends with the same bits as one that nothing has interrupted. A run of Python objects
    needs its `recipe` again. `force` insists on another one, other data or another batch size: what differs is said.

    >>> import tempfile, thalweg
    >>> def interrupt(epoch, step, row):
    ...     if step == 7:
    ...         raise KeyboardInterrupt
    >>> recipe = thalweg.load("iris", assignments=["epochs=3"])
    >>> run = thalweg.train(recipe, out=tempfile.mkdtemp(), progress=interrupt)
    >>> again = thalweg.resume(run.path)
    >>> run.status.name, again.status.name, len(again.history)
    ('INTERRUPTED', 'FINISHED', 3)

    Raises `RunError` for a run that has ended or in which another process trains, for another recipe than it began with
    (saying what differs), and where no checkpoint can be read (saying why, for each); and what `train` raises.
    """
    if recipe is not None and not isinstance(recipe, Recipe):
        raise RecipeError(f"resume was given {type(recipe).__name__}, but it goes on with a thalweg.Recipe.")
    folder = RunFolder.reopen(Path(path))
    try:
        chosen = with_data_at_hand(recipe or _kept(folder.path))
        return good(resumed(chosen, folder, device, progress, force))
    finally:
        folder.release()


def with_data_at_hand(recipe: Recipe) -> Recipe:
    """The recipe with its data loaded, so that they are described and compared as those that a run began with are."""
    splits = {item.name: getattr(recipe.data, item.name) for item in fields(recipe.data)}
    if not any(isinstance(split, Deferred) for split in splits.values()):
        return recipe
    data = Splits(**{name: loaded(split) for name, split in splits.items()})
    return recipe.but(data=data, origin=recipe.origin)


def _kept(folder: Path) -> Recipe:
    if not (folder / "recipe.json").exists() and any((folder / "checkpoints").glob("epoch-*")):
        raise RunError(
            f"The run {folder.name} has lost its recipe.json. Put back a copy of it, or give the recipe: "
            "thalweg.resume(path, recipe)."
        )
    if not (folder / "recipe.json").exists():
        raise RunError(
            f"The run {folder.name} was killed before its recipe was kept, and nothing was trained. Give the command "
            "that began it again."
        )
    return kept_recipe(folder, kept_encoding(folder))
