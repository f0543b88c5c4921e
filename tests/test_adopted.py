"""What improve begins with, adopts and gives back: data it can train on, the recipe as it was proved, words that hold."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg import Cause, DataError, Recipe, Splits
from thalweg.core.source import Indexed
from thalweg.nn import mlp

RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(140, 3))).float()
Y = X.sum(1, keepdim=True) + 0.1 * torch.from_numpy(RANDOM.normal(size=(140, 1))).float()


def slow(**changes: Any) -> Recipe:
    """A rate that is far too low, and no validation split."""
    made = Recipe(
        data=Splits(train=(X[:100], Y[:100])),
        model=partial(mlp, 3, 1, width=8),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=1e-5),
        epochs=4,
    )
    return made.but(**changes)


def test_what_is_adopted_is_what_was_proved_where_validation_was_held_out(caplog: pytest.LogCaptureFixture) -> None:
    result = thalweg.improve(slow(), rounds=1, budget=60, device="cpu")
    adopted = result.diary[0].adopted
    assert adopted is not None
    kept = result.recipe.data
    assert isinstance(kept.train, Indexed)
    assert isinstance(kept.validation, Indexed)
    assert (len(kept.train), len(kept.validation)) == (80, 20)
    for seed, _, proved in adopted.pairs[:2]:
        run = thalweg.train(result.recipe.but(seed=seed), device="cpu")
        assert run.history[run.best_epoch - 1]["validation_loss"] == pytest.approx(proved, rel=1e-4)
    assert result.judged_on == "the validation data, by which it was also chosen"
    assert result.after["loss"][0] < result.before["loss"][0]
    assert caplog.text.count("20 of the 100 training examples are held out") == 1


@pytest.mark.parametrize("split", ["train", "validation"])
def test_data_that_cannot_be_trained_on_are_refused_before_anything_is_trained(split: str) -> None:
    bad = X[:60].clone()
    bad[3, 2] = float("nan")
    splits: dict[str, Any] = {"train": (X[:60], Y[:60]), "validation": (X[60:], Y[60:])}
    splits[split] = (bad, Y[:60])
    with pytest.raises(DataError, match=f"The {split} inputs hold 1 value that is not finite .NaN.: row 3, column 2"):
        thalweg.improve(slow(data=Splits(**splits)), progress=lambda stage: pytest.fail(stage.name))


def test_a_stream_without_validation_is_trained_whole_in_the_end() -> None:
    class Stream:
        def batches(self, epoch: int, start: int, generator: Any) -> Any:
            yield from ((X[i : i + 10], Y[i : i + 10]) for i in range(10 * start, 100, 10))

    result = thalweg.improve(slow(data=Splits(train=Stream())), rounds=1, budget=3, device="cpu")
    assert isinstance(result.recipe.data.train, Stream)
    assert result.judged_on == "no data: there is neither a test nor a validation split"
