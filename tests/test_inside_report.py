"""What the network looks at, as the report draws it: the values, the pictures, and files that are not what they say."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from pages import page, write
from torch import nn

import thalweg
from thalweg.cli import main
from thalweg.core.convert import Batching, as_source
from thalweg.core.errors import DataError
from thalweg.measure import effective_field, first_layer_filters, occlusion, receptive_field, saliency
from thalweg.nn import cnn, mlp
from thalweg.recipes import conclude, inside
from thalweg.report import (
    feature_map_grid,
    field_on_image,
    filters_grid,
    maximizing_grid,
    occlusion_map,
    saliency_overlay,
)
from thalweg.report.drawing import PALETTE

TITLE = "What the network looks at"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CNN for the digits, as `thalweg train` leaves it."""
    out = tmp_path_factory.mktemp("runs")
    settings = [word for knob in ("kind=cnn", "width=4", "depth=1") for word in ("--set", f"model.{knob}")]
    main(["train", "digits", *settings, "--set", "epochs=2", "--out", str(out), "--quiet", "--json"])
    return next(out.glob("*-digits-*"))


def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "inside.json").read_text())
    return found


# --- the section ------------------------------------------------------------------------------------------------------


def test_a_few_images_are_read_out_of_batches_and_no_further_than_they_stand() -> None:
    x = torch.rand(30, 1, 6, 6)
    source, read = as_source((x, torch.zeros(30)), batching=Batching(7)), list[int]()

    class Counting:
        def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Any:
            for number, batch in enumerate(source.batches(epoch, start, generator)):
                read.append(number)
                yield batch

    examples = inside.Examples(Counting(), torch.zeros(30, 2), None, ["a", "b"])
    assert torch.equal(examples.images([9, 3, 14]), x[[9, 3, 14]])
    assert read == [0, 1, 2]


def test_a_cnn_for_digits_has_the_section(digits: Path) -> None:
    found = page(digits)
    assert TITLE in found.titles
    assert "A unit of the last convolution, 0.3, sees 5 x 5 pixels of images of 8 x 8." in found.text
    assert "The filters of the first convolution, 0.0" in found.text
    names = [figure.attrib["aria-label"] for figure in found.figures]
    assert {"examples, their saliency and occlusion", "images that filters like"} <= set(names)


def test_the_values_are_those_of_the_measures(digits: Path) -> None:
    said, run = kept(digits), thalweg.load_run(digits)
    assert run.recipe is not None
    assert said["split"] == "test"
    assert said["left_out"] == []
    assert [example["right"] for example in said["examples"]] == [False] * 3 + [True] * 3
    x = torch.cat([x for x, _ in as_source(run.recipe.data.test).batches(0, 0, None)])
    for example in said["examples"]:
        image = x[example["row"]]
        target = int(example["predicted"])  # the digits' labels are their numbers
        assert example["right"] is (example["truth"] == example["predicted"])
        for look, measure in (("saliency", saliency), ("occlusion", occlusion)):
            torch.testing.assert_close(
                torch.tensor(example[look]), measure(run.model, image, target)[0], rtol=1e-2, atol=1e-3
            )
    torch.testing.assert_close(torch.tensor(said["filters"]), first_layer_filters(run.model), rtol=1e-3, atol=1e-4)
    assert all(maximized["end"] > maximized["start"] for maximized in said["maximized"])
    assert len(said["maximized"]) == 4  # as many as the last convolution has


def test_a_network_without_convolutions_has_no_section(tmp_path: Path) -> None:
    x, y = torch.rand(25, 1, 9, 9), torch.randint(0, 2, (25,))
    run = trained(partial(mlp, 81, 2, width=2), x, y, nn.CrossEntropyLoss(), tmp_path)
    assert run.path is not None
    assert (run.path / "evaluation.json").exists()
    assert not (run.path / "inside.json").exists()
    assert TITLE not in page(run.path).titles


def test_a_network_that_takes_long_is_looked_into_less_far(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = thalweg.load_run(digits)
    assert run.recipe is not None
    cost = inside._operations(run.model, torch.zeros(1, 1, 8, 8))
    assert cost == pytest.approx(2 * 64 * 9 * (4 + 16) + 2 * 40, rel=0.01)  # two a multiplication and addition
    monkeypatch.setattr(inside, "AFFORDABLE", 3 * inside.CHANNELS * cost * 20)
    said = inside.look_inside(run, as_source(run.recipe.data.test), "test")
    assert said is not None
    assert said["left_out"] == ["occlusion"]
    assert said["examples"][0]["occlusion"] is None
    monkeypatch.setattr(inside, "AFFORDABLE", cost)
    said = inside.look_inside(run, as_source(run.recipe.data.test), "test")
    assert said is not None
    assert said["left_out"] == ["occlusion", "maximizing images"]


class Refusing(nn.Module):
    """A network that reads its images in batches of five alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn(1, 2, width=2, depth=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) % 5:
            raise RuntimeError("five at a time")
        found: torch.Tensor = self.net(x)
        return found


def trained(model: Any, x: torch.Tensor, y: torch.Tensor, objective: Any, out: Path) -> thalweg.Run:
    data = thalweg.Splits(train=(x[:20], y[:20]), validation=(x[20:], y[20:]))
    optimizer = partial(torch.optim.Adam, lr=1e-3)
    recipe = thalweg.Recipe(data=data, model=model, objective=objective, optimizer=optimizer, epochs=1, batch_size=5)
    run = thalweg.train(recipe, out=out, device="cpu")
    conclude(run, "cpu")
    return run


def test_large_colour_images_and_predicted_numbers(tmp_path: Path) -> None:
    x, y = torch.rand(25, 3, 70, 40), torch.rand(25, 1)
    run = trained(partial(cnn, 3, 1, width=1, depth=1), x, y, nn.MSELoss(), tmp_path)
    assert run.path is not None
    said = kept(run.path)
    assert np.shape(said["examples"][0]["image"]) == (3, 64, 37)
    assert np.shape(said["examples"][0]["saliency"]) == (64, 37)
    assert said["examples"][0]["truth"] is None
    found = page(run.path)
    assert TITLE in found.titles
    assert "of images of 70 x 40" in found.text


def test_a_model_that_refuses_is_judged_without_the_section(tmp_path: Path) -> None:
    x, y = torch.rand(25, 1, 9, 9), torch.randint(0, 2, (25,))
    run = trained(Refusing, x, y, nn.CrossEntropyLoss(), tmp_path)
    assert run.path is not None
    assert (run.path / "evaluation.json").exists()
    assert not (run.path / "inside.json").exists()


# --- files that are not what they say ---------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "first": "0.0",
    "filters": [[[[0.1, -0.2], [0.3, 0.0]]]],
    "last": "0.3",
    "sees": [5, 5],
    "sides": [4, 4],
    "split": "test",
    "left_out": [],
    "examples": [
        {"row": 1, "truth": "a", "predicted": "b", "right": False, "image": [np.eye(4).tolist()]}
        | {"saliency": np.eye(4).tolist(), "occlusion": np.eye(4).tolist()}
    ],
    "maximized": [{"channel": 3, "start": 0, "end": 1, "image": [np.eye(4).tolist()]}],
}
BAD: list[Any] = [None, 7, "<script>", [], [[]], [[1, 2], [3]], [["a"]], [[None]], {"a": 1}, [[[[[1]]]]], [[1e999]]]


KEYS = ("filters", "examples", "maximized", "sees", "sides", "first", "last", "split", "left_out")


@pytest.mark.parametrize("place", range(len(BAD)))
def test_a_foreign_file_is_shown_as_far_as_it_can_be(tmp_path: Path, place: int) -> None:
    good = GOOD["examples"][0]
    bad = [BAD[place], np.ones((4, 5)).tolist(), np.ones((1, 200, 200)).tolist()]
    examples = [good | {key: value} for key in good for value in bad]
    spoiled = {KEYS[place % len(KEYS)]: BAD[place], KEYS[(place + 4) % len(KEYS)]: BAD[place]}
    for file in (GOOD | spoiled, GOOD | {"examples": examples[:20]}):
        found = page(write(tmp_path, **{"inside.json": file}))
        assert TITLE in found.titles
        assert "<script>" not in found.source


def test_an_empty_file_shows_nothing(tmp_path: Path) -> None:
    assert TITLE not in page(write(tmp_path, **{"inside.json": {}})).titles
    assert TITLE not in page(write(tmp_path, **{"inside.json": {"left_out": ["occlusion"], "sees": [1, 1]}})).titles
    left = page(write(tmp_path, **{"inside.json": GOOD | {"left_out": ["occlusion"], "maximized": []}}))
    assert "Left out, because this network takes long: occlusion." in left.text


# --- the pictures -----------------------------------------------------------------------------------------------------


def drawn(ax: Any) -> np.ndarray:
    """The pixels of the first image on the axes."""
    return np.asarray(ax.images[0].get_array())


def test_filters_are_orange_above_0_and_blue_below() -> None:
    pixels = drawn(filters_grid(np.array([[[[2.0, -2.0], [0.0, 1.0]]]])))
    np.testing.assert_allclose(pixels[0, 0], [*to_rgb(PALETTE["validation"]), 1.0])
    np.testing.assert_allclose(pixels[0, 1], [*to_rgb(PALETTE["train"]), 1.0])
    np.testing.assert_allclose(pixels[..., 3], [[1.0, 1.0], [0.0, 0.5]])
    colour = drawn(filters_grid(np.array([[[[1.0]], [[0.0]], [[-1.0]]]])))
    np.testing.assert_allclose(colour, [[[1.0, 0.5, 0.0]]])


def test_the_brightest_saliency_is_lit_and_none_leaves_the_image() -> None:
    image, heat = np.ones((1, 2, 2)) * [[0.0, 1.0], [1.0, 0.0]], np.array([[4.0, 0.0], [0.0, 0.0]])
    pixels = drawn(saliency_overlay(image, heat))
    assert pixels[0, 0, 3] == 1.0
    assert pixels[0, 0, 0] > 0.8  # amber
    np.testing.assert_allclose(pixels[..., 3], [[1.0, 0.3], [0.3, 0.0]])
    np.testing.assert_allclose(pixels[0, 1, :3], to_rgb(PALETTE["ink"]))


def test_covering_is_orange_where_it_costs_and_blue_where_it_helps() -> None:
    pixels = drawn(occlusion_map(np.zeros((1, 1, 2)), np.array([[3.0, -3.0]])))
    np.testing.assert_allclose(pixels[0, 0, :3], to_rgb(PALETTE["validation"]))
    np.testing.assert_allclose(pixels[0, 1, :3], to_rgb(PALETTE["train"]))


def test_pictures_draw_on_the_axes_they_are_given_and_survive_what_has_no_range() -> None:
    flat = np.zeros((3, 4, 5))
    for draw in (
        lambda ax: filters_grid(np.zeros((2, 1, 3, 3)), ax),
        lambda ax: feature_map_grid(flat, ax),
        lambda ax: saliency_overlay(flat, flat[0], ax),
        lambda ax: occlusion_map(np.full((1, 4, 5), np.nan), flat[0], ax),
        lambda ax: maximizing_grid(flat[None], ["one"], ax),
        lambda ax: field_on_image(flat, (slice(0, 0), slice(1, 2)), ax=ax),
    ):
        figure = Figure()
        ax = figure.subplots()
        assert draw(ax) is ax
        figure.savefig(Path("/dev/null"), format="png")


def test_numbers_of_another_shape_are_refused() -> None:
    image = np.zeros((1, 4, 5))
    with pytest.raises(
        DataError, match=r"shape \(2, 3, 3\) cannot be drawn as filters. Give them as \(filter, channel,"
    ):
        filters_grid(np.zeros((2, 3, 3)))
    with pytest.raises(DataError, match=r"cannot be drawn as maps"):
        feature_map_grid(np.zeros((0, 3, 3)))
    with pytest.raises(DataError, match=r"cannot be drawn as a heat.*of the image's size \(4, 5\)"):
        saliency_overlay(image, np.zeros((5, 4)))
    with pytest.raises(DataError, match="cannot be drawn as an occlusion"):
        occlusion_map(image, image)
    with pytest.raises(DataError, match="cannot be drawn as an image"):
        saliency_overlay(image[0], image[0])
    with pytest.raises(DataError, match="cannot be drawn as images"):
        maximizing_grid(image)


def test_a_field_is_boxed_and_its_heat_is_lit() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    x = torch.rand(4, 1, 9, 9)
    field = effective_field(net, x, "1", (4, 2))
    ax = field_on_image(x[0], receptive_field(net, (1, 9, 9)).box("1", (4, 2)), field.heat)
    box = ax.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (-0.5, 1.5, 5, 5)
    lit = drawn(ax)[..., 3] > 0.3 + 1e-6
    assert set(np.argwhere(lit)[:, 0]) <= {2, 3, 4, 5, 6}
    assert set(np.argwhere(lit)[:, 1]) <= {0, 1, 2, 3, 4}
    with pytest.raises(DataError, match=r"heat has the shape \(3, 3\), but the image \(9, 9\)"):
        field_on_image(x[0], (slice(0, 1), slice(0, 1)), np.ones((3, 3)))
    with pytest.raises(DataError, match=r"An image of shape \(9, 9\)"):
        field_on_image(x[0, 0], (slice(0, 1), slice(0, 1)))
