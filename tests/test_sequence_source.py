"""Ragged sequences as batches: what is padded, which sequences meet, and what is fitted to whom."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from thalweg.core import source as protocols
from thalweg.core.errors import DataError, RecipeError, Unsupported
from thalweg.core.folds import folds
from thalweg.core.notices import collecting
from thalweg.core.tokens import NO_TARGET, UNKNOWN
from thalweg.data.length_batches import by_length, count_by_length, padded_share
from thalweg.data.ragged import Ragged
from thalweg.data.schema import Schema, Target, TargetKind
from thalweg.data.sequence_encoding import SequenceEncoding, SequenceSchema
from thalweg.data.sequence_source import SequenceSource
from thalweg.data.sequences import frame_splits, sequences_of
from thalweg.data.table import read_rows
from thalweg.data.table_source import TableSource
from thalweg.data.vocabulary import Vocabulary

GOAL = Target(("y",), TargetKind.CLASSES, ("no", "yes"))
SIZES = [3, 1, 7, 2, 5, 3, 11, 2]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def about(n: int, target: Target = GOAL, **columns: Any) -> TableSource:
    y = ["no", "yes"] * n if target.kind is TargetKind.CLASSES else [10.0 * i for i in range(n)]
    frame = pd.DataFrame({"y": y[:n], **columns})
    roles = {name: name for name in columns if name != "weights"}
    schema = Schema((), target, weights="weights" if "weights" in columns else None, **roles)
    return TableSource.fitted(frame, schema)


def texts(
    sizes: list[int] = SIZES, *, longest: int | None = None, target: Target = GOAL, **columns: Any
) -> SequenceSource:
    content = [" ".join(f"w{i}" for i in range(size)) for size in sizes]
    table = about(len(sizes), target, **columns)
    schema = SequenceSchema("texts", table.schema, "text", fewest=1, longest=longest)
    return SequenceSource.unfitted(content, table, schema).fit(range(len(sizes)))


def test_it_keeps_the_protocols() -> None:
    kept = [protocols.Source, protocols.Indexed, protocols.Batched, protocols.Counted]
    kept += [protocols.Ordered, protocols.Described, protocols.Fitted, protocols.Restoring]
    assert all(isinstance(texts(), protocol) for protocol in kept)


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("tokens", [None, 12])
def test_batches_against_a_naive_twin(seed: int | None, tokens: int | None) -> None:
    source = texts().batched(3).budgeted(tokens)
    own = [source.encoding.vocabulary.encode(text) for text in source.content]
    chunks = source.ordered(1, seed if seed is None else generator(seed))
    batches = list(source.batches(1, 0, seed if seed is None else generator(seed)))
    assert sorted(torch.cat(chunks).tolist()) == list(range(len(SIZES)))
    for chunk, ((values, lengths), y) in zip(chunks, batches, strict=True):
        expected = torch.nn.utils.rnn.pad_sequence([torch.tensor(own[i]) for i in chunk.tolist()], batch_first=True)
        assert torch.equal(values, expected)
        assert lengths.tolist() == [SIZES[i] for i in chunk.tolist()]
        assert y.tolist() == [i % 2 for i in chunk.tolist()]
        assert values.dtype == lengths.dtype == torch.int64


@pytest.mark.parametrize("tokens", [None, 64])
def test_short_sequences_do_not_come_first(tokens: int | None) -> None:
    lengths = np.arange(1, 65)
    orders = [[int(lengths[one].max()) for one in by_length(lengths, 4, tokens, generator(seed))] for seed in (0, 1)]
    assert sorted(orders[0]) not in orders
    assert orders[0] != orders[1]


def test_a_budget_counts_the_longest_sequence_and_not_its_step() -> None:
    batches = by_length(np.array([17, 17, 17, 17]), None, 34, generator())  # lengths of 17 and 18 are one step
    assert [len(batch) for batch in batches] == [2, 2]
    assert count_by_length(np.array([17, 17, 17, 17]), None, 34) == 2


def test_judging_goes_in_the_sequences_own_order() -> None:
    for source in (texts().batched(3), texts().budgeted(12)):
        assert torch.cat(source.ordered(1, None)).tolist() == list(range(len(SIZES)))


def test_the_order_is_the_generators_alone() -> None:
    source = texts([3] * 40).batched(4)
    first, again, other = (source.ordered(1, generator(seed)) for seed in (0, 0, 1))
    assert [one.tolist() for one in first] == [one.tolist() for one in again] != [one.tolist() for one in other]
    start = [values.tolist() for (values, _), _ in source.batches(1, 3, generator())]
    assert start == [values.tolist() for (values, _), _ in source.batches(1, 0, generator())][3:]


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_keeps_its_budget_and_their_number_stays(seed: int) -> None:
    lengths = np.random.default_rng(seed).geometric(0.05, size=500).astype(np.int64)
    batches = by_length(lengths, None, 200, generator(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(500))
    for batch in batches:
        assert len(batch) * lengths[batch.numpy()].max() <= 200 or len(batch) == 1
    assert len(batches) == count_by_length(lengths, None, 200)
    assert count_by_length(lengths, 16) == len(by_length(lengths, 16, None, generator(seed))) == 32


def test_like_lengths_meet_and_little_is_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, size=2000)
    random = padded_share(lengths, list(torch.randperm(2000, generator=generator()).split(32)))
    assert padded_share(lengths, by_length(lengths, 32, None, generator())) < 0.1 < 0.4 < random
    assert len({len(batch) for batch in by_length(lengths, None, 1000, generator())}) > 5


def test_the_padding_share_by_hand() -> None:
    source = texts([1, 1, 8, 8]).batched(4)
    assert source.padding_share == pytest.approx(1 - 18 / 32)
    assert source.batched(2).padding_share == 0


def test_batches_of_one_join_another_where_they_must() -> None:
    lengths = np.array([1, 1, 1, 50, 60, 70, 80])
    assert min(len(batch) for batch in by_length(lengths, None, 60, generator())) == 1
    joined = by_length(lengths, None, 60, generator(), merge_single=True)
    assert sorted(len(batch) for batch in joined) == [2, 2, 3]
    assert len(joined) == count_by_length(lengths, None, 60, merge_single=True)
    assert [len(one) for one in by_length(np.array([9]), None, 5, generator(), merge_single=True)] == [1]
    assert [len(one) for one in by_length(np.array([9, 9, 9]), None, 5, None, merge_single=True)] == [3]


def test_frames_are_scaled_by_the_training_frames() -> None:
    random = np.random.default_rng(0)
    frames = Ragged.of([random.normal(3, 2, (size, 3)) for size in (4, 2, 7)])
    table = about(3)
    source = SequenceSource.unfitted(frames, table, SequenceSchema("frames", table.schema)).fit([0, 2])
    trained = np.concatenate([frames[0], frames[2]])
    (values, lengths), _ = next(source.batched(None).batches(1, 0, None))
    expected = torch.tensor((frames[1] - trained.mean(0)) / trained.std(0), dtype=torch.float32)
    torch.testing.assert_close(values[1, :2], expected)
    assert values.shape == (3, 7, 3)
    assert values.dtype == torch.float32
    assert not values[1, 2:].any()
    assert lengths.tolist() == [4, 2, 7]
    assert SequenceEncoding.from_json(source.encoding.to_json()) == source.encoding


def test_frames_in_double_precision_stay_so() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        frames, table = Ragged.of([np.ones((2, 1)), np.zeros((1, 1))]), about(2)
        source = SequenceSource.unfitted(frames, table, SequenceSchema("frames", table.schema)).fit([0, 1])
        assert source.inputs(torch.tensor([0]))[0].dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_no_sequence_is_empty() -> None:
    source = texts([2, 0, 3])
    (values, lengths), _ = next(source.batches(1, 0, None))
    assert lengths.tolist() == [2, 1, 3]
    assert values[1].tolist() == [UNKNOWN, 0, 0]


def test_the_vocabulary_is_that_of_the_training_sequences() -> None:
    source = texts([1, 5]).fit([0])
    assert source.encoding.vocabulary.tokens[4:] == ("w0",)
    assert (source.sequences[1] == UNKNOWN).sum() == 4
    assert source.take([1]).fit([0]).encoding.vocabulary.tokens[4:] == tuple(f"w{i}" for i in range(5))


def test_taking_keeps_sequences_targets_and_encoding() -> None:
    source = texts()
    part = source.take([6, 1]).take([1, 0])
    (_, lengths), y = next(part.batches(1, 0, None))
    assert lengths.tolist() == [1, 11]
    assert y.tolist() == [1, 0]
    assert part.encoding is source.encoding
    assert part.meta([0, 1])["row"].tolist() == [1, 6]


def test_targets_that_are_numbers_are_scaled_and_restored() -> None:
    source = texts(target=Target(("y",), TargetKind.NUMBERS))
    y = torch.cat([y for _, y in source.batches(1, 0, None)])
    torch.testing.assert_close(y.mean(0), torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(source.restore(y)[:, 0], torch.arange(8).double() * 10, atol=1e-4, rtol=0)


def test_weights_come_beside_the_target() -> None:
    source = texts([1, 2, 3], weights=[1.0, 2.0, 0.5]).take([2, 0])
    (_, (y, weights)) = next(source.batches(1, 0, None))
    assert (y.tolist(), weights.tolist()) == ([0, 0], [0.5, 1.0])


def test_what_is_known_of_each() -> None:
    source = texts([1, 2, 3, 4], group=["a", "a", "b", "b"])
    known = source.meta([1, 2])
    assert (known["label"].tolist(), known["group"].tolist()) == (["yes", "no"], ["a", "b"])
    for train, validation in folds(source, 2):
        assert not set(source.meta(train)["group"]) & set(source.meta(validation)["group"])


def test_truncation_is_said_and_cuts_tags_too() -> None:
    source = texts(longest=4)
    assert source.lengths.max() == 4
    with collecting() as said:
        source.announce("train")
    assert said == ["3 sequences of the train split are cut off after 4 positions (data.longest)."]
    tags = Ragged.of([np.arange(size) for size in SIZES], np.int64)
    (_, y) = next(replace(source, tags=tags).batches(1, 0, None))
    assert y.shape == (8, 4)
    assert y[0].tolist() == [0, 1, 2, NO_TARGET]


def test_a_sequence_longer_than_the_budget_is_said() -> None:
    with collecting() as said:
        texts().budgeted(8).announce("train")
    assert said == [
        "1 sequence of the train split is longer than data.tokens=8, up to 11: a batch each. data.longest=N cuts them "
        "off."
    ]


def test_the_fingerprint_knows_what_a_model_sees() -> None:
    source = texts()
    same = [texts(), source.batched(7), texts().take(range(8))]
    assert {one.fingerprint() for one in same} == {source.fingerprint()}
    others = [texts([*SIZES[:-1], 3]), source.take(range(7)), source.fit([0, 1]), source.budgeted(9)]
    assert len({one.fingerprint() for one in [source, *others]}) == 5


def test_what_cannot_be() -> None:
    with pytest.raises(RecipeError, match="tokens=0, but it is how many positions a batch may have"):
        texts().budgeted(0)
    with pytest.raises(DataError, match="no sequence to fit a vocabulary to"):
        texts().fit([])


def test_a_schema_of_another_kind_is_no_schema() -> None:
    plain = texts().encoding.to_json()
    with pytest.raises(ValueError, match="'kind' is 'pictures', but it is one of texts, words, frames"):
        SequenceEncoding.from_json(plain | {"schema": plain["schema"] | {"kind": "pictures"}})
    with pytest.raises(ValueError, match="does not go with texts"):
        SequenceEncoding.from_json(plain | {"vocabulary": None})


def test_ragged_against_lists() -> None:
    lists = [[1, 2, 3], [], [4], [5, 6], []]
    ragged = Ragged.of(lists, np.int64)
    assert [ragged[i].tolist() for i in range(5)] == lists
    chosen = ragged.take(np.array([3, 1, 0]))
    assert [chosen[i].tolist() for i in range(3)] == [[5, 6], [], [1, 2, 3]]
    short = ragged.shortened(2)
    assert [short[i].tolist() for i in range(5)] == [one[:2] for one in lists]
    full = ragged.filled(9)
    assert [full[i].tolist() for i in range(5)] == [one or [9] for one in lists]
    assert ragged.padded(torch.tensor([1, 4])).shape == (2, 0)
    assert Ragged.of([], np.int64).padded(torch.zeros(0, dtype=torch.int64)).shape == (0, 0)
    assert len(read_rows(pd.DataFrame({"y": ["no"]}), Schema((), GOAL))) == 1


def waves(n: int = 20) -> list[np.ndarray]:
    return [np.sin(np.arange(4 + i)[:, None] * [0.1, 0.3]) for i in range(n)]


def test_frames_from_python() -> None:
    frame = pd.DataFrame({"who": ["ann", "bob"] * 10, "day": range(20)})
    splits = frame_splits(waves(), frame, target="who", time="day", tokens=64)
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    assert splits.test.lengths.tolist() == [20, 21, 22, 23]
    flat = np.concatenate(waves()[:12])
    np.testing.assert_allclose(splits.train.encoding.means, flat.mean(0))
    assert {len(values) * values.shape[1] <= 64 for (values, _), _ in splits.train.batches(1, 0, generator())} == {True}
    with pytest.raises(Unsupported, match="Sequences of vectors have no file format"):
        sequences_of(frame, splits.train.encoding)
    values, lengths = splits.train.encoding.inputs(Ragged.of(waves(2)))
    assert (values.shape, lengths.tolist()) == ((2, 5, 2), [4, 5])


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (waves(19), "There are 19 sequences for 20 rows"),
        (
            [*waves(19), np.zeros((3, 5))],
            r"Sequence 19 is an array of float64 of shape \(3, 5\), but each is .* here 2",
        ),
        ([np.zeros(3)] * 20, r"Sequence 0 is an array of float64 of shape \(3,\), .* one\[:, None\]"),
        ([*waves(19), np.full((3, 2), np.nan)], "Sequence 19 holds NaN or an infinite number"),
    ],
)
def test_frames_that_cannot_be_used(sequences: list[np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        frame_splits(sequences, pd.DataFrame({"who": ["ann", "bob"] * 10}), target="who")


def test_a_word_has_the_same_letters_whichever_way_it_was_typed() -> None:
    schema = SequenceSchema("words", Schema((), GOAL), columns=(1, 2))
    encoding = SequenceEncoding(schema, Vocabulary.fit([["caf\u00e9"]], fewest=1))
    composed, decomposed = encoding.inputs([["caf\u00e9"], ["cafe\u0301\u200b"]])[0]
    assert torch.equal(composed, decomposed)
