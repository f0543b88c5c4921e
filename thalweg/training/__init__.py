"""Training: the recipe, the loop, validation, early stopping, many runs, the run folder."""

from thalweg.training.crossing import CrossValidation, cross_validate
from thalweg.training.evaluate import evaluate
from thalweg.training.finders import RangeTest, find_learning_rate, largest_batch_size
from thalweg.training.folder import RunFolder
from thalweg.training.loop import Progress, epochs, steps
from thalweg.training.many import train_many
from thalweg.training.outcome import Outcome
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run
from thalweg.training.stopping import EarlyStopping
from thalweg.training.train import resumed, train

__all__ = [
    "CrossValidation",
    "EarlyStopping",
    "Outcome",
    "Progress",
    "RangeTest",
    "Recipe",
    "Run",
    "RunFolder",
    "cross_validate",
    "epochs",
    "evaluate",
    "find_learning_rate",
    "largest_batch_size",
    "resumed",
    "steps",
    "train",
    "train_many",
]
