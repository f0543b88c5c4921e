"""The affine warp against what it has to be: torch's own turns and flips, its grid, and a pixel at a time."""

from collections.abc import Callable
from math import cos, radians, sin, tan
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg import DataError, RecipeError
from thalweg.core.warp import PADDINGS, affine, warp

SIZES = [(32, 32), (28, 28), (5, 7), (13, 30), (1, 1), (1, 6), (40, 3)]


def images(height: int, width: int, batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", SIZES)
def test_identity_flips_and_whole_shifts_are_exact(size: tuple[int, int], padding: str) -> None:
    x = images(*size)
    for mode in ("bilinear", "nearest"):
        assert torch.equal(warp(x, affine(batch=2), padding=padding, mode=mode), x)
        assert torch.equal(warp(x, affine(flip_x=1.0, batch=2), padding=padding, mode=mode), x.flip(3))
        assert torch.equal(warp(x, affine(flip_y=1.0, batch=2), padding=padding, mode=mode), x.flip(2))
        moved = warp(x, affine(shift_x=2.0, shift_y=-1.0, batch=2), padding=padding, mode=mode)
        assert torch.equal(moved[:, :, :-1, 2:], x[:, :, 1:, :-2])


@pytest.mark.parametrize("side", [1, 2, 7, 28, 32])
@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_quarter_turns_are_those_of_torch(side: int, turns: int) -> None:
    x = images(side, side)
    assert torch.allclose(warp(x, affine(angle=90.0 * turns, batch=2)), x.rot90(turns, (2, 3)), atol=1e-6)


def test_half_a_turn_of_an_image_that_is_no_square() -> None:
    x = images(13, 30)
    assert torch.allclose(warp(x, affine(angle=180.0, batch=2)), x.rot90(2, (2, 3)), atol=1e-6)


def around(index: int, side: int, padding: str) -> int | None:
    """The pixel that stands at a place beyond the image."""
    if 0 <= index < side or padding == "zeros":
        return index if 0 <= index < side else None
    if padding == "border":
        return min(max(index, 0), side - 1)
    index %= 2 * side
    return min(index, 2 * side - 1 - index)


def one_by_one(x: Tensor, matrix: Tensor, size: tuple[int, int], padding: str) -> Tensor:
    """The warp of one image, a pixel at a time."""
    (height, width), (rows, columns) = x.shape[1:], size
    result = x.new_zeros(x.shape[0], rows, columns)
    for row in range(rows):
        for column in range(columns):
            place = x.new_tensor([(column - (columns - 1) / 2) * width / columns,
                                  (row - (rows - 1) / 2) * height / rows, 1.0])  # fmt: skip
            right, down = (matrix @ place).tolist()
            right, down = right + (width - 1) / 2, down + (height - 1) / 2
            if padding == "border":
                right, down = min(max(right, 0), width - 1), min(max(down, 0), height - 1)
            left, top = int(right // 1), int(down // 1)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                share = (1 - abs(right - left - j)) * (1 - abs(down - top - i))
                y, z = around(top + i, height, padding), around(left + j, width, padding)
                if y is not None and z is not None:
                    result[:, row, column] += share * x[:, y, z]
    return result


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("size", "out"), [((5, 7), None), ((8, 4), None), ((5, 7), (11, 3))])
def test_a_warp_is_what_it_is_a_pixel_at_a_time(size: tuple[int, int], out: Any, padding: str) -> None:
    x = images(*size, dtype=torch.float64)
    matrices = affine(
        angle=torch.tensor([31.0, -100.0]), scale=torch.tensor([0.6, 1.7]), shift_x=torch.tensor([1.3, -2.0]),
        shift_y=0.4, flip_x=torch.tensor([1.0, 0.0]), shear=12.0, dtype=torch.float64,
    )  # fmt: skip
    expected = torch.stack([one_by_one(each, m, out or size, padding) for each, m in zip(x, matrices, strict=True)])
    assert torch.allclose(warp(x, matrices, out, padding), expected, atol=1e-12)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(8, 4), (5, 7)])
def test_a_warp_is_torchs_grid_in_pixels(size: tuple[int, int], padding: str) -> None:
    x, (height, width) = images(*size, dtype=torch.float64), size
    matrices = affine(angle=torch.tensor([20.0, 75.0]), shift_x=1.5, dtype=torch.float64)
    theta = matrices.clone()
    theta[:, 0, 1] *= height / width
    theta[:, 1, 0] *= width / height
    theta[:, 0, 2] *= 2 / width
    theta[:, 1, 2] *= 2 / height
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    expected = F.grid_sample(x, grid, padding_mode=padding, align_corners=False)
    assert torch.allclose(warp(x, matrices, padding=padding), expected, atol=1e-12)


def test_places_are_exact_where_layers_multiply_in_bfloat16() -> None:
    x, matrices = images(5, 300), affine(angle=torch.tensor([31.0, -3.0]))
    expected = warp(x, matrices)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(warp(x, matrices), expected)


def test_shapes_alone_can_be_warped() -> None:
    x, matrices = (torch.empty(shape, device="meta") for shape in ((2, 3, 8, 8), (2, 2, 3)))
    assert warp(x, matrices, (5, 4)).shape == (2, 3, 5, 4)


@pytest.mark.parametrize("out", [(11, 3), (8, 8), (1, 1)])
def test_the_identity_with_a_size_resizes(out: tuple[int, int]) -> None:
    x = images(5, 7)
    expected = F.interpolate(x, out, mode="bilinear", align_corners=False)
    assert torch.allclose(warp(x, affine(batch=2), out, padding="border"), expected, atol=1e-5)


def test_the_matrix_is_the_inverse_of_what_happens_to_a_pixel() -> None:
    a, k = radians(25.0), tan(radians(-10.0))
    flip, shear = torch.diag(torch.tensor([-1.0, 1.0])), torch.tensor([[1.0, k], [0.0, 1.0]])
    turn = torch.tensor([[cos(a), sin(a)], [-sin(a), cos(a)]])
    forward = torch.eye(3)
    forward[:2, :2], forward[:2, 2] = turn @ shear @ (1.3 * flip), torch.tensor([4.0, -3.0])
    matrix = affine(angle=25.0, scale=1.3, shift_x=4.0, shift_y=-3.0, flip_x=1.0, shear=-10.0)
    assert torch.allclose(matrix[0], torch.linalg.inv(forward)[:2], atol=1e-6)


def test_what_grows_turns_and_moves_goes_where_it_should() -> None:
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 6] = 1.0  # two pixels to the right of the middle
    where: Callable[[Tensor], list[int]] = lambda y: y[0, 0].nonzero()[0].tolist()  # noqa: E731
    assert where(warp(x, affine(angle=90.0)).round()) == [2, 4]  # above the middle
    assert where(warp(x, affine(shift_x=1.0, shift_y=2.0))) == [6, 7]
    assert where(warp(x, affine(scale=2.0), mode="nearest")) in ([4, 8], [4, 7], [3, 7], [3, 8])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(5, 3), (4, 4)])
def test_gradients_reach_image_and_knobs(size: tuple[int, int], padding: str) -> None:
    x = images(*size, dtype=torch.float64).requires_grad_()
    knobs = [torch.tensor(pair, dtype=torch.float64, requires_grad=True) for pair in
             ([20.3, -11.0], [0.9, 1.2], [0.3, -0.4], [0.21, 0.33], [3.0, 5.0])]  # fmt: skip

    def warped(x: Tensor, angle: Tensor, scale: Tensor, right: Tensor, down: Tensor, shear: Tensor) -> Tensor:
        return warp(x, affine(angle, scale, right, down, shear=shear), padding=padding)

    assert torch.autograd.gradcheck(warped, (x, *knobs), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_image_stays(dtype: torch.dtype) -> None:
    x = images(5, 7).to(dtype)
    assert torch.equal(warp(x, affine(batch=2)), x)
    assert warp(x, affine(angle=10.0, batch=2)).dtype == dtype


def test_layouts_and_empty_batches() -> None:
    x, matrices = images(6, 9), affine(angle=20.0, batch=2)
    for other in (x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        assert torch.allclose(warp(other, matrices), warp(x, matrices), atol=1e-6)
    assert warp(x[:0], matrices[:0]).shape == (0, 3, 6, 9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8)}, r"uint8.*images.float\(\) / 255"),
        ({"images": torch.zeros(3, 4, 4)}, r"\(3, 4, 4\) float32, but it takes floating images"),
        ({"images": torch.zeros(2, 3, 0, 4)}, "no pixel"),
        ({"images": [1, 2]}, "takes floating images"),
        ({"images": torch.zeros(5, 3, 4, 4)}, r"5 images and matrices of \(2, 2, 3\)"),
        ({"padding": "zero"}, "padding='zero'.*Did you mean 'zeros'"),
        ({"mode": "bicubic"}, "mode='bicubic' is none of bilinear, nearest"),
        ({"size": (0, 4)}, r"size=\(0, 4\), but it is \(height, width\)"),
    ],
)
def test_what_cannot_be_warped_is_said(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((DataError, RecipeError), match=words):
        warp(**({"images": images(4, 4), "matrices": affine(batch=2)} | arguments))


@pytest.mark.parametrize("angle", [torch.zeros(2), torch.tensor(1.0)])
def test_knobs_of_several_shapes_are_refused(angle: Tensor) -> None:
    with pytest.raises(RecipeError, match="Give each one number per image"):
        affine(angle=angle, scale=torch.ones(3))
