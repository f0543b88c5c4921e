r"""cross_validate: a recipe's scores over k folds.

Folds share training examples, so their scores vary less than those of independent data would. The interval uses the
corrected variance of Nadeau and Bengio (2003), $s^2 (1/k + n_{test}/n_{train})$, with Student's t at k - 1 degrees.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thalweg.core.beginning import check_unseen, loads_weights
from thalweg.core.convert import Batching, as_source
from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, RunError, Unsupported
from thalweg.core.folds import folds as fold_ids
from thalweg.core.nest import describe
from thalweg.core.notices import notice
from thalweg.core.objective import name_of
from thalweg.core.source import Fitted, Indexed, Source, Splits
from thalweg.training.evaluate import Scores, evaluate_model
from thalweg.training.many import train_many
from thalweg.training.recipe import Recipe
from thalweg.training.run import Run


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The runs of k folds, the scores of each on its own held-out fold, and their mean with its interval."""

    runs: list[Run]
    folds: list[dict[str, float]]
    scores: Scores

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name} {value:.4g} [{low:.4g}, {high:.4g}]" for name, (value, low, high) in self.scores.items()
        )
        return f"CrossValidation({len(self.runs)} folds: {shown})"


@no_type_check
def cross_validate(
    recipe: Recipe, *, folds: int = 5, level: float = 0.95, device: str | torch.device = "auto"
) -> CrossValidation:
    """Train on all folds but one and score on that one, for each fold of the train split.

    Classes are spread evenly, groups stay whole, and what the data were fitted with (standardization, vocabulary) is
    fitted again on each fold's training part, unless the model begins with weights that go with it. The scores are
    those of the last epoch's weights: choosing the best epoch by the fold that scores it would flatter. The recipe's
    own validation and test splits are not used.

    >>> import thalweg
    >>> from torch import nn
    >>> x = torch.linspace(-1, 1, 20)[:, None]
    >>> recipe = thalweg.Recipe(
    ...     data=thalweg.Splits(train=(x, 2 * x)), model=lambda: nn.Linear(1, 1), objective=nn.MSELoss(), epochs=2
    ... )
    >>> len(thalweg.cross_validate(recipe, folds=4).folds)
    4

    Raises `Unsupported` for a split without subsets and as `fold_splits` does, `RecipeError` for fewer than two folds,
    `RunError` where a fold's run failed.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"cross_validate was given {type(recipe).__name__}, but it trains a thalweg.Recipe.")
    if not isinstance(folds, int) or folds < 2:
        raise RecipeError(f"folds={folds!r}, but cross-validation needs a whole number of at least 2.")
    source = as_source(recipe.data.train, "train", Batching(recipe.batch_size, recipe.collate))
    if not isinstance(source, Indexed):
        raise Unsupported(
            f"The train split is a {type(source).__name__}, which has no subsets, so it cannot be folded. Read it into "
            "memory once, list(dataset), and give that; a source of your own needs take(ids) and __len__."
        )
    if recipe.stopping is not None:
        notice("The stopping rule watches the fold that scores the run, which flatters the scores a little.")
    pairs = list(fold_ids(source, folds, recipe.seed))
    runs = train_many([recipe.but(data=split) for split in fold_splits(recipe, source, pairs)], device=device)
    for number, run in enumerate(runs, 1):
        if run.error is not None or not run.status.good:
            raise RunError(
                f"Fold {number} of {folds} ended as {run.status}: {run.error or run.status.sentence}"
            ) from run.error
    rows = [_scores_of(run, device, level) for run in runs]
    ratio = float(np.mean([len(held_out) / len(train) for train, held_out in pairs]))
    return CrossValidation(
        runs, rows, {name: corrected_interval([row[name] for row in rows], ratio, level) for name in rows[0]}
    )


def _scores_of(run: Run, device: str | torch.device, level: float) -> dict[str, float]:
    """The scores of the last epoch's weights on the fold that was held out: the history holds them, if it has a row."""
    assert run.recipe is not None
    if run.history:
        row = run.history[-1]
        return {"loss": row["validation_loss"], **row["metrics"]}
    scores = evaluate_model(run.last, run.recipe, run.recipe.data.validation, resolve_device(device), level)
    return {name: score[0] for name, score in scores.items()}


def fold_splits(recipe: Recipe, source: Indexed, pairs: Iterable[tuple[Any, Any]]) -> list[Splits]:
    """The examples of each fold of train, those to train on and those held out: fitted again to the former.

    What the data were fitted with stays where the model begins with weights, which go with it. Raises `Unsupported`
    where these have seen train, and where the objective reads outputs by the encoding of the whole: a fold numbers
    tokens its own way.
    """
    fits = isinstance(source, Fitted)
    if fits and getattr(recipe.objective, "encoding", None) is not None:
        raise Unsupported(
            f"{name_of(recipe.objective)} reads outputs by the vocabulary of all of the train split, but each fold "
            "fits one of its own, in which the same tokens mean something else; and the weights that it begins with "
            "have seen every fold. Cross-validate what it begins with, or judge it on validation and test."
        )
    check_unseen(
        recipe.model,
        "they have seen every fold, so that its score would flatter. Cross-validate a recipe that begins anew, or "
        "judge this one on validation and test.",
    )
    if fits and (begun := loads_weights(recipe.model)) is not None:
        fits = False
        notice(
            f"The model begins with {begun.weights}: what the data were fitted with (scaling, vocabulary) stays as it "
            "is in every fold, for these weights go with it."
        )
    return [_fold(source, train, held_out, fits) for train, held_out in pairs]


def _fold(source: Any, train: Any, held_out: Any, fits: bool) -> Splits:
    fitted = _source(source.fit(train), source, "fit") if fits else source
    return Splits(*(_source(fitted.take(ids), source, "take") for ids in (train, held_out)))


def _source(answer: Any, source: Source, method: str) -> Indexed:
    if not isinstance(answer, Indexed):
        raise DataError(
            f"{type(source).__name__}.{method} returned {describe(answer)}, a {type(answer).__name__}, but it gives a "
            "source again, with batches, take and __len__. Return one of the same class, of these examples."
        )
    return answer


def corrected_interval(values: list[float], ratio: float, level: float = 0.95) -> tuple[float, float, float]:
    """The mean over folds with the interval of Nadeau and Bengio; `ratio` is n_test / n_train.

    >>> mean, low, high = corrected_interval([0.9, 0.92, 0.94], ratio=0.5)
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (0.92, 0.841, 0.999)
    """
    from scipy.special import stdtrit

    k = len(values)
    mean, variance = float(np.mean(values)), float(np.var(values, ddof=1))
    half = float(stdtrit(k - 1, 0.5 + level / 2)) * float(np.sqrt(variance * (1 / k + ratio)))
    return mean, mean - half, mean + half
