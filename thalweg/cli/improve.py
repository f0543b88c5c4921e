"""thalweg improve: diagnose, prove a remedy, adopt it, and again."""

from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.cli.begun import BUDGET, KEPT, ROUNDS, Begun, begun_in, check_alike, forget_runs, unfinished
from thalweg.cli.diagnose import WORDS
from thalweg.cli.diary import Diary
from thalweg.cli.exits import FAILED, interrupt_says, interrupted
from thalweg.cli.options import DryRun, TrainingOptions
from thalweg.cli.results import close, command_line, keep_finding, show_plan

if TYPE_CHECKING:
    from thalweg.remedy import Improvement
    from thalweg.training import Recipe, RunFolder


def improve(
    subject: str,
    /,
    *,
    budget: str = BUDGET,
    rounds: int = ROUNDS,
    dry_run: DryRun = False,
    options: TrainingOptions | None = None,
) -> int:
    """Diagnose a subject, prove remedies on paired seeds, adopt what helps, and go round until nothing stands out.

    Parameters
    ----------
    subject
        Built-in data (digits), a data file, a folder of images, a recipe (recipe.toml, recipe.py), a case, or a run; an
        improvement that was interrupted goes on.
    budget
        What diagnoses and proofs may cost together: multiples of one training (200), or a time (90s, 10m, 1h).
    rounds
        How often to go round at most.
    dry_run
        List the experiments with their prices and times, and run none.
    options
        How it is trained, and what is said of it.
    """
    from thalweg.cli.subject import lasting, open_subject, understood
    from thalweg.diagnosis import Budget
    from thalweg.remedy import plan_of_improvement
    from thalweg.remedy.improve import begun_with
    from thalweg.remedy.prove import check_counts

    own = options or TrainingOptions()
    allowed = Budget.of(budget)
    subject = lasting(subject, own.out)
    if not dry_run and (folder := unfinished(subject, own.out)) is not None:
        check_alike(folder, own, budget, rounds)
        return go_on(folder, own)
    check_counts(rounds=rounds)
    if dry_run:
        recipe, _ = understood(subject, own, WORDS)
        note = (
            f"At most {rounds} rounds of this, each for the recipe that came out of the one before; {allowed} in all."
        )
        return show_plan(plan_of_improvement(recipe, own.device, allowed), note, own.json_)
    recipe, run_folder = open_subject(subject, own, WORDS, kind="improve", trial=begun_with)
    begun = Begun.of(subject, budget, rounds, own, recipe)
    begun.keep(run_folder.path)
    return turned(begun, recipe, run_folder, own)


def go_on(path: Path, own: TrainingOptions) -> int:
    """Go on with an improvement that was interrupted or killed: what has ended is not trained again."""
    from thalweg.training import RunFolder

    begun = begun_in(path)
    assert begun is not None
    own.set_notices()
    away = Path(begun.place) != Path.cwd()
    folder = RunFolder.reopen(path.absolute() if away else path, kind="improve")
    try:
        with begun.at_its_place():
            recipe = begun.recipe(own)
            folder.begin([])
            return turned(begun, recipe, folder, begun.options(own))
    finally:
        folder.release()


def turned(begun: Begun, recipe: "Recipe", folder: "RunFolder", own: TrainingOptions) -> int:
    """Go round in a folder, and keep what comes of it."""
    from thalweg.cli.stages import Stages
    from thalweg.core.files import own_folder
    from thalweg.diagnosis import Budget
    from thalweg.recipes import expressed, is_sayable
    from thalweg.recipes.predict import scores_on
    from thalweg.remedy import improve as circle

    given = {
        "budget": None if begun.budget == BUDGET else begun.budget,
        "rounds": None if begun.rounds == ROUNDS else begun.rounds,
    }
    command = command_line("improve", begun.subject, own, **given, fail_if=own.fail_if)
    diary = Diary(folder.path, command)
    try:
        with folder.ending(), Stages(own.quiet) as stages:
            result = circle(
                recipe,
                budget=Budget.of(begun.budget),
                rounds=begun.rounds,
                out=folder,
                device=own.device,
                progress=stages,
                keep=diary.keep,
                settle=lambda improved: expressed(improved, recipe),
                allows=lambda changed: is_sayable(changed, recipe),
                resume=own_folder(folder.path / KEPT),
                score=scores_on,
            )
    except Exception as error:
        diary.failed(error)
        raise
    except KeyboardInterrupt as error:
        close(folder.path, dict(diary.document), own, lambda: print(diary))
        return interrupted(error.__cause__ or error)
    forget_runs(folder.path)
    return concluded(result, diary, own)


def concluded(result: "Improvement", diary: Diary, own: TrainingOptions) -> int:
    """Keep the end of the circle, whatever becomes of its scores; then judge the run, show it, give the exit code."""
    from thalweg.recipes import conclude

    path, finding = diary.path, result.finding
    told, improved = diary.end(result), keep_recipe(diary.path, result)
    with interrupt_says(f"while the run was judged: its weights are in {path}, its scores are not."):
        conclusion = conclude(result.run, own.device) if result.run.status.good else None
    document = {
        "status": str(result.run.status),
        "recipe": improved,
        "metrics": {} if conclusion is None else conclusion.to_json()["metrics"],
        **keep_finding(path, finding, diary.command if finding.remedies else None),
        "diary": told,
    }
    values = ({} if conclusion is None else conclusion.flat()) | {
        "cause": str(finding.cause),
        "status": str(result.run.status),
    }
    code = close(path, document, own, lambda: show_improvement(result, improved), values)
    return code if result.run.status.good else FAILED


def keep_recipe(path: Path, result: "Improvement") -> str | None:
    """Write the recipe that came out beside its run, where settings can say it; gives the path."""
    from thalweg.core.files import write_own
    from thalweg.recipes import as_toml

    text = as_toml(result.recipe, path)
    if text is None or not any(turn.adopted for turn in result.diary):
        return None
    write_own(path / "improved.toml", text.encode())
    return str(path / "improved.toml")


def show_improvement(result: "Improvement", recipe: str | None) -> None:
    """An improvement as a person reads it."""
    from thalweg.cli.show import show_lines

    path = [] if recipe is None else [f"The improved recipe: {recipe}"]
    show_lines("\n".join([str(result), *path]), r"Round \d+: [A-Z_]+")
