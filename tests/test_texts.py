"""Texts against their references: edits, exact matches, and the scores of sacrebleu."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import RecipeError
from thalweg.measure.texts import bleu, chrf, edits, exact

TEXT = st.text("ab ", max_size=6)


def distance(left: str, right: str) -> int:
    """Levenshtein's distance, as it is defined."""
    if not left or not right:
        return len(left) + len(right)
    rest = distance(left[1:], right[1:])
    return rest if left[0] == right[0] else 1 + min(rest, distance(left[1:], right), distance(left, right[1:]))


@settings(deadline=None)
@given(TEXT, st.lists(TEXT, min_size=1, max_size=2))
def test_edits_are_those_to_the_nearest_reference(text: str, references: list[str]) -> None:
    found = edits([text], [references])
    nearest = min(distance(text, reference) for reference in references)
    assert found.distance.tolist() == [nearest]
    assert found.length[0] == max(len(one) for one in references if distance(text, one) == nearest)


def test_of_words_whole_words_are_changed() -> None:
    found = edits(["the big cat", "a b"], [["the cat sat", "one"], ["a b"]], "words")
    assert (found.distance.tolist(), found.length.tolist()) == ([2, 0], [3, 2])
    assert edits(["x y"], [["x z"]], "words").rate == 0.5
    assert np.isnan(edits([""], [[""]]).rate)


def test_scores_are_those_of_sacrebleu() -> None:
    texts = ["the cat sat on a mat", "dogs bark at night", "it rains all the time"]
    first = ["the cat sat on the mat", "dogs bark by night", "it rains all the time"]
    references = [[first[0], "a cat was sitting on the mat"], [first[1]], [first[2]]]
    streams = [first, [references[0][1], None, None]]
    for ours, theirs in ((bleu, sacrebleu.corpus_bleu), (chrf, sacrebleu.corpus_chrf)):
        found = ours(texts, references)
        assert found.value == pytest.approx(theirs(texts, streams).score)
        assert 0 <= found.low <= found.value <= found.high <= 100
        assert found == ours(texts, references)  # the interval is drawn from a seed
    assert "tok:13a" in bleu(texts, references).signature
    assert exact(texts, references).tolist() == [False, False, True]


def test_one_text_has_no_spread_and_none_no_score() -> None:
    assert bleu(["a b c d"], [["a b c d"]])[:3] == pytest.approx((100.0, 100.0, 100.0))
    assert np.isnan(chrf([], []).value)


def test_a_resample_without_any_match_has_a_score_too() -> None:
    texts, references = ["xy", "cd", ""], [["ab"], ["cd"], [""]]
    for score, theirs in ((bleu, sacrebleu.corpus_bleu), (chrf, sacrebleu.corpus_chrf)):
        found = score(texts, references)
        assert found.value == pytest.approx(theirs(texts, [[one for (one,) in references]]).score)
        assert 0 <= found.low <= found.value <= found.high <= 100


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(RecipeError, match="there are 1 for 2 outputs"):
        exact(["a", "b"], [["a"]])
    with pytest.raises(RecipeError, match="output 0 has none"):
        edits(["a"], [[]])
    with pytest.raises(RecipeError, match="unit='word' is not known"):
        edits(["a"], [["a"]], "word")


def test_an_interval_where_few_texts_share_anything() -> None:
    outputs, references = ["abc", *["zzz"] * 3], [["abc"], *[["abc"]] * 3]
    value, low, high, signature = chrf(outputs, references)
    assert 0 <= low < value < high <= 100
    assert "bs:1000|seed:12345" in signature
