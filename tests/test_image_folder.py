"""Folders of images: whatever mode, size or damage an image has, it is handled, or named."""

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import thalweg
from thalweg import Recipe, Splits
from thalweg.core.convert import as_source
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.fingerprint import fingerprint
from thalweg.core.folds import folds
from thalweg.core.notices import collecting
from thalweg.data import ImageFolder, load_images, read_table
from thalweg.data.image_files import ENDINGS
from thalweg.nn import cnn

HEIGHT, WIDTH = 5, 7
SHADES = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)


def save(path: Path, image: Any = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(SHADES) if image is None else image).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of three images each."""
    for name in ("cat", "dog"):
        for number in range(3):
            save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def test_an_example_is_a_tensor_and_a_class(root: Path) -> None:
    images = ImageFolder(root)
    assert images.classes == ("cat", "dog")
    assert [y for _, y in images] == [0, 0, 0, 1, 1, 1]  # type: ignore[attr-defined]
    x, _ = images[4]
    assert (x.shape, x.dtype, x.is_contiguous()) == ((3, HEIGHT, WIDTH), torch.float32, True)
    assert torch.equal(x, torch.from_numpy(SHADES).permute(2, 0, 1).float() / 255)


def test_gray_is_one_channel(root: Path) -> None:
    gray = np.asarray(Image.fromarray(SHADES).convert("L"), dtype=np.float32) / 255
    assert torch.equal(ImageFolder(root, channels=1)[0][0][0], torch.from_numpy(gray))
    save(root / "cat" / "0.png", Image.fromarray(SHADES[:, :, 0]))
    assert torch.equal(ImageFolder(root)[0][0], torch.from_numpy(SHADES[:, :, 0]).expand(3, -1, -1).float() / 255)


RED = (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("ending", "image", "pixel"),
    [
        ("png", Image.new("P", (WIDTH, HEIGHT), 3), None),
        ("png", Image.new("RGB", (WIDTH, HEIGHT), "red").quantize(4), RED),
        ("png", Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 0)), (1.0, 1.0, 1.0)),
        ("png", Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 255)), RED),
        ("png", Image.new("LA", (WIDTH, HEIGHT), (0, 51)), (0.8, 0.8, 0.8)),
        ("png", Image.new("1", (WIDTH, HEIGHT), 1), (1.0, 1.0, 1.0)),
        ("png", Image.fromarray(np.full((HEIGHT, WIDTH), 13107, np.uint16)), (0.2, 0.2, 0.2)),
        ("jpg", Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)), RED),
        ("jpeg", Image.new("L", (WIDTH, HEIGHT), 51), (0.2, 0.2, 0.2)),
        ("JPG", Image.new("RGB", (WIDTH, HEIGHT), "red"), RED),
        ("bmp", Image.new("RGB", (WIDTH, HEIGHT), "red"), RED),
        ("webp", Image.new("RGB", (WIDTH, HEIGHT), "white"), (1.0, 1.0, 1.0)),
    ],
)
@pytest.mark.parametrize("size", [None, 4])
def test_each_mode_becomes_red_green_and_blue(
    root: Path, ending: str, image: Any, pixel: Any, size: int | None
) -> None:
    save(root / "cat" / f"-.{ending}", image)
    x, _ = ImageFolder(root, size=size)[0]
    assert x.shape == (3, size or HEIGHT, size or WIDTH)
    if pixel is not None:
        assert torch.allclose(x, torch.tensor(pixel)[:, None, None].expand_as(x), atol=0.01)


def test_sixteen_bits_keep_their_precision(root: Path) -> None:
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 3 + 20_000
    save(root / "cat" / "0.png", Image.fromarray(values))
    for channels in (1, 3):
        x, _ = ImageFolder(root, channels=channels)[0]
        assert torch.equal(x, (torch.from_numpy(values.astype(np.float32)) / 65535).expand(channels, -1, -1))


def test_a_transparent_color_of_a_palette_lies_on_white(root: Path) -> None:
    save(root / "cat" / "0.png", Image.new("RGB", (WIDTH, HEIGHT), "red").quantize(4), transparency=0)
    assert torch.equal(ImageFolder(root)[0][0], torch.ones(3, HEIGHT, WIDTH))


def test_a_photo_is_turned_as_its_camera_was_held(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    save(root / "cat" / "0.png", exif=exif)
    turned = torch.from_numpy(np.rot90(SHADES, -1).copy()).permute(2, 0, 1).float() / 255
    assert torch.equal(ImageFolder(root)[0][0], turned)


def test_a_size_covers_and_cuts_the_middle(root: Path) -> None:
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 255
    save(root / "cat" / "0.png", Image.fromarray(wide))
    assert torch.equal(ImageFolder(root, size=4)[0][0], torch.ones(3, 4, 4))
    images = ImageFolder(root, size=(6, 3))
    assert {tuple(x.shape) for x, _ in images} == {(3, 6, 3)}  # type: ignore[attr-defined]
    assert all(float(x.min()) >= 0 and float(x.max()) <= 1 for x, _ in images)  # type: ignore[attr-defined]


def test_splits_hold_every_class_in_its_share(root: Path) -> None:
    for number in range(3, 20):
        save(root / "dog" / f"{number}.png")
    splits = load_images(root, seed=3)
    parts = [splits.train, splits.validation, splits.test]
    assert sum(map(len, parts)) == 23
    assert len({path for part in parts for path in part.paths}) == 23
    assert all(set(part.labels.tolist()) == {0, 1} for part in parts)
    assert load_images(root, seed=3).test.paths == splits.test.paths
    assert load_images(root, seed=4).test.paths != splits.test.paths
    assert load_images(root, test_share=0).test is None
    loader = DataLoader(ImageFolder(root), batch_size=4)  # type: ignore[var-annotated]
    for _, validation in folds(as_source(loader, batching=None), k=3):  # type: ignore[arg-type]
        assert sorted(ImageFolder(root).labels[validation])[0] == 0


def test_a_test_folder_counts_classes_as_training_does(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "test" / "dog" / "0.png")
    test = ImageFolder(tmp_path / "test", classes=ImageFolder(root).classes)
    assert (test.classes, test[0][1]) == (("cat", "dog"), 1)


@pytest.mark.battery
def test_images_train_with_and_without_workers(root: Path) -> None:
    for name, color in (("cat", "red"), ("dog", "blue")):
        for number in range(6):
            save(root / name / f"{number}.png", Image.new("RGB", (WIDTH, HEIGHT), color))
    images = ImageFolder(root, size=8)
    recipe = Recipe(
        data=Splits(train=images, validation=images),
        model=partial(cnn, 3, 2, width=4, depth=1),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.03),
        batch_size=4,
        epochs=12,
    )
    run = thalweg.train(recipe)
    assert thalweg.evaluate(run, images)["loss"][0] < 0.1
    loader = DataLoader(images, batch_size=4, shuffle=True, num_workers=1)
    loaded = thalweg.train(recipe.but(data=Splits(train=loader, validation=images)))
    weights = zip(run.model.parameters(), loaded.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def test_fingerprints_know_files_and_size(root: Path) -> None:
    images = ImageFolder(root)
    assert fingerprint(images) == fingerprint(ImageFolder(root))
    others = [images.take([0]), images.take([1]), ImageFolder(root, size=4), ImageFolder(root, channels=1)]
    save(root / "cat" / "0.png", Image.new("RGB", (WIDTH, HEIGHT)))
    assert len({fingerprint(each) for each in (*others, images)}) == 5


# --- what is refused, and said ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[: len(data) // 2], "cat/1.png cannot be read as an image: "),
        (lambda data: b"", "cat/1.png cannot be read as an image: cannot identify image file."),
        (lambda data: b"not an image at all", "cannot identify image file. Replace the file or take it away; "),
        (lambda data: data[:40] + bytes(20) + data[60:], "ImageFolder(...).unreadable() reads all images and names"),
    ],
)
def test_a_damaged_image_is_named(root: Path, damage: Any, says: str) -> None:
    path = root / "cat" / "1.png"
    path.write_bytes(damage(path.read_bytes()))
    images = ImageFolder(root)
    with pytest.raises(DataError, match=re.escape(says)):
        images[1]
    (wrong,) = images.unreadable()
    assert str(path) in wrong
    loader = DataLoader(images, batch_size=3, num_workers=1)
    with pytest.raises(DataError, match=r"cat/1.png cannot be read as an image"):
        list(as_source(loader).batches(1, 0, None))


def test_numbers_beyond_sixteen_bits_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.data.image_files.SIXTEEN_BITS", 999)
    save(root / "cat" / "1.png", Image.fromarray(np.full((HEIGHT, WIDTH), 1000, np.uint16)))
    with pytest.raises(DataError, match=r"1.png .*: its numbers go from 1000 to 1000, beyond 16 bits. Replace"):
        ImageFolder(root)[1]


def test_an_image_that_is_gone_is_named(root: Path) -> None:
    images = ImageFolder(root)
    (root / "dog" / "2.png").unlink()
    with pytest.raises(DataError, match=r"dog/2.png is gone since the folder was read. Put it back"):
        images[5]


def test_mixed_sizes_ask_for_one(root: Path) -> None:
    save(root / "dog" / "1.png", Image.new("RGB", (4, 9)))
    says = "dog/1.png has 9 x 4 pixels (height x width), but the first image has 5 x 7, and a batch needs one size. Say"
    with pytest.raises(DataError, match=re.escape(says)):
        ImageFolder(root)[4]
    assert ImageFolder(root, size=6)[4][0].shape == (3, 6, 6)


def test_folders_that_are_none(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is not there. Give the folder that holds a folder for each class."):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"0.png is a file, but images lie in a folder."):
        ImageFolder(root / "cat" / "0.png")
    with pytest.raises(DataError, match=r"cat holds 3 images, but no folders. Put the images of each class into a"):
        ImageFolder(root / "cat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no folders. Put the images"):
        ImageFolder(tmp_path / "empty")


def test_classes_that_cannot_be(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"photos holds no images, but folders: 'cat', 'dog'. If these are the classes"):
        ImageFolder(tmp_path)
    save(tmp_path / "one" / "cat" / "0.png")
    with pytest.raises(DataError, match=r"one holds the folder 'cat' alone, but there is a folder for each class"):
        ImageFolder(tmp_path / "one")
    with pytest.raises(DataError, match=r"photos/dog is none of the given classes. Did you mean 'dogs'\? Rename the"):
        ImageFolder(root, classes=["cat", "dogs"])
    (root / "cow").mkdir()
    with pytest.raises(DataError, match=r"cow holds no images \(.png, .*\). Put images in, or take the folder away."):
        ImageFolder(root)
    (root / "cow" / "notes.txt").write_text("moo")
    with pytest.raises(DataError, match=r"cow holds 'notes.txt' alone, no images"):
        ImageFolder(root)


def test_other_files_are_left_out_and_said(root: Path) -> None:
    (root / "cat" / "notes.txt").write_text("miaow")
    (root / "cat" / ".hidden").write_text("")
    (root / ".cache").mkdir()
    with collecting() as notices:
        assert len(ImageFolder(root)) == 6
    assert notices == [f"Left out of {root / 'cat'}, as no images ({', '.join(ENDINGS)}): 'notes.txt'."]


@pytest.mark.parametrize("size", [0, -3, True, 2.5, (3,), (3, 4, 5), (3, 0), "64"])
def test_sizes_that_are_none(root: Path, size: Any) -> None:
    with pytest.raises(
        RecipeError, match=r"but it is a number of pixels, such as 64, or \(height, width\): \(48, 64\)"
    ):
        ImageFolder(root, size=size)


def test_channels_are_one_or_three(root: Path) -> None:
    with pytest.raises(RecipeError, match=r"channels=4, but images have 3 channels, or 1: gray. Give channels=3."):
        ImageFolder(root, channels=4)


def test_pillow_is_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"Images need Pillow to be read: pip install pillow."):
        ImageFolder(root)


def test_the_command_line_says_how_images_are_read(root: Path) -> None:
    with pytest.raises(DataError, match=r"photos is a folder of images, .* trained on by thalweg train .*photos, or"):
        read_table(root)
    (root / "labels.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"photos is a folder, but a table is one file. Name one of its tables"):
        read_table(root)
