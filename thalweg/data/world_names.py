r"""Names of the world: what countries, languages, scripts, currencies, cities and time zones are called elsewhere.

A real task of transliteration and translation that needs no download: Babel (babel.pocoo.org) brings the names that
Unicode's Common Locale Data Repository holds in hundreds of locales (Unicode License v3). The source is the English
name. In German and Dutch more than a quarter are the same, so that a model gains by copying; in Russian or Japanese
none is.

What is a pair: an entry that has a name in English and in the locale. Where an English name stands for several entries,
as Latin does for a language and a script, it keeps the translation of the first, in the order of `CATEGORIES`: every
source has one target. Names that are the same in both languages stay, for what is left as it is belongs to the task.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from babel import Locale, UnknownLocaleError
from babel.core import get_cldr_version
from babel.localedata import locale_identifiers

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.data.pair_loading import split_pairs
from thalweg.data.pair_schema import PairSchema, both
from thalweg.data.word_splitting import normalized

CATEGORIES = ("territories", "languages", "scripts", "currencies", "variants", "cities", "zones")
"""In the order in which they are read; `variants` are of spellings and dialects, `zones` of time, summer time too."""
FEWEST = 50
"""Names that differ from English, below which there is nothing to learn."""
SHARED_SCRIPT = 0.5
"""The share of characters that stand in the source from which they may be copied: .65 to .83 in Latin scripts, else .06
to .14."""


def names_splits(
    locale: str,
    *,
    categories: Sequence[str] | str | None = None,
    unit: str | Sequence[str] = "characters",
    size: int | Sequence[int] | None = None,
    fewest: int | Sequence[int] | None = None,
    longest: int | Sequence[int] | None = None,
    shared: bool = False,
    copying: bool | None = None,
    tokens: int | None = None,
    validation_share: float | int = 0.1,
    test_share: float | int = 0.1,
    seed: int = 0,
) -> Splits:
    """The splits of English names and what they are in a locale, `"de"` or `"pt_BR"`; no source is in two splits.

    `categories` are some of `CATEGORIES`, by default all; the rest is as in `pair_splits`. Shares are a tenth each, for
    there are only 1,700 to 2,100 names. Without `copying` being said, it is taken where half of a name's characters or
    more stand in the English one, as in all Latin scripts. Each split is a `PairSource`.

    >>> splits = names_splits("nl", categories="territories", copying=True)
    >>> splits.train.schema.names, len(splits.test) == len(splits.validation)
    (('en', 'nl'), True)

    Raises `RecipeError` for a locale that Babel does not know, or has too few names of, and for unknown categories (did
    you mean).
    """
    frame = names_frame(locale, categories)
    english, other = map(str, frame.columns[:2])
    same = int((frame[english] == frame[other]).sum())
    counts = frame["category"].value_counts(sort=False)
    told = ", ".join(f"{category} {count:,}" for category, count in counts.items())
    notice(
        f"Names of the world in '{other}' (Unicode CLDR {get_cldr_version()}): {len(frame):,}, of which {same:,} are "
        f"as in English; {told}."
    )
    if copying is None:
        copying = _copies(frame, both("unit", unit), shared)
    sized: dict[str, Any] = {
        "size": both("size", size),
        "fewest": both("fewest", fewest),
        "longest": both("longest", longest),
    }
    schema = PairSchema((english, other), both("unit", unit), shared=shared, copying=copying, **sized)
    return split_pairs(frame, schema, shares=(validation_share, test_share), tokens=tokens, seed=seed)


def names_frame(locale: str, categories: Sequence[str] | str | None = None) -> pd.DataFrame:
    """English names, those in a locale, and their categories, in an order that is always the same.

    >>> names_frame("de").head(3)
                  en         de     category
    0          world       Welt  territories
    1         Africa     Afrika  territories
    2  North America Nordamerika  territories

    Raises `RecipeError` as `names_splits` does.
    """
    chosen = _categories(categories)
    found, english = _locale(locale), Locale("en")
    pairs: dict[str, tuple[str, str]] = {}
    for category in chosen:
        known, translated = _names(english, category), _names(found, category)
        for key, name in sorted(translated.items()):
            if (own := known.get(key) or _city(key, category)) and name:
                pairs.setdefault(normalized(own).strip(), (normalized(name).strip(), category))
    differing = sum(own != name for own, (name, _) in pairs.items())
    if differing < FEWEST:
        raise RecipeError(
            f"Babel knows {len(pairs):,} names in '{locale}' ({', '.join(chosen)}), of which {differing:,} differ from "
            f"English: too few to learn from. Name another locale, such as 'de', 'nl', 'ru', 'el', 'ja' or 'ar'."
        )
    rows = [(own, name, category) for own, (name, category) in pairs.items()]
    return pd.DataFrame(rows, columns=["en", str(found), "category"], dtype=object)


def held_in_source(sources: Sequence[str], targets: Sequence[str]) -> float:
    """The share of the targets' characters that stand in their own sources, which copying could put out at most.

    >>> held_in_source(["Rome", "Bern"], ["Rom", "\u0411\u0435\u0440\u043d"])
    0.42857142857142855
    """
    held = sum(character in source for source, target in zip(sources, targets, strict=True) for character in target)
    return held / max(1, sum(map(len, targets)))


def _copies(frame: pd.DataFrame, units: tuple[str, str], shared: bool) -> bool:
    """Whether copying is worth it, which is said, and can be."""
    english, other = map(str, frame.columns[:2])
    share = held_in_source(frame[english].tolist(), frame[other].tolist())
    if units[0] != units[1] or (units[0] == "subwords" and not shared):
        return False
    copying = share >= SHARED_SCRIPT
    notice(
        f"{share:.0%} of the characters in '{other}' stand in the English name: "
        f"{'they may be copied' if copying else 'nothing is copied'} (data.copying says so or not)."
    )
    return copying


def _categories(given: Sequence[str] | str | None) -> tuple[str, ...]:
    if given is None:
        return CATEGORIES
    wanted = [part.strip() for part in given.split(",")] if isinstance(given, str) else list(given)
    for name in wanted:
        if name not in CATEGORIES:
            near = did_you_mean(name, CATEGORIES)
            near = f"{near} They" if near.startswith(" Did") else " They"
            raise RecipeError(f"There is no category '{name}' of names.{near} are {', '.join(CATEGORIES)}.")
    if not wanted:
        raise RecipeError(f"categories is empty. Name some of {', '.join(CATEGORIES)}, or leave it out for all.")
    return tuple(category for category in CATEGORIES if category in wanted)


def _locale(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        languages = {spoken.casefold(): code for code, spoken in Locale("en").languages.items()}
        code = languages.get(name.strip().casefold())
        near = f" Did you mean '{code}'?" if code else did_you_mean(name, _without_territory())
        raise RecipeError(
            f"'{name}' is no locale that Babel knows. Write names:LOCALE with a code such as de, ru or pt_BR.{near}"
        ) from None


def _without_territory() -> list[str]:
    return [code for code in locale_identifiers() if "_" not in code]


def _names(locale: Locale, category: str) -> dict[Any, str]:
    """The names of a category by their codes."""
    if category == "cities":
        return {code: zone["city"] for code, zone in locale.time_zones.items() if "city" in zone}
    if category == "zones":
        long = {code: zone["long"] for code, zone in locale.meta_zones.items() if "long" in zone}
        return {f"{code} {kind}": name for code, names in long.items() for kind, name in names.items()}
    return dict(getattr(locale, category))


def _city(code: str, category: str) -> str:
    """The English name of a city, which the code of its time zone is unless another is given: Europe/Vienna."""
    return code.rpartition("/")[2].replace("_", " ") if category == "cities" else ""
