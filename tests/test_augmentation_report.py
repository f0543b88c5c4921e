"""The section of the report on augmentation: what the train images became, and files that are not what they say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import page, write
from PIL import Image

import thalweg
from thalweg.cli import main
from thalweg.core.randomness import stream_seed
from thalweg.recipes.augmenting import augmented_examples

TITLE = "What augmentation makes of the images"
GOOD = {"images": np.zeros((4, 1, 5, 5)).tolist(), "augmented": [np.ones((4, 1, 5, 5)).tolist()] * 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a folder of photos that are mirrored while it trains."""
    root = tmp_path_factory.mktemp("augmented")
    draw = np.random.default_rng(0)
    for name in ("left", "right"):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(14):
            pixels = draw.integers(0, 256, (9, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "photos" / name / f"{number}.png")
    knobs = ("model.width=4", "model.depth=1", "epochs=2", "augmentation.flip=true", "augmentation.shift=.1")
    settings = [word for knob in knobs for word in ("--set", knob)]
    assert main(["train", str(root / "photos"), *settings, "--out", str(root / "runs"), "--quiet"]) == 0
    return next((root / "runs").iterdir())


def test_it_shows_what_the_first_epochs_were_trained_on(folder: Path) -> None:
    kept = json.loads((folder / "augmentation.json").read_text())
    run = thalweg.load_run(folder)
    assert run.recipe is not None
    train = run.recipe.data.train.load()
    seen = {}
    for number in (1, 2, 3):
        order = torch.Generator().manual_seed(seed_of(run.recipe.seed, number))
        places = torch.cat(train.ordered(number, order.clone_state()))
        x = torch.cat([x for x, _ in train.batches(number, 0, order)])
        seen[number] = x[places.argsort()]
    for number, row in enumerate(kept["augmented"], 1):
        torch.testing.assert_close(
            torch.tensor(row), seen[number][torch.linspace(0, len(train) - 1, 10).long()], rtol=1e-3, atol=1e-4
        )
    assert TITLE in page(folder).titles


def test_it_shows_the_copies_where_there_are_any(tmp_path: Path) -> None:
    knobs = ["model.width=2", "model.kind=cnn", "epochs=1", "augmentation.rotate=30", "augmentation.copies=2"]
    run = thalweg.train(thalweg.load("digits", assignments=knobs), out=tmp_path)
    assert run.recipe is not None
    shown, train = augmented_examples(run), run.recipe.data.train
    assert shown is not None
    assert len(shown["augmented"]) == 2
    whole = train.multiplied.data[0]
    for copy, row in enumerate(shown["augmented"], 1):
        first = whole[copy * len(train) :][torch.linspace(0, len(train) - 1, 10).long()]
        torch.testing.assert_close(torch.tensor(row), first, rtol=1e-3, atol=1e-4)
    assert "its first copies" in page(write(tmp_path / "a", **{"augmentation.json": GOOD | {"copies": 2}})).text
    assert "in the first epochs" in page(write(tmp_path / "b", **{"augmentation.json": GOOD})).text


def seed_of(seed: int, epoch: int) -> int:
    return stream_seed(seed, "order", epoch)


def test_classes_are_named_as_their_folders(folder: Path) -> None:
    examples = json.loads((folder / "inside.json").read_text())["examples"]
    assert {example["predicted"] for example in examples} | {example["truth"] for example in examples} <= {
        "left",
        "right",
    }


def test_a_run_without_augmentation_has_no_such_section(tmp_path: Path) -> None:
    assert TITLE not in page(write(tmp_path, **{"augmentation.json": {}})).titles
    assert TITLE in page(write(tmp_path, **{"augmentation.json": GOOD})).titles


@pytest.mark.parametrize(
    "bad",
    [
        None, 7, "<script>", [], [[1]], np.zeros((4, 1, 200, 200)).tolist(), [[[["a"]]]], [[[[None]]]],
        np.zeros((4, 2, 5, 5)).tolist(), [[[[1e999]]]],
    ],
)  # fmt: skip
def test_a_foreign_file_is_left_out(tmp_path: Path, bad: Any) -> None:
    for file in ({**GOOD, "images": bad}, {**GOOD, "augmented": bad}, {**GOOD, "augmented": [bad, bad]}):
        found = page(write(tmp_path, **{"augmentation.json": file}))
        assert TITLE not in found.titles
        assert "<script>" not in found.source
