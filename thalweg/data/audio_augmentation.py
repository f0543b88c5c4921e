r"""Frames changed while a network trains: whole pitches and whole moments are taken away, the voice and its speed vary.

SpecAugment (Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", 2019,
section 2), without its warping of time: of $\nu$ numbers of a frame those in $[f_0, f_0 + f)$ become 0, with $f$ drawn
from 0 to $F$ and $f_0$ from 0 to $\nu - f$; of $\tau$ frames likewise those in $[t_0, t_0 + t)$, with $t$ from 0 to
$\min(T, p \tau)$. Frames are standardized, so that 0 is their mean.

Before that another voice may speak: what stands at pitch $j$ is then read at $j / a$, with $a$ drawn from $1 - w$ to
$1 + w$ (vocal tract length perturbation, Jaitly & Hinton 2013, of the frames' numbers in place of Hertz), and what
stands at frame $t$ at $t b$, with $b$ from $1 - s$ to $1 + s$ (speed perturbation, Ko et al. 2015, which leaves the
pitch as it is here). Between two numbers it is read on a line. And a recording may begin later and end earlier.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.convert import loaded
from thalweg.core.counter import uniform
from thalweg.core.door import no_type_check
from thalweg.core.errors import DataError, RecipeError, Unsupported
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.kinds import check_fields
from thalweg.core.nest import Nest, describe
from thalweg.core.randomness import untouched
from thalweg.core.source import Indexed, Ordered, Splits
from thalweg.data.numbered import NumberedExamples


@dataclass(frozen=True)
class SpecAugment:
    r"""Masks over pitches and over time; `time_width` is $T$ in frames, `time_share` is $p$, `pitch_share` $F / \nu$;
    `pitch_warp` is $w$, `speed` is $s$, and `cut` the share of a recording that is left out at each end at most.

    The defaults are the policy LD of the paper (27 of 80 pitches, 100 frames, two masks of each), with $p = 0.2$ in
    place of 1, so that a short recording is never all gone.

    >>> masks = SpecAugment(pitch_masks=1, time_masks=0)
    >>> frames, lengths = torch.ones(2, 5, 8), torch.tensor([5, 3])
    >>> masks(frames, lengths, key=0, ids=torch.arange(2))[:, 0].long().tolist()
    [[1, 1, 0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 1, 1]]

    Raises `RecipeError` for shares beyond 0 to 1 (a warp and a speed stay below 1, a cut below a half) and counts below
    0.
    """

    pitch_masks: int = 2
    time_masks: int = 2
    pitch_share: float = 27 / 80
    time_width: int = 100
    time_share: float = 0.2
    pitch_warp: float = 0.0
    speed: float = 0.0
    cut: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("pitch_warp", "speed"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(
                    f"SpecAugment: {name} is {getattr(self, name)!r}, but it is how far a factor lies from 1 at most, "
                    "at least 0 and below 1. Give for instance 0.15."
                )
        if not 0 <= self.cut < 0.5:
            raise RecipeError(
                f"SpecAugment: cut is {self.cut!r}, but it is the share of a recording that may be left out at each "
                "end, at least 0 and below a half. Give for instance 0.2."
            )
        for name in ("pitch_share", "time_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"SpecAugment: {name} is {getattr(self, name)!r}, but it is a share, from 0 to 1.")
        for name in ("pitch_masks", "time_masks", "time_width"):
            if getattr(self, name) < 0:
                raise RecipeError(f"SpecAugment: {name} is {getattr(self, name)!r}, but it is a count, at least 0.")

    def __call__(
        self,
        frames: Float[Tensor, "batch frame mel"],
        lengths: Int[Tensor, " batch"],
        key: int,
        ids: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch frame mel"]:
        """The frames with masks: `key` is the seed, `ids` number the examples. They are not written to."""
        count, (length, mels) = self.pitch_masks + self.time_masks, frames.shape[1:]
        drawn = uniform(key, ids.to(frames.device), max(2 * count, 1)).unsqueeze(-1)
        widest = torch.full_like(lengths, round(self.pitch_share * mels))
        longest = (self.time_share * lengths).long().clamp(max=self.time_width)
        masked = torch.zeros(frames.shape, dtype=torch.bool, device=frames.device)
        for mask in range(count):
            size, begin = drawn[:, 2 * mask], drawn[:, 2 * mask + 1]
            if mask < self.pitch_masks:
                masked |= _between(size, begin, widest, torch.full_like(lengths, mels), mels)[:, None, :]
            else:
                masked |= _between(size, begin, longest, lengths, length)[:, :, None]
        return frames.masked_fill(masked, 0.0)

    def spoken_otherwise(
        self,
        frames: Float[Tensor, "batch frame mel"],
        lengths: Int[Tensor, " batch"],
        key: int,
        ids: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch frames mel"], Int[Tensor, " batch"]]:
        """The frames at another pitch and speed, cut at both ends, and how many each example has then.

        They are not written to.

        >>> higher = SpecAugment(pitch_warp=0.5)
        >>> frames = torch.arange(5.0).expand(1, 2, 5)
        >>> higher.spoken_otherwise(frames, torch.tensor([2]), key=2, ids=torch.arange(1))[0][0, 0].round(decimals=2)
        tensor([0.0000, 0.8200, 1.6300, 2.4500, 3.2700])
        """
        first = max(2 * (self.pitch_masks + self.time_masks), 1)  # behind the draws of the masks
        drawn = uniform(key, ids.to(frames.device), first + 4)[:, first:]
        higher, faster = (1 + most * (2 * drawn[:, [j]] - 1) for j, most in enumerate((self.pitch_warp, self.speed)))
        if self.pitch_warp:
            places = torch.arange(frames.shape[2], device=frames.device) / higher
            frames = _read_at(frames.mT, places).mT
        if (self.speed or self.cut) and len(frames):
            own = lengths.to(frames.device)[:, None]
            begin, end = ((self.cut * drawn[:, [j]] * own).floor() for j in (2, 3))
            kept = own - begin - end
            left = torch.where(own > 0, (kept / faster).round().long().clamp(min=1), 0)
            places = torch.arange(int(left.max()), device=frames.device)
            moments = begin + torch.minimum(places * faster, (kept - 1).clamp(min=0))
            frames = _read_at(frames, moments).masked_fill((places >= left)[..., None], 0.0)
            lengths = left[:, 0].to(lengths)
        return frames, lengths


def _read_at(values: Float[Tensor, "batch place feature"], places: Float[Tensor, "batch new"]) -> Tensor:
    """The values of each example at places that may lie between whole ones, and stay within them."""
    places = places.clamp(0, max(values.shape[1] - 1, 0)).to(values.dtype)
    below = places.floor()
    ends = (below.long(), below.long().add(1).clamp(max=values.shape[1] - 1))
    low, high = (values.gather(1, end[..., None].expand(-1, -1, values.shape[2])) for end in ends)
    return torch.lerp(low, high, (places - below)[..., None])


def _between(size: Tensor, begin: Tensor, most: Tensor, whole: Tensor, places: int) -> Tensor:
    """Which places lie in a mask of each example, its size from 0 to `most`, anywhere in `whole`."""
    width = (size * (most[:, None] + 1)).floor()
    first = (begin * (whole[:, None] - width + 1)).floor()
    place = torch.arange(places, device=size.device)
    return (place >= first) & (place < first + width)


@no_type_check
@dataclass(frozen=True, repr=False)
class Masked(NumberedExamples):
    """A source of frames, `((frames, lengths), y)` or speech, masked while it is trained on, plain where it is judged.

    What an example gets depends on the seed, the epoch and the example alone: it is the same in batches of any size,
    and an example keeps it in folds and subsets. `numbers` are the examples' own where this is a subset.

    >>> from thalweg.core.arrays import ArraySource
    >>> source = ArraySource(((torch.ones(4, 30, 8), torch.full((4,), 30)), torch.arange(4)), 2)
    >>> masked = Masked(source, SpecAugment(time_masks=0))
    >>> [bool((frames == 0).any()) for (frames, lengths), y in masked.batches(1, 0, torch.Generator().manual_seed(0))]
    [True, True]

    Raises `Unsupported` for a source that cannot name its examples, and, in training, `DataError` for other batches.
    """

    source: Any
    masks: SpecAugment
    numbers: Int[Tensor, " place"] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.masks, SpecAugment):
            raise RecipeError(f"Frames are masked by {self.masks!r}, but it takes a SpecAugment.")
        if isinstance(self.source, Masked):
            raise RecipeError(
                f"The split is masked already, by {self.source.masks}. Name all masks in one SpecAugment."
            )
        if not isinstance(self.source, Indexed) or not isinstance(self.source, Ordered):
            raise Unsupported(
                f"The split is a {type(self.source).__name__}, which cannot name the examples of a batch, as a "
                "SequenceSource of frames can: it needs __len__, take and ordered."
            )

    def __repr__(self) -> str:
        return f"Masked({self.source!r}, {self.masks})"

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        if generator is None:
            yield from self.source.batches(epoch, start, None)
            return
        key = generator.initial_seed()
        with untouched():
            chunks = self.source.ordered(epoch, generator.clone_state())[start:]
        for chunk, batch in zip(chunks, self.source.batches(epoch, start, generator), strict=True):
            frames, lengths = _frames_of(batch)
            ids = self.numbered(chunk)
            frames, lengths = self.masks.spoken_otherwise(frames, lengths, key, ids)
            yield _with_frames(batch, self.masks(frames, lengths, key, ids), lengths)

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[Tensor]:
        """The examples of each batch of an epoch."""
        return self.source.ordered(epoch, generator)

    def fingerprint(self) -> str:
        """A hash of the examples and of the masks."""
        inner = fingerprint(self.source)
        return UNKNOWN if inner == UNKNOWN else fingerprint((inner, self.masks, self.numbers))


@no_type_check
def mask_frames(splits: Splits, masks: SpecAugment | None = None, **settings: Any) -> Splits:
    """The splits with masks over the frames of the train split: a `SpecAugment`, or its settings, or the defaults.

    >>> from thalweg.core.arrays import ArraySource
    >>> source = ArraySource(((torch.ones(4, 30, 8), torch.full((4,), 30)), torch.arange(4)), 2)
    >>> mask_frames(Splits(train=source), time_masks=1).train.masks.time_masks
    1

    Raises what `SpecAugment` and `Masked` raise, and `RecipeError` where both are given.
    """
    if not isinstance(splits, Splits):
        raise RecipeError(f"mask_frames was given {describe(splits)}, but it takes thalweg.Splits(train=..., ...).")
    if masks is not None and settings:
        raise RecipeError("mask_frames takes either a SpecAugment or its settings: mask_frames(splits, time_masks=1).")
    chosen = SpecAugment(**settings) if masks is None else masks
    return replace(splits, train=Masked(loaded(splits.train), chosen))


def _frames_of(batch: Any) -> tuple[Tensor, Tensor]:
    x = batch[0] if isinstance(batch, tuple | list) and len(batch) == 2 else None
    found = (x.get("source"), x.get("lengths")) if isinstance(x, dict) else x
    if isinstance(found, tuple | list) and len(found) == 2:
        frames, lengths = found
        if isinstance(frames, Tensor) and frames.dim() == 3 and frames.is_floating_point() and lengths is not None:
            return frames, lengths
    raise DataError(
        f"A batch is {describe(batch)}, but masks are for ((frames, lengths), y), or frames as the source of a "
        "transcript. Leave them out."
    )


def _with_frames(batch: Any, frames: Tensor, lengths: Tensor) -> Nest:
    x, y = batch
    return (x | {"source": frames, "lengths": lengths} if isinstance(x, dict) else (frames, lengths)), y
