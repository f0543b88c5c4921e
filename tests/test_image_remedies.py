"""Remedies for networks that read images: what is proposed, raced, proved, and written down in settings."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.core.notices import collecting
from thalweg.core.warp import affine, warp
from thalweg.data import Augment, Augmented, augment
from thalweg.diagnosis import Budget, Cause, Finding, Score
from thalweg.diagnosis.shift.changes import Turned
from thalweg.diagnosis.shift.explanation import Shift, Undone
from thalweg.diagnosis.work import work
from thalweg.nn import cnn
from thalweg.recipes import as_toml, expressed
from thalweg.remedy.catalogue import remedies_for
from thalweg.remedy.circle import Circle
from thalweg.remedy.images import augmented, beyond_references, longer, shows_images
from thalweg.remedy.prove import PAIRS
from thalweg.remedy.race import PROVED, price_of_race, race
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.round import Round
from thalweg.remedy.sign_flips import pairs_for


def bars(examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images with a bar somewhere that lies or stands, in a little noise."""
    draw = torch.Generator().manual_seed(seed)
    x, y = 0.2 * torch.randn(examples, 1, 12, 12, generator=draw), torch.randint(2, (examples,), generator=draw)
    for image, stands, (down, right) in zip(x, y, torch.randint(1, 7, (examples, 2), generator=draw), strict=True):
        rows, columns = (5, 1) if stands else (1, 5)
        image[0, down : down + rows, right : right + columns] += 1.0
    return x, y


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=bars(200, 0), validation=bars(200, 1)),
        model=partial(cnn, 1, 2, width=4, depth=1),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=6,
    )
    return made.but(**changes)


@pytest.mark.parametrize(
    ("batch", "images"),
    [
        ((torch.zeros(5, 3, 32, 32), torch.zeros(5)), True),
        ((torch.zeros(5, 1, 8, 8), torch.zeros(5)), True),
        ((torch.zeros(5, 64), torch.zeros(5)), False),
        ((torch.zeros(5, 1, 8, 8).long(), torch.zeros(5)), False),
        ((torch.zeros(5, 1, 3, 50), torch.zeros(5)), False),  # windows of a series
        ((torch.zeros(5, 64, 8, 8), torch.zeros(5)), False),  # features of another network
        ({"x": torch.zeros(5, 1, 8, 8)}, False),
        (torch.zeros(5, 1, 8, 8), False),
    ],
)
def test_images_are_known_by_their_shape(batch: Any, images: bool) -> None:
    assert shows_images(batch) is images


def test_overfitting_on_images_is_treated_by_augmentation_first() -> None:
    finding = Finding(Cause.OVERFITTING, "too few examples")
    of_images, of_rows = remedies_for(finding, images=True), remedies_for(finding)
    assert [remedy.name for remedy in of_images[2:]] == [remedy.name for remedy in of_rows]
    train = of_images[0](recipe()).data.train
    assert isinstance(train, Augmented)
    assert (train.augment.rotate, train.augment.flip) == (10.0, False)


@pytest.mark.battery
def test_test_images_that_each_moved_in_their_own_way_are_learned_by_turning_widely() -> None:
    """No single change undoes them, so that only each image's own can be tried."""
    finding = Finding(Cause.MISMATCH, "test of another kind than train")
    first = remedies_for(finding, images=True)[0]
    assert first.name == "images turned, scaled and shifted widely"
    assert first.name not in [remedy.name for remedy in remedies_for(finding)]
    no = Score(0.0)
    undone = Undone("turned", no, no, no, no, no, 1.0, 50, 50, (), Turned(90.0))
    known = Finding(Cause.MISMATCH, "", shift=Shift(undone=undone))
    assert first.name not in [remedy.name for remedy in remedies_for(known, images=True)]
    x, y = bars(300, 2)
    angles = torch.empty(300).uniform_(-40, 40, generator=torch.Generator().manual_seed(0))
    test = (warp(x, affine(angle=angles)), y)
    before = recipe(data=Splits(train=bars(200, 0), validation=bars(200, 1), test=test), epochs=12)
    proof = thalweg.prove(before, first)
    assert proof.measure == "test loss (probe half)"
    assert proof.helped, proof.sentence


def test_augmentation_goes_beside_what_there_is() -> None:
    twice = augmented(augmented(recipe(), rotate=5.0), flip=True)
    assert isinstance(twice.data.train, Augmented)
    assert (twice.data.train.augment.rotate, twice.data.train.augment.flip) == (5.0, True)
    assert twice.data.validation is recipe().data.validation or len(twice.data.validation[0]) == 200


def test_a_remedy_takes_nothing_back_from_an_augmentation() -> None:
    before = augmented(recipe(), rotate=30.0, scale=(0.5, 2.0))
    after = augmented(before, rotate=10.0, scale=0.1, shift=0.1)
    assert after.data.train.augment == Augment(rotate=30.0, scale=(0.5, 2.0), shift=0.1)
    assert augmented(after, rotate=10.0, shift=0.1) is after


def test_what_lies_beyond_the_references() -> None:
    before = recipe()
    changed = {remedy.name: remedy(before) for remedy in beyond_references(before.data.train)}
    assert changed["4 x as wide"].model().state_dict()["0.0.weight"].shape[0] == 16
    assert work(changed["one block more"]) > work(before)
    last = changed["2 x as long, the rate going to 0"]
    assert last.epochs == 12
    assert last.schedule is not None
    assert last.schedule(100, 100) == pytest.approx(0)


def test_a_network_that_cannot_grow_stays_as_it_is() -> None:
    stubborn = recipe(model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 2)))
    wide = next(remedy for remedy in beyond_references(stubborn.data.train) if remedy.name == "4 x as wide")
    assert wide(stubborn) is stubborn


def test_a_race_orders_its_candidates_by_their_loss() -> None:
    harmful = Remedy("no training", Cause.OPTIMIZATION, lambda one: one.but(epochs=0))
    broken = Remedy("a rate without end", Cause.OPTIMIZATION, lambda one: one.but(optimizer=partial(SGD, lr=1e30)))
    helpful = Remedy("4 x as long", Cause.OPTIMIZATION, lambda one: one.but(epochs=24))
    result = race(recipe(epochs=2), [harmful, broken, helpful], "cpu", lambda stage: None)
    assert [remedy.name for remedy, _ in result.losses] == ["4 x as long", "no training"]
    assert [remedy.name for remedy in result.ahead] == ["4 x as long"]
    assert result.cost.runs == 4
    assert "4 x as long 0." in result.sentence


SGD = torch.optim.SGD


@pytest.mark.battery
def test_images_that_do_as_well_as_references_go_on_to_a_race() -> None:
    told: list[str] = []
    data = Splits(train=bars(100, 0), validation=bars(200, 1))
    good = recipe(data=data, epochs=12, optimizer=partial(torch.optim.Adam, lr=0.1))
    result = thalweg.improve(good, rounds=1, budget=25, progress=lambda stage: told.append(stage.name))
    (turn,) = result.diary
    assert turn.finding.cause is Cause.NONE
    assert turn.race is not None
    assert any(name.startswith("a race of 5 candidates, for ") for name in told)
    assert turn.race.ahead
    assert result.ended.startswith("the budget does not hold")
    assert any(remedy.name in result.ended for remedy in turn.race.ahead)


def test_a_race_leaves_out_what_is_too_dear() -> None:
    candidates = list(beyond_references(recipe().data.train))
    prices = [(work(one(recipe())) / work(recipe()), one(recipe()).epochs) for one in candidates]
    own, pairs = (1.0, recipe().epochs), max(PAIRS, pairs_for(PROVED))
    proof = pairs * (1 + sorted(prices)[-2][0])  # of the dearest but one
    budget = price_of_race(sorted(prices)[:-1], own) + proof
    circle = Circle(recipe(), recipe(), Budget(budget + 0.01), "cpu", lambda stage: None, lambda diary: None)
    raced, price = circle.affordable(candidates)
    assert {remedy.name for remedy in candidates} - {remedy.name for remedy in raced} == {"4 x as wide"}
    assert price == pytest.approx(price_of_race(sorted(prices)[:-1], own))
    assert price <= circle.budget.times - proof < price_of_race(prices, own)


def test_a_race_leaves_out_what_changes_nothing() -> None:
    """A network that cannot be made wider, and images that are turned and mirrored already."""
    data = augmented(recipe(), flip=True, rotate=10.0, scale=0.1, shift=0.1).data
    fixed = recipe(
        data=data,
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 2)),
        epochs=12,
        optimizer=partial(torch.optim.Adam, lr=0.1),
    )
    found = [Round(Finding(Cause.NONE, "nothing stands out"))]
    circle = Circle(fixed, fixed, Budget(60.0), "cpu", lambda stage: None, lambda diary: None, found)
    circle.raced([])
    raced = circle.diary[-1].race
    assert raced is not None
    names = {remedy.name for remedy, _ in raced.losses}
    assert "2 x as long, the rate going to 0" in names
    assert not {name for name in names if name.startswith("images") or "wide" in name}


def test_what_images_were_given_can_be_said_in_settings(tmp_path: Path) -> None:
    with collecting() as said:
        start = thalweg.load("digits", assignments=["model.kind=cnn", "epochs=2"])
        changed = longer(augmented(start, rotate=10.0, scale=0.1, flip=True))
        settled = expressed(changed, start)
        text = as_toml(settled, tmp_path)
    assert text is not None
    assert "cannot be said" not in "\n".join(said)
    (tmp_path / "improved.toml").write_text(text)
    with collecting():
        again = thalweg.load(tmp_path / "improved.toml")
    assert again.data.train.augment == changed.data.train.augment
    assert (again.epochs, again.schedule) == (4, changed.schedule)


def test_copies_are_paid_for() -> None:
    plain = recipe()
    copied = plain.but(data=augment(plain.data, rotate=10, copies=3))
    assert work(copied) == pytest.approx(4 * work(plain), rel=0.1)


def test_a_filter_costs_at_every_place() -> None:
    small, large = recipe(), recipe(data=Splits(train=(torch.zeros(200, 1, 24, 24), torch.zeros(200).long())))
    each = 4 * (9 * 1 + 9 * 4) + 2 * 4 / 144  # two convolutions at each place, and a linear layer
    assert work(small) == pytest.approx(200 * 6 * (20_000 + 144 * each), rel=0.01)
    assert work(large) == pytest.approx(200 * 6 * (20_000 + 4 * 144 * each), rel=0.01)
    rows = recipe(model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 2)))
    assert work(rows) == 200 * 6 * (20_000 + 144 * 2 + 2)


def test_a_run_that_was_read_back_is_treated_and_said_in_settings(tmp_path: Path) -> None:
    """Its data are loaded when they are first asked for, and its augmentation stands around them."""
    knobs = ["model.kind=cnn", "model.width=2", "model.depth=1", "epochs=1", "augmentation.flip=true"]
    with collecting() as said:
        run = thalweg.train(thalweg.load("digits", assignments=knobs), out=tmp_path)
        assert run.path is not None
        start = thalweg.load_run(run.path).recipe
        assert start is not None
        changed = augmented(start, rotate=10.0)
        assert as_toml(expressed(start, start), tmp_path) == as_toml(start, tmp_path)
        text = as_toml(expressed(changed, start), tmp_path)
    assert text is not None
    assert "flip = true\nrotate = 10.0" in text
    assert "cannot be said" not in "\n".join(said)
