"""Learners that count: what next tokens allow, out of fold, by contexts of the target and of its source."""

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg.data import PairSchema, PairSource, pair_splits
from thalweg.diagnosis import next_tokens, tree
from thalweg.diagnosis.floor import reference_floor
from thalweg.diagnosis.next_tokens import LADDERS, Counts, read_next
from thalweg.diagnosis.references import CONSTANT, SMOOTHING
from thalweg.loss import Tagging
from thalweg.nn import transformer
from thalweg.training.judging import Judge

COPIED = "the token before and the same place of the source"


def judge(objective: Any = None) -> Judge:
    data = thalweg.Splits(train=(torch.zeros(4, 2), torch.zeros(4, 2)))
    return Judge.of(thalweg.Recipe(data=data, model=lambda: nn.Linear(2, 2), objective=objective or Tagging()))


def pairs(count: int, seed: int, copied: bool = True) -> PairSource:
    draw = np.random.default_rng(seed)
    texts = ["".join(draw.choice(list("abcdef"), draw.integers(2, 6))) for _ in range(2 * count)]
    frame = pd.DataFrame({"source": texts[:count], "target": texts[:count] if copied else texts[count:]})
    return PairSource.unfitted(frame, PairSchema()).fit(range(count))


def recursion(ladder: tuple[str, ...], rows: list[tuple[list[int], list[int]]], classes: int, at: Any) -> list[float]:
    """Witten and Bell's method C, level by level, each context looked for anew."""

    def seen(kind: str, y: list[int], source: list[int], place: int) -> list[int]:
        at = [source[place] if place < len(source) else -1] if kind.startswith("s") else []
        before = int(kind.removeprefix("s") or 0)
        return at + [y[place - back] if place >= back else -1 for back in range(1, before + 1)]

    shares = [1 / classes] * classes
    for kind in ladder:
        after = [
            token
            for y, source in rows
            for place, token in enumerate(y)
            if seen(kind, y, source, place) == seen(kind, *at)
        ]
        if after:
            less = len(set(after)) if kind else SMOOTHING * len(after)
            shares = [(after.count(v) + less * shares[v]) / (len(after) + less) for v in range(classes)]
    return shares


@pytest.mark.parametrize("name", list(LADDERS))
def test_shares_are_those_of_witten_and_bell(name: str) -> None:
    rows = [([4, 5, 4, 3], [5, 5, 4]), ([5, 4, 5, 4, 3], [4, 5]), ([6, 3], [])]
    counts, (y, source) = Counts(LADDERS[name], iter(rows), 7), ([5, 4, 6, 3], [5, 4, 4])
    found = counts.shares(y, source)
    assert found.sum(1) == pytest.approx(1.0)
    for place in range(len(y)):
        assert found[place].tolist() == pytest.approx(recursion(LADDERS[name], rows, 7, (y, source, place)))


def test_a_copy_is_found_out_of_fold_and_chance_is_not() -> None:
    floor = reference_floor(judge(), [pairs(120, 0), pairs(30, 1)])
    assert floor is not None
    assert floor.by == COPIED
    assert floor.remote
    assert floor.high < 0.6 * floor.null
    assert [len(known.places) for known in floor.values if known is not None] == [120, 30]
    chance = reference_floor(judge(), [pairs(120, 0, copied=False), pairs(30, 1, copied=False)])
    assert chance is not None
    assert chance.high > 0.9 * chance.null  # how long a target is can be guessed a little
    assert chance.null < math.log(10)


def test_some_of_many_are_predicted_and_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_tokens, "MOST_TOLD", 100)
    found = read_next(judge(), [pairs(300, 0).batched(16), pairs(40, 1).batched(16)])
    assert found is not None
    every = int(np.diff(found.places[0])[0])
    assert found.places[0].tolist() == list(range(0, 300, every))
    assert found.places[1].tolist() == list(range(0, 40, every))
    assert sum(map(len, found.told)) == sum(map(len, found.places))
    assert sum(map(len, found.sequences)) == 340


class Batches:
    """A source of these batches."""

    def __init__(self, x: Any, y: Tensor) -> None:
        self.batch = (x, y)

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Any:
        yield self.batch


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(9, 3, dtype=torch.int64), torch.arange(27).reshape(9, 3)),  # tags of words
        (torch.zeros(9, 3), torch.zeros(9, 3, dtype=torch.int64)),  # frames
        (torch.zeros(9, 3, dtype=torch.int64), torch.zeros(9, dtype=torch.int64)),  # classes
        (torch.zeros(9, 3, dtype=torch.int64), torch.full((9, 3), -100)),  # nothing to tell
    ],
)
def test_targets_that_are_no_next_tokens_are_left_to_others(x: Tensor, y: Tensor) -> None:
    assert read_next(judge(), [Batches(x, y)]) is None


def test_a_plain_loss_and_an_objective_that_wants_more_are_left_to_others() -> None:
    assert read_next(judge(nn.CrossEntropyLoss()), [pairs(30, 0)]) is None

    @thalweg.objective
    def own(model: nn.Module, batch: Any) -> Tensor:
        raise AssertionError("a model is asked for")

    assert reference_floor(judge(own), [pairs(30, 0)]) is None
    assert CONSTANT in LADDERS


def hurried() -> thalweg.Recipe:
    """Two epochs of a Transformer that is to put letter for letter: counting finds the rule, and training could."""
    texts = ["".join("abc"[i // 3**k % 3] for k in range(4)) for i in range(60)]
    frame = pd.DataFrame({"source": texts, "target": [text.translate(str.maketrans("abc", "xyz")) for text in texts]})
    splits = pair_splits(frame)
    size = {"vocabulary": len(splits.train.encoding.source), "outputs": splits.train.encoding.outputs}
    return thalweg.Recipe(
        data=splits,
        model=partial(transformer, **size, width=8, depth=1, heads=2),
        objective=Tagging(),
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        epochs=2,
    )


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diagnoses whose data and program go unchecked, which takes most of the time of a small one."""
    for name in ("flaws_of_data", "program_flaws"):
        monkeypatch.setattr(tree, name, lambda *given: ())


@pytest.mark.usefixtures("unchecked")
def test_siblings_are_asked_where_what_counting_reaches_is_too_far_to_decide_by() -> None:
    finding = thalweg.diagnose(hurried(), budget=3, device="cpu")
    assert finding.cause is thalweg.Cause.OPTIMIZATION
    assert finding.floor_by.startswith("this network's best sibling: learning rate x 10")
    assert f"; a learner that counts reaches 0.00149 ({COPIED}), so that more is open" in finding.mechanism


@pytest.mark.usefixtures("unchecked")
def test_without_siblings_what_counting_reaches_stays_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(tree, "siblings_floor", lambda lab, grow: asked.append(lab))
    finding = thalweg.diagnose(hurried(), budget=2, device="cpu")
    assert len(asked) == 1
    assert (finding.cause, finding.floor_by) == (thalweg.Cause.UNDECIDED, COPIED)
    assert finding.reference is not None
    assert finding.reference.counted
