"""Streams and loaders that keep their own order: taken as they are, and what they cannot give is said."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import default_collate, default_convert

from thalweg.core.errors import DataError
from thalweg.core.nest import Nest, as_tuples


@dataclass(frozen=True)
class StreamSource:
    """Anything that gives batches each time it is iterated: a loader over an iterable dataset, or with a batch sampler.

    It has no subsets, and its order is its own: a run over it cannot be resumed in the middle of an epoch exactly. A
    generator that its samplers hold is seeded for each epoch of training, so that a run comes out the same again. What
    torch's own collate made lists of are tuples again, as with every other loader: several inputs stay several.
    """

    loader: Iterable[Any]
    split: str = "train"

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        if generator is not None:
            for part in (getattr(self.loader, "dataset", None), getattr(self.loader, "batch_sampler", None)):
                if callable(set_epoch := getattr(part, "set_epoch", None)):
                    set_epoch(epoch)
            for own in self._generators():
                own.manual_seed(generator.initial_seed())
        empty = True
        torchs = getattr(self.loader, "collate_fn", None) in (default_collate, default_convert)
        for batch in islice(self.loader, start, None):
            empty = False
            yield as_tuples(batch) if torchs else batch
        if empty and start == 0:
            raise DataError(
                f"The {self.split} stream gave no batch in epoch {epoch}. It must give its examples anew each time "
                "it is iterated: an IterableDataset whose __iter__ starts over, not a spent generator."
            )

    def _generators(self) -> list[torch.Generator]:
        """What the loader and its samplers draw from; those that draw from torch's global stream hold none."""
        drawing = [self.loader]
        for name in ("batch_sampler", "sampler"):
            drawing.append(getattr(drawing[-1], name, None))  # type: ignore[arg-type]
        held = (getattr(part, "generator", None) for part in drawing)
        return [generator for generator in held if isinstance(generator, torch.Generator)]

    def count_batches(self) -> int | None:
        """The number of batches where the loader knows it."""
        try:
            return len(self.loader)  # type: ignore[arg-type]
        except TypeError:
            return None
