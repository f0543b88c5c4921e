"""Expressions whose tree follows from the precedence of their operators, as pairs of words and brackets.

`a + b * c ^ d` is `(+ a + (* b * (^ c ^ d)))`: `^` binds before `*` and `/`, these before `+` and `-`; `^` groups from
the right, the others from the left.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from thalweg.data.bracketed import CLOSE, LEAF, with_words

LEVELS = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 3}
NAMES = "abcdefgh"

Parted = Callable[[Sequence[str]], list[str]]
"""From the operators of a part to the tokens of its tree."""


def tree_of(operators: Sequence[str]) -> list[str]:
    """The tokens of the tree of an expression with these operators, a name before, between and behind them.

    >>> with_words(tree_of(["+", "*", "^"]), "a+b*c^d")
    '(+ a + (* b * (^ c ^ d)))'
    >>> with_words(tree_of(["-", "-"]), "a-b-c")
    '(- (- a - b) - c)'
    """
    if not operators:
        return [LEAF]
    lowest = min(LEVELS[one] for one in operators)
    places = [place for place, one in enumerate(operators) if LEVELS[one] == lowest]
    return _joined(operators, places[0] if lowest == LEVELS["^"] else places[-1], tree_of)


def random_tree(operators: Sequence[str], random: np.random.Generator) -> list[str]:
    """The tokens of a tree over the same words that their operators do not decide.

    >>> len(random_tree(["+", "*"], np.random.default_rng(0)))
    9
    """
    if not operators:
        return [LEAF]
    return _joined(operators, int(random.integers(len(operators))), lambda part: random_tree(part, random))


def expressions(count: int, operators: tuple[int, int], seed: int, *, determined: bool = True) -> pd.DataFrame:
    """Expressions with so many operators, from and up to, which is not reached, and their trees: those of precedence,
    or any. No expression comes twice.

    >>> expressions(2, (2, 3), seed=0)["source"].str.split().map(len).tolist()
    [5, 5]
    """
    random = np.random.default_rng(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        signs = random.choice(list(LEVELS), int(random.integers(*operators))).tolist()
        names = random.choice(list(NAMES), len(signs) + 1).tolist()
        words = [word for pair in zip(names, [*signs, ""], strict=True) for word in pair][:-1]
        tokens = tree_of(signs) if determined else random_tree(signs, random)
        rows[" ".join(words)] = with_words(tokens, words)
    return pd.DataFrame(list(rows.items()), columns=["source", "target"])


def _joined(operators: Sequence[str], at: int, parted: Parted) -> list[str]:
    """The tree whose outermost operator is this one."""
    left, right = parted(operators[:at]), parted(operators[at + 1 :])
    return [f"({operators[at]}", *left, LEAF, *right, CLOSE]
