"""How often `thalweg.diagnose` names the cause of a planted fault, and how often it cries wolf at a healthy program.

python bench/diagnosis_certify.py, once, measures which faults harm; only these count. Then

    python bench/diagnosis.py --half develop [--only NAME] [--jobs 2] [--rules] [--json FILE]

The develop half is there to learn from, and its misses are listed. The report half is there to be reported: of it only
totals are printed. What was found is kept under runs/, by the state of the library, so that a run goes on where it was
interrupted. `--rules` asks AutoTrainer's and DeepDiagnosis's rules about the same programs and their twins.
What the remedies are worth that follow from a diagnosis, on these cases and on real data, is asked by improvement.py.
"""

import argparse
import json
import signal
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from diagnosis_cases import CASES, SETUPS, Case, half
from diagnosis_certify import certified
from diagnosis_rules import RULES, symptoms
from machine import machine

import thalweg
from thalweg.diagnosis import Cause
from thalweg.training.interval import wilson

ROOT = Path(__file__).parent.parent
BUDGET, LIMIT = 20.0, 120.0
"""Multiples of one training that a diagnosis may cost, and the seconds of computing after which it counts as wrong."""
Row = dict[str, Any]
NAMES = [str(cause) for cause in Cause]


class TooLong(BaseException):
    """A case has run out of time."""


def library() -> str:
    """The state of the package: the hash of its tree, and of what was changed since."""

    def git(*words: str) -> bytes:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout

    changed = git("diff", "HEAD", "--", "thalweg")
    tree = git("rev-parse", "HEAD:thalweg").decode()[:10]
    return tree + (f"-{sha256(changed).hexdigest()[:6]}" if changed else "")


def bounded(work: Callable[[], Row], limit: float) -> Row:
    """A row of what some work gives within so many seconds of computing; what it raises is an answer too."""

    def ring(signal_number: int, frame: Any) -> None:
        raise TooLong

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, limit)
    began = process_time()
    try:
        row = work()
    except TooLong:
        row = {"error": f"longer than {limit:g} s"}
    except Exception as error:
        row = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return row | {"computed": process_time() - began}


def timed(name: str, what: str, limit: float) -> tuple[str, str, Row]:
    """One case, diagnosed or asked about by the rules, in a process of its own."""
    case = CASES[name]

    def work() -> Row:
        return diagnosed(case) if what == "diagnose" else dict(symptoms(case.faulty(), case.task, case.reads))

    return name, what, bounded(work, limit) | {"source": case.source}


def diagnosed(case: Case) -> Row:
    """The finding of a case, without its experiments."""
    finding = thalweg.diagnose(case.faulty(), budget=BUDGET, device="cpu")
    found = finding.to_json()
    kept = {name: value for name, value in found.items() if name not in ("experiments", "remedies", "next")}
    return kept | {"remedies": [remedy.name for remedy in finding.remedies]}


def ask(names: Iterable[str], what: str, store: Path, asked: argparse.Namespace) -> dict[str, Row]:
    """What is known of these cases, and what is not yet, in parallel; each answer is kept as it comes."""
    store.parent.mkdir(parents=True, exist_ok=True)
    lines = store.read_text().splitlines() if store.exists() and not asked.again else []
    kept = {row["name"]: row for row in map(json.loads, lines)}
    known = {name: kept[name] for name in names if name in kept and kept[name]["source"] == CASES[name].source}
    missing = [name for name in names if name not in known and not asked.known]
    with store.open("a") as file, ProcessPoolExecutor(asked.jobs) as pool:
        waiting = [pool.submit(timed, name, what, asked.limit) for name in missing]
        for number, done in enumerate(as_completed(waiting), start=1):
            name, _, row = done.result()
            known[name] = row
            print(json.dumps({"name": name, **row}), file=file, flush=True)
            print(f"{what}: {number} of {len(missing)}", file=sys.stderr, flush=True)
    return known


# --- what it comes to -------------------------------------------------------------------------------------------------


def said(row: Row) -> list[str]:
    """The causes of a finding, the first one first, each once."""
    if "error" in row:
        return ["ERROR"]
    return list(dict.fromkeys([row["cause"], *(ranked["cause"] for ranked in row["ranked"])]))


def right(case: Case, row: Row, places: int) -> bool:
    """Whether the cause, or one that is the same thing, is among the first so many that the finding names."""
    accepted = {str(cause) for cause in (case.cause, *case.also)}
    named = said(row) if places == 1 else [name for name in said(row) if name != str(Cause.UNDECIDED)]
    return bool(accepted & set(named[:places]))


def share(count: int, of: int) -> str:
    """A count as a share with Wilson's interval.

    >>> share(9, 10)
    '9 of 10 = 0.90 [0.60, 0.98]'
    """
    if not of:
        return "none"
    value, low, high = wilson(count, of)
    return f"{count} of {of} = {value:.2f} [{low:.2f}, {high:.2f}]"


def summary(rows: dict[str, Row]) -> dict[str, str]:
    """The shares by name."""
    planted = [(CASES[name], row) for name, row in rows.items() if CASES[name].cause is not Cause.NONE]
    healthy = [row for name, row in rows.items() if CASES[name].cause is Cause.NONE]
    flagged = [row for _, row in planted if said(row)[0] not in ("NONE", "UNDECIDED", "ERROR")]
    named = [row for row in healthy if said(row)[0] not in ("NONE", "UNDECIDED")]
    open_ = [row for row in healthy if said(row)[0] == "UNDECIDED"]
    unsure = sum(said(row)[0] == "UNDECIDED" for _, row in planted)
    return {
        "flagged with a cause": share(len(flagged), len(planted)),
        "flagged, UNDECIDED too": share(len(flagged) + unsure, len(planted)),
        "right cause first": share(sum(right(case, row, 1) for case, row in planted), len(planted)),
        "right among first two": share(sum(right(case, row, 2) for case, row in planted), len(planted)),
        "false alarms": share(len(named), len(healthy)),
        "false alarms, UNDECIDED too": share(len(named) + len(open_), len(healthy)),
        "errors": share(sum("error" in row for row in rows.values()), len(rows)),
    }


def confusion(rows: dict[str, Row]) -> list[str]:
    """Expected causes down, found ones across."""
    found = [*NAMES, "ERROR"]
    counts = Counter((str(CASES[name].cause), said(row)[0]) for name, row in rows.items())
    lines = [f"{'expected':<14}" + "".join(f"{name[:9]:>11}" for name in found)]
    for expected in NAMES:
        numbers = [counts[expected, name] for name in found]
        if sum(numbers):
            lines.append(f"{expected:<14}" + "".join(f"{number or '.':>11}" for number in numbers))
    return lines


def grouped(rows: dict[str, Row], by: str) -> list[str]:
    """The right cause first, and false alarms, by family or by cause."""
    lines = []
    for value in sorted({str(getattr(CASES[name], by)) for name in rows}):
        part = {name: row for name, row in rows.items() if str(getattr(CASES[name], by)) == value}
        told = summary(part)
        planted = told["right cause first"] != "none"
        first = f"right first {told['right cause first']:<34}" if planted else " " * 46
        lines.append(f"{value:<14}{first} false alarms {told['false alarms']}")
    return lines


def cost(rows: dict[str, Row]) -> str:
    """Median and 90th percentile of what a diagnosis costs."""
    spent = [row["cost"] for row in rows.values() if "cost" in row]
    if not spent:
        return "none"
    times, seconds = ([each[name] for each in spent] for name in ("times", "seconds"))
    computed = [row["computed"] for row in rows.values()]
    return (
        f"{np.median(times):.1f} trainings (90 %: {np.quantile(times, 0.9):.1f}), runs {np.median(seconds):.1f} s "
        f"(90 %: {np.quantile(seconds, 0.9):.1f}), computing {np.median(computed):.1f} s"
    )


def show(rows: dict[str, Row], misses: bool) -> None:
    """Print the tables."""
    for name, text in summary(rows).items():
        print(f"  {name:<30} {text}")
    print(f"  {'cost, median':<30} {cost(rows)}\n")
    print("\n".join(f"  {line}" for line in confusion(rows)))
    for by in ("family", "cause"):
        print(f"\n  by {by}")
        print("\n".join(f"  {line}" for line in grouped(rows, by)))
    if not misses:
        return
    print("\n  misses")
    for name, row in sorted(rows.items(), key=lambda item: (str(CASES[item[0]].cause), item[0])):
        case = CASES[name]
        if not right(case, row, 1):
            print(f"  {name} ({case.family}; {case.cause}: {case.mechanism})")
            print(f"      {said(row)[0]}: {row.get('error') or row['mechanism']}")


def show_rules(rows: dict[str, Row], twins: dict[str, Row], ours: dict[str, Row]) -> None:
    """Alarms of the rules on the faulty programs and on their twins; a tool helps where it tells the two apart."""
    print("\n  rules                 apart: alarm on the fault alone      alarm on the fault               on the twin")
    planted = [name for name in rows if CASES[name].cause is not Cause.NONE and CASES[name].twin is not None]
    answers = {tool: (lambda name, tool=tool: rows[name].get(tool, "error")) for tool in RULES}
    of_twins = {tool: (lambda name, tool=tool: twins[name].get(tool, "error")) for tool in RULES}
    for tool in RULES:
        pairs = [(answers[tool](name), of_twins[tool](twin_of(name))) for name in planted if twin_of(name) in twins]
        _line(tool, [(a is not None, b is not None) for a, b in pairs if a != "n/a"], sum(a == "n/a" for a, _ in pairs))
    both = [name for name in planted if name in ours and twin_of(name) in ours]
    quiet = ("NONE", "UNDECIDED")
    noticed = [(said(ours[name])[0] not in quiet, said(ours[twin_of(name)])[0] not in quiet) for name in both]
    _line("thalweg", noticed, 0)
    healthy = [name for name in rows if CASES[name].cause is Cause.NONE]
    for tool in RULES:
        asked = [answer for name in healthy if (answer := rows[name].get(tool, "error")) != "n/a"]
        counts = Counter(answer for answer in asked if answer is not None)
        print(f"  {tool}: alarms on healthy programs {share(sum(counts.values()), len(asked))}; {dict(counts)}")


def twin_of(name: str) -> str:
    """The name of a planted case's repaired twin."""
    twin = CASES[name].twin
    assert twin is not None, f"{name} has no twin"
    return twin.name


def _line(tool: str, pairs: list[tuple[bool, bool]], without: int) -> None:
    apart, alarms, on_twin = sum(a and not b for a, b in pairs), sum(a for a, _ in pairs), sum(b for _, b in pairs)
    parts = "   ".join(f"{share(count, len(pairs)):<30}" for count in (apart, alarms, on_twin))
    print(f"  {tool:<20}  {parts} {f'n/a {without}' if without else ''}")


def main() -> None:
    """Diagnose the cases of a half, and print what it comes to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--half", choices=("develop", "report", "both"), default="develop")
    parser.add_argument("--only", help="part of a name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of computing for a case")
    parser.add_argument("--rules", action="store_true", help="ask the rules of other tools too")
    parser.add_argument("--again", action="store_true", help="also what is known already")
    parser.add_argument("--known", action="store_true", help="the tables of what is known already, nothing is run")
    parser.add_argument("--json", type=Path, help="a file for all that was found")
    asked = parser.parse_args()
    known = certified()
    counted = [name for name, row in known.items() if row["verdict"] in ("planted", "healthy")]
    names = [name for name in counted if asked.half in ("both", half(name)) and (asked.only or "") in name]
    revision, runs = library(), ROOT / "runs" / "diagnosis-bench"
    print(f"{machine()}, package {revision}, {len(names)} of {len(counted)} certified cases: {asked.half}")
    rows = ask(names, "diagnose", runs / f"{revision}.jsonl", asked)
    show(rows, misses=asked.half == "develop")
    if asked.rules:
        kept = runs / "rules.jsonl"
        wanted = [*names, *(name for name in SETUPS if name not in names)]
        answers = ask(wanted, "rules", kept, asked)
        show_rules({name: answers[name] for name in names if name in answers}, answers, rows)
    if asked.json is not None:
        told = {"package": revision, "half": asked.half, "summary": summary(rows)}
        asked.json.write_text(json.dumps(told | {"cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
