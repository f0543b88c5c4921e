"""Files of images: every format and mode, arrays in npz and idx files, one size for all, gray or in color."""

import gzip
import re
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from thalweg.core.errors import DataError
from thalweg.core.notices import collecting
from thalweg.core.passing import listening
from thalweg.data import load_image_splits
from thalweg.data.image_arrays import as_images, read_arrays
from thalweg.data.image_decoding import Files, ImageStore, all_gray, decode, one_size, read_heads, resized
from thalweg.data.image_files import Head, read_head, read_pixels, reading
from thalweg.data.image_gathering import ImageOptions, gather
from thalweg.data.image_listing import in_order, list_bare
from thalweg.data.image_sniffing import holds_images
from thalweg.data.image_source import ImageSource

HEIGHT, WIDTH = 5, 7
SHADES = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def saved(path: Path, image: Any = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(SHADES) if image is None else image).save(path, **options)
    return path


def names(root: Path, count: int = 9) -> Path:
    for name in ("cat", "dog"):
        for number in range(count):
            saved(root / name / f"{number}.png")
    return root


# --- formats and modes ------------------------------------------------------------------------------------------------


def test_a_folder_of_files_is_no_test_set_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((12, 8, 8), np.uint8), y=np.arange(12) % 2)
    with pytest.raises(DataError, match=r"photos is a folder without arrays of images .* Give a file of arrays"):
        load_image_splits(tmp_path / "a.npz", test_path=names(tmp_path / "photos"))


@pytest.mark.parametrize("ending", ["png", "bmp", "ppm", "tif", "tiff", "webp"])
def test_formats_without_loss_give_the_same_bytes(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path / f"1.{ending}", **({"lossless": True} if ending == "webp" else {}))
    assert read_head(path) == Head(HEIGHT, WIDTH, False, False)
    assert (read_pixels(path, 3) == SHADES).all()
    assert (read_pixels(path.read_bytes(), 3) == SHADES).all()


def test_the_first_frame_of_a_moving_picture_is_taken(tmp_path: Path) -> None:
    red, blue = (Image.new("RGB", (WIDTH, HEIGHT), color).quantize(4) for color in ("red", "blue"))
    for ending in ("gif", "tif", "webp"):
        frames = [red.convert("RGB"), blue.convert("RGB")] if ending != "gif" else [red, blue]
        path = saved(tmp_path / f"1.{ending}", frames[0], save_all=True, append_images=frames[1:])
        assert read_pixels(path, 3)[0, 0, 0] > 200 > 50 > read_pixels(path, 3)[0, 0, 2]


@pytest.mark.parametrize(("maximum", "value", "share"), [(255, 51, 0.2), (65535, 13107, 0.2)])
def test_gray_maps_are_read_with_their_bits(tmp_path: Path, maximum: int, value: int, share: float) -> None:
    path = tmp_path / "1.pgm"
    body = np.full((HEIGHT, WIDTH), value, ">u2" if maximum > 255 else "u1").tobytes()
    path.write_bytes(f"P5 {WIDTH} {HEIGHT} {maximum}\n".encode() + body)
    assert read_head(path) == Head(HEIGHT, WIDTH, True, maximum > 255)
    pixels = read_pixels(path, 1)
    assert pixels.shape == (HEIGHT, WIDTH)
    assert (pixels / (255 if pixels.dtype == np.uint8 else 1)).mean() == pytest.approx(share)


def test_numbers_with_a_point_lie_between_0_and_1(tmp_path: Path) -> None:
    values = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    assert (read_pixels(saved(tmp_path / "1.tif", Image.fromarray(values)), 1) == values).all()
    with pytest.raises(ValueError, match=r"its numbers go from 0 to 3, and numbers with a point lie in \[0, 1\]"):
        read_pixels(saved(tmp_path / "2.tif", Image.fromarray(values * 3)), 1)


@pytest.mark.parametrize("held", range(1, 9))
def test_heads_and_pixels_know_how_a_camera_was_held(tmp_path: Path, held: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = held
    path = saved(tmp_path / "1.jpg", exif=exif)
    size = (HEIGHT, WIDTH) if held < 5 else (WIDTH, HEIGHT)
    head = read_head(path)
    assert (head.height, head.width) == size == read_pixels(path, 3).shape[:2]


def test_large_photos_are_decoded_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "1.jpg", Image.fromarray(SHADES).resize((1200, 800)), quality=95)
    small = read_pixels(path, 3, (16, 24), pad=True)
    whole = np.asarray(Image.open(path).convert("RGB").resize((24, 16), Image.Resampling.BILINEAR))
    assert np.abs(small.astype(int) - whole).max() < 12
    seen: list[tuple[int, int]] = []
    real = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *a, **k: (seen.append(self.size), real(self, *a, **k))[1])
    read_pixels(path, 3, (16, 24), pad=True)
    assert max(seen[0]) <= 300


def test_shapes_are_kept_and_the_rest_is_padded_with_the_mean(tmp_path: Path) -> None:
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 6:] = 200
    path = saved(tmp_path / "1.png", Image.fromarray(wide))
    pixels = read_pixels(path, 3, (12, 12), pad=True)
    assert (pixels[4:8] == wide).all()
    assert (pixels[:4] == 100).all()
    assert (pixels[8:] == 100).all()


def test_odd_files_raise_no_warnings(tmp_path: Path) -> None:
    saved(tmp_path / "1.png", Image.fromarray(SHADES).quantize(4), transparency=b"\0\1\2")
    path = saved(tmp_path / "2.png", Image.new("L", (11_000, 9_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, wrong = read_heads([tmp_path / "1.png", path], 50)
        assert wrong == {1: "9,000 x 11,000 pixels, 99.0 million, over the limit"}
        assert decode(Files([tmp_path / "1.png"], (3, 4, 4)), True).wrong == {}
    before = Image.MAX_IMAGE_PIXELS
    with reading():
        assert Image.MAX_IMAGE_PIXELS is None
    assert before == Image.MAX_IMAGE_PIXELS


# --- one size, and gray or in color -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "asked", "chosen"),
    [
        ([(28, 28)], None, (28, 28)),
        ([(480, 640)], None, (48, 64)),
        ([(480, 640)], 32, (24, 32)),
        ([(10, 10)], 32, (32, 32)),
        ([(10, 90)], [12, 16], (12, 16)),
        ([(30, 40), (40, 30), (35, 35)], None, (35, 35)),
        ([(30, 30)] * 5 + [(4000, 3000)], None, (30, 30)),
        ([(1, 1000)], None, (1, 64)),
    ],
)
def test_the_size_is_the_median_one(sizes: list[tuple[int, int]], asked: Any, chosen: tuple[int, int]) -> None:
    assert one_size([Head(*size, False, False) for size in sizes], asked) == chosen


def test_images_are_gray_if_all_that_are_sampled_are(tmp_path: Path) -> None:
    gray = Image.fromarray(SHADES).convert("L")
    paths = [saved(tmp_path / "0.png", gray), saved(tmp_path / "1.png", gray.convert("RGB"))]
    heads = [read_head(path) for path in paths]
    assert all_gray(paths, heads) == (True, 1)
    assert all_gray(paths[:1], heads[:1]) == (True, 0)
    paths.append(saved(tmp_path / "2.png"))
    assert all_gray(paths, [read_head(path) for path in paths])[0] is False


def test_what_is_found_out_is_said(tmp_path: Path) -> None:
    root = names(tmp_path / "photos")
    with collecting() as notices:
        load_image_splits(root)
    assert notices[0] == "Images: in color, 5 x 7 pixels (height x width)."
    saved(root / "cat" / "big.png", Image.new("RGB", (300, 200)))
    with collecting() as notices:
        load_image_splits(root)
    assert notices[0] == (
        "Images: in color, of 2 sizes from 5 to 300 pixels a side, scaled to 5 x 7 pixels (height x width), others are "
        "padded. --set data.size=N changes it."
    )


# --- the store --------------------------------------------------------------------------------------------------------


def test_sums_are_those_of_the_pixels() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 3, HEIGHT, WIDTH), dtype=np.uint8)
    store = ImageStore.of_pixels(pixels)
    means, scales = store.statistics(np.array([1, 4]))
    part = pixels[[1, 4]] / 255
    assert means == pytest.approx(part.mean((0, 2, 3)), rel=1e-12)
    assert scales == pytest.approx(part.std((0, 2, 3)), rel=1e-9)
    assert ImageStore.of_pixels(np.full_like(pixels, 9)).statistics(np.arange(6))[1] == (0.0, 0.0, 0.0)
    deep = ImageStore.of_pixels((pixels / 255).astype(np.float32))
    assert deep.statistics(np.array([1, 4]))[0] == pytest.approx(means, rel=1e-6)


def test_threads_decode_what_one_alone_would(tmp_path: Path) -> None:
    for number in range(50):
        saved(tmp_path / f"{number:02}.png", Image.fromarray(np.roll(SHADES, number)))
    listing = list_bare(tmp_path)
    files, heard = Files(listing.paths, (3, HEIGHT, WIDTH)), []
    with listening(lambda *told: heard.append(told)):
        found = decode(files, keep=True)
    assert found.pixels is not None
    assert (found.pixels == np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in listing.paths])).all()
    assert heard[-1] == ("decoding images", 50, 50)
    assert decode(files, keep=False).pixels is None
    assert (decode(files, keep=False).digests == found.digests).all()


def test_deep_images_keep_their_bits_beside_others(tmp_path: Path) -> None:
    values = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) * 1800).reshape(HEIGHT, WIDTH)
    names(tmp_path)
    saved(tmp_path / "cat" / "0.png", Image.fromarray(values))
    train = load_image_splits(tmp_path, validation_share=0, test_share=0).train
    place = train.rows["path"].tolist().index("cat/0.png")
    assert np.abs(train.images([place])[0, 0].numpy() - values / 65535).max() < 1e-7
    assert np.abs(train.images([place + 1])[0].numpy().transpose(1, 2, 0) - SHADES / 255).max() < 1e-7


def test_a_source_gives_the_batches_of_its_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train: ImageSource = load_image_splits(names(tmp_path)).train

    def told(source: ImageSource) -> list[Any]:
        order = torch.Generator().manual_seed(3)
        return [*source.batched(4).batches(1, 1, order), *source.batched(4, True).batches(1, 0, None)]

    first = told(train)
    monkeypatch.setattr("thalweg.data.image_source.MOST_FLOATS", 0)
    again = train.take(range(len(train)))
    assert again.arrays is None
    assert all(torch.equal(a, b) for x, y in zip(first, told(again), strict=True) for a, b in zip(x, y, strict=True))
    part = train.take([2, 0])
    assert torch.equal(next(part.batches(0, 0, None))[1], train.targets[[2, 0]])
    assert part.meta([1])["label"].tolist() == train.meta([0])["label"].tolist()
    fitted = train.fit([0, 1])
    assert fitted.encoding.means == pytest.approx(train.images([0, 1]).double().mean((0, 2, 3)).tolist(), abs=1e-6)


# --- arrays in files --------------------------------------------------------------------------------------------------


def idx(path: Path, array: np.ndarray, code: int = 8) -> Path:
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


IMAGES = np.random.default_rng(2).integers(0, 256, (12, HEIGHT, WIDTH), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 3


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_idx_files_find_their_labels_and_test_images(tmp_path: Path, gz: str) -> None:
    file = idx(tmp_path / f"train-images-idx3-ubyte{gz}", IMAGES)
    idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    idx(tmp_path / "t10k-images-idx3-ubyte", IMAGES[:5])
    idx(tmp_path / "t10k-labels-idx1-ubyte.gz", LABELS[:5])
    for path in (file, tmp_path):
        splits = load_image_splits(path, validation_share=0.25)
        assert [len(splits.train), len(splits.validation), len(splits.test)] == [9, 3, 5]
        assert splits.test.frame["label"].tolist()[-5:] == LABELS[:5].tolist()
        assert splits.train.encoding.labels == (0, 1, 2)
    assert (read_arrays(file, alone=True).images[:, 0] == IMAGES).all()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a-images-idx3-ubyte": IMAGES}, "The labels of .* are not beside it: there is no a-labels-idx1-ubyte"),
        ({"a-images-idx3-ubyte": IMAGES, "a-labels-idx1-ubyte": LABELS[:7]}, "has 12 images and 7 targets"),
        ({"a-images-idx3-ubyte": IMAGES[:0], "a-labels-idx1-ubyte": LABELS[:0]}, "holds no images: its array is empty"),
        ({"a-images-idx3-ubyte": b"\0\0\x08"}, "does not begin as a file of the idx format"),
        (
            {"a-images-idx3-ubyte": b"\0\0\x08\x01\0\0\0\x09ab"},
            "says that it holds 9 numbers, but 2 bytes follow, not 9",
        ),
        ({"a-images-idx3-ubyte": b"\x1f\x8b\x08\0abc"}, "is compressed by gzip but damaged or cut short"),
    ],
)
def test_idx_files_that_are_damaged(tmp_path: Path, files: dict[str, Any], says: str) -> None:
    for name, held in files.items():
        (tmp_path / name).write_bytes(held) if isinstance(held, bytes) else idx(tmp_path / name, held)
    with pytest.raises(DataError, match=says):
        load_image_splits(tmp_path / "a-images-idx3-ubyte")


@pytest.mark.parametrize(
    ("arrays", "sizes"),
    [
        ({"x": IMAGES, "y": LABELS}, [8, 2, 2]),
        ({"images": IMAGES, "labels": LABELS[:, None]}, [8, 2, 2]),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:4], "y_test": LABELS[:4]}, [10, 2, 4]),
        (
            {
                "train_images": IMAGES,
                "train_labels": LABELS,
                "val_images": IMAGES[:5],
                "val_labels": LABELS[:5],
                "test_images": IMAGES[:4],
                "test_labels": LABELS[:4],
            },
            [12, 5, 4],
        ),
        ({"arr_0": IMAGES, "arr_1": np.eye(3)[LABELS].astype(int)}, [8, 2, 2]),
        ({"x": IMAGES, "y": np.array(["cat", "dog", "cow"])[LABELS]}, [8, 2, 2]),
    ],
)
def test_npz_files_are_read_by_the_names_of_their_arrays(
    tmp_path: Path, arrays: dict[str, np.ndarray], sizes: list[int]
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    splits = load_image_splits(tmp_path / "a.npz")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == sizes
    assert splits.train.encoding.outputs == 3
    assert splits.train.encoding.input_shape == (1, HEIGHT, WIDTH)


def test_npz_numbers_are_predicted_as_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.linspace(-3, 8, 12))
    train = load_image_splits(tmp_path / "a.npz").train
    assert train.encoding.task == "regression"
    restored = train.restore(train.targets)[:, 0]
    assert restored.tolist() == pytest.approx(train.rows["y"].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"pictures": IMAGES}, "holds 'pictures', but no images: an array of these is called 'x', 'images', 'image'"),
        ({"x": IMAGES}, "holds images 'x', but no targets beside them: 'x' is all"),
        ({"x": IMAGES.reshape(12, -1), "y": LABELS}, "is an array of 12 x 35, but images are n x height x width"),
        ({"x": IMAGES, "y": np.array([{}] * 12)}, "it holds Python objects, which would have to be unpickled"),
        ({"x": IMAGES - 4.5, "y": LABELS}, "holds numbers from -[34].5 to .*, but shades are 0 to 255, 0 to 65,535"),
        ({"x_test": IMAGES, "y_test": LABELS}, "but nothing to train on. Call that x_train"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, 1:], "y_test": LABELS},
            "'x_test' holds images of 1 x 4 x 7, but 'x_train' of 1 x 5 x 7",
        ),
        ({"x": IMAGES, "y": LABELS[:5]}, "has 12 images and 5 targets \\('y'\\). Give one target for each image"),
        ({"x": IMAGES.astype(str), "y": LABELS}, "but images are numbers"),
    ],
)
def test_npz_files_that_cannot_be_used(tmp_path: Path, arrays: dict[str, np.ndarray], says: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=says):
        load_image_splits(tmp_path / "a.npz")


def test_a_npz_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(DataError, match=r"a.npz cannot be read as arrays"):
        load_image_splits(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"There is no file .*none.npz"):
        load_image_splits(tmp_path / "none.npz")


COLOR = np.random.default_rng(3).integers(0, 256, (4, HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        COLOR,
        COLOR.transpose(0, 3, 1, 2),
        COLOR / 255,
        COLOR.astype(np.int64),
        COLOR.astype(np.float32),
        COLOR.astype(np.uint16) * 257,
        np.concatenate([COLOR, np.full((4, HEIGHT, WIDTH, 1), 255, np.uint8)], 3),
        np.asfortranarray(COLOR),
    ],
)
def test_arrays_of_any_form_are_the_same_images(array: np.ndarray) -> None:
    images = as_images(array, "x")
    assert images.shape == (4, 3, HEIGHT, WIDTH)
    shades = images / 255 if images.dtype == np.uint8 else images
    assert np.abs(shades - COLOR.transpose(0, 3, 1, 2) / 255).max() < 1e-6


def test_what_is_transparent_in_an_array_lies_on_white() -> None:
    clear = np.concatenate([COLOR, np.zeros((4, HEIGHT, WIDTH, 1), np.uint8)], 3)
    assert (as_images(clear, "x") == 255).all()
    assert set(np.unique(as_images(COLOR[..., 0] > 9, "x"))) == {0, 255}


def test_arrays_are_brought_to_another_layout(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=COLOR, y=[0, 1, 0, 1])
    gathered = gather(tmp_path / "a.npz", ImageOptions(size=14, channels=1))
    assert gathered.store.layout == (1, 10, 14)
    gray = np.asarray(Image.fromarray(COLOR[0]).convert("L")).astype(int)
    assert np.abs(resized(COLOR[0].transpose(2, 0, 1), (1, HEIGHT, WIDTH))[0].astype(int) - gray).max() <= 1
    alike = resized(COLOR[0, :, :, :1].transpose(2, 0, 1), (3, HEIGHT, WIDTH))
    assert (alike == COLOR[0, :, :, 0]).all()


# --- what is pointed at -----------------------------------------------------------------------------------------------


def test_what_holds_images(tmp_path: Path) -> None:
    root = names(tmp_path / "photos", 1)
    assert holds_images(root)
    assert holds_images(root / "cat" / "0.png")
    (tmp_path / "tables").mkdir()
    assert holds_images(tmp_path / "tables")  # empty: the error is about images
    table = tmp_path / "tables" / "t.csv"
    table.write_text("a,b\n1,2\n")
    assert not holds_images(tmp_path / "tables")
    assert not holds_images(table)
    table.write_text("file,b\n../photos/cat/0.png,2\n")
    assert holds_images(table)
    assert not holds_images(table, columns_asked_for=True)
    table.write_text('said,b,c\n"see a.png and b.png",2,3\n')
    assert not holds_images(table)
    gz = tmp_path / "tables" / "t.csv.gz"
    gz.write_bytes(gzip.compress(b"file,b\n../photos/cat/0.png,2\n"))
    assert holds_images(gz)
    gz.write_bytes(b"\x1f\x8bdamaged")
    assert not holds_images(gz)


def test_names_are_ordered_as_one_counts() -> None:
    assert in_order(["10", "9", "1"]) == ("1", "9", "10")
    assert in_order(["b", "a10", "a9", "²", ""]) == ("", "a9", "a10", "b", "²")


def test_hidden_files_are_not_predicted_on(tmp_path: Path) -> None:
    names(tmp_path / "photos", 1)
    saved(tmp_path / "photos" / ".trash" / "0.png")
    (tmp_path / "photos" / "folder.png").mkdir()
    assert len(list_bare(tmp_path / "photos")) == 2


# --- real data --------------------------------------------------------------------------------------------------------


def test_mnist_is_read_as_it_lies(realdata: Path) -> None:
    splits = load_image_splits(realdata / "mnist10k")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [6000, 2000, 2000]
    assert splits.train.encoding.input_shape == (1, 28, 28)
    assert re.match(r"0\.13\d", str(splits.train.encoding.means[0]))
