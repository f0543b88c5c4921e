"""predict: (Run, table, images, recordings, graph) -> predictions beside the rows, by the run's own preprocessing."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, RunError
from thalweg.core.files import damaged, read_object
from thalweg.core.finite import all_finite
from thalweg.core.notices import notice, unsaid
from thalweg.core.source import Source
from thalweg.data import judged_pairs
from thalweg.data.pair_decisions import say_empty
from thalweg.data.pair_lines import lined
from thalweg.data.source_reading import numbered_sources
from thalweg.recipes.data_kinds import DataKind, Outputs, kind_of_source, kind_reading
from thalweg.recipes.decoded import Decoding, Output, decoded, is_long, say_long
from thalweg.training import Run, evaluate
from thalweg.training.evaluate import Scores

if TYPE_CHECKING:
    from pandas import DataFrame

MANY = 1024
"""Lines of a list that are decoded together."""


@no_type_check
def predict(
    run: Run,
    table: Any,
    *,
    proba: bool = False,
    calibrated: bool = False,
    decoding: Decoding | None = None,
    device: str = "auto",
) -> "DataFrame":
    """The rows of a table (a path or a DataFrame) with `prediction`, and for classes `probability`, beside them.

    Of a run on pairs the lines of a file, or a list of texts, with `prediction` and `score` beside each, found as
    `decoding` says. Of a run on images: those of a folder, a file, a list of them, or a table of paths, each with its
    path or row; on recordings likewise; on sentences with tags a file of words, each with a row; on a graph another
    one, all its nodes.

    The table is encoded by what the run's training rows said: means, categories, labels. A category never seen in
    training counts as none of those that were, and that is said. `proba` adds the probability of every class;
    `calibrated` divides the logits by the temperature that was fitted on validation.

    >>> import tempfile, thalweg
    >>> from thalweg.data import bundled
    >>> run = thalweg.train(thalweg.load("iris", assignments=["epochs=20"]), out=tempfile.mkdtemp())
    >>> rows = bundled("iris").frame.head(3)
    >>> list(thalweg.predict(run, rows)["prediction"])
    ['setosa', 'setosa', 'setosa']

    Raises `RunError` for a run that was not trained on a table, `DataError` for a table that lacks a column,
    `RecipeError` for probabilities of numbers and what is no run.
    """
    if not isinstance(run, Run):
        raise RecipeError(
            f"predict was given {type(run).__name__}, but it asks a Run. Load the one that a folder holds: "
            "thalweg.load_run(folder)."
        )
    kind, encoding = _kind_of(run)
    check_weights(run)
    if (proba or calibrated) and not kind.has_probabilities(encoding):
        named = " and ".join(f"--{name}" for name, given in (("proba", proba), ("calibrated", calibrated)) if given)
        target, held = kind.target(encoding)
        raise RecipeError(f"'{target}' holds {held}, which have no probabilities. Leave {named} out.")
    if decoding is not None and not kind.decodes:
        raise RecipeError(
            f"This run reads {kind.plural}, of which nothing is decoded. Leave --beam, --nbest, --length-penalty and "
            "--longest (decoding=) out."
        )
    heat = kept_temperature(run) if calibrated else 1.0
    outputs = outputs_on(run, resolve_device(device))
    rows = kind.opened(str(table), encoding) if isinstance(table, str | Path) else table
    shown = {"decoding": decoding} if kind.decodes else {"all_probabilities": proba, "temperature": heat}
    return kind.predicted(rows, encoding, outputs, **shown)


def translates(run: Run) -> bool:
    """Whether a run's sources are lines of text, and its outputs sequences, which are searched for."""
    return _kind_of(run)[0].of_lines


def translate(
    run: Run, lines: Iterable[str], decoding: Decoding | None = None, device: str = "auto"
) -> Iterator[list[Output]]:
    """The outputs for each line, as soon as some lines are there: the `nbest` of each, the best first.

    What is odd about lines is said at the end, once for all of them.

    An iterable of lines is read as far as it is needed, so that what answers a pipe answers line by line; of a list
    many are decoded at once.

    Raises `RunError` for a run whose outputs are not texts.
    """
    kind, encoding = _kind_of(run)
    if not kind.of_lines:
        raise RunError(f"This run reads {kind.plural}; only one that was trained on pairs of texts puts out texts.")
    check_weights(run)
    outputs = outputs_on(run, resolve_device(device))
    read, longest, empty, long = 0, 0, list[int](), list[int]()
    try:
        for some in _chunks(lines):
            with unsaid():
                source = judged_pairs(numbered_sources(some, encoding.schema.names[0], read), encoding, labelled=False)
                found = decoded(outputs.model, source, decoding, outputs.device)
            lines_of, lengths = source.frame.index, source.lengths[:, 0]
            empty += [line for line, text in zip(lines_of, some, strict=True) if not text.strip()]
            long += lines_of[is_long(lengths)].tolist()
            longest = max(longest, int(lengths.max()))
            yield from found
            read += len(some)
    finally:
        say_empty(lined(empty))
        say_long(lined(long), longest)


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    if isinstance(lines, list):
        yield from (lines[start : start + MANY] for start in range(0, len(lines), MANY))
    else:
        yield from ([line] for line in lines)


def open_rows(run: Run, file: str, *more: str) -> Any:
    """What `predict` is given for a file: its rows, read as the run's own table was; of other data its path, or paths.

    Raises `RecipeError` for several files of data that are read one file at a time.
    """
    kind, encoding = _kind_of(run)
    return kind.opened_together((file, *more), encoding) if more else kind.opened(file, encoding)


def writer_of(run: Run, rows: Any, output: Path | None, proba: bool) -> "Callable[[DataFrame], bytes]":
    """What turns the predictions on rows, as `open_rows` gave them, into the bytes of a file, by that file's name.

    Raises `RecipeError` where such a file cannot hold them.
    """
    kind, encoding = _kind_of(run)
    return kind.writer(rows, encoding, output, proba)


def judge_file(run: Run, file: str, device: str = "auto", target: str | None = None) -> Scores:
    """The run's scores on a file that holds the target too: the loss, the metrics, and what its kind of data adds.

    Of pairs `target` may be a second file, whose lines are the targets of the first's.

    Raises `RunError` for a run that was not trained on a table, `DataError` for a table that lacks a column,
    `RecipeError` for a `target` of other data than pairs.
    """
    kind, encoding = _kind_of(run)
    check_weights(run)
    source = kind.judged(file, encoding) if target is None else kind.judged_beside(file, target, encoding)
    return scores_on(run, source, device=device)


def scores_on(run: Run, split: Any, *, device: str | torch.device = "auto") -> Scores:
    """The loss and the metrics on a split, and what its kind of data adds: of pairs the scores of decoded outputs."""
    scores, kind = evaluate(run, split, device=device), kind_of_source(split)
    return scores if kind is None else scores | kind.judge(split, outputs_on(run, resolve_device(device))).scores()


def check_weights(run: Run) -> None:
    """Say that a run did not come to its own end before its weights are used.

    Raises `RunError` for weights that are not finite: they predict nothing.
    """
    name = "This run" if run.path is None else f"The run {run.path.name}"
    if not all_finite(run.model.parameters()):
        raise RunError(
            f"{name} ended as {run.status}, and its weights are not finite, so it can predict nothing. "
            "Train it again with a lower learning rate, a clipped gradient, or data of a smaller scale."
        )
    if not run.status.good:
        which = f"its best, of epoch {run.best_epoch}" if run.best_epoch else "its last: no epoch was the best"
        notice(f"{name} ended as {run.status}. {run.status.sentence} The weights that are used are {which}.")


def _kind_of(run: Run) -> tuple[DataKind, Any]:
    """The kind of data that a run was trained on, and its encoding."""
    kind = kind_reading(run.preprocessing)
    if kind is None:
        raise RunError(
            "This run was not trained on a table, so thalweg does not know how to turn rows into its inputs. Call its "
            "model: run.model(x)."
        )
    return kind, run.preprocessing


def kept_temperature(run: Run) -> float:
    """The temperature that was fitted on validation when the run was judged."""
    file = None if run.path is None else run.path / "evaluation.json"
    kept = read_object(file).get("calibration") if file and file.exists() else None
    if file and kept and not _is_calibration(kept):
        raise damaged(file, f"its 'calibration' is {str(kept)[:80]}, not an error, a temperature, the error after it")
    if not kept:
        raise RunError(
            "This run has no calibration temperature: it needs classes and a validation split, and to have been "
            "trained by `thalweg train`. Leave --calibrated out."
        )
    error, after = kept["error"], kept["error_after"]
    if after > error:
        notice(
            f"The temperature {kept['temperature']:.2f} that validation asks for made the confidences worse on test "
            f"(ECE {error:.3f} -> {after:.3f}). Better leave --calibrated out."
        )
    return float(kept["temperature"])


def _is_calibration(kept: Any) -> bool:
    """Whether these are what `conclude` keeps of the confidences; NaN is written as null."""
    names = ("error", "temperature", "error_after")
    numbers = isinstance(kept, dict) and all(isinstance(kept.get(name), int | float) for name in names)
    return numbers and kept["temperature"] > 0


def outputs_of(run: Run, source: Source) -> Tensor:
    """The best model's outputs on a source of pairs, in its own order, on the CPU."""
    return torch.cat(batch_outputs(run, source))


def batch_outputs(run: Run, source: Source) -> list[Tensor]:
    """The same, batch by batch."""
    return outputs_on(run)(x for x, _ in source.batches(0, 0, None))


def outputs_on(run: Run, device: torch.device | None = None) -> Outputs:
    """What asks the best model of a run, on a device; by default where it is."""
    device = next(run.model.parameters()).device if device is None else device
    guided = run.recipe is not None and getattr(run.recipe.objective, "guided", 0.0) > 0
    return Outputs(run.model.to(device).eval(), device, guided)
