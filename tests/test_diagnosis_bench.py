"""The benchmark of diagnose: its rules fire where they should, its errors are errors, its halves stay what they are."""

import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg.diagnosis import Cause

sys.path.append(str(Path(__file__).parent.parent / "bench"))
rules: ModuleType = import_module("diagnosis_rules")
certify: ModuleType = import_module("diagnosis_certify")
bench: ModuleType = import_module("diagnosis")
cases: ModuleType = import_module("diagnosis_cases")
TASK = "multi-class"


def history(epochs: int = 9, inputs: Any = (0.5, -1.0, 1.0), **changed: Any) -> Any:
    """A training in which all is as it should be, but for what is changed; a function is asked for each epoch."""
    made = []
    for number in range(epochs):
        sound = {
            "loss": 1.0 / (number + 1),
            "accuracy": 0.95 - 0.5 / (number + 1),
            "validation_accuracy": 0.9 - 0.5 / (number + 1),
            "gradients": [0.5, 1.0],
            "mean_gradients": [0.01, 0.02],
            "zeros": 0.1,
            "update_ratios": [1e-3, 1e-3],
            "variances": [0.02, 0.05],
            "silent": [0.5],
            "saturated": [0.1],
        }
        given = {name: value(number) if callable(value) else value for name, value in changed.items()}
        made.append(rules.Epoch(**(sound | given)))
    return rules.History(made, inputs)


def test_the_rules_are_silent_where_all_is_well() -> None:
    assert [tool(history(), TASK) for tool in rules.RULES.values()] == [None, None]


@pytest.mark.parametrize(
    ("changed", "symptom"),
    [
        ({"inputs": (12.0, 0.0, 30.0)}, "improper data"),
        ({"gradients": [9e-5, 0.1]}, "vanishing gradient"),
        ({"gradients": [71.0, 1.0]}, "exploding gradient"),
        ({"loss": 1000.0}, "exploding gradient"),
        ({"loss": float("nan"), "epochs": 1}, "exploding gradient"),
        ({"zeros": 0.7}, "dying ReLU"),
        ({"accuracy": lambda number: 0.9 - 0.05 * (number % 2)}, "oscillating loss"),
        ({"accuracy": lambda number: 0.03 * number, "validation_accuracy": 0.5}, "not converged"),
        ({"accuracy": lambda number: 0.7 + 0.009 * number}, "slow convergence"),
    ],
)
def test_a_symptom_of_auto_trainer(changed: dict[str, Any], symptom: str) -> None:
    assert rules.auto_trainer(history(**changed), TASK) == symptom


@pytest.mark.parametrize(
    "changed",
    [
        {"inputs": (9.9, 0.0, 30.0)},
        {"gradients": [9e-5, 0.05]},
        {"gradients": [1e-4, 1.0]},
        {"gradients": [69.0, 1.0]},
        {"zeros": 0.69},
        {"accuracy": lambda number: 0.9 - 0.02 * (number % 2)},
        {"zeros": lambda number: 0.9 * (number == 3)},  # between two looks
    ],
)
def test_auto_trainer_is_silent_below_its_thresholds(changed: dict[str, Any]) -> None:
    assert rules.auto_trainer(history(**changed), TASK) in (None, "oscillating loss", "slow convergence")[:1]


def test_auto_trainer_knows_no_regression() -> None:
    assert rules.auto_trainer(history(loss=1e6), "regression") == "n/a"


@pytest.mark.parametrize(
    ("changed", "symptom"),
    [
        ({"inputs": (0.5, -1.1, 1.0)}, "inputs out of range"),
        ({"inputs": (0.5, 0.0, 1.1)}, "inputs out of range"),
        ({"loss": float("inf")}, "numerical error"),
        ({"silent": [0.1, 0.7]}, "dead ReLU"),
        ({"saturated": [0.51]}, "saturated activation"),
        ({"mean_gradients": [9e-8, 0.1]}, "vanishing gradient"),
        ({"variances": [0.1, 9e-6]}, "improper weights"),
        ({"variances": [11.0, 0.1]}, "improper weights"),
        ({"update_ratios": [9e-6, 1e-3]}, "improper learning rate"),
        ({"update_ratios": [1e-3, 0.11]}, "improper learning rate"),
        ({"loss": 0.5}, "loss not changing"),
        ({"accuracy": 0.5, "epochs": 20}, "accuracy not changing"),
    ],
)
def test_a_symptom_of_deep_diagnosis(changed: dict[str, Any], symptom: str) -> None:
    assert rules.deep_diagnosis(history(**changed), TASK) == symptom


@pytest.mark.parametrize("changed", [{"loss": 0.5, "epochs": 4}, {"accuracy": 0.5, "epochs": 19}, {"inputs": None}])
def test_deep_diagnosis_waits(changed: dict[str, Any]) -> None:
    assert rules.deep_diagnosis(history(**changed), TASK) is None


def separable(**changed: Any) -> thalweg.Recipe:
    """Two classes on either side of a line, by a small network."""
    x = torch.rand(120, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = (x.sum(1) > 0).long()
    recipe = thalweg.Recipe(
        data=thalweg.Splits(train=(x[:80], y[:80]), validation=(x[80:], y[80:])),
        model=lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        batch_size=16,
        epochs=6,
    )
    return recipe.but(**changed)


def test_hooks_see_what_happens() -> None:
    seen = rules.watched(separable(), TASK)
    assert len(seen.epochs) == 6
    assert seen.relu
    assert seen.epochs[-1].loss < seen.epochs[0].loss
    assert seen.epochs[-1].validation_accuracy > 0.8
    assert all(len(epoch.gradients) == len(epoch.update_ratios) == 2 for epoch in seen.epochs)
    assert 0 < seen.epochs[0].silent[0] < 1


def test_a_gradient_that_never_comes_is_zero() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).detach())

    first, second = rules.watched(separable(model=Cut), TASK).epochs[0].gradients
    assert first == 0 < second


def test_errors_of_each_task() -> None:
    numbers = torch.tensor([[0.0], [2.0], [4.0]])
    assert certify.wrong("regression", torch.full((3, 1), 2.0), numbers).mean() == pytest.approx(1.0)  # R2 = 0
    assert certify.wrong("regression", numbers[:, 0], numbers).mean() == 0
    assert certify.wrong("binary", torch.tensor([[2.0], [-1.0]]), torch.tensor([[1.0], [1.0]])).tolist() == [0, 1]
    several = certify.wrong("multi-label", torch.tensor([[1.0, -1.0, 1.0, 1.0]]), torch.tensor([[1.0, 0, 0, 1]]))
    assert several.tolist() == [0.25]
    steps = certify.wrong("sequence", torch.eye(3)[None], torch.tensor([[0, 1, 1]]))
    assert steps.tolist() == pytest.approx([1 / 3])
    assert certify.wrong("regression", torch.full((3, 1), float("nan")), numbers).tolist() == [10, 10, 10]


def test_what_is_read_of_outputs_can_be_said() -> None:
    half = certify.wrong(
        "binary", torch.tensor([[0.6], [0.4]]), torch.tensor([[1.0], [0.0]]), lambda output: output - 0.5
    )
    assert half.tolist() == [0, 0]


def test_what_is_not_known_is_not_counted() -> None:
    logits, classes = torch.eye(3)[None].expand(2, 3, 3), torch.tensor([[0, 2, -100], [-100, -100, -100]])
    assert certify.wrong("sequence", logits, classes).tolist() == [0.5, 0]
    labels = torch.tensor([[1.0, 0.0, -1.0], [0.0, -1.0, -1.0]])
    assert certify.wrong("multi-label", torch.ones(2, 3), labels).tolist() == [0.5, 1]


def test_inputs_of_several_tensors_and_several_outputs() -> None:
    first, second = torch.arange(5.0), torch.ones(5)
    both = certify.outputs(lambda a, b: (a + b, a - b), (first, second), 2)
    assert [each.tolist() for each in both] == [[1, 2, 3, 4, 5], [-1, 0, 1, 2, 3]]
    assert certify.outputs(lambda b, a: a - b, {"a": first, "b": second}, None).tolist() == [-1, 0, 1, 2, 3]
    tickets = cases.SETUPS["tickets-of-two-tasks"]
    x, urgent = certify.split_of(tickets(), "validation", tickets.opens)
    assert x.shape == (300, 8)
    assert set(urgent.tolist()) == {0.0, 1.0}


def test_how_outputs_are_read_is_that_of_the_setup() -> None:
    case = cases.CASES["a-rate-whose-log-is-linear"]
    assert case.reads is case.twin_reads is cases.SETUPS["bikes-poisson"].reads is torch.exp


def test_all_that_counts_is_certified() -> None:
    known = certify.certified()
    counted = [row["verdict"] for row in known.values() if row["verdict"] in ("planted", "healthy")]
    assert set(known) == set(cases.CASES)
    assert (counted.count("planted"), counted.count("healthy")) == (369, 151)


def test_the_cases_have_names_that_tell_and_halves_that_stay() -> None:
    halves = [cases.half(name) for name in cases.CASES]
    assert 0.4 < np.mean([half == "develop" for half in halves]) < 0.6
    assert cases.half("digits-mlp") == "develop"
    for case in cases.CASES.values():
        assert case.mechanism
        assert case.cause not in case.also


def test_the_hash_of_a_case_follows_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.CASES["too-few-epochs"]
    before = case.source
    assert before == case.source
    assert before != cases.CASES["too-few-epochs-for-a-curve"].source
    made = import_module("diagnosis_cases.case")
    program = made._program
    monkeypatch.setattr(made, "_program", lambda text: program(text.replace("nn.GRU(12", "nn.GRU(13")))
    assert case.source != before
    assert program("def f():\n    '''Said.'''\n    return 1  # so") == program("def f():\n\n    return 1")


def finding(cause: str, *ranked: str) -> dict[str, Any]:
    return {"cause": cause, "ranked": [{"cause": name} for name in ranked], "mechanism": "so"}


def test_what_counts_as_right() -> None:
    case = cases.CASES["inputs-and-labels-shuffled-apart"]
    assert case.cause is Cause.WIRING
    assert bench.right(case, finding("WIRING"), 1)
    assert bench.right(case, finding("DATA", "DATA"), 1)  # the same thing by another name
    assert not bench.right(case, finding("UNDECIDED", "OPTIMIZATION", "WIRING"), 1)
    assert bench.right(case, finding("UNDECIDED", "OPTIMIZATION", "WIRING"), 2)
    assert not bench.right(case, finding("NONE", "OPTIMIZATION", "WIRING"), 2)
    assert not bench.right(case, {"error": "RecipeError: so"}, 2)


def test_the_summary_counts() -> None:
    rows = {
        "digits-mlp": finding("NONE", "NONE"),
        "digits-sgd": finding("OVERFITTING"),
        "wine-mlp": finding("UNDECIDED"),
        "a-rate-too-low": finding("OPTIMIZATION"),
        "two-hidden-units": finding("UNDECIDED", "MODEL_BIAS"),
        "fifty-digits": finding("MODEL_BIAS", "MODEL_BIAS", "OVERFITTING"),
    }
    told = {name: text.split(" = ")[0] for name, text in bench.summary(rows).items()}
    assert told == {
        "flagged with a cause": "2 of 3",
        "flagged, UNDECIDED too": "3 of 3",
        "right cause first": "1 of 3",
        "right among first two": "3 of 3",
        "false alarms": "1 of 3",
        "false alarms, UNDECIDED too": "2 of 3",
        "errors": "0 of 6",
    }


def test_a_case_that_runs_out_of_time_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(bench, "diagnosed", lambda case: [bench.process_time() for _ in iter(int, 1)])
    name, _, row = bench.timed("digits-mlp", "diagnose", 0.2)
    torch.set_num_threads(threads)
    assert (name, row["error"]) == ("digits-mlp", "longer than 0.2 s")


def test_what_a_case_raises_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Any) -> Any:
        raise ValueError("so")

    monkeypatch.setattr(bench, "diagnosed", broken)
    assert bench.timed("digits-mlp", "diagnose", 5.0)[2]["error"] == "ValueError: so"
