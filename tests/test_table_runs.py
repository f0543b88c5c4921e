"""Runs over tables: what was decided is said, and every number is in the units that the user reads."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import thalweg
from thalweg.core.errors import DataError, RecipeError, RunError
from thalweg.core.notices import collecting
from thalweg.data import TableSource, load_table, read_table
from thalweg.measure import mae
from thalweg.recipes.conclusion import conclude
from thalweg.recipes.predict import judge_file, kept_temperature
from thalweg.training.evaluate import evaluate_model
from thalweg.training.weights import load_weights

ROWS = 127


def cells(**columns: Callable[[int], Any]) -> str:
    lines = [",".join(columns), *(",".join(str(cell(i)) for cell in columns.values()) for i in range(ROWS))]
    return "\n".join(lines) + "\n"


def size(i: int) -> float:
    return (37 * i % ROWS) / ROWS - 0.5


def kind(i: int) -> str:
    return "big" if size(i) > 0.1 else "small"


def said(text: str, **options: Any) -> str:
    with collecting() as notices:
        load_table(io.StringIO(text), **{"target": "y"} | options)
    return "\n".join(notices)


def run_of(folder: Path, text: str, epochs: int = 2, **data: Any) -> thalweg.Run:
    file = folder / "table.csv"
    file.write_text(text)
    with collecting():
        recipe = thalweg.load(file, data={"target": "y"} | data, assignments=[f"epochs={epochs}"])
        return thalweg.train(recipe, out=folder / "runs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


# --- numbers in their own units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("center", "spread"), [(1.7e9, 100.0), (1e9, 3e-3)])
def test_scores_of_targets_far_from_zero_are_those_of_the_predictions(
    folder: Path, center: float, spread: float
) -> None:
    run = run_of(folder, cells(a=size, b=lambda i: size(i + 5), y=lambda i: f"{center + spread * size(i):.9f}"))
    assert run.recipe is not None
    scores = thalweg.evaluate(run, run.recipe.data.test)
    told = thalweg.predict(run, run.recipe.data.test.rows)
    y, off = told["y"].astype(float), told["prediction"] - told["y"].astype(float)
    assert scores["mae"][0] == pytest.approx(off.abs().mean(), rel=1e-6)
    assert scores["r2"][0] == pytest.approx(1 - (off**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-6)


def test_each_of_a_few_targets_has_its_own_metrics(folder: Path) -> None:
    text = cells(a=size, price=lambda i: 1e5 * (2 + size(i)), rooms=lambda i: size(i + 3))
    run = run_of(folder, text, target="price,rooms")
    assert run.recipe is not None
    scores = thalweg.evaluate(run, run.recipe.data.test)
    told = thalweg.predict(run, run.recipe.data.test.rows)
    for name in ("price", "rooms"):
        off = told[f"prediction_{name}"] - told[name].astype(float)
        assert scores[f"mae_{name}"][0] == pytest.approx(off.abs().mean())
        assert scores[f"rmse_{name}"][0] == pytest.approx(np.sqrt((off**2).mean()))
    assert scores["mae"][0] == pytest.approx((scores["mae_price"][0] + scores["mae_rooms"][0]) / 2)


def test_errors_of_zero_are_no_share_of_successes() -> None:
    x = torch.arange(7.0)[:, None]
    data = thalweg.Splits(train=(x, x))
    within = {"mae": mae, "right": lambda output, target: (output == target).float()[:, 0]}
    recipe = thalweg.Recipe(
        data=data, model=lambda: torch.nn.Linear(1, 1), objective=torch.nn.MSELoss(), metrics=within
    )
    source = thalweg.core.convert.as_source(data.train, "train", thalweg.core.convert.Batching(7, None))
    scores = evaluate_model(torch.nn.Identity(), recipe, source, torch.device("cpu"), 0.95)
    assert scores["mae"] == (0, 0, 0)
    assert scores["right"][0] == 1 > scores["right"][1] > 0.5


# --- weights ----------------------------------------------------------------------------------------------------------


def test_a_run_with_weights_is_judged_on_a_file_without_them_and_that_is_said(folder: Path) -> None:
    run = run_of(folder, cells(a=size, w=lambda i: 1 + i % 3, y=kind), weights="w")
    bare, even = folder / "bare.csv", folder / "even.csv"
    bare.write_text(cells(a=size, y=kind))
    even.write_text(cells(a=size, w=lambda i: 1, y=kind))
    with collecting() as notices:
        scores = judge_file(run, str(bare))
    assert scores == judge_file(run, str(even))
    assert "The table has no column 'w' of weights: every row counts alike." in notices


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("", "The weights 'w' are missing in lines 2, 3, .* leave off --weights"),
        ("0", "are 0 in every row.*a file to judge needs no such column"),
    ],
)
def test_weights_that_cannot_be_judged_by(weight: str, expected: str, folder: Path) -> None:
    run = run_of(folder, cells(a=size, w=lambda i: 1 + i % 3, y=kind), weights="w")
    (folder / "new.csv").write_text(cells(a=size, w=lambda i: weight, y=kind))
    with pytest.raises(DataError, match=expected):
        judge_file(run, str(folder / "new.csv"))


def test_a_file_without_the_groups_is_judged_by_rows_and_that_is_said(folder: Path) -> None:
    run = run_of(folder, cells(a=size, g=lambda i: f"g{i % 11}", y=kind), group="g")
    (folder / "new.csv").write_text(cells(a=size, y=kind))
    with collecting() as notices:
        scores = judge_file(run, str(folder / "new.csv"))
    assert "The table has no column 'g' of groups: intervals resample its rows one by one." in notices
    assert scores["loss"][1] < scores["loss"][0] < scores["loss"][2]


@pytest.mark.parametrize("lines", ["a,y\n0.25,big\n", "a,g,y\n0.25,g1,big\n0.25,g1,small\n"])
def test_a_single_row_or_group_has_no_interval(lines: str, folder: Path) -> None:
    run = run_of(folder, cells(a=size, g=lambda i: f"g{i % 11}", y=kind), group="g")
    (folder / "new.csv").write_text(lines)
    with collecting():
        scores = judge_file(run, str(folder / "new.csv"))
    for name in ("loss", "accuracy", "balanced_accuracy", "f1"):
        assert np.isfinite(scores[name][0])
        assert np.isnan(scores[name][1:]).all(), name


# --- decisions --------------------------------------------------------------------------------------------------------


def test_the_rows_of_every_split_are_said() -> None:
    assert "Split: train 77 rows; validation 25 rows; test 25 rows." in said(cells(a=size, y=kind))
    assert "validation none; test 25 rows" in said(cells(a=size, y=kind), validation_share=0)
    grouped = said(cells(a=size, who=lambda i: i // 4, y=kind), group="who")
    assert "Split by group 'who', which is no input: train" in grouped
    assert "rows of 6 groups" in grouped or "rows of 7 groups" in grouped
    day = pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d")
    timed = said(cells(a=size, day=lambda i: day[i], y=kind), time="day")
    assert "Split by time 'day', which is no input: train 76 rows from 2024-01-01 to 2024-03-16; " in timed
    assert "test 25 rows from 2024-04-12 to 2024-05-06." in timed


def test_categories_imputed_cells_and_weights_are_said() -> None:
    text = cells(a=lambda i: "" if i in (3, 5) else size(i), c=lambda i: "uv"[i % 2], w=lambda i: 1 + i % 2, y=kind)
    notices = said(text, missing="impute", weights="w")
    assert "Taken as categories: 'c' (2)." in notices
    assert "Imputed: 2 missing cells, 'a' (2)." in notices
    assert "Column 'w' is no input: it weighs the rows in the loss; metrics count all rows alike." in notices


def test_a_rare_class_is_said_with_what_helps() -> None:
    rare = said(cells(a=size, y=lambda i: "fraud" if i % 42 == 0 else "fine"))
    assert "Class 'fraud' is rare, 4 of 127 rows (0.031): trust balanced_accuracy more than accuracy" in rare
    assert "--set objective.class_weights=balanced" in rare
    assert "rare" not in said(cells(a=size, y=kind))


def test_true_and_false_are_said_as_such() -> None:
    assert "is true or false: taken as 2 classes (False, True)" in said(cells(a=size, y=lambda i: size(i) > 0))


def test_dates_with_hours_are_dates() -> None:
    notices = said(cells(a=size, at=lambda i: f"2024-01-{1 + i % 27:02}T0{i % 8}:30:00", y=kind))
    assert "Column left out: 'at'" in notices
    assert "dates, which networks cannot read; add columns of numbers (month, weekday, days since), or split" in notices


# --- errors -----------------------------------------------------------------------------------------------------------


def test_the_cell_that_is_no_time_is_named_with_its_line() -> None:
    text = cells(a=size, day=lambda i: "soon" if i == 97 else f"2024-01-{1 + i % 28:02}", y=kind)
    with pytest.raises(DataError, match="The time 'day' holds 'soon' in line 99, but times are .* Write it so"):
        load_table(io.StringIO(text), target="y", time="day")


def test_cells_that_cannot_be_imputed_are_not_offered_to_be() -> None:
    text = cells(a=lambda i: "" if i == 2 else size(i), w=lambda i: "" if i == 5 else 1, y=kind)
    with pytest.raises(DataError, match=r"none can be imputed.*: 'w' 1 \(line 7\)\. .*drop, which leaves out 2 of 127"):
        load_table(io.StringIO(text), target="y", weights="w")


def test_a_feature_is_named_once() -> None:
    with pytest.raises(DataError, match="--features names 'a' more than once. Name each column once."):
        load_table(io.StringIO(cells(a=size, y=kind)), target="y", features=["a", "a"])


def test_soft_targets_that_never_change_teach_nothing() -> None:
    with pytest.raises(DataError, match="'p, q' has only one distribution: 0.25/0.75 in all 127 rows"):
        load_table(io.StringIO(cells(a=size, p=lambda i: 0.25, q=lambda i: 0.75)), target="p,q")


def test_numbers_have_no_probabilities(folder: Path) -> None:
    run = run_of(folder, cells(a=size, y=lambda i: size(i + 1)))
    with pytest.raises(RecipeError, match="'y' holds numbers, which have no probabilities. Leave --proba out"):
        thalweg.predict(run, folder / "table.csv", proba=True)


def test_names_that_promise_what_the_file_does_not_hold(folder: Path) -> None:
    for name in ("t.parquet", "t.xlsx"):
        (folder / name).write_text("a,y\n1,2\n")
        with pytest.raises(DataError, match=r"neither Parquet nor a workbook. If it is text in lines, name it \.csv"):
            read_table(folder / name)
    (folder / "link.csv").symlink_to(folder / "gone.csv")
    with pytest.raises(DataError, match=r"link.csv is a link to .*gone.csv, which does not exist. Give the file."):
        read_table(folder / "link.csv")


def test_weights_that_may_not_be_read_are_not_called_damaged(folder: Path) -> None:
    (folder / "best.safetensors").mkdir()  # no rights keep the superuser out
    with pytest.raises(RunError, match="cannot be read: Is a directory. Check that the file may be read."):
        load_weights(torch.nn.Linear(1, 1), folder / "best.safetensors")


# --- reading as it was read -------------------------------------------------------------------------------------------


def test_a_changed_recipe_still_reads_a_file_without_header(folder: Path) -> None:
    file = folder / "bare.csv"
    file.write_text(cells(a=size, y=kind).partition("\n")[2])
    with collecting():
        recipe = thalweg.load(file, data={"target": "-1", "header": False}, assignments=["epochs=1"])
        run = thalweg.train(recipe.but(penalty=lambda model: torch.zeros(())))
    assert len(thalweg.predict(run, file)) == ROWS
    assert TableSource.of(read_table(file, header=False), run.preprocessing).schema.header is False


def test_a_header_is_due_where_the_run_had_one(folder: Path) -> None:
    text = cells(a=size, b=lambda i: i % 5, y=kind)
    bare = text.partition("\n")[2]
    (folder / "bare.csv").write_text(bare)
    run = run_of(folder, text)
    with pytest.raises(DataError, match=r"line of numbers .* trained on a table with a header: .* \('a', 'b'\)\."):
        thalweg.predict(run, folder / "bare.csv")
    run = run_of(folder, bare, target="-1", header=False)
    (folder / "named.csv").write_text(text)
    with pytest.raises(DataError, match=r"line of names .* without one: take this line away, and keep the order"):
        thalweg.predict(run, folder / "named.csv")


def test_a_text_of_a_megabyte_is_a_cell_like_any_other(folder: Path) -> None:
    long = "x" * 1_000_000
    table = read_table(io.StringIO(f"a,b\n1,{long}\n2,z\n"))
    assert table["b"].tolist() == [long, "z"]
    with pytest.raises(DataError, match="line 2: the quotes do not match"):
        read_table(io.StringIO(f'a,b\n1,"{long}\n2,z\n'))


def test_numbers_too_far_apart_to_subtract_are_no_counter() -> None:
    text = cells(a=lambda i: {0: 1, 1: 1e308, 2: -1e308}.get(i, i), y=kind)
    assert "left out" not in said(text)


def test_a_name_in_angle_brackets_is_no_web_page() -> None:
    assert list(read_table(io.StringIO("</script>,b\n1,x\n"))) == ["</script>", "b"]


def test_a_temperature_that_makes_test_worse_is_said(folder: Path) -> None:
    run = run_of(folder, cells(a=size, y=kind))
    conclude(run)
    assert run.path is not None
    kept = '{"calibration": {"error": 0.066, "temperature": 1.5, "error_after": 0.083}}'
    (run.path / "evaluation.json").write_text(kept)
    with collecting() as notices:
        assert kept_temperature(replace(run)) == 1.5
    assert "worse on test (ECE 0.066 -> 0.083). Better leave --calibrated out." in notices[0]


def test_runs_over_a_table_are_one_program(caplog: pytest.LogCaptureFixture) -> None:
    recipe = thalweg.load("digits", assignments=["epochs=1"])
    recipes = [recipe.but(seed=seed) for seed in range(3)]
    with caplog.at_level("INFO", logger="thalweg"):
        together = thalweg.train_many(recipes)
    assert "Not stacked" not in caplog.text
    alone = thalweg.train(recipes[1])
    assert together[1].history[0]["train_loss"] == pytest.approx(alone.history[0]["train_loss"], rel=1e-5)
