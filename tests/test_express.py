"""Recipes that remedies changed, said in settings again: what is written is what is trained, and is read back so."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thalweg
from thalweg.data import Augment, Augmented, Masked, SpecAugment
from thalweg.diagnosis import Cause, Finding
from thalweg.diagnosis.arms import at_rate, usual_adam
from thalweg.diagnosis.growth import deeper, unrestrained, wider
from thalweg.loss import L1, L2
from thalweg.nn import NoisyInputs, Standardized
from thalweg.optim import Cosine, WarmUp
from thalweg.recipes import as_toml, expressed, is_sayable
from thalweg.remedy import remedies_for
from thalweg.remedy.catalogue import restrain
from thalweg.remedy.cleaning import balanced
from thalweg.remedy.features import featured
from thalweg.remedy.fitting import clipped, cooled, warmed
from thalweg.remedy.layers import initialized, normed
from thalweg.remedy.repairing import robust
from thalweg.remedy.restraining import decayed, dropped, masked, mixed_up, smoothed, sparse
from thalweg.training import EarlyStopping

Change = Callable[[thalweg.Recipe], thalweg.Recipe]

BATCH = (torch.ones(5, 4), torch.zeros(5, dtype=torch.int64))


@pytest.fixture
def start() -> thalweg.Recipe:
    return thalweg.load("iris", assignments=["epochs=2", "model.width=8", "optimizer.kind=sgd", "optimizer.lr=0.5"])


def said(recipe: thalweg.Recipe, start: thalweg.Recipe) -> dict[str, dict[str, object]]:
    out = expressed(recipe, start)
    assert out.origin is not None, "it was not said"
    return {section: dict(values) for section, values in out.origin["settings"].items()}


def test_a_scaled_rate_and_a_longer_training_are_said(start: thalweg.Recipe) -> None:
    settings = said(at_rate(at_rate(start, 10.0), 0.2).but(epochs=6), start)
    assert settings["optimizer"] == {"kind": "sgd", "lr": pytest.approx(1.0)}
    out = expressed(start.but(epochs=6), start)
    assert (out.epochs, as_toml(out, Path()).count("epochs = 6")) == (6, 1)


def test_growth_is_said_by_the_knobs(start: thalweg.Recipe) -> None:
    for grown, knob, value in ((wider(start, BATCH, 4), "width", 32), (deeper(start, BATCH), "depth", 3)):
        assert grown is not None
        assert said(grown, start)["model"][knob] == value


def test_what_is_done_to_inputs_and_weights_is_said(start: thalweg.Recipe) -> None:
    _, noisy, *_ = remedies_for(Finding(Cause.OVERFITTING, ""))
    settings = said(noisy(start.but(penalty=L2(0.25))), start)
    assert settings["model"]["input_noise"] == 0.5
    assert settings["penalty"] == {"kind": "l2", "strength": 0.26}
    standardized, *_ = remedies_for(Finding(Cause.MISMATCH, ""))
    out = expressed(standardized(noisy(start)), start)
    model = out.model()
    assert isinstance(model, Standardized)
    assert isinstance(model.model, NoisyInputs)
    assert said(start.but(stopping=EarlyStopping(3)), start)["stopping"] == {"patience": 3, "min_delta": 0.0}


def test_restraint_taken_off_is_said(start: thalweg.Recipe) -> None:
    restrained = thalweg.load("iris", assignments=["model.dropout=0.5", "penalty.kind=l2", "penalty.strength=0.1"])
    name, free = unrestrained(restrained) or ("", restrained)
    assert name == "without dropout and penalty"
    settings = said(free, restrained)
    assert (settings["model"]["dropout"], settings["penalty"]) == (0.0, {})


def test_the_file_is_read_back_as_the_same_recipe(start: thalweg.Recipe, tmp_path: Path) -> None:
    _, noisy, *_ = remedies_for(Finding(Cause.OVERFITTING, ""))
    out = expressed(noisy(at_rate(start, 0.1)).but(epochs=3, batch_size=None, seed=7), start)
    (tmp_path / "improved.toml").write_text(as_toml(out, tmp_path) or "")
    again = thalweg.load(tmp_path / "improved.toml")
    assert again.difference(out) == []


def test_a_data_file_is_found_from_where_the_recipe_is_written(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i % 7},{'ab'[i % 2]}" for i in range(40))
    (tmp_path / "rows.csv").write_text(f"x,y,z\n{rows}\n")
    recipe = thalweg.load(tmp_path / "rows.csv", data={"target": "z"})
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "improved.toml").write_text(as_toml(recipe, folder) or "")
    assert 'source = "../../rows.csv"' in (folder / "improved.toml").read_text()
    assert thalweg.load(folder / "improved.toml").difference(recipe) == []


def test_what_has_no_words_is_named_and_left_as_it_is(start: thalweg.Recipe, caplog: pytest.LogCaptureFixture) -> None:
    other = start.but(model=lambda: nn.Linear(4, 3))
    assert expressed(other, start) is other
    assert "The change of the model cannot be said in settings" in caplog.text
    both = start.but(penalty=partial(L1(0.1)))
    assert expressed(both, start) is both
    assert as_toml(other, Path()) is None


def test_more_restraint_and_less_schedule_are_said(start: thalweg.Recipe) -> None:
    twice = restrain(restrain(start, 0.25), 0.5)
    assert said(twice, start)["penalty"] == {"kind": "l2", "strength": 0.75}
    scheduled = thalweg.load("iris", assignments=["schedule.kind=cosine", "epochs=2"])
    assert said(scheduled.but(schedule=None), scheduled)["schedule"] == {}
    betas = thalweg.load("iris", assignments=["optimizer.kind=adamw", "optimizer.weight_decay=0.1", "epochs=2"])
    betas = expressed(betas.but(optimizer=partial(betas.optimizer, betas=(0.8, 0.9))), betas)
    name, free = unrestrained(betas) or ("", betas)
    assert name == "without weight decay"
    section = said(free, betas)["optimizer"]
    assert (section["weight_decay"], section["betas"]) == (0.0, [0.8, 0.9])
    group = expressed(free, betas).optimizer(nn.Linear(4, 3).parameters()).param_groups[0]
    assert (group["weight_decay"], tuple(group["betas"])) == (0.0, (0.8, 0.9))


NOISY, BOTH, *_ = remedies_for(Finding(Cause.OVERFITTING, ""))
EACH, *_ = remedies_for(Finding(Cause.MISMATCH, ""))
ADAMW = ("optimizer.kind=adamw", "optimizer.weight_decay=0.1", "optimizer.betas=[0.8, 0.9]")
ADOPTED: dict[str, tuple[tuple[str, ...], Change]] = {
    "learning rate": (("optimizer.kind=sgd", "optimizer.lr=0.05"), lambda r: at_rate(at_rate(r, 3.16), 10.0)),
    "usual Adam": (ADAMW, usual_adam),
    "longer": ((), lambda r: r.but(epochs=4)),
    "unscheduled": (("schedule.kind=cosine",), lambda r: at_rate(r, 0.1).but(schedule=None)),
    "wider": ((), lambda r: wider(r, BATCH, 4) or r),
    "deeper": ((), lambda r: deeper(r, BATCH) or r),
    "without restraint": (
        (*ADAMW, "model.dropout=0.3", "penalty.kind=l2", "penalty.strength=0.1"),
        lambda r: (unrestrained(r) or ("", r))[1],
    ),
    "without restraint, in groups": (
        (*ADAMW, "optimizer.decay_norms_and_biases=true"),
        lambda r: at_rate((unrestrained(r) or ("", r))[1], 10.0),
    ),
    "restrained twice": (("penalty.kind=l2", "penalty.strength=0.1"), lambda r: restrain(restrain(BOTH(r)), 0.25)),
    "each example standardized": (("model.input_noise=0.1",), lambda r: EACH(NOISY(r))),
}


@pytest.mark.parametrize("adopted", ADOPTED)
def test_what_is_read_back_is_trained_to_the_same_bits(adopted: str, tmp_path: Path) -> None:
    settings, change = ADOPTED[adopted]
    before = thalweg.load("iris", assignments=["epochs=2", "model.width=8", *settings])
    changed = change(before)
    out = expressed(changed, before)
    assert out is not changed, "it was not said"
    (tmp_path / "improved.toml").write_text(as_toml(out, tmp_path) or "")
    again = thalweg.load(tmp_path / "improved.toml")
    assert again.fingerprint() == out.fingerprint()
    losses = [
        [(row["train_loss"], row["validation_loss"]) for row in thalweg.train(one).history] for one in (changed, again)
    ]
    assert losses[0] == losses[1]


def test_what_the_catalogue_turns_is_said_where_there_are_words(start: thalweg.Recipe, tmp_path: Path) -> None:
    """And read back from the file as the same recipe: schedule, clip, penalty, smoothing, mixtures, knobs."""
    changes = (cooled, clipped, warmed, dropped, decayed, smoothed, sparse, mixed_up, normed)
    out = expressed(reduce(lambda recipe, change: change(recipe), changes, start.but(optimizer=ADAM)), start)
    assert out.origin is not None
    (tmp_path / "improved.toml").write_text(as_toml(out, tmp_path) or "")
    again = thalweg.load(tmp_path / "improved.toml")
    assert again.difference(out) == []
    assert again.clip_norm == 1.0
    assert again.objective.label_smoothing == 0.1
    assert again.schedule == WarmUp(0.1, then=Cosine())
    assert again.data.train.augment.mixup == 0.2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (robust, "judge"),
        (balanced, "judge"),
        (featured, "model"),
        (initialized, "model"),
        (lambda recipe: recipe.but(data=replace(recipe.data, train=recipe.data.train.take(range(20)))), "train split"),
    ],
    ids=["Huber", "weights", "features", "weights anew", "fewer examples"],
)
def test_what_has_no_words_is_told(change: Change, field: str, start: thalweg.Recipe, caplog: Any) -> None:
    uneven = start.but(objective=nn.MSELoss()) if change is robust else start
    if change is balanced:
        whole = start.data.train.batched(None)
        labels = next(iter(whole.batches(0, 0, None)))[1]
        few = [*torch.where(labels == 0)[0].tolist(), *torch.where(labels > 0)[0].tolist()[:8]]
        uneven = start.but(objective=nn.CrossEntropyLoss(), data=replace(start.data, train=start.data.train.take(few)))
    changed = change(uneven)
    assert changed is not uneven
    assert expressed(changed, uneven if uneven.origin else uneven.but(origin=start.origin)) is changed
    assert f"The change of the {field} cannot be said in settings" in caplog.text


ADAM = partial(torch.optim.Adam, lr=0.01)


def test_what_changes_no_such_data_has_no_words() -> None:
    """A remedy for images or recordings that is tried on texts is passed over, and ends nothing."""
    recipe = thalweg.load("names:ru", data={"categories": "territories"}, assignments=["model.width=8", "epochs=1"])
    train: Any = recipe.data.train
    for changed in (Augmented(train, Augment(flip=True)), Masked(train, SpecAugment())):
        assert not is_sayable(recipe.but(data=replace(recipe.data, train=changed)), recipe)
    assert is_sayable(recipe.but(epochs=2), recipe)


def test_what_settings_cannot_say_is_told_before_it_is_adopted() -> None:
    """So that the improved recipe of built-in data is there to predict with."""
    start = thalweg.load("iris")
    blind = masked(start, lambda rows: (0,))
    assert not is_sayable(blind, start)
    assert is_sayable(start.but(epochs=start.epochs + 1), start)
    own = thalweg.Recipe(data=start.data, model=start.model, objective=start.objective)
    assert is_sayable(blind, own)
