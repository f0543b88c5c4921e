"""Fewer examples of validation in the place of train, and which of the splits is the odd one where these teach more."""

from typing import Any

import numpy as np
import pytest
import torch
from test_held_out import FLOOR, lab, sums

from thalweg.core.arrays import ArraySource
from thalweg.diagnosis import Cause
from thalweg.diagnosis.finding import Arm, Experiment, Finding, Score
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.generalizing import as_many_steps
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.mismatch import Mismatch
from thalweg.diagnosis.nothing import left_untold
from thalweg.diagnosis.odd_one import of_another_kind, unlike
from thalweg.diagnosis.other_way import TEACHES, ask_other_way
from thalweg.diagnosis.ranking import Gaps


@pytest.mark.parametrize("spoiled", ["targets", "inputs", "nothing"])
def test_fewer_examples_teach_more_only_where_train_is_spoiled(spoiled: str) -> None:
    x, y = sums(300, 0)
    part = torch.arange(300)[:, None] % 2 == 0
    y = torch.where(part, -y, y) if spoiled == "targets" else y
    x = torch.where(part, x.flip(1) * torch.tensor([-1.0, 0.0, 1.0]), x) if spoiled == "inputs" else x
    asked = ask_other_way(lab((x, y), sums(120, 1), batch_size=32), FLOOR)
    assert asked is not None
    assert asked.question == TEACHES
    assert asked.answer == ("no" if spoiled == "nothing" else "yes")
    assert asked.arms[0].recipe is not None
    assert len(asked.arms[0].recipe.data.train) <= 60


def test_no_more_than_half_as_many_as_train_has_teach_and_where_they_are_few_nothing_is_asked() -> None:
    asked = ask_other_way(lab(sums(90, 0), sums(300, 1), batch_size=10, epochs=2), FLOOR)
    assert asked is not None
    assert asked.arms[0].name == "trained on 45 of the validation examples"
    assert ask_other_way(lab(sums(70, 0), sums(300, 1)), FLOOR) is None
    assert ask_other_way(lab(sums(300, 0), sums(70, 1)), FLOOR) is None
    assert ask_other_way(lab(sums(300, 0), sums(120, 1), budget=0.5), FLOOR) is None


class Grouped(ArraySource):
    def meta(self, ids: Any) -> dict[str, Any]:
        return {"group": np.asarray(ids) // 10}


def test_of_groups_nothing_is_asked() -> None:
    asked = lab(sums(300, 0), sums(120, 1))
    asked.validation = Grouped(sums(120, 1), None)
    assert ask_other_way(asked, FLOOR) is None


def test_fewer_examples_are_seen_as_many_steps() -> None:
    asked = lab(sums(300, 0), sums(120, 1), batch_size=30, epochs=20)
    assert as_many_steps(asked, 60) == 100
    assert as_many_steps(asked, 300) == 20


@pytest.mark.parametrize(("test", "cause"), [(False, Cause.DATA), (True, Cause.MISMATCH), (None, Cause.MISMATCH)])
def test_the_odd_split_is_told_by_test(test: bool | None, cause: Cause) -> None:
    arm = Arm("as it is", (), Score(0.1), (0,))
    apart = Experiment("Is it?", "loss", arm, (), "yes", "The loss on validation is higher, by 1.")
    mismatch = None if test is None else Mismatch(test, Score(0.0, -0.1, 0.1), apart, "it moved", 0.1)
    finding = of_another_kind(Finding(Cause.UNDECIDED, ""), apart, mismatch)
    assert finding.cause is cause
    assert {ranked.cause for ranked in finding.ranked} == {Cause.DATA, Cause.MISMATCH}
    assert ("made otherwise than the others" in finding.mechanism) == (cause is Cause.DATA)


@pytest.mark.parametrize(
    ("sure", "raises", "cause", "counts"),
    [
        (Sure.MEASURED, Raises.VALIDATION, Cause.DATA, True),
        (Sure.LIKELY, Raises.VALIDATION, Cause.DATA, False),
        (Sure.MEASURED, Raises.TRAIN, Cause.DATA, False),
        (Sure.MEASURED, Raises.VALIDATION, Cause.OVERFITTING, False),
    ],
)
def test_a_loss_that_rises_on_validation_of_another_kind_is_no_overfitting(
    sure: Sure, raises: Raises, cause: Cause, counts: bool
) -> None:
    kind = Mechanism.VALIDATION_OF_ANOTHER_KIND_THAN_TRAIN
    flaw = Flaw(cause, kind, "Trees err more there", 3.0, "1", "Look", "others", sure, raises)
    assert unlike(Finding(Cause.UNDECIDED, "", flaws=(flaw,))) == ([flaw] if counts else [])


def test_where_much_is_left_that_nobody_tells_the_data_are_named_beside_none() -> None:
    assert left_untold(Gaps(False, False, False, left=0.02)) == ()
    (other,) = left_untold(Gaps(False, False, False, left=0.3))
    assert other.cause is Cause.DATA
    assert "0.3" in other.sentence
