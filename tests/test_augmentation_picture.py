"""The picture of augmentation: what is drawn are the images, those as they are above."""

from typing import Any

import numpy as np
import pytest
import torch

from thalweg import DataError
from thalweg.report import draw_augmentation


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_the_images_are_drawn_above_what_became_of_them(channels: tuple[int, ...]) -> None:
    x = torch.rand(12, *channels, 6, 9)
    ax = draw_augmentation(x, [x.flip(-1), 2 * x - 0.5])
    assert len(ax.images) == 30  # of twelve examples ten
    first, flipped = (np.asarray(ax.images[place].get_array()) for place in (0, 10))
    assert np.allclose(first[:, ::-1], flipped)
    assert ax.images[0].get_extent()[3] < ax.images[10].get_extent()[3] < ax.images[20].get_extent()[3]


def test_numbers_beyond_those_of_the_image_are_cut_off() -> None:
    x = torch.rand(1, 1, 4, 4)
    ax = draw_augmentation(x, 100 * x)
    assert float(np.asarray(ax.images[1].get_array()).max()) == 1
    assert len(draw_augmentation(torch.zeros(1, 4, 4), torch.full((1, 4, 4), torch.nan)).images) == 2


@pytest.mark.parametrize(
    ("images", "augmented", "words"),
    [
        (torch.rand(3, 4, 4), torch.rand(2, 4, 4), "Give as many, of the same size"),
        (torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4), "of 1 or 3 channels"),
        (torch.rand(0, 4, 4), torch.rand(0, 4, 4), "has the shape"),
        (torch.rand(4), torch.rand(4), "has the shape"),
    ],
)
def test_what_cannot_be_drawn_is_said(images: Any, augmented: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        draw_augmentation(images, augmented)
