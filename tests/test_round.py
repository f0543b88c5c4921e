"""A round of improve: which remedies race, what is proved, what is adopted, what is left of the budget."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from proofs import Twice, X, Y, at, circle, recipe

import thalweg
from thalweg import Cause, Recipe, Remedy, Splits
from thalweg.diagnosis import Budget, Cost, Finding, Score
from thalweg.diagnosis.halving import splittable
from thalweg.remedy import Improvement, prove
from thalweg.remedy.bench import Controls
from thalweg.remedy.improve import _closed
from thalweg.remedy.proof import Proof
from thalweg.remedy.round import Round
from thalweg.remedy.sign_flips import LEVEL, pairs_for

NOTHING = Remedy("nothing", Cause.OPTIMIZATION, lambda one: one.but(clip_norm=1e9))
LONGER = Remedy("longer", Cause.OPTIMIZATION, lambda one: one.but(epochs=4 * one.epochs))


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
