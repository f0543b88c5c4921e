"""How long is trained where nothing is said."""

import math
from typing import Any

from thalweg.core.signature import defaults_of
from thalweg.recipes.pieces import fit
from thalweg.recipes.settings import Settings

FEWEST_STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 1000, defaults_of(fit)["epochs"], 200
"""So many epochs, more of few examples, which make few steps each."""
FEWEST_COSTLY_EPOCHS, COSTLY_STEPS, MOST_SEQUENCE_EPOCHS = 10, 3000, 50


def batch_size(settings: Settings) -> Any:
    """The batch size that the settings say, or the default."""
    return settings["fit"].get("batch_size", defaults_of(fit)["batch_size"])


def epochs_of(rows: int, batch_size: Any, fewest: int = FEWEST_EPOCHS, steps: int = FEWEST_STEPS) -> int:
    """How many epochs are trained where nothing is said: 30, or as many as make 1,000 steps, but at most 200.

    >>> epochs_of(1079, 32), epochs_of(341, 32), epochs_of(90, 32), epochs_of(5000, None)
    (30, 91, 200, 200)
    """
    whole = not isinstance(batch_size, int) or batch_size < 1  # what is no size is refused later
    an_epoch = 1 if whole else math.ceil(rows / batch_size)
    return min(MOST_EPOCHS, max(fewest, math.ceil(steps / an_epoch)))


def costly_epochs(rows: int, batch_size: Any) -> int:
    """The same for images, whose steps cost more: 10, or as many as make 3,000 steps, but at most 200.

    >>> costly_epochs(50_000, 32), costly_epochs(3000, 32), costly_epochs(60, 32)
    (10, 32, 200)
    """
    return epochs_of(rows, batch_size, FEWEST_COSTLY_EPOCHS, COSTLY_STEPS)


def sequence_epochs(rows: int, batch_size: Any) -> int:
    """The same for sequences: 10, or as many as make 1,000 steps, but at most 50.

    >>> sequence_epochs(50_000, 32), sequence_epochs(1600, 32), sequence_epochs(60, 32)
    (10, 20, 50)
    """
    return min(MOST_SEQUENCE_EPOCHS, epochs_of(rows, batch_size, FEWEST_COSTLY_EPOCHS))
