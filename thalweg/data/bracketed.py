r"""Trees over the words of a sentence, written as one sequence of brackets: `(S (NP _ _ ) (VP _ ) )`.

A bracket opens with its label and holds words and brackets; one bracket holds all. So a model that puts out sequences
puts out trees (Vinyals et al., "Grammar as a Foreign Language", 2015, section 2.2). Its tokens are `(LABEL`, `)`, and
`_` for a word, whichever it is: words are known from the source, one for each `_`. Any sequence of tokens is made a
tree by `repaired`, and a tree is left as it is.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from thalweg.core.wording import counted

LEAF, CLOSE = "_", ")"
TOKEN = re.compile(r"\([^\s()]*|\)|[^\s()]+")
TOP = "TOP"
"""The label of an outermost bracket that a sequence lacks."""
UNCOUNTED = ("", "TOP", "ROOT")
"""Labels, in capitals, of outermost brackets that are always there, and so are not scored."""
ESCAPED = {"(": "-LRB-", ")": "-RRB-"}
"""How a bracket within a word is written, as in the Penn Treebank."""
SHOWN = 40
"""Characters of a target that an error shows."""


class Span(NamedTuple):
    """A bracket: its label, its first word, and the word behind its last."""

    label: str
    first: int
    end: int


def tree_tokens(text: str) -> list[str]:
    """The tokens of a tree, or of what should be one; each word is `_`.

    >>> tree_tokens("(S (NP the cat) (VP sat))")
    ['(S', '(NP', '_', '_', ')', '(VP', '_', ')', ')']
    """
    return [one if one[0] in "()" else LEAF for one in TOKEN.findall(text)]


def leaves(text: str) -> list[str]:
    """What a tree has in the place of words, brackets within them as they were.

    >>> leaves("(S (NP the cat) (VP -LRB-sat))")
    ['the', 'cat', '(sat']
    """
    found = (one for one in TOKEN.findall(text) if one[0] not in "()")
    return [one.replace("-LRB-", "(").replace("-RRB-", ")") for one in found]


def opens(token: str) -> bool:
    """Whether a token opens a bracket.

    >>> opens("(NP"), opens(")"), opens("_")
    (True, False, False)
    """
    return token.startswith("(")


def tree_flaw(tokens: Sequence[str], words: int) -> str | None:
    """What is wrong with tokens that should be a tree over so many words, in words of an error; None where nothing is.

    >>> tree_flaw(tree_tokens("(S (NP a) b"), 2)
    'leaves 1 bracket open'
    >>> tree_flaw(tree_tokens("(S a b)"), 3)
    'has 2 leaves, and its source 3 words'
    """
    if not tokens:
        return "is empty"
    depth, roots, before = 0, 0, ""
    for token in tokens:
        if opens(token):
            roots += depth == 0
            depth += 1
        elif token not in (LEAF, CLOSE):
            return f"holds '{token}', which is neither a bracket nor a word"
        elif not depth:
            return f"has {'a bracket that nothing opened' if token == CLOSE else 'words outside of its brackets'}"
        elif token == CLOSE:
            if opens(before):
                return f"has an empty bracket, '{before})'"
            depth -= 1
        before = token
    if depth:
        return f"leaves {counted(depth, 'bracket')} open"
    if roots > 1:
        return f"has {roots} outermost brackets, and a tree has one"
    leaves = sum(token == LEAF for token in tokens)
    if leaves != words:
        has = "1 leaf" if leaves == 1 else f"{leaves:,} leaves"
        return f"has {has}, and its source {counted(words, 'word')}"
    return None


def repaired(tokens: Iterable[str], words: int) -> list[str]:
    """The tree over so many words that is nearest to these tokens, read from left to right; no token without words.

    What cannot stand where it does is left out: a bracket that nothing opened, a word too much, an empty bracket, the
    end of the outermost bracket before the last word. What is lacking is put in: an outermost bracket, `(TOP`, where
    there is none, words at the end of the innermost bracket that is open, and then the ends of all.

    >>> repaired(["(S", "(NP", "_", ")", ")", "_", "(VP"], 3)
    ['(S', '(NP', '_', ')', '_', '(VP', '_', ')', ')']
    """
    made: list[str] = []
    depth, left = 0, words
    for token in tokens:
        if not left and token != CLOSE:
            continue  # nothing that opens now could hold a word
        if opens(token):
            made.append(token)
            depth += 1
        elif token == CLOSE and made and opens(made[-1]):
            if depth > 1:
                made.pop()
                depth -= 1
        elif token == CLOSE and depth > 1:
            made.append(token)
            depth -= 1
        elif token == LEAF:
            if not depth:
                made.append(f"({TOP}")
                depth = 1
            made.append(token)
            left -= 1
    if not words:
        return []
    if not depth:
        made, depth = [f"({TOP}"], 1
    return made + [LEAF] * left + [CLOSE] * depth


def with_words(tokens: Iterable[str], words: Sequence[str]) -> str:
    """The text of a tree with the words in their places, a bracket within a word as `-LRB-` or `-RRB-`.

    >>> with_words(["(S", "(NP", "_", "_", ")", "_", ")"], ["the", ":)", "sat"])
    '(S (NP the :-RRB-) sat)'
    """
    written, place = "", 0
    for token in tokens:
        if token == LEAF:
            word = words[place]
            for sign, name in ESCAPED.items():
                word = word.replace(sign, name)
            token, place = word, place + 1
        written += token if token == CLOSE or not written else f" {token}"
    return written


def spans(tokens: Sequence[str]) -> list[Span]:
    """The brackets of a tree that are scored, in the order of their ends, as evalb (Sekine & Collins) counts them.

    A bracket around a single word alone is that word's tag, and does not count. Nor does an outermost bracket that is
    called TOP, ROOT (in any case) or nothing, for every tree has it.

    >>> spans(tree_tokens("(ROOT (S (NP (DT the) (NN cat)) (VP (VBD sat))))"))
    [Span(label='NP', first=0, end=2), Span(label='VP', first=2, end=3), Span(label='S', first=0, end=3)]
    """
    found = [(span, depth) for span, depth, plain in _closed(tokens) if not plain]
    return [span for span, depth in found if depth or span.label.upper() not in UNCOUNTED]


def _closed(tokens: Sequence[str]) -> Iterator[tuple[Span, int, bool]]:
    """Each bracket as it closes: its span, how many are around it, and whether it holds a single word alone."""
    begun: list[tuple[int, int]] = []
    words = 0
    for place, token in enumerate(tokens):
        if opens(token):
            begun.append((place, words))
        elif token == LEAF:
            words += 1
        else:
            at, first = begun.pop()
            yield Span(tokens[at][1:], first, words), len(begun), place - at == 2


def right_branching(words: int, label: str = "") -> list[str]:
    """The tree of so many words in which each word stands beside all that come after it, the usual baseline.

    >>> with_words(right_branching(4, "X"), "abcd"), with_words(left_branching(4, "X"), "abcd")
    ('(X a (X b (X c d)))', '(X (X (X a b) c) d)')
    """
    brackets = max(1, words - 1)
    made = [part for _ in range(brackets) for part in (f"({label}", LEAF)]
    return [*made, LEAF, *[CLOSE] * brackets] if words > 1 else [*made, CLOSE][: 3 * words]


def left_branching(words: int, label: str = "") -> list[str]:
    """The tree of so many words in which each word stands beside all that came before it.

    >>> left_branching(2)
    ['(', '_', '_', ')']
    """
    brackets = max(1, words - 1)
    made = [LEAF, *(part for _ in range(words - 1) for part in (LEAF, CLOSE))]
    return [*[f"({label}"] * brackets, *made] if words > 1 else right_branching(words, label)
