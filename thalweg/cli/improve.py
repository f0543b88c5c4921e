"""thalweg improve: diagnose, prove a remedy, adopt it, and again."""

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.cli.diagnose import close, keep_finding
from thalweg.cli.exits import CONDITION, FINE, check_conditions, holds
from thalweg.cli.options import Conditions, Json, Quiet, Set, TableOptions

if TYPE_CHECKING:
    from thalweg.remedy import Improvement


def improve(
    subject: str,
    /,
    *,
    set_: Set = (),
    seed: int | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
    table: TableOptions | None = None,
    budget: float = 200.0,
    rounds: int = 4,
    fail_if: Conditions = (),
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Diagnose a subject, prove remedies on paired seeds, adopt what helps, and go round until nothing stands out.

    Parameters
    ----------
    subject
        Built-in data (digits), a data file, a recipe (recipe.toml, recipe.py), a case (case:too-small), or a run.
    set_
        A setting over the recipe's, as in --set epochs=20 --set optimizer.lr=0.01.
    seed
        The seed of the first training; proofs use seeds of their own.
    out
        The folder in which the run's own folder is made.
    device
        auto, cpu, cuda or mps.
    table
        How a data file is read.
    budget
        What diagnoses and proofs may cost together, in multiples of one training.
    rounds
        How often to go round at most.
    fail_if
        Exit with code 3 where this holds, as in --fail-if 'cause!=NONE' or 'test.accuracy<0.9'.
    json_
        One JSON document on stdout instead of text.
    quiet
        No progress and no notices on stderr.
    """
    import logging

    from thalweg.cli.subject import open_subject
    from thalweg.recipes import conclude, expressed
    from thalweg.remedy import improve as circle

    logging.getLogger("thalweg").setLevel(logging.ERROR if quiet else logging.WARNING)
    check_conditions(fail_if)
    recipe, folder = open_subject(subject, set_, (table or TableOptions()).settings(), seed, out)
    started = time.monotonic()

    def tell(text: str) -> None:
        if not quiet:
            print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    result = circle(
        recipe,
        budget=budget,
        rounds=rounds,
        out=folder,
        device=device,
        say=tell,
        settle=lambda improved: expressed(improved, recipe),
    )
    conclusion = conclude(result.run, device)
    results = keep_finding(folder.path, subject, result.finding)
    document = {
        "run": folder.path.name,
        "path": str(folder.path),
        "status": str(result.run.status),
        "metrics": conclusion.to_json()["metrics"],
        **results,
        "diary": keep_diary(folder.path, subject, result),
    }
    close(folder.path, document, json_, show_improvement, result)
    values = conclusion.flat() | {"cause": str(result.finding.cause), "status": str(result.run.status)}
    return CONDITION if sum(holds(condition, values) for condition in fail_if) else FINE


def keep_diary(path: Path, subject: str, result: "Improvement") -> dict[str, Any]:
    """The diary and the proofs as JSON, written into the run folder."""
    from thalweg.core.files import write_json

    for number, proof in enumerate(result.proofs, 1):
        name = re.sub(r"[^a-z0-9]+", "-", proof.remedy.name.lower()).strip("-")[:60]
        write_json(path / "proofs" / f"{number:02}-{name}.json", proof.to_json())
    diary = {
        "command": f"thalweg improve {subject}",
        "rounds": [
            {
                "round": number,
                "cause": str(turn.finding.cause),
                "sentence": turn.finding.sentence,
                "tried": [
                    {"remedy": p.remedy.name, "helped": p.helped, "effect": p.to_json()["effect"]} for p in turn.proofs
                ],
                "adopted": None if turn.adopted is None else turn.adopted.remedy.name,
            }
            for number, turn in enumerate(result.diary, 1)
        ],
        "start": {"test": _scores(result.before)},
        "end": {"test": _scores(result.after)},
        "ended": result.ended,
    }
    write_json(path / "diary.json", diary)
    return diary


def _scores(scores: dict[str, tuple[float, float, float]]) -> dict[str, dict[str, float]]:
    return {name: dict(zip(("value", "low", "high"), score, strict=True)) for name, score in scores.items()}


def show_improvement(result: "Improvement") -> None:
    """An improvement as a person reads it."""
    from thalweg.cli.show import scores_table, wide_console

    console = wide_console()
    for number, turn in enumerate(result.diary, 1):
        console.print(f"[bold]Round {number}: {turn.finding.cause}[/bold]  ", end="")
        console.print(
            f"{turn.finding.mechanism[:1].upper()}{turn.finding.mechanism[1:]}.", soft_wrap=True, markup=False
        )
        for proof in turn.proofs:
            mark = "adopted" if proof is turn.adopted else "no help"
            says = (
                f"{proof.measure} lower by {proof.effect}, {proof.wins} of {len(proof.pairs)} pairs, p = {proof.p:.3g}"
            )
            console.print(f"  {mark}: {proof.remedy.name}: {says}", soft_wrap=True, markup=False)
    console.print(f"Ended: {result.ended}. On the half of the test data that nothing else has read:", markup=False)
    if result.before:
        console.print(scores_table({"before": result.before, "after": result.after}))
