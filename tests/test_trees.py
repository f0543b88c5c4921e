"""Trees as brackets: read, checked, repaired whatever comes, scored as evalb does, and made of the heads of CoNLL-U."""

import io
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from thalweg.core.errors import DataError, RecipeError
from thalweg.data import bracketed
from thalweg.data.bracketed import left_branching, repaired, right_branching, spans, tree_flaw, tree_tokens, with_words
from thalweg.data.dependency_brackets import bracketed_sentences, dependency_brackets, projective
from thalweg.measure.brackets import brackets

TOKENS = ("(S", "(NP", "(", ")", "_", "<unknown>")


def drawn_tree(words: int, random: random.Random) -> list[str]:
    """A tree over so many words, with chains of brackets around one word or several."""
    if words == 1 and random.random() < 0.6:
        return ["_"]
    parts, left = [], words
    while left:
        size = random.randint(1, left - (1 if not parts and words > 1 else 0))
        parts.append(drawn_tree(size, random) if size < words or random.random() < 0.3 else ["_"] * size)
        left -= size
    return [random.choice(TOKENS[:3]), *(token for part in parts for token in part), ")"]


def valid(tokens: Sequence[str], words: int) -> bool:
    """Whether tokens are one tree over so many words: a reader of its own, by descent."""

    def read(at: int) -> tuple[int, int]:
        """Where the part that begins here ends, and its words."""
        if tokens[at] == "_":
            return at + 1, 1
        if not tokens[at].startswith("("):
            raise ValueError
        place, total = at + 1, 0
        while tokens[place] != ")":
            place, own = read(place)
            total += own
        if not total:
            raise ValueError
        return place + 1, total

    try:
        return tokens[0].startswith("(") and read(0) == (len(tokens), words)
    except (ValueError, IndexError):
        return False


@pytest.mark.parametrize("seed", range(4))
def test_any_tokens_are_repaired_to_a_tree(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(1000):
        words = draw.randint(1, 7)
        tokens = draw.choices(TOKENS, k=draw.randint(0, 20))
        made = repaired(tokens, words)
        assert valid(made, words), (tokens, made)
        assert tree_flaw(made, words) is None
        assert repaired(made, words) == made
        assert (tree_flaw(tokens, words) is None) == valid(tokens, words), tokens


@pytest.mark.parametrize("seed", range(3))
def test_what_is_a_tree_is_left_as_it_is(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(300):
        words = draw.randint(1, 9)
        tree = drawn_tree(words, draw) if words > 1 else ["(S", "_", ")"]
        tree = tree if tree[0] != "_" else ["(S", *tree, ")"]
        assert repaired(tree, words) == tree
        assert tree_tokens(with_words(tree, [f"w{i}" for i in range(words)])) == tree


def test_trees_of_no_words_are_empty() -> None:
    assert repaired(["(S", "_", ")"], 0) == [] == right_branching(0) == left_branching(0)


@pytest.mark.parametrize(
    ("text", "words", "flaw"),
    [
        ("(S (NP a) b)", 2, None),
        ("(S (NP a) b", 2, "leaves 1 bracket open"),
        ("(S a) b)", 2, "has words outside of its brackets"),
        ("(S a))", 1, "has a bracket that nothing opened"),
        ("(S a) (S b)", 2, "has 2 outermost brackets, and a tree has one"),
        ("(S a (NP))", 1, "has an empty bracket, '(NP)'"),
        ("(S a b)", 3, "has 2 leaves, and its source 3 words"),
        ("(S a)", 2, "has 1 leaf, and its source 2 words"),
        ("", 1, "is empty"),
    ],
)
def test_flaws_are_named(text: str, words: int, flaw: str | None) -> None:
    assert tree_flaw(tree_tokens(text), words) == flaw


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_example_of_evalb() -> None:
    """Two brackets of three are right, one of them twice; tags and the outermost TOP are not counted."""
    wanted = spans(tree_tokens("(TOP (S (NP (NP (D the) (N man))) (VP (V sees) (NP (D a) (N dog)))))"))
    given = spans(tree_tokens("(TOP (S (NP (NP (D the) (N man))) (VP (V sees) (D a)) (N dog)))"))
    assert Counter(wanted)[("NP", 0, 2)] == 2
    found = brackets([given], [[wanted]])
    assert (found.matched[0], found.given[0], found.wanted[0]) == (3, 4, 5)  # S and both NP; VP is too short
    assert (found.precision, found.recall) == (0.75, 0.6)
    assert found.f1 == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert brackets([given], [[given]]).f1 == 1


def test_brackets_of_all_sentences_are_counted_together() -> None:
    draw = random.Random(3)
    trees = [[drawn_tree(6, draw), drawn_tree(6, draw)] for _ in range(50)]
    found = brackets([spans(one) for one, _ in trees], [[spans(other)] for _, other in trees])
    matched = sum(len(list((Counter(spans(a)) & Counter(spans(b))).elements())) for a, b in trees)
    assert found.precision == matched / sum(len(spans(a)) for a, _ in trees)
    assert found.recall == matched / sum(len(spans(b)) for _, b in trees)
    assert found.take(np.array([0, 0])).matched.tolist() == [found.matched[0]] * 2
    plain = brackets([spans(a) for a, _ in trees], [[spans(b)] for _, b in trees], labelled=False)
    assert (plain.matched >= found.matched).all()
    assert plain.matched.sum() > found.matched.sum()


def test_the_nearest_of_several_references_counts() -> None:
    one, other = [("NP", 0, 2)], [("NP", 1, 3)]
    assert brackets([other], [[one, other]]).f1 == 1
    assert np.isnan(brackets([[]], [[[]]]).f1)
    with pytest.raises(RecipeError, match=r"1 lists for 1 outputs, 1 of them empty. Give references=\[\[brackets\]"):
        brackets([one], [[]])


@pytest.mark.parametrize("words", [1, 2, 3, 7])
def test_branching_trees_are_trees(words: int) -> None:
    right, left = spans(right_branching(words, "X")), spans(left_branching(words, "X"))
    assert tree_flaw(right_branching(words), words) is None is tree_flaw(left_branching(words), words)
    assert {(one.first, one.end) for one in right} == {(i, words) for i in range(words - 1)}
    assert {(one.first, one.end) for one in left} == {(0, i) for i in range(2, words + 1)}
    assert len(spans(right_branching(words))) == max(0, words - 2)  # an outermost bracket without a label is not scored


# --- from heads -------------------------------------------------------------------------------------------------------


def conllu(*sentences: Sequence[tuple[str, object, str]]) -> io.StringIO:
    rows = [
        "".join(f"{i}\t{word}\t_\t_\t_\t_\t{head}\t{name}\t_\t_\n" for i, (word, head, name) in enumerate(one, 1))
        for one in sentences
    ]
    return io.StringIO("\n".join(rows))


def drawn_heads(words: int, draw: random.Random) -> list[int]:
    """The heads of a random tree, projective or not."""
    order = draw.sample(range(1, words + 1), words)
    heads = {order[0]: 0} | {word: draw.choice(order[:place]) for place, word in enumerate(order) if place}
    return [heads[word] for word in range(1, words + 1)]


def reached(heads: Sequence[int], word: int) -> set[int]:
    """A word and all below it."""
    found = {word}
    while more := {i for i, head in enumerate(heads, 1) if head in found} - found:
        found |= more
    return found


@pytest.mark.parametrize("seed", range(3))
def test_brackets_are_the_subtrees_of_heads(seed: int) -> None:
    draw, lifted = random.Random(seed), 0
    for _ in range(150):
        words = draw.randint(1, 8)
        heads = drawn_heads(words, draw)
        tree = projective(heads)
        gaps = [below for word in range(1, words + 1) if max(below := reached(heads, word)) - min(below) >= len(below)]
        assert bool(gaps) == (tree.lifted > 0)  # a projective tree is left as it is
        assert not gaps or tree.heads != heads
        tokens = dependency_brackets(tree.heads, [f"r{word}" for word in range(1, words + 1)])
        assert valid(tokens, words)
        found = {span for span, _, _ in bracketed._closed(tokens)}
        subtrees = {word: reached(tree.heads, word) for word in range(1, words + 1)}
        assert found == {
            (f"r{word}", min(below) - 1, max(below)) for word, below in subtrees.items() if len(below) > 1 or words == 1
        }
        lifted += tree.lifted
    assert lifted > 50


def test_crossing_arcs_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    from thalweg.core.notices import collecting

    crossing = [("a", 0, "root"), ("hearing", 1, "subj"), ("is", 1, "x:y"), ("on", 2, "nmod:of")]
    with collecting() as said:
        frame = bracketed_sentences(conllu(crossing, [("go", 0, "root")]))
    assert frame["tree"].tolist() == ["(root a hearing is on)", "(root go)"]
    assert frame.index.tolist() == [1, 6]
    (one,) = said
    assert "1 of 2 trees have arcs that cross; 1 word of them is attached to the head of the head" in one


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ([("a", 0, "root"), ("b", "x", "obj")], "line 2, has the head 'x' in a sentence of 2 words. Column 7 has"),
        ([("a", 0, "root"), ("b", 3, "obj")], "line 2, has the head '3' in a sentence of 2 words"),
        ([("a", 0, "root"), ("b", 0, "root")], "that begins in line 1 has 2 roots .head 0., and a tree has one"),
        ([("a", 2, "x"), ("b", 1, "y")], "that begins in line 1 has 0 roots"),
        ([("a", 0, "root"), ("b", 3, "x"), ("c", 2, "y")], "line 1 has a circle of heads, which word 2 depends on"),
    ],
)
def test_heads_that_are_no_tree_are_refused(sentence: list[tuple[str, object, str]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        bracketed_sentences(conllu(sentence))


def test_other_columns_hold_no_heads() -> None:
    with pytest.raises(DataError, match="has 2 columns, and heads stand in CoNLL-U, whose ten columns"):
        bracketed_sentences(io.StringIO("The DET\ncat NOUN\n"))
