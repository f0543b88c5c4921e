"""Remedies for a mismatch of groups, of time and of the shares of classes, each proved on test data that moved so."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Cause, Recipe, Remedy, Splits
from thalweg.core.arrays import ArraySource
from thalweg.core.examples import ExampleSource, KnownExamples
from thalweg.data import augment
from thalweg.diagnosis import Budget, Finding
from thalweg.diagnosis.halving import halves
from thalweg.diagnosis.laboratory import lay_out, merged
from thalweg.diagnosis.score import Score
from thalweg.diagnosis.shift.explanation import Classes, Shift
from thalweg.nn import pretrained
from thalweg.remedy import remedies_for
from thalweg.remedy.bench import Bench, judging
from thalweg.remedy.circle import Circle
from thalweg.remedy.grouping import GroupStandardizing, group_standardized
from thalweg.remedy.proof import PRICE
from thalweg.remedy.repairing import judged_rightly
from thalweg.remedy.resplit import split_by_group, split_by_time
from thalweg.remedy.round import Round
from thalweg.remedy.shift import reshared, weighted


def network(columns: int, outputs: int = 1) -> nn.Module:
    return nn.Sequential(nn.Linear(columns, 16), nn.ReLU(), nn.Linear(16, outputs))


def recipe(data: Splits, columns: int, **changes: Any) -> Recipe:
    made = Recipe(
        data=data,
        model=partial(network, columns),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=0.02),
        epochs=8,
    )
    return made.but(**changes)


# --- groups on one scale ---

OFFSET, GAIN = (10.0, -6.0, 3.0, 20.0, -15.0), (1.0, 3.0, 0.3, 6.0, 5.0)


def devices(n: int, shares: tuple[float, ...], seed: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Readings of devices with an offset and a gain of their own, behind the number of the device."""
    random = np.random.default_rng(seed)
    device = first + random.choice(len(shares), n, p=shares)
    truth = random.normal(size=(n, 2))
    read = truth * np.array(GAIN)[device][:, None] + np.array(OFFSET)[device][:, None]
    x = np.concatenate([read, device[:, None]], 1)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(truth[:, :1] - truth[:, 1:], dtype=torch.float32)


SEEN = (0.32, 0.32, 0.32, 0.04)


def test_groups_on_one_scale_are_proved_where_test_holds_a_rare_one() -> None:
    test = devices(160, (0.05, 0.05, 0.05, 0.85), 2)
    data = Splits(train=devices(240, SEEN, 0), validation=devices(120, SEEN, 1), test=test)
    start = recipe(data, 3)
    (remedy,) = (
        each
        for each in remedies_for(Finding(Cause.MISMATCH, ""))
        if each.name == "inputs standardized within each group"
    )
    proof = thalweg.prove(start, remedy)
    assert proof.measure.startswith("test loss")
    assert proof.helped, proof.sentence


def test_each_group_has_mean_0_and_deviation_1_and_keeps_its_name() -> None:
    x, y = devices(300, SEEN, 0)
    told: list[Tensor] = []

    class Looking(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            told.append(input)
            return super().forward(input)

    changed = group_standardized(recipe(Splits(train=(x, y)), 3, model=lambda: Looking(3, 1)))
    changed.model()(x)
    for device in range(4):
        own = told[-1][x[:, 2] == device]
        assert own[:, :2].mean(0).abs().max() < 1e-4
        assert torch.allclose(own[:, :2].std(0, correction=0), torch.ones(2), atol=1e-4)
        assert (own[:, 2] == device).all()
    assert group_standardized(changed) is changed


def test_a_group_that_is_new_is_met_by_its_inputs_alone() -> None:
    x, y = devices(300, SEEN, 0)
    start = group_standardized(recipe(Splits(train=(x, y)), 3, epochs=15))
    model = thalweg.train(start).model
    assert isinstance(model, GroupStandardizing)
    new, truth = devices(80, (1.0,), 3, first=4)
    new[:, 2] = 1.5  # a number within those that were seen, which the network itself can read
    before = nn.functional.mse_loss(model(new), truth)
    model.meets(new)
    after = nn.functional.mse_loss(model(new), truth)
    assert after < 0.2 * before
    known = model.means.clone()
    model.meets(x)
    assert torch.equal(known, model.means)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_of_groups_are_told_apart_exactly(dtype: torch.dtype) -> None:
    """Large numbers that lie close, and in double precision such as single precision cannot tell apart."""
    first = 16_777_216.0 if dtype is torch.float64 else 100_001.0
    device = first + torch.arange(3, dtype=dtype).repeat_interleave(20)
    level = 50.0 * torch.arange(3, dtype=dtype).repeat_interleave(20)
    x = torch.stack([torch.randn(60, dtype=dtype) + level, device, torch.full((60,), 0.1, dtype=dtype)], 1)
    changed = group_standardized(recipe(Splits(train=(x, x[:, :1])), 3, model=nn.Identity))
    model = changed.model()
    assert isinstance(model, GroupStandardizing)
    assert model.keys == (1,)
    out = model(x)
    for name in device.unique():
        assert out[device == name, 0].mean().abs() < 1e-4
        assert (out[device == name, 0].std(correction=0) - 1).abs() < 1e-4
    assert torch.equal(out[:, 1], device)
    assert out[:, 2].abs().max() < 1e-4, "what is the same throughout a group has no deviation to divide by"
    new = x[:20] + torch.tensor([7.0, 3.0, 0.0], dtype=dtype)
    model.meets(new)
    assert model(new)[:, 0].mean().abs() < 1e-4
    assert len(model.groups) == 4
    assert sum(name.startswith("groups") for name in model.state_dict()) == 1


def test_without_a_column_of_groups_nothing_is_standardized() -> None:
    x, y = devices(200, SEEN, 0)
    for inputs in (x[:, :2], torch.randn(200, 3), torch.full((200, 3), torch.nan), torch.randn(200, 1, 4, 4)):
        start = recipe(Splits(train=(inputs, y)), 3)
        assert group_standardized(start) is start
    hidden = recipe(Splits(train=known(x[:, :2], y, group=x[:, 2].numpy())), 2)
    assert group_standardized(hidden) is hidden
    named = recipe(Splits(train=known(x, y, group=x[:, 2].numpy())), 3)
    assert group_standardized(named).model().keys == (2,)


# --- split anew ---


@dataclass
class Known(KnownExamples):
    x: Tensor
    y: Tensor
    told: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return self.x[place], self.y[place]

    def meta(self, ids: Any) -> dict[str, Any]:
        return {name: value[ids] for name, value in self.told.items()}


def known(x: Tensor, y: Tensor, **told: np.ndarray) -> ExampleSource:
    return ExampleSource(Known(x, y, told), 32)


def parts(source: ExampleSource, train: int, validation: int) -> Splits:
    """The first examples, in a random order, train and validate; those behind them test."""
    order = np.random.default_rng(0).permutation(train + validation)
    ids = order[:train], order[train:], np.arange(train + validation, len(source))
    return Splits(*(source.take(part) for part in ids))


def drifting() -> Recipe:
    """What is to be told drifts with time, and each moment has a mark by which a network knows it by heart."""
    random = np.random.default_rng(0)
    time = np.arange(400.0)
    x = torch.tensor(random.normal(size=(400, 12)), dtype=torch.float32)
    x[:, 11] = torch.tensor(time / 100, dtype=torch.float32)
    y = x[:, :1] + torch.tensor(np.sin(time / 12), dtype=torch.float32)[:, None]
    return recipe(parts(known(x, y, time=time), 200, 60), 12, epochs=40)


def test_validation_is_the_last_stretch_of_time() -> None:
    start = drifting()
    changed = split_by_time(start)
    own, held = (part.meta(np.arange(len(part)))["time"] for part in (changed.data.train, changed.data.validation))
    assert own.max() < held.min()
    assert len(held) == 60
    assert sorted([*own, *held]) == list(range(260))
    assert split_by_time(changed) is changed
    seen = start.but(model=pretrained(start.model, "seen.safetensors", seen=True))
    assert split_by_time(seen) is seen
    altered = split_by_time(start.but(data=augment(start.data, noise=0.1)))
    assert len(altered.data.train) == 200
    assert type(altered.data.train).__name__ == "Augmented"
    alone = start.but(data=Splits(train=start.data.train))
    assert len(split_by_time(alone).data.validation) == 40
    plain = recipe(Splits(train=(torch.randn(40, 3), torch.randn(40, 1))), 3)
    assert split_by_time(plain) is plain
    assert split_by_group(start) is start
    shift = Shift(times="all of test is later than all of train")
    assert remedies_for(Finding(Cause.MISMATCH, "", shift=shift))[0].name == "validation held out by time"


def memorizing() -> Recipe:
    """Each group has a mark and a level of its own: by heart it tells known groups, and misleads on new ones."""
    random = np.random.default_rng(1)
    group = np.repeat(np.arange(40), 10)
    mark = random.normal(size=(40, 8))[group]
    signal = random.normal(size=(400, 1))
    level = 2 * random.normal(size=40)[group][:, None]
    x = torch.tensor(np.concatenate([mark, signal], 1), dtype=torch.float32)
    y = torch.tensor(signal + level, dtype=torch.float32)
    start = recipe(parts(known(x, y, group=group), 200, 40), 9, epochs=25)
    return start.but(model=lambda: nn.Sequential(nn.Linear(9, 64), nn.ReLU(), nn.Linear(64, 1)))


@pytest.mark.battery
def test_validation_of_new_groups_is_proved_on_test() -> None:
    """It stops in time what a validation split of known groups lets go on; judged by test, which neither has seen."""
    start = memorizing()
    proof = thalweg.prove(start, Remedy("validation held out by group", Cause.MISMATCH, split_by_group))
    assert proof.measure.startswith("test loss")
    assert proof.helped, proof.sentence


@pytest.mark.parametrize("told", ["group and time", "one group", "one time", "classes apart"])
def test_what_cannot_be_split_anew_is_given_back(told: str) -> None:
    x, ones = torch.randn(80, 3), np.zeros(80)
    metas: dict[str, dict[str, np.ndarray]] = {
        "group and time": {"group": np.arange(80) % 5, "time": np.arange(80.0)},
        "one group": {"group": ones},
        "one time": {"time": ones},
        "classes apart": {"time": np.arange(80.0), "label": (np.arange(80) >= 50).astype(int)},
    }
    start = recipe(parts(known(x, x[:, :1], **metas[told]), 50, 20), 3)
    changed = split_by_time(start), split_by_group(start)
    both = told == "group and time"
    assert [each is start for each in changed] == [not both, not both]


# --- shares of classes ---


def overlapping(n: int, seed: int, share: float) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(seed)
    y = (random.random(n) < share).astype(np.int64)
    x = random.normal(size=(n, 2)) + 1.6 * y[:, None]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def test_the_price_of_class_weights_is_told_by_validation_as_test_holds_the_classes() -> None:
    """By validation as it is they would cost nearly what they gain; a proof judges by the shares of test by itself."""
    start = recipe(
        Splits(overlapping(400, 0, 0.15), overlapping(300, 1, 0.15), overlapping(300, 2, 0.6)),
        2,
        model=partial(network, 2, 2),
        objective=nn.CrossEntropyLoss(),
    )
    remedy = Remedy("weights", Cause.MISMATCH, partial(weighted, weights=(0.47, 4.0), shares=(0.4, 0.6)))
    plainly = Remedy("weights", Cause.MISMATCH, partial(weighted, weights=(0.47, 4.0)))
    proof = thalweg.prove(start, plainly)
    assert proof.effect.low > 0
    assert not proof.helped, proof.sentence
    rightly = thalweg.prove(judged_rightly(start, remedy(start)), remedy)
    assert rightly.price < 0
    assert rightly.helped, rightly.sentence


def test_a_part_whose_loss_would_cost_too_much_on_validation_stays() -> None:
    """The first part flatters test at the price of validation, and the second one takes that price back."""
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    parts = x[:100], x[100:160], x[160:]
    # What test asks for is the first number; validation, as train, asks for the first and, far more, the second.
    splits = Splits(*((part, part[:, :1] + (0.0 if part is parts[2] else 3.0) * part[:, 1:]) for part in parts))
    start = recipe(splits, 2, model=partial(nn.Linear, 2, 1), epochs=20, optimizer=partial(torch.optim.Adam, lr=0.1))

    def sighted(one: Recipe) -> Recipe:
        return one.but(model=partial(Blind, 0.8)) if isinstance(one.model, partial) and one.model.func is Blind else one

    blind = Remedy("blind", Cause.MISMATCH, partial(Recipe.but, model=partial(Blind, 0.0)))
    whole = blind.then(Remedy("less so", Cause.MISMATCH, sighted))
    bench = Bench(lay_out(start, torch.device("cpu"), Budget(), lambda stage: None), whole, list(range(5)))
    proof = bench.parted(bench.paired())
    assert proof.helped, proof.sentence
    first, second = proof.parts
    assert second.rise.value < 0, "test alone would have it dropped"
    assert second.price > PRICE * proof.effect.value > proof.price > 0
    assert (first.pays, second.pays, proof.kept.name) == (True, True, "blind, less so")
    assert proof.to_json()["parts"][1]["price"] == second.price


class Blind(nn.Module):
    """A linear model of two numbers that is blind to so much of the second."""

    def __init__(self, sight: float) -> None:
        super().__init__()
        self.linear, self.sight = nn.Linear(2, 1), sight

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.linear(torch.stack([x[:, 0], 0 * x[:, 1]], 1))
        return output + 3 * self.sight * x[:, 1:]


@pytest.mark.battery
def test_the_price_of_a_remedy_that_makes_train_and_validation_anew_is_told() -> None:
    """It is unknown for a resplit alone, which trains on what was held out."""
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    data = Splits((x[:60], x[:60, :1]), (x[60:100], x[60:100, :1]), (x[100:], -x[100:, :1]))
    start = recipe(data, 2, epochs=20)

    def turned(one: Recipe) -> Recipe:
        held = [getattr(part, "data", part) for part in (one.data.train, one.data.validation)]
        return one.but(data=Splits(*(ArraySource((x, -y), 32) for x, y in held)))

    proof = thalweg.prove(start, Remedy("turned", Cause.MISMATCH, turned))
    assert proof.effect.low > 0
    assert proof.price > 0.1
    assert not proof.helped
    assert thalweg.prove(memorizing(), Remedy("by group", Cause.MISMATCH, split_by_group)).price == 0


def test_a_race_for_test_data_and_its_proof_share_no_example() -> None:
    x = torch.arange(1000.0)[:, None]
    data = Splits((x[:20], x[:20]), (x[20:40], x[20:40]), (x[40:], x[40:]))
    lab = lay_out(recipe(data, 1), torch.device("cpu"), Budget(), lambda stage: None)
    told = [judging(lab, True, raced=not race, race=race) for race in (True, False)]
    first, second = (set(split.data[0].flatten().tolist()) for split, _ in told)
    probe: Any = lab.probe
    assert not first & second
    assert first | second == set(probe.data[0].flatten().tolist())
    assert [says for _, says in told] == [
        "test loss (probe half, half of it)",
        "test loss (probe half, half that no race has seen)",
    ]
    assert judging(lab, True, raced=False) == (lab.probe, "test loss (probe half)")
    few = lay_out(recipe(replace(data, test=(x[:300], x[:300])), 1), lab.device, Budget(), lambda stage: None)
    assert judging(few, True, raced=True) == (few.probe, "test loss (probe half)")


def test_weights_of_test_data_have_runs_without_them_of_their_own() -> None:
    """What judges them are other validation examples, so that nothing of an earlier proof is there already."""
    x, y = overlapping(300, 0, 0.15)
    start = recipe(
        Splits((x[:100], y[:100]), (x[100:200], y[100:200]), (x[200:], y[200:])),
        2,
        model=partial(network, 2, 2),
        objective=nn.CrossEntropyLoss(),
        epochs=1,
    )
    shared, own = (
        Remedy("slower", Cause.MISMATCH, partial(Recipe.but, clip_norm=1e9)),
        Remedy("weights", Cause.MISMATCH, partial(weighted, weights=(0.6, 3.0), shares=(0.5, 0.5))),
    )
    went = Circle(start, start, Budget(), "cpu", lambda stage: None, lambda diary: None)
    went.diary.append(Round(Finding(Cause.MISMATCH, "")))
    went.proved(shared, 5, 1, 10.0, random=False)
    trained = len(went.controls.runs)
    assert trained >= 3
    assert went.price(shared, 5) == pytest.approx(10 - trained)
    assert went.price(own, 5) == pytest.approx(10)


def test_the_mean_over_reshared_examples_is_the_importance_weighted_one() -> None:
    x, y = overlapping(400, 0, 0.15)
    source = ArraySource((x, y), None)
    held: Any = reshared(source, (0.3, 0.7))
    before, after = np.bincount(y) / 400, np.array([0.3, 0.7])
    expected = float((x[:, 0].numpy() * (after / before)[y.numpy()]).mean())
    assert float(held.data[0][:, 0].mean()) == pytest.approx(expected, abs=0.01)
    assert len(held) == 400
    assert reshared(held, (0.3, 0.7)) is held
    assert reshared(source, tuple(before)) is source
    numbers = ArraySource((x, x), None)
    assert reshared(numbers, (0.5, 0.5)) is numbers
    assert reshared(source, (0.0, 0.0, 1.0)) is source, "a class that validation lacks"
    rare: Any = reshared(ArraySource((x[:101], torch.tensor([0] * 100 + [1])), None), (0.0, 1.0))
    assert len(rare) == 10


@pytest.mark.parametrize("of", ["arrays", "examples"])
@pytest.mark.parametrize("name", ["test", "validation", "race"])
def test_copies_of_one_example_lie_in_one_half(of: str, name: str) -> None:
    """Else a race and its proof would judge by the same examples, and more data be judged by what was trained on."""
    x, y = torch.arange(400.0)[:, None], torch.tensor([0] * 360 + [1] * 40)
    source: Any = ArraySource((x, y), None) if of == "arrays" else ExampleSource(list(zip(x, y, strict=True)), None)
    held: Any = reshared(source, (0.5, 0.5))
    assert len(held) == 400
    values = [torch.cat([x for x, _ in half.batches(0, 0, None)]).flatten() for half in halves(held, name)]
    assert not set(values[0].tolist()) & set(values[1].tolist())
    assert sorted(torch.cat(values).tolist()) == sorted(
        torch.cat([x for x, _ in held.batches(0, 0, None)]).flatten().tolist()
    )
    assert min(map(len, values)) > 140


def test_more_data_with_copies_are_arrays_like_any_other() -> None:
    x, y = torch.arange(40.0)[:, None], torch.tensor([0] * 30 + [1] * 10)
    held: Any = reshared(ArraySource((x, y), None), (0.5, 0.5))
    more: Any = merged(held, ArraySource((x + 100, y), None))
    assert type(more) is ArraySource
    assert torch.equal(more.data[0], torch.cat([held.data[0], x + 100]))


class Marked:
    """A user's own source, which cannot say that an example of it comes twice."""

    def __init__(self, y: Tensor) -> None:
        self.y = y

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, epoch: int, start: int, generator: Any) -> Any:
        yield from [(self.y[:, None].float(), self.y)][start:]

    def take(self, ids: Any) -> "Marked":
        return Marked(self.y[torch.as_tensor(ids)])


def test_a_source_that_cannot_tell_its_copies_is_not_reshared() -> None:
    own: Any = Marked(torch.tensor([0] * 30 + [1] * 10))
    assert reshared(own, (0.5, 0.5)) is own


def test_weights_of_a_finding_reach_loss_and_validation() -> None:
    classes = Classes((0, 2), (0.8, 0.2), (0.2, 0.8), (0.25, 4.0), None, 0.001, Score(0.0), 0.9, alone=True)
    shift = Shift(classes=classes, weighting=(0.25, 1.0, 4.0))
    remedy = remedies_for(Finding(Cause.MISMATCH, "", shift=shift))[0]
    x, y = torch.randn(100, 2), torch.tensor(([0] * 8 + [2] * 2) * 10)
    start = recipe(Splits((x, y), (x, y)), 2, model=partial(network, 2, 3), objective=nn.CrossEntropyLoss())
    changed = remedy(start)
    assert changed.objective.weight.tolist() == [0.25, 1.0, 4.0]
    assert changed.judge.weight is None
    assert torch.bincount(changed.data.validation.data[1]).tolist() == [20, 0, 80]
    assert changed.data.train is start.data.train
    again = remedy(judged_rightly(start, changed)).data.validation
    assert torch.equal(again.data[1], changed.data.validation.data[1])
