"""What moved between validation and test: the change that was found, classes, groups, and the remedies for each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import page, score, write
from torch import Tensor, nn

import thalweg
from thalweg.core.examples import KnownExamples
from thalweg.core.source import Splits
from thalweg.data import Augmented, augment
from thalweg.diagnosis import Budget, Cause, Finding
from thalweg.diagnosis.laboratory import CONTROL, lay_out
from thalweg.diagnosis.shift.changes import (
    Blurred,
    Chained,
    Change,
    Grid,
    Levelled,
    Moved,
    Noisy,
    Rescaled,
    Reversed,
    Turned,
    Zoomed,
)  # fmt: skip
from thalweg.diagnosis.shift.explaining import what_moved
from thalweg.diagnosis.shift.explanation import Shift
from thalweg.diagnosis.shift.families import family
from thalweg.diagnosis.shift.seen import see
from thalweg.nn import mlp
from thalweg.remedy import remedies_for
from thalweg.remedy.resplit import split_by_group
from thalweg.remedy.shift import toward, weighted
from thalweg.training import Recipe

CPU = torch.device("cpu")
Arrays = tuple[np.ndarray, np.ndarray]


def bars(n: int, seed: int) -> Arrays:
    """Images of a bright bar at one of four places, on a ramp from left to right."""
    random = np.random.default_rng(seed)
    y = random.integers(4, size=n)
    x = random.normal(0, 0.05, (n, 1, 8, 8)) + np.linspace(0, 0.3, 8)
    for image, label in zip(x, y, strict=True):
        image[0, 1 + label, 1 : 3 + label] += 1.0
    return x.astype(np.float32), y


def rows(n: int, seed: int) -> Arrays:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 5)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0).astype(np.int64)


def explained(make: Callable[[int, int], Arrays], change: Callable[[np.ndarray], np.ndarray], n: int = 240) -> Shift:
    """What is said of a small network whose test inputs were changed."""
    train, validation, (x, y) = make(300, 0), make(200, 1), make(n, 2)
    recipe = recipe_of(train, validation, (change(x).astype(np.float32), y))
    lab = lay_out(recipe, CPU, Budget(), lambda stage: None)
    (run,) = lab.run(CONTROL, lab.recipe, [0])
    own = lab.losses(run, lab.validation)
    assert own is not None
    assert lab.probe is not None
    shift = what_moved(lab, run, own, lab.losses(run, lab.probe), np.log(int(y.max()) + 1))
    assert shift is not None
    return shift


def recipe_of(train: Any, validation: Any, test: Any = None, **changes: Any) -> Recipe:
    inputs = int(np.prod(train[0].shape[1:]))
    recipe = Recipe(
        data=Splits(train=train, validation=validation, test=test),
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(inputs, 24), nn.ReLU(), nn.Linear(24, 4)),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        epochs=15,
    )
    return recipe.but(**changes)


# --- the change that was found ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 1.3 - x, "inverted"),
        (lambda x: np.roll(x, 2, 3), "moved by 2 pixels to the right"),
        (lambda x: np.roll(x, (-1, 2), (2, 3)), "moved by"),
        (lambda x: x[:, :, ::-1].copy(), "upside down"),
        (lambda x: np.rot90(x, axes=(2, 3)).copy(), "turned by 90 degrees against the clock"),
        (lambda x: 0.2 * x + 3, "times the contrast, raised by"),
    ],
)
def test_how_images_were_changed_is_found_and_undone(change: Callable[[np.ndarray], np.ndarray], words: str) -> None:
    found = explained(bars, change).undone
    assert found is not None
    assert words in found.name
    assert found.after.value < 0.2 * found.before.value
    assert found.share > 0.8
    assert not found.left.low > 0, "as on validation"
    assert found.name in found.sentence


def test_images_in_rows_are_images_too() -> None:
    def flat(n: int, seed: int) -> Arrays:
        x, y = bars(n, seed)
        return np.repeat(x[:, :, ::2], 2, axis=2).reshape(n, -1), y

    found = explained(flat, lambda x: np.roll(x.reshape(-1, 8, 8), 2, 2).reshape(len(x), -1)).undone
    assert found is not None
    assert found.name == "moved by 2 pixels to the right"


def test_the_column_in_another_unit_is_named() -> None:
    unit = np.array([1, 10, 1, 1, 1])
    shift = explained(rows, lambda x: x * unit + 4 * (unit > 1))
    assert shift.undone is not None
    assert "input 1" in shift.undone.name
    assert shift.undone.share > 0.7
    assert [column.name for column in shift.columns] == ["input 1"]
    assert shift.counts == (1, 5)


def test_inputs_that_are_noise_were_changed_by_nothing_that_is_known() -> None:
    """Scrambled pixels: bland inputs would lower the loss too, and explain nothing."""
    order = np.random.default_rng(3).permutation(64)
    shift = explained(bars, lambda x: 3 * x.reshape(len(x), -1)[:, order].reshape(x.shape))
    assert shift.undone is None
    assert "moved" in shift.sentence or "differ" in shift.sentence


def test_the_page_shows_what_moved(tmp_path: Path) -> None:
    shift = explained(bars, lambda x: 1.3 - x).to_json()
    groups = {"losses": [{"group": "lab 5", "new": True, **score(2.0, 1.5, 2.5)}], "sentence": "1 of 3 groups is new"}
    finding = {"cause": "MISMATCH", "mechanism": "it moved", "shift": shift | {"groups": groups}}
    found = page(write(tmp_path, **{"finding.json": finding}))
    assert "What moved on test" in found.titles
    for words in ("The change that was found", "undone: inverted", "How images differ", "1 of 3 groups is new.", "MMD"):
        assert words in found.text, words
    assert any("test as it is" in " ".join(figure.itertext()) for figure in found.figures)
    strange = {
        "undone": {"tried": [3]},
        "classes": {"moved": True, "names": 3},
        "columns": [{"means": "x"}],
        "tests": 7,
    }
    assert "Which inputs" in page(write(tmp_path, **{"finding.json": finding | {"shift": strange}})).text


def test_unchanged_inputs_are_not_explained() -> None:
    shift = explained(bars, lambda x: x)
    assert shift.undone is None
    assert shift.classes is not None
    assert not shift.classes.moved
    assert shift.columns == shift.looks == ()
    assert shift.sentence == "no test sees inputs, features or outputs distributed otherwise"


CHANGES: list[Change] = [
    Reversed(3, "mirrored"), Turned(90.0), Turned(30.0), Moved(3, 2, "on", "back"), Rescaled((-2.0,), (1.0,)),
    Chained((Rescaled((2.0,), (0.0,)), Reversed(2, "upside down"))),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_what_is_redone_in_full_is_undone(change: Change) -> None:
    x = torch.from_numpy(bars(5, 0)[0])
    there = change.redo(x, torch.ones(5))
    middle = (slice(None), slice(None), slice(2, 6), slice(2, 6))
    near = 0.6 if isinstance(change, Turned) and change.degrees % 90 else 1e-5
    assert float((change.undo(there) - x)[middle].abs().mean()) < near / 3
    assert torch.allclose(change.redo(x, torch.zeros(5)), x, atol=1e-6)
    assert not torch.allclose(there, x, atol=0.1)


@pytest.mark.parametrize("change", [Noisy(0.3), Blurred(), Zoomed(1.5), Levelled(0.0, 1.0), Grid(Turned(180.0))])
def test_other_changes_keep_shape_and_type(change: Change) -> None:
    x = torch.rand(3, 64) if isinstance(change, Grid) else torch.rand(3, 2, 8, 8, dtype=torch.float64)
    size = torch.tensor([0.0, 0.5, 1.0])
    for made in (change.undo(x), change.redo(x, size)):
        assert (made.shape, made.dtype) == (x.shape, x.dtype)
    assert torch.equal(change.redo(x, size), change.redo(x, size))


SHAPES = [(9, 3, 8, 8), (9, 6), (9, 1), (9, 7, 3), (1, 4), (9,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_family_can_be_undone(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    for change in family(x, 2 * x + 1):
        made = change.undo(2 * x + 1)
        assert made.shape == x.shape
        assert bool(torch.isfinite(made).all())
        assert change.name
    assert family(x, torch.rand(9, 2, 2, 2, 2)) == []


# --- classes and groups ---


def overlapping(n: int, seed: int, share: float) -> Arrays:
    random = np.random.default_rng(seed)
    y = (random.random(n) < share).astype(np.int64)
    return (random.normal(size=(n, 2)) + 1.6 * y[:, None]).astype(np.float32), y


@pytest.mark.battery
def test_other_shares_of_classes_are_all_that_costs() -> None:
    recipe = recipe_of(overlapping(600, 0, 0.15), overlapping(400, 1, 0.15), overlapping(400, 2, 0.85))
    finding = thalweg.diagnose(recipe, budget=2)
    assert finding.cause is Cause.MISMATCH, finding
    assert finding.shift is not None
    assert finding.shift.classes is not None
    classes = finding.shift.classes
    assert classes.moved
    assert classes.alone
    assert classes.after == pytest.approx((0.15, 0.85), abs=0.06)
    assert classes.weights[1] == pytest.approx(0.85 / 0.15, rel=0.3)
    assert "the shares are all that costs" in finding.mechanism
    assert finding.remedies[0].name == "classes weighted as in test"
    assert finding.to_json()["shift"]["classes"]["alone"] is True


def test_weights_reach_the_loss_and_not_the_judge() -> None:
    recipe = recipe_of(rows(40, 0), rows(40, 1), objective=nn.CrossEntropyLoss(label_smoothing=0.1))
    changed = weighted(recipe, (2.0, 100.0))
    assert changed.objective.weight.tolist() == [2.0, 10.0, 1.0, 1.0]
    assert changed.objective.label_smoothing == 0.1
    assert changed.judge.label_smoothing == 0.0
    assert getattr(changed.judge, "weight", None) is None
    assert recipe.objective.weight is None
    twice = weighted(changed, (0.5, 1.0))
    assert twice.objective.weight.tolist() == [1.0, 10.0, 1.0, 1.0]
    other = recipe.but(objective=nn.MSELoss())
    assert weighted(other, (1.0, 2.0)) is other
    assert weighted(recipe, (1.0,) * 5) is recipe, "more classes than outputs"


@dataclass
class Known(KnownExamples):
    x: np.ndarray
    y: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.x[place]), torch.tensor(self.y[place])

    def meta(self, ids: Any) -> dict[str, Any]:
        return {"group": self.group[ids], "label": self.y[ids]}


def grouped(offset: float = 3.0) -> Recipe:
    """Train and validation share four groups; test has two others, whose inputs lie elsewhere, and one of the four."""
    from thalweg.core.examples import ExampleSource

    x, y = rows(700, 0)
    group = np.arange(700) % 4
    group[500:] = np.arange(200) % 3 + 3
    x[:, :1] += offset * (group > 3)[:, None]
    whole = ExampleSource(Known(x, y, group), 32)
    order = np.random.default_rng(0).permutation(500)
    parts = whole.take(order[:350]), whole.take(order[350:]), whole.take(np.arange(500, 700))
    return recipe_of((x, y), None, model=partial(mlp, 5, 2, width=16)).but(data=Splits(*parts))


def moved_of(recipe: Recipe) -> Shift:
    """What moved on the test split of a recipe, by its first run."""
    lab = lay_out(recipe, CPU, Budget(), lambda stage: None)
    (run,) = lab.run(CONTROL, lab.recipe, [0])
    own = lab.losses(run, lab.validation)
    assert own is not None
    assert lab.probe is not None
    shift = what_moved(lab, run, own, lab.losses(run, lab.probe), 0.7)
    assert shift is not None
    return shift


def test_groups_that_are_new_and_do_badly_are_named() -> None:
    recipe = grouped()
    shift = moved_of(recipe)
    assert shift.groups is not None
    groups = shift.groups
    assert (groups.new, groups.count, groups.shared) == (2, 3, True)
    assert {name for name, _, new in groups.losses if new} == {"4", "5"}
    assert groups.losses[0][0] in ("4", "5")
    assert groups.on_new is not None
    assert groups.on_known is not None
    assert groups.on_new.low > groups.on_known.high
    assert "2 of 3 groups of test are not in train" in shift.sentence
    names = [remedy.name for remedy in remedies_for(Finding(Cause.MISMATCH, "", shift=shift))]
    assert "validation held out by group" in names


def test_validation_is_held_out_by_group() -> None:
    recipe = grouped()
    changed = split_by_group(recipe)
    own, held = (
        set(part.meta(np.arange(len(part)))["group"].tolist()) for part in (changed.data.train, changed.data.validation)
    )
    assert not own & held
    assert own | held == {0, 1, 2, 3}
    assert changed.data.test is recipe.data.test
    plain = recipe_of(rows(40, 0), rows(40, 1))
    assert split_by_group(plain) is plain


# --- train inputs changed as test was ---


def test_train_inputs_are_changed_toward_test_and_judged_as_they_are() -> None:
    recipe = recipe_of(bars(60, 0), bars(40, 1))
    changed = toward(recipe, Moved(3, 2, "on", "back"))
    train = changed.data.train
    assert isinstance(train, Augmented)
    assert repr(train.augment) == "Toward(moved by 2 on)"
    first = [torch.cat([x for x, _ in train.batches(1, 0, torch.Generator().manual_seed(0))]) for _ in range(2)]
    assert torch.equal(*first)
    x = torch.from_numpy(bars(60, 0)[0])
    assert torch.equal(torch.cat([x for x, _ in train.batches(0, 0, None)]), x)
    order = torch.cat(train.ordered(1, torch.Generator().manual_seed(0)))
    moved = [
        [torch.equal(made, own.roll(by, 2)) for by in range(3)] for made, own in zip(first[0], x[order], strict=True)
    ]
    counts = np.array(moved).sum(0)
    assert counts.sum() == 60
    assert counts[2] >= 15, "every third as on test, and those above 1.5 places"
    assert toward(changed, Turned(30.0)) is changed


def test_what_happens_to_train_inputs_already_goes_on() -> None:
    recipe = recipe_of(bars(60, 0), bars(40, 1))
    own = recipe.but(data=augment(recipe.data, noise=0.5))
    changed = toward(own, Turned(90.0))
    assert repr(changed.data.train.augment) == "Toward(turned by 90 degrees against the clock, noise=0.5)"
    whole = recipe.but(data=Splits(train=(torch.zeros(40, 3, dtype=torch.int64), torch.zeros(40))))
    assert toward(whole, Turned(90.0)) is whole


@pytest.mark.battery
def test_images_turned_on_their_heads_are_learned_by_turning_them() -> None:
    shift = explained(bars, lambda x: x[:, :, ::-1].copy())
    first = remedies_for(Finding(Cause.MISMATCH, "", shift=shift))[0]
    assert first.name == "train inputs changed as test was (upside down)"
    x, y = bars(120, 2)
    recipe = recipe_of(bars(200, 0), bars(80, 1), (x[:, :, ::-1].copy(), y), epochs=8)
    proof = thalweg.prove(recipe, first)
    assert proof.helped, proof


def test_light_is_treated_by_standardizing_first() -> None:
    shift = explained(bars, lambda x: 0.2 * x + 3)
    names = [remedy.name for remedy in remedies_for(Finding(Cause.MISMATCH, "", shift=shift))]
    assert names[0] == "each example standardized"
    assert names[1].startswith("train inputs changed as test was (0.199 times the contrast")


# --- what a network makes of its inputs ---


def test_penultimate_features_are_what_the_last_layer_reads() -> None:
    recipe = recipe_of(bars(60, 0), bars(40, 1))
    run = thalweg.train(recipe.but(epochs=1))
    lab = lay_out(recipe, CPU, Budget(), lambda stage: None)
    seen = see(run, lab.validation, CPU)
    assert seen is not None
    assert seen.features is not None
    assert seen.inputs is not None
    with torch.no_grad():
        expected = run.model[:3](seen.inputs)
    np.testing.assert_allclose(seen.features, expected.double().numpy(), atol=1e-6)
    assert not any(module._forward_pre_hooks for module in run.model.modules())
    few = see(run, lab.validation, CPU, most=10)
    assert few is not None
    assert len(few.places) == 10


class Odd(nn.Module):
    """Two inputs, no layer with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a + b)[:, :2] * self.scale


def test_a_model_of_several_inputs_is_explained_by_its_outputs() -> None:
    x, y = (torch.from_numpy(part) for part in rows(120, 0))
    moved = (x + 3 * (torch.arange(5) == 0), x)
    recipe = Recipe(
        data=Splits(train=((x, x), y), validation=((x, x), y), test=(moved, y)),
        model=Odd, objective=nn.CrossEntropyLoss(), epochs=1,
    )  # fmt: skip
    shift = moved_of(recipe)
    assert shift.undone is None
    assert [test.of for test in shift.tests] == ["2 of 2 outputs", "outputs", "outputs"]


@pytest.mark.battery
def test_test_targets_of_a_narrower_range_are_no_mismatch() -> None:
    """The same rule, the same noise, inputs from the middle alone: the loss on test is that on validation."""
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (1200, 1)).astype(np.float32)
    x[800:] *= 0.3
    y = (x + 0.15 * random.normal(size=x.shape)).astype(np.float32)
    recipe = Recipe(
        data=Splits(train=(x[:500], y[:500]), validation=(x[500:800], y[500:800]), test=(x[800:], y[800:])),
        model=partial(nn.Linear, 1, 1),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=3e-2),
        epochs=20,
    )
    finding = thalweg.diagnose(recipe)
    assert finding.cause is Cause.NONE, finding.sentence
