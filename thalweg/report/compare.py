"""Two runs side by side: in what their recipes differ, and what each scores."""

import math
import re
from typing import Any

from thalweg.report.evidence import Evidence, mapping
from thalweg.report.settings import recipe_fields
from thalweg.report.wording import number

Row = dict[str, str | None]
"""A field that differs, under "field", and its "first" and "second" value; None where a run does not have it."""


def compare_runs(first: Evidence, second: Evidence) -> dict[str, Any]:
    """What two run folders hold, as plain values.

    "recipe" has both values of each field that differs: settings by their names in a recipe file where both runs have
    them, else the recipe's fields. "metrics" has for each split and quantity both values with their intervals, and
    "difference", second minus first, without an interval of its own: the two are not paired. "notes" says so, and where
    the two were judged on other data.

    >>> from pathlib import Path
    >>> one, two = (
    ...     Evidence(Path(), {"run": name}, {"fields": {"seed": seed}}, [], {}, {}, {}, [], {}, {})
    ...     for name, seed in (("a", 0), ("b", 1))
    ... )
    >>> compare_runs(one, two)["recipe"]
    [{'field': 'seed', 'first': '0', 'second': '1'}]
    """
    differing = _differences(first.recipe, second.recipe)
    metrics = {split: _scores(first, second, split) for split in _splits(first, second)}
    return {
        "first": _about(first),
        "second": _about(second),
        "recipe": differing,
        "metrics": metrics,
        "notes": _notes(differing) if metrics else [],
    }


def _notes(differing: list[Row]) -> list[str]:
    """How far the two columns of scores can be compared."""
    if any(str(row["field"]).partition(".")[0] == "data" for row in differing):
        return ["The two were not given the same data, so that a difference need not come from the model."]
    return ["A difference has no interval: the runs are not paired. Whether a change helps, thalweg improve proves."]


def _about(evidence: Evidence) -> dict[str, Any]:
    kept = {key: evidence.run.get(key) for key in ("run", "name", "status", "epochs", "best_epoch", "seconds")}
    return kept | {"path": str(evidence.folder), "fingerprint": evidence.recipe.get("fingerprint")}


def _splits(first: Evidence, second: Evidence) -> list[str]:
    return list(dict.fromkeys([*first.scores, *second.scores]))


def _scores(first: Evidence, second: Evidence, split: str) -> dict[str, dict[str, Any]]:
    scores = [run.scores.get(split, {}) for run in (first, second)]
    found = {}
    for name in dict.fromkeys(name for one in scores for name in one):
        before, after = (one.get(name) for one in scores)
        difference = number(mapping(after).get("value")) - number(mapping(before).get("value"))
        found[name] = {"first": before, "second": after, "difference": None if math.isnan(difference) else difference}
    return found


def _differences(first: dict[str, Any], second: dict[str, Any]) -> list[Row]:
    """The fields that differ; a difference that no name shows is told by the fingerprint."""
    settings = [_flat(mapping(mapping(written.get("origin")).get("settings"))) for written in (first, second)]
    fields = [recipe_fields(written) for written in (first, second)]
    differing = _unequal(*settings) if all(settings) else []
    named = {part for row in differing for part in str(row["field"]).split(".")}
    differing += [row for row in _unequal(*fields) if row["field"] not in named]
    prints = [written.get("fingerprint") for written in (first, second)]
    if not differing and prints[0] != prints[1]:
        return [{"field": "fingerprint", "first": str(prints[0]), "second": str(prints[1])}]
    return differing


def _unequal(first: dict[str, str], second: dict[str, str]) -> list[Row]:
    names = dict.fromkeys([*first, *second])
    rows: list[Row] = [{"field": name, "first": first.get(name), "second": second.get(name)} for name in names]
    return [_pointed(row) for row in rows if row["first"] != row["second"]]


def _pointed(row: Row) -> Row:
    """A field whose two values are the same piece with other arguments, told by those arguments alone."""
    calls = [re.fullmatch(r"([\w.]+)\((.*)\)", row[key] or "") for key in ("first", "second")]
    if not all(calls) or any(re.search(r"[()\[\]{}'\"]", call[2]) for call in calls if call):
        return row
    (name, before), (other, after) = (call.groups() for call in calls if call)
    if name != other:
        return row
    parts = [[part.strip() for part in text.split(",")] for text in (before, after)]
    kept = [", ".join(part for part in mine if part not in other) for mine, other in (parts, parts[::-1])]
    return row | {"first": f"{name}({kept[0]})", "second": f"{name}({kept[1]})"}


def _flat(settings: dict[str, Any]) -> dict[str, str]:
    return {
        f"{name}.{key}": str(value) for name, section in settings.items() for key, value in mapping(section).items()
    }
