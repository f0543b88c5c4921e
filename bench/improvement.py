"""What the remedies that `thalweg.improve` adopts are worth on data that the program never saw, and on real data.

python bench/improvement.py cases --half report [--planted 24] [--healthy 8] [--jobs 1] [--json FILE]

improves a random sample of the certified cases, and trains every adopted remedy anew on five fresh seeds: without it,
with it, and a random change of the same cost beside it. All are judged on the half of the test split that `improve`
reads at its end alone, so that nothing was chosen by it.

    THALWEG_DATA=... python bench/improvement.py real [--budget 40] [--only german]
    THALWEG_DATA=... python bench/improvement.py long

improves an ordinary recipe for each of six real data sets, with a search by optuna of the same cost beside it (where
it is installed), and prices a verdict on a training of more than 30 seconds. Rows are kept under runs/, by the state of
the library, so that a run goes on where it was interrupted.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from hashlib import sha256
from itertools import zip_longest
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diagnosis import ROOT, Row, bounded, library, share
from diagnosis_cases import CASES, Case, half
from diagnosis_certify import certified, outputs, split_of, wrong
from improvement_real import DATA_SETS, improved_real, long_training, table_of, unread
from machine import machine
from scipy.stats import t as students

import thalweg
from thalweg.core.source import Indexed
from thalweg.diagnosis import Cause
from thalweg.diagnosis.halving import halves, splittable
from thalweg.diagnosis.laboratory import first_batch
from thalweg.remedy.circle import opened_test
from thalweg.remedy.proof import Proof
from thalweg.remedy.prove import laid_out
from thalweg.remedy.random_change import random_change

BUDGET, LIMIT = 60.0, 400.0
"""Trainings that improving a case may cost, and the seconds of computing after which it counts as an error."""
SEEDS, FAR = 5, 500_000
"""Fresh seeds for each remedy, so far from the recipe's that no diagnosis, race or proof has used them."""
SLOWEST = 4.0
"""A case takes part where one training took no longer when it was certified, on a busy machine: 1 s on an idle one."""
PLANTED = [cause for cause in Cause if cause not in (Cause.NONE, Cause.UNDECIDED)]


# --- one case ---------------------------------------------------------------------------------------------------------


def improved(case: Case, budget: float) -> Row:
    """A case improved, and what each adopted remedy is worth on data that nothing has read."""
    recipe = case.faulty()
    result = thalweg.improve(recipe, budget=budget, device="cpu")
    adopted, now = [], recipe
    for turn in result.diary:
        if turn.adopted is not None:
            adopted.append(worth(case, now, turn.adopted))
            now = turn.adopted.kept(now)
    return {
        "found": [str(turn.finding.cause) for turn in result.diary],
        "ended": result.ended,
        "proofs": len(result.proofs),
        "adopted": adopted,
        "times": result.cost.times,
        "runs": result.cost.runs,
        "seconds": result.cost.seconds,
    }


def worth(case: Case, recipe: thalweg.Recipe, proof: Proof) -> Row:
    """Losses and natural errors without a remedy, with it and with a random change: fresh seeds, the unread half."""
    test = opened_test(recipe)
    unseen, places = halves(test)[1], unread(len(test))
    lab = laid_out(recipe, proof.kept, "cpu", None)
    treated = proof.kept(lab.recipe)
    cost = lab.price_of(treated)
    drawn = random_change(lab.recipe, first_batch(lab.train), cost, proof.remedy.name)
    changed = drawn(lab.recipe)
    asked = {"before": (lab.recipe, 0), "after": (treated, 0), "random": (changed, changed.seed - lab.recipe.seed)}
    found: Row = {"errors": {}}
    values: dict[str, list[Any]] = {}
    for name, (one, shift) in asked.items():
        seeds = [lab.recipe.seed + FAR + shift + number for number in range(SEEDS)]
        runs = lab.run(f"unseen: {name}", one, seeds)
        losses = [lab.losses(run, unseen) for run in runs]
        found[name] = [inf if each is None else each.mean()[0] for each in losses]
        values[name] = [None if each is None else each.values for each in losses]
        found["errors"][name] = [natural(case, recipe, run, places, proof.kept.cause) for run in runs]
    return found | {
        "remedy": proof.kept.name,
        "cause": str(proof.kept.cause),
        "proved": [list(pair) for pair in proof.pairs],
        "chance": drawn.name,
        "cost": cost,
        "examples": {name: noise_of_examples(values["before"], values[name]) for name in ("after", "random")},
    }


def natural(case: Case, recipe: thalweg.Recipe, run: Any, places: np.ndarray, cause: Cause) -> float | None:
    """The natural error of a run on some test examples; None where outputs are read in no known way.

    A repair of the wiring may change what the outputs are: they are then read as the twin's where that is better.
    """
    if not run.status.good:
        return 1.0
    ways = {case.reads, case.twin_reads} if cause is Cause.WIRING and case.repaired else {case.reads}
    found = []
    for reads in ways:
        try:
            x, y = split_of(recipe, "test", case.opens)
            found.append(float(wrong(case.task, outputs(run.model, x, recipe.batch_size), y, reads)[places].mean()))
        except (RuntimeError, TypeError, ValueError, IndexError):
            continue
    return min(found, default=None)


def limited(what: str, name: str, budget: float, limit: float) -> tuple[str, Row]:
    """One row, in a process of its own."""

    def work() -> Row:
        return improved(CASES[name], budget) if what == "cases" else improved_real(name, budget)

    source = CASES[name].source if what == "cases" else ""
    return name, bounded(work, limit) | {"source": source, "budget": budget}


def ask(what: str, names: Iterable[str], asked: argparse.Namespace, revision: str) -> dict[str, Row]:
    """What is known of these, and what is not yet, in parallel; each row is kept as it comes."""
    store = ROOT / "runs" / "improvement-bench" / f"{what}-{revision}.jsonl"
    store.parent.mkdir(parents=True, exist_ok=True)
    lines = store.read_text().splitlines() if store.exists() and not asked.again else []
    kept = {row["name"]: row for row in map(json.loads, lines) if row["budget"] == asked.budget}
    sources = {name: CASES[name].source if what == "cases" else "" for name in names}
    known = {name: kept[name] for name in names if name in kept and kept[name]["source"] == sources[name]}
    missing = [name for name in names if name not in known and not asked.known]
    with store.open("a") as file, ProcessPoolExecutor(asked.jobs) as pool:
        waiting = [pool.submit(limited, what, name, asked.budget, asked.limit) for name in missing]
        for number, done in enumerate(as_completed(waiting), start=1):
            name, row = done.result()
            known[name] = row
            print(json.dumps({"name": name, **row}), file=file, flush=True)
            print(f"{what}: {number} of {len(missing)}, {row['computed']:.0f} s", file=sys.stderr, flush=True)
    return {name: known[name] for name in names if name in known}


def sample(wanted: str, planted: int, healthy: int, slowest: float, only: str = "") -> list[str]:
    """A random sample of the certified cases of a half: as many of each cause as there are, healthy ones in between.

    The order is that of a hash, so that a smaller sample is the beginning of a larger one.
    """
    rows = certified()
    order = sorted(rows, key=lambda name: sha256(f"improvement of {name}".encode()).digest())
    fast = [
        name for name in order if rows[name]["verdict"] in ("planted", "healthy") and rows[name]["seconds"] < slowest
    ]
    fast = [name for name in fast if wanted in ("both", half(name)) and only in name]
    by_cause = {cause: [name for name in fast if CASES[name].cause is cause] for cause in (*PLANTED, Cause.NONE)}
    well = list(_first(filter(_has_unread_half, by_cause.pop(Cause.NONE)), healthy))
    turns = zip_longest(*(filter(_has_unread_half, names) for names in by_cause.values()))
    ill = list(_first((name for turn in turns for name in turn if name is not None), planted))
    step = max(1, round(len(ill) / max(len(well), 1)))
    parts = zip_longest(*(ill[start::step] for start in range(step)), well)
    return [name for part in parts for name in part if name is not None]


def _first(names: Iterator[str], count: int) -> Iterator[str]:
    return (name for name, _ in zip(names, range(count), strict=False)) if count else iter(())


def _has_unread_half(name: str) -> bool:
    recipe = CASES[name].faulty()
    test = None if recipe.data.test is None else opened_test(recipe)
    return isinstance(test, Indexed) and splittable(test)


# --- what it comes to -------------------------------------------------------------------------------------------------


def relative(before: float, after: float) -> float:
    """How much lower a loss is after, as a share of the higher of both: from -1 to 1 while losses are positive.

    Losses of different cases have no common unit. A share of the loss before alone would go down to minus infinity, so
    that one change that makes training diverge would outweigh all others; as a share of the higher one it counts as -1.

    >>> relative(0.5, 0.25), relative(0.25, 0.5), relative(1.0, inf), relative(inf, 1.0), relative(inf, inf)
    (0.5, -0.5, -1.0, 1.0, 0.0)
    """
    if not (isfinite(before) and isfinite(after)):
        return float(isfinite(after)) - float(isfinite(before))
    level = max(abs(before), abs(after))
    return 0.0 if level == 0 else float(np.clip((before - after) / level, -1, 1))


def noise_of_examples(before: list[Any], after: list[Any]) -> float:
    """The standard error, over examples, of the mean difference of losses, in the unit of `relative`.

    A loss that gives only one value for each batch may have another number of them after a remedy: they are then no
    pairs.

    >>> round(noise_of_examples([[1.0, 3.0]], [[0.0, 2.0]]), 3), noise_of_examples([[1.0, 3.0]], [[0.0, 2.0, 1.0]]) > 0
    (0.0, True)
    >>> noise_of_examples([[1.0, 3.0], [1.0, 3.0, 2.0]], [[0.0, 2.0], [0.0, 2.0]]) > 0
    True
    """
    if any(each is None for each in (*before, *after)):
        return 0.0
    first, second = map(_typical, (before, after))
    level = max(abs(first.mean()), abs(second.mean()))
    if level == 0 or min(len(first), len(second)) < 2:
        return 0.0
    if len(first) != len(second):
        return float((first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)) ** 0.5 / level)
    return float((first - second).std(ddof=1) / len(first) ** 0.5 / level)


def _typical(runs: list[Any]) -> np.ndarray:
    """The mean of the runs' values, or where one has another number of them than the others those of the most."""
    if len({len(each) for each in runs}) > 1:
        return np.asarray(max(runs, key=len))
    return np.mean(runs, axis=0)


def effects(remedy: Row, name: str = "after") -> list[float]:
    """The effect on each seed.

    >>> effects({"before": [1.0, 1.0], "after": [0.5, 2.0]})
    [0.5, -0.5]
    """
    return [relative(before, after) for before, after in zip(remedy["before"], remedy[name], strict=True)]


def interval(remedy: Row, name: str = "after", examples: bool = True) -> tuple[float, float, float]:
    """The mean effect of a remedy with its 95 % interval over seeds, and over test examples as well."""
    found = np.array(effects(remedy, name))
    variance = found.var(ddof=1) / len(found) + (remedy["examples"][name] ** 2 if examples else 0.0)
    width = float(students.ppf(0.975, len(found) - 1)) * variance**0.5
    return float(found.mean()), float(found.mean() - width), float(found.mean() + width)


def pooled(
    by_case: list[list[Row]], number: Callable[[Row], float | None], draws: int = 4000
) -> tuple[float, float, float]:
    """The mean of a number over all adopted remedies with its 95 % interval, from resamples of whole cases.

    Remedies of one case belong together: cases are drawn with all that was adopted in them.

    >>> pooled([[{"x": 1.0}], [{"x": 1.0}, {"x": 1.0}]], lambda remedy: remedy["x"])
    (1.0, 1.0, 1.0)
    """
    numbers = [[each for each in map(number, remedies) if each is not None] for remedies in by_case]
    sums, counts = (np.array([float(f(each)) for each in numbers if each]) for f in (sum, len))
    if not len(sums):
        return float("nan"), float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(0, len(sums), (draws, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(sums.sum() / counts.sum()), float(low), float(high)


def fewer_errors(remedy: Row, name: str = "after") -> float | None:
    """By how much the natural error is lower, on average over seeds; None where it is not known."""
    both = list(zip(remedy["errors"]["before"], remedy["errors"][name], strict=True))
    return None if any(None in pair for pair in both) else float(np.mean([before - after for before, after in both]))


def _mean(remedy: Row, name: str) -> float:
    return float(np.mean(effects(remedy, name)))


def _lead(remedy: Row) -> float:
    return _mean(remedy, "after") - _mean(remedy, "random")


def _lead_in_errors(remedy: Row) -> float | None:
    both = fewer_errors(remedy), fewer_errors(remedy, "random")
    return None if both[0] is None or both[1] is None else both[0] - both[1]


def _proved(remedy: Row) -> float:
    return float(np.mean([relative(before, after) for _, before, after in remedy["proved"]]))


def told(value: tuple[float, float, float]) -> str:
    """A number with its interval.

    >>> told((0.25, -0.1, 0.6))
    '+0.250 [-0.100, +0.600]'
    """
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*value)


def summary(rows: dict[str, Row]) -> dict[str, str]:
    """Everything in lines, by name."""
    sound = {name: row for name, row in rows.items() if "error" not in row}
    by_case = [row["adopted"] for row in sound.values()]
    remedies = [remedy for each in by_case for remedy in each]
    worse = {both: [one for one in remedies if interval(one, examples=both)[2] < 0] for both in (False, True)}
    better = [one for one in remedies if interval(one)[1] > 0]
    planted = [row for name, row in rows.items() if CASES[name].cause is not Cause.NONE]
    healthy = [row for name, row in rows.items() if CASES[name].cause is Cause.NONE]
    return {
        "planted, something adopted": share(sum(bool(row.get("adopted")) for row in planted), len(planted)),
        "planted, left as it is": share(sum(row.get("adopted") == [] for row in planted), len(planted)),
        "healthy, something adopted": share(sum(bool(row.get("adopted")) for row in healthy), len(healthy)),
        "errors": share(len(rows) - len(sound), len(rows)),
        "adopted remedies": f"{len(remedies)} in {sum(map(bool, by_case))} recipes",
        "as proved, on validation or probe": told(pooled(by_case, _proved)),
        "on unseen data, share of the loss": told(pooled(by_case, lambda one: _mean(one, "after"))),
        "random changes, the same": told(pooled(by_case, lambda one: _mean(one, "random"))),
        "remedy beyond random change": told(pooled(by_case, _lead)),
        "on unseen data, natural error less": told(pooled(by_case, fewer_errors)),
        "random changes, natural error less": told(pooled(by_case, lambda one: fewer_errors(one, "random"))),
        "natural error beyond random change": told(pooled(by_case, _lead_in_errors)),
        "better on unseen data": share(len(better), len(remedies)),
        "worse on unseen data": share(len(worse[True]), len(remedies)),
        "worse on these very examples": share(len(worse[False]), len(remedies)),
        "better than its random change": share(sum(_lead(one) > 0 for one in remedies), len(remedies)),
    }


def costs(rows: dict[str, Row]) -> str:
    """Medians of what improving has cost."""
    spent = [row for row in rows.values() if "times" in row]
    if not spent:
        return "none"
    times, computed = (np.array([row[name] for row in spent]) for name in ("times", "computed"))
    return (
        f"{np.median(times):.0f} trainings (90 %: {np.quantile(times, 0.9):.0f}), {np.median(computed):.0f} s computed"
    )


def show_cases(rows: dict[str, Row], names: bool) -> None:
    """Print what it comes to; cases by name only where one may learn from them."""
    for name, text in summary(rows).items():
        print(f"  {name:<36} {text}")
    print(f"  {'cost, median':<36} {costs(rows)}")
    by: dict[str, list[tuple[str, Row]]] = defaultdict(list)
    for name, row in rows.items():
        for remedy in row.get("adopted", ()):
            by[remedy["cause"]].append((name, remedy))
    print("\n  adopted, by cause")
    for cause, adopted in sorted(by.items()):
        each = [[remedy] for _, remedy in adopted]
        beside = told(pooled(each, lambda one: _mean(one, "random")))
        effect = told(pooled(each, lambda one: _mean(one, "after")))
        print(f"  {cause:<14} {len(adopted):>3}   unseen {effect}   random {beside}")
        for name, remedy in adopted:
            mark = "WORSE " if interval(remedy)[2] < 0 else "worse?" if _mean(remedy, "after") < 0 else ""
            case = f"{name}: " if names else ""
            print(f"      {told(interval(remedy))}  {mark:<6} {case}{remedy['remedy']}  (random: {remedy['chance']})")
    print(f"\n  ended: {dict(Counter(row.get('ended', row.get('error')) for row in rows.values()))}")
    for name, row in rows.items():
        if names and "traceback" in row:
            print(f"\n  {name}\n{row['traceback']}")


def main() -> None:
    """Improve cases or real recipes, and print what it comes to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("cases", "real", "long"))
    parser.add_argument("--half", choices=("develop", "report", "both"), default="develop")
    parser.add_argument("--only", default="", help="part of a name")
    parser.add_argument("--planted", type=int, default=24, help="how many planted cases")
    parser.add_argument("--healthy", type=int, default=8, help="how many healthy cases")
    parser.add_argument("--slowest", type=float, default=SLOWEST, help="seconds of a training, as certified")
    parser.add_argument("--budget", type=float, help="trainings that improving may cost")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of computing for a case")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="also what is known already")
    parser.add_argument("--known", action="store_true", help="the tables of what is known already, nothing is run")
    parser.add_argument("--json", type=Path, help="a file for all that was found")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    revision = library()
    if asked.what == "long":
        print(f"{machine()}, package {revision}\n{long_training()}")
        return
    asked.budget = asked.budget or (BUDGET if asked.what == "cases" else 40.0)
    if asked.what == "real":
        asked.limit = max(asked.limit, 1200.0)
        rows = ask("real", [name for name in DATA_SETS if asked.only in name], asked, revision)
        print(f"{machine()}, package {revision}, budget {asked.budget:g} trainings\n")
        print("\n".join(table_of(rows)))
    else:
        names = sample(asked.half, asked.planted, asked.healthy, asked.slowest, asked.only)
        rows = ask("cases", names, asked, revision)
        print(f"{machine()}, package {revision}, {len(rows)} cases: {asked.half}, {asked.budget:g} trainings each\n")
        show_cases(rows, names=asked.half == "develop")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"package": revision, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
