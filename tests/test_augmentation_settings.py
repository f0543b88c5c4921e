"""[augmentation] of recipe.toml and --set: built, kept in the run folder, read back; what it cannot be is said."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from resuming import bits, broken_off

import thalweg
from thalweg import RecipeError
from thalweg.data import Augment, Augmented, TableSource
from thalweg.recipes.express import as_toml, expressed

IMAGE = ["model=cnn", "model.width=2", "model.depth=1", "epochs=2", "data.test_share=0.4", "data.validation_share=0.4"]


def test_digits_are_augmented(tmp_path: Path) -> None:
    recipe = thalweg.load("digits", assignments=[*IMAGE, "augmentation.rotate=15", "crop=1", "scale=[0.9, 1.1]"])
    train = recipe.data.train
    assert isinstance(train, Augmented)
    assert train.augment == Augment(rotate=15, crop=1, scale=(0.9, 1.1))
    assert isinstance(recipe.data.validation, TableSource)
    other = thalweg.load("digits", assignments=[*IMAGE, "augmentation.rotate=30", "crop=1", "scale=[0.9, 1.1]"])
    assert recipe.difference(other) == ["augment.rotate 15 -> 30"]
    run = thalweg.train(recipe, out=tmp_path)
    assert run.path is not None
    again = thalweg.load_run(run.path)
    assert again.recipe is not None
    assert [row["train_loss"] for row in thalweg.train(again.recipe).history] == [
        row["train_loss"] for row in run.history
    ]
    frame = pd.DataFrame(torch.zeros(3, 64).numpy(), columns=recipe.data.validation.frame.columns[:64])
    frame["digit"] = 0
    assert len(thalweg.predict(again, frame)) == 3


def test_an_interrupted_run_goes_on_without_its_recipe(tmp_path: Path) -> None:
    """Its data, augmentation included, are built from its folder, when they are first asked for."""
    recipe = thalweg.load("digits", assignments=[*IMAGE, "augmentation.rotate=15", "augmentation.noise=0.1"])
    path = broken_off(recipe, tmp_path, 17)
    assert bits(thalweg.resume(path)) == bits(thalweg.train(recipe))


def test_a_network_without_convolutions_flattens_the_images() -> None:
    recipe = thalweg.load("digits", assignments=["epochs=1", "augmentation.shift=0.1", "augmentation.mixup=0.2"])
    assert recipe.data.train.augment == Augment(shift=0.1, mixup=0.2, classes=10)
    assert thalweg.train(recipe).status.good


def test_copies_and_tables(tmp_path: Path) -> None:
    recipe = thalweg.load("iris", assignments=["epochs=2", "augmentation.noise=0.1", "augmentation.copies=2"])
    assert (recipe.data.train.copies, recipe.data.train.augment) == (2, Augment(noise=0.1))
    assert thalweg.train(recipe).status.good
    (tmp_path / "recipe.toml").write_text(as_toml(recipe, tmp_path) or "")
    again = thalweg.load(tmp_path / "recipe.toml")
    assert again.difference(recipe) == []
    assert expressed(recipe.but(penalty=None), recipe).difference(recipe) == []


def test_weights_and_mixup_are_refused_together(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "a,w,y\n" + "".join(f"{i * i % 13},{1 + i % 2},{3 * i % 7 + 0.5}\n" for i in range(40))
    )
    with pytest.raises(RecipeError, match="mixup mixes targets, but here they have weights"):
        thalweg.load(tmp_path / "t.csv", data={"target": "y", "weights": "w"}, assignments=["augmentation.mixup=0.2"])


@pytest.mark.parametrize(
    ("subject", "assignment", "words"),
    [
        ("iris", "augmentation.rotate=15", "--set augmentation.rotate=15: rotate change images, but the"),
        ("digits", "augmentation.rotate=-1", "--set augmentation.rotate=-1: Augment: rotate is -1"),
        ("digits", "augmentation.rotate=much", "rotate is 'much', but it must be a number"),
        ("digits", "augmentation.rotat=1", r"\[augmentation\] has no key 'rotat'. Did you mean 'rotate'"),
        ("digits", "augmentation.classes=3", "has no key 'classes'"),
        ("digits", "augmentation.copies=-2", "--set augmentation.copies=-2: copies=-2"),
        ("digits", "augmentation=15", "'augmentation' is a section. Write one of its keys"),
    ],
)  # fmt: skip
def test_what_it_cannot_be_is_said_with_its_place(subject: str, assignment: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        thalweg.load(subject, assignments=[assignment])
