"""What is said where nothing is found: that the losses reach the references, or that few examples cannot tell."""

from dataclasses import replace

import numpy as np
import pytest

from thalweg.diagnosis import Cause, Score
from thalweg.diagnosis.finding import Finding
from thalweg.diagnosis.floor import Floor
from thalweg.diagnosis.nothing import at_chance, nothing_before
from thalweg.training.evaluate import ExampleLosses

FLOOR = Floor(0.0, 0.1, "boosted trees", (None, None), (0.1, 0.05, 0.15), null=2.3)


@pytest.mark.parametrize(("level", "reaches"), [(0.2, False), (0.105, True), (0.05, True)])
def test_a_loss_far_above_the_floor_is_not_said_to_reach_it(level: float, reaches: bool) -> None:
    losses = ExampleLosses(np.full(40, level), np.ones(40), None)
    above = Score(level - FLOOR.high, level - 0.3, level + 0.1)
    finding = nothing_before(Finding(Cause.UNDECIDED, ""), None, FLOOR, None, (above, losses))
    assert finding.cause is Cause.NONE
    assert ("loss reach what reference learners do" in finding.mechanism) is reaches
    assert (f"lies {above} above it, which 40 examples cannot tell from 0" in finding.mechanism) is not reaches
    assert "the floor lies in [0, 0.1] (boosted trees)" in finding.mechanism


@pytest.mark.parametrize(("best", "named"), [(2.31, True), (2.28, True), (1.9, False)])
def test_where_no_sibling_does_better_than_untrained_the_data_are_named(best: float, named: bool) -> None:
    floor = replace(FLOOR, high=best, siblings=True)
    losses = ExampleLosses(np.full(40, 2.3), np.ones(40), None)
    finding = nothing_before(Finding(Cause.UNDECIDED, ""), None, floor, None, (Score(0.0, -0.1, 0.1), losses))
    assert finding.cause is Cause.UNDECIDED
    assert [ranked.cause for ranked in finding.ranked] == [Cause.DATA] * named
    assert all("the 2.3 on validation that it has before its first step" in each.sentence for each in finding.ranked)
    assert not at_chance(replace(floor, siblings=False))
    assert not at_chance(replace(floor, null=best))  # it has no finite loss before its first step


@pytest.mark.parametrize(
    ("best", "reached", "causes"),
    [
        (Cause.OPTIMIZATION, 0.001, [Cause.OPTIMIZATION]),
        (Cause.MODEL_BIAS, 0.001, [Cause.MODEL_BIAS]),
        (Cause.OPTIMIZATION, 0.03, []),
        (None, 0.001, []),
    ],
)
def test_a_sibling_that_leaves_far_less_of_a_small_loss_is_told(
    best: Cause | None, reached: float, causes: list[Cause]
) -> None:
    floor = replace(FLOOR, high=reached, siblings=True, best=best)
    losses = ExampleLosses(np.full(40, 0.05), np.ones(40), None)
    finding = nothing_before(Finding(Cause.UNDECIDED, ""), None, floor, None, (Score(0.05, 0.04, 0.06), losses))
    assert finding.cause is Cause.UNDECIDED
    assert [ranked.cause for ranked in finding.ranked] == causes
    assert finding.mechanism.endswith("by much of the way from where it begins" if causes else "the validation loss")


def test_a_negative_loss_is_not_said_to_be_small() -> None:
    """Of the likelihood of a density: that -1.1 lies below half of -1 says nothing."""
    floor = replace(FLOOR, low=float("-inf"), high=-1.1, siblings=True, best=Cause.OPTIMIZATION)
    losses = ExampleLosses(np.full(40, -1.0), np.ones(40), None)
    finding = nothing_before(Finding(Cause.UNDECIDED, ""), None, floor, None, (Score(0.1, 0.05, 0.15), losses))
    assert not finding.ranked
