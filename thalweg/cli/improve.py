"""thalweg improve: diagnose, prove a remedy, adopt it, and again."""

import shutil
from typing import TYPE_CHECKING

from thalweg.cli.diary import Diary
from thalweg.cli.exits import gate, interrupted
from thalweg.cli.options import DryRun, TrainingOptions
from thalweg.cli.results import close, command_line, keep_finding, show_plan

if TYPE_CHECKING:
    from thalweg.remedy import Improvement


def improve(
    subject: str,
    /,
    *,
    budget: str = "200",
    rounds: int = 4,
    dry_run: DryRun = False,
    options: TrainingOptions | None = None,
) -> int:
    """Diagnose a subject, prove remedies on paired seeds, adopt what helps, and go round until nothing stands out.

    Parameters
    ----------
    subject
        Built-in data (digits), a data file, a recipe (recipe.toml, recipe.py), a case (case:too-small), or a run.
    budget
        What diagnoses and proofs may cost together: multiples of one training (200), or a time (90s, 10m, 1h).
    rounds
        How often to go round at most.
    dry_run
        List the experiments with their prices and times, and run none.
    options
        How it is trained, and what is said of it.
    """
    from thalweg.cli.stages import Stages
    from thalweg.cli.subject import open_subject
    from thalweg.diagnosis import Budget
    from thalweg.recipes import conclude, expressed
    from thalweg.remedy import improve as circle
    from thalweg.remedy import plan_of_improvement
    from thalweg.training import Outcome

    own = options or TrainingOptions()
    allowed = Budget.of(budget)
    recipe, folder = open_subject(subject, own, words=("status", "cause"))
    if dry_run:
        shutil.rmtree(folder.path)  # a dry run leaves nothing
        note = (
            f"At most {rounds} rounds of this, each for the recipe that came out of the one before; {allowed} in all."
        )
        return show_plan(plan_of_improvement(recipe, own.device), note, own.json_)
    command = command_line("improve", subject, own)
    diary = Diary(folder.path, command)
    try:
        with Stages(own.quiet) as stages:
            result = circle(
                recipe,
                budget=allowed,
                rounds=rounds,
                out=folder,
                device=own.device,
                progress=stages,
                keep=diary.keep,
                settle=lambda improved: expressed(improved, recipe),
            )
    except KeyboardInterrupt as error:
        folder.close(Outcome.INTERRUPTED, [], (), error)
        close(folder.path, dict(diary.document), own.json_, lambda: print(diary))
        return interrupted(error.__cause__ or error)
    conclusion = conclude(result.run, own.device)
    document = {
        "status": str(result.run.status),
        "metrics": conclusion.to_json()["metrics"],
        **keep_finding(folder.path, result.finding, command if result.finding.remedies else None),
        "diary": diary.end(result),
    }
    close(folder.path, document, own.json_, lambda: show_improvement(result))
    words = {"cause": str(result.finding.cause), "status": str(result.run.status)}
    return gate(own.fail_if, conclusion.flat() | words)


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
