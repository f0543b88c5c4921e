"""The run folder: what is in it, that it reads back to the same numbers, and what is said where it cannot."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch
from torch import nn

import thalweg
from thalweg import DataError, Recipe, RunError, Splits
from thalweg.core.files import write_bytes, write_json
from thalweg.data import bundled
from thalweg.recipes import conclude
from thalweg.training.weights import load_weights, save_weights


def iris_run(out: Path, *changes: str) -> thalweg.Run:
    return thalweg.train(thalweg.load("iris", assignments=["epochs=4", *changes]), out=out)


def test_a_run_folder_holds_all_that_a_run_leaves(tmp_path: Path) -> None:
    run = iris_run(tmp_path / "runs")
    conclude(run)
    assert run.path is not None
    files = sorted(str(file.relative_to(run.path)) for file in run.path.rglob("*") if file.is_file())
    assert files == [
        ".lock",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "evaluation.json",
        "metrics.jsonl",
        "predictions/test.csv",
        "predictions/validation.csv",
        "preprocessing.json",
        "recipe.json",
        "run.json",
        *(f"trajectory/epoch-00000{epoch}.safetensors" for epoch in range(5)),
    ]
    about = json.loads((run.path / "run.json").read_text())
    assert (about["status"], about["epochs"], about["name"]) == ("FINISHED", 4, "iris")
    assert about["run"] == run.path.name
    assert str(tmp_path) not in "".join(file.read_text() for file in run.path.rglob("*.json*"))
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert rows == run.history


def test_a_run_reads_back_to_the_same_numbers(tmp_path: Path) -> None:
    run = iris_run(tmp_path, "optimizer.lr=0.3", "epochs=12")
    again = thalweg.load_run(run.path)
    frame = bundled("iris").frame
    assert thalweg.predict(run, frame).equals(thalweg.predict(again, frame))
    assert (again.history, again.status, again.best_epoch) == (run.history, run.status, run.best_epoch)
    for name in ("model", "last"):
        ours, theirs = getattr(run, name).state_dict(), getattr(again, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert thalweg.evaluate(again, again.recipe.data.test) == thalweg.evaluate(run, run.recipe.data.test)
    assert again.recipe.difference(run.recipe) == ["data not compared"] or again.recipe.epochs == run.recipe.epochs


def test_a_changed_seed_is_read_back_with_the_run(tmp_path: Path) -> None:
    recipe = thalweg.load("iris", assignments=["epochs=3"]).but(seed=5, epochs=2)
    again = thalweg.load_run(thalweg.train(recipe, out=tmp_path).path)
    assert (again.recipe.seed, again.recipe.epochs) == (5, 2)
    assert [row["train_loss"] for row in thalweg.train(again.recipe).history] == [
        row["train_loss"] for row in again.history
    ]


def test_a_run_of_python_objects_needs_its_recipe_again(tmp_path: Path) -> None:
    x = torch.randn(20, 3)
    recipe = Recipe(data=Splits(train=(x, x)), model=lambda: nn.Linear(3, 3), objective=nn.MSELoss(), epochs=2)
    run = thalweg.train(recipe, out=tmp_path)
    with pytest.raises(RunError, match=r"trained from Python objects, .* thalweg.load_run\(path, recipe\)"):
        thalweg.load_run(run.path)
    again = thalweg.load_run(run.path, recipe)
    assert torch.equal(again.model(x), run.model(x))
    with pytest.raises(RunError, match="do not fit the model: bias, weight"):
        thalweg.load_run(run.path, recipe.but(model=lambda: nn.Linear(3, 2)))
    with pytest.raises(RunError, match="This run was not trained on a table"):
        thalweg.predict(again, bundled("iris").frame)


def test_a_recipe_changed_in_python_is_not_read_back_as_the_old_one(tmp_path: Path) -> None:
    recipe = thalweg.load("iris", assignments=["epochs=1"]).but(optimizer=partial(torch.optim.SGD, lr=0.1))
    run = thalweg.train(recipe, out=tmp_path)
    with pytest.raises(RunError, match="trained from Python objects"):
        thalweg.load_run(run.path)


def test_prediction_carries_labels_columns_and_the_unseen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = pd.DataFrame({"size": [1, 2, 3, 4] * 12, "colour": ["red", "blue"] * 24, "kind": ["a", "b"] * 24})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    recipe = thalweg.load(tmp_path / "rows.csv", data={"target": "kind"}, assignments=["epochs=30"])
    run = thalweg.train(recipe, out=tmp_path)
    new = pd.DataFrame({"note": ["x", "y"], "colour": ["red", "green"], "size": [1, 2]})
    predicted = thalweg.predict(thalweg.load_run(run.path), new, proba=True)
    assert list(predicted) == ["note", "colour", "size", "prediction", "probability", "probability_a", "probability_b"]
    assert predicted["prediction"][0] == "a"
    assert "'green'" in caplog.text
    with pytest.raises(DataError, match="colour"):
        thalweg.predict(run, new.rename(columns={"colour": "color"}))


def test_what_cannot_be_trained_leaves_nothing(tmp_path: Path) -> None:
    x = torch.randn(20, 3)
    recipe = Recipe(data=Splits(train=(x, x)), model=lambda: nn.Linear(4, 3), objective=nn.MSELoss())
    with pytest.raises(thalweg.RecipeError, match="expects 4 features"):
        thalweg.train(recipe, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_as_it_trains_says_so_in_its_folder(tmp_path: Path) -> None:
    class Once(nn.MSELoss):
        calls = 0

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            Once.calls += 1
            if Once.calls > 5:
                raise thalweg.RecipeError("worn out")
            return super().forward(output, target)

    x = torch.randn(20, 3)
    recipe = Recipe(data=Splits(train=(x, x)), model=lambda: nn.Linear(3, 3), objective=Once(), batch_size=2, epochs=9)
    with pytest.raises(thalweg.RecipeError, match="worn out"):
        thalweg.train(recipe, out=tmp_path)
    (folder,) = tmp_path.iterdir()
    about = json.loads((folder / "run.json").read_text())
    assert about["status"] == "FAILED"
    assert "worn out" in about["error"]


def test_tied_weights_are_written_once_and_read_back_tied(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7, bias=False))
        model[1].weight = model[0].weight
        return model

    model, other = tied(), tied()
    save_weights(model, tmp_path / "w.safetensors")
    assert list(safetensors.torch.load_file(tmp_path / "w.safetensors")) == ["0.weight"]
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(other[1].weight, model[0].weight)
    assert other[0].weight is other[1].weight


BROKEN: list[tuple[Any, str]] = [
    (lambda folder: (folder / "run.json").unlink(), "is no run folder: it has no run.json"),
    (lambda folder: (folder / "run.json").write_text("{"), "run.json is damaged"),
    (lambda folder: (folder / "checkpoints/best.safetensors").unlink(), "There are no weights at"),
    (lambda folder: (folder / "checkpoints/best.safetensors").write_bytes(b"\0" * 9), "best.safetensors cannot be"),
    (lambda folder: (folder / "preprocessing.json").unlink(), "has lost its preprocessing.json"),
    (
        lambda folder: write_json(
            folder / "run.json", json.loads((folder / "run.json").read_text()) | {"status": "RUNNING"}
        ),
        "was killed before it ended. Go on with it: thalweg resume",
    ),
]


@pytest.mark.parametrize(("breaks", "expected"), BROKEN, ids=[expected for _, expected in BROKEN])
def test_a_broken_run_folder_says_what_is_wrong(breaks: Any, expected: str, tmp_path: Path) -> None:
    run = iris_run(tmp_path)
    breaks(run.path)
    with pytest.raises(RunError, match=expected):
        thalweg.load_run(run.path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="cannot be made: .* Give a folder that can be written"):
        iris_run(tmp_path / "runs")


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
