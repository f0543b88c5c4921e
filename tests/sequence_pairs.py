"""Batches of sequence pairs, models that read them, and the protocol of decoding by the shortest loops there are."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg.core.decoder import follow, spread
from thalweg.core.objective import Moment
from thalweg.core.tokens import END, NEVER, NO_TARGET, PADDING, START
from thalweg.nn import rnn_seq2seq, transformer

SOURCES, TARGETS = 11, 13
LENGTHS, TAKEN = torch.tensor([7, 3, 0, 5]), [5, 6, 2, 1]
Batch = dict[str, Tensor]


def batch(copying: bool = False, seed: int = 0) -> Batch:
    """Four examples, one of them with an empty source; with copies, one with two units that the target lacks."""
    random = torch.Generator().manual_seed(seed)
    source = torch.randint(4, SOURCES, (4, 7), generator=random)
    source[torch.arange(7) >= LENGTHS[:, None]] = PADDING
    prefix = torch.randint(4, TARGETS, (4, 6), generator=random)
    prefix[:, 0] = START
    prefix[torch.arange(6) >= torch.tensor(TAKEN)[:, None]] = PADDING
    x = {"source": source, "lengths": LENGTHS, "prefix": prefix}
    if copying:
        copies = torch.randint(4, TARGETS, (4, 7), generator=random)
        copies[0, [0, 2, 5, 6]] = torch.tensor([TARGETS, TARGETS + 1, TARGETS, 5])
        copies[1, 1] = TARGETS
        x["copies"] = copies.masked_fill(source == PADDING, PADDING)
        x["prefix"][0, 2] = TARGETS + 1
    return x


def in_training(step: int = 99, steps: int | None = 100, seed: int = 0) -> Moment:
    """A moment near the end, with a stream of its own."""
    return Moment(step=step, steps=steps, training=True, generator=torch.Generator().manual_seed(seed))


def pairs(copying: bool = False) -> tuple[dict[str, Tensor], Tensor]:
    """A batch whose targets are its prefixes, one place earlier, and END."""
    x = batch(copying)
    prefix = x["prefix"]
    y = torch.cat([prefix[:, 1:], prefix.new_zeros(len(prefix), 1)], 1)
    ends = (prefix != PADDING).sum(1) - 1
    y[torch.arange(len(y)), ends] = END
    return x, y.masked_fill(y == PADDING, NO_TARGET)


def read(x: Batch) -> Batch:
    """What decoding gets of a batch."""
    return {name: part for name, part in x.items() if name != "prefix"}


def made(factory: Callable[..., nn.Module], dtype: torch.dtype = torch.float64, **settings: Any) -> nn.Module:
    """In evaluation mode, with every number at random: norms begin as if they were not there, and biases as 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = factory(TARGETS, **({"vocabulary": SOURCES} | settings)).to(dtype)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.4)
        for name, buffer in model.named_buffers():
            if "running" in name:
                nn.init.uniform_(buffer, 0.5, 1.5)
    return model.eval()


def small(**settings: Any) -> nn.Module:
    """A Transformer of width 12 with 2 heads."""
    return made(transformer, **({"width": 12, "heads": 2, "feed_forward": 17} | settings))


def recurrent(**settings: Any) -> nn.Module:
    """The recurrent one, of width 7."""
    return made(rnn_seq2seq, **({"width": 7} | settings))


DECODERS = [
    pytest.param(partial(make, **settings), settings.get("copying", False), id=" ".join([make.__name__, *settings]))
    for make, settings in [
        (small, {}),
        (small, {"positions": "rotary", "copying": True}),
        (recurrent, {}),
        (recurrent, {"copying": True, "attention": "location"}),
        (recurrent, {"brackets": (5, 6)}),
    ]
]
each_decoder = pytest.mark.parametrize(("make", "copying"), DECODERS)
"""Both families, with and without copying, and one that is given where its trees stand."""


def stepped(model: Any, x: Batch) -> Tensor:
    """The scores after each token of the prefix, step by step."""
    state, scores = model.encode(**read(x)), []
    for tokens in x["prefix"].unbind(1):
        row, state = model.step(state, tokens)
        scores.append(row)
    return torch.stack(scores, 1)


def as_decoded(scores: Tensor) -> Tensor:
    """Scores of training as steps give them: what an example cannot have has minus infinity."""
    return scores.masked_fill(scores == NEVER, -torch.inf)


def written(model: Any, x: Batch, longest: int) -> list[list[int]]:
    """The likeliest tokens one by one, without END."""
    with torch.no_grad():
        state = spread(model, model.encode(**x), 1, longest)
        tokens, columns = torch.full((len(x["source"]),), START), []
        for _ in range(longest):
            scores, state = model.step(state, tokens)
            tokens = scores.argmax(1)
            columns.append(tokens)
    rows = torch.stack(columns, 1).tolist()
    return [row[: row.index(END)] if END in row else row for row in rows]


def searched(model: Any, x: Batch, beams: int, steps: int, seed: int = 0) -> list[tuple[Tensor, list[int], Tensor]]:
    """Steps with random tokens and parents, the second example left out halfway: scores, examples, all tokens so far.

    What a row was given so far is kept in a table that is copied from its parent.
    """
    random = torch.Generator().manual_seed(seed)
    state = spread(model, model.encode(**x), beams, steps)
    examples = list(range(len(x["source"])))
    past = torch.full((len(examples) * beams, 1), START)
    found = []
    for step in range(steps):
        scores, state = model.step(state, past[:, -1])
        found.append((scores, [e for e in examples for _ in range(beams)], past))
        kept = [place for place, example in enumerate(examples) if step != steps // 2 or example != 1]
        parents = torch.randint(beams, (len(kept), beams), generator=random)
        rows = (torch.tensor(kept)[:, None] * beams + parents).flatten()
        examples = [examples[place] for place in kept]
        state = follow(model, state, rows)
        new = torch.randint(4, scores.shape[1], (len(rows), 1), generator=random)
        past = torch.cat([past[rows], new], 1)
    return found
