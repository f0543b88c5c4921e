"""Beams that hold what is required, groups of beams that differ, and the tree of what was kept."""

from typing import Any

import pytest
from decoders import (
    ALL,
    BOTH,
    LONGEST,
    NEVER,
    fixed,
    grams,
    holds,
    logs_of,
    plain_score,
    ranked,
    recaller,
    same,
    same_outputs,
    searched,
    searched_by_banks,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.tokens import END
from thalweg.decode import BeamTree, Hypothesis, beam_search
from thalweg.decode.finished import Place, _dealt

# --- required: a narrow beam keeps its word ---


@given(st.integers(0, 99), st.integers(1, 6), st.sampled_from([[4], [1, 4, 5], [(4, 5), 1], [(5, 5), (4, 1)]]))
@settings(max_examples=8, deadline=None)
def test_a_narrow_beam_holds_what_is_required(seed: int, width: int, required: list[Any]):
    model, inputs = grams(seed=seed)
    model.table[:, :, :, 4] -= 7  # far from likely
    needed = sum(len(one) if isinstance(one, tuple) else 1 for one in required)
    for own in beam_search(model, inputs, width=width, nbest=width, required=required, longest=needed + 2):
        for one in own:
            assert one.finished
            assert all(holds(one.tokens, entry if isinstance(entry, tuple) else (entry,)) for entry in required)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("required", [[(4, 5), (5, 4)], [(4, 4), (4, 5, 4), 5], [(5, 5, 4), (5, 4)]], ids=str)
@pytest.mark.parametrize("spare", [0, 1, 4])
def test_a_narrow_beam_holds_phrases_that_share_tokens(width: int, required: list[Any], spare: int):
    model, inputs = grams(seed=width)
    model.table[:, :, :, 1] += 9  # another token is always likelier
    phrases = [one if isinstance(one, tuple) else (one,) for one in required]
    for groups in (1, 2):
        for (best,) in beam_search(
            model,
            inputs,
            width=width * groups,
            groups=groups,
            required=required,
            longest=sum(map(len, phrases)) + spare,
        ):
            assert best.finished
            assert all(holds(best.tokens, phrase) for phrase in phrases)


@pytest.mark.parametrize("width", [1, 2, 4, 7])
@pytest.mark.parametrize("phrases", [[(4,)], [(1,), (4,), (5,)], [(4, 5), (1,)], [(5, 5)]], ids=str)
def test_a_beam_is_shared_among_banks(width: int, phrases: list[tuple[int, ...]]):
    model, inputs = grams(seed=width)
    required = [phrase if len(phrase) > 1 else phrase[0] for phrase in phrases]
    found = beam_search(model, inputs, width=width, nbest=width, required=required, longest=5)
    for example, own in enumerate(found):
        finished = searched_by_banks(logs_of(model, inputs, example), width, 5, phrases)
        same(own, ranked(finished, plain_score(0.6))[:width])


def test_an_end_that_must_wait_takes_no_place_among_the_best():
    model, inputs = fixed([9.0, 1.0, 9.0, 9.0, 0.0, 0.5])
    (found,) = beam_search(model, inputs, width=1, required=[4, 5], longest=4)
    assert found[0].tokens == (1, 1, 5, 4)


def test_required_with_exactly_room_for_it():
    model, inputs = grams()
    found = beam_search(model, inputs, width=2, nbest=2, required=[(4, 5), 1], longest=3)
    for own in found:
        assert {one.tokens for one in own} <= {(4, 5, 1), (1, 4, 5)}
        assert own[0].finished


def test_what_stands_in_the_prefix_need_not_come_again():
    model, inputs = grams()
    found = beam_search(model, inputs, width=ALL, nbest=ALL, prefix=[4, 5], required=[(4, 5)], longest=LONGEST)
    expected = beam_search(model, inputs, width=ALL, nbest=ALL, prefix=[4, 5], longest=LONGEST)
    assert found == expected


# --- diverse groups ---


@BOTH
@pytest.mark.parametrize(("width", "groups"), [(2, 2), (4, 2), (6, 3)])
@pytest.mark.parametrize("diversity", [0.0, 0.7, 3.0])
def test_groups_search_in_turn(made: Any, width: int, groups: int, diversity: float):
    model, inputs = made()
    found = beam_search(
        model, inputs, width=width, nbest=width, groups=groups, diversity_penalty=diversity, longest=5, shortest=5
    )
    for example, own in enumerate(found):
        logs = logs_of(model, inputs, example)
        by_group = searched(logs, width, 5, shortest=5, groups=groups, diversity=diversity)
        expected = {}
        for group, finished in enumerate(by_group):
            for tokens, score, _ in ranked(finished, plain_score(0.6)):
                expected.setdefault(tokens, (score, group))
        assert {one.tokens for one in own} <= set(expected)
        best = {tokens: score for tokens, (score, _) in expected.items()}
        assert own[0].score == pytest.approx(max(best.values()), abs=1e-12)
        if diversity == 0:  # all groups find the same
            assert len(own) == width // groups


def test_the_first_group_is_a_search_of_its_own():
    model, inputs = recaller()
    diverse = beam_search(model, inputs, width=6, nbest=6, groups=2, longest=5, shortest=2)
    alone = beam_search(model, inputs, width=3, nbest=3, longest=5, shortest=2)
    for own, plain in zip(diverse, alone, strict=True):
        same_outputs([one for one in own if one.group == 0], plain)


@pytest.mark.parametrize(
    ("nbest", "expected"),
    [(1, "a"), (2, "ab"), (3, "abf"), (4, "abcf"), (5, "abcdf"), (6, "abdefg"), (7, "abcdefg"), (9, "abcdefg")],
)
def test_each_group_has_its_share_of_the_outputs(nbest: int, expected: str):
    # "b" is the first's second and the second's first: of nbest=6 the first group gives it, and the second gives "e"
    groups = [{"a": -1.0, "b": -2.0, "c": -3.0}, {"b": -2.0, "d": -4.0, "e": -5.0}, {"f": -6.0, "g": -9.0, "a": -9.5}]
    ranked = [
        [Place(Hypothesis((ord(name),), score, score, group=group), 0) for name, score in own.items()]
        for group, own in enumerate(groups)
    ]
    assert "".join(chr(place.hypothesis.tokens[0]) for place in _dealt(ranked, nbest)) == expected


def test_a_strong_penalty_makes_groups_differ_at_each_token():
    model, inputs = grams()
    for own in beam_search(
        model, inputs, width=3, nbest=3, groups=3, diversity_penalty=99.0, longest=4, shortest=4, length_penalty=0.0
    ):
        assert sorted(one.group for one in own) == [0, 1, 2]
        for tokens in zip(*(one.tokens for one in own), strict=True):
            assert len(set(tokens)) == 3
        plain = beam_search(model, inputs, width=3, longest=4, shortest=4, length_penalty=0.0)
        assert own[0].score <= max(one[0].score for one in plain)


# --- the tree ---


@BOTH
@pytest.mark.parametrize("groups", [1, 2])
def test_the_tree_holds_what_was_kept(made: Any, groups: int):
    model, inputs = made()
    trees: list[BeamTree] = []
    found = beam_search(model, inputs, width=4, nbest=2, groups=groups, longest=5, trees=trees)
    assert len(trees) == len(found)
    for example, (own, tree) in enumerate(zip(found, trees, strict=True)):
        logs = logs_of(model, inputs, example)
        assert len(tree.ends) == len(own)
        for one, end in zip(own, tree.ends, strict=True):
            assert end is not None
            path = tree.path(end)
            assert tuple(node.token for node in path) == (*one.tokens, END)
            assert path[-1].log_likelihood == one.log_likelihood
            assert {node.group for node in path} == {one.group}
        for level, nodes in enumerate(tree.levels):
            assert 0 < len(nodes) <= 4
            for place, node in enumerate(nodes):
                path = tree.path((level, place))
                assert len(path) == level + 1
                assert not any(before.finished for before in path[:-1])
                written = tuple(one.token for one in path)
                total = sum(logs(written[:at])[token] for at, token in enumerate(written))
                assert node.log_likelihood == pytest.approx(total, abs=1e-12)


def test_the_tree_of_what_never_began():
    model, inputs = fixed([NEVER] * 6)
    trees: list[BeamTree] = []
    beam_search(model, inputs, trees=trees, longest=3)
    assert trees == [BeamTree([], [None])]
