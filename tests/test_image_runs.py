"""Runs over images from the command line: one command, a folder, and what a user would expect of it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pages import page
from PIL import Image

import thalweg
from thalweg.cli import main
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import collecting
from thalweg.data import ImageEncoding, ImageSource
from thalweg.recipes.predict import judge_file
from thalweg.report.photos import read_photos

HEIGHT, WIDTH = 7, 11
QUICK = ["--set", "epochs=2", "--set", "model.width=4", "--set", "model.depth=1"]


def picture(color: str, seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A color with some noise."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray(
        (np.asarray(Image.new("RGB", size, color)).astype(int) + noise).clip(0, 255).astype(np.uint8)
    )


def fill(root: Path, classes: dict[str, int], **options: Any) -> Path:
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            color = name if name in ("red", "blue", "green") else "gray"
            picture(color, number, **options).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return fill(Path("photos"), {"red": 20, "blue": 15})


def trained(*arguments: str) -> Path:
    before = set(Path("runs").glob("*"))
    assert main(["train", *QUICK, *arguments, "--quiet"]) == 0
    (made,) = set(Path("runs").glob("*")) - before  # two of one second are in no order by name
    return made


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the photos."""
    folder = tmp_path_factory.mktemp("kept")
    root = fill(folder / "photos", {"red": 20, "blue": 15})
    assert main(["train", str(root), *QUICK, "--quiet", "--out", str(folder / "runs")]) == 0
    return next((folder / "runs").iterdir())


@pytest.fixture
def run(kept: Path) -> thalweg.Run:
    return thalweg.load_run(kept)


def said(*arguments: str, **data: Any) -> list[str]:
    with collecting() as notices:
        thalweg.load(arguments[0], assignments=arguments[1:], data=data)
    return notices


# --- one folder, one command ------------------------------------------------------------------------------------------


def test_a_folder_is_trained_judged_and_predicted(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained("photos", "--set", "epochs=12", "--set", "optimizer.lr=0.03", "--json")
    results = json.loads(capsys.readouterr().out)
    assert results["metrics"]["test"]["accuracy"]["value"] == 1
    assert main(["predict", "last", "photos", "--proba"]) == 0
    frame = pd.read_csv(__import__("io").StringIO(capsys.readouterr().out))
    assert list(frame) == ["path", "prediction", "probability", "probability_blue", "probability_red"]
    assert frame["path"].tolist() == sorted(map(str, photos.rglob("*.png")))
    assert (frame["prediction"] == [Path(path).parent.name for path in frame["path"]]).all()
    assert main(["predict", "last", "photos/red/1.png", "photos/blue"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["photos/red/1.png", *sorted(map(str, Path("photos/blue").iterdir()))]
    assert [row[1] for row in rows] == ["red", *["blue"] * (len(rows) - 1)]
    assert main(["evaluate", "last", "photos", "--fail-if", "accuracy<1"]) == 0
    shown = page(folder)
    assert "Which classes are taken for which" in shown.text
    assert shown.source.count("data:image/png;base64,") >= 7


def test_predictions_are_those_of_the_model(photos: Path, run: thalweg.Run) -> None:
    encoding = run.preprocessing
    assert isinstance(encoding, ImageEncoding)
    path = photos / "red" / "3.png"
    pixels = np.asarray(Image.open(path)).transpose(2, 0, 1) / 255
    x = (pixels - np.array(encoding.means)[:, None, None]) / np.array(encoding.scales)[:, None, None]
    with torch.no_grad():
        share = run.model(torch.tensor(x[None], dtype=torch.float32)).softmax(1)
    told = thalweg.predict(run, path, proba=True)
    assert told.loc[0, ["probability_blue", "probability_red"]].tolist() == pytest.approx(share[0].tolist(), abs=1e-5)


def test_statistics_are_those_of_the_training_images_alone(photos: Path) -> None:
    recipe = thalweg.load("photos")
    train = recipe.data.train
    paths = [photos / name for name in train.rows["path"]]
    pixels = np.stack([np.asarray(Image.open(path), dtype=float) for path in paths]) / 255
    assert train.encoding.means == pytest.approx(pixels.mean((0, 1, 2)), rel=1e-12)
    assert train.encoding.scales == pytest.approx(pixels.std((0, 1, 2)), rel=1e-9)
    x = torch.cat([x for x, _ in train.batches(0, 0, None)])
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    assert (x.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    assert recipe.data.test.encoding is train.encoding or recipe.data.test.encoding == train.encoding


def test_the_model_is_a_cnn_whose_sizes_the_data_decide(photos: Path) -> None:
    recipe = thalweg.load("photos")
    assert recipe.origin is not None
    assert recipe.origin["settings"]["model"] == {"kind": "cnn", "depth": 2}
    assert recipe.model()(torch.zeros(2, 3, HEIGHT, WIDTH)).shape == (2, 2)
    flat = thalweg.load("photos", assignments=["model.kind=mlp"])
    assert flat.model()(torch.zeros(2, 3, HEIGHT, WIDTH)).shape == (2, 2)


def test_a_recipe_in_toml_names_a_folder_from_its_own(photos: Path) -> None:
    Path("recipe.toml").write_text('[data]\nsource = "photos"\nsize = 5\nchannels = 1\n[fit]\nepochs = 1\n')
    recipe = thalweg.load(Path.cwd() / "recipe.toml")
    assert recipe.data.train.encoding.input_shape == (1, 3, 5)
    assert recipe.epochs == 1


def test_seeds_and_shares_deal_the_splits(photos: Path) -> None:
    first, other = thalweg.load("photos"), thalweg.load("photos", assignments=["data.split_seed=1"])
    assert first.data.test.rows["path"].tolist() != other.data.test.rows["path"].tolist()
    assert thalweg.load("photos", assignments=["data.test_share=0"]).data.test is None
    assert [len(part) for part in (first.data.train, first.data.validation, first.data.test)] == [21, 7, 7]


@pytest.mark.parametrize("cache", ["memory", "off"])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(photos: Path, cache: str) -> None:
    recipe = thalweg.load("photos", assignments=["epochs=3", "model.width=4", "batch_size=4", f"data.cache={cache}"])

    def interrupt(epoch: int, step: int, row: Any = None) -> None:
        if step == 8:
            raise KeyboardInterrupt

    whole = thalweg.train(recipe, out="runs")
    cut = thalweg.train(recipe, out="runs", progress=interrupt)
    again = thalweg.resume(cut.path)
    assert again.status is thalweg.Outcome.FINISHED
    pairs = zip(whole.last.parameters(), again.last.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_images_in_memory_and_on_demand_train_the_same(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["epochs=2", "model.width=4", "batch_size=4"]
    kept = thalweg.load("photos", assignments=changes)
    bytes_ = thalweg.load("photos", assignments=changes)
    monkeypatch.setattr("thalweg.data.image_source.MOST_FLOATS", 0)
    demanded = thalweg.load("photos", assignments=[*changes, "data.cache=off"])
    assert kept.data.train.store.pixels is not None
    assert demanded.data.train.store.pixels is None
    assert kept.data.train.fingerprint() == demanded.data.train.fingerprint()
    histories = [
        [(row["train_loss"], row["validation_loss"]) for row in thalweg.train(recipe).history]
        for recipe in (kept, bytes_, demanded)
    ]
    assert histories[0] == histories[1]
    assert histories[0] == [pytest.approx(row) for row in histories[2]]
    monkeypatch.undo()


def test_changed_images_are_another_data_set(photos: Path) -> None:
    before = thalweg.load("photos").data.train.fingerprint()
    assert thalweg.load("photos").data.train.fingerprint() == before
    picture("red", 99).save(photos / "red" / "0.png")
    after = thalweg.load("photos", assignments=["data.split_seed=0"])
    assert after.data.train.fingerprint() != before


def test_a_diagnosis_lists_what_it_would_do(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "photos", *QUICK, "--dry-run", "--quiet"]) == 0
    assert "budget" in capsys.readouterr().out


# --- splits by folder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "test"), ("train", "validation", "test")]
)
def test_folders_of_splits_are_the_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name, count in zip(names, (5, 3, 2), strict=True):
        fill(tmp_path / "set" / name, {"red": count, "blue": count})
    notices = said(str(tmp_path / "set"))
    assert any(text.startswith("Split by folder: ") for text in notices)
    data = thalweg.load(tmp_path / "set").data
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 6, 4]
    assert {path.split("/")[0] for path in data.test.rows["path"]} == {"test"}


def test_what_a_set_lacks_is_held_out_of_training(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"red": 10, "blue": 10})
    whole = thalweg.load(tmp_path).data
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [12, 4, 4]
    fill(tmp_path / "test", {"red": 3, "blue": 3})
    tested = thalweg.load(tmp_path).data
    assert [len(part) for part in (tested.train, tested.validation, tested.test)] == [16, 4, 6]
    (tmp_path / "test").rename(tmp_path / "val")
    chosen = thalweg.load(tmp_path).data
    assert [len(chosen.train), len(chosen.validation), chosen.test] == [20, 6, None]


def test_a_test_folder_of_its_own(photos: Path) -> None:
    fill(Path("more"), {"red": 3, "blue": 2})
    data = thalweg.load("photos", data={"test": "more"}).data
    assert [len(part) for part in (data.train, data.validation, data.test)] == [28, 7, 5]


def test_a_class_that_is_missing_in_the_test_folder_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"red": 5, "blue": 5})
    fill(tmp_path / "test", {"red": 5})
    assert any("No image of 'blue' lies in" in text for text in said(str(tmp_path)))


def test_a_class_with_one_image_is_trained_on_and_said(tmp_path: Path) -> None:
    fill(tmp_path, {"red": 9, "blue": 9, "green": 1})
    assert any(text.startswith("Of 'green' there is one image, which is trained on") for text in said(str(tmp_path)))
    assert "green/0.png" in thalweg.load(tmp_path).data.train.rows["path"].tolist()


# --- what is asked of a run -------------------------------------------------------------------------------------------


def test_images_of_another_size_and_color_are_brought_to_those_of_training(photos: Path, run: thalweg.Run) -> None:
    picture("red", 1, (40, 90)).convert("L").save("other.png")
    with collecting() as notices:
        told = thalweg.predict(run, "other.png")
    assert told["path"].tolist() == ["other.png"]
    assert "The images are gray, those of training were in color: they become red, green and blue alike." in notices
    gray = thalweg.load_run(trained("photos", "--set", "data.channels=1"))
    with collecting() as notices:
        assert len(thalweg.predict(gray, photos)) == 35
    assert "The images are in color, those of training were gray: they become gray." in notices


def test_images_that_cannot_be_read_have_no_prediction(photos: Path, run: thalweg.Run) -> None:
    (photos / "blue" / "0.png").write_bytes(b"no image")
    with collecting() as notices:
        told = thalweg.predict(run, photos)
    assert told["prediction"].isna().tolist() == [path.endswith("blue/0.png") for path in told["path"]]
    assert any("1 of 35 images cannot be read" in text for text in notices)
    with collecting():
        assert judge_file(run, str(photos))["loss"][0] > 0


def test_of_a_set_with_splits_the_test_images_are_judged(photos: Path, run: thalweg.Run) -> None:
    fill(Path("set/train"), {"red": 2, "blue": 2})
    fill(Path("set/test"), {"red": 3, "blue": 3})
    with collecting() as notices:
        judge_file(run, "set")
    assert "Of set the images to test on are taken: 6 of 10." in notices


def test_a_table_of_paths(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(path.relative_to(photos), path.parent.name, i) for i, path in enumerate(sorted(photos.rglob("*.png")))]
    table = photos / "list.csv"
    table.write_text("file,hue,age\n" + "\n".join(f"{path},{hue},{age}.5" for path, hue, age in rows))
    trained(str(table), "--target", "hue")
    capsys.readouterr()
    assert main(["predict", "last", str(table)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "file,hue,age,prediction,probability"
    assert len(told) == 36
    assert main(["evaluate", "last", str(table)]) == 0
    run = thalweg.load_run(trained(str(table), "--target", "age"))
    assert list(thalweg.predict(run, photos)) == ["path", "prediction"]
    scores = judge_file(run, str(table))
    off = thalweg.predict(run, table).pipe(lambda t: (t["prediction"] - t["age"].astype(float)).abs())
    assert scores["mae"][0] == pytest.approx(off.mean(), rel=1e-5)
    with pytest.raises(DataError, match=r"photos holds folders of classes, but 'age' was trained on as numbers"):
        judge_file(run, str(photos))
    grouped = thalweg.load(table, data={"target": "hue", "group": "age"}).data
    assert not set(grouped.train.rows["age"]) & set(grouped.test.rows["age"])


def test_a_table_without_a_header_is_read_so_again(photos: Path) -> None:
    lines = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    table = photos / "list.csv"
    table.write_text("\n".join(lines))
    run = thalweg.load_run(trained(str(table), "--target", "-1", "--no-header"))
    assert len(thalweg.predict(run, table)) == len(lines)
    with collecting():
        assert judge_file(run, str(table))["loss"][0] > 0


def test_a_table_with_columns_asked_for_stays_a_table(photos: Path) -> None:
    lines = [f"red/{i}.png,{i % 5},{'ab'[i % 2]}" for i in range(20)]
    (photos / "t.csv").write_text("\n".join(["file,n,kind", *lines]))
    assert isinstance(thalweg.load(photos / "t.csv", data={"target": "kind"}).data.train, ImageSource)
    table = thalweg.load(photos / "t.csv", data={"target": "kind", "features": "n"}).data.train
    assert not isinstance(table, ImageSource)
    lines = [f"gone/{i}.png,{i % 5},{'ab'[i % 2]}" for i in range(20)]
    (photos / "t.csv").write_text("\n".join(["file,n,kind", *lines]))
    with collecting():
        assert not isinstance(thalweg.load(photos / "t.csv", data={"target": "kind"}).data.train, ImageSource)


# --- mistakes, and how to mend them -----------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({}, "holds no folders. Put the images of each class into a folder of its name"),
        ({"0.png": 1}, "holds 1 image, but no folders. Put the images of each class"),
        (
            {"red/0.png": 1},
            "holds the folder 'red' alone, but there is a folder for each class, and two at least. Give",
        ),
        (
            {"all/red/0.png": 1, "all/blue/0.png": 1},
            "holds no images, but folders: 'blue', 'red'. If these are the cla",
        ),
        ({"red/0.png": 1, "blue/0.png": 1, "x.png": 1}, "holds 1 image beside its folders of classes, such as 'x.png'"),
        ({"red/0.png": 1, "blue/notes.txt": 1}, "blue holds 'notes.txt' alone, no images"),
        (
            {"train/red/0.png": 1, "train/blue/0.png": 1, "test/green/0.png": 1},
            "is none of the classes that are trained",
        ),
        (
            {"train/a/0.png": 1, "train/b/0.png": 1, "test/0.png": 1},
            "is a split by its name, but holds no folders, one",
        ),
        (
            {"train/a/0.png": 1, "val/a/0.png": 1, "valid/a/0.png": 1},
            "holds val/ and valid/, which are the same split.",
        ),
        ({"train/a/0.png": 1, "train/b/0.png": 1, "c/0.png": 1}, "folders of splits and beside them 'c'. Take these"),
        ({"red/0.png": 1, "blue/0.png": 1}, "are too few for 3 splits"),
    ],
)
def test_folders_that_cannot_be_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: dict[str, int], says: str
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for name in made:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture("red", 0).save(root / name, "png")
    assert says in refused(capsys, "train", str(root), "--out", str(tmp_path / "runs"))


def test_damaged_images_are_counted_named_and_refused_or_left_out(photos: Path) -> None:
    whole = (photos / "red" / "1.png").read_bytes()
    (photos / "red" / "1.png").write_bytes(whole[: len(whole) // 2])
    (photos / "blue" / "2.png").write_bytes(b"")
    with pytest.raises(DataError) as error:
        thalweg.load("photos")
    text = str(error.value)
    assert text.startswith(
        "2 of 35 images cannot be read (photos/blue/2.png: cannot identify image file; photos/red/1.p"
    )
    assert text.endswith("Mend them, take them away, or leave them out: --set data.damaged=skip.")
    notices = said("photos", "data.damaged=skip")
    assert any(text.startswith("Left out: 2 of 35 images cannot be read") for text in notices)
    data = thalweg.load("photos", assignments=["data.damaged=skip"]).data
    assert sum(map(len, (data.train, data.validation, data.test))) == 33


def test_a_class_of_damaged_images_alone_is_refused(photos: Path) -> None:
    (photos / "green").mkdir()
    (photos / "green" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"No image of 'green' can be read. Mend some, or take the folder away."):
        thalweg.load("photos", assignments=["data.damaged=skip"])


def test_images_over_the_limit_are_not_decoded(photos: Path) -> None:
    picture("red", 0, (400, 300)).save(photos / "red" / "big.png")
    with pytest.raises(DataError, match=r"big.png: 300 x 400 pixels, 0.1 million, over the limit.*--set data.limit=N"):
        thalweg.load("photos", assignments=["data.limit=0.1"])
    assert len(thalweg.load("photos", assignments=["data.limit=0.12"]).data.train)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("data.size=0", "size=0, but it is a number of pixels for the longer side, such as 64, or [height, width]"),
        ("data.size=[3,4,5]", "size=[3, 4, 5], but it is a number of pixels"),
        ("data.channels=4", "channels=4, but images have 3 channels, or 1: gray. Give 1 or 3."),
        ("data.damaged=skipp", "damaged='skipp' is not known. Did you mean 'skip'?"),
        ("data.cache=disk", "cache='disk' is not known."),
        ("data.limit=0", "limit=0, but it is a number of megapixels above 0."),
        ("data.missing=drop", "photos holds images, and 'missing' is for tables. Leave it out."),
        ("data.target=hue", "target='hue' is for tables, but of a folder of images the folders are the classes."),
        ("data.size=big", "data.size"),
    ],
)
def test_settings_that_cannot_be(photos: Path, setting: str, says: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)):
        thalweg.load("photos", assignments=[setting])


def test_settings_of_images_are_refused_for_tables() -> None:
    with pytest.raises(RecipeError, match=r"--set data.size=3: iris holds a table, and 'size' is for images. Leave"):
        thalweg.load("iris", assignments=["data.size=3"])


def test_what_cannot_be_predicted_or_judged(photos: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = str(kept)
    Path("empty").mkdir()
    assert "There is no file or folder nowhere." in refused(capsys, "predict", last, "nowhere")
    assert "empty holds no images" in refused(capsys, "predict", last, "empty")
    Path("t.csv").write_text("a,b\n1,2\n")
    assert "t.csv names no images: none of its columns 'a', 'b' holds" in refused(capsys, "predict", last, "t.csv")
    Path("t.csv").write_text("a,b\n1,photos/none.png\n")
    assert "1 image of 1 in column 'b' cannot be found, such as photos" in refused(capsys, "predict", last, "t.csv")
    fill(Path("others"), {"red": 2, "white": 2})
    assert "others/white is none of the classes that are trained on." in refused(capsys, "evaluate", last, "others")


def test_rows_of_a_table_that_lack_what_is_needed(photos: Path) -> None:
    table = photos / "t.csv"
    table.write_text("file,hue\nred/0.png,a\n,b\n")
    with pytest.raises(DataError, match=r"Column 'file' names no image in line 3. Fill it, or drop the rows."):
        thalweg.load(table, data={"target": "hue"})
    shutil.rmtree(photos / "blue")
    with pytest.raises(
        DataError, match=r"'red' alone, .* Or give the table that names the images: photos/t.csv --target"
    ):
        thalweg.load(photos)
    table.write_text("file,hue\nred/0.png,a\nred/1.png,\n")
    with pytest.raises(DataError, match=r"Column 'hue' is empty in line 3"):
        thalweg.load(table, data={"target": "hue"})
    with pytest.raises(DataError, match=r"0.png is a single image. Give the folder that holds a folder for each class"):
        thalweg.load(photos / "red" / "0.png")
    with pytest.raises(DataError, match=r"Which column is to be predicted\? Columns: 'file', 'hue'"):
        thalweg.load(table)


def test_a_run_folder_whose_images_are_no_layout_is_named(kept: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "copy"))
    file = folder / "preprocessing.json"
    whole = json.loads(file.read_text())
    for change in ({"layout": [3, 0, 4]}, {"layout": None}):
        file.write_text(json.dumps(whole | {"schema": whole["schema"] | change}))
        with pytest.raises(thalweg.core.errors.RunError, match=r"preprocessing.json is damaged.*'layout' is"):
            thalweg.load_run(folder)
    file.write_text(json.dumps(whole | {"means": [0.5]}))
    with pytest.raises(thalweg.core.errors.RunError, match=r"'means' is \[0.5\], but 3 numbers are due"):
        thalweg.load_run(folder)


def test_pictures_that_are_none_are_named(kept: Path, tmp_path: Path) -> None:
    whole = json.loads((kept / "predictions" / "test-images.json").read_text())
    file, rows = tmp_path / "test-images.json", [int(row) for row in whole["images"]]
    for change in ({"height": -1}, {"channels": 2}, {"images": dict.fromkeys(whole["images"], "AAAA")}):
        file.write_text(json.dumps(whole | change))
        with pytest.raises(thalweg.core.errors.RunError, match=r"test-images.json is damaged"):
            read_photos(file, rows)
    file.write_text(json.dumps(whole))
    assert [photo.shape for photo in read_photos(file, rows)] == [(HEIGHT, WIDTH, 3)] * len(rows)
    assert read_photos(file, [*rows, 10**6]) == read_photos(tmp_path / "none.json", rows) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_bytes(b"no image"), "cannot identify image file"),
        (lambda path: Image.new("RGB", (8, 8), "white").save(path), "its content is another"),
    ],
)
def test_a_file_that_changes_while_images_are_decoded_anew_is_named(photos: Path, change: Any, why: str) -> None:
    source = thalweg.load("photos", assignments=["data.cache=off"]).data.train
    path = source.store.files.paths[int(source.store.rows[int(source.ids[0])])]
    change(path)
    with pytest.raises(DataError, match=f"{path.name} has changed since the run began: {why}"):
        source.inputs(source.ids[:1])
