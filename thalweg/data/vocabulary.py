r"""Vocabularies: texts as whole numbers, and back.

The unit is the word, the character, or the subword: byte pair encoding merges the pair of neighbours that is most
frequent in the training texts, again and again, beginning with single bytes (Sennrich et al., "Neural Machine
Translation of Rare Words with Subword Units", 2016; on bytes: Radford et al. 2019), so that no text is unknown to it.

A vocabulary is fitted to training texts alone. A word that is met `fewest` times or more has a number; all others are
`UNKNOWN`, so that training sees what an unknown word is.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Self

import numpy as np
from jaxtyping import Int

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.tokens import MARKS, PADDING, UNKNOWN
from thalweg.core.wording import counted
from thalweg.data.ragged import Ragged
from thalweg.data.word_splitting import joined, joined_words, normalized, words

UNITS = ("words", "characters", "subwords")
SIZES = {"words": 30_000, "characters": 10_000, "subwords": 8_000}
FEWEST = {"words": 2, "characters": 1, "subwords": 2}
MOST_CODES = 0x110000
BYTES = 256
UNUSED = "<unused"
LONGEST_RUN = 100
"""Characters without a blank that subwords are merged within: the time grows with the square of it."""

Text = Any
"""A text, or a list of its words where it was split before."""


@dataclass(frozen=True, repr=False)
class Vocabulary:
    """Numbers for the units of texts; the first four are padding, unknown, start and end.

    `merges` are those of subwords, in their order; `lower` says that words are compared in small letters; `joiners`
    that words remember what they stand beside without a blank, so that their text comes back as it was.

    >>> vocabulary = Vocabulary.fit(["a cat", "a dog", "a cat!"])
    >>> vocabulary, vocabulary.encode("a wise cat").tolist()
    (Vocabulary(2 words), [4, 1, 5])
    >>> vocabulary.decode([4, 1, 5, 0])
    'a <unknown> cat'
    >>> Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    True
    """

    unit: str
    tokens: tuple[str, ...] = MARKS
    merges: tuple[tuple[str, str], ...] = ()
    lower: bool = False
    joiners: bool = False

    @classmethod
    def fit(
        cls,
        texts: Iterable[Text],
        unit: str = "words",
        *,
        size: int | None = None,
        fewest: int | None = None,
        lower: bool = False,
        joiners: bool = False,
    ) -> Self:
        """The `size` most frequent units of these texts that occur `fewest` times or more.

        By default the 30,000 words that occur twice, the 10,000 characters that occur, 8,000 subwords; the four
        reserved tokens count, and of subwords the 256 bytes. Ties go by the alphabet, so that the same texts always
        give the same numbers.

        >>> Vocabulary.fit(["banana"], "characters").encode("nab").tolist()
        [5, 4, 6]

        Raises `RecipeError` for an unknown unit and a size too small, `DataError` for texts without any unit, and for
        subwords where `tokenizers` is not installed.
        """
        check_unit(unit, size, fewest)
        size, fewest = size or SIZES[unit], fewest or FEWEST[unit]
        if unit == "subwords":
            return cls(unit, *_merged([_ready(text, lower) for text in texts], size, fewest), lower)
        blank = cls(unit, lower=lower, joiners=joiners)
        counts = Counter(chain.from_iterable(map(blank._units, texts)))
        if not counts:
            raise DataError(
                f"The training texts hold no {unit} at all, only blanks. Check that the column is the text."
            )
        known = sorted((one for one in counts if counts[one] >= fewest), key=lambda one: (-counts[one], one))
        return replace(blank, tokens=(*MARKS, *known[: size - len(MARKS)]))

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({self.size})"

    @property
    def size(self) -> str:
        """How many units are known, in words."""
        return counted(len(self.numbers), self.unit.removesuffix("s"))

    def widened(self, size: int) -> Self:
        """The same vocabulary with `size` tokens at least: those that are too much are never met, and unknown.

        >>> Vocabulary.fit(["a a"]).widened(7).tokens[4:]
        ('a', '<unused 5>', '<unused 6>')
        """
        return replace(self, tokens=(*self.tokens, *(f"{UNUSED} {i}>" for i in range(len(self), size))))

    def beginning_with(self, units: Sequence[str]) -> Self:
        """The same vocabulary with these units first, so that their numbers hang on no frequency.

        >>> Vocabulary.fit(["b a a b c c c"]).beginning_with(["b"]).tokens[4:]
        ('b', 'c', 'a')
        """
        others = [token for token in self.tokens[len(MARKS) :] if token not in units]
        return replace(self, tokens=(*MARKS, *units, *others))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The token of each unit that is known."""
        return {token: i for i, token in enumerate(self.tokens) if i >= len(MARKS) and not token.startswith(UNUSED)}

    def encode(self, text: Text) -> Int[np.ndarray, " token"]:
        """The tokens of a text; an empty one has none."""
        return self.encode_all([text]).values

    def encode_all(self, texts: Sequence[Text]) -> Ragged:
        """The tokens of many texts, one behind the other."""
        if self.unit == "subwords":
            found = self._merging.encode_batch([_ready(text, self.lower) for text in texts], add_special_tokens=False)
            ids = [np.array(one.ids, dtype=np.int64) + len(MARKS) for one in found]
            return Ragged.of(ids, np.int64)
        if self.unit == "characters":
            return Ragged.of([self._places[_codes(_ready(text, self.lower))] for text in texts], np.int64)
        place = self.numbers
        split = [self._units(text) for text in texts]
        flat = [place.get(word, UNKNOWN) for word in chain.from_iterable(split)]
        return Ragged.cut(np.array(flat, dtype=np.int64), np.array([len(one) for one in split], dtype=np.int64))

    def decode(self, tokens: Iterable[Any]) -> str:
        """The text of tokens, reserved ones left out: words with blanks between, characters and subwords as they were.

        What is not known is `<unknown>` among words, U+FFFD among characters.

        Raises `DataError` for a number that is no token.
        """
        numbers, size = [int(token) for token in tokens], len(self)
        if wrong := [token for token in numbers if not 0 <= token < size]:
            raise DataError(
                f"{wrong[0]} is no token of a vocabulary of {size:,}, whose tokens run from 0 to {size - 1}. "
                "Decode with the vocabulary that the text was encoded with."
            )
        return self.join([self.tokens[token] for token in numbers])

    def split(self, text: Text) -> list[str]:
        """The units of a text, known or not.

        >>> Vocabulary("words").split("a wise cat")
        ['a', 'wise', 'cat']
        """
        if self.unit == "subwords":
            pieces: list[str] = self._merging.encode(_ready(text, self.lower), add_special_tokens=False).tokens
            return pieces
        return self._units(text)

    def join(self, units: Iterable[str]) -> str:
        """The text of units, reserved tokens left out; unknown ones are seen among words and characters.

        >>> Vocabulary("characters").join(["<start>", "a", "<unknown>"])
        'a\ufffd'
        """
        unknown = MARKS[UNKNOWN]
        named = [unknown if one.startswith(UNUSED) else one for one in units]
        kept = [one for one in named if one == unknown or one not in MARKS]
        if self.unit == "subwords":
            told: str = self._merging.decoder.decode([one for one in kept if one != unknown])
            return told
        if self.unit == "characters":
            return "".join("\ufffd" if one == unknown else one for one in kept)
        return joined(kept)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary in plain values."""
        merges, joiners = [list(pair) for pair in self.merges], {"joiners": True} if self.joiners else {}
        return {"unit": self.unit, "tokens": list(self.tokens), "merges": merges, "lower": self.lower, **joiners}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The vocabulary that `to_json` wrote, also after it went through a file.

        Raises `ValueError` for what is none.
        """
        unit, tokens, merges = plain["unit"], plain["tokens"], plain["merges"]
        if unit not in UNITS:
            raise ValueError(f"'unit' is {unit!r}, but it is one of {', '.join(UNITS)}")
        texts = isinstance(tokens, list | tuple) and all(type(token) is str for token in tokens)
        own = tokens[len(MARKS) :] if texts else ()  # a word may be called as a mark is
        if not texts or tuple(tokens[: len(MARKS)]) != MARKS or len(set(own)) < len(own):
            raise ValueError(f"'tokens' is {str(tokens)[:40]}, but it is {', '.join(MARKS)} and different texts")
        pairs = tuple((str(left), str(right)) for left, right in merges)
        known = set(tokens)
        if any(left + right not in known or left not in known or right not in known for left, right in pairs):
            raise ValueError("'merges' makes subwords that are none of 'tokens'")
        return cls(unit, tuple(tokens), pairs, bool(plain["lower"]), bool(plain.get("joiners", False)))

    def _units(self, text: Any) -> list[str]:
        """The words of a text, or its characters; a text that was split before keeps its words."""
        if isinstance(text, str):
            ready = _ready(text, self.lower)
            if self.unit == "words":
                return joined_words(ready) if self.joiners else words(ready)
            return list(ready)
        if self.unit != "words":
            raise RecipeError(f"A text that is split into words already has words for its unit, not {self.unit}.")
        return [_ready(word, self.lower) for word in text]

    @cached_property
    def _places(self) -> Int[np.ndarray, " code"]:
        """The token of every character that there is, by its number in Unicode."""
        places = np.full(MOST_CODES, UNKNOWN, dtype=np.int64)
        for character, place in self.numbers.items():
            places[ord(character)] = place
        return places

    @cached_property
    def _merging(self) -> Any:
        library = _tokenizers()
        place = {token: i for i, token in enumerate(self.tokens[len(MARKS) :])}
        return _bytewise(library, library.models.BPE(vocab=place, merges=list(self.merges)))


def check_unit(unit: str, size: int | None, fewest: int | None) -> None:
    """Refuse what no vocabulary can be fitted with.

    >>> check_unit("word", None, None)
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: unit='word' is not known. Did you mean 'words'?

    Raises `RecipeError`.
    """
    if unit not in UNITS:
        raise RecipeError(f"unit={unit!r} is not known.{did_you_mean(str(unit), UNITS)}")
    least = len(MARKS) + (BYTES if unit == "subwords" else 1)
    if size is not None and (type(size) is not int or size < least):
        bytes_too = " and the 256 bytes that subwords are made of" if unit == "subwords" else ""
        raise RecipeError(
            f"size={size!r} is too small for a vocabulary of {unit}: {len(MARKS)} tokens are reserved{bytes_too}. Give "
            f"a whole number of at least {least}, for instance {SIZES[unit]}."
        )
    if fewest is not None and (type(fewest) is not int or fewest < 1):
        raise RecipeError(
            f"fewest={fewest!r}, but it is how often a unit occurs at least to be known, a whole number of at least 1. "
            f"Give for instance {FEWEST[unit]}."
        )


def unknown_share(tokens: Int[np.ndarray, "..."]) -> float:
    """The share of unknown tokens among those that are no padding; 0 where there are none.

    >>> unknown_share(np.array([[4, 1], [1, 0]])), unknown_share(np.array([0]))
    (0.6666666666666666, 0.0)
    """
    known = tokens != PADDING
    return float((tokens == UNKNOWN).sum() / known.sum()) if known.any() else 0.0


def _ready(text: Any, lower: bool) -> str:
    if not isinstance(text, str):
        raise DataError(f"{text!r} is no text but {type(text).__name__}. Give texts, or lists of words, each a str.")
    return normalized(text.lower() if lower else text)


def _codes(text: str) -> Int[np.ndarray, " character"]:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)


def _tokenizers() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not go with processes that fork
    try:
        import tokenizers
    except ImportError:
        raise DataError(
            "Subwords need the library tokenizers: pip install tokenizers (or thalweg[text]), or take unit='words' or "
            "'characters'."
        ) from None
    return tokenizers


def _bytewise(library: Any, model: Any) -> Any:
    tokenizer = library.Tokenizer(model)
    runs = library.pre_tokenizers.Split(library.Regex(rf"\S{{{LONGEST_RUN}}}"), behavior="isolated")
    bytewise = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([runs, bytewise])
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def _merged(texts: list[str], size: int, fewest: int) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The tokens and the merges of byte pair encoding; its reserved tokens are ours, so that no text can name them."""
    library = _tokenizers()
    if not any(texts):
        raise DataError("The training texts are all empty. Check that the column is the text.")
    tokenizer = _bytewise(library, library.models.BPE())
    trainer = library.trainers.BpeTrainer(
        vocab_size=size - len(MARKS),
        min_frequency=fewest,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return (*MARKS, *ordered), tuple((left, right) for left, right in model["merges"])
