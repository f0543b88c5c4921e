"""Masks over frames: against a slow twin, drawn for each example, in training alone."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.counter import uniform
from thalweg.core.errors import DataError, RecipeError, Unsupported
from thalweg.core.source import Altering, Splits
from thalweg.data.audio_augmentation import Masked, SpecAugment, mask_frames


class Frames:
    """A source of frames `((frames, lengths), y)` in its simplest form."""

    def __init__(self, frames: Tensor, lengths: Tensor, size: int | None = None) -> None:
        self.arrays = ArraySource(((frames, lengths), torch.arange(len(frames)) % 2), size)

    def __len__(self) -> int:
        return len(self.arrays)

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Any:
        return self.arrays.batches(epoch, start, generator)

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        return self.arrays.ordered(epoch, generator)

    def take(self, ids: Any) -> "Frames":
        (frames, lengths), _ = self.arrays.take(ids).data
        return Frames(frames, lengths, self.arrays.batch_size)

    def batched(self, size: int | None, merge_single: bool = False) -> "Frames":
        (frames, lengths), _ = self.arrays.data
        return Frames(frames, lengths, size)


def slow_masks(masks: SpecAugment, lengths: list[int], mels: int, key: int, ids: Tensor) -> Tensor:
    """What is left, one example and one mask at a time, by the paper's words."""
    left = torch.ones(len(lengths), max(lengths), mels)
    drawn = uniform(key, ids, 2 * (masks.pitch_masks + masks.time_masks)).tolist()
    for example, length in enumerate(lengths):
        for mask in range(masks.pitch_masks + masks.time_masks):
            size, begin = drawn[example][2 * mask : 2 * mask + 2]
            pitches = mask < masks.pitch_masks
            most = round(masks.pitch_share * mels) if pitches else min(masks.time_width, int(masks.time_share * length))
            whole = mels if pitches else length
            width = math.floor(size * (most + 1))
            first = math.floor(begin * (whole - width + 1))
            if pitches:
                left[example, :, first : first + width] = 0
            else:
                left[example, first : first + width] = 0
    return left


def test_a_mask_over_time_is_never_wider_than_time_width() -> None:
    masks, lengths = SpecAugment(pitch_masks=0, time_masks=1, time_share=1.0, time_width=5), torch.full((200,), 40)
    left = masks(torch.ones(200, 40, 3), lengths, 0, torch.arange(200))
    assert sorted(set((left[:, :, 0] == 0).sum(1).tolist())) == [0, 1, 2, 3, 4, 5]


def test_masks_are_those_of_the_paper() -> None:
    masks, lengths, ids = SpecAugment(pitch_masks=2, time_masks=3, time_share=0.3), [41, 7, 29, 1], torch.arange(4) + 11
    frames = torch.ones(4, 41, 13)
    assert torch.equal(masks(frames, torch.tensor(lengths), 5, ids), slow_masks(masks, lengths, 13, 5, ids))
    assert torch.equal(frames, torch.ones(4, 41, 13))
    none = SpecAugment(pitch_masks=0, time_masks=0)
    assert torch.equal(none(frames, torch.tensor(lengths), 5, ids), frames)


def test_masks_are_as_wide_as_they_may_be_and_lie_anywhere() -> None:
    count = 4000
    frames, lengths = torch.ones(count, 20, 10), torch.full((count,), 20)
    pitch = SpecAugment(pitch_masks=1, time_masks=0, pitch_share=0.3)(frames, lengths, 0, torch.arange(count))
    gone = (pitch[:, 0] == 0).sum(1)
    assert gone.bincount(minlength=4).tolist() == pytest.approx([count / 4] * 4, rel=0.15)
    assert (pitch == 0).any(0).all()
    time = SpecAugment(pitch_masks=0, time_masks=1, time_share=0.2)(frames, lengths, 0, torch.arange(count))
    assert (time[:, :, 0] == 0).sum(1).max() == 4
    assert (time == 0).any(0).all()


def test_training_is_masked_and_judging_is_not() -> None:
    source = Frames(torch.ones(12, 30, 8), torch.arange(12) + 19, 5)
    data = mask_frames(Splits(train=source, validation=source)).train
    assert isinstance(data, Altering)
    assert data.plain() is source
    for (frames, _), _ in data.batches(1, 0, None):
        assert (frames == 1).all()
    first, again, other = (
        [frames for (frames, _), _ in data.batches(1, 0, torch.Generator().manual_seed(seed))] for seed in (0, 0, 1)
    )
    assert all(map(torch.equal, first, again))
    assert any((frames == 0).any() for frames in first)
    assert not all(map(torch.equal, first, other))
    later = [frames for (frames, _), _ in data.batches(1, 2, torch.Generator().manual_seed(0))]
    assert len(later) == 1
    assert torch.equal(later[0], first[2])


def test_an_example_keeps_its_masks_in_batches_and_subsets() -> None:
    source = Frames(torch.ones(12, 30, 8) + torch.arange(12.0)[:, None, None], torch.full((12,), 30), 12)
    data = Masked(source, SpecAugment())

    def by_example(masked: Masked) -> dict[int, Tensor]:
        generator = torch.Generator().manual_seed(3)
        frames = torch.cat([frames for (frames, _), _ in masked.batches(1, 0, generator)])
        return {int(one.max()): one for one in frames}

    whole = by_example(data)
    assert len(whole) == 12
    parts = (data.batched(5), data.take([7, 2, 9]), data.take([7, 2, 9]).take([1]), data.around(source))
    for part, count in zip(parts, (12, 3, 1, 12), strict=True):
        found = by_example(part)
        assert len(found) == len(part) == count
        assert all(torch.equal(one, whole[number]) for number, one in found.items())


def test_masks_may_not_be_put_on_anything() -> None:
    source = Frames(torch.ones(4, 30, 8), torch.full((4,), 30), 2)
    with pytest.raises(RecipeError, match="pitch_share is 1.5"):
        SpecAugment(pitch_share=1.5)
    with pytest.raises(RecipeError, match="time_masks is -1"):
        SpecAugment(time_masks=-1)
    with pytest.raises(RecipeError, match="masked already"):
        Masked(Masked(source, SpecAugment()), SpecAugment())
    with pytest.raises(RecipeError, match="takes a SpecAugment"):
        Masked(source, 3)
    with pytest.raises(RecipeError, match="either a SpecAugment or its settings"):
        mask_frames(Splits(train=source), SpecAugment(), time_masks=1)
    with pytest.raises(RecipeError, match="takes thalweg.Splits"):
        mask_frames(source)
    with pytest.raises(Unsupported, match="cannot name the examples"):
        mask_frames(Splits(train=(torch.ones(3, 2), torch.ones(3))))
    flat = Masked(ArraySource((torch.ones(3, 2), torch.ones(3)), 2), SpecAugment())
    with pytest.raises(DataError, match=r"masks are for \(\(frames, lengths\), y\)"):
        next(flat.batches(1, 0, torch.Generator()))


def test_a_fingerprint_tells_masks_apart() -> None:
    source = ArraySource(((torch.ones(4, 30, 8), torch.full((4,), 30)), torch.zeros(4)), 2)
    one, other = (Masked(source, SpecAugment(time_masks=count)) for count in (1, 2))
    assert one.fingerprint() == Masked(source, SpecAugment(time_masks=1)).fingerprint() != other.fingerprint()
