"""Names of the world: what they are, that they are the same each time, and which locales there are."""

import pandas as pd
import pytest
import torch

from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.data.word_splitting import normalized
from thalweg.data.world_names import CATEGORIES, held_in_source, names_frame, names_splits

GERMAN = names_frame("de")


def test_german_names() -> None:
    assert GERMAN.columns.tolist() == ["en", "de", "category"]
    known = dict(zip(GERMAN["en"], GERMAN["de"], strict=True))
    assert known["Germany"] == "Deutschland"
    assert known["Vienna"] == "Wien"
    assert known["Cyrillic"] == "Kyrillisch"
    assert known["Swiss Franc"] == "Schweizer Franken"
    assert 1400 < len(GERMAN) < 1900
    assert 0.2 < (GERMAN["en"] == GERMAN["de"]).mean() < 0.35  # what a model may copy


def test_every_source_has_one_target_and_every_category_some() -> None:
    assert GERMAN["en"].is_unique
    assert GERMAN["category"].unique().tolist() == list(CATEGORIES)
    texts = pd.concat([GERMAN["en"], GERMAN["de"]])
    assert (texts == texts.map(normalized).str.strip()).all()
    assert texts.str.len().min() > 0


@pytest.mark.parametrize(
    ("locale", "letters"), [("ru", "\u0430-\u044f"), ("ar", "\u0621-\u064a"), ("ja", "ぁ-ヿ一-龯")]
)
def test_other_scripts_are_other_throughout(locale: str, letters: str) -> None:
    frame = names_frame(locale)
    assert (frame["en"] != frame[locale]).all()
    assert frame[locale].str.lower().str.contains(f"[{letters}]").mean() > 0.99
    assert not frame[locale].str.contains("[\u200b-\u200f]").any()


def test_the_same_names_and_splits_each_time() -> None:
    pd.testing.assert_frame_equal(names_frame("de"), GERMAN)
    first, again = names_splits("nl", categories=["scripts"]), names_splits("nl", categories="scripts")
    assert first.train.fingerprint() == again.train.fingerprint()
    assert first.train.rows["category"].unique().tolist() == ["scripts"]
    other = names_splits("nl", categories="scripts", seed=1)
    assert other.train.sources != first.train.sources


def test_splits_by_source_with_copying() -> None:
    with collecting() as said:
        splits = names_splits("de", copying=True, shared=True, tokens=1000)
    parts = [splits.train, splits.validation, splits.test]
    assert len({source for part in parts for source in part.sources}) == sum(map(len, parts)) == len(GERMAN)
    assert [round(len(part) / len(GERMAN), 2) for part in parts] == [0.8, 0.1, 0.1]
    assert splits.train.encoding.source is splits.train.encoding.target
    assert said[0].startswith("Names of the world in 'de' (Unicode CLDR ")
    assert f"): {len(GERMAN):,}, of which " in said[0]
    x, y = next(splits.train.batches(1, 0, torch.Generator().manual_seed(0)))
    assert x["copies"].shape == x["source"].shape
    assert x["source"].numel() + y.numel() <= 1000


@pytest.mark.parametrize(
    ("locale", "said", "copying"),
    [
        ("de", {}, True),
        ("de", {"copying": False}, False),
        ("de", {"unit": "characters,words"}, False),
        ("ru", {}, False),
        ("ru", {"copying": True}, True),
    ],
)
def test_names_may_be_copied_where_the_script_is_shared(locale: str, said: dict, copying: bool) -> None:
    with collecting() as told:
        splits = names_splits(locale, categories="scripts", **said)
    assert splits.train.schema.copying is copying
    decided = [line for line in told if "stand in the English name" in line]
    assert len(decided) == (not said)


def test_what_stands_in_the_source() -> None:
    assert held_in_source(["abc", "x"], ["cab", "yy"]) == 0.6
    assert held_in_source([], []) == 0.0
    for locale, least, most in (("nl", 0.75, 0.95), ("el", 0.0, 0.15)):
        frame = names_frame(locale, "languages")
        assert least < held_in_source(frame["en"].tolist(), frame[locale].tolist()) < most


def test_codes_of_locales() -> None:
    assert names_frame("pt-BR", "territories").columns[1] == "pt_BR"
    assert len(names_frame("de_AT", "territories")) == len(names_frame("de", "territories"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"locale": "german"}, "'german' is no locale that Babel knows. .* Did you mean 'de'?"),
        ({"locale": "elx"}, "'elx' is no locale .* Did you mean 'el'?"),
        ({"locale": ""}, "'' is no locale that Babel knows. .* Known: "),
        ({"locale": "en"}, "names in 'en' .*, of which 0 differ from English: too few to learn from"),
        ({"locale": "aa"}, "too few to learn from. Name another locale"),
        ({"locale": "de", "categories": "citys"}, "There is no category 'citys' of names. Did you mean 'cities'?"),
        ({"locale": "de", "categories": []}, "categories is empty. Name some of territories, "),
        ({"locale": "de", "unit": "letters"}, "unit='letters' is not known"),
    ],
)
def test_names_that_there_are_not(arguments: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        names_splits(**arguments)
