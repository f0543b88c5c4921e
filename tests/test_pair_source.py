"""Pairs as batches: what a model reads, what it is to put out, and the way back to a text."""

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core import source as protocols
from thalweg.core.errors import DataError, RecipeError, Unsupported
from thalweg.core.folds import folds
from thalweg.core.notices import collecting
from thalweg.core.tokens import END, NO_TARGET, PADDING, START, UNKNOWN
from thalweg.data.length_batches import by_length, count_by_length, padded_share
from thalweg.data.pair_encoding import PairEncoding
from thalweg.data.pair_loading import judged_pairs, pair_splits
from thalweg.data.pair_schema import PairSchema
from thalweg.data.pair_source import PairSource
from thalweg.data.vocabulary import UNITS
from thalweg.data.word_splitting import normalized

SOURCES = ["the cat", "the big dog sat", "a cat", "the cat", "Zoe met the dog, Max", "dog"]
TARGETS = ["die Katze", "der Hund sass", "eine Katze", "der Kater", "Zoe traf den Hund, Max", "Hund"]
WORDS = PairSchema(unit=("words", "words"), fewest=(2, 2))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def source(schema: PairSchema = WORDS, sources: list[str] = SOURCES, targets: list[str] = TARGETS) -> PairSource:
    frame = pd.DataFrame({"source": sources, "target": targets})
    return PairSource.unfitted(frame, schema).fit(range(len(frame)))


def test_it_keeps_the_protocols() -> None:
    kept = [protocols.Source, protocols.Indexed, protocols.Batched, protocols.Counted, protocols.Ordered]
    assert all(isinstance(source(), protocol) for protocol in [*kept, protocols.Described, protocols.Fitted])


def naive_copies(pairs: PairSource, text: str) -> tuple[list[int], dict[str, int]]:
    """The number of every unit of a source among the targets', by looking them up one after the other."""
    known, own = list(pairs.encoding.target.tokens), {}
    for unit in pairs.encoding.source.split(text):
        if unit not in known and unit not in own:
            own[unit] = len(known) + len(own)
    return [own[unit] if unit in own else known.index(unit) for unit in pairs.encoding.source.split(text)], own


@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize("seed", [None, 0])
def test_batches_against_a_naive_twin(copying: bool, seed: int | None) -> None:
    pairs = source(replace(WORDS, copying=copying)).batched(4)
    chunks = pairs.ordered(1, seed if seed is None else generator(seed))
    batches = list(pairs.batches(1, 0, seed if seed is None else generator(seed)))
    assert sorted(torch.cat(chunks).tolist()) == list(range(len(SOURCES)))
    for chunk, (x, y) in zip(chunks, batches, strict=True):
        assert set(x) == {"source", "lengths", "prefix"} | ({"copies"} if copying else set())
        assert all(tensor.dtype == torch.int64 for tensor in (*x.values(), y))
        for row, i in enumerate(chunk.tolist()):
            read = pairs.encoding.source.encode(SOURCES[i]).tolist()
            copied, own = naive_copies(pairs, SOURCES[i])
            known = pairs.encoding.target.numbers
            due = [known.get(unit, own.get(unit, UNKNOWN) if copying else UNKNOWN) for unit in TARGETS[i].split()]
            if "," in TARGETS[i]:
                continue  # the units of a comma are looked at below
            assert x["lengths"][row] == len(read)
            assert x["source"][row].tolist() == padded(read, x["source"].shape[1])
            assert x["prefix"][row].tolist() == padded([START, *due], y.shape[1])
            assert y[row].tolist() == padded([*due, END], y.shape[1], NO_TARGET)
            if copying:
                assert x["copies"][row].tolist() == padded(copied, x["source"].shape[1])


def padded(tokens: list[int], length: int, padding: int = PADDING) -> list[int]:
    return tokens + [padding] * (length - len(tokens))


def test_decoding_reads_no_prefix() -> None:
    x = source(replace(WORDS, copying=True)).inputs(torch.tensor([1, 5]))
    assert sorted(x) == ["copies", "lengths", "source"]
    assert x["lengths"].tolist() == [4, 1]


def test_what_is_unknown_can_be_copied() -> None:
    pairs = source(replace(WORDS, copying=True))
    size, (x, y) = len(pairs.encoding.target), next(pairs.batched(None).batches(1, 0, None))
    assert pairs.encoding.target.tokens[4:] == ("Hund", "Katze", "der")  # which two pairs have
    assert x["copies"][4].tolist() == list(range(size, size + 6))  # Zoe met the dog , Max
    assert y[4].tolist() == [size, UNKNOWN, UNKNOWN, 4, size + 4, size + 5, END]  # Zoe traf den Hund , Max
    assert x["prefix"][4].tolist() == [START, *y[4].tolist()[:-1]]
    assert pairs.text([size, size + 5, END], 4) == "Zoe Max"
    with pytest.raises(DataError, match=rf"{size} is no token .* Give the source, which may add tokens"):
        pairs.encoding.text([size])


def test_an_unknown_unit_has_one_number_wherever_it_stands() -> None:
    schema = PairSchema(copying=True)
    pairs = source(schema, ["a", "xyxza"], ["a", "xz"]).fit([0])
    size = len(pairs.encoding.target)
    assert pairs.inputs(torch.tensor([1]))["copies"].tolist() == [[size, size + 1, size, size + 2, 4]]
    _, y = next(pairs.batches(1, 0, None))
    assert y[1].tolist() == [size, size + 2, END]
    assert pairs.text(y[1], 1) == "xz"


def test_empty_texts_stay_empty() -> None:
    pairs = source(replace(WORDS, copying=True, missing="keep"), ["a cat", "", ""], ["eine Katze", "", "x"])
    (x, y) = next(pairs.batches(1, 0, None))
    assert x["lengths"].tolist() == [2, 0, 0]
    assert x["source"].shape == x["copies"].shape == (3, 2)
    assert not x["source"][1:].any()
    assert y[1].tolist() == [END, NO_TARGET, NO_TARGET]
    only = pairs.inputs(torch.tensor([1, 2]))
    assert only["source"].shape == only["copies"].shape == (2, 1)
    assert only["lengths"].tolist() == [0, 0]


def test_what_is_cut_off_does_not_end() -> None:
    pairs = source(replace(WORDS, longest=(2, 2), copying=True))
    x, y = next(pairs.batches(1, 0, None))
    assert x["lengths"].tolist() == [2, 2, 2, 2, 2, 1]
    assert x["source"].shape[1] == 2
    assert y[0].tolist()[2] == END
    assert y[1].tolist()[2] not in (END, NO_TARGET)
    assert x["prefix"][1].tolist() == [START, *y[1].tolist()[:2]]
    assert len(pairs.encoding.extras(SOURCES[4])) <= 2
    assert int(x["copies"].max()) < len(pairs.encoding.target) + 2
    with collecting() as said:
        pair_splits(pairs.frame, longest=[2, 3], unit="words", validation_share=0, test_share=0)
    assert "2 sources are cut off after 2 words in the train split (data.longest)." in said
    assert "1 target is cut off after 3 words in the train split (data.longest)." in said


TEXTS = ["Don't stop (a-b), c; 3.14!", "«Ça va?» 😀👍🏽 — שלום עולם", "a_b c@d 100%", "naïve \t café\u00a0x"]
ENCODINGS = {
    unit: PairEncoding.fit(TEXTS, TEXTS, PairSchema(unit=(unit, unit), size=(300, 300), fewest=(1, 1), shared=True))
    for unit in UNITS
}


@pytest.mark.parametrize("unit", UNITS)
def test_a_text_comes_back(unit: str) -> None:
    encoding = ENCODINGS[unit]
    for text in TEXTS:
        tokens = encoding.encode([text], [text]).y[0]
        assert encoding.text(tokens) == (" ".join(text.split()) if unit == "words" else normalized(text))
        assert encoding.formed(text) == encoding.text(tokens)


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=60, deadline=None)
@given(text=st.text("aZé1 _-.,'\u2019(«שم你😀👍🏽\u200d\u200f\u2060\u2028\u0301\ufe0f\t\x07", max_size=20))
def test_any_text_comes_back_when_its_units_can_be_copied(unit: str, text: str) -> None:
    shared = unit == "subwords"
    schema = replace(ENCODINGS[unit].schema, copying=True, shared=shared)
    encoding = PairEncoding(ENCODINGS[unit].source, ENCODINGS[unit].target, schema)
    encoded = encoding.encode([text], [text])
    assert encoding.text(encoded.y[0], text) == encoding.formed(text)
    assert encoded.copies[0].tolist() == encoded.y[0].tolist()[:-1]
    if unit == "words":
        assert encoding.formed(text).split() == normalized(text).split()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shared", [False, True])
def test_an_encoding_goes_through_a_file(unit: str, shared: bool) -> None:
    schema = PairSchema(
        ("en", "de"), (unit, unit), size=(300, 300), lower=(True, True), shared=shared, longest=(9, None)
    )
    encoding = PairEncoding.fit(SOURCES, TARGETS, schema)
    again = PairEncoding.from_json(json.loads(json.dumps(encoding.to_json())))
    assert again == encoding
    assert (again.source is again.target) == shared == (encoding.source is encoding.target)
    text = "The Cat, the DOG"
    assert again.encode([text], [text]).y[0].tolist() == encoding.encode([text], [text]).y[0].tolist()


def test_a_damaged_file() -> None:
    plain = source().encoding.to_json()
    with pytest.raises(ValueError, match="'unit' is 'words', but it is a list of two"):
        PairEncoding.from_json(plain | {"schema": plain["schema"] | {"unit": "words"}})
    with pytest.raises(ValueError, match="'tokens'"):
        PairEncoding.from_json(plain | {"target": plain["target"] | {"tokens": ["a"]}})


def test_units_of_each_side() -> None:
    pairs = source(PairSchema(unit=("characters", "words")), ["cat"] * 2, ["K AE T"] * 2)
    assert pairs.encoding.encode(["cat"], ["K AE T"]).source[0].tolist() == [5, 4, 6]
    assert pairs.encoding.units(pairs.encoding.encode(["cat"], ["T K"]).y[0]) == ["T", "K"]
    assert repr(pairs) == "PairSource(2 pairs, 3 characters -> 3 words)"


def test_the_vocabularies_are_those_of_the_training_pairs() -> None:
    pairs = source(replace(WORDS, fewest=(1, 1)))
    fitted = pairs.take([1, 5]).fit([1])
    assert fitted.encoding.source.tokens[4:6] == ("dog", "<unused 5>")
    assert repr(fitted) == "PairSource(2 pairs, 1 word -> 1 word)"
    for part in (pairs.take([1, 5]).fit([1]), pairs.fit([1]).take([5]).fit([0])):
        assert [len(part.encoding.source), len(part.encoding.target)] == [14, 16]  # a model made for `pairs` fits
    with pytest.raises(DataError, match="There is no pair to fit vocabularies to"):
        pairs.fit([])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shared", [False, True])
def test_a_fold_keeps_the_sizes_that_models_are_made_for(unit: str, shared: bool) -> None:
    copying = shared or unit != "subwords"
    schema = PairSchema(unit=(unit, unit), size=(290, 290), shared=shared, copying=copying)
    pairs = source(schema, SOURCES * 3, TARGETS * 3)
    part = pairs.fit([2, 8])
    assert len(part.encoding.target) == len(pairs.encoding.target)
    assert len(part.encoding.source) == len(pairs.encoding.source)
    assert (part.encoding.source is part.encoding.target) == shared
    assert PairEncoding.from_json(json.loads(json.dumps(part.encoding.to_json()))) == part.encoding
    _, y = next(part.batches(1, 0, None))
    assert part.text(y[2], 2) == TARGETS[2]
    last = part.encoding.outputs - 1
    assert part.encoding.target.tokens[last] == f"<unused {last}>"
    assert part.encoding.text([last]) == part.encoding.text([UNKNOWN])


def test_no_fold_divides_a_source() -> None:
    pairs = source()
    group = pairs.meta(range(6))["group"]
    assert group[0] == group[3]
    assert len(set(group.tolist())) == 5
    for train, judged in folds(pairs, 3):
        assert not set(group[train]) & set(group[judged])
    other = source(sources=["THE  CAT"], targets=["x"])
    assert other.meta([0])["group"][0] == group[0]  # also in another file


def test_taking_keeps_pairs_and_encoding() -> None:
    pairs = source()
    pairs.encoded  # noqa: B018 - parts do not encode again
    part = pairs.take([4, 1, 3]).take([2, 1])
    assert part.sources == ["the cat", "the big dog sat"]
    assert part.targets == ["der Kater", "der Hund sass"]
    assert part.encoding is pairs.encoding
    assert part.encoded is pairs.encoded
    assert part.meta([0, 1])["row"].tolist() == [3, 1]
    x, _ = next(part.batches(1, 0, None))
    assert x["lengths"].tolist() == [2, 4]
    assert part.references([0]) == [["der Kater"]]
    assert pairs.references([3, 1]) == [["der Kater", "die Katze"], ["der Hund sass"]]


def test_the_order_is_the_generators_alone() -> None:
    pairs = source(sources=["the cat"] * 40, targets=["die Katze"] * 40).batched(4)
    first, again, other = (pairs.ordered(1, generator(seed)) for seed in (0, 0, 1))
    assert [one.tolist() for one in first] == [one.tolist() for one in again] != [one.tolist() for one in other]
    rest = [y.tolist() for _, y in pairs.batches(1, 3, generator())]
    assert rest == [y.tolist() for _, y in pairs.batches(1, 0, generator())][3:]


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_keeps_its_budget_of_both_sides(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = np.stack([random.geometric(0.1, 400), random.geometric(0.05, 400)], axis=1).astype(np.int64)
    batches = by_length(lengths, None, 200, generator(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(400))
    for batch in batches:
        source, target = lengths[batch.numpy()].max(axis=0)
        assert len(batch) * (source + target) <= 200 or len(batch) == 1
    assert len(batches) == count_by_length(lengths, None, 200)
    assert count_by_length(lengths, 16) == len(by_length(lengths, 16, None, generator(seed))) == 25
    assert [one.tolist() for one in batches] != [one.tolist() for one in by_length(lengths, None, 200, generator(9))]


def test_like_lengths_meet_and_little_is_padding() -> None:
    random = np.random.default_rng(0)
    source = random.integers(5, 40, size=4000)
    lengths = np.stack([source, np.maximum(1, source + random.integers(-4, 5, size=4000))], axis=1)
    by_chance = padded_share(lengths, list(torch.randperm(4000, generator=generator()).split(32)))
    assert padded_share(lengths, by_length(lengths, 32, None, generator())) < 0.05 < 0.4 < by_chance


def test_the_padding_share_by_hand() -> None:
    pairs = source(PairSchema(), ["a", "abc"], ["ab", "a"]).batched(2)
    assert pairs.padding_share == pytest.approx(1 - (1 + 3 + 3 + 2) / (2 * (3 + 3)))
    assert pairs.batched(1).padding_share == 0


def test_the_fingerprint_is_that_of_what_a_model_sees() -> None:
    pairs = source()
    marks = {
        pairs.fingerprint(),
        pairs.take([0, 1]).fingerprint(),
        pairs.budgeted(64).fingerprint(),
        source(replace(WORDS, copying=True)).fingerprint(),
        source(targets=["die Katze!", *TARGETS[1:]]).fingerprint(),
    }
    assert len(marks) == 5
    assert pairs.fingerprint() == source().fingerprint() == pairs.batched(3).fingerprint()


def test_without_targets_there_is_only_decoding() -> None:
    new = judged_pairs(["the dog", ""], source().encoding, labelled=False)
    assert new.inputs(torch.arange(2))["lengths"].tolist() == [2, 0]
    assert len(new.ordered(1, None)) == 1
    for refused in (lambda: next(new.batches(1, 0, None)), lambda: new.targets, lambda: new.fit([0])):
        with pytest.raises(Unsupported, match="have no targets, so that they can be decoded"):
            refused()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 0}, "tokens=0, but it is how many positions of source and target"),
        ({"longest": 0}, "longest=0, but it is after how many units"),
        ({"unit": "word"}, "unit='word' is not known. Did you mean 'words'?"),
        ({"unit": ["words"] * 3}, "has 3 values. Give one for both sides, or two"),
        ({"missing": "impute"}, "missing='impute' is not known. Known: drop, error, keep."),
        ({"unit": "words,characters", "shared": True}, "shared=True makes one .* unit is 'words' and 'characters'"),
        ({"unit": "words,characters", "copying": True}, "copying=True takes units .* Give one unit for both"),
        ({"unit": "words", "size": [9, 10], "shared": True}, "but size is 9 and 10"),
        ({"unit": "subwords", "copying": True}, "copying=True with subwords needs one vocabulary"),
        ({"stress": False}, "stress=False takes the digits of stress from sounds, and 'target' has none"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        pair_splits(pd.DataFrame({"source": SOURCES, "target": TARGETS}), **arguments)


def test_what_is_long_is_said() -> None:
    file = io.StringIO("".join(f"a{i}\tb{i}\n" for i in range(20)) + "x" * 1_000_000 + "\ty\n")
    with collecting() as said:
        train = pair_splits(file, unit="characters", tokens=500, validation_share=0, test_share=0).train
    assert "The longest source of the train split has 1,000,000 tokens (line 21)" in " ".join(said)
    assert (
        "1 pair is longer than data.tokens=500 in the train split: a batch each. data.longest=N cuts them off." in said
    )
    assert sorted(map(len, train.ordered(1, generator()))) == [1, 20]
