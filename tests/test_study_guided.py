"""The study of guided attention: its task is what it says, and without its effect it comes out false."""

from typing import Any

import numpy as np
import pytest
import torch

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import END, MARKS, NO_TARGET
from thalweg.study import guided_attention, run_study
from thalweg.study.guided_attention import BACKWARDS, CONTENT, GUIDED, LOCATION, Judged, spoken


def test_each_token_has_the_frames_of_its_sign() -> None:
    said = spoken(30, seed=4)
    signs = np.random.default_rng(4).normal(size=(8, 8))
    for row in range(30):
        steps = int((said.y[row] != NO_TARGET).sum())
        assert said.y[row, steps - 1] == END
        assert not said.own[row, steps - 1 :].any()
        for step in range(steps - 1):
            mean = said.x["source"][row][said.own[row, step]].mean(0).numpy()
            nearest = np.square(signs - mean).sum(1).argmin()
            count = int(said.own[row, step].sum())
            assert 2 <= count <= 6
            if count > 4:  # the noise of few frames may take one for another
                assert nearest == int(said.y[row, step]) - len(MARKS)


def test_backwards_is_the_same_speech_said_the_other_way() -> None:
    forward, backward = spoken(9, seed=1), spoken(9, seed=1, backwards=True)
    assert torch.equal(forward.x["source"], backward.x["source"])
    for row in range(9):
        count = int((forward.y[row] != NO_TARGET).sum()) - 1
        assert torch.equal(forward.y[row, :count].flip(0), backward.y[row, :count])
        assert torch.equal(forward.own[row, :count].flip(0), backward.own[row, :count])


def test_parts_share_their_signs_and_not_their_texts() -> None:
    first, second = spoken(20, seed=2), spoken(20, seed=2, part=1)
    assert not torch.equal(first.y[:, :4], second.y[:, :4])


def judged(loss: float, there: float) -> Judged:
    noise = 0.01 * np.random.default_rng(0).normal(size=5)
    return Judged((loss + noise)[:, None] * np.ones(3), there + noise * (1 + there), there + noise, there + noise)


def found(*values: tuple[float, float]) -> dict[str, Judged]:
    names = [task + guided for task in (CONTENT, LOCATION, BACKWARDS) for guided in ("", GUIDED)]
    return {name: judged(*value) for name, value in zip(names, values, strict=True)}


def test_it_decides_by_what_guidance_does() -> None:
    holds = found((1.4, 0.2), (1.1, 0.6), (1.2, 0.5), (1.0, 0.6), (1.4, 0.2), (1.7, 0.1))
    assert [check.passed for check in guided_attention.decide(holds)] == [True] * 4
    nothing = found((1.4, 0.5), (1.4, 0.5), (1.2, 0.5), (1.2, 0.5), (1.4, 0.2), (1.4, 0.2))
    assert [check.passed for check in guided_attention.decide(nothing)] == [False] * 4
    helps_anyway = found((1.4, 0.2), (1.1, 0.6), (1.2, 0.2), (1.0, 0.9), (1.7, 0.2), (1.4, 0.1))
    assert [check.passed for check in guided_attention.decide(helps_anyway)] == [True, True, False, False]


def test_it_is_false_where_nothing_is_guided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guided_attention, "JUDGED", 4)
    arms: dict[str, Any] = {name + GUIDED: name for name in (CONTENT, LOCATION, BACKWARDS)}
    study = run_study("guided-attention", seeds=2, epochs=1, train=8, width=4, arms=arms)
    assert not study.held
    assert [check.value for check in study.checks] == [0.0] * 4
    with pytest.raises(RecipeError, match="The study has no arm 'by contents'"):
        run_study("guided-attention", arms={"by contents": CONTENT})
