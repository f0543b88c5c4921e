"""What is refused, and when: before anything is announced, and with names that belong together."""

from pathlib import Path

import pytest
import torch
from torch import nn

from thalweg import Recipe, Splits
from thalweg.cli import main
from thalweg.remedy.gaps import filling

SAME = """
import torch, thalweg
from torch import nn
m, x = nn.Linear(3, 2), torch.randn(50, 3)
recipe = thalweg.Recipe(
    data=thalweg.Splits(train=(x, (x[:, 0] > 0).long())), model=lambda: m, objective=nn.CrossEntropyLoss()
)
"""


def test_a_factory_of_one_model_is_refused_before_a_training_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("same.py").write_text(SAME)
    assert main(["diagnose", "same.py"]) == 2
    said = capsys.readouterr().err
    assert "training as it is" not in said
    assert "returns the same Linear each time" in " ".join(said.split())
    assert not Path("runs").exists()


def test_files_and_built_in_data_are_listed_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("houses.csv").write_text("a,b\n1,2\n")
    assert main(["diagnose", "qqqqqqqq"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "The files here: houses.csv. The built-in data: " in said
    assert main(["diagnose", "house.csv"]) == 2
    assert "Did you mean 'houses.csv'?" in capsys.readouterr().err


def test_gaps_are_not_filled_where_nothing_is_left_to_fill_from() -> None:
    x = torch.full((30, 2), torch.nan)
    recipe = Recipe(data=Splits(train=(x, torch.zeros(30, 1))), model=lambda: nn.Linear(2, 1), objective=nn.MSELoss())
    assert filling(recipe) is None
    x[0, 0] = 1.0
    assert filling(recipe) is not None
