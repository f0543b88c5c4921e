"""Models that begin with weights: what these have seen is not held out from them, and what goes with them stays."""

from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import thalweg
from thalweg.core.arrays import ArraySource
from thalweg.core.beginning import has_seen_train, loads_weights, without_weights
from thalweg.core.errors import Unsupported
from thalweg.core.notices import collecting
from thalweg.core.source import Splits
from thalweg.diagnosis import Budget, Cause
from thalweg.diagnosis.checks.dynamics import dynamics_flaws
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.generalizing import STARVES, learning_curve
from thalweg.diagnosis.held_out import ask_held_out
from thalweg.diagnosis.laboratory import Laboratory, lay_out
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.other_way import ask_other_way
from thalweg.diagnosis.plan import plan
from thalweg.diagnosis.probing import probe
from thalweg.diagnosis.tree import SEEN
from thalweg.diagnosis.untrained import untrained
from thalweg.nn import Prepared, pretrained
from thalweg.remedy import Remedy
from thalweg.training import Recipe

FLOOR = Floor(0.0, 0.05, "a reference", (None, None), (0.05, 0.03, 0.07), null=1.0)
LONGER = Remedy("longer", Cause.OPTIMIZATION, lambda recipe: recipe.but(epochs=2))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file(nn.Linear(3, 1).state_dict(), tmp_path / "linear.safetensors")
    return tmp_path / "linear.safetensors"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on a table in the working folder."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{number % 7},{number % 3},{number}\n" for number in range(60)]
    for name in ("table.csv", "other.csv"):
        Path(name).write_text("x,y,day\n" + "".join(rows))
    return Path(str(thalweg.train(table("table.csv"), out="runs", device="cpu").path))


def table(source: str, *more: str, **options: Any) -> Recipe:
    said = ["epochs=1", *(["model.width=5", "data.target=y"] if "start" not in options else []), *more]
    return thalweg.load(source, assignments=said, **options)


def sums(count: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return x, x.sum(1, keepdim=True)


def begun(weights: Path, seen: bool, train: Any = None) -> Recipe:
    return Recipe(
        data=Splits(train=sums(200, 0) if train is None else train, validation=sums(200, 1)),
        model=Prepared(pretrained(partial(nn.Linear, 3, 1), weights, seen=seen), input_noise=0.1),
        objective=nn.MSELoss(),
        epochs=1,
    )


def laid(recipe: Recipe) -> Laboratory:
    return lay_out(recipe, torch.device("cpu"), Budget.of(20), lambda stage: None)


class Fitting(ArraySource):
    """Examples that keep count of how often they were fitted to a part of them."""

    fits = 0

    def fit(self, train_ids: Any) -> "Fitting":
        self.__class__.fits += 1
        return self


def test_the_factory_that_loads_weights_is_found_among_those_around_it(weights: Path) -> None:
    inner = pretrained(partial(nn.Linear, 3, 1), weights, seen=True)
    for factory in (inner, partial(inner), Prepared(inner, input_noise=0.1)):
        assert loads_weights(factory) is inner
        assert has_seen_train(factory)
    for factory in (partial(nn.Linear, 3, 1), lambda: nn.Linear(3, 1), Prepared(nn.Identity, input_noise=0.1)):
        assert loads_weights(factory) is None
        assert not has_seen_train(factory)


def test_the_factory_without_its_weights(weights: Path) -> None:
    plain = partial(nn.Linear, 3, 1)
    inner = pretrained(plain, weights)
    assert without_weights(inner) is plain
    assert without_weights(Prepared(inner, input_noise=0.1)) == Prepared(plain, input_noise=0.1)
    for factory in (partial(inner), partial(Prepared, inner, 0.1), Prepared(plain, input_noise=0.1), nn.Identity):
        assert loads_weights(without_weights(factory)) is None
    assert without_weights(plain) is plain


def test_a_loss_is_held_against_that_of_a_network_that_learned_nothing(tmp_path: Path) -> None:
    """Weights that begin near the optimum leave little to learn, so that small steps are no fault."""
    model = nn.Linear(3, 1)
    nn.init.ones_(model.weight)
    nn.init.constant_(model.bias, 0.01)
    save_file(model.state_dict(), tmp_path / "good.safetensors")
    data = Splits(train=sums(200, 0), validation=sums(200, 1))
    plain = partial(nn.Linear, 3, 1)
    anew = Recipe(data=data, model=plain, objective=nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=1e-6), epochs=3)
    begun = anew.but(model=pretrained(plain, tmp_path / "good.safetensors", seen=True))
    seen = probe(begun, device="cpu")
    assert seen.first < 1e-3 < 0.5 < seen.before
    assert untrained(laid(begun), laid(begun).validation, inf) > 0.5
    found = [
        [flaw.mechanism for flaw in dynamics_flaws(recipe, thalweg.train(recipe, device="cpu"), device="cpu")]
        for recipe in (begun, anew)
    ]
    assert found == [[], [Mechanism.WEIGHTS_HARDLY_MOVE]]


def test_weights_that_have_seen_train_are_not_scored_on_folds_of_it(weights: Path) -> None:
    with pytest.raises(Unsupported, match=r"linear\.safetensors, which were trained on .*seen every fold.*begins anew"):
        thalweg.cross_validate(begun(weights, seen=True), folds=3)
    with pytest.raises(Unsupported, match="they have seen every fold"):
        thalweg.prove(begun(weights, seen=True), LONGER, folds=5, device="cpu")
    assert len(thalweg.cross_validate(begun(weights, seen=False), folds=3).folds) == 3


def test_what_goes_with_weights_is_not_fitted_anew_in_folds(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fitting, "fits", 0)
    recipe = begun(weights, seen=False, train=Fitting(sums(60, 0), 32))
    with collecting() as notices:
        thalweg.cross_validate(recipe, folds=3, device="cpu")
    assert Fitting.fits == 0
    assert sum("stays as it is in every fold, for these weights go with it" in each for each in notices) == 1
    thalweg.cross_validate(recipe.but(model=partial(nn.Linear, 3, 1)), folds=3, device="cpu")
    assert Fitting.fits == 3


def test_nothing_is_held_out_of_train_for_a_diagnosis(weights: Path) -> None:
    alone = begun(weights, seen=True)
    alone = alone.but(data=Splits(train=alone.data.train))
    for door in (thalweg.diagnose, thalweg.improve):
        with pytest.raises(Unsupported, match=r"no validation split, .* Give a validation split that they were not"):
            door(alone, device="cpu")


@pytest.mark.parametrize("seen", [True, False])
def test_no_experiment_trains_on_a_part_of_what_the_weights_have_seen(weights: Path, seen: bool) -> None:
    recipe = begun(weights, seen)
    for ask in (ask_held_out, ask_other_way, learning_curve):
        assert (ask(laid(recipe), FLOOR) is None) == seen
    assert any(arm.question == STARVES for arm in plan(recipe, "cpu")) != seen


def test_a_diagnosis_says_what_it_does_not_ask(weights: Path) -> None:
    recipe = begun(weights, seen=True)
    few = recipe.but(data=Splits(train=sums(9, 0), validation=sums(9, 1)))
    assert SEEN in thalweg.diagnose(few, budget=1, device="cpu").notices


def test_a_run_on_the_same_data_has_seen_them(run: Path) -> None:
    begun = table("table.csv", start=run)
    assert has_seen_train(begun.model)
    said = f"model.pretrained='{run}/checkpoints/best.safetensors'"
    assert has_seen_train(table("table.csv", said).model)
    assert not has_seen_train(table("other.csv", said).model)
    assert not has_seen_train(table("table.csv").model)
    with pytest.raises(Unsupported, match="they have seen every fold"):
        thalweg.cross_validate(begun, folds=3, device="cpu")


def test_a_run_that_started_from_another_is_known_as_such_when_it_is_read_again(run: Path) -> None:
    again = thalweg.train(table("table.csv", start=run), out="runs", device="cpu")
    read = thalweg.load_run(str(again.path)).recipe
    assert read is not None
    assert has_seen_train(read.model)
