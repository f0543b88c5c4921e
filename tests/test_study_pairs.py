"""The studies of pairs: tasks and numbers are what they say, and without its effect each study comes out false."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from thalweg.core.errors import RecipeError
from thalweg.data import names_frame
from thalweg.measure.texts import edits
from thalweg.recipes import decoded
from thalweg.study import beam, copy, copy_span, reward, run_study, scheduled_sampling, spelling
from thalweg.study.beam import LIKELIHOOD, MEAN, Scores
from thalweg.study.copy import COPYING, GENERATING, Judged
from thalweg.study.copy_span import NEW, SEEN, Words
from thalweg.study.reward import ARMS, BEFORE, CRITICAL, RISK
from thalweg.study.reward import LIKELIHOOD as FURTHER

LENGTH = np.full(60, 10)


def passed(checks: Sequence[Any]) -> list[bool]:
    return [check.passed for check in checks]


def around(value: float, count: int, noise: float = 0.01) -> np.ndarray:
    return value + noise * np.random.default_rng(1).normal(size=count)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten names of each locale, few sentences, and outputs that end soon, whatever the network says."""
    frames = {locale: names_frame(locale, "scripts").iloc[:10].reset_index(drop=True) for locale in copy.LOCALES}
    monkeypatch.setattr(copy_span, "JUDGED", 20)
    monkeypatch.setattr(spelling, "names_frame", lambda locale, categories=None: frames[locale])
    monkeypatch.setattr(decoded, "PER_UNIT", 1)
    monkeypatch.setattr(decoded, "BESIDE", 0)


# --- what they measure ------------------------------------------------------------------------------------------------


def test_every_name_is_tested_once_by_vocabularies_that_never_saw_it() -> None:
    names = names_frame("nl", "scripts")
    dealt = spelling.name_folds("nl", True, 4, seed=3, categories="scripts")
    assert sorted(name for _, test in dealt for name in test.sources) == sorted(names["en"])
    for train, test in dealt:
        assert len(train) + len(test) == len(names)
        assert not set(train.sources) & set(test.sources)
        letters = set("".join(train.targets))
        assert set(train.encoding.target.tokens[4:]) == letters
        assert test.encoding is train.encoding


def test_an_interval_over_sources_is_that_of_their_sums() -> None:
    distance = np.random.default_rng(0).integers(0, 5, 400)
    length = np.random.default_rng(1).integers(3, 20, 400)
    check = spelling.over_sources("rate", distance, length)
    assert check.value == distance.sum() / length.sum()
    residual = (distance - check.value * length) / length.mean()
    expected = 1.96 * residual.std() / len(length) ** 0.5  # the delta method, for a ratio of two means
    assert (check.high - check.low) / 2 == pytest.approx(expected, rel=0.15)


def test_marked_words_are_what_stands_behind_a_mark() -> None:
    words = copy_span.words_of(1)
    assert abs(len(words.seen) - len(words.new)) <= 1
    for new in (False, True):
        frame = copy_span.sentences(50, words, new, seed=2)
        for source, target in zip(frame["source"], frame["target"], strict=True):
            units = source.split()
            assert [units[i + 1] for i, unit in enumerate(units) if unit == "*"] == target.split()
            assert set(target.split()) <= set(words.new if new else words.seen)
            assert 4 <= len(units) - units.count("*") < 9
    frame = copy_span.sentences(400, Words(["often", "seldom"], []), False, seed=0)
    counts = " ".join(frame["target"]).split()
    assert counts.count("often") / counts.count("seldom") == pytest.approx(2, rel=0.2)  # Zipf's law


def test_training_never_sees_the_new_words_and_knows_the_commonest() -> None:
    train, seen, new = copy_span._sources(0, 200, copying=True)
    texts = " ".join(train.sources).split()
    assert not set(" ".join(new.targets).split()) & set(texts)
    assert set(" ".join(seen.targets).split()) <= set(copy_span.words_of(0).seen)
    assert len(train.encoding.source) == copy_span.KNOWN
    commonest = {word for word in set(texts) if texts.count(word) > 20}
    assert commonest <= set(train.encoding.source.tokens)


# --- each comes out false where its effect is absent ------------------------------------------------------------------


def test_copy_is_false_where_neither_network_copies(few: None) -> None:
    study = run_study("copy", seeds=2, epochs=1, width=4, arms={COPYING: GENERATING})
    assert [check.value for check in study.checks[:3]] == [0.0, 0.0, 0.0]
    assert passed(study.checks[:2]) == [False, False]
    assert not study.held
    assert [row[1] for row in study.rows] == [10, 10, 10]


def test_copy_decides_by_what_copying_saves() -> None:
    def judged(generating: int, copying: int) -> Judged:
        noise = np.random.default_rng(0).integers(-1, 2, 60)
        made = {GENERATING: generating + noise, COPYING: copying + np.roll(noise, 1)}
        return Judged(made, np.full(60, 8), LENGTH, 0.8)

    better, alike, worse = judged(5, 3), judged(4, 4), judged(4, 6)
    assert passed(copy.decide({"de": better, "nl": better, "ru": worse})) == [True] * 6
    assert passed(copy.decide({"de": better, "nl": alike, "ru": better})) == [True, False, False, True, True, True]
    untaught = judged(12, 9)
    assert passed(copy.decide({"de": untaught, "nl": better, "ru": worse}))[3:] == [False, True, True]


def test_copy_span_is_false_where_neither_network_copies(few: None) -> None:
    study = run_study("copy-span", seeds=2, epochs=1, train=64, width=4, arms={COPYING: GENERATING})
    assert passed(study.checks) == [False, True, True]
    with pytest.raises(RecipeError, match="no arm .copyin."):
        run_study("copy-span", arms={"copyin": GENERATING})


def test_copy_span_decides_by_new_words() -> None:
    def right(seen: float, new: float) -> dict[str, np.ndarray]:
        return {SEEN: around(seen, 5), NEW: around(new, 5, 0.001)}

    assert passed(copy_span.decide({COPYING: right(0.9, 0.9), GENERATING: right(0.1, 0.0)})) == [True] * 3
    assert passed(copy_span.decide({COPYING: right(0.9, 0.6), GENERATING: right(0.9, 0.5)})) == [False] * 3


def test_beam_is_false_where_its_width_is_not_heeded(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = beam.outputs
    monkeypatch.setattr(beam, "outputs", lambda model, test, width, penalty: plain(model, test, 1, penalty))
    study = run_study("beam", seeds=2, epochs=1, width=4, widths=(1, 4, 5))
    assert not any(passed(study.checks)[:1] + passed(study.checks)[2:5])
    assert study.checks[0].value == study.checks[2].value == study.checks[5].value == 0.0


def test_a_wider_beam_finds_likelier_outputs(few: None) -> None:
    study = run_study("beam", seeds=2, epochs=1, width=4, widths=(1, 4, 20))
    scores = [row[2] for row in study.rows]
    assert study.checks[0].value > 0
    assert scores[0] < scores[2]
    assert study.rows[0][0] == LIKELIHOOD
    assert [row[1] for row in study.rows] == [1, 4, 20] * 2


def test_beam_decides_by_likelihood_cost_length_and_error() -> None:
    def scores(found: float, length: float, error: tuple[float, float, float]) -> Scores:
        def of(*values: float) -> np.ndarray:
            return np.stack([around(value, 5, 0.002 * (i + 1)) for i, value in enumerate(values)], axis=1)

        return Scores(of(-1, -1, -1), of(-5, -5, -5 + found), of(1, 1, length), of(*error), of(1, 4, 9))

    widths = (1, 4, 32)
    held = {LIKELIHOOD: scores(0.5, 0.9, (0.4, 0.4, 0.4)), MEAN: scores(0.5, 1.0, (0.4, 0.3, 0.3))}
    assert passed(beam.decide(widths, held)) == [True] * 6
    longer = held | {LIKELIHOOD: scores(0.5, 1.1, (0.4, 0.4, 0.4))}
    assert passed(beam.decide(widths, longer)) == [True, True, False, False, True, True]
    better = held | {MEAN: scores(0.5, 1.0, (0.4, 0.4, 0.2))}
    assert passed(beam.decide(widths, better)) == [True, True, True, True, False, False]


def test_scheduled_sampling_is_false_where_all_inputs_are_gold(few: None) -> None:
    gold = {f"{network}, gold" for network in (scheduled_sampling.RECURRENT, scheduled_sampling.TRANSFORMER)}
    standing = {name: f"{name.split(', ')[0]}, gold" for name in scheduled_sampling.ARMS if name not in gold}
    study = run_study("scheduled-sampling", seeds=2, epochs=1, width=4, arms=standing)
    assert [check.value for check in study.checks[1:]] == [0.0] * 6
    assert not any(passed(study.checks[1:]))
    assert [row[0] for row in study.rows] == list(scheduled_sampling.ARMS)
    with pytest.raises(RecipeError, match="no arm 'recurrent, own inputs'.* Did you mean 'recurrent, own'"):
        run_study("scheduled-sampling", arms={"recurrent, own inputs": "recurrent, gold"})


def test_scheduled_sampling_trains_each_arm_on_its_own_inputs(few: None) -> None:
    ((train, _), *_) = spelling.name_folds("de", False, 2, 0)
    inputs: dict[str, dict[str, Any]] = {"gold": {}, "own": {"own_inputs": "linear"}}
    recipes = {
        name: scheduled_sampling._recipe(name, inputs, train, width=4, epochs=1, seed=0)
        for name in ("recurrent, gold", "recurrent, own", "Transformer, own")
    }
    assert [type(recipe.objective).__name__ for recipe in recipes.values()] == [
        "Tagging",
        "ScheduledSampling",
        "ScheduledSampling",
    ]
    assert [type(recipe.model()).__name__ for recipe in recipes.values()] == [
        "RecurrentSeq2Seq",
        "RecurrentSeq2Seq",
        "Transformer",
    ]
    assert recipes["recurrent, own"].objective.loss.label_smoothing == spelling.SMOOTHING


def test_scheduled_sampling_decides_by_what_is_added_after_own_prefixes() -> None:
    def judged(bias: float, error: float, missing: int = 0) -> scheduled_sampling.Judged:
        left = np.full(80, 5.0)
        left[:missing] = np.nan
        return scheduled_sampling.Judged(
            gold=around(1.0, 80), own=around(1.0, 80) + 5 * around(bias, 80), left=left, edits=10 * around(error, 80),
            length=np.full(80, 10), loss=np.ones(4),
        )  # fmt: skip

    def decided(**others: scheduled_sampling.Judged) -> list[bool]:
        arms = dict.fromkeys(scheduled_sampling.ARMS, judged(0.0, 0.3, missing=7))
        arms |= {"recurrent, gold": judged(0.2, 0.5), "Transformer, gold": judged(0.1, 0.4)}
        return passed(
            scheduled_sampling.decide(arms | {name.replace("_", ", "): each for name, each in others.items()})
        )

    assert decided() == [True] * 7
    assert decided(recurrent_gold=judged(0.0, 0.5)) == [False, False, False, False, True, True, True]
    assert decided(recurrent_wrong=judged(0.3, 0.3)) == [True, False, True, True, True, True, True]
    assert decided(recurrent_confusable=judged(0.2, 0.3)) == [True, True, False, True, True, True, True]
    assert decided(recurrent_own=judged(0.2, 0.6)) == [True, True, True, False, True, False, True]
    assert decided(Transformer_own=judged(0.2, 0.6)) == [True, True, True, True, False, True, False]
    check = scheduled_sampling.exposure("bias", judged(0.2, 0.5, missing=3), judged(0.0, 0.3, missing=7))
    assert (check.n, check.value) == (73, pytest.approx(0.2, abs=0.01))


def test_mistakes_are_those_of_the_nearest_target() -> None:
    (_, test), *_ = spelling.name_folds("de", False, 5, 0, "scripts")
    found = spelling.mistakes(test.sources, test)
    assert found.rate == edits(test.sources, [[target] for target in test.targets]).rate


def test_reward_is_false_where_no_arm_has_one(few: None) -> None:
    study = run_study("reward", seeds=2, epochs=1, further=1, width=4, arms={CRITICAL: FURTHER, RISK: FURTHER})
    assert [check.value for check in study.checks if "likelihood" in check.quantity] == [0.0] * 3
    assert not any(check.passed for check in study.checks if "likelihood" in check.quantity)
    assert not study.held


def test_reward_trains_what_was_trained_before(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Any]] = []
    plain = reward.train_arms

    def seen(arms: Any, *rest: Any) -> Any:
        begun.extend({name: own[0].model().state_dict() for name, own in arms.items()} for _ in [0])
        return plain(arms, *rest)

    monkeypatch.setattr(reward, "train_arms", seen)
    ended = run_study("reward", seeds=2, epochs=1, further=1, width=4, samples=2)
    first, arms = begun
    assert tuple(arms) == ARMS
    for name in arms:
        for key, weight in arms[name].items():
            assert weight.equal(arms[FURTHER][key])
    assert any(not weight.equal(arms[FURTHER][key]) for key, weight in first[BEFORE].items())
    assert [row[0] for row in ended.rows] == [BEFORE, *ARMS]


def test_reward_decides_by_bleu_and_by_nats() -> None:
    def judged(bleu: float, nats: float) -> reward.Judged:
        one = np.ones(60)
        return reward.Judged(around(bleu, 60), around(nats, 60, 0.02), one, one, 10 * one)

    def found(critical: tuple[float, float], risk: tuple[float, float]) -> list[bool]:
        arms = {BEFORE: judged(0.6, 1.0), FURTHER: judged(0.62, 1.0)}
        return passed(reward.decide(arms | {CRITICAL: judged(*critical), RISK: judged(*risk)}))

    assert found((0.7, 1.1), (0.7, 1.0)) == [True] * 5
    assert found((0.61, 0.9), (0.7, 0.9)) == [True, False, True, True, False]
    assert found((0.5, 1.1), (0.6, 1.1)) == [False, False, False, False, True]
