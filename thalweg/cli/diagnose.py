"""thalweg diagnose: what holds a subject back, found by experiment."""

from typing import TYPE_CHECKING

from thalweg.cli.exits import interrupted
from thalweg.cli.options import DryRun, TrainingOptions
from thalweg.cli.results import close, command_line, keep_finding, show_plan

if TYPE_CHECKING:
    from thalweg.diagnosis import Finding
    from thalweg.recipes.conclusion import Conclusion

WORDS = ("status", "cause")
"""What a `--fail-if` may ask of a diagnosis beside the scores."""


def diagnose(
    subject: str, /, *, budget: str | None = None, dry_run: DryRun = False, options: TrainingOptions | None = None
) -> int:
    """Say what holds a subject back: model, optimization, overfitting or mismatch, by experiment.

    Parameters
    ----------
    subject
        Built-in data (digits), a data file, a folder of images, a recipe (recipe.toml, recipe.py), a case, or a run.
    budget
        What the experiments may cost: multiples of one training (20; 6 where one takes more than half a minute), or a
        time (90s, 10m, 1h).
    dry_run
        List the experiments with their prices and times, and run none.
    options
        How it is trained, and what is said of it.
    """
    from thalweg.cli.stages import Stages
    from thalweg.cli.subject import lasting, open_subject, understood
    from thalweg.diagnosis import Budget, Interrupted, Stage, plan
    from thalweg.recipes import conclude
    from thalweg.remedy import diagnose as find
    from thalweg.remedy.gaps import trainable
    from thalweg.training import Outcome, train

    own = options or TrainingOptions()
    allowed = Budget.of("20" if budget is None else budget)
    subject = lasting(subject, own.out)
    if dry_run:
        recipe, _ = understood(subject, own, WORDS)
        note = f"Arms are asked one after another, until they answer; the budget is {allowed}."
        return show_plan(plan(recipe, own.device, allowed), note, own.json_)
    recipe, folder = open_subject(subject, own, WORDS, kind="diagnose", trial=lambda recipe: recipe)
    interrupt = None
    with Stages(own.quiet) as stages:
        stages(Stage("training as it is"))
        run = train(trainable(recipe), out=folder, device=own.device)
        if run.status is Outcome.INTERRUPTED:
            return interrupted(run.error)
        try:
            finding = find(run, budget=None if budget is None else allowed, device=own.device, progress=stages)
        except Interrupted as error:
            finding, interrupt = error.finding, error
    conclusion = conclude(run, own.device) if run.status.good and interrupt is None else None
    following = command_line("improve", subject, own) if finding.remedies else None
    metrics = {} if conclusion is None else conclusion.to_json()["metrics"]
    given = {"budget": budget, "fail_if": own.fail_if}
    made = command_line("diagnose", subject, own, **given)
    document = {"status": str(run.status), "metrics": metrics, **keep_finding(folder.path, finding, following, made)}
    values = ({} if conclusion is None else conclusion.flat()) | {
        "cause": str(finding.cause),
        "status": str(run.status),
    }
    stopped = interrupt is not None
    code = close(folder.path, document, own, lambda: show_finding(finding, conclusion), None if stopped else values)
    return interrupted(interrupt.__cause__) if interrupt is not None else code


def show_finding(finding: "Finding", conclusion: "Conclusion | None" = None) -> None:
    """A finding as a person reads it: as `print` shows it, the cause in bold; beside it the recipe's metrics."""
    from thalweg.cli.show import scores_table, show_lines, wide_console

    show_lines(str(finding), str(finding.cause))
    scores = {} if conclusion is None else conclusion.scores
    metrics = {split: {name: score for name, score in own.items() if name != "loss"} for split, own in scores.items()}
    if any(metrics.values()):
        wide_console().print(scores_table(metrics))
