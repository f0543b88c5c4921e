"""Checks of targets: classes that lack or are exchanged, labels that are wrong, and all checks at once."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from asked import Pair, asked, digits, indexed, names, normal, recipe_of, split
from rows import rows_of
from sklearn import datasets

from thalweg.core.convert import as_source
from thalweg.core.source import Splits
from thalweg.data import Augment, Augmented, load_table
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks import classes, label_noise
from thalweg.diagnosis.checks.data_rows import Rows, read_rows
from thalweg.diagnosis.checks.destroyed import destroyed_signal
from thalweg.diagnosis.checks.label_leak import label_leak
from thalweg.diagnosis.checks.opinions import Opinions, opinions
from thalweg.diagnosis.flaw import Raises, Sure
from thalweg.training import Outcome, train

# --- classes ----------------------------------------------------------------------------------------------------------


def test_classes_that_a_split_lacks() -> None:
    x, y = normal(300, 2), np.arange(300) % 3
    ours = rows_of(x[:200], y[:200])
    assert classes.absent_classes(ours, rows_of(x[200:], y[200:], "test")) == []
    (missing,) = classes.absent_classes(ours, rows_of(x[200:], np.minimum(y[200:], 1), "test"))
    assert missing.raises is Raises.NONE_SEEN
    assert missing.number == pytest.approx(0.33, abs=0.01)
    without = y[:200] != 2
    (unseen,) = classes.absent_classes(rows_of(x[:200][without], y[:200][without]), rows_of(x[200:], y[200:], "test"))
    assert unseen.raises is Raises.TEST
    assert unseen.sure is Sure.CERTAIN


@pytest.mark.parametrize("y", [np.zeros(30, dtype=np.int64), np.ones((30, 1), dtype=np.float32)])
def test_one_target_for_all_is_seen_where_the_loss_compares_with_it(y: np.ndarray) -> None:
    x, other = normal(30, 2), y.copy()
    other[3] = 2
    recipe = recipe_of(Splits(train=(x, y)), 2, 3)
    (flaw,) = classes.one_target(recipe, rows_of(x, y))
    assert flaw.number == 30
    assert flaw.says.endswith("have the target " + ("0" if y.dtype.kind == "i" else "1"))
    assert classes.one_target(recipe, rows_of(x, other)) == []
    assert classes.one_target(recipe.but(objective=lambda output, target: output.mean()), rows_of(x, y)) == []
    assert classes.one_target(recipe.but(loop=lambda model, optimizer, batches, objective: None), rows_of(x, y)) == []


def test_few_examples_are_noted() -> None:
    y = np.array([0] * 150 + [1] * 140 + [2] * 10)
    assert classes.few_examples(rows_of(normal(300, 2), y)) == []
    y[290] = 0
    assert names(classes.few_examples(rows_of(normal(300, 2), y))) == ["a class of few examples"]
    assert names(classes.few_examples(rows_of(normal(20, 30), np.arange(20) % 2))) == ["more inputs than examples"]
    rare = np.array([0] * 2985 + [1] * 15)
    (flaw,) = classes.few_examples(rows_of(normal(3000, 2), rare))
    assert flaw.mechanism == "a rare class"
    assert "99.5%" in flaw.says


@pytest.fixture(scope="module")
def digits_known() -> tuple[Opinions, Rows, Pair]:
    x, y = digits()
    ours = rows_of(x[:800].reshape(800, 64), y[:800])
    known = opinions(ours)
    assert known is not None
    return known, ours, (x[800:1200].reshape(400, 64), y[800:1200])


@pytest.mark.parametrize("exchange", [lambda y: (y + 1) % 10, lambda y: np.where(y == 3, 8, np.where(y == 8, 3, y))])
def test_exchanged_labels(digits_known: Any, exchange: Callable[[np.ndarray], np.ndarray]) -> None:
    known, _, (x, y) = digits_known
    assert classes.exchanged_labels(known, rows_of(x, y, "validation")) == []
    (flaw,) = classes.exchanged_labels(known, rows_of(x, exchange(y), "validation"))
    assert flaw.raises is Raises.VALIDATION
    assert 0.1 < flaw.number <= 1


def test_noise_in_a_split_is_no_exchange(digits_known: Any) -> None:
    known, _, (x, y) = digits_known
    noisy = np.where(np.random.default_rng(0).random(400) < 0.4, np.random.default_rng(1).integers(0, 10, 400), y)
    assert classes.exchanged_labels(known, rows_of(x, noisy, "validation")) == []


def test_a_model_that_neglects_a_class() -> None:
    x = normal(600, 2)
    y = (x[:, 0] > 1.3).astype(np.int64)
    ours, other = (x[:400], y[:400]), (x[400:], y[400:])
    known = opinions(rows_of(*ours))
    assert known is not None
    recipe = recipe_of(Splits(train=ours, validation=other), 2, 2, optimizer=partial(torch.optim.Adam, lr=0.03))
    good = train(recipe.but(epochs=20))
    assert good.status is Outcome.FINISHED
    source, judged = as_source(other), rows_of(*other, "validation")
    assert classes.neglected_classes(good, known, source, judged) == []
    with torch.no_grad():
        good.model.get_parameter("2.bias").add_(torch.tensor([1000.0, 0.0]))
    (flaw,) = classes.neglected_classes(good, known, source, judged)
    assert flaw.number == 0
    assert "Class 1" in flaw.says


# --- labels -----------------------------------------------------------------------------------------------------------


def flipped(y: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    count = int(y.max()) + 1
    return np.where(draw.random(len(y)) < share, (y + draw.integers(1, count, len(y))) % count, y)


def test_wrong_labels_are_counted(digits_known: Any) -> None:
    known, ours, _ = digits_known
    assert label_noise.wrong_labels(known, ours) == []
    x, y = digits()
    wrong = flipped(y, 0.2)
    noisy = rows_of(x[:1400].reshape(1400, 64), wrong[:1400])
    heard = opinions(noisy)
    assert heard is not None
    (flaw,) = label_noise.wrong_labels(heard, noisy)
    assert flaw.number == pytest.approx(0.2, abs=0.04)
    assert flaw.cause is Cause.DATA
    _, doubted, _ = label_noise.confident_joint(heard)
    places = np.array([noisy.places[noisy.kept[heard.rows[i]]] for i in doubted[:50]])
    assert (wrong[places] != y[places]).mean() > 0.9


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_classes_that_overlap_are_no_noise(distance: float) -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 600)
    x = draw.normal(size=(600, 3)) + distance * (2 * y[:, None] - 1) * [1, 0, 0]
    rows = rows_of(x.astype(np.float32), y)
    known = opinions(rows)
    assert known is not None
    assert label_noise.wrong_labels(known, rows) == []


def test_targets_far_out() -> None:
    x = normal(400, 3)
    y = x[:, 0] + 0.1 * normal(400, 1)[:, 0]
    assert label_noise.far_targets(rows_of(x, y)) == []
    wrong = y.copy()
    wrong[::50] = 100 * (wrong[::50] + 1)
    (flaw,) = label_noise.far_targets(rows_of(x, wrong))
    assert flaw.number == pytest.approx(0.02, abs=0.01)
    assert flaw.mechanism == "targets far out"


@pytest.mark.parametrize("noise", [lambda r: r.standard_t(2, 500), lambda r: np.exp(1.5 * r.normal(size=500))])
def test_heavy_tails_are_not_far_out(noise: Callable[[np.random.Generator], np.ndarray]) -> None:
    x = normal(500, 3)
    y = x[:, 0] + noise(np.random.default_rng(1))
    assert label_noise.far_targets(rows_of(x, y.astype(np.float32))) == []


def test_a_column_that_is_the_label(tmp_path: Path) -> None:
    x, y = normal(400, 4), (normal(400, 1, 1)[:, 0] > 0).astype(np.int64)
    assert label_leak(rows_of(x, y), None, None) == []
    leaking = np.concatenate([x, np.exp(y[:, None] + 0.01 * normal(400, 1, 2))], 1)
    (flaw,) = label_leak(rows_of(leaking[:300], y[:300]), rows_of(leaking[300:], y[300:], "validation"), None)
    assert "number 4" in flaw.says
    assert flaw.raises is Raises.NONE_SEEN
    assert flaw.number > 0.97
    gone = rows_of(np.concatenate([x, np.exp(normal(400, 1, 3))], 1), y, "test")
    (flaw,) = label_leak(rows_of(leaking, y), None, gone)
    assert flaw.raises is Raises.TEST
    assert flaw.sure is Sure.MEASURED


def test_a_leak_in_a_table_is_called_by_its_name(tmp_path: Path) -> None:
    frame = pd.DataFrame(normal(500, 2), columns=["size", "age"])
    frame["sold"] = np.where(np.arange(500) % 3, "no", "yes")
    frame["refund"] = np.where(frame["sold"] == "yes", np.where(frame["age"] > 0, "card", "cash"), "none")
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    rows = read_rows(load_table(path, target="sold").train, "train")
    assert rows is not None
    (flaw,) = label_leak(rows, None, None)
    assert "Input 'refund' alone" in flaw.says


# --- augmentation -----------------------------------------------------------------------------------------------------


def test_augmentation_that_destroys_the_signal() -> None:
    x, y = digits()
    rows = rows_of(x[:700], y[:700])
    mild = Augmented((x[:700], y[:700]), Augment(rotate=15, shift=0.1))
    assert destroyed_signal(mild, rows) == []
    (flaw,) = destroyed_signal(Augmented((x[:700], y[:700]), Augment(noise=20.0)), rows)
    assert flaw.number < 0.25
    assert destroyed_signal(indexed((x[:700], y[:700])), rows) == []


# --- all of them ------------------------------------------------------------------------------------------------------


def healthy(name: str, seed: int) -> tuple[Pair, Pair, Pair]:
    draw = np.random.default_rng(seed)
    few = draw.integers(0, 2, (400, 3)).astype(float)
    x = draw.normal(size=(400, 5))
    skewed = np.exp(x)
    made = {
        "iris": lambda: datasets.load_iris(return_X_y=True),
        "wine": lambda: datasets.load_wine(return_X_y=True),
        "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
        "moons": lambda: datasets.make_moons(300, noise=0.25, random_state=seed),
        "few values": lambda: (few, (draw.random(400) < 0.2 + 0.2 * few.sum(1)).astype(int)),
        "positive": lambda: (skewed, (x[:, 0] + 0.5 * draw.normal(size=400) > 0).astype(int)),
        "heavy tails": lambda: (x, (x[:, 0] + draw.standard_t(2, 400)).astype(np.float32)),
        "imbalanced": lambda: (x, (x[:, 0] + 0.3 * draw.normal(size=400) > 1.5).astype(int)),
    }
    return split(*made[name]())


HEALTHY = ["iris", "wine", "breast cancer", "moons", "few values", "positive", "heavy tails", "imbalanced"]


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_but_notes_is_said_of_healthy_data(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "thalweg"):
        flaws = asked(*healthy(name, seed=1))
    assert "could not be asked" not in caplog.text
    assert [flaw.says for flaw in flaws if flaw.raises is not Raises.NONE_SEEN] == []


def test_several_faults_at_once_are_all_said() -> None:
    ours, validation, test = healthy("wine", seed=0)
    ours[0][:, 2] *= 1e4
    ours[0][5, 0] = np.nan
    found = names(
        asked(ours, (np.concatenate([validation[0], ours[0][:9]]), np.append(validation[1], ours[1][:9])), test)
    )
    assert {"inputs not finite", "train examples in validation"} <= set(found)
