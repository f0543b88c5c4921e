"""A step as one compiled graph: the same run to rounding, resumed to the bit, and eager where torch cannot trace it."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import bits, recipe
from torch import Tensor, nn

import thalweg
from thalweg import Outcome, RecipeError
from thalweg.training import compiled
from thalweg.training.build import prepare


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.battery
def test_compiled_runs_are_the_eager_ones_to_rounding_and_resume_to_the_bit(tmp_path: Path) -> None:
    """With each optimizer in turn: one process, for most of the time goes into the compiler's own start."""
    script = Path(__file__).with_name("compiling.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clip_norm": 1.0}, "clipping, steps of several batches and averages come between the gradient and the upd"),
        ({"optimizer": partial(torch.optim.Adagrad, lr=0.1)}, "Adagrad is none of Adam, AdamW, SGD"),
        ({"optimizer": partial(torch.optim.Adam, lr=0.1, amsgrad=True)}, "the optimizer's amsgrad is left to its own"),
        ({"loop": lambda model, optimizer, batches, objective: None}, "a loop of your own takes its steps itself"),
    ],
)
def test_why_a_step_is_not_compiled_is_said(changes: dict[str, Any], says: str) -> None:
    run = thalweg.train(recipe(compile=True, epochs=1, **changes))
    assert run.status is Outcome.FINISHED
    assert any(said.startswith(f"The step is not compiled: {says}") for said in run.notices), run.notices


def test_an_objective_that_asks_for_the_moment_is_not_compiled() -> None:
    @thalweg.objective
    def timed(model: nn.Module, batch: Any, moment: thalweg.Moment) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none") * (1 + moment.step)

    run = thalweg.train(recipe(compile=True, epochs=1, objective=timed))
    assert run.notices == (
        "The step is not compiled: the objective asks for the moment, which is another at every step.",
    )


class Branching(nn.Module):
    """What it does depends on the numbers that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output if float(x.detach().sum()) > 0 else 2 * output


def test_what_cannot_be_traced_goes_on_eagerly() -> None:
    eager, run = (thalweg.train(recipe(model=Branching, compile=compile)) for compile in (False, True))
    assert bits(run) == bits(eager)
    (said,) = run.notices
    assert said.startswith("The step is not compiled: ")


def test_auto_compiles_long_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    training = prepare(recipe(compile="auto"), torch.device("cpu"))
    before = {name: value.clone() for name, value in training.step.state_dict().items()}
    assert not compiled.pays(training)  # 24 steps
    monkeypatch.setattr(compiled, "COSTS", 1e-6)
    assert compiled.pays(training)
    assert all(torch.equal(value, before[name]) for name, value in training.step.state_dict().items())
    assert all(weight.grad is None for weight in training.model.parameters())
    assert bits(thalweg.train(recipe(compile="auto"))) != []


def test_what_is_no_way_to_compile_is_refused() -> None:
    with pytest.raises(RecipeError, match="compile='fast', but it is True, False, or 'auto': where the run is long"):
        recipe(compile="fast")
