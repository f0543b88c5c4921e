"""The Transformer against Bart of Hugging Face transformers, of the same shape, in turn, on one thread.

Both: three layers of width 256 with 4 heads and 1,024 hidden units in encoder and decoder, ReLU, a vocabulary of 8,000
that all tables share, random weights, no dropout. Decoding: 20 source tokens, 30 new ones, by a beam search of width 5
for 32 examples and greedily for one. Training: forward and backward of 64 targets of 30 tokens, without an optimizer.
`--caches` compares ways to keep the past of several beams.

Seconds of processor time, which other programs on the machine disturb least: medians, and in brackets minima. Products
in bfloat16 are left out on a processor that has no instructions for them. Bart needs `pip install transformers`.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from time import process_time
from typing import Any

import torch
from machine import all_in_turn, has_bfloat16, machine, show_all
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.objective import Moment
from thalweg.core.tokens import END, PADDING, START
from thalweg.decode import beam_search, greedy
from thalweg.loss import Tagging
from thalweg.nn import attend, lighter, transformer

WIDTH, HEADS, HIDDEN, DEPTH, VOCABULARY = 256, 4, 1024, 3, 8000
SOURCE, TARGET = 20, 30
Context = Callable[[], AbstractContextManager[object]]


def ours(**settings: Any) -> nn.Module:
    """The model of thalweg.nn."""
    torch.manual_seed(0)
    return transformer(
        VOCABULARY, vocabulary=VOCABULARY, width=WIDTH, depth=DEPTH, heads=HEADS, feed_forward=HIDDEN, tied="all",
        order="post", **settings,
    )  # fmt: skip


def bart() -> nn.Module:
    """That of Hugging Face."""
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=DEPTH, decoder_layers=DEPTH,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN,
        activation_function="relu", dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
        max_position_embeddings=64, pad_token_id=PADDING, bos_token_id=START, eos_token_id=END,
        decoder_start_token_id=START, forced_eos_token_id=None,
    )  # fmt: skip
    return BartForConditionalGeneration(config)


def sources(batch: int) -> dict[str, Tensor]:
    """Random sentences, half of them padded."""
    random = torch.Generator().manual_seed(1)
    source = torch.randint(4, VOCABULARY, (batch, SOURCE), generator=random)
    lengths = torch.full((batch,), SOURCE)
    lengths[::2] = torch.randint(SOURCE // 2, SOURCE + 1, (len(lengths[::2]),), generator=random)
    source[torch.arange(SOURCE) >= lengths[:, None]] = PADDING
    return {"source": source, "lengths": lengths}


def search(model: Any, x: dict[str, Tensor], width: int) -> object:
    """What thalweg.decode finds, all of the same length: the last token is END."""
    said: dict[str, Any] = {"shortest": TARGET - 1, "longest": TARGET - 1}
    return beam_search(model, x, width=width, length_penalty=1.0, **said) if width > 1 else greedy(model, x, **said)


def generate(model: Any, x: dict[str, Tensor], width: int) -> object:
    """What transformers find, of the same length."""
    return model.generate(
        input_ids=x["source"], attention_mask=(x["source"] != PADDING).long(), num_beams=width, do_sample=False,
        min_new_tokens=TARGET, max_new_tokens=TARGET,
    )  # fmt: skip


def decoding(rounds: int, batch: int, width: int) -> None:
    """A table of ways to decode."""
    x, model = sources(batch), ours().eval()
    ways: dict[str, Callable[[], object]] = {}
    if find_spec("transformers"):
        ways["Bart"] = partial(generate, bart().eval(), x, width)
    ways["thalweg"] = partial(search, model, x, width)
    for numbers in ("int8", "bfloat16") if has_bfloat16() else ("int8",):
        ways[f"thalweg, {numbers}"] = partial(search, lighter(model, numbers), x, width)
    show_all(f"{batch} examples, {width} beams", all_in_turn(ways, rounds, process_time), next(iter(ways)))
    if not has_bfloat16():
        print(f"  {'thalweg, bfloat16':<44} not on this processor")


def training(rounds: int, context: Context, title: str, batch: int = 64) -> None:
    """A table of training steps."""
    x, random = sources(batch), torch.Generator().manual_seed(2)
    target = torch.randint(4, VOCABULARY, (batch, TARGET - 1), generator=random)
    prefix = F.pad(target, (1, 0), value=START)
    y = F.pad(target, (0, 1), value=END)
    model, objective = ours(), Tagging()

    def step() -> None:
        model.zero_grad()
        with context():
            losses = objective(model, (x | {"prefix": prefix}, y), Moment(training=True))
            loss = (losses.value * losses.weight).sum() / losses.weight.sum()
        loss.backward()

    ways: dict[str, Callable[[], object]] = {}
    if find_spec("transformers"):
        other: Any = bart().train()

        def theirs() -> None:
            other.zero_grad()
            mask = (x["source"] != PADDING).long()
            with context():
                loss = other(input_ids=x["source"], attention_mask=mask, decoder_input_ids=prefix, labels=y).loss
            loss.backward()

        ways["Bart"] = theirs
    ways["thalweg"] = step
    show_all(f"training step, {title}", all_in_turn(ways, rounds, process_time), next(iter(ways)))


def caches(rounds: int, batch: int = 32, beams: int = 5) -> None:
    """Self-attention of one layer for all steps, the past of beams kept in two ways."""
    size, parents = WIDTH // HEADS, torch.tensor([0, 0, 1, 2, 2])
    queries = torch.randn(batch, HEADS, beams, size)
    order = (torch.arange(batch)[:, None] * beams + parents).flatten()

    def masked() -> None:
        keys = values = torch.empty(batch, HEADS, TARGET * beams, size)
        seen = torch.full((batch, beams, TARGET * beams), -torch.inf)
        seen.view(batch, beams, TARGET, beams).diagonal(dim1=1, dim2=3).zero_()
        for step in range(TARGET):
            end = (step + 1) * beams
            for kept in (keys, values):
                kept[:, :, end - beams : end] = queries
            attend(queries, keys[:, :, :end], values[:, :, :end], bias=seen[:, None, :, :end])
            seen = seen.flatten(0, 1)[order].view_as(seen)

    def copied() -> None:
        rows = queries.transpose(1, 2).flatten(0, 1)[:, :, None]
        keys = values = rows[:, :, :0]
        for _ in range(TARGET):
            keys, values = (torch.cat([kept, rows], 2) for kept in (keys, values))
            attend(rows, keys, values)
            keys, values = (kept.index_select(0, order) for kept in (keys, values))

    with torch.no_grad():
        ways: dict[str, Callable[[], object]] = {"a copy for each beam": copied, "a mask over all beams": masked}
        seconds = all_in_turn(ways, rounds, process_time)
    show_all(
        f"{batch} examples, {beams} beams, {TARGET} steps of one layer's self-attention", seconds, next(iter(seconds))
    )


def halves() -> AbstractContextManager[object]:
    """Products in bfloat16."""
    return torch.autocast("cpu", torch.bfloat16)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--caches", action="store_true")
    parser.add_argument("--part", choices=("beam", "greedy", "training", "bfloat16"), action="append")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    if chosen.caches:
        caches(chosen.rounds)
        return
    parts = chosen.part or ["beam", "greedy", "training", "bfloat16"]
    if "beam" in parts:
        decoding(chosen.rounds, 32, 5)
    if "greedy" in parts:
        decoding(5 * chosen.rounds, 1, 1)
    if "training" in parts:
        training(chosen.rounds, nullcontext, "float32")
    if "bfloat16" in parts and not has_bfloat16():
        print("\ntraining step, bfloat16 by autocast: not on this processor")
    elif "bfloat16" in parts:
        training(chosen.rounds, halves, "bfloat16 by autocast")


if __name__ == "__main__":
    main()
