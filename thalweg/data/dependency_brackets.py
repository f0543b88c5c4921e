r"""From the heads of CoNLL-U to bracketed trees: a bracket for each word that others depend on, around all of these.

The bracket of a head holds the words of its subtree in their order, and is called by the head's relation without what
stands behind a colon (`acl:relcl` is `acl`); a word on which none depends stands bare. The subtree of a head has no gap
exactly where no arc crosses another (the tree is projective). An arc that does is lifted: its word is attached to the
head of its head, the shortest such arc first, until none is left (Nivre & Nilsson, "Pseudo-Projective Dependency
Parsing", 2005, section 2).
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from thalweg.core.errors import DataError
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.bracketed import CLOSE, LEAF, with_words
from thalweg.data.conll_lines import NUMBER, Lines, read_lines, read_text
from thalweg.data.places import LINE

FORM, HEAD, RELATION = 2, 7, 8
NAMES = ("sentence", "tree")
"""What the two sides of such a pair are called."""
ENDINGS = (".conllu", ".conllu.gz")


class Projective(NamedTuple):
    """Heads without crossing arcs, numbered from 1, 0 for the root, and how many words were attached anew."""

    heads: list[int]
    lifted: int


def is_conllu(path: Any) -> bool:
    """Whether a path is called as CoNLL-U is.

    >>> is_conllu("train.conllu.gz"), is_conllu("train.tsv")
    (True, False)
    """
    return isinstance(path, str | Path) and str(path).lower().endswith(ENDINGS)


def bracketed_sentences(path: Any) -> pd.DataFrame:
    r"""The sentences of a file in CoNLL-U (also `.gz`) and their trees, by the line each begins on.

    >>> import io
    >>> rows = [("A", 2, "det"), ("cat", 3, "nsubj"), ("sleeps", 0, "root")]
    >>> lines = [f"{i}\t{word}\t_\t_\t_\t_\t{head}\t{of}\t_\t_\n" for i, (word, head, of) in enumerate(rows, 1)]
    >>> bracketed_sentences(io.StringIO("".join(lines))).loc[1].tolist()
    ['A cat sleeps', '(root (nsubj A cat) sleeps)']

    How many trees had crossing arcs is said. Raises `DataError` for what is no CoNLL-U, with the line, and for heads
    that are no tree.
    """
    found = read_lines(*read_text(path))
    if not found.universal:
        raise DataError(
            f"{found.name} has {counted(found.width, 'column')}, and heads stand in CoNLL-U, whose ten columns begin "
            "with the word's number. Give such a file, or pairs of a sentence and its tree."
        )
    sentences, relations = sentences_in(found)["sentence"], found.column(RELATION)
    rows, crossing, lifted = [], 0, 0
    for sentence, heads, names, begin in zip(sentences, _heads(found), relations, found.begins, strict=True):
        if (flaw := _flaw(heads)) is not None:
            raise DataError(
                f"{found.name}: the sentence that begins in line {found.lines[begin]} {flaw}. Column {HEAD} has the "
                "number of the word that each depends on, and 0 once."
            )
        tree = projective(heads)
        crossing, lifted = crossing + (tree.lifted > 0), lifted + tree.lifted
        labels = [name.partition(":")[0] for name in names]
        rows.append((sentence, with_words(dependency_brackets(tree.heads, labels), sentence.split())))
    if crossing:
        notice(
            f"{found.name}: {crossing:,} of {counted(len(rows), 'tree')} have arcs that cross; "
            f"{counted(lifted, 'word')} of them {'is' if lifted == 1 else 'are'} attached to the head of the head."
        )
    return pd.DataFrame(rows, columns=list(NAMES), index=sentences.index)


def sentences_in(found: Lines, column: str = NAMES[0]) -> pd.DataFrame:
    r"""The sentences of a file in CoNLL, blanks between their words, by the line each begins on.

    A blank within a word, which CoNLL-U allows (10 000), is left out.

    >>> sentences_in(read_lines("a.conllu", "A DET\ncat NOUN\n\n"))["sentence"].tolist()
    ['A cat']
    """
    words = found.column(FORM if found.universal else 1)
    sentences = [" ".join("".join(word.split()) for word in sentence) for sentence in words]
    return pd.DataFrame({column: sentences}, index=pd.Index([found.lines[begin] for begin in found.begins], name=LINE))


def dependency_brackets(heads: Sequence[int], relations: Sequence[str]) -> list[str]:
    """The tokens of the tree of a sentence whose arcs do not cross; heads are numbered from 1, 0 for the root.

    >>> " ".join(dependency_brackets([2, 0, 2], ["nsubj", "root", "obj"]))
    '(root _ _ _ )'
    """
    below: list[list[int]] = [[] for _ in range(len(heads) + 1)]
    for word, head in enumerate(heads, 1):
        below[head].append(word)
    made: list[str] = []
    stack: list[int | str] = [below[0][0]]
    while stack:
        part = stack.pop()
        if isinstance(part, str):
            made.append(part)
        elif below[part] or not heads[part - 1]:
            within: list[int | str] = [word for word in below[part] if word < part]
            within += [LEAF, *(word for word in below[part] if word > part), CLOSE]
            made.append(f"({relations[part - 1]}")
            stack += within[::-1]
        else:
            made.append(LEAF)
    return made


def projective(heads: Sequence[int]) -> Projective:
    """The same heads where no arc crosses another; else with the words of crossing arcs lifted.

    >>> projective([0, 4, 1, 1])  # the arc from 4 to 2 passes over 3, which does not depend on 4
    Projective(heads=[0, 1, 1, 1], lifted=1)
    """
    made, lifted = list(heads), 0
    while (word := _crossing(made)) is not None:
        made[word - 1] = made[made[word - 1] - 1]
        lifted += 1
    return Projective(made, lifted)


def _crossing(heads: Sequence[int]) -> int | None:
    """The word of the shortest arc that passes over one that does not depend on its head, None where none does."""
    above = [_above(heads, word) for word in range(len(heads) + 1)]
    arcs = [(abs(word - head), word, head) for word, head in enumerate(heads, 1) if head]
    for _, word, head in sorted(arcs):
        low, high = min(word, head) + 1, max(word, head)
        if any(head not in above[between] for between in range(low, high)):
            return word
    return None


def _above(heads: Sequence[int], word: int) -> set[int]:
    """The words that one depends on, directly or not."""
    found: set[int] = set()
    while word and (word := heads[word - 1]):
        found.add(word)
    return found


def _heads(found: Lines) -> list[list[int]]:
    """The heads of each sentence.

    Raises `DataError` for what is no number of a word, with its line.
    """
    begins = [*found.begins, len(found.cells)]
    heads = []
    for begin, end in pairwise(begins):
        own = []
        for row, line in zip(found.cells[begin:end], found.lines[begin:end], strict=True):
            cell = row[HEAD - 1]
            if not NUMBER.fullmatch(cell) or int(cell) > end - begin:
                raise DataError(
                    f"{found.name}, line {line}, has the head {cell!r} in a sentence of "
                    f"{counted(end - begin, 'word')}. Column {HEAD} has the number of a word, or 0 for the root."
                )
            own.append(int(cell))
        heads.append(own)
    return heads


def _flaw(heads: Sequence[int]) -> str | None:
    """What makes heads no tree."""
    if (roots := sum(not head for head in heads)) != 1:
        return f"has {counted(roots, 'root')} (head 0), and a tree has one"
    for word in range(1, len(heads) + 1):
        at = word
        for _ in heads:
            at = heads[at - 1] if at else 0
        if at:
            return f"has a circle of heads, which word {word} depends on"
    return None
