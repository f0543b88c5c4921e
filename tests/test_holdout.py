"""Hold-outs and folds: every class everywhere in its share, no group in two splits, no future in the past."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from thalweg.core.arrays import ArraySource
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.folds import deal_groups, folds, time_edges
from thalweg.core.notices import collecting
from thalweg.data import HeldOut, hold_out, load_table


class Known(ArraySource):
    """Examples of which only this is known."""

    facts: dict[str, Any]

    def meta(self, ids: Any) -> dict[str, Any]:
        return {name: np.asarray(values)[np.asarray(ids)] for name, values in self.facts.items()}


def known(**facts: Any) -> Known:
    source = Known((torch.arange(len(next(iter(facts.values())))),), None)
    object.__setattr__(source, "facts", facts)
    return source


def counts(label: Any, ids: Any) -> dict[Any, int]:
    names, count = np.unique(np.asarray(label)[ids], return_counts=True)
    return dict(zip(names.tolist(), count.tolist(), strict=True))


def is_partition(parts: Any, n: int) -> bool:
    return sorted(np.concatenate(list(parts)).tolist()) == list(range(n))


# --- by class ---------------------------------------------------------------------------------------------------------


def test_every_split_holds_every_class_in_its_share() -> None:
    label = np.repeat(["rare", "some", "most"], [11, 37, 152])
    held = hold_out(known(label=label), seed=1)
    assert is_partition(held, 200)
    assert [len(ids) for ids in held] == [120, 40, 40]
    for ids, share in zip(held, (0.6, 0.2, 0.2), strict=True):
        for name, count in counts(label, ids).items():
            assert abs(count - share * (label == name).sum()) <= 1, (name, count)


def test_folds_are_as_stratified_as_those_of_scikit_learn() -> None:
    label = np.random.default_rng(0).choice(["a", "b", "c"], 101, p=[0.7, 0.2, 0.1])
    ours = [counts(label, judged) for _, judged in folds(known(label=label), 7, seed=3)]
    theirs = [counts(label, judged) for _, judged in StratifiedKFold(7).split(label, label)]
    for name in "abc":
        assert sorted(fold.get(name, 0) for fold in ours) == sorted(fold.get(name, 0) for fold in theirs)


@settings(deadline=None)
@given(st.integers(5, 60), st.integers(1, 6), st.integers(0, 99))
def test_every_class_is_trained_on_and_no_split_is_empty(n: int, classes: int, seed: int) -> None:
    label = np.random.default_rng(seed).integers(0, classes, n)
    source = known(label=label)
    if n - len(np.unique(label)) < 2:
        refused(DataError, lambda: hold_out(source, seed=seed), "too few")
        return
    with collecting():
        held = hold_out(source, seed=seed)
    assert is_partition(held, n)
    assert min(map(len, held)) > 0
    assert set(label[held.train]) == set(label)


def test_a_class_of_one_member_is_trained_on_and_said() -> None:
    label = ["once"] + ["a", "b"] * 17
    with collecting() as notices:
        for seed in range(5):
            assert 0 in hold_out(known(label=label), seed=seed).train
            assert all(0 in train for train, _ in folds(known(label=label), 4, seed=seed))
    assert notices == ["Classes with one example are always trained on, never judged: 'once'."]


def test_the_seed_decides() -> None:
    label = ["a", "b"] * 17
    for split in (
        lambda seed: hold_out(known(label=label), seed=seed).test,
        lambda seed: folds(known(label=label), 3, seed)[0][1],
    ):
        assert split(0).tolist() == split(0).tolist() != split(1).tolist()


def test_a_source_that_tells_nothing_is_dealt_at_random() -> None:
    source = ArraySource((torch.arange(23), torch.arange(23)), None)
    held = hold_out(source, validation_share=0.1, test_share=0)
    assert (len(held.train), len(held.validation), len(held.test)) == (21, 2, 0)
    judged = [ids for _, ids in folds(source, 5)]
    assert is_partition(judged, 23)
    assert sorted(map(len, judged)) == [4, 4, 5, 5, 5]


@pytest.mark.parametrize(("n", "sizes"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (7, (5, 1, 1)), (8, (4, 2, 2))])
def test_few_examples(n: int, sizes: tuple[int, int, int]) -> None:
    held = hold_out(ArraySource(torch.arange(n), None))
    assert tuple(map(len, held)) == sizes


# --- by group ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(3, 12), st.integers(0, 99))
def test_no_group_is_in_two_splits(groups: int, seed: int) -> None:
    group = np.random.default_rng(seed).integers(0, groups, 97)
    held = hold_out(known(group=group), seed=seed)
    assert is_partition(held, 97)
    assert all(map(len, held))
    assert sum(len(np.unique(group[ids])) for ids in held) == len(np.unique(group))
    for train, judged in folds(known(group=group), 3, seed=seed):
        assert set(group[train]).isdisjoint(group[judged])


def test_groups_keep_the_shares_of_classes() -> None:
    random = np.random.default_rng(0)
    group = random.integers(0, 60, 1500)
    label = np.where(random.random(1500) < 0.2 + 0.6 * (group % 2), "a", "b")
    held = hold_out(known(group=group, label=label))
    assert [len(ids) / 1500 for ids in held] == pytest.approx([0.6, 0.2, 0.2], abs=0.03)
    assert [(label[ids] == "a").mean() for ids in held] == pytest.approx([(label == "a").mean()] * 3, abs=0.05)


def test_a_class_in_one_group_keeps_the_whole_group_in_training() -> None:
    group = np.repeat(["p", "q", "r", "s", "t", "u"], 7)
    label = np.array(["a", "b"] * 21)
    label[:3] = "only in p"
    with collecting() as notices:
        assert set(np.flatnonzero(group == "p")) <= set(hold_out(known(group=group, label=label)).train)
        for train, judged in folds(known(group=group, label=label), 3):
            assert "p" not in group[judged]
            assert set(label[train]) == set(label)
    assert "one group only" in notices[0]


def test_equal_groups_are_dealt_by_the_seed() -> None:
    group = np.repeat(np.arange(5), 20)
    assert len({tuple(hold_out(known(group=group), seed=seed).test) for seed in range(9)}) > 2


def test_groups_are_dealt_to_the_part_that_lacks_most() -> None:
    part = deal_groups(np.repeat(["big", "mid", "low"], [10, 6, 4]), None, [0.5, 0.5], seed=0)
    assert part.tolist() == [0] * 10 + [1] * 10


# --- by time ----------------------------------------------------------------------------------------------------------


def test_the_latest_test_and_those_before_them_validate() -> None:
    time = np.random.default_rng(0).permutation(np.repeat(np.arange(17), 3))
    held = hold_out(known(time=time))
    assert time[held.train].max() < time[held.validation].min()
    assert time[held.validation].max() < time[held.test].min()
    assert [len(ids) for ids in held] == [30, 12, 9]


def test_folds_by_time_train_on_the_past() -> None:
    time = np.random.default_rng(0).permutation(31)
    pairs = folds(known(time=time), 4)
    assert [len(judged) for _, judged in pairs] == [7, 6, 6, 6] or all(5 <= len(judged) <= 7 for _, judged in pairs)
    for train, judged in pairs:
        assert time[train].max() < time[judged].min()
    assert [len(train) for train, _ in pairs] == sorted(len(train) for train, _ in pairs)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(2, 4))
def test_blocks_of_time_are_never_empty(time: list[int], blocks: int) -> None:
    edges = time_edges(np.array(time), [1 / blocks] * blocks)
    if len(set(time)) < blocks:
        assert edges is None
        return
    assert edges is not None
    assert set(np.searchsorted(edges, time, side="right")) == set(range(blocks))


# --- what cannot be split ---------------------------------------------------------------------------------------------


def refused(error: type[Exception], call: Any, *parts: str) -> None:
    with pytest.raises(error) as caught, collecting():
        call()
    for part in parts:
        assert part in str(caught.value)


def test_too_little_to_split() -> None:
    two = ArraySource(torch.arange(2), None)
    refused(
        DataError,
        lambda: hold_out(two),
        "2 examples are too few for 3 splits",
        "validation and test one each",
        "test_share=0",
    )
    refused(
        DataError,
        lambda: hold_out(known(label=list("abcb"))),
        "4 examples of 3 classes",
        "one of each class",
        "add examples",
    )
    refused(
        DataError,
        lambda: hold_out(known(group=[0, 0, 1, 1])),
        "3 splits need as many groups",
        "there are 2",
        "leave off --group",
    )
    refused(DataError, lambda: hold_out(known(time=[5, 5, 6, 6])), "2 different times", "3 splits", "leave off --time")
    refused(DataError, lambda: folds(two, 3), "3 folds need at least 3 examples", "there are 2", "Ask for fewer folds")
    refused(DataError, lambda: folds(known(group=[0, 0, 1]), 3), "at least 3 groups", "there are 2", "fewer folds")
    refused(
        DataError, lambda: folds(known(time=[1, 2, 2]), 2), "at least 3 different times", "there are 2", "fewer folds"
    )
    refused(DataError, lambda: folds(known(label=list("abc")), 2), "0 that can be judged", "more data")
    refused(RecipeError, lambda: folds(two, 1), "folds=1", "at least 2")
    refused(
        RecipeError,
        lambda: hold_out(known(group=[0, 1, 2], time=[0, 1, 2])),
        "at once",
        "Give one of --group and --time",
    )
    refused(
        RecipeError, lambda: hold_out(two, validation_share=-0.1), "validation_share=-0.1", "less than 1", "such as 0.2"
    )


def test_a_class_that_appears_only_later_is_refused() -> None:
    label = ["a", "b"] * 20 + ["late"] * 9
    source = known(label=label, time=np.arange(49))
    refused(
        DataError,
        lambda: hold_out(source),
        "Class 'late' (9 of them)",
        "only in the test examples",
        "leave out its rows",
    )
    refused(DataError, lambda: folds(source, 3), "Class 'late'", "validation examples of fold 3 of 3", "earlier times")
    text = "a,t,y\n" + "".join(f"{i % 11},{i},{label[i]}\n" for i in range(49))
    refused(
        DataError, lambda: load_table(io.StringIO(text), target="y", time="t"), "Class 'late'", "no model can learn it"
    )


def test_held_out_has_names() -> None:
    assert HeldOut._fields == ("train", "validation", "test")
