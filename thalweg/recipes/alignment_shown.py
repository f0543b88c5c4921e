"""What the report shows of alignments: where a source was read, under names, and whether it was read once and in order.

Of pairs the positions of a source are its units. Of a recording they are moments, some frames each, of which a picture
shows no more than fit: neighbours are taken together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.decoder import AlignedModel
from thalweg.core.nest import to_device
from thalweg.data import PairSource, SpeechSource
from thalweg.data.pair_encoding import begun_and_ended
from thalweg.measure.alignment import Monotony, monotony
from thalweg.nn.location_attention import LocationAttention
from thalweg.nn.monotonic_attention import ChunkwiseAttention, MonotonicAttention

AnySource = PairSource | SpeechSource
MOMENTS = 32
"""Positions of a recording that a picture shows at most."""
SLACK, OF_SPEECH = 3.0, 1.0
"""Strides of an even pace that are let pass, and those of recordings, of which a stride may be all of a word."""
MOST, AT_ONCE, NAMED = 1000, 64, 5
"""Outputs whose alignments are read, so many of them at once, and those that are told of in words."""


def is_in_order(model: nn.Module, source: AnySource, guided: bool) -> bool:
    """Whether alignments are to go forward: of speech, where attention was guided, knows its place or only goes on.

    >>> import pandas as pd
    >>> from thalweg.data import PairSchema
    >>> from thalweg.nn import rnn_seq2seq
    >>> pairs = PairSource.unfitted(pd.DataFrame({"source": ["ab"], "target": ["AB"]}), PairSchema())
    >>> [is_in_order(rnn_seq2seq(9, vocabulary=7, attention=each), pairs, False) for each in ("dot", "location")]
    [False, True]
    """
    forward = (LocationAttention, MonotonicAttention, ChunkwiseAttention)
    due = guided or isinstance(source, SpeechSource) or isinstance(getattr(model, "attention", None), forward)
    return due and isinstance(model, AlignedModel)


def stacked_by(model: nn.Module) -> int:
    """How many frames of a recording are one position of what a model reads.

    >>> stacked_by(nn.Linear(3, 2))
    1
    """
    return int(getattr(model, "stack", 1))


def slack_of(source: AnySource) -> float:
    """The strides of an even pace that alignments of such sources may go back or pass over."""
    return OF_SPEECH if isinstance(source, SpeechSource) else SLACK


def positions_of(model: nn.Module, source: AnySource, place: int) -> list[str]:
    """The names of the positions of a source that weights are for: its units, or seconds where moments begin."""
    if isinstance(source, SpeechSource):
        frames, count = int(source.lengths[place, 0]), stacked_by(model)
        return [f"{step * source.schema.mel.hop:.2f}" for step in range(0, frames, count)]
    vocabulary, longest = source.encoding.source, source.schema.longest[0]
    units = source.encoding.split(source.sources[place], 0)[:longest]
    return [vocabulary.join([unit]) or unit for unit in units]


def pooled(
    names: Sequence[str], weights: Float[Tensor, "step position"], most: int = MOMENTS
) -> tuple[list[str], Float[Tensor, "step moment"]]:
    """At most so many moments: the sums of the weights of neighbours, under the name of the first.

    >>> pooled(["0.00", "0.04", "0.08"], torch.tensor([[0.5, 0.25, 0.25]]), most=2)
    (['0.00', '0.08'], tensor([[0.7500, 0.2500]]))
    """
    together = -(-len(names) // most)
    padded = nn.functional.pad(weights, (0, -len(names) % together)) if together > 1 else weights
    return list(names[::together]), padded.unflatten(1, (-1, together)).sum(2) if together > 1 else weights


def in_order_shown(
    model: Any, source: AnySource, texts: Sequence[str], distances: Sequence[int], device: torch.device
) -> dict[str, Any]:
    """Of the outputs how many went forward, read again, passed over, or looked everywhere; of right and wrong ones."""
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(MOST, len(texts))).astype(int)).tolist()
    found = {place: each for place, each in alignments(model, source, texts, chosen, device) if each is not None}
    rows = [
        {"kind": kind, "outputs": len(own), "right": sum(distances[place] == 0 for place in own)}
        for kind, own in _by_kind(found).items()
    ]
    odd = sorted((place for place in found if not found[place].monotonic), key=lambda place: distances[place] == 0)
    told = [
        {"row": place, "right": distances[place] == 0, "says": _said(found[place], model, source, place)}
        for place in odd[:NAMED]
    ]
    return {"slack": slack_of(source), "kinds": rows, "told": told}


@torch.no_grad()
def alignments(
    model: Any, source: AnySource, texts: Sequence[str], places: Sequence[int], device: torch.device
) -> list[tuple[int, Monotony | None]]:
    """What each alignment of these places does, without the step of `END`, which may look anywhere.

    None for a source without positions, and an output without tokens.
    """
    prefixes, _ = begun_and_ended(source.encoding.target.encode_all([texts[place] for place in places]), None)
    found: list[tuple[int, Monotony | None]] = []
    for first in range(0, len(places), AT_ONCE):
        own = list(places[first : first + AT_ONCE])
        inputs = to_device(source.inputs(torch.tensor(own)), device)
        prefix = prefixes.padded(torch.arange(first, first + len(own))).to(device)
        _, weights, there = model.aligned(**inputs, prefix=prefix)
        for row, place in enumerate(own):
            steps, count = int(prefixes.lengths[first + row]) - 1, int(there[row].sum())
            read = weights[row, :steps, :count].double().cpu()
            known = read.numel() > 0 and bool((read.sum(1) > 0).all())
            found.append((place, monotony(read, slack=slack_of(source)) if known else None))
    return found


def _by_kind(found: dict[int, Monotony]) -> dict[str, list[int]]:
    """The places of alignments by what they do; one that does two things is under both."""
    return {
        "forward": [place for place, each in found.items() if each.monotonic],
        "again": [place for place, each in found.items() if each.aligned and any(one.again for one in each.returns)],
        "back": [place for place, each in found.items() if each.aligned and any(not one.again for one in each.returns)],
        "passed": [place for place, each in found.items() if each.aligned and each.passed_over],
        "nowhere": [place for place, each in found.items() if not each.aligned],
    }


def _said(found: Monotony, model: nn.Module, source: AnySource, place: int) -> str:
    """What an alignment does, by the units of its source, or by the seconds of a recording."""
    if not isinstance(source, SpeechSource):
        return found.says(positions_of(model, source, place), " " if source.schema.unit[0] == "words" else "")
    width = stacked_by(model) * source.schema.mel.hop
    return found.says(seconds=[width * position for position in range(found.positions + 1)])
