"""Descriptions say the same in every process; what holds tensors is moved to the device of the run."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thalweg
from thalweg.core.description import describe_piece
from thalweg.core.step import Step
from thalweg.optim import Cosine, Grouped, WarmUp
from thalweg.training.judging import Judge


def accuracy(output: Any, target: Any) -> Any:
    return output == target


class Nameless:
    """Something whose text is an address."""


one, two = lambda x: x + 1, lambda y: (lambda z: z)(y)


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        ({"accuracy": accuracy}, "{'accuracy': accuracy}"),
        (
            {"hits": lambda output, target: (output == target).float()},
            "{'hits': lambda output, target: (output == target).float()}",
        ),
        (one, "lambda x: x + 1"),
        (two, "lambda y: (lambda z: z)(y)"),
        (lambda: 0, "lambda: 0"),
        (partial(accuracy, 3, target=one), "accuracy(3, target=lambda x: x + 1)"),
        ([accuracy, None], "[accuracy, None]"),
        ((accuracy,), "(accuracy,)"),
        ([1] * 9, "list of 9"),
        (WarmUp(0.1, then=Cosine()), "WarmUp(length=0.1, then=Cosine(floor=0.0))"),
        (
            Grouped(partial(torch.optim.AdamW, lr=0.1)),
            "Grouped(factory=AdamW(lr=0.1), lr_factors={}, decay_norms_and_biases=False)",
        ),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
        ({"x": torch.ones(2, 3)}, "{'x': Tensor(2, 3)}"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_piece_is_said_by_names_and_as_it_is_written(piece: Any, said: str) -> None:
    assert describe_piece(piece) == said


def test_an_address_is_left_out_and_a_long_text_is_cut() -> None:
    assert describe_piece(Nameless()).endswith("Nameless object>")
    assert len(describe_piece({str(i): accuracy for i in range(99)})) == 200


def test_a_lambda_without_a_file_is_said_to_be_one() -> None:
    assert describe_piece(eval("lambda: 3")) == "a lambda"


SCRIPT = """\
import torch
from functools import partial
from torch import nn
import thalweg
from thalweg.optim import Grouped


def accuracy(output, target):
    return (output - target).abs().mean()


class Own:
    def __call__(self, history):
        return False


x = torch.linspace(-1, 1, 20)[:, None]
recipe = thalweg.Recipe(
    data=thalweg.Splits(train=(x, x.square()), validation=(x, x.square())),
    model=lambda: nn.Linear(1, 1),
    objective=nn.MSELoss(),
    optimizer=Grouped(partial(torch.optim.AdamW, lr=0.1)),
    metrics={"accuracy": accuracy, "far": lambda output, target: (output - target).abs().max()},
    penalty=lambda model: 0.1 * model.weight.square().sum(),
    stopping=Own(),
    epochs=1,
)
print(thalweg.train(recipe, out="runs", device="cpu").path)
"""


@pytest.mark.battery
def test_two_processes_write_the_same_recipe(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    written = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        written.append((tmp_path / done.stdout.strip().splitlines()[-1] / "recipe.json").read_text())
    assert written[0] == written[1]
    assert "0x" not in written[0]
    fields = json.loads(written[0])["fields"]
    assert fields["metrics"].startswith("{'accuracy': accuracy, 'far': lambda output, target: (output - target)")


# --- devices: torch's meta device stands for any that is not the CPU ---


class Prior(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, model: nn.Module) -> torch.Tensor:
        return (model.weight - self.mean).square().sum()


class Scaled(Prior):
    """As a marked metric."""

    thalweg_objective = True

    def forward(self, model: nn.Module, batch: Any) -> torch.Tensor:  # type: ignore[override]
        return (model(batch[0]) * self.mean).flatten()


def test_a_penalty_that_holds_tensors_moves_and_the_recipes_own_stays() -> None:
    prior = Prior()
    step = Step(nn.Linear(1, 1), nn.MSELoss(), prior).to("meta")
    assert step.penalty.mean.is_meta
    assert not prior.mean.is_meta


def test_judge_and_marked_metrics_move_and_the_recipes_own_stay() -> None:
    x = torch.ones(3, 2)
    loss, metric = nn.CrossEntropyLoss(weight=torch.ones(2)), Scaled()
    recipe = thalweg.Recipe(
        data=thalweg.Splits(train=(x, torch.zeros(3, dtype=torch.int64))),
        model=lambda: nn.Linear(2, 2),
        objective=nn.CrossEntropyLoss(),
        judge=loss,
        metrics={"scaled": metric},
    )
    judge = Judge.of(recipe)
    with judge._judging(nn.Linear(2, 2), torch.device("meta")):
        assert judge.objective.inner.weight.is_meta
        assert judge.marked["scaled"].inner.mean.is_meta
    assert not loss.weight.is_meta
    assert not metric.mean.is_meta
