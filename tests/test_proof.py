"""Proofs: exact p-values, when a proof is stopped, what stands beside it, which parts pay, what it costs."""

import re
import sys
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from proofs import at, circle, recipe
from torch import nn

import thalweg
from thalweg import Cause, Recipe, RecipeError, Remedy
from thalweg.diagnosis import Finding
from thalweg.diagnosis.laboratory import first_batch, open_indexed
from thalweg.diagnosis.work import work
from thalweg.remedy import price_of_proof, prove
from thalweg.remedy.random_change import random_change
from thalweg.remedy.sign_flips import LEVEL, best_possible, sign_flip

NOTHING = Remedy("nothing", Cause.OPTIMIZATION, lambda one: one.but(clip_norm=1e9))
LONGER = Remedy("longer", Cause.OPTIMIZATION, lambda one: one.but(epochs=4 * one.epochs))


def by_force(differences: np.ndarray) -> float:
    """The share of all signs that make the mean at least as large."""
    flips = [np.dot(signs, differences) for signs in product((1, -1), repeat=len(differences))]
    return float(np.mean([flip >= differences.sum() - 1e-9 for flip in flips]))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_sign_flips_are_counted_exactly(n: int) -> None:
    for seed in range(40):
        random = np.random.default_rng(seed)
        differences = random.normal(0.4, 1, n).round(1)  # with ties
        assert sign_flip(differences) == pytest.approx(by_force(differences))


def test_an_effect_of_none_is_called_one_as_often_as_the_level_says() -> None:
    random = np.random.default_rng(1)
    called = np.mean([sign_flip(random.standard_t(2, 6)) <= LEVEL for _ in range(4000)])
    assert 0.036 < called <= 0.055  # 3 of 64


def test_the_bound_of_a_stopped_proof_is_never_passed_and_is_reached() -> None:
    random = np.random.default_rng(2)
    for _ in range(60):
        first = random.normal(0.3, 1, 3)
        bound = best_possible(first, 6)
        rest = [random.normal(1, 3, 3) for _ in range(30)]
        assert all(by_force(np.concatenate([first, more])) >= bound - 1e-12 for more in rest)
        assert by_force(np.concatenate([first, 1e3 * np.array([1.0, 2.0, 4.0])])) == pytest.approx(bound)


def test_a_proof_without_hope_stops_and_one_with_hope_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = prove(recipe(), at(1e-6), pairs=6, random=True)
    assert (len(worse.pairs), worse.planned, worse.stopped, worse.helped) == (3, 6, True, False)
    assert worse.cost.runs == 6
    assert worse.random is None
    assert worse.to_json()["stopped"] is True
    assert "3 pairs, p = 1, stopped there: all of 6 pairs could not reach p <= 0.05 any more" in worse.sentence
    better = prove(recipe(), at(1e-2), pairs=6)
    assert (len(better.pairs), better.stopped, better.p) == (6, False, 1 / 64)


def test_a_random_change_stands_beside_at_the_same_seeds_and_cost() -> None:
    proof = prove(recipe(), LONGER, random=True)
    beside = proof.random
    assert beside is not None
    assert [pair[:2] for pair in beside.pairs] == [pair[:2] for pair in proof.pairs]
    assert beside.effect.value == pytest.approx(np.mean([before - after for _, before, after in beside.pairs]))
    lead = np.mean([other - own for (_, _, other), (_, _, own) in zip(beside.pairs, proof.pairs, strict=True)])
    assert beside.lead.value == pytest.approx(lead)
    assert proof.cost.runs == 15
    assert proof.cost.times == pytest.approx(45, rel=0.1)
    assert f"a random change at the same cost ({beside.name}): lower by" in proof.sentence
    assert proof.to_json()["random"]["name"] == beside.name


def test_a_random_change_is_drawn_of_all_kinds_and_costs_what_it_is_given() -> None:
    own = recipe(epochs=8)
    batch = first_batch(open_indexed(own, own.data.train, "train"))
    drawn = [random_change(own, batch, 2.0, str(i)) for i in range(60)]
    kinds = {change.name.split(" x ")[0].split(" of ")[0] for change in drawn}
    assert kinds == {"learning rate", "batch size", "width", "weight decay", "another seed"}
    for change in drawn:
        assert work(change(own)) == pytest.approx(2 * work(own), rel=0.1), change.name
    assert [change.name for change in drawn] == [random_change(own, batch, 2.0, str(i)).name for i in range(60)]


def test_a_random_change_of_what_takes_few_changes() -> None:
    stubborn = recipe(model=lambda: nn.Linear(3, 1), batch_size=None, optimizer=partial(torch.optim.Rprop, lr=1e-3))
    batch = first_batch(open_indexed(stubborn, stubborn.data.train, "train"))
    names = {random_change(stubborn, batch, 1.0, str(i)).name.split(" x ")[0] for i in range(30)}
    assert names == {"learning rate", "another seed"}


def test_another_seed_is_trained_from_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Remedy("another seed", Cause.UNDECIDED, lambda one: one.but(seed=one.seed + 10_000))
    monkeypatch.setattr(sys.modules["thalweg.remedy.bench"], "random_change", lambda *given: other)
    beside = prove(recipe(), at(1e-2), random=True).random
    assert beside is not None
    assert all(before != after for _, before, after in beside.pairs)


@pytest.mark.parametrize("composed", [at(1e-2).then(NOTHING), NOTHING.then(at(1e-2))], ids=["behind", "before"])
def test_a_part_that_does_nothing_is_left_out(composed: Remedy) -> None:
    proof = prove(recipe(), composed)
    assert proof.helped
    assert proof.kept.name == "rate 0.01"
    assert [(part.name, part.pays) for part in proof.parts if not part.pays] == [("nothing", False)]
    assert "nothing does not pay: without it higher by" in proof.sentence
    assert (proof.to_json()["kept"], proof.to_json()["remedy"]) == ("rate 0.01", composed.name)


def test_parts_that_pay_stay() -> None:
    proof = prove(recipe(), at(1e-2).then(LONGER))
    assert proof.kept.name == "rate 0.01, longer"
    assert [part.pays for part in proof.parts] == [True, True]
    rises = [after - before for part in proof.parts[:1] for _, after, before in part.pairs]
    assert proof.parts[0].rise.value == pytest.approx(np.mean(rises))
    assert proof.cost.runs == 20


def test_of_two_parts_that_do_the_same_one_stays() -> None:
    proof = prove(recipe(), at(2e-2).then(at(1e-2)).then(NOTHING))  # the second rate takes the place of the first
    assert proof.kept.name == "rate 0.01"
    assert proof.kept(recipe()).optimizer.keywords["lr"] == 1e-2


def test_the_price_is_what_is_paid() -> None:
    composed = at(1e-2).then(LONGER)
    price = price_of_proof(recipe(), composed, random=True)
    proof = prove(recipe(), composed, random=True)
    assert price.runs == proof.cost.runs == 25
    assert price.times == pytest.approx(proof.cost.times) == pytest.approx(5 * (1 + 4 + 4 + 4 + 1))
    assert price.seconds is not None
    assert str(price).startswith("70 trainings")


def test_a_budget_that_does_not_hold_a_proof_is_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trained(*given: Any, **named: Any) -> None:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr(sys.modules["thalweg.diagnosis.laboratory"], "train_many", trained)
    says = (
        r"Proving 'longer' costs 45 trainings.* \(5 pairs, the fewest that can reach p <= 0.05\), and budget=44 times "
        r"the training does not hold them: give 45, or leave the random change out \(random=False\)\."
    )
    with pytest.raises(RecipeError, match=says):
        prove(recipe(), LONGER, random=True, budget=44)
    with pytest.raises(RecipeError, match="give 25\\.$"):
        prove(recipe(), LONGER, budget=24, pairs=9)


def test_fewer_pairs_are_trained_where_the_budget_asks_and_they_can_still_show_it() -> None:
    proof = prove(recipe(), at(1e-2), pairs=9, budget=13)
    assert (len(proof.pairs), proof.planned, proof.helped) == (6, 6, True)


# --- what is given at the doors ---


def test_what_a_remedy_costs_is_asked_once_of_a_recipe() -> None:
    asked: list[int] = []

    def change(one: Recipe) -> Recipe:
        asked.append(one.epochs)
        return one.but(epochs=3 * one.epochs)

    slow = Remedy("looks long", Cause.OPTIMIZATION, change)
    went = circle(Finding(Cause.OPTIMIZATION, ""))
    assert went.price(slow, 5) == went.price(slow, 5) == pytest.approx(5 * (1 + 3))
    assert went.price(slow, 5, random=True) == pytest.approx(5 * (1 + 6))
    went.recipe = went.recipe.but(epochs=4)
    assert went.price(slow, 5) == pytest.approx(5 * (1 + 6))
    assert asked == [2, 4]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pairs": 1}, "pairs=1 cannot show anything at p <= 0.05 with 1 candidate: give 5"),
        ({"pairs": 5.5}, "pairs=5.5, but it counts: give a whole number"),
        ({"pairs": "5"}, "pairs='5', but it counts"),
        ({"candidates": 0}, "candidates=0, but it counts: give a whole number, 1 or more"),
        ({"candidates": -1}, "candidates=-1, but it counts"),
        ({"recipe": "digits"}, "prove was given str, but it takes a thalweg.Recipe"),
        ({"remedy": lambda one: one}, "prove was given function for a remedy: give Remedy"),
        (
            {"remedy": Remedy("empty", Cause.OPTIMIZATION, lambda one: None)},  # type: ignore[arg-type, return-value]
            "The remedy 'empty' gave NoneType, but a remedy gives a recipe",
        ),
    ],
)
def test_what_cannot_be_proved_is_refused(given: dict[str, Any], says: str) -> None:
    named: dict[str, Any] = {"recipe": recipe(), "remedy": at(1e-2)} | given
    with pytest.raises(RecipeError, match=re.escape(says)):
        prove(**named)
    if not {"pairs", "candidates"} & set(given):
        with pytest.raises(RecipeError, match=re.escape(says)):
            price_of_proof(**named)


def test_what_cannot_be_improved_is_refused() -> None:
    with pytest.raises(RecipeError, match="improve was given str, but it takes a thalweg.Recipe"):
        thalweg.improve("digits")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="rounds='2', but it counts"):
        thalweg.improve(recipe(), rounds="2")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="resume=3, but it is the folder in which runs are kept"):
        thalweg.improve(recipe(), resume=3)  # type: ignore[arg-type]
