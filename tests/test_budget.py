"""What experiments may cost, how long they take, and what an interrupt leaves of them."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg import Cause, Recipe, RecipeError, Splits
from thalweg.cli import main
from thalweg.cli.stages import Stages
from thalweg.diagnosis import Budget, Cost, Interrupted, Progress, Stage, plan, tree
from thalweg.diagnosis.arms import ADAM, ANEW, UNSCHEDULED
from thalweg.diagnosis.budget import DEAR
from thalweg.diagnosis.checking import PROBE
from thalweg.diagnosis.compare import loss_over_runs, student
from thalweg.diagnosis.fitting import BIGGER, SAME
from thalweg.diagnosis.further_arms import BEGUN, CLIPPED, MOMENTUM, NORMED, REMEMBERING, WARMED
from thalweg.diagnosis.pace import Pace, timed_step


def test_a_budget_is_a_number_of_trainings_or_a_time() -> None:
    assert Budget.of(6) == Budget.of("6") == Budget.of("6x") == Budget(times=6.0)
    assert Budget.of("90s") == Budget.of("1.5m") == Budget(seconds=90.0)
    assert Budget.of("1h").seconds == 3600
    left = Budget.of("1m").less(Cost(3, 45.0, 7.0))
    assert left.holds(1e9, 15.0)
    assert not left.holds(1.0, 15.1)
    assert Budget.of(6).less(Cost(1, 1.0, 6.0)).spent


@pytest.mark.parametrize("given", ["-3", "0", "0m", 0, -1])
def test_a_budget_of_nothing_is_refused(given: str | float) -> None:
    with pytest.raises(RecipeError, match=rf"budget={given!r}, but experiments cost something: give how .* \"10m\""):
        Budget.of(given)


@pytest.mark.parametrize("given", ["", "ten", "10 minutes", "nan", float("nan")])
def test_what_is_no_budget_is_refused(given: str | float) -> None:
    says = rf"budget={given!r} is neither a number of trainings nor a time with a unit: give how many .* \"10m\""
    with pytest.raises(RecipeError, match=says):
        Budget.of(given)


def too_small(epochs: int) -> Recipe:
    """Two hidden units for a hundred digits, of which fifty are left to judge by: a diagnosis of seconds."""
    whole = thalweg.cases.get("too-small")
    (x, y), (x_judged, y_judged) = whole.data.train, whole.data.validation
    return whole.but(data=Splits(train=(x[:100], y[:100]), validation=(x_judged[:50], y_judged[:50])), epochs=epochs)


AT_REST = "where it came to a standstill"
SLOW = ["epochs=15", "optimizer.lr=1e-5"]


def interrupts_at(name: str) -> Progress:
    def progress(stage: Stage) -> None:
        if stage.name.startswith(name):
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_diagnosis_keeps_its_evidence() -> None:
    with pytest.raises(Interrupted) as caught:
        thalweg.diagnose(too_small(epochs=15), progress=interrupts_at("trained 3 x"))
    finding = caught.value.finding
    assert finding.cause is Cause.UNDECIDED
    (experiment,) = finding.experiments
    assert experiment.control.name == "as it is"
    assert experiment.arms[0].name == "learning rate x 10"
    assert experiment.says == f"Interrupted after {len(experiment.arms)} of its arms."
    assert finding.cost.runs == 1 + len(experiment.arms)


@pytest.mark.battery
def test_an_interrupted_improvement_has_kept_every_round() -> None:
    kept = []
    with pytest.raises(KeyboardInterrupt):
        thalweg.improve(
            thalweg.load("iris", assignments=SLOW), progress=interrupts_at("the runs with it"), keep=kept.append
        )
    (turn,) = kept[-1]
    assert turn.finding.cause is Cause.OPTIMIZATION
    assert turn.proofs == ()


def test_an_interrupted_command_leaves_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = Stages.__call__

    def interrupted(self: Stages, stage: Stage) -> None:
        told(self, stage)
        interrupts_at("the runs with it")(stage)

    monkeypatch.setattr(Stages, "__call__", interrupted)
    assert main(["improve", "iris", *(part for knob in SLOW for part in ("--set", knob)), "--quiet"]) == 130
    out, err = capsys.readouterr()
    assert "Interrupted in round 1: what it has shown is kept in " in out
    page = Path(err.strip().splitlines()[-1])
    text = page.read_text(encoding="utf-8")
    assert "goes all of the way from the train loss to the floor" in text
    assert "It was interrupted: this is what was found until then." in text
    assert json.loads((page.parent / "diary.json").read_text())["ended"] == "it was interrupted"
    assert json.loads((page.parent / "run.json").read_text())["status"] == "INTERRUPTED"


def test_a_time_that_is_spent_ends_a_diagnosis_after_the_training_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    finding = thalweg.diagnose(too_small(epochs=2), budget=Budget(seconds=1e-3), progress=lambda s: told.append(s.name))
    assert told == ["as it is"]
    assert (finding.cause, finding.cost.runs) == (Cause.UNDECIDED, 1)
    assert set(finding.losses) == {"train", "validation", "test"} & set(finding.losses)
    assert finding.mechanism == "the time of 0.001 s was spent before the experiments decided"
    assert finding.would_decide == "A larger budget than 0.001 s."


@pytest.mark.parametrize("last", ["reference learners", "checks of the data", "checks of wiring and dynamics"])
def test_what_is_asked_between_trainings_ends_with_the_time_too(last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    laboratory = tree.Laboratory
    monkeypatch.setattr(laboratory, "time_is_over", property(lambda lab: last in told))
    finding = thalweg.diagnose(too_small(epochs=2), progress=lambda stage: told.append(stage.name))
    assert told[-1] == last
    assert finding.cause is Cause.UNDECIDED
    assert {"train", "validation"} <= set(finding.losses)


def test_a_time_budget_ends_an_improvement_and_says_so() -> None:
    result = thalweg.improve(too_small(epochs=2), budget=Budget(seconds=1e-3))
    assert result.ended == "the budget is spent"
    assert (len(result.diary), result.proofs) == (1, [])


def test_a_loss_over_runs_has_no_interval_that_goes_below_0() -> None:
    random = np.random.default_rng(0)
    for n in (3, 5, 9):
        told = [loss_over_runs(random.lognormal(0, 1, n)) for _ in range(300)]
        assert all(0 < each.low < each.value < each.high for each in told)
        held = np.mean([each.low < np.exp(0.5) < each.high for each in told])
        own = np.mean([one.low < np.exp(0.5) < one.high for one in (student(random.lognormal(0, 1, n)) for _ in told)])
        assert held > own - 0.03  # it holds the mean as often as Student's
    near = 1 + 0.001 * random.normal(size=5)
    assert loss_over_runs(near).low == pytest.approx(student(near).low, rel=1e-5)
    assert loss_over_runs(near - 2) == student(near - 2)
    assert np.isnan(loss_over_runs(near[:2]).low)
    assert loss_over_runs(near[:2]).value == near[:2].mean()


@pytest.mark.battery
def test_a_stage_says_what_it_takes_and_what_may_follow() -> None:
    assert str(Stage("longer", 2.6, 100.0)) == "longer (about 3 s; at most 1 min 40 s to go)"
    assert str(Stage("longer", 0.2)) == "longer"
    told: list[Stage] = []
    thalweg.diagnose(too_small(epochs=15), budget=12, progress=told.append)
    assert [stage.name for stage in told][:2] == ["as it is", "reference learners"]
    timed = [stage for stage in told if stage.seconds is not None]
    untimed = {stage.name for stage in told if stage.seconds is None}
    assert untimed == {"reference learners", "checks of the data", "checks of wiring and dynamics", AT_REST}
    assert len(timed) >= 4
    assert all(stage.left >= stage.seconds for stage in timed if stage.left is not None and stage.seconds is not None)


def test_the_pace_follows_examples_epochs_and_size() -> None:
    x, y = torch.randn(64, 32), torch.randn(64, 1)
    recipe = Recipe(data=Splits(train=(x, y)), model=lambda: nn.Linear(32, 1), objective=nn.MSELoss(), epochs=4)
    pace = Pace(recipe, (x, y), 640, torch.device("cpu"))
    pace.learn(2.0)
    assert pace.seconds(recipe, 640) == pytest.approx(2.0)
    assert pace.seconds(recipe.but(epochs=8), 320) == pytest.approx(2.0)
    huge = recipe.but(model=lambda: nn.Sequential(nn.Linear(32, 4000), nn.Linear(4000, 1000), nn.Linear(1000, 1)))
    assert (pace.seconds(huge, 640) or 0) > 8.0
    broken = recipe.but(model=lambda: nn.Linear(31, 1))
    assert timed_step(broken, (x, y), torch.device("cpu")) is None


def test_a_plan_prices_every_arm_and_trains_nothing() -> None:
    arms = {arm.arm: arm for arm in plan(thalweg.cases.get("too-small"))}
    assert arms["as it is"].times == 1.0
    assert arms["trained 3 x as long"].times == 3.0
    assert 1 < arms["4 x as wide"].times < 1.1  # a small network costs its steps, not its parameters
    assert all(arm.seconds is not None and arm.seconds > 0 for arm in arms.values())
    learners = arms["reference learners and checks of the data, which train no network"]
    assert learners.times == 0
    assert (learners.seconds or 0) > 1  # they take longer than a short training, and are listed
    assert arms["checks of wiring and dynamics"].times == PROBE


def test_a_plan_names_what_the_recipe_can_have() -> None:
    small = thalweg.cases.get("too-small")
    arms = {arm.arm for arm in plan(small)}
    assert {"inputs standardized", ADAM, WARMED, MOMENTUM, CLIPPED} <= arms
    assert not arms & {ANEW, REMEMBERING, BEGUN, NORMED, UNSCHEDULED}  # no such layers, too few of them, no schedule
    constant = small.but(schedule=lambda step, steps: 1.0, clip_norm=1.0, optimizer=partial(torch.optim.Adam, lr=1e-3))
    arms = {arm.arm for arm in plan(constant)}
    assert UNSCHEDULED in arms
    assert not arms & {ADAM, CLIPPED, "inputs standardized, and Adam at its usual rate"}


@pytest.mark.battery
@pytest.mark.parametrize("case", ["too-small", "rate-too-low", "vanishing-gradient"])
def test_what_a_diagnosis_trains_stands_in_its_plan(case: str) -> None:
    recipe = thalweg.cases.get(case)
    arms = {arm.arm for arm in plan(recipe)}
    asked = [one for one in thalweg.diagnose(recipe).experiments if one.question in (SAME, BIGGER)]
    names = [arm.name.partition(", learning rate")[0] for one in asked for arm in one.arms]
    assert names
    assert set(names) <= arms


@pytest.mark.battery
def test_a_long_training_is_given_fewer_of_its_kind_where_no_budget_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "LONG", 0.0)
    finding = thalweg.diagnose(thalweg.cases.get("too-small"))
    assert finding.cost.times <= DEAR
    assert finding.would_decide is None or "6 times the training" in finding.would_decide
    given = thalweg.diagnose(thalweg.cases.get("too-small"), budget=7)
    assert DEAR < given.cost.times <= 7
