"""Sources: where batches come from.

A split of the data is whatever keeps the protocol `Source`. What a source can do beyond giving batches it shows by
keeping a larger protocol: `Batched` ones leave the batch size to the recipe, `Indexed` ones have numbered examples and
give subsets, `Described` ones know the group or the time of an example, `Grouped` ones what its groups are called,
`Found` ones where their user finds it, `Named` ones what its numbers are called, `Fitted` ones carry statistics that
must be learned from training examples alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from thalweg.core.errors import DataError
from thalweg.core.nest import Nest, describe


@runtime_checkable
class Source(Protocol):
    """Batches of examples, epoch after epoch.

    >>> class Noise:
    ...     def batches(self, epoch, start, generator):
    ...         for _ in range(start, 3):
    ...             yield torch.randn(5, 2, generator=generator), torch.zeros(5)
    >>> isinstance(Noise(), Source)
    True
    """

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        """Batches of one epoch from batch number `start` on, in the order that `generator` decides.

        Without a generator every example comes once, in the source's own order: that is how a split is judged.
        """
        ...


@runtime_checkable
class Indexed(Source, Protocol):
    """A source with numbered examples: it has a length, and gives subsets for folds and learning curves."""

    def __len__(self) -> int: ...

    def take(self, ids: Any) -> "Indexed":
        """The source of these examples alone; `ids` count from 0 within this source."""
        ...


@runtime_checkable
class Batched(Source, Protocol):
    """A source that leaves the batch size to the recipe."""

    def batched(self, size: int | None, merge_single: bool = False) -> "Batched":
        """The same examples in batches of `size` (None: all at once); a last batch of one joins the one before it."""
        ...


@runtime_checkable
class Counted(Source, Protocol):
    """A source that knows how many batches an epoch of training has."""

    def count_batches(self) -> int | None:
        """The batches of an epoch, None where only reading the stream would tell."""
        ...


@runtime_checkable
class Ordered(Source, Protocol):
    """A source that knows which examples its batches hold."""

    def ordered(self, epoch: int, generator: torch.Generator | None) -> list[torch.Tensor]:
        """The examples of each batch of an epoch, by their place in this source's own data."""
        ...


@runtime_checkable
class Described(Source, Protocol):
    """A source that knows more of an example than its tensors say."""

    def meta(self, ids: Any) -> dict[str, Any]:
        """What is known of these examples, one array each: "group" (a speaker, a patient), "time", "label"."""
        ...


NUMBERED = "example "
"""So `Found` begins for an example that has no name, but a number, from 0."""


@runtime_checkable
class Found(Source, Protocol):
    """A source that knows where its user finds an example."""

    def where(self, ids: Any) -> list[str]:
        """Where each of these examples stands: "line 7" of a file, "cat/7.png", "example 7" of arrays, from 0."""
        ...


@runtime_checkable
class Named(Source, Protocol):
    """A source that knows what its inputs are called."""

    @property
    def feature_names(self) -> list[str]:
        """The name of every number of an example, in order."""
        ...


@runtime_checkable
class Grouped(Source, Protocol):
    """A source that knows what the groups of its examples are called."""

    @property
    def group_name(self) -> str | None:
        """What a group is ("speaker", "patient"), None where the examples have none."""
        ...


@runtime_checkable
class Joining(Source, Protocol):
    """A source that can be joined with another part of the same whole."""

    def joined(self, other: Any) -> Any:
        """The examples of both, the other's behind. Raises `ValueError` where they are of two wholes."""
        ...


@runtime_checkable
class Fitted(Source, Protocol):
    """A source with statistics (standardization, vocabulary) that are fitted again in every fold, or k-fold leaks."""

    def fit(self, train_ids: Any) -> "Fitted":
        """The same examples, encoded with statistics of `train_ids` alone."""
        ...


@runtime_checkable
class Restoring(Source, Protocol):
    """A source whose targets were scaled."""

    def restore(self, values: Nest) -> Nest:
        """Outputs or targets in the target's own units; targets may be a nest, such as (target, weight)."""
        ...


@runtime_checkable
class Scaled(Source, Protocol):
    """A source whose inputs were scaled."""

    def scale_of(self, input: int) -> tuple[float, float] | None:
        """The mean and the scale of a number of an example, which was brought to (x - mean) / scale; None where not."""
        ...


@runtime_checkable
class Judged(Source, Protocol):
    """A source whose batches hold more than is judged: other nodes of the graph, padding, words without a tag."""

    def judged(self, outputs: list[Nest], targets: list[Nest]) -> "tuple[Nest, Nest, np.ndarray | None] | None":
        """Output and target of each thing that is judged, of the batches of all examples in their own order.

        Behind them the unit that each is of, which intervals resample whole, None where each is its own. None in place
        of all where this source has nothing to choose, or outputs are of another form than its targets.
        """
        ...


@runtime_checkable
class Altering(Source, Protocol):
    """A source that changes examples while they are trained on."""

    def plain(self) -> Source:
        """The source of the examples as they are."""
        ...

    def around(self, source: Source) -> "Altering":
        """The same changes of a source that holds these examples in their order, and maybe others behind them."""
        ...


def plain_of(source: Any) -> Any:
    """The source of the examples as they are: of one that changes none, itself.

    >>> plain_of("digits")
    'digits'
    """
    return source.plain() if isinstance(source, Altering) else source


@dataclass(frozen=True, repr=False)
class Splits:
    """The data of a recipe: what it trains on, is chosen by, and is judged by at the end.

    Each split is a pair `(x, y)` of tensors or arrays, a `Dataset`, a `DataLoader`, or any `Source`. Nothing is held
    out in secret: without `validation` there is no early stopping and no best epoch, and both are said.

    >>> splits = Splits(train=(torch.ones(5, 3), torch.ones(5)))
    >>> splits.validation is None
    True

    Raises `DataError` where `train` is missing or a split is a bare tensor.
    """

    train: Any
    validation: Any = None
    test: Any = None

    def __repr__(self) -> str:
        shown = [f"{item.name}={_brief(getattr(self, item.name))}" for item in fields(self)]
        return f"Splits({', '.join(shown)})"

    def __post_init__(self) -> None:
        if self.train is None:
            raise DataError(
                "Splits(train=None): there is nothing to train on. Give train=(x, y), a Dataset or a loader."
            )
        for field in fields(self):
            if isinstance(split := getattr(self, field.name), torch.Tensor | np.ndarray):
                what = "tensor" if isinstance(split, torch.Tensor) else "array"
                raise DataError(
                    f"Splits({field.name}=...) is a single {what}, but a split holds inputs and targets: "
                    f"give {field.name}=(x, y)."
                )


def _brief(split: Any) -> str:
    """A split in a few words: shapes of arrays, the length of anything else that has one."""
    if isinstance(split, tuple):
        return f"({', '.join(map(_brief, split))})"
    if isinstance(split, torch.Tensor) or split is None:
        return describe(split) if split is not None else "None"
    if hasattr(split, "shape"):
        return f"{tuple(split.shape)} {getattr(split, 'dtype', '')}".rstrip()
    try:
        return f"{type(split).__name__} of {len(split)}"
    except TypeError:  # a loader over a stream has a __len__ that fails
        return type(split).__name__
