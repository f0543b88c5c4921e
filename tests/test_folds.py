"""Proofs by folds: each pair is judged by examples that neither of its runs has seen."""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from proofs import X, Y, at, circle, recipe

import thalweg
from thalweg import Cause, Recipe, RecipeError, Remedy, Splits
from thalweg.diagnosis import Finding
from thalweg.remedy import prove

NOTHING = Remedy("nothing", Cause.OPTIMIZATION, lambda one: one.but(clip_norm=1e9))
LONGER = Remedy("longer", Cause.OPTIMIZATION, lambda one: one.but(epochs=4 * one.epochs))


# --- folds ---


def test_folds_are_shared_by_both_runs_of_a_pair_and_are_judged_by_what_neither_has_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    laboratory = sys.modules["thalweg.diagnosis.laboratory"].Laboratory
    own, judged = laboratory.losses, list[tuple[int, set[float], set[float]]]()

    def targets(split: Any) -> set[float]:
        return {round(float(value), 5) for batch in split.batches(0, 0, None) for value in batch[1]}

    def losses(lab: Any, run: Any, split: Any, **named: Any) -> Any:
        judged.append((run.recipe.seed, targets(split), targets(run.recipe.data.train)))
        return own(lab, run, split, **named)

    monkeypatch.setattr(laboratory, "losses", losses)
    proof = prove(recipe(), at(1e-2), folds=5)
    assert (proof.folds, proof.helped, proof.p, proof.wins, proof.cost.runs) == (5, True, 1 / 32, 5, 10)
    assert proof.measure == "loss on 5 folds of train"
    by_seed = {seed: {tuple(sorted(held)) for other, held, _ in judged if other == seed} for seed, *_ in judged}
    assert [len(held) for held in by_seed.values()] == [1] * 5  # the same fold for both
    assert all(not held & trained for _, held, trained in judged)
    whole = {round(float(value), 5) for value in Y[:60]}
    assert set().union(*(held for _, held, _ in judged)) == whole
    assert all(held | trained == whole for _, held, trained in judged)


def test_the_interval_over_folds_is_that_of_nadeau_and_bengio() -> None:
    proof = prove(recipe(), at(1e-2), folds=6, random=True)
    d = np.array([before - after for _, before, after in proof.pairs])
    half = 2.5706 * d.std(ddof=1) * np.sqrt(1 / 6 + 1 / 5)  # a sixth judges what five sixths have trained
    assert proof.interval == pytest.approx((d.mean() - half, d.mean() + half), rel=1e-3)
    assert "p is a guide" in proof.sentence
    assert "p is a guide" in proof.to_json()["caution"]
    assert proof.random is not None
    assert proof.random.effect.high - proof.random.effect.low > 0
    assert prove(recipe(), at(1e-2)).caution is None


def test_each_fold_is_fitted_anew_and_a_remedy_looks_at_its_train_part_alone() -> None:
    seen: list[int] = []

    def change(one: Recipe) -> Recipe:
        seen.append(len(one.data.train) if hasattr(one.data.train, "__len__") else 0)
        return one.but(optimizer=partial(torch.optim.Adam, lr=1e-2))

    prove(recipe(), Remedy("looks at the data", Cause.OPTIMIZATION, change), folds=5)
    assert seen[-5:] == [48] * 5
    iris = thalweg.load("iris", assignments=["epochs=3", "optimizer.lr=1e-5"])
    better = Remedy("a rate", Cause.OPTIMIZATION, lambda one: one.but(optimizer=partial(torch.optim.Adam, lr=3e-2)))
    assert prove(iris, better, folds=5).helped


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"folds": 3}, "folds=3 cannot show anything at p <= 0.05 with 1 candidate: give 5"),
        ({"folds": "5"}, "folds='5', but it counts: give a whole number"),
        ({"folds": 5, "remedy": Remedy("tested", Cause.MISMATCH, lambda one: one)}, "'tested' treats a mismatch"),
        ({"folds": 61}, "61 folds need at least 61"),
        ({"folds": 6, "budget": 11}, r"costs 12 trainings.* \(6 pairs"),
    ],
)
def test_folds_that_show_nothing_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(thalweg.ThalwegError, match=says):
        prove(**({"recipe": recipe(), "remedy": at(1e-2)} | given))


def test_folds_are_of_the_whole_train_split_where_nothing_is_held_out(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def change(one: Recipe) -> Recipe:
        seen.append(len(one.data.train) + len(one.data.validation))
        return one.but(optimizer=partial(torch.optim.Adam, lr=1e-2))

    proof = prove(recipe(data=Splits(train=(X[:60], Y[:60]))), Remedy("looks", Cause.OPTIMIZATION, change), folds=5)
    assert (proof.helped, proof.planned) == (True, 5)
    assert seen[-5:] == [60] * 5
    assert "held out" not in caplog.text


def test_a_remedy_that_is_the_recipe_itself_is_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["thalweg.diagnosis.laboratory"], "train_many", lambda *given, **named: 1 / 0)
    with pytest.raises(RecipeError, match="'nothing' leaves the recipe as it is, so that there is nothing to prove"):
        prove(recipe(), nothing := Remedy("nothing", Cause.OPTIMIZATION, lambda one: one))
    short = Remedy("short", Cause.OPTIMIZATION, lambda one: one.but(epochs=1) if hasattr(X, "no") else one)
    with pytest.raises(RecipeError, match="'short' leaves the recipe as it is on fold 1 of 5 of its train split"):
        prove(recipe(), short, folds=5)
    went = circle(Finding(Cause.OPTIMIZATION, "", remedies=(nothing,)))
    assert went.treated() is None
    assert not went.diary[0].proofs


def test_what_has_no_subsets_has_no_folds() -> None:
    class Stream:
        def batches(self, epoch: int, start: int, generator: Any) -> Iterator[Any]:
            yield {"x": [object()]}, [object()]

    streamed = recipe(data=Splits(train=Stream(), validation=(X[60:120], Y[60:120])))
    with pytest.raises(thalweg.ThalwegError, match="without subsets"):
        prove(streamed, at(1e-2), folds=5)
