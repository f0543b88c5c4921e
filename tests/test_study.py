"""The studies: each can come out false, the same seed gives the same numbers, and the files say what was found."""

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.cli import study as study_command
from thalweg.core.errors import RecipeError
from thalweg.study import (
    STUDIES,
    Check,
    Study,
    arms,
    batch_size,
    depth,
    learning_rate,
    local_optima,
    optimizer,
    receptive_field,
    run_study,
    softmax,
    validation,
    vanishing,
)
from thalweg.study.interval import over_seeds

SMALL: dict[str, dict[str, Any]] = {
    "learning-rate": {"seeds": 2, "epochs": 11, "train": 64, "steps": 3},
    "optimizer": {"seeds": 2, "epochs": 1, "train": 64, "steps": 3},
    "batch-size": {"seeds": 2, "epochs": 1, "train": 64, "sizes": (8, 16, 32)},
    "local-optima": {"seeds": 3, "epochs": 2, "train": 64, "widths": (2, 8)},
    "vanishing": {"seeds": 2, "epochs": 1, "train": 64, "depth": 5},
    "softmax": {"seeds": 2, "epochs": (2, 3), "train": 40},
    "depth": {"seeds": 2, "epochs": 1, "train": 64, "depths": (2, 3, 4)},
    "receptive-field": {"seeds": 2, "epochs": 1, "train": 64, "depths": (2, 4)},
    "sharing": {"seeds": 2, "sizes": (40, 80), "steps": 4},
    "pooling": {"seeds": 2, "epochs": 1, "train": 32, "test": 50},
    "batch-norm": {"seeds": 2, "epochs": 2, "train": 64, "points": (1,), "rates": (0.01, 0.1), "sizes": (2, 32)},
    "validation": {"seeds": 2, "epochs": 3, "few": 60, "models": 3},
    "augmentation": {"seeds": 2, "epochs": 1, "train": 64, "judged": 30},
    "spatial-transformer": {"seeds": 2, "epochs": 1, "train": 64, "judged": 30},
    "attention-vs-cnn": {"seeds": 2, "sizes": (16, 32), "steps": 2, "tasks": ("both",), "rates": (0.01,)},
    "norm": {"seeds": 2, "epochs": 1, "train": 64, "judged": 20},
    "graph": {"seeds": 2, "epochs": 2, "graphs": ("karate",)},
    "position": {"seeds": 2, "epochs": 1, "train": 64, "length": 5},
    "truncate": {"seeds": 2, "epochs": 1, "train": 64, "long": 64, "windows": (8,)},
    "rnn-vs-attention": {"seeds": 2, "steps": 4, "distances": (2, 3, 4), "lengths": (8, 16), "rates": (0.01,)},
    "copy": {"seeds": 2, "epochs": 1, "width": 4, "categories": "scripts"},
    "copy-span": {"seeds": 2, "epochs": 1, "train": 64, "width": 4},
    "reward": {"seeds": 2, "epochs": 1, "further": 1, "width": 4, "samples": 2, "categories": "scripts"},
    "beam": {"seeds": 2, "epochs": 1, "width": 4, "widths": (1, 4), "categories": "scripts"},
    "scheduled-sampling": {"seeds": 2, "epochs": 1, "width": 4, "categories": "scripts"},
    "guided-attention": {"seeds": 2, "epochs": 1, "train": 8, "words": 8, "width": 4},
    "tree": {"seeds": 2, "epochs": 1, "train": 40, "width": 4, "judged": 5},
    "multi-label": {"seeds": 2, "epochs": 1, "train": 40, "width": 4, "judged": 20},
}


def untimed(study: Study) -> dict[str, Any]:
    """What a study says, without what is read off the clock."""
    document = study.to_json()
    document["checks"] = [check for check in document["checks"] if check["quantity"] not in study.clock]
    document["table"] = [{k: v for k, v in row.items() if k not in study.clock} for row in document["table"]]
    return {key: value for key, value in document.items() if key not in ("seconds", "held")}


@cache
def small(name: str) -> Study:
    """The study at its smallest, on the first seeds."""
    return run_study(name, seed=0, **SMALL[name])


ELSEWHERE = (
    "sharing",
    "pooling",
    "batch-norm",
    "spatial-transformer",
    "attention-vs-cnn",
    "norm",
    "truncate",
    "rnn-vs-attention",
    "copy",
    "copy-span",
    "beam",
    "scheduled-sampling",
    "guided-attention",
    "tree",
    "multi-label",
    "reward",
)
"""Studies that tests of their own run each time."""
DEAR = ("optimizer", "local-optima", "depth", "receptive-field", "position", *ELSEWHERE)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.battery] if name in DEAR else []) for name in STUDIES]
)
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(name: str) -> None:
    first, again, other = small(name), *(run_study(name, seed=seed, **SMALL[name]) for seed in (0, 1))
    assert untimed(first) == untimed(again)
    assert untimed(first)["table"] != untimed(other)["table"]
    assert not set(first.seeds) & set(other.seeds)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.battery] if name in ELSEWHERE else []) for name in STUDIES]
)
def test_the_files_of_a_study_say_what_was_found(name: str, tmp_path: Path) -> None:
    first = small(name)
    folder = first.save(tmp_path)
    document = json.loads((folder / "study.json").read_text())
    assert document["claim"] == STUDIES[name]
    assert document["held"] is first.held
    assert document["held"] is all(check["passed"] for check in document["checks"])
    assert len(document["interval"]) == 2
    assert document["seeds"] == list(first.seeds)
    picture = (folder / "figure.svg").read_bytes()
    assert picture.startswith(b"<?xml")
    assert len(picture) < 60_000


# --- each study comes out false where its effect is absent ------------------------------------------------------------


def test_learning_rate_is_false_where_all_rates_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_rate, "DIGITS_RATES", dict.fromkeys(learning_rate.DIGITS_RATES, 0.4))
    study = run_study("learning-rate", seeds=3, epochs=40, train=128, steps=1)
    assert not study.held
    assert [check.passed for check in study.checks] == [False, True, False, False]


def test_optimizer_is_false_where_all_are_gradient_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dict.fromkeys(optimizer.OPTIMIZERS, (optimizer.gradient_descent, None, (0.1, 0.3)))
    monkeypatch.setattr(optimizer, "OPTIMIZERS", whole)
    study = run_study("optimizer", seeds=3, epochs=3, train=64, steps=1)
    assert not any(check.passed for check in study.checks[:4])


def test_batch_size_is_false_where_a_batch_holds_one_example_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = batch_size.gradient

    def of_the_first(model: Any, x: Any, y: Any) -> Any:
        return honest(model, x, y) if len(y) > 32 else honest(model, x[:1], y[:1])

    monkeypatch.setattr(batch_size, "gradient", of_the_first)
    study = run_study("batch-size", seeds=2, epochs=1, train=64, sizes=(8, 16, 32))
    assert not study.checks[0].passed


def test_local_optima_is_false_where_starts_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    started = local_optima.started
    monkeypatch.setattr(local_optima, "started", lambda start, width: started(0, width))
    study = run_study("local-optima", seeds=3, epochs=3, train=64, widths=(2, 8))
    assert not any(check.passed for check in study.checks)


def test_vanishing_is_false_in_a_shallow_network() -> None:
    study = run_study("vanishing", seeds=3, epochs=0, train=64, depth=2)
    assert [check.passed for check in study.checks] == [False, True, True, True]


def test_softmax_is_false_before_overconfidence_sets_in() -> None:
    study = run_study("softmax", seeds=3, epochs=(2,))
    assert not study.checks[0].passed


def test_depth_is_false_where_deep_is_as_shallow() -> None:
    study = run_study("depth", seeds=2, epochs=2, train=64, depths=(2, 2, 2))
    assert not any(check.passed for check in study.checks)


def test_receptive_field_is_false_where_both_classes_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receptive_field, "MORE", 0)
    study = run_study("receptive-field", seeds=2, epochs=1, train=64, depths=(2, 4))
    assert [check.passed for check in study.checks[1:7]] == [False] * 6


def test_receptive_field_is_false_where_a_short_field_does_as_well() -> None:
    random = np.random.default_rng(1)
    predicted = {name: 0.5 if name in ("1 layer", receptive_field.SHORT) else 1.0 for name in receptive_field.ARMS}
    honest = {name: said - random.uniform(0, 0.02, size=6) for name, said in predicted.items()}
    shares = random.uniform(0.3, 0.5, size=6)
    assert all(check.passed for check in receptive_field.decide(honest, predicted, shares))
    alike = {name: np.full(6, 0.99) for name in honest}
    passed = [check.passed for check in receptive_field.decide(alike, predicted, np.full(6, 1.0))]
    assert passed == [False, True, *[False] * 6]


def test_what_the_receptive_field_study_predicts_is_known_before_training() -> None:
    seen = {name: receptive_field.field_of(**arm) for name, arm in receptive_field.ARMS.items()}
    assert [field.size[1] for field in seen.values()] == [3, 5, 7, 5, 7, 7, 7, 8]
    assert [int(field.stride[1]) for field in seen.values()] == [1, 1, 1, 1, 1, 1, 2, 2]
    reached = [receptive_field.coverage(seen[name], arm["distance"]) for name, arm in receptive_field.ARMS.items()]
    assert reached == [0, 1, 1, 0, 1, 1, 1, 1]
    x, y = receptive_field.marks(3, 0, 40, 5)
    assert x.shape == (40, 1, receptive_field.HEIGHT, 18)
    for image, near in zip(x[:, 0] > 0.6, y, strict=True):
        first, second = image.nonzero()[:, 1].tolist()
        assert min(second - first, 18 - second + first) == (5 if near else 9)


def test_validation_is_false_where_there_is_one_model_to_choose_from() -> None:
    study = run_study("validation", seeds=2, epochs=3, few=60, models=1)
    assert not study.checks[1].passed
    assert study.checks[1].value == 0


def test_single_split_and_folds_are_alike_where_both_err_alike() -> None:
    random = np.random.default_rng(1)
    errors = random.normal(size=(40, 3)) * 0.03
    scores = random.normal(0.9, 0.03, size=(40, 5))
    check, luck = validation.decide(errors, scores, scores)
    assert not check.passed
    assert not luck.passed
    wide = errors * np.array([4.0, 1.0, 1.0])
    assert validation.decide(wide, scores, scores)[0].passed


def test_a_check_needs_its_whole_interval_inside_the_bounds() -> None:
    assert over_seeds("effect", [1.0, 1.1, 0.9], above=0.0).passed
    assert not over_seeds("effect", [1.0, -0.9, 0.8], above=0.0).passed
    assert not over_seeds("effect", [1.0, float("inf"), 1.0], above=0.0).passed
    assert not over_seeds("effect", [float("nan"), 1.0], below=5.0).passed
    assert not Check("effect", -1.2, -1.3, -1.05, 5, above=-1.1, below=-0.9).passed


def test_checks_of_noise_seldom_pass() -> None:
    random = np.random.default_rng(1)
    passed = [over_seeds("noise", random.normal(size=6), above=0.0).passed for _ in range(400)]
    assert np.mean(passed) < 0.05


def test_arms_of_pure_noise_are_false() -> None:
    random = np.random.default_rng(1)
    names = [*optimizer.OPTIMIZERS, *optimizer.SCHEDULES]
    losses = {name: random.lognormal(size=8) for name in names}
    assert not all(check.passed for check in optimizer.decide(losses))
    depths = {name: random.lognormal(size=8) for name in (depth.SHALLOW, depth.DEEP, depth.RESIDUAL)}
    assert not all(check.passed for check in depth.decide(depths))
    kept = {name: random.normal(size=8) for name in vanishing.ARMS}
    assert not all(check.passed for check in vanishing.decide(kept))


def test_batches_that_change_nothing_make_each_check_false() -> None:
    sizes, seeds = (8, 32, 128), np.array([[1.0], [1.1], [0.9]])
    noise, alike = seeds / np.array(sizes), np.broadcast_to(seeds, (3, 3))
    honest = batch_size.decide(sizes, noise, seeds / np.array(sizes), np.array(sizes)[:, None] * seeds.T)
    assert [check.passed for check in honest] == [True, True, True]
    nothing = batch_size.decide(sizes, alike, alike, alike.T)
    assert [check.passed for check in nothing] == [False, False, False]


def test_a_calibrated_network_makes_softmax_false() -> None:
    random = np.random.default_rng(1)
    calibrated = [softmax.Confidence(0.9 + e, 0.9, 0.02) for e in random.normal(size=8) * 0.01]
    checks = softmax.decide(calibrated, calibrated, np.full(8, 0.001))
    assert [check.passed for check in checks] == [False, False, True]
    assert not softmax.decide(calibrated, calibrated, np.full(8, 0.2))[2].passed


# --- the door and the command -----------------------------------------------------------------------------------------


def test_what_cannot_be_run_is_said() -> None:
    with pytest.raises(RecipeError, match="no study 'depht'. Did you mean 'depth'?"):
        run_study("depht")
    with pytest.raises(RecipeError, match="no setting 'epoch'. Did you mean 'epochs'?"):
        run_study("depth", epoch=3)
    with pytest.raises(RecipeError, match="seeds=1, but an interval over seeds needs at least 2"):
        run_study("depth", seeds=1)
    with pytest.raises(RecipeError, match="seed=-1, but"):
        run_study("depth", seed=-1)


@pytest.fixture
def small_studies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thalweg.study.run_study", partial(run_study, **SMALL["vanishing"]))


@pytest.mark.usefixtures("small_studies")
def test_the_command_prints_a_table_and_ends_with_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert study_command.study("vanishing") == 0
    out, err = capsys.readouterr()
    assert "sigmoid, batch norm" in out
    assert "The claim did not hold" in out or "The claim held" in out
    assert "about 0 s left" in err
    assert err.strip().splitlines()[-1] == str(Path("studies", "vanishing"))
    assert Path("studies", "vanishing", "figure.svg").is_file()


@pytest.mark.usefixtures("small_studies")
def test_the_command_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert study_command.study("vanishing", seed=1, out=Path("elsewhere"), json_=True, quiet=True) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert {"study", "claim", "held", "interval", "quantity", "seeds", "table", "settings"} <= set(document)
    assert document["seeds"] == [1000, 1001]
    assert err.strip() == str(Path("elsewhere", "vanishing"))


@pytest.mark.usefixtures("small_studies")
def test_a_condition_on_the_verdict_sets_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    held = study_command.study("vanishing", quiet=True, fail_if=("held!=true",)) == 0
    capsys.readouterr()
    assert study_command.study("vanishing", quiet=True, fail_if=(f"held={str(held).lower()}",)) == 3
    condition, folder = capsys.readouterr().err.strip().splitlines()
    assert condition.startswith("--fail-if 'held=")
    assert folder == str(Path("studies", "vanishing"))  # the last line, whatever a condition says
    with pytest.raises(RecipeError, match="--fail-if 'held=yes': held is true or false. Write 'held!=true'."):
        study_command.study("vanishing", fail_if=("held=yes",))
    with pytest.raises(RecipeError, match="there is no 'hold' in the results. Did you mean 'held'?"):
        study_command.study("vanishing", fail_if=("hold=true",))


@pytest.mark.parametrize(
    ("best", "found", "more"),
    [(3.0, 3.0, []), (30.0, 27.0, [27.0, 81.0]), (0.1, 1 / 9, [1 / 3, 1 / 9, 1 / 27])],
)
def test_a_rate_at_the_edge_of_its_grid_is_searched_beyond(
    best: float, found: float, more: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def trained(arms: dict[str, Any], *_: Any) -> dict[str, Any]:
        asked.extend(float(name.rpartition(" ")[2]) for name in arms)
        return arms

    monkeypatch.setattr(arms, "train_arms", trained)
    monkeypatch.setattr(
        arms, "best_rate", lambda trials, judge: min(trials, key=lambda rate: abs(np.log10(rate / best)))
    )
    rate = arms.tuned_rate("an arm", (1.0, 3.0, 9.0), lambda rate: [], lambda share, what: None)
    assert rate == pytest.approx(found)
    assert asked == pytest.approx([1.0, 3.0, 9.0, *more], rel=0.01)


def test_an_interrupt_ends_a_study() -> None:
    def interrupt(output: Any, target: Any) -> Any:
        raise KeyboardInterrupt

    (recipe,) = vanishing._recipes(vanishing.PLAIN, [0], depth=2, epochs=1, train=32)
    recipe = recipe.but(objective=interrupt)
    with pytest.raises(KeyboardInterrupt):
        arms.train_arms({"an arm": [recipe]}, lambda share, what: None)


def test_the_list_names_every_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert study_command.study(list_=True) == 0
    assert study_command.study() == 0
    out = capsys.readouterr().out
    assert all(name in out and claim in out for name, claim in STUDIES.items())
