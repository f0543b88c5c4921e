"""Proofs: exact p-values, when a proof is stopped, what stands beside it, which parts pay, what it costs."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from proofs import Twice, X, Y, at, circle, recipe
from torch import nn

import thalweg
from thalweg import Cause, Recipe, RecipeError, Remedy, Splits
from thalweg.diagnosis import Budget, Cost, Finding, Score
from thalweg.diagnosis.halving import splittable
from thalweg.diagnosis.laboratory import first_batch, open_indexed
from thalweg.diagnosis.work import work
from thalweg.remedy import Improvement, price_of_proof, prove
from thalweg.remedy.bench import Controls
from thalweg.remedy.improve import _closed
from thalweg.remedy.proof import Proof
from thalweg.remedy.random_change import random_change
from thalweg.remedy.round import Round
from thalweg.remedy.sign_flips import LEVEL, best_possible, pairs_for, sign_flip

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


# --- the circle ---


def test_many_remedies_of_any_cause_race_and_few_do_not() -> None:
    rates = [at(rate) for rate in (1e-4, 1e-2, 3e-3, 3e-4)]
    many = circle(Finding(Cause.OPTIMIZATION, "", remedies=tuple(rates)))
    many.treated()
    turn = many.diary[0]
    assert turn.race is not None
    assert turn.adopted is not None
    assert turn.adopted.remedy.name == "rate 0.01"
    assert turn.looks == turn.race.cost.runs + turn.adopted.cost.runs
    assert many.cost.times == pytest.approx(turn.race.cost.times + turn.adopted.cost.times)
    few = circle(Finding(Cause.OPTIMIZATION, "", remedies=tuple(rates[:2])))
    assert few.raced(rates[:2]) == rates[:2]
    assert few.diary[0].race is None


def test_the_runs_without_a_remedy_are_trained_once_in_a_round() -> None:
    useless = [Remedy(f"rate {rate:g}", Cause.OPTIMIZATION, at(rate).change) for rate in (1e-6, 1e-5)]
    went = circle(Finding(Cause.OPTIMIZATION, ""))
    prices = [went.price(remedy, 6) for remedy in useless]
    first, second = [went.proved(remedy, 6, 2, 12.0, random=False) for remedy in useless]
    assert [pair[:2] for pair in second.pairs] == [pair[:2] for pair in first.pairs]  # seeds and losses without it
    assert (first.cost.runs, second.cost.runs) == (6, 3)
    third = went.proved(at(1e-2), 6, 2, 12.0, random=False)
    assert (third.cost.runs, third.helped) == (9, True)  # three more without it, six with it
    alone = prove(recipe(), at(1e-2), pairs=6, candidates=2)
    assert (alone.pairs, alone.p, alone.cost.runs) == (third.pairs, third.p, 12)
    assert prices == pytest.approx([12, 12])
    assert went.price(useless[0], 6) == pytest.approx(6)
    went.diary.append(Round(Finding(Cause.OPTIMIZATION, "")))
    assert went.price(useless[0], 6) == pytest.approx(12)  # other seeds
    went.recipe = went.recipe.but(epochs=3)
    assert went.proved(useless[0], 6, 2, 12.0, random=False).cost.runs == 6


def test_a_repaired_loss_has_runs_without_it_of_its_own() -> None:
    scaled = Remedy("twice the loss", Cause.WIRING, lambda one: one.but(objective=Twice()))
    controls = Controls()
    prove(recipe(), at(1e-2), controls=controls)
    assert len(controls.runs) == 5
    proof = prove(chosen := recipe(), scaled, controls=controls)
    assert proof.cost.runs == 10 - 2 * 2 * proof.stopped
    assert controls.known(chosen, range(1000, 1005)) == 0


def test_a_repair_of_a_flaw_is_proved_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    repaired = Remedy("repaired", Cause.WIRING, at(1e-2).change)
    wired = circle(Finding(Cause.WIRING, "a flaw", mend="Mend it.", remedies=(repaired,)))
    assert wired.treated() is None
    assert wired.diary[0].adopted is not None
    useless = circle(Finding(Cause.WIRING, "a flaw", mend="Mend it.", remedies=(NOTHING,)))
    monkeypatch.setattr(useless, "diagnosed", lambda: useless.diary.pop().finding)
    assert useless.turned(1) == "no remedy was proved to help, and it is for you to mend: Mend it"


def test_what_is_held_off_is_treated_and_cured_is_said_of_what_was_adopted_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = circle(Finding(Cause.OVERFITTING, "late", held_off="the best epoch is kept", remedies=(NOTHING,)))
    monkeypatch.setattr(late, "diagnosed", lambda: late.diary.pop().finding)
    assert late.turned(1) == "no remedy was proved to help"
    assert late.diary[0].proofs
    adopted = Proof(at(1e-2), "", (), Score(1.0), 0.01, Cost())
    slow, none, open_ = (Finding(cause, "") for cause in (Cause.OPTIMIZATION, Cause.NONE, Cause.UNDECIDED))
    for diary, cured in (
        ((Round(slow, (adopted,), adopted), Round(none)), (Cause.OPTIMIZATION,)),
        ((Round(slow, (adopted,), adopted), Round(slow)), ()),
        ((Round(slow, (adopted,), adopted),), ()),  # nobody has looked again
        ((Round(slow), Round(none)), ()),
        ((Round(slow, (adopted,), adopted), Round(open_)), ()),  # whoever looked again was cut off
        ((Round(open_, (adopted,), adopted), Round(slow)), ()),
        ((Round(none, (adopted,), adopted), Round(Finding(Cause.OVERFITTING, ""))), (Cause.OPTIMIZATION,)),
    ):
        run = thalweg.train(recipe(epochs=0))
        assert Improvement(recipe(), run, diary, {}, {}, "", "").cured == cured


def test_a_proof_goes_without_its_control_where_the_budget_holds_no_more() -> None:
    poor = circle(Finding(Cause.OPTIMIZATION, "", remedies=(at(1e-2),)), budget=12.0)
    poor.treated()
    (proof,) = poor.diary[0].proofs
    assert (proof.helped, proof.random) == (True, None)


def test_a_proof_is_held_back_before_candidates_race() -> None:
    rates = tuple(at(rate) for rate in (1e-2, 1e-4, 3e-3, 3e-4))
    poor = circle(Finding(Cause.OPTIMIZATION, "", remedies=rates), budget=13.0)
    assert poor.treated() is None
    turn = poor.diary[0]
    assert turn.race is None  # with a race none of them could have been proved
    assert turn.adopted is not None
    assert turn.adopted.remedy.name == "rate 0.01"  # the first, for which most speaks
    assert poor.cost.times <= 13
    richer = circle(Finding(Cause.OPTIMIZATION, "", remedies=rates), budget=19.5)
    candidates, price = richer.affordable(list(rates))
    assert candidates == list(rates[:3])  # of equal ones the last goes
    assert price + max(richer.price(one, 6) for one in candidates) <= 19.5


def test_two_are_not_asked_where_pairs_for_one_alone_are_held() -> None:
    rates = [at(rate) for rate in (1e-2, 1e-4)]
    assert circle(Finding(Cause.OPTIMIZATION, ""), budget=11.0).provable(rates) == rates[:1]
    assert circle(Finding(Cause.OPTIMIZATION, ""), budget=12.0).provable(rates) == rates


def test_a_diagnosis_leaves_a_proof_and_what_holds_none_is_said() -> None:
    found = Finding(Cause.OPTIMIZATION, "", remedies=(at(1e-2),))
    assert [circle(found, budget).of_diagnosis().times for budget in (8.0, 25.0, 100.0)] == [8.0, 15.0, 20.0]
    poor = circle(found, budget=8.0)
    says = "what is left of the budget does not hold the 10 trainings that proving 'rate 0.01' costs: a budget of"
    assert poor.treated() == f"{says} 38 would"  # as was said at the beginning
    later = circle(replace(found, cost=Cost(times=12.0)), budget=155.0)
    later.cost = Cost(times=150.0)
    assert later.treated() == f"{says} 168 would"  # a larger one lets the diagnosis take 20
    hurried = circle(found)
    hurried.budget, hurried.cost = Budget(seconds=15.0), Cost(times=10.0, seconds=20.0)
    assert hurried.treated() == f"{says} 60 s would"  # of the time two thirds are for the diagnosis


def test_the_scores_of_the_end_are_those_that_were_asked_for() -> None:
    asked: list[thalweg.Run] = []

    def score(run: thalweg.Run, split: Any, *, device: torch.device) -> dict[str, tuple[float, float, float]]:
        asked.append(run)
        return {"own": (float(len(asked)), 0.0, 9.0)}

    ended = _closed(circle(Finding(Cause.NONE, "")), "it was over", None, None, score)
    assert (ended.before, ended.after) == ({"own": (1.0, 0.0, 9.0)}, {"own": (2.0, 0.0, 9.0)})
    assert asked[1] is ended.run


def test_a_budget_without_a_proof_is_said_at_the_beginning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for budget, said in ((8.0, 1), (38.0, 0)):
        caplog.clear()
        poor = circle(Finding(Cause.NONE, ""), budget)
        monkeypatch.setattr(poor, "diagnosed", lambda poor=poor: poor.diary.pop().finding)
        with caplog.at_level("INFO", logger="thalweg"):
            poor.turned(1)
        assert (
            sum("no proof: each trains 10 times" in text and "38 would do" in text for text in caplog.messages) == said
        )


def test_checks_and_reference_learners_do_not_slow_the_pace_of_trainings() -> None:
    went = circle(Finding(Cause.OPTIMIZATION, ""))
    went.spend(Cost(10, 50.0, 10.0, aside=40.0))
    went.spend(Cost(10, 10.0, 10.0))
    assert went.seconds(4.0) == pytest.approx(4.0)


def test_what_is_adopted_is_the_part_that_pays() -> None:
    whole = at(1e-2).then(NOTHING)
    adopted = Proof(whole, "", (), Score(1.0), 0.01, Cost(), smallest=at(1e-2))
    went = circle(Finding(Cause.OVERFITTING, ""))
    went.diary[0] = Round(Finding(Cause.OVERFITTING, ""), (adopted,), adopted)
    assert not went.has(Remedy("nothing", Cause.OVERFITTING, NOTHING.change))
    assert went.has(Remedy("rate 0.01", Cause.OVERFITTING, NOTHING.change))


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        (99, "all 99 test examples, too few to halve and read twice"),
        pytest.param(100, "the half", marks=pytest.mark.battery),
    ],
)
def test_a_small_test_split_is_asked_once_and_said_to_be_read_twice(examples: int, says: str) -> None:
    data = Splits(
        train=(X[:60], Y[:60]), validation=(X[60:120], Y[60:120]), test=(X[120:][:examples], Y[120:][:examples])
    )
    asked: list[bool] = []
    diagnose = sys.modules["thalweg.remedy.circle"].diagnose

    def counted(one: Recipe, **named: Any) -> Finding:
        asked.append(named["test"])
        found = diagnose(one, **named) if len(asked) == 1 else Finding(Cause.NONE, "")
        return found.but(remedies=(at(1e-2),))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys.modules["thalweg.remedy.circle"], "diagnose", counted)
        result = thalweg.improve(recipe(data=data), rounds=2, budget=60)
    assert asked == [True, examples >= 100]
    assert result.judged_on.startswith(says)
    assert result.validation_used == sum(turn.finding.cost.runs for turn in result.diary) + sum(
        proof.cost.runs for proof in result.proofs
    )
    seeds = [{seed for seed, _, _ in turn.proofs[0].pairs} for turn in result.diary if turn.proofs]
    assert len(seeds) == 2
    assert not seeds[0] & seeds[1]


def test_examples_of_one_group_are_not_halved() -> None:
    class Described:
        def __init__(self, groups: int) -> None:
            self.groups = groups

        def __len__(self) -> int:
            return 200

        def batches(self, epoch: int, start: int, generator: Any) -> Iterator[Any]:
            yield X, Y

        def take(self, ids: Any) -> Any:
            return self

        def meta(self, ids: Any) -> dict[str, Any]:
            return {"group": np.arange(len(ids)) % self.groups}

    assert [splittable(Described(groups)) for groups in (1, 2)] == [False, True]


def test_pairs_for_candidates() -> None:
    assert all(2.0 ** -pairs_for(m) * m <= LEVEL < 2.0 ** -(pairs_for(m) - 1) * m for m in range(1, 9))


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
