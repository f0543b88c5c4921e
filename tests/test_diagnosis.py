"""The diagnosis on cases with a known illness, its parts on inputs with a known answer, and the proof of remedies."""

import re
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Cause, Recipe, RecipeError, Remedy, Splits
from thalweg.cases import CASES
from thalweg.cases.catalogue import digits
from thalweg.core.arrays import ArraySource
from thalweg.core.convert import as_source
from thalweg.core.source import Indexed
from thalweg.diagnosis import Finding
from thalweg.diagnosis.arms import ScaledRate, at_rate
from thalweg.diagnosis.compare import higher_on, lower_by
from thalweg.diagnosis.floor import reference_floor
from thalweg.diagnosis.growth import bigger_siblings, deeper, wider
from thalweg.diagnosis.set_aside import hold_out
from thalweg.loss import Gaussian
from thalweg.nn import Prepared, mlp
from thalweg.remedy import remedies_for
from thalweg.remedy.sign_flips import sign_flip
from thalweg.training.evaluate import ExampleLosses
from thalweg.training.judging import Judge

RANDOM = np.random.default_rng(0)


# --- whole diagnoses ---


@pytest.mark.battery
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("name", CASES)
def test_a_case_is_diagnosed_on_other_seeds(name: str, seed: int) -> None:
    assert thalweg.diagnose(thalweg.cases.get(name).but(seed=seed)).cause is CASES[name].cause


def case(name: str) -> Recipe:
    """The case; where fewer examples and epochs show the illness as well, with these, so that every arm costs less."""
    recipe = thalweg.cases.get(name)
    return recipe.but(data=digits(train=300), epochs=15) if name in ("too-small", "rate-too-high") else recipe


@cache
def diagnosed(name: str) -> Finding:
    return thalweg.diagnose(case(name))


ELSEWHERE = ("rate-too-low", "at-a-saddle", "shifted-test", "too-few-examples")
"""Such are asked each time by the doctest of `diagnose` and by test_escaping, test_mismatch and test_held_out."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.battery] if name in ELSEWHERE else []) for name in CASES]
)
def test_a_case_is_diagnosed_as_what_it_is(name: str) -> None:
    finding = diagnosed(name)
    assert finding.cause is CASES[name].cause, finding
    assert finding.mechanism
    assert bool(finding.remedies) == (finding.cause is not Cause.NONE)
    assert finding.losses["floor"].low == 0 < finding.losses["floor"].high
    assert finding.cost.times <= 20
    for experiment in finding.experiments:
        assert experiment.says.endswith(".")
        assert all(arm.seeds for arm in experiment.arms)


@pytest.mark.battery
def test_a_net_without_knobs_or_validation_is_diagnosed_too() -> None:
    """A plain module whose layers are widened, and a validation split that is held out and said."""
    recipe = Recipe(
        data=Splits(train=digits(train=400).train),
        model=lambda: nn.Sequential(nn.Linear(64, 2), nn.Tanh(), nn.Linear(2, 10)),
        objective=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        epochs=25,
    )
    finding = thalweg.diagnose(recipe, budget=40)
    assert finding.cause is Cause.MODEL_BIAS
    assert "There is no validation split" in finding.notices[0]


@thalweg.objective
def squared(model: nn.Module, batch: Any) -> Tensor:
    """A marked objective, which no reference learner reads."""
    return (model(batch[0]) - batch[1]).square().mean(1)


def curved(**changes: Any) -> Recipe:
    x = torch.from_numpy(RANDOM.uniform(-3, 3, size=(400, 1))).float()
    y = x.sin() + 0.1 * torch.from_numpy(RANDOM.normal(size=(400, 1))).float()
    recipe = Recipe(
        data=Splits(train=(x[:250], y[:250]), validation=(x[250:], y[250:])),
        model=partial(mlp, 1, 1, width=32),
        objective=squared,
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=25,
    )
    return recipe.but(**changes)


@pytest.mark.battery
def test_where_no_reference_can_read_the_siblings_of_a_network_speak() -> None:
    slow = thalweg.diagnose(curved(optimizer=partial(torch.optim.Adam, lr=1e-5)), budget=40)
    assert slow.cause is Cause.OPTIMIZATION, slow
    assert slow.floor_by.startswith("this network's best sibling: ")


@pytest.mark.battery
def test_siblings_tell_a_network_that_is_too_small() -> None:
    small = thalweg.diagnose(curved(model=partial(mlp, 1, 1, width=1, depth=1)), budget=40)
    assert small.cause is Cause.MODEL_BIAS, small


@pytest.mark.battery
def test_siblings_alone_never_show_that_nothing_stands_out() -> None:
    finding = thalweg.diagnose(curved(epochs=120), budget=40)
    assert finding.cause is Cause.UNDECIDED, finding
    assert "A reference to say how small the loss could be" in str(finding.would_decide)
    assert finding.reference is None


@pytest.mark.battery
def test_a_budget_that_affords_nothing_decides_nothing() -> None:
    finding = thalweg.diagnose(thalweg.cases.get("too-small"), budget=1.5)
    assert finding.cause is Cause.UNDECIDED
    assert finding.cost.times <= 1.5


def test_what_is_held_out_leaves_every_class_an_example_to_train_on() -> None:
    y = torch.tensor([0] * 12 + [1] * 2 + [2])
    recipe = Recipe(data=Splits(train=(torch.arange(15.0)[:, None], y)), model=nn.Identity, objective=nn.MSELoss())
    whole = as_source(recipe.data.train, "train")
    assert isinstance(whole, Indexed)
    for seed in range(8):
        train, held = hold_out(recipe.but(seed=seed), whole)
        kept = next(train.batches(0, 0, None))
        assert set(kept[1].tolist()) == {0, 1, 2}
        assert len(held) == 3
        assert sorted(kept[0].flatten().tolist() + next(held.batches(0, 0, None))[0].flatten().tolist()) == [*range(15)]
    with pytest.raises(thalweg.DataError, match="2 examples, each the only one of its class, and there is no valid"):
        thalweg.diagnose(thalweg.load("karate"))


def test_streams_and_other_things_are_refused() -> None:
    ragged = [(torch.ones(5, n), torch.ones(5, 3)) for n in (3, 4)]
    loader = torch.utils.data.DataLoader(ragged, batch_size=None)
    recipe = Recipe(data=Splits(train=loader), model=partial(nn.Linear, 3, 3), objective=nn.MSELoss(), epochs=1)
    with pytest.raises(thalweg.Unsupported, match="without subsets, and the diagnosis needs them"):
        thalweg.diagnose(recipe)
    single = recipe.but(data=Splits(train=(torch.ones(1, 3), torch.ones(1, 3))))
    with pytest.raises(thalweg.DataError, match="train split is 1 example and there is no validation split"):
        thalweg.diagnose(single)
    with pytest.raises(RecipeError, match="diagnose was given dict"):
        thalweg.diagnose({})  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="rounds=0, but it counts: give a whole number, 1 or more"):
        thalweg.improve(thalweg.cases.get("healthy"), rounds=0)
    with pytest.raises(RecipeError, match="budget=0, but experiments cost something"):
        thalweg.diagnose(thalweg.cases.get("healthy"), budget=0)
    with pytest.raises(RecipeError, match="There is no case 'too-smal'.*Did you mean 'too-small'"):
        thalweg.cases.get("too-smal")


# --- the parts ---


def test_a_rate_is_scaled_in_what_the_factory_built() -> None:
    def two_groups(parameters: Any) -> torch.optim.Optimizer:
        weight, bias = parameters
        return torch.optim.SGD([{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.4}])

    recipe = thalweg.cases.get("healthy").but(optimizer=two_groups)
    optimizer = at_rate(at_rate(recipe, 10.0), 2.0).optimizer(nn.Linear(2, 1).parameters())
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2.0, 8.0])
    assert isinstance(at_rate(at_rate(recipe, 10.0), 2.0).optimizer.factory, type(two_groups))
    assert ScaledRate(two_groups, 2.0) != ScaledRate(two_groups, 3.0)


NETS = {
    "sequential": (lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), (11, 5)),
    "norms": (lambda: nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.LayerNorm(7), nn.Linear(7, 3)), (11, 5)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5 * 16, 3)),
        (11, 2, 6, 6),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_layers_are_widened_and_still_fit_the_data(name: str) -> None:
    factory, shape = NETS[name]
    batch = (torch.randn(*shape), torch.zeros(11, dtype=torch.int64))
    recipe = Recipe(data=Splits(train=batch), model=factory, objective=nn.CrossEntropyLoss())
    bigger = wider(recipe, batch, 3)
    assert bigger is not None
    assert bigger.model()(batch[0]).shape == (11, 3)
    assert count(bigger.model()) > 2 * count(factory())


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_net_that_cannot_be_widened_is_left_alone() -> None:
    class Baked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(5, 8), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).view(-1, 2, 4).sum(1))

    batch = (torch.randn(11, 5), torch.zeros(11, dtype=torch.int64))
    recipe = Recipe(data=Splits(train=batch), model=Baked, objective=nn.CrossEntropyLoss())
    assert wider(recipe, batch, 3) is None
    assert [name for name, _ in bigger_siblings(recipe, batch)] == ["one hidden layer more"]


@pytest.mark.parametrize("name", NETS)
def test_a_hidden_layer_is_put_before_the_last(name: str) -> None:
    factory, shape = NETS[name]
    batch = (torch.randn(*shape), torch.zeros(11, dtype=torch.int64))
    bigger = deeper(Recipe(data=Splits(train=batch), model=factory, objective=nn.CrossEntropyLoss()), batch)
    assert bigger is not None
    model = bigger.model()
    assert model(batch[0]).shape == (11, 3)
    if name == "convolution":
        assert "one convolution more" in repr(bigger.model)
    else:
        assert [type(layer) for layer in model[-1]] == [nn.Linear, nn.ReLU, nn.Linear]
        assert "one hidden layer more" in repr(bigger.model)


def test_a_factory_grows_by_its_knobs_where_they_matter() -> None:
    batch = (torch.randn(11, 5), torch.zeros(11, dtype=torch.int64))
    recipe = Recipe(data=Splits(train=batch), model=partial(mlp, 5, 3, depth=0), objective=nn.CrossEntropyLoss())
    names = dict(bigger_siblings(recipe, batch))
    assert list(names) == ["one hidden layer more"]  # the width of a linear model changes nothing
    assert names["one hidden layer more"].model.keywords == {"depth": 1}
    prepared = recipe.but(model=Prepared(partial(mlp, 5, 3), input_noise=0.5))
    (_, bigger), *_ = bigger_siblings(prepared, batch)
    assert isinstance(bigger.model, Prepared)
    assert bigger.model.factory.keywords == {"width": 256}


@pytest.mark.battery
def test_a_linear_model_of_a_curved_truth_is_too_simple() -> None:
    x = torch.from_numpy(RANDOM.uniform(-3, 3, size=(500, 1))).float()
    y = x.sin() + 0.1 * torch.from_numpy(RANDOM.normal(size=(500, 1))).float()
    recipe = Recipe(
        data=Splits(train=(x[:300], y[:300]), validation=(x[300:], y[300:])),
        model=lambda: nn.Linear(1, 1),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=30,
    )
    finding = thalweg.diagnose(recipe, budget=600)
    assert finding.cause is Cause.MODEL_BIAS, finding
    assert finding.remedies[0].name.startswith("one hidden layer more")


def test_the_floor_of_noise_is_not_below_the_noise() -> None:
    """Labels that inputs say nothing about: no reference gets below ln 2 out of fold, but for chance."""
    x = torch.from_numpy(RANDOM.normal(size=(400, 6))).float()
    y = torch.from_numpy(RANDOM.integers(2, size=400))
    recipe = Recipe(data=Splits(train=(x, y)), model=nn.Flatten, objective=nn.CrossEntropyLoss())
    floor = reference_floor(Judge.of(recipe), [ArraySource((x, y), 32)])
    assert floor is not None
    assert floor.high > 0.66
    assert floor.low == 0


def test_the_floor_of_a_regression_is_in_the_judges_own_unit() -> None:
    x = torch.from_numpy(RANDOM.normal(size=(300, 4))).float()
    y = x.sum(1, keepdim=True) + 0.5 * torch.from_numpy(RANDOM.normal(size=(300, 1))).float()
    recipe = Recipe(data=Splits(train=(x, y)), model=nn.Flatten, objective=nn.MSELoss())
    floor = reference_floor(Judge.of(recipe), [ArraySource((x, y), 32)])
    assert floor is not None
    assert floor.by == "ridge regression"
    assert floor.high == pytest.approx(0.25, rel=0.3)
    assert floor.null == pytest.approx(4.25, rel=0.3)


@pytest.mark.parametrize("variance", [1.0, "learned"])
def test_what_is_material_does_not_depend_on_where_a_likelihood_has_its_origin(variance: float | str) -> None:
    x = torch.from_numpy(RANDOM.normal(size=(300, 4))).float()
    y = x.sum(1, keepdim=True) / 2 + 0.5 * torch.from_numpy(RANDOM.normal(size=(300, 1))).float()
    recipe = Recipe(data=Splits(train=(x, y)), model=nn.Flatten, objective=Gaussian(variance))
    floor = reference_floor(Judge.of(recipe), [ArraySource((x, y), 32)])
    assert floor is not None
    assert floor.material(floor.high) == pytest.approx(0.05 * (floor.null - floor.high))
    assert floor.null - floor.high == pytest.approx(0.5 if variance == 1.0 else np.log(5) / 2, rel=0.3)


def test_comparisons_see_a_difference_and_no_difference() -> None:
    def losses(mean: float, n: int = 300) -> ExampleLosses:
        return ExampleLosses(RANDOM.normal(mean, 1.0, n), np.ones(n), None)

    same = losses(1.0)
    assert lower_by([same], [same]).value == 0
    assert lower_by([losses(2.0)], [losses(1.0)]).low > 0.7
    assert higher_on(losses(2.0), losses(1.0)).low > 0.7
    null = [higher_on(losses(1.0), losses(1.0)).low > 0 for _ in range(60)]
    assert np.mean(null) < 0.1


# --- remedies and their proof ---


def test_a_remedy_that_does_nothing_is_not_proved() -> None:
    recipe = thalweg.cases.get("healthy").but(epochs=2)
    proof = thalweg.prove(recipe, Remedy("nothing", Cause.OPTIMIZATION, lambda same: same.but(clip_norm=1e9)))
    assert not proof.helped
    assert proof.effect.value == pytest.approx(0, abs=1e-6)  # the gradient is divided by a length that changes nothing


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("rate-too-high", marks=pytest.mark.battery),
        pytest.param("shifted-test", marks=pytest.mark.battery),
        pytest.param("too-small", marks=pytest.mark.battery),
        pytest.param("too-few-examples", marks=pytest.mark.battery),
    ],
)
def test_the_first_remedy_of_each_cause_is_proved_on_its_own_case(name: str) -> None:
    proof = thalweg.prove(case(name), diagnosed(name).remedies[0])
    assert proof.helped, proof
    assert (proof.wins, proof.p) == (5, 1 / 32)
    assert proof.interval[0] > 0
    assert proof.change


@pytest.mark.battery
def test_a_run_without_a_finite_loss_is_worth_less_than_any_loss() -> None:
    """Targets in large units, whose losses are beyond any fixed mark for divergence."""
    x = torch.from_numpy(RANDOM.normal(size=(240, 3))).float()
    y = 1e5 * (x.sum(1, keepdim=True) + 0.1 * torch.from_numpy(RANDOM.normal(size=(240, 1))).float())
    recipe = Recipe(
        data=Splits(train=(x[:160], y[:160]), validation=(x[160:], y[160:])),
        model=lambda: nn.Linear(3, 1),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.SGD, lr=30.0),
        epochs=20,
    )
    finding = thalweg.diagnose(recipe)
    assert finding.cause is Cause.OPTIMIZATION, finding
    (experiment,) = finding.experiments
    assert np.isinf(experiment.control.score.value)
    assert "goes from not finite to" in experiment.says
    proof = thalweg.prove(recipe, finding.remedies[0])
    assert proof.helped
    assert "runs without a finite loss: 5 without it, 0 with it, 5 of 5 pairs, p = 0.0312" in proof.sentence
    backwards = thalweg.prove(finding.remedies[0](recipe), Remedy("back", Cause.OPTIMIZATION, lambda _: recipe))
    assert not backwards.helped


def test_too_few_pairs_cannot_show_anything() -> None:
    remedy = Remedy("nothing", Cause.OPTIMIZATION, lambda same: same)
    with pytest.raises(RecipeError, match="pairs=4 cannot show anything at p <= 0.05 with 1 candidate: give 5"):
        thalweg.prove(thalweg.cases.get("healthy"), remedy, pairs=4)


def test_the_sign_flip_test_is_exact() -> None:
    assert sign_flip(np.ones(5)) == 1 / 32
    assert sign_flip(np.array([1.0, 1.0, 1.0, 1.0, -1.0])) == 6 / 32
    assert sign_flip(np.zeros(5)) == 1.0


def test_remedies_follow_the_cause() -> None:
    for cause in (Cause.NONE, Cause.UNDECIDED):
        assert remedies_for(Finding(cause, "")) == ()
    assert all(remedy.cause is Cause.MISMATCH for remedy in remedies_for(Finding(Cause.MISMATCH, "")))


@pytest.mark.battery
def test_a_remedy_that_the_model_cannot_take_is_not_offered() -> None:
    """Noise on whole numbers: an embedding takes none."""
    random = np.random.default_rng(2)
    tokens = torch.from_numpy(random.integers(50, size=(160, 6)))
    labels = (tokens[:, 0] > 25).long()
    recipe = Recipe(
        data=Splits(train=(tokens[:30], labels[:30]), validation=(tokens[30:], labels[30:])),
        model=lambda: nn.Sequential(nn.Embedding(50, 32), nn.Flatten(), nn.Linear(192, 2)),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=40,
    )
    finding = thalweg.diagnose(recipe, budget=60)
    assert finding.ranked[0].cause is Cause.OVERFITTING, finding
    names = [remedy.name for remedy in finding.remedies]
    assert names[0] == "a penalty on the weights"
    assert "smoothed labels" in names
    assert {"noise on the inputs", "mixtures of two examples (mixup)"}.isdisjoint(names)


def test_improve_leaves_what_is_healthy_alone_and_reads_the_final_half_once() -> None:
    y = torch.arange(600) % 3
    x = 2 * torch.eye(3, 4)[y] + 0.6 * torch.from_numpy(np.random.default_rng(0).normal(size=(600, 4))).float()
    easy = Recipe(
        data=Splits((x[:320], y[:320]), (x[320:480], y[320:480]), (x[480:], y[480:])),
        model=partial(mlp, 4, 3, width=24), objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01), epochs=15,
    )  # fmt: skip
    result = thalweg.improve(easy)
    assert [turn.finding.cause for turn in result.diary] == [Cause.NONE]
    assert result.ended == "nothing stands out any more"
    assert result.before == result.after
    assert len(result.recipe.data.test) == 60


@pytest.mark.battery
def test_a_circle_stops_where_its_budget_holds_no_proof() -> None:
    slow = thalweg.load("iris", assignments=["epochs=15", "optimizer.lr=1e-5"])
    result = thalweg.improve(slow, budget=14)
    assert re.fullmatch("the budget does not hold the [0-9.]+ trainings that proving '.*' costs", result.ended)
    assert result.proofs == []
    assert result.cost.times <= 14
