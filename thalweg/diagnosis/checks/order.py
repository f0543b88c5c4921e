"""The order in which examples come, where it is not ours: labels that come in blocks."""

from itertools import islice
from typing import Any

import torch
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.examples import ExampleSource
from thalweg.core.randomness import generator
from thalweg.core.source import plain_of
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, asking, streams_kept
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism

BATCHES = 40
HALFWAY = 0.5
"""A batch whose commonest class is so far from its share by chance to all of the batch is nearly pure."""
DRAWS = 20


def order_flaws(e: Examined) -> list[Flaw]:
    """Batches of few classes each, in a source that keeps its own order, where chance would mix them."""
    source: Any = plain_of(e.source)
    ours = isinstance(source, ArraySource) or (
        isinstance(source, ExampleSource) and source.shuffled and not source.sampler
    )
    if ours or e.whole or not e.classes or e.y.dim() != 1:
        return []
    with asking(), streams_kept(e.recipe.data.train):
        drawn = islice(e.source.batches(1, 0, generator(e.recipe.seed, "order", 1)), BATCHES)
        targets = [batch[1].cpu() for batch in drawn]
    targets = [y for y in targets if len(y) >= 4]
    if len(targets) < 4:
        return []
    together = torch.cat(targets)
    classes = len(together.unique())
    if classes < 2:
        return []
    sizes = [len(y) for y in targets]
    purity, draw = _purity(targets), e.generator("order")
    chance = [_purity(list(together[torch.randperm(len(together), generator=draw)].split(sizes))) for _ in range(DRAWS)]
    usual = sum(chance) / DRAWS
    if purity < usual + HALFWAY * (1 - usual) or purity <= max(chance):
        return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.BATCHES_OF_ONE_CLASS,
            f"On average {purity:.0%} of a batch are of its commonest class, in a random order {usual:.0%} would "
            "be: the "
            "examples come sorted, and are not shuffled",
            purity,
            f"about {usual:.0%}",
            "Shuffle: DataLoader(..., shuffle=True), or a buffer of some thousand examples in a stream",
            "batches whose classes are as mixed as in a random order",
            Sure.MEASURED,
        )
    ]


def _purity(batches: list[Tensor]) -> float:
    """The mean share of a batch's commonest class."""
    shares = [float(y.unique(return_counts=True)[1].max()) / len(y) for y in batches]
    return sum(shares) / len(shares)
