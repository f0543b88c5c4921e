"""The studies of trees and of sets: their tasks are what they say, and without its effect each comes out false."""

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from thalweg.core.errors import RecipeError
from thalweg.data.bracketed import tree_flaw, tree_tokens
from thalweg.recipes import decoded
from thalweg.study import multi_label, run_study, tree
from thalweg.study.expressions import expressions
from thalweg.study.label_worlds import KEPT, SHARES, bundles_of, texts_with_labels
from thalweg.study.multi_label import ARMS, DEPENDENT, INDEPENDENT, RANDOM, SEQUENCE, SIGMOIDS
from thalweg.study.tree import HELD, LENGTHS, LONGER, REPAIRED
from thalweg.training import interval

SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "^"}


def passed(checks: Sequence[Any]) -> list[bool]:
    return [check.passed for check in checks]


def around(value: float, noise: float = 0.01, seed: int = 1) -> np.ndarray:
    return value + noise * np.random.default_rng(seed).normal(size=5)


def parsed(node: ast.AST) -> str:
    """The brackets of an expression as Python reads it."""
    if isinstance(node, ast.Name):
        return node.id
    assert isinstance(node, ast.BinOp)
    sign = SIGNS[type(node.op)]
    return f"({sign} {parsed(node.left)} {sign} {parsed(node.right)})"


def test_the_trees_of_expressions_are_those_that_python_reads() -> None:
    frame = expressions(150, (1, 9), seed=3)
    assert frame["source"].nunique() == 150
    for source, target in zip(frame["source"], frame["target"], strict=True):
        assert target == parsed(ast.parse(source.replace("^", "**"), mode="eval").body)
    free = expressions(60, (4, 6), seed=3, determined=False)
    right = 0
    for source, target in zip(free["source"], free["target"], strict=True):
        assert tree_flaw(tree_tokens(target), len(source.split())) is None
        right += target == parsed(ast.parse(source.replace("^", "**"), mode="eval").body)
    assert 0 < right < 15


def test_labels_depend_on_each_other_in_bundles_and_not_apart() -> None:
    bundles = bundles_of(5)
    named = [{f"l{label:02}" for label in bundle} for bundle in bundles.tolist()]
    frame = texts_with_labels("bundles", 2000, 5, 1)
    first = 0
    for source, target in zip(frame["source"], frame["target"], strict=True):
        cues = [word for word in source.split() if word[0] == "b"]
        likely = max(cues, key=cues.count)
        assert sorted(map(cues.count, set(cues))) == [1, 1, 2]
        assert set(target.split(";")) in [named[int(cue[1:])] for cue in cues]
        first += set(target.split(";")) == named[int(likely[1:])]
    assert first / 2000 == pytest.approx(SHARES[0], abs=0.035)
    frame = texts_with_labels("apart", 2000, 5, 1, shuffled=True)
    kept = []
    for source, target in zip(frame["source"], frame["target"], strict=True):
        cued = [int(word[1:]) for word in source.split() if word[0] == "c"]
        given = {int(label[1:]) for label in target.split(";") if label}
        assert given <= set(cued)
        kept.append([label in given for label in sorted(cued)])
    assert np.mean(kept) == pytest.approx(KEPT, abs=0.02)
    assert np.abs(np.corrcoef(np.array(kept).T)[np.triu_indices(4, 1)]).max() < 0.07
    assert pytest.approx(SHARES[0], abs=0.01) == KEPT**4  # as much can be known in both


def scores(unlabelled: float, whole: float, labelled: float = 0.7) -> tree.Scores:
    branching = np.stack([around(0.3), around(0.4)], 1)
    return tree.Scores(around(labelled), around(unlabelled, seed=2), around(0.5), around(whole, 0.001), branching)


def test_tree_decides_by_brackets_by_trees_and_by_what_holding_brings() -> None:
    def found(unlabelled: float, whole: float, held: float) -> tree.Found:
        plain = {
            (way, beam, name): scores(unlabelled, whole)
            for way in (HELD, REPAIRED)
            for beam in (1, 5)
            for name in LENGTHS
        }
        return plain | {(HELD, 5, LONGER): scores(unlabelled, whole, held + 0.02 * np.random.default_rng(4).normal())}

    assert passed(tree.decide(found(0.9, 0.99, 0.8))) == [True] * 3
    assert passed(tree.decide(found(0.6, 0.5, 0.5))) == [False] * 3
    assert tree.decide(found(0.9, 0.99, 0.8))[0].value == pytest.approx(0.5, abs=0.02)  # ahead of the better side


def test_tree_is_false_where_operators_decide_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    short = dict(zip(LENGTHS, ((1, 3), (3, 4), (4, 5)), strict=True))
    monkeypatch.setattr(tree, "LENGTHS", short)
    monkeypatch.setattr(decoded, "BESIDE", 2)
    monkeypatch.setattr(interval, "METRIC_DRAWS", 50)  # the study reads no interval within a seed
    study = run_study("tree", seeds=2, epochs=1, train=40, width=6, judged=4, determined=False)
    assert not study.held
    assert not study.checks[0].passed
    assert {row[:3] for row in study.rows} == {
        (way, beam, name) for way in (HELD, REPAIRED) for beam in (1, 5) for name in LENGTHS
    }
    held = [row[6] for row in study.rows if row[0] == HELD]
    assert held == [1.0] * 6  # whatever the network says


def test_multi_label_decides_by_whole_sets_by_single_labels_and_by_order() -> None:
    def found(joint: float, apart: float, hamming: float, at_random: float) -> multi_label.Found:
        def of(exact: float, wrong: float, seed: int = 1) -> multi_label.Scores:
            return multi_label.Scores(around(exact, seed=seed), around(0.5), around(wrong, 0.001, seed))

        return {
            DEPENDENT: {SEQUENCE: of(joint, hamming, 2), RANDOM: of(joint, hamming), SIGMOIDS: of(0.1, 0.2)},
            INDEPENDENT: {SEQUENCE: of(apart, 0.1, 2), RANDOM: of(at_random, 0.1), SIGMOIDS: of(0.4, 0.1)},
        }

    assert passed(multi_label.decide(found(0.4, 0.4, 0.22, 0.2))) == [True] * 4
    assert passed(multi_label.decide(found(0.1, 0.5, 0.2, 0.6))) == [False] * 4
    assert passed(multi_label.decide(found(0.4, 0.3, 0.18, 0.2))) == [True, False, False, True]


def test_multi_label_is_false_where_all_arms_are_one() -> None:
    arms = {SEQUENCE: SIGMOIDS, RANDOM: SIGMOIDS}
    study = run_study("multi-label", seeds=2, epochs=1, train=40, width=4, judged=20, arms=arms)
    assert [check.value for check in study.checks] == [0.0] * 4
    assert not any(passed(study.checks)[:2])
    assert {row[1] for row in study.rows} == set(ARMS)
    with pytest.raises(RecipeError, match="no arm .sigmoid."):
        run_study("multi-label", arms={"sigmoid": SIGMOIDS})
