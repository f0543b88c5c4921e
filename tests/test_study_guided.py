"""The study of guided attention: its task is what it says, and without its effect it comes out false."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import END, MARKS, NO_TARGET
from thalweg.study import guided_attention, run_study
from thalweg.study.aligned import spelled, spoken
from thalweg.study.guided_attention import ARMS, CONTENT, GUIDED, TASKS, Judged
from thalweg.study.orthography import LETTERS, SOUNDS, spanish_words, spoken_word


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


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("guatemala", "g w a t e m a l a"),  # gu before a: both are spoken
        ("guerra", "g e r a"),  # gu before e: u is silent; rr is one sound
        ("pingüino", "p i n g w i n o"),
        ("cielo", "θ j e l o"),
        ("queso", "k e s o"),
        ("chino", "tʃ i n o"),
        ("llave", "ʝ a b e"),
        ("hielo", "j e l o"),
        ("rey", "r e i"),  # y behind the last vowel, r at the beginning
        ("yugoslavia", "ʝ u g o s l a b j a"),
        ("alrededor", "a l r e d e d o ɾ"),  # r behind l, and between vowels
        ("israel", "i s r a e l"),
        ("iraní", "i ɾ a n i"),
        ("genio", "x e n j o"),
        ("jota", "x o t a"),
        ("examen", "e k s a m e n"),
        ("xhosa", "s o s a"),
        ("españa", "e s p a ɲ a"),
        ("zaire", "θ a i ɾ e"),
    ],
)
def test_the_rules_of_spanish_spelling(word: str, sounds: str) -> None:
    found = spoken_word(word)
    assert " ".join(sound.sound for sound in found) == sounds
    assert all(before.first <= after.first and before.end <= after.end for before, after in pairwise(found))


def test_every_word_is_spoken_from_its_letters() -> None:
    for word in spanish_words():
        found = spoken_word(word)
        read = {place for sound in found for place in range(sound.first, sound.end)}
        assert {word[place] for place in set(range(len(word))) - read} <= {"h"}
        assert all(sound.sound in SOUNDS for sound in found)


def test_what_is_spelled_is_the_words_as_letters_and_sounds_and_no_word_stands_in_two_parts() -> None:
    parts = spelled((30, 20), seed=3)
    words = []
    for part in parts:
        for row, count in enumerate(part.x["lengths"].tolist()):
            word = "".join(LETTERS[token - len(MARKS)] for token in part.x["source"][row, :count].tolist())
            sounds = spoken_word(word)
            assert [SOUNDS[token - len(MARKS)] for token in part.y[row].tolist() if token >= len(MARKS)] == [
                sound.sound for sound in sounds
            ]
            for step, sound in enumerate(sounds):
                assert part.own[row, step].nonzero()[:, 0].tolist() == list(range(sound.first, sound.end))
            assert not part.own[row, len(sounds) :].any()
            words.append(word)
    assert len(set(words)) == 50


def judged(loss: float, there: float) -> Judged:
    noise = 0.01 * np.random.default_rng(0).normal(size=5)
    return Judged((loss + noise)[:, None] * np.ones(3), there + noise * (1 + there), there + noise, there + noise)


def found(*values: tuple[float, float]) -> dict[str, Judged]:
    return {name: judged(*value) for name, value in zip(ARMS, values, strict=True)}


def test_it_decides_by_what_guidance_does() -> None:
    spelling = ((1.8, 0.4), (1.6, 0.7), (1.3, 0.8), (1.2, 0.9))
    holds = found((1.4, 0.2), (1.1, 0.6), (1.2, 0.5), (1.0, 0.6), (1.4, 0.2), (1.7, 0.1), *spelling)
    assert [check.passed for check in guided_attention.decide(holds)] == [True] * 6
    nothing = found(*[(1.4, 0.5)] * 2, *[(1.2, 0.5)] * 2, *[(1.4, 0.2)] * 2, *[(1.8, 0.4)] * 2, *[(1.3, 0.8)] * 2)
    assert [check.passed for check in guided_attention.decide(nothing)] == [False] * 6
    helps_anyway = found((1.4, 0.2), (1.1, 0.6), (1.2, 0.2), (1.0, 0.9), (1.7, 0.2), (1.4, 0.1), *spelling)
    assert [check.passed for check in guided_attention.decide(helps_anyway)] == [True, True, False, False, True, True]
    by_location_alone = found(*[(1.4, 0.2), (1.1, 0.6), (1.2, 0.5), (1.0, 0.6), (1.4, 0.2), (1.7, 0.1)],
                              *[(1.8, 0.4)] * 2, *spelling[2:])  # fmt: skip
    assert [check.passed for check in guided_attention.decide(by_location_alone)] == [True] * 4 + [False] * 2


def test_it_is_false_where_nothing_is_guided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guided_attention, "JUDGED", 4)
    arms: dict[str, Any] = {task + GUIDED: task for task in TASKS}
    study = run_study("guided-attention", seeds=2, epochs=1, train=8, words=8, width=4, arms=arms)
    assert not study.held
    assert [check.value for check in study.checks] == [0.0] * 6
    with pytest.raises(RecipeError, match="The study has no arm 'speech by contents'"):
        run_study("guided-attention", arms={"speech by contents": CONTENT})
    with pytest.raises(
        RecipeError, match=r"2000 and 4 words are asked for, but there are 1,4\d\d. Give for instance words=7"
    ):
        run_study("guided-attention", words=2000)
