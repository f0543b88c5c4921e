"""What is kept of runs without a table: predictions, calibration, and the pages that show them."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.loss import Gaussian
from thalweg.recipes import conclude
from thalweg.report import write_report

X = torch.randn(60, 1, 3, 4, generator=torch.Generator().manual_seed(0))


def concluded(folder: Path, y: Tensor, outputs: int, loss: Any, **changes: Any) -> Path:
    recipe = Recipe(
        data=Splits(train=(X[:40], y[:40]), validation=(X[40:50], y[40:50]), test=(X[50:], y[50:])),
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, outputs)),
        objective=loss,
        optimizer=partial(torch.optim.Adam, lr=0.01),
        epochs=3,
    ).but(**changes)
    run = thalweg.train(recipe, out=folder)
    conclude(run)
    assert run.path is not None
    return run.path


def test_classes_of_tensors_have_their_matrix_calibration_and_worst_examples(tmp_path: Path) -> None:
    path = concluded(tmp_path, (X.sum((1, 2, 3)) > 0).long(), 2, nn.CrossEntropyLoss())
    frame = pd.read_csv(path / "predictions" / "test.csv")
    assert list(frame)[:2] == ["pixel_0_0", "pixel_0_1"]
    assert list(frame)[-3:] == ["target", "prediction", "probability"]
    again = thalweg.load_run(path, Recipe(data=Splits(train=(X, X)), model=net, objective=nn.CrossEntropyLoss()))
    with torch.no_grad():
        scores = again.model(X[50:]).softmax(1)
    assert frame["prediction"].tolist() == scores.argmax(1).tolist()
    assert frame["probability"].tolist() == pytest.approx(scores.amax(1).tolist(), rel=1e-5)
    evaluation = json.loads((path / "evaluation.json").read_text())
    assert evaluation["target"] == {"names": ["target"], "kind": "classes", "labels": ["0", "1"]}
    assert set(evaluation["calibration"]) == {"error", "temperature", "error_after"}
    page = write_report(path).read_text()
    for heading in ("Which classes are taken for which", "Is it as sure as it is right?", "mistakes"):
        assert heading in page


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))


@pytest.mark.parametrize(
    ("columns", "outputs", "loss"), [(1, 1, nn.MSELoss()), (2, 2, nn.L1Loss()), (1, 2, Gaussian(variance="learned"))]
)
def test_numbers_of_tensors_have_residuals(columns: int, outputs: int, loss: nn.Module, tmp_path: Path) -> None:
    path = concluded(tmp_path, X.reshape(60, -1)[:, :columns].clone(), outputs, loss)
    frame = pd.read_csv(path / "predictions" / "test.csv")
    assert [name for name in frame if name.startswith("target")] == (
        ["target"] if columns == 1 else ["target_0", "target_1"]
    )
    assert json.loads((path / "evaluation.json").read_text())["calibration"] is None
    assert "The largest residuals" in write_report(path).read_text()


@thalweg.objective
def own(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean((1, 2))


def test_what_has_no_one_output_for_each_example_is_left_out(tmp_path: Path) -> None:
    y = torch.zeros(60, 2, 3)
    path = concluded(
        tmp_path, y, 6, own, model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Unflatten(1, (2, 3)))
    )
    assert not (path / "predictions").exists()
    assert "No predictions are kept beside this run" in write_report(path).read_text()
