"""Results on stdout, as a person reads them."""

from typing import Any

from rich.console import Console
from rich.table import Table

from thalweg.core.numerals import score_texts
from thalweg.core.wording import counted


def show_run(run: Any, conclusion: Any) -> None:
    """How a run ended and what it scores on each split, with intervals."""
    console = wide_console()
    best = f", best epoch {run.best_epoch}" if run.best_epoch else ""
    epochs = f"{counted(len(run.history), 'epoch')} in {run.seconds:.1f} s{best}"
    console.print(f"{run.status.sentence} {epochs}.")
    if conclusion is None:
        return
    console.print(scores_table(conclusion.scores))
    if conclusion.calibration is not None:
        console.print(calibration_line(conclusion.calibration), soft_wrap=True)


def show_lines(text: str, bold: str) -> None:
    """A text as it is, the words `bold` at its lines' beginnings in bold, for a pattern of them."""
    from rich.text import Text

    console = wide_console()
    for line in text.splitlines():
        shown = Text(line)
        shown.highlight_regex(rf"^(?:{bold})", style="bold")
        console.print(shown, soft_wrap=True)


def wide_console() -> Console:
    """A console on stdout that cuts nothing off where no terminal sets the width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def scores_table(scores: dict[str, dict[str, tuple[float, float, float]]]) -> Table:
    """A row for each quantity, a column for each split: the value and its 95 % interval."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", no_wrap=True)
    for split in scores:
        table.add_column(split, justify="left", no_wrap=True)
    for name in dict.fromkeys(name for split in scores.values() for name in split):
        told = iter(score_texts([split[name] for split in scores.values() if name in split]))
        table.add_row(name, *(next(told) if name in split else "" for split in scores.values()))
    return table


def calibration_line(calibration: dict[str, float]) -> str:
    """Whether softmax is a confidence, in a sentence."""
    error, heat, after = (calibration[key] for key in ("error", "temperature", "error_after"))
    if heat == 1.0:
        return f"Confidence misses accuracy by {error:.3f} on average (ECE); validation asks for no other temperature."
    worse = "" if after <= error else ", which is worse: predict without --calibrated"
    return (
        f"Confidence misses accuracy by {error:.3f} on average (ECE); dividing the logits by {heat:.2f} "
        f"(the temperature fitted on validation) makes it {after:.3f}{worse}."
    )
