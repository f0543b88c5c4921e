"""Files of a run folder that hold something else than was written: named, never guessed at."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import thalweg
from thalweg.cli.find import find_run
from thalweg.core.errors import RunError, ThalwegError
from thalweg.core.notices import collecting
from thalweg.recipes.conclusion import conclude
from thalweg.recipes.predict import kept_temperature

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("table") / "table.csv"
    file.write_text("a,b,y\n" + "".join(f"{i * 7 % 23 / 2},{'uvw'[i % 3]},{'yn'[i % 2]}\n" for i in range(31)))
    with collecting():
        recipe = thalweg.load(file, data={"target": "y"}, assignments=["epochs=2", "model.width=3"])
        run = thalweg.train(recipe, out=file.parent / "runs")
        conclude(run)
    assert run.path is not None
    return run.path


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    copy = tmp_path / trained.name
    for file in trained.rglob("*"):
        if file.suffix in (".json", ".jsonl", ".safetensors"):
            place = copy / file.relative_to(trained)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return copy


def changed(file: Path, change: Change) -> None:
    plain = json.loads(file.read_text())
    change(plain)
    file.write_text(json.dumps(plain))


CHANGES: dict[str, tuple[str, Change, str]] = {
    "too few means": (
        "preprocessing.json",
        lambda plain: plain.update(means=[]),
        r"preprocessing.json is damaged: .*'means' is \[\], but 1 numbers are due.*Put back a copy",
    ),
    "means of text": (
        "preprocessing.json",
        lambda plain: plain.update(means=["a"]),
        r"damaged: .*'means' is \['a'\], not all of it numbers.*Put back a copy",
    ),
    "scales of nothing": (
        "preprocessing.json",
        lambda plain: plain.update(scales=[None]),
        r"damaged: .*'scales' is \[None\], not all of it numbers",
    ),
    "target scales of classes": (
        "preprocessing.json",
        lambda plain: plain.update(target_scales=[2.0]),
        r"damaged: .*'target_scales' is \[2.0\], but 0 numbers are due",
    ),
    "other categories": (
        "preprocessing.json",
        lambda plain: plain.update(seen=[[True]]),
        r"damaged: .*'seen' marks other categories than those of 1 columns",
    ),
    "an optimizer that is none": (
        "recipe.json",
        lambda plain: plain["origin"]["settings"]["optimizer"].update(kind="adm"),
        r"recipe.json: There is no optimizer 'adm'. Did you mean 'adam'\?",
    ),
    "epochs of text": (
        "recipe.json",
        lambda plain: plain["counts"].update(epochs="z"),
        "recipe.json: epochs='z', but it is a whole number",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_does_not_fit_is_named_with_its_file(case: str, folder: Path) -> None:
    file, change, expected = CHANGES[case]
    changed(folder / file, change)
    with pytest.raises(ThalwegError, match=expected):
        thalweg.load_run(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "evaluation.json is damaged: it is not JSON"),
        ("[]", "evaluation.json is damaged: it holds no JSON object"),
        ('{"calibration": {"temperature": 2}}', "'calibration' is {'temperature': 2}, not an error, a temperature"),
        (
            '{"calibration": {"temperature": 0, "error": 1, "error_after": 1}}',
            "'calibration' is {'temperature': 0, .*Put back a copy",
        ),
    ],
)
def test_a_temperature_out_of_a_damaged_file(text: str, expected: str, folder: Path) -> None:
    run = thalweg.load_run(folder)
    assert kept_temperature(run) > 0
    (folder / "evaluation.json").write_text(text)
    with pytest.raises(RunError, match=expected):
        kept_temperature(run)


def test_an_epoch_that_is_none_ends_the_history(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text('{"epoch": 1}\n[]\n')
    with collecting() as notices:
        assert thalweg.load_run(folder).history == [{"epoch": 1}]
    assert "metrics.jsonl cannot be read from line 2 on (it holds '[]', no epoch)" in notices[0]


def test_the_last_of_runs_that_cannot_be_read(folder: Path) -> None:
    (folder / "run.json").write_text("{}")
    with pytest.raises(RunError, match="No run in .* can be read. .*run.json is damaged: it has no 'run'. Put back"):
        find_run("last", folder.parent)
