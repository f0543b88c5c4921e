"""What the training itself shows: its history, and a short probe of it.

What is found here explains; experiments decide. Little is said of a loss that has come down almost to 0, for dead
units or flat stretches that cost nothing are in every network.
"""

import torch

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.diagnosis.checks.dynamics_history import history_flaws
from thalweg.diagnosis.checks.dynamics_layers import layer_flaws
from thalweg.diagnosis.checks.dynamics_rate import rate_flaws
from thalweg.diagnosis.checks.dynamics_seen import look
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.probing import probe as take_probe
from thalweg.diagnosis.stretch import Probe
from thalweg.training import Recipe, Run

ORDER = ("CERTAIN", "MEASURED", "LIKELY")


@no_type_check
def dynamics_flaws(
    recipe: Recipe, run: Run | None = None, *, device: str | torch.device = "auto", probe: Probe | None = None
) -> tuple[Flaw, ...]:
    """What the history of a run and a probe of the training show that is not as it should be, the surest first.

    `run` may be None: then the first steps alone are looked at. A `probe` that was taken is not taken again.

    >>> import thalweg
    >>> [flaw.mechanism for flaw in dynamics_flaws(thalweg.cases.get("rate-too-low"))]
    ['learning rate too low']
    >>> dynamics_flaws(thalweg.cases.get("healthy"))
    ()

    Raises `RecipeError` for what is no recipe or no run, and what training raises for one that cannot be trained.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"dynamics_flaws was given {type(recipe).__name__}, but it looks at a thalweg.Recipe.")
    if run is not None and not isinstance(run, Run):
        raise RecipeError(
            f"dynamics_flaws was given {type(run).__name__} as a run, but it reads the run that thalweg.train gave, or "
            "None."
        )
    seen = look(recipe, run, probe or take_probe(recipe, run, device=device))
    taken = bool(seen.probe.begin.steps)  # an own loop may take none
    found = [*layer_flaws(seen), *(rate_flaws(seen) if taken else ()), *history_flaws(seen)]
    return tuple(sorted(found, key=lambda flaw: ORDER.index(flaw.sure.name)))
