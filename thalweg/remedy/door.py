"""diagnose: causes found by experiment, with the remedies that treat them."""

from collections.abc import Callable
from itertools import islice

import torch

from thalweg.core.door import no_type_check
from thalweg.diagnosis import Budget, Finding, Floor, Progress, find_cause
from thalweg.diagnosis.growth import runs
from thalweg.diagnosis.laboratory import first_batch, open_indexed
from thalweg.remedy.catalogue import remedies_for
from thalweg.remedy.frames import shows_frames
from thalweg.remedy.images import shows_images
from thalweg.training import Recipe, Run
from thalweg.training.interrupts import announcing

STOPPING = "The diagnosis stops after the step that runs, and keeps the evidence so far."
MOST = 8
"""So many remedies are offered at most: each more that is proved needs more pairs."""


@no_type_check
def diagnose(
    recipe: Recipe | Run,
    *,
    budget: float | str | Budget | None = None,
    grow: Callable[[Recipe], Recipe] | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    test: bool = True,
    reference: Floor | None = None,
) -> Finding:
    """Say what holds a recipe back, by experiment, and which remedies treat it (those that its model can take).

    The train loss is asked first (model bias or optimization), then the validation loss (overfitting), then the test
    loss (mismatch). `budget` is in multiples of one training of the recipe, 20 where none is given and 6 where one
    takes more than half a minute, or a time ("10m"); `grow` makes a bigger
    model of a recipe where neither its factory nor its layers can be grown; `test=False` leaves the test
    split alone; `reference` is the floor of an earlier finding on the same data.

    >>> import thalweg
    >>> finding = thalweg.diagnose(thalweg.load("iris", assignments=["epochs=15", "optimizer.lr=1e-5"]))
    >>> finding.cause.name, finding.remedies[0].name
    ('OPTIMIZATION', 'learning rate x 1000')
    """
    with announcing(STOPPING):
        finding = find_cause(
            recipe, budget=budget, grow=grow, device=device, progress=progress, test=test, reference=reference
        )
    subject = recipe.recipe if isinstance(recipe, Run) else recipe
    assert isinstance(subject, Recipe)  # or find_cause has refused it
    batch = first_batch(open_indexed(subject, subject.data.train, "train"))
    known = remedies_for(finding, images=shows_images(batch), frames=shows_frames(batch))
    changes = (remedy for remedy in known if (changed := remedy(subject)) is not subject and runs(changed, batch))
    return finding.but(remedies=tuple(islice(changes, MOST)))
