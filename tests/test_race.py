"""Races: they keep the order, cost at most their price, and one lucky seed sends nobody away."""

import sys
from functools import partial
from typing import Any

import pytest
import torch
from proofs import Twice, X, Y, at, circle, recipe
from torch import nn

import thalweg
from thalweg import Cause, Recipe, RecipeError, Remedy, Splits
from thalweg.diagnosis import Finding
from thalweg.nn import mlp
from thalweg.remedy import prove
from thalweg.remedy.race import price_of_race, race, shares


def test_a_race_halves_its_candidates_and_keeps_the_order() -> None:
    rates = [1e-5, 1e-2, 3e-4, 1e-3, 1e-6, 3e-3, 1e-4, 3e-5]
    chosen = recipe(epochs=40, batch_size=6)
    result = race(chosen, [at(rate) for rate in rates], "cpu", lambda stage: None)
    assert [(rung.share, len(rung.losses)) for rung in result.rungs] == [(0.25, 8), (0.5, 4)]
    assert [remedy.name for remedy, _ in result.rungs[0].losses] == [f"rate {rate:g}" for rate in sorted(rates)[::-1]]
    assert [remedy.name for remedy in result.ahead[:2]] == ["rate 0.01", "rate 0.003"]
    assert result.cost.times == pytest.approx(sum(r.share * (1 + len(r.losses)) for r in result.rungs))
    assert result.cost.times <= price_of_race([(1.0, 40)] * 8, (1.0, 40))


def test_a_race_costs_at_most_its_price_where_epochs_are_rounded_up() -> None:
    chosen = recipe(epochs=9, batch_size=2)
    rates = [1e-3 * (1 + i) for i in range(8)]
    result = race(chosen, [at(rate) for rate in rates], "cpu", lambda stage: None)
    assert [rung.share for rung in result.rungs] == [0.5, 1.0]
    assert result.cost.times == pytest.approx(9 * 5 / 9 + 5)  # five epochs of nine, and not four and a half
    assert price_of_race([(1.0, 9)] * 8, (1.0, 9)) == pytest.approx(result.cost.times + 3)  # and three at a second seed


class Drawn(nn.Module):
    """A constant of its seed."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.randn(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value.expand(len(x), 1)


def test_where_none_is_ahead_a_second_seed_decides() -> None:
    """The recipe's loss is luck, that of the remedy is not: who is ahead is told from both seeds."""
    zeros = (X[:60], torch.zeros(60, 1))
    chosen = recipe(data=Splits(train=zeros, validation=zeros), model=Drawn, epochs=0)
    steady = Remedy("steady", Cause.OPTIMIZATION, lambda one: one.but(model=partial(Steady, 0.8)))
    told = list[tuple[bool, bool]]()
    for number in range(12):
        result = race(chosen, [steady], "cpu", lambda stage: None, number=number)
        first, last = result.rungs[0], result.rungs[-1]
        means = [thalweg.train(chosen.but(seed=500 + number + more)).model.value.item() ** 2 for more in (0, 50)]
        assert first.without == pytest.approx(means[0], rel=1e-5)
        assert (len(result.rungs) == 2) == (means[0] <= 0.64)
        if len(result.rungs) == 2:
            assert last.without == pytest.approx(sum(means) / 2, rel=1e-5)
            assert result.cost.runs == 4
            assert "; then on 2 seeds as it is" in result.sentence
        told.append((len(result.rungs) == 2, bool(result.ahead)))
    assert {(True, True), (True, False), (False, True)} == set(told)


class Steady(Drawn):
    """The same constant at every seed."""

    def __init__(self, value: float) -> None:
        super().__init__()
        nn.init.constant_(self.value, value)


def test_candidates_that_repair_the_loss_differently_do_not_race() -> None:
    first, second = (
        Remedy(f"{loss}", Cause.WIRING, lambda one, loss=loss: one.but(objective=loss))
        for loss in (Twice(), nn.L1Loss())
    )
    bare = Remedy("another model", Cause.WIRING, lambda one: one.but(model=partial(mlp, 3, 1, width=9)))
    with pytest.raises(RecipeError, match="repair the loss in different ways, so that no loss can judge them all"):
        race(recipe(), [first, second, bare], "cpu", lambda stage: None)
    went = circle(Finding(Cause.WIRING, "a flaw"))
    assert went.raced([first, second, bare]) == [first, second, bare]
    assert went.diary[0].race is None
    assert race(recipe(), [first, bare, first], "cpu", lambda stage: None).losses


def test_a_rung_is_as_long_as_is_needed_to_tell() -> None:
    assert shares(8, 2) == [0.25, 0.5]
    lengths: dict[str, list[float]] = {}
    for name, chosen in {"steps": recipe(epochs=60), "epochs": recipe(epochs=8, batch_size=2)}.items():
        result = race(chosen, [at(rate) for rate in (1e-3, 3e-3, 1e-2)], "cpu", lambda stage: None)
        lengths[name] = [rung.share for rung in result.rungs]
    assert lengths == {"steps": [1.0], "epochs": [0.5]}  # 100 of 120 steps; 4 of 8 epochs


def test_what_restrains_runs_past_the_epoch_where_the_recipe_is_best() -> None:
    noise = torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
    data = Splits(train=(X[:60], noise), validation=(X[60:], Y[60:]))
    chosen = recipe(data=data, epochs=40, batch_size=6)
    best = thalweg.train(chosen.but(seed=500)).best_epoch
    candidates = [at(rate) for rate in (1e-4, 3e-4, 1e-3)]
    bold = race(chosen, candidates, "cpu", lambda stage: None)
    restraints = [Remedy(one.name, Cause.OVERFITTING, one.change) for one in candidates]
    careful = race(chosen, restraints, "cpu", lambda stage: None)
    assert [rung.share for rung in bold.rungs] == [0.5]
    assert [rung.share for rung in careful.rungs] == [1.0 if 2 * best > 20 else 0.5]
    assert careful.cost.runs == bold.cost.runs + (2 * best <= 20)  # at a rung of all epochs it is there already


def test_a_race_and_its_proof_share_no_seed_and_no_example(monkeypatch: pytest.MonkeyPatch) -> None:
    laboratory = sys.modules["thalweg.diagnosis.laboratory"].Laboratory
    own, judged, seeds = laboratory.losses, list[set[float]](), list[set[int]]()

    def losses(lab: Any, run: Any, split: Any, **named: Any) -> Any:
        judged[-1] |= {round(float(value), 5) for batch in split.batches(0, 0, None) for value in batch[1]}
        seeds[-1].add(run.recipe.seed)
        return own(lab, run, split, **named)

    monkeypatch.setattr(laboratory, "losses", losses)
    chosen = recipe(data=Splits(train=(X[:60], Y[:60]), validation=(X[60:], Y[60:])))
    for act in (
        lambda: race(chosen, [at(1e-3), at(1e-2), at(3e-2)], "cpu", lambda stage: None),
        lambda: prove(chosen, at(1e-2), raced=True),
    ):
        judged.append(set())
        seeds.append(set())
        act()
    assert len(judged[0]) == len(judged[1]) == 140
    assert not judged[0] & judged[1]
    assert not seeds[0] & seeds[1]


def test_a_race_tries_what_a_proof_would_try() -> None:
    seen: list[tuple[int, int]] = []

    def change(one: Recipe) -> Recipe:
        seen.append((one.seed, 0))
        return one.but(optimizer=partial(torch.optim.Adam, lr=1e-3 * (1 + one.seed)))

    drawn = Remedy("drawn by the seed", Cause.OPTIMIZATION, change)
    race(recipe(), [drawn, at(1e-2), at(3e-3)], "cpu", lambda stage: None)
    raced = {seed for seed, _ in seen}
    seen.clear()
    prove(recipe(), drawn)
    assert raced == {seed for seed, _ in seen} == {0}


def test_a_race_says_by_which_half_it_judged() -> None:
    chosen = recipe(data=Splits(train=(X[:60], Y[:60]), validation=(X[60:], Y[60:])))
    raced = race(chosen, [at(1e-3), at(1e-2), at(3e-2)], "cpu", lambda stage: None)
    assert raced.sentence.startswith("validation loss (half of it) as it is ")
    assert prove(chosen, at(1e-2), raced=True).measure == "validation loss (half that no race has seen)"
