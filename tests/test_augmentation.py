"""What augmentation does to a batch: each knob alone, by its own example's numbers, in one sampling."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from thalweg import DataError, RecipeError
from thalweg.core.warp import affine, warp
from thalweg.data import Augment
from thalweg.data.augmentation import DRAWN

IDS = torch.arange(400)


def images(batch: int = 400, channels: int = 1, height: int = 5, width: int = 7) -> Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


def changed(x: Tensor, key: int = 3, ids: Tensor | None = None, **knobs: Any) -> Tensor:
    return Augment(**knobs)(x, torch.zeros(len(x)), key, IDS[: len(x)] if ids is None else ids)[0]


EVERYTHING = {
    "flip": "both", "rotate": 20, "scale": (0.8, 1.3), "shift": 0.1, "shear": 10, "crop": 1, "padding": "reflection",
    "brightness": 0.2, "contrast": 0.3, "noise": 0.05, "cutout": 0.3,
}  # fmt: skip


# --- whose numbers ---


@pytest.mark.parametrize("columns", [1, 3])
def test_noise_on_rows_of_a_table_counts_in_the_columns_unit(columns: int) -> None:
    """One column has no deviation within a row, and a row within [0, 1] is not cut off there."""
    x = torch.linspace(-2, 2, 30_000).repeat_interleave(columns).view(-1, columns)
    added = Augment(noise=0.5)(x, x[:, 0], key=0, ids=torch.arange(len(x)))[0] - x
    for rows in (added, added[((x > 0) & (x < 1)).all(1)]):
        assert abs(float(rows.mean())) < 0.02
        assert float(rows.std()) == pytest.approx(0.5, rel=0.02)


def test_an_image_gets_the_same_in_any_batch_and_any_order() -> None:
    x, ids = images(30), torch.arange(30) * 7
    whole = changed(x, ids=ids, **EVERYTHING)
    order = torch.randperm(30)
    assert torch.equal(changed(x[order], ids=ids[order], **EVERYTHING), whole[order])
    assert torch.allclose(changed(x[4:5], ids=ids[4:5], **EVERYTHING), whole[4:5], atol=1e-6)
    assert not torch.equal(changed(x, key=4, ids=ids, **EVERYTHING), whole)
    assert not torch.equal(changed(x, ids=ids + 1, **EVERYTHING), whole)


def test_one_knob_moves_no_others_numbers() -> None:
    drawn = torch.rand(5, len(DRAWN))
    alone = Augment(rotate=20).matrices(drawn, (5, 7))
    with_flip = Augment(rotate=20, flip=True).matrices(drawn, (5, 7))
    stays = drawn[:, 0] < 0.5
    assert torch.equal(with_flip[stays], alone[stays])
    x = images()
    assert torch.equal(changed(x, brightness=0.3, flip=True), changed(changed(x, flip=True), brightness=0.3))


def test_what_was_given_is_not_written_to() -> None:
    x, y = images(9), torch.arange(9) % 3
    copy_x, copy_y = x.clone(), y.clone()
    Augment(**EVERYTHING, mixup=0.4, classes=3)(x, y, 0, IDS[:9])
    assert torch.equal(x, copy_x)
    assert torch.equal(y, copy_y)


# --- what moves pixels ---


def test_flips_are_those_of_torch_for_half_of_the_images() -> None:
    x = images()
    horizontal, vertical, both = (changed(x, flip=flip) for flip in (True, "vertical", "both"))
    across = (horizontal == x.flip(3)).flatten(1).all(1)
    upside = (vertical == x.flip(2)).flatten(1).all(1)
    assert torch.equal(horizontal[~across], x[~across])
    assert torch.equal(vertical[~upside], x[~upside])
    assert 160 < int(across.sum()) < 240
    assert 160 < int(upside.sum()) < 240
    assert torch.equal(both, changed(changed(x, flip="horizontal"), flip="vertical"))
    assert 60 < int((across & upside).sum()) < 140  # each by itself


def test_a_crop_is_a_piece_of_the_padded_image_and_each_piece_as_often() -> None:
    x = images()
    padded, result = torch.nn.functional.pad(x, (2, 2, 2, 2)), changed(x, crop=2, padding="zeros")
    found = torch.zeros(len(x), 5, 5)
    for row in range(5):
        for column in range(5):
            piece = padded[:, :, row : row + 5, column : column + 7]
            found[:, row, column] = (piece == result).flatten(1).all(1)
    assert torch.equal(found.sum((1, 2)), torch.ones(len(x)))
    assert stats.chisquare(found.sum(0).flatten().numpy()).pvalue > 1e-3


def test_all_that_moves_pixels_is_one_matrix() -> None:
    drawn = torch.rand(6, len(DRAWN), generator=torch.Generator().manual_seed(2)).double()
    augment = Augment(flip="both", rotate=30, scale=(0.5, 2.0), shift=0.2, shear=15, crop=3)
    column = dict(zip(DRAWN, drawn.unbind(1), strict=True))
    expected = affine(
        angle=60 * column["angle"] - 30, scale=0.5 + 1.5 * column["scale"], shear=30 * column["shear"] - 15,
        flip_x=(column["flip_x"] >= 0.5).double(), flip_y=(column["flip_y"] >= 0.5).double(),
        shift_x=(2 * column["shift_x"] - 1) * 0.2 * 7 + (7 * column["crop_x"] - 3).floor(),
        shift_y=(2 * column["shift_y"] - 1) * 0.2 * 5 + (7 * column["crop_y"] - 3).floor(),
    )  # fmt: skip
    assert torch.allclose(augment.matrices(drawn, (5, 7), torch.float64), expected)


def test_a_fixed_scale_enlarges_all_alike() -> None:
    x = images(3)
    assert torch.equal(changed(x, scale=(2, 2)), warp(x, affine(scale=2.0, batch=3)))
    assert torch.equal(changed(x, scale=0.2), changed(x, scale=(0.8, 1.2)))


def test_images_without_channels_are_images_of_one_channel() -> None:
    x = images(9)
    assert torch.equal(changed(x[:, 0], **EVERYTHING), changed(x, **EVERYTHING)[:, 0])


# --- what changes numbers ---


def test_images_stay_between_0_and_1_where_they_were() -> None:
    x = images(40)
    x[::2] = 6 * x[::2] - 3
    result = changed(x, brightness=0.9, contrast=1.0, noise=0.5)
    assert float(result[1::2].min()) == 0
    assert float(result[1::2].max()) == 1
    assert float(result[::2].min()) < -1.5
    assert float(result[::2].max()) > 1.5


def test_brightness_and_noise_of_standardized_images_are_in_their_deviations() -> None:
    x = images(40)
    deviation = x.std((1, 2, 3), correction=0, keepdim=True)
    standardized = (x - 0.5) / deviation
    added = changed(standardized, brightness=0.3) - standardized
    assert torch.allclose(added, added[:, :, :1, :1].expand_as(added), atol=1e-5)
    assert 0.25 < float(added.abs().max()) <= 0.3 + 1e-5
    small, large = (changed(size * standardized, noise=0.1, contrast=0.2) for size in (1, 1000))
    assert torch.allclose(large, 1000 * small, rtol=1e-3, atol=1e-2)


def test_contrast_keeps_the_mean_of_each_image() -> None:
    x = images(40, channels=3) + 5
    result = changed(x, contrast=0.5)
    assert torch.allclose(result.mean((1, 2, 3)), x.mean((1, 2, 3)))
    factor = (result.std((1, 2, 3)) / x.std((1, 2, 3))).numpy()
    assert 0.5 <= factor.min() < 0.6
    assert 1.4 < factor.max() <= 1.5001


def test_noise_is_normal_and_of_its_own_key() -> None:
    x = torch.full((400, 1, 5, 7), 0.5)
    noise = changed(x, noise=0.05) - 0.5
    assert stats.kstest(noise.flatten().numpy() / 0.05, "norm").pvalue > 1e-3


def test_what_is_cut_out_is_a_rectangle_anywhere() -> None:
    x = torch.ones(400, 2, 8, 12)
    hole = changed(x, cutout=0.5) == 0
    assert torch.equal(hole[:, 0], hole[:, 1])
    rows, columns = hole[:, 0].any(2).sum(1), hole[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, hole[:, 0].sum((1, 2)))
    assert (int(rows.max()), int(columns.max())) == (4, 6)
    assert bool(hole[:, 0].any(0).all())


# --- mixup ---


def test_mixup_is_a_mixture_of_two_examples_and_of_their_targets() -> None:
    x, y = torch.eye(40), torch.arange(40) % 5
    mixed, target = Augment(mixup=0.4, classes=5)(x, y, 0, IDS[:40])
    assert torch.allclose(mixed.sum(1), torch.ones(40))
    assert bool(((mixed > 0).sum(1) <= 2).all())
    assert torch.allclose(target, mixed @ torch.nn.functional.one_hot(y, 5).float(), atol=1e-6)
    numbers = Augment(mixup=0.4)(x, y.double(), 0, IDS[:40])[1]
    assert numbers.dtype == torch.float64
    assert torch.allclose(numbers, mixed.double() @ y.double(), atol=1e-6)


def test_who_is_mixed_with_whom_depends_on_the_batch_and_not_on_its_order() -> None:
    x, y, order = torch.eye(40), torch.arange(40).float(), torch.randperm(40)
    first, again = (Augment(mixup=1.0)(x[by], y[by], 0, IDS[:40][by])[0] for by in (torch.arange(40), order))
    assert torch.equal(again, first[order])
    partners = (first - torch.diag(first.diag())).argmax(1)
    assert sorted(partners.tolist()) == list(range(40))  # each is the other of one
    alone = Augment(mixup=1.0)(x[:1], y[:1], 0, IDS[:1])[0]
    assert torch.equal(alone, x[:1])


def test_shares_are_of_the_beta_distribution() -> None:
    x = torch.eye(400)
    shares = Augment(mixup=0.3)(x, torch.zeros(400), 0, IDS)[0].diag().double().numpy()
    assert stats.kstest(shares, stats.beta(0.3, 0.3).cdf).pvalue > 1e-3


# --- bad input ---


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"rotate": -5}, "rotate is -5, but it is the largest angle in degrees, from 0 to 180"),
        ({"rotate": float("nan")}, "rotate is nan"),
        ({"rotate": "much"}, "rotate is 'much', but it must be a number"),
        ({"noise": float("inf")}, "noise is inf"),
        ({"cutout": 2.0}, "cutout is 2.0.*from 0 to 1"),
        ({"scale": (1.1, 0.9)}, r"scale is \(1.1, 0.9\), but it is a range"),
        ({"scale": 1.0}, "scale is 1.0, but it is a range"),
        ({"scale": (0.9, 1.0, 1.1)}, "scale is .* list of 2 numbers"),
        ({"crop": -1}, "crop is -1"),
        ({"crop": 1.5}, "crop is 1.5, but it must be a whole number"),
        ({"classes": 1}, "classes is 1"),
        ({"flip": "horizontl"}, "Did you mean 'horizontal'"),
        ({"padding": "zero"}, "Did you mean 'zeros'"),
    ],
)
def test_a_knob_out_of_its_range_is_refused(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Augment(**knobs)


FLIP, MIX = Augment(flip=True), Augment(mixup=0.2, classes=3)


@pytest.mark.parametrize(
    ("augment", "x", "y", "words"),
    [
        (FLIP, images(2).mul(255).byte(), torch.zeros(2), r"uint8, but they are one floating tensor. .*/ 255"),
        (FLIP, [1, 2], torch.zeros(2), "one floating tensor"),
        (FLIP, torch.rand(2, 35), torch.zeros(2), r"\(2, 35\) float32, but Augment\(flip=True\) is for images"),
        (FLIP, torch.rand(2, 1, 0, 5), torch.zeros(2), "is for images"),
        (FLIP, images(3), torch.zeros(3), "3 examples were to be augmented by 2 numbers"),
        (FLIP, images(2), torch.zeros(2, 5, 7), "as large as the images"),
        (MIX, images(2), (torch.zeros(2), torch.zeros(2)), "mixup mixes targets that are one tensor"),
        (MIX, images(2), torch.zeros(2, 3).long(), "one class for each example"),
        (MIX, images(2), torch.tensor([0, 3]), "0 to 2, but the targets go from 0 to 3. .*classes=4"),
        (MIX, images(2), torch.tensor([0, -100]), "from -100 to 0"),
        (Augment(crop=6), images(2), torch.zeros(2), "crop=6 moves images of 5 x 7 out of sight. Give 5 at most"),
        (Augment(mixup=0.2), images(2), torch.tensor([0, 3]), "say how many classes.*classes=4"),
    ],
)
def test_a_batch_that_cannot_be_augmented_is_refused(augment: Augment, x: Any, y: Any, words: str) -> None:
    with pytest.raises((DataError, RecipeError), match=words):
        augment(x, y, 0, IDS[:2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_layouts_and_sizes(dtype: torch.dtype) -> None:
    x = images(9, channels=3).to(dtype).to(memory_format=torch.channels_last)
    augment = Augment(**EVERYTHING, mixup=0.4, classes=3)
    result, y = augment(x, torch.arange(9) % 3, 0, IDS[:9])
    assert (result.dtype, y.dtype, result.shape) == (dtype, dtype, x.shape)
    assert bool(torch.isfinite(result).all())
    assert augment(x[:0], torch.zeros(0), 0, IDS[:0])[0].shape == (0, 3, 5, 7)
    pixel, _ = augment(x[:, :, :1, :1], torch.arange(9) % 3, 0, IDS[:9])
    assert bool(torch.isfinite(pixel).all())


def test_inputs_that_are_no_images_get_noise_and_mixup() -> None:
    x = torch.randn(9, 4)
    result, _ = Augment(noise=0.1, brightness=0.1, mixup=0.2)(x, torch.zeros(9), 0, IDS[:9])
    assert result.shape == x.shape
    assert not np.isclose(result, x).any()


def test_what_is_set_is_shown_and_lists_are_pairs() -> None:
    assert repr(Augment(rotate=15, scale=[0.9, 1.1], flip=True)) == "Augment(flip=True, rotate=15, scale=(0.9, 1.1))"  # type: ignore[arg-type]
    assert repr(Augment()) == "Augment()"
    x = images(2)
    assert Augment()(x, torch.zeros(2), 0, IDS[:2])[0] is x
