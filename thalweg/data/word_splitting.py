r"""Texts made ready: one form of Unicode, no invisible marks, and where a word ends.

Text is brought to NFC, so that an accented letter is one character whichever way it was typed. Control characters, the
marks of writing direction and other invisible ones go; line ends and tabs are blanks like any other, and the joiners of
emoji and of Persian and Indic letters stay. Case is kept.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache

CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
INVISIBLE = re.compile("[\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
ALONE = re.compile("[\ud800-\udfff]")
"""Halves of a pair of UTF-16, which no text has but damaged JSON."""

EMOJI = "\U0001f000-\U0001faff"
JOINER = "\u2060"
"""Unicode's word joiner, which no normalized text holds: it marks where a word stood without a blank beside another."""


LONG_RUN = 50
"""Characters without a blank from which the words in them are not kept in mind."""


def normalized(text: str) -> str:
    r"""A text in NFC, without what cannot be seen; control characters are blanks, lone surrogates U+FFFD.

    >>> normalized("cafe\u0301\u200f\x00!")
    'café !'
    """
    if text.isascii() and text.isprintable():
        return text
    return unicodedata.normalize("NFC", INVISIBLE.sub("", CONTROL.sub(" ", ALONE.sub("\ufffd", text))))


def words(text: str) -> list[str]:
    """The words of a normalized text; each sign of punctuation, symbol and emoji is a word of its own.

    Letters, digits and combining marks make a word, and an apostrophe between letters belongs to it. Scripts that are
    written without blanks (Chinese, Japanese, Thai) come as one long word: take characters or subwords for them.

    >>> words("I don't care, 😀👍🏽!")
    ['I', "don't", 'care', ',', '😀', '👍🏽', '!']
    """
    found: list[str] = _word().findall(text)
    return found


def joined_words(text: str) -> list[str]:
    """The same words, but where two stood without a blank between them, one has a joiner there: `joined` undoes it.

    It is the sign of the two that has it, and of two signs the second: a word is the same word beside any sign.

    >>> [word.replace(JOINER, "+") for word in joined_words("(a-b), c")]
    ['(+', 'a', '+-+', 'b', '+)', '+,', 'c']
    """
    found: list[str] = []
    for run in text.split():  # no word has a blank in it, and most runs of letters come again and again
        found += _joined_run(run) if len(run) < LONG_RUN else _join(run)
    return found


def joined(words: Iterable[str]) -> str:
    """The text of words, blanks between them but where a joiner stands.

    >>> joined(joined_words("(a-b),  c"))
    '(a-b), c'
    """
    return " ".join(words).replace(f"{JOINER} ", "").replace(f" {JOINER}", "").replace(JOINER, "")


def _join(run: str) -> list[str]:
    """The words of a text without a blank, a joiner wherever two of them meet."""
    found = words(run)
    signs = [_sign().match(word) is not None for word in found]
    for i in range(len(found) - 1):
        if signs[i] and not signs[i + 1]:
            found[i] += JOINER
        else:
            found[i + 1] = JOINER + found[i + 1]
    return found


_joined_run = lru_cache(maxsize=2**16)(_join)


@cache
def _sign() -> re.Pattern[str]:
    return re.compile(f"[{_signs()}]")


@cache
def _word() -> re.Pattern[str]:
    signs = _signs()
    letter = rf"[^\s{signs}]"
    emoji = "[\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
    return re.compile(
        rf"{letter}+(?:['\u2019]{letter}+)*"
        "|[\U0001f1e6-\U0001f1ff]{2}"  # two regional letters are a flag
        rf"|[{signs}]{emoji}*(?:\u200d[{signs}]{emoji}*)*"
    )


@cache
def _signs() -> str:
    """Every character that is punctuation or a symbol, as the inside of a class of a regular expression.

    Beyond the first 65,536 the blocks of emoji and pictures are taken whole: few ranges, which are searched in turn.
    """
    codes = [code for code in range(0x10000) if unicodedata.category(chr(code))[0] in "PS" and chr(code) != "_"]
    starts = [code for last, code in zip([-2, *codes], codes, strict=False) if code != last + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -2], strict=True) if after != code + 1]
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in zip(starts, ends, strict=True)) + EMOJI
