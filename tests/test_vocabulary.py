"""Vocabularies: what a unit of a text is, which have a number, and the way back to the text."""

import json
import sys
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.tokens import END, MARKS, PADDING, START, UNKNOWN
from thalweg.data.vocabulary import UNITS, Vocabulary, unknown_share
from thalweg.data.word_splitting import JOINER, joined_words, normalized, words

TEXTS = ["The cat sat.", "The dog sat, too.", "A cat and a dog!", "the 😀 cat"]


def test_marks_stand_first() -> None:
    assert (PADDING, UNKNOWN, START, END) == (0, 1, 2, 3)
    for unit in UNITS:
        assert Vocabulary.fit(TEXTS, unit).tokens[:4] == MARKS


def test_words_by_a_naive_count() -> None:
    counts = Counter(
        word for text in TEXTS for word in text.replace(".", " .").replace(",", " ,").replace("!", " !").split()
    )
    known = sorted((word for word, count in counts.items() if count >= 2), key=lambda word: (-counts[word], word))
    vocabulary = Vocabulary.fit(TEXTS)
    assert list(vocabulary.tokens[4:]) == known
    assert vocabulary.encode("The bird sat.").tolist() == [
        vocabulary.tokens.index("The"),
        UNKNOWN,
        vocabulary.tokens.index("sat"),
        vocabulary.tokens.index("."),
    ]


def test_size_keeps_the_most_frequent_and_marks_count() -> None:
    assert Vocabulary.fit(["b b b a a c"], size=6, fewest=1).tokens == (*MARKS, "b", "a")


def test_case_is_kept_unless_asked() -> None:
    assert len(Vocabulary.fit(["Cat cat"], fewest=1)) == 6
    assert Vocabulary.fit(["Cat cat"], lower=True).encode("CAT").tolist() == [4]


def test_characters_come_back_as_they_were() -> None:
    vocabulary = Vocabulary.fit(["naïve 😀 שלום"], "characters")
    assert vocabulary.decode(vocabulary.encode("שלום naïve")) == "שלום naïve"
    assert vocabulary.decode(vocabulary.encode("nZ")) == "n\ufffd"


@pytest.mark.parametrize("text", ["hello there", "neu: Größe 😀👍🏽\n\ttab  two", "<padding> <unknown>", "日本語", ""])
def test_subwords_lose_nothing_and_know_every_text(text: str) -> None:
    vocabulary = Vocabulary.fit(["hello hello there", "there there hello"], "subwords", size=300)
    tokens = vocabulary.encode(text)
    assert vocabulary.decode(tokens) == text
    assert not (tokens < len(MARKS)).any()


def test_subwords_merge_what_is_frequent_and_are_the_same_each_time() -> None:
    texts = ["lower lowest newer newest wider"] * 5
    vocabulary = Vocabulary.fit(texts, "subwords", size=300)
    assert vocabulary == Vocabulary.fit(texts, "subwords", size=300)
    assert len(vocabulary.encode("lowest")) < len("lowest")
    left, right = vocabulary.merges[0]
    pairs = Counter(pair for word in ["lower", "Ġlowest", "Ġnewer", "Ġnewest", "Ġwider"] for pair in pairwise(word))
    assert pairs[left, right] == max(pairs.values())


@pytest.mark.parametrize("unit", UNITS)
def test_a_vocabulary_goes_through_a_file(unit: str) -> None:
    vocabulary = Vocabulary.fit(TEXTS * 2, unit)
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary
    assert again.encode("The cat 😀").tolist() == vocabulary.encode("The cat 😀").tolist()


def test_words_that_are_called_as_marks_are_go_through_a_file() -> None:
    vocabulary = Vocabulary.fit([["<unknown>", "<start>"]] * 2)
    assert vocabulary.encode(["<start>", "<unknown>", "<end>"]).tolist() == [4, 5, UNKNOWN]
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


@pytest.mark.parametrize("unit", UNITS)
def test_many_texts_are_encoded_as_one_by_one(unit: str) -> None:
    vocabulary, texts = Vocabulary.fit(TEXTS, unit), [*TEXTS, "", "new words"]
    ragged = vocabulary.encode_all(texts)
    assert [ragged[i].tolist() for i in range(len(texts))] == [vocabulary.encode(text).tolist() for text in texts]
    assert len(ragged[4]) == 0


@pytest.mark.parametrize("unit", UNITS)
def test_a_text_of_a_megabyte_without_a_blank(unit: str) -> None:
    text = "ab" * 500_000
    vocabulary = Vocabulary.fit([text], unit, fewest=1)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_words_split_before_stay_whole() -> None:
    vocabulary = Vocabulary.fit([["New York", "is"], ["New York"]], fewest=1)
    assert vocabulary.encode(["New York", "was"]).tolist() == [4, UNKNOWN]
    with pytest.raises(RecipeError, match="has words for its unit, not characters"):
        Vocabulary.fit([["a"]], "characters")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafe\u0301", "café"),
        ("a\x00b\x1bc", "a b c"),
        ("\u200fשלום\u200e", "שלום"),
        ("\ufeffzero\u200bwidth\xad", "zerowidth"),
        ("half\ud800", "half\ufffd"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_text_is_brought_to_one_form(text: str, expected: str) -> None:
    assert normalized(text) == expected
    assert unicodedata.is_normalized("NFC", normalized(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't stop", ["don't", "stop"]),
        ("'quoted'", ["'", "quoted", "'"]),
        ("a-b c_d 3.14", ["a", "-", "b", "c_d", "3", ".", "14"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("👨\u200d👩\u200d👧👍🏽🇩🇪🇫🇷❤️", ["👨\u200d👩\u200d👧", "👍🏽", "🇩🇪", "🇫🇷", "❤️"]),
        ("你好，世界", ["你好", "，", "世界"]),
        (" \n\t ", []),
    ],
)
def test_where_a_word_ends(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("don't (stop)", ["don't", "(+", "stop", "+)"]),
        ("a-b, c", ["a", "+-+", "b", "+,", "c"]),
        ("so...!", ["so", "+.", "+.", "+.", "+!"]),
        ("5 % 5%", ["5", "%", "5", "+%"]),
        ("😀👍🏽 ok😀", ["😀", "+👍🏽", "ok", "+😀"]),
        ("\u2060a\u2060 b", ["a", "b"]),
    ],
)
def test_joiners_keep_where_no_blank_stood(text: str, units: list[str]) -> None:
    assert [unit.replace(JOINER, "+") for unit in joined_words(normalized(text))] == units
    vocabulary = Vocabulary.fit([text], fewest=1, joiners=True)
    assert vocabulary.decode(vocabulary.encode(text)) == " ".join(normalized(text).split())
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary
    assert joined_words("(" * 200 + "a") == [*joined_words("(" * 199), f"{JOINER}({JOINER}", "a"]


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_split_and_joined(unit: str) -> None:
    vocabulary = Vocabulary.fit(TEXTS, unit, joiners=True)
    for text in [*TEXTS, "an unseen 🐕"]:
        units = vocabulary.split(text)
        assert vocabulary.join(units) == text
        assert [vocabulary.numbers.get(one, UNKNOWN) for one in units] == vocabulary.encode(text).tolist()
    assert vocabulary.join(["<start>", *vocabulary.split("a"), "<end>", "<padding>"]) == "a"


def test_the_share_of_unknown_tokens() -> None:
    assert unknown_share(np.array([UNKNOWN, 4, 5, UNKNOWN, PADDING])) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "word"}, "unit='word' is not known. Did you mean 'words'?"),
        (
            {"size": 4},
            "size=4 is too small for a vocabulary of words: 4 tokens are reserved. Give a whole number of at least 5",
        ),
        ({"unit": "subwords", "size": 200}, "size=200 is too small for a vocabulary of subwords: .* the 256 bytes"),
        ({"fewest": 0}, "fewest=0, but it is how often a unit occurs at least"),
    ],
)
def test_what_cannot_be_fitted(arguments: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Vocabulary.fit(["a b"], **arguments)


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_texts_without_anything(unit: str) -> None:
    with pytest.raises(DataError, match=f"The training texts hold no {unit} at all"):
        Vocabulary.fit(["", ""], unit)
    with pytest.raises(DataError, match="are all empty"):
        Vocabulary.fit([""], "subwords")


def test_what_is_no_text_and_no_token() -> None:
    with pytest.raises(DataError, match="3.5 is no text but float. Give texts"):
        Vocabulary.fit(["a", [3.5]])
    with pytest.raises(DataError, match="9 is no token of a vocabulary of 5, whose tokens run from 0 to 4."):
        Vocabulary.fit(["a a"]).decode([9])


def test_subwords_without_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match="pip install tokenizers"):
        Vocabulary.fit(["a"], "subwords")


@pytest.mark.parametrize(
    "change", [{"unit": "word"}, {"tokens": ["a"]}, {"tokens": [*MARKS, "a", "a"]}, {"merges": [["a", "b"]]}]
)
def test_a_damaged_file(change: dict) -> None:
    with pytest.raises(ValueError, match="'(unit|tokens|merges)'"):
        Vocabulary.from_json(Vocabulary("words").to_json() | change)
