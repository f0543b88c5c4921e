"""Where a tree stands in its source: against a stack in plain Python, and what decoders are given of it."""

import random
from typing import Any

import pytest
import torch
from sequence_pairs import SOURCES, batch, recurrent, small
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import END, PADDING, START, UNKNOWN
from thalweg.nn import rnn_seq2seq, transformer
from thalweg.nn.tree_reader import TreeReader

LEAF, CLOSING, OPENING = 9, 4, (5, 7, UNKNOWN)
PLACES = 23


def standing(row: list[int]) -> list[tuple[int, int | None]]:
    """After each token the number of leaves, and that at which the innermost open bracket began."""
    leaves, open_brackets, found = 0, list[int](), list[tuple[int, int | None]]()
    for token in row:
        if token == LEAF:
            leaves += 1
        elif token == CLOSING:
            open_brackets = open_brackets[:-1]
        elif token in OPENING:
            open_brackets.append(leaves)
        found.append((leaves, open_brackets[-1] if open_brackets else None))
    return found


@pytest.mark.parametrize(
    "tokens", [(LEAF, CLOSING, *OPENING), (LEAF, CLOSING, *OPENING * 3), (START, PADDING, END, 5, LEAF)]
)
def test_it_stands_where_a_stack_says_whatever_comes(tokens: tuple[int, ...]) -> None:
    draw = random.Random(0)
    rows = [[START, *draw.choices(tokens, k=18)] for _ in range(30)]
    memory = torch.randn(30, 5, 3)
    reader, prefix = TreeReader([LEAF, CLOSING], features=3), torch.tensor(rows)
    along = reader.along(memory, prefix)
    assert along.shape == (30, 19, 6)
    at = reader.begin(memory)
    for step, column in enumerate(prefix.unbind(1)):
        at = reader.after(at, column)
        assert torch.equal(reader.read(memory, at), along[:, step])
    for row, found, values in zip(rows, along, memory, strict=True):
        for (leaves, opened), given in zip(standing(row), found, strict=True):
            nothing = torch.zeros(3)
            assert torch.equal(given[:3], values[leaves] if leaves < 5 else nothing)
            assert torch.equal(given[3:], nothing if opened is None or opened >= 5 else values[opened])


def test_rows_of_one_example_read_its_own_memory() -> None:
    reader, memory = TreeReader([LEAF, CLOSING], features=3), torch.randn(2, 5, 3)
    at = reader.begin(memory.repeat_interleave(2, 0))
    at = reader.after(at, torch.tensor([5, LEAF, LEAF, 5]))
    found = reader.read(memory, at)
    nothing = torch.zeros(3)
    wanted = [(memory[0, 0], memory[0, 0]), (memory[0, 1], nothing), (memory[1, 1], nothing), (memory[1, 0],) * 2]
    assert torch.equal(found, torch.stack([torch.cat(pair) for pair in wanted]))


@pytest.mark.parametrize("brackets", [[4], [4, 4], [3, 5], [4, 5, 6]])
def test_tokens_that_are_no_leaf_and_no_end_are_refused(brackets: list[int]) -> None:
    with pytest.raises(RecipeError, match=r"brackets is \[.*\], but it is the tokens of a leaf and of the end of a br"):
        rnn_seq2seq(13, vocabulary=9, brackets=brackets)


def letters(x: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same sources with two numbers for letters beside each word."""
    source = x["source"]
    beside = torch.stack([source * 2 % PLACES, source * 3 % PLACES], 2).masked_fill(source[..., None] == PADDING, 0)
    return x | {"source": torch.cat([source[..., None], beside], 2)}


@pytest.mark.parametrize("made", [recurrent, small])
def test_words_with_letters_are_read_in_training_and_step_by_step(made: Any) -> None:
    model, x = made(places=PLACES), letters(batch())
    scores = model(**x)
    state = model.encode(source=x["source"], lengths=x["lengths"])
    for step, tokens in enumerate(x["prefix"][:, :2].unbind(1)):
        row, state = model.step(state, tokens)
        there = x["prefix"][:, step] != PADDING
        assert torch.allclose(row[there], scores[there, step])
    changed = x["source"].clone()
    changed[0, 0, 2] = changed[0, 0, 2] % (PLACES - 1) + 1
    moved = (model(**x | {"source": changed}) - scores).abs().amax((1, 2))
    assert moved[0] > 1e-6
    assert moved[1:].max() == 0
    assert model(**letters(batch()) | {"source": x["source"][:, :0]}).shape == scores.shape


@pytest.mark.parametrize("made", [rnn_seq2seq, transformer])
def test_letters_without_words_are_refused(made: Any) -> None:
    with pytest.raises(RecipeError, match=f"{made.__name__}: places is 23, but places are for the letters of words"):
        made(13, inputs=3, width=8, places=PLACES)
    with pytest.raises(RecipeError, match=f"{made.__name__}: word_dropout is 0.1, but it needs the letters of words"):
        made(13, vocabulary=SOURCES, width=8, word_dropout=0.1)


def test_a_table_of_both_sides_has_no_letters() -> None:
    with pytest.raises(RecipeError, match="tied is 'all', but with places=23 the source's words have letters"):
        transformer(SOURCES, vocabulary=SOURCES, width=8, places=PLACES, tied="all")
